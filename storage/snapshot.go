package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// Snapshot is one state of a store. It shows whole batches only and does not
// change, whatever is appended, compacted or undone meanwhile. Release it.
type Snapshot struct {
	cache      *cache
	store      [16]byte
	sources    []*source // in order of arrival
	files      []*segmentFile
	events     []string
	channels   []string
	properties []event.Property
	defines    []event.Definition
	links      *linkTable
	missing    []Missing
	received   event.Time
	lsn, epoch uint64
	process    uint32 // names the writer's process if power loss may take something that is shown; 0: it may not
	removals   uint64
	bits       int // tiles are the prefixes of so many bits
	rows       int64
	growing    bool // events come in: tiles are soon made anew of the same blocks
	erasing    bool // something is masked: names without a row are those of the erased

	customers once[int64]
	newest    once[span]
	schema    once[*event.Schema]
	released  sync.Once
}

// Missing is damaged data that a snapshot leaves out.
type Missing struct {
	Segment  string // the file
	From, To event.Time
	Rows     int64 // 0: nobody knows, nor the times
	Reason   string
	FirstLSN uint64 // of the batches in it; 0: nobody knows
	LastLSN  uint64 // 0: all that came after FirstLSN, or nobody knows
}

// missingJSON is Missing as it is written: what nobody knows is null.
type missingJSON struct {
	Segment  string      `json:"segment"`
	From     *event.Time `json:"from"`
	To       *event.Time `json:"to"`
	Rows     *int64      `json:"rows"`
	Reason   string      `json:"reason"`
	FirstLSN *uint64     `json:"first_lsn"`
	LastLSN  *uint64     `json:"last_lsn"`
}

// MarshalJSON implements json.Marshaler.
func (m Missing) MarshalJSON() ([]byte, error) {
	out := missingJSON{Segment: m.Segment, Reason: m.Reason}
	if m.Rows != 0 {
		out.From, out.To, out.Rows = &m.From, &m.To, &m.Rows
	}
	if m.FirstLSN != 0 {
		out.FirstLSN = &m.FirstLSN
	}
	if m.LastLSN != 0 {
		out.LastLSN = &m.LastLSN
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Missing) UnmarshalJSON(text []byte) error {
	in := missingJSON{From: &m.From, To: &m.To, Rows: &m.Rows, FirstLSN: &m.FirstLSN, LastLSN: &m.LastLSN}
	err := json.Unmarshal(text, &in)
	m.Segment, m.Reason = in.Segment, in.Reason
	return err
}

// once computes a value when it is first asked for. A failure is not kept.
type once[T any] struct {
	mu    sync.Mutex
	done  bool
	value T
}

func (o *once[T]) get(make func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		v, err := make()
		if err != nil {
			return v, err
		}
		o.value, o.done = v, true
	}
	return o.value, nil
}

// Snapshot pins the current state. What came since the last one is sorted
// while appends go on.
func (s *Store) Snapshot() (*Snapshot, error) {
	s.sorting.Lock()
	defer s.sorting.Unlock()
	snap, memory, err := s.pinState()
	if err != nil {
		return nil, err
	}
	fresh := 0
	for _, p := range memory {
		fresh += p.fresh.rows
	}
	defer s.beginSort(fresh)()
	for _, p := range memory {
		if err := p.sort(s.opt.BlockCustomers, true); err != nil {
			snap.Release()
			return nil, fmt.Errorf("snapshot: %w", err)
		}
		snap.sources = append(snap.sources, p.sources(s.opt.BlockCustomers)...)
	}
	s.keepSorted(memory)
	snap.chooseTiles(s.opt.BlockCustomers)
	return snap, nil
}

// keepSorted leaves what was sorted to the next snapshot.
func (s *Store) keepSorted(memory []*pinnedBatches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range memory {
		p.keep()
	}
}

