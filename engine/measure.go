package engine

import (
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// measureOperator answers `measure`: aggregates over events, and arithmetic
// over aggregates, by group. Every event in the range is an anchor.
//
// All aggregates are exact, and do not depend on the order in which events are
// seen: whole numbers are added up in 128 bits, fractions without rounding
// (exactSum), percentiles and distinct values are kept until the end.
type measureOperator struct {
	r          *run
	grouping   *grouping
	aggregates []*aggregate
	outputs    []output
	sessions   bool // some aggregate counts sessions
	byUnit     bool // some aggregate counts customers or sessions, which do not add up over groups
}

// output is one column: an expression in which aggregates stand.
type output struct {
	name  string
	typ   event.Type
	value scalar // over view.aggregates
}

// aggregate is one aggregate of a statement; equal ones are computed once.
type aggregate struct {
	kind   aggregateKind
	plan   *query.ScalarExpr
	arg    scalar  // nil for events, customers, sessions
	column int     // property that arg is, -1: another expression
	filter scalar  // nil: all events
	texts  *coding // distinct texts; nil: of anything else
}

type aggregateKind uint8

const (
	countEvents aggregateKind = iota
	countCustomers
	countSessions
	sumInteger
	sumFloat
	average
	least
	greatest
	distinctValues
	percentile
)

func newMeasure(r *run) (operator, error) {
	o := &measureOperator{r: r}
	r.ordered = false
	r.aggregates = map[*query.ScalarExpr]int{}
	index := map[string]int{}
	for _, p := range r.plan.Outputs {
		if err := o.collect(p.Expr, index); err != nil {
			return nil, err
		}
		value, err := r.compile(p.Expr)
		if err != nil {
			return nil, err
		}
		o.outputs = append(o.outputs, output{p.Name, p.Expr.Type, value})
	}
	if !o.sessions {
		r.reach(0, 0)
	}
	var err error
	o.grouping, err = r.grouping()
	return o, err
}

// collect finds the aggregates of an expression; index has the places of those
// that are there already, by their keys.
func (o *measureOperator) collect(e *query.ScalarExpr, index map[string]int) error {
	if !isAggregate(e) {
		for _, arg := range e.Args {
			if err := o.collect(arg, index); err != nil {
				return err
			}
		}
		return nil
	}
	key := aggregateKey(e)
	if i, ok := index[key]; ok {
		o.r.aggregates[e] = i
		return nil
	}
	a := &aggregate{plan: e, column: -1}
	switch e.Op {
	case "events":
		a.kind = countEvents
	case "customers":
		a.kind = countCustomers
		o.byUnit = true
	case "sessions":
		a.kind = countSessions
		o.sessions, o.byUnit = true, true
	case "sum":
		a.kind = sumFloat
		if e.Type == event.IntegerType {
			a.kind = sumInteger
		}
	case "avg":
		a.kind = average
	case "min":
		a.kind = least
	case "max":
		a.kind = greatest
	case "distinct":
		if arg := e.Args[0]; arg.Op == "field" && !arg.Property && arg.Field == "customer" {
			a.kind = countCustomers // without keeping their names
			o.byUnit = true
			break
		}
		a.kind = distinctValues
		if e.Args[0].Type == event.StringType {
			dict := o.r.dictionary("memory", "")
			dict.limit = int(^uint32(0) - 1) // its memory is what bounds it
			var err error
			if a.texts, err = o.r.coding(e.Args[0], dict); err != nil {
				return err
			}
		}
	case "percentile":
		a.kind = percentile
	}
	var err error
	if len(e.Args) > 0 && a.kind != countCustomers {
		arg := e.Args[0]
		if a.arg, err = o.r.compile(arg); err != nil {
			return err
		}
		if i, ok := o.r.schema.Property(arg.Field); ok && arg.Op == "field" && arg.Property && arg.Scope == query.EventScope {
			a.column = i
		}
	}
	if e.Filter != nil {
		if a.filter, err = o.r.compile(e.Filter); err != nil {
			return err
		}
	}
	index[key], o.r.aggregates[e] = len(o.aggregates), len(o.aggregates)
	o.aggregates = append(o.aggregates, a)
	return nil
}

func isAggregate(e *query.ScalarExpr) bool {
	switch e.Op {
	case "events", "customers", "sessions", "sum", "avg", "min", "max", "distinct", "percentile":
		return true
	}
	return false
}

func aggregateKey(e *query.ScalarExpr) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Op, e.Value)
	if len(e.Args) > 0 {
		fmt.Fprintf(&b, "(%s)", e.Args[0].Text())
	}
	if e.Filter != nil {
		fmt.Fprintf(&b, "[%s]", e.Filter.Text())
	}
	return b.String()
}

