package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// LoadOptions describe a bulk load.
type LoadOptions struct {
	Source string // what it comes from, for people: a file's name
}

// LoadResult is what a bulk load did. Index of a rejection counts the rows of
// all batches added.
type LoadResult struct {
	ImportID   string // what Undo takes; empty if nothing new was stored
	Events     int64
	Customers  int64 // different ones among the events stored
	Duplicates int64
	Conflicts  int64 // ids that are stored already, with other content
	Suppressed int64 // events of customers who were erased, and are not to come back
	Rejected   []Rejection
}

// Load is a bulk load: batches are sorted a chunk at a time, the chunks
// merged, and the outcome becomes visible in one moment, or never. It takes
// memory for two chunks, whatever the size of the load.
type Load struct {
	store   *Store
	source  string
	id      [16]byte // the store's
	catalog *catalog // the store's when the load began, and what is new in it
	chunk   arrivals
	bytes   int
	added   int
	months  *histogram
	refused *suppression // when the load began; nil: none
	oldest  event.Time   // the cutoff then
	runs    []*loadRun
	spill   chan error // the result of the chunk being written; nil: none is
	result  LoadResult
	done    bool
}

// loadRun is a sorted chunk, in a temporary file.
type loadRun struct {
	*source
	name string
	file vfs.File
	ids  bool
}

// chunkBytes bounds a chunk of long texts, whatever its rows.
const chunkBytes = 192 << 20

// NewLoad begins a bulk load.
func (s *Store) NewLoad(ctx context.Context, opt LoadOptions) (*Load, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.usable(true)
	if err == nil {
		err = s.room()
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", opt.Source, err)
	}
	return &Load{store: s, source: opt.Source, id: s.state.store, catalog: s.catalog.clone(), months: newHistogram(), refused: s.suppression().copy(), oldest: s.state.cutoff()}, ctx.Err()
}

// Add takes a batch, which is the load's from now on. Call it from one
// goroutine. After an error the load can only be aborted.
func (l *Load) Add(b *event.Batch) error {
	if l.done {
		return fmt.Errorf("load %s: it has ended already", l.source)
	}
	check := newChecker(l.catalog, b)
	var keep []int
	for i := range b.Len() {
		reason := check.row(i)
		if reason == "" && b.Time[i] < l.oldest {
			reason = tooOld(l.oldest)
		}
		if reason == "" {
			if keep != nil {
				keep = append(keep, i)
			}
			continue
		}
		if keep == nil {
			keep = make([]int, i, b.Len())
			for k := range keep {
				keep[k] = k
			}
		}
		l.result.Rejected = append(l.result.Rejected, Rejection{l.added + i, reason})
	}
	l.added += b.Len()
	if l.refused != nil {
		if keep == nil {
			keep = make([]int, b.Len())
			for k := range keep {
				keep[k] = k
			}
		}
		var refused int64
		keep, refused = l.refused.without(b, keep)
		l.result.Suppressed += refused
		if keep == nil {
			keep = []int{}
		}
	}
	if keep != nil {
		b = selectRows(b, keep)
	}
	if b.Len() == 0 {
		return nil
	}
	l.months.add(b.Time)
	l.bytes += batchBytes(b)
	l.chunk.add(l.catalog.encode(b))
	if l.chunk.rows < l.store.opt.ChunkRows && l.bytes < chunkBytes {
		return nil
	}
	if err := l.finishSpill(); err != nil {
		return err
	}
	l.startSpill()
	return nil
}

func batchBytes(b *event.Batch) int {
	n := 64 * b.Len()
	for _, c := range b.Customer {
		n += len(c)
	}
	for _, id := range b.ID {
		n += 16 + len(id)
	}
	for i := range b.Columns {
		n += 8*(len(b.Columns[i].Ints)+len(b.Columns[i].Floats)) + len(b.Columns[i].Present)
		for _, t := range b.Columns[i].Texts {
			n += 16 + len(t)
		}
	}
	return n
}

// startSpill sorts and writes the chunk while the next one fills.
func (l *Load) startSpill() {
	chunk, meta := l.chunk, l.meta()
	l.chunk, l.bytes = arrivals{}, 0
	done := make(chan error, 1)
	l.spill = done
	go func() {
		done <- l.store.writes("load", func() error { return l.write(&chunk, meta) })
	}()
}

func (l *Load) finishSpill() error {
	if l.spill == nil {
		return nil
	}
	err := <-l.spill
	l.spill = nil
	if err != nil {
		return fmt.Errorf("load %s: sort %d rows: %w", l.source, l.added, err)
	}
	return nil
}

