package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// newNext makes the operator of `next after` or `next for`.
func newNext(r *run) (operator, error) {
	if r.plan.For {
		return newNextFor(r)
	}
	return newNextAfter(r)
}

// nextAfterOperator answers `next after`: what those who converted did next.
type nextAfterOperator struct {
	pattern *pattern
	groups  *grouping
	labels  *labeling
}

func newNextAfter(r *run) (operator, error) {
	p, g, err := r.patternAndGroups()
	if err != nil {
		return nil, err
	}
	l, err := r.labeling()
	if err != nil {
		return nil, err
	}
	return &nextAfterOperator{pattern: p, groups: g, labels: l}, nil
}

func (o *nextAfterOperator) explain(r *run) PlanNode {
	detail := o.pattern.describe()
	if r.plan.TestLast > 0 {
		detail += fmt.Sprintf("; trained before and tested on the last %g %% of the events", r.plan.TestLast*100)
	}
	return PlanNode{Operator: "next after", Detail: detail}
}

// nextKey is what came next: a label, or nothing within the window.
type nextKey struct {
	label   uint32
	nothing bool
	late    bool // known only after the time that parts training from test
}

// nextGroup counts what came next in one group.
type nextGroup struct {
	next  map[nextKey]*dropoffNext
	open  int64
	noted *groupKey // the group, where times are noted
}

func (o *nextAfterOperator) inPasses() bool { return o.pattern.run.plan.TestLast == 0 }

// nextOf finds what followed the reported attempt of a converted unit, and when
// that was known. A row of -1 is nothing; ok is false while it is open.
func (o *nextAfterOperator) nextOf(v *view, a *attempt) (row int, known event.Time, ok bool) {
	last := a.time[a.level-1]
	until := last.Add(o.pattern.windows[0])
	if seeded.On("next_window_from_entry") {
		until = a.time[0].Add(o.pattern.windows[0])
	}
	if a.next >= 0 {
		if t := v.Time.At(a.next); t <= until {
			return a.next, t, true
		}
		return -1, until, true
	}
	over := false
	if r := o.pattern.run; r.plan.Unit.Session {
		end, later := v.sessionEnd(a.customer, a.rows[a.level-1])
		until, over = min(until, end), later
	}
	return -1, until, over || until <= o.pattern.run.end
}

// sessionEnd is the time from which no event can belong to the session of a
// row any more, and whether the customer has a later session: then this one is
// over, also if its events lie after the end of data.
func (v *view) sessionEnd(customer, row int) (end event.Time, later bool) {
	_, hi := v.extent(customer)
	gap := v.run.plan.Unit.Gap
	for row+1 < hi && v.Time.At(row+1).Sub(v.Time.At(row)) <= gap {
		row++
	}
	return v.Time.At(row).Add(gap), row+1 < hi
}

// count scans and counts what came next; late are outcomes known after split.
func (o *nextAfterOperator) count(r *run, split event.Time) (*groups, [][]*nextGroup, error) {
	steps := len(o.pattern.matches)
	return mergePattern(r, o.groups, func() (*patternWorker[*nextGroup], error) {
		w := newPatternWorker(o.pattern, o.groups, func(key *groupKey, noter *noter) (*nextGroup, error) {
			return &nextGroup{noted: noter.named(key), next: map[nextKey]*dropoffNext{}}, nil
		})
		labeler := o.labels.worker()
		w.add = func(v *view, g *nextGroup, a *attempt) error {
			if !a.converted(steps) {
				return nil
			}
			row, known, ok := o.nextOf(v, a)
			if !ok {
				g.open++
				return nil
			}
			key := nextKey{nothing: row < 0, late: known > split}
			if row >= 0 {
				var err error
				if key.label, err = labeler.code(v, a.customer, row); err != nil {
					return err
				}
			}
			n := g.next[key]
			if n == nil {
				n = &dropoffNext{}
				g.next[key] = n
				if err := w.memory.take(dropoffBytes); err != nil {
					return err
				}
				if !key.nothing {
					var err error
					if n.gaps, err = w.noter.durationsOf(g.noted, key.label); err != nil {
						return err
					}
				}
			}
			if n.count++; row < 0 {
				return nil
			}
			n.gaps.add(v.Time.At(row).Sub(a.time[steps-1]))
			return w.list(durationBytes)
		}
		return w, nil
	})
}

