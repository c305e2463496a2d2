package ingest

import (
	"context"
	"io"
	"os"
	"testing"
)

// BenchmarkFile reads the file that WEND_BENCH_FILE names, both looks at it
// included.
func BenchmarkFile(b *testing.B) {
	path := os.Getenv("WEND_BENCH_FILE")
	if path == "" {
		b.Skip("WEND_BENCH_FILE names no file")
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	rows := int64(0)
	for b.Loop() {
		r, err := Open([]string{path}, nil, Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(context.Background()); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		rows += r.Stats().Rows
		r.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}
