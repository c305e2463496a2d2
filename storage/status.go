package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"wend/event"
	"wend/storage/vfs"
)

// Status is what a store holds and what it costs.
type Status struct {
	Dir       string     `json:"dir"`
	Format    int        `json:"format"` // see FormatVersion
	ReadOnly  bool       `json:"read_only"`
	Notice    string     `json:"notice,omitempty"` // why the writer of the store does not write
	Events    int64      `json:"events"`
	Customers int64      `json:"customers"`     // -1: they could not be counted
	From      event.Time `json:"from,omitzero"` // of the events; both 0 if there are none
	To        event.Time `json:"to,omitzero"`
	EndOfData event.Time `json:"end_of_data,omitzero"`
	Version   string     `json:"snapshot"`

	Segments  []SegmentStatus `json:"segments"`  // oldest arrivals first
	Columns   []ColumnBytes   `json:"columns"`   // of all segments, largest first
	Bytes     int64           `json:"bytes"`     // of all segment files
	Partition string          `json:"partition"` // width of a time partition: month, year …

	Retention *Retention `json:"retention,omitempty"` // nil: nothing was ever too old

	DiskFull        bool      `json:"disk_full,omitempty"`        // events are refused until there is room
	CompactionWaits *Shortage `json:"compaction_waits,omitempty"` // for room on the disk; nil: none does

	MemtableEvents int       `json:"memtable_events"` // events that are only in the log and in memory
	LogFiles       int       `json:"log_files"`       // log files that are still needed
	LogBytes       int64     `json:"log_bytes"`       // their size
	Imports        []Import  `json:"imports"`
	Erasing        int       `json:"erasing,omitempty"` // erasures that have not come to their end
	Links          int       `json:"links"`
	Definitions    int       `json:"definitions"`
	Missing        []Missing `json:"missing"`
	Healed         []Damage  `json:"healed,omitempty"` // damaged files that were made whole when the store was opened
	CacheBytes     int64     `json:"cache_bytes"`      // the budget
}

// SegmentStatus is one segment file.
type SegmentStatus struct {
	File      string     `json:"file"`
	Events    int64      `json:"events"`
	Customers int64      `json:"customers"`
	From      event.Time `json:"from"`
	To        event.Time `json:"to"`
	FirstLSN  uint64     `json:"first_lsn"`
	LastLSN   uint64     `json:"last_lsn"`
	Bytes     int64      `json:"bytes"`
}

// ColumnBytes is what a column takes in all segments.
type ColumnBytes struct {
	Column string `json:"column"`
	Bytes  int64  `json:"bytes"`
}

// counted is a number of customers and the state it belongs to: counting reads
// the names of the whole store, so the same state is counted once.
type counted struct {
	mu        sync.Mutex
	version   string
	customers int64
}

// Status describes the store as it is now. Counting the customers of a state
// may take as long as a query over everything, the first time.
func (s *Store) Status() Status {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	for {
		st, snap := s.summary()
		if snap == nil {
			return st
		}
		var err error
		if s.counted.version != st.Version {
			var n int64
			if n, err = snap.Customers(); err == nil {
				s.counted.version, s.counted.customers = st.Version, n
			}
		}
		snap.Release()
		switch {
		case err == nil:
			st.Customers = s.counted.customers
			return st
		case !s.SetAside(err):
			s.opt.Log.Warn("count the customers", "error", err)
			st.Customers = -1
			return st
		}
	}
}

// Summary is Status without the number of customers: cheap whatever the size
// of the store.
func (s *Store) Summary() Status {
	st, snap := s.summary()
	if snap != nil {
		snap.Release()
	}
	return st
}

