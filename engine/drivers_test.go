package engine_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/query"
)

// visitor is one unit of a made-up shop: an entry with two properties, further
// events, and whether a purchase comes at the end.
type visitor struct {
	device string
	n      int64
	events []string // "name at second"
	buys   int64    // second of the purchase; 0: none
}

func visitors(n int, v func(i int) visitor) []event.Event {
	var events []event.Event
	for i := range n {
		x := v(i)
		customer := fmt.Sprintf("c%d", i)
		entry := at(customer, 0, "enter", "")
		entry.Props = []event.Prop{{Name: "device", Value: event.String(x.device)}, {Name: "n", Value: event.Integer(x.n)}}
		events = append(events, entry)
		for _, text := range x.events {
			var name string
			var second int64
			fmt.Sscanf(text, "%s %d", &name, &second)
			events = append(events, at(customer, second, name, ""))
		}
		if x.buys > 0 {
			events = append(events, at(customer, x.buys, "buy", ""))
		}
	}
	return append(events, at("late", 400_000, "login", ""))
}

// driver finds a row of an answer of drivers.
func driver(res *engine.Result, factor, value string) []engine.Cell {
	for _, row := range res.Rows {
		if row[0] == factor && row[1] == value {
			return row[2:]
		}
	}
	return nil
}

