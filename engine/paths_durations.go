package engine

import (
	"cmp"
	"math"
	"slices"

	"wend/event"
)

// pathDurations collects how long the journeys of some packed paths took.
type pathDurations struct {
	slots []durationSlot // open addressing, nearly empty: most paths are none of these
	lists [][]event.Duration

	// Of the tile at hand, journeys whose times are still to be read, many in one
	// go: few lie near another, and one need not wait for the other.
	rows    []uint32 // their first and last rows
	of      []int32  // their lists
	elapsed []event.Duration
}

type durationSlot struct {
	path uint64
	list int32 // less one; 0: the slot is free
}

// durationSlots are the fewest slots: that many stay near, and most are free.
const durationSlots = 1 << 10

// durationsOf makes the collection of some paths, list by list.
func durationsOf(paths []countedPath, memory *ration) (*pathDurations, error) {
	size := durationSlots
	for size < 8*len(paths) {
		size *= 2
	}
	if err := memory.take(16*int64(size) + 24*int64(len(paths))); err != nil {
		return nil, err
	}
	d := &pathDurations{slots: make([]durationSlot, size), lists: make([][]event.Duration, len(paths))}
	for i, p := range paths {
		*d.slot(p.path) = durationSlot{p.path, int32(i + 1)}
	}
	return d, nil
}

// slot is that of a path, or the free one where the search for it ends.
func (d *pathDurations) slot(path uint64) *durationSlot {
	mask := uint64(len(d.slots) - 1)
	at := packedHash(path) & mask
	for d.slots[at].list != 0 && d.slots[at].path != path {
		at = (at + 1) & mask
	}
	return &d.slots[at]
}

// list is which list a path has, -1: none.
func (d *pathDurations) list(path uint64) int { return int(d.slot(path).list) - 1 }

// add is told of a journey of a list by its first and last row.
func (d *pathDurations) add(v *view, list, first, last int, memory *ration) error {
	if first == last {
		return d.append(list, 0, memory)
	}
	if len(d.of) == durationsBatch {
		if err := d.flush(v, memory); err != nil {
			return err
		}
	}
	d.rows, d.of = append(d.rows, uint32(first), uint32(last)), append(d.of, int32(list))
	return nil
}

// durationsBatch bounds the journeys whose times are read in one go.
const durationsBatch = 1 << 8

// flush reads the times of the journeys of a tile that it was told of.
func (d *pathDurations) flush(v *view, memory *ration) error {
	d.elapsed = grown(d.elapsed, len(d.of))[:len(d.of)]
	v.Time.GatherElapsed(d.rows, d.elapsed)
	for i, list := range d.of {
		if err := d.append(int(list), d.elapsed[i], memory); err != nil {
			return err
		}
	}
	d.rows, d.of = d.rows[:0], d.of[:0]
	return nil
}

func (d *pathDurations) append(list int, duration event.Duration, memory *ration) error {
	l := d.lists[list]
	if len(l) == cap(l) {
		more := max(16, len(l))
		if err := memory.take(8 * int64(more)); err != nil {
			return err
		}
		l = slices.Grow(l, more)
	}
	d.lists[list] = append(l, duration)
	return nil
}

const (
	// pathStride is one tile of how many the sample has that says which paths
	// are likely to be shown. The more are shown, the rarer the last of them are,
	// and a sample tells little of rare ones: above likelyMost there is none.
	pathStride = 16
	likelyMost = 250

	// Likely are at most so many paths of the sample, and those at most so many
	// standard deviations less frequent than the last that would be shown of it.
	likelyTimes, likelyMore = 4, 60
	likelyDeviations        = 5
)

// answerPacked counts packed paths, and collects the durations of those shown. It
// reads times only for paths that are frequent in a sample of the tiles; should
// one be shown that is not, it looks at all journeys again.
func (o *pathsOperator) answerPacked() (a pathsAnswer, err error) {
	top := 0
	if o.r.plan.Cover == 0 {
		top = int(min(o.r.plan.Top, math.MaxInt32))
	}
	likely, err := o.likely(top)
	if err != nil {
		return a, err
	}
	if a.ws, err = o.scanPacked(1, true, likely); err != nil {
		return a, err
	}
	total, err := o.countPacked(a.ws, top)
	if err != nil {
		return a, err
	}
	if a.all, err = o.unpack(a.ws[0], total.candidates); err != nil {
		return a, err
	}
	a.shown, a.cut = o.choose(a.all, []int64{total.journeys}, total.paths)
	paths := make([]countedPath, len(a.shown))
	again := false
	for i, s := range a.shown {
		paths[i] = total.candidates[s.entry]
		again = again || a.ws[0].packed.durations.list(paths[i].path) < 0
	}
	if again {
		o.r.stats.again()
		if a.ws, err = o.scanPacked(1, false, paths); err != nil {
			return a, err
		}
	}
	a.durations = map[int][]event.Duration{}
	for i, s := range a.shown {
		for _, w := range a.ws {
			d := w.packed.durations
			a.durations[s.entry] = append(a.durations[s.entry], d.lists[d.list(paths[i].path)]...)
		}
	}
	return a, nil
}

// likely returns paths that are frequent in a sample, if so few are shown that
// these are probably among them.
func (o *pathsOperator) likely(top int) ([]countedPath, error) {
	stride := min(pathStride, (o.r.snap.Tiles()+1)/2)
	if stride <= 1 || top > likelyMost || top == 0 && o.r.plan.Cover == 0 {
		return nil, nil
	}
	ws, err := o.scanPacked(stride, true, nil)
	if err != nil {
		return nil, err
	}
	defer o.r.stats.again()
	most := likelyTimes*top + likelyMore
	if top == 0 {
		most = 0
	}
	total, err := o.countPacked(ws, most)
	if err != nil {
		return nil, err
	}
	paths := total.candidates
	slices.SortFunc(paths, func(a, b countedPath) int { return cmp.Compare(b.count, a.count) })
	if o.r.plan.Cover > 0 {
		for covered := int64(0); top < len(paths) && float64(covered) < o.r.plan.Cover*float64(total.journeys); top++ {
			covered += paths[top].count
		}
		if top == 0 || top > likelyMost {
			return nil, nil
		}
	}
	paths = paths[:min(len(paths), likelyTimes*top+likelyMore)]
	if len(paths) > top {
		last := float64(paths[top-1].count)
		least := int64(last - likelyDeviations*math.Sqrt(last))
		paths = slices.DeleteFunc(paths, func(p countedPath) bool { return p.count < least })
	}
	return paths, nil
}

// scanPacked finds the paths of every so-manyth tile, to be counted or not, and
// collects the durations of some.
func (o *pathsOperator) scanPacked(stride int, count bool, timed []countedPath) ([]*pathsWorker, error) {
	return scanSome(o.r, stride, func() (*pathsWorker, error) {
		w := o.worker()
		if count {
			w.packed.buckets = new(pathBuckets)
		}
		var err error
		w.packed.durations, err = durationsOf(timed, &w.memory)
		return w, err
	})
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
