package storage

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
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

// faultPlan says which operations fail, of those that the fault applies to.
type faultPlan struct {
	kind    simfs.Fault
	site    string // of this call site; "": of any
	at      int    // this one of them, counted from 1
	forever bool   // and everything from there on
	second  string // and the first of this call site that follows: what cleans up behind the first

	hits *sync.Map // takes the sites where something failed
	seen *sync.Map // and those that were come to

	retried []string // sites behind whose failure the same is read in another way
}

func (p faultPlan) String() string {
	s := fmt.Sprintf("%v at operation %d", p.kind, p.at)
	if p.site != "" {
		s += " of " + p.site
	}
	if p.second != "" {
		s += ", then at " + p.second
	}
	if p.forever {
		s += ", for good"
	}
	return s
}

// planned is a plan at work.
type planned struct {
	faultPlan
	mu     sync.Mutex // merges read in parallel
	n      int
	reads  map[string]int
	fired  bool
	hit    string
	silent int // failures that nobody needs to know of
	logged atomic.Int64
}

func (p *planned) logger() *slog.Logger { return slog.New(heard{&p.logged}) }

func (p *planned) decide(op *simfs.Op) simfs.Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen != nil {
		p.seen.Store(op.Site, true)
	}
	applies := op.Site != "" && (p.kind.Applies(op.Kind) || p.fired && op.Site == p.second)
	switch {
	case !applies:
		return simfs.None
	case p.fired && p.forever:
	case p.fired && op.Site == p.second:
		p.second, p.kind = "", simfs.EIO
	case p.fired || p.site != "" && op.Site != p.site:
		return simfs.None
	default:
		if op.Kind == simfs.ReadAt {
			if p.reads[op.Site]++; p.reads[op.Site] > 6 {
				return simfs.None // one call reads thousands of times, always alike
			}
		}
		if p.n++; p.n < p.at {
			return simfs.None
		}
		p.fired, p.hit = true, op.Site+" "+op.Name
	}
	if p.hits != nil {
		p.hits.Store(op.Site, true)
	}
	switch {
	case slices.Contains(p.retried, op.Site):
		p.silent++
	case p.kind == simfs.EMFILE && (op.Kind == simfs.Open || op.Kind == simfs.ReadDir):
		p.silent++ // other segments are closed, and this is opened then
	case op.Kind == simfs.Close || op.Kind == simfs.Remove || op.Kind == simfs.Truncate || op.Kind == simfs.Link:
		p.silent++ // of a file that was only read, or cleaning up; instead of linked, a file is copied
	}
	return p.kind
}

// untold is the error of a failure that no answer and no log line told.
func (p *planned) untold(errors int) error {
	if p.fired && errors == 0 && p.logged.Load() == 0 && p.silent == 0 && p.kind != simfs.Short {
		return fmt.Errorf("nobody was told of %s", p.hit)
	}
	return nil
}

// simulate goes through a history of the simulation with the plan, which holds
// afterwards what must be held.
func (p faultPlan) simulate(seed uint64, history func(d *sim) []func()) (fired bool, err error) {
	w := planned{faultPlan: p, reads: map[string]int{}}
	d := newSim(seed, newSimTally())
	d.order = simfs.Strict
	d.fs = simfs.New(d.order)
	d.logger = w.logger()
	d.fault = w.decide
	failure := func(what string, err error) (bool, error) {
		return w.fired, fmt.Errorf("%s: %s%w\n  %s", w.hit, what, err, strings.Join(d.log, "\n  "))
	}
	defer d.abandon()
	d.fs.Hook, d.fs.Fault = d.hook, d.decide
	if err := d.open(powerLost); err != nil {
		return failure("", err)
	}
	for _, step := range history(d) {
		step()
		d.settle()
		if err := d.failed(); err != nil {
			return failure("", err)
		}
	}
	if err := w.untold(d.errors); err != nil {
		return failure("", err)
	}
	d.calm()
	for _, mode := range []simfs.Mode{simfs.AllLost, simfs.AllKept} {
		if err := d.check(d.fs.Crash(d.hookR, mode), map[uint64]bool{}, "the end", 3, powerLost); err != nil {
			return failure("after the power was lost at the end: ", err)
		}
	}
	d.dropPins()
	if err := d.live(d.store, d.m); err != nil {
		return failure("when the fault is gone: ", err)
	}
	return w.fired, nil
}

