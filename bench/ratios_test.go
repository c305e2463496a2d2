package bench

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
)

// ratio tells how the times of two ways to the same answer relate.
type ratio struct {
	first, second []time.Duration
}

// pair measures one and the other right after it, so that both have the same
// share of a machine that others use.
func (r *ratio) pair(first, second func()) {
	begun := time.Now()
	first()
	half := time.Now()
	second()
	r.first, r.second = append(r.first, half.Sub(begun)), append(r.second, time.Since(half))
}

// report tells the least that either took, and how they relate: others on the
// machine only ever make something slower.
func (r *ratio) report(b *testing.B, first, second, of string) {
	one, two := slices.Min(r.first), slices.Min(r.second)
	b.ReportMetric(float64(one.Microseconds())/1000, first+"-ms")
	b.ReportMetric(float64(two.Microseconds())/1000, second+"-ms")
	b.ReportMetric(float64(one)/float64(two), of)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThreads tells how many times faster two threads are than one; with
// -benchtime 5x the best of five runs each.
func BenchmarkThreads(b *testing.B) {
	db := open(b)
	for _, s := range statements[:12] {
		b.Run(s.name, func(b *testing.B) {
			answer(b, db, s.text)
			var r ratio
			for b.Loop() {
				r.pair(func() { answer(b, db, s.text, engine.RunOptions{Workers: 1}) }, func() { answer(b, db, s.text, engine.RunOptions{Workers: 2}) })
			}
			r.report(b, "one", "two", "times-faster")
		})
	}
}

// BenchmarkFirst compares a statement as the first after opening, the pages in
// the system's cache, with the third of the same opening, and tells how long
// opening takes.
func BenchmarkFirst(b *testing.B) {
	for _, name := range []string{"funnel3", "paths5", "transitions", "measure", "attribute_linear"} {
		b.Run(name, func(b *testing.B) {
			text := textOf(b, name)
			var opening time.Duration
			var r ratio
			for b.Loop() {
				begun := time.Now()
				db, err := engine.Open(store(b), engine.Options{ReadOnly: true})
				if err != nil {
					b.Fatal(err)
				}
				opening += time.Since(begun)
				begun = time.Now()
				answer(b, db, text)
				r.first = append(r.first, time.Since(begun))
				answer(b, db, text)
				begun = time.Now()
				answer(b, db, text)
				r.second = append(r.second, time.Since(begun))
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			r.report(b, "first", "warm", "times-slower")
			b.ReportMetric(float64(opening.Microseconds())/1000/float64(b.N), "open-ms")
		})
	}
}

// BenchmarkFresh compares forty uncompacted segments with the same events
// compacted, which takes compact-ns/event: data as it comes in against data at
// rest. The events are those of WEND_BENCH_CSV, in its order.
func BenchmarkFresh(b *testing.B) {
	const segments = 40
	batches := inBatches(b, segments)
	fresh, rest := filledStore(b, batches), filledStore(b, batches)
	writer, err := storage.Open(rest, storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	n, begun := writer.Status().Events, time.Now()
	if err := writer.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	compacting := time.Since(begun)
	if err := writer.Close(); err != nil {
		b.Fatal(err)
	}
	dbs := [2]*engine.DB{}
	for i, dir := range []string{rest, fresh} { // read only: nothing compacts
		if dbs[i], err = engine.Open(dir, engine.Options{ReadOnly: true}); err != nil {
			b.Fatal(err)
		}
		defer dbs[i].Close()
	}
	for _, name := range []string{"funnel3", "paths5", "transitions", "transitions_times", "measure", "attribute_linear", "retention"} {
		b.Run(name, func(b *testing.B) {
			text := textOf(b, name)
			answer(b, dbs[0], text)
			answer(b, dbs[1], text)
			var r ratio
			for b.Loop() {
				r.pair(func() { answer(b, dbs[1], text) }, func() { answer(b, dbs[0], text) })
			}
			b.ReportMetric(float64(len(dbs[1].Status().Segments)), "segments")
			b.ReportMetric(float64(compacting.Nanoseconds())/float64(n), "compact-ns/event")
			r.report(b, "fresh", "compacted", "times-slower")
		})
	}
}

// inBatches reads the events of WEND_BENCH_CSV into so many batches of one size.
func inBatches(b *testing.B, n int) []*event.Batch {
	b.Helper()
	var all []*event.Batch
	rows := 0
	for batch := range csvBatches(b) {
		all, rows = append(all, batch), rows+batch.Len()
	}
	if rows > n*50_000 {
		b.Skipf("%d events make no %d batches; name a file of the workload with two million", rows, n)
	}
	var batches []*event.Batch
	part, taken := event.NewBuilder(), 0
	for _, batch := range all {
		for i := range batch.Len() {
			part.Add(batch.At(i))
			if taken++; taken*n/rows > len(batches) {
				batches, part = append(batches, part.Batch()), event.NewBuilder()
			}
		}
	}
	return batches
}

// filledStore makes a store with a segment a batch and partition, and returns its directory.
func filledStore(b *testing.B, batches []*event.Batch) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "store")
	s, err := storage.Open(dir, storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range batches {
		again := *batch
		if _, err := s.Append(b.Context(), &again, storage.AppendOptions{Durability: storage.Memory}); err != nil {
			b.Fatal(err)
		}
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}
