package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/internal/trust"
)

// longJourney is one customer's events, some at one time: all fit each other,
// but what would end a pattern comes last.
func longJourney(n int, sameTime bool) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		second := int64(i)
		if sameTime {
			second = 0
		}
		events[i] = at("ann", second, []string{"a", "a", "b"}[i%3], "web")
		events[i].Props = []event.Prop{{Name: "n", Value: event.Integer(int64(i % 7))}}
	}
	events[n-1].Name = "z"
	return events
}

// Patterns and regular expressions take time in proportion to the events and
// to their steps, however their parts overlap: nothing is tried twice.
func TestMatchingTakesStepsInProportion(t *testing.T) {
	small := int(trust.Number("WEND_STEPS_EVENTS", 5_000))
	const a32 = "a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> a -> z"
	worst := 0.0
	for _, c := range []struct {
		text  string
		steps int64 // of the pattern; nodes of the automaton
	}{
		{"funnel " + a32 + " within 10000d", 32},
		{"funnel (a | b) -> (a | b) -> a -> !b -> a => b -> z within 10000d", 8},
		{"funnel " + a32 + " within 10000d count attempts", 32},
		{"funnel " + a32 + " within 10000d count entries", 32},
		{"funnel a -> b -> z within 10000d holding n", 3},
		{"funnel any order (a, a, a, b, b, b, z) within 10000d", 49},
		{"match (a* => a*){20} => z", 140},
		{"match ((a | b)* => (a | b)*)* => z", 12},
		{"match (a? => b?){100} => z", 500},
	} {
		for _, same := range []bool{false, true} {
			taken := [2]int64{}
			for i, n := range []int{small, 4 * small} {
				snap := enginetest.Must(longJourney(n, same), enginetest.Options{})
				var limit *engine.LimitError
				_, err := run(snap, c.text, engine.RunOptions{Workers: 1, Time: time.Minute}.WithSpent(func(_, _, steps int64) { taken[i] = steps }))
				if err != nil && !errors.As(err, &limit) {
					t.Fatalf("%s: %v", c.text, err)
				}
				per := float64(taken[i]) / float64(int64(n)*c.steps)
				if worst = max(worst, per); per > 4 {
					t.Errorf("%s over %d events, at one time: %v: %d steps, %.1f for each event and step", c.text, n, same, taken[i], per)
				}
			}
			if taken[1] > 5*taken[0]+1000 {
				t.Errorf("%s, at one time: %v: %d steps, %d over four times the events", c.text, same, taken[0], taken[1])
			}
		}
	}
	trust.Report(t, "2.3", "matching_events", 4*small, "steps_by_events_and_steps_at_most", fmt.Sprintf("%.2f", worst), "allowed", 4)
}
