package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/query"
)

// arrange applies order by and limit to the rows, and the limit of rows that
// no answer may exceed. Equal rows keep the statement's own order; nulls come
// last, whichever way the rest is ordered.
func (res *Result) arrange(plan *query.Plan, rowsMax int) error {
	if plan.Order != nil {
		column := slices.IndexFunc(res.Columns, func(c Column) bool { return c.Name == plan.Order.Column })
		if column < 0 {
			return fmt.Errorf("order by %q: the answer has no such column", plan.Order.Column)
		}
		slices.SortStableFunc(res.Rows, func(a, b []Cell) int {
			x, y := a[column], b[column]
			if x == nil || y == nil {
				return truth(x == nil) - truth(y == nil)
			}
			if plan.Order.Desc {
				return compareCells(y, x)
			}
			return compareCells(x, y)
		})
	}
	if n := int64(len(res.Rows)); plan.Limit > 0 && n > plan.Limit {
		res.cutRows(plan.Limit)
	}
	if len(res.Rows) > rowsMax {
		return &LimitError{Limit: "rows", Value: int64(rowsMax), Reached: int64(len(res.Rows)),
			Hint: "add limit or top, break down by something that has fewer values, or raise the limit"}
	}
	return nil
}

// cutRows keeps the first rows and says so in Meta.Cut. A cut by top or cover
// that came before stays part of it: Of counts what there was in the first
// place, and the shares multiply.
func (res *Result) cutRows(keep int64) {
	cut := &Cut{Kept: keep, Of: int64(len(res.Rows)), Share: float64(keep) / float64(len(res.Rows))}
	if res.weight != "" {
		column := slices.IndexFunc(res.Columns, func(c Column) bool { return c.Name == res.weight })
		var kept, all int64
		for i, row := range res.Rows {
			n, _ := row[column].(int64)
			all += n
			if int64(i) < keep {
				kept += n
			}
		}
		cut.Share = share(kept, all)
	}
	if before := res.Meta.Cut; before != nil {
		cut.Of = max(cut.Of, before.Of)
		cut.Share *= before.Share
	}
	res.Meta.Cut = cut
	res.Rows = slices.Clip(res.Rows[:keep])
}

// compareCells orders two cells of one column, neither null.
func compareCells(a, b Cell) int {
	switch x := a.(type) {
	case int64:
		return cmp.Compare(x, b.(int64))
	case float64:
		return cmp.Compare(x, b.(float64))
	case string:
		return cmp.Compare(x, b.(string))
	case bool:
		return truth(x) - truth(b.(bool))
	case event.Time:
		return cmp.Compare(x, b.(event.Time))
	case []string:
		return slices.Compare(x, b.([]string))
	case []event.Prop:
		return slices.CompareFunc(x, b.([]event.Prop), func(p, q event.Prop) int {
			return cmp.Or(cmp.Compare(p.Name, q.Name), event.Compare(p.Value, q.Value))
		})
	}
	return 0
}
