package engine_test

import (
	"fmt"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// A sample that misleads costs time, not the answer: the tiles that it has show
// gaps of an hour or so, the others what each case says.
func TestMediansBesideTheSample(t *testing.T) {
	const tiles, customers, each = 8, 160, 10 // the sample is tiles 0 and 4
	for name, gap := range map[string]func(n int64) int64{
		"as in the sample":         func(n int64) int64 { return 3600 + n%97 },
		"all shorter":              func(n int64) int64 { return 1 + n%7 },
		"all longer":               func(n int64) int64 { return 90000 + n%7 },
		"all alike":                func(int64) int64 { return 3600 },
		"shorter and longer":       func(n int64) int64 { return 1 + n%2*90000 },
		"more longer than shorter": func(n int64) int64 { return 1 + min(n%3, 1)*90000 },
	} {
		var events []event.Event
		for c := range customers {
			now, n := int64(0), int64(c*each)
			for k := range each {
				events = append(events, at(fmt.Sprintf("c%03d", c), now, string(rune('A'+k%2)), ""))
				if n++; c%tiles%4 == 0 {
					now += 3600 + n%97
				} else {
					now += gap(n)
				}
			}
		}
		snap := enginetest.Must(events, enginetest.Options{Tiles: tiles})
		for _, text := range []string{"transitions with times", "transitions with times top 1", "transitions with times during 2025-01-01 to 2025-01-01"} {
			want, err := run(snap, text, engine.RunOptions{General: true})
			if err != nil {
				t.Fatal(err)
			}
			got, err := run(snap, text, engine.RunOptions{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			if d := differ(got, want); d != "" || len(want.Rows) == 0 {
				t.Errorf("%s: %s: %s", name, text, d)
			}
		}
	}
}
