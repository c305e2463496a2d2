package storage

import (
	"context"
	"encoding/binary"
	"slices"

	"wend/event"
	"wend/tile"
)

// layout is where the rows of a tile come from: which rows of which blocks,
// customer by customer, in order. It is made once for all columns.
type layout struct {
	key    string // names what it was made of
	blocks []*tileBlock
	whole  bool // one block, as it is
	starts []uint32
	rows   pieces
	who    []identity // the name of each customer; nil if whole
	linked []string   // names of customers who have events only through links
}

// identity is a customer of one of the blocks, or an index into layout.linked
// if block is -1.
type identity struct {
	block    int32
	customer uint32
}

func (l *layout) customers() int { return len(l.starts) - 1 }

// tileBlock is a block of a source.
type tileBlock struct {
	src    *source
	index  int
	*block // nil until it is read; without its times in a merged tile, which has its own
}

// hotTile is a layout and the columns that every query reads.
type hotTile struct {
	layout
	event *tile.Codes
	time  *tile.Times
	ties  tile.Bitmap
}

func (h *hotTile) cost() int64 {
	n := 256 + 4*len(h.starts) + 12*len(h.rows.list) + 8*len(h.who) + 8*len(h.ties) + codesBytes(h.event) + timesBytes(h.time)
	for _, b := range h.blocks {
		if !h.whole {
			n += blockBytes(b.block)
		}
	}
	return int64(n)
}

func codesBytes(c *tile.Codes) int { return 48 + 8*len(c.Words) }

func timesBytes(t *tile.Times) int {
	return 128 + len(t.Slots) + 4*len(t.Bases) + 12*len(t.Anchors)
}

func blockBytes(b *block) int {
	return 128 + 4*len(b.Starts) + 8*len(b.Ties) + codesBytes(b.Event) + timesBytes(b.Time)
}