func (o *nextAfterOperator) run(r *run) (*Result, error) {
	if r.plan.TestLast > 0 {
		return o.test(r)
	}
	m, parts, err := o.count(r, maxInstant)
	if err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.groups.columns(), Column{"next", String}, Column{"probability", Share}, Column{"support", Integer}, Column{"median_time", Duration}), weight: "support"}
	cut := nextCut{}
	for i, of := range parts {
		labels := o.list(of, false)
		for _, part := range of {
			res.Meta.Open += part.open
		}
		all := int64(0)
		for _, n := range labels {
			all += n.count
		}
		for _, n := range cut.top(labels, int(r.plan.Top)) {
			median, err := n.gaps.median(r)
			if err != nil {
				return nil, err
			}
			if err := r.add(res, append(m.cells(i), n.label, ratio(n.count, all), n.count, median)); err != nil {
				return nil, err
			}
		}
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = fmt.Sprintf("%s that converted and of which it is known what came next", r.plan.Count)
	if res.Meta.Cut = cut.cut(); res.Meta.Cut == nil {
		res.Meta.Cut = m.cut
	}
	return res, nil
}

// list joins what workers counted: the most frequent first, equal ones bytewise.
func (o *nextAfterOperator) list(parts []*nextGroup, late bool) []nextLabel {
	index := map[nextKey]int{}
	var labels []nextLabel
	for _, part := range parts {
		for key, n := range part.next {
			if key.late != late {
				continue
			}
			at, ok := index[key]
			if !ok {
				at = len(labels)
				index[key] = at
				label := nothingLabel
				if !key.nothing {
					label = o.labels.text(key.label)
				}
				labels = append(labels, nextLabel{label: label})
			}
			labels[at].add(n.count, &n.gaps)
		}
	}
	slices.SortFunc(labels, compareNext)
	return labels
}

func compareNext(a, b nextLabel) int {
	return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.label, b.label))
}

// nextCut adds up what top leaves out.
type nextCut struct {
	Cut
	kept, all int64
}

// top leaves the first labels and makes the rest one row; 0: all.
func (c *nextCut) top(labels []nextLabel, top int) []nextLabel {
	c.Of += int64(len(labels))
	for i, n := range labels {
		c.all += n.count
		if top == 0 || i < top {
			c.kept += n.count
			c.Kept++
		}
	}
	if top == 0 || len(labels) <= top {
		return labels
	}
	other := nextLabel{label: otherLabel}
	for _, n := range labels[top:] {
		other.add(n.count, &n.gaps)
	}
	return append(labels[:top:top], other)
}

func (c *nextCut) cut() *Cut {
	if c.Kept == c.Of {
		return nil
	}
	c.Share = share(c.kept, c.all)
	return &c.Cut
}

// test trains on what was known until a time and tests on what came after.
func (o *nextAfterOperator) test(r *run) (*Result, error) {
	split, followers, err := r.trainingEnd(o.labels)
	if err != nil {
		return nil, err
	}
	m, parts, err := o.count(r, split)
	if err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.groups.columns(), qualityColumns...)}
	for i, of := range parts {
		trained, tested := o.list(of, false), o.list(of, true)
		actual := map[string]int64{}
		own, frequent := quality{}, quality{}
		for _, n := range tested {
			actual[n.label] = n.count
			own.tested += n.count
		}
		for _, n := range trained {
			own.trained += n.count
		}
		frequent.tested = own.tested
		for rank := range 3 {
			if rank < len(trained) {
				own.hit(rank, actual[trained[rank].label])
			}
			if rank < len(followers) {
				frequent.hit(rank, actual[followers[rank].label])
			}
		}
		frequent.trained = totalCount(followers)
		for _, row := range [][]Cell{own.row(m.cells(i), "next after"), frequent.row(m.cells(i), alwaysFrequent)} {
			if err := r.add(res, row); err != nil {
				return nil, err
			}
		}
		for _, part := range of {
			res.Meta.Open += part.open
		}
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = "trained until " + split.String() + ", tested on what came later; hit_1 and hit_3: share of the tested"
	return res, nil
}
