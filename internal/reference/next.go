package reference

import (
	"fmt"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about next: the window of next after begins with
// the attempt's last event, and a session that ended without another event ends
// in (nothing). Rows by support, the greatest first, then by label; `top N`
// keeps N labels, the rest is (other).
// Groups are those of all anchors, also of units that did not convert.
// next for: all units that `where`, `among` and `during` leave are trained on;
// the customer's labels are those of its last unit.

const nothing = "(nothing)"

// successor is what came next after one attempt or one suffix.
type successor struct {
	counts bool // there is one, or certainly none
	label  string
	gap    event.Duration
	some   bool       // an event came
	time   event.Time // when it was decided
}

func (ev *evaluator) nextAfter(q *query.Query, s *settings) *Answer {
	if s.test > 0 {
		return ev.testOfNext(q, s)
	}
	t := ev.newTable(s, false, "next", "probability", "support", "median_time")
	var successors []successor
	p := ev.pattern(q.Pattern)
	ev.eachOutcome(p, s, 0, func(_ event.Time, o outcome) {
		n, ok := ev.nextOf(p, s, o)
		n.counts = ok
		successors = append(successors, n)
		t.add(0, 0, o.scope())
	})
	return t.finish(false, func(members []int) [][]any {
		var of []successor
		for _, i := range members {
			if successors[i].counts {
				of = append(of, successors[i])
			}
		}
		return successorRows(s, of)
	})
}

// nextOf is what followed a conversion; not ok if it did not convert or is open.
func (ev *evaluator) nextOf(p *pattern, s *settings, o outcome) (successor, bool) {
	if o.level < len(p.steps) {
		return successor{}, false
	}
	m, last := o.matching, o.reported.at
	until := m.events[last].Time.Add(s.windows[0])
	if last+1 < len(m.events) && m.events[last+1].Time <= until {
		f := m.events[last+1]
		return successor{label: ev.label(s.of, f), gap: f.Time.Sub(m.events[last].Time), some: true, time: f.Time}, true
	}
	if until > m.end && !m.over {
		return successor{}, false
	}
	if s.session {
		until = min(until, ev.sessionEnd(m.events[last], s))
	}
	return successor{label: nothing, time: until}, true
}

// sessionEnd is when the session that an event lies in could no longer go on.
func (ev *evaluator) sessionEnd(f *fact, s *settings) event.Time {
	for _, part := range ev.sessions(f.customer, s) {
		if slices.Contains(part, f) {
			return part[len(part)-1].Time.Add(s.gap)
		}
	}
	return event.MaxTime
}

func successorRows(s *settings, of []successor) [][]any {
	count, gaps := map[string]int{}, map[string][]event.Duration{}
	for _, n := range of {
		count[n.label]++
		if n.some {
			gaps[n.label] = append(gaps[n.label], n.gap)
		}
	}
	if s.top >= 0 {
		for i, label := range byCount(count) {
			if i >= s.top && label != other {
				count[other] += count[label]
				gaps[other] = append(gaps[other], gaps[label]...)
				delete(count, label)
			}
		}
	}
	labels := byCount(count)
	if at := slices.Index(labels, other); at >= 0 {
		labels = append(slices.Delete(labels, at, at+1), other)
	}
	var rows [][]any
	for _, label := range labels {
		rows = append(rows, []any{label, share(count[label], len(of)), int64(count[label]), durationPercentile(gaps[label], 0.5)})
	}
	return rows
}

// supportMin is how often a suffix must have occurred with a successor.
const supportMin = 30

// suffixMax is how many labels of a customer are tried.
const suffixMax = 5

func (ev *evaluator) nextFor(q *query.Query, s *settings) *Answer {
	if s.test > 0 {
		return ev.testOfNext(q, s)
	}
	t := ev.newTable(s, false, "next", "probability", "support", "median_time", "suffix")
	units := ev.unitsInRange(s)
	var own []string
	for _, u := range units {
		if u.customer.name == ev.canonical(q.Customer.Text) {
			own = ev.labels(s, u)
		}
	}
	largest := 0
	for n := min(suffixMax, len(own)); n > 0; n-- {
		suffix := own[len(own)-n:]
		var of []successor
		for _, u := range units {
			labels := ev.labels(s, u)
			for i := n; i < len(labels); i++ {
				if slices.Equal(labels[i-n:i], suffix) {
					of = append(of, successor{label: labels[i], gap: u.events[i].Time.Sub(u.events[i-1].Time), some: true})
				}
			}
		}
		largest = max(largest, len(of))
		if len(of) < supportMin {
			continue
		}
		for _, row := range successorRows(s, of) {
			t.answer.Rows = append(t.answer.Rows, append(row, suffix))
		}
		t.order()
		return t.answer
	}
	fail("the largest support is %s", fmt.Sprint(largest))
	return nil
}

func (ev *evaluator) labels(s *settings, u unit) []string {
	var labels []string
	for _, f := range u.events {
		labels = append(labels, ev.label(s.of, f))
	}
	return labels
}
