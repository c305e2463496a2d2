package reference

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"wend/event"
)

// on reads "t@web0 C1": like history, with channels.
func on(t *testing.T, customer, text string) []event.Event {
	t.Helper()
	var events []event.Event
	for word := range strings.FieldsSeq(text) {
		name, rest, onChannel := strings.Cut(word, "@")
		channel := strings.TrimRight(rest, "0123456789")
		if onChannel {
			word = name + strings.TrimPrefix(rest, channel)
		}
		e := history(t, customer, word)[0]
		e.Channel = channel
		events = append(events, e)
	}
	return events
}

// flat writes an answer's rows on one line, numbers to six digits.
func flat(a *Answer) string {
	var rows []string
	for _, row := range a.Rows {
		var cells []string
		for _, c := range row {
			if f, ok := c.(float64); ok {
				c = math.Round(f*1e6) / 1e6
			}
			cells = append(cells, fmt.Sprint(c))
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return strings.Join(rows, ", ")
}

// TestFurtherVectors holds vectors 20 to 25 of section 9, and chains solved by hand.
func TestFurtherVectors(t *testing.T) {
	lost := " [t@a0 t@b1 C2] [t@a0 t@c1] [t@b0 C1]" // P = 2/3; without a 1/3, without b 0
	runs := "[t@a0 t@a1 t@b2 t@a3 C4] [t@b0]"       // effects: a 1, b 1/2
	past := "[t@x0 t@b1 C2] [t@y0 t@b1]"            // to order 1, y leads on to a conversion
	for _, c := range []struct{ journeys, statement, want string }{
		{"[t@web0 C1 C1]", "attribute C to channel using last", "(direct) 1, web 1"},
		{"[t@web0 t@web1 t@app2 C3]", "attribute C to channel using linear, shapley", "web 0.666667 0.5, app 0.333333 0.5"},
		{"[t@web0 t@app604800 C604800]", "attribute C to channel using decay(7d)", "app 0.666667, web 0.333333"},
		{"[view0 view1 buy2 view3 buy4]", "match view+ => buy", "1 2 1500"},
		{"[t@web0 purchase@store1]", "switches within 10s end 2025-01-01T00:00:20", "web store 1 1 1 0 1 1000"},
		{"[t@web0 purchase@store1]", "switches within 10s goal purchase end 2025-01-01T00:00:20", "web store 1 1 0 0 0 1000"},
		{"[t@web0 purchase@store1]", "switches within 10s end 2025-01-01T00:00:10", "web store 1 1 0 1 <nil> 1000"},
		{lost, "attribute C to channel using markov", "b 1.333333, a 0.666667, c 0"},
		{runs, "attribute C to channel using markov", "a 0.666667, b 0.333333"},
		{past, "attribute C to channel using markov, markov(2)", "b 0.5 0.5, x 0.25 0.5, y 0.25 0"},
		{"[t@a0 t@b1 t@c2 t@d3 C4]", "attribute C to channel using position", "a 0.4, d 0.4, b 0.1, c 0.1"},
		{"[A0 B86400 A90000 B180000] [A1]", "retention A -> B every day for 2",
			"1735689600000000 2 0 2 1, 1735689600000000 2 1 1 0.5, 1735689600000000 2 2 1 <nil>"},
		{"[A0 B1 C2] [A0 C1] [A0]", "flow from A within 1h depth 2 end 2025-01-02",
			"1 A (exit) 1 0.333333, 1 A B 1 0.333333, 1 A C 1 0.333333, 2 B C 1 0.333333, 2 C (exit) 1 0.333333"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			var events []event.Event
			for i, journey := range strings.Split(strings.Trim(c.journeys, " []"), "] [") {
				events = append(events, on(t, fmt.Sprint("c", i), journey)...)
			}
			end := event.MinTime
			for _, e := range events {
				end = max(end, e.Time)
			}
			text := strings.ReplaceAll(c.statement, " end 2025-01-01T00:00:20", "")
			switch {
			case text != c.statement:
				end = base.Add(20 * event.Second)
			case strings.Contains(text, "end 2025-01-02"):
				end = base.Add(event.Day)
			case strings.Contains(text, "end 2025-01-01T00:00:10"):
				end = base.Add(10 * event.Second)
			}
			if got := strings.ReplaceAll(flat(answer(t, events, end, text)), "2025-01-01T00:00:00Z", "1735689600000000"); got != c.want {
				t.Errorf("%s: %s, want %s", c.journeys, got, c.want)
			}
		})
	}
}

// TestRightShapley holds the shortcut for many labels to the definition.
func TestRightShapley(t *testing.T) {
	labels := strings.Split("abcdefghij", "")
	one := func(conversion) float64 { return 1 }
	for n := 2; n <= playersMax; n++ {
		conversions := []conversion{{labels: labels[:n]}, {labels: labels[n/2 : n]}, {labels: []string{"a", "b", "a"}}}
		byDefinition, shared := map[string]float64{}, map[string]float64{}
		shapley(conversions, one, byDefinition)
		shareEqually(conversions, one, shared)
		for label, want := range byDefinition {
			if math.Abs(shared[label]-want) > 1e-12 {
				t.Errorf("%d labels, %s: %v, by the definition %v", n, label, shared[label], want)
			}
		}
	}
}
