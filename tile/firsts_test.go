package tile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"wend/event"
)

// journeysOf draws customers' times, each in order, some without any.
func journeysOf(t *rapid.T) (times []event.Time, starts []uint32) {
	starts = []uint32{0}
	unit := rapid.SampledFrom([]int64{1, 1000, 86_400_000_000}).Draw(t, "unit")
	for range rapid.IntRange(1, 12).Draw(t, "customers") {
		at := rapid.Int64Range(-3000, 3000).Draw(t, "begin") * unit
		for range rapid.SampledFrom([]int{0, 1, 2, 7, 64, 150}).Draw(t, "rows") {
			times = append(times, event.Time(at))
			at += rapid.SampledFrom([]int64{0, 1, 2, 50, 1000}).Draw(t, "step") * unit
		}
		starts = append(starts, uint32(len(times)))
	}
	return times, starts
}

func TestSinceBetweenAndStops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times, starts := journeysOf(t)
		column, firsts := NewTimes(times, starts), NewFirsts(starts)
		at := event.Time(rapid.Int64Range(-4000, 4000).Draw(t, "at"))
		if len(times) > 0 {
			at += times[rapid.IntRange(0, len(times)-1).Draw(t, "near")]
		}
		since := NewBitmap(len(times))
		column.Since(at, firsts, since)
		some, between := NewBitmap(len(times)), NewBitmap(len(times))
		to := at + event.Time(rapid.Int64Range(-10, 5000).Draw(t, "until"))
		for row := range times {
			some.Put(row, rapid.Bool().Draw(t, "of them"))
		}
		column.Between(at, to, some, between)
		longest := event.Duration(rapid.Int64Range(0, 100_000).Draw(t, "longest"))
		if rapid.Bool().Draw(t, "another was asked for") {
			column.Stops(longest+1, firsts)
		}
		stops := column.Stops(longest, firsts)
		for row, own := range times {
			if since.Get(row) != (own >= at) {
				t.Fatalf("row %d of %v at %d: since %d is %v", row, times, own, at, since.Get(row))
			}
			if want := some.Get(row) && own >= at && own < to; between.Get(row) != want {
				t.Fatalf("row %d of %v from %d to %d: %v", row, times, at, to, !want)
			}
			if firsts.Get(row) && !stops.Get(row) || !firsts.Get(row) && stops.Get(row) && own.Sub(times[row-1]) <= longest {
				t.Fatalf("row %d of %v at %d: stop %v for %d", row, times, own, stops.Get(row), longest)
			}
		}
		if rest := len(times) & 63; rest != 0 && since[len(since)-1]>>rest != 0 {
			t.Fatalf("rows behind the last: %b", since)
		}
	})
}

func TestGapsAreFound(t *testing.T) {
	times, starts := sessionTimes()
	column, firsts := NewTimes(times, starts), NewFirsts(starts)
	gaps := slices.Clone(column.Stops(event.Day, firsts))
	gaps.AndNot(firsts)
	n := 0
	for row := range times {
		if !firsts.Get(row) && times[row].Sub(times[row-1]) > event.Day {
			n++
		}
	}
	if found := gaps.Count(); found < n*9/10 || n == 0 {
		t.Errorf("%d of %d gaps of more than a day", found, n)
	}
}

func TestAfterAndHeads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, starts := journeysOf(t)
		firsts := NewFirsts(starts)
		rows := int(starts[len(starts)-1])
		x, y, stops, after, heads := NewBitmap(rows), NewBitmap(rows), NewBitmap(rows), NewBitmap(rows), NewBitmap(rows)
		every := rapid.SampledFrom([]int{1, 3, 70}).Draw(t, "every")
		for row := range rows {
			if row%every == 0 && rapid.Bool().Draw(t, "in x") {
				x.Set(row)
			}
			y.Put(row, rapid.Bool().Draw(t, "in y"))
			if rapid.IntRange(0, 9).Draw(t, "stop") == 0 {
				stops.Set(row)
			}
		}
		stops.Or(firsts)
		x.After(stops, y, after)
		list := make([]uint32, x.Heads(firsts, heads))
		heads.List(list)
		behind, seen := false, false
		for row := range rows {
			behind = (behind || row > 0 && x.Get(row-1)) && !stops.Get(row)
			if after.Get(row) != (behind && y.Get(row)) {
				t.Fatalf("row %d: %v, of rows %b, %b and stops %b", row, after.Get(row), x, y, stops)
			}
			seen = seen && !firsts.Get(row)
			head := len(list) > 0 && list[0] == uint32(row)
			if want := x.Get(row) && !seen; head != want {
				t.Fatalf("row %d: %v, of rows %b and customers from %b", row, head, x, firsts)
			}
			if seen = seen || head; head {
				list = list[1:]
			}
		}
	})
}