func (o *measureOperator) inPasses() bool {
	return slices.ContainsFunc(o.aggregates, func(a *aggregate) bool { return a.kind == percentile })
}

func (o *measureOperator) explain(r *run) PlanNode {
	var names []string
	for _, a := range o.aggregates {
		names = append(names, a.plan.Text())
	}
	return PlanNode{Operator: "measure", Detail: strings.Join(names, ", ")}
}

func (o *measureOperator) run(r *run) (*Result, error) {
	if o.byUnit && o.grouping.hasTop() {
		if err := o.keepTop(r); err != nil {
			return nil, err
		}
	}
	ws, err := scan(r, func() (*measureWorker, error) { return o.worker(false), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *measureWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	total := make([][]accumulator, m.len())
	for i := range total {
		if i%rowsBetweenChecks == 0 {
			if err := r.look(); err != nil {
				return nil, err
			}
		}
		total[i] = make([]accumulator, len(o.aggregates))
	}
	for i, w := range ws {
		for id := range w.accumulators {
			if id%rowsBetweenChecks == 0 {
				if err := r.look(); err != nil {
					return nil, err
				}
			}
			to := total[m.of(i, id)]
			for k := range to {
				if err := to[k].add(o.aggregates[k].kind, &w.accumulators[id][k], &w.memory); err != nil {
					return nil, err
				}
			}
		}
		w.accumulators = nil
	}
	return o.result(m, total)
}

// keepTop scans once only to see which values of by have the most events: a
// customer who occurs under two of the rest counts once in (other), so what is
// counted for each value cannot be added up.
func (o *measureOperator) keepTop(r *run) error {
	ws, err := scan(r, func() (*measureWorker, error) { return o.worker(true), nil })
	if err != nil {
		return err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *measureWorker) *grouper { return w.groups }))
	if err == nil {
		o.grouping.keep(m)
		r.stats.again()
	}
	return err
}

