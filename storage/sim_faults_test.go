package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
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

// faultPlan says which operations fail, of those that the fault applies to.
type faultPlan struct {
	kind    simfs.Fault
	site    string // of this call site; "": of any
	at      int    // this one of them, counted from 1
	forever bool   // and everything from there on
	second  string // and the first of this call site that follows: what cleans up behind the first

	hits *sync.Map // takes the sites where something failed
	seen *sync.Map // and those that were come to
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
	switch op.Kind {
	case simfs.Close, simfs.Remove, simfs.Truncate, simfs.Link:
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

// faultStory is a workload in which something fails. It reports whether the
// workload came to what was to fail.
type faultStory struct {
	name string
	run  func(t *testing.T, plan faultPlan) (fired bool, err error)
}

// faultStories come to every call site together.
var faultStories = []faultStory{
	{"events", func(_ *testing.T, plan faultPlan) (bool, error) {
		return plan.simulate(1, func(d *sim) []func() {
			return []func(){
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
		})
	}},
	{"erasures and backups", func(_ *testing.T, plan faultPlan) (bool, error) {
		return plan.simulate(31, func(d *sim) []func() {
			erase := func() { d.erase() }
			step := func() {
				d.work("erase step", false, func(ctx context.Context) error {
					_, err := d.store.EraseStep(ctx)
					return err
				})
			}
			compact := func() { d.work("compact", true, d.store.Compact) }
			return []func(){
				func() { d.append(d.batch(8), "one") },
				d.load, d.backup, d.restore,
				func() { d.append(d.batch(5), "two") },
				compact, d.backup, d.reopen,
				func() { d.append(d.batch(5), "three") },
				erase, step, step, step, step,
				func() { d.append(d.batch(6), "") },
				erase, step, step, step, step, step, step, d.query, d.backup, d.reopen, d.restore,
			}
		})
	}},
	{"an erasure on a full disk", func(_ *testing.T, plan faultPlan) (bool, error) {
		return plan.simulate(31, func(d *sim) []func() {
			full := d.fault
			d.fault = nil
			return []func(){
				func() { d.append(d.batch(8), "one") },
				func() { d.work("compact", true, d.store.Compact); d.fault = full },
				func() { d.erase() },
				func() {
					d.work("erase step", false, func(ctx context.Context) error { _, err := d.store.EraseStep(ctx); return err })
				},
				d.query,
			}
		})
	}},
	{"closing", func(_ *testing.T, plan faultPlan) (bool, error) {
		return plan.simulate(31, func(d *sim) []func() {
			fault := d.fault
			d.fault = nil
			return []func(){func() { d.append(d.batch(8), "one"); d.fault = fault }, d.reopen, d.query}
		})
	}},
	{"an interrupted restore", restoreStory},
	{"damage", damageStory},
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

// restoreStory restores over what a restore left that was stopped, and looks
// for backups. A directory that is opened holds the backup, or says that it
// does not.
func restoreStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	w := planned{faultPlan: plan, reads: map[string]int{}}
	d := newSim(31, newSimTally())
	d.order, d.fs = simfs.Strict, simfs.New(simfs.Strict)
	defer d.abandon()
	if err := d.open(powerLost); err != nil {
		return false, err
	}
	d.append(d.batch(8), "one")
	d.backup()
	erased := d.m.meta.clone()
	_, err = d.store.Erase(t.Context(), "c1", EraseOptions{})
	err = errors.Join(err, d.fs.MkdirAll("data/half"), d.fs.Put("data/half/"+restoringName, nil), d.fs.Put("data/half/000001.seg", []byte("half")),
		d.fs.MkdirAll("data/begun"), d.fs.Put("data/begun/"+backupName+tempSuffix, nil))
	if err = errors.Join(err, d.failed()); err != nil {
		return false, err
	}
	gone := map[int64]bool{}
	for _, b := range d.m.present {
		for i := range b.events {
			if b.events[i].Customer == "c1" {
				gone[eventNumber(&b.events[i])] = true
			}
		}
	}
	erased.erasures, erased.gone = 1, gone
	want := d.m.without(gone)
	want.meta = erased
	d.logger = w.logger()
	d.fs.Fault = w.decide
	errs := 0
	for range 2 {
		opt := d.options(d.fs)
		opt.Log = w.logger()
		_, err := Restore(t.Context(), simBackupDir, "data/half", opt, RestoreOptions{Ledger: LedgerPath("data/store")})
		if err != nil {
			errs++
		}
		found, unreadable, e := FindBackups(d.fs, "data")
		if e != nil {
			errs++
		} else if unreadable["data"] != nil || len(unreadable) > 1 {
			errs++
		} else if len(found)+len(unreadable) < 2 {
			return w.fired, fmt.Errorf("%s: found %v, unreadable %v", w.hit, found, unreadable)
		}
		if report, e := VerifyBackup(t.Context(), d.fs, simBackupDir); e != nil || len(report.Damaged) > 0 {
			errs++
		}
		opt.ReadOnly = true
		if reader, e := Open(simBackupDir, opt); e != nil {
			errs++
		} else {
			kill(reader)
		}
		if err == nil {
			break
		}
		if left := d.fs.Kill(); d.sameAs(left, "data/half", false, []*simModel{want}) == nil {
			if _, e := left.Open("data/half/" + restoringName); !isNotExist(e) {
				return w.fired, fmt.Errorf("%s: a restore that failed can be opened", w.hit)
			}
		}
		if !w.forever {
			continue
		}
		break
	}
	d.fs.Fault = nil
	if err := w.untold(errs); err != nil {
		return w.fired, err
	}
	if _, err := d.fs.Open("data/half/" + restoringName); !isNotExist(err) {
		if _, err := Restore(t.Context(), simBackupDir, "data/half", d.options(d.fs), RestoreOptions{Ledger: LedgerPath("data/store")}); err != nil {
			return w.fired, fmt.Errorf("%s: restored when the fault is gone: %w", w.hit, err)
		}
	}
	left := d.fs.Crash(d.hookR, simfs.AllLost)
	err = d.sameAs(left, "data/half", false, []*simModel{want})
	if errors.Is(err, ErrUnfinished) && errs > 0 { // its end was told to be uncertain
		if _, err = Restore(t.Context(), simBackupDir, "data/half", d.options(left), RestoreOptions{Ledger: LedgerPath("data/store")}); err == nil {
			err = d.sameAs(left, "data/half", false, []*simModel{want})
		}
	}
	if err != nil {
		return w.fired, fmt.Errorf("%s: restored: %w", w.hit, err)
	}
	return w.fired, nil
}

var damageOnce struct {
	sync.Mutex
	d     *sim
	fs    *simfs.FS
	holds map[string]map[int64]bool
}

// damageStory opens a store of which a segment, the log and the manifest's copy
// are damaged, forgets a segment, takes another back and erases, while the disk
// fails. Whatever is told to be missing then, the rest is there.
func damageStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	damageOnce.Lock()
	defer damageOnce.Unlock()
	if damageOnce.d == nil {
		damageOnce.d, damageOnce.fs, damageOnce.holds = storeOfSegments(t, 5, 2)
	}
	d, fs, holds := damageOnce.d, damageOnce.fs.Kill(), damageOnce.holds
	w := planned{faultPlan: plan, reads: map[string]int{}}
	files := sortedKeys(holds)
	flip := func(name string) error {
		return fs.Edit(name, func(b []byte) []byte { b[headerSize+5] ^= 1; return b })
	}
	sound := fs.Files()
	for _, name := range sortedKeys(sound) {
		if strings.HasSuffix(name, copySuffix) {
			err = errors.Join(err, fs.Edit(name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))
		}
	}
	footer := func(b []byte) []byte { b[len(b)-5] ^= 4; return b } // found by every opening
	if err = errors.Join(err, flip(files[0]), fs.Edit(files[1], footer)); err != nil {
		return false, err
	}
	fs = fs.Kill()
	errs := 0
	told := func(err error) {
		if err != nil {
			errs++
		}
	}
	open := func() *Store {
		opt := d.options(fs)
		opt.Log = w.logger()
		s, err := Open("data/store", opt)
		if told(err); err != nil {
			fs.Fault = nil
			if s, err = Open("data/store", opt); err != nil {
				t.Fatalf("%s: open without faults: %v", w.hit, err)
			}
			fs.Fault = w.decide
		}
		return s
	}
	read := func(s *Store) {
		snap, _, err := d.readAside(s)
		if told(err); err == nil {
			snap.Release()
		}
	}
	ctx := t.Context()
	fs.Fault = w.decide
	s := open()
	read(s)
	told(s.Close())
	// A copy that is damaged as well, and one that is sound.
	fault := fs.Fault
	fs.Fault = nil
	err = errors.Join(fs.Remove(files[0]), fs.Put(files[0], []byte("nothing")), fs.Remove(files[1]), fs.Put(files[1], sound[files[1]]))
	fs.Fault = fault
	if err != nil {
		return w.fired, err
	}
	s = open()
	read(s)
	_, err = s.Erase(ctx, "nobody", EraseOptions{})
	told(err)
	for range 8 {
		_, err := s.EraseStep(ctx)
		told(err)
	}
	_, err = s.Forget(ctx, path.Base(files[0]))
	told(err)
	told(s.Close())
	fs.Fault = nil
	if err := w.untold(errs); err != nil {
		return w.fired, err
	}
	s = open()
	defer kill(s)
	snap, got, err := d.readAside(s)
	if err != nil {
		return w.fired, err
	}
	defer snap.Release()
	lost := map[string]bool{files[0]: true} // forgotten or not
	for _, m := range snap.Missing() {
		lost[path.Join("data/store", m.Segment)] = true
	}
	var missing []Missing
	for name := range lost {
		missing = append(missing, Missing{Segment: path.Base(name), Rows: int64(len(holds[name])), From: -1 << 60, To: 1 << 60})
	}
	if err := d.exactly(missing, got, holds, sortedKeys(lost)...); err != nil {
		return w.fired, fmt.Errorf("%s: %w", w.hit, err)
	}
	return w.fired, nil
}

// TestSimFaults is promise P8: whichever file operation fails, and however,
// the error is told, what was acknowledged stays, reads go on, and when the
// cause is gone the store works by itself.
func TestSimFaults(t *testing.T) {
	step := int(trust.Number("WEND_FAULT_STEP", 5)) // 1: every operation
	if testing.Short() {
		step = 23
	}
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
						plan := faultPlan{kind: kind, at: at, forever: forever}
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
	if os.Getenv("WEND_ERROR_RETURNS") == "" {
		t.Skip("takes minutes; WEND_ERROR_RETURNS=1 runs it, and make trust-nightly-faults")
	}
	sites := append(callSites(t, mutatingCalls), callSites(t, readingCalls)...)
	var hits sync.Map
	runs := 0
	come := make([]sync.Map, len(faultStories)) // the sites that each comes to
	for i, story := range faultStories {
		if _, err := story.run(t, faultPlan{site: "none", seen: &come[i]}); err != nil {
			t.Fatalf("%s: %v", story.name, err)
		}
	}
	try := func(plan faultPlan) {
		if strings.HasSuffix(plan.site, " lock") {
			plan.kind = simfs.EMFILE // a disk does not fail there
		}
		plan.hits = &hits
		for i, story := range faultStories {
			if _, ok := come[i].Load(plan.site); !ok {
				continue
			}
			runs++
			fired, err := story.run(t, plan)
			if err != nil {
				t.Errorf("%s, %v: %v", story.name, plan, err)
			}
			if _, second := hits.Load(plan.second); fired && (plan.second == "" || second) {
				break
			}
		}
	}
	hit := func(site string) bool { _, ok := hits.Load(site); return ok }
	for _, site := range sites {
		try(faultPlan{kind: simfs.EIO, site: site, at: 1})
		try(faultPlan{kind: simfs.EIO, site: site, at: 1, forever: true})
	}
	// What is left cleans up behind another failure, mostly of the same file's.
	for _, site := range sites {
		for _, first := range behind(site, sites) {
			for _, kind := range []simfs.Fault{simfs.EIO, simfs.ENOSPC} {
				if !hit(site) && first != site {
					try(faultPlan{kind: kind, site: first, at: 1, second: site})
				}
			}
		}
	}
	var missing []string
	for _, site := range sites {
		if !hit(site) {
			missing = append(missing, site)
		}
	}
	for _, site := range missing {
		t.Logf("missing %s", site)
	}
	if len(missing) > 0 {
		t.Errorf("at %d of %d call sites no error was returned", len(missing), len(sites))
	}
	trust.Report(t, "P8", "sites", fmt.Sprintf("%d/%d", len(sites)-len(missing), len(sites)), "error returns behind file calls, executed; runs", runs)
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
