package storage

import (
	"wend/event"
	"wend/tile"
)

// piece is rows [row, row+n) of one part of a merge.
type piece struct{ part, row, n uint32 }

// pieces is the rows of a merge's outcome, in order.
type pieces struct {
	list []piece
	rows int
}

// add appends rows, joining what continues the piece before it.
func (p *pieces) add(part, row, n uint32) {
	p.rows += int(n)
	if k := len(p.list) - 1; k >= 0 && p.list[k].part == part && p.list[k].row+p.list[k].n == row {
		p.list[k].n += n
		return
	}
	p.list = append(p.list, piece{part, row, n})
}

// times gathers the time column.
func (p *pieces) times(parts [][]event.Time) []event.Time {
	dst := make([]event.Time, p.rows)
	at := 0
	for _, q := range p.list {
		at += copy(dst[at:], parts[q.part][q.row:q.row+q.n])
	}
	return dst
}

// sample fills dst with times that follow each other in the outcome, from its
// middle if it has more, and returns those that there are.
func (p *pieces) sample(dst []event.Time, parts []*tile.Times) []event.Time {
	list := p.list
	if p.rows > len(dst) {
		list = list[len(list)/2:]
	}
	at := 0
	for _, q := range list {
		some := dst[at:min(at+int(q.n), len(dst))]
		parts[q.part].Decode(int(q.row), some)
		if at += len(some); at == len(dst) {
			break
		}
	}
	return dst[:at]
}

// codes gathers a column of small numbers; a part may lack it. It is nil if all are 0.
func (p *pieces) codes(parts [][]uint32) []uint32 {
	any := false
	for _, part := range parts {
		any = any || part != nil
	}
	if !any {
		return nil
	}
	dst := make([]uint32, p.rows)
	at := 0
	var or uint32
	for _, q := range p.list {
		own := dst[at : at+int(q.n)]
		at += int(q.n)
		src := parts[q.part]
		if src == nil {
			continue
		}
		for k, c := range src[q.row : q.row+q.n] {
			own[k] = c
			or |= c
		}
	}
	if or == 0 {
		return nil
	}
	return dst
}

// column gathers a property into type t; parts without it have nil. It is nil
// if no row has a value. An integer part of a property that is float by now
// is widened.
func (p *pieces) column(t event.Type, parts []*tile.Column) *tile.Column {
	any := false
	for _, c := range parts {
		any = any || c != nil
	}
	if !any {
		return nil
	}
	dst := newColumnBuilder(t, p.rows)
	codes := make([][]uint32, len(parts)) // by part: new code plus one of each old code
	at := 0
	for _, q := range p.list {
		src := parts[q.part]
		if src == nil {
			at += int(q.n)
			continue
		}
		if dst.col.Present.Copy(at, src.Present, int(q.row), int(q.n)) {
			dst.any = true
		}
		lo, hi := int(q.row), int(q.row+q.n)
		switch {
		case t == event.StringType:
			if codes[q.part] == nil {
				codes[q.part] = make([]uint32, len(src.Dict))
			}
			dst.translate(at, src, lo, hi, codes[q.part])
		case t != event.FloatType:
			copy(dst.col.Ints[at:], src.Ints[lo:hi])
		case src.Type == event.IntegerType:
			for k, v := range src.Ints[lo:hi] {
				dst.col.Floats[at+k] = float64(v)
			}
		default:
			copy(dst.col.Floats[at:], src.Floats[lo:hi])
		}
		at += int(q.n)
	}
	return dst.column()
}

func (b *columnBuilder) translate(at int, src *tile.Column, lo, hi int, codes []uint32) {
	for k := lo; k < hi; k++ {
		if !src.Present.Get(k) {
			continue
		}
		old := src.Codes[k]
		if codes[old] == 0 {
			codes[old] = b.code(src.Dict[old]) + 1
		}
		b.col.Codes[at+k-lo] = codes[old] - 1
	}
}
