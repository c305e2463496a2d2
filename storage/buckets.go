package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"

	"wend/storage/vfs"
)

// buckets hold the rows of a load: the latest in memory, those before in a
// temporary file, to which the rows in memory go, bucket by bucket, whenever
// they have become too many.
type buckets struct {
	store   *Store
	batches []*loadBatch // of all rows, in order of arrival
	held    []*dealt     // the last of batches
	bytes   int          // of held
	rows    int          // of held
	spills  []spill
	name    string // of the file; "": there is none
	file    vfs.File
	size    int64
	atOnce  int64 // of a bucket, how much is sorted at once, unless it is one customer's
}

// spill is the rows that went to the file together.
type spill struct {
	at   [bucketCount + 1]int64 // bucket b lies from at[b] to at[b+1]
	sums [bucketCount]uint32    // CRC32C
}

const (
	heldBytes   = 64 << 20 // of records in memory; as many may be on their way to the file
	atOnceBytes = 32 << 20
)

func newBuckets(s *Store) *buckets { return &buckets{store: s, atOnce: atOnceBytes} }

func (k *buckets) add(d *dealt, b *loadBatch) {
	k.batches = append(k.batches, b)
	k.held = append(k.held, d)
	k.bytes += len(d.records)
	k.rows += d.rows
}

func (k *buckets) full() bool { return k.rows >= k.store.opt.ChunkRows || k.bytes >= heldBytes }

// give hands over the rows in memory.
func (k *buckets) give() *heldBatches {
	g := &heldBatches{k.held, len(k.batches) - len(k.held)}
	k.held, k.bytes, k.rows = nil, 0, 0
	return g
}

// heldBatches are batches in memory, and the number of the first.
type heldBatches struct {
	list  []*dealt
	first int
}

// create makes the file.
func (k *buckets) create() (err error) {
	s := k.store
	s.mu.Lock()
	k.name = path.Join(s.dir, fmt.Sprintf("%06d.run", s.number()))
	s.spilled[path.Base(k.name)] = true
	s.mu.Unlock()
	k.file, err = s.fs.Create(k.name)
	return err
}

// spill writes batches to the file.
func (k *buckets) spill(batches *heldBatches) error {
	if k.file == nil {
		if err := k.create(); err != nil {
			return err
		}
	}
	out := newFileBuffer(k.file)
	var s spill
	var head []byte
	for bucket := range bucketCount {
		s.at[bucket] = k.size
		sum := uint32(0)
		put := func(b []byte) {
			sum = crc32.Update(sum, castagnoli, b)
			_, _ = out.Write(b) // Flush tells
			k.size += int64(len(b))
		}
		for i, d := range batches.list {
			if records := d.of(bucket); len(records) > 0 {
				head = binary.AppendUvarint(head[:0], uint64(batches.first+i))
				head = binary.AppendUvarint(head, uint64(len(records)))
				put(head)
				put(records)
			}
		}
		s.sums[bucket] = sum
	}
	s.at[bucketCount] = k.size
	if err := out.Flush(); err != nil {
		return err
	}
	k.spills = append(k.spills, s)
	return nil
}

// bucketPart is where the records of one batch are in what was read.
type bucketPart struct{ batch, from, to int }

// read appends the records of a bucket to data.
func (k *buckets) read(data []byte, parts []bucketPart, bucket int) ([]byte, []bucketPart, error) {
	for i := range k.spills {
		s := &k.spills[i]
		offset, size := s.at[bucket], int(s.at[bucket+1]-s.at[bucket])
		if size == 0 {
			continue
		}
		at := len(data)
		data = slices.Grow(data, size)[:at+size]
		if n, err := k.file.ReadAt(data[at:], offset); n < size {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return data, parts, fmt.Errorf("read %s, offset %d, length %d: %w", path.Base(k.name), offset, size, err)
		}
		if crc32.Checksum(data[at:], castagnoli) != s.sums[bucket] {
			return data, parts, fmt.Errorf("read %s, offset %d, length %d: %w", path.Base(k.name), offset, size, corrupt("it is not what was written"))
		}
		for at < len(data) {
			batch, n := binary.Uvarint(data[at:])
			length, m := binary.Uvarint(data[at+n:])
			at += n + m
			parts = append(parts, bucketPart{int(batch), at, at + int(length)})
			at += int(length)
		}
	}
	first := len(k.batches) - len(k.held)
	for i, d := range k.held {
		if records := d.of(bucket); len(records) > 0 {
			parts = append(parts, bucketPart{first + i, len(data), len(data) + len(records)})
			data = append(data, records...)
		}
	}
	return data, parts, nil
}

// bucketBytes returns the size of a bucket's records.
func (k *buckets) bucketBytes(bucket int) int64 {
	size := int64(0)
	for i := range k.spills {
		size += k.spills[i].at[bucket+1] - k.spills[i].at[bucket]
	}
	for _, d := range k.held {
		size += int64(len(d.of(bucket)))
	}
	return size
}

// remove removes the file.
func (k *buckets) remove() error {
	k.held = nil
	if k.name == "" {
		return nil
	}
	if k.file != nil {
		_ = k.file.Close() // nothing depends on it any more
		k.file = nil
	}
	err := k.store.fs.Remove(k.name)
	k.store.mu.Lock()
	delete(k.store.spilled, path.Base(k.name))
	k.store.mu.Unlock()
	return err
}
