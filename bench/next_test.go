package bench

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"wend/engine"
	"wend/query"
)

// customersOf lists customers of the store, spread over it.
func customersOf(b *testing.B, db *engine.DB, n int) []string {
	b.Helper()
	res, err := db.Query(b.Context(), fmt.Sprintf("customers among did purchase limit %d", n))
	if err != nil {
		b.Fatal(err)
	}
	var list []string
	for _, row := range res.Rows {
		list = append(list, row[0].(string))
	}
	return list
}

// BenchmarkNextFor measures a question for another customer each time: by a
// scan, as the first one is answered, and by what is kept, with the time that
// making it takes.
func BenchmarkNextFor(b *testing.B) {
	db := open(b)
	customers := customersOf(b, db, 1000)
	ask := func(c string, opts ...engine.QueryOption) *engine.Result {
		res, err := db.Query(b.Context(), "next for '"+c+"' top 3", opts...)
		var seldom *query.Error
		if err != nil && !errors.As(err, &seldom) {
			b.Fatal(err)
		}
		return res
	}
	b.Run("scan", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			ask(customers[i%len(customers)], engine.NoCache())
		}
	})
	begun, used := time.Now(), processorTime()
	for i := 0; ; i++ {
		if res := ask(customers[i%len(customers)]); i > 1 && res != nil && !res.Meta.Cached && res.Meta.EventsRead == 0 {
			break
		}
		time.Sleep(2 * time.Second) // each question is a scan, which takes time from the making
		if time.Since(begun) > 10*time.Minute {
			b.Fatal("nothing is kept after ten minutes")
		}
	}
	b.Logf("made in %s, with %s of processor time, scans for those who asked meanwhile among it", time.Since(begun).Round(time.Second/10), (processorTime() - used).Round(time.Second/10))
	b.Run("kept", func(b *testing.B) { latencies(b, customers, func(c string) { ask(c) }) })
}

// BenchmarkJourney measures looking up one customer.
func BenchmarkJourney(b *testing.B) {
	db := open(b)
	latencies(b, customersOf(b, db, 10_000), func(c string) {
		if _, err := db.Query(b.Context(), "journey of '"+c+"'", engine.NoCache()); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkWhy measures telling one customer's story.
func BenchmarkWhy(b *testing.B) {
	db := open(b)
	latencies(b, customersOf(b, db, 10_000), func(c string) {
		if _, err := db.Query(b.Context(), "why '"+c+"' in view_product -> add_to_cart -> purchase within 7d", engine.NoCache()); err != nil {
			b.Fatal(err)
		}
	})
}

// latencies reports the slowest of a hundred beside the mean, after each
// customer was asked for once.
func latencies(b *testing.B, customers []string, f func(customer string)) {
	for _, c := range customers {
		f(c)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begun := time.Now()
		f(customers[i%len(customers)])
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
