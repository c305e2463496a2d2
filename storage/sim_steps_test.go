package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wend/event"
	"wend/storage/vfs/simfs"
)

// step does one thing, chosen by the weights.
func (d *sim) step() {
	sum := 0
	for _, w := range d.weights {
		sum += w
	}
	pick, op := d.r.IntN(sum), 0
	for pick >= d.weights[op] {
		pick -= d.weights[op]
		op++
	}
	ctx := context.Background()
	switch op {
	case simAppend:
		d.append(d.batch(d.size()), "")
	case simRepeat, simConflict:
		d.repeat(op == simConflict)
	case simResend:
		d.resend()
	case simLoad:
		d.load()
	case simLink:
		from, to := fmt.Sprintf("c%d", d.r.IntN(12)), fmt.Sprintf("c%d", d.r.IntN(14))
		if d.m.meta.links[from] == "" && d.m.meta.canonical(to) != from {
			d.change(fmt.Sprintf("link %s %s", from, to), func(m *simMeta) { m.links[from] = to }, func() error { return d.store.Link(ctx, from, to) })
		}
	case simUnlink:
		if len(d.m.meta.links) > 0 {
			from := sortedKeys(d.m.meta.links)[d.r.IntN(len(d.m.meta.links))]
			d.change("unlink "+from, func(m *simMeta) { delete(m.links, from) }, func() error { return d.store.Unlink(ctx, from) })
		}
	case simDefine:
		name, text := fmt.Sprintf("d%d", d.r.IntN(4)), fmt.Sprintf("text %d", d.r.IntN(1000))
		d.change("define "+name, func(m *simMeta) { m.defines[name] = text }, func() error {
			_, err := d.store.Define(ctx, event.Definition{Name: name, Text: text})
			return err
		})
	case simDrop:
		if len(d.m.meta.defines) > 0 {
			name := sortedKeys(d.m.meta.defines)[d.r.IntN(len(d.m.meta.defines))]
			d.change("drop "+name, func(m *simMeta) { delete(m.defines, name) }, func() error { return d.store.Drop(ctx, name) })
		}
	case simUndo:
		d.undo()
	case simFlush:
		d.work("flush", true, d.store.Flush)
	case simCompactStep:
		d.work("compact step", false, func(ctx context.Context) error {
			_, err := d.store.CompactStep(ctx)
			return err
		})
	case simCompact:
		d.work("compact", true, d.store.Compact)
	case simPinOp:
		d.pin()
	case simUnpin:
		d.unpin()
	case simQuery:
		d.query()
	case simReopen:
		d.reopen()
	case simCrash:
		d.arm()
	case simClock:
		d.clock = d.clock.Add(time.Duration(d.r.Int64N(int64(60*24*time.Hour))) - 10*24*time.Hour)
		if d.ages != nil {
			d.ages.jump()
			d.clock = d.ages.clock()
		}
		d.note("clock %s", d.clock.Format(time.DateOnly))
	case simSync:
		if d.r.IntN(2) == 0 {
			d.tick()
			return
		}
		lsn := d.store.lsn
		d.note("sync")
		if err := d.store.Sync(ctx, lsn); d.accept(err) {
			d.durableAll(true)
		}
	case simFaults:
		d.faults()
	case simFill:
		if d.r.IntN(2) == 0 {
			d.note("disk full")
			d.fs.SetBudget(d.fs.Used() + int64(d.r.IntN(4000)) + 1)
			d.m.faulted, d.full = true, true
		} else {
			d.full = false
			d.fs.SetBudget(0)
		}
	case simErase:
		d.erase()
	case simEraseStep:
		d.work("erase step", false, func(ctx context.Context) error {
			_, err := d.store.EraseStep(ctx)
			return err
		})
	case simReader:
		if d.fault != nil {
			return
		}
		if _, err := d.readOnly(d.fs); err != nil {
			d.fail(fmt.Errorf("a reader beside the writer: %w", err))
		}
	}
}

// accept reports success; an error that nothing explains fails the run.
func (d *sim) accept(err error) bool {
	if err == nil {
		return d.crashed == nil // a machine without power acknowledges to nobody
	}
	d.note("  error: %v", err)
	d.errors++
	if d.crashed == nil && !d.m.faulted {
		d.fail(fmt.Errorf("an error without a cause: %w", err))
	}
	return false
}

func (d *sim) size() int {
	if d.r.IntN(10) == 0 {
		return 1
	}
	return 1 + d.r.IntN(d.sizes)
}

