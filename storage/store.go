// Package storage keeps events in immutable, sorted segment files, a log in
// front of them, and a manifest that says which files count.
//
// It knows nothing of queries: a Snapshot hands out tiles, merged from all
// segments, and its callers decide which rows they want. Files, the clock and
// randomness reach it only through Options. The bytes of a segment are
// described in format.go, those of the log in wal.go, those of the manifest
// in manifest.go, and nowhere else.
package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrCorrupt  = vfs.ErrCorrupt
	ErrLocked   = errors.New("another process is writing to the store")
	ErrReadOnly = errors.New("the store is open for reading only")
	ErrNotFound = errors.New("not found")
	ErrClosed   = errors.New("the store is closed")
)

const lockName = "LOCK"

// Store is an open store: one writer, or a reader beside one.
type Store struct {
	dir  string
	opt  Options
	fs   vfs.FS
	open *vfs.Pool // the segments that are read
	lock io.Closer

	// writing is held by whatever changes more than the memtable (a bulk
	// load's end, compaction's end, links, definitions); it is taken before mu.
	writing sync.Mutex

	// sorting is held by who sorts the memtable for a snapshot or a flush, so that
	// the next finds it done. It is taken after writing and before mu.
	sorting sync.Mutex

	// appending is held shared by appends, and alone by the end of a bulk
	// load, which must know of every stored event. It is taken after writing.
	appending sync.RWMutex

	counted counted // has a lock of its own

	space space // guarded by mu

	// published is the state of the manifest. It is replaced under mu, and also
	// under writing unless only a log begins: who holds either may read it.
	published atomic.Pointer[state]

	mu       sync.Mutex
	broken   atomic.Bool // a bug was met: nothing is written any more
	closed   bool
	closing  bool // no more writes: Close is flushing
	catalog  *catalog
	manifest *manifest
	listed   []string                    // the files in the folder, when the log was read
	halfRead bool                        // the manifest, of a store that is open for reading: not all that it and the ledger say is in memory
	segments map[uint64]*segmentFile     // those of state
	aside    map[uint64]quarantineRecord // segments of state that are left out, not yet recorded by an edit
	lost     []Missing                   // damage to the log, not yet recorded by an edit
	healed   []Damage                    // what the opening found damaged and made whole again
	refusal  string                      // why nothing is written although the lock is held; "": it is
	mem      *memtable
	frozen   *memtable     // being written as segments; nil: none is
	roomier  chan struct{} // closed when a flush has ended; nil: nobody waits for that
	flushErr error         // of the flush that ended last
	wal      *wal
	oldWAL   []walExtent // files that hold batches of the memtable, besides wal
	lsn      uint64      // last given out
	logged   uint64      // the lowest LSN of a batch in the logs that are needed; the highest number: there is none
	next     uint64      // file number
	process  uint32      // see nonce

	pace pace // guarded by mu

	retaining retaining // guarded by mu
	scrubbing scrubbing // guarded by mu

	ledgerNames  []string               // see Options.ledgers
	ledgersKept  map[string]*ledgerKept // by name, those that this Store wrote
	ledgerFailed string                 // why the ledger beside the store lacks something; "": it does not
	refused      *suppression           // of the erasures up to refusedOf
	refusedOf    uint64
	retired      map[uint64]*segmentFile // replaced, and perhaps still read
	spilled      map[string]bool         // files of bulk loads that are not over
	loads        int                     // that are not over
	undecided    []segmentRecord         // of edits that failed, and may be on the disk
	abandoned    bool                    // there may be segments of new batches that no edit names, nor says their numbers to be taken
	triedEpoch   uint64                  // the highest of edits that failed
	seenErasure  uint64                  // the newest that a reader has seen, ...
	seenID       string                  // and its ID
	withdrawn    uint64                  // see erased

	cache   *cache
	linksOf *state // whose links are resolved in links
	links   *linkTable

	background sync.WaitGroup
	stop       chan struct{}
	wake       chan struct{}
	full       chan struct{} // the memtable has become so, for who merges
}

