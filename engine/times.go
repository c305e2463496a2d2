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
}

func newTimes(r *run) (operator, error) {
	p, g, err := r.patternAndGroups()
	if err != nil {
		return nil, err
	}
	r.reachForward(p)
	return &timesOperator{pattern: p, groups: g}, nil
}

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
	elapsed [][]event.Duration
	open    int64
}

func (o *timesOperator) run(r *run) (*Result, error) {
	steps := len(o.pattern.matches)
	m, parts, err := mergePattern(r, o.groups, func() (*patternWorker[*timesGroup], error) {
		w := newPatternWorker(o.pattern, o.groups, func() *timesGroup { return &timesGroup{elapsed: make([][]event.Duration, steps)} })
		w.add = func(_ *view, g *timesGroup, a *attempt) error {
			for k := 1; k < a.level; k++ {
				g.elapsed[k] = append(g.elapsed[k], a.elapsed(k))
			}
			if a.open {
				g.open++
			}
			return w.memory.take(int64(a.level-1) * 8)
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
	all := make([][]event.Duration, steps)
	for i, of := range parts {
		for k := 1; k < steps; k++ {
			var elapsed []event.Duration
			for _, part := range of {
				elapsed = append(elapsed, part.elapsed[k]...)
			}
			row := append(m.cells(i), int64(k+1), o.pattern.title(k), int64(len(elapsed)), meanElapsed(elapsed))
			quantiles := quantiles(timesShares, elapsed)
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
			all[k] = append(all[k], elapsed...)
		}
		for _, part := range of {
			res.Meta.Open += part.open
		}
	}
	res.Chart = o.histogram(all)
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = fmt.Sprintf("times are over the reported attempts of the %s that reached the step", r.plan.Count)
	res.Meta.Cut = m.cut
	return res, nil
}

// meanElapsed is the mean in milliseconds, null over nothing. The sum is kept
// in two parts, so that neither overflows nor loses a microsecond.
func meanElapsed(elapsed []event.Duration) Cell {
	if len(elapsed) == 0 {
		return nil
	}
	days, rest := int64(0), int64(0)
	for _, d := range elapsed {
		days += int64(d / event.Day)
		rest += int64(d % event.Day)
	}
	n := float64(len(elapsed))
	return (float64(days)*float64(event.Day) + float64(rest)) / n / 1000
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
func (o *timesOperator) histogram(all [][]event.Duration) *Histogram {
	h := &Histogram{}
	for k := 1; k < len(all); k++ {
		s := StepHistogram{Step: k + 1, Touchpoint: o.pattern.title(k)}
		if len(all[k]) > 0 {
			s.Bounds, s.Counts = histogramOf(all[k])
		}
		h.Steps = append(h.Steps, s)
	}
	return h
}

// histogramOf counts times in buckets of one width. The last bucket ends
// behind the longest time.
func histogramOf(elapsed []event.Duration) (bounds []event.Duration, counts []int64) {
	longest := event.Duration(0)
	for _, d := range elapsed {
		longest = max(longest, d)
	}
	width := histogramWidths[len(histogramWidths)-1]
	for _, w := range histogramWidths {
		if longest/w < histogramBuckets {
			width = w
			break
		}
	}
	counts = make([]int64, longest/width+1)
	for _, d := range elapsed {
		counts[d/width]++
	}
	for i := range len(counts) + 1 {
		bounds = append(bounds, event.Duration(i)*width)
	}
	return bounds, counts
}
