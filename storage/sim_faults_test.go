package storage

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// heard counts what is logged as a warning or worse.
type heard struct{ n *atomic.Int64 }

func (h heard) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h heard) Handle(context.Context, slog.Record) error    { h.n.Add(1); return nil }
func (h heard) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h heard) WithGroup(string) slog.Handler                { return h }

// faultRun does a bit of everything while operation number at of those that a
// fault applies to fails, once or from there on. It reports whether the
// workload had so many.
func faultRun(kind simfs.Fault, at int, forever bool) (fired bool, err error) {
	return faultRunAt("", kind, at, forever, nil)
}

// faultRunAt is faultRun for the operations of one call site, if it is not
// empty. Sites where a fault happened are noted in hits.
func faultRunAt(site string, kind simfs.Fault, at int, forever bool, hits *sync.Map) (fired bool, err error) {
	d := newSim(7, newSimTally())
	d.order = simfs.Strict
	d.fs = simfs.New(d.order)
	var logged atomic.Int64
	d.logger = slog.New(heard{&logged})
	n, silent, hit := 0, 0, ""
	reads := map[string]int{}
	var mu sync.Mutex
	d.fault = func(op *simfs.Op) simfs.Fault {
		if op.Site == "" || !kind.Applies(op.Kind) || site != "" && op.Site != site {
			return simfs.None
		}
		mu.Lock() // merges read in parallel
		defer mu.Unlock()
		if op.Kind == simfs.ReadAt {
			if reads[op.Site]++; reads[op.Site] > 6 && n < at {
				return simfs.None // one call reads thousands of times, always alike
			}
		}
		if n++; n < at || n > at && !forever {
			return simfs.None
		}
		if !fired {
			hit = op.Site + " " + op.Name
		}
		fired = true
		if hits != nil {
			hits.Store(op.Site, true)
		}
		switch op.Kind {
		case simfs.Close, simfs.Remove, simfs.Truncate:
			silent++ // of a file that was only read, or cleaning up: nobody needs to know
		}
		return kind
	}
	defer d.abandon()
	d.fs.Hook, d.fs.Fault = d.hook, d.decide
	if err := d.open(powerLost); err != nil {
		return fired, fmt.Errorf("%s: %w", hit, err)
	}
	steps := []func(){
		func() { d.append(d.batch(3), "one") },
		func() { d.append(d.batch(12), "") },
		d.query,
		func() {
			d.change("link", func(m *simMeta) { m.links["c1"] = "c2" }, func() error { return d.store.Link(context.Background(), "c1", "c2") })
		},
		d.load, d.pin,
		func() { d.append(d.batch(9), "two") },
		func() { d.repeat(false) },
		func() { d.work("flush", true, d.store.Flush) },
		func() { d.append(d.batch(5), "three") },
		d.resend, d.unpin, d.reopen, d.load, d.query,
		func() { d.work("compact", true, d.store.Compact) },
		func() { d.append(d.batch(4), "") },
		d.query,
	}
	for _, step := range steps {
		step()
		d.settle()
		if err := d.failed(); err != nil {
			return fired, fmt.Errorf("%s: %w\n  %s", hit, err, strings.Join(d.log, "\n  "))
		}
	}
	if fired && d.errors == 0 && logged.Load() == 0 && silent == 0 && kind != simfs.Short {
		return fired, fmt.Errorf("nobody was told of %s\n  %s", hit, strings.Join(d.log, "\n  "))
	}
	d.calm()
	for _, mode := range []simfs.Mode{simfs.AllLost, simfs.AllKept} {
		if err := d.check(d.fs.Crash(d.hookR, mode), map[uint64]bool{}, "the end", 3, powerLost); err != nil {
			return fired, fmt.Errorf("after the power was lost at the end: %w\n  %s", err, strings.Join(d.log, "\n  "))
		}
	}
	d.dropPins()
	if err := d.live(d.store, d.m); err != nil {
		return fired, fmt.Errorf("when the fault is gone: %w\n  %s", err, strings.Join(d.log, "\n  "))
	}
	return fired, nil
}

