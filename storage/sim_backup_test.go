package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// simCopies is what a run knows of the store's backup, which lies beside it in
// data/backup, and of stores that are restored from it.
type simCopies struct {
	r      *rand.Rand
	format int

	whole     *simModel        // the backup that was acknowledged last; nil: none was
	maybe     []*simModel      // begun since: each may have become the backup
	restoring string           // the directory of a restore that is at work
	want      *simModel        // what it makes
	erased    map[int][]string // names by the number of their erasure
	raised    bool             // the store was upgraded
	tally     struct{ backups, restores, verified, restored, upgrades, erased int }
}

func newSimCopies(seed uint64) *simCopies {
	c := &simCopies{r: rand.New(rand.NewPCG(seed, 5)), format: FormatVersion, erased: map[int][]string{}}
	if seed%16 == 7 {
		c.format = 1
	}
	return c
}

// due is whether the next step is one of these.
func (c *simCopies) due() bool { return c.r.IntN(5) == 0 }

func (c *simCopies) options(d *sim, fs *simfs.FS, ids *rand.Rand) Options {
	opt := d.sizedOptions(fs, ids)
	opt.Format = c.format
	return opt
}

const simBackupDir = "data/backup"

// copy backs up, restores or upgrades, or erases somebody whom the backup has.
func (d *sim) copy() {
	switch n := d.copies.r.IntN(11); {
	case n < 4:
		d.backup()
	case n < 7:
		d.restore()
	case n < 10:
		if d.erase(); d.failed() == nil && d.crashed == nil && d.copies.r.IntN(3) > 0 {
			d.restore()
		}
	default:
		d.note("upgrade")
		if _, _, err := d.store.Upgrade(context.Background()); d.accept(err) {
			d.copies.raised = true
			d.copies.tally.upgrades++
		}
	}
}

func (d *sim) backup() {
	c := d.copies
	if c.r.IntN(12) == 0 && len(c.maybe) == 0 && d.fault == nil { // begin anew
		d.removeAll(d.fs, simBackupDir)
		c.whole = nil
	}
	d.note("backup")
	old, err := ReadBackup(d.fs, simBackupDir)
	if !errors.Is(err, ErrNotFound) && !d.accept(err) {
		return
	}
	if err == nil && old.LSN > d.store.lsn {
		// It has batches that were in memory only, and lost by a crash: it stays.
		if _, err := d.store.Backup(context.Background(), simBackupDir, BackupOptions{}); err == nil {
			d.fail(fmt.Errorf("a backup up to LSN %d takes the place of one up to %d", d.store.lsn, old.LSN))
		}
		return
	}
	model := d.m.clone()
	c.maybe = append(c.maybe, model)
	if _, err := d.store.Backup(context.Background(), simBackupDir, BackupOptions{}); d.accept(err) {
		c.whole, c.maybe = model, nil
		c.tally.backups++
	}
}

func (d *sim) restore() {
	c := d.copies
	if c.whole == nil || len(c.maybe) > 0 {
		return
	}
	c.tally.restores++
	c.restoring = fmt.Sprintf("data/again%d", c.tally.restores)
	d.note("restore to %s", c.restoring)
	if c.r.IntN(3) == 0 && d.fault == nil { // over what another restore left
		for _, name := range []string{restoringName, "000001.seg"} {
			if err := errors.Join(d.fs.MkdirAll(c.restoring), d.fs.Put(path.Join(c.restoring, name), []byte("half"))); err != nil {
				d.fail(err)
				return
			}
		}
	}
	how := RestoreOptions{}
	if c.want = d.erasedSince(c.whole); c.want != nil {
		how.Ledger = LedgerPath("data/store")
	} else {
		c.want = c.whole
	}
	_, err := Restore(context.Background(), simBackupDir, c.restoring, d.options(d.fs), how)
	if d.accept(err) {
		if err := d.sameAs(d.fs.Crash(d.hookR, simfs.AllLost), c.restoring, false, []*simModel{c.want}); err != nil {
			d.fail(fmt.Errorf("restored, and the power lost: %w", err))
		}
	}
	if d.crashed == nil {
		d.removeAll(d.fs, c.restoring)
		c.restoring = ""
	}
}

// erasedSince is what a restore makes of a backup with the store's ledger; nil if
// there is none that can be relied on, or nothing was erased since.
func (d *sim) erasedSince(backup *simModel) *simModel {
	if d.m.meta.erasures == backup.meta.erasures || len(d.m.maybe) > 0 || d.fault != nil || d.full {
		return nil
	}
	ledger, err := ReadLedger(d.fs, LedgerPath("data/store"))
	if err != nil || len(ledger.Entries) != d.m.meta.erasures {
		if d.errors == 0 {
			d.fail(fmt.Errorf("the ledger has %+v of %d erasures: %w", ledger, d.m.meta.erasures, err))
		}
		return nil // it was written when the disk failed; the next step of an erasure does it again
	}
	names := map[string]bool{}
	for n := backup.meta.erasures + 1; n <= d.m.meta.erasures; n++ {
		for _, name := range d.copies.erased[n] {
			names[name] = true
		}
	}
	gone := map[int64]bool{}
	for _, b := range backup.present {
		for i := range b.events {
			if names[b.events[i].Customer] {
				gone[eventNumber(&b.events[i])] = true
			}
		}
	}
	m := backup.without(gone)
	m.meta = m.meta.clone()
	m.meta.erasures = d.m.meta.erasures
	maps.DeleteFunc(m.meta.links, func(from, to string) bool { return names[from] || names[to] })
	d.note("with the ledger: %d events of %d names", len(gone), len(names))
	d.copies.tally.erased++
	return m
}

