package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/internal/seeded"
	"wend/tile"
)

// momentsOperator answers `moments`: the moments of truth, touchpoints that
// many reach, after which the score falls and customers are lost. For each
// customer the first occurrence of a touchpoint counts.
type momentsOperator struct {
	r        *run
	labeling *labeling
	grouping *grouping
	goal     *matcher // nil: any event
	score    score
	maturity maturity
}

func newMoments(r *run) (operator, error) {
	o := &momentsOperator{r: r, score: r.score(), maturity: r.maturity()}
	var err error
	if r.plan.Goal != nil {
		if o.goal, err = r.matcher(r.plan.Goal); err != nil {
			return nil, err
		}
	}
	if o.labeling, err = r.labeling(); err != nil {
		return nil, err
	}
	r.reach(0, 0)
	o.grouping, err = r.grouping()
	return o, err
}

func (o *momentsOperator) explain(r *run) PlanNode {
	what := "nothing"
	if o.goal != nil {
		what = "no " + o.goal.text
	}
	detail := fmt.Sprintf("first occurrence of each touchpoint; lost if %s follows within %s", what, o.maturity.window)
	if o.score.set {
		detail += "; " + r.plan.Score + " before and after"
	}
	return PlanNode{Operator: "moments", Detail: detail}
}

// moment is what is known of one touchpoint in one group.
type moment struct {
	customers, lost, open int64
	fall                  scoreSum // of scores before, less those after
}

func (m *moment) merge(o *moment) {
	m.customers += o.customers
	m.lost += o.lost
	m.open += o.open
	m.fall.merge(&o.fall)
}

type momentKey struct {
	group int
	label uint32
}

// momentBytes is about what a touchpoint of a group takes.
const momentBytes = 160

// momentsWorker finds one worker's moments.
type momentsWorker struct {
	*momentsOperator
	labels    *labeler
	groups    *grouper
	moments   map[momentKey]*moment
	met       []int64 // by label: number of the customer that met it last
	customers int64   // with an event
	scores    *tile.Column
	scored    tile.Bitmap
	goal      tile.Bitmap
	place     place
	memory    ration
}

func (o *momentsOperator) worker() *momentsWorker {
	return &momentsWorker{momentsOperator: o, labels: o.labeling.worker(), groups: o.grouping.worker(),
		moments: map[momentKey]*moment{}, memory: ration{budget: o.r.memory}}
}

