package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/internal/seeded"
)

// arrange applies order by and limit to the rows, and the limits of rows and
// of bytes that no answer may exceed. Equal rows keep the statement's own order; nulls come
// last, whichever way the rest is ordered.
func (res *Result) arrange(r *run) error {
	plan, opt := r.plan, &r.opt
	if plan.Order != nil {
		column := slices.IndexFunc(res.Columns, func(c Column) bool { return c.Name == plan.Order.Column })
		if column < 0 {
			return fmt.Errorf("order by %q: the answer has no such column", plan.Order.Column)
		}
		var err error
		slices.SortStableFunc(res.Rows, looking(r.look, &err, func(a, b []Cell) int {
			x, y := a[column], b[column]
			if x == nil || y == nil {
				return truth(x == nil) - truth(y == nil)
			}
			if plan.Order.Desc {
				return compareCells(y, x)
			}
			return compareCells(x, y)
		}))
		if err != nil {
			return err
		}
	}
	if n := int64(len(res.Rows)); plan.Limit > 0 && n > plan.Limit {
		res.cutRows(plan.Limit)
	}
	if len(res.Rows) > opt.Rows {
		return &LimitError{Limit: "rows", Value: int64(opt.Rows), Reached: int64(len(res.Rows)),
			Hint: "add limit or top, or break down by something that has fewer values"}
	}
	if n := res.Bytes(); n > opt.AnswerBytes {
		return &LimitError{Limit: "answer", Value: opt.AnswerBytes, Reached: n,
			Hint: "add limit or top, or show fewer properties"}
	}
	return nil
}

// looking has a sort look every rowsBetweenChecks comparisons. Once that fails,
// err says so and all are equal, which ends the sort soon, in any order.
func looking[E any](look func() error, err *error, compare func(a, b E) int) func(a, b E) int {
	n := 0
	return func(a, b E) int {
		if n++; n%rowsBetweenChecks == 0 && *err == nil {
			*err = look()
		}
		if *err != nil {
			return 0
		}
		return compare(a, b)
	}
}

// add adds a row to the answer. Rows are made one after the other, and each is
// paid for before the next; where no limit cuts them, there are no more than an
// answer may have.
func (r *run) add(res *Result, row []Cell) error {
	n := len(res.Rows) + 1
	if n > r.opt.Rows && !r.cuts() {
		if seeded.On("answer_cut_silently") {
			return nil
		}
		return tooManyRows(r, n)
	}
	if n%rowsBetweenLooks == 0 {
		if err := r.look(); err != nil {
			return err
		}
	}
	// The slice, which doubles when it grows, the cells, and what they point to;
	// texts are mostly those of dictionaries.
	bytes := 48 + 16*int64(cap(row)) + 8*int64(len(row))
	for _, cell := range row {
		switch list := cell.(type) {
		case []string:
			bytes += 24 + 16*int64(len(list))
		case []event.Prop:
			bytes += 24 + propBytes*int64(len(list))
		}
	}
	if err := r.rows.take(bytes); err != nil {
		return err
	}
	res.Rows = append(res.Rows, row)
	return nil
}

// propBytes is what a property of an event takes in a row.
const propBytes = 48

// cuts reports whether a limit of the statement leaves no more rows than an
// answer may have.
func (r *run) cuts() bool { return r.plan.Limit > 0 && r.plan.Limit <= int64(r.opt.Rows) }

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