// append sends events and holds the answer against the model's.
func (d *sim) append(sent []event.Event, token string) {
	sent = d.asRows(sent)
	events, duplicates, conflicts := d.m.fresh(d.timely(sent), false)
	d.seq++
	b := &simBatch{seq: d.seq, events: events, sent: sent, token: token, level: []Durability{Sync, Sync, Interval, Memory}[d.r.IntN(4)]}
	if b.token == "" && d.r.IntN(3) == 0 {
		b.token = fmt.Sprint("t", d.seq)
	}
	d.send(b, duplicates, conflicts)
}

// timely is the events that are neither too old nor too far in the future of the clock.
func (d *sim) timely(sent []event.Event) []event.Event {
	return slices.DeleteFunc(d.tooOld(sent), func(e event.Event) bool { return e.Time > event.At(d.clock).Add(48*event.Hour) })
}

func (d *sim) send(b *simBatch, duplicates, conflicts int64) {
	defer d.answer()
	d.note("append %d: %d events, %v, token %q", b.seq, len(b.sent), b.level, b.token)
	d.m.limbo = append(d.m.limbo, b)
	log := d.store.wal
	var ack Ack
	err := d.beside(b, func() (err error) {
		ack, err = d.store.Append(context.Background(), batchOf(b.sent), AppendOptions{Durability: b.level, Token: b.token})
		return err
	})
	if !d.accept(err) {
		return
	}
	if ack.Accepted != int64(len(b.events)) || ack.Duplicates != duplicates || ack.Conflicts != conflicts || len(ack.Rejected) != len(b.sent)-len(d.timely(b.sent)) {
		d.fail(fmt.Errorf("batch %d: the answer is %+v, want %d, %d, %d", b.seq, ack, len(b.events), duplicates, conflicts))
		return
	}
	d.acknowledged(b, ack)
	class := 0
	switch n := len(b.sent); {
	case n == 1:
	case n < 1000:
		class = 1
	case n < batchEvents:
		class = 2
	default:
		class = 3
	}
	d.tally.mu.Lock()
	d.tally.tried[class]++
	if log != nil && d.store.wal != log {
		d.tally.rotated++
	}
	d.tally.mu.Unlock()
}

// repeat sends events that are stored already, alone or among new ones, with
// the same content or another.
func (d *sim) repeat(other bool) {
	if len(d.m.present) == 0 {
		return
	}
	old := d.m.present[d.r.IntN(len(d.m.present))]
	var sent []event.Event
	for _, e := range old.events {
		if other {
			e = d.number(e)
		}
		sent = append(sent, asRow(e))
	}
	if d.r.IntN(2) == 0 {
		sent = append(sent, d.batch(1+d.r.IntN(3))...)
	}
	if len(sent) > 0 {
		d.append(sent, "")
	}
}

// resend sends a whole batch again: one that failed, or one that was acknowledged.
func (d *sim) resend() {
	var failed []*simBatch
	for _, b := range slices.Concat(d.m.limbo, d.m.never) {
		if !b.load && b.token != "" && len(b.events) > 0 { // of others nobody knows whether they were answered
			failed = append(failed, b)
		}
	}
	if len(failed) > 0 && d.r.IntN(2) == 0 {
		b := *failed[d.r.IntN(len(failed))]
		var duplicates, conflicts int64
		b.events, duplicates, conflicts = d.m.fresh(d.timely(b.sent), false)
		d.seq++
		b.seq, b.floating = d.seq, true
		forget := func(o *simBatch) bool { return o.token == b.token }
		d.m.limbo, d.m.never = slices.DeleteFunc(d.m.limbo, forget), slices.DeleteFunc(d.m.never, forget)
		d.send(&b, duplicates, conflicts)
		return
	}
	var acked []int
	for i, b := range d.m.present {
		if b.token != "" && !b.load {
			acked = append(acked, i)
		}
	}
	if len(acked) == 0 {
		return
	}
	i := acked[d.r.IntN(len(acked))]
	b := d.m.present[i]
	d.note("resend %d, token %q", b.seq, b.token)
	ack, err := d.store.Append(context.Background(), batchOf(b.sent), AppendOptions{Token: b.token})
	if !d.accept(err) {
		return
	}
	want := b.ack
	if want.LSN == 0 { // never answered before: it came back after a crash
		want = ack
		if b.count != 0 && ack.Accepted != int64(b.count) {
			d.fail(fmt.Errorf("token %q: the answer is %+v, stored are %d events", b.token, ack, len(b.events)))
		}
	}
	if d.m.meta.erasures > 0 { // it takes the reasons of rejections
		ack.Rejected, want.Rejected = make([]Rejection, len(ack.Rejected)), make([]Rejection, len(want.Rejected))
	}
	if fmt.Sprint(ack) != fmt.Sprint(want) {
		d.fail(fmt.Errorf("token %q: the answer is %+v, the first was %+v", b.token, ack, want))
	}
	d.m.maybe = nil
	if !b.durable && b.level != Memory {
		d.durable(i)
	}
}

