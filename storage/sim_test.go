package storage

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// simulate runs seeds until enough crash states were tried.
func simulate(t testing.TB, first uint64, states int, explore bool) *simTally {
	tally := newSimTally()
	tally.run(t, first, explore, 0, func() bool { return tally.states >= states })
	return tally
}

// run runs seeds until enough is done.
func (tally *simTally) run(t testing.TB, first uint64, explore bool, aim int, enough func() bool) (seeds uint64) {
	return tally.each(t, first, enough, func(seed uint64) *sim {
		d := newSim(seed, tally)
		d.explore, d.aim = explore, aim
		d.stateMax = 400
		return d
	})
}

// each runs what is made of seeds until enough is done.
func (tally *simTally) each(t testing.TB, first uint64, enough func() bool, made func(seed uint64) *sim) (seeds uint64) {
	var next atomic.Uint64
	var stop atomic.Bool
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !stop.Load() {
				seed := first + next.Add(1) - 1
				d := made(seed)
				if err := d.run(60); err != nil {
					stop.Store(true)
					t.Errorf("seed %d: %v\n  %s", seed, err, strings.Join(d.log, "\n  "))
				}
				tally.mu.Lock()
				if enough() {
					stop.Store(true)
				}
				tally.mu.Unlock()
			}
		})
	}
	group.Wait()
	return next.Load()
}

// One seed alone: what WEND_SEED=17 repeats after a run of many failed, and
// with what deliberate bugs are found.
func TestSimSeed(t *testing.T) {
	tally := newSimTally()
	d := newSim(trust.Number("WEND_SEED", 1), tally)
	d.explore, d.stateMax = true, 400
	err := d.run(60)
	t.Logf("states=%d", tally.states)
	if err != nil {
		t.Fatalf("%v\n  %s", err, strings.Join(d.log, "\n  "))
	}
}

// TestSimStory loses the power before and after every change of a file in one
// history: once nothing is left of what was not synced, once all of it. That is
// where a missing fsync shows, and a file that goes before its replacement counts.
// A store of format 1 has no copy of its manifest that would make up for it.
func TestSimStory(t *testing.T) {
	for format := 1; format <= FormatVersion; format++ {
		t.Run(fmt.Sprint("format ", format), func(t *testing.T) { simStory(t, format) })
	}
}

func simStory(t *testing.T, format int) {
	tally := newSimTally()
	d := newSim(6, tally) // of even seeds nothing is kept in memory
	d.copies = &simCopies{format: format, erased: map[int][]string{}}
	d.order, d.fs = simfs.Strict, simfs.New(simfs.Strict)
	defer d.abandon()
	d.fs.Hook = func(op *simfs.Op, after bool) {
		if op.Site == "" || d.failed() != nil {
			return
		}
		seen := map[uint64]bool{}
		for _, mode := range []simfs.Mode{simfs.AllLost, simfs.AllKept} {
			d.try(d.fs.Crash(d.hookR, mode), fmt.Sprintf("%s, %s, %v", side(op, after), op.Name, mode), seen, 3, powerLost)
		}
	}
	if err := d.open(powerLost); err != nil {
		t.Fatal(err)
	}
	link := func() {
		d.change("link", func(m *simMeta) { m.links["c1"] = "c2" }, func() error { return d.store.Link(t.Context(), "c1", "c2") })
	}
	killed := func() { // the machine stays up
		kill(d.store)
		if err := d.open(processKilled); err != nil {
			d.fail(err)
		}
	}
	loose := func() {
		b := d.batch(2)
		events, _, _ := d.m.fresh(d.timely(b), false)
		d.seq++
		d.send(&simBatch{seq: d.seq, events: events, sent: b, level: Interval}, 0, 0)
	}
	for _, step := range []func(){
		func() { d.sendSync(3) }, func() { d.sendSync(2) }, link, loose, killed, func() { d.sendSync(4) }, d.load,
		func() { d.work("flush", true, d.store.Flush) }, func() { d.sendSync(2) }, d.resend, d.load,
		func() { d.work("compact", true, d.store.Compact) }, d.resend, func() { d.sendSync(1) }, d.undo, d.reopen, d.erase,
		func() {
			for range 4 {
				d.work("erase step", false, func(ctx context.Context) error { _, err := d.store.EraseStep(ctx); return err })
			}
		},
	} {
		step()
		if err := d.failed(); err != nil {
			t.Fatalf("%v\nstates=%d\n  %s", err, tally.states, strings.Join(d.log, "\n  "))
		}
		d.settle()
	}
	if err := d.live(d.store, d.m); err != nil {
		t.Fatal(err)
	}
	trust.Report(t, "P1", "sim story of format", format, "states", tally.states, "violations", 0)
}

