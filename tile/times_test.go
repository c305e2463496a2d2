package tile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"wend/event"
)

// drawJourneys draws times in a unit, rising within each customer, with starts.
func drawJourneys(t *rapid.T) ([]event.Time, []uint32) {
	unit := rapid.SampledFrom([]event.Time{1, 7, 1000, 1_000_000, 86_400_000_000}).Draw(t, "unit")
	spread := rapid.SampledFrom([]int64{0, 3, 1 << 20, 1 << 40, int64(event.MaxTime - event.MinTime)}).Draw(t, "spread")
	origin := rapid.Int64Range(int64(event.MinTime), int64(event.MaxTime)-spread).Draw(t, "origin")
	starts := []uint32{0}
	var times []event.Time
	for range rapid.IntRange(0, 6).Draw(t, "customers") {
		own := rapid.SliceOfN(rapid.Int64Range(0, spread), 0, 40).Draw(t, "own")
		slices.Sort(own)
		for _, at := range own {
			times = append(times, event.Time(origin)+event.Time(at)/unit*unit)
		}
		starts = append(starts, uint32(len(times)))
	}
	return times, starts
}

func checkTimes(t interface{ Fatalf(string, ...any) }, times []event.Time, starts []uint32) *Times {
	c := NewTimes(times, starts)
	var pairs []uint32
	for i, want := range times {
		if got := c.At(i); got != want {
			t.Fatalf("At(%d) = %v, want %v (width %d, shift %d, unit %d)", i, got, want, c.Width, c.Shift, c.Unit)
		}
		other := len(times) - 1 - i
		if got := c.Elapsed(other, i); got != want.Sub(times[other]) {
			t.Fatalf("Elapsed(%d, %d) = %v, want %v (width %d, shift %d, unit %d)", other, i, got, want.Sub(times[other]), c.Width, c.Shift, c.Unit)
		}
		pairs = append(pairs, uint32(other), uint32(i))
	}
	elapsed := make([]event.Duration, len(times))
	c.GatherElapsed(pairs, elapsed)
	for i, got := range elapsed {
		if want := c.Elapsed(len(times)-1-i, i); got != want {
			t.Fatalf("GatherElapsed of rows %d and %d = %v, want %v", len(times)-1-i, i, got, want)
		}
	}
	return c
}

func TestTimesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times, starts := drawJourneys(t)
		c := checkTimes(t, times, starts)
		lo := rapid.IntRange(0, len(times)).Draw(t, "lo")
		hi := rapid.IntRange(lo, len(times)).Draw(t, "hi")
		dst := make([]event.Time, hi-lo)
		c.Decode(lo, dst)
		if !slices.Equal(dst, times[lo:hi]) {
			t.Fatalf("Decode(%d, %d rows) = %v, want %v", lo, hi-lo, dst, times[lo:hi])
		}
		var rows []uint32
		for i := hi; i > lo; i-- {
			rows = append(rows, uint32(i-1))
		}
		c.Gather(rows, dst)
		slices.Reverse(dst)
		if !slices.Equal(dst, times[lo:hi]) {
			t.Fatalf("Gather(%v) backwards = %v, want %v", rows, dst, times[lo:hi])
		}
		for i, s := range starts[:len(starts)-1] {
			if s < starts[i+1] && !c.Anchors.Get(int(s)) {
				t.Fatalf("the first row of customer %d is no anchor", i)
			}
		}
	})
}

func TestTimesOutOfOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		any := rapid.Int64Range(int64(event.MinTime), int64(event.MaxTime))
		var times []event.Time
		for _, at := range rapid.SliceOf(any).Draw(t, "times") {
			times = append(times, event.Time(at))
		}
		checkTimes(t, times, []uint32{0, uint32(len(times))})
	})
}

func TestTimesUnit(t *testing.T) {
	f := func(unit int64, times ...event.Time) {
		t.Helper()
		if c := checkTimes(t, times, []uint32{0, uint32(len(times))}); c.Unit != unit {
			t.Errorf("times %v: unit %d, want %d", times, c.Unit, unit)
		}
	}
	f(1)
	f(1, 5, 5, 5)
	f(1000, 1_000_000, 1_003_000, 1_007_000)
	f(86_400_000_000, 0, 86_400_000_000, 3*86_400_000_000)
	f(6, 1, 13, 19)
	f(int64(event.MaxTime-event.MinTime), event.MinTime, event.MaxTime)
	f(1, event.MinTime, event.MinTime+1, event.MaxTime)
}

func TestTies(t *testing.T) {
	times, starts := []event.Time{1, 1, 1, 2, 2, 1, 5, 5}, []uint32{0, 1, 1, 4, 6, 8}
	ties := NewTies(times, starts)
	if same := NewTimes(times, starts).Same(starts, ties); !slices.Equal(same, Bitmap{0b10000100}) {
		t.Errorf("rows at the time of the one before: %b", same)
	}
	long := make([]event.Time, 1000) // two days, half of the rows each
	for i := range long {
		long[i] = event.Time(int64(event.Day) * int64(i/500))
	}
	if same := NewTimes(long, []uint32{0, 1000}).Same([]uint32{0, 1000}, Bitmap{1}); same.Count() != 998 || same.Get(0) || same.Get(500) {
		t.Errorf("%d rows at the time of the one before", same.Count())
	}
	for c, want := range []bool{false, false, true, false, true} {
		if ties.Get(c) != want {
			t.Errorf("customer %d: ties %v, want %v", c, ties.Get(c), want)
		}
	}
}

// sessionTimes are the benchmark workload's: sessions of about 7 events, 60 s
// apart, in milliseconds over 90 days, 3 sessions a customer.
func sessionTimes() ([]event.Time, []uint32) {
	r := rand.New(rand.NewPCG(1, 2))
	var times []event.Time
	starts := []uint32{0}
	for len(times) < benchRows {
		var own []event.Time
		for range 3 {
			at := r.Int64N(90 * 86_400_000)
			for range 1 + int(r.ExpFloat64()*6) {
				own = append(own, event.Time(at)*1000)
				at += int64(r.ExpFloat64() * 60_000)
			}
		}
		slices.Sort(own)
		times = append(times, own...)
		times = times[:min(len(times), benchRows)]
		starts = append(starts, uint32(len(times)))
	}
	return times, starts
}

func BenchmarkNewTimes(b *testing.B) {
	times, starts := sessionTimes()
	for b.Loop() {
		NewTimes(times, starts)
	}
	perRow(b)
	t := NewTimes(times, starts)
	size := len(t.Slots) + len(t.Anchors)*8 + len(t.Bases)*4
	b.ReportMetric(float64(size)/benchRows, "resident-B/row")
}

func BenchmarkTimesDecode(b *testing.B) {
	times, starts := sessionTimes()
	c := NewTimes(times, starts)
	for b.Loop() {
		c.Decode(0, times)
	}
	perRow(b)
}

func BenchmarkTimesAt(b *testing.B) {
	times, starts := sessionTimes()
	c := NewTimes(times, starts)
	r := rand.New(rand.NewPCG(3, 4))
	for _, percent := range []int{1, 12, 50} {
		var rows []int
		for i := range times {
			if r.IntN(100) < percent {
				rows = append(rows, i)
			}
		}
		b.Run(fmt.Sprintf("%d%%", percent), func(b *testing.B) {
			var sum event.Time
			for b.Loop() {
				for _, i := range rows {
					sum += c.At(i)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
			b.ReportMetric(0, "ns/op")
			if sum == 0 {
				b.Fatal("no times were read")
			}
		})
	}
}
