package engine

import (
	"fmt"
	"slices"
	"strings"

	"wend/event"
)

// journeyOperator answers `journey of`: one customer's events in order, found
// by any identity that was linked to it. A customer that the store does not
// know is no error, for a name is a value: the answer is empty and says so.
type journeyOperator struct{}

func newJourney(r *run) (operator, error) {
	r.needNames()
	r.needChannel()
	for i := range r.schema.Properties {
		r.needProperty(i)
	}
	return &journeyOperator{}, nil
}

func (o *journeyOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "journey", Detail: fmt.Sprintf("of %q, found by identity", r.plan.Customer)}
}

func (o *journeyOperator) run(r *run) (*Result, error) {
	res := &Result{Columns: []Column{{"time", Time}, {"event", String}, {"channel", String}, {"properties", Object}}}
	res.Meta.Unit = "events"
	v, c, err := r.locate()
	if v == nil || err != nil {
		return res, err
	}
	lo, hi := v.extent(c)
	r.stats.customers.Add(1)
	r.stats.events.Add(int64(hi - lo))
	var found int64
	for i := v.next(lo, hi); i < hi; i = v.next(i+1, hi) {
		t := v.Time.At(i)
		if !r.inRange(t) {
			continue
		}
		if found++; r.plan.Limit > 0 && found > r.plan.Limit {
			continue
		}
		if found > int64(r.opt.Rows) && r.plan.Limit == 0 {
			return nil, &LimitError{Limit: "rows", Value: int64(r.opt.Rows), Reached: found,
				Hint: "add limit, or shorten the journey with during or where"}
		}
		if err := r.add(res, []Cell{t, r.schema.Events[v.Event.At(i)].Text, v.channelCell(i), v.properties(i)}); err != nil {
			return nil, err
		}
		if err := v.tick(1); err != nil {
			return nil, err
		}
	}
	if kept := int64(len(res.Rows)); kept < found {
		res.Meta.Cut = &Cut{Kept: kept, Of: found, Share: share(kept, found)}
	}
	return res, nil
}

// locate finds the plan's customer, by any of its identities, and prepares its
// tile; v is nil if the store does not know it.
func (r *run) locate() (v *view, c int, err error) {
	index, c, canonical, ok, err := r.snap.Locate(r.ctx, r.plan.Customer)
	if err != nil {
		return nil, 0, fmt.Errorf("find customer %q: %w", r.plan.Customer, err)
	}
	if !ok {
		r.warn(fmt.Sprintf("no customer %q", r.plan.Customer))
		return nil, 0, nil
	}
	if canonical != r.plan.Customer {
		r.warn(fmt.Sprintf("%q is linked to customer %q", r.plan.Customer, canonical))
	}
	v = &view{run: r, ctx: r.ctx, turn: r.turn, index: index}
	if v.Tile, err = v.read(index); err != nil {
		return nil, 0, err
	}
	return v, c, v.prepare()
}

// channelCell is the channel of a row, null if it has none.
func (v *view) channelCell(row int) Cell {
	if code := v.Channel.At(row); code != 0 {
		return v.run.schema.Channels[code].Text
	}
	return nil
}

// properties are those of a row that are not null, by name.
func (v *view) properties(row int) []event.Prop {
	props := []event.Prop{}
	for i, p := range v.run.schema.Properties {
		if x := v.column(i).At(row); !x.IsNull() {
			props = append(props, event.Prop{Name: p.Name, Value: x})
		}
	}
	sortProps(props)
	return props
}

func sortProps(props []event.Prop) {
	slices.SortFunc(props, func(a, b event.Prop) int { return strings.Compare(a.Name, b.Name) })
}
