package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// quarantineDir is the folder of a store that damaged files are moved to. What
// is in it is never changed; an erasure removes it, and retention what is too old.
const quarantineDir = "quarantine"

// DamageError says that a segment is not as it was written. It wraps ErrCorrupt.
// The rest of the store answers when the segment is set aside, see Store.SetAside.
type DamageError struct {
	Segment string // the file
	Err     error
}

// Error is that of what was found, which names the file, section and offset.
func (e *DamageError) Error() string { return e.Err.Error() }

// Unwrap leads to ErrCorrupt.
func (e *DamageError) Unwrap() error { return e.Err }

// damaged names the segment in an error that says that something is damaged.
// Errors of the disk or the system stay what they are: the next try may succeed.
func (s *segment) damaged(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return &DamageError{s.name, err}
	}
	return err
}

// quarantineRecord is a file that was set aside. The manifest keeps it, so that
// every answer goes on telling what is missing, until it is forgotten or a
// sound copy of the file is back.
type quarantineRecord struct {
	File    string         `json:"file"`
	At      event.Time     `json:"at"`
	Reason  string         `json:"reason"`
	Segment *segmentRecord `json:"segment,omitempty"` // nil: a log
	First   uint64         `json:"first,omitempty"`   // of a log, the LSNs that are missing
	Last    uint64         `json:"last,omitempty"`    // 0: nobody knows

	Erasure uint64 `json:"erasure,omitempty"` // the last that was finished before
	Gone    bool   `json:"gone,omitempty"`    // an erasure removed the file

	met bool // by a read of a page, not by the opening of the file
}

// neverBack is the erasure of files that stay set aside, sound or not: a repair
// could not tell whether their rows are elsewhere, too, or erased.
const neverBack = 1 << 63

// damage is what a check says of the file.
func (q quarantineRecord) damage() error {
	return fmt.Errorf("set aside at %s: %s", q.At, q.Reason)
}

func (q quarantineRecord) missing() Missing {
	m := Missing{Segment: q.File, Reason: q.Reason, FirstLSN: q.First, LastLSN: q.Last}
	if q.Gone {
		m.Reason += "; an erasure removed the file"
	}
	if q.Segment != nil {
		m.From, m.To, m.Rows = q.Segment.MinTime, q.Segment.MaxTime, q.Segment.Rows
		m.FirstLSN, m.LastLSN = q.Segment.FirstLSN, q.Segment.LastLSN
	}
	return m
}

// applyQuarantine does what an edit says of files that are set aside.
func (s *state) applyQuarantine(e *edit) error {
	if len(e.Quarantine)+len(e.Release) == 0 {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(s.quarantine), func(q quarantineRecord) bool { return slices.Contains(e.Release, q.File) })
	if len(kept) != len(s.quarantine)-len(e.Release) {
		return errors.New("a file is released that was not set aside")
	}
	for _, q := range e.Quarantine {
		if q.Segment == nil {
			continue
		}
		i := slices.IndexFunc(s.segments, func(r segmentRecord) bool { return r.ID == q.Segment.ID })
		if i >= 0 {
			s.segments = slices.Delete(slices.Clone(s.segments), i, i+1)
		}
	}
	s.quarantine = append(kept, e.Quarantine...)
	return nil
}

func (s *state) quarantined(file string) bool {
	return slices.ContainsFunc(s.quarantine, func(q quarantineRecord) bool { return q.File == file })
}

// SetAside leaves out the segment that a read found damaged: snapshots taken
// from now on do not have it, and name it as missing. It reports whether err is
// about such a segment; then what failed is worth another try with a new
// snapshot. A writer keeps this over restarts and moves the file to the folder
// quarantine; a store open for reading leaves the segment out while it is open.
func (s *Store) SetAside(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var damage *DamageError
	if !errors.As(err, &damage) {
		return false
	}
	if s.opt.ReadOnly && isNotExist(err) && s.refresh() != nil { // a writer may have replaced the file
		return false
	}
	if !s.leaveOut(err) {
		// Set aside or compacted away meanwhile, a new snapshot does not have it.
		return strings.HasSuffix(damage.Segment, ".seg")
	}
	// The edit may have to wait for what holds writing, the answers need not:
	// the next that comes to hold it writes the edit.
	if s.writing.TryLock() {
		s.recordAside()
		s.writing.Unlock()
	}
	return true
}

