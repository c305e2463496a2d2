package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// differ says where two answers differ, exactly.
func differ(got, want *engine.Result) string {
	if len(got.Rows) != len(want.Rows) {
		return fmt.Sprintf("%d rows, want %d", len(got.Rows), len(want.Rows))
	}
	for i := range got.Rows {
		if g, w := fmt.Sprint(got.Rows[i]), fmt.Sprint(want.Rows[i]); g != w {
			return fmt.Sprintf("row %d is %s, want %s", i, g, w)
		}
	}
	return ""
}

// many is customers with events of several names, some at one time.
func many(customers, each int) []event.Event {
	var events []event.Event
	for c := range customers {
		for k := range each {
			e := at(fmt.Sprintf("c%d", c), int64(k*(c%7+1)), string(rune('A'+(c*k+k)%6)), []string{"", "web", "app"}[(c+k)%3])
			e.Props = []event.Prop{{Name: "n", Value: event.Integer(int64(c * each))}, {Name: "key", Value: event.String(fmt.Sprintf("key %d", c))}}
			events = append(events, e)
		}
	}
	return events
}

func TestAnswersDoNotDependOnWorkersAndTiles(t *testing.T) {
	events := many(150, 20)
	for _, text := range []string{
		"paths by channel top 1 every hour length 3", "paths to C collapse of event, channel", "paths cover 50%",
		"transitions with times by channel", "transitions with times of event, channel top 7",
		"customers among did A limit 7 of n", "customers among did A order by events limit 20",
		"describe A", "describe channel",
	} {
		var want *engine.Result
		for _, tiles := range []int{1, 3, 40} {
			snap := enginetest.Must(events, enginetest.Options{Tiles: tiles})
			for _, workers := range []int{1, 2, 5} {
				got, err := run(snap, text, engine.RunOptions{Workers: workers})
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if want == nil {
					want = got
				}
				if diff := differ(got, want); diff != "" {
					t.Errorf("%s: %d tiles, %d workers: %s", text, tiles, workers, diff)
				}
			}
		}
	}
}

func TestAFailingTileFailsTheRun(t *testing.T) {
	broken := errors.New("broken")
	snap := enginetest.Must(many(50, 4), enginetest.Options{Tiles: 10, OnTile: func(i int) error {
		if i == 7 {
			return broken
		}
		return nil
	}})
	for _, text := range []string{"paths", "measure customers by channel top 1", "transitions with times"} {
		if _, err := run(snap, text, engine.RunOptions{}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestProgressComesToItsEnd(t *testing.T) {
	snap := enginetest.Must(many(50, 4), enginetest.Options{Tiles: 10})
	var mu sync.Mutex
	var seen []int
	_, err := run(snap, "measure events", engine.RunOptions{Progress: func(done, total int) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, done)
		if total != 10 {
			t.Errorf("%d tiles in all", total)
		}
	}})
	if err != nil || len(seen) != 10 || slices.Max(seen) != 10 {
		t.Errorf("%v, %v", seen, err)
	}
}

func TestLimitsAreNamed(t *testing.T) {
	snap := enginetest.Must(many(400, 6), enginetest.Options{Tiles: 3})
	for _, c := range []struct {
		text, limit string
		opt         engine.RunOptions
	}{
		{"measure events by key", "rows", engine.RunOptions{Rows: 100}},
		{"measure events by key", "groups", engine.RunOptions{Groups: 100}},
		{"measure events by key, event", "groups", engine.RunOptions{Groups: 401}},
		{"paths of key", "labels", engine.RunOptions{Groups: 100}},
		{"paths from each * length 6", "paths", engine.RunOptions{Groups: 7}},
		{"transitions of key, event", "labels", engine.RunOptions{Groups: 500}},
		{"measure median(n)", "memory", engine.RunOptions{MemoryBytes: 10_000}},
		{"measure distinct(key)", "memory", engine.RunOptions{MemoryBytes: 10_000}},
		{"customers among did A", "memory", engine.RunOptions{MemoryBytes: 5_000}},
		{"journey of 'c1'", "rows", engine.RunOptions{Rows: 5}},
		{"transitions", "rows", engine.RunOptions{Rows: 3}},
		{"journey of 'c1'", "answer", engine.RunOptions{AnswerBytes: 500}},
		{"transitions", "time", engine.RunOptions{Time: time.Nanosecond}},
	} {
		_, err := run(snap, c.text, c.opt)
		var limit *engine.LimitError
		if !errors.As(err, &limit) || limit.Limit != c.limit || !errors.Is(err, engine.ErrLimit) || limit.Hint == "" || strings.Contains(limit.Hint, "raise") || limit.Reached < limit.Value {
			t.Errorf("%s: %v, want the limit %q", c.text, err, c.limit)
		}
	}
	if _, err := run(snap, "measure events by key limit 3", engine.RunOptions{Rows: 100}); err != nil {
		t.Errorf("limit keeps an answer within the rows allowed: %v", err)
	}
}

func TestMessagesOfLimits(t *testing.T) {
	for want, limit := range map[string]engine.LimitError{
		`the limit "memory" of 256 MiB is reached; ask less`:                             {Limit: "memory", Value: 256 << 20, Reached: 256<<20 + 77},
		`the limit "answer" of 900 bytes is reached (at least 1.5 KiB needed); ask less`: {Limit: "answer", Value: 900, Reached: 1500},
		`the limit "time" of 30s is reached; ask less`:                                   {Limit: "time", Value: 30_000, Reached: 30_001},
		`the limit "rows" of 100000 is reached (at least 100001 needed); ask less`:       {Limit: "rows", Value: 100_000, Reached: 100_001},
	} {
		limit.Hint = "ask less"
		if got := limit.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// An hour's period over a long range is one row each.
func TestPeriodsFromFirstToLastAreLimited(t *testing.T) {
	far := enginetest.Must([]event.Event{at("a", 0, "A", ""), at("a", 3600*200_000, "A", "")}, enginetest.Options{})
	_, err := run(far, "measure events every hour", engine.RunOptions{})
	var limit *engine.LimitError
	if !errors.As(err, &limit) || limit.Limit != "rows" {
		t.Errorf("got %v", err)
	}
	if res := mustRun(t, far, "measure events every month"); len(res.Rows) != 274 {
		t.Errorf("%d months", len(res.Rows))
	}
}

func TestEmptyStore(t *testing.T) {
	schema := &event.Schema{Events: []event.Name{{Text: "A"}}, Channels: []event.Name{{}}}
	snap := enginetest.Must(nil, enginetest.Options{Schema: schema})
	for text, rows := range map[string]int{
		"paths": 0, "paths from A": 0, "transitions with times": 0, "measure events, customers": 1, "measure events every day": 0, "measure events by event": 0,
		"journey of 'a'": 0, "customers among did A": 0, "show events": 1, "show channels": 0, "describe A": 3,
	} {
		if res := mustRun(t, snap, text); len(res.Rows) != rows {
			t.Errorf("%s: %d rows, want %d: %v", text, len(res.Rows), rows, res.Rows)
		}
	}
}
