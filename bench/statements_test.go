// Package bench measures whole statements on a store of the workload. The
// store is made by make bench, or named by WEND_BENCH_DB.
package bench

import (
	"os"
	"syscall"
	"testing"
	"time"

	"wend/engine"
)

// statements are what goals are set for, by a short name.
var statements = []struct{ name, text string }{
	{"funnel3", "funnel view_product -> add_to_cart -> purchase within 7d"},
	{"funnel3_by_channel", "funnel view_product -> add_to_cart -> purchase within 7d by channel"},
	{"funnel5_exclusion", "funnel search -> view_product -> add_to_cart[campaign != 'cmp7'] -> !complaint -> begin_checkout -> purchase within 30d"},
	{"dropoff3", "dropoff view_product -> add_to_cart -> purchase within 7d"},
	{"paths5", "paths length 5 top 10"},
	{"paths_to", "paths to purchase within 7d length 5"},
	{"transitions", "transitions"},
	{"transitions_times", "transitions with times"},
	{"measure", "measure events, customers by event, channel"},
	{"funnel3_store_month", "funnel view_product -> add_to_cart -> purchase within 7d where channel = 'store' during 2025-02-01 to 2025-02-28"},
	{"attribute_linear", "attribute purchase to channel using linear within 30d"},
	{"attribute_markov1", "attribute purchase to channel using markov within 30d"},
	{"funnel3_where", "funnel view_product -> add_to_cart -> purchase within 7d where device != 'pos'"},
	{"paths5_where", "paths length 5 top 10 where device != 'pos'"},
	{"paths5_during", "paths length 5 top 10 during 2025-02-01 to 2025-02-28"},
	{"paths_to_where", "paths to purchase within 7d length 5 where device != 'pos'"},
	{"transitions_where", "transitions where device != 'pos'"},
	{"transitions_during", "transitions during 2025-02-01 to 2025-02-28"},
	{"transitions_times_where", "transitions with times where device != 'pos'"},
	{"measure_where", "measure events, customers by event, channel where device != 'pos'"},
	{"measure_during", "measure events, customers by event, channel during 2025-02-01 to 2025-02-28"},
	{"funnel3_during", "funnel view_product -> add_to_cart -> purchase within 7d during 2025-02-01 to 2025-02-28"},
	{"attribute", "attribute purchase to channel within 30d using first, last, linear, shapley"},
	{"attribute_markov", "attribute purchase to channel within 30d using markov, markov(2)"},
	{"retention", "retention view_product -> purchase every week for 8"},
	{"flow", "flow from view_product within 7d"},
	{"switches", "switches within 7d"},
	{"match", "match view_product+ => add_to_cart => (* => *)? => purchase"},
	{"moments", "moments goal purchase within 7d"},
	{"affinity", "affinity of channel in purchase per session"},
	{"drivers", "drivers of view_product -> purchase by channel, device within 7d"},
	{"drivers_events", "drivers of view_product -> purchase by events within 7d"},
	{"next_after", "next after view_product -> purchase within 7d"},
	{"next_for_test", "next for 'u1' test last 20%"},
}

func open(b *testing.B) *engine.DB {
	b.Helper()
	dir := os.Getenv("WEND_BENCH_DB")
	if dir == "" {
		b.Skip("WEND_BENCH_DB names no store; make bench makes one")
	}
	db, err := engine.Open(dir, engine.Options{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

func BenchmarkStatements(b *testing.B) {
	db := open(b)
	for _, s := range statements {
		b.Run(s.name, func(b *testing.B) {
			if _, err := db.Query(b.Context(), s.text, engine.NoCache()); err != nil {
				b.Fatal(err)
			}
			events, begun := int64(0), processorTime()
			for b.Loop() {
				res, err := db.Query(b.Context(), s.text, engine.NoCache())
				if err != nil {
					b.Fatal(err)
				}
				events += res.Meta.EventsRead
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
			b.ReportMetric((processorTime()-begun).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTime is what the process has used of all processors: on a shared
// machine it says more than the time that passed.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
