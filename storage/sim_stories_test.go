package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs/simfs"
)

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
				func() { _, err := d.readOnly(d.fs); d.accept(err) },
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
	{"closing after a bug", func(_ *testing.T, plan faultPlan) (bool, error) {
		return plan.simulate(31, func(d *sim) []func() {
			fault := d.fault
			d.fault = nil
			return []func(){func() { d.append(d.batch(8), "one"); d.fault = fault; d.store.broken.Store(true) }, d.reopen, d.query}
		})
	}},
	{"an interrupted restore", restoreStory},
	{"damage", damageStory},
	{"a manifest of which both files are damaged", bothStory},
	{"damage that grows old", agedStory},
	{"a repair", repairStory},
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

// damagedOnce is a store of segments, a log and a manifest, for the stories of damage.
var damagedOnce struct {
	sync.Once
	d     *sim
	fs    *simfs.FS
	holds map[string]map[int64]bool
}

func damageable(t *testing.T) (*sim, *simfs.FS, map[string]map[int64]bool) {
	damagedOnce.Do(func() { damagedOnce.d, damagedOnce.fs, damagedOnce.holds = storeOfSegments(t, 5, 2) })
	return damagedOnce.d, damagedOnce.fs.Kill(), damagedOnce.holds
}

// opened opens the store of a story, with the fault and if need be without it.
func (p *planned) opened(t *testing.T, d *sim, fs *simfs.FS, told func(error)) *Store {
	opt := d.options(fs)
	opt.Log = p.logger()
	s, err := Open("data/store", opt)
	if told(err); err != nil {
		fs.Fault = nil
		if s, err = Open("data/store", opt); err != nil {
			t.Fatalf("%s: open without faults: %v", p.hit, err)
		}
		fs.Fault = p.decide
	}
	return s
}

// damageStory opens a store of which a segment, the log and the manifest's copy
// are damaged, forgets a segment, takes another back and erases, while the disk
// fails. Whatever is told to be missing then, the rest is there.
func damageStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	d, fs, holds := damageable(t)
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
	open := func() *Store { return w.opened(t, d, fs, told) }
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

// bothStory opens a store of whose manifest both files are damaged, each in an
// edit that the other has. Nothing is missing then.
func bothStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	d, fs, _ := damageable(t)
	w := planned{faultPlan: plan, reads: map[string]int{}}
	for _, name := range sortedKeys(fs.Files()) {
		at := func(b []byte) int { return len(b) / 2 }
		if strings.HasSuffix(name, copySuffix) {
			at = func(b []byte) int { return len(b) - 1 }
		}
		if strings.HasPrefix(path.Base(name), manifestPrefix) {
			err = errors.Join(err, fs.Edit(name, func(b []byte) []byte { b[at(b)] ^= 1; return b }))
		}
	}
	if err != nil {
		return false, err
	}
	fs = fs.Kill()
	errs := 0
	fs.Fault = w.decide
	kill(w.opened(t, d, fs, func(err error) {
		if err != nil {
			errs++
		}
	}))
	fs.Fault = nil
	if err := w.untold(errs); err != nil {
		return w.fired, err
	}
	if err := d.sameAs(fs, "data/store", false, []*simModel{d.m}); err != nil {
		return w.fired, fmt.Errorf("%s: %w", w.hit, err)
	}
	return w.fired, nil
}

// agedStory has retention give up a segment that was set aside, and a bad copy of it.
func agedStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	d, fs, holds := damageable(t)
	w := planned{faultPlan: plan, reads: map[string]int{}}
	file := sortedKeys(holds)[0]
	if err := fs.Edit(file, func(b []byte) []byte { b[len(b)-5] ^= 4; return b }); err != nil { // found by every opening
		return false, err
	}
	fs = fs.Kill()
	errs := 0
	told := func(err error) {
		if err != nil {
			errs++
		}
	}
	retain := func(s *Store) error {
		at := d.clock.AddDate(20, 0, 0)
		s.opt.Retention, s.opt.Clock = time.Hour, func() time.Time { return at }
		s.retaining.trust(event.At(at), 0)
		return s.retain(t.Context())
	}
	s, err := Open("data/store", d.options(fs))
	if err != nil {
		return false, err
	}
	s.opt.Log = w.logger()
	fs.Fault = w.decide
	told(retain(s))
	told(s.Close())
	fs.Fault = nil
	if err := w.untold(errs); err != nil {
		return w.fired, err
	}
	if s, err = Open("data/store", d.options(fs)); err != nil {
		return w.fired, err
	}
	defer kill(s)
	if err = retain(s); err == nil && (s.Summary().Events > 0 || len(s.missingData()) > 0) {
		err = fmt.Errorf("when all is too old, there are %d events, missing %v", s.Summary().Events, s.missingData())
	}
	for name := range fs.Files() {
		if err == nil && strings.Contains(name, path.Base(file)) {
			err = fmt.Errorf("%s is still there", name)
		}
	}
	if err != nil {
		return w.fired, fmt.Errorf("%s: %w", w.hit, err)
	}
	return w.fired, nil
}
