package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// million is one customer with a million events, one a second: the same ten
// names again and again, and a value that changes every seven events.
func million() []event.Event {
	names := []string{"A", "A", "B", "A", "X", "B", "B", "A", "Y", "Y"}
	events := make([]event.Event, 1_000_000)
	for i := range events {
		events[i] = at("ann", int64(i), names[i%10], "")
		events[i].Props = []event.Prop{{Name: "p", Value: event.Integer(int64(i / 7))}}
	}
	return events
}

// Every way of counting goes through a long journey once: what would look at
// every pair of events would not come to an end.
func TestJourneyOfAMillionEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	snap := enginetest.Must(million(), enginetest.Options{})
	for _, test := range []struct{ query, want string }{
		{"funnel A -> B -> C within 30d", "[1 1 0]"},
		{"funnel A -> !X -> B -> C within 30d count entries", "[400000 299999 0]"},
		{"funnel A ->[3s] B ->[1h] !X -> Z within 30d count entries exclusion void", "[200001 100001 0]"},
		{"funnel A => A => B within 30d count attempts", "[300000 100000 100000]"},
		{"funnel A -> B within 30d holding p", "[1 1]"},
		{"funnel A -> !X -> C within 30d holding p exclusion drop", "[0 0]"},
		{"funnel any order (A, B, Z) within 30d", "[1 1 0]"},
		{"funnel A -> B within 1m every hour", ""},
		{"dropoff A -> C within 30d", ""},
	} {
		st := test.query + " lenient"
		res, err := run(snap, st, engine.RunOptions{})
		if err != nil {
			t.Errorf("%s: %v", st, err)
			continue
		}
		got := []any{}
		for i, column := range res.Columns {
			if column.Name == "customers" || column.Name == "attempts" || column.Name == "entries" {
				for _, row := range res.Rows {
					got = append(got, row[i])
				}
			}
		}
		if test.want != "" && fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", st, got, test.want)
		}
	}
}

func TestLongJourneysCanBeCancelled(t *testing.T) {
	events := make([]event.Event, 200_000)
	for i := range events {
		events[i] = at("ann", int64(i), "A", "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	snap := enginetest.Must(events, enginetest.Options{OnTile: func(int) error { cancel(); return nil }})
	if _, err := runContext(ctx, snap, "funnel A -> A -> A within 1d", engine.RunOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}
