package client

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"wend/engine"
	"wend/event"
)

// resultBody is a Result as the server writes it.
type resultBody struct {
	Columns []engine.Column
	Rows    [][]any
	Meta    struct {
		Query         string
		Unit          string
		EventsRead    int64   `json:"events_read"`
		CustomersRead int64   `json:"customers_read"`
		BytesRead     int64   `json:"bytes_read"`
		ElapsedMS     float64 `json:"elapsed_ms"`
		Snapshot      string
		EndOfData     *time.Time `json:"end_of_data"`
		Open          int64
		Tied          float64
		Denominator   string
		During        string
		Cut           *engine.Cut
		Warnings      []string
		Partial       bool
		Missing       []struct {
			Segment  string
			From, To *time.Time // null where nobody knows
			Rows     int64
			Reason   string
			FirstLSN uint64 `json:"first_lsn"`
			LastLSN  uint64 `json:"last_lsn"`
		}
		Cached bool
		Plan   []struct {
			Depth            int
			Operator, Detail string
			Events, Skipped  int64
			ElapsedMS        float64 `json:"elapsed_ms"`
		}
	}
	Histogram []struct { // of times, for its chart
		Step       int
		Touchpoint string
		Bounds     []float64 `json:"bounds_ms"`
		Counts     []int64
	}
}

// result gives the answer back the Go types that an open store's has.
func (b *resultBody) result() (*engine.Result, error) {
	r := &engine.Result{Columns: b.Columns}
	for _, row := range b.Rows {
		if len(row) != len(b.Columns) {
			return nil, fmt.Errorf("the server's answer has a row of %d cells for %d columns", len(row), len(b.Columns))
		}
		cells := make([]engine.Cell, len(row))
		for i, v := range row {
			cell, err := cell(b.Columns[i].Type, v)
			if err != nil {
				return nil, fmt.Errorf("the server's answer, column %s: %w", b.Columns[i].Name, err)
			}
			cells[i] = cell
		}
		r.Rows = append(r.Rows, cells)
	}
	m := &b.Meta
	r.Meta = engine.Meta{Query: m.Query, Unit: m.Unit, EventsRead: m.EventsRead, CustomersRead: m.CustomersRead,
		BytesRead: m.BytesRead, ElapsedMS: m.ElapsedMS, Snapshot: m.Snapshot, Open: m.Open, Tied: m.Tied,
		Denominator: m.Denominator, During: m.During, Cut: m.Cut, Warnings: m.Warnings, Partial: m.Partial, Cached: m.Cached}
	if m.EndOfData != nil {
		r.Meta.EndOfData = event.At(*m.EndOfData)
	}
	for _, n := range m.Plan {
		r.Meta.Plan = append(r.Meta.Plan, engine.PlanNode{Depth: n.Depth, Operator: n.Operator, Detail: n.Detail, Events: n.Events, Skipped: n.Skipped, ElapsedMS: n.ElapsedMS})
	}
	for _, x := range m.Missing {
		missing := engine.Missing{Segment: x.Segment, Rows: x.Rows, Reason: x.Reason, FirstLSN: x.FirstLSN, LastLSN: x.LastLSN}
		if x.From != nil && x.To != nil {
			missing.From, missing.To = event.At(*x.From), event.At(*x.To)
		}
		r.Meta.Missing = append(r.Meta.Missing, missing)
	}
	if b.Histogram == nil {
		return r, nil
	}
	h := &engine.Histogram{}
	for _, x := range b.Histogram {
		if len(x.Bounds)+len(x.Counts) > 0 && len(x.Bounds) != len(x.Counts)+1 {
			return nil, fmt.Errorf("the server's answer has a histogram of %d bounds and %d counts", len(x.Bounds), len(x.Counts))
		}
		s := engine.StepHistogram{Step: x.Step, Touchpoint: x.Touchpoint, Counts: x.Counts}
		for _, ms := range x.Bounds {
			s.Bounds = append(s.Bounds, event.Duration(math.Round(ms*float64(event.Millisecond))))
		}
		h.Steps = append(h.Steps, s)
	}
	r.Chart = h
	return r, nil
}

func cell(t engine.ColumnType, v any) (engine.Cell, error) {
	if v == nil {
		return nil, nil
	}
	bad := fmt.Errorf("%v is not a %s", v, t)
	switch t {
	case engine.Integer:
		if n, ok := v.(json.Number); ok {
			return n.Int64()
		}
	case engine.Number, engine.Duration, engine.Share:
		if n, ok := v.(json.Number); ok {
			return n.Float64()
		}
	case engine.String:
		if s, ok := v.(string); ok {
			return s, nil
		}
	case engine.Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case engine.Time:
		if s, ok := v.(string); ok {
			at, err := time.Parse(time.RFC3339Nano, s)
			return event.At(at), err
		}
	case engine.List:
		items, ok := v.([]any)
		list := []string{}
		for _, item := range items {
			s, isText := item.(string)
			ok = ok && isText
			list = append(list, s)
		}
		if ok {
			return list, nil
		}
	case engine.Object:
		if fields, ok := v.(map[string]any); ok {
			props := []event.Prop{}
			for name, value := range fields {
				props = append(props, event.Prop{Name: name, Value: propValue(value)})
			}
			slices.SortFunc(props, func(a, b event.Prop) int { return strings.Compare(a.Name, b.Name) })
			return props, nil
		}
	}
	return nil, bad
}

// propValue reads a property of an object. JSON tells times and texts not
// apart: a time stays text.
func propValue(v any) event.Value {
	switch v := v.(type) {
	case string:
		return event.String(v)
	case bool:
		return event.Boolean(v)
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return event.Integer(i)
		}
		f, _ := v.Float64()
		return event.Float(f)
	}
	return event.Null
}