// Open opens the store in dir, and makes one if there is none, unless it is
// opened for reading only.
func Open(dir string, opt Options) (*Store, error) {
	s := newStore(dir, opt)
	var err error
	if s.opt.ReadOnly {
		err = s.openReader()
	} else {
		err = s.openWriter()
	}
	if err != nil {
		s.release()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// newStore is a store that is not open yet.
func newStore(dir string, opt Options) *Store {
	s := &Store{dir: dir, opt: opt.withDefaults(), segments: map[uint64]*segmentFile{}, retired: map[uint64]*segmentFile{}, spilled: map[string]bool{}, ledgersKept: map[string]*ledgerKept{}, stop: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	s.fs = s.opt.FS
	s.open = vfs.NewPool(s.fs, s.opt.segmentsOpen)
	s.ledgerNames = s.opt.ledgers(dir)
	return s
}

func (s *Store) openWriter() error {
	if err := errors.Join(s.refuseUnfinished(), s.refuseNewer()); err != nil {
		return err
	}
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.refuseUnfinished(); err != nil { // a restore may have begun since
		return err
	}
	m, st, err := readManifest(s.fs, s.dir)
	if err != nil {
		return err
	}
	s.manifest = m
	if st == nil {
		if err := keepDirectory(s.fs, s.dir); err != nil {
			return err
		}
		st = &state{format: s.opt.Format, next: 1, wal: 1}
		for i := range 2 {
			putUint64(st.store[8*i:], s.opt.Rand.Uint64())
		}
		if err := s.manifest.rewrite(st); err != nil {
			return err
		}
	}
	s.published.Store(st)
	if s.cache, err = newCache(s.opt.CacheBytes); err != nil {
		return err
	}
	if err := errors.Join(s.retainable(), s.load()); err != nil {
		return err
	}
	if err := s.unknownEdits(st, s.listed); err != nil {
		return err
	}
	if s.refusal = s.massDamage(); s.refusal != "" {
		s.opt.Log.Error("the store is not written to", "reason", s.refusal)
		return s.hideErased()
	}
	if err := s.keepRead(); err != nil {
		return err
	}
	if err := s.healManifest(); err != nil {
		return err
	}
	s.recordAside()
	if err := s.takeBack(); err != nil {
		return err
	}
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	s.makeBallast()
	if !s.opt.restored { // who restores does that, and has the ledger
		if err := s.eraseAgain(context.Background()); err != nil {
			return err
		}
	}
	if err := s.keepLedger(s.state()); err != nil {
		s.ledgerFailed = err.Error()
		s.opt.Log.Warn("ledger of erasures", "error", err)
	}
	if s.opt.Background {
		s.background.Add(2)
		go s.work()
		go s.keepSynced()
	}
	return nil
}

// takeLock makes this process the store's writer.
func (s *Store) takeLock() error {
	lock, err := s.fs.Lock(path.Join(s.dir, lockName))
	if seeded.On("lock_not_taken") {
		err = nil
	}
	var held *vfs.LockedError
	if errors.As(err, &held) {
		return fmt.Errorf("%w: %w; stop it, or open the store read-only", ErrLocked, held)
	}
	if err == nil {
		s.lock = lock
	}
	return err
}

// keepDirectory makes the names durable that lead to a new directory.
func keepDirectory(fsys vfs.FS, name string) error {
	for dir := path.Clean(name); ; {
		parent := path.Dir(dir)
		if seeded.On("directory_not_kept") {
			return nil
		}
		err := fsys.SyncDir(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil // not ours to read, so it was there before
		}
		if err != nil || parent == dir {
			return err
		}
		dir = parent
	}
}

// keepRead makes durable what was read. If only the process ended before, and
// not the machine, it may be in the system's memory and nowhere else; but now
// files go that it says are not needed, and batches that are sent again get
// the answer that they are stored.
func (s *Store) keepRead() error {
	if seeded.On("read_not_kept") {
		return nil
	}
	var files []string
	for _, name := range []string{manifestName(s.manifest.number), manifestName(s.manifest.number) + copySuffix} {
		if f, err := s.fs.Open(path.Join(s.dir, name)); isNotExist(err) || errors.Is(err, ErrCorrupt) {
			continue // of the two, one is enough
		} else if err != nil {
			return err
		} else if err := f.Close(); err != nil {
			return err
		}
		files = append(files, name)
	}
	for _, w := range s.oldWAL {
		files = append(files, walName(w.number))
	}
	for _, name := range files {
		f, err := s.fs.OpenAppend(path.Join(s.dir, name))
		if err != nil {
			return err
		}
		err = f.Sync()
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("sync %s, left by a writer that did not end: %w", name, err)
		}
	}
	return s.fs.SyncDir(s.dir)
}

func putUint64(p []byte, v uint64) {
	for i := range 8 {
		p[i] = byte(v >> (8 * i))
	}
}

func (s *Store) openReader() error {
	var err error
	if _, err = s.fs.ReadDir(s.dir); isNotExist(err) {
		return fmt.Errorf("%w: there is no store here", ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := s.refuseUnfinished(); err != nil {
		return err
	}
	if s.cache, err = newCache(s.opt.CacheBytes); err != nil {
		return err
	}
	return s.readFew()
}

// overtakenMax bounds how often a reader begins anew because a writer has
// published another state meanwhile.
const overtakenMax = 1000

// read reads the published state beside a writer that may at any moment
// publish another one and remove what this one needs.
func (s *Store) read() error {
	erased := uint64(0)
	if s.state() != nil {
		erased = s.erased()
	}
	s.oldWAL = nil
	for try := 0; ; try++ {
		m, st, err := s.manifest, s.state(), error(nil)
		fresh := m == nil || st == nil || s.halfRead || !m.unchanged()
		if fresh {
			m, st, err = readManifest(s.fs, s.dir)
		}
		if err == nil && st == nil {
			return fmt.Errorf("%w: there is no store here", ErrNotFound)
		}
		if err == nil {
			s.manifest = m
			s.published.Store(st)
			err = s.load()
			if err == nil && fresh {
				err = s.hideErased()
			}
			if s.halfRead = err != nil; !s.halfRead {
				s.noteErasures()
			}
		}
		// A writer may have taken files away meanwhile, after it published
		// another state: then the manifest is not the newest any more. A file
		// that is missing from the newest state stays missing.
		stale := m == nil && isNotExist(err)
		if m != nil {
			newer, failed := m.stale()
			if err == nil {
				err = failed
			}
			stale = newer || isNotExist(failed)
		}
		if !stale && err == nil && fresh {
			err = s.unknownEdits(st, s.listed)
			s.halfRead = err != nil
		}
		if !stale || err != nil && !isNotExist(err) || try == overtakenMax {
			if s.state() != nil && s.erased() != erased {
				s.cache.clear()
			}
			return err
		}
		s.oldWAL = nil
	}
}

// noteErasures looks whether the newest erasure that was seen before is one still:
// that of an edit that failed is not, and its number may be another's.
func (s *Store) noteErasures() {
	if s.state().erasureID(s.seenErasure) != s.seenID {
		s.withdrawn += s.seenErasure + 1
	}
	s.seenErasure = s.state().lastErasure()
	s.seenID = s.state().erasureID(s.seenErasure)
}

// load opens the segments of the published state and replays the log.
func (s *Store) load() error {
	st := s.state()
	s.catalog = newCatalog(slices.Clip(st.events), slices.Clip(st.channels), slices.Clone(st.properties))
	s.lsn, s.next = st.lsn, st.next
	s.mem = newMemtable()
	s.lost = nil
	aside := s.aside
	s.aside = nil
	old := s.segments
	s.segments = map[uint64]*segmentFile{}
	for _, r := range st.segments {
		before, known := aside[r.ID]
		if before.met {
			s.putAside(before, false) // opening it would not show the damage
			continue
		}
		if f := old[r.ID]; f != nil && f.record == r {
			s.segments[r.ID] = f
			delete(old, r.ID)
			continue
		}
		f, err := s.openSegmentFile(r)
		switch {
		case err == nil:
			s.segments[r.ID] = f
		case errors.Is(err, ErrCorrupt) || isNotExist(err) || s.opt.AcceptDamage && !errors.Is(err, ErrNewer):
			// The rest answers; what is missing is reported with every answer.
			// A reader that a writer overtook looks again, see read.
			reason := err.Error()
			if isNotExist(err) {
				reason = "the file is missing"
			}
			s.putAside(quarantineRecord{At: s.now(), Reason: reason, Segment: &r}, !known)
		default:
			// The disk or the system may do better next time, and what is only
			// out of reach must not be taken for gone: its ids would count as new.
			for _, f := range old {
				if other := s.segments[f.record.ID]; other != nil {
					other.release()
				}
				s.segments[f.record.ID] = f
			}
			return fmt.Errorf("open segment %s: %w", r.file(), err)
		}
	}
	for _, f := range old {
		f.release()
	}
	// What is hidden must be known before the log is read: the id of an event that
	// is gone may have come again, and is no duplicate.
	if err := errors.Join(s.maskFiles(), s.ageFiles()); err != nil {
		return err
	}
	if err := s.replay(); err != nil {
		return err
	}
	for _, r := range st.erasures { // numbers up to it must not be given out again
		s.lsn = max(s.lsn, r.LSN)
	}
	return nil
}

// replay puts the batches of the log that no segment holds into the memtable.
func (s *Store) replay() error {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, ok := fileNumber(name); ok {
			s.next = max(s.next, n+1)
		}
	}
	s.listed = names
	limits := map[uint64]*walExtent{}
	var files []*walFile
	var damage []logDamage
	numbers := walNumbers(names, s.state().wal)
	for i := len(numbers) - 1; i >= 0; i-- { // newest first: it says which older files count, and how far
		n := numbers[i]
		limit := limits[n]
		if seeded.On("given_up_log_believed") && limit != nil {
			limit = &walExtent{number: n, bytes: 1 << 62}
		}
		if limit == nil && len(files) > 0 && files[len(files)-1].headless() == 0 {
			continue // nothing in it was ever acknowledged
		}
		name := path.Join(s.dir, walName(n))
		var f *walFile
		data, err := vfs.ReadFile(s.fs, name)
		if err == nil {
			f, err = parseWAL(data, s.state().store, n, limit)
		} else if !errors.Is(err, ErrCorrupt) {
			return err
		}
		if errors.Is(err, errTornHeader) && limit == nil && !slices.Contains(s.state().logs, n) {
			continue // it was being made: nothing in it was ever acknowledged
		}
		if errors.Is(err, ErrNewer) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err != nil {
			damage = append(damage, logDamage{number: n, reason: err.Error()})
			continue
		}
		for _, o := range f.older {
			if limits[o.number] == nil {
				limits[o.number] = &o
			}
		}
		files = append(files, f)
	}
	// A log goes when the manifest says that it is not needed, and not before.
	for _, n := range slices.Sorted(maps.Keys(limits)) {
		if n >= s.state().wal && !slices.Contains(numbers, n) {
			damage = append(damage, logDamage{number: n, reason: "the file is missing, and a later log needs it"})
		}
	}
	for _, n := range s.state().logs {
		if limits[n] == nil && !slices.Contains(numbers, n) {
			damage = append(damage, logDamage{number: n, reason: "the file is missing; the batches in it are lost"})
		}
	}
	slices.Reverse(files)
	erased := s.state().erasedUpTo()
	s.logged = math.MaxUint64
	replayed := map[uint64]bool{} // by LSN: a log repeats batches of one that failed
	for _, f := range files {
		for _, h := range f.holes {
			damage = append(damage, logDamage{number: f.number, offset: h.from, reason: fmt.Sprintf("bytes %d to %d are damaged; the batches in them are lost", h.from, h.to)})
		}
		for _, r := range f.records {
			if r.kind != recordMark {
				s.logged = min(s.logged, r.lsn)
			}
			if r.kind == recordMark || r.lsn <= s.state().lsn || replayed[r.lsn] && !seeded.On("logged_twice") {
				continue
			}
			err := s.replayBatch(r, f.number, erased)
			replayed[r.lsn] = err == nil
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					return fmt.Errorf("read %s: batch %d: %w", walName(f.number), r.lsn, err)
				}
				damage = append(damage, logDamage{f.number, r.offset, r.lsn, fmt.Sprintf("batch %d at offset %d: %v", r.lsn, r.offset, err)})
			}
		}
		s.oldWAL = append(s.oldWAL, f.extent())
	}
	// A later log may repeat an earlier batch.
	slices.SortFunc(s.mem.batches, func(a, b *memBatch) int { return cmp.Compare(a.lsn, b.lsn) })
	for _, d := range damage {
		s.loses(d, files)
	}
	return nil
}

// fileNumber reads the number of any file of a store.
func fileNumber(name string) (uint64, bool) {
	digits := 0
	var n uint64
	for digits < len(name) && name[digits] >= '0' && name[digits] <= '9' {
		n = 10*n + uint64(name[digits]-'0')
		digits++
	}
	return n, digits >= 6 && digits < len(name) && name[digits] == '.'
}

// removeLeftovers removes files that an interrupted writer left behind. None
// of them was ever published.
func (s *Store) removeLeftovers() error {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.leftover(name) {
			if err := s.removeFile(name); err != nil {
				return err
			}
			s.abandoned = s.abandoned || strings.HasSuffix(name, ".seg") // a crash may bring it back
		}
	}
	return nil
}

