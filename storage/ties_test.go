package storage

import (
	"math/rand/v2"
	"testing"

	"wend/event"
)

// Whatever times runs have in common is found, in a bitmap of bounded size; that
// something is taken for shared which is not stays rare.
func TestSharedTimes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name     string
		from, to event.Time
		rows     int
		falsely  int // of a hundred rows at most
	}{
		{"one time", 7, 7, 10, 0},
		{"microseconds of a second", 0, 1_000_000, 1000, 5},
		{"a year", 0, event.Time(365 * event.Day), 5000, 5},
		{"all times there are", event.MinTime, event.MaxTime, 5000, 5},
	} {
		spans := make([]span, 2)
		runs := make([][]event.Time, 2)
		has := make([]map[event.Time]bool, 2)
		for i := range runs {
			runs[i] = []event.Time{c.from, c.to}
			for range c.rows {
				runs[i] = append(runs[i], c.from+event.Time(rng.Uint64N(uint64(c.to-c.from)+1)))
			}
			if i > 0 {
				runs[i] = append(runs[i], runs[0][:c.rows/10]...)
			}
			has[i] = map[event.Time]bool{}
			for _, at := range runs[i] {
				spans[i] = spans[i].with(at, at)
				has[i][at] = true
			}
		}
		shared := newSharedTimes(common(spans), int64(2*c.rows))
		if n := 64 * len(shared.cells); n > 2*cellsOfRow*c.rows+64 {
			t.Errorf("%s: %d cells for %d rows", c.name, n, 2*c.rows)
		}
		seen := shared.bitmap()
		shared.mark(seen, runs[0])
		shared.mark(shared.cells, runs[1])
		shared.cells.And(seen)
		falsely := 0
		for _, at := range runs[0] {
			switch {
			case has[1][at] && !shared.has(at):
				t.Errorf("%s: both have %d, which is not found", c.name, at)
			case !has[1][at] && shared.has(at):
				falsely++
			}
		}
		if falsely > c.falsely*len(runs[0])/100 {
			t.Errorf("%s: %d of %d times are taken for shared and are not", c.name, falsely, len(runs[0]))
		}
	}
}