// leaveOut is SetAside without the edit, for a caller that holds mu and found
// the damage in a segment of the current state.
func (s *Store) leaveOut(err error) bool {
	var damage *DamageError
	if !errors.As(err, &damage) || s.closed {
		return false
	}
	i := slices.IndexFunc(s.state().segments, func(r segmentRecord) bool { return r.file() == damage.Segment })
	if i < 0 {
		return false
	}
	r := s.state().segments[i]
	if _, already := s.aside[r.ID]; !already {
		s.putAside(quarantineRecord{At: s.now(), Reason: damage.Error(), Segment: &r, met: true}, true)
	}
	return true
}

// leaveOutUnread is leaveOut for an error of reading f. Where AcceptDamage says so,
// it leaves f out also if the disk cannot read it.
func (s *Store) leaveOutUnread(f *segmentFile, err error) bool {
	if s.leaveOut(err) {
		return true
	}
	if !s.opt.AcceptDamage || s.segments[f.record.ID] != f {
		return false
	}
	r := f.record
	s.putAside(quarantineRecord{At: s.now(), Reason: err.Error(), Segment: &r, met: true}, true)
	return true
}

func (s *Store) putAside(q quarantineRecord, news bool) {
	if s.aside == nil {
		s.aside = map[uint64]quarantineRecord{}
	}
	id := q.Segment.ID
	q.File = q.Segment.file()
	s.aside[id] = q
	if f := s.segments[id]; f != nil {
		delete(s.segments, id)
		f.release()
	}
	if news {
		s.opt.Log.Warn("segment is left out", "segment", q.File, "rows", q.Segment.Rows, "reason", q.Reason)
	}
}

// missingData lists what snapshots taken now leave out. The caller holds mu.
func (s *Store) missingData() []Missing {
	var list []Missing
	for _, q := range s.state().quarantine {
		list = append(list, q.missing())
	}
	for _, id := range slices.Sorted(maps.Keys(s.aside)) {
		list = append(list, s.aside[id].missing())
	}
	return append(list, s.lost...)
}

// logDamage is something that a log once held and that cannot be read.
type logDamage struct {
	number uint64
	offset int64
	lsn    uint64 // of the one batch, 0: nobody knows which
	reason string
}

// loses notes damage to a log, unless the manifest tells of it already. files,
// all of the log that is needed, tell which batches are not there.
func (s *Store) loses(d logDamage, files []*walFile) {
	file := walName(d.number)
	if s.state().quarantined(file) {
		return
	}
	m := Missing{Segment: file, Reason: d.reason, FirstLSN: d.lsn, LastLSN: d.lsn}
	if d.lsn == 0 {
		m.FirstLSN, m.LastLSN = s.lsnGap(d, files)
	}
	s.lost = append(s.lost, m)
	s.opt.Log.Warn("log is damaged", "file", file, "reason", d.reason)
}

// lsnGap is between which batches of the log the damage lies; last is 0 if no
// batch came after it, and both if none is missing between those around it.
func (s *Store) lsnGap(d logDamage, files []*walFile) (first, last uint64) {
	before, after := s.state().lsn, uint64(0)
	for _, f := range files {
		for _, r := range f.records {
			switch {
			case r.kind == recordMark:
			case f.number < d.number || f.number == d.number && r.offset < d.offset:
				before = max(before, r.lsn)
			case after == 0 || r.lsn < after:
				after = r.lsn
			}
		}
	}
	switch after {
	case 0:
		return before + 1, 0
	case before + 1:
		return 0, 0
	}
	return before + 1, max(after-1, before+1)
}

// recordAside is publishAside for a caller that can go on without.
func (s *Store) recordAside() {
	if err := s.publishAside(); err != nil {
		s.opt.Log.Warn("record what is damaged", "error", err)
	}
}

// publishAside publishes what was set aside, and moves the files out of the way.
// If that fails it is tried again by the next that calls: until then the
// damage is found anew by every opening. The caller holds writing and mu.
func (s *Store) publishAside() error {
	if len(s.aside)+len(s.lost) == 0 || s.usable(true) != nil && !s.closing || s.opt.ReadOnly || s.state().format < 2 {
		return nil
	}
	e := s.asideEdit()
	var files []string
	for _, id := range slices.Sorted(maps.Keys(s.aside)) {
		files = append(files, s.aside[id].File)
	}
	if err := s.publish(e); err != nil {
		return err
	}
	s.aside, s.lost = nil, nil
	s.moveAside(files...)
	return nil
}

