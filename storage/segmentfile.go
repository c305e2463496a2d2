package storage

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"sync/atomic"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
	"wend/tile"
)

// handles counts opened segments in this process: a cache key's part that is never used twice.
var handles atomic.Uint64

// source is a segment as a snapshot sees it, in a file or in memory.
type source struct {
	seg    *segment
	handle uint64
	lsn    uint64 // FirstLSN
	drop   []bool // undone import codes, if rows here have one; nil: none
	undone int64  // rows that are left out
	mask   *mask  // rows of erased identities; nil: none
	aged   *aged  // rows before the store's cutoff; nil: none
	drops  int    // how many undone imports have rows here; with handle names the state of the rows
}

func newSource(seg *segment) *source {
	return &source{seg: seg, handle: handles.Add(1), lsn: seg.FirstLSN}
}

// without returns the source with undone imports left out.
func (s source) without(undone []bool) *source {
	for code, n := range s.seg.ImportCounts {
		if n > 0 && code < len(undone) && undone[code] {
			if s.drop == nil {
				s.drop = make([]bool, len(s.seg.Imports))
			}
			s.drop[code] = true
			s.undone += n
			s.drops++
		}
	}
	return &s
}

// segmentFile is an open segment file. It is closed when the last snapshot
// that may read it is gone, and then removed if no manifest names it.
type segmentFile struct {
	source
	record   segmentRecord
	fs       vfs.FS
	path     string
	file     *vfs.PoolFile
	refs     atomic.Int32
	obsolete atomic.Bool
	ids      rowFilter // of the rows' ids
	bare     rowFilter // of customer and time of the rows without
	mask     *mask     // guarded by Store.mu; it hides source.mask, which only views have
	maskedTo uint64    // the number of the erasure that mask knows of, ...
	maskedBy string    // and its ID: a number may be another's after an edit that failed
	aged     *aged     // guarded like mask, and hides source.aged
	agedTo   event.Time
	agedBy   *mask // aged is of this cutoff and this mask
}

// reopened is a segment's file for reading. Where it is missing when the pool
// opens it again, it is damaged, as long as the rest of the store is there: a
// disk that is not mounted comes back with all that is on it.
type reopened struct {
	*vfs.PoolFile
	store *Store
}

// ReadAt implements io.ReaderAt.
func (f reopened) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.PoolFile.ReadAt(p, off)
	if isNotExist(err) {
		if st, e := f.store.onDisk(); e == nil && st.store == f.store.state().store {
			err = fmt.Errorf("%w: the file is missing: %w", ErrCorrupt, err)
		}
	}
	return n, err
}

func (s *Store) openSegmentFile(r segmentRecord) (*segmentFile, error) {
	name := path.Join(s.dir, r.file())
	f, err := s.open.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size != r.Size {
		err = fmt.Errorf("%w: %s has %d bytes, the manifest says %d", ErrCorrupt, r.file(), size, r.Size)
	}
	var seg *segment
	if err == nil {
		seg, err = openSegment(r.file(), reopened{f, s}, r.Size, s.state().store, r.ID)
	}
	if err == nil && seg.Salt != r.Salt {
		err = corrupt("open segment %s: it is another file of this number, not the one that the manifest names", r.file())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	file := &segmentFile{source: *newSource(seg), record: r, fs: s.fs, path: name, file: f, agedTo: math.MinInt64}
	file.refs.Store(1)
	return file, nil
}

func (f *segmentFile) retain() { f.refs.Add(1) }

func (f *segmentFile) release() {
	if f.refs.Add(-1) > 0 && !(seeded.On("unpinned_early") && f.obsolete.Load()) {
		return
	}
	f.file.Close()
	if f.obsolete.Load() {
		_ = f.fs.Remove(f.path) // a leftover is removed at the next opening
	}
}

func newFileBuffer(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 256<<10) }

// segmentOutput writes segment files, unpublished, one run of a partition:
// a new file begins whenever one has enough rows.
type segmentOutput struct {
	all       *outputs
	store     *Store
	meta      segmentMeta // without ID
	partition int64
	perFile   int64
	number    func() uint64
	next      segmentMeta // of the file that is to begin; without ID: it has none yet

	waiting      []*rowBlock // rows of block waitingBlock, from finer prefixes of a merge
	waitingBlock int

	held      []heldBlock // blocks without a file
	heldRows  int64
	heldBytes int64

	file   vfs.File
	name   string
	buffer *bufio.Writer
	writer *segmentWriter
	rows   int64
	done   []segmentRecord
}

