package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// attributeOperator answers `attribute`: it shares conversions, and their
// value, among the labels of the touches before them, by one model or several.
//
// Touches of a conversion are the unit's events since its previous conversion,
// none older than the window. Models of one conversion at a time add up as the
// scan goes; those that look at all journeys (markov) count transitions, and
// are solved at the end (attribute_markov.go).
type attributeOperator struct {
	r           *run
	grouping    *grouping
	labeling    *labeling
	conversions *matcher
	value       scalar // nil: conversions are only counted
	windows     []event.Duration
	models      []query.ModelPlan
	chains      []int64 // the orders of the Markov models, each once
}

// directLabel stands for conversions without a touch.
const directLabel = "(direct)"

func newAttribute(r *run) (operator, error) {
	p := r.plan
	o := &attributeOperator{r: r, windows: p.Windows, models: p.Models}
	var err error
	if o.conversions, err = r.matcher(p.From); err != nil {
		return nil, err
	}
	if p.Value != nil {
		if o.value, err = r.compile(p.Value); err != nil {
			return nil, err
		}
	}
	for _, m := range o.models {
		if m.Name == "markov" && !slices.Contains(o.chains, m.Order) {
			o.chains = append(o.chains, m.Order)
		}
	}
	if len(o.chains) == 0 { // journeys that did not convert need all later events
		r.reach(slices.Max(o.windows), 0)
	}
	if o.labeling, err = r.labeling(); err != nil {
		return nil, err
	}
	o.grouping, err = r.grouping()
	return o, err
}

func (o *attributeOperator) explain(r *run) PlanNode {
	detail := "touches before " + o.conversions.text + " since the one before"
	if len(o.chains) > 0 {
		detail += fmt.Sprintf("; transitions counted, chain solved exactly, up to %d states", chainStatesMax)
	}
	return PlanNode{Operator: "attribute", Detail: detail}
}

// credit is what a group has for one label, by model: conversions and value.
type credit struct {
	conversions, value []exactSum
	equal              []equalShares // of conversions, by model
}

// credits are what one group adds up.
type credits struct {
	labels      map[uint32]*credit
	near        []*credit // those of the first codes again
	direct      int64     // conversions without a touch
	directValue exactSum
	touched     int64 // conversions with touches
	value       exactSum
	chains      []transitionCounts // by attributeOperator.chains
}

func (o *attributeOperator) credits() *credits {
	g := &credits{labels: map[uint32]*credit{}}
	for range o.chains {
		g.chains = append(g.chains, transitionCounts{})
	}
	return g
}

// attributeWorker shares out one worker's conversions.
type attributeWorker struct {
	*attributeOperator
	labels  *labeler
	groups  *grouper
	periods periods
	credits []*credits
	memory  ration
	place   place

	near     *nearChain   // of the only group; nil: there may be more
	found    tile.Bitmap  // the conversions of the tile at hand
	codes    []uint32     // of the touches at hand, oldest first
	times    []event.Time // of the same, if some model looks at them
	timed    bool
	own      []uint32 // scratch of codes
	weights  []float64
	distinct []uint32
}

// creditBytes is about what a label takes in a group, beside its sums.
const creditBytes = 96

func (o *attributeOperator) worker() *attributeWorker {
	w := &attributeWorker{attributeOperator: o, labels: o.labeling.worker(), groups: o.grouping.worker(), memory: ration{budget: o.r.memory}}
	w.periods = periods{calendar: o.grouping.calendar, max: o.r.opt.Rows}
	w.timed = slices.ContainsFunc(o.models, func(m query.ModelPlan) bool { return m.Name == "decay" })
	if o.grouping.whole() && slices.Contains(o.chains, 1) && !o.r.opt.General {
		w.near = &nearChain{}
	}
	return w
}

