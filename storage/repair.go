package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// Repair
//
// A store whose manifest is missing, or damaged at the same edit in both its
// files, is not opened. A repair folds the edits that can be read, asks each
// segment's footer what it is, and puts together the state that this leaves:
// every row at most once, and none that an erasure may have taken out. What
// cannot be decided is set aside and named, as all damage is; what only the
// manifest knew, and is in no edit that can be read, is told.
//
// The state becomes the store's as any other: written to the next number, in
// two files, synced. What was read stays, under the folder quarantine. A crash
// before that leaves the store as it was, a crash after it a store that opens.

// RepairOptions say how a store is repaired. Zero options change nothing.
type RepairOptions struct {
	Write         bool   // make it so; otherwise only tell what would be
	Ledger        string // of the store's erasures; "": the one beside it
	WithoutLedger bool   // go on although there were erasures and their ledger is missing
}

// Repaired is what a repair found, and what it made or would make of it.
type Repaired struct {
	Sound   bool // there is nothing to repair; nothing else is said
	Written bool

	Damage   []Damage // the files of the manifest
	Edits    int      // that can be read
	Lost     []string // those that cannot
	Restored int      // edits put together from what the two files have of them

	Segments []RepairedSegment
	Aside    []Missing // set aside: answers are partial until they are given up
	Replaced []string  // files whose rows are in others, or that are not the store's: moved to the folder quarantine
	Missing  []Missing // all that answers will name as missing, Aside included
	Unknown  []string  // what cannot be known any more

	Format      int
	Raised      bool // the format was a lower one, that has no room for what is missing
	Events      int64
	From, To    event.Time
	Links       int
	Definitions int
	Imports     []Import
	Ledger      string // of erasures
	NoLedger    bool   // there is none
	Erased      int    // erasures that only the ledger knew
}

// RepairedSegment is a segment of the repaired store.
type RepairedSegment struct {
	SegmentStatus
	Found bool // by its own footer: no edit that can be read names it
}

// ErrNoLedger says that a repair needs the ledger of erasures, or leave to do
// without it.
var ErrNoLedger = errors.New("the ledger of erasures is missing")

// Repair finds out what is left of a store whose manifest is damaged beyond its
// copy, and makes it a store again if that is asked for. A store that can be
// opened is sound, also if some of its data is missing; one of a newer format
// is refused.
func Repair(ctx context.Context, dir string, opt Options, how RepairOptions) (Repaired, error) {
	opt.ReadOnly, opt.Background = false, false
	r := &repairer{s: newStore(dir, opt), how: how}
	done, err := r.run(ctx)
	if err != nil {
		return done, fmt.Errorf("repair store %s: %w", dir, err)
	}
	return done, nil
}

// repairer is one repair.
type repairer struct {
	s        *Store // as it would be
	how      RepairOptions
	store    [16]byte
	names    []string // of the files in the store's folder
	cut      error    // edits are missing from the manifest's end, which looks like a crash's; nil: not so
	read     *remains // the newest manifest; nil: there is none
	v        *salvage
	ledger   *Ledger // nil: there is none
	choice   *choice
	logged   map[uint64]bool // logs that hold batches
	unlinked int             // links that went with erasures that are done again
	keep     []string        // files that get a name in the folder quarantine
	done     Repaired
}

func (r *repairer) run(ctx context.Context) (Repaired, error) {
	defer func() { _ = r.s.release() }() // nothing was written to
	damaged, err := r.look()
	if err == nil && damaged && r.how.Write {
		if err = r.s.takeLock(); err == nil {
			damaged, err = r.look() // now that nobody else repairs it
		}
	}
	if err != nil || !damaged {
		return r.done, err
	}
	disk := r.s.fs
	r.s.fs = unchanged{disk}
	if err := r.plan(ctx); err != nil || !r.how.Write {
		return r.done, err
	}
	r.s.fs = disk
	if err := r.write(); err != nil {
		return r.done, err
	}
	return r.done, r.settle(ctx)
}

