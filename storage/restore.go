package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"wend/internal/seeded"
	"wend/storage/vfs"
)

// restoringName is a file that says: what is in this directory is not all of a
// store yet. Nobody opens it, for reading or writing, while it is there.
const restoringName = "RESTORING"

// ErrUnfinished says that what a directory holds is not all of a store.
var ErrUnfinished = errors.New("not all of a store is here")

// ErrIsBackup says that a directory can be read, and is not a store to write to.
var ErrIsBackup = errors.New("this is a backup")

// RestoreOptions say how a backup is restored. Zero options are good.
type RestoreOptions struct {
	Ledger string // of what was erased since; "": that of the new store, if there is one
}

// Restored is what a restore did.
type Restored struct {
	BackupReport
	Ledger  string  // the ledger of erasures that was looked for
	Erased  Applied // what was erased again
	Stored  int64   // events of the new store; the backup may have more
	Applied bool    // false: there is no ledger, and what was erased since the backup is back
}

// Restore makes a store in dir, which is absent or empty, of a backup. The
// backup is verified first, and what was erased since is erased again. The
// store cannot be opened before all of that is done.
func Restore(ctx context.Context, backup, dir string, opt Options, how RestoreOptions) (Restored, error) {
	r := &restorer{opt: opt.withDefaults(), from: path.Clean(backup), dir: path.Clean(dir)}
	r.fs = r.opt.FS
	done, err := r.run(ctx, how)
	if err != nil {
		return done, fmt.Errorf("restore %s to %s: %w", backup, dir, err)
	}
	return done, nil
}

type restorer struct {
	opt       Options
	fs        vfs.FS
	from, dir string
	mark      []byte // what RESTORING says: which restore is at work
}

func (r *restorer) run(ctx context.Context, how RestoreOptions) (done Restored, err error) {
	if r.dir == r.from || strings.HasPrefix(r.dir, r.from+"/") {
		return done, errors.New("this is the backup itself, or a folder in it; name another directory")
	}
	if done.BackupReport, err = VerifyBackup(ctx, r.fs, r.from); err != nil {
		return done, err
	}
	done.Stored = done.Events
	if len(done.Damaged) > 0 {
		d := done.Damaged[0]
		return done, fmt.Errorf("%w: %d of the backup's files, %s: %s; nothing was restored", ErrCorrupt, len(done.Damaged), d.File, d.Reason)
	}
	ledger, err := r.ledger(how, &done)
	if err != nil {
		return done, err
	}
	if err := r.vacant(); err != nil {
		return done, err
	}
	if err := r.fs.MkdirAll(r.dir); err != nil {
		return done, err
	}
	lock, err := r.fs.Lock(path.Join(r.dir, lockName))
	if err != nil {
		return done, err
	}
	err = r.begin()
	if err == nil {
		err = r.copy(ctx, done.BackupList)
	}
	if e := lock.Close(); err == nil { // whoever locks it now finds RESTORING
		err = e
	}
	if err == nil {
		err = r.goOn(ctx, ledger, &done)
	}
	if err == nil {
		err = r.end()
	}
	return done, err
}

