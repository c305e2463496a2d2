// Package bench measures whole statements, ratios between two ways to one
// answer, and imports, on stores of the workload. A store is made by make bench,
// or named by WEND_BENCH_DB, its events by WEND_BENCH_CSV. What each layer takes
// is measured beside the layer; what serves over HTTP in bench/serve.
package bench

import (
	"os"
	"syscall"
	"testing"
	"time"

	"wend/engine"
)

// statements are what goals are set for, by a short name, the same with another
// where or during, and after them one of every other kind.
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
	{"attribute_markov", "attribute purchase to channel using markov within 30d"},
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
	{"funnel3_sessions", "funnel view_product -> add_to_cart -> purchase per session"},
	{"funnel3_entries", "funnel view_product -> add_to_cart -> purchase within 7d count entries"},
	{"funnel3_attempts", "funnel view_product -> add_to_cart -> purchase within 7d count attempts"},
	{"funnel3_holding", "funnel view_product -> add_to_cart -> purchase within 7d holding campaign"},
	{"funnel3_windows", "funnel view_product -> add_to_cart -> purchase within 1d, 7d, 30d"},
	{"funnel_any_order", "funnel any order (view_product, add_to_cart, purchase) within 7d"},
	{"times", "times view_product -> add_to_cart -> purchase within 7d"},
	{"paths_from_each", "paths from each add_to_cart within 1d collapse"},
	{"paths_cover", "paths length 3 cover 50%"},
	{"measure_sessions", "measure sessions, events / sessions"},
	{"measure_median", "measure sum(value), median(value) by channel every week"},
	{"customers_among", "customers among did purchase at least 3 times and not did complaint limit 10"},
	{"attribute_first", "attribute purchase to channel within 30d using first"},
	{"attribute_last", "attribute purchase to channel within 30d using last"},
	{"attribute_position", "attribute purchase to channel within 30d using position"},
	{"attribute_decay", "attribute purchase to channel within 30d using decay(7d)"},
	{"attribute_markov2", "attribute purchase to channel within 30d using markov(2)"},
	{"attribute_shapley", "attribute purchase to channel within 30d using shapley"},
	{"attribute_all", "attribute purchase to channel within 30d using first, last, linear, position, decay(7d), markov, markov(2), shapley"},
	{"retention", "retention view_product -> purchase every week for 8"},
	{"flow", "flow from view_product within 7d"},
	{"switches", "switches within 7d"},
	{"switches_goal", "switches within 7d goal purchase"},
	{"match", "match view_product+ => add_to_cart => (* => *)? => purchase"},
	{"map", "map consideration, basket, buying by channel score value within 7d"},
	{"moments", "moments goal purchase within 7d"},
	{"affinity", "affinity of channel in purchase per session"},
	{"drivers", "drivers of view_product -> purchase by channel, device within 7d"},
	{"drivers_events", "drivers of view_product -> purchase by events within 7d"},
	{"next_after", "next after view_product -> purchase within 7d"},
	{"next_for_test", "next for 'u1' test last 20%"},
}

// store is the directory of the store that is measured.
func store(b *testing.B) string {
	b.Helper()
	dir := os.Getenv("WEND_BENCH_DB")
	if dir == "" {
		b.Skip("WEND_BENCH_DB names no store; make bench makes one")
	}
	return dir
}

func open(b *testing.B) *engine.DB {
	b.Helper()
	db, err := engine.Open(store(b), engine.Options{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// textOf is the statement of a name.
func textOf(b *testing.B, name string) string {
	for _, s := range statements {
		if s.name == name {
			return s.text
		}
	}
	b.Fatalf("there is no statement %q", name)
	return ""
}

func BenchmarkStatements(b *testing.B) {
	db := open(b)
	for _, s := range statements {
		b.Run(s.name, func(b *testing.B) {
			ask := func() *engine.Result { return answer(b, db, s.text) }
			if s.name == "map" {
				ask = staged(b, s.text)
			}
			ask()
			events, begun := int64(0), processorTime()
			for b.Loop() {
				events += ask().Meta.EventsRead
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(1, events)), "ns/event")
			b.ReportMetric((processorTime()-begun).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// answer asks a statement, and has it computed.
func answer(b *testing.B, db *engine.DB, text string, limits ...engine.RunOptions) *engine.Result {
	opts := []engine.QueryOption{engine.NoCache()}
	for _, l := range limits {
		opts = append(opts, engine.WithLimits(l))
	}
	res, err := db.Query(b.Context(), text, opts...)
	if err != nil {
		b.Fatal(err)
	}
	return res
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