// removeAll empties a directory, as a person does who has no use for it.
func (d *sim) removeAll(fs *simfs.FS, dir string) {
	hook, fault := fs.Hook, fs.Fault
	fs.Hook, fs.Fault = nil, nil
	defer func() { fs.Hook, fs.Fault = hook, fault }()
	names, err := fs.ReadDir(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if err := fs.Remove(path.Join(dir, name)); err != nil {
			d.fail(err)
		}
	}
	if err := fs.SyncDir(dir); err != nil {
		d.fail(err)
	}
}

// sameAs wants the store in a directory to hold what one of the models says.
func (d *sim) sameAs(fs *simfs.FS, dir string, readOnly bool, models []*simModel) error {
	opt := d.options(fs)
	opt.ReadOnly = readOnly
	s, err := Open(dir, opt)
	if err != nil {
		return err
	}
	defer kill(s)
	var all []error
	for _, m := range models {
		if _, err = m.adopt(s, d.known, nothingLost); err == nil {
			return checkClean(s, !readOnly)
		}
		all = append(all, err)
	}
	return fmt.Errorf("%s holds none of the states that were backed up: %w", dir, errors.Join(all...))
}

// checkCopies looks at the backup and at a restored store as a crash left them:
// what verifies is whole, and what was acknowledged verifies.
func (d *sim) checkCopies(fs *simfs.FS) error {
	c := d.copies
	busy := len(c.maybe) > 0 || c.restoring != ""
	if !busy && d.hookR.IntN(20) > 0 || fs.Lied() || d.fs.Lied() {
		return nil
	}
	models := slices.Clone(c.maybe)
	if c.whole != nil {
		models = append(models, c.whole)
	}
	left := fs.Kill()
	report, err := VerifyBackup(context.Background(), left, simBackupDir)
	switch {
	case (errors.Is(err, ErrNotFound) || isNotExist(err)) && c.whole == nil:
	case err != nil:
		return fmt.Errorf("verify the backup: %w", err)
	case len(report.Damaged) > 0:
		return fmt.Errorf("the backup is damaged: %+v", report.Damaged)
	default:
		c.tally.verified++
		if err := d.sameAs(left, simBackupDir, true, models); err != nil {
			return fmt.Errorf("the backup, opened: %w", err)
		}
		if _, err := Restore(context.Background(), simBackupDir, "data/other", d.options(left), RestoreOptions{}); err != nil {
			return err
		}
		if err := d.sameAs(left, "data/other", false, models); err != nil {
			return fmt.Errorf("the backup, restored: %w", err)
		}
	}
	if c.restoring == "" {
		return nil
	}
	left = fs.Kill()
	err = d.sameAs(left, c.restoring, true, []*simModel{c.want})
	if err == nil || errors.Is(err, ErrUnfinished) {
		c.tally.restored++
		return nil
	}
	if !errors.Is(err, ErrNotFound) && !isNotExist(err) {
		return fmt.Errorf("a restore that was stopped: %w", err)
	}
	// Nothing was begun: a new store there hides nothing.
	names, err := left.ReadDir(c.restoring)
	if err != nil && !isNotExist(err) {
		return err
	}
	for _, name := range names {
		if name != lockName && !strings.HasPrefix(name, restoringName) {
			return fmt.Errorf("a restore that was stopped left %s in a directory that a new store can be made in", name)
		}
	}
	return nil
}

// TestSimBackups is promise P14: a backup that verifies is whole, and is the
// store as it was, wherever the power goes while it is made or restored.
func TestSimBackups(t *testing.T) {
	seed, runs := trust.Number("WEND_SEED", 1), trust.Number("WEND_BACKUPS", 10)
	if testing.Short() {
		runs = min(runs, 3)
	}
	tally := newSimTally()
	var all simCopies
	for n := range runs {
		d := newSim((seed+n)*8-1, tally) // those that make copies
		d.explore, d.stateMax = true, 400
		if err := d.run(60); err != nil {
			t.Fatalf("seed %d: %v\n  %s", d.seed, err, strings.Join(d.log, "\n  "))
		}
		all.tally.backups += d.copies.tally.backups
		all.tally.restores += d.copies.tally.restores
		all.tally.verified += d.copies.tally.verified
		all.tally.restored += d.copies.tally.restored
		all.tally.upgrades += d.copies.tally.upgrades
		all.tally.erased += d.copies.tally.erased
	}
	trust.Report(t, "P14", "sim backups", all.tally.backups, "restores", all.tally.restores, "with the ledger", all.tally.erased, "upgrades", all.tally.upgrades,
		"crash states", tally.states, "verified and restored", all.tally.verified, "restores stopped", all.tally.restored, "violations", 0, "seed", seed)
	if runs >= 10 && (all.tally.verified == 0 || all.tally.restored == 0 || all.tally.erased == 0) {
		t.Errorf("nothing was tried: %+v", all.tally)
	}
}
