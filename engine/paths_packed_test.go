package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// More paths than buckets, many of them equally frequent: those shown and what
// is said of the rest are as without packing.
func TestManyPackedPaths(t *testing.T) {
	for _, labels := range []int{12, 24} {
		t.Run(fmt.Sprint(labels, " labels"), func(t *testing.T) { manyPackedPaths(t, labels) })
	}
}

func manyPackedPaths(t *testing.T, labels int) {
	r := rand.New(rand.NewPCG(3, 5))
	var events []event.Event
	for c := range 4000 {
		for k := range 1 + r.IntN(9) {
			events = append(events, at(fmt.Sprintf("c%d", c), int64(k*60+r.IntN(60)), string(rune('A'+min(r.IntN(labels), r.IntN(labels)))), ""))
		}
	}
	snap := enginetest.Must(events, enginetest.Options{Tiles: 5})
	for _, text := range []string{
		"paths length 1", "paths length 3 top 1", "paths length 3 top 7", "paths length 3 top 300", "paths length 8 top 100000", "paths length 3 cover 40%", "paths cover 100%",
		"paths to C within 200s length 4 top 20", "paths from each B to A within 400s length 3 top 40", "paths where event != 'A' length 3 through C top 30", "paths length 5 through D top 9", "paths from each A within 400s length 3 cover 100%",
	} {
		want, err := run(snap, text, engine.RunOptions{General: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := run(snap, text, engine.RunOptions{Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		if d := differ(got, want); d != "" || fmt.Sprintf("%+v", got.Meta.Cut) != fmt.Sprintf("%+v", want.Meta.Cut) {
			t.Errorf("%s: %s; cut %v, want %v", text, d, got.Meta.Cut, want.Meta.Cut)
		}
	}
}
