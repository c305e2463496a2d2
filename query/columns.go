package query

import (
	"slices"
	"strings"
)

// answerColumns are the columns of answers, without those that clauses put in
// front. COUNT stands for the column that is called after what is counted.
// Other answers depend on what they hold: the engine checks `order by` there.
var answerColumns = map[string]string{
	"funnel":      "step touchpoint COUNT from_previous from_first dropped open median_from_previous median_from_first",
	"times":       "step touchpoint COUNT mean p10 p25 p50 p75 p90 p95",
	"dropoff":     "step touchpoint next COUNT share median_time_to_next",
	"drivers of":  "factor value converted dropped odds_ratio low high lift p_value",
	"next after":  "next probability support median_time",
	"next for":    "next probability support median_time suffix",
	"paths":       "path journeys share median_duration",
	"flow":        "level source target journeys share",
	"transitions": "source target count share_of_source",
	"switches":    "source target count customers lost open loss_rate median_gap",
	"match":       "customers matches median_duration",
	"retention":   "cohort size period customers share",
	"affinity of": "left right together support confidence lift",
	"map":         "stage channel customers events reached to_next_stage median_time_to_next score_avg score_n breaks",
	"moments":     "touchpoint customers reach fall fall_n loss moment",
	"measure":     "",
	"customers":   "customer first last events",
}

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

// columnsOf lists the columns of the answer in their order; nil where only the
// engine knows them.
func columnsOf(q *Query, p *Plan) []string {
	name := statementName(q)
	own, known := answerColumns[name]
	if !known || p.TestLast > 0 {
		return nil
	}
	var columns []string
	if len(p.Windows) > 1 {
		columns = append(columns, "window")
	}
	if p.Every != "" && name != "retention" {
		columns = append(columns, "period")
	}
	if name != "drivers of" && name != "map" { // there, by names what rows are about
		for _, g := range p.By {
			columns = append(columns, g.Name)
		}
	}
	columns = append(columns, strings.Fields(strings.ReplaceAll(own, "COUNT", p.Count))...)
	if p.WithTimes {
		columns = append(columns, "median_gap")
	}
	for _, o := range p.Outputs {
		columns = append(columns, o.Name)
	}
	if of := q.clause("of"); of != nil && name == "customers" {
		for _, e := range of.Exprs {
			columns = append(columns, e.String())
		}
	}
	return columns
}

// clause finds a query's clause of a kind, nil without one.
func (q *Query) clause(kind string) *Clause {
	i := slices.IndexFunc(q.Clauses, func(c Clause) bool { return c.Kind == kind })
	if i < 0 {
		return nil
	}
	return &q.Clauses[i]
}