// pinState returns a snapshot of the segments, and the batches that belong to it.
func (s *Store) pinState() (*Snapshot, []*pinnedBatches, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(false); err != nil {
		return nil, nil, err
	}
	if s.halfRead { // another caller's look at the store failed
		if err := s.refresh(); err != nil {
			return nil, nil, err
		}
	}
	undone := s.undone()
	snap := &Snapshot{
		erasing: slices.ContainsFunc(s.state().erasures, func(r eraseRecord) bool { return r.Finished == 0 }),
		cache:   s.cache, store: s.state().store,
		events: slices.Clip(s.catalog.events), channels: slices.Clip(s.catalog.channels), properties: slices.Clip(s.catalog.properties),
		defines: s.state().defines, links: s.linkTable(), missing: s.missingData(),
		received: s.state().received, lsn: s.state().lsn, epoch: s.state().epoch,
	}
	snap.removals = s.erased()
	for _, gone := range undone {
		if gone {
			snap.removals++
		}
	}
	for _, r := range s.state().segments {
		if f := s.segments[r.ID]; f != nil {
			f.retain()
			snap.files = append(snap.files, f)
			view := f.view(undone)
			snap.sources = append(snap.sources, view)
			snap.rows += view.seg.Rows - view.undone
		}
	}
	s.showDurable()
	var memory []*pinnedBatches
	for _, m := range s.memory() {
		memory = append(memory, m.pin(s, false))
		for _, b := range m.batches {
			if b.visible {
				snap.lsn, snap.received = max(snap.lsn, b.lsn), max(snap.received, b.received)
				snap.rows += int64(b.batch.Len())
				if !s.durable(b) {
					snap.process = s.nonce()
				}
			}
		}
	}
	return snap, memory, nil
}

// chooseTiles chooses the number of tiles, and whether the blocks that they are
// made of are worth keeping beside them.
func (s *Snapshot) chooseTiles(perBlock int) {
	const blockRow = 32 // bytes of a row and its share of its customer's name, roughly, more than less
	most, sum := int64(0), int64(0)
	for _, src := range s.sources {
		s.growing = s.growing || src.seg.held != nil && s.rows*blockRow <= s.cache.bytes/2
		s.bits = max(s.bits, src.seg.PrefixBits)
		most = max(most, src.seg.Customers)
		sum += src.seg.Customers
	}
	// Many sources with few customers each may have many together. Between
	// the largest source and the sum of all lies the truth; tiles of half or
	// twice the size do no harm.
	s.bits = max(s.bits, prefixBits((most+sum)/2, 2*perBlock))
}

// Version is the Version that a Snapshot would have now, for those who look
// whether anything has changed: nothing is sorted for it.
func (s *Store) Version() (string, error) {
	snap, _, err := s.pinState()
	if err != nil {
		return "", err
	}
	defer snap.Release()
	return snap.Version(), nil
}

// Properties lists the properties that events have had, each with its type. It
// is what a Snapshot's Schema has, for those who take events in and want to
// know before each batch, when sorting what came since would cost them more
// than storing it does.
func (s *Store) Properties() ([]event.Property, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(false); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(s.catalog.properties), func(p event.Property) bool { return p.Name == "" }), nil
}

// linkTable returns the resolved links. The caller holds mu.
func (s *Store) linkTable() *linkTable {
	if s.linksOf != s.state() {
		if s.linksOf == nil || s.linksOf.epoch != s.state().epoch {
			s.links = s.links.next(s.state().links)
		}
		s.linksOf = s.state()
	}
	return s.links
}

// Release gives the snapshot back. Files that only it still reads go away.
func (s *Snapshot) Release() {
	s.released.Do(func() {
		if seeded.On("pin_leaked") {
			return
		}
		for _, f := range s.files {
			f.release()
		}
	})
}

