package bench

import (
	"testing"
	"time"

	"wend/engine"
	"wend/storage"
)

// BenchmarkBeyond tells what statements take of the processors where nothing is
// kept, as if the store were far larger than the cache: every tile is read, or
// merged, for every statement anew; and how that relates to the same with
// everything kept.
func BenchmarkBeyond(b *testing.B) {
	kept := open(b)
	cold, err := engine.Open(store(b), engine.Options{ReadOnly: true, Storage: storage.Options{CacheBytes: -1}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cold.Close() })
	for _, name := range []string{"funnel3", "paths5", "transitions", "measure", "attribute_linear"} {
		b.Run(name, func(b *testing.B) {
			text := textOf(b, name)
			answer(b, kept, text)
			var events int64
			var used [2]time.Duration
			for b.Loop() {
				for i, db := range []*engine.DB{cold, kept} {
					begun := processorTime()
					events = answer(b, db, text).Meta.EventsRead
					used[i] += processorTime() - begun
				}
			}
			n := float64(b.N) * float64(events)
			b.ReportMetric(float64(used[0].Nanoseconds())/n, "beyond-cpu-ns/event")
			b.ReportMetric(float64(used[1].Nanoseconds())/n, "kept-cpu-ns/event")
			b.ReportMetric(float64(used[0])/float64(used[1]), "times-more")
			b.ReportMetric(0, "ns/op")
		})
	}
}
