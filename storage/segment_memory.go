package storage

import "wend/tile"

// newMemorySegment returns an empty segment that is in no file: its blocks are
// kept as they come, sorted and not encoded, for batches that are soon merged
// with others or written. It has no indexes, and its tie ranks number all rows
// of a memtable in order of arrival.
func newMemorySegment(meta segmentMeta) *segment {
	s := &segment{segmentMeta: meta, name: "memory", held: make([]lazy[heldValues], len(meta.Properties))}
	s.EventCounts = make([]int64, len(meta.Events))
	s.ChannelCounts = make([]int64, len(meta.Channels))
	s.ImportCounts = make([]int64, len(meta.Imports))
	s.ValueCounts = make([]int64, len(meta.Properties))
	return s
}

// hold adds block p, which becomes the segment's; blocks come in rising order.
func (s *segment) hold(p int, rows *rowBlock) {
	n := len(rows.Time)
	e := blockEntry{block: p, rows: n, customers: rows.Names.Len(), least: rows.Time[0], greatest: rows.Time[0], memory: &memoryBlock{rows: rows, names: &blockNames{rows.Names, hashesOf(rows.Names)}}}
	for i, t := range rows.Time {
		e.least, e.greatest = min(e.least, t), max(e.greatest, t)
		s.EventCounts[rows.Event[i]]++
		s.ChannelCounts[codeAt(rows.Channel, i)]++
	}
	rows.eachColumn(func(i int, _ []uint32, c *tile.Column) { s.ValueCounts[i] += int64(c.Present.Count()) })
	if s.Rows == 0 {
		s.MinTime, s.MaxTime = e.least, e.greatest
	}
	s.MinTime, s.MaxTime = min(s.MinTime, e.least), max(s.MaxTime, e.greatest)
	s.Rows += int64(n)
	s.ImportCounts[0] += int64(n)
	s.Customers += int64(e.customers)
	s.blocks = append(s.blocks, e)
}

// memoryBlock is a block of a segment in memory.
type memoryBlock struct {
	rows    *rowBlock
	names   *blockNames
	encoded lazy[*block] // for tiles; merges of segments do without
}

func (m *memoryBlock) block(s *segment, e *blockEntry) (*block, error) {
	return m.encoded.get(func() (*block, error) {
		return &block{
			Rows: e.rows, Starts: m.rows.Starts, segment: s, entry: e, rows: m.rows,
			Event: tile.NewCodes(m.rows.Event), Time: tile.NewTimes(m.rows.Time, m.rows.Starts), Ties: tile.NewTies(m.rows.Time, m.rows.Starts),
		}, nil
	})
}

// inMemory returns block p of a segment in memory, nil of any other.
func (s *segment) inMemory(p int) *memoryBlock {
	if e := s.entry(p); e != nil {
		return e.memory
	}
	return nil
}

// heldValues are the values of a string property of a segment in memory, as
// many as a dictionary has room for.
type heldValues struct {
	list []string
	all  bool
}

func (s *segment) heldValues(prop int) heldValues {
	held, _ := s.held[prop].get(func() (heldValues, error) {
		d := &dictionary{}
		for i := range s.blocks {
			for _, v := range s.blocks[i].memory.rows.dict(prop) {
				if _, ok := d.code(v); !ok {
					return heldValues{d.values, false}, nil
				}
			}
		}
		return heldValues{d.values, true}, nil
	})
	return held
}

// ranked returns the segment with other tie ranks: those that the numbers of
// its rows lead to.
func (s *segment) ranked(ranks []uint32) *segment {
	c := *s
	c.blocks = make([]blockEntry, len(s.blocks))
	for i, e := range s.blocks {
		rows := *e.memory.rows
		rows.TieRank = nil
		if ranks != nil {
			rows.TieRank = make([]uint32, len(rows.Time))
			for k := range rows.TieRank {
				rows.TieRank[k] = ranks[codeAt(e.memory.rows.TieRank, k)]
			}
		}
		e.memory = &memoryBlock{rows: &rows, names: e.memory.names}
		c.blocks[i] = e
	}
	return &c
}
