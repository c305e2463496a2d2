package engine

import (
	"math/bits"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// answer runs the operator and completes its answer with what all answers
// carry, or describes it where the statement is an explain.
func (r *run) answer(op operator) (*Result, error) {
	if r.plan.Explain && !r.plan.Analyze {
		res := r.explained(op)
		r.complete(res)
		return res, nil
	}
	res, err := op.run(r)
	if err != nil {
		return nil, err
	}
	if err := res.arrange(r); err != nil {
		return nil, err
	}
	if r.plan.Analyze {
		analyzed := r.explained(op)
		analyzed.Meta = res.Meta
		analyzed.Meta.Plan = r.nodes(op)
		analyzed.Meta.Cut = nil
		res = analyzed
	}
	r.complete(res)
	return res, nil
}

// complete fills in what Meta says of every answer.
func (r *run) complete(res *Result) {
	m := &res.Meta
	m.Query = r.plan.Text
	m.EventsRead = r.stats.events.Load()
	m.CustomersRead = r.stats.customers.Load()
	m.BytesRead = r.stats.bytes.Load()
	m.Snapshot = r.snap.Version()
	m.EndOfData = r.end
	if m.Unit == "" {
		m.Unit = "customers"
		if r.plan.Unit.Session {
			m.Unit = "sessions"
		}
	}
	if m.EventsRead > 0 {
		m.Tied = float64(r.stats.tied.Load()) / float64(m.EventsRead)
	}
	m.During = duringText(r.plan.During)
	m.Warnings = append(append(m.Warnings, r.plan.Warnings...), r.warnings...)
	if missing := r.snap.Missing(); len(missing) > 0 {
		m.Partial, m.Missing = true, missing
	}
}

// duringText writes the instants that during stands for: the first that
// belongs to it, and the first after it that does not.
func duringText(d query.Interval) string {
	switch {
	case !d.Set:
		return ""
	case d.From <= event.MinTime:
		return "before " + d.To.String()
	case d.To >= event.MaxTime:
		return "from " + d.From.String()
	}
	return "from " + d.From.String() + " to before " + d.To.String()
}

// countTied adds up the events that share their time with another of their
// customer: those marked, and the one before each row of marks.
func (v *view) countTied() int64 {
	tied, next := 0, uint64(0)
	for at := len(v.Same) - 1; at >= 0; at-- {
		same := v.Same[at]
		tied += bits.OnesCount64(same | same>>1 | next<<63)
		next = same
	}
	return int64(tied)
}

// tiedOf is countTied for one customer.
func (v *view) tiedOf(c int) int64 {
	if v.Same == nil {
		return 0
	}
	tied := int64(0)
	lo, hi := v.Range(c)
	for i := v.Same.Next(lo, hi); i < hi; i = v.Same.Next(i+1, hi) {
		if tied++; !v.Same.Get(i - 1) {
			tied++
		}
	}
	return tied
}

// bytes is about how much of a tile's memory a query that asked for need looks at.
func tileBytes(t *tile.Tile) int64 {
	n := int64(len(t.Starts))*4 + codesBytes(t.Event) + codesBytes(t.Channel)
	if t.Time != nil {
		n += int64(len(t.Time.Anchors))*8 + int64(len(t.Time.Bases))*4 + int64(len(t.Time.Slots))
	}
	if t.Names != nil {
		n += int64(len(t.Names.Text)) + int64(len(t.Names.Ends))*4
	}
	n += columnBytes(t.IDs)
	for _, c := range t.Columns {
		n += columnBytes(c)
	}
	return n
}

func codesBytes(c *tile.Codes) int64 {
	if c == nil {
		return 0
	}
	return int64(len(c.Words)) * 8
}

func columnBytes(c *tile.Column) int64 {
	if c == nil {
		return 0
	}
	n := int64(len(c.Present)+len(c.Ints)+len(c.Floats))*8 + int64(len(c.Codes))*4 + codesBytes(c.Planes)
	for _, text := range c.Dict {
		n += int64(len(text))
	}
	return n
}