func (w *attributeWorker) visit(v *view) error {
	if !w.r.opt.General {
		v.took = "dense credits"
	}
	w.found = v.bitmap(v.Rows)
	if err := w.conversions.rows(v, w.found); err != nil {
		return err
	}
	if err := w.labels.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error { return w.unit(v, u) })
}

func (w *attributeWorker) unit(v *view, u unit) error {
	first := u.lo // of what came after the previous conversion
	for row := w.found.Next(u.lo, u.hi); row < u.hi; row = w.found.Next(row+1, u.hi) {
		if w.r.inRange(v.Time.At(row)) {
			for window := range w.windows {
				if err := w.conversion(v, u, first, row, window); err != nil {
					return err
				}
			}
		}
		if err := v.tick(row + 1 - first); err != nil {
			return err
		}
		if first = row + 1; seeded.On("touches_taken_twice") {
			first = u.lo
		}
	}
	if len(w.chains) == 0 || seeded.On("only_conversions_lead") {
		return nil
	}
	return w.unconverted(v, u, first)
}

// conversion shares out the conversion at row, whose touches are not before first.
func (w *attributeWorker) conversion(v *view, u unit, first, row, window int) error {
	t := v.Time.At(row)
	g, err := w.group(v, u, row, window, true)
	if err != nil {
		return err
	}
	value := 0.0
	if w.value != nil {
		x, err := w.value.value(v, &w.place)
		if err != nil {
			return err
		}
		value = number64(x)
	}
	if err := w.touches(v, u, v.since(first, row, t.Add(-w.windows[window])), row); err != nil {
		return err
	}
	if len(w.codes) == 0 {
		g.direct++
		if w.value != nil {
			g.directValue.add(value)
		}
		return nil
	}
	g.touched++
	if w.value != nil {
		g.value.add(value)
	}
	if err := w.see(g); err != nil {
		return err
	}
	for i := range w.models {
		w.share(g, i, value)
	}
	return w.follow(g, true)
}

// group is the group of an anchor. Journeys without conversion have none: their
// last event stands for it, and is not counted.
func (w *attributeWorker) group(v *view, u unit, row, window int, anchor bool) (*credits, error) {
	w.place.row, w.place.customer, w.place.last = row, u.customer, row
	id, err := w.groups.group(v, &w.place, window, v.Time.At(row))
	if err != nil {
		return nil, err
	}
	if !anchor {
		w.groups.groups[id].anchors--
	}
	for id >= len(w.credits) {
		w.credits = append(w.credits, w.attributeOperator.credits())
	}
	return w.credits[id], nil
}

// touches reads the labels and times of the rows [from, until).
func (w *attributeWorker) touches(v *view, u unit, from, until int) error {
	if v.rows == nil && w.labels.loaded != nil && !w.timed {
		w.codes = w.labels.loaded[from:max(from, until)]
		return nil
	}
	w.codes, w.times = w.own[:0], w.times[:0]
	for row := v.next(from, until); row < until; row = v.next(row+1, until) {
		code, err := w.labels.code(v, u.customer, row)
		if err != nil {
			return err
		}
		w.codes = append(w.codes, code)
		if w.timed {
			w.times = append(w.times, v.Time.At(row))
		}
	}
	w.own = w.codes
	return nil
}

// share gives the labels of the touches at hand their part by one model. What
// markov gives is known at the end.
func (w *attributeWorker) share(g *credits, model int, value float64) {
	codes := w.codes
	n := len(codes)
	switch m := &w.models[model]; m.Name {
	case "first":
		w.give(g, codes[:1], nil, model, value)
	case "last":
		w.give(g, codes[n-1:], nil, model, value)
	case "linear":
		w.give(g, codes, nil, model, value)
	case "position":
		w.give(g, codes, w.positions(n), model, value)
	case "decay":
		w.give(g, codes, w.decays(m.HalfLife), model, value)
	case "shapley":
		// The worth of a set of labels is the number of conversions whose labels
		// all lie in it: a sum of games, one a conversion, in each of which all
		// labels are alike and the others add nothing. So the Shapley value is
		// the sum of equal shares, and no set needs to be looked at.
		w.distinct = append(w.distinct[:0], codes...)
		slices.Sort(w.distinct)
		if !seeded.On("shapley_counts_repeats") {
			w.distinct = slices.Compact(w.distinct)
		}
		w.give(g, w.distinct, nil, model, value)
	}
}