// look reports whether the store's manifest is damaged, and reads what is left
// of it. It refuses what a repair must not touch.
func (r *repairer) look() (damaged bool, err error) {
	if err := errors.Join(r.s.refuseUnfinished(), r.s.refuseNewer()); err != nil {
		return false, err
	}
	var m *manifest
	var st *state
	for again := true; again; {
		again, r.cut = false, nil
		r.names, err = r.s.fs.ReadDir(r.s.dir)
		if err == nil {
			m, st, err = readManifest(r.s.fs, r.s.dir)
		}
		if err == nil && st != nil {
			r.cut = r.s.unknownEdits(st, r.names)
			if err = r.cut; err != nil {
				again, _ = m.stale() // beside a writer
			}
		}
	}
	switch {
	case err == nil && st == nil, isNotExist(err):
		return false, fmt.Errorf("%w: there is no store here", ErrNotFound)
	case err == nil:
		r.done.Sound = true
		return false, nil
	case !errors.Is(err, ErrCorrupt):
		return false, err
	}
	r.done, r.keep = Repaired{}, nil
	return true, errors.Join(r.refuseNewer(), r.readEdits())
}

// refuseNewer refuses a store with any file of a newer release.
func (r *repairer) refuseNewer() error {
	for _, name := range r.names {
		head := r.s.head(name, 64<<10)
		n, numbered := fileNumber(name)
		var err error
		switch {
		case numbered && strings.HasSuffix(name, ".seg") && len(head) >= headerSize:
			seg := &segment{name: name, r: bytes.NewReader(head)}
			seg.Size = headerSize + trailerSize
			err = seg.readHeader()
		case numbered && strings.HasSuffix(name, walSuffix) && len(head) >= 24:
			_, err = (&walFile{number: n}).header(head, [16]byte(head[8:24]))
		}
		if errors.Is(err, ErrNewer) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// plan works out what the repaired store is.
func (r *repairer) plan(ctx context.Context) error {
	if err := errors.Join(r.readLedger(), r.readLogs()); err != nil {
		return err
	}
	all, err := r.findSegments()
	defer func() {
		for _, f := range all.close {
			_ = f.Close() // only read from
		}
	}()
	if err != nil {
		return err
	}
	if err := r.arrange(ctx, all); err != nil {
		return err
	}
	if r.s.cache, err = newCache(r.s.opt.CacheBytes); err != nil {
		return err
	}
	r.s.manifest = &manifest{unwritten: true}
	if err := r.preferLogs(); err != nil {
		return err
	}
	if err := r.putTogether(all); err != nil {
		return err
	}
	if err := r.s.load(); err != nil {
		return err
	}
	if err := r.eraseAgain(ctx); err != nil {
		return err
	}
	r.s.state().next = max(r.s.state().next, r.s.next)
	return r.tell()
}

// readEdits reads what is left of the manifests of the folder, and which store
// it is.
func (r *repairer) readEdits() error {
	if err := r.whose(); err != nil {
		return err
	}
	r.v = newSalvage(r.store)
	newest := newestManifest(r.names)
	for n := uint64(1); n <= newest; n++ {
		if !slices.Contains(r.names, manifestName(n)) && !slices.Contains(r.names, manifestName(n)+copySuffix) {
			continue
		}
		m, err := readRemains(r.s.fs, r.s.dir, r.store, n)
		if err != nil {
			return err
		}
		if err := r.v.take(m); err != nil {
			return err
		}
		r.read = m
		r.done.Restored += m.restored
		r.keep = append(r.keep, m.files...)
	}
	r.done.Edits = r.v.edits
	if r.read == nil {
		r.done.Damage = []Damage{{manifestPrefix[:len(manifestPrefix)-1], "there is none"}}
		r.done.Lost = []string{"all edits"}
		r.v.gap(editGap{})
		return nil
	}
	r.done.Damage = r.read.damage
	if r.cut != nil {
		r.done.Damage = append(r.done.Damage, Damage{manifestName(r.read.number), "it ends early"})
		r.v.gap(editGap{number: r.read.number, first: r.read.edits[len(r.read.edits)-1].place + 1})
	}
	for _, g := range r.v.gaps {
		r.done.Lost = append(r.done.Lost, g.String())
	}
	return nil
}

// whose finds out the store's id: from the manifest's header, and if that is
// damaged from the files of the store, which all have it.
func (r *repairer) whose() error {
	newest := newestManifest(r.names)
	for _, name := range []string{manifestName(newest), manifestName(newest) + copySuffix} {
		if id, ok := headerStore(r.s.head(name, manifestHeader), newest); ok {
			r.store = id
			return nil
		}
	}
	files := map[[16]byte]int{}
	for _, name := range r.names {
		n, numbered := fileNumber(name)
		var id [16]byte
		var ok bool
		switch {
		case numbered && strings.HasSuffix(name, ".seg"):
			id, ok = segmentStore(r.s.head(name, headerSize))
		case numbered && strings.HasSuffix(name, walSuffix):
			id, ok = logStore(r.s.head(name, 64<<10), n)
		}
		if ok {
			files[id]++
		}
	}
	most, second := 0, 0
	for id, n := range files {
		switch {
		case n > most:
			r.store, most, second = id, n, most
		case n > second:
			second = n
		}
	}
	switch {
	case most == 0:
		return corrupt("no file says which store this is; restore a backup")
	case most == second:
		return corrupt("the files here are of different stores; move those of the other away, or restore a backup")
	}
	return nil
}

// readLedger reads who was erased. The ledger lies beside the store, and was
// not damaged with it.
func (r *repairer) readLedger() error {
	names := r.s.ledgerNames
	if r.how.Ledger != "" {
		names = []string{r.how.Ledger}
	}
	l, name, err := readLedgers(r.s.fs, names)
	r.done.Ledger = name
	switch {
	case isNotExist(err) && r.how.Ledger == "":
		r.done.NoLedger = true
		return nil
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w; put a sound copy of it there, or move it away and repeat with --without-ledger: then erasures whose edits cannot be read are undone", err)
	case err != nil:
		return err
	case l.Store != r.store:
		return fmt.Errorf("%s is the ledger of store %x, this is %x; name the right one", name, l.Store, r.store)
	}
	r.ledger = l
	return nil
}

// arrange decides which of the files hold the store's rows.
func (r *repairer) arrange(ctx context.Context, all *found) error {
	st := r.v.st
	st.width = r.width(all.files)
	var files []*repairFile
	for _, f := range all.files {
		if !f.named {
			var one bool
			if f.Partition, one = f.partition(st.width); !one {
				all.stray = append(all.stray, f.file())
				continue
			}
			f.Erased = r.erasedIn(f)
		}
		files = append(files, f)
	}
	c, err := r.choose(ctx, files)
	if err != nil {
		return err
	}
	lost, finished := r.v.lostErasures()
	if r.ledger != nil && !seeded.On("repair_trusts_lost_erasures") {
		lost = slices.DeleteFunc(lost, func(n uint64) bool {
			return slices.ContainsFunc(r.ledger.Entries, func(e LedgerEntry) bool { return e.Number == n })
		})
	}
	if seeded.On("repair_trusts_lost_erasures") {
		lost = nil
	}
	for _, f := range c.kept {
		if len(lost) > 0 && f.Erased < lost[len(lost)-1] && !(finished && f.named) {
			c.doubtful[f] = fmt.Sprintf("erasure %d may have taken rows out of it, and neither an edit nor the ledger says whose", lost[len(lost)-1])
		}
	}
	r.nameCodes(c)
	r.choice = c
	return nil
}

// erasedIn is the last erasure of which a file cannot hold anything, because
// batches that came later are in it: it was written after the erasure.
func (r *repairer) erasedIn(f *repairFile) (number uint64) {
	for _, e := range r.v.st.erasures {
		if e.LSN < f.LastLSN {
			number = max(number, e.Number)
		}
	}
	if r.ledger != nil {
		for _, e := range r.ledger.Entries {
			if e.LSN < f.LastLSN {
				number = max(number, e.Number)
			}
		}
	}
	return number
}

// flushed reports whether a file that no edit names has batches that, by the
// edits, are in no segment.
func (r *repairer) flushed(f *repairFile) bool { return !f.named && f.LastLSN > r.v.st.lsn }

// preferLogs leaves out new files whose batches the logs still have: with them
// come the answers to batch tokens.
func (r *repairer) preferLogs() error {
	c := r.choice
	if !slices.ContainsFunc(c.kept, r.flushed) {
		return nil
	}
	r.s.published.Store(r.v.st)
	if err := r.s.load(); err != nil {
		return err
	}
	logged := map[uint64]bool{}
	for _, b := range r.s.mem.batches {
		logged[b.lsn] = true
	}
	c.kept = slices.DeleteFunc(c.kept, func(f *repairFile) bool {
		if !r.flushed(f) || c.doubtful[f] != "" {
			return false
		}
		for lsn := f.FirstLSN; lsn <= f.LastLSN; lsn++ {
			if !logged[lsn] {
				return false
			}
		}
		c.replaced = append(c.replaced, f)
		return true
	})
	r.forgetLoaded()
	return nil
}

// forgetLoaded makes the next load begin from nothing.
func (r *repairer) forgetLoaded() {
	for _, f := range r.s.segments {
		f.release()
	}
	r.s.segments, r.s.aside, r.s.oldWAL = map[uint64]*segmentFile{}, nil, nil
}

// putTogether makes the repaired state.
func (r *repairer) putTogether(all *found) error {
	c, st := r.choice, *r.v.st
	newer := slices.ContainsFunc(c.kept, r.flushed)
	st.segments = nil
	for _, f := range c.kept {
		if c.doubtful[f] == "" {
			st.segments = append(st.segments, f.segmentRecord)
		}
		st.lsn = max(st.lsn, f.LastLSN)
	}
	slices.SortFunc(st.segments, compareSegments)
	at := r.s.now()
	st.quarantine = slices.Clone(st.quarantine)
	for _, f := range sortedFiles(c.doubtful) {
		st.lsn = max(st.lsn, f.LastLSN)
		st.quarantine = append(st.quarantine, quarantineRecord{File: f.file(), At: at, Reason: c.doubtful[f], Segment: &f.segmentRecord, Erasure: neverBack})
	}
	for _, d := range all.unread {
		st.quarantine = append(st.quarantine, quarantineRecord{File: d.File, At: at, Reason: "it cannot be read, and whether it was part of the store nobody knows: " + d.Reason})
	}
	r.done.Replaced = append(r.done.Replaced, all.stray...)
	for _, f := range c.replaced {
		if slices.Contains(r.names, f.file()) {
			r.done.Replaced = append(r.done.Replaced, f.file())
		}
	}
	slices.Sort(r.done.Replaced)
	r.keep = append(r.keep, r.done.Replaced...)
	if err := r.keepQuarantine(&st); err != nil {
		return err
	}
	if newer {
		// The edit that is missing told that the logs before it were not needed.
		st.logs = slices.DeleteFunc(slices.Clone(st.logs), func(n uint64) bool { return !slices.Contains(r.names, walName(n)) })
		if left := walNumbers(r.names, st.wal); len(left) > 0 {
			st.wal = left[0]
		}
	}
	st.epoch += 1 << 16 // more than any edits that are missing
	r.done.Raised = st.format < FormatVersion
	st.format = FormatVersion
	for _, name := range r.names {
		if n, ok := fileNumber(name); ok {
			st.next = max(st.next, n+1)
		}
	}
	r.s.published.Store(&st)
	return nil
}

func sortedFiles(m map[*repairFile]string) []*repairFile {
	var list []*repairFile
	for f := range m {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *repairFile) int { return compareSegments(a.segmentRecord, b.segmentRecord) })
	return list
}

// keepQuarantine goes on naming the files that were set aside before, where
// the edit that told of them may be one that is missing.
func (r *repairer) keepQuarantine(st *state) error {
	names, err := r.s.fs.ReadDir(path.Join(r.s.dir, quarantineDir))
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		n, numbered := fileNumber(name)
		if !numbered {
			continue
		}
		st.next = max(st.next, n+1)
		file := segmentRecord{ID: n}.file()
		if strings.HasPrefix(name[strings.IndexByte(name, '.'):], walSuffix) {
			file = walName(n)
		}
		known := st.quarantined(file) || r.v.released[file] || r.v.removed[n] || slices.Contains(r.names, file) ||
			slices.ContainsFunc(st.segments, func(s segmentRecord) bool { return s.ID == n }) ||
			slices.ContainsFunc(r.choice.replaced, func(f *repairFile) bool { return f.ID == n })
		if known || len(r.v.gaps) == 0 {
			continue
		}
		st.quarantine = append(st.quarantine, quarantineRecord{File: file, At: r.s.now(), Reason: "it was set aside before, and the edit that told why cannot be read"})
	}
	return nil
}

