package reference

import (
	"strings"

	"wend/event"
	"wend/query"
)

// switches pairs each event that has a channel with the unit's next one that
// has; where the channels differ the customer switched. The event on the old
// channel is the anchor; the new one may lie after the range.
func (ev *evaluator) switches(q *query.Query, s *settings) *Answer {
	type change struct {
		from, to *fact
		fate     fate
	}
	t := ev.newTable(s, false, "source", "target", "count", "customers", "lost", "open", "loss_rate", "median_gap")
	var changes []change
	for _, u := range ev.units(s) {
		old := (*fact)(nil)
		for i, f := range u.events {
			if f.Channel == "" {
				continue
			}
			from := old
			old = f
			if from == nil || from.Channel == f.Channel || !s.during.has(from.Time) ||
				!ev.onAny(q.FromCh, from.Channel) || !ev.onAny(q.ToCh, f.Channel) {
				continue
			}
			changes = append(changes, change{from, f, ev.fateAfter(u, i, s)})
			t.add(0, ev.periodOf(from.Time, s), &scope{at: from})
		}
	}
	return t.finish(false, func(members []int) [][]any {
		count, gaps := map[string]int{}, map[string][]event.Duration{}
		fates, customers := map[string]map[fate]int{}, map[string]map[*customer]bool{}
		for _, i := range members {
			c := changes[i]
			key := c.from.Channel + "\x00" + c.to.Channel // sorts by source, then target
			if count[key] == 0 {
				fates[key], customers[key] = map[fate]int{}, map[*customer]bool{}
			}
			count[key]++
			fates[key][c.fate]++
			customers[key][c.from.customer] = true
			gaps[key] = append(gaps[key], c.to.Time.Sub(c.from.Time))
		}
		var rows [][]any
		for _, key := range byCount(count) {
			source, target, _ := strings.Cut(key, "\x00")
			gone, open := fates[key][lost], fates[key][stillOpen]
			rows = append(rows, []any{source, target, int64(count[key]), int64(len(customers[key])), int64(gone), int64(open),
				share(gone, count[key]-open), durationPercentile(gaps[key], 0.5)})
		}
		return rows
	})
}

// onAny tells whether a channel is one of those asked for.
func (ev *evaluator) onAny(asked *query.Channels, channel string) bool {
	if asked == nil {
		return true
	}
	for _, n := range asked.Names {
		if ev.isChannel(n.Text, channel) {
			return true
		}
	}
	return false
}

// periodOf is the period of `every` that t lies in, 0 without `every`.
func (ev *evaluator) periodOf(t event.Time, s *settings) event.Time {
	if s.every == "" {
		return 0
	}
	return ev.period(t, s.every).from
}
