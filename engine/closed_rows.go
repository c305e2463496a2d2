package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// closedRows are the selected rows of a tile without what lies between them, in
// one stretch for each customer.
type closedRows struct {
	codes  []byte       // labels; some bytes follow, so that any eight may be loaded
	times  []event.Time // only if asked for
	starts []uint32     // of the customers; some may have no rows

	selected tile.Bitmap // nil: all rows
	rows     []uint32    // of the tile, if not all
	ranks    []uint32    // selected rows before each 64
	all      []event.Time
}

// planes returns the column of a tile that the labels are, if they are one.
func (w *labeler) planes(v *view) *tile.Codes {
	if len(w.coders) != 1 {
		return nil
	}
	switch w.coders[0].kind {
	case eventField:
		return v.Event
	case channelField:
		return v.Channel
	}
	return nil
}

// load closes up the labels of the selected rows, nil all, and their times.
func (p *closedRows) load(v *view, labels *tile.Codes, selected tile.Bitmap, times bool) error {
	p.codes = grown(p.codes, v.Rows+8)[:v.Rows]
	labels.Decode8(0, p.codes)
	if p.selected = selected; selected == nil {
		p.starts = append(p.starts[:0], v.Starts...)
		if times {
			p.times = grown(p.times, v.Rows)[:v.Rows]
			v.Time.Decode(0, p.times)
		}
		return v.tick(v.Rows)
	}
	p.list(selected, v.Starts)
	for i, row := range p.rows {
		p.codes[i] = p.codes[row] // row is never less than i
	}
	p.codes = p.codes[:len(p.rows)]
	if !times {
		return v.tick(v.Rows)
	}
	p.times = grown(p.times, len(p.rows))[:len(p.rows)]
	if len(p.rows) < v.Rows/4 {
		v.Time.Gather(p.rows, p.times)
		return v.tick(v.Rows)
	}
	p.all = grown(p.all, v.Rows)[:v.Rows]
	v.Time.Decode(0, p.all)
	for i, row := range p.rows {
		p.times[i] = p.all[row]
	}
	return v.tick(v.Rows)
}

// list numbers the selected rows.
func (p *closedRows) list(selected tile.Bitmap, starts []uint32) {
	p.rows = grown(p.rows, 64*len(selected))
	p.ranks = grown(p.ranks, len(selected)+1)[:len(selected)+1]
	n := 0
	for at, left := range selected {
		p.ranks[at] = uint32(n)
		for ; left != 0; left &= left - 1 {
			p.rows[n] = uint32(at<<6 + bits.TrailingZeros64(left))
			n++
		}
	}
	p.ranks[len(selected)] = uint32(n)
	p.rows = p.rows[:n]
	p.starts = p.starts[:0]
	for _, start := range starts {
		p.starts = append(p.starts, uint32(p.rank(int(start))))
	}
}

// rank returns how many selected rows come before a row of the tile.
func (p *closedRows) rank(row int) int {
	if p.selected == nil {
		return row
	}
	rank := int(p.ranks[row>>6])
	if in := row & 63; in != 0 {
		rank += bits.OnesCount64(p.selected[row>>6] << (64 - in))
	}
	return rank
}

// row returns the row of the tile that has a rank.
func (p *closedRows) row(rank int) int {
	if p.selected == nil {
		return rank
	}
	return int(p.rows[rank])
}

// borders calls f for the first row of every customer but the first who has rows.
func (p *closedRows) borders(f func(row uint32)) {
	// Customers without rows share their start with the next.
	before := uint32(0)
	for _, start := range p.starts {
		if start > before && int(start) < len(p.codes) && !seeded.On("pairs_over_customers") {
			f(start)
		}
		before = max(before, start)
	}
}
