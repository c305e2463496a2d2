package engine_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// withQuantiles are statements that need all of some values to tell a quantile.
var withQuantiles = []string{
	"transitions with times",
	"transitions with times of event, channel top 5",
	"transitions with times by g collapse",
	"switches within 1d",
	"switches within 1d by g top 2",
	"times A -> B -> C within 30d count attempts",
	"times A -> B within 30d by g top 2 count attempts every month",
	"funnel A -> B -> C within 30d count attempts",
	"funnel A -> B => C within 1h, 30d by g count attempts",
	"dropoff A -> B -> C within 100s by g count attempts",
	"next after A -> B within 30d by g count attempts",
	"match A+ => * by g",
	"measure median(n), p90(n), p95(f), median(abs(f))",
	"measure median(n), median(f) by g top 3 every month",
}

// spreadOf are events whose gaps and numbers are as a function of a random
// source makes them. Every 20th has no number.
func spreadOf(customers, each int, gap func(*rand.Rand) int64) []event.Event {
	r := rand.New(rand.NewPCG(11, 12))
	var events []event.Event
	for c := range customers {
		now := int64(0)
		for range each {
			now += gap(r)
			e := at(fmt.Sprintf("c%d", c), 0, string(rune('A'+r.IntN(3))), []string{"web", "app", ""}[r.IntN(3)])
			e.Time += event.Time(now)
			e.Props = []event.Prop{{Name: "g", Value: event.Integer(int64(r.IntN(5)))}}
			if r.IntN(20) > 0 {
				x := gap(r)
				e.Props = append(e.Props, event.Prop{Name: "n", Value: event.Integer(x - 3)}, event.Prop{Name: "f", Value: event.Float(-float64(x) / 7)})
			}
			events = append(events, e)
		}
	}
	return events
}

var spreads = map[string]func(*rand.Rand) int64{
	"all alike":        func(*rand.Rand) int64 { return 90e6 },
	"two values":       func(r *rand.Rand) int64 { return r.Int64N(2) * 3600e6 },
	"close together":   func(r *rand.Rand) int64 { return 60e6 + r.Int64N(1000) },
	"one far away":     func(r *rand.Rand) int64 { return 5 + r.Int64N(3) + max(0, r.Int64N(2000)-1998)*1e15 },
	"every magnitude":  func(r *rand.Rand) int64 { return r.Int64N(1 << (1 + r.IntN(40))) },
	"all of one range": func(r *rand.Rand) int64 { return r.Int64N(86400e6) },
}

// Values that do not fit are looked for in passes, and the answer is that of
// all values in lists.
func TestQuantilesWithinLittleMemory(t *testing.T) {
	fellBack := 0
	for name, gap := range spreads {
		snap := enginetest.Must(spreadOf(70, 50, gap), enginetest.Options{Tiles: 6})
		for _, text := range withQuantiles {
			count := func(passes *atomic.Int64) func(string) {
				return func(shortCut string) {
					if shortCut == "passes" {
						passes.Add(1)
					}
				}
			}
			var inLists, inPasses atomic.Int64
			var most int64
			want, err := run(snap, text, engine.RunOptions{Workers: 2, Took: count(&inLists)}.WithSpent(func(bytes, _, _ int64) { most = bytes }))
			if err != nil || len(want.Rows) == 0 || inLists.Load() > 0 {
				t.Fatalf("%s: %s: %d rows, %d tiles in passes: %v", name, text, len(want.Rows), inLists.Load(), err)
			}
			for _, bytes := range []int64{1, 1_000, 30_000} {
				inPasses.Store(0)
				got, err := run(snap, text, engine.RunOptions{Workers: 3, Passes: bytes, Took: count(&inPasses)})
				if err != nil {
					t.Fatalf("%s: %s: with %d bytes for values: %v", name, text, bytes, err)
				}
				if d := differ(got, want); d != "" || !reflect.DeepEqual(got.Chart, want.Chart) || inPasses.Load() < 6 {
					t.Errorf("%s: %s: with %d bytes for values, %d tiles in passes: %s", name, text, bytes, inPasses.Load(), d)
				}
			}
			// Less and less memory, until the limit is reached in passes, too.
			for limit := most - 1; limit > 0; limit -= max(most/8, 1) { // 0 would be the default
				inPasses.Store(0)
				got, err := run(snap, text, engine.RunOptions{Workers: 2, MemoryBytes: limit, Took: count(&inPasses)})
				if err != nil {
					break
				}
				if inPasses.Load() > 0 {
					fellBack++
				}
				if d := differ(got, want); d != "" {
					t.Errorf("%s: %s: with %d bytes in all, %d tiles in passes: %s", name, text, limit, inPasses.Load(), d)
				}
			}
		}
	}
	if fellBack < len(spreads)*len(withQuantiles)/2 {
		t.Errorf("%d statements fell back to passes", fellBack)
	}
}

// Nothing has no quantile, in passes as in lists.
func TestQuantilesOfNothingInPasses(t *testing.T) {
	snap := enginetest.Must(spreadOf(5, 4, spreads["two values"]), enginetest.Options{})
	for _, text := range []string{"measure median(n) where g = 77", "times A -> B -> A -> B -> A -> B within 1h count entries", "match C{9}", "transitions with times where g = 77"} {
		want := mustRun(t, snap, text)
		got, err := run(snap, text, engine.RunOptions{Passes: 1})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if d := differ(got, want); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}

// A statement that has begun its passes ends where it is cancelled.
func TestCancelledInLaterPasses(t *testing.T) {
	const tiles = 24
	events := spreadOf(60, 40, spreads["every magnitude"])
	for _, text := range withQuantiles {
		for _, last := range []int64{tiles + 2, 3*tiles - 1} {
			tilesAfterCancel(t, events, enginetest.Options{Tiles: tiles}, text, last, engine.RunOptions{Workers: 2, Passes: 1})
		}
	}
}