// summary also returns the snapshot that it described, nil if there is none.
func (s *Store) summary() (Status, *Snapshot) {
	st := Status{Dir: s.dir, ReadOnly: s.opt.ReadOnly, Imports: s.Imports(), CacheBytes: s.opt.CacheBytes,
		Segments: []SegmentStatus{}, Columns: []ColumnBytes{}, Missing: []Missing{}}
	if st.Imports == nil {
		st.Imports = []Import{}
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return st, nil
	}
	st.Format = s.state().format
	st.MemtableEvents, st.Links, st.Definitions, st.Partition = s.mem.rows, s.state().links.len(), len(s.state().defines), s.state().width
	st.Erasing = len(s.state().erasing())
	st.DiskFull, st.CompactionWaits = s.space.low, s.space.merge
	st.Retention = s.retention()
	st.Missing = append(st.Missing, s.missingData()...)
	st.Healed = s.healed
	st.ReadOnly, st.Notice = st.ReadOnly || s.refusal != "", s.refusal
	columns := map[string]int64{}
	for _, r := range s.state().segments {
		st.Segments = append(st.Segments, SegmentStatus{r.file(), r.Rows, r.Customers, r.MinTime, r.MaxTime, r.FirstLSN, r.LastLSN, r.Size})
		st.Bytes += r.Size
		if f := s.segments[r.ID]; f != nil {
			for name, n := range f.seg.ColumnBytes() {
				columns[name] += n
			}
		}
	}
	for _, w := range s.oldWAL {
		st.LogFiles++
		st.LogBytes += w.bytes
	}
	if s.wal != nil {
		st.LogFiles++
		st.LogBytes += s.wal.size
	}
	s.mu.Unlock()
	for name, n := range columns {
		st.Columns = append(st.Columns, ColumnBytes{name, n})
	}
	slices.SortFunc(st.Columns, func(a, b ColumnBytes) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Column, b.Column))
	})
	snap, err := s.Snapshot()
	if err != nil {
		return st, nil
	}
	if err := snap.Ready(); s.SetAside(err) {
		snap.Release()
		return s.summary()
	}
	st.Events, st.Version = snap.Events(), snap.Version()
	st.From, st.To, _ = snap.Span()
	st.EndOfData, _ = snap.EndOfData()
	return st, snap
}

// Report is the outcome of a check.
type Report struct {
	Files   int      // files that were read whole
	Bytes   int64    // their size
	Damaged []Damage // empty: everything is as it was written
}

// Damage is one thing that is not as it was written.
type Damage struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Check reads every file of the published state and compares it with its
// checksums, with the manifest and with itself. It changes nothing. Its error
// says that the check could not be done, not that something is damaged.
func (s *Store) Check(ctx context.Context) (Report, error) {
	s.mu.Lock()
	if err := s.usable(false); err != nil {
		s.mu.Unlock()
		return Report{}, fmt.Errorf("check: %w", err)
	}
	st := s.state()
	number := s.manifest.number
	quarantine, known, lost := s.state().quarantine, s.manifest.damage, slices.Clone(s.lost)
	held := maps.Clone(s.segments)
	for _, f := range held {
		f.retain() // compaction must not remove what is being read
	}
	var logs []walExtent
	logs = append(logs, s.oldWAL...)
	if s.wal != nil {
		logs = append(logs, s.wal.extent())
	}
	s.mu.Unlock()
	defer func() {
		for _, f := range held {
			f.release()
		}
	}()

	var report Report
	report.Damaged = append(report.Damaged, known...)
	for _, q := range quarantine {
		report.damaged(q.File, q.damage())
	}
	for _, m := range lost {
		if !slices.ContainsFunc(logs, func(w walExtent) bool { return walName(w.number) == m.Segment }) { // others are read below
			report.Damaged = append(report.Damaged, Damage{m.Segment, m.Reason})
		}
	}
	for _, r := range st.segments {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("check: %w", err)
		}
		report.Files++
		report.Bytes += r.Size
		if err := s.checkFile(st, r, held[r.ID]); err != nil {
			report.damaged(r.file(), err)
		}
	}
	s.checkManifest(&report, number, known)
	s.checkLogs(&report, st, logs)
	for _, name := range s.ledgerNames {
		if _, err := ReadLedger(s.fs, name); errors.Is(err, ErrCorrupt) {
			report.damaged(name, err)
		} else if err != nil && !isNotExist(err) {
			return report, fmt.Errorf("check: %w", err)
		}
	}
	return report, nil
}

func (r *Report) damaged(file string, err error) {
	r.Damaged = append(r.Damaged, Damage{file, err.Error()})
}

// checkManifest reads both copies. What is known of them is in the report already.
func (s *Store) checkManifest(report *Report, number uint64, known []Damage) {
	for _, name := range []string{manifestName(number), manifestName(number) + copySuffix} {
		data, err := vfs.ReadFile(s.fs, path.Join(s.dir, name))
		if isNotExist(err) {
			continue // a writer may have begun the next one; format 1 has no copy
		}
		if err == nil {
			_, _, _, err = parseManifest(data, number)
		}
		if err != nil && !slices.ContainsFunc(known, func(d Damage) bool { return d.File == name }) {
			report.damaged(name, err)
		}
		report.Files++
		report.Bytes += int64(len(data))
	}
}

