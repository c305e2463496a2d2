package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"wend/internal/seeded"
	"wend/storage/vfs"
)

// A log file, 000012.wal, begins with
//
//	8 bytes  "wendWAL1"; another digit is a newer version, which is refused
//	16       store id
//	8        file number, little endian like all numbers here
//	4        how many entries about older files that are still needed follow, each
//	16         a file's number, and how many of its bytes count; a file with holes
//	           that never were durable has two more entries for each: where it
//	           begins and where it ends, in rising order
//	4        CRC32C of all before
//
// so that a file given up after a failed write needs no repair: the next one
// says how far it is to be believed. Then come records:
//
//	4 bytes  "wRec"
//	1        kind: 1 a batch, 2 a mark, 3 a batch that was acknowledged before it was synced
//	4        length of the content
//	8        LSN of the batch; of a mark, the last LSN that is synced
//	4        CRC32C of store id, file number, offset of the record, kind, length, LSN, content
//	...      the content: an encoded batch; of a mark, 8 bytes: the file was synced up to this offset
//
// Damage before an offset that a later mark names is damage, and so is a record
// behind it of which all bytes were written. Anything else at the end was being
// written when the writer stopped, and no ack depends on it.
// A disk may have kept the later of two such records and lost the earlier.
// Batches of kind 3 behind a gap are then left out, so that what is lost of
// them is a suffix; others stay, because a gap may also be damage to the last
// records that were synced.
const (
	walMagic     = "wendWAL1"
	walSuffix    = ".wal"
	recordMagic  = "wRec"
	recordHeader = 21
	recordBatch  = 1
	recordMark   = 2
	recordLoose  = 3
)

func walName(number uint64) string { return fmt.Sprintf("%06d%s", number, walSuffix) }

// walExtent is how much of a log file counts.
type walExtent struct {
	number uint64
	bytes  int64
	gaps   []walHole // what does not, rising
}

// entries are the extent as a header has it.
func (e walExtent) entries() []int64 {
	var list []int64
	for _, g := range e.gaps {
		list = append(list, g.from, g.to)
	}
	return append(list, e.bytes)
}

// appendExtents encodes extents.
func appendExtents(dst []byte, list []walExtent) []byte {
	count := 0
	for _, e := range list {
		count += len(e.entries())
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(count))
	for _, e := range list {
		for _, at := range e.entries() {
			dst = binary.LittleEndian.AppendUint64(dst, e.number)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
		}
	}
	return dst
}

// decodeExtents reads count entries of 16 bytes.
func decodeExtents(data []byte, count int) []walExtent {
	var list []walExtent
	var ends []int64
	for i := range count {
		number, at := binary.LittleEndian.Uint64(data[16*i:]), int64(binary.LittleEndian.Uint64(data[16*i+8:]))
		ends = append(ends, at)
		if i+1 < count && binary.LittleEndian.Uint64(data[16*i+16:]) == number {
			continue
		}
		e := walExtent{number: number, bytes: at}
		for k := 0; k+2 < len(ends); k += 2 {
			e.gaps = append(e.gaps, walHole{ends[k], ends[k+1]})
		}
		list, ends = append(list, e), nil
	}
	return list
}

// wal writes one log file.
type wal struct {
	store  [16]byte
	number uint64
	file   vfs.File

	// Guarded by Store.mu.
	size    int64
	lsn     uint64 // of the last batch written
	scratch []byte

	syncing sync.Mutex // held during an fsync: whoever waits for it finds its batch synced, or goes next

	mu        sync.Mutex // guards what follows
	written   int64      // size, for syncers, who do not hold Store.mu
	writtenTo uint64     // lsn, for syncers
	synced    int64
	syncedTo  uint64
	marked    int64 // synced as the last mark tells it
	broken    error // set once: the file takes no more batches
	dropped   bool  // an fsync failed: what is behind synced may be gone although it can be read
}

// createWAL makes a log file whose header is durable, name included.
func createWAL(fsys vfs.FS, dir string, store [16]byte, number uint64, older []walExtent) (*wal, error) {
	data := append([]byte(walMagic), store[:]...)
	data = binary.LittleEndian.AppendUint64(data, number)
	data = appendExtents(data, older)
	data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))

	name := path.Join(dir, walName(number))
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err == nil && !seeded.On("log_directory_not_synced") {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		_ = f.Close()
		_ = fsys.Remove(name)
		return nil, fmt.Errorf("begin log %s: %w", name, err)
	}
	size := int64(len(data))
	return &wal{store: store, number: number, file: f, size: size, written: size, synced: size, marked: size}, nil
}

