package bench

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"wend/engine"
	"wend/ingest"
	"wend/storage"
)

// BenchmarkImport reads the CSV that WEND_BENCH_CSV names into a new store:
// parsed, sorted, written, durable.
func BenchmarkImport(b *testing.B) {
	file := os.Getenv("WEND_BENCH_CSV")
	if file == "" {
		b.Skip("WEND_BENCH_CSV names no file; make bench makes one")
	}
	for b.Loop() {
		db, err := engine.Open(filepath.Join(b.TempDir(), "store"), engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		r, err := ingest.Open([]string{file}, nil, ingest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		load, err := db.Store().NewLoad(b.Context(), storage.LoadOptions{Source: file})
		if err != nil {
			b.Fatal(err)
		}
		for {
			batch, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err == nil {
				err = load.Add(batch)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		done, err := load.Commit(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(int64(b.N)*done.Events), "ns/event")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
