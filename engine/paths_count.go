package engine

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// pathBuckets are the packed paths of one worker's journeys, by bucket, in
// pieces that are never moved.
type pathBuckets struct {
	last [pathBucketCount][]uint64 // the pieces that are being filled
	full [pathBucketCount][][]uint64
}

const (
	pathBucketBits  = 10
	pathBucketCount = 1 << pathBucketBits
	pathPiece       = 512
)

// countersMax bounds the counters of a bucket in which each path there may be
// has one. They have to stay in a near cache, while they are counted and made
// zero again.
const countersMax = 1 << 18

// bucket is a path's. Where each path there may be can have a counter, it is by
// the highest bits; else by hash, so that buckets are alike.
func (p *packing) bucket(path uint64) int {
	if p.few {
		return int(path >> (p.below & 63))
	}
	return int(packedHash(path) >> (64 - pathBucketBits))
}

func packedHash(path uint64) uint64 {
	high, low := bits.Mul64(path, 0x9E3779B97F4A7C15)
	return high ^ low
}

func (b *pathBuckets) add(bucket int, path uint64, memory *ration) error {
	last := &b.last[bucket%pathBucketCount]
	if len(*last) == cap(*last) {
		if err := b.grow(bucket, memory); err != nil {
			return err
		}
	}
	*last = append(*last, path)
	return nil
}

// grow begins another piece.
func (b *pathBuckets) grow(bucket int, memory *ration) error {
	last := b.last[bucket]
	size := min(pathPiece, max(16, 4*cap(last)))
	if err := memory.take(8 * int64(size)); err != nil {
		return err
	}
	if len(last) > 0 {
		b.full[bucket] = append(b.full[bucket], last)
	}
	b.last[bucket] = make([]uint64, 0, size)
	return nil
}

// pieces calls f for the paths of a bucket, a piece at a time.
func (b *pathBuckets) pieces(bucket int, f func(paths []uint64) error) error {
	for _, piece := range b.full[bucket] {
		if err := f(piece); err != nil {
			return err
		}
	}
	return f(b.last[bucket])
}

// len is how many paths a bucket has.
func (b *pathBuckets) len(bucket int) int64 {
	n := len(b.last[bucket])
	for _, piece := range b.full[bucket] {
		n += len(piece)
	}
	return int64(n)
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

// countPacked counts the paths of all workers, bucket by bucket. It leaves those
// that may be among the first top; 0: all.
func (o *pathsOperator) countPacked(ws []*pathsWorker, top int) (packedTotal, error) {
	var total packedTotal
	var next, paths atomic.Int64
	var mu sync.Mutex
	for _, w := range ws {
		for b := range pathBucketCount {
			total.journeys += w.packed.buckets.len(b)
		}
	}
	err := o.r.parallel(o.r.opt.Workers, func(int) error {
		table := packedTable{packing: ws[0].packed.packing, memory: ration{budget: o.r.memory}, top: top, least: 1}
		err := table.prepare(total.journeys)
		for b := int(next.Add(1)) - 1; b < pathBucketCount && err == nil; b = int(next.Add(1)) - 1 {
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
		total.candidates = append(total.candidates, table.candidates...)
		return err
	})
	total.paths = int(paths.Load())
	return total, err
}

// packedTable counts the paths of one bucket after the other.
type packedTable struct {
	*packing
	counters []uint32      // by the bits below the bucket's, zero between buckets; nil: slots count
	slots    []countedPath // open addressing; a count of 0 is free
	room     []countedPath // what slots lie in
	moved    []countedPath // scratch of grow
	paths    int           // of the bucket at hand
	memory   ration

	candidates []countedPath // paths that may be shown
	top        int           // how many are; 0: all
	least      int64         // as many journeys have the first top of the candidates
	pruned     int           // candidates there were after least was found
}

// packedSlots is how many a table begins with: it grows by the different paths,
// which may be few among many journeys.
const packedSlots = 1 << 8

// prepare makes the counters, if they are worth it for so many journeys.
func (t *packedTable) prepare(journeys int64) error {
	if !t.few || 1<<t.below > max(8*journeys, packedSlots) || journeys >= 1<<32 {
		return nil
	}
	if err := t.memory.take(4 << t.below); err != nil {
		return err
	}
	t.counters = make([]uint32, 1<<t.below)
	return nil
}

func (t *packedTable) count(ws []*pathsWorker, b int) error {
	if t.counters != nil {
		t.countDirectly(ws, b)
	} else if err := t.countSlots(ws, b); err != nil {
		return err
	}
	t.prune()
	return nil
}

// countDirectly gives every path its counter.
func (t *packedTable) countDirectly(ws []*pathsWorker, b int) {
	t.paths = 0
	for _, w := range ws {
		w.packed.buckets.pieces(b, t.increment)
	}
	for _, w := range ws {
		w.packed.buckets.pieces(b, t.collect)
	}
}

// increment counts paths, and those that are new.
func (t *packedTable) increment(paths []uint64) error {
	counters, mask, news := t.counters, uint64(len(t.counters)-1), 0
	for _, path := range paths {
		before := counters[path&mask]
		counters[path&mask] = before + 1
		first := 0
		if before == 0 {
			first = 1
		}
		news += first
	}
	t.paths += news
	return nil
}

// collect takes the candidates of those counted, and leaves all counters zero.
func (t *packedTable) collect(paths []uint64) error {
	counters, mask, least := t.counters, uint64(len(t.counters)-1), uint32(t.least)
	for _, path := range paths {
		count := counters[path&mask]
		counters[path&mask] = 0
		if count >= least {
			t.candidates = append(t.candidates, countedPath{path, int64(count)})
		}
	}
	return nil
}

// countSlots looks for each path's slot.
func (t *packedTable) countSlots(ws []*pathsWorker, b int) error {
	size := packedSlots
	for size < 2*t.paths+t.paths/4 { // where buckets are by hash, there will be as many as in the one before
		size *= 2
	}
	t.paths = 0
	if err := t.resize(size); err != nil {
		return err
	}
	for _, w := range ws {
		if err := w.packed.buckets.pieces(b, t.add); err != nil {
			return err
		}
	}
	for _, slot := range t.slots {
		if slot.count >= t.least {
			t.candidates = append(t.candidates, slot)
		}
	}
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
func (t *packedTable) add(paths []uint64) error {
	for _, path := range paths {
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