// eraseAgain has the erasures that only the ledger knows done again: in the
// state that is written, so that nobody ever sees it without them.
func (r *repairer) eraseAgain(ctx context.Context) error {
	if r.ledger == nil {
		if _, all := r.explained(); r.done.NoLedger && len(r.s.state().erasures) > 0 && !all && !r.how.WithoutLedger {
			return fmt.Errorf("%w: customers of this store were erased, %s tells whom and is not there, and an edit that cannot be read may have been another erasure; name the ledger with --ledger, or go on with --without-ledger", ErrNoLedger, r.done.Ledger)
		}
		return nil
	}
	if seeded.On("repair_without_ledger") {
		return nil
	}
	var done Applied
	links := r.s.state().links.len()
	if _, err := r.s.recordLedger(ctx, r.ledger, &done, true); err != nil {
		return err
	}
	r.done.Erased, r.unlinked = done.New, links-r.s.state().links.len()
	if done.New == 0 {
		return nil
	}
	r.forgetLoaded() // as it is with the erasures
	return r.s.load()
}

// write makes the repaired state the store's.
func (r *repairer) write() error {
	if len(r.keep) > 0 {
		if err := r.s.keepAside(r.keep...); err != nil {
			return fmt.Errorf("keep what is replaced: %w", err)
		}
	}
	m := &manifest{fs: r.s.fs, dir: r.s.dir}
	if r.read != nil {
		m.number = r.read.number
	}
	kept, err := r.s.fs.ReadDir(path.Join(r.s.dir, quarantineDir))
	if err != nil && !isNotExist(err) {
		return err
	}
	m.number = max(m.number, newestManifest(kept)) // one of them may be put back
	if err := m.rewrite(r.s.state()); err != nil {
		return err
	}
	r.done.Written = true
	return m.close()
}

