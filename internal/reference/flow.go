package reference

import (
	"cmp"
	"slices"
	"strings"

	"wend/event"
	"wend/query"
)

// Where the language is silent about flow: the levels count edges from 1; `top`
// keeps the most frequent labels of the nodes at each distance from the anchor,
// (exit), (open) and (start) besides. Source comes before target in time, also
// with `to`. Shares are of all journeys of the period and group. Without `from`
// and `to` events outside `during` are not seen, and nothing can come after it.

// topOfFlow is how many labels a level keeps without `top`.
const topOfFlow = 5

// Where a flow ends before its depth.
const (
	exitNode  = "(exit)"
	openNode  = "(open)"
	startNode = "(start)"
)

// stream is the nodes of one journey, away from the anchor.
type stream struct {
	anchor *fact
	labels []string
	end    string // "" if the depth was reached
}

func (ev *evaluator) flow(q *query.Query, s *settings) *Answer {
	t := ev.newTable(s, false, "level", "source", "target", "journeys", "share")
	var streams []stream
	for _, u := range ev.units(s) {
		for _, span := range ev.spans(u.events, s) {
			if st, ok := ev.streamOf(q, s, u, span.in); ok {
				streams = append(streams, st)
				t.add(0, span.period, &scope{at: st.anchor})
			}
		}
	}
	return t.finish(false, func(members []int) [][]any {
		var of []stream
		for _, i := range members {
			of = append(of, streams[i])
		}
		return flowRows(q, s, of)
	})
}

func (ev *evaluator) streamOf(q *query.Query, s *settings, u unit, in interval) (stream, bool) {
	events, last := u.events, event.MaxTime
	if q.From == nil && q.To == nil {
		last = in.to - 1
		events = slices.DeleteFunc(slices.Clone(events), func(f *fact) bool { return !in.has(f.Time) })
	}
	anchor := slices.IndexFunc(events, func(f *fact) bool {
		return in.has(f.Time) && (q.From == nil || ev.fulfils(q.From, f)) && (q.To == nil || ev.fulfils(q.To, f))
	})
	if anchor < 0 {
		return stream{}, false
	}
	st := stream{anchor: events[anchor]}
	var seen []*fact
	for i := anchor; i >= 0 && i < len(events); {
		apart := events[i].Time.Sub(st.anchor.Time)
		if max(apart, -apart) > s.windows[0] {
			break
		}
		seen = append(seen, events[i])
		if q.To != nil {
			i--
		} else {
			i++
		}
	}
	_, st.labels = ev.runs(s, seen)
	switch {
	case len(st.labels) > s.depth:
		st.labels = st.labels[:s.depth+1]
	case q.To != nil:
		st.end = startNode
	case ev.canGoOn(u, min(last, st.anchor.Time.Add(s.windows[0]))):
		st.end = openNode
	default:
		st.end = exitNode
	}
	return st, true
}

func flowRows(q *query.Query, s *settings, streams []stream) [][]any {
	top := s.top
	if top < 0 {
		top = topOfFlow
	}
	nodes := make([][]string, len(streams)) // as shown
	for level := 0; level <= s.depth; level++ {
		count := map[string]int{}
		for _, st := range streams {
			if level < len(st.labels) {
				count[st.labels[level]]++
			}
		}
		kept := byCount(count)
		kept = kept[:min(top, len(kept))]
		for i, st := range streams {
			switch {
			case level == len(st.labels):
				nodes[i] = append(nodes[i], st.end)
			case level < len(st.labels) && slices.Contains(kept, st.labels[level]):
				nodes[i] = append(nodes[i], st.labels[level])
			case level < len(st.labels):
				nodes[i] = append(nodes[i], other)
			}
		}
	}
	var rows [][]any
	for level := 1; level <= s.depth; level++ {
		count := map[string]int{}
		for _, n := range nodes {
			if level >= len(n) {
				continue
			}
			source, target := n[level-1], n[level]
			if q.To != nil {
				source, target = target, source
			}
			count[source+"\x00"+target]++
		}
		keys := byCount(count)
		slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(count[b], count[a]) })
		for _, key := range keys {
			source, target, _ := strings.Cut(key, "\x00")
			rows = append(rows, []any{int64(level), source, target, int64(count[key]), share(count[key], len(streams))})
		}
	}
	return rows
}