// unknownEdits is the error of a store whose segments tell of more edits than are
// left of its manifest. Of segments whose numbers no edit says to be taken, a crash
// leaves what one flush or load wrote, which all end with one LSN: see decide.
func (s *Store) unknownEdits(st *state, names []string) error {
	later := map[uint64]string{}
	for _, name := range names {
		id, ok := fileNumber(name)
		if !ok || id < st.next || !strings.HasSuffix(name, ".seg") {
			continue
		}
		f, size, err := s.openSized(name)
		var seg *segment
		if err == nil {
			seg, err = openSegment(name, f, size, st.store, id)
		}
		if f != nil {
			_ = f.Close() // only read from
		}
		switch {
		case err == nil && seg.LastLSN > st.lsn:
			later[seg.LastLSN] = name
		case err == nil, errors.Is(err, ErrCorrupt), isNotExist(err): // the last beside a writer
		case vfs.TooManyOpen(err):
			return err
		default: // it may be nothing, and is not to keep anybody from the rest
			s.opt.Log.Warn("look at a file that no edit names", "file", name, "error", err)
		}
	}
	if len(later) < 2 {
		return nil
	}
	newest := slices.Max(slices.Collect(maps.Keys(later)))
	return corrupt("the manifest ends with LSN %d, and %s, which it does not name, with LSN %d, and so do others between them: edits are missing from its end; %s", st.lsn, later[newest], newest, repairHint)
}