// TestSimFaults is promise P8: whichever file operation fails, and however,
// the error is told, what was acknowledged stays, reads go on, and when the
// cause is gone the store works by itself.
func TestSimFaults(t *testing.T) {
	step := int(trust.Number("WEND_FAULT_STEP", 17)) // 1: every operation
	if testing.Short() {
		step = 61
	}
	retried := lookedAt(t)
	var runs atomic.Int64
	var group sync.WaitGroup
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, kind := range []simfs.Fault{simfs.EIO, simfs.ENOSPC, simfs.Short, simfs.EMFILE, simfs.SyncDrops} {
		for _, forever := range []bool{false, true} {
			limit <- struct{}{}
			group.Go(func() {
				defer func() { <-limit }()
				for _, story := range faultStories[:2] {
					for at := 1; ; at += step {
						plan := faultPlan{kind: kind, at: at, forever: forever, retried: retried}
						fired, err := story.run(t, plan)
						if err != nil {
							t.Errorf("%s, %v: %v", story.name, plan, err)
							return
						}
						if !fired {
							break
						}
						runs.Add(1)
					}
				}
			})
		}
	}
	group.Wait()
	lost := 0
	if t.Failed() {
		lost = 1
	}
	trust.Report(t, "P8", "sim faults", runs.Load(), "kinds", "EIO,ENOSPC,short,EMFILE,sync-drops; once and for good", "violations", lost)
}

// lookedAt lists the call sites that find out whether the manifest is as it was:
// where they fail it is read.
func lookedAt(t *testing.T) []string {
	return append(callSitesIn(t, "asRead", readingCalls), callSitesIn(t, "erased", readingCalls)...)
}

// behind lists call sites whose failure may lead to another one: those of the
// same file, then those that everything is written and removed by, then all.
func behind(site string, sites []string) []string {
	own, _, _ := strings.Cut(site, ":")
	var list []string
	for _, of := range []string{own + ":", "segmentfile.go:", "manifest.go:", "wal.go:", ""} {
		for _, s := range sites {
			if strings.HasPrefix(s, of) {
				list = append(list, s)
			}
		}
	}
	return list
}

// TestSimErrorReturns lets every call of a file operation fail: once, alone,
// and with everything that follows; and where a call is made only because
// another one failed, after that one.
func TestSimErrorReturns(t *testing.T) {
	sites := append(callSites(t, mutatingCalls), callSites(t, readingCalls)...)
	retried := lookedAt(t)
	come := make([]sync.Map, len(faultStories)) // the sites that each comes to
	for i, story := range faultStories {
		if _, err := story.run(t, faultPlan{site: "none", seen: &come[i]}); err != nil {
			t.Fatalf("%s: %v", story.name, err)
		}
	}
	var hits sync.Map
	var runs atomic.Int64
	hit := func(site string) bool { _, ok := hits.Load(site); return ok }
	try := func(plan faultPlan) {
		if strings.HasSuffix(plan.site, " lock") {
			plan.kind = simfs.EMFILE // a disk does not fail there
		}
		plan.hits, plan.retried = &hits, retried
		for i, story := range faultStories {
			if _, ok := come[i].Load(plan.site); !ok {
				continue
			}
			runs.Add(1)
			fired, err := story.run(t, plan)
			if err != nil {
				t.Errorf("%s, %v: %v", story.name, plan, err)
			}
			if fired && (plan.second == "" || hit(plan.second)) {
				break
			}
		}
	}
	each := func(do func(site string)) {
		var group sync.WaitGroup
		var next atomic.Int64
		for range runtime.GOMAXPROCS(0) {
			group.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(sites); i = int(next.Add(1)) - 1 {
					if testing.Short() && i%8 > 0 {
						continue
					}
					do(sites[i])
				}
			})
		}
		group.Wait()
	}
	each(func(site string) {
		try(faultPlan{kind: simfs.EIO, site: site, at: 1})
		try(faultPlan{kind: simfs.EIO, site: site, at: 1, forever: true})
	})
	// What is left cleans up behind another failure, mostly of the same file's.
	each(func(site string) {
		for _, first := range behind(site, sites) {
			for _, kind := range []simfs.Fault{simfs.EIO, simfs.ENOSPC} {
				if !hit(site) && first != site && !testing.Short() {
					try(faultPlan{kind: kind, site: first, at: 1, second: site})
				}
			}
		}
	})
	missing := slices.DeleteFunc(slices.Clone(sites), hit)
	if len(missing) > 0 && !testing.Short() {
		t.Errorf("at %d of %d call sites no error was returned:\n  %s", len(missing), len(sites), strings.Join(missing, "\n  "))
	}
	trust.Report(t, "P8", "sites", fmt.Sprintf("%d/%d", len(sites)-len(missing), len(sites)), "error returns behind file calls, executed; runs", runs.Load())
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
