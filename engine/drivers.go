package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
)

// driversOperator answers `drivers of`: which values of the entry, and which
// touchpoints soon after it, go with conversion. Units that are open do not
// take part.
//
// What happens after the outcome must not explain it. Values are those of the
// entry. Touchpoints count until a time T after the entry, which is the lower
// quartile of the converters' times, and only of units whose outcome was not
// decided by then: that needs a second scan, once T is known.
type driversOperator struct {
	r       *run
	pattern *pattern
	factors []driverFactor
	events  int // which factor is events; -1: none
}

// driverFactor is one expression of by.
type driverFactor struct {
	name   string
	top    int64
	number bool
	coding *coding // nil for events
}

func newDrivers(r *run) (operator, error) {
	o := &driversOperator{r: r, events: -1}
	var err error
	if o.pattern, err = r.pattern(); err != nil {
		return nil, err
	}
	const hint = "name factors that have fewer values"
	for i, by := range r.plan.By {
		f := driverFactor{name: by.Name, top: by.Top, number: by.Expr.Type.Numeric()}
		if by.Expr.Op == "events" {
			o.events = i
		} else if err := o.known(by.Expr); err != nil {
			return nil, err
		} else if f.coding, err = r.coding(by.Expr, r.dictionary("groups", hint)); err != nil {
			return nil, err
		}
		o.factors = append(o.factors, f)
	}
	r.reachForward(o.pattern)
	return o, nil
}

// known refuses factors that are read of a later step: only those who got there
// would have them. What looks at the whole customer is warned of.
func (o *driversOperator) known(e *query.ScalarExpr) error {
	if e.Scope == query.LastScope || e.Scope == query.StepScope && (e.Step > 1 || o.pattern.anyOrder) {
		return &query.Error{Code: "not_of_entry", Message: fmt.Sprintf("a factor is read of the entry, but %s belongs to a later step", e.Text()),
			Span: e.Span, Hint: "who converted has later steps, so they explain nothing; `by events` looks at what came soon after the entry"}
	}
	if e.Scope == query.CustomerScope || e.Cohort != nil {
		o.r.warn(fmt.Sprintf("%s looks at all of the customer's events: it may come from after the outcome", e.Text()))
	}
	for _, arg := range e.Args {
		if err := o.known(arg); err != nil {
			return err
		}
	}
	return nil
}

func (o *driversOperator) explain(r *run) PlanNode {
	var names []string
	for _, f := range o.factors {
		names = append(names, f.name)
	}
	detail := "factors " + strings.Join(names, ", ") + "; " + o.pattern.describe()
	if o.events >= 0 {
		detail += "; a second scan for events, up to the lower quartile of the times to conversion"
	}
	return PlanNode{Operator: "drivers", Detail: detail}
}

// outcomes counts units that converted and that dropped.
type outcomes struct{ converted, dropped int64 }

func (o *outcomes) add(converted bool) {
	if converted {
		o.converted++
	} else {
		o.dropped++
	}
}

func (o *outcomes) merge(p outcomes) {
	o.converted += p.converted
	o.dropped += p.dropped
}

// against is the table of those with a factor against all others.
func (o outcomes) against(all outcomes) contingency {
	return contingency{a: o.converted, b: o.dropped, c: all.converted - o.converted, d: all.dropped - o.dropped}
}

// driversWorker counts one worker's units: in the first scan by the values of
// their entries, in the second by what followed soon.
type driversWorker struct {
	*driversOperator
	tracker *tracker
	coders  []*coder     // by factor; nil for events
	counts  [][]outcomes // by factor, by code
	all     outcomes
	open    int64
	elapsed []event.Duration // of those that converted; only for events

	soon   *event.Duration // T; nil in the first scan
	events []outcomes      // by event
	met    []int64         // by event: number of the unit that met it last
	units  int64
	place  place
	memory ration
}

func (o *driversOperator) worker(soon *event.Duration) *driversWorker {
	w := &driversWorker{driversOperator: o, soon: soon, memory: ration{budget: o.r.memory}, counts: make([][]outcomes, len(o.factors))}
	if soon != nil {
		w.events, w.met = make([]outcomes, len(o.r.schema.Events)), make([]int64, len(o.r.schema.Events))
		w.tracker = o.pattern.thorough().worker(w.follow)
		w.tracker.inspect = func(v *view, a *attempt) { a.undecided = !a.open && w.undecided(v, a) }
		return w
	}
	for i := range o.factors {
		w.coders = append(w.coders, nil)
		if c := o.factors[i].coding; c != nil {
			w.coders[i] = c.worker()
		}
	}
	w.tracker = o.pattern.worker(w.take)
	return w
}

