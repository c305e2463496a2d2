package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/internal/trust"
)

// stages are those that `map` in heavy wants.
var stages = []event.Definition{
	{Kind: "stage", Name: "early", Text: "define stage early as A | B"},
	{Kind: "stage", Name: "late", Text: "define stage late as C"},
}

// A cancelled statement reads no more than the tiles that its workers have in
// hand, whichever statement it is and whichever tile was read last.
func TestCancelledRunsReadNoFurther(t *testing.T) {
	const tiles, workers = 24, 3
	events := manyValues(120, 5)
	most := int64(0)
	for _, text := range heavy {
		if strings.HasPrefix(text, "journey") || strings.HasPrefix(text, "why") {
			continue // they read one tile
		}
		for _, last := range []int64{1, 7, 20} {
			ctx, cancel := context.WithCancel(context.Background())
			var read, late atomic.Int64 // late: asked for when the context had ended, and all that derive from it
			var ended atomic.Bool
			snap := enginetest.Must(events, enginetest.Options{Tiles: tiles, Definitions: stages, OnTile: func(int) error {
				if ended.Load() {
					late.Add(1)
				} else if read.Add(1) == last {
					cancel()
					ended.Store(true)
				}
				return nil
			}})
			_, err := runContext(ctx, snap, text, engine.RunOptions{Workers: workers})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled at tile %d: %v", text, last, err)
			}
			if after := late.Load(); after > workers {
				t.Errorf("%s, cancelled at tile %d: %d were read after it by %d workers", text, last, after, workers)
			} else {
				most = max(most, after)
			}
			cancel()
		}
	}
	trust.Report(t, "2.3", "cancelled_statements", len(heavy), "tiles_read_after_at_most", most, "workers", workers)
}

// brief are statements that read no more than a few rows of each journey, or
// stop at its first conversion.
var brief = []string{"paths length", "flow from", "retention A", "funnel A", "dropoff A", "drivers of", "next after"}

// One customer can have a tile of its own: every statement looks whether it was
// cancelled at least once every 64 Ki rows in it.
func TestStatementsLookForCancellationInsideLongJourneys(t *testing.T) {
	const rows = 140_000
	events := manyValues(1, rows)
	for i := range events {
		events[i].Name = string(rune('A' + i/2%3)) // all of them of some step
		// A few values: what is tested is how often a statement looks, not how much it keeps.
		for k := range events[i].Props {
			if p := &events[i].Props[k]; p.Value.Type() == event.StringType {
				p.Value = event.String(p.Value.Text()[:3])
			}
		}
	}
	snap := enginetest.Must(events, enginetest.Options{Definitions: stages})
	for _, text := range heavy {
		if slices.Contains(brief, strings.Fields(text)[0]+" "+strings.Fields(text)[1]) {
			continue
		}
		var checks int64
		opt := engine.RunOptions{Workers: 1, Rows: 1_000_000, Groups: 10_000_000, MemoryBytes: 2 << 30, AnswerBytes: 2 << 30}
		if _, err := run(snap, text, opt.WithSpent(func(_, n, _ int64) { checks = n })); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if checks < rows>>16-1 {
			t.Errorf("%s looked %d times in %d rows", text, checks, rows)
		}
	}
}