// append writes a batch, not yet synced. The caller holds Store.mu.
func (w *wal) append(lsn uint64, durability Durability, payload []byte) error {
	w.mu.Lock()
	broken, synced, syncedTo, marked := w.broken, w.synced, w.syncedTo, w.marked
	w.mu.Unlock()
	if broken != nil {
		return broken
	}
	w.scratch = w.scratch[:0]
	if synced > marked {
		w.scratch = appendRecord(w.scratch, w.store, w.number, w.size, recordMark, syncedTo, binary.LittleEndian.AppendUint64(nil, uint64(synced)))
	}
	kind := byte(recordBatch)
	if durability == Interval {
		kind = recordLoose
	}
	w.scratch = appendRecord(w.scratch, w.store, w.number, w.size+int64(len(w.scratch)), kind, lsn, payload)
	if _, err := w.file.Write(w.scratch); err != nil {
		// Half a record may stand there. Nothing may follow it.
		return w.poison(fmt.Errorf("append to %s: %w", walName(w.number), err))
	}
	w.size += int64(len(w.scratch))
	w.lsn = lsn
	if cap(w.scratch) > 1<<20 {
		w.scratch = nil
	}
	w.mu.Lock()
	w.written, w.writtenTo, w.marked = w.size, lsn, synced
	w.mu.Unlock()
	return nil
}

// sync makes everything up to lsn durable. One fsync serves all who wait.
func (w *wal) sync(lsn uint64) error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	broken, done, size, to := w.broken, w.syncedTo >= lsn, w.written, w.writtenTo
	w.mu.Unlock()
	switch {
	case done:
		return nil
	case broken != nil:
		return broken
	}
	err := error(nil)
	if !seeded.On("log_not_synced") {
		err = w.file.Sync()
	}
	if err != nil && seeded.On("failed_sync_tried_again") {
		err = w.file.Sync()
	}
	if err != nil {
		// The kernel may have dropped the pages and forgotten the error:
		// a second try would succeed without writing anything.
		w.mu.Lock()
		w.dropped = true
		w.mu.Unlock()
		return w.poison(fmt.Errorf("sync %s: %w", walName(w.number), err))
	}
	w.mu.Lock()
	w.synced, w.syncedTo = size, max(w.syncedTo, to)
	w.mu.Unlock()
	return nil
}

// salvage makes durable what was written before a write failed: batches among
// it are acknowledged, and no other file has them. Half a record behind them is
// cut off. It reports false if nothing can be said of what is behind the last
// fsync; the caller holds Store.mu.
func (w *wal) salvage() bool {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	dropped, size, to := w.dropped, w.written, w.writtenTo
	w.mu.Unlock()
	if dropped || seeded.On("failed_write_cuts_more") || w.file.Truncate(size) != nil || w.file.Sync() != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced, w.syncedTo = size, max(w.syncedTo, to)
	return true
}

func (w *wal) poison(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
	}
	return w.broken
}

// extent is how much of the file is known to be durable.
func (w *wal) extent() walExtent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return walExtent{number: w.number, bytes: w.synced}
}

func (w *wal) durableTo() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.syncedTo
}

func appendRecord(dst []byte, store [16]byte, number uint64, offset int64, kind byte, lsn uint64, content []byte) []byte {
	dst = append(dst, recordMagic...)
	dst = append(dst, kind)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
	dst = binary.LittleEndian.AppendUint64(dst, lsn)
	dst = binary.LittleEndian.AppendUint32(dst, recordChecksum(store, number, offset, kind, lsn, content))
	return append(dst, content...)
}

func recordChecksum(store [16]byte, number uint64, offset int64, kind byte, lsn uint64, content []byte) uint32 {
	var id [45]byte
	copy(id[:], store[:])
	binary.LittleEndian.PutUint64(id[16:], number)
	binary.LittleEndian.PutUint64(id[24:], uint64(offset))
	id[32] = kind
	binary.LittleEndian.PutUint32(id[33:], uint32(len(content)))
	binary.LittleEndian.PutUint64(id[37:], lsn)
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, content)
}

// walRecord is a readable record of a log file.
type walRecord struct {
	offset  int64
	kind    byte
	lsn     uint64
	content []byte
}