func (l *Load) meta() segmentMeta {
	return segmentMeta{
		Store: l.id, FirstLSN: uint64(len(l.runs) + 1), LastLSN: uint64(len(l.runs) + 1),
		Events: l.catalog.events, Channels: l.catalog.channels, Imports: []string{""}, Properties: l.catalog.properties,
	}
}

// write sorts a chunk into a temporary file.
func (l *Load) write(chunk *arrivals, meta segmentMeta) error {
	s := l.store
	s.mu.Lock()
	id := s.number()
	run := &loadRun{name: path.Join(s.dir, fmt.Sprintf("%06d.run", id))}
	s.spilled[path.Base(run.name)] = true
	s.mu.Unlock()
	for _, b := range chunk.batches {
		run.ids = run.ids || slices.ContainsFunc(b.batch.ID, func(id string) bool { return id != "" })
	}
	w, err := s.fs.Create(run.name)
	if err != nil {
		return err
	}
	l.runs = append(l.runs, run)
	meta.ID = id
	buffer := newFileBuffer(w)
	var drop func([]rowRef) int
	if run.ids {
		drop = func(refs []rowRef) int { return l.dropRepeated(chunk, refs) }
	}
	info, err := chunk.write(buffer, meta, s.opt.BlockCustomers, drop)
	if err == nil {
		err = buffer.Flush()
	}
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if run.file, err = s.fs.Open(run.name); err != nil {
		return err
	}
	seg, err := openSegment(path.Base(run.name), run.file, info.Size, meta.Store, id)
	if err != nil {
		return err
	}
	run.source = newSource(seg)
	return nil
}

// dropRepeated leaves out a customer's rows whose id stands earlier in the chunk.
func (l *Load) dropRepeated(chunk *arrivals, refs []rowRef) (kept int) {
	if len(refs) == 1 {
		return 1
	}
	earlier := func(a, b rowRef) bool { return a.batch < b.batch || a.batch == b.batch && a.row < b.row }
	first := make(map[string]rowRef, len(refs))
	for _, r := range refs {
		if id := chunk.id(r); id != "" {
			if f, ok := first[id]; !ok || earlier(r, f) {
				first[id] = r
			}
		}
	}
	for _, r := range refs {
		f, ok := first[chunk.id(r)]
		switch {
		case !ok || f == r:
			refs[kept] = r
			kept++
		case sameContent(chunk.event(f), chunk.event(r)):
			l.result.Duplicates++
		default:
			l.result.Conflicts++
		}
	}
	return kept
}

// Commit merges what was added, leaves out what the store has already, and
// makes the rest visible and durable. Appends wait while it runs, queries do not.
func (l *Load) Commit(ctx context.Context) (LoadResult, error) {
	if l.done {
		return LoadResult{}, fmt.Errorf("load %s: it has ended already", l.source)
	}
	err := l.store.writes("load", func() error { return l.commit(ctx) })
	if e := l.Abort(); e != nil { // it removes the temporary files; a leftover is removed at the next opening
		l.store.opt.Log.Warn("load", "source", l.source, "error", e)
	}
	if err != nil {
		return LoadResult{}, fmt.Errorf("load %s: %w", l.source, err)
	}
	return l.result, nil
}