func (w *driversWorker) visit(v *view) error { return w.tracker.visit(v) }

// take counts a unit by the values of its entry.
func (w *driversWorker) take(v *view, a *attempt) error {
	if a.open {
		w.open++
		return nil
	}
	steps := len(w.pattern.matches)
	converted := a.converted(steps)
	w.all.add(converted)
	if converted && w.driversOperator.events >= 0 {
		w.elapsed = append(w.elapsed, a.elapsed(steps-1))
		if err := w.memory.take(8); err != nil {
			return err
		}
	}
	a.at(&w.place, steps)
	for i, c := range w.coders {
		if c == nil {
			continue
		}
		code, err := c.code(v, &w.place)
		if err != nil {
			return err
		}
		if n := int(code) + 1 - len(w.counts[i]); n > 0 {
			if err := w.memory.take(16 * int64(n)); err != nil {
				return err
			}
			w.counts[i] = append(w.counts[i], make([]outcomes, n)...)
		}
		w.counts[i][code].add(converted)
	}
	return nil
}

// follow counts a unit by the events between its entry and T after it.
func (w *driversWorker) follow(v *view, a *attempt) error {
	if !a.undecided {
		return nil
	}
	converted := a.converted(len(w.pattern.matches))
	w.all.add(converted)
	w.units++
	entry := a.rows[0]
	until := a.time[0].Add(*w.soon)
	if seeded.On("after_effects_count") {
		until = maxInstant
	}
	return w.after(v, a, entry, until, func(row int) error {
		if e := v.Event.At(row); w.met[e] != w.units {
			w.met[e] = w.units
			w.events[e].add(converted)
		}
		return v.tick(1)
	})
}

// after calls f for the events of the attempt's unit that follow row in the
// order of patterns and are not later than until.
func (w *driversWorker) after(v *view, a *attempt, row int, until event.Time, f func(row int) error) error {
	lo, hi := v.extent(a.customer)
	t := v.Time.At(row)
	gap := w.r.plan.Unit.Gap
	for i := v.since(lo, row, t); i < hi; i++ {
		at := v.Time.At(i)
		if at > until || w.r.plan.Unit.Session && i > row && at.Sub(v.Time.At(i-1)) > gap {
			return nil
		}
		if i == row || !v.exists(i) || at == t && !w.laterInOrder(i, row) {
			continue
		}
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// laterInOrder reports whether the event at row i stands after that at row j,
// which has its time.
func (w *driversWorker) laterInOrder(i, j int) bool {
	if !w.r.plan.TiesArrival {
		if n := cmp.Compare(w.tracker.lowestStep(i), w.tracker.lowestStep(j)); n != 0 {
			return n > 0
		}
	}
	return i > j
}

// undecided reports whether T after its entry the attempt could still go on: it
// had not converted, its session had not ended, and some chain from its entry,
// not only the one that is reported, could still have gone on with a later event.
func (w *driversWorker) undecided(v *view, a *attempt) bool {
	if seeded.On("decided_take_part") {
		return true
	}
	soon := a.time[0].Add(*w.soon)
	if a.converted(len(w.pattern.matches)) {
		return a.time[a.level-1] > soon
	}
	return !w.sessionOver(v, a, soon) && w.tracker.couldGoOn(a, soon)
}

// sessionOver reports whether the attempt's session had ended by a time.
func (w *driversWorker) sessionOver(v *view, a *attempt, by event.Time) bool {
	if !w.r.plan.Unit.Session {
		return false
	}
	_, hi := v.extent(a.customer)
	row := a.rows[0]
	for row+1 < hi && v.Time.At(row+1).Sub(v.Time.At(row)) <= w.r.plan.Unit.Gap {
		if row++; v.Time.At(row) > by {
			return false
		}
	}
	return v.Time.At(row).Add(w.r.plan.Unit.Gap) <= by
}

// driver is a row of the answer.
type driver struct {
	factor int
	value  Cell // text, null for null
	rank   int  // among the factor's values
	contingency
	chi    float64
	proven bool // chi is defined
	p      Cell
}

func (o *driversOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*driversWorker, error) { return o.worker(nil), nil })
	if err != nil {
		return nil, err
	}
	var all outcomes
	var open int64
	var elapsed [][]event.Duration
	for _, w := range ws {
		all.merge(w.all)
		open += w.open
		elapsed = append(elapsed, w.elapsed)
	}
	var rows []driver
	for i := range o.factors {
		if o.factors[i].coding != nil {
			rows = append(rows, o.values(i, ws, all)...)
		}
	}
	denominator := fmt.Sprintf("the %d %s that converted and the %d that dropped", all.converted, r.plan.Count, all.dropped)
	if o.events >= 0 {
		soon, ok := quantile(0.25, elapsed...)
		if !ok {
			r.warn("nobody converted, so there is no time up to which events could count")
		} else {
			t := event.Duration(soon)
			found, undecided, err := o.followed(r, t)
			if err != nil {
				return nil, err
			}
			rows = append(rows, found...)
			denominator += fmt.Sprintf("; events: those up to T = %s after the entry, of the %d and %d not decided by then", t, undecided.converted, undecided.dropped)
		}
	}
	return o.result(r, rows, denominator, open)
}