// walFile is what could be read of a log file.
type walFile struct {
	store   [16]byte
	number  uint64
	older   []walExtent
	records []walRecord
	valid   int64 // where the last readable record ends
	size    int64
	holes   []walHole // damage
	gaps    []walHole // what was being written when the writer stopped, with readable records behind it
}

// extent is how much of the file counts from now on.
func (w *walFile) extent() walExtent { return walExtent{w.number, w.valid, w.gaps} }

// walHole is damage: bytes that were synced once and cannot be read now.
type walHole struct{ from, to int64 }

// parseWAL reads a log file; limit says how much of it counts, nil: all of it.
func parseWAL(data []byte, store [16]byte, number uint64, limit *walExtent) (*walFile, error) {
	w := &walFile{store: store, number: number, size: int64(len(data))}
	head, err := w.header(data, store)
	if errors.Is(err, ErrNewer) {
		return nil, err
	}
	if err != nil {
		// Records are written when the header is durable. Those that can be
		// read without it count; the file without any was never used.
		for at := range data {
			if _, ok := nextRecord(data, store, number, int64(at)); ok {
				w.holes = []walHole{{0, int64(at)}}
				head = at
				break
			}
		}
		if w.holes == nil {
			return nil, err
		}
	}
	if limit != nil && limit.bytes < int64(len(data)) {
		data = data[:max(limit.bytes, 0)]
	}
	pos := int64(head)
	w.valid = pos
	synced := pos
	for pos < int64(len(data)) {
		if limit != nil {
			if i := slices.IndexFunc(limit.gaps, func(g walHole) bool { return pos >= g.from && pos < g.to }); i >= 0 {
				pos = limit.gaps[i].to
				continue
			}
		}
		r, ok := nextRecord(data, store, number, pos)
		if !ok {
			pos++ // look for the next readable record: batches do not depend on one another
			continue
		}
		if r.offset > w.valid {
			w.holes = append(w.holes, walHole{w.valid, r.offset})
		}
		if r.kind == recordMark && len(r.content) == 8 {
			synced = max(synced, int64(binary.LittleEndian.Uint64(r.content)))
		}
		w.records = append(w.records, r)
		pos += recordHeader + int64(len(r.content))
		w.valid = pos
	}
	if limit != nil {
		w.limited(*limit)
	} else {
		w.tail(data, synced)
	}
	return w, nil
}

// sector is what a disk writes whole or not at all.
const sector = 512

// torn reports whether bytes may be those of a write that power loss
// interrupted: some sector of them was never written, and reads as zeros.
func torn(data []byte, from, to int64) bool {
	for from < to {
		next := min((from/sector+1)*sector, to)
		if bytes.Count(data[from:next], []byte{0}) == int(next-from) {
			return true
		}
		from = next
	}
	return false
}

// wholeRecord reports whether the file's last, unreadable bytes are a record
// of which all is there: then they are damaged, and not torn. Their length, or
// the checksum with the length that they have, tells.
func (w *walFile) wholeRecord(rest []byte) bool {
	if len(rest) < recordHeader {
		return false
	}
	length := binary.LittleEndian.Uint32(rest[5:])
	content := rest[recordHeader:]
	return uint64(length) == uint64(len(content)) ||
		recordChecksum(w.store, w.number, w.valid, rest[4], binary.LittleEndian.Uint64(rest[9:]), content) == binary.LittleEndian.Uint32(rest[17:])
}

// errTornHeader says that a log's header was not written whole, and no record either.
var errTornHeader = fmt.Errorf("%w: the header ends early", ErrCorrupt)

// header reads what stands before the records, and returns where they begin.
func (w *walFile) header(data []byte, store [16]byte) (end int, err error) {
	end = 36
	if len(data) < end {
		return 0, errTornHeader
	}
	older := int(binary.LittleEndian.Uint32(data[32:]))
	known, short := string(data[:8]) == walMagic, len(data) < end+16*older+4
	if known && short || torn(data, 0, int64(min(len(data), sector))) {
		return 0, errTornHeader
	}
	if !known && (short || !newerMagic(data, walMagic)) {
		return 0, fmt.Errorf("%w: not a log", ErrCorrupt)
	}
	end += 16 * older
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) ||
		binary.LittleEndian.Uint64(data[24:]) != w.number || string(data[8:24]) != string(store[:]) {
		if torn(data, 0, int64(end+4)) {
			return 0, errTornHeader
		}
		return 0, fmt.Errorf("%w: checksum mismatch in the header, or the log of another store", ErrCorrupt)
	}
	if !known {
		return 0, fmt.Errorf("%w: a log that begins with %q, and this release reads %q; use the release that wrote it, or a later one", ErrNewer, data[:8], walMagic)
	}
	w.older = decodeExtents(data[36:], older)
	return end + 4, nil
}

