package engine

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// packedPaths counts short paths of events or channels: a path is one number,
// made of the bits of its labels. Numbers are dealt out by hash to buckets, each
// of which is counted by one worker in a table that fits a near cache. The
// journeys stay in their buckets, so that those of the paths shown are found
// quickly when their durations are wanted.
type packedPaths struct {
	*packing
	labels  *tile.Codes // of the tile at hand
	rows    tile.Bitmap // its rows that paths are of; nil: all
	buckets [pathBuckets]pathBucket
}

// packing says how a path is one number: for each plane of the labels' codes,
// one bit for each label there may be; above them how many labels there are.
type packing struct {
	length int      // labels there may be
	count  int      // where their number is
	spread []uint64 // by code, its bits where those of a first label are
}

const (
	pathBuckets  = 256
	packedBits   = 63
	packedCount  = 4          // bits of how many labels there are
	packedLonger = ^uint64(0) // stands for longerCode
)

// packedJourney is one journey's path and how long it took.
type packedJourney struct {
	path     uint64
	duration event.Duration
}

// pathBucket lists journeys in pieces that are never moved.
type pathBucket struct {
	last []packedJourney // the piece that is being filled
	full [][]packedJourney
}

const packedPiece = 512

// packing returns how the statement's paths are numbers, nil if they cannot be.
func (o *pathsOperator) packing() *packing {
	plan, names := o.r.plan, o.labeling.names()
	planes := bits.Len(uint(max(len(names), 1) - 1))
	if names == nil || o.length >= 1<<packedCount || planes*o.length+packedCount > packedBits || !o.grouping.whole() ||
		plan.Collapse || plan.Unit.Session || o.r.opt.General {
		return nil
	}
	p := &packing{length: o.length, count: planes * o.length, spread: make([]uint64, len(names))}
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

// visit finds the paths of a tile. Where a customer has at most one, its anchor
// is the first there is, and customers without one are not looked at.
func (p *packedPaths) visit(w *pathsWorker, v *view) error {
	p.labels, p.rows = w.labels.planes(v), v.rows
	plan := w.r.plan
	anchors := w.to
	switch {
	case plan.FromEach || plan.ToEach || w.from != nil && w.to != nil:
		return v.units(func(u unit) error { return w.unit(v, u) })
	case w.from == nil && w.to == nil:
		if p.rows = v.anchors(false); p.rows == nil {
			return p.visitWhole(w, v)
		}
		anchors = v.copyOf(p.rows)
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

// visitWhole finds the paths from the beginning of whole journeys.
func (p *packedPaths) visitWhole(w *pathsWorker, v *view) error {
	lo := v.Starts[0]
	for _, hi := range v.Starts[1:] {
		if lo < hi {
			if err := p.forward(w, v, int(lo), int(hi)); err != nil {
				return err
			}
		}
		lo = hi
	}
	return v.tick(v.Rows)
}

// forward is the path of the first labels of rows [first, until).
func (p *packedPaths) forward(w *pathsWorker, v *view, first, until int) error {
	end := min(first+p.length, until)
	if p.whole(first, end) {
		return p.add(w, v, p.cut(first, end), end-first, first, end-1)
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
	if p.whole(first, y+1) {
		for first < y && v.Time.At(first) < oldest {
			first++
		}
		return p.add(w, v, p.cut(first, y+1), y+1-first, first, y)
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
	if p.whole(x, min(x+p.length, y)+1) {
		if y-x >= p.length {
			return p.add(w, v, packedLonger, 0, x, y)
		}
		return p.add(w, v, p.cut(x, y+1), y+1-x, x, y)
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

// whole reports whether paths are of all rows [lo, hi).
func (p *packedPaths) whole(lo, hi int) bool {
	return p.rows == nil || p.rows.NextNot(lo, hi) == hi
}

// cut is the path of rows [lo, hi).
func (p *packedPaths) cut(lo, hi int) uint64 { return p.labels.Cut(lo, hi-lo, p.length) }

// add counts the path of n labels that rows first to last have.
func (p *packedPaths) add(w *pathsWorker, v *view, path uint64, n, first, last int) error {
	if w.through != nil && w.through.Next(first, last+1) > last {
		return nil
	}
	if path != packedLonger {
		path |= uint64(n) << (p.count & 63)
	}
	if n == p.length && seeded.On("packed_full_is_longer") {
		path = packedLonger
	}
	bucket := &p.buckets[packedHash(path)>>56]
	if len(bucket.last) == cap(bucket.last) {
		if err := bucket.grow(&w.memory); err != nil {
			return err
		}
	}
	bucket.last = append(bucket.last, packedJourney{path, v.Time.Elapsed(first, last)})
	return nil
}

// grow begins another piece.
func (b *pathBucket) grow(memory *ration) error {
	size := min(packedPiece, max(8, 16*cap(b.last)))
	if err := memory.take(16 * int64(size)); err != nil {
		return err
	}
	if len(b.last) > 0 {
		b.full = append(b.full, b.last)
	}
	b.last = make([]packedJourney, 0, size)
	return nil
}

// pieces calls f for the bucket's journeys, a piece at a time.
func (b *pathBucket) pieces(f func([]packedJourney) error) error {
	for _, piece := range b.full {
		if err := f(piece); err != nil {
			return err
		}
	}
	return f(b.last)
}

func packedHash(path uint64) uint64 {
	high, low := bits.Mul64(path, 0x9E3779B97F4A7C15)
	return high ^ low
}

// countedPath is a path and its journeys.
type countedPath struct {
	path  uint64
	count int64
}

// packedTotal is what all buckets come to.
type packedTotal struct {
	paths      int
	journeys   int64
	candidates []countedPath // those that may be shown
}

// countPacked counts the paths of all workers, bucket by bucket.
func (o *pathsOperator) countPacked(ws []*pathsWorker) (packedTotal, error) {
	var total packedTotal
	var paths atomic.Int64
	var mu sync.Mutex
	var failed error
	workers := o.r.opt.Workers
	o.r.parallel(workers, func(i int) {
		table := packedTable{memory: ration{budget: o.r.memory}, least: 1}
		if o.r.plan.Cover == 0 {
			table.top = int(min(o.r.plan.Top, math.MaxInt32))
		}
		var err error
		for b := i; b < pathBuckets && err == nil; b += workers {
			if err = table.count(ws, b); err != nil {
				break
			}
			if all := int(paths.Add(int64(table.paths))); all > o.r.opt.Groups {
				err = tooManyPaths(o.r.opt.Groups, all)
			} else {
				err = o.r.ctx.Err()
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		total.journeys += table.journeys
		total.candidates = append(total.candidates, table.candidates...)
	})
	total.paths = int(paths.Load())
	return total, failed
}

// packedTable counts the paths of one bucket after the other.
type packedTable struct {
	slots  []countedPath // open addressing; a count of 0 is free
	room   []countedPath // what slots lie in
	moved  []countedPath // scratch of grow
	paths  int           // of the bucket at hand
	memory ration

	journeys   int64
	candidates []countedPath // paths that may be shown
	top        int           // how many are; 0: all
	least      int64         // as many journeys have the first top of the candidates
	pruned     int           // candidates there were after least was found
}

// packedSlots is how many a table begins with: it grows by the different paths,
// which may be few among many journeys.
const packedSlots = 1 << 8

func (t *packedTable) count(ws []*pathsWorker, b int) error {
	size := packedSlots
	for size < 2*t.paths+t.paths/4 { // buckets are alike: there will be as many as in the one before
		size *= 2
	}
	t.paths = 0
	if err := t.resize(size); err != nil {
		return err
	}
	for _, w := range ws {
		if err := w.packed.buckets[b].pieces(t.add); err != nil {
			return err
		}
	}
	for _, slot := range t.slots {
		if slot.count >= t.least {
			t.candidates = append(t.candidates, slot)
		}
	}
	t.prune()
	return nil
}

// prune leaves of the candidates those among the first, and those as frequent
// as the last of them, once there are many more.
func (t *packedTable) prune() {
	if t.top == 0 || len(t.candidates) < 2*max(t.top, t.pruned) {
		return
	}
	counts := make([]int64, len(t.candidates))
	for i := range counts {
		counts[i] = -t.candidates[i].count
	}
	t.least = -selectRank(counts, t.top-1)
	t.candidates = slices.DeleteFunc(t.candidates, func(p countedPath) bool { return p.count < t.least })
	t.pruned = len(t.candidates)
}

// add counts journeys.
func (t *packedTable) add(journeys []packedJourney) error {
	t.journeys += int64(len(journeys))
	for i := range journeys {
		path := journeys[i].path
		slot := t.slot(path)
		if slot.count++; slot.count > 1 {
			continue
		}
		slot.path = path
		if t.paths++; 2*t.paths > len(t.slots) {
			if err := t.grow(); err != nil {
				return err
			}
		}
	}
	return nil
}

// slot is that of a path, or the free one for it.
func (t *packedTable) slot(path uint64) *countedPath {
	mask := uint64(len(t.slots) - 1)
	at := packedHash(path) & mask
	for t.slots[at].count != 0 && t.slots[at].path != path {
		at = (at + 1) & mask
	}
	return &t.slots[at]
}

// grow doubles the slots.
func (t *packedTable) grow() error {
	t.moved = t.moved[:0]
	for _, slot := range t.slots {
		if slot.count != 0 {
			t.moved = append(t.moved, slot)
		}
	}
	if err := t.resize(2 * len(t.slots)); err != nil {
		return err
	}
	for _, slot := range t.moved {
		*t.slot(slot.path) = slot
	}
	return nil
}

// resize makes a number of free slots.
func (t *packedTable) resize(n int) error {
	if n > len(t.room) {
		if err := t.memory.take(32 * int64(n-len(t.room))); err != nil {
			return err
		}
		t.room = make([]countedPath, n)
		t.slots = t.room
		return nil
	}
	t.slots = t.room[:n]
	clear(t.slots)
	return nil
}

// unpack makes a table of the candidates.
func (o *pathsOperator) unpack(w *pathsWorker, candidates []countedPath) (*pathTable, error) {
	table := newPathTable(o.r)
	for _, c := range candidates {
		codes := w.codes[:0]
		if c.path == packedLonger {
			codes = append(codes, longerCode)
		} else {
			codes = w.packed.codes(c.path, codes)
			for i, code := range codes {
				var err error
				if codes[i], err = w.labels.coders[0].schemaCode(code); err != nil {
					return nil, err
				}
			}
		}
		if _, err := table.add(0, codes, c.count); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// packedDurations collects those of the journeys whose paths are shown; entries
// of the table are the candidates in order.
func packedDurations(ws []*pathsWorker, candidates []countedPath, shown []shownPath) map[int][]event.Duration {
	var wanted [pathBuckets][]int
	for _, s := range shown {
		b := packedHash(candidates[s.entry].path) >> 56
		wanted[b] = append(wanted[b], s.entry)
	}
	lists := map[int][]event.Duration{}
	for b, entries := range wanted {
		if len(entries) == 0 {
			continue
		}
		entry := map[uint64]int{}
		for _, e := range entries {
			entry[candidates[e].path] = e
		}
		for _, w := range ws {
			w.packed.buckets[b].pieces(func(journeys []packedJourney) error {
				for i := range journeys {
					if e, ok := entry[journeys[i].path]; ok {
						lists[e] = append(lists[e], journeys[i].duration)
					}
				}
				return nil
			})
		}
	}
	return lists
}