// asideEdit records what is left out and not recorded yet. The caller holds mu.
func (s *Store) asideEdit() *edit {
	e := &edit{Epoch: s.nextEpoch()}
	for _, id := range slices.Sorted(maps.Keys(s.aside)) {
		e.Quarantine = append(e.Quarantine, s.aside[id])
	}
	for _, m := range s.lost {
		i := slices.IndexFunc(e.Quarantine, func(q quarantineRecord) bool { return q.File == m.Segment })
		if i < 0 {
			e.Quarantine = append(e.Quarantine, quarantineRecord{File: m.Segment, At: s.now(), Reason: m.Reason, First: m.FirstLSN, Last: m.LastLSN})
			continue
		}
		if q := &e.Quarantine[i]; !strings.Contains(q.Reason, m.Reason) {
			q.Reason += "; " + m.Reason
			switch {
			case m.FirstLSN == 0:
			case q.First == 0:
				q.First, q.Last = m.FirstLSN, m.LastLSN
			default:
				q.First = min(q.First, m.FirstLSN)
				if q.Last = max(q.Last, m.LastLSN); m.LastLSN == 0 {
					q.Last = 0
				}
			}
		}
	}
	for i := range e.Quarantine {
		e.Quarantine[i].Erasure = s.state().erasedTo()
	}
	if seeded.On("quarantine_forgets_one") {
		e.Quarantine = e.Quarantine[1:]
	}
	return e
}

// moveAside moves files into the folder quarantine. It links and unlinks them:
// at no moment a loss of power can leave a file without any name. What fails
// is done by the next opening.
func (s *Store) moveAside(files ...string) {
	if len(files) == 0 {
		return
	}
	dir := path.Join(s.dir, quarantineDir)
	err := s.fs.MkdirAll(dir)
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	for _, file := range files {
		if err != nil {
			break
		}
		name := path.Join(s.dir, file)
		err = s.linkAside(name, path.Join(dir, file))
		if isNotExist(err) {
			err = nil // there is nothing to keep
			continue
		}
		if err == nil {
			err = s.fs.SyncDir(dir)
		}
		if err == nil {
			err = s.fs.Remove(name)
		}
	}
	if err != nil {
		s.opt.Log.Warn("move damaged files to the folder quarantine", "error", err)
	}
}

// linkAside gives a file its name among those set aside, a new one if another
// content has that name already.
func (s *Store) linkAside(name, target string) error {
	for k := 2; ; k++ {
		err := s.fs.Link(name, target)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		mine, err := vfs.ReadFile(s.fs, name)
		if err != nil {
			return err
		}
		if theirs, err := vfs.ReadFile(s.fs, target); err == nil && string(mine) == string(theirs) {
			return nil // only the unlinking was left to do
		}
		target = fmt.Sprintf("%s.%d", strings.TrimSuffix(target, fmt.Sprintf(".%d", k-1)), k)
	}
}

// erasedTo is the last erasure of which no file holds anything.
func (s *state) erasedTo() uint64 {
	if left := s.erasing(); len(left) > 0 {
		return left[0].Number - 1
	}
	return s.lastErasure()
}

// mayComeBack reports whether a file in the store's folder may become part of
// the store again. What was set aside before an erasure may hold what is erased.
func (s *Store) mayComeBack(file string) bool {
	return slices.ContainsFunc(s.state().quarantine, func(q quarantineRecord) bool {
		return q.File == file && q.Segment != nil && q.Erasure == s.state().lastErasure()
	})
}

// toEraseAside reports whether a file that is set aside may hold what is erased.
func (s *Store) toEraseAside() bool {
	return slices.ContainsFunc(s.state().quarantine, func(q quarantineRecord) bool { return !q.Gone })
}

// eraseAside notes that damaged files go: nobody can tell what is in them. They
// stay missing, and the receipts name them. The caller holds writing and mu.
func (s *Store) eraseAside(left []eraseRecord) error {
	e := &edit{Epoch: s.nextEpoch()}
	for _, q := range s.state().quarantine {
		if q.Gone {
			continue
		}
		q.Gone = true
		e.Release = append(e.Release, q.File)
		e.Quarantine = append(e.Quarantine, q)
		for i := range left {
			left[i].Removed = append(slices.Clip(left[i].Removed), q.File)
			left[i].Lost += q.missing().Rows
		}
	}
	e.Erase = left
	return s.publish(e)
}

