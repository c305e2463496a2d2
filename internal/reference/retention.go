package reference

import (
	"wend/event"
	"wend/query"
)

// Where the language is silent about retention: START and RETURN are events
// that `where` lets exist; a RETURN at the time of START is later if it arrived
// later. A period is over if its last microsecond is not later than the end of
// the data. Periods in which nobody began are no cohorts.

// starter is a customer with its first START and all that it did.
type starter struct {
	start *fact
	unit  unit
}

func (ev *evaluator) retention(q *query.Query, s *settings) *Answer {
	whole := *s
	whole.every = "" // the cohorts are the periods
	t := ev.newTable(&whole, false, "cohort", "size", "period", "customers", "share")
	var starters []starter
	first, last := event.MaxTime, event.MinTime // cohorts of the whole answer
	for _, u := range ev.units(s) {
		for _, f := range u.events {
			if !ev.fulfils(q.From, f) {
				continue
			}
			if s.during.has(f.Time) {
				starters = append(starters, starter{f, u})
				t.add(0, 0, &scope{at: f})
				begin := ev.period(f.Time, s.every).from
				first, last = min(first, begin), max(last, begin)
			}
			break
		}
	}
	return t.finish(false, func(members []int) [][]any {
		cohorts := map[event.Time][]starter{}
		for _, i := range members {
			begin := ev.period(starters[i].start.Time, s.every).from
			cohorts[begin] = append(cohorts[begin], starters[i])
		}
		var rows [][]any
		for begin := first; begin <= last; begin = ev.period(begin, s.every).to {
			if len(cohorts[begin]) > 0 {
				rows = append(rows, ev.cohortRows(q, s, begin, cohorts[begin])...)
			}
		}
		return rows
	})
}

func (ev *evaluator) cohortRows(q *query.Query, s *settings, begin event.Time, cohort []starter) [][]any {
	var rows [][]any
	period := ev.period(begin, s.every)
	for n := 0; n <= s.periods; n++ {
		came := 0
		for _, c := range cohort {
			if n == 0 || ev.returned(q.To, c, period) {
				came++
			}
		}
		row := []any{begin, int64(len(cohort)), int64(n), int64(came), share(came, len(cohort))}
		if period.to-1 > ev.end {
			row[4] = nil
		}
		rows = append(rows, row)
		period = ev.period(period.to, s.every)
	}
	return rows
}

func (ev *evaluator) returned(alt *query.Alt, c starter, period interval) bool {
	for _, f := range c.unit.events {
		if f.at > c.start.at && period.has(f.Time) && ev.fulfils(alt, f) {
			return true
		}
	}
	return false
}
