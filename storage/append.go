package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

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
	Token      string // names the batch: sent again, it gets the first answer and changes nothing
	Strict     bool   // one bad event refuses the batch
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

// Limits of an appended event: what fits a log record and a customer's run
// without one event crowding out the rest. Bulk loads are not held to them.
const (
	batchEvents     = 50_000
	eventBytes      = 64 << 10
	eventProperties = 256
	nameBytes       = 128

	// futureMost is how far in the future of the store's clock an appended
	// event's time may lie: senders' clocks are wrong by hours, hardly by days.
	futureMost = 48 * event.Hour
)

// storeProperties is how many properties a store may have: each costs every
// query and every block something. Who sends names that are data has more.
const storeProperties = 10_000

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
	for {
		var ack Ack
		var wait waiting
		err := s.writes("append", func() (err error) {
			ack, wait, err = s.append(ctx, b, opt)
			return err
		})
		switch {
		case err != nil:
		case wait.sorted != nil:
			select {
			case <-wait.sorted:
			case <-ctx.Done():
				err = ctx.Err()
			}
		case wait.flush:
			err = s.Flush(ctx)
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
	flush  bool            // what was sent before is in no log: flush, and take the batch again
	sorted <-chan struct{} // what came before, and then take the batch again; nil: nothing to wait for
}

// rely lets an answer wait until a batch that holds what is sent again is as
// durable as asked for now.
func (w *waiting) rely(b *memBatch, durability Durability) {
	if !b.visible && durability != Memory || durability == Sync {
		w.lsn = max(w.lsn, b.lsn)
		w.flush = w.flush || durability == Sync && b.log == 0
	}
}

func (s *Store) append(ctx context.Context, b *event.Batch, opt AppendOptions) (Ack, waiting, error) {
	s.appending.RLock()
	defer s.appending.RUnlock()
	ack, batch, wait, log, err := s.takeLocked(b, opt)
	if err != nil || wait.flush || wait.sorted != nil {
		return ack, wait, err
	}
	if wait.lsn > 0 && log != nil {
		if err := log.sync(wait.lsn); err != nil {
			s.lockedGiveUp(log)
			return Ack{}, wait, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if batch != nil {
		batch.visible = true
	}
	if s.mem.rows >= s.opt.MemtableEvents && !s.closing {
		const behind = 4 // memtables that the background may owe before appends do its work
		s.nudge()
		if (!s.opt.Background || s.mem.rows >= behind*s.opt.MemtableEvents) && s.writing.TryLock() {
			defer s.writing.Unlock()
			if err := s.flush(ctx); err != nil {
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
						wait.rely(first, min(opt.Durability, first.durability)) // the stronger: the answer tells of the first
					}
				}
			}
			return t.Ack, nil, wait, nil
		}
	}
	keep, rejected := s.validate(b, s.state().cutoff(), s.now().Add(futureMost))
	ack.Rejected, ack.Durability = rejected, opt.Durability
	if opt.Strict && len(rejected) > 0 {
		return ack, nil, wait, fmt.Errorf("%w: event %d: %s", ErrRefused, rejected[0].Index, rejected[0].Reason)
	}
	keep, ack.Suppressed = s.suppression().without(b, keep)
	fresh, wait, err := s.newRows(b, keep, &ack)
	if err != nil || wait.flush {
		return ack, nil, wait, err
	}
	ack.Accepted = int64(len(fresh))
	if len(fresh) == 0 && opt.Token == "" {
		// Nothing to write, but a duplicate's first copy may not be durable yet.
		ack.LSN = s.lsn
		return ack, nil, wait, nil
	}
	if len(fresh) > 0 {
		if err := s.room(); err != nil {
			return ack, nil, wait, err
		}
	}
	if opt.Durability != Memory {
		if err := s.openLog(); err != nil {
			return ack, nil, wait, err
		}
	}
	picked := selectRows(b, fresh)
	s.lsn++
	ack.LSN = s.lsn
	now := s.now()
	if opt.Durability != Memory {
		if err := s.wal.append(s.lsn, opt.Durability, encodeRecord(now, opt.Token, &ack, picked)); err != nil {
			s.giveUp(s.wal)
			return ack, nil, wait, err
		}
	}
	mem = &memBatch{lsn: s.lsn, received: now, token: opt.Token, durability: opt.Durability, visible: opt.Durability != Sync || seeded.On("visible_before_sync")}
	if opt.Durability != Memory {
		mem.log = s.wal.number
	}
	s.remember(mem, picked, ack)
	if opt.Durability == Sync && !seeded.On("acknowledged_before_sync") {
		wait.lsn = s.lsn
	}
	return ack, mem, wait, nil
}

// remember puts a batch into the memtable, in the catalog's codes.
func (s *Store) remember(mem *memBatch, b *event.Batch, ack Ack) {
	mem.batch, mem.props = s.catalog.encode(b)
	s.mem.add(mem)
	s.pace.taken += int64(b.Len())
	if mem.token != "" {
		s.mem.tokens[mem.token] = tokenRecord{Token: mem.token, At: mem.received, Ack: ack}
	}
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
	t, ok := s.state().tokens[token]
	if !ok && s.state().eraseKey != nil {
		t, ok = s.state().tokens[keyedToken+keyed(s.state().eraseKey, "token", token)]
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
	// Batches whose log failed after they became visible are logged again.
	for _, b := range s.mem.batches {
		if !b.unlogged() {
			continue
		}
		ack := Ack{}
		if b.token != "" {
			t, _ := s.token(b.token)
			ack = t.Ack
		}
		if err := w.append(b.lsn, b.durability, b.record(ack)); err != nil {
			s.giveUp(w)
			return err
		}
		b.log = w.number
	}
	return nil
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
	s.mem.remove(func(b *memBatch) bool { return !b.visible && b.lsn > durable })
	for _, b := range s.mem.batches {
		if b.lsn > durable && (b.log == w.number || seeded.On("logged_twice")) {
			b.log = 0
		}
		b.visible = b.visible || b.lsn <= durable // whoever waits for it may have been told of an error
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
	inMemory := false
	for _, m := range s.memory() {
		for _, b := range m.batches {
			inMemory = inMemory || b.lsn <= lsn && b.log == 0
		}
	}
	s.mu.Unlock()
	if err == nil && inMemory {
		return s.Flush(ctx) // batches that are in no log
	}
	if err == nil {
		err = s.syncWritten()
	}
	if err != nil {
		return fmt.Errorf("sync to LSN %d: %w", lsn, err)
	}
	return nil
}

// validate returns the rows that can be stored and why the others cannot.
func (s *Store) validate(b *event.Batch, oldest, latest event.Time) (keep []int, rejected []Rejection) {
	check := newChecker(s.catalog, b)
	for i := range b.Len() {
		reason := check.row(i)
		if reason == "" {
			reason = check.limits(i)
		}
		if reason == "" && b.Time[i] > latest {
			reason = "the time lies more than 48 hours in the future of the store's clock"
		}
		if reason == "" && b.Time[i] < oldest {
			reason = tooOld(oldest)
		}
		if reason != "" {
			rejected = append(rejected, Rejection{i, reason})
			continue
		}
		keep = append(keep, i)
	}
	return keep, rejected
}

// checker says why a batch's rows cannot be stored.
type checker struct {
	batch   *event.Batch
	names   []string // why an event name cannot be stored, by its index
	channel []string
	columns []string
}

func newChecker(c *catalog, b *event.Batch) *checker {
	k := &checker{batch: b}
	for _, n := range b.Names {
		switch {
		case n == "":
			k.names = append(k.names, "the event has no name")
		default:
			k.names = append(k.names, badText("event name", n))
		}
	}
	for _, n := range b.Channels {
		k.channel = append(k.channel, badText("channel", n))
	}
	seen := map[string]event.Type{}
	properties := len(c.properties)
	for i := range b.Columns {
		col := &b.Columns[i]
		reason := c.accepts(col.Name, col.Type)
		if _, known := c.propertyCode[col.Name]; !known {
			if properties++; properties > storeProperties {
				reason = fmt.Sprintf("property %q is one more than the %d that a store may have; put what differs into values, not into names", col.Name, storeProperties)
			}
		}
		if reason == "" {
			reason = badText("property name", col.Name)
		}
		if reason == "" && col.Name == "" {
			reason = "a property has no name"
		}
		if _, twice := seen[col.Name]; twice {
			reason = fmt.Sprintf("property %q is given twice", col.Name)
		}
		seen[col.Name] = col.Type
		k.columns = append(k.columns, reason)
	}
	return k
}

// objects reports whether there is anything against a name or a property,
// whichever rows have it.
func (k *checker) objects() bool {
	some := func(reason string) bool { return reason != "" }
	return slices.ContainsFunc(k.names, some) || slices.ContainsFunc(k.channel, some) || slices.ContainsFunc(k.columns, some)
}

func badText(what, s string) string {
	if !utf8.ValidString(s) {
		return fmt.Sprintf("%s %q is not valid UTF-8", what, s)
	}
	return ""
}

// row checks what no stored event may lack.
func (k *checker) row(i int) string {
	b := k.batch
	switch {
	case b.Customer[i] == "":
		return "the event has no customer"
	case !utf8.ValidString(b.Customer[i]):
		return badText("customer", b.Customer[i])
	case b.Time[i] < event.MinTime || b.Time[i] > event.MaxTime:
		return "the time lies outside the years 0001 to 9999"
	case k.names[b.Name[i]] != "":
		return k.names[b.Name[i]]
	case k.channel[b.Channel[i]] != "":
		return k.channel[b.Channel[i]]
	case b.ID != nil && !utf8.ValidString(b.ID[i]):
		return badText("id", b.ID[i])
	}
	for c := range b.Columns {
		col := &b.Columns[c]
		if col.Present != nil && !col.Present[i] {
			continue
		}
		switch {
		case k.columns[c] != "":
			return k.columns[c]
		case col.Type == event.StringType && !utf8.ValidString(col.Texts[i]):
			return badText(fmt.Sprintf("property %q", col.Name), col.Texts[i])
		case col.Type == event.FloatType && (math.IsNaN(col.Floats[i]) || math.IsInf(col.Floats[i], 0)):
			return fmt.Sprintf("property %q is not a finite number", col.Name)
		}
	}
	return ""
}

// limits checks what appended events are held to.
func (k *checker) limits(i int) string {
	b := k.batch
	size := len(b.Customer[i]) + len(b.Names[b.Name[i]]) + len(b.Channels[b.Channel[i]])
	if b.ID != nil {
		size += len(b.ID[i])
	}
	count := 0
	if len(b.Names[b.Name[i]]) > nameBytes {
		return fmt.Sprintf("the event name has %d bytes, the limit is %d", len(b.Names[b.Name[i]]), nameBytes)
	}
	for c := range b.Columns {
		col := &b.Columns[c]
		if col.Present != nil && !col.Present[i] {
			continue
		}
		count++
		if len(col.Name) > nameBytes {
			return fmt.Sprintf("the name of property %q has %d bytes, the limit is %d", col.Name[:32]+"…", len(col.Name), nameBytes)
		}
		size += len(col.Name) + 8
		if col.Type == event.StringType {
			size += len(col.Texts[i])
		}
	}
	switch {
	case count > eventProperties:
		return fmt.Sprintf("the event has %d properties, the limit is %d", count, eventProperties)
	case size > eventBytes:
		return fmt.Sprintf("the event has %d bytes, the limit is %d", size, eventBytes)
	}
	return ""
}

// newRows leaves out the rows whose (customer, id) is stored already or stands
// earlier in the batch. To leave an event out is to say that its first copy is
// as durable as the batch is to be: wait is what that takes.
func (s *Store) newRows(b *event.Batch, keep []int, ack *Ack) (fresh []int, wait waiting, err error) {
	if b.ID == nil {
		return keep, wait, nil
	}
	here := map[eventID]int{}
	for _, i := range keep {
		if b.ID[i] == "" {
			fresh = append(fresh, i)
			continue
		}
		key := eventID{b.Customer[i], b.ID[i]}
		var first event.Event
		found := true
		if at, ok := here[key]; ok {
			first = b.At(at)
		} else if at, ok := s.inMemory(key); ok {
			first = at.batch.batch.At(at.row)
			wait.rely(at.batch, ack.Durability)
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
			if p.Value.Type().Numeric() && q.Value.Type().Numeric() {
				return p.Name == q.Name && p.Value.Float() == q.Value.Float()
			}
			return p == q
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
