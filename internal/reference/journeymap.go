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
			r := mapRow{inAny: inAny, inRow: func(f *fact) bool {
				return inStage(f, name.Text) && (len(channel) == 0 || equalCells(groupOf[f], channel))
			}}
			if n+1 < len(q.Names) {
				r.inNext = func(f *fact) bool { return inStage(f, q.Names[n+1].Text) }
			}
			for _, u := range units {
				ev.addToRow(&r, u, s)
			}
			var channelCell any
			if len(channel) > 0 {
				channelCell = channel[0]
			}
			if channelCell == (rest{}) {
				channelCell = other
			}
			row := []any{name.Text, channelCell, int64(r.customers), int64(r.events), share(r.customers, staged),
				nil, nil, nil, int64(len(r.scores)), nil}
			if r.inNext != nil {
				row[5], row[6], row[9] = share(r.next, r.customers), durationPercentile(r.times, 0.5), share(r.broke, r.over)
			}
			if len(r.scores) > 0 {
				row[7] = exactSum(r.scores) / float64(len(r.scores))
			}
			t.answer.Rows = append(t.answer.Rows, row)
		}
	}
	t.order()
	return t.answer
}

// mapRow is a row of the journey map in the making: what belongs to it, and what
// was counted of it.
type mapRow struct {
	inAny, inRow, inNext func(*fact) bool // inNext is nil in the last stage

	customers, events int
	scores            []event.Value
	next              int // customers who came to the next stage, and after how long
	times             []event.Duration
	over, broke       int // customers whose last event's window is over, and those of them whose journey broke here
}

func (ev *evaluator) addToRow(r *mapRow, u unit, s *settings) {
	first := slices.IndexFunc(u.events, r.inRow)
	if first < 0 {
		return
	}
	r.customers++
	last := 0
	for i, f := range u.events {
		if r.inAny(f) {
			last = i
		}
		if !r.inRow(f) {
			continue
		}
		r.events++
		if s.score != nil {
			if v := ev.value(s.score, &scope{at: f}); !v.IsNull() {
				r.scores = append(r.scores, v)
			}
		}
	}
	if r.inNext != nil {
		for _, f := range u.events[first+1:] {
			gap := f.Time.Sub(u.events[first].Time)
			if gap <= s.windows[0] && r.inNext(f) {
				r.next++
				r.times = append(r.times, gap)
				break
			}
		}
	}
	until := u.events[last].Time.Add(s.windows[0])
	if ev.canComeInRange(u, until, s) {
		return
	}
	r.over++
	reachedGoal := s.goal != nil && slices.ContainsFunc(u.events[last:], func(f *fact) bool { return f.Time <= until && ev.fulfils(s.goal, f) })
	if r.inRow(u.events[last]) && !reachedGoal {
		r.broke++
	}
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
