package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// packedPaths finds short paths of events or channels: a path is one number,
// made of the bits of its labels. Numbers are dealt out to buckets, each of which
// is counted by one worker in a table that fits a near cache. Times are read for
// those paths only that are shown, or are likely to be.
type packedPaths struct {
	*packing
	labels    *tile.Codes // of the tile at hand
	rows      tile.Bitmap // its rows that paths are of; nil: all
	cut       []uint64    // by customer of the tile: the labels of the first rows
	buckets   *pathBuckets
	durations *pathDurations
}

// packing says how a path is one number: for each plane of the labels' codes,
// one bit for each label there may be; above them how many labels there are.
type packing struct {
	length int      // labels there may be
	count  int      // where their number is
	few    bool     // each path there may be can have a counter
	below  int      // bits of a path below those of its bucket, if so
	spread []uint64 // by code, its bits where those of a first label are
}

const (
	packedBits   = 64
	packedLonger = 0 // stands for longerCode: other paths have labels
)

// packing returns how the statement's paths are numbers, nil if they cannot be.
func (o *pathsOperator) packing() *packing {
	plan, names := o.r.plan, o.labeling.names()
	planes := bits.Len(uint(max(len(names), 1) - 1))
	all := planes*o.length + bits.Len(uint(o.length))
	if names == nil || all > packedBits || !o.grouping.whole() ||
		plan.Collapse || plan.Unit.Session || o.r.opt.General {
		return nil
	}
	p := &packing{length: o.length, count: planes * o.length, below: max(0, all-pathBucketBits), spread: make([]uint64, len(names))}
	p.few = 1<<p.below <= countersMax
	for code := range p.spread {
		for b := range planes {
			p.spread[code] |= uint64(code>>b&1) << (b * o.length)
		}
	}
	return p
}

// codes appends the codes of a path.
func (p *packing) codes(path uint64, codes []uint32) []uint32 {
	for i := range int(path >> p.count) {
		code := uint32(0)
		for b := 0; b*p.length < p.count; b++ {
			code |= uint32(path>>(b*p.length+i)&1) << b
		}
		codes = append(codes, code)
	}
	return codes
}

// visit finds the paths of a tile, and the durations that are wanted of them.
func (p *packedPaths) visit(w *pathsWorker, v *view) error {
	if err := p.find(w, v); err != nil {
		return err
	}
	return p.durations.flush(v, &w.memory)
}

// find finds the paths of a tile. Where a customer has at most one, its anchor
// is the first there is, and customers without one are not looked at.
func (p *packedPaths) find(w *pathsWorker, v *view) error {
	p.labels, p.rows = w.labels.planes(v), v.rows
	plan := w.r.plan
	anchors := w.to
	switch {
	case plan.FromEach || plan.ToEach || w.from != nil && w.to != nil:
		return v.units(func(u unit) error { return w.unit(v, u) })
	case w.from == nil && w.to == nil:
		if p.rows = v.anchors(false); p.rows == nil && w.through == nil {
			return p.visitWhole(w, v)
		}
		if p.rows == nil {
			anchors = v.bitmap(v.Rows)
			anchors.Fill(v.Rows)
		} else {
			anchors = v.copyOf(p.rows)
		}
	default:
		if w.from != nil {
			anchors = w.from
		}
		if plan.During.Set {
			all := anchors
			anchors = v.bitmap(v.Rows)
			v.Time.Between(plan.During.From, plan.During.To, all, anchors)
		}
		if v.members != nil {
			anchors.And(v.memberRows())
		}
	}
	anchors.Heads(v.Firsts, anchors)
	c := 0
	for row := anchors.Next(0, v.Rows); row < v.Rows; row = anchors.Next(row+1, v.Rows) {
		for int(v.Starts[c+1]) <= row {
			c++
		}
		u := unit{customer: c}
		u.lo, u.hi = v.extent(c)
		var err error
		switch {
		case w.from != nil:
			err = w.after(v, u, row)
		case w.to != nil:
			err = w.before(v, u, row)
		default:
			err = p.forward(w, v, row, u.hi)
		}
		if err != nil {
			return err
		}
	}
	return v.tick(v.Rows)
}

