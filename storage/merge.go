package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// mergeSource is a segment that takes part in a merge, in the order of arrival.
type mergeSource struct {
	seg  *segment
	lsn  uint64
	only bool   // its rows are stored already: they decide about duplicates and are not written
	drop []bool // import codes whose rows are left out; nil: none
	mask *mask  // rows of erased identities; nil: none
	aged *aged  // rows that are too old; nil: none

	hasher *rowHasher // nil: the rows need not be added up

	shared   *sharedTimes // times that several runs have
	rankBase uint32       // added to the tie ranks of these times

	// A block that covers many prefixes of the output is decoded once.
	mu    sync.Mutex
	block int
	kept  *mergePart
}

// mergePart is a decoded block, in the output's codes.
type mergePart struct {
	part
	rows    *rowBlock
	fields  []uint64 // hash of each row, if the merge adds up what it reads
	arrived []uint32 // place of each row in order of arrival, of rows of a load that have ids
}

// merger merges segments into rows by prefix and time partition. The same
// code compacts, flushes and ends a bulk load.
type merger struct {
	sources    []*mergeSource
	load       *bucketSource // what arrived after all sources; nil: nothing
	bits       int           // prefix bits of the merge: at least the finest of the outputs, unless all is new
	allNew     bool          // the load is all there is, and nothing of it is left out
	fine       int           // prefix bits of what is emitted: bits, unless all is new
	width      string
	properties []event.Property // the output's
	workers    int
	numbered   bool // tie ranks of all sources are of one numbering

	// duplicates looks at one customer's members before they are joined and
	// marks rows as dropped; nil: there are none.
	duplicates func(parts []*mergePart, members []member)

	customers atomic.Int64 // identities with a row in the output

	input *mergeSum // of the rows that are to be written; nil: nobody asks
}

// partitionRows is what a prefix has in one time partition.
type partitionRows struct {
	prefix    int
	partition int64
	rows      *rowBlock
}

