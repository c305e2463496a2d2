package query

import (
	"slices"
	"strings"
)

// order checks that `order by` names a column of the answer.
func (b *binder) order(q *Query, p *Plan) {
	if p.Order == nil {
		return
	}
	columns := columnsOf(q, p)
	if columns == nil || slices.Contains(columns, p.Order.Column) {
		return
	}
	b.clause("order", func(c *Clause) {
		hint := didYouMean(c.Field.Text, named(columns...))
		if hint == "" {
			hint = "the columns are " + strings.Join(columns, ", ")
		}
		b.fail(c.Field.Span, CodeUnknownColumn, hint, "the answer has no column %q", c.Field.Text)
	})
}

// columnsOf lists the columns of a statement's answer in their order; nil
// where the engine alone knows them.
func columnsOf(q *Query, p *Plan) []string {
	var columns []string
	if len(p.Windows) > 1 {
		columns = append(columns, "window")
	}
	if p.Every != "" && p.Verb != "retention" {
		columns = append(columns, "period")
	}
	if p.Verb != "drivers" && p.Verb != "map" {
		for _, g := range p.By {
			columns = append(columns, g.Name)
		}
	}
	own := ""
	switch p.Verb {
	case "funnel":
		own = "step touchpoint " + p.Count + " from_previous from_first dropped open median_from_previous median_from_first"
	case "times":
		own = "step touchpoint " + p.Count + " mean p10 p25 p50 p75 p90 p95"
	case "dropoff":
		own = "step touchpoint next " + p.Count + " share median_time_to_next"
	case "drivers":
		own = "factor value converted dropped odds_ratio low high lift p_value"
	case "next":
		if p.TestLast > 0 {
			return nil
		}
		own = "next probability support median_time"
		if p.For {
			own += " suffix"
		}
	case "paths":
		own = "path journeys share median_duration"
	case "flow":
		own = "level source target journeys share"
	case "transitions":
		own = "source target count share_of_source"
		if p.WithTimes {
			own += " median_gap"
		}
	case "switches":
		own = "source target count customers lost open loss_rate median_gap"
	case "match":
		own = "customers matches median_duration"
	case "retention":
		own = "cohort size period customers share"
	case "affinity":
		own = "left right together support confidence lift"
	case "map":
		own = "stage channel customers events reached to_next_stage median_time_to_next score_avg score_n breaks"
	case "moments":
		own = "touchpoint customers reach fall fall_n loss moment"
	case "measure":
		for _, o := range p.Outputs {
			columns = append(columns, o.Name)
		}
		return columns
	case "customers":
		columns = append(columns, "customer", "first", "last", "events")
		b := q.clause("of")
		if b == nil {
			return columns
		}
		for _, e := range b.Exprs {
			columns = append(columns, e.String())
		}
		return columns
	default:
		return nil
	}
	return append(columns, strings.Fields(own)...)
}

// clause finds a statement's clause of a kind, nil without one.
func (q *Query) clause(kind string) *Clause {
	for i := range q.Clauses {
		if q.Clauses[i].Kind == kind {
			return &q.Clauses[i]
		}
	}
	return nil
}