// add takes the rows of prefix p of prefixBits bits; prefixes rise.
func (o *segmentOutput) add(p, prefixBits int, rows *rowBlock) error {
	b := p >> (prefixBits - o.meta.PrefixBits)
	if b != o.waitingBlock {
		if err := o.writeBlock(); err != nil {
			return err
		}
		o.waitingBlock = b
	}
	o.waiting = append(o.waiting, rows)
	return nil
}

func (o *segmentOutput) writeBlock() error {
	if len(o.waiting) == 0 {
		return nil
	}
	rows := concat(o.waiting, o.meta.Properties)
	o.waiting = o.waiting[:0]
	if o.writer != nil {
		return o.write(heldBlock{o.waitingBlock, rows})
	}
	o.drawNext()
	o.hold(heldBlock{o.waitingBlock, rows})
	if o.heldRows > o.store.opt.thinRows() && len(o.all.open) < o.store.opt.outputsOpen() {
		return o.writeHeld()
	}
	return o.all.relieve()
}

// write writes a block to the file, or to the next if that has enough rows.
func (o *segmentOutput) write(b heldBlock) error {
	if o.writer != nil && o.rows >= o.perFile {
		if err := o.finish(); err != nil {
			return err
		}
	}
	if o.writer == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	o.rows += int64(len(b.rows.Time))
	return o.writer.AddBlock(b.block, b.rows)
}

// drawNext names the next file. Files are numbered in the order in which they
// have rows, whenever these are written.
func (o *segmentOutput) drawNext() {
	if o.next.ID != 0 {
		return
	}
	o.next = o.meta
	o.next.ID = o.number()
	if o.next.Sparse {
		o.next.Salt = o.store.salt()
	}
}

func (o *segmentOutput) begin() error {
	o.drawNext()
	meta := o.next
	o.next.ID = 0
	o.name = path.Join(o.store.dir, segmentRecord{ID: meta.ID}.file())
	var err error
	if o.file, err = o.store.fs.Create(o.name + ".tmp"); err != nil {
		return err
	}
	o.all.open = append(o.all.open, o)
	if o.buffer, o.all.spare = o.all.spare, nil; o.buffer == nil {
		o.buffer = newFileBuffer(nil)
	}
	o.buffer.Reset(o.file)
	o.rows = 0
	o.done = append(o.done, segmentRecord{ID: meta.ID, FirstLSN: meta.FirstLSN, LastLSN: meta.LastLSN, Partition: o.partition, Erased: meta.Erased, Salt: meta.Salt})
	o.writer, err = newSegmentWriter(o.buffer, meta)
	return err
}

// finish makes the current file durable under its name. The name itself is
// durable after the directory is synced, which the caller does once.
func (o *segmentOutput) finish() error {
	if o.writer == nil {
		return nil
	}
	o.all.open = slices.DeleteFunc(o.all.open, func(other *segmentOutput) bool { return other == o })
	info, err := o.writer.Finish()
	if err == nil {
		err = o.buffer.Flush()
	}
	if err == nil && !seeded.On("segment_not_synced") {
		err = o.file.Sync()
	}
	if e := o.file.Close(); err == nil {
		err = e
	}
	o.all.spare = o.buffer
	o.writer, o.file, o.buffer = nil, nil, nil
	if err == nil && info.Rows != o.rows {
		err = fmt.Errorf("segment writer counts %d rows of %d", info.Rows, o.rows)
	}
	if err == nil {
		err = o.store.fs.Rename(o.name+".tmp", o.name)
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", path.Base(o.name), err)
	}
	r := &o.done[len(o.done)-1]
	if o.meta.Sparse {
		r.Hash = info.Hash
	}
	r.Size, r.Checksum, r.Rows, r.Customers, r.MinTime, r.MaxTime = info.Size, info.Checksum, info.Rows, info.Customers, info.MinTime, info.MaxTime
	return nil
}

// discard removes what was written.
func (o *segmentOutput) discard() {
	if o.file != nil {
		_ = o.file.Close() // the file goes anyway
	}
	for _, r := range o.done {
		name := path.Join(o.store.dir, r.file())
		_ = o.store.fs.Remove(name + ".tmp") // leftovers are removed at the next opening
		_ = o.store.fs.Remove(name)
	}
}

