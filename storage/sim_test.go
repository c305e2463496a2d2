package storage

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wend/internal/trust"
)

// simulate runs seeds until enough crash states were tried.
func simulate(t testing.TB, first uint64, states int, explore bool) *simTally {
	tally := newSimTally()
	var next atomic.Uint64
	var stop atomic.Bool
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !stop.Load() {
				seed := first + next.Add(1) - 1
				d := newSim(seed, tally)
				d.explore = explore
				d.stateMax = 400
				if err := d.run(60); err != nil {
					stop.Store(true)
					t.Errorf("seed %d: %v\n  %s", seed, err, strings.Join(d.log, "\n  "))
				}
				tally.mu.Lock()
				if tally.states >= states {
					stop.Store(true)
				}
				tally.mu.Unlock()
			}
		})
	}
	group.Wait()
	return tally
}

// The same seed does the same things: whatever the simulation finds can be found again.
func TestSimRepeats(t *testing.T) {
	for seed := range uint64(6) {
		var hashes [2]uint64
		for i := range hashes {
			d := newSim(1000+seed, newSimTally())
			if err := d.run(60); err != nil {
				t.Fatalf("seed %d: %v\n  %s", seed, err, strings.Join(d.log, "\n  "))
			}
			hashes[i] = d.fs.TraceHash()
		}
		if hashes[0] != hashes[1] {
			t.Errorf("seed %d: the traces of two runs differ", seed)
		}
	}
}

// TestSimCrashes is promises P1 to P4 and P7: whatever a crash leaves, at any
// file operation, nothing that was acknowledged is lost and nothing else is
// believed. WEND_STATES and WEND_SEED say how many states, and from which seed.
func TestSimCrashes(t *testing.T) {
	seed, states := trust.Number("WEND_SEED", 1), trust.Number("WEND_STATES", 20000)
	if testing.Short() {
		states = min(states, 1000)
	}
	tally := simulate(t, seed, int(states), true)
	violations := 0
	if t.Failed() {
		violations = 1
	}
	trust.Report(t, "P1", "sim states", tally.states, "nested", tally.nested, "crashes", tally.crashes, "violations", violations, "seed", seed)
}

var _ = errors.New
var _ = fmt.Sprint
