package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"wend/internal/seeded"
	"wend/storage/vfs"
)

// BackupOptions say how a backup is made. Zero options are good.
type BackupOptions struct {
	Keep time.Duration // how long it is meant to be kept; 0: 30 days, after which lists warn
}

const backupKeep = 30 * 24 * time.Hour

// ErrBackupRunning says that the directory is being written to.
var ErrBackupRunning = errors.New("another backup is being made in this directory")

// Backup is a backup that was made, and what it took.
type Backup struct {
	BackupList
	Kept   int   `json:"kept"`   // segments that an earlier backup in the directory had already
	Linked int   `json:"linked"` // segments that share their bytes with the store: the directory is on its device
	Copied int   `json:"copied"`
	Bytes  int64 `json:"bytes"` // of all its files
}

// Backup copies the state that every batch up to now belongs to into a
// directory, while appends, queries and compaction go on. The directory is
// new, empty, or holds an earlier backup of this store, which stays whole until
// the new one is complete and of which unchanged files are used again.
//
// A directory is a backup once its file BACKUP is there, which lists every
// other file with its checksum and is written last. It can be opened for
// reading like any store, and needs no lock then.
func (s *Store) Backup(ctx context.Context, dir string, opt BackupOptions) (Backup, error) {
	b, err := s.backup(ctx, path.Clean(dir), opt)
	if err != nil {
		return Backup{}, fmt.Errorf("backup of %s to %s: %w", s.dir, dir, err)
	}
	return b, nil
}

func (s *Store) backup(ctx context.Context, dir string, opt BackupOptions) (Backup, error) {
	if dir == path.Clean(s.dir) || strings.HasPrefix(dir, path.Clean(s.dir)+"/") {
		return Backup{}, errors.New("this is the store itself, or a folder in it; name another directory")
	}
	if err := s.fs.MkdirAll(dir); err != nil {
		return Backup{}, err
	}
	w := &backupWriter{store: s, fs: s.fs, dir: dir}
	if _, err := w.earlier(); err != nil { // before anything in a directory of something else is touched
		return Backup{}, err
	}
	lock, err := s.fs.Lock(path.Join(dir, lockName))
	if err != nil {
		var held *vfs.LockedError
		if errors.As(err, &held) {
			return Backup{}, fmt.Errorf("%w: %w", ErrBackupRunning, err)
		}
		return Backup{}, err
	}
	defer lock.Close()
	if w.old, err = w.earlier(); err != nil {
		return Backup{}, err
	}
	pin, err := s.pin()
	if err != nil {
		return Backup{}, err
	}
	defer pin.release()
	if w.old != nil && pin.damaged != "" {
		return Backup{}, fmt.Errorf("%w: %s is missing from the store, and the earlier backup in this directory may hold it; name a new directory", ErrCorrupt, pin.damaged)
	}
	switch {
	case w.old == nil:
	case !w.old.leadsTo(pin.state.restored):
		return Backup{}, errors.New("the directory holds a backup of what this store does not have: one of the two was restored and went another way; name a new directory")
	case w.old.LSN > pin.lsn:
		return Backup{}, fmt.Errorf("the directory holds a backup of a later state, up to LSN %d of which this store has %d; name a new directory", w.old.LSN, pin.lsn)
	}
	keep := opt.Keep
	if keep == 0 {
		keep = backupKeep
	}
	made := s.opt.Clock().UTC().Truncate(time.Second)
	w.list = BackupList{
		Store: fmt.Sprintf("%x", pin.state.store), Format: pin.state.format, LSN: pin.lsn, Epoch: pin.state.epoch,
		Made: made, Expires: made.Add(keep), Events: pin.events, Restored: pin.state.restored,
	}
	return w.write(ctx, pin)
}

// backupPin is a state that does not change while it is copied.
type backupPin struct {
	state   state
	files   []*segmentFile
	batches []*memBatch // that no segment holds, of LSNs up to lsn
	tokens  map[string]tokenRecord
	lsn     uint64
	events  int64
	damaged string // something that is missing from the store
}

