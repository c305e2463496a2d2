package reference

import (
	"slices"
	"strings"

	"wend/event"
	"wend/query"
)

// measure evaluates its outputs over the events of each period and group.
func (ev *evaluator) measure(q *query.Query, s *settings) *Answer {
	var columns []string
	for _, o := range q.Outputs {
		name := o.Expr.String()
		if o.As != nil {
			name = o.As.Text
		}
		columns = append(columns, name)
	}
	t := ev.newTable(s, false, columns...)
	var facts []*fact
	for _, u := range ev.units(s) {
		for _, f := range u.events {
			if !s.during.has(f.Time) {
				continue
			}
			period := event.Time(0)
			if s.every != "" {
				period = ev.period(f.Time, s.every).from
			}
			facts = append(facts, f)
			t.add(0, period, &scope{at: f})
		}
	}
	return t.finish(true, func(members []int) [][]any {
		sc := &scope{grouped: true, unit: s}
		for _, i := range members {
			sc.rows = append(sc.rows, facts[i])
		}
		var row []any
		for _, o := range q.Outputs {
			row = append(row, cell(ev.value(o.Expr, sc)))
		}
		return [][]any{row}
	})
}

// journey lists the events of one customer, found by any of its identities.
func (ev *evaluator) journey(q *query.Query, s *settings) *Answer {
	t := ev.newTable(s, false, "time", "event", "channel", "properties")
	for _, u := range ev.units(s) {
		if u.customer.name != ev.canonical(q.Customer.Text) {
			continue
		}
		for _, f := range u.events {
			if !s.during.has(f.Time) {
				continue
			}
			props := slices.DeleteFunc(slices.Clone(f.Props), func(p event.Prop) bool { return p.Value.IsNull() })
			slices.SortFunc(props, func(a, b event.Prop) int { return strings.Compare(a.Name, b.Name) })
			t.answer.Rows = append(t.answer.Rows, []any{f.Time, f.Name, cell(f.field("channel")), props})
		}
	}
	t.order()
	return t.answer
}

// listedCustomers is the limit of `customers` without `limit`.
const listedCustomers = 100

func (ev *evaluator) listCustomers(s *settings) *Answer {
	columns := []string{"customer", "first", "last", "events"}
	for _, e := range s.of {
		columns = append(columns, e.String())
	}
	t := ev.newTable(s, false, columns...)
	if s.limit < 0 {
		s.limit = listedCustomers
	}
	for _, c := range ev.customers {
		if s.among != nil && !isTrue(ev.cohort(s.among, c)) {
			continue
		}
		row := []any{c.name, c.events[0].Time, c.events[len(c.events)-1].Time, int64(len(c.events))}
		for _, e := range s.of {
			row = append(row, cell(ev.value(e, &scope{who: c})))
		}
		t.answer.Rows = append(t.answer.Rows, row)
	}
	t.order()
	return t.answer
}