// visitWhole finds the paths from the beginning of whole journeys, step by step
// for all customers of a tile.
func (p *packedPaths) visitWhole(w *pathsWorker, v *view) error {
	starts := v.Starts
	p.cut = grown(p.cut, v.Customers())[:v.Customers()]
	p.labels.CutFirsts(starts, p.length, p.cut)
	paths := p.cut
	for c := range paths {
		n := min(p.length, int(starts[c+1]-starts[c]))
		paths[c] |= uint64(n) << (p.count & 63)
		if n == p.length && seeded.On("packed_full_is_longer") {
			paths[c] = packedLonger
		}
	}
	for c, path := range paths {
		if list := p.durations.list(path); list >= 0 && starts[c] < starts[c+1] {
			first := int(starts[c])
			last := min(first+p.length, int(starts[c+1])) - 1
			if err := p.durations.add(v, list, first, last, &w.memory); err != nil {
				return err
			}
		}
	}
	if p.buckets != nil {
		for c, path := range paths {
			if starts[c] < starts[c+1] {
				if err := p.buckets.add(p.bucket(path), path, &w.memory); err != nil {
					return err
				}
			}
		}
	}
	return v.tick(v.Rows)
}

// forward is the path of the first labels of rows [first, until).
func (p *packedPaths) forward(w *pathsWorker, v *view, first, until int) error {
	end := min(first+p.length, until)
	if p.all(first, end) {
		return p.add(w, v, p.whole(first, end), end-first, first, end-1)
	}
	path, n, last := uint64(0), 0, first
	for row := first; row < until && n < p.length; row = p.rows.Next(row+1, until) {
		path |= p.spread[p.labels.At(row)] << n
		last = row
		n++
	}
	return p.add(w, v, path, n, first, last)
}

// before is the path of the last labels up to row y, none older than a time.
func (p *packedPaths) before(w *pathsWorker, v *view, u unit, y int, oldest event.Time) error {
	first := max(u.lo, y-p.length+1)
	if p.all(first, y+1) {
		for first < y && v.Time.At(first) < oldest {
			first++
		}
		return p.add(w, v, p.whole(first, y+1), y+1-first, first, y)
	}
	path, n := uint64(0), 0
	for row := y; row >= u.lo && n < p.length && v.Time.At(row) >= oldest; row = p.rows.Last(u.lo, row) {
		path = path<<1 | p.spread[p.labels.At(row)]
		first = row
		n++
	}
	return p.add(w, v, path, n, first, y)
}

// between is the path from row x to row y.
func (p *packedPaths) between(w *pathsWorker, v *view, x, y int) error {
	if p.all(x, min(x+p.length, y)+1) {
		if y-x >= p.length {
			return p.add(w, v, packedLonger, 0, x, y)
		}
		return p.add(w, v, p.whole(x, y+1), y+1-x, x, y)
	}
	path, n := uint64(0), 0
	for row := x; row <= y; row = p.rows.Next(row+1, y+1) {
		if n == p.length {
			return p.add(w, v, packedLonger, 0, x, y)
		}
		path |= p.spread[p.labels.At(row)] << n
		n++
	}
	return p.add(w, v, path, n, x, y)
}

// all reports whether paths are of all rows [lo, hi).
func (p *packedPaths) all(lo, hi int) bool {
	return p.rows == nil || p.rows.NextNot(lo, hi) == hi
}

// whole is the path of all rows [lo, hi).
func (p *packedPaths) whole(lo, hi int) uint64 { return p.labels.Cut(lo, hi-lo, p.length) }

// add counts the path of n labels that rows first to last have.
func (p *packedPaths) add(w *pathsWorker, v *view, path uint64, n, first, last int) error {
	if w.through != nil && w.through.Next(first, last+1) > last {
		return nil
	}
	if path |= uint64(n) << (p.count & 63); n == p.length && seeded.On("packed_full_is_longer") {
		path = packedLonger
	}
	if list := p.durations.list(path); list >= 0 {
		if err := p.durations.add(v, list, first, last, &w.memory); err != nil {
			return err
		}
	}
	if p.buckets == nil {
		return nil
	}
	return p.buckets.add(p.bucket(path), path, &w.memory)
}
