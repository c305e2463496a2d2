package engine

import (
	"fmt"

	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// cohort is a compiled condition on customers. It looks at all of a customer's
// events up to the end of data, whatever the statement leaves out.
type cohort struct {
	kind     string
	args     []*cohort
	match    *matcher // did
	min, max int64    // did; max negative: no limit
	during   query.Interval
	sub      *pattern // reached, stopped: a funnel with a run of its own
	step     int
	test     *expr // property
}

// cohort compiles a cohort and asks for the columns it reads.
func (r *run) cohort(plan *query.CohortPlan) (*cohort, error) {
	c := &cohort{kind: plan.Kind, min: plan.Min, max: plan.Max, during: plan.During, step: plan.Step}
	for _, a := range plan.Args {
		arg, err := r.cohort(a)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
	}
	var err error
	switch plan.Kind {
	case "and", "or", "not", "segment":
	case "did":
		c.match, err = r.matcher(plan.Match)
	case "reached", "stopped":
		c.sub, err = r.subPattern(plan.Sub)
	case "property":
		c.test, err = r.expr(plan.Test)
	default:
		err = fmt.Errorf("engine: no cohort of kind %q", plan.Kind)
	}
	return c, err
}

// subPattern compiles the funnel of a cohort. It has its own where, range and
// options, but the data ends for it where it ends for the statement.
func (r *run) subPattern(plan *query.Plan) (*pattern, error) {
	own := *plan
	own.End, own.HasEnd = r.plan.End, r.plan.HasEnd
	own.Every, own.By = "", nil
	own.Windows = own.Windows[:1]
	own.Count = "customers"
	sub := &run{ctx: r.ctx, plan: &own, snap: r.snap, schema: r.schema, opt: r.opt, memory: r.memory, end: r.end}
	var err error
	if own.Where != nil {
		if sub.where, err = sub.compile(own.Where); err != nil {
			return nil, err
		}
	}
	if own.Among != nil {
		if sub.among, err = sub.cohort(own.Among); err != nil {
			return nil, err
		}
	}
	p, err := sub.pattern()
	if err != nil {
		return nil, err
	}
	r.need.Channel = r.need.Channel || sub.need.Channel
	r.need.Names = r.need.Names || sub.need.Names
	r.need.IDs = r.need.IDs || sub.need.IDs
	for _, i := range sub.need.Properties {
		r.needProperty(i)
	}
	return p, nil
}

// members sets dst to the customers of the tile that are in the cohort; it
// looks at all events up to the end of data, whatever v.rows says.
func (c *cohort) members(v *view, dst tile.Bitmap) error {
	mark := len(v.used)
	defer v.giveBack(mark)
	clear(dst)
	return c.truth(v, dst, v.bitmap(v.Customers()))
}

// truth sets yes to the customers who are in the cohort, and unknown to those
// of whom nobody can tell, as a property that it asks for is null: they are
// not in its negation either. Both come empty.
func (c *cohort) truth(v *view, yes, unknown tile.Bitmap) error {
	switch c.kind {
	case "did":
		return c.did(v, yes)
	case "reached", "stopped":
		return c.reached(v, yes)
	case "property":
		return c.property(v, yes, unknown)
	case "segment":
		return c.args[0].members(v, yes)
	case "not":
		no := v.bitmap(v.Customers())
		if err := c.args[0].truth(v, no, unknown); err != nil {
			return err
		}
		yes.Fill(v.Customers())
		yes.AndNot(no)
		yes.AndNot(unknown)
		return nil
	}
	if c.kind == "and" {
		yes.Fill(v.Customers())
	}
	mark := len(v.used)
	for _, a := range c.args {
		one, open := v.bitmap(v.Customers()), v.bitmap(v.Customers())
		if err := a.truth(v, one, open); err != nil {
			return err
		}
		// and: what is not false so far and not false now is true or unknown;
		// or: what is not true so far and not true now is false or unknown.
		for i := range yes {
			if c.kind == "and" {
				possible := (yes[i] | unknown[i]) & (one[i] | open[i])
				yes[i] &= one[i]
				unknown[i] = possible &^ yes[i]
			} else {
				yes[i] |= one[i]
				unknown[i] = (unknown[i] | open[i]) &^ yes[i]
			}
		}
		v.giveBack(mark)
	}
	return nil
}

// did counts each customer's events that fulfil the condition.
func (c *cohort) did(v *view, dst tile.Bitmap) error {
	mark := len(v.used)
	defer v.giveBack(mark)
	rows := v.bitmap(v.Rows)
	if err := c.match.rowsAmong(v, v.untilEndRows(), rows); err != nil {
		return err
	}
	for customer := range v.Customers() {
		lo, hi := v.Range(customer)
		n := int64(0)
		for row := rows.Next(lo, hi); row < hi; row = rows.Next(row+1, hi) {
			if err := v.tick(1); err != nil {
				return err
			}
			if t := v.Time.At(row); !c.during.Set || t >= c.during.From && t < c.during.To {
				n++
			}
		}
		if seeded.On("cohort_never_did") && n == 0 {
			continue
		}
		if n >= c.min && (c.max < 0 || n <= c.max) {
			dst.Set(customer)
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

// untilEndRows are the rows up to the end of data, nil if that is all.
func (v *view) untilEndRows() tile.Bitmap {
	if !v.run.plan.HasEnd {
		return nil
	}
	rows := v.bitmap(v.Rows)
	v.untilEnd(rows)
	return rows
}

// reached finds customers by how far they got in a funnel.
func (c *cohort) reached(v *view, dst tile.Bitmap) error {
	s := v.subView(c)
	steps := len(c.sub.matches)
	s.tracker.emit = func(_ *view, a *attempt) error {
		if c.kind == "reached" && a.level >= c.step && !(seeded.On("cohort_reached_exact") && a.level > c.step) || c.kind == "stopped" && a.level == c.step && a.level < steps && !a.open {
			dst.Set(a.customer)
		}
		return nil
	}
	own := s.view
	own.Tile, own.index, own.rows, own.members = v.Tile, v.index, nil, nil
	own.giveBack(0)
	if err := own.prepare(); err != nil {
		return err
	}
	return s.tracker.visit(own)
}

func (c *cohort) property(v *view, yes, unknown tile.Bitmap) error {
	for customer := range v.Customers() {
		lo, hi := v.extent(customer)
		if lo == hi && v.run.plan.HasEnd {
			continue // who came after the end does not exist
		}
		x, err := c.test.value(v, &place{row: hi - 1, customer: customer, last: hi - 1})
		if err != nil {
			return err
		}
		verdictOf(x).set(customer, yes, unknown)
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// cohortMemo is what a worker keeps of cohorts: the members of the segments
// that expressions ask for, for the tile at hand, and the funnels it runs.
type cohortMemo struct {
	tile    *tile.Tile
	members map[*cohort]tile.Bitmap
	subs    map[*cohort]*subView
}

// subView is the tile at hand as the funnel of a cohort sees it.
type subView struct {
	view    *view
	tracker *tracker
}

func (v *view) subView(c *cohort) *subView {
	s := v.cohorts.subs[c]
	if s == nil {
		if v.cohorts.subs == nil {
			v.cohorts.subs = map[*cohort]*subView{}
		}
		s = &subView{view: &view{run: c.sub.run, ctx: v.ctx, turn: v.turn}, tracker: c.sub.worker(nil)}
		v.cohorts.subs[c] = s
	}
	return s
}

// membersOf returns the customers of the tile that are in a cohort.
func (v *view) membersOf(c *cohort) (tile.Bitmap, error) {
	memo := &v.cohorts
	if memo.tile != v.Tile {
		memo.tile, memo.members = v.Tile, map[*cohort]tile.Bitmap{}
	}
	if known, ok := memo.members[c]; ok {
		return known, nil
	}
	members := tile.NewBitmap(v.Customers())
	if err := c.members(v, members); err != nil {
		return nil, err
	}
	memo.members[c] = members
	return members, nil
}