// Tile returns tile i with the columns that need names. Rows outside of
// need's times are left out where whole sources lie outside.
func (s *Snapshot) Tile(ctx context.Context, i int, need tile.Need) (*tile.Tile, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	hot, err := s.layout(i, need)
	if err != nil {
		return nil, err
	}
	t := &tile.Tile{Starts: hot.starts, Event: hot.event, Time: hot.time, Ties: hot.ties}
	t.Rows = int(t.Starts[hot.customers()])
	if need.Names {
		if t.Names, err = s.names(hot); err != nil {
			return nil, err
		}
	}
	if need.Channel {
		if t.Channel, err = s.channel(hot); err != nil {
			return nil, err
		}
	}
	if need.IDs {
		t.IDs, err = s.column(hot, -1, event.StringType)
		if err != nil {
			return nil, err
		}
	}
	if len(need.Properties) > 0 {
		t.Columns = make([]*tile.Column, len(s.properties))
		for _, p := range need.Properties {
			if t.Columns[p], err = s.column(hot, p, s.properties[p].Type); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (s *Snapshot) names(h *hotTile) (*tile.Strings, error) {
	if h.whole {
		n, err := s.blockNames(h.blocks[0])
		return n.Strings, err
	}
	from := make([]*blockNames, len(h.blocks))
	for i, b := range h.blocks {
		var err error
		if from[i], err = s.blockNames(b); err != nil {
			return nil, err
		}
	}
	names := texts{ends: make([]uint32, 0, len(h.who))}
	for _, w := range h.who {
		if w.block < 0 {
			names.add(h.linked[w.customer])
		} else {
			names.add(from[w.block].At(int(w.customer)))
		}
	}
	return names.done(), nil
}

// layout merges the blocks of tile i.
func (s *Snapshot) layout(i int, need tile.Need) (*hotTile, error) {
	m := tileMerge{snap: s, tile: i}
	if err := m.gather(need); err != nil {
		return nil, err
	}
	if len(m.blocks) == 0 {
		return &hotTile{layout: layout{whole: false, starts: []uint32{0}}, event: tile.NewCodes(nil), time: tile.NewTimes(nil, []uint32{0})}, nil
	}
	if m.whole() {
		b, err := s.read(m.blocks[0], true)
		if err != nil {
			return nil, err
		}
		return &hotTile{layout: layout{key: m.key(), blocks: []*tileBlock{b}, whole: true, starts: b.Starts}, event: b.Event, time: b.Time, ties: b.Ties}, nil
	}
	return cached(s.cache, m.key(), (*hotTile).cost, m.merge)
}

// tileMerge merges one tile from the blocks of all sources.
type tileMerge struct {
	snap   *Snapshot
	tile   int
	blocks []*tileBlock
	linked []linked    // identities of this tile that links touch
	extra  []aliasRows // rows that links bring in from other blocks
}

// aliasRows is where the rows of a linked identity are.
type aliasRows struct {
	to       string
	block    int // in tileMerge.blocks
	customer int // in the block
}

// gather finds the blocks that take part.
func (m *tileMerge) gather(need tile.Need) error {
	s := m.snap
	for _, src := range s.sources {
		if !src.within(need) {
			continue
		}
		have := src.seg.PrefixBits
		if have < s.bits {
			b := s.block(src, m.tile>>(s.bits-have))
			if b == nil {
				continue
			}
			names, err := s.blockNames(b)
			if err != nil {
				return err
			}
			if lo, hi := cut(names.hashes, m.tile, s.bits); lo < hi {
				m.blocks = append(m.blocks, b)
			}
			continue
		}
		for p := m.tile << (have - s.bits); p < (m.tile+1)<<(have-s.bits); p++ {
			if b := s.block(src, p); b != nil {
				m.blocks = append(m.blocks, b)
			}
		}
	}
	m.linked = s.links.within(m.tile, s.bits)
	for _, l := range m.linked {
		for _, alias := range s.links.aliases[l.name] {
			if err := m.findAlias(l.name, alias, need); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *tileMerge) findAlias(to, alias string, need tile.Need) error {
	s := m.snap
	hash := customerHash(alias)
	for _, src := range s.sources {
		if !src.within(need) {
			continue
		}
		b := s.block(src, blockOf(hash, src.seg.PrefixBits))
		if b == nil {
			continue
		}
		names, err := s.blockNames(b)
		if err != nil {
			return err
		}
		customer, ok := findHashed(names, hash, alias)
		if !ok {
			continue
		}
		at := slices.IndexFunc(m.blocks, func(o *tileBlock) bool { return o.src == b.src && o.index == b.index })
		if at < 0 {
			at = len(m.blocks)
			m.blocks = append(m.blocks, b)
		}
		m.extra = append(m.extra, aliasRows{to, at, customer})
	}
	return nil
}

func findHashed(names *blockNames, hash uint64, name string) (int, bool) {
	i, _ := slices.BinarySearch(names.hashes, hash)
	for ; i < len(names.hashes) && names.hashes[i] == hash; i++ {
		if names.At(i) == name {
			return i, true
		}
	}
	return 0, false
}

// within reports whether a source may have rows at the times that matter.
func (s *source) within(need tile.Need) bool {
	if s.seg.Rows == s.undone {
		return false
	}
	return need.From == 0 && need.To == 0 || s.seg.MaxTime >= need.From && s.seg.MinTime < need.To
}

// whole reports whether the tile is one block as it is.
func (m *tileMerge) whole() bool {
	return len(m.blocks) == 1 && len(m.linked) == 0 && m.blocks[0].src.drop == nil && m.blocks[0].src.seg.PrefixBits == m.snap.bits
}

// key names what the tile is made of: segments never change, so equal keys
// are equal tiles, and a tile outlives every change that does not touch it.
func (m *tileMerge) key() string {
	key := []byte{'t'}
	key = binary.AppendUvarint(key, uint64(m.snap.bits))
	key = binary.AppendUvarint(key, uint64(m.tile))
	for _, b := range m.blocks {
		key = binary.AppendUvarint(key, b.src.handle)
		key = binary.AppendUvarint(key, uint64(b.src.drops))
		key = binary.AppendUvarint(key, uint64(b.index))
	}
	if len(m.linked) > 0 {
		key = append(key, 'l')
		key = binary.AppendUvarint(key, m.snap.epoch)
	}
	return string(key)
}

// merge makes the tile.
func (m *tileMerge) merge() (*hotTile, error) {
	s := m.snap
	parts := make([]*part, len(m.blocks))
	events := make([][]uint32, len(m.blocks))
	times := make([][]event.Time, len(m.blocks))
	h := &hotTile{layout: layout{key: m.key()}}
	for i, b := range m.blocks {
		// A block of this tile alone is not asked for again while the tile is kept.
		read, err := s.read(b, len(m.linked) > 0 || b.src.seg.PrefixBits < s.bits)
		if err != nil {
			return nil, err
		}
		if parts[i], err = s.part(read); err != nil {
			return nil, err
		}
		parts[i].lo, parts[i].hi = cut(parts[i].hashes, m.tile, s.bits)
		times[i], events[i] = parts[i].times, decodeCodes(read.Event, read.Rows)
		h.blocks = append(h.blocks, read.slim())
	}
	all := members(parts, s.bits)
	var runs []run
	emit := func(name string, who identity) {
		for _, x := range m.extra {
			if x.to == name {
				runs = runsOf(runs, parts, member{part: uint32(x.block), customer: uint32(x.customer)})
			}
		}
		if len(runs) > 0 {
			if who.block < 0 {
				who.customer = uint32(len(h.linked))
				h.linked = append(h.linked, name)
			}
			h.starts = append(h.starts, uint32(h.rows.rows))
			h.who = append(h.who, who)
			join(&h.rows, parts, runs)
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
		name := ""
		if len(touched) > 0 && touched[0].name == first.name(parts) {
			name = touched[0].name
			touched = touched[1:]
			if s.links.resolve(name) != name {
				lo = hi // another customer's
				continue
			}
		}
		for _, member := range all[lo:hi] {
			runs = runsOf(runs, parts, member)
		}
		emit(name, identity{int32(first.part), first.customer})
		lo = hi
	}
	for _, l := range touched {
		m.onlyLinked(l.name, emit)
	}
	h.starts = append(h.starts, uint32(h.rows.rows))
	gathered := h.rows.times(times)
	h.ties = tile.NewTies(gathered, h.starts)
	h.time = tile.NewTimes(gathered, h.starts)
	h.event = gatherCodes(&h.rows, events)
	h.rows.list = slices.Clip(h.rows.list)
	return h, nil
}

// onlyLinked emits a customer who may have events through links only.
func (m *tileMerge) onlyLinked(name string, emit func(string, identity)) {
	if m.snap.links.resolve(name) == name {
		emit(name, identity{block: -1})
	}
}

// before reports whether l stands before the customer of a name and its hash.
func (l linked) before(hash uint64, name string) bool {
	return l.hash < hash || l.hash == hash && l.name < name
}

func decodeCodes(c *tile.Codes, rows int) []uint32 {
	if c == nil {
		return nil
	}
	codes := make([]uint32, rows)
	c.Decode(0, codes)
	return codes
}

// gatherCodes gathers a column of codes and encodes it; nil parts are all 0.
func gatherCodes(rows *pieces, parts [][]uint32) *tile.Codes {
	codes := rows.codes(parts)
	if codes == nil {
		codes = make([]uint32, rows.rows)
	}
	return tile.NewCodes(codes)
}

// block finds a block of a source; nil if it is empty.
func (s *Snapshot) block(src *source, index int) *tileBlock {
	if src.seg.Stats(index).Rows == 0 {
		return nil
	}
	return &tileBlock{src: src, index: index}
}

// read reads a block's hot columns, and keeps them in the cache if they are
// likely to be read again.
func (s *Snapshot) read(b *tileBlock, keep bool) (*tileBlock, error) {
	read := func() (*block, error) { return b.src.seg.Block(b.index) }
	if b.block != nil {
		return b, nil
	}
	var hot *block
	var err error
	if keep {
		hot, err = cached(s.cache, blockKey('b', b.src, b.index, 0), func(b *block) int64 { return int64(blockBytes(b)) }, read)
	} else {
		hot, err = read()
	}
	return &tileBlock{b.src, b.index, hot}, err
}

// slim returns the block with just what its other columns are decoded by.
func (b *tileBlock) slim() *tileBlock {
	slim := *b.block
	slim.Time = &tile.Times{Rows: b.Rows, Anchors: b.Time.Anchors}
	slim.Starts, slim.Ties = nil, nil
	return &tileBlock{b.src, b.index, &slim}
}

func blockKey(kind byte, src *source, index, column int) string {
	key := []byte{kind}
	key = binary.AppendUvarint(key, src.handle)
	key = binary.AppendUvarint(key, uint64(index))
	key = binary.AppendVarint(key, int64(column))
	return string(key)
}

func (s *Snapshot) blockNames(b *tileBlock) (*blockNames, error) {
	return cached(s.cache, blockKey('n', b.src, b.index, 0), func(n *blockNames) int64 {
		return int64(len(n.Text) + 12*n.Len())
	}, func() (*blockNames, error) {
		read, err := s.read(b, false)
		if err != nil {
			return nil, err
		}
		names, err := read.Names()
		if err != nil {
			return nil, err
		}
		return &blockNames{names, hashesOf(names)}, nil
	})
}

// part prepares a block for a merge.
func (s *Snapshot) part(b *tileBlock) (*part, error) {
	names, err := s.blockNames(b)
	if err != nil {
		return nil, err
	}
	p := &part{lsn: b.src.lsn, names: names.Strings, hashes: names.hashes, starts: b.Starts}
	p.times = make([]event.Time, b.Rows)
	b.Time.Decode(0, p.times)
	if p.ranks, err = b.TieRank(); err != nil {
		return nil, err
	}
	if b.src.drop != nil {
		codes, err := b.Import()
		if err != nil {
			return nil, err
		}
		p.dropped = tile.NewBitmap(b.Rows)
		for row, code := range codes {
			if b.src.drop[code] {
				p.dropped.Set(row)
			}
		}
	}
	return p, nil
}

// channel returns the channels of a tile.
func (s *Snapshot) channel(h *hotTile) (*tile.Codes, error) {
	if len(h.blocks) == 0 {
		return tile.NewCodes(nil), nil
	}
	return cached(s.cache, "c"+h.key, func(c *tile.Codes) int64 { return int64(codesBytes(c)) }, func() (*tile.Codes, error) {
		parts := make([][]uint32, len(h.blocks))
		for i, b := range h.blocks {
			codes, err := b.Channel()
			if err != nil {
				return nil, err
			}
			if h.whole && codes != nil {
				return codes, nil
			}
			parts[i] = decodeCodes(codes, b.Rows)
		}
		if h.whole {
			return tile.NewCodes(make([]uint32, h.blocks[0].Rows)), nil
		}
		return gatherCodes(&h.rows, parts), nil
	})
}

// column returns a property of a tile, or the event ids for -1.
func (s *Snapshot) column(h *hotTile, property int, t event.Type) (*tile.Column, error) {
	if len(h.blocks) == 0 {
		return nil, nil
	}
	key := "p" + string(binary.AppendVarint([]byte{byte(t)}, int64(property))) + h.key
	return cached(s.cache, key, columnCost, func() (*tile.Column, error) {
		parts := make([]*tile.Column, len(h.blocks))
		for i, b := range h.blocks {
			var err error
			switch {
			case property < 0:
				parts[i], err = b.IDs()
			case property < len(b.src.seg.Properties):
				parts[i], err = b.Column(property)
			}
			if err != nil {
				return nil, err
			}
		}
		if !h.whole {
			return h.rows.column(t, parts), nil
		}
		if c := parts[0]; c == nil || c.Type == t {
			return c, nil
		}
		all := pieces{list: []piece{{n: uint32(h.blocks[0].Rows)}}, rows: h.blocks[0].Rows}
		return all.column(t, parts), nil
	})
}

func columnCost(c *tile.Column) int64 {
	if c == nil {
		return 64
	}
	n := 128 + 8*(len(c.Present)+len(c.Ints)+len(c.Floats)) + 4*len(c.Codes)
	for _, s := range c.Dict {
		n += 16 + len(s)
	}
	return int64(n)
}
