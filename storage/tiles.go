package storage

import (
	"context"
	"encoding/binary"

	"wend/event"
	"wend/tile"
)

// layout is where the rows of a tile come from: which rows of which blocks,
// customer by customer, in order. It is made once for all columns.
type layout struct {
	key    string // names what it was made of
	place  string // see tileMerge.place
	blocks []*tileBlock
	whole  bool // one block, as it is
	starts []uint32
	firsts tile.Bitmap // first rows of the customers
	rows   pieces
	who    []identity // the name of each customer; nil if whole
	others []string   // names of customers who have events only through links
	shared bool       // other tiles need the blocks, too
}

// identity is a customer of one of the blocks, or an index into layout.others
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

// Rows returns the number of rows, read or not.
func (b *tileBlock) Rows() int { return b.src.seg.Stats(b.index).Rows }

// hotTile is a layout and the columns that every query reads.
type hotTile struct {
	layout
	event *tile.Codes
	time  *tile.Times
	lasts []uint32
	ties  tile.Bitmap
	same  tile.Bitmap
}

func (h *hotTile) cost() int64 {
	n := 256 + 4*(len(h.starts)+len(h.lasts)) + 12*len(h.rows.list) + 8*len(h.who) + 8*(len(h.firsts)+len(h.ties)+len(h.same)) + codesBytes(h.event) + timesBytes(h.time)
	for _, b := range h.blocks {
		if !h.whole && b.block != nil {
			n += blockBytes(b.block)
		}
	}
	const held = 64 // of a row in memory, which is there as long as a tile that shows it
	for _, q := range h.rows.list {
		if b := h.blocks[q.part]; b.block != nil && b.rows != nil {
			n += held * int(q.n)
		}
	}
	return int64(n)
}

func codesBytes(c *tile.Codes) int { return 48 + 8*len(c.Words) }

func timesBytes(t *tile.Times) int {
	const each = 8 + 4 + 8 // anchors, their rank, and stops, once they are asked for
	return 128 + len(t.Slots) + 4*len(t.Bases) + each*len(t.Anchors)
}

func blockBytes(b *block) int {
	return 128 + 4*(len(b.Starts)+len(b.Lasts)) + 8*(len(b.Firsts)+len(b.Ties)+len(b.Same)) + codesBytes(b.Event) + timesBytes(b.Time)
}

// Tile returns tile i with the columns that need names. Rows outside of the
// months of need's times are left out where that leaves out much.
func (s *Snapshot) Tile(ctx context.Context, i int, need tile.Need) (*tile.Tile, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	hot, err := s.layout(i, s.slice(need))
	if err != nil {
		return nil, err
	}
	t := &tile.Tile{Starts: hot.starts, Firsts: hot.firsts, Event: hot.event, Time: hot.time, Lasts: hot.lasts, Ties: hot.ties, Same: hot.same}
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
		n, err := s.cache.names(h.blocks[0], true)
		return n.Strings, err
	}
	from := make([]*blockNames, len(h.blocks))
	for i, b := range h.blocks {
		var err error
		if from[i], err = s.cache.names(b, true); err != nil {
			return nil, err
		}
	}
	names := texts{ends: make([]uint32, 0, len(h.who))}
	for _, w := range h.who {
		if w.block < 0 {
			names.add(h.others[w.customer])
		} else {
			names.add(from[w.block].At(int(w.customer)))
		}
	}
	return names.done(), nil
}

// layout merges the blocks of tile i, or what a slice has of them.
func (s *Snapshot) layout(i int, times timeslice) (*hotTile, error) {
	m := tileMerge{snap: s, tile: i, slice: times}
	if err := m.gather(); err != nil {
		return nil, err
	}
	if len(m.blocks) == 0 {
		return &hotTile{layout: layout{whole: false, starts: []uint32{0}}, event: tile.NewCodes(nil), time: tile.NewTimes(nil, []uint32{0})}, nil
	}
	key, place := m.key(), m.place()
	if m.whole() {
		s.cache.supersede(place, key, blockKey('B', m.blocks[0].src, m.blocks[0].index, 0))
		b, err := s.cache.read(m.blocks[0], true)
		if err != nil {
			return nil, err
		}
		return &hotTile{layout: layout{key: key, place: place, blocks: []*tileBlock{b}, whole: true, starts: b.Starts, firsts: b.Firsts}, event: b.Event, time: b.Time, lasts: b.Lasts, ties: b.Ties, same: b.Same}, nil
	}
	s.cache.supersede(place, key, key)
	h, err := cached(s.cache, key, (*hotTile).cost, m.merge)
	if err != nil || m.read == nil {
		return h, err
	}
	// Who made a slice goes on to its columns: the cache may not have the blocks yet, or not take them.
	with := *h
	with.blocks = m.read
	return &with, nil
}

// block finds a block of a source; nil if it is empty.
func (src *source) block(index int) *tileBlock {
	if src.seg.Stats(index).Rows == 0 {
		return nil
	}
	return &tileBlock{src: src, index: index}
}

// read reads a block's hot columns, and keeps them in the cache if they are
// likely to be read again.
func (c *cache) read(b *tileBlock, keep bool) (*tileBlock, error) {
	read := func() (*block, error) { return b.src.seg.Block(b.index) }
	if b.block != nil {
		return b, nil
	}
	var hot *block
	var err error
	if keep {
		hot, err = cached(c, blockKey('B', b.src, b.index, 0), func(b *block) int64 { return int64(blockBytes(b)) }, func() (*block, error) {
			hot, err := read()
			if err == nil {
				hot.Firsts = tile.NewFirsts(hot.Starts)
				hot.Lasts = hot.Time.LastBases(hot.Starts)
				hot.Same = hot.Time.Same(hot.Starts, hot.Ties)
			}
			return hot, err
		})
	} else {
		hot, err = read()
	}
	return &tileBlock{b.src, b.index, hot}, err
}

