package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// affinityOperator answers `affinity of`: which values occur together in
// baskets. A basket is a customer, a session, or all events that share a value
// of a property, whoever's they are; it holds a value once.
//
// Only counts are kept: of values, and of pairs of them. The baskets of a
// property are the exception, for they may lie anywhere in the store: their
// values are kept until all events were seen.
type affinityOperator struct {
	r       *run
	alt     *matcher
	values  *coding
	baskets *coding // nil: customers or sessions
}

func newAffinity(r *run) (operator, error) {
	o := &affinityOperator{r: r}
	r.ordered = false
	var err error
	if o.alt, err = r.matcher(r.plan.From); err != nil {
		return nil, err
	}
	const hint = "look at something that has fewer values, or leave events out with where"
	if o.values, err = r.coding(r.plan.Of[0], r.dictionary("labels", hint)); err != nil {
		return nil, err
	}
	if r.plan.Per != "" {
		d := r.dictionary("baskets", hint)
		d.limit = int(^uint32(0) - 1) // its memory is what bounds it
		if o.baskets, err = r.coding(r.property(r.plan.Per), d); err != nil {
			return nil, err
		}
	}
	r.reach(0, 0)
	return o, nil
}

func (o *affinityOperator) explain(r *run) PlanNode {
	per := "customer"
	switch {
	case r.plan.Per != "":
		per = r.plan.Per
	case r.plan.Unit.Session:
		per = "session"
	}
	return PlanNode{Operator: "affinity", Detail: fmt.Sprintf("pairs of %s in %s, counted by code; a basket per %s", r.plan.Of[0].Text(), o.alt.text, per)}
}

// valuePair is two codes of values, the lower one first.
type valuePair struct{ low, high uint32 }

// basketValue says that a basket of a property holds a value.
type basketValue struct{ basket, value uint32 }

// What a pair and a basket's value take in a table, about.
const (
	valuePairBytes   = 48
	basketValueBytes = 32
)

// affinityWorker counts one worker's baskets.
type affinityWorker struct {
	*affinityOperator
	coder  *coder
	basket *coder // nil as baskets
	counts affinityCounts
	holds  map[basketValue]struct{}
	codes  []uint32 // of the basket at hand
	nulls  []bool   // by code of a value
	rows   tile.Bitmap
	place  place
}

// affinityCounts are numbers of baskets: all of them, by value, by pair.
type affinityCounts struct {
	run     *run
	baskets int64
	values  []int64
	pairs   map[valuePair]int64
	memory  ration
}

func (r *run) affinityCounts() affinityCounts {
	return affinityCounts{run: r, pairs: map[valuePair]int64{}, memory: ration{budget: r.memory}}
}

// add counts a basket with the given values, each once. It puts them in order.
func (c *affinityCounts) add(v *view, codes []uint32) error {
	c.baskets++
	slices.Sort(codes)
	if n := int(codes[len(codes)-1]) + 1 - len(c.values); n > 0 {
		if err := c.memory.take(8 * int64(n)); err != nil {
			return err
		}
		c.values = append(c.values, make([]int64, n)...)
	}
	for i, low := range codes {
		c.values[low]++
		for _, high := range codes[i+1:] {
			if err := c.pair(valuePair{low, high}, 1); err != nil {
				return err
			}
		}
		if err := v.tick(len(codes) - i); err != nil {
			return err
		}
	}
	return nil
}

func (c *affinityCounts) pair(p valuePair, n int64) error {
	before := len(c.pairs)
	if c.pairs[p] += n; len(c.pairs) == before {
		return nil
	}
	if len(c.pairs) > c.run.opt.Groups {
		return &LimitError{Limit: "groups", Value: int64(c.run.opt.Groups), Reached: int64(len(c.pairs)),
			Hint: "each pair is one: look at something that has fewer values, at smaller baskets, or leave events out with where"}
	}
	return c.memory.take(valuePairBytes)
}

// merge adds what another worker counted.
func (c *affinityCounts) merge(o *affinityCounts) error {
	c.baskets += o.baskets
	if n := len(o.values) - len(c.values); n > 0 {
		c.values = append(c.values, make([]int64, n)...)
	}
	for code, n := range o.values {
		c.values[code] += n
	}
	for p, n := range o.pairs {
		if err := c.pair(p, n); err != nil {
			return err
		}
	}
	return nil
}

func (o *affinityOperator) worker() *affinityWorker {
	w := &affinityWorker{affinityOperator: o, coder: o.values.worker(), counts: o.r.affinityCounts()}
	if o.baskets != nil {
		w.basket, w.holds = o.baskets.worker(), map[basketValue]struct{}{}
	}
	return w
}

func (w *affinityWorker) visit(v *view) error {
	w.rows = v.bitmap(v.Rows)
	if err := w.alt.rows(v, w.rows); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		if d := &w.r.plan.During; d.Set {
			u.lo = v.since(u.lo, u.hi, d.From)
			u.hi = v.since(u.lo, u.hi, d.To)
		}
		return w.unit(v, u)
	})
}

