package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wend/event"
	"wend/internal/seeded"
)

// LoadOptions describe a bulk load.
type LoadOptions struct {
	Source string // what it comes from, for people: a file's name
}

// rejectsKept is how many rejected rows of a load are told of by themselves: a
// file may be of nothing else.
const rejectsKept = 100

// LoadResult is what a bulk load did.
type LoadResult struct {
	ImportID   string // what Undo takes; empty if nothing new was stored
	Events     int64
	Customers  int64 // different ones among the events stored
	Duplicates int64
	Conflicts  int64 // ids that are stored already, with other content
	Suppressed int64 // events of customers who were erased, and are not to come back
	Rejected   int64
	Rejects    []Rejection // the first hundred; Index counts the rows of all batches added
}

// Reject counts a rejected row, and keeps it if it is among the first.
func (r *LoadResult) Reject(j Rejection) {
	r.Rejected++
	if len(r.Rejects) < rejectsKept {
		r.Rejects = append(r.Rejects, j)
	}
}

// Load is a bulk load: the rows of batches are dealt to buckets of customers,
// the buckets sorted and written one after the other, and the outcome becomes
// visible in one moment, or never. It takes memory for a few batches, for
// twice heldBytes of records, and for a few buckets, whatever the size of the load.
type Load struct {
	store   *Store
	source  string
	catalog *catalog     // the store's when the load began, and what is new in it
	refused *suppression // when the load began; nil: none
	oldest  event.Time   // the cutoff then
	dealing []*dealt     // batches that are not in buckets yet, in order
	added   int          // rows, but for those being dealt
	buckets *buckets
	writing chan error // the result of the spill at work; nil: none is
	rows    int64      // in buckets
	times   span
	months  *histogram
	seen    *counter // of one of seenOf customers
	ties    loadTies
	ids     bool // a row has one
	used    loadNames
	result  LoadResult
	done    bool
}

// seenMax: beyond so many customers, times seenOf, their number is a lower bound.
const seenMax = 1 << 22

// loadNames is which entries of the load's catalog its rows have.
type loadNames struct{ events, channels, properties map[int]bool }

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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.loads++
	return &Load{
		store: s, source: opt.Source, catalog: s.catalog.clone(), refused: s.suppression().copy(), oldest: s.state().cutoff(),
		buckets: newBuckets(s), months: newHistogram(), seen: newCounter(seenMax),
		used: loadNames{map[int]bool{}, map[int]bool{}, map[int]bool{}},
	}, nil
}

// Add takes a batch, which is the load's from now on. Call it from one
// goroutine. After an error, which may be of a batch before, the load can only
// be aborted.
func (l *Load) Add(b *event.Batch) error {
	if l.done {
		return fmt.Errorf("load %s: it has ended already", l.source)
	}
	l.startDealing(b)
	for len(l.dealing) > l.store.workers() {
		if err := l.take(); err != nil {
			return err
		}
	}
	return nil
}

// startDealing makes records of a batch while others are read.
func (l *Load) startDealing(b *event.Batch) {
	d := &dealt{batch: b, made: make(chan struct{})}
	l.dealing = append(l.dealing, d)
	go func() {
		defer close(d.made)
		d.err = l.store.writes("load", func() error {
			d.deal(l.seen)
			return nil
		})
	}()
}

// take puts the first of the batches being dealt into the buckets.
func (l *Load) take() error {
	d := l.dealing[0]
	l.dealing = l.dealing[1:]
	<-d.made
	if d.err != nil {
		return fmt.Errorf("load %s: %w", l.source, d.err)
	}
	check, first := newChecker(l.catalog, d.batch), l.added
	l.added += d.batch.Len()
	if !d.clean || d.rows > 0 && d.least < l.oldest || l.refused != nil || check.objects() {
		d = &dealt{batch: l.storable(check, first)}
		d.deal(l.seen)
	}
	if d.rows == 0 {
		return nil
	}
	batch := d.codesOf(l.catalog)
	l.note(d, batch)
	d.batch = nil
	l.buckets.add(d, batch)
	if !l.buckets.full() {
		return nil
	}
	if err := l.finishSpill(); err != nil {
		return err
	}
	l.startSpill()
	return nil
}