// settle opens the repaired store as a writer does: that moves and removes
// what is not needed any more, and takes over the log. Erasures that were done
// again are brought to their end.
func (r *repairer) settle(ctx context.Context) error {
	if err := r.s.release(); err != nil {
		return err
	}
	s, err := Open(r.s.dir, r.s.opt)
	if err != nil {
		return err
	}
	for worked := r.done.Erased > 0; worked && err == nil; {
		worked, err = s.EraseStep(ctx)
	}
	return errors.Join(err, s.Close())
}

// unchanged is a file system of which nothing is changed.
type unchanged struct{ vfs.FS }

var errUnchanged = errors.New("a repair that only looks writes nothing")

// Create implements vfs.FS.
func (unchanged) Create(string) (vfs.File, error) { return nil, errUnchanged }

// OpenAppend implements vfs.FS.
func (unchanged) OpenAppend(string) (vfs.File, error) { return nil, errUnchanged }

// Rename implements vfs.FS.
func (unchanged) Rename(string, string) error { return errUnchanged }

// Link implements vfs.FS.
func (unchanged) Link(string, string) error { return errUnchanged }

// Remove implements vfs.FS.
func (unchanged) Remove(string) error { return errUnchanged }

// MkdirAll implements vfs.FS.
func (unchanged) MkdirAll(string) error { return errUnchanged }

// SyncDir implements vfs.FS.
func (unchanged) SyncDir(string) error { return errUnchanged }

// Lock implements vfs.FS.
func (unchanged) Lock(string) (io.Closer, error) { return nil, errUnchanged }