// end lets the store be opened, unless another restore has begun meanwhile.
func (r *restorer) end() (err error) {
	lock, err := r.fs.Lock(path.Join(r.dir, lockName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	mark, err := vfs.ReadFile(r.fs, path.Join(r.dir, restoringName))
	if err != nil || !bytes.Equal(mark, r.mark) {
		return errors.Join(errors.New("another restore into the directory began before this one ended; look what it did"), err)
	}
	if err := r.fs.Remove(path.Join(r.dir, restoringName)); err != nil {
		return err
	}
	return r.fs.SyncDir(r.dir)
}

// ledger reads what was erased since; nil if nobody says.
func (r *restorer) ledger(how RestoreOptions, done *Restored) (*Ledger, error) {
	names := r.opt.ledgers(r.dir)
	if how.Ledger != "" {
		names = []string{how.Ledger}
	}
	l, name, err := readLedgers(r.fs, names)
	done.Ledger = name
	switch {
	case isNotExist(err) && how.Ledger == "":
		return nil, nil
	case err != nil:
		return nil, err
	case fmt.Sprintf("%x", l.Store) != done.Store:
		return nil, fmt.Errorf("%s is the ledger of store %x, the backup is of %s; name the right one", done.Ledger, l.Store, done.Store)
	}
	done.Applied = true
	return l, nil
}

// goOn makes what was copied a store of its own, before anybody can open it, and
// does the ledger's erasures again; l is nil if nobody says.
func (r *restorer) goOn(ctx context.Context, l *Ledger, done *Restored) error {
	opt := r.opt
	opt.restored, opt.Background, opt.ReadOnly = true, false, false
	s, err := Open(r.dir, opt)
	if err != nil {
		return err
	}
	err = s.markRestored(done.BackupList)
	if err == nil && l != nil && len(l.Entries) > 0 && !seeded.On("erased_restored") {
		if s.Summary().Format < 2 { // which knows no erasures
			_, _, err = s.Upgrade(ctx)
		}
		if err == nil {
			done.Erased, err = s.ApplyLedger(ctx, l)
		}
		if err == nil {
			done.Stored = s.Summary().Events
		}
	}
	return errors.Join(err, s.Close())
}

// markRestored tells the store from that of which the backup was made: it goes on
// in epochs that the other one, in all likelihood, never comes to.
func (s *Store) markRestored(from BackupList) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.opt.Rand.Uint64()
	e := &edit{Epoch: s.nextEpoch() + n>>32}
	if s.state().format >= 2 {
		e.Restored = []RestoreMark{{fmt.Sprintf("%016x", n), from.LSN, from.Epoch}}
	}
	return s.publish(e)
}

// vacant wants the directory absent, empty, or left by a restore like this one.
func (r *restorer) vacant() error {
	names, err := r.fs.ReadDir(r.dir)
	if isNotExist(err) {
		return nil
	}
	if err != nil || slices.Contains(names, restoringName) {
		return err
	}
	if i := slices.IndexFunc(names, func(n string) bool { return n != lockName && n != restoringName+tempSuffix }); i >= 0 {
		return fmt.Errorf("the directory holds %s already; a store is restored into an empty or a new one", names[i])
	}
	return nil
}

// begin says durably that the directory is not to be opened, and empties it of
// what an earlier restore left.
func (r *restorer) begin() error {
	if err := r.vacant(); err != nil { // now that it is ours
		return err
	}
	names, err := r.fs.ReadDir(r.dir)
	if err != nil {
		return err
	}
	r.mark = fmt.Appendf(nil, "A backup is being restored here. If no process is at work, run wend restore again.\nRestore %016x\n", r.opt.Rand.Uint64())
	if err := writeFile(r.fs, path.Join(r.dir, restoringName), r.mark); err != nil {
		return err
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return err
	}
	if err := keepDirectory(r.fs, r.dir); err != nil {
		return err
	}
	for _, name := range names {
		if name == lockName || name == restoringName {
			continue
		}
		if err := r.fs.Remove(path.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// copy brings the files over, the manifest last.
func (r *restorer) copy(ctx context.Context, l BackupList) error {
	for _, manifests := range []bool{false, true} {
		for _, want := range l.Files {
			if strings.HasPrefix(want.Name, manifestPrefix) != manifests {
				continue
			}
			f, err := r.fs.Open(path.Join(r.from, want.Name))
			if err == nil {
				err = copyFile(ctx, r.fs, f, path.Join(r.dir, want.Name), want)
				_ = f.Close() // only read from
			}
			if err != nil {
				return err
			}
		}
	}
	return r.fs.SyncDir(r.dir)
}

// refuseUnfinished refuses directories that are no stores of their own: one
// that is being restored, and for writers a backup.
func (s *Store) refuseUnfinished() error {
	names, err := s.fs.ReadDir(s.dir)
	if isNotExist(err) {
		return nil
	}
	whole, begun := slices.Contains(names, backupName), slices.Contains(names, backupName+tempSuffix)
	switch {
	case err != nil:
		return err
	case slices.Contains(names, restoringName) && !s.opt.restored:
		return fmt.Errorf("%w: a restore did not come to its end; run it again", ErrUnfinished)
	case begun && !whole:
		return fmt.Errorf("%w: a backup that did not come to its end; make it again", ErrUnfinished)
	case whole && !s.opt.ReadOnly:
		return fmt.Errorf("%w, which nothing may change; `wend restore` makes a store of it", ErrIsBackup)
	case whole:
		s.fs = listedFS{s.fs}
	}
	return nil
}

// listedFS shows of a backup's directory what its list names: what a later
// backup has begun to put there is none of it until that is complete.
type listedFS struct{ vfs.FS }

// ReadDir implements vfs.FS.
func (f listedFS) ReadDir(dir string) ([]string, error) {
	names, err := f.FS.ReadDir(dir)
	if err != nil || !slices.Contains(names, backupName) {
		return names, err
	}
	list, err := ReadBackup(f.FS, dir)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return list.file(name) == nil && name != backupName }), nil
}
