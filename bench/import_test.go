package bench

import (
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"wend/engine"
	"wend/event"
	"wend/ingest"
	"wend/storage"
)

// csv is the file of events that is read.
func csv(b *testing.B) string {
	b.Helper()
	file := os.Getenv("WEND_BENCH_CSV")
	if file == "" {
		b.Skip("WEND_BENCH_CSV names no file; make bench makes one")
	}
	return file
}

// csvBatches reads it.
func csvBatches(b *testing.B) iter.Seq[*event.Batch] {
	r, err := ingest.Open(b.Context(), []string{csv(b)}, nil, ingest.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return func(yield func(*event.Batch) bool) {
		defer r.Close()
		for {
			batch, err := r.Next(b.Context())
			if err == io.EOF || err == nil && !yield(batch) {
				return
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkImport reads the file into a new store: parsed, sorted, written, durable.
func BenchmarkImport(b *testing.B) {
	events, begun := int64(0), processorTime()
	for b.Loop() {
		db, err := engine.Open(filepath.Join(b.TempDir(), "store"), engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		load, err := db.Store().NewLoad(b.Context(), storage.LoadOptions{Source: csv(b)})
		if err != nil {
			b.Fatal(err)
		}
		for batch := range csvBatches(b) {
			if err := load.Add(batch); err != nil {
				b.Fatal(err)
			}
		}
		done, err := load.Commit(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		events += done.Events
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(float64((processorTime()-begun).Nanoseconds())/float64(events), "cpu-ns/event")
}