// Schema lists the events, channels and properties, with counts that are
// exact but for undone imports whose rows lie in one segment with others and
// await compaction.
func (s *Snapshot) Schema() *event.Schema {
	schema, _ := s.schema.get(func() (*event.Schema, error) {
		sc := &event.Schema{Properties: s.properties}
		for _, n := range s.events {
			sc.Events = append(sc.Events, event.Name{Text: n})
		}
		for _, n := range s.channels {
			sc.Channels = append(sc.Channels, event.Name{Text: n})
		}
		for _, src := range s.sources {
			if src.undone == src.seg.Rows {
				continue // nothing of it is shown
			}
			for code, n := range src.seg.EventCounts {
				sc.Events[code].Count += n
			}
			for code, n := range src.seg.ChannelCounts {
				sc.Channels[code].Count += n
			}
			var hidden [2][2][]int64
			if src.mask != nil {
				hidden[0] = [2][]int64{src.mask.events, src.mask.channels}
			}
			if src.aged != nil {
				hidden[1] = [2][]int64{src.aged.events, src.aged.channels}
			}
			for _, h := range hidden {
				for code, n := range h[0] {
					sc.Events[code].Count -= n
				}
				for code, n := range h[1] {
					sc.Channels[code].Count -= n
				}
			}
		}
		for _, list := range [][]event.Name{sc.Events, sc.Channels} {
			for code := range list {
				if s.erasing && list[code].Count == 0 {
					list[code].Text = ""
				}
			}
		}
		return sc, nil
	})
	return schema
}

// Definitions lists the definitions, by name.
func (s *Snapshot) Definitions() []event.Definition { return s.defines }

// Missing lists damaged data that the tiles leave out.
func (s *Snapshot) Missing() []Missing { return s.missing }

// Version names the state: it is the same after the store was closed and
// opened again, flushed or compacted, and another one after any change.
//
// The newest LSN alone does not name it: batches become visible when they are
// acknowledged, an earlier one perhaps after a later one. So the events are
// counted, too, of which a batch can only add some; what takes events away
// begins a new epoch. What is shown and not durable yet may be lost, and its LSN
// be another batch's in the next process: until then the process is named, too.
func (s *Snapshot) Version() string {
	rows := s.rows
	if seeded.On("version_by_lsn") || seeded.On("cache_survives_erasure") {
		rows = 0
	}
	v := fmt.Sprintf("%x-%d-%d-%d", s.store[:4], s.lsn, s.epoch, rows)
	if s.process > 0 && !seeded.On("version_by_lsn") {
		v += fmt.Sprintf("-p%x", s.process)
	}
	if len(s.missing) > 0 { // damage changes answers, too
		sum := uint64(0)
		for _, m := range s.missing {
			sum = mix(sum, customerHash(m.Segment+m.Reason))
		}
		v += fmt.Sprintf("-%x", sum)
	}
	return v
}

// Removals counts how often data was taken out: erasures, and imports undone.
// What was computed for a state with fewer may show what is gone.
func (s *Snapshot) Removals() uint64 { return s.removals }

// Events counts the events.
func (s *Snapshot) Events() int64 { return s.rows }

// Ready reads what EndOfData and Span need. They know nothing of a snapshot of
// which that cannot be read.
func (s *Snapshot) Ready() error {
	_, err := s.newest.get(s.findNewest)
	return err
}

// EndOfData is the newest event's time, but not later than the time at which
// the newest batch was received.
func (s *Snapshot) EndOfData() (event.Time, bool) {
	newest, err := s.newest.get(s.findNewest)
	if err != nil || !newest.some {
		return 0, false
	}
	return min(newest.max, s.received), true
}

// Span returns the oldest and the newest event's time.
func (s *Snapshot) Span() (from, to event.Time, ok bool) {
	newest, err := s.newest.get(s.findNewest)
	return newest.min, newest.max, err == nil && newest.some
}

