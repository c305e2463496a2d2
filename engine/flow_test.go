package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// What leaves a label at a level is what entered it: nothing is lost between
// two levels, and nobody is counted twice.
func TestFlowLosesNobody(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 4))
	for range 200 {
		var events []event.Event
		customers := map[string]bool{}
		for range 5 + r.IntN(80) {
			e := at(fmt.Sprintf("c%d", r.IntN(12)), r.Int64N(60), string("ABCDEF"[r.IntN(6)]), []string{"", "web", "app"}[r.IntN(3)])
			events = append(events, e)
			customers[e.Customer] = true
		}
		snap := enginetest.Must(events, enginetest.Options{Tiles: 3})
		anchor := []string{"", " from A", " to A", " from *", " to *"}[r.IntN(5)]
		text := fmt.Sprintf("flow%s depth %d top %d within %ds%s%s lenient", anchor, 1+r.IntN(6), 1+r.IntN(4), 1+r.IntN(60),
			[]string{"", " collapse"}[r.IntN(2)], []string{"", " of channel", " of event, channel"}[r.IntN(3)])
		res := mustRun(t, snap, text)
		backwards := anchor != "" && anchor[1] == 't'
		entered, left := map[string]int64{}, map[string]int64{}
		first, deepest := int64(0), int64(0)
		for _, row := range res.Rows {
			level, near, far, n := row[0].(int64), row[1].(string), row[2].(string), row[3].(int64)
			if backwards {
				near, far = far, near
			}
			if deepest = max(deepest, level); level == 1 {
				first += n
			} else {
				left[fmt.Sprint(level-1, near)] += n
			}
			entered[fmt.Sprint(level, far)] += n
			for _, end := range []string{"(exit)", "(open)", "(start)"} {
				if near == end {
					t.Fatalf("%s: something leaves %s: %v", text, end, res.Rows)
				}
				if far == end {
					delete(entered, fmt.Sprint(level, far))
				}
			}
		}
		for place, n := range entered {
			if n2, ok := left[place]; (ok || place[0] != fmt.Sprint(deepest)[0]) && n2 != n {
				t.Fatalf("%s: %d enter %s, %d leave it\n%v", text, n, place, n2, res.Rows)
			}
		}
		for place := range left {
			if _, ok := entered[place]; !ok {
				t.Fatalf("%s: nothing enters %s, but something leaves it: no way leads back to an earlier level\n%v", text, place, res.Rows)
			}
		}
		if anchor == "" || anchor[len(anchor)-1] == '*' {
			if first != int64(len(customers)) {
				t.Fatalf("%s: %d journeys of %d customers", text, first, len(customers))
			}
		}
	}
}

func TestFlowsRetentionAndSwitchesDoNotDependOnWorkersAndTiles(t *testing.T) {
	events := many(150, 30)
	for _, text := range []string{
		"flow from A of event, channel top 3 by channel top 1", "flow to C every hour within 2m collapse", "flow per session gap 4s top 2",
		"retention A -> (B | C) every hour for 3 by channel", "switches goal C within 1m by event top 2", "switches every hour",
	} {
		want := mustRun(t, enginetest.Must(events, enginetest.Options{}), text)
		if len(want.Rows) == 0 {
			t.Errorf("%s: no rows", text)
		}
		for _, tiles := range []int{3, 40} {
			got, err := run(enginetest.Must(events, enginetest.Options{Tiles: tiles}), text, engine.RunOptions{Workers: 3})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if diff := differ(got, want); diff != "" {
				t.Errorf("%s: %d tiles: %s", text, tiles, diff)
			}
		}
	}
}

// Medians of more gaps than are kept are exact too.
func TestMedianGapOfManySwitches(t *testing.T) {
	var events []event.Event
	second := int64(0)
	for i := range int64(1001) {
		events = append(events, at("ann", second, "a", "web"), at("ann", second+1000+i*i%997, "a", "app"))
		second += 5000
	}
	res := mustRun(t, enginetest.Must(events, enginetest.Options{}), "switches from web")
	var gaps []int64
	for i := range int64(1001) {
		gaps = append(gaps, 1000+i*i%997)
	}
	if got, want := res.Rows[0][7], float64(medianInt(gaps))*1000; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// medianInt is the middle of an odd number of values, by counting.
func medianInt(values []int64) int64 {
	for _, x := range values {
		below, above := 0, 0
		for _, y := range values {
			if y < x {
				below++
			}
			if y > x {
				above++
			}
		}
		if below <= len(values)/2 && above <= len(values)/2 {
			return x
		}
	}
	return -1
}

func TestLimitsOfFlowsRetentionAndSwitches(t *testing.T) {
	events := many(400, 6)
	for i := range 50 {
		events = append(events, at("far", int64(i)*1000, "A", fmt.Sprint("c", i)))
	}
	snap := enginetest.Must(events, enginetest.Options{Tiles: 3})
	for _, c := range []struct {
		text, limit string
		opt         engine.RunOptions
	}{
		{"flow of key", "groups", engine.RunOptions{Groups: 100}},
		{"flow of id, key, event", "labels", engine.RunOptions{Groups: 100}},
		{"flow of key", "memory", engine.RunOptions{MemoryBytes: 30_000}},
		{"retention A -> B every hour for 2000", "rows", engine.RunOptions{Rows: 1000}},
		{"retention A -> B every hour for 10000 by key", "memory", engine.RunOptions{MemoryBytes: 1 << 20}},
		{"switches by key", "groups", engine.RunOptions{Groups: 50}},
		{"switches", "rows", engine.RunOptions{Rows: 10}},
		{"switches", "memory", engine.RunOptions{MemoryBytes: 5_000}},
	} {
		_, err := run(snap, c.text, c.opt)
		if limit, ok := err.(*engine.LimitError); !ok || limit.Limit != c.limit || limit.Hint == "" {
			t.Errorf("%s: %v, want the limit %q", c.text, err, c.limit)
		}
	}
}

func TestExplainOfTheStatementsOnJourneys(t *testing.T) {
	for text, want := range map[string]string{
		"explain why 'ann' in view -> buy":                `of "ann", found by identity; steps 2`,
		"explain attribute buy to channel using last":     "touches before buy since the one before",
		"explain attribute buy to channel using markov":   "touches before buy since the one before; transitions counted, chain solved exactly, up to 1000 states",
		"explain retention view -> buy every month for 2": "cohorts by the first view, then buy in each of 2 periods",
		"explain flow to view depth 2 top 3 collapse":     "backwards from view, 2 levels, top 3 of each, runs collapsed",
		"explain flow":               "from each unit's first event, 4 levels, top 5 of each",
		"explain switches within 1d": "neighbouring events with different channels; lost if nothing follows within 1d",
		"explain switches goal buy":  "neighbouring events with different channels; lost without buy within 30d",
	} {
		if got := mustRun(t, shop, text).Rows[0][1]; got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
