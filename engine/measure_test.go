package engine_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/query"
)

func withValues(values ...event.Value) engine.Snapshot {
	var events []event.Event
	for i, x := range values {
		e := at("ann", int64(i), "a", "")
		e.Props = []event.Prop{{Name: "x", Value: x}}
		events = append(events, e)
	}
	return enginetest.Must(events, enginetest.Options{})
}

func TestSumsAreRoundedOnce(t *testing.T) {
	tenths := make([]event.Value, 10)
	for i := range tenths {
		tenths[i] = event.Float(0.1)
	}
	if got := mustRun(t, withValues(tenths...), "measure sum(x)").Rows[0][0]; got != 1.0 {
		t.Errorf("ten tenths make %v", got)
	}
	far := withValues(event.Float(1e16), event.Float(1), event.Float(-1e16))
	if got := mustRun(t, far, "measure sum(x)").Rows[0][0]; got != 1.0 {
		t.Errorf("1e16 + 1 - 1e16 makes %v", got)
	}
}

func TestOnlyTheResultOfASumCanOverflow(t *testing.T) {
	passing := withValues(event.Integer(math.MaxInt64), event.Integer(1), event.Integer(-2))
	row := mustRun(t, passing, "measure sum(x), avg(x)").Rows[0]
	if row[0] != int64(math.MaxInt64-1) || row[1] != float64(math.MaxInt64-1)/3 {
		t.Errorf("got %v", row)
	}
	_, err := run(passing, "measure sum(x) where x > 0", engine.RunOptions{})
	var mistake *query.Error
	if !errors.As(err, &mistake) || mistake.Code != "integer_overflow" || mistake.Column != 9 {
		t.Errorf("got %v", err)
	}
}

// What is measured must not depend on how events are spread over tiles, nor on
// how many workers there are.
func TestMeasureDoesNotDependOnWorkersAndTiles(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var events []event.Event
	for range 3000 {
		e := at(string(rune('a'+r.IntN(26)))+string(rune('a'+r.IntN(26))), r.Int64N(1e6), string(rune('A'+r.IntN(5))), "")
		e.Props = []event.Prop{{Name: "x", Value: event.Float(math.Exp(40*r.Float64() - 20))}, {Name: "n", Value: event.Integer(r.Int64N(9))}}
		events = append(events, e)
	}
	const text = "measure sum(x), avg(x), median(x), p99(x), distinct(x), distinct(n), customers, sessions, min(x), max(n) by event top 3 every day"
	var want *engine.Result
	for _, tiles := range []int{1, 2, 7, 64} {
		snap := enginetest.Must(events, enginetest.Options{Tiles: tiles})
		for _, workers := range []int{1, 3} {
			got, err := run(snap, text, engine.RunOptions{Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			if diff := differ(got, want); diff != "" {
				t.Errorf("%d tiles, %d workers: %s", tiles, workers, diff)
			}
		}
	}
}

// Arithmetic over aggregates is compiled once, not for each row of the answer.
func TestOutputsAreCompiledOnce(t *testing.T) {
	const rows = 1000
	var values []event.Value
	for i := range rows {
		values = append(values, event.Integer(int64(i)))
	}
	snap := withValues(values...)
	allocs := func(text string) float64 {
		return testing.AllocsPerRun(3, func() {
			if n := len(mustRun(t, snap, text).Rows); n != rows {
				t.Fatalf("%s has %d rows, want %d", text, n, rows)
			}
		})
	}
	plain, computed := allocs("measure avg(x), sum(x) by x"), allocs("measure avg(x), 100 * sum(x) / (events + 1) by x")
	if more := (computed - plain) / rows; more > 1 {
		t.Errorf("arithmetic takes %.1f allocations a row", more)
	}
}
