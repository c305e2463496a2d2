package engine_test

import (
	"errors"
	"fmt"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// Expressions that make engines which try one way after the other take for
// ever are linear here, or refused by name before anything is read.
func TestMatchIsLinear(t *testing.T) {
	const n = 1_000_000
	events := make([]event.Event, 0, n+1)
	for i := range n {
		events = append(events, at("ann", int64(i), "a", ""))
	}
	events = append(events, at("bob", n, "b", ""))
	snap := enginetest.Must(events, enginetest.Options{})
	f := func(text string, customers, matches int64) {
		t.Helper()
		row := mustRun(t, snap, text).Rows[0]
		if row[0] != customers || row[1] != matches {
			t.Errorf("%s: %v, want %d customers and %d matches", text, row, customers, matches)
		}
	}
	f("match (a* => a*){20} => b", 1, 1) // bob alone: ann's journey has no end
	f("match (a* => a*){20}", 1, n)
	f("match ((a | a => a)+ => a?)+ => b", 0, 0)
	for _, text := range []string{"match ((a* => a*){500}){20}", "match (((a?){100}){100}){100}"} {
		var limit *engine.LimitError
		if _, err := run(snap, text, engine.RunOptions{}); !errors.As(err, &limit) || limit.Limit != "states" {
			t.Errorf("%s: %v, want the limit of states", text, err)
		}
	}
}

// A match looks at all of a customer's events, in however many tiles others lie.
func TestMatchTakesMemoryForMatchesOnly(t *testing.T) {
	var events []event.Event
	for i := range 200_000 {
		events = append(events, at(fmt.Sprint(i%1000), int64(i), "a", ""))
	}
	snap := enginetest.Must(events, enginetest.Options{Tiles: 3})
	res, err := run(snap, "match a{100} => a{99,}", engine.RunOptions{MemoryBytes: 1 << 20, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if res.Rows[0][1] != int64(1000) {
		t.Errorf("%v", res.Rows)
	}
}