func (d *sim) load() {
	sent := d.batch(1 + d.r.IntN(5*d.sizes))
	if len(d.m.present) > 0 && d.r.IntN(2) == 0 {
		old := d.m.present[d.r.IntN(len(d.m.present))]
		if !(old.load && d.m.meta.undone[old.importID]) {
			sent = append(sent, old.events...)
		}
	}
	abort := d.r.IntN(6) == 0
	d.note("load of %d events, abort %v", len(sent), abort)
	ctx := context.Background()
	l, err := d.store.NewLoad(ctx, LoadOptions{Source: "sim"})
	if !d.accept(err) {
		return
	}
	for part := range slices.Chunk(sent, 7) {
		err = l.Add(batchOf(part))
		if e := l.settle(); err == nil {
			err = e // alone, so that the seed decides the order of writes
		}
		if err != nil {
			break
		}
	}
	if err != nil || abort {
		d.accept(errors.Join(err, l.Abort()))
		return
	}
	d.seq++
	b := &simBatch{seq: d.seq, load: true, sent: sent}
	var duplicates, conflicts int64
	young := d.tooOld(sent)
	b.events, duplicates, conflicts = d.m.fresh(young, true)
	b.count = len(b.events)
	d.m.limbo = append(d.m.limbo, b)
	before := len(d.store.Imports())
	res, err := l.Commit(ctx)
	if !d.accept(err) {
		if d.crashed == nil && len(d.store.Imports()) > before {
			d.fail(fmt.Errorf("a load says %w and was made", err))
		}
		return
	}
	d.m.limbo = slices.DeleteFunc(d.m.limbo, func(o *simBatch) bool { return o == b })
	if res.Events != int64(len(b.events)) || res.Duplicates != duplicates || res.Conflicts != conflicts || int(res.Rejected) != len(sent)-len(young) {
		d.fail(fmt.Errorf("load %d: %+v, want %d, %d, %d, %d rejected", b.seq, res, len(b.events), duplicates, conflicts, len(sent)-len(young)))
		return
	}
	if len(young) > 0 {
		d.durableAll(true) // it flushes first, if there is anything to load
	}
	if len(b.events) > 0 {
		b.importID, b.durable = res.ImportID, true
		d.m.present = append(d.m.present, b)
	}
}

// change does what changes links, definitions or imports.
func (d *sim) change(what string, apply func(*simMeta), do func() error) {
	d.note("%s", what)
	after := d.m.meta.clone()
	apply(&after)
	d.m.maybe = append(d.m.maybe, after)
	if d.accept(do()) {
		d.m.meta = after
		d.m.maybe = d.m.maybe[:len(d.m.maybe)-1]
	}
}

// erase makes a customer disappear. What of it may be stored or not is decided
// before.
func (d *sim) erase() {
	if len(d.m.limbo)+len(d.m.maybe) > 0 || d.store.Summary().Format < 2 {
		return
	}
	if d.store.state().format < 2 { // before it is upgraded
		if _, err := d.store.Erase(context.Background(), "c1", EraseOptions{}); err == nil {
			d.fail(errors.New("a store of format 1 took an erasure"))
		}
		return
	}
	who := d.m.meta.canonical(fmt.Sprintf("c%d", d.r.IntN(12)))
	after := d.m.meta.clone()
	after.erasures++
	after.gone = map[int64]bool{}
	var linked []string
	for from := range after.links {
		if d.m.meta.canonical(from) == who {
			linked = append(linked, from)
			delete(after.links, from)
		}
	}
	for _, b := range d.m.present {
		for i := range b.events {
			if d.m.meta.canonical(b.events[i].Customer) == who {
				after.gone[eventNumber(&b.events[i])] = true
			}
		}
	}
	if d.copies != nil {
		d.copies.erased[after.erasures] = append(linked, who)
	}
	d.note("erase %s: %d events", who, len(after.gone))
	d.m.maybe = append(d.m.maybe, after)
	_, err := d.store.Erase(context.Background(), who, EraseOptions{})
	if d.accept(err) {
		d.m = d.m.without(after.gone)
		d.m.meta, d.m.maybe = after, nil
		if d.r.IntN(4) == 0 {
			d.unremoved()
		}
	}
}