// slim returns the block with just what its other columns are decoded by.
func (b *tileBlock) slim() *tileBlock {
	slim := *b.block
	slim.Time = &tile.Times{Rows: b.Rows(), Anchors: b.Time.Anchors}
	slim.Starts, slim.Firsts, slim.Lasts, slim.Ties, slim.Same = nil, nil, nil, nil, nil
	return &tileBlock{b.src, b.index, &slim}
}

// blockKey names a column of a block. Its kinds are capitals, those of tiles are
// not: a key is never both.
func blockKey(kind byte, src *source, index, column int) string {
	key := []byte{kind}
	key = binary.AppendUvarint(key, src.handle)
	key = binary.AppendUvarint(key, uint64(index))
	key = binary.AppendVarint(key, int64(column))
	return string(key)
}

// names reads the names of a block, and keeps them in the cache if they are
// likely to be asked for again.
func (c *cache) names(b *tileBlock, keep bool) (*blockNames, error) {
	read := func() (*blockNames, error) {
		read, err := c.read(b, false)
		if err != nil {
			return nil, err
		}
		names, err := read.Names()
		if err != nil {
			return nil, err
		}
		return &blockNames{names, hashesOf(names)}, nil
	}
	if held := b.src.seg.inMemory(b.index); held != nil {
		return held.names, nil
	}
	key := blockKey('n', b.src, b.index, 0)
	if !keep {
		if known, ok := c.get(key); ok {
			return known.(*blockNames), nil
		}
		return read()
	}
	return cached(c, key, func(n *blockNames) int64 { return int64(len(n.Text) + 12*n.Len()) }, read)
}

// channel returns the channels of a tile.
func (s *Snapshot) channel(h *hotTile) (*tile.Codes, error) {
	if len(h.blocks) == 0 {
		return tile.NewCodes(nil), nil
	}
	key := "c" + h.key
	s.cache.supersede(h.place, h.key, key)
	return cached(s.cache, key, func(c *tile.Codes) int64 { return int64(codesBytes(c)) }, func() (*tile.Codes, error) {
		scratch := tileScratches.Get().(*tileScratch)
		defer scratch.giveBack()
		parts := make([]*tile.Codes, len(h.blocks))
		for i, b := range h.blocks {
			var err error
			if parts[i], err = s.cache.channel(b, h.shared); err != nil {
				return nil, err
			}
		}
		if !h.whole {
			return scratch.codes.gather(&h.rows, parts), nil
		}
		if parts[0] == nil {
			return tile.NewCodes(make([]uint32, h.blocks[0].Rows())), nil
		}
		return parts[0], nil
	})
}

// column returns a property of a tile, or the event ids for -1.
func (s *Snapshot) column(h *hotTile, property int, t event.Type) (*tile.Column, error) {
	if len(h.blocks) == 0 {
		return nil, nil
	}
	key := "p" + string(binary.AppendVarint([]byte{byte(t)}, int64(property))) + h.key
	s.cache.supersede(h.place, h.key, key)
	return cached(s.cache, key, columnCost, func() (*tile.Column, error) {
		parts := make([]*tile.Column, len(h.blocks))
		for i, b := range h.blocks {
			var err error
			if parts[i], err = s.cache.column(b, property, h.shared || b.src.seg.PrefixBits < s.bits); err != nil {
				return nil, err
			}
		}
		if !h.whole {
			return h.rows.column(t, parts).Packed(), nil
		}
		if c := parts[0]; c == nil || c.Type == t {
			return c.Packed(), nil
		}
		all := pieces{list: []piece{{n: uint32(h.blocks[0].Rows())}}, rows: h.blocks[0].Rows()}
		return all.column(t, parts), nil
	})
}

// channel reads the channels of a block, and keeps them if many tiles need them.
func (c *cache) channel(b *tileBlock, keep bool) (*tile.Codes, error) {
	read := func() (*tile.Codes, error) {
		b, err := c.read(b, true)
		if err != nil {
			return nil, err
		}
		return b.Channel()
	}
	if !keep {
		return read()
	}
	cost := func(codes *tile.Codes) int64 {
		if codes == nil {
			return 64
		}
		return int64(codesBytes(codes))
	}
	return cached(c, blockKey('C', b.src, b.index, 0), cost, read)
}

// column reads a column of a block, and keeps it if many tiles need it.
func (c *cache) column(b *tileBlock, property int, keep bool) (*tile.Column, error) {
	read := func() (*tile.Column, error) {
		b, err := c.read(b, true)
		switch {
		case err != nil:
			return nil, err
		case property < 0:
			return b.IDs()
		case property < len(b.src.seg.Properties):
			return b.Column(property)
		}
		return nil, nil // the property is younger than the segment
	}
	if !keep {
		return read()
	}
	return cached(c, blockKey('P', b.src, b.index, property), columnCost, read)
}

func columnCost(c *tile.Column) int64 {
	if c == nil {
		return 64
	}
	n := 128 + 8*(len(c.Present)+len(c.Ints)+len(c.Floats)) + 4*len(c.Codes)
	if c.Planes != nil {
		n += codesBytes(c.Planes)
	}
	for _, s := range c.Dict {
		n += 16 + len(s)
	}
	return int64(n)
}