// storable returns a batch without the rows that cannot be stored; first is
// the number of its first row.
func (l *Load) storable(check *checker, first int) *event.Batch {
	b := check.batch
	keep := make([]int, 0, b.Len())
	for i := range b.Len() {
		reason := check.row(i)
		if reason == "" && b.Time[i] < l.oldest {
			reason = tooOld(l.oldest)
		}
		if reason == "" {
			keep = append(keep, i)
		} else {
			l.result.Reject(Rejection{first + i, reason})
		}
	}
	keep, refused := l.refused.without(b, keep)
	l.result.Suppressed += refused
	return selectRows(b, keep)
}

// note keeps what the end of the load asks of all rows.
func (l *Load) note(d *dealt, b *loadBatch) {
	l.rows += int64(d.rows)
	l.times = l.times.with(d.least, d.most)
	for m, n := range d.months.rows {
		l.months.rows[m] += n
	}
	l.ties.add(d, b)
	l.ids = l.ids || b.ids
	for i, yes := range d.events {
		if yes {
			l.used.events[int(b.events[i])] = true
		}
	}
	for i, yes := range d.channels {
		if yes {
			l.used.channels[int(b.channels[i])] = true
		}
	}
	for i, yes := range d.columns {
		if yes {
			l.used.properties[b.columns[i].property] = true
		}
	}
}

// startSpill writes the rows in memory to the file while others are dealt.
func (l *Load) startSpill() {
	batches := l.buckets.give()
	done := make(chan error, 1)
	l.writing = done
	go func() {
		done <- l.store.writes("load", func() error { return l.buckets.spill(batches) })
	}()
}

func (l *Load) finishSpill() error {
	if l.writing == nil {
		return nil
	}
	err := <-l.writing
	l.writing = nil
	if err != nil {
		return fmt.Errorf("load %s: write %d rows to a temporary file: %w", l.source, l.rows, err)
	}
	return nil
}

// settle waits until all batches are in the buckets.
func (l *Load) settle() error {
	for len(l.dealing) > 0 {
		if err := l.take(); err != nil {
			return err
		}
	}
	return l.finishSpill()
}

// Commit sorts what was added, leaves out what the store has already, and
// makes the rest visible and durable. Appends wait while it runs, queries do not.
func (l *Load) Commit(ctx context.Context) (LoadResult, error) {
	if l.done {
		return LoadResult{}, fmt.Errorf("load %s: it has ended already", l.source)
	}
	err := l.store.writes("load", func() error { return l.commit(ctx) })
	if e := l.Abort(); e != nil { // it removes the temporary file; a leftover is removed at the next opening
		l.store.opt.Log.Warn("load", "source", l.source, "error", e)
	}
	if err != nil {
		return LoadResult{}, fmt.Errorf("load %s: %w", l.source, err)
	}
	return l.result, nil
}

