package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"wend/event"
	"wend/storage/vfs/simfs"
)

// simCallers is callers that come while another waits for the disk. The
// simulation has one goroutine, so they come from the hook of the operation that
// is waited for: they take what an append takes, and are answered when the other
// has been.
type simCallers struct {
	r       *rand.Rand
	outer   *simBatch   // being appended; nil: something else is done
	open    bool        // the store does something that others may come beside
	inside  atomic.Bool // merges read from other goroutines
	before  uint64      // the LSN when the outer batch was sent
	waiting []simCaller
}

// simCaller is an append that is written and not yet answered.
type simCaller struct {
	batch *simBatch // what it relies on, if mem is nil
	mem   *memBatch // nil: nothing was to be written
	level Durability
	ack   Ack
	wait  waiting
	log   *wal
}

// beside lets others come while something is done.
func (d *sim) beside(outer *simBatch, do func() error) error {
	if d.callers == nil {
		return do()
	}
	d.callers.outer, d.callers.open, d.callers.before = outer, true, d.store.lsn
	defer func() { d.callers.open = false }()
	return do()
}

// come appends a batch while another caller waits for an operation. Nothing
// fails meanwhile: giving up the log would wait for the fsync of the other, which
// waits here.
func (d *sim) come(op *simfs.Op) {
	c := d.callers
	if c == nil || !c.open || c.inside.Load() || d.full || len(c.waiting) > 2 || c.r.IntN(3) == 0 {
		return
	}
	if c.outer != nil && !(op.Kind == simfs.Sync && strings.HasSuffix(op.Name, walSuffix)) {
		return // it may be behind its answer
	}
	s := d.store
	if !s.mu.TryLock() {
		return
	}
	taken := s.lsn > c.before
	s.mu.Unlock()
	if c.outer != nil && !taken {
		return // what it is answered is not decided
	}
	if !s.appending.TryRLock() {
		return
	}
	c.inside.Store(true)
	defer c.inside.Store(false)

	sent := d.asRows(d.batch(1 + c.r.IntN(3)))
	from := d.m.present
	if c.outer != nil {
		from = append(slices.Clip(from), c.outer)
	}
	if len(from) > 0 && c.r.IntN(3) > 0 { // what is known, or on its way
		for _, e := range from[len(from)-1-c.r.IntN(min(len(from), 3))].events {
			sent = append(sent, asRow(e))
		}
	}
	d.seq++
	b := &simBatch{seq: d.seq, sent: sent, level: Durability(c.r.IntN(3)), floating: true}
	if c.r.IntN(2) == 0 {
		b.token = fmt.Sprint("t", d.seq)
	}
	if c.outer != nil && c.outer.token != "" && c.r.IntN(4) == 0 { // the same caller once more, who has no answer yet
		b.sent, b.token = c.outer.sent, c.outer.token
	}
	timely := d.timely(b.sent)
	there := d.m.clone()
	for _, w := range c.waiting {
		if w.mem != nil {
			there.present = append(there.present, w.batch)
		}
	}
	if c.outer != nil { // what it has is as good as there: to count on it is to wait for it
		there.present = append(there.present, c.outer)
	}
	events, duplicates, conflicts := there.fresh(timely, false)
	b.events = events
	d.m.limbo = append(d.m.limbo, b)
	d.note("beside it, append %d: %d events, %v, token %q", b.seq, len(b.sent), b.level, b.token)
	ack, mem, wait, log, err := s.takeLocked(batchOf(b.sent), AppendOptions{Durability: b.level, Token: b.token})
	if err != nil {
		s.appending.RUnlock()
		d.accept(err)
		return
	}
	if mem == nil {
		d.m.limbo = slices.DeleteFunc(d.m.limbo, func(o *simBatch) bool { return o == b })
	}
	if wait.flush || wait.again || wait.sorted != nil {
		s.appending.RUnlock()
		return // nothing was taken: a caller would wait, and come again
	}
	onOuter := c.outer != nil && (b.token != "" && b.token == c.outer.token || ack.Duplicates > 0 && shares(b, c.outer))
	d.tally.mu.Lock()
	d.tally.came++
	d.tally.mu.Unlock()
	if mem == nil {
		w := simCaller{level: b.level, wait: wait, log: log}
		if onOuter {
			w.batch = c.outer
		}
		c.waiting = append(c.waiting, w)
		return
	}
	if ack.Accepted != int64(len(events)) || ack.Duplicates != duplicates || ack.Conflicts != conflicts {
		d.fail(fmt.Errorf("batch %d, beside another: the answer is %+v, want %d, %d, %d", b.seq, ack, len(events), duplicates, conflicts))
	}
	c.waiting = append(c.waiting, simCaller{b, mem, b.level, ack, wait, log})
}

// shares reports whether two batches have an event in common that is one by its
// id, or as a row.
func shares(b, o *simBatch) bool {
	return slices.ContainsFunc(o.events, func(e event.Event) bool {
		return slices.ContainsFunc(b.sent, func(f event.Event) bool { return f.ID != "" && eventNumber(&e) == eventNumber(&f) })
	})
}

// answer answers those who came, when the one they came beside has its answer.
func (d *sim) answer() {
	if d.callers == nil {
		return
	}
	s := d.store
	for _, w := range d.callers.waiting {
		err := error(nil)
		if w.wait.lsn > 0 && w.log != nil {
			if err = w.log.sync(w.wait.lsn); err != nil {
				s.lockedGiveUp(w.log)
			}
		}
		if err == nil && w.mem != nil {
			s.mu.Lock()
			w.mem.visible = true
			s.mu.Unlock()
		}
		s.appending.RUnlock()
		switch {
		case !d.accept(err) || w.batch == nil:
		case w.mem != nil:
			d.acknowledged(w.batch, w.ack)
		case slices.Contains(d.m.limbo, w.batch): // who sent it got an error, and who sent it again an answer
			d.acknowledged(w.batch, Ack{LSN: w.wait.lsn})
			w.batch.ack = Ack{}
			w.batch.durable = w.batch.durable || w.level == Sync
		}
	}
	d.callers.waiting = nil
}

// acknowledged notes what an answer promises.
func (d *sim) acknowledged(b *simBatch, ack Ack) {
	d.m.limbo = slices.DeleteFunc(d.m.limbo, func(o *simBatch) bool { return o == b })
	b.count = len(b.events)
	b.lsn, b.ack, b.durable = ack.LSN, ack, b.level == Sync
	d.m.present = append(d.m.present, b)
	if b.level == Sync && len(b.events) > 0 {
		d.durableUpTo(b.lsn)
	}
	if ack.Duplicates+ack.Conflicts == 0 {
		return
	}
	// What the answer counts on is as durable, and decided.
	d.m.maybe = nil
	for i, o := range d.m.present {
		if b.level == Sync && !o.durable && shares(b, o) {
			d.durable(i)
		}
	}
}

// durableUpTo notes that everything that was logged up to an LSN is durable.
func (d *sim) durableUpTo(lsn uint64) {
	for i, b := range d.m.present {
		if !b.durable && b.level != Memory && b.lsn <= lsn {
			d.durable(i)
		}
	}
}

// tick is what a background would do every moment: batches whose log failed are
// logged again, and what is logged is synced.
func (d *sim) tick() {
	d.note("tick")
	err := d.store.relog()
	if err == nil {
		err = d.store.syncWritten()
	}
	if d.accept(err) {
		d.durableUpTo(d.store.lsn)
	}
}
