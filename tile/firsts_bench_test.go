package tile

import (
	"testing"

	"wend/event"
)

func BenchmarkSinceAndStops(b *testing.B) {
	times, starts := sessionTimes()
	column, firsts := NewTimes(times, starts), NewFirsts(starts)
	dst := NewBitmap(len(times))
	b.Run("since", func(b *testing.B) {
		for b.Loop() {
			clear(dst)
			column.Since(event.Time(83*event.Day), firsts, dst)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(times)), "ns/row")
	})
	b.Run("stops", func(b *testing.B) {
		for longest := 7 * event.Day; b.Loop(); longest++ {
			column.Stops(longest, firsts)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(times)), "ns/row")
	})
}
