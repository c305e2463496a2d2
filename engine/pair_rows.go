package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// pairRows are the rows of a tile whose neighbours make pairs, closed up: those
// that exist, in one stretch for each customer. With during they are the ones
// in its range and the one that follows, for the first of a pair is its anchor.
type pairRows struct {
	codes  []byte       // labels
	times  []event.Time // only if asked for
	starts []uint32     // of the customers; some may have no rows

	rows  []uint32     // of the tile
	ranks []uint32     // selected rows before each 64
	all   []event.Time // scratch
}

// labelPlanes returns the column that the labels are, if they are one of few values.
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

func (p *pairRows) load(v *view, labels *tile.Codes, times bool) {
	p.codes = grown(p.codes, v.Rows)[:v.Rows]
	labels.Decode8(0, p.codes)
	selected := v.anchors(true)
	if selected == nil {
		p.starts = append(p.starts[:0], v.Starts...)
		if times {
			p.times = grown(p.times, v.Rows)[:v.Rows]
			v.Time.Decode(0, p.times)
		}
		return
	}
	p.list(selected, v.Starts)
	for i, row := range p.rows {
		p.codes[i] = p.codes[row] // row is never less than i
	}
	p.codes = p.codes[:len(p.rows)]
	if !times {
		return
	}
	p.times = grown(p.times, len(p.rows))[:len(p.rows)]
	if len(p.rows) < v.Rows/4 {
		v.Time.Gather(p.rows, p.times)
		return
	}
	p.all = grown(p.all, v.Rows)[:v.Rows]
	v.Time.Decode(0, p.all)
	for i, row := range p.rows {
		p.times[i] = p.all[row]
	}
}

// list numbers the selected rows.
func (p *pairRows) list(selected tile.Bitmap, starts []uint32) {
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
		rank := p.ranks[start>>6]
		if in := start & 63; in != 0 {
			rank += uint32(bits.OnesCount64(selected[start>>6] << (64 - in)))
		}
		p.starts = append(p.starts, rank)
	}
}

// borders calls f for the first row of every customer but the first who has rows.
func (p *pairRows) borders(f func(row uint32)) {
	// Customers without rows share their start with the next.
	before := uint32(0)
	for _, start := range p.starts {
		if start > before && int(start) < len(p.codes) && !seeded.On("pairs_over_customers") {
			f(start)
		}
		before = max(before, start)
	}
}