// pin takes every batch up to now, and holds the files they are in.
func (s *Store) pin() (*backupPin, error) {
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	missing := snap.Missing()
	snap.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(false); err != nil {
		return nil, err
	}
	if s.wal != nil {
		// A backup holds nothing that a crash of the store could still undo.
		if err := s.wal.sync(s.wal.lsn); err != nil {
			s.giveUp(s.wal)
			return nil, err
		}
	}
	p := &backupPin{state: *s.state(), tokens: map[string]tokenRecord{}, lsn: s.lsn}
	if len(missing) > 0 {
		p.damaged = missing[0].Segment
	}
	if len(s.lost) > 0 {
		// The log of the backup is sound: only its manifest can tell what was lost.
		if p.state.format < 2 {
			return nil, fmt.Errorf("%w in %s, of which a backup of format 1 cannot tell; see `wend check`, or run `wend upgrade` first", ErrCorrupt, s.lost[0].Segment)
		}
		e := s.asideEdit()
		e.Next = s.next // the damaged log's number is not used again
		st, err := p.state.apply(e)
		if err != nil {
			return nil, err
		}
		p.state = *st
	}
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			p.release()
			return nil, fmt.Errorf("%w: %s cannot be read; see `wend check`", ErrCorrupt, r.file())
		}
		f.retain()
		p.files = append(p.files, f)
		p.events += r.Rows - f.view(s.undone()).undone
	}
	for _, m := range s.memory() {
		for _, b := range m.batches {
			c, batch := *b, *b.batch // taking out changes both
			c.batch = &batch
			p.batches = append(p.batches, &c)
			p.events += int64(b.batch.Len())
		}
		for token, t := range m.tokens {
			p.tokens[token] = t
		}
	}
	return p, nil
}

func (p *backupPin) release() {
	for _, f := range p.files {
		f.release()
	}
	p.files = nil
}

// backupWriter writes one backup.
type backupWriter struct {
	store *Store
	fs    vfs.FS
	dir   string
	old   *BackupList // the backup that is there already; nil: none
	list  BackupList
}

// earlier reads the backup that the directory holds, nil if there is none, and
// refuses a directory with anything else.
func (w *backupWriter) earlier() (*BackupList, error) {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return nil, err
	}
	begun := slices.Contains(names, backupName+tempSuffix)
	switch {
	case slices.Contains(names, backupName):
	case begun: // a first backup did not come to its end
		return nil, nil
	default:
		if i := slices.IndexFunc(names, func(n string) bool { return n != lockName }); i >= 0 {
			return nil, fmt.Errorf("the directory holds other things already, such as %s; name a new one, or one with an earlier backup", names[i])
		}
		return nil, nil
	}
	old, err := ReadBackup(w.fs, w.dir)
	if err != nil {
		return nil, fmt.Errorf("%w; name another directory", err)
	}
	if want := fmt.Sprintf("%x", w.store.storeID()); old.Store != want {
		return nil, fmt.Errorf("the directory holds a backup of another store, %s and not %s; name another one", old.Store, want)
	}
	return &old, nil
}

func (s *Store) storeID() [16]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state().store
}

const tempSuffix = ".tmp"

// write makes the directory the backup of a pinned state.
func (w *backupWriter) write(ctx context.Context, pin *backupPin) (Backup, error) {
	if err := w.begin(); err != nil {
		return Backup{}, err
	}
	if seeded.On("backup_list_first") {
		if err := w.publish(pin); err != nil {
			return Backup{}, err
		}
	}
	if err := w.clean(func(name string) bool { return pin.holds(name) || w.old.file(name) != nil }); err != nil {
		return Backup{}, err
	}
	b := Backup{}
	for _, f := range pin.files {
		how, err := w.place(ctx, f)
		if err != nil {
			return Backup{}, err
		}
		switch how {
		case wasKept:
			b.Kept++
		case wasLinked:
			b.Linked++
		case wasCopied:
			b.Copied++
		}
	}
	st, err := w.writeLog(ctx, pin)
	if err != nil {
		return Backup{}, err
	}
	// Names before the manifest: who opens the directory finds what it names.
	if err := w.syncNames(); err != nil {
		return Backup{}, err
	}
	if err := w.writeManifest(st); err != nil {
		return Backup{}, err
	}
	if !seeded.On("backup_list_first") {
		if err := w.publish(pin); err != nil {
			return Backup{}, err
		}
	}
	// What only the earlier backup needed; a leftover is removed by the next one.
	if err := w.clean(func(name string) bool { return w.list.file(name) != nil }); err != nil {
		w.store.opt.Log.Warn("remove what the earlier backup needed", "directory", w.dir, "error", err)
	}
	b.BackupList = w.list
	for _, f := range w.list.Files {
		b.Bytes += f.Bytes
	}
	return b, nil
}

// begin says durably that the directory is a backup, if an unfinished one:
// nobody takes it for a store, and another try goes on here. With that, the
// list of the earlier backup is durable, which decides what may be removed.
func (w *backupWriter) begin() error {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return err
	}
	if !slices.Contains(names, backupName+tempSuffix) {
		f, err := w.fs.Create(path.Join(w.dir, backupName+tempSuffix))
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	return w.fs.SyncDir(w.dir)
}

func (p *backupPin) holds(name string) bool {
	return slices.ContainsFunc(p.state.segments, func(r segmentRecord) bool { return r.file() == name })
}