// sweepAside removes what is in the folder quarantine, for an erasure.
func (s *Store) sweepAside() error {
	dir := path.Join(s.dir, quarantineDir)
	names, err := s.fs.ReadDir(dir)
	if isNotExist(err) {
		return nil
	}
	for _, name := range names {
		if err == nil {
			err = s.fs.Remove(path.Join(dir, name))
		}
	}
	if err == nil {
		err = s.fs.SyncDir(dir)
	}
	return err
}

// dropAside gives up segments that were set aside of which retention would have
// left nothing: nothing is missing any more, and the files go. The cutoff is
// durable, so they go before their records do, and a crash leaves the records
// for the next try. Of logs nobody knows how old the events in them are.
// The caller holds writing and mu.
func (s *Store) dropAside() (worked bool, err error) {
	e := &edit{Epoch: s.nextEpoch()}
	for _, q := range s.state().quarantine {
		if q.Segment != nil && q.Segment.MaxTime < s.state().cutoff() {
			e.Release = append(e.Release, q.File)
		}
	}
	if len(e.Release) == 0 {
		return false, nil
	}
	dir := path.Join(s.dir, quarantineDir)
	names, err := s.fs.ReadDir(dir)
	if isNotExist(err) {
		err = nil
	}
	remove := func(name string) {
		if err == nil {
			err = s.fs.Remove(name)
		}
	}
	for _, file := range e.Release {
		remove(path.Join(s.dir, file)) // a copy that somebody put back
		for _, name := range names {
			if name == file || strings.HasPrefix(name, file+".") { // other copies have a number behind the name
				remove(path.Join(dir, name))
			}
		}
	}
	if err == nil && len(names) > 0 {
		err = s.fs.SyncDir(dir)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return false, fmt.Errorf("remove what is too old of the folder quarantine: %w", err)
	}
	s.opt.Log.Info("retention gave up damaged segments", "files", e.Release)
	return true, s.publish(e)
}

// healManifest writes both files of the manifest anew if one of them is damaged,
// or missing: all that was published is in the other. Files that are damaged stay
// in the folder quarantine.
func (s *Store) healManifest() error {
	m := s.manifest
	var files []string
	for _, d := range m.damage {
		files = append(files, d.File)
		s.opt.Log.Warn("manifest is damaged; its copy is not, and takes its place", "file", d.File, "reason", d.Reason)
	}
	if len(files) == 0 && (s.state().format < 2 || m.read[0] >= 0 && m.read[1] >= 0) {
		return nil
	}
	err := s.removing(func() error {
		// What is in neither alone must be in a third before these go.
		if err := s.keepAside(files...); err != nil && len(files) > 1 {
			return err
		} else if err != nil {
			s.opt.Log.Warn("keep a damaged manifest in the folder quarantine", "file", files[0], "error", err)
		}
		return s.publish(&edit{})
	})
	if err != nil {
		return fmt.Errorf("write the manifest anew, of which one file of two is damaged or missing: %w", err)
	}
	s.healed, m.damage = m.damage, nil
	return nil
}

// keepAside gives files another name in the folder quarantine, and leaves them
// where they are.
func (s *Store) keepAside(files ...string) error {
	if len(files) == 0 {
		return nil
	}
	dir := path.Join(s.dir, quarantineDir)
	err := s.fs.MkdirAll(dir)
	for _, file := range files {
		if err == nil {
			err = s.linkAside(path.Join(s.dir, file), path.Join(dir, file))
		}
		if isNotExist(err) {
			err = nil // there is nothing to keep
		}
	}
	return errors.Join(err, s.fs.SyncDir(s.dir), s.fs.SyncDir(dir))
}

// takeBack makes segments part of the store again that were set aside and of
// which a sound copy stands in the store's folder: the operator put it there,
// or the file could not be read for a while only. Damaged ones go to the folder
// quarantine. It is done when a writer opens the store.
func (s *Store) takeBack() error {
	var damaged []string
	for _, q := range slices.Clone(s.state().quarantine) {
		if !s.mayComeBack(q.File) {
			continue
		}
		err := s.verifySegment(*q.Segment, nil)
		switch {
		case isNotExist(err):
			continue
		case errors.Is(err, ErrCorrupt):
			damaged = append(damaged, q.File)
			continue
		}
		var files []*segmentFile
		if err == nil {
			files, err = s.openKept(*q.Segment)
		}
		if err == nil {
			if err = s.state().knowsNamesOf(files[0].seg); err != nil { // a repair may have given them other codes
				files[0].release()
			}
		}
		if err != nil { // as before: missing
			s.opt.Log.Warn("look at a file that was set aside", "file", q.File, "error", err)
			continue
		}
		e := &edit{Epoch: s.nextEpoch(), Release: []string{q.File}, Add: []segmentRecord{*q.Segment}}
		if err := s.publishSegments(e, files); err != nil {
			return err
		}
		s.opt.Log.Info("segment is whole again", "segment", q.File, "rows", q.Segment.Rows)
	}
	s.moveAside(damaged...)
	return nil
}

