package reference

import (
	"cmp"
	"slices"

	"wend/event"
)

// Where the language is silent about moments: events outside `during` do not
// exist for it, and a window that reaches beyond the range is not over. reach is
// of all customers with an event left, also with `by`, which reads the first
// occurrence. fall is null over nobody, moment where one of its factors is.
// Rows by moment, the greatest first, then by customers, then by label.

// occurrence is a customer's first event with a label.
type occurrence struct {
	label string
	fate  fate
	falls bool // there is a score before and one after
	fall  float64
}

func (ev *evaluator) moments(s *settings) *Answer {
	t := ev.newTable(s, false, "touchpoint", "customers", "reach", "fall", "fall_n", "loss", "moment")
	units := ev.unitsInRange(s)
	var occurrences []occurrence
	for _, u := range units {
		seen := map[string]bool{}
		for i, f := range u.events {
			label := ev.label(s.of, f)
			if seen[label] {
				continue
			}
			seen[label] = true
			o := occurrence{label: label, fate: ev.fateAfter(u, i, s)}
			if o.fate != wentOn {
				o.fate = lost
				if ev.canComeInRange(u, f.Time.Add(s.windows[0]), s) {
					o.fate = stillOpen
				}
			}
			o.fall, o.falls = ev.fallAt(u, i, s)
			occurrences = append(occurrences, o)
			t.add(0, 0, &scope{at: f})
		}
	}
	return t.finish(false, func(members []int) [][]any {
		byLabel := map[string][]occurrence{}
		for _, i := range members {
			byLabel[occurrences[i].label] = append(byLabel[occurrences[i].label], occurrences[i])
		}
		var rows [][]any
		for label, of := range byLabel {
			rows = append(rows, momentRow(s, label, of, len(units)))
		}
		slices.SortFunc(rows, func(a, b []any) int {
			byMoment := compareCells(b[6], a[6])
			if a[6] == nil || b[6] == nil {
				byMoment = -byMoment // null last
			}
			return cmp.Or(byMoment, compareCells(b[1], a[1]), compareCells(a[0], b[0]))
		})
		if s.top >= 0 && len(rows) > s.top {
			rows = rows[:s.top]
		}
		return rows
	})
}

func momentRow(s *settings, label string, of []occurrence, customers int) []any {
	gone, decided, falls := 0, 0, 0
	var fallen []event.Value
	for _, o := range of {
		if o.fate == lost {
			gone++
		}
		if o.fate != stillOpen {
			decided++
		}
		if o.falls {
			falls++
			fallen = append(fallen, event.Float(o.fall))
		}
	}
	row := []any{label, int64(len(of)), share(len(of), customers), nil, int64(falls), share(gone, decided), nil}
	switch {
	case s.score == nil:
		row[3], row[4] = 1.0, nil
	case falls > 0:
		row[3] = max(0, exactSum(fallen)/float64(falls))
	}
	if row[3] != nil && row[5] != nil {
		row[6] = row[2].(float64) * row[3].(float64) * row[5].(float64)
	}
	return row
}

// fallAt is the last score before event i less the first at or after it.
func (ev *evaluator) fallAt(u unit, i int, s *settings) (float64, bool) {
	if s.score == nil {
		return 0, false
	}
	before, after := event.Null, event.Null
	for k, f := range u.events {
		v := ev.value(s.score, &scope{at: f})
		switch {
		case v.IsNull():
		case k < i:
			before = v
		case after.IsNull() && f.Time.Sub(u.events[i].Time) <= s.windows[0]:
			after = v
		}
	}
	if before.IsNull() || after.IsNull() {
		return 0, false
	}
	return before.Float() - after.Float(), true
}