func (l *Load) commit(ctx context.Context) error {
	if err := l.finishSpill(); err != nil {
		return err
	}
	if l.chunk.rows > 0 {
		l.startSpill()
		if err := l.finishSpill(); err != nil {
			return err
		}
	}
	if len(l.runs) == 0 {
		return nil
	}
	s := l.store
	s.writing.Lock()
	defer s.writing.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()

	merge, records, files, err := l.merge(ctx)
	if err != nil {
		return err
	}
	defer merge.release()
	l.result.Duplicates += merge.duplicates.same.Load()
	l.result.Conflicts += merge.duplicates.other.Load()
	l.result.Suppressed += merge.duplicates.suppressed.Load()
	l.result.Customers = merge.merger.customers.Load()
	for _, r := range records {
		l.result.Events += r.Rows
	}
	if l.result.Events == 0 {
		return nil
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.catalog
	s.catalog = merge.catalog
	// The number is used up whatever becomes of the edit: an edit that failed
	// may be found after a crash, and then hides the log's batches up to it.
	s.lsn = merge.edit.LSN
	now := s.now()
	merge.edit.Add = records
	merge.edit.Imports = []importRecord{{ID: merge.id, Source: l.source, At: now, Events: l.result.Events}}
	merge.edit.Received = int64(now)
	if err := s.publishSegments(merge.edit, files); err != nil {
		s.catalog = before
		if seeded.On("number_given_twice") {
			s.lsn--
		}
		return err
	}
	l.result.ImportID = merge.id
	s.nudge()
	return nil
}

// merge writes what the store has not yet to segments. Stored segments that
// turn out to be damaged are set aside, and it begins anew.
func (l *Load) merge(ctx context.Context) (*loadMerge, []segmentRecord, []*segmentFile, error) {
	s := l.store
	for {
		merge, err := func() (*loadMerge, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return l.prepare(ctx)
		}()
		if err != nil {
			return nil, nil, nil, err
		}
		records, err := merge.outputs.write(ctx, merge.merger, s.lockedNumber)
		var files []*segmentFile
		if err == nil {
			files, err = s.verify(records, merge.merger.input)
		}
		if err == nil {
			return merge, records, files, nil
		}
		merge.release()
		s.mu.Lock()
		again := s.leaveOut(err)
		s.recordAside()
		s.mu.Unlock()
		if !again {
			return nil, nil, nil, err
		}
	}
}

// loadMerge is all that the end of a load needs of the store.
type loadMerge struct {
	id         string
	catalog    *catalog
	edit       *edit
	merger     *merger
	outputs    *outputs
	duplicates *loadDuplicates
	held       []*segmentFile
}

func (m *loadMerge) release() {
	for _, f := range m.held {
		f.release()
	}
}

// prepare lays out the merge. The caller holds writing, appending and mu.
func (l *Load) prepare(ctx context.Context) (*loadMerge, error) {
	s := l.store
	if err := s.usable(true); err != nil {
		return nil, err
	}
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	m := &loadMerge{catalog: s.catalog.clone(), edit: &edit{LSN: s.lsn + 1}, duplicates: &loadDuplicates{}}
	for m.id == "" || slices.ContainsFunc(s.state.imports, func(r importRecord) bool { return r.ID == m.id }) {
		m.id = fmt.Sprintf("%08x", s.opt.Rand.Uint32())
	}
	// Only what the load's own rows carry: the rest was the store's when the load
	// began, and an erasure may have taken it out since.
	usedEvents, usedChannels, usedProperties := make([]bool, len(l.catalog.events)), make([]bool, len(l.catalog.channels)), make([]bool, len(l.catalog.properties))
	mark := func(used []bool, counts []int64) {
		for code, n := range counts {
			used[code] = used[code] || n > 0
		}
	}
	for _, r := range l.runs {
		mark(usedEvents, r.seg.EventCounts)
		mark(usedChannels, r.seg.ChannelCounts)
		mark(usedProperties, r.seg.ValueCounts)
	}
	for i, p := range l.catalog.properties {
		if !usedProperties[i] {
			continue
		}
		if reason := m.catalog.accepts(p.Name, p.Type); reason != "" {
			return nil, fmt.Errorf("%s: its type was set by events that arrived during the load; load the file again", reason)
		}
		m.catalog.property(p.Name, p.Type)
	}
	codes := func(names []string, used []bool, code func(string) uint32) []uint32 {
		list := make([]uint32, len(names))
		for i, n := range names {
			if used[i] {
				list[i] = code(n)
			}
		}
		return list
	}
	events, channels := codes(l.catalog.events, usedEvents, m.catalog.event), codes(l.catalog.channels, usedChannels, m.catalog.channel)
	properties := make([]int, len(l.catalog.properties))
	for i, p := range l.catalog.properties {
		if usedProperties[i] {
			properties[i] = m.catalog.propertyCode[p.Name]
		}
	}

	width := s.width(l.months, m.edit)
	m.merger = &merger{width: width, properties: m.catalog.properties, workers: s.workers(), duplicates: m.duplicates.customer, input: &mergeSum{}}
	m.duplicates.refused = s.suppression().copy() // somebody may have been erased since the load began
	code := uint32(len(s.state.imports) + 1)
	var times span
	ids := false
	var sources []*source
	for i, r := range l.runs {
		times = times.with(r.seg.MinTime, r.seg.MaxTime)
		ids = ids || r.ids
		sources = append(sources, r.source)
		m.merger.sources = append(m.merger.sources, &mergeSource{seg: r.seg, lsn: uint64(i + 1), events: events, channels: channels, properties: properties, imported: code, importHash: fold(customerHash(m.id), importSeed)})
		m.merger.bits = max(m.merger.bits, r.seg.PrefixBits)
	}
	undone := s.undone()
	for _, r := range s.state.segments {
		f := s.segments[r.ID]
		if f == nil {
			continue // damaged: what is stored there cannot be known, and loading it again brings it back
		}
		// An id may be stored under any time, a row without one only under its own.
		if !ids && !times.overlaps(span{r.MinTime, r.MaxTime, true}) {
			continue
		}
		f.retain()
		m.held = append(m.held, f)
		m.merger.sources = append(m.merger.sources, &mergeSource{seg: f.seg, lsn: f.lsn, only: true, drop: f.view(undone).drop, mask: f.mask, aged: f.aged})
	}
	customers, err := countCustomers(sources)
	if err != nil {
		m.release()
		return nil, err
	}
	rows := l.months.by(width)
	bits := func(partition int64) int {
		return prefixBits(min(customers, rows[partition]), s.opt.BlockCustomers)
	}
	m.merger.bits = max(m.merger.bits, prefixBits(customers, s.opt.BlockCustomers))
	imports := []string{""}
	for _, i := range s.state.imports {
		imports = append(imports, i.ID)
	}
	m.outputs = s.newOutputs(segmentMeta{
		Store: s.state.store, FirstLSN: m.edit.LSN, LastLSN: m.edit.LSN,
		Events: m.catalog.events, Channels: m.catalog.channels, Imports: append(imports, m.id), Properties: m.catalog.properties,
		Erased: s.state.lastErasure(), Sparse: s.state.format >= 2,
	}, bits)
	return m, nil
}

// lockedNumber gives out a file number to a caller without mu.
func (s *Store) lockedNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number()
}

