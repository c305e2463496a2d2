package bench

import (
	"os"
	"testing"

	"wend/engine"
)

// BenchmarkFirst measures a statement as the first after opening, the pages in
// the system's cache.
func BenchmarkFirst(b *testing.B) {
	dir := os.Getenv("WEND_BENCH_DB")
	if dir == "" {
		b.Skip("WEND_BENCH_DB names no store; make bench makes one")
	}
	for b.Loop() {
		db, err := engine.Open(dir, engine.Options{ReadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := db.Query(b.Context(), statements[0].text, engine.NoCache()); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
