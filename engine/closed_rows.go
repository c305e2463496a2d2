package engine

import (
	"encoding/binary"
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// closedRows are the selected rows of a tile without what lies between them, in
// one stretch for each customer.
type closedRows struct {
	codes  []byte       // labels
	times  []event.Time // only if asked for
	starts []uint32     // of the customers; some may have no rows

	selected tile.Bitmap // nil: all rows
	ranks    []uint32    // selected rows before each 64
	rows     []uint32    // those selected: only once list was called
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
	p.codes = grown(p.codes, v.Rows+64)[:v.Rows]
	if p.selected = selected; selected == nil {
		labels.Decode8(0, p.codes)
		p.starts = append(p.starts[:0], v.Starts...)
		if times {
			p.times = grown(p.times, v.Rows)[:v.Rows]
			v.Time.Decode(0, p.times)
		}
		return v.tick(v.Rows)
	}
	p.number(v.Starts)
	p.close(labels)
	if times {
		p.closeTimes(v)
	}
	return v.tick(v.Rows)
}

// number counts the selected rows.
func (p *closedRows) number(starts []uint32) {
	p.ranks = grown(p.ranks, len(p.selected)+1)[:len(p.selected)+1]
	n := 0
	for at, some := range p.selected {
		p.ranks[at] = uint32(n)
		n += bits.OnesCount64(some)
	}
	p.ranks[len(p.selected)] = uint32(n)
	p.starts = grown(p.starts, len(starts))[:len(starts)]
	for c, start := range starts {
		p.starts[c] = uint32(p.rank(int(start)))
	}
}

// close moves the labels up, eight at a time: what is stored behind a run of
// selected rows the next one overwrites.
func (p *closedRows) close(labels *tile.Codes) {
	var group [64 + 8]byte
	codes := p.codes[:cap(p.codes)]
	n := 0
	for at, left := range p.selected {
		if left == 0 {
			continue
		}
		if left == ^uint64(0) {
			labels.Decode8(at<<6, codes[n:n+64])
			n += 64
			continue
		}
		labels.Group8(at, (*[64]byte)(group[:]))
		for from := 0; left != 0; {
			skip := bits.TrailingZeros64(left)
			left >>= skip & 63
			from += skip
			run := bits.TrailingZeros64(^left)
			left >>= run & 63
			for k := 0; k < run; k += 8 {
				binary.LittleEndian.PutUint64(codes[n+k:], binary.LittleEndian.Uint64(group[(from+k)&63:]))
			}
			n += run
			from += run
		}
	}
	p.codes = codes[:n]
}

// closeTimes is close for times. Few are looked up one by one.
func (p *closedRows) closeTimes(v *view) {
	p.times = grown(p.times, len(p.codes))[:len(p.codes)]
	if len(p.codes) < v.Rows/4 {
		p.list()
		v.Time.Gather(p.rows, p.times)
		return
	}
	p.all = grown(p.all, v.Rows)[:v.Rows]
	v.Time.Decode(0, p.all)
	n := 0
	for from := p.selected.Next(0, v.Rows); from < v.Rows; {
		to := p.selected.NextNot(from, v.Rows)
		n += copy(p.times[n:], p.all[from:to])
		from = p.selected.Next(to, v.Rows)
	}
}

// list lists the selected rows.
func (p *closedRows) list() {
	p.rows = grown(p.rows, len(p.codes))[:len(p.codes)]
	n := 0
	for at, left := range p.selected {
		for ; left != 0; left &= left - 1 {
			p.rows[n] = uint32(at<<6 + bits.TrailingZeros64(left))
			n++
		}
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