func (o *measureOperator) result(m *groups, total [][]accumulator) (*Result, error) {
	res := &Result{Columns: o.grouping.columns()}
	res.Meta.Unit, res.Meta.Cut = "events", m.cut
	for _, out := range o.outputs {
		res.Columns = append(res.Columns, Column{out.name, columnType(out.typ)})
	}
	if !o.r.cuts() && m.len() > o.r.opt.Rows {
		return nil, tooManyRows(o.r, m.len()) // before their values are computed
	}
	v := &view{run: o.r, ctx: o.r.ctx, turn: o.r.turn, aggregates: make([]event.Value, len(o.aggregates))} // of no tile
	nowhere := &place{row: -1, customer: -1, last: -1}
	for i, accumulators := range total {
		for k, a := range o.aggregates {
			x, err := accumulators[k].value(o.r, a)
			if err != nil {
				return nil, err
			}
			v.aggregates[k] = x
		}
		row := m.cells(i)
		for _, out := range o.outputs {
			x, err := out.value.value(v, nowhere)
			if err != nil {
				return nil, err
			}
			row = append(row, cell(x))
		}
		if err := o.r.add(res, row); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// measureWorker adds up one worker's events.
type measureWorker struct {
	*measureOperator
	groups       *grouper
	accumulators [][]accumulator // by group, by aggregate; not filled while only counting
	counting     bool
	memory       ration
	filters      []tile.Bitmap
	columns      []*tile.Column
	texts        []*coder // by aggregate: of distinct texts
	customer     int64    // number of the current customer, from 1, over all tiles of this worker
	session      int64
	place        place
	counters     denseMeasure
	noter        *noter
}

func (o *measureOperator) worker(counting bool) *measureWorker {
	w := &measureWorker{measureOperator: o, groups: o.grouping.worker(), counting: counting, memory: ration{budget: o.r.memory}}
	w.noter = o.r.noter(&w.memory)
	w.filters = make([]tile.Bitmap, len(o.aggregates))
	w.columns = make([]*tile.Column, len(o.aggregates))
	w.texts = make([]*coder, len(o.aggregates))
	for k, a := range o.aggregates {
		if a.texts != nil {
			w.texts[k] = a.texts.worker()
		}
	}
	return w
}

func (w *measureWorker) visit(v *view) error {
	for k, a := range w.aggregates {
		w.columns[k], w.filters[k] = nil, nil
		if a.column >= 0 {
			w.columns[k] = v.column(a.column)
		}
		if a.filter != nil && !w.counting {
			w.filters[k] = v.bitmap(v.Rows)
			if err := a.filter.filter(v, w.filters[k]); err != nil {
				return err
			}
		}
	}
	if w.dense() && w.counters.fits(w, v) {
		v.took = "dense counters"
		return w.counters.visit(w, v)
	}
	if err := w.groups.load(v); err != nil {
		return err
	}
	for c := range v.Customers() {
		if !v.member(c) {
			continue
		}
		lo, hi := v.extent(c)
		w.customer++
		if w.sessions {
			w.session++
			if err := v.sessions(c, lo, hi, func(u unit) error {
				w.session++
				return w.rows(v, c, u.lo, u.hi)
			}); err != nil {
				return err
			}
			continue
		}
		if err := w.rows(v, c, lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// rows adds the events of a customer, or of one of its sessions.
func (w *measureWorker) rows(v *view, c, lo, hi int) error {
	during, whole := w.r.plan.During.Set, w.grouping.whole()
	w.place.customer = c
	for i := v.next(lo, hi); i < hi; i = v.next(i+1, hi) {
		if err := v.tick(1); err != nil {
			return err
		}
		var t event.Time
		if during || w.grouping.calendar != nil {
			t = v.Time.At(i)
			if !w.r.inRange(t) {
				continue
			}
		}
		w.place.row, w.place.last = i, i
		id := 0
		if whole {
			w.groups.all()
		} else {
			var err error
			if id, err = w.groups.group(v, &w.place, 0, t); err != nil {
				return err
			}
		}
		if w.counting {
			continue
		}
		if err := w.reach(id); err != nil {
			return err
		}
		accumulators := w.accumulators[id]
		for k := range accumulators {
			if f := w.filters[k]; f != nil && !f.Get(i) {
				continue
			}
			if err := w.count(v, k, &accumulators[k]); err != nil {
				return err
			}
		}
	}
	return v.tick(1) // a customer without a row costs something, too
}

// reach makes the accumulators of all groups up to one.
func (w *measureWorker) reach(id int) error {
	for !w.counting && id >= len(w.accumulators) {
		if err := w.memory.take(int64(len(w.aggregates)) * accumulatorBytes); err != nil {
			return err
		}
		accumulators := make([]accumulator, len(w.aggregates))
		for k, a := range w.aggregates {
			if a.kind == percentile && w.noter != nil {
				x, err := w.noter.note(&w.groups.groups[len(w.accumulators)], false, uint32(k))
				if err != nil {
					return err
				}
				accumulators[k].notes = []*note{x}
			}
		}
		w.accumulators = append(w.accumulators, accumulators)
	}
	return nil
}

// count adds the event at w.place to one accumulator.
func (w *measureWorker) count(v *view, k int, acc *accumulator) error {
	a := w.aggregates[k]
	switch a.kind {
	case countEvents:
		acc.n++
		return nil
	case countCustomers:
		if acc.last != w.customer {
			acc.last = w.customer
			acc.n++
		}
		return nil
	case countSessions:
		if acc.last != w.session {
			acc.last = w.session
			acc.n++
		}
		return nil
	}
	if w.texts[k] != nil {
		code, err := w.texts[k].code(v, &w.place)
		if err != nil {
			return err
		}
		d, err := acc.values(&w.memory)
		if err != nil {
			return err
		}
		return d.words.add(uint64(code), &w.memory)
	}
	var x event.Value
	if a.column >= 0 {
		if column := w.columns[k]; column != nil {
			x = column.At(w.place.row)
		}
	} else {
		var err error
		if x, err = a.arg.value(v, &w.place); err != nil {
			return err
		}
	}
	if x.IsNull() && !(seeded.On("distinct_null") && a.kind == distinctValues) {
		return nil
	}
	acc.n++
	switch a.kind {
	case sumInteger:
		acc.whole.add(x.Int())
	case sumFloat, average:
		if x.Type() == event.IntegerType {
			acc.whole.add(x.Int())
			return nil
		}
		if acc.sum == nil {
			acc.sum = &exactSum{}
		}
		acc.sum.add(x.Float())
	case least:
		if acc.extreme.IsNull() || event.Compare(x, acc.extreme) < 0 {
			acc.extreme = x
		}
	case greatest:
		if acc.extreme.IsNull() || event.Compare(x, acc.extreme) > 0 {
			acc.extreme = x
		}
	case percentile:
		f := x.Float() + 0 // -0 is 0
		if acc.notes != nil {
			acc.notes[0].float(f)
			return nil
		}
		return acc.keep(f, &w.memory)
	case distinctValues:
		d, err := acc.values(&w.memory)
		if err != nil {
			return err
		}
		return d.add(x, &w.memory)
	}
	return nil
}

const (
	accumulatorBytes = 160
	sampleChunk      = 1 << 13
)

// accumulator is one aggregate of one group. Which fields are used depends on
// the aggregate.
type accumulator struct {
	n        int64 // events, customers or sessions; or values that are not null
	last     int64 // the customer or session counted last
	whole    wholeSum
	sum      *exactSum
	extreme  event.Value // min, max
	sample   [][]float64 // percentile: all values, in pieces
	notes    []*note     // percentile: in place of all values, where they do not fit
	distinct *distinct
}

// keep notes a value. Pieces grow with the number of values, up to a size at
// which what is not used does not matter.
func (acc *accumulator) keep(x float64, memory *ration) error {
	last := len(acc.sample) - 1
	if last < 0 || len(acc.sample[last]) == cap(acc.sample[last]) {
		size := min(sampleChunk, max(4, 2*int(acc.n)))
		if err := memory.take(int64(size) * 8); err != nil {
			return err
		}
		acc.sample = append(acc.sample, make([]float64, 0, size))
		last++
	}
	acc.sample[last] = append(acc.sample[last], x)
	return nil
}

// distinctBytes is a set of different values without what is in it.
const distinctBytes = 80

// values is the set of different values, made when the first one comes.
func (acc *accumulator) values(memory *ration) (*distinct, error) {
	if acc.distinct == nil {
		if err := memory.take(distinctBytes); err != nil {
			return nil, err
		}
		acc.distinct = &distinct{}
	}
	return acc.distinct, nil
}

// different is how many different values there are, null not among them.
func (acc *accumulator) different(a *aggregate) int64 {
	d := acc.distinct
	if d == nil {
		return 0
	}
	n := d.words.len() + d.fractions.len()
	if a.texts != nil {
		if null, ok := a.texts.dict.find(event.Null); ok && d.words.has(uint64(null)) && !seeded.On("distinct_null") {
			n--
		}
	}
	return int64(n)
}

// add merges another worker's accumulator of the same aggregate and group.
func (acc *accumulator) add(kind aggregateKind, o *accumulator, memory *ration) error {
	acc.n += o.n
	acc.whole.merge(o.whole)
	if o.sum != nil {
		if acc.sum == nil {
			acc.sum = &exactSum{}
		}
		acc.sum.merge(o.sum)
	}
	if c := event.Compare(o.extreme, acc.extreme); !o.extreme.IsNull() &&
		(acc.extreme.IsNull() || kind == least && c < 0 || kind == greatest && c > 0) {
		acc.extreme = o.extreme
	}
	acc.sample = append(acc.sample, o.sample...)
	acc.notes = append(acc.notes, o.notes...)
	switch {
	case o.distinct == nil:
	case acc.distinct == nil:
		acc.distinct = o.distinct
	default:
		return acc.distinct.merge(o.distinct, memory)
	}
	return nil
}

// value is what the aggregate comes to: 0 for counts over nothing, null for
// the rest.
func (acc *accumulator) value(r *run, a *aggregate) (event.Value, error) {
	switch a.kind {
	case countEvents, countCustomers, countSessions:
		return event.Integer(acc.n), nil
	case distinctValues:
		return event.Integer(acc.different(a)), nil
	}
	if acc.n == 0 {
		return event.Null, nil
	}
	switch a.kind {
	case sumInteger:
		n, ok := acc.whole.int64()
		if !ok {
			return event.Null, overflow(a.plan)
		}
		return event.Integer(n), nil
	case sumFloat:
		return event.Float(acc.total()), nil
	case average:
		return event.Float(acc.total() / float64(acc.n)), nil
	case least, greatest:
		return acc.extreme, nil
	case percentile:
		if r.passes != nil {
			values, err := r.passes.quantiles([]float64{a.plan.Value.Float()}, floatOfKey, acc.notes)
			if values == nil || err != nil {
				return event.Null, err
			}
			return event.Float(values[0]), nil
		}
		q, _ := quantile(a.plan.Value.Float(), acc.sample...)
		return event.Float(q), nil
	}
	return event.Null, nil
}

// total is the sum of values, whole numbers and fractions, rounded once.
func (acc *accumulator) total() float64 {
	if acc.sum == nil {
		return acc.whole.float()
	}
	acc.sum.addWhole(acc.whole)
	acc.whole = wholeSum{}
	return acc.sum.value()
}

func overflow(e *query.ScalarExpr) error {
	return query.Errors{{Code: "integer_overflow", Message: fmt.Sprintf("%s is too large for an integer", e.Text()), Span: e.Span,
		Hint: "divide the values first, or use avg"}}
}

func tooManyRows(r *run, n int) error {
	return &LimitError{Limit: "rows", Value: int64(r.opt.Rows), Reached: int64(n),
		Hint: "add limit or top, break down by something that has fewer values, or choose longer periods"}
}

// groupersOf picks the workers' groupers.
func groupersOf[W any](ws []W, of func(W) *grouper) []*grouper {
	gs := make([]*grouper, len(ws))
	for i, w := range ws {
		gs[i] = of(w)
	}
	return gs
}
