package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"wend/event"
	"wend/internal/seeded"
)

// Durability says what an acknowledged batch survives.
type Durability uint8

// The durabilities. Sync, the default, survives power loss; Interval a crash
// of the process, and power loss but for the last moment; Memory neither.
const (
	Sync Durability = iota
	Interval
	Memory
)

var durabilityNames = [...]string{"sync", "interval", "memory"}

// String is the name that requests and answers use: sync, interval or memory.
func (d Durability) String() string { return durabilityNames[d] }

// ParseDurability reads what String prints; ok is false of any other text.
func ParseDurability(name string) (d Durability, ok bool) {
	i := slices.Index(durabilityNames[:], name)
	return Durability(max(i, 0)), i >= 0
}

// AppendOptions say how a batch is to be taken.
type AppendOptions struct {
	Durability Durability
	Token      string // names the batch: sent again, it gets the first answer and changes nothing; see CheckToken
	Strict     bool   // one bad event refuses the batch

	// Of a batch from which events were left out before, because they cannot be
	// stored: where each of the others stood, and which were left out, and why.
	// The answer tells of all, also when it is given again.
	Index    []int
	Rejected []Rejection
}

// rejections are those of the sender's events that are not stored, by Index: a
// batch's own, and those that were left out before.
func (o *AppendOptions) rejections(own []Rejection) []Rejection {
	if o.Index != nil {
		for i := range own {
			own[i].Index = o.Index[own[i].Index]
		}
	}
	all := slices.Concat(o.Rejected, own)
	slices.SortStableFunc(all, func(a, b Rejection) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// Rejection is one event of a batch that cannot be stored.
type Rejection struct {
	Index  int
	Reason string
}

// Ack is the answer to a batch.
type Ack struct {
	Accepted   int64 // events stored
	Duplicates int64 // left out: already stored with the same content
	Conflicts  int64 // left out: the id is already stored with other content
	Suppressed int64 `json:",omitempty"` // left out: their customers were erased, and are not to come back
	Rejected   []Rejection
	LSN        uint64
	Durability Durability
}

// ErrRefused is the error of a strict batch with events that cannot be stored.
var ErrRefused = errors.New("the batch is refused")

// Append stores a batch. When it returns without an error, the accepted
// events are as durable as asked for, and every later snapshot shows them.
// After an error the batch may or may not be stored: send it again, with the
// same token or with events that have ids.
func (s *Store) Append(ctx context.Context, b *event.Batch, opt AppendOptions) (Ack, error) {
	if err := ctx.Err(); err != nil {
		return Ack{}, err
	}
	if n := b.Len(); n > batchEvents {
		return Ack{}, fmt.Errorf("append %d events: a batch holds at most %d; send several, or import a file", n, batchEvents)
	}
	if err := CheckToken(opt.Token); err != nil {
		return Ack{}, fmt.Errorf("append %d events: %w", b.Len(), err)
	}
	for {
		var ack Ack
		var wait waiting
		err := s.writes("append", func() (err error) {
			ack, wait, err = s.append(ctx, b, opt)
			return err
		})
		switch {
		case err != nil:
		case wait.again:
			err = ctx.Err()
		case wait.sorted != nil:
			select {
			case <-wait.sorted:
			case <-ctx.Done():
				err = ctx.Err()
			}
		case wait.flush:
			err = s.Flush(ctx)
		case wait.room != nil:
			err = s.waitForRoom(ctx, wait.room)
		default:
			return ack, nil
		}
		if err != nil {
			return ack, fmt.Errorf("append %d events: %w", b.Len(), err)
		}
	}
}

// waiting is what an answer waits for.
type waiting struct {
	lsn    uint64          // to be synced
	again  bool            // and then the batch is to be taken: nothing of it was
	flush  bool            // what was sent before is in no log: flush, and take the batch again
	sorted <-chan struct{} // what came before, and then take the batch again; nil: nothing to wait for
	room   <-chan struct{} // for memory, and then take the batch again; nil: there is some
}

// memtablesOwed is how many memtables the background may owe before appends do
// its work, and how many there is memory for.
const memtablesOwed = 4

// crowded is what an append has to wait for, nil if there is memory for more.
// The caller holds mu.
func (s *Store) crowded() <-chan struct{} {
	size := int64(0)
	for _, m := range s.memory() {
		size += m.size()
	}
	if size < memtablesOwed*s.opt.memtableBytes() {
		return nil
	}
	if s.roomier == nil {
		s.roomier = make(chan struct{})
	}
	return s.roomier
}

// waitForRoom waits until a flush has ended, and begins one where nobody else
// does. It fails with that flush.
func (s *Store) waitForRoom(ctx context.Context, room <-chan struct{}) error {
	if !s.opt.Background {
		return s.Flush(ctx)
	}
	s.nudge()
	select {
	case <-room:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.flushErr, context.Canceled) || errors.Is(s.flushErr, context.DeadlineExceeded) {
		return nil // by whoever asked for it: look again
	}
	return s.flushErr
}

// lookForRoom has appends look again that wait for room. The caller holds mu.
func (s *Store) lookForRoom() {
	if s.roomier != nil {
		close(s.roomier)
		s.roomier = nil
	}
}

// rely lets an answer wait until a batch that holds what is sent again is as
// durable as asked for now. One that is still being synced is waited for in any
// case: if that fails, it is not stored. The caller holds mu.
func (s *Store) rely(wait *waiting, b *memBatch, durability Durability) {
	switch {
	case s.durable(b):
	case b.log == 0:
		wait.flush = wait.flush || durability != Memory
	case !b.visible || durability == Sync:
		wait.lsn = max(wait.lsn, b.lsn)
	}
}

// durable reports whether power loss leaves a batch: a log that takes no more
// batches is synced as far as it counts. The caller holds mu.
func (s *Store) durable(b *memBatch) bool {
	return b.log != 0 && (s.wal == nil || b.log != s.wal.number || b.lsn <= s.wal.durableTo())
}

func (s *Store) append(ctx context.Context, b *event.Batch, opt AppendOptions) (Ack, waiting, error) {
	s.appending.RLock()
	defer s.appending.RUnlock()
	ack, batch, wait, log, err := s.takeLocked(b, opt)
	if err != nil || wait.flush || wait.sorted != nil || wait.room != nil {
		return ack, wait, err
	}
	if wait.lsn > 0 && log != nil {
		if err := log.sync(wait.lsn); err != nil {
			s.lockedGiveUp(log)
			return Ack{}, wait, err
		}
	}
	if wait.again {
		return ack, wait, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if batch != nil {
		batch.visible = true
	}
	if s.mem.fills(&s.opt, 1) && !s.closing {
		s.nudge()
		if (!s.opt.Background || s.mem.fills(&s.opt, memtablesOwed)) && s.writing.TryLock() {
			defer s.writing.Unlock()
			if err := s.flush(context.WithoutCancel(ctx)); err != nil { // others may wait for it
				// The batch is in the log and stays there: nothing is lost.
				s.opt.Log.Warn("flush", "error", err)
			}
		}
	}
	return ack, wait, nil
}

// takeLocked is take under mu, with the log that it wrote to.
func (s *Store) takeLocked(b *event.Batch, opt AppendOptions) (ack Ack, mem *memBatch, wait waiting, log *wal, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait.sorted = s.pace.ahead(b.Len()); wait.sorted != nil {
		return ack, nil, wait, nil, nil
	}
	ack, mem, wait, err = s.take(b, opt)
	return ack, mem, wait, s.wal, err
}

// take validates a batch, leaves out what is stored already, and writes the
// rest to the log and the memtable, invisible yet if it has to be synced.
// The caller holds mu.
func (s *Store) take(b *event.Batch, opt AppendOptions) (ack Ack, mem *memBatch, wait waiting, err error) {
	if err := s.usable(true); err != nil {
		return ack, nil, wait, err
	}
	if opt.Token != "" {
		if t, ok := s.token(opt.Token); ok {
			for _, m := range s.memory() {
				for _, first := range m.batches {
					if first.lsn == t.Ack.LSN && !seeded.On("token_answered_at_once") {
						s.rely(&wait, first, min(opt.Durability, first.durability)) // the stronger: the answer tells of the first
					}
				}
			}
			return t.Ack.whole(), nil, wait, s.settle()
		}
	}
	keep, rejected := s.validate(b, s.state().cutoff(), s.now().Add(futureMost))
	ack.Rejected, ack.Durability = opt.rejections(rejected), opt.Durability
	if opt.Strict && len(ack.Rejected) > 0 {
		return ack, nil, wait, fmt.Errorf("%w: event %d: %s", ErrRefused, ack.Rejected[0].Index, ack.Rejected[0].Reason)
	}
	if opt.Token != "" {
		fewReasons(ack.Rejected)
	}
	keep, ack.Suppressed = s.suppression().without(b, keep)
	fresh, wait, err := s.newRows(b, keep, &ack)
	if err != nil || wait.flush {
		return ack, nil, wait, err
	}
	if ack.Duplicates+ack.Conflicts > 0 {
		if err := s.settle(); err != nil {
			return ack, nil, wait, err
		}
	}
	ack.Accepted = int64(len(fresh))
	if wait.lsn > 0 && (len(fresh) > 0 || opt.Token != "") && !seeded.On("duplicates_before_sync") {
		// The record would say that these events are stored, and may outlive them.
		wait.again = true
		return ack, nil, wait, nil
	}
	if len(fresh) == 0 && opt.Token == "" {
		// Nothing to write, but a duplicate's first copy may not be durable yet.
		ack.LSN = s.lsn
		return ack, nil, wait, nil
	}
	if wait.room = s.crowded(); wait.room != nil {
		return ack, nil, wait, nil
	}
	if err := s.room(); err != nil {
		return ack, nil, wait, err
	}
	if opt.Durability != Memory {
		if err := s.openLog(); err != nil {
			return ack, nil, wait, err
		}
	}
	picked := selectRows(b, fresh)
	dropRowIDs(picked)
	s.lsn++
	ack.LSN = s.lsn
	now, kept := s.now(), answerOf(ack)
	if opt.Durability != Memory {
		if err := s.wal.append(s.lsn, opt.Durability, encodeRecord(now, opt.Token, kept.inFormat(s.state().format), picked)); err != nil {
			s.giveUp(s.wal)
			return ack, nil, wait, err
		}
	}
	mem = &memBatch{lsn: s.lsn, received: now, token: opt.Token, durability: opt.Durability, visible: opt.Durability != Sync || seeded.On("visible_before_sync")}
	if opt.Durability != Memory {
		mem.log, s.logged = s.wal.number, min(s.logged, s.lsn)
	}
	s.remember(mem, picked, kept)
	if opt.Durability == Sync && !seeded.On("acknowledged_before_sync") {
		wait.lsn = s.lsn
	}
	return ack, mem, wait, nil
}

// remember puts a batch into the memtable, in the catalog's codes.
func (s *Store) remember(mem *memBatch, b *event.Batch, kept answer) {
	mem.batch, mem.props = s.catalog.encode(b)
	if mem.token != "" {
		t := tokenRecord{Token: mem.token, At: mem.received, Ack: kept}
		s.mem.tokens[mem.token] = t
		mem.answered = t.size(s.state().format)
	}
	s.mem.add(mem)
	s.pace.taken += int64(b.Len())
}

// showDurable makes visible what is durable: who waits for it is about to be
// told. The caller holds mu.
func (s *Store) showDurable() {
	if s.wal == nil {
		return
	}
	durable := s.wal.durableTo()
	for _, b := range s.mem.batches {
		b.visible = b.visible || b.lsn <= durable
	}
}

// token finds the answer that a batch token was given.
func (s *Store) token(token string) (tokenRecord, bool) {
	for _, m := range s.memory() {
		if t, ok := m.tokens[token]; ok {
			return t, true
		}
	}
	t, ok := s.state().tokens.get(token)
	if !ok && s.state().eraseKey != nil {
		t, ok = s.state().tokens.get(keyedToken + keyed(s.state().eraseKey, "token", token))
	}
	return t, ok
}

// openLog makes sure that there is a log that takes batches.
func (s *Store) openLog() error {
	if s.wal != nil {
		return nil
	}
	w, err := createWAL(s.fs, s.dir, s.state().store, s.number(), s.oldWAL)
	if err != nil {
		return err
	}
	// Without this the file could disappear, and with it what is acknowledged,
	// and nobody would know that there ever was one.
	if s.state().format >= 2 {
		if err := s.publish(&edit{Logs: []uint64{w.number}}); err != nil {
			s.oldWAL = append(s.oldWAL, w.extent())
			_ = w.file.Close() // it holds no batch
			return fmt.Errorf("begin log %s: %w", walName(w.number), err)
		}
	}
	s.wal = w
	// Batches whose log failed after they became visible are logged again, those
	// of a flush that goes on as well: it may fail, and what comes now is not to
	// outlive what came before.
	for _, b := range s.unlogged() {
		kept := answer{}
		if b.token != "" {
			t, _ := s.token(b.token)
			kept = t.Ack
		}
		if err := w.append(b.lsn, b.durability, b.record(kept.inFormat(s.state().format))); err != nil {
			s.giveUp(w)
			return err
		}
		b.log, s.logged = w.number, min(s.logged, b.lsn)
	}
	return nil
}

// unlogged lists the batches whose log failed. The caller holds mu.
func (s *Store) unlogged() (list []*memBatch) {
	for _, m := range s.memory() {
		for _, b := range m.batches {
			if b.unlogged() {
				list = append(list, b)
			}
		}
	}
	return list
}

// giveUp abandons a log that failed. Batches that wait for it never become
// visible; those that are visible already move to segments as soon as that is
// possible, and the next log file repeats their records.
func (s *Store) giveUp(w *wal) {
	if s.wal != w || w == nil {
		return
	}
	salvaged := w.salvage()
	durable := w.durableTo()
	s.mem.remove(func(b *memBatch) bool { return !b.visible && b.lsn > durable }) // of this log: a flush shows those of others
	for _, m := range s.memory() {
		for _, b := range m.batches {
			if b.lsn > durable && (b.log == w.number || seeded.On("logged_twice")) {
				b.log = 0
			}
			b.visible = b.visible || b.lsn <= durable // whoever waits for it may have been told of an error
		}
	}
	s.oldWAL = append(s.oldWAL, w.extent())
	// What a failed fsync dropped can still be read, and the next process
	// would take it for stored. If it cannot be cut off, the machine's next
	// start will tell.
	if !salvaged {
		_ = w.file.Truncate(w.extent().bytes)
	}
	_ = w.file.Close() // failed before; nothing more is expected of it
	s.wal = nil
	s.opt.Log.Error("log given up", "file", walName(w.number), "error", w.broken)
}

func (s *Store) lockedGiveUp(w *wal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp(w)
}

// syncWritten makes the log durable as far as it is written.
func (s *Store) syncWritten() error {
	s.mu.Lock()
	log, lsn := s.wal, uint64(0)
	if log != nil {
		lsn = log.lsn
	}
	s.mu.Unlock()
	if log == nil {
		return nil
	}
	err := s.writes("sync the log", func() error { return log.sync(lsn) })
	if err != nil {
		s.lockedGiveUp(log)
	}
	return err
}

// relog logs batches again whose log failed after they were acknowledged, so
// that they survive the end of the process, without waiting for the next append.
func (s *Store) relog() error {
	return s.writes("begin a log", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.usable(true) != nil || s.wal != nil || len(s.unlogged()) == 0 {
			return nil
		}
		return s.openLog()
	})
}

// Sync makes all batches up to an LSN durable.
func (s *Store) Sync(ctx context.Context, lsn uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.usable(true)
	if err == nil && lsn > s.lsn {
		err = fmt.Errorf("%w: the newest batch has %d; later ones were lost when the store's process ended, or never came", ErrNotFound, s.lsn)
	}
	s.mu.Unlock()
	if err == nil {
		err = s.syncWritten()
	}
	if err == nil && !s.allDurable(lsn) {
		err = s.Flush(ctx) // batches that are in no log, perhaps since theirs failed a moment ago
	}
	if err != nil {
		return fmt.Errorf("sync to LSN %d: %w", lsn, err)
	}
	return nil
}

// allDurable reports whether power loss leaves all batches up to an LSN.
func (s *Store) allDurable(lsn uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.memory() {
		if slices.ContainsFunc(m.batches, func(b *memBatch) bool { return b.lsn <= lsn && !s.durable(b) }) {
			return false
		}
	}
	return true
}

// newRows leaves out the rows whose (customer, id) is stored already or stands
// earlier in the batch. A row with a RowID is left out if more equal ones without
// an id are stored than stand before it in its source. To leave an event out is
// to say that its first copy is as durable as the batch is to be: wait is what
// that takes.
func (s *Store) newRows(b *event.Batch, keep []int, ack *Ack) (fresh []int, wait waiting, err error) {
	if b.ID == nil {
		return keep, wait, nil
	}
	here := map[eventID]int{}
	var same *rowCounts
	for _, i := range keep {
		if b.ID[i] == "" {
			fresh = append(fresh, i)
			continue
		}
		if before, ok := rowBefore(b.ID[i]); ok {
			if same == nil {
				if same, err = s.findSame(b, keep); err != nil {
					return nil, wait, err
				}
			}
			equal := same.of(b.At(i))
			if equal.count <= before {
				equal.count++
				fresh = append(fresh, i)
				continue
			}
			for _, first := range equal.batches {
				s.rely(&wait, first, ack.Durability)
			}
			ack.Duplicates++
			continue
		}
		key := eventID{b.Customer[i], b.ID[i]}
		var first event.Event
		found := true
		if at, ok := here[key]; ok {
			first = b.At(at)
		} else if at, ok := s.inMemory(key); ok {
			first = at.batch.batch.At(at.row)
			s.rely(&wait, at.batch, ack.Durability)
		} else if first, found, err = s.storedEvent(key); err != nil {
			return nil, wait, err
		}
		switch {
		case !found:
			here[key] = i
			fresh = append(fresh, i)
		case sameContent(first, b.At(i)):
			ack.Duplicates++
		default:
			ack.Conflicts++
		}
	}
	return fresh, wait, nil
}

func (s *Store) inMemory(key eventID) (memRow, bool) {
	for _, m := range s.memory() {
		if at, ok := m.ids[key]; ok {
			return at, true
		}
	}
	return memRow{}, false
}

// sameContent compares two events of one customer and id.
func sameContent(a, b event.Event) bool {
	return a.Time == b.Time && a.Name == b.Name && a.Channel == b.Channel &&
		slices.EqualFunc(a.Props, b.Props, func(p, q event.Prop) bool {
			if a, b := p.Value.Type(), q.Value.Type(); a != b && a.Numeric() && b.Numeric() || a == event.FloatType && b == a {
				return p.Name == q.Name && p.Value.Float() == q.Value.Float()
			}
			return p == q // integers as they are: large ones are not all floats
		})
}

// selectRows copies rows of a batch, with only the names that they use.
func selectRows(b *event.Batch, rows []int) *event.Batch {
	out := &event.Batch{
		Customer: pick(b.Customer, rows), Time: pick(b.Time, rows),
		Name: pick(b.Name, rows), Channel: pick(b.Channel, rows), ID: pick(b.ID, rows),
		Channels: []string{""},
	}
	out.Names = compactCodes(out.Name, b.Names, nil)
	out.Channels = compactCodes(out.Channel, b.Channels, out.Channels)
	for i := range b.Columns {
		c := &b.Columns[i]
		out.Columns = append(out.Columns, event.Column{
			Name: c.Name, Type: c.Type, Present: pick(c.Present, rows),
			Ints: pick(c.Ints, rows), Floats: pick(c.Floats, rows), Texts: pick(c.Texts, rows),
		})
	}
	out.Columns = slices.DeleteFunc(out.Columns, func(c event.Column) bool {
		return c.Present != nil && !slices.Contains(c.Present, true)
	})
	if len(rows) == 0 {
		out.Columns = nil
	}
	return out
}

func pick[T any](list []T, rows []int) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = list[r]
	}
	return out
}