// The tables were worked out by hand, the intervals and p-values with the
// normal distribution of another language's library:
//
//	             converted  dropped
//	mobile              20       80   odds 2.25, ln ± 1.959964 × 5/12
//	desktop             10       90   chi-square 200/51 = 3.921569, p = 0.047673
//	tablet               0       50   against 30 and 170: 0.5 added
func TestDriversEqualsAWorkedExample(t *testing.T) {
	events := visitors(250, func(i int) visitor {
		switch {
		case i < 100:
			return visitor{device: "mobile", buys: int64(truth(i < 20)) * 500}
		case i < 200:
			return visitor{device: "desktop", buys: int64(truth(i < 110)) * 500}
		}
		return visitor{device: "tablet"}
	})
	f := func(where, value string, want ...float64) {
		t.Helper()
		got := driver(mustRun(t, enginetest.Must(events, enginetest.Options{Tiles: 3}), "drivers of enter -> buy by device within 1h "+where), "device", value)
		for i, name := range []string{"converted", "dropped", "odds_ratio", "low", "high", "lift", "p_value"} {
			x, ok := got[i].(float64)
			if n, whole := got[i].(int64); whole {
				x, ok = float64(n), true
			}
			if !ok || math.Abs(x-want[i]) > 1e-6*math.Abs(want[i]) {
				t.Errorf("%s %s: %s is %v, want %v", where, value, name, got[i], want[i])
			}
		}
	}
	// Two values tell the same, so Holm doubles both.
	f("where device != 'tablet' or event = 'buy'", "mobile", 20, 80, 2.25, 0.994294892, 5.09154783, 4.0/3, 2*0.0476703807)
	f("where device != 'tablet' or event = 'buy'", "desktop", 10, 90, 1/2.25, 0.196403929, 1.00573784, 2.0/3, 2*0.0476703807)
	f("", "tablet", 0, 50, 0.0553481578, 0.00332550538, 0.921188879, 0, 0.0070147696)
	f("", "mobile", 20, 80, 3.5, 1.56126817, 7.8461857, 1.66666667, 0.00444564232)
	f("", "desktop", 10, 90, 0.722222222, 0.322811347, 1.61581971, 0.833333333, 0.426874057)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A chat before the outcome is the cause of most purchases. What comes after a
// purchase must not be found, be it soon after the entry; nor what comes before
// it but after T; and the device makes no difference.
func TestDriversFindsCausesNotAfterEffects(t *testing.T) {
	snap := enginetest.Must(visitors(1200, func(i int) visitor {
		v := visitor{device: []string{"a", "b", "c"}[i%3]}
		chat := i%2 == 0
		if chat {
			v.events = append(v.events, "chat 60")
		}
		switch {
		case i%20 == 0: // at once
			v.buys = 10
		case i%10 <= 1, chat && i%10 < 7:
			v.buys = 600 + int64(i%200)
		}
		if v.buys > 0 {
			v.events = append(v.events, fmt.Sprintf("thanks %d", v.buys+1), fmt.Sprintf("survey %d", v.buys+50))
		}
		if v.buys > 670 {
			v.events = append(v.events, "deliver 660")
		}
		return v
	}), enginetest.Options{Tiles: 2})
	res := mustRun(t, snap, "drivers of enter -> buy by events, device within 1h")
	chat := driver(res, "events", "chat")
	if chat == nil || chat[2].(float64) < 3 || chat[6].(float64) > 1e-6 {
		t.Errorf("the planted cause is not found: %v", chat)
	}
	if res.Rows[0][1] != "chat" {
		t.Errorf("the first row is %v", res.Rows[0])
	}
	for _, after := range []string{"thanks", "survey", "deliver", "buy", "enter"} {
		if row := driver(res, "events", after); row != nil {
			t.Errorf("%s came after T or after the outcome, and counts: %v", after, row)
		}
	}
	for _, device := range []string{"a", "b", "c"} {
		if row := driver(res, "device", device); row == nil || row[6].(float64) < 0.05 {
			t.Errorf("device is no cause, but %s has %v", device, row)
		}
	}
}

// A number with many values is cut at its quartiles, one with few is not.
func TestDriversCutsNumbersAtQuartiles(t *testing.T) {
	f := func(values, top int, want string) {
		t.Helper()
		snap := enginetest.Must(visitors(400, func(i int) visitor {
			v := visitor{device: "a", n: int64(i % values)}
			if v.n >= int64(values)/2 {
				v.buys = 5
			}
			return v
		}), enginetest.Options{})
		text := "drivers of enter -> buy by n within 1h order by value"
		if top > 0 {
			text = fmt.Sprintf("drivers of enter -> buy by n top %d within 1h order by value", top)
		}
		var got []string
		for _, row := range mustRun(t, snap, text).Rows {
			got = append(got, fmt.Sprint(row[1], ":", row[2], "/", row[3]))
		}
		if len(got) > 6 {
			got = append(got[:2], fmt.Sprint(len(got), " rows"))
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%d values: %s\nwant %s", values, text, want)
		}
	}
	f(40, 0, "<= 9.75:0/100, > 19.5 to 29.25:100/0, > 29.25:100/0, > 9.75 to 19.5:0/100")
	f(20, 0, "0:0/20, 1:0/20, 20 rows")
	f(400, 2, "(other):200/198, 0:0/1, 1:0/1")
}

// What is read of a later step is known of those only who got there.
func TestDriversRefusesLaterSteps(t *testing.T) {
	snap := enginetest.Must(visitors(4, func(i int) visitor { return visitor{device: "a", buys: int64(i)} }), enginetest.Options{})
	for _, by := range []string{"buy.channel", "2.device", "last.device = 'a'", "coalesce(buy.device, device)"} {
		var mistake *query.Error
		if _, err := run(snap, "drivers of enter -> buy by "+by, engine.RunOptions{}); !errors.As(err, &mistake) || mistake.Code != "not_of_entry" {
			t.Errorf("by %s: %v", by, err)
		}
	}
	for _, by := range []string{"enter.device", "1.device", "device = 'a'", "hour(time)"} {
		mustRun(t, snap, "drivers of enter -> buy by "+by+" within 1h")
	}
	res := mustRun(t, snap, "drivers of enter -> buy by customer.device within 1h")
	if text := strings.Join(res.Meta.Warnings, "\n"); !strings.Contains(text, "after the outcome") || !strings.Contains(text, "fewer than 30 in a cell") {
		t.Errorf("warnings: %s", text)
	}
}
