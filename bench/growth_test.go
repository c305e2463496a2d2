package bench

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"wend/engine"
)

// BenchmarkGrowth is one row of the table that holds stores of other sizes
// beside each other: how long opening takes, how much of the heap is in use
// after all statements of the goals have run, and what each takes an event.
func BenchmarkGrowth(b *testing.B) {
	var opening []time.Duration
	for range 5 {
		begun := time.Now()
		db, err := engine.Open(store(b), engine.Options{ReadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		opening = append(opening, time.Since(begun))
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(opening)
	db := open(b)
	events := float64(db.Status().Events)
	for _, s := range statements[:12] {
		b.Run(s.name, func(b *testing.B) {
			if _, err := db.Query(b.Context(), s.text, engine.NoCache()); errors.Is(err, engine.ErrLimit) {
				b.Skip(err) // it would not be answered to anybody else either
			}
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				answer(b, db, s.text)
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/events, "ns/event")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(events, "events")
		b.ReportMetric(float64(opening[len(opening)/2].Microseconds())/1000, "open-ms")
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "live-heap-MiB")
		b.ReportMetric(float64(db.Status().Bytes)/events, "B/event")
		b.ReportMetric(0, "ns/op")
	})
}
