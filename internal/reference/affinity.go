package reference

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about affinity: events outside `during` do not
// exist for it. Per a property a basket is that value's events of all
// customers; an event without the property is in none. Pairs by together, the
// most first, then by left and right.

// topOfAffinity is how many pairs are shown without `top`.
const topOfAffinity = 100

func (ev *evaluator) affinity(q *query.Query, s *settings) *Answer {
	t := ev.newTable(s, false, "left", "right", "together", "support", "confidence", "lift")
	baskets := ev.baskets(q, s)
	var values []event.Value
	for _, b := range baskets {
		values = append(values, b...)
	}
	values = set(values)
	holds := func(b []event.Value, v event.Value) bool {
		return slices.ContainsFunc(b, func(w event.Value) bool { return event.Compare(v, w) == 0 })
	}
	count := func(of ...event.Value) int {
		n := 0
		for _, b := range baskets {
			if !slices.ContainsFunc(of, func(v event.Value) bool { return !holds(b, v) }) {
				n++
			}
		}
		return n
	}
	var rows [][]any
	for _, left := range values {
		for _, right := range values {
			together := count(left, right)
			if event.Compare(left, right) == 0 || together == 0 {
				continue
			}
			ofLeft, ofRight := count(left), count(right)
			rows = append(rows, []any{cell(left), cell(right), int64(together), share(together, len(baskets)), share(together, ofLeft),
				float64(together*len(baskets)) / float64(ofLeft*ofRight)}) // one number both ways, also when it is rounded
		}
	}
	slices.SortStableFunc(rows, func(a, b []any) int {
		return cmp.Or(compareCells(b[2], a[2]), compareCells(a[0], b[0]), compareCells(a[1], b[1]))
	})
	top := s.top
	if top < 0 {
		top = topOfAffinity
	}
	t.answer.Rows = rows[:min(top, len(rows))]
	t.order()
	return t.answer
}

// baskets lists the sets of values that are not empty.
func (ev *evaluator) baskets(q *query.Query, s *settings) [][]event.Value {
	var order []string
	byKey := map[string][]event.Value{}
	for i, u := range ev.units(s) {
		for _, f := range u.events {
			if !s.during.has(f.Time) || !ev.fulfils(q.From, f) {
				continue
			}
			v := ev.value(q.Field, &scope{at: f})
			key := fmt.Sprint(i)
			if s.basket != "" {
				in := f.field(s.basket)
				if in.IsNull() {
					continue
				}
				key = fmt.Sprintf("%#v", cell(in))
			}
			if v.IsNull() {
				continue
			}
			if byKey[key] == nil {
				order = append(order, key)
			}
			byKey[key] = append(byKey[key], v)
		}
	}
	var baskets [][]event.Value
	for _, key := range order {
		baskets = append(baskets, set(byKey[key]))
	}
	return baskets
}

// set sorts values and keeps one of each.
func set(values []event.Value) []event.Value {
	slices.SortFunc(values, event.Compare)
	return slices.CompactFunc(values, func(a, b event.Value) bool { return event.Compare(a, b) == 0 })
}