// see makes sure that the labels of the touches at hand have rows, whatever
// they are given.
func (w *attributeWorker) see(g *credits) error {
	for _, code := range w.codes {
		if g.credit(code) != nil {
			continue
		}
		n := len(w.models)
		if err := w.memory.take(creditBytes + (96+8*(equalTouches+1))*int64(n)); err != nil {
			return err
		}
		g.addLabel(code, &credit{conversions: make([]exactSum, n), value: make([]exactSum, n), equal: make([]equalShares, n)})
	}
	return nil
}

// give adds weights, which are made to add up to 1, to labels; nil are equal
// ones.
func (w *attributeWorker) give(g *credits, codes []uint32, weights []float64, model int, value float64) {
	all := float64(len(codes))
	counted := weights == nil && len(codes) <= equalTouches && !w.r.opt.General
	if weights != nil {
		all = 0
		for _, x := range weights {
			all += x
		}
	}
	for i, code := range codes {
		c := g.credit(code)
		part := 1 / all
		if weights != nil {
			part = weights[i] / all
		}
		if counted {
			c.equal[model][len(codes)]++
		} else {
			c.conversions[model].add(part)
		}
		if w.value != nil {
			c.value[model].add(part * value)
		}
	}
}

// positions are 40, 20 and 40 per cent for the first touch, those between and
// the last.
func (w *attributeWorker) positions(n int) []float64 {
	w.weights = slices.Grow(w.weights[:0], n)[:n]
	if n <= 2 {
		for i := range w.weights {
			w.weights[i] = 1
		}
		return w.weights
	}
	for i := range w.weights {
		w.weights[i] = 0.2 / float64(n-2)
	}
	w.weights[0], w.weights[n-1] = 0.4, 0.4
	return w.weights
}

// decays halve with each half-life. They are relative to the newest touch, so
// that they do not all vanish where all touches are old.
func (w *attributeWorker) decays(halfLife event.Duration) []float64 {
	n := len(w.times)
	if seeded.On("decay_turned_round") {
		halfLife = -halfLife
	}
	w.weights = slices.Grow(w.weights[:0], n)[:n]
	for i, t := range w.times {
		w.weights[i] = math.Exp2(-float64(w.times[n-1].Sub(t)) / float64(halfLife))
	}
	return w.weights
}

// unconverted counts the unit's journey that led to no conversion: its events
// from row first on, in the range; with every, in each period.
func (w *attributeWorker) unconverted(v *view, u unit, first int) error {
	last := u.hi
	if d := &w.r.plan.During; d.Set {
		first, last = v.since(first, u.hi, d.From), v.since(first, u.hi, d.To)
	}
	for row := v.next(first, last); row < last; row = v.next(first, last) {
		until := last
		if w.grouping.calendar != nil {
			_, end, err := w.periods.bounds(v.Time.At(row))
			if err != nil {
				return err
			}
			until = v.since(row, last, end)
		}
		if err := w.touches(v, u, row, until); err != nil {
			return err
		}
		for window := range w.windows {
			g, err := w.group(v, u, v.last(row, until), window, false)
			if err != nil {
				return err
			}
			// Such a label may be given something, so it has a row.
			if err := w.see(g); err != nil {
				return err
			}
			if err := w.follow(g, false); err != nil {
				return err
			}
		}
		if err := v.tick(until - row); err != nil {
			return err
		}
		first = until
	}
	return nil
}