// checkLogs reads the logs up to where they ended when the check began.
func (s *Store) checkLogs(report *Report, st *state, logs []walExtent) {
	for _, w := range logs {
		data, err := vfs.ReadFile(s.fs, path.Join(s.dir, walName(w.number)))
		if isNotExist(err) {
			continue // flushed meanwhile
		}
		var f *walFile
		if err == nil {
			f, err = parseWAL(data, st.store, w.number, &w)
		}
		if err == nil && len(f.holes) > 0 {
			err = fmt.Errorf("%w: bytes %d to %d", ErrCorrupt, f.holes[0].from, f.holes[0].to)
		}
		if err != nil && !st.quarantined(walName(w.number)) {
			report.damaged(walName(w.number), err)
		}
		report.Files++
		report.Bytes += int64(len(data))
	}
}

// checkFile verifies a segment and that it belongs where the manifest has it.
// held is the file as the store opened it, nil if it was left out.
func (s *Store) checkFile(st *state, r segmentRecord, held *segmentFile) error {
	err := s.verifySegment(r, nil)
	if isNotExist(err) {
		err = s.checkGone(r, held, err)
	}
	if err != nil {
		return err
	}
	if st.width != "" {
		from, _, _ := partitionOf(st.width, r.MinTime)
		to, _, _ := partitionOf(st.width, r.MaxTime)
		if from != r.Partition || to != r.Partition {
			return fmt.Errorf("%w: its times are not those of its partition", ErrCorrupt)
		}
	}
	if held == nil {
		return nil // it was left out when the store was opened, and is whole again or replaced
	}
	return st.knowsNamesOf(held.seg)
}

// checkGone verifies a segment whose file was not found. A writer beside this
// reader may have replaced it since the manifest was read: then it is nothing to
// complain of, and still there for who holds it. missing is what it is otherwise.
func (s *Store) checkGone(r segmentRecord, held *segmentFile, missing error) error {
	now, err := s.newest()
	if err != nil {
		return fmt.Errorf("%w, and whether it is still needed cannot be known: %w", missing, err)
	}
	i := slices.IndexFunc(now.quarantine, func(q quarantineRecord) bool { return q.File == r.file() })
	switch {
	case slices.ContainsFunc(now.segments, func(o segmentRecord) bool { return o.ID == r.ID }):
		return missing
	case i >= 0:
		return now.quarantine[i].damage()
	case held == nil:
		return nil
	}
	if err := s.verifyFile(held.file, r, nil); !isNotExist(err) {
		return err
	}
	return nil // it was closed for want of open files, and is gone since
}

// newest is the state that was published last, which a reader has perhaps not
// read yet. It changes nothing of the store.
func (s *Store) newest() (*state, error) {
	if !s.opt.ReadOnly {
		return s.state(), nil
	}
	return s.onDisk()
}

// onDisk is the state that the manifest tells of now.
func (s *Store) onDisk() (*state, error) {
	for try := 0; ; try++ {
		_, st, err := readManifest(s.fs, s.dir)
		switch {
		case err == nil && st == nil:
			return nil, fmt.Errorf("%w: there is no store here", ErrNotFound)
		case !isNotExist(err) || try == overtakenMax:
			return st, err
		}
	}
}

// knowsNamesOf is the error of a segment whose codes stand for other names than
// the store's.
func (st *state) knowsNamesOf(seg *segment) error {
	imports := []string{""}
	for _, i := range st.imports {
		imports = append(imports, i.ID)
	}
	if !namesOf(seg.Events, st.events) || !namesOf(seg.Channels, st.channels) || !namesOf(seg.Imports, imports) {
		return fmt.Errorf("%w: its names are not those of the store", ErrCorrupt)
	}
	for i, p := range seg.Properties {
		if p.Name == "" && seg.ValueCounts[i] == 0 {
			continue // unused there
		}
		widened := i < len(st.properties) && p.Type == event.IntegerType && st.properties[i].Type == event.FloatType
		if i >= len(st.properties) || p.Name != st.properties[i].Name || p.Type != st.properties[i].Type && !widened {
			return fmt.Errorf("%w: property %q is not the store's", ErrCorrupt, p.Name)
		}
	}
	return nil
}

// namesOf reports whether a segment's names are the store's. Those that no row
// of it carries may be left out.
func namesOf(list, of []string) bool {
	for code, name := range list {
		if code >= len(of) || name != "" && name != of[code] {
			return false
		}
	}
	return true
}

// heldFile is an open segment for a caller that releases it: meanwhile a query
// may set the segment aside. It is nil if the segment is left out.
func (s *Store) heldFile(id uint64) *segmentFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.segments[id]
	if f != nil {
		f.retain()
	}
	return f
}
