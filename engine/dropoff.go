package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// dropoffOperator answers `dropoff`: of the units that stopped at each step,
// where they went instead.
type dropoffOperator struct {
	pattern *pattern
	groups  *grouping
	labels  *labeling
	top     int
}

// dropoffTop is how many labels a step shows if the statement does not say.
const dropoffTop = 10

// What stands in the column next where there is no label.
const (
	nothingLabel = "(nothing)"
	otherLabel   = "(other)"
)

func newDropoff(r *run) (operator, error) {
	p, g, err := r.patternAndGroups()
	if err != nil {
		return nil, err
	}
	l, err := r.labeling()
	if err != nil {
		return nil, err
	}
	o := &dropoffOperator{pattern: p, groups: g, labels: l, top: int(r.plan.Top)}
	if o.top == 0 {
		o.top = dropoffTop
	}
	return o, nil
}

func (o *dropoffOperator) inPasses() bool { return true }

func (o *dropoffOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "dropoff", Detail: o.pattern.describe()}
}

// dropoffGroup counts the labels of one group.
type dropoffGroup struct {
	next map[dropoffKey]*dropoffNext
	near []*dropoffNext // by step and label, of the first labels: the same without hashing
	open int64

	noted *groupKey // the group, where times are noted
	noter *noter
}

func newDropoffGroup(key *groupKey, noter *noter) (*dropoffGroup, error) {
	return &dropoffGroup{next: map[dropoffKey]*dropoffNext{}, noted: noter.named(key), noter: noter}, nil
}

// dropoffNear labels of a step are found without hashing; the place behind them is that of no label.
const dropoffNear = 63

// of returns what is counted under a key.
func (g *dropoffGroup) of(key dropoffKey, memory *ration) (*dropoffNext, error) {
	at := -1
	switch {
	case key.nothing:
		at = key.step*(dropoffNear+1) + dropoffNear
	case key.label < dropoffNear:
		at = key.step*(dropoffNear+1) + int(key.label)
	}
	if at >= 0 && at < len(g.near) && g.near[at] != nil {
		return g.near[at], nil
	}
	n := g.next[key]
	if n == nil {
		if err := memory.take(dropoffBytes); err != nil {
			return nil, err
		}
		n = &dropoffNext{}
		if !key.nothing {
			var err error
			if n.gaps, err = g.noter.durationsOf(g.noted, uint32(key.step), key.label); err != nil {
				return nil, err
			}
		}
		g.next[key] = n
	}
	if at >= 0 {
		for len(g.near) <= at {
			g.near = append(g.near, nil)
		}
		g.near[at] = n
	}
	return n, nil
}

type dropoffKey struct {
	step    int // from 0
	label   uint32
	nothing bool
}

type dropoffNext struct {
	count int64
	gaps  durations
}

// dropoffBytes is about what a label of a group takes.
const dropoffBytes = 128

func (o *dropoffOperator) run(r *run) (*Result, error) {
	steps := len(o.pattern.matches)
	m, parts, err := mergePattern(r, o.groups, func() (*patternWorker[*dropoffGroup], error) {
		w := &dropoffWorker{patternWorker: newPatternWorker(o.pattern, o.groups, newDropoffGroup), labels: o.labels.worker()}
		w.add = func(v *view, g *dropoffGroup, a *attempt) error {
			if a.open {
				g.open++
				return nil
			}
			if a.converted(steps) {
				return nil
			}
			n, err := w.next(v, g, a.level-1, a.customer, a.next)
			if err != nil || a.next < 0 {
				return err
			}
			n.gaps.add(v.Time.At(a.next).Sub(a.time[a.level-1]))
			return w.list(durationBytes)
		}
		w.takeTiles()
		return w.patternWorker, nil
	})
	if err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.groups.columns(),
		Column{"step", Integer}, Column{"touchpoint", String}, Column{"next", String}, Column{r.plan.Count, Integer},
		Column{"share", Share}, Column{"median_time_to_next", Duration})}
	cut := &Cut{}
	kept, all := int64(0), int64(0)
	for i, of := range parts {
		for _, part := range of {
			res.Meta.Open += part.open
		}
		var shown []dropoffRow
		for k, step := range o.byStep(of) {
			dropped := int64(0)
			for _, n := range step {
				dropped += n.count
			}
			all += dropped
			cut.Of += int64(len(step))
			for _, n := range o.keep(step) {
				shown = append(shown, dropoffRow{nextLabel: n, step: k, dropped: dropped})
			}
		}
		err := r.parallel(len(shown), func(i int) (err error) {
			shown[i].median, err = shown[i].gaps.median(r)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, n := range shown {
			if n.label != otherLabel {
				kept += n.count
				cut.Kept++
			}
			if err := r.add(res, append(m.cells(i), int64(n.step+1), o.pattern.title(n.step), n.label, n.count,
				ratio(n.count, n.dropped), n.median)); err != nil {
				return nil, err
			}
		}
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = fmt.Sprintf("%s dropped at the step", r.plan.Count)
	if res.Meta.Cut = m.cut; cut.Kept < cut.Of {
		cut.Share = float64(kept) / float64(all)
		res.Meta.Cut = cut
	}
	return res, nil
}

// nextLabel is a row of the answer.
type nextLabel struct {
	label string
	code  uint32 // of the label, where it matters
	count int64
	gaps  durations
}

// dropoffRow is one of a step.
type dropoffRow struct {
	nextLabel
	step    int   // from 0
	dropped int64 // units that stopped at it
	median  Cell
}

func (n *nextLabel) add(count int64, gaps *durations) {
	n.count += count
	n.gaps.join(gaps)
}

// byStep joins what the workers counted of a group, and lists each step's
// labels: the most frequent first, equal ones bytewise.
func (o *dropoffOperator) byStep(parts []*dropoffGroup) [][]nextLabel {
	steps := make([][]nextLabel, len(o.pattern.matches))
	index := map[dropoffKey]int{}
	for _, part := range parts {
		for key, n := range part.next {
			at, ok := index[key]
			if !ok {
				at = len(steps[key.step])
				index[key] = at
				label := nothingLabel
				if !key.nothing {
					label = o.labels.text(key.label)
				}
				steps[key.step] = append(steps[key.step], nextLabel{label: label})
			}
			steps[key.step][at].add(n.count, &n.gaps)
		}
	}
	for _, labels := range steps {
		slices.SortFunc(labels, func(a, b nextLabel) int {
			return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.label, b.label))
		})
	}
	return steps
}

// keep leaves the top labels of a step and makes the rest one row.
func (o *dropoffOperator) keep(labels []nextLabel) []nextLabel {
	if len(labels) <= o.top {
		return labels
	}
	other := nextLabel{label: otherLabel}
	for _, n := range labels[o.top:] {
		other.add(n.count, &n.gaps)
	}
	return append(labels[:o.top:o.top], other)
}