func (w *momentsWorker) visit(v *view) error {
	if err := w.labels.load(v); err != nil {
		return err
	}
	if w.momentsOperator.goal != nil {
		w.goal = v.bitmap(v.Rows)
		if err := w.momentsOperator.goal.rows(v, w.goal); err != nil {
			return err
		}
	}
	if w.scores = w.score.of(v); w.scores != nil {
		w.scored = v.bitmap(v.Rows)
		w.scored.Or(w.scores.Present)
		if v.rows != nil {
			w.scored.And(v.rows)
		}
	}
	for c := range v.Customers() {
		if !v.member(c) {
			continue
		}
		lo, hi := v.selected(c)
		if err := w.customer(v, c, lo, hi); err != nil {
			return err
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

// customer adds the first occurrences of labels in the rows [lo, hi).
func (w *momentsWorker) customer(v *view, c, lo, hi int) error {
	row := v.next(lo, hi)
	if row == hi {
		return nil
	}
	w.customers++
	for ; row < hi; row = v.next(row+1, hi) {
		if err := v.tick(1); err != nil {
			return err
		}
		label, err := w.labels.code(v, c, row)
		if err != nil {
			return err
		}
		if n := int(label) + 1 - len(w.met); n > 0 {
			if err := w.memory.take(8 * int64(n)); err != nil {
				return err
			}
			w.met = append(w.met, make([]int64, n)...)
		}
		if w.met[label] == w.customers && !seeded.On("every_occurrence") {
			continue
		}
		w.met[label] = w.customers
		m, err := w.moment(v, c, row, label)
		if err != nil {
			return err
		}
		w.add(v, m, row, lo, hi)
	}
	return nil
}

// moment returns where the occurrence at row is counted.
func (w *momentsWorker) moment(v *view, c, row int, label uint32) (*moment, error) {
	key := momentKey{label: label}
	if w.grouping.whole() {
		w.groups.all()
	} else {
		w.place.row, w.place.customer, w.place.last = row, c, row
		var err error
		if key.group, err = w.groups.group(v, &w.place, 0, v.Time.At(row)); err != nil {
			return nil, err
		}
	}
	m := w.moments[key]
	if m == nil {
		if err := w.memory.take(momentBytes); err != nil {
			return nil, err
		}
		m = &moment{}
		w.moments[key] = m
	}
	return m, nil
}

// add counts an occurrence among a customer's rows [lo, hi).
func (w *momentsWorker) add(v *view, m *moment, row, lo, hi int) {
	m.customers++
	t := v.Time.At(row)
	inWindow := func(next int) bool { return next < hi && v.Time.At(next).Sub(t) <= w.maturity.window }
	follows := false
	if w.momentsOperator.goal != nil {
		follows = inWindow(w.goal.Next(row, hi))
	} else {
		follows = inWindow(v.next(row+1, hi))
	}
	if !follows {
		if w.maturity.over(t, v.Time.At(v.last(lo, hi))) {
			m.lost++
		} else {
			m.open++
		}
	}
	if w.scores == nil {
		return
	}
	before, after := w.scored.Last(lo, row), w.scored.Next(row, hi)
	known := before >= lo && inWindow(after)
	if seeded.On("score_of_any_time") {
		known = before >= lo && after < hi
	}
	if known {
		m.fall.add(w.scores, before, false)
		m.fall.add(w.scores, after, true)
		m.fall.n++
	}
}

// momentRow is a row of the answer.
type momentRow struct {
	group      int
	touchpoint string
	moment
	fallen, loss, product Cell
}

func (o *momentsOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*momentsWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *momentsWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	var all, open int64
	total := map[momentKey]*moment{}
	for i, w := range ws {
		all += w.customers
		for key, from := range w.moments {
			key.group = m.of(i, key.group)
			if to := total[key]; to != nil {
				to.merge(from)
			} else {
				total[key] = from
			}
		}
	}
	rows := []momentRow{}
	for key, sum := range total {
		rows = append(rows, o.row(key, sum, all))
		open += sum.open
	}
	slices.SortFunc(rows, compareMoments)
	shown, cut := topMoments(rows, r.plan.Top)
	res := &Result{Columns: append(o.grouping.columns(), Column{"touchpoint", String}, Column{"customers", Integer}, Column{"reach", Share},
		Column{"fall", Number}, Column{"fall_n", Integer}, Column{"loss", Share}, Column{"moment", Number}), weight: "customers"}
	for _, x := range shown {
		var n Cell
		if o.score.set {
			n = x.moment.fall.n
		}
		if err := r.add(res, append(m.cells(x.group), x.touchpoint, x.customers, ratio(x.customers, all), x.fallen, n, x.loss, x.product)); err != nil {
			return nil, err
		}
	}
	res.Meta.Unit = "customers"
	res.Meta.Denominator = "reach: all customers; fall: the fall_n customers with a score before and one after; loss: customers of the touchpoint that are not open"
	res.Meta.Open = open
	if res.Meta.Cut = cut; cut == nil {
		res.Meta.Cut = m.cut
	}
	return res, nil
}

func (o *momentsOperator) row(key momentKey, sum *moment, all int64) momentRow {
	x := momentRow{group: key.group, touchpoint: o.labeling.text(key.label), moment: *sum}
	x.loss = ratio(sum.lost, sum.customers-sum.open)
	x.fallen = 1.0
	if o.score.set {
		if x.fallen = sum.fall.mean(); x.fallen != nil {
			x.fallen = max(0, x.fallen.(float64))
		}
	}
	if x.loss != nil && x.fallen != nil {
		x.product = share(sum.customers, all) * x.fallen.(float64) * x.loss.(float64)
	}
	return x
}

// compareMoments puts the greatest moments of a group first, unknown ones last.
func compareMoments(a, b momentRow) int {
	if n := cmp.Compare(a.group, b.group); n != 0 {
		return n
	}
	if a.product == nil || b.product == nil {
		if n := truth(a.product == nil) - truth(b.product == nil); n != 0 {
			return n
		}
	} else if n := compareCells(b.product, a.product); n != 0 {
		return n
	}
	return cmp.Or(cmp.Compare(b.customers, a.customers), cmp.Compare(a.touchpoint, b.touchpoint))
}

// topMoments keeps the first rows of each group; 0: all.
func topMoments(rows []momentRow, top int64) (shown []momentRow, cut *Cut) {
	if top == 0 {
		return rows, nil
	}
	var kept, all, inGroup int64
	for i, x := range rows {
		if i > 0 && rows[i-1].group != x.group {
			inGroup = 0
		}
		all += x.customers
		if inGroup++; inGroup <= top {
			shown = append(shown, x)
			kept += x.customers
		}
	}
	if len(shown) < len(rows) {
		cut = &Cut{Kept: int64(len(shown)), Of: int64(len(rows)), Share: share(kept, all)}
	}
	return shown, cut
}