func (d *sim) undo() {
	var loads []string
	for _, b := range d.m.present {
		if b.load && b.importID != "" && !d.m.meta.undone[b.importID] {
			loads = append(loads, b.importID)
		}
	}
	if len(loads) == 0 {
		return
	}
	id := loads[d.r.IntN(len(loads))]
	d.change("undo "+id, func(m *simMeta) { m.undone[id] = true }, func() error {
		_, err := d.store.Undo(context.Background(), id)
		return err
	})
}

func (d *sim) work(what string, all bool, do func(context.Context) error) {
	d.note("%s", what)
	if d.accept(d.beside(nil, func() error { return do(context.Background()) })) && all {
		d.durableAll(true)
	}
	d.answer()
}

func (d *sim) read() (map[string][]int64, *Snapshot, bool) {
	snap, err := d.store.Snapshot()
	if err != nil {
		d.accept(err)
		return nil, nil, false
	}
	got, err := simRead(snap, d.known)
	if err != nil {
		snap.Release()
		if d.accept(err); !d.m.faulted {
			d.fail(err)
		}
		return nil, nil, false
	}
	return got, snap, true
}

func (d *sim) query() {
	got, snap, ok := d.read()
	if !ok {
		return
	}
	defer snap.Release()
	if meta := metaOf(d.store, snap); !meta.equal(d.m.meta) {
		d.fail(fmt.Errorf("query: links, definitions and undone imports are %v, want %v", meta, d.m.meta))
	}
	if err := d.m.compare(got); err != nil {
		d.fail(fmt.Errorf("query: %w", err))
	}
	if len(snap.Missing()) > 0 {
		d.fail(fmt.Errorf("query: undamaged data is reported missing: %+v", snap.Missing()))
	}
}

func (d *sim) pin() {
	if got, snap, ok := d.read(); ok {
		d.note("pin")
		d.pins = append(d.pins, simPin{snap, got})
	}
}

// unpin reads a snapshot again: whatever happened, it is as it was.
func (d *sim) unpin() {
	if len(d.pins) == 0 {
		return
	}
	i := d.r.IntN(len(d.pins))
	p := d.pins[i]
	got, err := simRead(p.snap, d.known)
	if err != nil && d.m.faulted {
		d.accept(err)
		return
	}
	if err == nil && fmt.Sprint(got) != fmt.Sprint(p.got) {
		err = errors.New("a pinned snapshot changed")
	}
	if err != nil {
		d.fail(fmt.Errorf("unpin: %w", err))
	}
	p.snap.Release()
	d.pins = slices.Delete(d.pins, i, i+1)
}

func (d *sim) reopen() {
	d.note("close and open")
	err := d.store.Close()
	if d.accept(err) {
		d.durableAll(true)
	}
	if d.crashed != nil {
		return
	}
	d.dropPins()
	d.store = nil
	d.openings++
	kind := nothingLost
	if err != nil {
		kind = processKilled // memory batches that could not be flushed are gone
	}
	if err := d.open(kind); err != nil {
		d.store = nil
		d.fail(err)
	}
}

// faults turns failures on, or off.
func (d *sim) faults() {
	if d.fault != nil {
		d.note("faults off")
		d.fault = nil
		return
	}
	kind := []simfs.Fault{simfs.EIO, simfs.ENOSPC, simfs.Short, simfs.SyncDrops, simfs.EMFILE}[d.r.IntN(5)]
	left := []int{1, 1, 2, 5, 1 << 30}[d.r.IntN(5)]
	skip := d.r.IntN(6)
	one := simfs.Kind(d.r.IntN(int(simfs.Lock)))
	any := d.r.IntN(2) == 0
	d.note("faults on: %v, %d times, after %d, of %v or any (%v)", kind, left, skip, one, any)
	d.fault = func(op *simfs.Op) simfs.Fault {
		if !op.Kind.Mutates() && (op.Kind != simfs.Open || d.store == nil) || op.Kind == simfs.Lock || !kind.Applies(op.Kind) || !any && op.Kind != one || left == 0 {
			return simfs.None
		}
		if skip > 0 {
			skip--
			return simfs.None
		}
		left--
		return kind
	}
}