// clean removes the files of backups that keep does not name.
func (w *backupWriter) clean(keep func(name string) bool) error {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isOurs(name) || keep(name) {
			continue
		}
		if err := w.fs.Remove(path.Join(w.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// placed is how a segment came into a backup.
type placed uint8

const (
	wasKept placed = iota
	wasLinked
	wasCopied
)

// place brings a segment into the directory. It is read whole, from the store
// and from where it is already: a damaged one is not copied, and one of the same
// name may be another's.
func (w *backupWriter) place(ctx context.Context, f *segmentFile) (placed, error) {
	r := f.record
	sum, err := sumFile(ctx, f.file, r.Size)
	if err == nil && !r.is(sum.crc, sum.xxh.Sum64()) {
		err = corrupt("checksum mismatch")
	}
	if err != nil {
		return wasKept, fmt.Errorf("read %s: %w", r.file(), err)
	}
	want := sum.file(r.file(), r.Size)
	w.list.Files = append(w.list.Files, want)
	name := path.Join(w.dir, r.file())
	err = w.verify(ctx, want)
	switch {
	case err == nil:
		return wasKept, nil
	case isNotExist(err):
		if err := w.fs.Link(f.path, name); err != nil {
			break // another device, no links there, or compaction has just removed the name
		}
		return wasLinked, w.verify(ctx, want)
	case !errors.Is(err, ErrCorrupt):
		return wasKept, err
	default:
		if old := w.old.file(r.file()); old != nil && *old != want {
			return wasKept, fmt.Errorf("%s is another file in the earlier backup: one of the two stores was restored and went another way; name a new directory", r.file())
		}
	}
	// What is damaged there is replaced only when its copy is complete.
	return wasCopied, copyFile(ctx, w.fs, f.file, name, want)
}

// verify reads a file of the directory whole and makes it durable.
func (w *backupWriter) verify(ctx context.Context, want BackupFile) error {
	f, err := w.fs.Open(path.Join(w.dir, want.Name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	if err := verifyFile(ctx, f, want); err != nil {
		return err
	}
	if seeded.On("backup_not_synced") {
		return nil
	}
	return f.Sync()
}

// writeLog writes the batches that no segment holds, and returns the state that
// goes with this log.
func (w *backupWriter) writeLog(ctx context.Context, pin *backupPin) (*state, error) {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return nil, err
	}
	st := pin.state
	for _, name := range names { // a number that no earlier backup here has used
		if n, ok := fileNumber(name); ok {
			st.next = max(st.next, n+1)
		}
	}
	st.wal, st.logs = st.next, nil
	if len(pin.batches) == 0 {
		return &st, nil
	}
	st.next++
	log, err := createWAL(w.fs, w.dir, st.store, st.wal, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.file.Close() }() // synced, or given up
	if st.format >= 2 {
		st.logs = []uint64{log.number}
	}
	for _, b := range pin.batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := log.append(b.lsn, Sync, b.record(pin.tokens[b.token].Ack.inFormat(st.format))); err != nil {
			return nil, err
		}
	}
	if !seeded.On("backup_not_synced") {
		if err := log.sync(log.lsn); err != nil {
			return nil, err
		}
	}
	name := walName(st.wal)
	sum, err := sumFile(ctx, log.file, log.size)
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", name, err)
	}
	w.list.Files = append(w.list.Files, sum.file(name, log.size))
	return &st, nil
}

// record is what the log says of a batch; kept is the answer to its token, as
// the store's format has it.
func (b *memBatch) record(kept answer) []byte {
	all := make([]int, b.batch.Len())
	for i := range all {
		all[i] = i
	}
	return encodeRecord(b.received, b.token, kept, selectRows(b.batch, all))
}

// writeManifest writes the state under the next number.
func (w *backupWriter) writeManifest(st *state) error {
	names, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return err
	}
	number := max(newestManifest(names), w.old.manifest()) + 1
	data, err := encodeManifest(st, number)
	if err != nil {
		return err
	}
	name := manifestName(number)
	if err := writeFile(w.fs, path.Join(w.dir, name), data); err != nil {
		return err
	}
	sum := newSums()
	sum.add(data)
	w.list.Files = append(w.list.Files, sum.file(name, int64(len(data))))
	return nil
}

// publish writes the list, which makes the directory a backup.
func (w *backupWriter) publish(pin *backupPin) error {
	if seeded.On("backup_list_first") {
		for _, r := range pin.state.segments {
			w.list.Files = append(w.list.Files, BackupFile{Name: r.file(), Bytes: r.Size})
		}
	}
	name := path.Join(w.dir, backupName)
	f, err := w.fs.OpenAppend(name + tempSuffix)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.Write(w.list.encode())
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = w.syncNames()
	}
	if err == nil {
		err = w.fs.Rename(name+tempSuffix, name)
	}
	if err == nil {
		err = w.fs.SyncDir(w.dir)
	}
	if err != nil {
		return fmt.Errorf("write the list of files: %w", err)
	}
	return nil
}

// syncNames makes the names in the directory durable, and those that lead to it.
func (w *backupWriter) syncNames() error {
	if seeded.On("backup_not_synced") {
		return nil
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return err
	}
	return keepDirectory(w.fs, w.dir)
}
