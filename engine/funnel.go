package engine

import (
	"fmt"

	"wend/event"
)

// funnelOperator answers `funnel`: how many units reached each step, how many
// of those who did not go on dropped or are open, and how long they took.
//
// It keeps two elapsed times for each step that a unit reached, because
// medians are exact; where they do not fit, it takes several passes.
type funnelOperator struct {
	pattern *pattern
	groups  *grouping
}

func newFunnel(r *run) (operator, error) {
	p, g, err := r.patternAndGroups()
	if err != nil {
		return nil, err
	}
	r.reachForward(p)
	return &funnelOperator{pattern: p, groups: g}, nil
}

// patternAndGroups compiles what the statements on patterns share.
func (r *run) patternAndGroups() (*pattern, *grouping, error) {
	p, err := r.pattern()
	if err != nil {
		return nil, nil, err
	}
	g, err := r.grouping()
	return p, g, err
}

// reachForward says that no event matters that is farther behind an entry than
// the longest window. Where a window may still be open at the end of the data,
// events that clocks ahead put beyond it matter too: they end what came before.
func (r *run) reachForward(p *pattern) {
	r.reaches = true
	for _, w := range p.windows {
		r.forward = max(r.forward, w)
	}
	if r.plan.During.To.Add(r.forward) > r.end {
		r.forward = maxInstant.Sub(0)
	}
}

func (o *funnelOperator) inPasses() bool { return true }

func (o *funnelOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: r.plan.Verb, Detail: o.pattern.describe()}
}

// describe says in one line how journeys are held against the pattern.
func (p *pattern) describe() string {
	how := "one state a step"
	if p.anyOrder {
		how = "any order, one event kept for each step"
	}
	if p.holding.set {
		how += ", each for every value of " + p.run.plan.Holding
	}
	return fmt.Sprintf("%s; steps %d; counts %s", how, len(p.matches), p.run.plan.Count)
}

// funnelGroup is what a funnel adds up in one group.
type funnelGroup struct {
	stopped []int64 // by level-1: units that got this far, converted ones in the last
	open    []int64 // those of them that are open
	steps   []stepTimes
}

// stepTimes are the elapsed times of the units that reached a step. From the
// first step to the second both are the same, and kept once.
type stepTimes struct {
	fromPrevious, fromFirst durations
}

func newFunnelGroup(steps int) *funnelGroup {
	return &funnelGroup{stopped: make([]int64, steps), open: make([]int64, steps), steps: make([]stepTimes, steps)}
}

// note makes a group one whose elapsed times are noted.
func (g *funnelGroup) note(key *groupKey, noter *noter) (err error) {
	for k := 1; k < len(g.steps) && noter != nil && err == nil; k++ {
		s := &g.steps[k]
		if s.fromFirst, err = noter.durationsOf(key, uint32(2*k)); err == nil && k > 1 {
			s.fromPrevious, err = noter.durationsOf(key, uint32(2*k+1))
		}
	}
	return err
}

// add counts an attempt with events at these times.
func (g *funnelGroup) add(times []event.Time, open bool) {
	last := len(times) - 1
	g.stopped[last]++
	if open {
		g.open[last]++
	}
	if last == 0 {
		return
	}
	g.steps[1].fromFirst.add(times[1].Sub(times[0]))
	for k := 2; k <= last; k++ {
		g.steps[k].fromPrevious.add(times[k].Sub(times[k-1]))
		g.steps[k].fromFirst.add(times[k].Sub(times[0]))
	}
}

// funnelBytes is what the elapsed times of an attempt take.
func funnelBytes(level int) int64 {
	if level == 1 {
		return 0
	}
	return int64(level-1)*16 - 8
}

// reached is how many units reached each step.
func (g *funnelGroup) reached() []int64 {
	reached := make([]int64, len(g.stopped))
	n := int64(0)
	for k := len(reached) - 1; k >= 0; k-- {
		n += g.stopped[k]
		reached[k] = n
	}
	return reached
}

// patternWorker is what the workers of the statements on patterns share: a
// tracker, and an accumulator for each group.
type patternWorker[G any] struct {
	tracker *tracker
	grouper *grouper
	whole   bool // there is but one group
	groups  []G
	make    func(key *groupKey, noter *noter) (G, error)
	noter   *noter
	add     func(v *view, g G, a *attempt) error
	place   place
	memory  ration
}

func newPatternWorker[G any](p *pattern, g *grouping, make func(*groupKey, *noter) (G, error)) *patternWorker[G] {
	w := &patternWorker[G]{grouper: g.worker(), whole: g.whole(), make: make, memory: ration{budget: p.run.memory}}
	w.noter = p.run.noter(&w.memory)
	w.tracker = p.worker(w.take)
	return w
}

func (w *patternWorker[G]) visit(v *view) error { return w.tracker.visit(v) }

func (w *patternWorker[G]) take(v *view, a *attempt) error {
	id := 0
	if w.whole {
		w.grouper.all()
	} else {
		var err error
		a.at(&w.place, len(w.tracker.matches))
		if id, err = w.grouper.group(v, &w.place, a.window, a.time[0]); err != nil {
			return err
		}
	}
	if err := w.reach(id); err != nil {
		return err
	}
	return w.add(v, w.groups[id], a)
}

