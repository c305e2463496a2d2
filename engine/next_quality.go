package engine

import (
	"math"
	"slices"

	"wend/event"
)

// quality is how often a prediction was right: its first guess, or one of its
// first three.
type quality struct {
	trained, tested, hits1, hits3 int64
}

// alwaysFrequent is the method that predictions are held against: always to
// guess what most often follows anything.
const alwaysFrequent = "most frequent"

var qualityColumns = []Column{{"method", String}, {"trained", Integer}, {"tested", Integer}, {"hit_1", Share}, {"hit_3", Share}}

// hit counts tests that the guess of a rank, from 0, had right.
func (q *quality) hit(rank int, n int64) {
	if rank == 0 {
		q.hits1 += n
	}
	q.hits3 += n
}

func (q *quality) merge(o quality) {
	q.trained += o.trained
	q.tested += o.tested
	q.hits1 += o.hits1
	q.hits3 += o.hits3
}

func (q *quality) row(cells []Cell, method string) []Cell {
	return append(cells, method, q.trained, q.tested, ratio(q.hits1, q.tested), ratio(q.hits3, q.tested))
}

func totalCount(labels []nextLabel) int64 {
	var n int64
	for _, l := range labels {
		n += l.count
	}
	return n
}

// trainingEnd returns the time after which the share `test last` of the events
// lies, and the labels that followed another event until then, the most
// frequent first.
func (r *run) trainingEnd(l *labeling) (event.Time, []nextLabel, error) {
	split, err := r.splitTime()
	if err != nil {
		return 0, nil, err
	}
	ws, err := scan(r, func() (*followerWorker, error) {
		return &followerWorker{labels: l.worker(), until: split, memory: ration{budget: r.memory}}, nil
	})
	if err != nil {
		return 0, nil, err
	}
	r.stats.again()
	var labels []nextLabel
	for _, w := range ws {
		for code, n := range w.counts {
			if code == len(labels) {
				labels = append(labels, nextLabel{label: l.text(uint32(code))})
			}
			labels[code].count += n
		}
	}
	labels = slices.DeleteFunc(labels, func(n nextLabel) bool { return n.count == 0 })
	slices.SortFunc(labels, compareNext)
	return split, labels, nil
}

// followerWorker counts the labels of events that follow another of their unit.
type followerWorker struct {
	labels *labeler
	until  event.Time
	counts []int64 // by label
	memory ration
}

func (w *followerWorker) visit(v *view) error {
	if err := w.labels.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		for row := v.next(v.next(u.lo, u.hi)+1, u.hi); row < u.hi && v.Time.At(row) <= w.until; row = v.next(row+1, u.hi) {
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			if n := int(code) + 1 - len(w.counts); n > 0 {
				if err := w.memory.take(8 * int64(n)); err != nil {
					return err
				}
				w.counts = append(w.counts, make([]int64, n)...)
			}
			w.counts[code]++
		}
		return nil
	})
}

// selectedOf cuts a unit to the rows that during selects.
func (v *view) selectedOf(u unit) unit {
	if d := &v.run.plan.During; d.Set {
		u.lo = v.since(u.lo, u.hi, d.From)
		u.hi = v.since(u.lo, u.hi, d.To)
	}
	return u
}

// splitTime finds the time of an event after which no more than the share
// `test last` of the events lies. It looks for the rank in sixteen bits of the
// time after the other, so that no times are kept.
func (r *run) splitTime() (event.Time, error) {
	var prefix uint64
	var rank int64 = -1
	for shift := 48; shift >= 0; shift -= 16 {
		ws, err := scan(r, func() (*timeBits, error) { return &timeBits{prefix: prefix, shift: shift}, r.memory.reserve(8 << 16) })
		if err != nil {
			return 0, err
		}
		r.stats.again()
		total := ws[0]
		var n int64
		for i, w := range ws {
			for b, count := range w.counts {
				n += count
				if i > 0 {
					total.counts[b] += count
				}
			}
		}
		r.memory.release(int64(len(ws)) * 8 << 16)
		if n == 0 {
			return r.end, nil
		}
		if rank < 0 {
			rank = n - 1 - int64(math.Floor(r.plan.TestLast*float64(n)+1e-9))
		}
		b := 0
		for rank >= total.counts[b] {
			rank -= total.counts[b]
			b++
		}
		prefix = prefix<<16 | uint64(b)
	}
	return event.Time(prefix ^ 1<<63), nil
}

// timeBits counts events by sixteen bits of their time, of those times that
// begin with a prefix.
type timeBits struct {
	prefix uint64
	shift  int
	counts [1 << 16]int64
}

func (w *timeBits) visit(v *view) error {
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
			t := uint64(v.Time.At(row)) ^ 1<<63 // in the order of the times
			if w.shift == 48 || t>>(w.shift+16) == w.prefix {
				w.counts[t>>w.shift&0xffff]++
			}
		}
		return nil
	})
}
