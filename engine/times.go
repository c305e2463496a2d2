package engine

import (
	"fmt"

	"wend/event"
)

// timesOperator answers `times`: how long the reported attempts took from the
// entry to each later step.
type timesOperator struct {
	pattern *pattern
	groups  *grouping
	longest []event.Duration // by step: what the first of several passes found
}

func newTimes(r *run) (operator, error) {
	p, g, err := r.patternAndGroups()
	if err != nil {
		return nil, err
	}
	r.reachForward(p)
	return &timesOperator{pattern: p, groups: g}, nil
}

func (o *timesOperator) inPasses() bool { return true }

func (o *timesOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "times", Detail: o.pattern.describe()}
}

// timesShares are the quantiles that times shows, and their columns.
var (
	timesShares  = []float64{0.10, 0.25, 0.50, 0.75, 0.90, 0.95}
	timesColumns = []string{"p10", "p25", "p50", "p75", "p90", "p95"}
)

// timesGroup holds the elapsed times of one group, by step.
type timesGroup struct {
	elapsed []durations
	noted   []timesNoted // what else to show of them, where they are noted
	open    int64
}

// timesNoted is what the answer says of elapsed times beside their quantiles.
type timesNoted struct {
	sum     durationSum
	longest event.Duration
	bars    []int64 // of the histogram, once its width is known
}

