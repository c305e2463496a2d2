package engine_test

import (
	"context"
	"errors"
	"fmt"
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

// tilesAfterCancel runs a statement that is cancelled while its last tile, counted
// from 1 over all scans, is being read, and counts the tiles asked for after that.
// More than one tile a worker, that last one among them, is an error.
func tilesAfterCancel(t *testing.T, events []event.Event, opt enginetest.Options, text string, last int64, ro engine.RunOptions) (after int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var read, late atomic.Int64
	var ended atomic.Bool // the context, and all that derive from it: what is asked for before may be read
	opt.OnTile = func(int) error {
		if ended.Load() {
			late.Add(1)
		} else if read.Add(1) == last {
			cancel()
			ended.Store(true)
		}
		return nil
	}
	_, err := runContext(ctx, enginetest.Must(events, opt), text, ro)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s, cancelled at tile %d: %v", text, last, err)
	}
	if after = late.Load(); after >= int64(ro.Workers) {
		t.Errorf("%s, cancelled at tile %d: %d were read after it by %d workers", text, last, after, ro.Workers)
	}
	return after
}

// A cancelled statement reads no more than the tiles that its workers have in
// hand, whichever statement it is and whichever tile was read last.
func TestCancelledRunsReadNoFurther(t *testing.T) {
	const workers = 3
	events := manyValues(120, 5)
	most := int64(0)
	for _, text := range heavy {
		if strings.HasPrefix(text, "journey") || strings.HasPrefix(text, "why") {
			continue // they read one tile
		}
		for _, last := range []int64{1, 7, 20} {
			most = max(most, tilesAfterCancel(t, events, enginetest.Options{Tiles: 24, Definitions: stages}, text, last, engine.RunOptions{Workers: workers}))
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

// After the scan, groups are merged and rows sorted: a statement looks meanwhile
// whether it was cancelled, and ends with the look that finds it so.
func TestStatementsLookForCancellationAfterTheScan(t *testing.T) {
	const customers = 20_000
	snap := enginetest.Must(many(customers, 1), enginetest.Options{})
	looks := func(text string, cancelAt int) (n int, err error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err = runContext(ctx, snap, text, engine.RunOptions{Workers: 1, MemoryBytes: 1 << 30}.WithLooked(func() {
			if n++; n == cancelAt {
				cancel()
			}
		}))
		return n, err
	}
	const each = customers >> 10 // looks of a loop over all groups or rows
	for _, c := range []struct {
		text, without string // what looks less often
		loops         int
	}{
		{"measure events by customer top 5", "measure events by event top 5", 6},
		{"measure events by customer limit 10", "measure events by customer top 5", 5},
		{"measure events by customer order by customer desc limit 10", "measure events by customer limit 10", 1},
		{"customers among did A limit 20000", "customers among did A", 1},
		{"customers among did A order by first limit 20000", "customers among did A limit 20000", 1},
	} {
		all, err := looks(c.text, 0)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		without, err := looks(c.without, 0)
		if err != nil {
			t.Errorf("%s: %v", c.without, err)
		}
		if all < without+c.loops*each {
			t.Errorf("%s looked %d times, and %s %d times, with %d groups", c.text, all, c.without, without, customers)
		}
		for at := 1; at <= all*9/10; at += all/8 + 1 {
			if n, err := looks(c.text, at); n != at || !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled at look %d of %d: %d looks, %v", c.text, at, all, n, err)
			}
		}
	}
}

// A condition that reads nothing but the event's name is decided for every name
// before a tile is read: a match with a name looks whether the statement was
// cancelled, as one with a row does, and one with a constant is made once.
func TestDecidingNamesLooksForCancellation(t *testing.T) {
	const names = 200
	events := manyValues(1, names)
	for i := range events {
		events[i].Name = fmt.Sprintf("the event with the number %d", i)
	}
	snap := enginetest.Must(events, enginetest.Options{})
	checks := func(condition string) (n int64) {
		opt := engine.RunOptions{Workers: 1}
		if _, err := run(snap, "measure events where "+condition, opt.WithSpent(func(_, looks, _ int64) { n = looks })); err != nil {
			t.Errorf("%s: %v", condition, err)
		}
		return n
	}
	if n := checks("(event = 'x') = (event ~ 'e{0,9}x')"); n < names {
		t.Errorf("matches with %d names looked %d times", names, n)
	}
	if n := checks("(event = 'x') = ('" + strings.Repeat("a", 4096) + "' ~ 'a{0,9}b')"); n == 0 || n > names/2 {
		t.Errorf("a match with a constant beside %d names looked %d times", names, n)
	}
}