// followed scans again and counts the events that came within T of the entry.
func (o *driversOperator) followed(r *run, soon event.Duration) (rows []driver, all outcomes, err error) {
	r.stats.again()
	ws, err := scan(r, func() (*driversWorker, error) { return o.worker(&soon), nil })
	if err != nil {
		return nil, all, err
	}
	events := make([]outcomes, len(r.schema.Events))
	for _, w := range ws {
		all.merge(w.all)
		for e := range events {
			events[e].merge(w.events[e])
		}
	}
	var list []valued
	for e, n := range events {
		if n != (outcomes{}) {
			list = append(list, valued{event.String(r.schema.Events[e].Text), n})
		}
	}
	return o.rows(o.events, list, all), all, nil
}

// valued is a value of a factor and the outcomes of those who have it.
type valued struct {
	value event.Value
	outcomes
}

// values are the rows of a factor that is read of the entry.
func (o *driversOperator) values(factor int, ws []*driversWorker, all outcomes) []driver {
	f := &o.factors[factor]
	list := make([]valued, len(f.coding.dict.values))
	for code, x := range f.coding.dict.values {
		list[code].value = x
		for _, w := range ws {
			if code < len(w.counts[factor]) {
				list[code].merge(w.counts[factor][code])
			}
		}
	}
	return o.rows(factor, list, all)
}

// numbersMax is how many values a number may have without being cut.
const numbersMax = 20

// rows are the rows of a factor: a value each, or a quarter of the numbers.
func (o *driversOperator) rows(factor int, list []valued, all outcomes) []driver {
	f := &o.factors[factor]
	slices.SortFunc(list, func(a, b valued) int { return compareNullsLast(a.value, b.value) })
	known := list
	if n := len(list); n > 0 && list[n-1].value.IsNull() {
		known = list[:n-1]
	}
	var rows []driver
	add := func(value Cell, n outcomes) {
		if n != (outcomes{}) {
			rows = append(rows, driver{factor: factor, value: value, rank: len(rows), contingency: n.against(all)})
		}
	}
	shown, other := list, outcomes{}
	switch {
	case f.top > 0 && int64(len(list)) > f.top:
		shown, other = mostCommon(list, int(f.top))
	case f.number && len(known) > numbersMax:
		quarters(known, add)
		shown = list[len(known):]
	}
	for _, x := range shown {
		add(textCell(x.value), x.outcomes)
	}
	add(otherLabel, other)
	return rows
}

// mostCommon parts the values that most units have, in their order, from the
// sum of the others. Of equally frequent ones the lower stay.
func mostCommon(list []valued, top int) (kept []valued, other outcomes) {
	byUnits := slices.Clone(list)
	slices.SortStableFunc(byUnits, func(a, b valued) int {
		return cmp.Compare(b.converted+b.dropped, a.converted+a.dropped)
	})
	for _, x := range byUnits[top:] {
		other.merge(x.outcomes)
	}
	kept = byUnits[:top]
	slices.SortFunc(kept, func(a, b valued) int { return compareNullsLast(a.value, b.value) })
	return kept, other
}

