package engine

import (
	"fmt"

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
	case "and", "or", "not":
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
	clear(dst)
	switch c.kind {
	case "did":
		return c.did(v, dst)
	case "reached", "stopped":
		return c.reached(v, dst)
	case "property":
		return c.property(v, dst)
	}
	for i, a := range c.args {
		if i == 0 {
			if err := a.members(v, dst); err != nil {
				return err
			}
			continue
		}
		mark := len(v.used)
		other := v.bitmap(v.Customers())
		if err := a.members(v, other); err != nil {
			return err
		}
		if c.kind == "and" {
			dst.And(other)
		} else {
			dst.Or(other)
		}
		v.giveBack(mark)
	}
	if c.kind == "not" {
		for i := range dst {
			dst[i] = ^dst[i]
		}
		if n := v.Customers(); n&63 != 0 {
			dst[len(dst)-1] &= 1<<(n&63) - 1
		}
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
			if t := v.Time.At(row); !c.during.Set || t >= c.during.From && t < c.during.To {
				n++
			}
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
	steps := len(c.sub.matches)
	tracker := c.sub.worker(func(_ *view, a *attempt) error {
		if c.kind == "reached" && a.level >= c.step || c.kind == "stopped" && a.level == c.step && a.level < steps && !a.open {
			dst.Set(a.customer)
		}
		return nil
	})
	own := &view{Tile: v.Tile, run: c.sub.run, ctx: v.ctx, index: v.index}
	if err := own.prepare(); err != nil {
		return err
	}
	return tracker.visit(own)
}

func (c *cohort) property(v *view, dst tile.Bitmap) error {
	for customer := range v.Customers() {
		lo, hi := v.extent(customer)
		if lo == hi && v.run.plan.HasEnd {
			continue // who came after the end does not exist
		}
		x, err := c.test.value(v, &place{row: hi - 1, customer: customer, last: hi - 1})
		if err != nil {
			return err
		}
		if !x.IsNull() && x.Bool() {
			dst.Set(customer)
		}
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// cohortMemo keeps the members of the segments that expressions ask for, for
// the tile at hand.
type cohortMemo struct {
	tile    *tile.Tile
	members map[*cohort]tile.Bitmap
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

