package tile

import (
	"testing"

	"wend/event"
)

func BenchmarkSinceAndGaps(b *testing.B) {
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
	b.Run("gaps", func(b *testing.B) {
		for b.Loop() {
			column.Gaps(7*event.Day, dst)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(times)), "ns/row")
	})
}
