package engine

import (
	"math"
	"math/rand/v2"
	"testing"

	"wend/event"
)

func TestMagnitudesHoldTheirValues(t *testing.T) {
	check := func(d event.Duration) {
		t.Helper()
		m := magnitude(d)
		if m < 0 || m >= magnitudes || d < magnitudeStart(m) || d >= magnitudeStart(m+1) && d != math.MaxInt64 {
			t.Errorf("%d has magnitude %d, from %d to before %d", d, m, magnitudeStart(m), magnitudeStart(m+1))
		}
	}
	for e := range 63 {
		for _, d := range []event.Duration{1<<e - 1, 1 << e, 1<<e + 1} {
			check(d)
		}
	}
	check(math.MaxInt64)
	for d := range event.Duration(5000) {
		check(d)
	}
}

// The median found in two looks, by magnitude and then among those near it, is
// that of all values.
func TestGapMedians(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for _, n := range []int{1, 2, 3, fewGaps, fewGaps + 1, 5 * fewGaps, 3000, 3001} {
		for _, most := range []event.Duration{1, 2, 20, event.Minute, 90 * event.Day} {
			memory := &ration{budget: newBudget(t.Context(), 1<<30, nil, nil)}
			var all []event.Duration
			var workers [3]gapCounts
			for range n {
				d := event.Duration(r.Int64N(int64(most)))
				all = append(all, d)
				if err := workers[r.IntN(3)].add(d, memory); err != nil {
					t.Fatal(err)
				}
			}
			var sum gapCounts
			for i := range workers {
				sum.merge(&workers[i])
			}
			got, ok := sum.median()
			if !ok {
				wanted := sum.medianRange()
				var near []event.Duration
				for _, d := range all {
					if wanted.holds(d) {
						near = append(near, d)
					}
				}
				got = wanted.median(near)
			}
			if want := medianOf(all); got != want {
				t.Errorf("median of %d gaps up to %s: %v, want %v", n, most, got, want)
			}
		}
	}
}
