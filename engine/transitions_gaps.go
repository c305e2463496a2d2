package engine

import (
	"math"
	"sync/atomic"

	"wend/event"
)

// gapSearch finds the exact median gaps of pairs that are counted flat. A
// sample of the tiles tells for each pair an interval in which its median very
// likely lies. A look at all tiles then counts the gaps below the interval, and
// keeps those within it, which are few. The median is among them, or the counts
// say on which side it is, and another look is at that side.
type gapSearch struct {
	o      *transitionsOperator
	labels int       // codes there may be
	wanted []gapPair // by source*labels + target; behind them, of no pair
	left   int       // wanted pairs whose median is not known yet
	memory ration
}

// gapPair is what is known of a pair's gaps.
type gapPair struct {
	gapInterval
	row   *transition // nil: its median is not wanted, or known
	cells gapCounters
	gaps  []event.Duration // those within the interval
}

// gapInterval is the gaps of at least from and less than to.
type gapInterval struct{ from, to event.Duration }

// single reports whether the interval has one value: what lies in it need not be kept.
func (i gapInterval) single() bool { return i.to-i.from == 1 }

var allGaps = gapInterval{0, math.MaxInt64}

type gapCounters struct{ below, within int64 }

// flatMedians computes the median gap of the rows shown.
func (o *transitionsOperator) flatMedians(rows []transition, shown []int) error {
	names := o.labeling.names()
	s := &gapSearch{o: o, labels: len(names), wanted: make([]gapPair, len(names)*len(names)+1)}
	schemaCode := map[uint32]int{}
	for code, name := range names {
		if label, ok := o.labeling.labels.find(event.String(name)); ok {
			schemaCode[label] = code
		}
	}
	for _, i := range shown {
		row := &rows[i]
		pair := &s.wanted[schemaCode[row.source]*s.labels+schemaCode[row.target]]
		pair.row, pair.gapInterval = row, allGaps
		s.left++
	}
	memory := o.r.memory
	begun := memory.used.Load() - memory.lasting.Load()
	release := func() { memory.release(memory.used.Load() - memory.lasting.Load() - begun) }
	tiles := o.r.snap.Tiles()
	if stride := min(s.stride(), (tiles+1)/2); stride > 1 {
		if err := s.look(stride); err != nil {
			return err
		}
		likely, err := s.narrow()
		if err != nil {
			return err
		}
		release()
		if err := memory.reserve(likely * int64(stride) * gapBytes / 2); err != nil {
			return err // hopeless, which is better known before
		}
		release()
	}
	for s.left > 0 {
		if err := s.look(1); err != nil {
			return err
		}
		if err := s.settle(); err != nil {
			return err
		}
		release()
	}
	return nil
}

// stride is one tile of how many the sample has: of so many that it takes no
// more than a third of the statement's memory.
func (s *gapSearch) stride() int {
	return int(max(gapStride, 3*gapBytes*s.o.r.snap.Events()/s.o.r.memory.limit))
}

const (
	gapStride = 16
	gapBytes  = keptGapBytes + 8 // of a gap: kept by a worker, and with its pair's
)

// look counts and keeps the gaps of every so-manyth tile.
func (s *gapSearch) look(stride int) error {
	s.o.r.stats.again()
	s.memory = ration{budget: s.o.r.memory}
	ws, err := scanSome(s.o.r, stride, func() (*gapWorker, error) { return s.worker(), nil })
	if err != nil {
		return err
	}
	for key := range s.wanted {
		pair := &s.wanted[key]
		pair.cells, pair.gaps = gapCounters{}, nil
		if pair.row == nil {
			continue
		}
		for _, w := range ws {
			w.cells[key].next = pair.cells.within
			pair.cells.below += w.cells[key].below
			pair.cells.within += w.cells[key].within
		}
		if pair.single() {
			continue
		}
		if err := s.memory.take(8 * pair.cells.within); err != nil {
			return err
		}
		pair.gaps = make([]event.Duration, pair.cells.within)
	}
	return s.o.r.parallel(len(ws), func(i int) error {
		ws[i].deal()
		return nil
	})
}

// deal puts the gaps that a worker kept with their pairs', at places of its own.
func (w *gapWorker) deal() {
	cells := w.cells
	for _, kept := range w.kept {
		for i, key := range kept.keys {
			cell := &cells[key]
			w.wanted[key].gaps[cell.next] = kept.gaps[i]
			cell.next++
		}
	}
	w.kept = nil
}

