package storage

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"

	"wend/event"
	"wend/tile"
)

// tileMerge merges one tile from the blocks of all sources.
type tileMerge struct {
	snap   *Snapshot
	tile   int
	slice  timeslice
	cut    bool // rows of the blocks lie outside of the slice
	blocks []*tileBlock
	own    int          // the first so many are the tile's own; the rest is there for links
	linked []linked     // identities of this tile that links touch
	extra  []aliasPlace // rows that links bring in
	from   []int        // the block of each
	ranked bool         // equal times of two parts may be told apart by tie ranks only
	apart  bool         // each block is later than all before it
	read   []*tileBlock // the blocks, once the tile was merged, if it does not hold them; nil: it does, or it was kept
	*tileScratch
}

// gather finds the blocks that take part, without reading them.
func (m *tileMerge) gather() error {
	s := m.snap
	for _, src := range s.sources {
		if !m.slice.meets(src) {
			continue
		}
		have := src.seg.PrefixBits
		if have < s.bits {
			b := src.block(m.tile >> (s.bits - have))
			if b == nil {
				continue
			}
			names, err := s.cache.names(b, true)
			if err != nil {
				return err
			}
			if lo, hi := cut(names.hashes, m.tile, s.bits); lo < hi {
				m.blocks = append(m.blocks, b)
			}
			continue
		}
		for p := m.tile << (have - s.bits); p < (m.tile+1)<<(have-s.bits); p++ {
			if b := src.block(p); b != nil {
				m.blocks = append(m.blocks, b)
			}
		}
	}
	m.own, m.cut = len(m.blocks), m.slice.cuts(m.blocks)
	m.linked = s.links.within(m.tile, s.bits)
	if len(m.linked) == 0 {
		m.apart = inTime(m.blocks)
		return nil
	}
	for _, src := range s.sources {
		if !m.slice.meets(src) {
			continue
		}
		places, err := s.links.places(s, src)
		if err != nil {
			return err
		}
		for _, place := range within(places, m.tile, s.bits) {
			at := slices.IndexFunc(m.blocks, func(o *tileBlock) bool { return o.src == src && o.index == place.block })
			if at < 0 {
				at = len(m.blocks)
				m.blocks = append(m.blocks, src.block(place.block))
			}
			m.extra = append(m.extra, place)
			m.from = append(m.from, at)
		}
	}
	return nil
}

// inTime puts blocks in the order of their times, if none of them overlap.
func inTime(blocks []*tileBlock) bool {
	stats := func(b *tileBlock) blockStats { return b.src.seg.Stats(b.index) }
	sorted := slices.SortedStableFunc(slices.Values(blocks), func(a, b *tileBlock) int { return cmp.Compare(stats(a).MinTime, stats(b).MinTime) })
	for i := 1; i < len(sorted); i++ {
		if stats(sorted[i-1]).MaxTime >= stats(sorted[i]).MinTime {
			return false
		}
	}
	copy(blocks, sorted)
	return true
}

// TileRows says beforehand about how many rows tile i has: of blocks that are
// larger than the tile, its share.
func (s *Snapshot) TileRows(i int) int64 {
	rows := int64(0)
	for _, src := range s.sources {
		have := src.seg.PrefixBits
		if have < s.bits {
			rows += int64(src.seg.Stats(i>>(s.bits-have)).Rows) >> (s.bits - have)
			continue
		}
		for p := i << (have - s.bits); p < (i+1)<<(have-s.bits); p++ {
			rows += int64(src.seg.Stats(p).Rows)
		}
	}
	return rows
}

// whole reports whether the tile is one block as it is.
func (m *tileMerge) whole() bool {
	return len(m.blocks) == 1 && len(m.linked) == 0 && !m.cut && m.blocks[0].shown() && m.blocks[0].src.seg.PrefixBits == m.snap.bits
}

// key names what the tile is made of: segments never change, so equal keys
// are equal tiles, and a tile outlives every change that does not touch it.
func (m *tileMerge) key() string {
	key := []byte{'t'}
	if m.cut {
		key[0] = 's'
		key = binary.AppendVarint(key, int64(m.slice.from))
		key = binary.AppendVarint(key, int64(m.slice.to))
	}
	key = binary.AppendUvarint(key, uint64(m.snap.bits))
	key = binary.AppendUvarint(key, uint64(m.tile))
	for _, b := range m.blocks {
		key = binary.AppendUvarint(key, b.src.handle)
		key = binary.AppendUvarint(key, uint64(b.src.drops))
		key = binary.AppendUvarint(key, uint64(len(b.src.mask.of(b.index)))) // masks of one segment only grow
		before := int64(0)
		if b.aged() {
			before = int64(b.src.aged.before)
		}
		key = binary.AppendVarint(key, before)
		key = binary.AppendUvarint(key, uint64(b.index))
	}
	if len(m.linked) > 0 {
		// The blocks and these links say which rows they bring in and which they take away.
		sum := m.snap.links.print(m.tile, m.snap.bits)
		key = append(append(key, 'l'), sum[:]...)
	}
	return string(key)
}