// reach makes the accumulators of all groups up to one.
func (w *patternWorker[G]) reach(id int) error {
	for id >= len(w.groups) {
		g, err := w.make(&w.grouper.groups[len(w.groups)], w.noter)
		if err != nil {
			return err
		}
		w.groups = append(w.groups, g)
	}
	return nil
}

// list accounts for values that were listed.
func (w *patternWorker[G]) list(bytes int64) error {
	if w.noter != nil {
		return nil
	}
	return w.memory.take(bytes)
}

// mergePattern runs the scan and merges the workers' groups: the result lists
// for each group of the answer what the workers have of it.
func mergePattern[G any](r *run, g *grouping, make func() (*patternWorker[G], error)) (*groups, [][]G, error) {
	ws, err := scan(r, make)
	if err != nil {
		return nil, nil, err
	}
	var groupers []*grouper
	for _, w := range ws {
		groupers = append(groupers, w.grouper)
	}
	m, err := g.merge(groupers)
	if err != nil {
		return nil, nil, err
	}
	parts := [][]G{}
	for range m.len() {
		parts = append(parts, nil)
	}
	for i, w := range ws {
		for id, part := range w.groups {
			at := m.of(i, id)
			parts[at] = append(parts[at], part)
		}
	}
	return m, parts, nil
}

func (o *funnelOperator) run(r *run) (*Result, error) {
	steps := len(o.pattern.matches)
	m, parts, err := mergePattern(r, o.groups, func() (*patternWorker[*funnelGroup], error) {
		w := funnelWorker{newPatternWorker(o.pattern, o.groups, func(key *groupKey, noter *noter) (*funnelGroup, error) {
			g := newFunnelGroup(steps)
			return g, g.note(key, noter)
		})}
		w.add = func(_ *view, g *funnelGroup, a *attempt) error {
			g.add(a.time[:a.level], a.open)
			return w.list(funnelBytes(a.level))
		}
		w.takeTiles()
		return w.patternWorker, nil
	})
	if err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.groups.columns(),
		Column{"step", Integer}, Column{"touchpoint", String}, Column{r.plan.Count, Integer},
		Column{"from_previous", Share}, Column{"from_first", Share}, Column{"dropped", Integer}, Column{"open", Integer},
		Column{"median_from_previous", Duration}, Column{"median_from_first", Duration})}
	medians, err := o.medians(r, parts)
	if err != nil {
		return nil, err
	}
	for i, of := range parts {
		whole := newFunnelGroup(steps)
		for _, part := range of {
			for k := range steps {
				whole.stopped[k] += part.stopped[k]
				whole.open[k] += part.open[k]
			}
		}
		reached := whole.reached()
		for k := range steps {
			row := append(m.cells(i), int64(k+1), o.pattern.title(k), reached[k])
			if k == 0 {
				row = append(row, nil, ratio(reached[0], reached[0]))
			} else {
				row = append(row, ratio(reached[k], reached[k-1]), ratio(reached[k], reached[0]))
			}
			dropped := whole.stopped[k] - whole.open[k]
			if k == steps-1 {
				dropped = 0
			}
			row = append(row, dropped, whole.open[k])
			if k == 0 {
				row = append(row, nil, zeroIfAny(reached[0]))
			} else {
				row = append(row, medians[i*steps+k][:]...)
			}
			if err := r.add(res, row); err != nil {
				return nil, err
			}
			res.Meta.Open += whole.open[k]
		}
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = fmt.Sprintf("from_previous: %[1]s at the step before; from_first: %[1]s at step 1", r.plan.Count)
	res.Meta.Cut = m.cut
	return res, nil
}

// medians are, by group and step, those from the step before and from the
// first. They are what an answer waits for in the end, so all workers look for them.
func (o *funnelOperator) medians(r *run, parts [][]*funnelGroup) ([][2]Cell, error) {
	steps := len(o.pattern.matches)
	cells := make([][2]Cell, len(parts)*steps)
	err := r.parallel(2*len(cells), func(n int) (err error) {
		i, k, kind := n/2/steps, n/2%steps, n%2
		if k == 0 || k == 1 && kind == 0 {
			return nil
		}
		var all durations
		for _, part := range parts[i] {
			if t := &part.steps[k]; kind == 0 {
				all.join(&t.fromPrevious)
			} else {
				all.join(&t.fromFirst)
			}
		}
		cells[n/2][kind], err = all.median(r)
		return err
	})
	if steps > 1 {
		for i := range parts {
			second := &cells[i*steps+1]
			second[0] = second[1]
		}
	}
	return cells, err
}

// zeroIfAny is the time from the entry to itself, null if there is none.
func zeroIfAny(n int64) Cell {
	if n == 0 {
		return nil
	}
	return 0.0
}

// title is what the column touchpoint shows for a step, from 0.
func (p *pattern) title(k int) string {
	if p.anyOrder {
		return fmt.Sprintf("%d of %d", k+1, len(p.matches))
	}
	return p.run.plan.Pattern.Steps[k].Name
}

// ratio is a share as a cell, null over zero.
func ratio(part, whole int64) Cell {
	if whole == 0 {
		return nil
	}
	return float64(part) / float64(whole)
}