// openSized opens a file of the store. It is to be closed unless it is nil, also
// after an error.
func (s *Store) openSized(name string) (f vfs.File, size int64, err error) {
	if f, err = s.fs.Open(path.Join(s.dir, name)); err != nil {
		return nil, 0, err
	}
	size, err = f.Size()
	return f, size, err
}

// leftover reports whether a file of the directory is of no use any more. The
// caller holds mu and writing, or is the only one.
func (s *Store) leftover(name string) bool {
	n, numbered := fileNumber(name)
	stale := strings.HasSuffix(name, tempSuffix) && isOurs(name)
	switch {
	case numbered && strings.HasSuffix(name, ".run"):
		stale = !s.spilled[name]
	case strings.HasPrefix(name, manifestPrefix):
		number, ok := manifestNumber(name)
		stale = stale || ok && number < s.manifest.kept // those above may be given up ones: none is read before another is whole
	case numbered && strings.HasSuffix(name, ".seg"):
		stale = !slices.ContainsFunc(s.state().segments, func(r segmentRecord) bool { return r.ID == n }) && !s.mayComeBack(name)
	case numbered && strings.HasSuffix(name, walSuffix):
		stale = n < s.state().wal
	}
	return stale
}

// memory lists the memtables, oldest first. The caller holds mu.
func (s *Store) memory() []*memtable {
	if s.frozen == nil {
		return []*memtable{s.mem}
	}
	return []*memtable{s.frozen, s.mem}
}