// Forget gives up a file that was set aside: answers are no longer partial
// because of it. The file itself stays in the folder quarantine.
func (s *Store) Forget(ctx context.Context, file string) (Missing, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return Missing{}, fmt.Errorf("forget %s: %w", file, err)
	}
	if s.state().format < 2 {
		return Missing{}, fmt.Errorf("forget %s: the store has format 1, which does not record what is damaged; run wend upgrade first", file)
	}
	s.recordAside()
	i := slices.IndexFunc(s.state().quarantine, func(q quarantineRecord) bool { return q.File == file })
	if i < 0 {
		known := []string{}
		for _, q := range s.state().quarantine {
			known = append(known, q.File)
		}
		if len(known) == 0 {
			known = []string{"none"}
		}
		return Missing{}, fmt.Errorf("forget %s: %w; files set aside are: %s", file, ErrNotFound, strings.Join(known, ", "))
	}
	q := s.state().quarantine[i]
	e := &edit{Epoch: s.nextEpoch(), Release: []string{file}}
	if q.Segment == nil {
		// What can be read of the log goes to segments first: while the log is
		// needed, every opening finds its damage again.
		if err := s.flush(ctx); err != nil {
			return Missing{}, fmt.Errorf("forget %s: %w", file, err)
		}
		if len(s.mem.batches) == 0 {
			s.closeLog()
			e.WAL = s.next
		}
	}
	if err := s.publish(e); err != nil {
		return Missing{}, fmt.Errorf("forget %s: %w", file, err)
	}
	if q.Segment == nil {
		s.moveAside(file)
	}
	s.removeOldLogs()
	return q.missing(), nil
}

// removeOldLogs removes the log files that the published state says are no
// longer needed. Damaged ones are kept in the folder quarantine.
func (s *Store) removeOldLogs() {
	s.oldWAL = slices.DeleteFunc(s.oldWAL, func(w walExtent) bool {
		if w.number >= s.state().wal {
			return false
		}
		_ = s.removeFile(walName(w.number)) // a leftover is removed at the next opening
		return true
	})
}

// removeFile removes a file that is no longer needed, unless it is damaged.
func (s *Store) removeFile(name string) error {
	if s.state().quarantined(name) || slices.ContainsFunc(s.lost, func(m Missing) bool { return m.Segment == name }) { // format 1 records nothing
		s.moveAside(name)
		return nil
	}
	return s.fs.Remove(path.Join(s.dir, name))
}

// Damage on this scale is rather a disk that is not all there, or a folder that
// was copied in part, than damage to files.
const (
	massSegments = 10 // segments, and ...
	massPercent  = 1  // ... so many hundredths of the bytes
)

// massDamage says why a store is not written to, if so much was found damaged
// by its opening that setting it all aside would be rash; "" otherwise.
func (s *Store) massDamage() string {
	lost, all := int64(0), int64(0)
	for _, r := range s.state().segments {
		all += r.Size
		if _, aside := s.aside[r.ID]; aside {
			lost += r.Size
		}
	}
	if len(s.aside) <= massSegments || lost*100 <= all*massPercent || s.opt.AcceptDamage {
		return ""
	}
	return fmt.Sprintf("%d of %d segments, %d of %d bytes, are missing or damaged: the store is open for reading only, so that nothing is made worse; "+
		"if files are elsewhere, put them back; to go on without them, run wend check %s --set-aside", len(s.aside), len(s.state().segments), lost, all, s.dir)
}

// Verify compares every file that the snapshot reads with its checksum, for
// those whose answer cannot be taken back once it is begun.
func (s *Snapshot) Verify(ctx context.Context) error {
	for _, f := range s.files {
		if err := f.verify(ctx); err != nil {
			return err
		}
	}
	return nil
}