func (l *Load) commit(ctx context.Context) error {
	if err := l.settle(); err != nil || l.rows == 0 {
		return err
	}
	rows := &bucketSource{buckets: l.buckets, ties: &l.ties, ids: l.ids}
	if err := rows.findTies(ctx, l.rows); err != nil {
		return err
	}
	s := l.store
	s.writing.Lock()
	defer s.writing.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()

	s.mu.Lock()
	err := s.decide()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	merge, records, files, err := l.merge(ctx, rows)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.abandoned = true
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.result.Events == 0 {
		return s.settle()
	}
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
		s.catalog, s.abandoned = before, true
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
func (l *Load) merge(ctx context.Context, rows *bucketSource) (*loadMerge, []segmentRecord, []*segmentFile, error) {
	s := l.store
	for {
		merge, err := func() (*loadMerge, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return l.prepare(ctx, rows)
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
func (l *Load) prepare(ctx context.Context, rows *bucketSource) (*loadMerge, error) {
	s := l.store
	if err := s.usable(true); err != nil {
		return nil, err
	}
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	m := &loadMerge{catalog: s.catalog.clone(), edit: &edit{LSN: s.lsn + 1}, duplicates: &loadDuplicates{}}
	for m.id == "" || slices.ContainsFunc(s.state().imports, func(r importRecord) bool { return r.ID == m.id }) {
		m.id = fmt.Sprintf("%08x", s.opt.Rand.Uint32())
	}
	// Only what the load's own rows carry: the rest was the store's when the load
	// began, and an erasure may have taken it out since.
	for i, p := range l.catalog.properties {
		if !l.used.properties[i] {
			continue
		}
		if reason := m.catalog.accepts(p.Name, p.Type); reason != "" {
			return nil, fmt.Errorf("%s: its type was set by events that arrived during the load; load the file again", reason)
		}
		m.catalog.property(p.Name, p.Type)
	}
	codes := func(names []string, used map[int]bool, code func(string) uint32) []uint32 {
		list := make([]uint32, len(names))
		for i, n := range names {
			if used[i] {
				list[i] = code(n)
			}
		}
		return list
	}
	rows.events, rows.channels = codes(l.catalog.events, l.used.events, m.catalog.event), codes(l.catalog.channels, l.used.channels, m.catalog.channel)
	rows.properties = make([]int, len(l.catalog.properties))
	for i, p := range l.catalog.properties {
		if l.used.properties[i] {
			rows.properties[i] = m.catalog.propertyCode[p.Name]
		}
	}
	rows.imported = uint32(len(s.state().imports) + 1)
	rows.lsn = m.edit.LSN
	rows.hasher = newRowHasher(&segmentMeta{Events: m.catalog.events, Channels: m.catalog.channels, Imports: []string{""}, Properties: m.catalog.properties}, m.catalog.properties)
	rows.hasher.imported = fold(customerHash(m.id), importSeed)

	width := s.width(l.months, m.edit)
	m.merger = &merger{load: rows, width: width, properties: m.catalog.properties, workers: s.workers(), duplicates: m.duplicates.customer, input: &mergeSum{}}
	m.duplicates.refused = s.suppression().copy() // somebody may have been erased since the load began
	undone := s.undone()
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue // damaged: what is stored there cannot be known, and loading it again brings it back
		}
		// An id may be stored under any time, a row without one only under its own.
		if !l.ids && !l.times.overlaps(span{r.MinTime, r.MaxTime, true}) {
			continue
		}
		f.retain()
		m.held = append(m.held, f)
		m.merger.sources = append(m.merger.sources, &mergeSource{seg: f.seg, lsn: f.lsn, only: true, drop: f.view(undone).drop, mask: f.mask, aged: f.aged})
	}
	customers, perPartition := seenOf*l.seen.estimate(), l.months.by(width)
	bits := func(partition int64) int {
		return prefixBits(min(customers, perPartition[partition]), s.opt.BlockCustomers)
	}
	m.merger.bits = prefixBits(customers, s.opt.BlockCustomers)
	m.merger.fine = m.merger.bits
	rows.chooseFinest(m.merger.bits)
	if m.merger.allNew = len(m.merger.sources) == 0 && !l.ids && m.duplicates.refused == nil; m.merger.allNew {
		m.merger.bits = min(m.merger.bits, rows.finest)
	}
	imports := []string{""}
	for _, i := range s.state().imports {
		imports = append(imports, i.ID)
	}
	m.outputs = s.newOutputs(segmentMeta{
		Store: s.state().store, FirstLSN: m.edit.LSN, LastLSN: m.edit.LSN,
		Events: m.catalog.events, Channels: m.catalog.channels, Imports: append(imports, m.id), Properties: m.catalog.properties,
		Erased: s.state().lastErasure(), Sparse: s.state().format >= 2,
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
	l.store.mu.Lock()
	l.store.loads--
	l.store.mu.Unlock()
	return l.store.writes("end a load", l.remove)
}

// remove removes the temporary file.
func (l *Load) remove() error {
	for _, d := range l.dealing {
		<-d.made
	}
	_ = l.finishSpill() // whatever was written goes
	return l.buckets.remove()
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
	for _, r := range s.state().imports {
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
	i := slices.IndexFunc(s.state().imports, func(r importRecord) bool { return r.ID == importID })
	if i < 0 {
		var known []string
		for _, r := range s.state().imports {
			known = append(known, r.ID)
		}
		if len(known) == 0 {
			known = []string{"none"}
		}
		return 0, fmt.Errorf("undo import %q: %w; imports are: %s", importID, ErrNotFound, strings.Join(known, ", "))
	}
	r := s.state().imports[i]
	if r.Undone {
		return 0, fmt.Errorf("undo import %q: it is undone already", importID)
	}
	events = s.shownOf(i + 1)
	if err := s.publish(&edit{Epoch: s.nextEpoch(), Undo: []string{importID}}); err != nil {
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