// number gives out a file number. The caller holds mu.
func (s *Store) number() uint64 {
	n := s.next
	s.next++
	return n
}

// salt tells a segment from others of its number.
func (s *Store) salt() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt.Rand.Uint32() | 1 // 0 is for stores of format 1
}

// nonce tells this process's writer from those before and after it. The caller holds mu.
func (s *Store) nonce() uint32 {
	if s.process == 0 {
		s.process = s.opt.Rand.Uint32() | 1
	}
	return s.process
}

// now is the time of the clock, within the instants that events may carry.
func (s *Store) now() event.Time { return event.At(s.opt.Clock()) }

// usable is the error of a call that the store cannot serve. The caller holds mu.
func (s *Store) usable(write bool) error {
	switch {
	case s.closed:
		return ErrClosed
	case write && s.closing:
		return ErrClosed
	case write && s.opt.ReadOnly:
		return ErrReadOnly
	case write && s.broken.Load():
		return errBroken
	case write && s.refusal != "":
		return fmt.Errorf("%w: %s", ErrReadOnly, s.refusal)
	}
	return nil
}

// state is the state that the store has published last.
func (s *Store) state() *state { return s.published.Load() }

// publish makes an edit durable and its state the current one. The caller
// holds mu, and writing for whatever others derive their edits from; a log that
// is begun needs mu only. Names and file numbers that are new go with it.
func (s *Store) publish(e *edit) error {
	e.Next = s.next
	e.Events = s.catalog.events[len(s.state().events):]
	e.Channels = s.catalog.channels[max(len(s.state().channels), 0):]
	for i, p := range s.catalog.properties {
		if i >= len(s.state().properties) || s.state().properties[i].Type != p.Type {
			e.Properties = append(e.Properties, propertyRecord{p.Name, p.Type.String()})
		}
	}
	return s.writes("publish", func() error {
		st, err := s.manifest.commit(s.state(), e)
		if err != nil {
			s.triedEpoch = max(s.triedEpoch, e.Epoch)
			return fmt.Errorf("publish: %w", err)
		}
		s.published.Store(st)
		s.abandoned = false
		s.removeUndecided()
		return nil
	})
}