// textCell is a value as text, null as null.
func textCell(x event.Value) Cell {
	if x.IsNull() {
		return nil
	}
	return x.String()
}

// quarters cuts numbers, which stand in order, at the quartiles of the units.
func quarters(list []valued, add func(Cell, outcomes)) {
	var n int64
	for _, x := range list {
		n += x.converted + x.dropped
	}
	at := func(rank int64) float64 {
		for _, x := range list {
			if rank -= x.converted + x.dropped; rank < 0 {
				return x.value.Float()
			}
		}
		return list[len(list)-1].value.Float()
	}
	var cuts []float64
	for q := int64(1); q <= 3; q++ {
		low, part := q*(n-1)/4, q*(n-1)%4
		cut := at(low)
		cut += (at(min(low+1, n-1)) - cut) * float64(part) / 4
		if len(cuts) == 0 || cut > cuts[len(cuts)-1] {
			cuts = append(cuts, cut)
		}
	}
	sums := make([]outcomes, len(cuts)+1)
	for _, x := range list {
		k := 0
		for k < len(cuts) && x.value.Float() > cuts[k] {
			k++
		}
		sums[k].merge(x.outcomes)
	}
	for k, sum := range sums {
		switch {
		case k == 0:
			add("<= "+event.Float(cuts[0]).String(), sum)
		case k == len(cuts):
			add("> "+event.Float(cuts[k-1]).String(), sum)
		default:
			add(fmt.Sprintf("> %s to %s", event.Float(cuts[k-1]), event.Float(cuts[k])), sum)
		}
	}
}

// result puts the rows in order: by chi-square falling, rows that have none
// last; then by factor as by lists them, then by value, null after the values
// and (other) after null. The statement's top keeps the first of these.
func (o *driversOperator) result(r *run, rows []driver, denominator string, open int64) (*Result, error) {
	o.prove(rows)
	slices.SortFunc(rows, func(a, b driver) int {
		return cmp.Or(truth(b.proven)-truth(a.proven), cmp.Compare(b.chi, a.chi), cmp.Compare(a.factor, b.factor), cmp.Compare(a.rank, b.rank))
	})
	res := &Result{Columns: []Column{{"factor", String}, {"value", String}, {"converted", Integer}, {"dropped", Integer},
		{"odds_ratio", Number}, {"low", Number}, {"high", Number}, {"lift", Number}, {"p_value", Number}}}
	shown := rows
	if top := r.plan.Top; top > 0 && int64(len(rows)) > top {
		shown = rows[:top]
		var kept, all int64
		for i, x := range rows {
			all += x.a + x.b
			if int64(i) < top {
				kept += x.a + x.b
			}
		}
		res.Meta.Cut = &Cut{Kept: top, Of: int64(len(rows)), Share: share(kept, all)}
	}
	var small []string
	for _, x := range shown {
		ratio, low, high := x.oddsRatio()
		var lift Cell
		if l, ok := x.lift(); ok {
			lift = l
		}
		if err := r.add(res, []Cell{o.factors[x.factor].name, x.value, x.a, x.b, ratio, low, high, lift, x.p}); err != nil {
			return nil, err
		}
		if x.small() {
			value := "null"
			if x.value != nil {
				value = x.value.(string)
			}
			small = append(small, o.factors[x.factor].name+" "+value)
		}
	}
	if n := len(small); n > 0 {
		text := strings.Join(small[:min(n, smallShown)], ", ")
		if n > smallShown {
			text += fmt.Sprintf(" and %d more", n-smallShown)
		}
		r.warn(fmt.Sprintf("fewer than %d in a cell, so that interval and p-value are rough: %s", smallCell, text))
	}
	res.Meta.Unit = r.plan.Count
	res.Meta.Denominator = denominator
	res.Meta.Open = open
	return res, nil
}

// smallShown is how many rows with small cells a warning names.
const smallShown = 10

// prove computes the p-values of all rows, corrected for their number.
func (o *driversOperator) prove(rows []driver) {
	var p []float64
	for i := range rows {
		if rows[i].chi, rows[i].proven = rows[i].chiSquare(); rows[i].proven {
			p = append(p, chiSquareTail(rows[i].chi))
		}
	}
	p = holm(p)
	for i := range rows {
		if rows[i].proven {
			rows[i].p, p = p[0], p[1:]
		}
	}
}