// compactCodes rewrites codes so that the list of names, which begins with
// known, holds only those in use.
func compactCodes(codes []uint32, names, known []string) []string {
	to := make([]uint32, len(names))
	index := map[string]uint32{}
	for i, n := range known {
		index[n] = uint32(i)
	}
	for i, c := range codes {
		if to[c] == 0 {
			code, ok := index[names[c]]
			if !ok {
				code = uint32(len(known))
				known = append(known, names[c])
				index[names[c]] = code
			}
			to[c] = code + 1
		}
		codes[i] = to[c] - 1
	}
	return known
}

// encode puts a batch's names into the catalog and its codes into the
// catalog's, in place. props are the catalog's indexes of its columns.
func (c *catalog) encode(b *event.Batch) (out *event.Batch, props []int) {
	names := make([]uint32, len(b.Names))
	for i := range names {
		names[i] = c.event(b.Names[i])
	}
	channels := make([]uint32, len(b.Channels))
	for i := range channels {
		channels[i] = c.channel(b.Channels[i])
	}
	for i := range b.Name {
		b.Name[i] = names[b.Name[i]]
		b.Channel[i] = channels[b.Channel[i]]
	}
	for i := range b.Columns {
		props = append(props, c.property(b.Columns[i].Name, b.Columns[i].Type))
	}
	b.Names, b.Channels = c.events, c.channels
	return b, props
}