// TestSimFaults is promise P8: whichever file operation fails, and however,
// the error is told, what was acknowledged stays, reads go on, and when the
// cause is gone the store works by itself.
func TestSimFaults(t *testing.T) {
	step := int(trust.Number("WEND_FAULT_STEP", 3)) // 1: every operation
	if testing.Short() {
		step = 11
	}
	var runs atomic.Int64
	var hits sync.Map
	var group sync.WaitGroup
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, kind := range []simfs.Fault{simfs.EIO, simfs.ENOSPC, simfs.Short, simfs.EMFILE, simfs.SyncDrops} {
		for _, forever := range []bool{false, true} {
			limit <- struct{}{}
			group.Go(func() {
				defer func() { <-limit }()
				for at := 1; ; at += step {
					fired, err := faultRunAt("", kind, at, forever, &hits)
					if err != nil {
						t.Errorf("%v at operation %d, for good %v: %v", kind, at, forever, err)
						return
					}
					if !fired {
						return
					}
					runs.Add(1)
				}
			})
		}
	}
	group.Wait()
	// Call sites that the steps went over have their turn alone.
	all := append(callSites(t, mutatingCalls), callSites(t, readingCalls)...)
	told := 0
	var missing []string
	for _, site := range all {
		for _, kind := range []simfs.Fault{simfs.EIO, simfs.EMFILE} {
			if _, ok := hits.Load(site); ok || t.Failed() {
				break
			}
			if _, err := faultRunAt(site, kind, 1, false, &hits); err != nil {
				t.Errorf("%v at %s: %v", kind, site, err)
			}
			runs.Add(1)
		}
		if _, ok := hits.Load(site); ok {
			told++
		} else {
			missing = append(missing, site)
		}
	}
	t.Logf("the workload of this test does not come to\n  %s", strings.Join(missing, "\n  "))
	lost := 0
	if t.Failed() {
		lost = 1
	}
	trust.Report(t, "P8", "sites", fmt.Sprintf("%d/%d", told, len(all)), "error returns behind file calls, executed; seed", 7)
	trust.Report(t, "P8", "sim faults", runs.Load(), "kinds", "EIO,ENOSPC,short,EMFILE,sync-drops; once and for good", "violations", lost)
}

// afterFailedLoad loads while every file operation from number at on fails,
// then appends without faults, and tries what crashes right after that leave.
// Nothing may hide the batch that was acknowledged: least of all the load's
// edit, which may be found after all.
func afterFailedLoad(at int) (failed bool, err error) {
	d := newSim(7, newSimTally())
	d.order, d.fs = simfs.Strict, simfs.New(simfs.Strict)
	defer d.abandon()
	d.fs.Hook, d.fs.Fault = d.hook, d.decide
	if err := d.open(powerLost); err != nil {
		return false, err
	}
	d.append(d.batch(2), "one")
	n := 0
	d.fault = func(op *simfs.Op) simfs.Fault {
		if !op.Kind.Mutates() {
			return simfs.None
		}
		if n++; n < at {
			return simfs.None
		}
		failed = true
		return simfs.EIO
	}
	d.load()
	d.calm()
	d.settle()
	b := d.batch(3)
	for i := range b {
		b[i].ID = ""
		*d.known[eventNumber(&b[i])] = b[i]
	}
	d.seq++
	d.send(&simBatch{seq: d.seq, events: b, sent: b, level: Sync}, 0, 0)
	if err := d.failed(); err != nil {
		return failed, err
	}
	seen := map[uint64]bool{}
	for range 8 {
		for mode := range simfs.Modes {
			d.try(d.fs.Crash(d.hookR, mode), fmt.Sprintf("after a load failed at operation %d, %v", at, mode), seen, 3, powerLost)
		}
	}
	return failed, d.failed()
}

// A failed load leaves nothing behind that hides what comes later.
func TestSimAfterFailedLoad(t *testing.T) {
	for at := 1; ; at++ {
		failed, err := afterFailedLoad(at)
		if err != nil {
			t.Fatal(err)
		}
		if !failed {
			trust.Report(t, "P8", "loads failed at", at-1, "operations, violations", 0)
			return
		}
	}
}

// A disk fails one fsync, drops what it was to write, and says of the next
// fsync that all is well. A batch that is then acknowledged has to be there
// when the power is lost at that moment, before anything writes it once more.
func TestSyncFailsThenLies(t *testing.T) {
	tried := 0
	for at := 1; ; at++ {
		d := newSim(7, newSimTally())
		d.order, d.fs = simfs.Strict, simfs.New(simfs.Strict)
		fired, n := false, 0
		d.fault = func(op *simfs.Op) simfs.Fault {
			if op.Kind != simfs.Sync {
				return simfs.None
			}
			if n++; n == at {
				fired = true
				return simfs.SyncDrops
			}
			return simfs.None
		}
		d.fs.Hook, d.fs.Fault = d.hook, d.decide
		if err := d.open(powerLost); err != nil {
			t.Fatal(err)
		}
		for i, step := range []func(){
			func() { d.sendSync(2) }, func() { d.sendSync(3) }, d.load, func() { d.sendSync(1) },
			func() { d.work("flush", true, d.store.Flush) }, func() { d.sendSync(2) },
		} {
			step()
			d.settle()
			if err := d.failed(); err != nil {
				t.Fatal(err)
			}
			tried++
			if err := d.check(d.fs.Crash(d.hookR, simfs.AllLost), map[uint64]bool{}, "a sync failed", 3, powerLost); err != nil {
				t.Fatalf("fsync %d fails; the power is lost after step %d: %v\n  %s", at, i, err, strings.Join(d.log, "\n  "))
			}
		}
		d.abandon()
		if !fired {
			break
		}
	}
	trust.Report(t, "P8", "power cuts after a sync that fails and then lies, states", tried, "violations", 0)
}

// sendSync appends n new events as durable as it gets.
func (d *sim) sendSync(n int) {
	b := d.batch(n)
	events, duplicates, conflicts := d.m.fresh(d.timely(b), false)
	d.seq++
	d.send(&simBatch{seq: d.seq, events: events, sent: b, level: Sync, token: fmt.Sprint("t", d.seq)}, duplicates, conflicts)
}