// narrow puts the intervals around the medians of the sample. They reach
// five standard deviations of such a median's rank to either side. It returns
// how many gaps of the sample lie in them.
func (s *gapSearch) narrow() (int64, error) {
	var within atomic.Int64
	err := s.o.r.parallel(len(s.wanted), func(key int) error {
		pair := &s.wanted[key]
		if pair.row == nil {
			return nil
		}
		n := len(pair.gaps)
		reach := int(2.5 * math.Sqrt(float64(n)))
		low, high := (n-1)/2-reach, n/2+reach
		if low >= 0 && n > 0 {
			pair.from = selectRank(pair.gaps, low)
		}
		if high < n {
			pair.to = selectRank(pair.gaps, high) + 1
		}
		within.Add(int64(min(n, high+1) - max(0, low)))
		pair.gaps = nil
		return nil
	})
	return within.Load(), err
}

// settle finds the medians that lie in their intervals, and moves the other
// intervals to where they do.
func (s *gapSearch) settle() error {
	var left atomic.Int64
	err := s.o.r.parallel(len(s.wanted), func(key int) error {
		pair := &s.wanted[key]
		if pair.row == nil {
			return nil
		}
		low, high := (pair.row.count-1)/2-pair.cells.below, pair.row.count/2-pair.cells.below
		switch {
		case low >= 0 && high < pair.cells.within:
			if pair.single() {
				pair.row.median = pair.from.Milliseconds()
			} else {
				r := gapRange{low: low, high: high}
				pair.row.median = r.median(pair.gaps)
			}
			pair.row, pair.gapInterval, pair.gaps = nil, gapInterval{}, nil
			return nil
		case high < 0:
			pair.gapInterval = gapInterval{0, pair.from}
		case low >= pair.cells.within:
			pair.gapInterval = gapInterval{pair.to, math.MaxInt64}
		default:
			pair.gapInterval = allGaps // between the last of one side and the first of the other
		}
		left.Add(1)
		return nil
	})
	s.left = int(left.Load())
	return err
}

// gapWorker is one worker's share of a look.
type gapWorker struct {
	*gapSearch
	labeler *labeler
	rows    pairRows
	cells   []gapCell
	kept    []keptGaps
	memory  ration
}

// gapCell is one pair's interval in the form in which it is compared.
type gapCell struct {
	from  event.Duration
	width uint64
	keep  int // 1: what is within is kept
	gapCounters
	next int64 // where in the pair's gaps the worker puts the next that it kept
}

// keptGaps are gaps and the keys of their pairs.
type keptGaps struct {
	keys []uint16
	gaps []event.Duration
}

const keptGapBytes = 2 + 8

func (s *gapSearch) worker() *gapWorker {
	w := &gapWorker{gapSearch: s, labeler: s.o.labeling.worker(), rows: pairRows{labels: s.labels}, memory: ration{budget: s.o.r.memory}, cells: make([]gapCell, len(s.wanted))}
	for key := range w.cells {
		cell, pair := &w.cells[key], &s.wanted[key]
		cell.from, cell.width = pair.from, uint64(pair.to-pair.from)
		if !pair.single() {
			cell.keep = 1
		}
	}
	return w
}

func (w *gapWorker) visit(v *view) error {
	v.took = "sampled medians"
	keys, times, err := w.rows.load(v, w.labeler)
	if err != nil || len(keys) == 0 {
		return err
	}
	kept, err := w.room(len(keys))
	if err != nil {
		return err
	}
	n := len(kept.keys)
	outKeys, outGaps := kept.keys[:cap(kept.keys)], kept.gaps[:cap(kept.keys)]
	cells := w.cells
	before := times[0]
	for i := 1; i < len(keys); i++ {
		key, t := keys[i], times[i]
		gap := event.Duration(t - before)
		before = t
		cell := &cells[key]
		below, within := int64(0), int64(0)
		if gap < cell.from {
			below = 1
		}
		if uint64(gap-cell.from) < cell.width {
			within = 1
		}
		cell.below += below
		cell.within += within
		outKeys[n], outGaps[n] = key, gap
		n += int(within) & cell.keep
	}
	kept.keys, kept.gaps = kept.keys[:n], kept.gaps[:n]
	return nil
}

// room returns a piece with room for so many gaps.
func (w *gapWorker) room(n int) (*keptGaps, error) {
	last := len(w.kept) - 1
	if last < 0 || cap(w.kept[last].keys)-len(w.kept[last].keys) < n {
		size := max(n, int(min(gapPiece, w.o.r.snap.Events())))
		if err := w.memory.take(int64(size) * keptGapBytes); err != nil {
			return nil, err
		}
		w.kept = append(w.kept, keptGaps{make([]uint16, 0, size), make([]event.Duration, 0, size)})
		last++
	}
	return &w.kept[last], nil
}

const gapPiece = 1 << 18