// The same seed does the same things: whatever the simulation finds can be found again.
func TestSimRepeats(t *testing.T) {
	seeds := trust.Number("WEND_REPEATS", 6)
	for seed := range seeds {
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
	trust.Report(t, "2.4", "seeds run twice", seeds, "with different traces", 0)
}

// TestSimCrashes is promises P1 to P4 and P7: whatever a crash leaves, at any
// file operation, nothing that was acknowledged is lost and nothing else is
// believed. WEND_STATES and WEND_SEED say how many states, and from which seed.
func TestSimCrashes(t *testing.T) {
	seed, states := trust.Number("WEND_SEED", 1), trust.Number("WEND_STATES", 20000)
	if testing.Short() {
		states = min(states, 1000)
	}
	sites := slices.DeleteFunc(mutatingSites(t), inDamage) // those are TestSimSetAsideCrashes'
	tally := simulate(t, seed, int(states), true)
	// Rare sites: further seeds, in which crashes are tried where there were few only.
	aim, most, aimed := int(trust.Number("WEND_SITE_CRASHES", 0)), trust.Number("WEND_SITE_SEEDS", 200_000), uint64(0)
	if aim > 0 && !t.Failed() {
		seeds := uint64(0)
		aimed = tally.run(t, seed+1<<32, true, aim, func() bool {
			seeds++
			_, _, least := tally.covered(sites)
			return least >= aim || seeds >= uint64(most)
		})
		if _, _, least := tally.covered(sites); least < aim && !t.Failed() {
			t.Errorf("a call site has %d crashes on one side after %d further seeds, want %d", least, aimed, aim)
		}
	}
	violations := 0
	if t.Failed() {
		violations = 1
	}
	covered, missing, least := tally.covered(sites)
	if len(missing) > 0 && !t.Failed() {
		report := t.Logf
		if states >= 20000 {
			report = t.Errorf
		}
		report("no crash was tried at\n  %s", strings.Join(missing, "\n  "))
	}
	trust.Report(t, "P1", "sim states", tally.states, "nested", tally.nested, "crashes", tally.crashes,
		"sites", fmt.Sprintf("%d/%d", covered, len(sites)), "least", least, "seeds for rare sites", aimed, "violations", violations, "seed", seed)
	trust.Report(t, "P2", "sim batches of", fmt.Sprintf("1:%d, <1000:%d, <max:%d, max:%d", tally.tried[0], tally.tried[1], tally.tried[2], tally.tried[3]),
		"over a new log", tally.rotated, "torn", violations, "seed", seed)
}

// TestSimCallers has callers come while others wait for the disk, which may fail,
// and the power goes now and then: what each was told holds. There are many
// histories, and each meets a few crashes only.
func TestSimCallers(t *testing.T) {
	seed, histories := trust.Number("WEND_SEED", 1), trust.Number("WEND_CALLERS", 600)
	if testing.Short() {
		histories = min(histories, 100)
	}
	tally, done := newSimTally(), uint64(0)
	tally.each(t, seed, func() bool { done++; return done >= histories }, func(seed uint64) *sim {
		d := newSim(seed*8, tally)
		d.weights[simFaults] += 2
		return d
	})
	if tally.came == 0 {
		t.Error("nobody came")
	}
	violations := 0
	if t.Failed() {
		violations = 1
	}
	trust.Report(t, "P3", "sim histories of several callers", done, "batches that came while others waited", tally.came, "crashes", tally.crashes, "violations", violations, "seed", seed)
}

// The largest batches are whole or not there, like small ones. Their states
// are dear, so there are few.
func TestSimLargeBatches(t *testing.T) {
	for _, n := range []int{1000, batchEvents} {
		tally := newSimTally()
		d := newSim(1, tally)
		d.large, d.explore, d.stateMax = true, true, 12
		if n == 1000 {
			d.stateMax = 100
		}
		err := func() error {
			defer d.abandon()
			d.fs.Hook, d.fs.Fault = d.hook, d.decide
			if err := d.open(powerLost); err != nil {
				return err
			}
			for _, size := range []int{2, n, 1} {
				d.states = 0
				d.append(d.batch(size), fmt.Sprint("large", size))
				if err := d.failed(); err != nil {
					return err
				}
				d.settle()
			}
			d.states = 0
			d.work("flush", true, d.store.Flush)
			if err := d.failed(); err != nil {
				return err
			}
			return d.live(d.store, d.m)
		}()
		if err != nil {
			t.Fatalf("batch of %d: %v\n  %s", n, err, strings.Join(d.log, "\n  "))
		}
		trust.Report(t, "P2", "sim batch of", n, "states", tally.states, "torn", 0)
	}
}
