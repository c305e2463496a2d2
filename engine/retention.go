package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// retentionOperator answers `retention`: of the customers whose first START
// lies in one calendar period, how many did RETURN in each of the periods
// after it.
//
// Groups are those of by. Cohorts are told apart here: a row is a cohort's
// period, not the statement's.
type retentionOperator struct {
	r           *run
	grouping    *grouping
	calendar    *calendar
	start, back *matcher
	periods     int // after the cohort's own
}

func newRetention(r *run) (operator, error) {
	o := &retentionOperator{r: r, calendar: newCalendar(r.plan.Every, r.plan.Timezone), periods: int(r.plan.Periods)}
	var err error
	if o.start, err = r.matcher(r.plan.From); err != nil {
		return nil, err
	}
	if o.back, err = r.matcher(r.plan.To); err != nil {
		return nil, err
	}
	if o.grouping, err = r.grouping(); err != nil {
		return nil, err
	}
	o.grouping.calendar = nil
	return o, nil
}

func (o *retentionOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "retention", Detail: fmt.Sprintf("cohorts by the first %s, then %s in each of %d periods", o.start.text, o.back.text, o.periods)}
}

// cohortKey is a cohort of a group: its period's first instant.
type cohortKey struct {
	group int
	start event.Time
}

// returns counts a cohort: its size, then who returned in each period after.
type returns []int64

// retentionWorker counts one worker's customers.
type retentionWorker struct {
	*retentionOperator
	groups   *grouper
	calendar periods
	cohorts  map[cohortKey]returns
	memory   ration
	place    place
	found    tile.Bitmap // RETURN events of the tile at hand
}

func (o *retentionOperator) worker() *retentionWorker {
	w := &retentionWorker{retentionOperator: o, groups: o.grouping.worker(), cohorts: map[cohortKey]returns{}, memory: ration{budget: o.r.memory}}
	w.calendar = periods{calendar: o.calendar, max: o.r.opt.Rows + o.periods + 1}
	return w
}

func (w *retentionWorker) visit(v *view) error {
	starts := v.bitmap(v.Rows)
	if err := w.start.rows(v, starts); err != nil {
		return err
	}
	w.found = v.bitmap(v.Rows)
	if err := w.back.rows(v, w.found); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		row := starts.Next(u.lo, u.hi)
		for seeded.On("first_start_of_range") && row < u.hi && !w.r.inRange(v.Time.At(row)) {
			row = starts.Next(row+1, u.hi)
		}
		if row == u.hi || !w.r.inRange(v.Time.At(row)) {
			return nil
		}
		return w.customer(v, u, row)
	})
}

// customer counts a customer whose first START is row.
func (w *retentionWorker) customer(v *view, u unit, row int) error {
	t := v.Time.At(row)
	w.place.row, w.place.customer, w.place.last = row, u.customer, row
	group, err := w.groups.group(v, &w.place, 0, t)
	if err != nil {
		return err
	}
	begin, _, err := w.calendar.bounds(t)
	if err != nil {
		return err
	}
	key := cohortKey{group, begin}
	cohort := w.cohorts[key]
	if cohort == nil {
		if err := w.memory.take(96 + 8*int64(w.periods+1)); err != nil {
			return err
		}
		cohort = make(returns, w.periods+1)
		w.cohorts[key] = cohort
	}
	cohort[0]++
	first := w.calendar.last // where bounds found the cohort's period
	for n := 1; n <= w.periods; n++ {
		row = w.found.Next(v.since(row, u.hi, w.begin(first+n)), u.hi)
		if row == u.hi {
			return nil
		}
		for n <= w.periods && v.Time.At(row) >= w.begin(first+n+1) {
			n++
		}
		if n <= w.periods {
			cohort[n]++
		}
	}
	return v.tick(w.periods)
}

// begin returns when period number i of those met so far begins, and asks the
// calendar for those that follow.
func (w *retentionWorker) begin(i int) event.Time {
	p := &w.calendar
	for len(p.starts) <= i {
		p.starts = append(p.starts, p.calendar.next(p.starts[len(p.starts)-1]))
	}
	return p.starts[i]
}

func (o *retentionOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*retentionWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *retentionWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	all := map[cohortKey]returns{}
	for i, w := range ws {
		for key, counts := range w.cohorts {
			key.group = m.of(i, key.group)
			if have := all[key]; have == nil {
				all[key] = counts
			} else {
				for n := range counts {
					have[n] += counts[n]
				}
			}
		}
	}
	if err := o.checkRows(len(all)); err != nil {
		return nil, err
	}
	res := &Result{Columns: append(o.grouping.columns(), Column{"cohort", Time}, Column{"size", Integer}, Column{"period", Integer}, Column{"customers", Integer}, Column{"share", Share})}
	res.Meta.Unit = "customers"
	res.Meta.Denominator = "customers of the cohort"
	res.Meta.Cut = m.cut
	keys := make([]cohortKey, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b cohortKey) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.start, b.start))
	})
	for _, key := range keys {
		counts, end := all[key], key.start
		for n, count := range counts {
			end = o.calendar.next(end)
			share := ratio(count, counts[0])
			couldCome := end-1 > r.end
			if seeded.On("unfinished_periods_shared") {
				couldCome = false
			}
			if couldCome {
				share = nil
			}
			if err := r.add(res, append(m.cells(key.group), key.start, counts[0], int64(n), count, share)); err != nil {
				return nil, err
			}
		}
	}
	return res, nil
}

// checkRows refuses an answer that is too long before it is made: every cohort
// has as many rows as periods.
func (o *retentionOperator) checkRows(cohorts int) error {
	if rows := cohorts * (o.periods + 1); !o.r.cuts() && rows > o.r.opt.Rows {
		return &LimitError{Limit: "rows", Value: int64(o.r.opt.Rows), Reached: int64(rows),
			Hint: "every cohort shows all its periods: choose longer periods or fewer of them with for, or shorten the range with during"}
	}
	return nil
}
