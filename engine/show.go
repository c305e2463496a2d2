package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// showOperator answers `show …` from the schema and the definitions; it reads
// no event. Events and channels come with the most frequent first.
type showOperator struct{}

func newShow(r *run) (operator, error) { return &showOperator{}, nil }

func (o *showOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "show", Detail: r.plan.Show + ", from the catalogue"}
}

func (o *showOperator) run(r *run) (*Result, error) {
	res := &Result{}
	res.Meta.Unit = "events"
	known := r.schema.Known()
	switch r.plan.Show {
	case "events":
		res.Columns, res.weight = []Column{{"event", String}, {"events", Integer}}, "events"
		for _, n := range known.Events {
			res.Rows = append(res.Rows, []Cell{n.Text, n.Count})
		}
		byCount(res.Rows)
	case "channels":
		res.Columns, res.weight = []Column{{"channel", String}, {"events", Integer}}, "events"
		for i, n := range known.Channels {
			if i > 0 {
				res.Rows = append(res.Rows, []Cell{n.Text, n.Count})
			} else if n.Count > 0 {
				res.Rows = append(res.Rows, []Cell{nil, n.Count})
			}
		}
		byCount(res.Rows)
	case "properties":
		res.Columns = []Column{{"property", String}, {"type", String}}
		for _, p := range known.Properties {
			res.Rows = append(res.Rows, []Cell{p.Name, p.Type.String()})
		}
		byText(res.Rows, 0)
	case "definitions":
		res.Columns = []Column{{"kind", String}, {"name", String}, {"definition", String}}
		for _, d := range r.snap.Definitions() {
			res.Rows = append(res.Rows, []Cell{d.Kind, d.Name, d.Text})
		}
		byText(res.Rows, 1)
	case "status":
		res.Columns = []Column{{"item", String}, {"value", String}}
		rows, err := r.status()
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			res.Rows = append(res.Rows, []Cell{row[0], row[1]})
		}
	default:
		return nil, fmt.Errorf("engine: show %q is not built", r.plan.Show)
	}
	return res, nil
}

// status is what a snapshot knows of itself; a DB adds what its store knows.
func (r *run) status() ([][2]string, error) {
	customers, err := r.snap.Customers()
	if err != nil {
		return nil, fmt.Errorf("count the customers: %w", err)
	}
	end := "no events"
	if t, ok := r.snap.EndOfData(); ok {
		end = t.String()
	}
	known := r.schema.Known()
	rows := [][2]string{
		{"events", strconv.FormatInt(r.snap.Events(), 10)},
		{"customers", strconv.FormatInt(customers, 10)},
		{"event names", strconv.Itoa(len(known.Events))},
		{"channels", strconv.Itoa(len(known.Channels) - 1)},
		{"properties", strconv.Itoa(len(known.Properties))},
		{"definitions", strconv.Itoa(len(r.snap.Definitions()))},
		{"end of data", end},
		{"tiles", strconv.Itoa(r.snap.Tiles())},
		{"snapshot", r.snap.Version()},
	}
	for _, m := range r.snap.Missing() {
		rows = append(rows, [2]string{"missing", m.String()})
	}
	if r.opt.status != nil {
		rows = append(rows, r.opt.status()...)
	}
	return rows, nil
}

// byCount sorts rows of a name and a count: the greatest first, then by name,
// null last.
func byCount(rows [][]Cell) {
	slices.SortFunc(rows, func(a, b []Cell) int {
		if n := cmp.Compare(b[1].(int64), a[1].(int64)); n != 0 {
			return n
		}
		if a[0] == nil || b[0] == nil {
			return truth(a[0] == nil) - truth(b[0] == nil)
		}
		return compareCells(a[0], b[0])
	})
}

func byText(rows [][]Cell, column int) {
	slices.SortFunc(rows, func(a, b []Cell) int { return compareCells(a[column], b[column]) })
}
