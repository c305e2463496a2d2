package reference

import (
	"slices"
	"strings"

	"wend/event"
	"wend/query"
)

// path is one journey of `paths`: the events from first to last, and what it shows.
type path struct {
	anchor *fact
	events []*fact // behind the labels; for (longer), all of them
	labels []string
}

// topPaths is how many paths are shown without `top` and `cover`.
const topPaths = 10

func (ev *evaluator) paths(q *query.Query, s *settings) *Answer {
	t := ev.newTable(s, false, "path", "journeys", "share", "median_duration")
	s.windows = s.windows[:1]
	var paths []path
	for _, u := range ev.units(s) {
		for _, span := range ev.spans(u.events, s) {
			for _, p := range ev.pathsOf(q, s, u, span.in) {
				if s.through != nil && !slices.ContainsFunc(p.events, func(f *fact) bool { return ev.fulfils(s.through, f) }) {
					continue
				}
				paths = append(paths, p)
				t.add(0, span.period, &scope{at: p.anchor})
			}
		}
	}
	return t.finish(false, func(members []int) [][]any {
		var of []path
		for _, i := range members {
			of = append(of, paths[i])
		}
		return pathRows(s, of)
	})
}

func pathRows(s *settings, paths []path) [][]any {
	count, durations, labels := map[string]int{}, map[string][]event.Duration{}, map[string][]string{}
	for _, p := range paths {
		key := strings.Join(p.labels, "\x00") // sorts as the labels do
		labels[key] = p.labels
		count[key]++
		durations[key] = append(durations[key], p.events[len(p.events)-1].Time.Sub(p.events[0].Time))
	}
	top := s.top
	if top < 0 {
		top = topPaths
	}
	var rows [][]any
	covered := 0
	for i, key := range byCount(count) {
		if s.cover > 0 && float64(covered) >= s.cover*float64(len(paths)) || s.cover == 0 && i >= top {
			break
		}
		covered += count[key]
		rows = append(rows, []any{labels[key], int64(count[key]), share(count[key], len(paths)), durationPercentile(durations[key], 0.5)})
	}
	return rows
}

// pathsOf returns the journeys of a unit whose anchors lie in the range.
func (ev *evaluator) pathsOf(q *query.Query, s *settings, u unit, in interval) []path {
	window, events := s.windows[0], u.events
	isFrom := func(i int) bool { return in.has(events[i].Time) && ev.fulfils(q.From, events[i]) }
	isTo := func(i int) bool { return ev.fulfils(q.To, events[i]) }
	inWindow := func(i, j int) bool { return events[j].Time.Sub(events[i].Time) <= window }
	var found []path
	switch {
	case q.From == nil && q.To == nil:
		var inRange []*fact
		for _, f := range events {
			if in.has(f.Time) {
				inRange = append(inRange, f)
			}
		}
		if len(inRange) > 0 {
			found = append(found, ev.firstLabels(s, inRange))
		}
	case q.To == nil:
		for i := range events {
			if !isFrom(i) {
				continue
			}
			end := i
			for end < len(events) && inWindow(i, end) {
				end++
			}
			found = append(found, ev.firstLabels(s, events[i:end]))
			if !q.FromEach {
				break
			}
		}
	case q.From == nil:
		for j := range events {
			if !in.has(events[j].Time) || !isTo(j) {
				continue
			}
			begin := j
			for begin > 0 && inWindow(begin-1, j) {
				begin--
			}
			found = append(found, ev.lastLabels(s, events[begin:j+1]))
			if !q.ToEach {
				break
			}
		}
	case q.FromEach:
		for i := range events {
			if !isFrom(i) {
				continue
			}
			for j := i + 1; j < len(events); j++ {
				if isTo(j) {
					if inWindow(i, j) {
						found = append(found, ev.allLabels(s, events[i:j+1]))
					}
					break
				}
			}
		}
	default:
		for j := range events {
			if !isTo(j) {
				continue
			}
			i := 0
			for i < j && !(isFrom(i) && inWindow(i, j)) {
				i++
			}
			if i == j {
				continue
			}
			found = append(found, ev.allLabels(s, events[i:j+1]))
			if !q.ToEach {
				break
			}
		}
	}
	return found
}

// runs groups neighbouring events that show as one label.
func (ev *evaluator) runs(s *settings, events []*fact) (runs [][]*fact, labels []string) {
	for _, f := range events {
		label := ev.label(s.of, f)
		if n := len(runs); s.collapse && n > 0 && labels[n-1] == label {
			runs[n-1] = append(runs[n-1], f)
			continue
		}
		runs, labels = append(runs, []*fact{f}), append(labels, label)
	}
	return runs, labels
}

func (ev *evaluator) firstLabels(s *settings, events []*fact) path {
	runs, labels := ev.runs(s, events)
	n := min(s.length, len(runs))
	return path{events[0], slices.Concat(runs[:n]...), labels[:n]}
}

func (ev *evaluator) lastLabels(s *settings, events []*fact) path {
	runs, labels := ev.runs(s, events)
	n := max(0, len(runs)-s.length)
	return path{events[len(events)-1], slices.Concat(runs[n:]...), labels[n:]}
}

func (ev *evaluator) allLabels(s *settings, events []*fact) path {
	_, labels := ev.runs(s, events)
	if len(labels) > s.length {
		labels = []string{"(longer)"}
	}
	return path{events[0], events, labels}
}

// transitions counts neighbouring events of a unit.
func (ev *evaluator) transitions(q *query.Query, s *settings) *Answer {
	columns := []string{"source", "target", "count", "share_of_source"}
	if q.Times {
		columns = append(columns, "median_gap")
	}
	t := ev.newTable(s, false, columns...)
	var pairs [][2]*fact
	for _, u := range ev.units(s) {
		for i, f := range u.events[:len(u.events)-1] {
			next := u.events[i+1]
			if !s.during.has(f.Time) || s.collapse && ev.label(s.of, f) == ev.label(s.of, next) {
				continue
			}
			pairs = append(pairs, [2]*fact{f, next})
			period := event.Time(0)
			if s.every != "" {
				period = ev.period(f.Time, s.every).from
			}
			t.add(0, period, &scope{at: f})
		}
	}
	return t.finish(false, func(members []int) [][]any {
		count, gaps, ofSource := map[string]int{}, map[string][]event.Duration{}, map[string]int{}
		for _, i := range members {
			source, target := ev.label(s.of, pairs[i][0]), ev.label(s.of, pairs[i][1])
			key := source + "\x00" + target // sorts by source, then target
			count[key]++
			ofSource[source]++
			gaps[key] = append(gaps[key], pairs[i][1].Time.Sub(pairs[i][0].Time))
		}
		var rows [][]any
		for i, key := range byCount(count) {
			if s.top >= 0 && i >= s.top {
				break
			}
			source, target, _ := strings.Cut(key, "\x00")
			row := []any{source, target, int64(count[key]), share(count[key], ofSource[source])}
			if q.Times {
				row = append(row, durationPercentile(gaps[key], 0.5))
			}
			rows = append(rows, row)
		}
		return rows
	})
}
