package reference

import (
	"cmp"
	"slices"
	"strings"

	"wend/event"
	"wend/query"
)

// patternStatement answers funnel, times and dropoff: what each unit counts
// as, laid out by step.
func (ev *evaluator) patternStatement(q *query.Query, s *settings) *Answer {
	p := ev.pattern(q.Pattern)
	columns := map[string][]string{
		"funnel":  {"step", "touchpoint", s.count, "from_previous", "from_first", "dropped", "open", "median_from_previous", "median_from_first"},
		"times":   {"step", "touchpoint", s.count, "mean", "p10", "p25", "p50", "p75", "p90", "p95"},
		"dropoff": {"step", "touchpoint", "next", s.count, "share", "median_time_to_next"},
	}
	t := ev.newTable(s, true, columns[q.Verb]...)
	var outcomes []outcome
	for w := range s.windows {
		ev.eachOutcome(p, s, w, func(period event.Time, o outcome) {
			outcomes = append(outcomes, o)
			t.add(w, period, o.scope())
		})
	}
	return t.finish(q.Verb != "dropoff", func(members []int) [][]any {
		var of []outcome
		for _, i := range members {
			of = append(of, outcomes[i])
		}
		switch q.Verb {
		case "funnel":
			return funnelRows(p, of)
		case "times":
			return timesRows(p, of)
		}
		return ev.dropoffRows(p, s, of)
	})
}

// eachOutcome calls f for all that counts under window w, in each period.
func (ev *evaluator) eachOutcome(p *pattern, s *settings, w int, f func(event.Time, outcome)) {
	for _, c := range ev.customers {
		if s.among != nil && !isTrue(ev.cohort(s.among, c)) {
			continue
		}
		matchings := ev.matchings(c, p, s, s.windows[w])
		for _, span := range ev.spans(c.events, s) {
			for _, o := range outcomes(matchings, s, span.in) {
				f(span.period, o)
			}
		}
	}
}

func (ev *evaluator) matchings(c *customer, p *pattern, s *settings, window event.Duration) []*matching {
	var matchings []*matching
	for _, u := range ev.unitsOf(c, s) {
		matchings = append(matchings, ev.match(p, u, s, window))
	}
	return matchings
}

// places lists the events of the reported attempt, in order.
func (o outcome) places() []int {
	var places []int
	for c := o.reported; c != nil; c = c.before {
		places = append(places, c.at)
	}
	slices.Reverse(places)
	return places
}

// scope is what expressions on the unit see: the anchor and the steps.
func (o outcome) scope() *scope {
	sc := &scope{steps: o.matching.steps, reached: make([]*fact, len(o.matching.steps))}
	for c := o.reported; c != nil; c = c.before {
		sc.reached[c.step] = o.matching.events[c.at]
		sc.at = o.matching.events[c.at]
	}
	sc.last = o.matching.events[o.reported.at]
	return sc
}

// elapsed is the time between two events of the reported attempt, counted from 0.
func (o outcome) elapsed(from, to int) event.Duration {
	places := o.places()
	return o.matching.events[places[to]].Time.Sub(o.matching.events[places[from]].Time)
}

func funnelRows(p *pattern, units []outcome) [][]any {
	var rows [][]any
	first, previous := 0, 0
	for k, st := range p.steps {
		reached, dropped, open := 0, 0, 0
		var fromPrevious, fromFirst []event.Duration
		for _, o := range units {
			if o.level < k+1 {
				continue
			}
			reached++
			fromFirst = append(fromFirst, o.elapsed(0, k))
			if k > 0 {
				fromPrevious = append(fromPrevious, o.elapsed(k-1, k))
			}
			if o.level == k+1 && k+1 < len(p.steps) {
				if o.open {
					open++
				} else {
					dropped++
				}
			}
		}
		var ofPrevious any
		if k == 0 {
			first = reached
		} else {
			ofPrevious = share(reached, previous)
		}
		rows = append(rows, []any{int64(k + 1), st.title, int64(reached), ofPrevious, share(reached, first), int64(dropped), int64(open),
			durationPercentile(fromPrevious, 0.5), durationPercentile(fromFirst, 0.5)})
		previous = reached
	}
	return rows
}

func timesRows(p *pattern, units []outcome) [][]any {
	var rows [][]any
	for k, st := range p.steps[1:] {
		var elapsed []event.Duration
		total := 0.0
		for _, o := range units {
			if o.level >= k+2 {
				elapsed = append(elapsed, o.elapsed(0, k+1))
				total += float64(o.elapsed(0, k+1))
			}
		}
		row := []any{int64(k + 2), st.title, int64(len(elapsed)), nil}
		if len(elapsed) > 0 {
			row[3] = total / float64(len(elapsed)) / 1000
		}
		for _, percent := range []float64{0.10, 0.25, 0.50, 0.75, 0.90, 0.95} {
			row = append(row, durationPercentile(elapsed, percent))
		}
		rows = append(rows, row)
	}
	return rows
}

// topOfStep is how many labels dropoff shows for each step.
const topOfStep = 10

func (ev *evaluator) dropoffRows(p *pattern, s *settings, units []outcome) [][]any {
	top := s.top
	if top < 0 {
		top = topOfStep
	}
	var rows [][]any
	for k, st := range p.steps {
		gaps := map[string][]event.Duration{}
		count := map[string]int{}
		dropped := 0
		for _, o := range units {
			if o.level != k+1 || o.open || o.level == len(p.steps) {
				continue
			}
			dropped++
			events, next, label := o.matching.events, o.reported.at+1, "(nothing)"
			if next < len(events) {
				label = ev.label(s.of, events[next])
				gaps[label] = append(gaps[label], events[next].Time.Sub(events[next-1].Time))
			}
			count[label]++
		}
		for i, label := range byCount(count) {
			if i >= top && label != other {
				count[other] += count[label]
				gaps[other] = append(gaps[other], gaps[label]...)
				delete(count, label)
			}
		}
		labels := byCount(count)
		if at := slices.Index(labels, other); at >= 0 {
			labels = append(slices.Delete(labels, at, at+1), other)
		}
		for _, label := range labels {
			rows = append(rows, []any{int64(k + 1), st.title, label, int64(count[label]), share(count[label], dropped), durationPercentile(gaps[label], 0.5)})
		}
	}
	return rows
}

// byCount lists the labels, the most frequent first, equal ones bytewise.
func byCount(count map[string]int) []string {
	var labels []string
	for label := range count {
		labels = append(labels, label)
	}
	slices.SortFunc(labels, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) })
	return labels
}
