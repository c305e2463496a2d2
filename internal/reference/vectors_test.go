package reference

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"wend/event"
	"wend/query"
)

// base is the instant 0 of the histories below.
const base event.Time = 1735689600 * 1000000 // 2025-01-01T00:00:00Z

// history reads "A0 B1 X(p2)3": events, the value of p, seconds after base.
func history(t *testing.T, customer, text string) []event.Event {
	t.Helper()
	var events []event.Event
	for word := range strings.FieldsSeq(text) {
		name := strings.TrimRight(word, "0123456789")
		seconds, err := strconv.Atoi(word[len(name):])
		if err != nil {
			t.Fatalf("history %q: %v", text, err)
		}
		e := event.Event{Customer: customer, Time: base + event.Time(seconds)*event.Time(event.Second)}
		name, p, held := strings.Cut(strings.TrimSuffix(name, ")"), "(")
		e.Name = name
		if held {
			e.Props = []event.Prop{{Name: "p", Value: event.String(p)}}
		}
		events = append(events, e)
	}
	return events
}

func answer(t *testing.T, events []event.Event, end event.Time, text string, definitions ...string) *Answer {
	t.Helper()
	st, err := query.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var defs []event.Definition
	for _, d := range definitions {
		parsed, err := query.Parse(d)
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		defs = append(defs, event.Definition{Kind: parsed[0].Define.Kind, Name: parsed[0].Define.Name.Text, Text: d})
	}
	a, err := Evaluate(events, nil, st[0], defs, end)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

// verdict is what a funnel says of one unit, as section 9 writes it: level,
// status and the second of the entry.
func verdict(a *Answer) string {
	if len(a.Rows) == 0 {
		return "not counted"
	}
	level, status, entry := int64(0), "converted", a.Rows[0][0].(event.Time)
	for _, row := range a.Rows {
		if row[3].(int64) > 0 {
			level = row[1].(int64)
		}
		if row[6].(int64) > 0 {
			status = "dropped"
		}
		if row[7].(int64) > 0 {
			status = "open"
		}
	}
	return fmt.Sprintf("%d, %s, entry %d", level, status, (entry-base)/event.Time(event.Second))
}

// TestLevelVectors holds the vectors of section 9 that follow one unit.
func TestLevelVectors(t *testing.T) {
	f := func(vector, events string, end int, pattern, want string) {
		t.Helper()
		rows := history(t, "c", events)
		last := rows[len(rows)-1].Time
		if end >= 0 {
			last = base + event.Time(end)*event.Time(event.Second)
		}
		if !strings.Contains(pattern, "within") {
			pattern += " within 10s"
		}
		if got := verdict(answer(t, rows, last, "funnel "+pattern+" by time")); got != want {
			t.Errorf("vector %s: %s over %s: got %s, want %s", vector, pattern, events, got, want)
		}
	}
	f("1", "A0 A5", 12, "A -> B", "1, open, entry 5")
	f("2", "A0 B1 A20", 25, "A -> B -> C", "2, open, entry 0")
	f("3", "A0", 9, "A -> B", "1, open, entry 0")
	f("3", "A0", 10, "A -> B", "1, dropped, entry 0")
	f("4", "A0", 5, "A ->[2s] B", "1, dropped, entry 0")
	f("5", "A0", 5, "A => B", "1, open, entry 0")
	f("5", "A0 X1", 5, "A => B", "1, dropped, entry 0")
	f("6", "A0 X1", 5, "A -> !X -> B", "1, dropped, entry 0")
	f("6", "A0 X1", 5, "A -> !X -> B exclusion void", "not counted")
	f("6", "A0 X1", 5, "A -> !X -> B exclusion drop", "not counted")
	f("7", "A0 X1 A2 B3", -1, "A -> !X -> B", "2, converted, entry 2")
	f("7", "A0 X1 A2 B3", -1, "A -> !X -> B exclusion void", "2, converted, entry 2")
	f("7", "A0 X1 A2 B3", -1, "A -> !X -> B exclusion drop", "not counted")
	for _, exclusion := range []string{"cut", "void", "drop"} {
		f("8", "A0 B1 X2 B3 C4", -1, "A -> B -> !X -> C exclusion "+exclusion, "3, converted, entry 0")
	}
	f("9", "A0 B0 A0", -1, "A -> B -> A", "2, open, entry 0")
	f("9", "A0 B0 A0", -1, "A -> B -> A ties arrival", "3, converted, entry 0")
	f("10", "X0 A0 B5", -1, "A => B", "1, dropped, entry 0")
	f("10", "X0 A0 B5", -1, "A -> !X -> B", "1, dropped, entry 0")
	f("10", "X0 A0 B5", -1, "A => B ties arrival", "2, converted, entry 0")
	f("10", "X0 A0 B5", -1, "A -> !X -> B ties arrival", "2, converted, entry 0")
	f("11", "A0 X5 B5", -1, "A -> !X -> B", "2, converted, entry 0")
	f("11", "A0 X5 B5", -1, "A -> !X -> B ties arrival", "1, dropped, entry 0")
	f("12", "A(p1)0 X(p2)1 B(p1)2", -1, "A -> !X -> B holding p", "2, converted, entry 0")
	f("12", "A(p1)0 X1 B(p1)2", -1, "A -> !X -> B holding p", "1, dropped, entry 0")
	f("13", "A0 A5 B12", -1, "A -> B", "2, converted, entry 5")
	f("17", "B0 A3", -1, "any order (A, B)", "2, converted, entry 0")
	f("17", "A0", -1, "any order (A, A)", "1, open, entry 0")
	f("17", "A0 A3", -1, "any order (A, A)", "2, converted, entry 0")
	f("26", "A0 A30 B45 C75", -1, "A -> B -> C within 60s", "3, converted, entry 30")
	f("26", "A0 A30 B45 C75", -1, "A -> B -> C within 60s entry first", "2, dropped, entry 0")
	f("27", "A0 B1 B5 C8", -1, "A ->[5s] B ->[5s] C", "3, converted, entry 0")

	// Beyond the vectors: the window's last microsecond, and what ends an attempt.
	f("window", "A0 B10", -1, "A -> B", "2, converted, entry 0")
	f("window", "A0 B11", -1, "A -> B", "1, dropped, entry 0")
	f("gap at the end", "A0", 2, "A ->[2s] B", "1, dropped, entry 0")
	f("gap not over", "A0", 1, "A ->[2s] B", "1, open, entry 0")
	f("the latest chain", "A0 A1 B2 B3 C4", -1, "A -> B -> C", "3, converted, entry 1")
	f("the first conversion", "A0 B1 A2 B3", -1, "A -> B", "2, converted, entry 0")
	f("the last attempt", "A0 B1 A2 B3", 30, "A -> B -> C", "2, dropped, entry 2")
	f("session over", "A0", 8, "A -> B per session gap 8s", "1, dropped, entry 0")
	f("session not over", "A0", 7, "A -> B per session gap 8s", "1, open, entry 0")
	f("session cut", "A0 B9", -1, "A -> B per session gap 8s", "1, dropped, entry 0")
}

// TestCountVectors holds the vectors that count attempts and entries: how many
// there are and how many converted.
func TestCountVectors(t *testing.T) {
	f := func(vector, events, statement string, begun, converted int64) {
		t.Helper()
		rows := history(t, "c", events)
		a := answer(t, rows, rows[len(rows)-1].Time, "funnel "+statement+" within 10s")
		if got := [2]int64{a.Rows[0][2].(int64), a.Rows[len(a.Rows)-1][2].(int64)}; got != [2]int64{begun, converted} {
			t.Errorf("vector %s: %s over %s: got %d, want %d %d", vector, statement, events, got, begun, converted)
		}
	}
	f("13", "A0 A5 B12", "A -> B count attempts", 1, 0)
	f("13", "A0 A5 B12", "A -> B count entries", 2, 1)
	f("14", "P0 P1 P2", "P -> P count attempts", 2, 1)
	f("14", "P0 P1 P2", "P -> P count entries", 3, 2)
	f("15", "A0 A1 A2 B3", "A -> !A -> B count attempts", 2, 1)
	f("16", "A0 X1 A2 B3", "A => B count attempts", 2, 1)
	f("a second attempt after the window", "A0 A11 B12", "A -> B count attempts", 2, 1)
	f("not before the window is over", "A0 A10 B12", "A -> B count attempts", 1, 0)
}

func TestEveryDayVector(t *testing.T) {
	events := history(t, "c", "A0 B1 A86400")
	a := answer(t, events, events[2].Time, "funnel A -> B every day")
	got := fmt.Sprint(a.Rows[0][3], a.Rows[1][3], a.Rows[2][3], a.Rows[3][3])
	if len(a.Rows) != 4 || got != "1 1 1 0" {
		t.Errorf("vector 18: got %s in %v", got, a.Rows)
	}
}

func TestPathVector(t *testing.T) {
	events := history(t, "c", "A0 B5 C12")
	a := answer(t, events, events[2].Time, "paths from A within 10s")
	if got := fmt.Sprint(a.Rows); got != "[[[A B] 1 1 5000]]" {
		t.Errorf("vector 19: got %s", got)
	}
}

func TestPercentileVector(t *testing.T) {
	var events []event.Event
	for i := range 4 {
		events = append(events, event.Event{Customer: "c", Name: "A", Time: base, Props: []event.Prop{{Name: "v", Value: event.Integer(int64(i + 1))}}})
	}
	a := answer(t, events, base, "measure median(v), p95(v)")
	if got := fmt.Sprintf("%.12v", a.Rows); got != "[[2.5 3.85]]" {
		t.Errorf("vector 24: got %s", got)
	}
}