// unit reads the values of a customer or a session.
func (w *affinityWorker) unit(v *view, u unit) error {
	w.codes = w.codes[:0]
	for row := w.rows.Next(u.lo, u.hi); row < u.hi; row = w.rows.Next(row+1, u.hi) {
		if err := v.tick(1); err != nil {
			return err
		}
		w.place.row, w.place.customer, w.place.last = row, u.customer, row
		code, err := w.coder.code(v, &w.place)
		if err != nil {
			return err
		}
		if w.null(code) {
			continue
		}
		if w.basket == nil {
			w.codes = append(w.codes, code)
			continue
		}
		basket, err := w.basket.code(v, &w.place)
		if err != nil {
			return err
		}
		if err := w.hold(basketValue{basket, code}); err != nil {
			return err
		}
	}
	if len(w.codes) == 0 {
		if seeded.On("empty_baskets_count") {
			w.counts.baskets++
		}
		return nil
	}
	slices.Sort(w.codes)
	if seeded.On("baskets_are_bags") {
		return w.counts.add(v, w.codes)
	}
	return w.counts.add(v, slices.Compact(w.codes))
}

// null reports whether a code is that of no value, without asking the shared
// dictionary about each event.
func (w *affinityWorker) null(code uint32) bool {
	for n := len(w.nulls); n <= int(code); n++ {
		w.nulls = append(w.nulls, w.coder.dict.value(uint32(n)).IsNull())
	}
	return w.nulls[code]
}

// hold keeps a value of a basket of a property.
func (w *affinityWorker) hold(x basketValue) error {
	before := len(w.holds)
	if w.holds[x] = struct{}{}; len(w.holds) == before {
		return nil
	}
	return w.counts.memory.take(basketValueBytes)
}

func (o *affinityOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*affinityWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	total := r.affinityCounts()
	for _, w := range ws {
		if err := total.merge(&w.counts); err != nil {
			return nil, err
		}
		w.counts.pairs = nil
	}
	if o.baskets != nil {
		if err := o.countBaskets(r, ws, &total); err != nil {
			return nil, err
		}
	}
	return o.result(r, &total)
}

// countBaskets joins the baskets of a property that the workers found parts of.
func (o *affinityOperator) countBaskets(r *run, ws []*affinityWorker, total *affinityCounts) error {
	var all []basketValue
	for _, w := range ws {
		if err := r.memory.reserve(8 * int64(len(w.holds))); err != nil {
			return err
		}
		for x := range w.holds {
			if !o.baskets.dict.values[x.basket].IsNull() {
				all = append(all, x)
			}
		}
		w.holds = nil
	}
	slices.SortFunc(all, func(a, b basketValue) int {
		return cmp.Or(cmp.Compare(a.basket, b.basket), cmp.Compare(a.value, b.value))
	})
	v := &view{run: r, ctx: r.ctx, turn: r.turn}
	var codes []uint32
	for i := 0; i < len(all); {
		codes = codes[:0]
		basket := all[i].basket
		for ; i < len(all) && all[i].basket == basket; i++ {
			codes = append(codes, all[i].value)
		}
		if err := total.add(v, slices.Compact(codes)); err != nil {
			return err
		}
	}
	return nil
}

func (o *affinityOperator) result(r *run, total *affinityCounts) (*Result, error) {
	values := o.values.dict.values
	type row struct {
		left, right uint32
		together    int64
	}
	if err := r.memory.reserve(32 * int64(len(total.pairs))); err != nil {
		return nil, err
	}
	rows := make([]row, 0, 2*len(total.pairs))
	var all int64
	for p, n := range total.pairs {
		rows = append(rows, row{p.low, p.high, n}, row{p.high, p.low, n})
		all += 2 * n
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.together, a.together), compareNullsLast(values[a.left], values[b.left]), compareNullsLast(values[a.right], values[b.right]))
	})
	typ := columnType(r.plan.Of[0].Type)
	res := &Result{Columns: []Column{{"left", typ}, {"right", typ}, {"together", Integer}, {"support", Share}, {"confidence", Share}, {"lift", Number}}, weight: "together"}
	shown := rows
	if top := r.plan.Top; top > 0 && int64(len(rows)) > top {
		shown = rows[:top]
		var kept int64
		for _, x := range shown {
			kept += x.together
		}
		res.Meta.Cut = &Cut{Kept: top, Of: int64(len(rows)), Share: share(kept, all)}
	}
	for _, x := range shown {
		left, right := total.values[x.left], total.values[x.right]
		if err := r.add(res, []Cell{cell(values[x.left]), cell(values[x.right]), x.together, ratio(x.together, total.baskets), ratio(x.together, left),
			float64(x.together) * float64(total.baskets) / (float64(left) * float64(right))}); err != nil {
			return nil, err
		}
	}
	if r.plan.Per != "" {
		res.Meta.Unit = "baskets"
	}
	res.Meta.Denominator = fmt.Sprintf("support: the %d baskets with a value; confidence: those with left", total.baskets)
	return res, nil
}

// property is the expression that reads a property of an event.
func (r *run) property(name string) *query.ScalarExpr {
	e := &query.ScalarExpr{Op: "field", Field: name, Property: true}
	if i, ok := r.schema.Property(name); ok {
		e.Type = r.schema.Properties[i].Type
	}
	return e
}