func (s *Snapshot) findNewest() (span, error) {
	var all span
	for _, src := range s.sources {
		switch {
		case src.seg.Rows == src.undone:
		case src.plain():
			all = all.with(src.seg.MinTime, src.seg.MaxTime)
		case all.some && src.seg.MinTime >= all.min && src.seg.MaxTime <= all.max:
		default:
			one, err := src.span()
			if err != nil {
				return span{}, err
			}
			if one.some {
				all = all.with(one.min, one.max)
			}
		}
	}
	return all, nil
}

// span finds the times of the rows that are shown. Blocks that hide none of
// theirs are not read.
func (s *source) span() (span, error) {
	var all span
	if s.drop == nil && s.mask == nil {
		// What is too old is all that is hidden, and the youngest row is not.
		if s.aged.rows < s.seg.Rows {
			all = all.with(s.aged.least, s.seg.MaxTime)
		}
		return all, nil
	}
	for index := range 1 << s.seg.PrefixBits {
		b, stats := s.block(index), s.seg.Stats(index)
		if b == nil {
			continue
		}
		if b.shown() {
			all = all.with(stats.MinTime, stats.MaxTime)
			continue
		}
		read, err := s.seg.Block(index)
		if err != nil {
			return all, err
		}
		b.block = read
		dropped, err := b.droppedRows()
		if err != nil {
			return all, err
		}
		for row := range read.Rows {
			if !dropped.Get(row) {
				t := read.Time.At(row)
				all = all.with(t, t)
			}
		}
	}
	return all, nil
}

// Customers counts the customers: identities with events, those that are
// linked to one customer counted once.
func (s *Snapshot) Customers() (int64, error) {
	return s.customers.get(func() (int64, error) {
		if len(s.sources) == 1 && s.sources[0].plain() && s.links == nil {
			return s.sources[0].seg.Customers, nil
		}
		counts := make([]int64, s.Tiles())
		var g errgroup.Group
		g.SetLimit(4)
		for i := range counts {
			g.Go(func() error {
				return shielded(func() error {
					l, err := s.layout(i, timeslice{})
					if err == nil {
						counts[i] = int64(l.customers())
					}
					return err
				})
			})
		}
		err := g.Wait()
		sum := int64(0)
		for _, n := range counts {
			sum += n
		}
		return sum, err
	})
}

// Tiles is the number of tiles.
func (s *Snapshot) Tiles() int { return 1 << s.bits }

// Locate finds a customer by any identity: the tile, the place in it, and the
// name that links lead to.
func (s *Snapshot) Locate(ctx context.Context, customer string) (tileIndex, index int, canonical string, ok bool, err error) {
	canonical = s.links.resolve(customer)
	hash := customerHash(canonical)
	tileIndex = blockOf(hash, s.bits)
	if err := ctx.Err(); err != nil {
		return 0, 0, canonical, false, err
	}
	t, err := s.Tile(ctx, tileIndex, tile.Need{Names: true})
	if err != nil {
		return 0, 0, canonical, false, err
	}
	index, ok = findName(t.Names, hash, canonical)
	return tileIndex, index, canonical, ok, nil
}

// findName looks for a customer among names ordered by hash and name.
func findName(names *tile.Strings, hash uint64, name string) (int, bool) {
	lo, hi := 0, names.Len()
	for lo < hi {
		mid := (lo + hi) / 2
		at := names.At(mid)
		if c := cmp.Or(cmp.Compare(customerHash(at), hash), strings.Compare(at, name)); c < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < names.Len() && names.At(lo) == name
}

// Values lists known values of a string property that begin with prefix, in
// order; complete is false if there may be more.
func (s *Snapshot) Values(property, prefix string, limit int) (values []string, complete bool) {
	complete = true
	i := slices.IndexFunc(s.properties, func(p event.Property) bool { return p.Name == property })
	if i < 0 {
		return nil, true
	}
	for _, src := range s.sources {
		if i >= len(src.seg.Properties) {
			continue
		}
		list, all := src.seg.Values(i, prefix, limit)
		values = append(values, list...)
		complete = complete && all
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if len(values) > limit {
		values, complete = values[:limit], false
	}
	return values, complete
}