// run calls emit for the prefixes in rising order.
func (m *merger) run(ctx context.Context, emit func(out []partitionRows) error) error {
	for _, s := range m.sources {
		s.block = -1
	}
	if !m.numbered {
		if err := m.findShared(); err != nil {
			return err
		}
	}
	if m.input != nil {
		for _, s := range m.sources {
			if s.hasher = nil; !s.only {
				s.hasher = newRowHasher(&s.seg.segmentMeta, m.properties)
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	// A queue of promises keeps the order while workers run ahead of the writer.
	queue := make(chan chan []partitionRows, m.workers)
	work := make(chan func() error)
	for range m.workers {
		g.Go(func() error {
			for f := range work {
				if err := shielded(f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		defer close(queue)
		for p := range 1 << m.bits {
			promise := make(chan []partitionRows, 1)
			job := func() error {
				out, err := m.prefix(p)
				promise <- out
				return err
			}
			select {
			case queue <- promise:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case work <- job:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for promise := range queue {
			select {
			case out := <-promise:
				if err := ctx.Err(); err != nil {
					return err
				}
				if len(out) == 0 {
					continue
				}
				if err := shielded(func() error { return emit(out) }); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// prefix merges one prefix.
func (m *merger) prefix(p int) ([]partitionRows, error) {
	if m.allNew {
		return m.load.blocks(p, m.bits, m.fine, m)
	}
	var parts []*mergePart
	for _, s := range m.sources {
		found, err := s.parts(p, m.bits)
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
	}
	if m.load != nil {
		part, err := m.load.prefix(p, m.bits, m.properties)
		if err != nil {
			return nil, err
		}
		if part != nil {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	inner := make([]*part, len(parts))
	for i := range parts {
		inner[i] = &parts[i].part
	}
	all := members(inner, m.bits)
	months := partitioner{width: m.width}
	var outs []*outputRows
	var runs []run
	var list []piece
	for lo := 0; lo < len(all); {
		hi := same(inner, all, lo)
		if m.duplicates != nil {
			m.duplicates(parts, all[lo:hi])
		}
		runs = runs[:0]
		for _, member := range all[lo:hi] {
			if !parts[member.part].onlyStored {
				runs = runsOf(runs, inner, member)
			}
		}
		rows := pieces{list: list[:0]}
		join(&rows, inner, runs)
		list = rows.list
		if rows.rows > 0 {
			m.customers.Add(1)
		}
		outs = split(outs, &months, inner, all[lo], rows.list)
		lo = hi
	}
	if m.input != nil {
		m.input.add(parts)
	}
	var result []partitionRows
	slices.SortFunc(outs, func(a, b *outputRows) int { return int(a.partition - b.partition) })
	for _, o := range outs {
		result = append(result, partitionRows{p, o.partition, o.gather(parts, m.properties)})
	}
	return result, nil
}

// outputRows collects a prefix's rows of one time partition.
type outputRows struct {
	partition int64
	names     texts
	starts    []uint32
	rows      pieces
}

// split hands a customer's rows, in order, to the partitions of their times.
func split(outs []*outputRows, months *partitioner, parts []*part, who member, list []piece) []*outputRows {
	var out *outputRows
	if k := len(list) - 1; k > 0 && seeded.On("last_row_dropped") {
		list = list[:k]
	}
	for _, q := range list {
		times := parts[q.part].times
		for row, end := q.row, q.row+q.n; row < end; {
			partition := months.of(times[row])
			hi := row + 1
			for hi < end && times[hi] < months.to {
				hi++
			}
			if out == nil || out.partition != partition {
				i := slices.IndexFunc(outs, func(o *outputRows) bool { return o.partition == partition })
				if i < 0 {
					i = len(outs)
					outs = append(outs, &outputRows{partition: partition})
				}
				out = outs[i]
				out.starts = append(out.starts, uint32(out.rows.rows))
				out.names.add(who.name(parts))
			}
			out.rows.add(q.part, row, hi-row)
			row = hi
		}
	}
	return outs
}

func (o *outputRows) gather(parts []*mergePart, properties []event.Property) *rowBlock {
	blocks := make([]*rowBlock, len(parts))
	for i, p := range parts {
		blocks[i] = p.rows
	}
	b := gatherBlock(&o.rows, blocks, properties)
	b.Names = o.names.done()
	b.Starts = append(o.starts, uint32(o.rows.rows))
	return misled(b)
}

// gatherBlock copies rows of blocks, column by column; customers are the caller's.
func gatherBlock(rows *pieces, blocks []*rowBlock, properties []event.Property) *rowBlock {
	codes := func(column func(*rowBlock) []uint32) []uint32 {
		list := make([][]uint32, len(blocks))
		for i, b := range blocks {
			list[i] = column(b)
		}
		return rows.codes(list)
	}
	columns := func(t event.Type, column func(*rowBlock) *tile.Column) *tile.Column {
		list := make([]*tile.Column, len(blocks))
		for i, b := range blocks {
			list[i] = column(b)
		}
		return rows.column(t, list)
	}
	times := make([][]event.Time, len(blocks))
	for i, b := range blocks {
		times[i] = b.Time
	}
	out := &rowBlock{
		Event:   codes(func(b *rowBlock) []uint32 { return b.Event }),
		Time:    rows.times(times),
		Channel: codes(func(b *rowBlock) []uint32 { return b.Channel }),
		Import:  codes(func(b *rowBlock) []uint32 { return b.Import }),
		TieRank: codes(func(b *rowBlock) []uint32 { return b.TieRank }),
		IDs:     columns(event.StringType, func(b *rowBlock) *tile.Column { return b.IDs }),
	}
	if out.Event == nil {
		out.Event = make([]uint32, rows.rows) // all rows are of event 0
	}
	gatherColumns(out, rows, blocks, properties)
	return out
}

// parts returns the source's customers of prefix p.
func (s *mergeSource) parts(p, prefixBits int) ([]*mergePart, error) {
	have := s.seg.PrefixBits
	if have <= prefixBits {
		whole, err := s.coarse(p >> (prefixBits - have))
		if err != nil || whole == nil {
			return nil, err
		}
		cutPart := *whole
		cutPart.lo, cutPart.hi = cut(whole.hashes, p, prefixBits)
		if cutPart.lo == cutPart.hi {
			return nil, nil
		}
		// dropped is written by the duplicates of this prefix only: its own copy
		cutPart.dropped = slices.Clone(whole.dropped)
		return []*mergePart{&cutPart}, nil
	}
	var parts []*mergePart
	for b := p << (have - prefixBits); b < (p+1)<<(have-prefixBits); b++ {
		if s.seg.Stats(b).Rows == 0 {
			continue
		}
		part, err := s.decode(b)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (s *mergeSource) coarse(b int) (*mergePart, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block != b {
		s.block, s.kept = b, nil
		if s.seg.Stats(b).Rows > 0 {
			var err error
			if s.kept, err = s.decode(b); err != nil {
				s.block = -1
				return nil, err
			}
		}
	}
	return s.kept, nil
}

func (s *mergeSource) decode(b int) (*mergePart, error) {
	p := &mergePart{}
	if held := s.seg.inMemory(b); held != nil {
		rows := *held.rows
		p.rows, p.hashes = &rows, held.names.hashes
	} else {
		block, err := s.seg.Block(b)
		if err != nil {
			return nil, err
		}
		if p.rows, err = block.Decode(); err != nil {
			return nil, err
		}
		p.hashes = hashesOf(p.rows.Names)
	}
	rows := p.rows
	if s.hasher != nil {
		p.fields = s.hasher.hashes(rows)
	}
	p.onlyStored = s.only
	p.lsn, p.names, p.starts, p.times = s.lsn, rows.Names, rows.Starts, rows.Time
	p.hi = len(p.hashes)
	if len(s.mask.of(b)) > 0 {
		p.dropped = tile.NewBitmap(len(rows.Time))
		s.mask.drop(p.dropped, b, rows.Starts)
	}
	if s.aged.hides(s.seg.Stats(b).MinTime) {
		if p.dropped == nil {
			p.dropped = tile.NewBitmap(len(rows.Time))
		}
		s.aged.drop(p.dropped, rows.Time)
	}
	if s.drop != nil && rows.Import != nil {
		for i, code := range rows.Import {
			if s.drop[code] {
				if p.dropped == nil {
					p.dropped = tile.NewBitmap(len(rows.Time))
				}
				p.dropped.Set(i)
			}
		}
	}
	if s.rankBase > 0 {
		rows.TieRank = raiseRanks(rows.TieRank, rows.Time, s.shared, s.rankBase)
	}
	p.ranks = rows.TieRank
	return p, nil
}

// findShared finds the times that several written sources have, roughly. Tie ranks
// count within what arrived together; when segments become one, the ranks of
// such times are raised so that the earlier rows stay in front. Files of one
// run share their ranks already and count as one.
func (m *merger) findShared() error {
	var runs [][]*mergeSource
	for _, s := range m.sources {
		s.shared, s.rankBase = nil, 0
		switch k := len(runs) - 1; {
		case s.only || s.seg.Rows == 0:
		case k >= 0 && runs[k][0].lsn == s.lsn:
			runs[k] = append(runs[k], s)
		default:
			runs = append(runs, []*mergeSource{s})
		}
	}
	spans := make([]span, len(runs))
	rows := int64(0)
	for i, r := range runs {
		for _, s := range r {
			spans[i] = spans[i].with(s.seg.MinTime, s.seg.MaxTime)
			rows += s.seg.Rows
		}
	}
	within := common(spans)
	if !within.some {
		return nil
	}
	shared := newSharedTimes(within, rows)
	seen, own := shared.bitmap(), shared.bitmap()
	tops := make([]uint32, len(runs)) // 0: the run has no times with another
	for i, r := range runs {
		if !spans[i].overlaps(within) {
			continue
		}
		clear(own)
		for _, s := range r {
			top, err := shared.markTimes(own, s.seg)
			if err != nil {
				return fmt.Errorf("read times: %w", err)
			}
			tops[i] = max(tops[i], top)
		}
		for w, x := range own {
			shared.cells[w] |= x & seen[w]
			seen[w] |= x
		}
	}
	if shared.cells.Count() == 0 {
		return nil
	}
	base := uint32(0)
	for i, r := range runs {
		if tops[i] > 0 {
			for _, s := range r {
				s.shared, s.rankBase = shared, base
			}
			base += tops[i]
		}
	}
	return nil
}
