package reference

import (
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about map: events outside `during` do not exist
// for it, and a window that reaches beyond the range is not over. An event can
// lie in two stages. to_next_stage and breaks are shares of the row's customers;
// who fulfilled `goal` with the last event or after it did not break. With
// `by channel` all stages have all channels, the one with most events first.

func (ev *evaluator) journeyMap(q *query.Query, s *settings) *Answer {
	t := &table{ev: ev, s: s, answer: &Answer{Columns: []string{"stage", "channel", "customers", "events", "reached", "to_next_stage", "median_time_to_next", "score_avg", "score_n", "breaks"}}}
	units := ev.unitsInRange(s)
	inStage := func(f *fact, name string) bool {
		return ev.touchesAny([]query.Touch{{Name: query.Name{Text: name}}}, f)
	}
	inAny := func(f *fact) bool {
		return slices.ContainsFunc(q.Names, func(n query.Name) bool { return inStage(f, n.Text) })
	}
	staged := 0 // customers with an event in any named stage
	for _, u := range units {
		if slices.ContainsFunc(u.events, inAny) {
			staged++
		}
		for _, f := range u.events {
			if inAny(f) {
				t.add(0, 0, &scope{at: f})
			}
		}
	}
	channels := ev.channelsOfMap(t)
	if len(s.by) == 0 {
		channels = [][]any{nil}
	}
	groupOf := map[*fact][]any{}
	for _, r := range t.records {
		groupOf[r.scope.at] = r.group
	}
	for n, name := range q.Names {
		for _, channel := range channels {
			inRow := func(f *fact) bool {
				return inStage(f, name.Text) && (len(channel) == 0 || equalCells(groupOf[f], channel))
			}
			customers, events, next, over, broke := 0, 0, 0, 0, 0
			var times []event.Duration
			var scores []event.Value
			for _, u := range units {
				first := slices.IndexFunc(u.events, inRow)
				if first < 0 {
					continue
				}
				customers++
				last := 0
				for i, f := range u.events {
					if inAny(f) {
						last = i
					}
					if !inRow(f) {
						continue
					}
					events++
					if s.score != nil {
						if v := ev.value(s.score, &scope{at: f}); !v.IsNull() {
							scores = append(scores, v)
						}
					}
				}
				if n+1 < len(q.Names) {
					for _, f := range u.events[first+1:] {
						gap := f.Time.Sub(u.events[first].Time)
						if gap <= s.windows[0] && inStage(f, q.Names[n+1].Text) {
							next++
							times = append(times, gap)
							break
						}
					}
				}
				until := u.events[last].Time.Add(s.windows[0])
				if ev.canComeInRange(u, until, s) {
					continue
				}
				over++
				reachedGoal := s.goal != nil && slices.ContainsFunc(u.events[last:], func(f *fact) bool { return f.Time <= until && ev.fulfils(s.goal, f) })
				if inRow(u.events[last]) && !reachedGoal {
					broke++
				}
			}
			var channelCell any
			if len(channel) > 0 {
				channelCell = channel[0]
			}
			if channelCell == (rest{}) {
				channelCell = other
			}
			row := []any{name.Text, channelCell, int64(customers), int64(events), share(customers, staged),
				nil, nil, nil, int64(len(scores)), nil}
			if n+1 < len(q.Names) {
				row[5], row[6], row[9] = share(next, customers), durationPercentile(times, 0.5), share(broke, over)
			}
			if len(scores) > 0 {
				row[7] = exactSum(scores) / float64(len(scores))
			}
			t.answer.Rows = append(t.answer.Rows, row)
		}
	}
	t.order()
	return t.answer
}

// channelsOfMap lists the channels, the one with most events first.
func (ev *evaluator) channelsOfMap(t *table) [][]any {
	for i, g := range t.s.by {
		if g.Top > 0 {
			t.keepTop(i, int(g.Top))
		}
	}
	var all [][]any
	for _, r := range t.records {
		all = append(all, r.group)
	}
	return mostFrequent(all)
}

// unitsInRange are units that lost the events outside `during`.
func (ev *evaluator) unitsInRange(s *settings) []unit {
	var units []unit
	for _, u := range ev.units(s) {
		u.events = slices.DeleteFunc(slices.Clone(u.events), func(f *fact) bool { return !s.during.has(f.Time) })
		if len(u.events) > 0 {
			units = append(units, u)
		}
	}
	return units
}

// canComeInRange tells whether an event of the unit could still come up to an
// instant, where events after the range do not count as seen.
func (ev *evaluator) canComeInRange(u unit, until event.Time, s *settings) bool {
	return until > min(max(ev.end, u.events[len(u.events)-1].Time), s.during.to-1)
}