// headless is how many bytes are missing of the beginning.
func (w *walFile) headless() int64 {
	if len(w.holes) > 0 && w.holes[0].from == 0 {
		return w.holes[0].to
	}
	return 0
}

// limited tells damage from what a later file does not vouch for.
func (w *walFile) limited(limit walExtent) {
	if limit.bytes > w.valid {
		w.holes = append(w.holes, walHole{w.valid, limit.bytes})
	}
	var damage []walHole
	for _, h := range w.holes {
		for _, g := range limit.gaps { // rising, and never overlapping
			if g.from <= h.from && h.from < g.to {
				h.from = min(g.to, h.to)
			}
			if h.from < g.from && g.from < h.to {
				damage = append(damage, walHole{h.from, g.from})
				h.from = min(g.to, h.to)
			}
		}
		if h.from < h.to {
			damage = append(damage, h)
		}
	}
	w.holes, w.gaps = damage, limit.gaps
}

// tail tells damage from what was never synced, in the last file that was written.
func (w *walFile) tail(data []byte, synced int64) {
	if end := int64(len(data)); !torn(data, w.valid, end) && w.wholeRecord(data[w.valid:]) {
		w.holes = append(w.holes, walHole{w.valid, end})
		w.valid = end
	}
	w.holes = slices.DeleteFunc(w.holes, func(h walHole) bool {
		damaged := h.from < synced || h.from == 0 || !torn(data, h.from, h.to)
		if !damaged {
			w.gaps = append(w.gaps, h)
		}
		return !damaged
	})
	gaps := w.gaps
	w.gaps = nil
	if len(gaps) == 0 {
		return
	}
	w.records = slices.DeleteFunc(w.records, func(r walRecord) bool {
		if r.kind != recordLoose || r.offset < gaps[0].from {
			return false
		}
		gaps = append(gaps, walHole{r.offset, r.offset + recordHeader + int64(len(r.content))})
		return true
	})
	slices.SortFunc(gaps, func(a, b walHole) int { return cmp.Compare(a.from, b.from) })
	for _, g := range gaps {
		if k := len(w.gaps) - 1; k >= 0 && w.gaps[k].to == g.from {
			w.gaps[k].to = g.to
		} else {
			w.gaps = append(w.gaps, g)
		}
	}
	if k := len(w.gaps) - 1; w.gaps[k].to == w.valid { // nothing that counts follows it
		w.valid, w.gaps = w.gaps[k].from, w.gaps[:k]
	}
}

func nextRecord(data []byte, store [16]byte, number uint64, pos int64) (walRecord, bool) {
	rest := data[pos:]
	if len(rest) < recordHeader || string(rest[:4]) != recordMagic {
		return walRecord{}, false
	}
	length := binary.LittleEndian.Uint32(rest[5:])
	if uint64(length) > uint64(len(rest)-recordHeader) {
		if !seeded.On("short_record_accepted") {
			return walRecord{}, false
		}
		length = uint32(len(rest) - recordHeader)
	}
	r := walRecord{offset: pos, kind: rest[4], lsn: binary.LittleEndian.Uint64(rest[9:]), content: rest[recordHeader : recordHeader+int(length)]}
	return r, seeded.On("short_record_accepted") || seeded.On("log_checksum_skipped") || recordChecksum(store, number, pos, r.kind, r.lsn, r.content) == binary.LittleEndian.Uint32(rest[17:])
}

// walNumbers lists the log files of a directory that are still needed, oldest first.
func walNumbers(names []string, from uint64) []uint64 {
	var numbers []uint64
	for _, name := range names {
		if digits, ok := strings.CutSuffix(name, walSuffix); ok {
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil && n >= from {
				numbers = append(numbers, n)
			}
		}
	}
	if !seeded.On("logs_by_name") {
		slices.Sort(numbers) // by name, seven digits come before six
	}
	return numbers
}
