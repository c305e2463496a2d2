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

// BenchmarkSplice merges two halves of a time, and all but a few late rows with these.
func BenchmarkSplice(b *testing.B) {
	times, starts := sessionTimes()
	for name, cutoff := range map[string]event.Time{"halves": 45 * 86_400_000_000, "few late": 89 * 86_400_000_000} {
		var columns [2][]event.Time
		columnStarts := [2][]uint32{{0}, {0}}
		for c := range len(starts) - 1 {
			own := times[starts[c]:starts[c+1]]
			k, _ := slices.BinarySearch(own, cutoff)
			for i, some := range [][]event.Time{own[:k], own[k:]} {
				columns[i] = append(columns[i], some...)
				columnStarts[i] = append(columnStarts[i], uint32(len(columns[i])))
			}
		}
		type piece struct{ source, row, n int }
		var pieces []piece
		for c := range len(starts) - 1 {
			for i, own := range columnStarts {
				lo, n := int(own[c]), int(own[c+1]-own[c])
				if k := len(pieces) - 1; k >= 0 && pieces[k].source == i && pieces[k].row+pieces[k].n == lo {
					pieces[k].n += n
				} else if n > 0 {
					pieces = append(pieces, piece{i, lo, n})
				}
			}
		}
		sources := []*Times{NewTimes(columns[0], columnStarts[0]), NewTimes(columns[1], columnStarts[1])}
		b.Run(name, func(b *testing.B) {
			var s TimesSplicer
			for b.Loop() {
				s.Begin(sources, len(times), times[:SampleRows])
				for _, p := range pieces {
					s.Add(p.source, p.row, p.n)
				}
				s.Times()
			}
			perRow(b)
		})
	}
}
