package storage

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"wend/event"
	"wend/tile"
)

// loadDuplicates decides, customer by customer, which rows of a bulk load are
// stored already. Rows with an id are known by it; the first to arrive stays.
// A row without one is the same as a stored row of equal content, each stored
// row standing for one: so equal rows of one file all count, and the same
// file again adds nothing.
type loadDuplicates struct {
	same, other atomic.Int64

	mu         sync.Mutex
	refused    *suppression // whose rows are left out, guarded by mu; nil: nobody's
	suppressed atomic.Int64
}

// place is a row of a merge.
type place struct {
	part *mergePart
	row  int
}

func (d *loadDuplicates) customer(parts []*mergePart, members []member) {
	if d.refused != nil {
		m := members[0]
		d.mu.Lock()
		refused := d.refused.has(parts[m.part].names.At(int(m.customer)))
		d.mu.Unlock()
		if refused {
			each(parts, members, false, func(p *mergePart, row int) {
				p.drop(row)
				d.suppressed.Add(1)
			})
			return
		}
	}
	stored, ids := false, false
	for _, m := range members {
		stored = stored || parts[m.part].onlyStored
		ids = ids || parts[m.part].rows.IDs != nil
	}
	if ids {
		d.byID(parts, members)
	}
	if stored {
		d.byContent(parts, members)
	}
}

// each calls f for the rows of the members that are stored, or that are new.
func each(parts []*mergePart, members []member, stored bool, f func(p *mergePart, row int)) {
	for _, m := range members {
		p := parts[m.part]
		if p.onlyStored != stored {
			continue
		}
		for row := p.starts[m.customer]; row < p.starts[m.customer+1]; row++ {
			if p.dropped == nil || !p.dropped.Get(int(row)) {
				f(p, int(row))
			}
		}
	}
}

func (p *mergePart) id(row int) string {
	if ids := p.rows.IDs; ids != nil && ids.Present.Get(row) {
		return ids.Dict[ids.Codes[row]]
	}
	return ""
}

func (p *mergePart) drop(row int) {
	if p.dropped == nil {
		p.dropped = tile.NewBitmap(len(p.times))
	}
	p.dropped.Set(row)
}

func (d *loadDuplicates) byID(parts []*mergePart, members []member) {
	first := map[string]place{}
	each(parts, members, true, func(p *mergePart, row int) {
		if id := p.id(row); id != "" {
			first[id] = place{p, row}
		}
	})
	var fresh []place
	each(parts, members, false, func(p *mergePart, row int) {
		if p.id(row) != "" {
			fresh = append(fresh, place{p, row})
		}
	})
	slices.SortFunc(fresh, func(a, b place) int { return cmp.Compare(a.part.arrived[a.row], b.part.arrived[b.row]) }) // they are of one part
	for _, r := range fresh {
		id := r.part.id(r.row)
		f, ok := first[id]
		switch {
		case !ok:
			first[id] = r
			continue
		case equalRows(f.part.rows, f.row, r.part.rows, r.row):
			d.same.Add(1)
		default:
			d.other.Add(1)
		}
		r.part.drop(r.row)
	}
}

func (d *loadDuplicates) byContent(parts []*mergePart, members []member) {
	wanted := map[event.Time]bool{}
	each(parts, members, false, func(p *mergePart, row int) {
		if p.id(row) == "" {
			wanted[p.times[row]] = true
		}
	})
	have := map[uint64][]place{}
	each(parts, members, true, func(p *mergePart, row int) {
		if p.id(row) == "" && wanted[p.times[row]] {
			h := contentHash(p.rows, row)
			have[h] = append(have[h], place{p, row})
		}
	})
	if len(have) == 0 {
		return
	}
	each(parts, members, false, func(p *mergePart, row int) {
		if p.id(row) != "" {
			return
		}
		h := contentHash(p.rows, row)
		list := have[h]
		for i, f := range list {
			if equalRows(f.part.rows, f.row, p.rows, row) {
				list[i] = list[len(list)-1] // it stands for this row and for no other
				have[h] = list[:len(list)-1]
				d.same.Add(1)
				p.drop(row)
				return
			}
		}
	})
}

// equalRows compares the content of two rows, ids left aside. An integer
// equals the float that it was widened to.
func equalRows(a *rowBlock, i int, b *rowBlock, j int) bool {
	if a.Time[i] != b.Time[j] || a.Event[i] != b.Event[j] || codeAt(a.Channel, i) != codeAt(b.Channel, j) {
		return false
	}
	var some, others [32]value
	return slices.EqualFunc(a.appendRow(some[:0], i), b.appendRow(others[:0], j), func(p, q value) bool {
		return p.property == q.property && equalValues(p.column, p.at, q.column, q.at)
	})
}

func codeAt(codes []uint32, i int) uint32 {
	if codes == nil {
		return 0
	}
	return codes[i]
}

func equalValues(p *tile.Column, i int, q *tile.Column, j int) bool {
	switch {
	case p.Type == event.StringType:
		return p.Dict[p.Codes[i]] == q.Dict[q.Codes[j]]
	case p.Type == event.FloatType || q.Type == event.FloatType:
		return p.At(i).Float() == q.At(j).Float()
	}
	return p.Ints[i] == q.Ints[j]
}

// contentHash is equal for rows that equalRows calls equal.
func contentHash(b *rowBlock, i int) uint64 {
	h := mix(uint64(b.Time[i]), uint64(b.Event[i])<<32|uint64(codeAt(b.Channel, i)))
	var some [32]value
	for _, v := range b.appendRow(some[:0], i) {
		c, p, i := v.property, v.column, v.at
		switch {
		case p.Type == event.StringType:
			h = mix(h^uint64(c), customerHash(p.Dict[p.Codes[i]]))
		case p.Type.Numeric():
			f := p.At(i).Float()
			f += 0 // -0 equals 0
			h = mix(h^uint64(c), math.Float64bits(f))
		default:
			h = mix(h^uint64(c), uint64(p.Ints[i]))
		}
	}
	return h
}

// mix folds a value into a hash.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}
