package engine

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
)

// customersOperator answers `customers among`: the members of a cohort with
// the times of their first and last event, how many events they have, and
// their latest values that are not null. They are listed by name, bytewise,
// unless order by says otherwise.
//
// It keeps no more rows than it shows: a worker sorts and cuts its list
// whenever it has grown to twice the limit.
type customersOperator struct {
	r        *run
	values   []scalar
	columns  []Column
	keep     int // rows that can be shown at most; 0: all
	orderBy  int
	members  atomic.Int64
	rowBytes int64 // of a row, beside the customer's name
}

func newCustomers(r *run) (operator, error) {
	r.needNames()
	r.ordered = false
	o := &customersOperator{r: r, keep: int(r.plan.Limit), rowBytes: 160}
	o.columns = []Column{{"customer", String}, {"first", Time}, {"last", Time}, {"events", Integer}}
	for _, e := range r.plan.Of {
		x, err := r.compile(e)
		if err != nil {
			return nil, err
		}
		o.values = append(o.values, x)
		o.columns = append(o.columns, Column{e.Text(), columnType(e.Type)})
		o.rowBytes += 40
	}
	if r.plan.Order != nil {
		o.orderBy = max(0, slices.IndexFunc(o.columns, func(c Column) bool { return c.Name == r.plan.Order.Column }))
	}
	return o, nil
}

func (o *customersOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "customers", Detail: "by name, with the latest values that are not null"}
}

// compare is the order of rows: what order by says, then by name.
func (o *customersOperator) compare(a, b []Cell) int {
	if order := o.r.plan.Order; order != nil {
		x, y := a[o.orderBy], b[o.orderBy]
		switch {
		case x == nil || y == nil:
			if n := truth(x == nil) - truth(y == nil); n != 0 {
				return n
			}
		case order.Desc:
			if n := compareCells(y, x); n != 0 {
				return n
			}
		default:
			if n := compareCells(x, y); n != 0 {
				return n
			}
		}
	}
	return cmp.Compare(a[0].(string), b[0].(string))
}

type customersWorker struct {
	*customersOperator
	rows [][]Cell
}

func (w *customersWorker) visit(v *view) error {
	for c := range v.Customers() {
		if !v.member(c) {
			continue
		}
		lo, hi := v.extent(c)
		if err := v.tick(1); err != nil {
			return err
		}
		row, err := w.row(v, c, lo, hi)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		w.members.Add(1)
		if err := w.add(v, row); err != nil {
			return err
		}
	}
	return nil
}

// row describes a customer, nil if no event of it exists.
func (w *customersWorker) row(v *view, c, lo, hi int) ([]Cell, error) {
	first, last, events := -1, -1, int64(0)
	if v.rows == nil {
		first, last, events = lo, hi-1, int64(hi-lo)
	} else {
		for i := v.next(lo, hi); i < hi; i = v.next(i+1, hi) {
			if err := v.tick(1); err != nil {
				return nil, err
			}
			if first < 0 {
				first = i
			}
			last = i
			events++
		}
	}
	if events == 0 {
		return nil, nil
	}
	row := make([]Cell, 4, len(w.columns))
	row[0], row[1], row[2], row[3] = strings.Clone(v.Names.At(c)), v.Time.At(first), v.Time.At(last), events
	for _, x := range w.values {
		value, err := x.value(v, &place{row: last, customer: c, last: last})
		if err != nil {
			return nil, err
		}
		row = append(row, cell(value))
	}
	return row, nil
}

// bytes is what a row takes.
func (o *customersOperator) bytes(row []Cell) int64 {
	return o.rowBytes + int64(len(row[0].(string)))
}

func (w *customersWorker) add(v *view, row []Cell) error {
	if err := w.r.memory.reserve(w.bytes(row)); err != nil {
		return err
	}
	if w.rows = append(w.rows, row); w.keep > 0 && len(w.rows) >= 2*max(w.keep, 512) {
		return w.cut(v.look)
	}
	return nil
}

func (w *customersWorker) cut(look func() error) error {
	var err error
	slices.SortFunc(w.rows, looking(look, &err, w.compare))
	if err != nil {
		return err
	}
	if w.keep > 0 && len(w.rows) > w.keep {
		for _, row := range w.rows[w.keep:] {
			w.r.memory.release(w.bytes(row))
		}
		clear(w.rows[w.keep:])
		w.rows = w.rows[:w.keep]
	}
	return nil
}

func (o *customersOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*customersWorker, error) { return &customersWorker{customersOperator: o}, nil })
	if err != nil {
		return nil, err
	}
	all := &customersWorker{customersOperator: o}
	for _, w := range ws {
		all.rows = append(all.rows, w.rows...)
	}
	if err := all.cut(r.look); err != nil {
		return nil, err
	}
	res := &Result{Columns: o.columns, Rows: all.rows}
	if kept, of := int64(len(all.rows)), o.members.Load(); kept < of {
		res.Meta.Cut = &Cut{Kept: kept, Of: of, Share: share(kept, of)}
	}
	return res, nil
}