func (o *timesOperator) group(key *groupKey, noter *noter) (g *timesGroup, err error) {
	steps := len(o.pattern.matches)
	g = &timesGroup{elapsed: make([]durations, steps)}
	if noter == nil {
		return g, nil
	}
	g.noted = make([]timesNoted, steps)
	for k := 1; k < steps; k++ {
		if g.elapsed[k], err = noter.durationsOf(key, uint32(k)); err != nil {
			return nil, err
		}
		if o.longest != nil {
			g.noted[k].bars = make([]int64, o.longest[k]/histogramWidth(o.longest[k])+1)
			if err := noter.memory.take(8 * int64(len(g.noted[k].bars))); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

// note notes an elapsed time of step k.
func (g *timesGroup) note(k int, d event.Duration, longest []event.Duration) {
	n := &g.noted[k]
	n.sum.add(d)
	n.longest = max(n.longest, d)
	if n.bars != nil {
		n.bars[d/histogramWidth(longest[k])]++
	}
}

func (o *timesOperator) run(r *run) (*Result, error) {
	steps := len(o.pattern.matches)
	m, parts, err := mergePattern(r, o.groups, func() (*patternWorker[*timesGroup], error) {
		w := newPatternWorker(o.pattern, o.groups, o.group)
		w.add = func(_ *view, g *timesGroup, a *attempt) error {
			for k := 1; k < a.level; k++ {
				d := a.elapsed(k)
				if g.elapsed[k].add(d); g.noted != nil {
					g.note(k, d, o.longest)
				}
			}
			if a.open {
				g.open++
			}
			return w.list(int64(a.level-1) * durationBytes)
		}
		return w, nil
	})
	if err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.groups.columns(),
		Column{"step", Integer}, Column{"touchpoint", String}, Column{r.plan.Count, Integer}, Column{"mean", Duration})}
	for _, name := range timesColumns {
		res.Columns = append(res.Columns, Column{name, Duration})
	}
	all := make([]stepElapsed, steps)
	for i, of := range parts {
		for k := 1; k < steps; k++ {
			var elapsed stepElapsed
			for _, part := range of {
				elapsed.join(part, k)
			}
			row := append(m.cells(i), int64(k+1), o.pattern.title(k), elapsed.sum.n, elapsed.sum.mean())
			quantiles, err := elapsed.quantiles(r, timesShares)
			if err != nil {
				return nil, err
			}
			for q := range timesShares {
				if quantiles == nil {
					row = append(row, nil)
				} else {
					row = append(row, quantiles[q]/1000)
				}
			}
			if err := r.add(res, row); err != nil {
				return nil, err
			}
			for _, part := range of {
				all[k].join(part, k)
			}
		}
		for _, part := range of {
			res.Meta.Open += part.open
		}
	}
	res.Chart = o.histogram(all)
	if r.passes != nil && o.longest == nil {
		r.passes.twice = true // for the bars
		for k := range all {
			o.longest = append(o.longest, all[k].longest)
		}
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = fmt.Sprintf("times are over the reported attempts of the %s that reached the step", r.plan.Count)
	res.Meta.Cut = m.cut
	return res, nil
}

// stepElapsed is all about the elapsed times of one step.
type stepElapsed struct {
	durations
	timesNoted
}

// join adds what a worker found of step k in one group.
func (e *stepElapsed) join(g *timesGroup, k int) {
	e.durations.join(&g.elapsed[k])
	if g.noted == nil {
		for _, piece := range g.elapsed[k].pieces {
			for _, d := range piece {
				e.sum.add(d)
				e.longest = max(e.longest, d)
			}
		}
		return
	}
	n := &g.noted[k]
	e.sum.merge(&n.sum)
	e.longest = max(e.longest, n.longest)
	if e.bars == nil {
		e.bars = make([]int64, len(n.bars))
	}
	for i, count := range n.bars {
		e.bars[i] += count
	}
}

// durationSum adds up elapsed times. The sum is kept in two parts, so that
// neither overflows nor loses a microsecond.
type durationSum struct{ n, days, rest int64 }

func (s *durationSum) add(d event.Duration) {
	s.n++
	s.days += int64(d / event.Day)
	s.rest += int64(d % event.Day)
}

func (s *durationSum) merge(o *durationSum) {
	s.n += o.n
	s.days += o.days
	s.rest += o.rest
}

// mean is the mean in milliseconds, null over nothing.
func (s *durationSum) mean() Cell {
	if s.n == 0 {
		return nil
	}
	return (float64(s.days)*float64(event.Day) + float64(s.rest)) / float64(s.n) / 1000
}

// histogramBuckets is about how many bars a histogram of times has.
const histogramBuckets = 12

// histogramWidths are the widths that buckets may have: ones that people count in.
var histogramWidths = func() []event.Duration {
	var widths []event.Duration
	for _, unit := range []struct {
		size  event.Duration
		times []event.Duration
	}{
		{event.Millisecond, []event.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500}},
		{event.Second, []event.Duration{1, 2, 5, 10, 15, 30}},
		{event.Minute, []event.Duration{1, 2, 5, 10, 15, 30}},
		{event.Hour, []event.Duration{1, 2, 3, 6, 12}},
		{event.Day, []event.Duration{1, 2, 7, 14, 30, 60, 90, 180, 365, 730, 1825, 3650, 36500}},
	} {
		for _, n := range unit.times {
			widths = append(widths, n*unit.size)
		}
	}
	return widths
}()

// histogram draws the distribution of each step's times over the whole answer.
func (o *timesOperator) histogram(all []stepElapsed) *Histogram {
	h := &Histogram{}
	for k := 1; k < len(all); k++ {
		s := StepHistogram{Step: k + 1, Touchpoint: o.pattern.title(k)}
		if all[k].sum.n > 0 {
			s.Bounds, s.Counts = all[k].histogram()
		}
		h.Steps = append(h.Steps, s)
	}
	return h
}

// histogramWidth is how wide the buckets are if no time is longer.
func histogramWidth(longest event.Duration) event.Duration {
	for _, w := range histogramWidths {
		if longest/w < histogramBuckets {
			return w
		}
	}
	return histogramWidths[len(histogramWidths)-1]
}

// histogram counts times in buckets of one width. The last bucket ends
// behind the longest time.
func (e *stepElapsed) histogram() (bounds []event.Duration, counts []int64) {
	width := histogramWidth(e.longest)
	if counts = e.bars; counts == nil {
		counts = make([]int64, e.longest/width+1)
	}
	for _, piece := range e.pieces {
		for _, d := range piece {
			counts[d/width]++
		}
	}
	for i := range len(counts) + 1 {
		bounds = append(bounds, event.Duration(i)*width)
	}
	return bounds, counts
}