// nextEpoch is the epoch of an edit that changes what is shown. That of one that
// failed is not given again: a reader may have seen it.
func (s *Store) nextEpoch() uint64 { return max(s.state().epoch, s.triedEpoch) + 1 }

// decide comes before segments of new batches are written: of others that no edit
// names, an edit says that their numbers are taken. So all that are not come from one
// flush or load.
func (s *Store) decide() error {
	if s.abandoned {
		return s.publish(&edit{})
	}
	return s.settle()
}

// settle publishes the state once more if an edit failed that the next opening
// may find all the same. It comes before an answer that says that something is
// so already, and needs no edit of its own: without it what makes it so could
// be gone after a crash. The caller holds mu.
func (s *Store) settle() error {
	if !s.manifest.unsure || seeded.On("relies_on_failed_edits") {
		return nil
	}
	return s.publish(&edit{})
}

// removeUndecided removes segments of edits that failed, now that the manifest
// says they are none of the store's.
func (s *Store) removeUndecided() {
	s.removeWritten(slices.DeleteFunc(s.undecided, func(r segmentRecord) bool {
		return s.state().quarantined(r.file()) || slices.ContainsFunc(s.state().segments, func(o segmentRecord) bool { return o.ID == r.ID })
	}))
	s.undecided = nil
}

// Refresh makes a store that is open for reading see the writer's newest
// published state.
func (s *Store) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh()
}

// refresh is Refresh for a caller that holds mu.
func (s *Store) refresh() error {
	if err := s.usable(false); err != nil {
		return err
	}
	if !s.opt.ReadOnly {
		return nil // the writer is always up to date
	}
	if err := s.readFew(); err != nil {
		return fmt.Errorf("refresh store %s: %w", s.dir, err)
	}
	return nil
}

// readFew is read with few files open, if too many are.
func (s *Store) readFew() error {
	err := s.read()
	if vfs.TooManyOpen(err) && s.open.Shrink() {
		err = s.read()
	}
	return err
}

// Close writes the memtable as segments and gives the lock back. Snapshots
// that are still held stay readable until they are released.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	close(s.stop)
	s.background.Wait()

	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if !s.opt.ReadOnly && s.refusal == "" && !s.broken.Load() {
		err = s.writes("flush", func() error {
			s.recordAside()
			return s.flush(context.Background())
		})
	}
	s.closed = true
	s.lookForRoom()
	if e := s.release(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// release gives back everything the store holds.
func (s *Store) release() error {
	var errs []error
	if s.wal != nil {
		errs = append(errs, s.wal.file.Close())
		s.wal = nil
	}
	if s.manifest != nil {
		errs = append(errs, s.manifest.close())
	}
	for _, f := range s.segments {
		f.release()
	}
	s.segments = nil
	if s.cache != nil {
		s.cache.close()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}