// concat joins blocks of rising customers into one.
func concat(list []*rowBlock, properties []event.Property) *rowBlock {
	if len(list) == 1 {
		return list[0]
	}
	var all pieces
	var names texts
	var starts []uint32
	for i, b := range list {
		for c := range b.Names.Len() {
			names.add(b.Names.At(c))
			starts = append(starts, uint32(all.rows)+b.Starts[c])
		}
		all.add(uint32(i), 0, uint32(len(b.Time)))
	}
	out := gatherBlock(&all, list, properties)
	out.Names = names.done()
	out.Starts = append(starts, uint32(all.rows))
	return out
}

// outputs writes a merge's rows to one run of files for every time partition.
type outputs struct {
	store *Store
	meta  segmentMeta
	bits  func(partition int64) int
	by    map[int64]*segmentOutput
	order []*segmentOutput // by their first rows
	open  []*segmentOutput // those that have a file
	held  int64            // bytes of the rows of the others
	spare *bufio.Writer    // of a file that is finished
}

func (s *Store) newOutputs(meta segmentMeta, bits func(partition int64) int) *outputs {
	return &outputs{store: s, meta: meta, bits: bits, by: map[int64]*segmentOutput{}}
}

// write runs the merge. number gives out file numbers. On failure nothing is left.
func (o *outputs) write(ctx context.Context, m *merger, number func() uint64) (records []segmentRecord, err error) {
	defer func() {
		if err != nil {
			o.discard()
		}
	}()
	err = m.run(ctx, func(rows []partitionRows) error {
		for _, r := range rows {
			out := o.by[r.partition]
			if out == nil {
				meta := o.meta
				meta.PrefixBits = min(o.bits(r.partition), m.fine)
				out = &segmentOutput{all: o, store: o.store, meta: meta, partition: r.partition, perFile: int64(o.store.opt.SegmentRows), number: number}
				o.by[r.partition] = out
				o.order = append(o.order, out)
			}
			if err := out.add(r.prefix, m.fine, r.rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.sort()
	for _, out := range o.order {
		if err := out.end(); err != nil {
			return nil, err
		}
		records = append(records, out.done...)
	}
	if len(records) > 0 && !seeded.On("segment_name_not_synced") {
		err = o.store.fs.SyncDir(o.store.dir)
	}
	return records, err
}

// discard removes what was written, in an order that runs of a simulation repeat.
func (o *outputs) discard() {
	o.sort()
	for _, out := range o.order {
		out.discard()
	}
}

func (o *outputs) sort() {
	slices.SortFunc(o.order, func(a, b *segmentOutput) int { return cmp.Compare(a.partition, b.partition) })
}

// A file takes memory and a place among those that a process may have open, and
// a batch may have rows of thousands of partitions. So rows of a partition are
// held until they are worth a file. There are few files at once; what is still
// held in the end is written then, one partition after the other.

// heldBlock is a block that is not written yet.
type heldBlock struct {
	block int
	rows  *rowBlock
}

func (o *segmentOutput) hold(b heldBlock) {
	size := b.rows.size()
	o.held = append(o.held, b)
	o.heldRows += int64(len(b.rows.Time))
	o.heldBytes += size
	o.all.held += size
}

// writeHeld writes what is held.
func (o *segmentOutput) writeHeld() error {
	held := o.held
	o.all.held -= o.heldBytes
	o.held, o.heldRows, o.heldBytes = nil, 0, 0
	for _, b := range held {
		if err := o.write(b); err != nil {
			return err
		}
	}
	return nil
}

// end writes what is left.
func (o *segmentOutput) end() error {
	if err := o.writeBlock(); err != nil {
		return err
	}
	if err := o.writeHeld(); err != nil {
		return err
	}
	return o.finish()
}

// relieve writes rows that are held until they are few enough, those of the
// partitions first that have most.
func (o *outputs) relieve() error {
	for o.held > o.store.opt.thinBytes() {
		if len(o.open) >= o.store.opt.outputsOpen() {
			// What is still to come for its partition goes to another file of the run.
			fullest := slices.MaxFunc(o.open, func(a, b *segmentOutput) int { return cmp.Compare(a.rows, b.rows) })
			if err := fullest.finish(); err != nil {
				return err
			}
		}
		fullest := slices.MaxFunc(o.order, func(a, b *segmentOutput) int { return cmp.Compare(a.heldBytes, b.heldBytes) })
		if err := fullest.writeHeld(); err != nil {
			return err
		}
	}
	return nil
}

// blockNames is a block's identities and their hashes.
type blockNames struct {
	*tile.Strings
	hashes []uint64
}
