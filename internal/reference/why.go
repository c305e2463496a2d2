package reference

import (
	"strings"

	"wend/query"
)

// Where the language is silent about why: a customer's best session is told of.
// The verdict is what became of the reported attempt's last event; `no entry`
// where nothing fulfils step 1 in the range, and what `void` or `drop` makes
// not exist ended by an exclusion. Who is not among the customers has no rows.

// eitherVerdict separates verdicts that hold both.
const eitherVerdict = " or "

// why tells of the reported attempt's events and the verdict. It leaves out the
// other events that mattered and the verdict's time, which the language does
// not settle. A verdict that could read two ways is written with both.
func (ev *evaluator) why(q *query.Query, s *settings) *Answer {
	answer := &Answer{Columns: []string{"time", "event", "channel", "step", "effect"}}
	s.count = "customers"
	p := ev.pattern(q.Pattern)
	for _, c := range ev.customers {
		if c.name != ev.canonical(q.Customer.Text) || s.among != nil && !isTrue(ev.cohort(s.among, c)) {
			continue
		}
		matchings := ev.matchings(c, p, s, s.windows[0])
		of := outcomes(matchings, s, s.during)
		if len(of) == 0 {
			verdict := "no entry"
			for _, m := range matchings {
				if len(m.attempts(s.during, s.entryFirst, false)) > 0 {
					verdict = "exclusion"
				}
			}
			answer.Rows = append(answer.Rows, []any{nil, nil, nil, nil, verdict})
			continue
		}
		for i, at := range of[0].places() {
			f, effect := of[0].matching.events[at], "reached"
			if i == 0 {
				effect = "entry"
			}
			answer.Rows = append(answer.Rows, []any{f.Time, f.Name, cell(f.field("channel")), int64(i + 1), effect})
		}
		answer.Rows = append(answer.Rows, []any{nil, nil, nil, int64(of[0].level), of[0].verdict()})
	}
	return answer
}

func (o outcome) verdict() string {
	m := o.matching
	switch {
	case o.level == len(m.steps):
		return "converted"
	case o.open:
		return "open"
	}
	entry, c, k := o.places()[0], o.reported, o.level
	limit, reason := m.events[entry].Time.Add(m.window), "window over"
	if !m.anyOrder && m.steps[k].bound >= 0 {
		switch until := m.events[c.at].Time.Add(m.steps[k].bound); {
		case until < limit:
			limit, reason = until, "gap over"
		case until == limit:
			reason = "window over" + eitherVerdict + "gap over"
		}
	}
	for i := c.at + 1; i < len(m.events); i++ {
		switch {
		case m.events[i].Time > limit:
			return reason
		case m.anyOrder:
		case m.excludes(i, k, entry):
			return "exclusion"
		case m.steps[k].next:
			return "next event"
		}
	}
	if m.over {
		if limit <= m.end {
			return "session over" + eitherVerdict + reason
		}
		return "session over"
	}
	return reason
}

// IsVerdict tells whether one of the verdicts that the reference holds for
// right is this one.
func IsVerdict(right, verdict string) bool {
	for _, r := range strings.Split(right, eitherVerdict) {
		if r == verdict {
			return true
		}
	}
	return false
}
