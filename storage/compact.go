package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"path"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"wend/internal/seeded"
	"wend/storage/vfs"
)

// Flush writes the memtable as segments and drops the log. It is done by the
// append that fills the memtable, by the background, and by Close.
func (s *Store) Flush(ctx context.Context) error {
	return s.writes("flush", func() error {
		s.writing.Lock()
		defer s.writing.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.usable(true); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		s.recordAside()
		return s.flush(ctx)
	})
}

// flushFull flushes the memtable if it is full, and reports whether it was.
func (s *Store) flushFull(ctx context.Context) (full bool, err error) {
	s.mu.Lock()
	full = s.mem.fills(&s.opt, 1)
	s.mu.Unlock()
	if full {
		err = s.Flush(ctx)
	}
	return full, err
}

// flush is Flush for a caller that holds writing and mu. It gives mu back
// while it writes, so that appends and snapshots go on.
func (s *Store) flush(ctx context.Context) (err error) {
	defer func() {
		s.flushErr = err
		s.lookForRoom()
	}()
	if len(s.mem.batches) == 0 {
		return nil
	}
	if err := s.decide(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if s.wal != nil {
		// Nothing that may still fail is written as if it could not.
		if err := s.wal.sync(s.wal.lsn); err != nil {
			s.giveUp(s.wal)
			return fmt.Errorf("flush: %w", err)
		}
	}
	rows := newHistogram()
	for _, b := range s.mem.batches {
		b.visible = true
		rows.add(b.batch.Time)
	}
	frozen := s.mem
	first, last := frozen.batches[0].lsn, frozen.batches[len(frozen.batches)-1].lsn
	e := &edit{LSN: last, Received: int64(frozen.received)}
	for _, token := range slices.Sorted(maps.Keys(frozen.tokens)) {
		if seeded.On("tokens_dropped") {
			break
		}
		e.Tokens = append(e.Tokens, frozen.tokens[token].inFormat(s.state().format))
	}
	width := s.width(rows, e)
	s.closeLog()
	e.WAL = s.next // what is appended from now on goes to a log of this number, or a later one
	s.frozen, s.mem = frozen, newMemtable()
	logged := s.logged
	s.logged = math.MaxUint64
	meta := s.runMeta(first, last)

	s.mu.Unlock()
	var records []segmentRecord
	var files []*segmentFile
	err = s.writes("flush", func() (err error) { // mu is to be taken again whatever happens
		sources, err := s.sortFrozen()
		if err == nil {
			records, err = s.writeRun(ctx, sources, width, meta, s.lockedNumber, nil)
		}
		if err == nil {
			files, err = s.openWritten(records)
		}
		return err
	})
	s.mu.Lock()
	if err == nil {
		e.Add = records
		if seeded.On("log_removed_before_edit") {
			for _, w := range s.oldWAL {
				_ = s.fs.Remove(path.Join(s.dir, walName(w.number)))
			}
		}
		err = s.publishSegments(e, files)
	}
	s.frozen = nil
	if err != nil {
		s.abandoned = true
		s.mem, s.logged = frozen.with(s.mem), min(s.logged, logged) // in memory and in the log as before
		return fmt.Errorf("flush %d events: %w", frozen.rows, err)
	}
	s.removeOldLogs()
	s.nudge()
	return nil
}

// sortFrozen sorts the memtable that is being flushed, and gives equal times
// the tie ranks that they have in segments.
func (s *Store) sortFrozen() ([]*source, error) {
	s.sorting.Lock()
	defer s.sorting.Unlock()
	s.mu.Lock()
	p := s.frozen.pin(s, true)
	var all arrivals
	for _, b := range s.frozen.batches {
		all.add(b)
	}
	s.mu.Unlock()
	defer s.beginSort(p.fresh.rows)()
	if err := p.sort(s.opt.BlockCustomers, false); err != nil {
		return nil, err
	}
	s.keepSorted([]*pinnedBatches{p})
	ranks := all.tieRanks()
	sources := p.sources(s.opt.BlockCustomers)
	for i, src := range sources {
		sources[i] = newSource(src.seg.ranked(ranks))
	}
	return sources, nil
}

// closeLog ends the log file, which is synced; the next append begins another.
func (s *Store) closeLog() {
	if s.wal == nil {
		return
	}
	s.oldWAL = append(s.oldWAL, s.wal.extent())
	_ = s.wal.file.Close() // synced before
	s.wal = nil
}

// width is the store's partition width, chosen now if it has none.
func (s *Store) width(rows *histogram, e *edit) string {
	switch {
	case s.state().width != "":
		return s.state().width
	case len(rows.rows) == 0:
		return widthYear // nothing is written, so nothing is decided
	default:
		if e.Width = s.opt.Partition; e.Width == "" {
			e.Width = rows.width()
		}
		return e.Width
	}
}

// openWritten opens segments that are about to be published: once they are,
// nothing that can fail stands between them and the snapshots. On failure they
// are removed.
func (s *Store) openWritten(records []segmentRecord) (files []*segmentFile, err error) {
	if files, err = s.openKept(records...); err != nil {
		s.removeWritten(records)
		return nil, fmt.Errorf("open what was just written: %w", err)
	}
	return files, nil
}

// openKept opens segments and notes what of them is too old.
func (s *Store) openKept(records ...segmentRecord) (files []*segmentFile, err error) {
	for _, r := range records {
		f, err := s.openSegmentFile(r)
		if err == nil {
			files = append(files, f)
			if !seeded.On("put_back_too_old") {
				err = s.age(f) // a load may bring what is too old by now, a copy that is put back as well
			}
		}
		if err != nil {
			for _, f := range files {
				f.release()
			}
			return nil, fmt.Errorf("open segment %s: %w", r.file(), err)
		}
	}
	return files, nil
}

// removeWritten removes segments that no edit was written for.
func (s *Store) removeWritten(records []segmentRecord) {
	for _, r := range records {
		_ = s.fs.Remove(path.Join(s.dir, r.file())) // a leftover is removed at the next opening
	}
}

// publishSegments publishes an edit that adds segments. The caller holds
// writing and mu. If it fails the files stay, because the edit may be on the
// disk; the next edit that succeeds begins a file of the manifest that does not
// have it, and decides that they go.
func (s *Store) publishSegments(e *edit, files []*segmentFile) error {
	if err := s.publish(e); err != nil {
		for _, f := range files {
			f.release()
		}
		s.undecided = append(s.undecided, e.Add...)
		return err
	}
	for _, f := range files {
		s.segments[f.record.ID] = f
	}
	return nil
}

// runMeta is what files written now say about themselves. The caller holds mu.
func (s *Store) runMeta(first, last uint64) segmentMeta {
	imports := []string{""}
	for _, i := range s.state().imports {
		imports = append(imports, i.ID)
	}
	return segmentMeta{
		Store: s.state().store, FirstLSN: first, LastLSN: last,
		Events: s.catalog.events, Channels: s.catalog.channels, Imports: imports, Properties: s.catalog.properties,
		Erased: s.state().lastErasure(), Sparse: s.state().format >= 2,
	}
}

// writeRun merges sources of the store into files of one run, one set for
// each partition. What they are to hold is added to sum, if it is not nil.
func (s *Store) writeRun(ctx context.Context, sources []*source, width string, meta segmentMeta, number func() uint64, sum *mergeSum) ([]segmentRecord, error) {
	customers, err := countCustomers(sources)
	if err != nil {
		return nil, err
	}
	return s.writeBits(ctx, sources, prefixBits(customers, s.opt.BlockCustomers), width, meta, number, sum)
}

// writeBits is writeRun into blocks of so many prefix bits.
func (s *Store) writeBits(ctx context.Context, sources []*source, bits int, width string, meta segmentMeta, number func() uint64, sum *mergeSum) ([]segmentRecord, error) {
	m := &merger{width: width, properties: meta.Properties, workers: s.workers(), input: sum}
	want := int64(0)
	for _, src := range sources {
		lsn := src.lsn
		if seeded.On("arrival_order_lost") {
			lsn = ^lsn
		}
		m.sources = append(m.sources, &mergeSource{seg: src.seg, lsn: lsn, drop: src.drop, mask: src.mask, aged: src.aged})
		m.numbered = m.numbered || src.seg.held != nil
		m.bits = max(m.bits, src.seg.PrefixBits)
		want += src.seg.Rows - src.undone
	}
	m.bits = max(m.bits, bits)
	m.fine = m.bits
	out := s.newOutputs(meta, func(int64) int { return bits })
	records, err := out.write(ctx, m, number)
	if err != nil {
		return nil, err
	}
	got := int64(0)
	for _, r := range records {
		got += r.Rows
	}
	if got != want && !seeded.On("last_row_dropped") {
		out.discard()
		return nil, fmt.Errorf("the merge of %d segments has %d rows, expected %d", len(sources), got, want)
	}
	return records, nil
}

func (s *Store) workers() int { return runtime.GOMAXPROCS(0) }

// countCustomers estimates the different identities of sources, by counting
// which of many cells their hashes fall into (linear counting: Whang, Vander-Zanden
// and Taylor, 1990).
func countCustomers(sources []*source) (int64, error) {
	if len(sources) == 1 {
		return sources[0].seg.Customers, nil
	}
	sum := int64(0)
	for _, src := range sources {
		sum += src.seg.Customers
	}
	seen := newCounter(sum)
	for _, src := range sources {
		for b := range 1 << src.seg.PrefixBits {
			if src.seg.Stats(b).Rows == 0 {
				continue
			}
			if held := src.seg.inMemory(b); held != nil {
				for _, h := range held.names.hashes {
					seen.add(h)
				}
				continue
			}
			block, err := src.seg.Block(b)
			if err != nil {
				return 0, err
			}
			names, err := block.Names()
			if err != nil {
				return 0, err
			}
			for _, h := range hashesOf(names) {
				seen.add(h)
			}
		}
	}
	return seen.estimate(), nil
}

// counter estimates how many different hashes it was shown.
type counter struct {
	cells []uint64
	bits  int
}

// newCounter returns a counter for up to about most hashes.
func newCounter(most int64) *counter {
	width := 10
	for width < 24 && int64(1)<<width/2 < most {
		width++
	}
	return &counter{make([]uint64, 1<<width/64), width}
}

// add may be called by several goroutines at once.
func (c *counter) add(hash uint64) {
	cell := hash >> (64 - c.bits)
	if bit := uint64(1) << (cell & 63); atomic.LoadUint64(&c.cells[cell>>6])&bit == 0 {
		atomic.OrUint64(&c.cells[cell>>6], bit)
	}
}

func (c *counter) estimate() int64 {
	empty := 0
	for _, w := range c.cells {
		empty += bits.OnesCount64(^w)
	}
	cells := float64(uint64(1) << c.bits)
	return int64(math.Ceil(-cells * math.Log(max(float64(empty), 1)/cells)))
}

// flushBeside flushes the memtable when it is full, while the caller, who holds
// writing, merges: a merge of a year takes long, and what is appended meanwhile
// must not pile up in memory. What it writes is younger than all that is merged.
// The caller ends it before it publishes.
func (s *Store) flushBeside(ctx context.Context) (end func()) {
	if !s.opt.Background {
		return func() {}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-s.full:
			}
			err := s.writes("flush", func() error {
				s.mu.Lock()
				defer s.mu.Unlock()
				if err := s.usable(true); err != nil || !s.mem.fills(&s.opt, 1) {
					return err
				}
				return s.flush(ctx)
			})
			if err != nil {
				s.opt.Log.Warn("flush", "error", err) // the batches are in memory and in the log, as before
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// Sizes of compaction: a partition's youngest runs are merged as soon as
// enough of them are of similar size, so every event is rewritten a number of
// times that grows with the logarithm of the data.
const (
	tierRuns  = 8 // merge when so many runs of one partition ...
	tierRatio = 2 // ... each have at most so many times the rows of all that are younger
)

// runFiles is the files of one run of one partition.
type runFiles struct {
	partition   int64
	first, last uint64
	rows        int64
	files       []*segmentFile
	damaged     bool // a file of it is set aside
}

// runsByPartition lists the runs that may become one, oldest first: those of a
// partition. A run with a segment that is set aside parts the runs before it
// from those after it, and is left alone: should a sound copy come back, it
// has its place in the order of arrival. The caller holds mu.
func (s *Store) runsByPartition() [][]runFiles {
	records := slices.Clone(s.state().segments)
	for _, q := range s.state().quarantine {
		if q.Segment != nil && q.Erasure != neverBack {
			records = append(records, *q.Segment)
		}
	}
	slices.SortFunc(records, compareSegments) // in order of arrival
	by := map[int64][]runFiles{}
	for _, r := range records {
		f := s.segments[r.ID]
		list := by[r.Partition]
		if k := len(list) - 1; k < 0 || list[k].first != r.FirstLSN {
			list = append(list, runFiles{partition: r.Partition, first: r.FirstLSN, last: r.LastLSN})
		}
		last := &list[len(list)-1]
		last.rows += r.Rows
		last.damaged = last.damaged || f == nil
		last.files = append(last.files, f)
		by[r.Partition] = list
	}
	var all [][]runFiles
	for _, partition := range slices.Sorted(maps.Keys(by)) {
		for list := by[partition]; len(list) > 0; {
			n := slices.IndexFunc(list, func(r runFiles) bool { return r.damaged })
			if n < 0 {
				n = len(list)
			}
			if n > 0 {
				all = append(all, list[:n])
			}
			list = list[min(n+1, len(list)):]
		}
	}
	return all
}

// CompactStep does one piece of background work, the most urgent, and reports
// whether there was any.
func (s *Store) CompactStep(ctx context.Context) (worked bool, err error) {
	s.mu.Lock()
	if err := s.usable(true); err != nil {
		s.mu.Unlock()
		return false, fmt.Errorf("compact: %w", err)
	}
	s.mu.Unlock()
	full, failed := s.flushFull(ctx)
	if full && !vfs.TooManyOpen(failed) {
		return true, failed
	}
	// Where too many files are open, merging is what helps.
	worked, short, err := s.compactSome(ctx, func(runs []runFiles) []runFiles {
		rows := int64(0)
		take := 0
		for k := len(runs) - 1; k >= 0; k-- {
			if rows > 0 && runs[k].rows > tierRatio*rows {
				break
			}
			rows += runs[k].rows
			take++
		}
		if take < tierRuns {
			return nil
		}
		return runs[len(runs)-take:]
	})
	if err == nil && !worked {
		s.waits(short)
	}
	if worked && failed != nil {
		s.opt.Log.Warn("flush", "error", failed) // what is full is written by the next step
	} else if failed != nil {
		err = errors.Join(failed, err)
	}
	return worked, err
}

// Compact merges everything, so that each partition is one run, and drops
// the rows of undone imports. Partitions that the disk has no room for stay as
// they are, and are an error.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.Flush(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	for {
		worked, short, err := s.compactSome(ctx, func(runs []runFiles) []runFiles {
			if len(runs) > 1 || s.hasUndone(runs[0]) {
				return runs
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case short != nil && !worked:
			return fmt.Errorf("compact: %w: %v; free some and run it again; answers are the same until then", ErrFull, short)
		case !worked:
			return nil
		}
	}
}

// compactSome merges the first runs that choose picks from a partition and that
// the disk has room for; short is what the first lacks that it has none for.
// The merge itself holds no lock; appends and snapshots go on.
func (s *Store) compactSome(ctx context.Context, choose func([]runFiles) []runFiles) (worked bool, short *Shortage, err error) {
	err = s.writes("compact", func() error {
		worked, short, err = s.mergeSome(ctx, choose)
		return err
	})
	return worked, short, err
}

func (s *Store) mergeSome(ctx context.Context, choose func([]runFiles) []runFiles) (worked bool, short *Shortage, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if err := s.usable(true); err != nil {
		s.mu.Unlock()
		return false, nil, fmt.Errorf("compact: %w", err)
	}
	s.recordAside()
	var chosen []runFiles
	for _, runs := range s.runsByPartition() {
		if chosen = choose(runs); len(chosen) == 0 {
			continue
		}
		lacks, err := s.shortage(chosen)
		if err != nil {
			s.mu.Unlock()
			return false, nil, fmt.Errorf("compact: %w", err)
		}
		if lacks == nil {
			break
		}
		chosen, short = nil, cmp.Or(short, lacks)
	}
	if len(chosen) == 0 {
		s.mu.Unlock()
		return false, short, nil
	}
	var sources []*source
	var files []*segmentFile
	undone := s.undone()
	rows := int64(0)
	for _, r := range chosen {
		rows += r.rows
		for _, f := range r.files {
			f.retain()
			files = append(files, f)
			sources = append(sources, f.view(undone))
		}
	}
	meta, width := s.runMeta(chosen[0].first, chosen[len(chosen)-1].last), s.state().width
	s.mu.Unlock()
	defer func() {
		for _, f := range files {
			f.release()
		}
	}()

	begin := s.opt.Clock()
	var records []segmentRecord
	var written []*segmentFile
	func() {
		defer s.flushBeside(ctx)() // it ends also when the merge panics
		sum := &mergeSum{}
		if records, err = s.writeRun(ctx, sources, width, meta, s.lockedNumber, sum); err == nil {
			written, err = s.verify(records, sum)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.leaveOut(err) {
		s.recordAside()
		return true, short, nil // the others can be merged
	}
	if err != nil {
		return false, short, fmt.Errorf("compact %d segments: %w", len(files), err)
	}
	e := &edit{Add: records}
	for _, f := range files {
		e.Remove = append(e.Remove, f.record.ID)
	}
	if seeded.On("removed_before_edit") {
		for _, f := range files {
			_ = s.fs.Remove(f.path)
		}
	}
	if err := s.publishSegments(e, written); err != nil {
		return false, short, fmt.Errorf("compact %d segments: %w", len(files), err)
	}
	for _, f := range files {
		s.retire(f)
	}
	s.opt.Log.Info("compacted", "segments", len(files), "into", len(records), "rows", rows, "took", s.opt.Clock().Sub(begin).Round(time.Millisecond))
	return true, short, nil
}

// verify reads segments back before anything depends on them, and opens them.
// Their rows must be those that the merge read and did not drop.
func (s *Store) verify(records []segmentRecord, want *mergeSum) ([]*segmentFile, error) {
	var sum rowSum
	for _, r := range records {
		if err := s.verifySegment(r, &sum); err != nil {
			s.removeWritten(records)
			return nil, fmt.Errorf("verify %s: %w", r.file(), err)
		}
	}
	if sum != want.sum {
		s.removeWritten(records)
		return nil, fmt.Errorf("verify what was merged: the rows written have the sum %v, those read %v; nothing was changed, and this is a bug of wend", sum, want.sum)
	}
	return s.openWritten(records)
}

// verifySegment reads a segment whole and compares it with its record. Its rows
// are added to sum, if it is not nil.
func (s *Store) verifySegment(r segmentRecord, sum *rowSum) error {
	f, err := s.fs.Open(path.Join(s.dir, r.file()))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	return s.verifyFile(f, r, sum)
}

// sizedReader is what there is to be read of a file.
type sizedReader interface {
	io.ReaderAt
	Size() (int64, error)
}

// verifyFile is verifySegment of a file that is open.
func (s *Store) verifyFile(f sizedReader, r segmentRecord, sum *rowSum) error {
	if size, err := f.Size(); err != nil || size != r.Size {
		return errors.Join(err, fmt.Errorf("%w: it has %d bytes, the manifest says %d", ErrCorrupt, size, r.Size))
	}
	info, err := checkSegment(r.file(), f, r.Size, s.state().store, r.ID, sum)
	if err != nil {
		return err
	}
	if !r.is(info.Checksum, info.Hash) || info.Rows != r.Rows || info.Customers != r.Customers || info.MinTime != r.MinTime || info.MaxTime != r.MaxTime {
		return fmt.Errorf("%w: its checksum, counts or times are not those of the manifest", ErrCorrupt)
	}
	return nil
}

// undone lists import codes whose rows are left out; nil if there are none.
func (s *Store) undone() []bool {
	var list []bool
	for i, r := range s.state().imports {
		if r.Undone {
			if list == nil {
				list = make([]bool, len(s.state().imports)+1)
			}
			list[i+1] = true
		}
	}
	return list
}

func (s *Store) hasUndone(r runFiles) bool {
	undone := s.undone()
	return slices.ContainsFunc(r.files, func(f *segmentFile) bool { return f.view(undone).undone > 0 })
}
