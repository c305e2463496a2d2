package tile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"wend/event"
)

// TestSplice joins columns of different units, origins and widths, cut anywhere.
func TestSplice(t *testing.T) {
	var s TimesSplicer
	rapid.Check(t, func(t *rapid.T) {
		sources := make([][]event.Time, rapid.IntRange(1, 4).Draw(t, "sources"))
		encoded := make([]*Times, len(sources))
		for i := range sources {
			for len(sources[i]) == 0 {
				times, starts := drawJourneys(t)
				sources[i], encoded[i] = times, NewTimes(times, starts)
			}
		}
		type piece struct{ source, row, n int }
		var pieces []piece
		var want []event.Time
		for range rapid.IntRange(0, 9).Draw(t, "pieces") {
			source := rapid.IntRange(0, len(sources)-1).Draw(t, "source")
			row := rapid.IntRange(0, len(sources[source])-1).Draw(t, "row")
			n := rapid.IntRange(1, len(sources[source])-row).Draw(t, "n")
			pieces = append(pieces, piece{source, row, n})
			want = append(want, sources[source][row:row+n]...)
		}
		s.Begin(encoded, len(want), want[:min(len(want), SampleRows)])
		at := 0
		for _, p := range pieces {
			tied := s.Add(p.source, p.row, p.n)
			if at > 0 && tied != (want[at] == want[at-1]) {
				t.Fatalf("row %d: tied %v with the row before: %v and %v", at, tied, want[at-1], want[at])
			}
			at += p.n
		}
		got := s.Times()
		decoded := make([]event.Time, len(want))
		got.Decode(0, decoded)
		if !slices.Equal(decoded, want) {
			t.Fatalf("%v, want %v", decoded, want)
		}
		for i, w := range want {
			if got.At(i) != w || w > got.Newest() {
				t.Fatalf("row %d: %v, want %v, not after %v", i, got.At(i), w, got.Newest())
			}
		}
	})
}

func BenchmarkSplice(b *testing.B) {
	times, starts := sessionTimes()
	half := event.Time(45 * 86_400_000_000)
	var early, late []event.Time
	earlyStarts, lateStarts := []uint32{0}, []uint32{0}
	for c := range len(starts) - 1 {
		own := times[starts[c]:starts[c+1]]
		k, _ := slices.BinarySearch(own, half)
		early, late = append(early, own[:k]...), append(late, own[k:]...)
		earlyStarts, lateStarts = append(earlyStarts, uint32(len(early))), append(lateStarts, uint32(len(late)))
	}
	sources := []*Times{NewTimes(early, earlyStarts), NewTimes(late, lateStarts)}
	var s TimesSplicer
	for b.Loop() {
		s.Begin(sources, len(times), times[:SampleRows])
		for c := range len(starts) - 1 {
			if lo, hi := earlyStarts[c], earlyStarts[c+1]; lo < hi {
				s.Add(0, int(lo), int(hi-lo))
			}
			if lo, hi := lateStarts[c], lateStarts[c+1]; lo < hi {
				s.Add(1, int(lo), int(hi-lo))
			}
		}
		s.Times()
	}
	perRow(b)
}
