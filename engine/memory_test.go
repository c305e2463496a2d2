package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/internal/trust"
)

// heavy are statements that keep much: distinct values, groups, paths, times.
var heavy = []string{
	"measure events by a, b limit 10",
	"measure events by a, b, c, d, e limit 10",
	"measure events by customer every day limit 10",
	"measure distinct(visit), distinct(a)",
	"measure median(n), p95(n)",
	"measure sum(f) by a limit 10",
	"measure distinct(visit) by b limit 10",
	"funnel A -> B -> C within 1h by a limit 10",
	"funnel A -> B within 1h by a, b limit 10 count attempts",
	"times A -> B within 1d count attempts",
	"dropoff A -> B within 1h by b limit 10",
	"paths length 10",
	"paths from each * length 4 of event, b",
	"transitions of event, b limit 10",
	"transitions with times of event limit 10",
	"flow from A depth 10 top 3",
	"match A+ => * by a limit 10",
	"match *",
	"affinity of a in * limit 10",
	"affinity of event in * per a limit 10",
	"attribute C to event using linear, markov by b limit 10",
	"retention A -> B every day for 30 by b limit 10",
	"switches within 1d by b limit 10",
	"drivers of A -> B by a, b within 1h",
	"next after A -> B within 1h by b limit 10",
	"moments of b score n within 1h limit 10",
	"map early, late score n within 1h",
	"why 'c0' in A -> B within 1h",
	"customers among did A limit 60000 of a, b",
	"journey of 'c0' limit 1000000",
	"describe visit",
}

// manyValues are events whose properties have many values.
func manyValues(customers, each int) []event.Event {
	rng := rand.New(rand.NewPCG(1, 1))
	text := func(name string, of int) event.Prop {
		return event.Prop{Name: name, Value: event.String(fmt.Sprintf("%s-%d", name, rng.IntN(of)))}
	}
	n := customers * each
	events := make([]event.Event, 0, n)
	for c := range customers {
		for k := range each {
			e := at(fmt.Sprintf("c%d", c), int64(k*997+rng.IntN(997)), string(rune('A'+rng.IntN(8))), []string{"web", "app", "shop"}[rng.IntN(3)])
			e.Props = []event.Prop{text("a", n/4), text("b", 300), text("c", 300), text("d", 300), text("e", 300), text("visit", 10*n),
				{Name: "n", Value: event.Integer(rng.Int64N(11))}, {Name: "f", Value: event.Float(rng.Float64())}}
			events = append(events, e)
		}
	}
	return events
}

// liveHeap is what the last collection found in use.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// peakHeap runs f and returns by how much the heap in use grew meanwhile, at
// most, as far as collections saw it.
func peakHeap(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	before, peak := liveHeap(), int64(0)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				peak = max(peak, liveHeap()-before)
			}
		}
	})
	f()
	close(done)
	watching.Wait()
	return peak
}

// What a statement reserves is what it takes: the heap does not grow by more
// than memoryFactor times it, and a tile and some scratch that every statement
// has.
func TestReservedMemoryIsTheMemoryTaken(t *testing.T) {
	const memoryFactor, scratch = 1.5, 2 << 20
	snap := enginetest.Must(manyValues(int(trust.Number("WEND_MEMORY_CUSTOMERS", 700)), 20), enginetest.Options{Tiles: 20, Definitions: []event.Definition{
		{Kind: "stage", Name: "early", Text: "define stage early as A | B"},
		{Kind: "stage", Name: "late", Text: "define stage late as C"},
	}})
	worst := 0.0
	for _, text := range heavy {
		var reserved int64
		var err error
		grown := peakHeap(func() {
			_, err = run(snap, text, engine.RunOptions{Workers: 2, MemoryBytes: 1 << 30, Groups: 10_000_000}.WithSpent(func(bytes, _, _ int64) { reserved = bytes }))
		})
		var limit *engine.LimitError
		if err != nil && !errors.As(err, &limit) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		t.Logf("%-60s reserved %9d, grown %9d, factor %.2f %v", text, reserved, grown, float64(grown)/float64(reserved), err)
		if float64(grown) > memoryFactor*float64(reserved)+scratch {
			t.Errorf("%s reserved %d bytes and took %d", text, reserved, grown)
		}
		worst = max(worst, float64(grown-scratch)/float64(reserved))
	}
	trust.Report(t, "2.3", "statements", len(heavy), "worst_taken_by_reserved", fmt.Sprintf("%.2f", worst), "allowed", memoryFactor)
}

// The names of customers are part of what is reserved for rows, and given back
// with those that are cut.
func TestNamesOfCustomersAreReserved(t *testing.T) {
	const customers, limit, long = 3000, 600, 4000
	peak := func(length int) (reserved int64) {
		var events []event.Event
		for c := range customers {
			events = append(events, at(fmt.Sprintf("%0*d", length, c), int64(c), "A", ""))
		}
		opt := engine.RunOptions{Workers: 1}.WithSpent(func(bytes, _, _ int64) { reserved = bytes })
		if _, err := run(enginetest.Must(events, enginetest.Options{}), fmt.Sprintf("customers among did A limit %d", limit), opt); err != nil {
			t.Error(err)
		}
		return reserved
	}
	// The tile has all names, and a worker cuts its rows when there are twice as many as can be shown.
	if got, want := peak(long)-peak(4), int64((customers+2*limit)*(long-4)); got != want {
		t.Errorf("names reserved %d bytes, want %d", got, want)
	}
}