// Abort ends the load. Nothing of it stays, unless Commit succeeded.
func (l *Load) Abort() error {
	if l.done {
		return nil
	}
	l.done = true
	return l.store.writes("end a load", l.remove)
}

// remove removes the temporary files.
func (l *Load) remove() error {
	_ = l.finishSpill() // whatever was written goes
	l.chunk = arrivals{}
	var errs []error
	for _, r := range l.runs {
		if r.file != nil {
			_ = r.file.Close() // only read from
		}
		errs = append(errs, l.store.fs.Remove(r.name))
		l.store.mu.Lock()
		delete(l.store.spilled, path.Base(r.name))
		l.store.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Import is one bulk load that the store holds, or held.
type Import struct {
	ID     string    `json:"id"`
	Source string    `json:"source"`
	At     time.Time `json:"at"`
	Events int64     `json:"events"`
	Undone bool      `json:"undone"`
}

// Imports lists the bulk loads, oldest first.
func (s *Store) Imports() []Import {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Import
	for _, r := range s.state.imports {
		list = append(list, Import{r.ID, r.Source, r.At.Std(), r.Events, r.Undone})
	}
	return list
}

// Undo takes one import back: from now on no snapshot shows its events, and
// the same file can be loaded again. Compaction drops the rows. It returns how
// many events disappear: those that were erased or were too old are gone before.
func (s *Store) Undo(ctx context.Context, importID string) (events int64, err error) {
	err = s.removing(func() error {
		events, err = s.undo(ctx, importID)
		return err
	})
	return events, err
}

func (s *Store) undo(ctx context.Context, importID string) (events int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return 0, fmt.Errorf("undo import %q: %w", importID, err)
	}
	i := slices.IndexFunc(s.state.imports, func(r importRecord) bool { return r.ID == importID })
	if i < 0 {
		var known []string
		for _, r := range s.state.imports {
			known = append(known, r.ID)
		}
		if len(known) == 0 {
			known = []string{"none"}
		}
		return 0, fmt.Errorf("undo import %q: %w; imports are: %s", importID, ErrNotFound, strings.Join(known, ", "))
	}
	r := s.state.imports[i]
	if r.Undone {
		return 0, fmt.Errorf("undo import %q: it is undone already", importID)
	}
	events = s.shownOf(i + 1)
	if err := s.publish(&edit{Epoch: s.state.epoch + 1, Undo: []string{importID}}); err != nil {
		return 0, fmt.Errorf("undo import %q: %w", importID, err)
	}
	return events, nil
}

// shownOf counts the events of an import that snapshots show. The caller holds mu.
func (s *Store) shownOf(code int) (events int64) {
	of := func(counts []int64) int64 {
		if code < len(counts) {
			return counts[code]
		}
		return 0
	}
	for _, f := range s.segments {
		events += of(f.seg.ImportCounts)
		if f.mask != nil {
			events -= of(f.mask.imports)
		}
		if f.aged != nil {
			events -= of(f.aged.imports)
		}
	}
	return events
}