// follow counts the transitions of the journey at hand.
func (w *attributeWorker) follow(g *credits, converted bool) error {
	for i, order := range w.chains {
		if order == 1 && w.near != nil && w.near.add(w.codes, converted) {
			continue
		}
		if err := g.chains[i].add(w.codes, order, converted, &w.memory); err != nil {
			return err
		}
	}
	return nil
}

// number64 is a number as a float; null is 0.
func number64(x event.Value) float64 {
	switch x.Type() {
	case event.IntegerType:
		return float64(x.Int())
	case event.FloatType:
		return x.Float()
	}
	return 0
}

func (o *attributeOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*attributeWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *attributeWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	all := make([]*credits, m.len())
	for i, w := range ws {
		if err := w.settle(); err != nil {
			return nil, err
		}
		for id, g := range w.credits {
			at := m.of(i, id)
			if all[at] == nil {
				all[at] = g
			} else {
				all[at].merge(g)
			}
		}
	}
	res := &Result{Columns: append(o.grouping.columns(), Column{"label", String}), weight: "conversions_" + o.models[0].Column}
	for _, model := range o.models {
		res.Columns = append(res.Columns, Column{"conversions_" + model.Column, Number})
	}
	if o.value != nil {
		for _, model := range o.models {
			res.Columns = append(res.Columns, Column{"value_" + model.Column, Number})
		}
	}
	for i, g := range all {
		if g == nil || m.list[i].anchors == 0 {
			continue
		}
		rows, err := o.rows(g)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			cells := append(append(m.cells(i), row.label), row.conversions...)
			if o.value != nil {
				cells = append(cells, row.value...)
			}
			if err := r.add(res, cells); err != nil {
				return nil, err
			}
		}
	}
	res.Meta.Unit = "conversions"
	res.Meta.Denominator = "each conversion is shared among the labels of its touches: every column adds up to all conversions, or their value"
	res.Meta.Cut = m.cut
	return res, nil
}

func (g *credits) merge(o *credits) {
	for code, from := range o.labels {
		to := g.labels[code]
		if to == nil {
			g.labels[code] = from
			continue
		}
		for i := range from.conversions {
			to.conversions[i].merge(&from.conversions[i])
			to.value[i].merge(&from.value[i])
		}
	}
	g.direct += o.direct
	g.directValue.merge(&o.directValue)
	g.touched += o.touched
	g.value.merge(&o.value)
	for i := range o.chains {
		g.chains[i].merge(o.chains[i])
	}
}

// attributeRow is one label's row: for each model conversions and value.
type attributeRow struct {
	label              string
	conversions, value []Cell
}

// rows are those of one group: most conversions by the first model first,
// equal ones by label. What differs only by rounding is equal.
func (o *attributeOperator) rows(g *credits) ([]attributeRow, error) {
	effects := make([]map[uint32]float64, len(o.chains))
	for i, order := range o.chains {
		var err error
		if effects[i], err = o.removalEffects(g.chains[i], order); err != nil {
			return nil, err
		}
	}
	var rows []attributeRow
	for code, c := range g.labels {
		row := attributeRow{label: o.labeling.text(code)}
		for i, model := range o.models {
			conversions, value := c.conversions[i].value(), c.value[i].value()
			if model.Name == "markov" {
				part := effects[slices.Index(o.chains, model.Order)][code]
				conversions, value = part*float64(g.touched), part*g.value.value()
			}
			row.add(conversions, value)
		}
		rows = append(rows, row)
	}
	if g.direct > 0 {
		row := attributeRow{label: directLabel}
		for range o.models {
			row.add(float64(g.direct), g.directValue.value())
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b attributeRow) int {
		return cmp.Or(cmp.Compare(rounded(b.conversions[0]), rounded(a.conversions[0])), strings.Compare(a.label, b.label))
	})
	return rows, nil
}

func (row *attributeRow) add(conversions, value float64) {
	row.conversions, row.value = append(row.conversions, conversions), append(row.value, value)
}

func rounded(c Cell) float64 { return math.Round(c.(float64)*1e6) / 1e6 }
