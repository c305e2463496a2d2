package engine

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"wend/event"
	"wend/internal/seeded"
)

// packedPaths counts short paths of events or channels: a path is one number, a
// byte for each label. Numbers are dealt out by hash to buckets, each of which
// is counted by one worker in a table that fits a near cache. The journeys stay
// in their buckets, so that those of the paths shown are found quickly when
// their durations are wanted.
type packedPaths struct {
	rows    closedRows
	buckets [pathBuckets]pathBucket
}

const (
	pathBuckets = 256

	// packedLabels is how many labels a number holds, packedNames how many
	// different ones there may be: a byte is a code and one, 0 is no label.
	packedLabels = 8
	packedNames  = 253
	packedLonger = ^uint64(0) // stands for longerCode
)

// packedJourney is one journey's path and how long it took.
type packedJourney struct {
	path     uint64
	duration event.Duration
}

// pathBucket lists journeys in pieces that are never moved.
type pathBucket struct {
	pieces [][]packedJourney
}

const packedPiece = 512

// packs reports whether the statement's paths can be packed.
func (o *pathsOperator) packs() bool {
	p := o.r.plan
	names := o.labeling.names()
	return names != nil && len(names) <= packedNames && o.length <= packedLabels && o.grouping.whole() &&
		!p.Collapse && !p.Unit.Session && !o.r.opt.General
}

// visit finds the paths of a tile.
func (p *packedPaths) visit(w *pathsWorker, v *view) error {
	labels := w.labels.planes(v)
	if w.from != nil || w.to != nil {
		if err := p.rows.load(v, labels, v.rows, false); err != nil {
			return err
		}
		p.rows.list()
		return v.units(func(u unit) error { return w.unit(v, u) })
	}
	if err := p.rows.load(v, labels, v.anchors(false), false); err != nil {
		return err
	}
	p.rows.list()
	starts := p.rows.starts
	lo := int(starts[0])
	for _, start := range starts[1:] {
		hi := int(start)
		if lo < hi {
			if err := p.add(w, v, lo, min(hi-lo, w.length)); err != nil {
				return err
			}
		}
		lo = hi
	}
	return nil
}

// forward is the path of the first labels of rows [first, until).
func (p *packedPaths) forward(w *pathsWorker, v *view, first, until int) error {
	from := p.rows.rank(first)
	return p.add(w, v, from, min(p.rows.rank(until)-from, w.length))
}

// before is the path of the last labels up to row y, none older than a time.
func (p *packedPaths) before(w *pathsWorker, v *view, u unit, y int, oldest event.Time) error {
	to := p.rows.rank(y)
	from := max(p.rows.rank(u.lo), to-w.length+1)
	for from < to && v.Time.At(p.rows.row(from)) < oldest {
		from++
	}
	return p.add(w, v, from, to-from+1)
}

// between is the path from row x to row y.
func (p *packedPaths) between(w *pathsWorker, v *view, x, y int) error {
	from := p.rows.rank(x)
	return p.add(w, v, from, p.rows.rank(y)-from+1)
}

// add counts the path of n labels from a rank on.
func (p *packedPaths) add(w *pathsWorker, v *view, from, n int) error {
	first, last := p.rows.row(from), p.rows.row(from+n-1)
	if w.through != nil && w.through.Next(first, last+1) > last {
		return nil
	}
	path := packedLonger
	if n < w.length || n == w.length && !seeded.On("packed_full_is_longer") {
		const ones = 0x0101010101010101
		eight := binary.LittleEndian.Uint64(p.rows.codes[from : from+8 : from+8][:8])
		path = (eight + ones) & (^uint64(0) >> ((64 - 8*n) & 63))
	}
	bucket := &p.buckets[packedHash(path)>>56]
	at := len(bucket.pieces) - 1
	if at < 0 || len(bucket.pieces[at]) == cap(bucket.pieces[at]) {
		size := packedPiece
		if at < 1 {
			size = 8 << (4 * (at + 1))
		}
		if err := w.memory.take(16 * int64(size)); err != nil {
			return err
		}
		bucket.pieces = append(bucket.pieces, make([]packedJourney, 0, size))
		at++
	}
	bucket.pieces[at] = append(bucket.pieces[at], packedJourney{path, v.Time.At(last).Sub(v.Time.At(first))})
	return nil
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
	var mu sync.Mutex
	var failed error
	workers := o.r.opt.Workers
	o.r.parallel(workers, func(i int) {
		table := packedTable{memory: ration{budget: o.r.memory}}
		for b := i; b < pathBuckets; b += workers {
			err := table.count(ws, b)
			if err == nil {
				err = o.r.ctx.Err()
			}
			mu.Lock()
			total.paths += len(table.found)
			for _, found := range table.found {
				total.journeys += found.count
			}
			total.candidates = append(total.candidates, o.candidates(table.found)...)
			if total.paths > o.r.opt.Groups && err == nil {
				err = tooManyPaths(o.r.opt.Groups, total.paths)
			}
			if failed == nil {
				failed = err
			}
			stop := failed != nil
			mu.Unlock()
			if stop {
				return
			}
		}
	})
	return total, failed
}

// candidates returns the paths of a bucket that may be shown: with top those
// that are among the bucket's own first, and those as frequent as the last of
// them. It reorders found.
func (o *pathsOperator) candidates(found []countedPath) []countedPath {
	top := o.r.plan.Top
	if o.r.plan.Cover > 0 || top == 0 || int64(len(found)) <= top {
		return found
	}
	counts := make([]int64, len(found))
	for i := range found {
		counts[i] = found[i].count
	}
	least := -selectRank(negated(counts), int(top)-1)
	return slices.DeleteFunc(found, func(p countedPath) bool { return p.count < least })
}

// packedTable counts the paths of one bucket after the other.
type packedTable struct {
	slots  []countedPath // open addressing; a count of 0 is free
	found  []countedPath
	room   []countedPath // what slots lie in
	paths  int
	memory ration
}

// packedSlots is how many a table begins with: it grows by the different paths,
// which may be few among many journeys.
const packedSlots = 1 << 8

func (t *packedTable) count(ws []*pathsWorker, b int) error {
	size := packedSlots
	for size < 4*len(t.found) { // buckets are alike: there will be as many as in the one before
		size *= 2
	}
	t.found, t.paths = t.found[:0], 0
	if err := t.resize(size); err != nil {
		return err
	}
	for _, w := range ws {
		for _, piece := range w.packed.buckets[b].pieces {
			for i := range piece {
				path := piece[i].path
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
		}
	}
	for _, slot := range t.slots {
		if slot.count != 0 {
			t.found = append(t.found, slot)
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

// grow doubles the slots. Those of before are in found meanwhile.
func (t *packedTable) grow() error {
	for _, slot := range t.slots {
		if slot.count != 0 {
			t.found = append(t.found, slot)
		}
	}
	if err := t.resize(2 * len(t.slots)); err != nil {
		return err
	}
	for _, slot := range t.found {
		*t.slot(slot.path) = slot
	}
	t.found = t.found[:0]
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
		for rest := c.path; rest != 0 && c.path != packedLonger; rest >>= 8 {
			code, err := w.labels.coders[0].schemaCode(uint32(byte(rest)) - 1)
			if err != nil {
				return nil, err
			}
			codes = append(codes, code)
		}
		if c.path == packedLonger {
			codes = append(codes, longerCode)
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
			for _, piece := range w.packed.buckets[b].pieces {
				for i := range piece {
					if e, ok := entry[piece[i].path]; ok {
						lists[e] = append(lists[e], piece[i].duration)
					}
				}
			}
		}
	}
	return lists
}