// place names the tile in whichever state, if it is a whole one with events of
// the memtable, which will soon have others; "" if not. Where there come to be
// more tiles, all have other customers, so a number is enough of a name.
func (m *tileMerge) place() string {
	if m.cut || !slices.ContainsFunc(m.blocks, func(b *tileBlock) bool { return b.src.seg.held != nil }) {
		return ""
	}
	return strconv.Itoa(m.tile)
}

// merge makes the tile.
func (m *tileMerge) merge() (*hotTile, error) {
	s := m.snap
	m.tileScratch = tileScratches.Get().(*tileScratch)
	defer m.giveBack()
	if m.alone() {
		return m.cutOne()
	}
	m.ranked = m.needsRanks()
	h := &hotTile{layout: layout{key: m.key(), place: m.place(), shared: m.cut || len(m.linked) > 0}}
	read := make([]*tileBlock, len(m.blocks))
	if m.cut {
		m.read = read
	}
	var parts []*part
	for i, b := range m.blocks {
		// A block of this tile alone is not asked for again while the tile is kept, which it is until events come.
		var err error
		shared := m.cut || i >= m.own || b.src.seg.PrefixBits < s.bits
		if read[i], err = s.cache.read(b, (shared || s.growing) && b.src.seg.held == nil); err != nil {
			return nil, err
		}
		if i >= m.own || m.cut && b.src.seg.held == nil {
			h.blocks = append(h.blocks, b) // other tiles share it: it is read again when it is needed
		} else {
			h.blocks = append(h.blocks, read[i].slim())
		}
		if i >= m.own {
			continue
		}
		p, err := m.part(read[i])
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	all := m.members.list(parts, s.bits)
	// What links bring in is a part of its own for each identity, with just its rows.
	brought := map[string][]run{}
	for i, place := range m.extra {
		b := read[m.from[i]]
		p, err := s.aliasPart(b, place.customer)
		if err != nil {
			return nil, err
		}
		if m.cut {
			p.dropped = m.slice.drop(p.dropped, p.times)
		}
		parts = append(parts, p)
		brought[place.to] = runsOf(brought[place.to], parts, member{part: uint32(len(parts) - 1)})
	}

	h.starts, h.who = make([]uint32, 0, len(all)+1), make([]identity, 0, len(all))
	h.rows.list = m.list[:0]
	runs, tied := m.runs[:0], m.tied[:0]
	emit := func(name string, who identity, ties bool) {
		if own := len(runs); name != "" {
			runs = append(runs, brought[name]...)
			ties = ties || len(runs) > own
		}
		if len(runs) > 0 {
			if ties {
				tied = append(tied, uint32(len(h.who)))
			}
			if who.block < 0 {
				who.customer = uint32(len(h.others))
				h.others = append(h.others, name)
			}
			h.starts = append(h.starts, uint32(h.rows.rows))
			h.who = append(h.who, who)
			if m.apart {
				for _, r := range runs {
					h.rows.add(r.part, r.row, r.end-r.row)
				}
			} else {
				join(&h.rows, parts, runs)
			}
		}
		runs = runs[:0]
	}
	touched := m.linked // those not yet passed
	for lo := 0; lo < len(all); {
		hi := same(parts, all, lo)
		first := all[lo]
		for len(touched) > 0 && touched[0].before(first.hash, first.name(parts)) {
			m.onlyLinked(touched[0].name, emit)
			touched = touched[1:]
		}
		name := "" // of customers that links touch
		if len(touched) > 0 && touched[0].name == first.name(parts) {
			name = touched[0].name
			touched = touched[1:]
			if s.links.resolve(name) != name {
				lo = hi // another customer's
				continue
			}
		}
		ties := false
		for _, member := range all[lo:hi] {
			runs = runsOf(runs, parts, member)
			ties = ties || read[member.part].Ties.Get(int(member.customer))
		}
		emit(name, identity{int32(first.part), first.customer}, ties)
		lo = hi
	}
	for _, l := range touched {
		m.onlyLinked(l.name, emit)
	}
	h.starts = append(h.starts, uint32(h.rows.rows))
	m.runs, m.tied, m.list = runs, tied, h.rows.list
	m.encode(h, parts, read)
	return h, nil
}

// encode lets the pieces mean rows of blocks in place of rows of parts, and
// gathers the hot columns from the blocks.
func (m *tileMerge) encode(h *hotTile, parts []*part, read []*tileBlock) {
	for i := range h.rows.list {
		if q := &h.rows.list[i]; int(q.part) >= m.own {
			q.row += parts[q.part].base
			q.part = uint32(m.from[int(q.part)-m.own])
		}
	}
	times, events := make([]*tile.Times, len(read)), make([]*tile.Codes, len(read))
	for i, b := range read {
		times[i], events[i] = b.Time, b.Event
	}
	h.firsts, h.ties = tile.NewFirsts(h.starts), tile.NewBitmap(h.customers())
	for _, c := range m.tied {
		h.ties.Set(int(c))
	}
	m.splicer.Begin(times, h.rows.rows, h.rows.sample(m.times.take(tile.SampleRows), times))
	at, c := uint32(0), 0
	for _, q := range h.rows.list {
		if m.splicer.Add(int(q.part), int(q.row), int(q.n)) {
			for h.starts[c+1] <= at {
				c++
			}
			if at > h.starts[c] {
				h.ties.Set(c)
			}
		}
		at += q.n
	}
	h.time = m.splicer.Times()
	h.lasts = h.time.LastBases(h.starts)
	h.same = h.time.Tied(h.starts, h.ties)
	h.event = m.codes.gather(&h.rows, events)
	h.rows.list = slices.Clone(h.rows.list) // m.list is used again
}

// onlyLinked emits a customer who may have events through links only.
func (m *tileMerge) onlyLinked(name string, emit func(string, identity, bool)) {
	if m.snap.links.resolve(name) == name {
		emit(name, identity{block: -1}, false)
	}
}

// before reports whether l stands before the customer of a name and its hash.
func (l linked) before(hash uint64, name string) bool {
	return l.hash < hash || l.hash == hash && l.name < name
}

// lookedUp is how many rows a customer has where the times of a few rows are
// looked up in less time than all are decoded.
const lookedUp = 8

// part prepares a block for a merge.
func (m *tileMerge) part(b *tileBlock) (*part, error) {
	s := m.snap
	names, err := s.cache.names(b, s.growing || b.src.seg.PrefixBits < s.bits) // those of this tile alone: just now
	if err != nil {
		return nil, err
	}
	p := &part{lsn: b.src.lsn, names: names.Strings, hashes: names.hashes, starts: b.Starts}
	p.lo, p.hi = cut(p.hashes, m.tile, s.bits)
	if b.rows != nil {
		p.times = b.rows.Time
	} else if lo, hi := int(p.starts[p.lo]), int(p.starts[p.hi]); m.cut || !m.apart && hi-lo < lookedUp*(p.hi-p.lo) {
		p.times = m.times.take(b.Rows()) // of the tile's own rows, and whatever of others
		b.Time.Decode(lo, p.times[lo:hi])
	}
	p.encoded = b.Time
	if m.ranked {
		if p.ranks, err = b.TieRank(); err != nil {
			return nil, err
		}
	}
	if p.dropped, err = b.droppedRows(); err == nil && m.cut {
		p.dropped = m.slice.drop(p.dropped, p.times)
	}
	return p, err
}

// needsRanks reports whether tie ranks may decide: where links fold identities,
// and where two sources of one arrival have times in common.
func (m *tileMerge) needsRanks() bool {
	for i, b := range m.blocks {
		for _, o := range m.blocks[:i] {
			if x, y := b.src, o.src; x != y && x.lsn == y.lsn && x.seg.MinTime <= y.seg.MaxTime && y.seg.MinTime <= x.seg.MaxTime {
				return true
			}
		}
	}
	return len(m.linked) > 0
}

// aliasPart prepares one customer of a block.
func (s *Snapshot) aliasPart(b *tileBlock, customer int) (*part, error) {
	lo, hi := b.Starts[customer], b.Starts[customer+1]
	p := &part{lsn: b.src.lsn, base: lo, starts: []uint32{0, hi - lo}, times: make([]event.Time, hi-lo)}
	b.Time.Decode(int(lo), p.times)
	ranks, err := cached(s.cache, blockKey('R', b.src, b.index, 0), func(r []uint32) int64 { return int64(64 + 4*len(r)) }, b.TieRank)
	if err != nil {
		return nil, err
	}
	if ranks != nil {
		p.ranks = ranks[lo:hi]
	}
	if b.shown() {
		return p, nil
	}
	all, err := b.droppedRows()
	if err != nil {
		return nil, err
	}
	p.dropped = tile.NewBitmap(int(hi - lo))
	p.dropped.Copy(0, all, int(lo), int(hi-lo))
	return p, nil
}

// shown reports whether all rows of the block are shown.
func (b *tileBlock) shown() bool {
	return b.src.drop == nil && len(b.src.mask.of(b.index)) == 0 && !b.aged()
}

// aged reports whether rows of the block are too old to be shown.
func (b *tileBlock) aged() bool {
	return b.src.aged != nil && b.src.aged.hides(b.src.seg.Stats(b.index).MinTime)
}

// droppedRows marks the rows of undone imports and of erased identities, and
// those that are too old; nil if there are none.
func (b *tileBlock) droppedRows() (tile.Bitmap, error) {
	if b.shown() {
		return nil, nil
	}
	dropped := tile.NewBitmap(b.Rows())
	b.src.mask.drop(dropped, b.index, b.Starts)
	if b.aged() {
		times := make([]event.Time, b.Rows())
		b.Time.Decode(0, times)
		b.src.aged.drop(dropped, times)
	}
	if b.src.drop == nil {
		return dropped, nil
	}
	codes, err := b.Import()
	if err != nil {
		return nil, err
	}
	for row, code := range codes {
		if b.src.drop[code] {
			dropped.Set(row)
		}
	}
	return dropped, nil
}
