package reference

import (
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about match: events keep the order of arrival;
// matches are found over all events of a unit and then selected by their first
// event. A bound holds between the events on both sides of its arrow; where an
// item between was passed over, the bounds of both arrows do. Before the first
// event of a match there is nothing that a bound could be about.

// matchRegex tries every beginning and every end.
func (ev *evaluator) matchRegex(q *query.Query, s *settings) *Answer {
	t := ev.newTable(s, false, "customers", "matches", "median_duration")
	var matches [][]*fact
	for _, u := range ev.units(s) {
		for from := 0; from < len(u.events); {
			begin, end := ev.nextMatch(q.Regex, u.events, from)
			if end < 0 {
				break
			}
			from = end
			first := u.events[begin]
			if s.during.has(first.Time) {
				matches = append(matches, u.events[begin:end])
				t.add(0, ev.periodOf(first.Time, s), &scope{at: first})
			}
		}
	}
	return t.finish(true, func(members []int) [][]any {
		customers := map[*customer]bool{}
		var durations []event.Duration
		for _, i := range members {
			m := matches[i]
			customers[m[0].customer] = true
			durations = append(durations, m[len(m)-1].Time.Sub(m[0].Time))
		}
		return [][]any{{int64(len(customers)), int64(len(members)), durationPercentile(durations, 0.5)}}
	})
}

// nextMatch finds the first end, and for it the first beginning; the end is -1
// without a match.
func (ev *evaluator) nextMatch(r *query.Regex, events []*fact, from int) (begin, end int) {
	end = -1
	for b := from; b < len(events); b++ {
		m := &trial{ev: ev, events: events, begin: b}
		for _, p := range m.regex(r, []progress{{b, -1}}) {
			if p.at > b && (end < 0 || p.at < end) {
				begin, end = b, p.at
			}
		}
	}
	return begin, end
}

// trial is an attempt to match from one beginning.
type trial struct {
	ev     *evaluator
	events []*fact
	begin  int
}

// progress is how far a trial came: the events before `at` are matched, and the
// next one must not lie further than bound from the last of them.
type progress struct {
	at    int
	bound event.Duration // negative: none
}

func (m *trial) regex(r *query.Regex, from []progress) []progress {
	var to []progress
	for i := range r.Branches {
		branch := &r.Branches[i]
		here := from
		for k := range branch.Items {
			if k > 0 && branch.Bounds[k-1] != nil {
				here = m.tightened(here, branch.Bounds[k-1].Value)
			}
			here = m.repeated(&branch.Items[k], here)
		}
		to = append(to, here...)
	}
	return distinct(to)
}

// tightened adds the bound of an arrow.
func (m *trial) tightened(from []progress, bound event.Duration) []progress {
	var to []progress
	for _, p := range from {
		if p.at > m.begin && (p.bound < 0 || bound < p.bound) {
			p.bound = bound
		}
		to = append(to, p)
	}
	return distinct(to)
}

// repeated matches an item Min to Max times. Once a further time leads nowhere
// new, more times do not either.
func (m *trial) repeated(item *query.RegexItem, from []progress) []progress {
	here := from
	for range item.Min {
		here = m.once(item, here)
	}
	all := here
	for times := item.Min; item.Max < 0 || times < item.Max; times++ {
		here = m.once(item, here)
		longer := distinct(slices.Concat(all, here))
		if len(longer) == len(all) {
			break
		}
		all = longer
	}
	return all
}

func (m *trial) once(item *query.RegexItem, from []progress) []progress {
	if item.Group != nil {
		return m.regex(item.Group, from)
	}
	var to []progress
	for _, p := range from {
		if p.at == len(m.events) || !m.ev.touchesAny([]query.Touch{*item.Touch}, m.events[p.at]) {
			continue
		}
		if p.at > m.begin && p.bound >= 0 && m.events[p.at].Time.Sub(m.events[p.at-1].Time) > p.bound {
			continue
		}
		to = append(to, progress{p.at + 1, -1})
	}
	return distinct(to)
}

func distinct(list []progress) []progress {
	var different []progress
	for _, p := range list {
		if !slices.Contains(different, p) {
			different = append(different, p)
		}
	}
	return different
}
