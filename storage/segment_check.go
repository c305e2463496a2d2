package storage

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"wend/tile"
)

// checkSegment reads and decodes everything and compares it with the directory.
// The rows are added to sum, if it is not nil.
func checkSegment(name string, r io.ReaderAt, size int64, store [16]byte, id uint64, sum *rowSum) (segmentInfo, error) {
	s, err := openSegment(name, r, size, store, id)
	if err != nil {
		return segmentInfo{}, err
	}
	if s.Checksum, s.Hash, err = wholeChecksum(r, size); err != nil {
		return segmentInfo{}, fmt.Errorf("check segment %s: %w", name, err)
	}
	if err := s.checkLayout(); err != nil {
		return segmentInfo{}, fmt.Errorf("check segment %s: %w", name, err)
	}
	counted, rows, err := s.checkBlocks(sum != nil)
	if err != nil {
		return segmentInfo{}, err
	}
	if sum != nil {
		sum.add(rows)
	}
	if !slices.Equal(counted.EventCounts, s.EventCounts) || !slices.Equal(counted.ChannelCounts, s.ChannelCounts) ||
		!slices.Equal(counted.ImportCounts, s.ImportCounts) || !slices.Equal(counted.ValueCounts, s.ValueCounts) {
		return segmentInfo{}, fmt.Errorf("check segment %s: %w", name, corrupt("rows of each name differ from the dictionaries' counts"))
	}
	return s.segmentInfo, nil
}

// blocksAtOnce is how many blocks a goroutine checks, at least.
const blocksAtOnce = 64

// checkBlocks checks all blocks and adds up their codes and, if that is
// wanted, their rows.
func (s *segment) checkBlocks(summed bool) (counted segmentInfo, rows rowSum, err error) {
	counted = s.noCounts()
	var mu sync.Mutex // of counted and rows
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for some := range slices.Chunk(s.blocks, blocksAtOnce) {
		g.Go(func() error {
			return shielded(func() error {
				own := s.noCounts()
				sum, err := s.checkSome(some, summed, &own)
				mu.Lock()
				defer mu.Unlock()
				counted.addCounts(&own)
				rows.add(sum)
				return err
			})
		})
	}
	return counted, rows, g.Wait()
}

func (s *segment) noCounts() segmentInfo {
	return segmentInfo{
		EventCounts:   make([]int64, len(s.Events)),
		ChannelCounts: make([]int64, len(s.Channels)),
		ImportCounts:  make([]int64, len(s.Imports)),
		ValueCounts:   make([]int64, len(s.Properties)),
	}
}

// addCounts adds the counts of other blocks.
func (i *segmentInfo) addCounts(o *segmentInfo) {
	add := func(counts, more []int64) {
		for code, n := range more {
			counts[code] += n
		}
	}
	add(i.EventCounts, o.EventCounts)
	add(i.ChannelCounts, o.ChannelCounts)
	add(i.ImportCounts, o.ImportCounts)
	add(i.ValueCounts, o.ValueCounts)
}

// checkSome checks some blocks, adds their codes to counted and their rows up.
func (s *segment) checkSome(blocks []blockEntry, summed bool, counted *segmentInfo) (sum rowSum, err error) {
	var hasher *rowHasher
	if summed {
		hasher = newRowHasher(&s.segmentMeta, s.Properties)
	}
	for i := range blocks {
		b, err := s.Block(blocks[i].block)
		if err != nil {
			return sum, err
		}
		rows, err := b.Decode()
		if err != nil {
			return sum, err
		}
		if err := s.checkBlock(b, rows, counted); err != nil {
			return sum, fmt.Errorf("check segment %s: block %d: %w", s.name, blocks[i].block, err)
		}
		if summed {
			sum.add(hasher.sum(rows))
		}
	}
	return sum, nil
}

// wholeChecksum is the CRC32C and the xxHash64 of a file. Pages end in their own
// CRC32C, and so the first is equal for all segments of one number and equal
// lengths of pages; it is what stores of format 1 keep.
func wholeChecksum(r io.ReaderAt, size int64) (sum uint32, hash uint64, err error) {
	digest, buf := xxhash.New(), make([]byte, min(size, 1<<18))
	for at := int64(0); at < size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		sum = crc32.Update(sum, castagnoli, buf[:n])
		_, _ = digest.Write(buf[:n]) // it never fails
		at += int64(n)
		if n == 0 && errors.Is(err, io.EOF) {
			err = corrupt("the file ends there, and has %d bytes by the manifest", size)
		}
		if n == 0 && err != nil {
			return 0, 0, fmt.Errorf("offset %d: %w", at, err)
		}
	}
	return sum, digest.Sum64(), nil
}

// checkLayout checks that pages and sections cover the file without gap, and
// reads all sections, also those that opening leaves for later.
func (s *segment) checkLayout() error {
	end := int64(headerSize)
	for _, b := range s.blocks {
		for _, p := range b.pages {
			end += int64(p.length)
		}
	}
	for _, e := range s.sectionsInOrder() {
		if e.offset != end {
			return corrupt("section %q is at offset %d, what is before ends at %d", e.name, e.offset, end)
		}
		end += e.length
		if _, err := s.reread(e.name, nil); err != nil {
			return err
		}
	}
	if end != s.Size-trailerSize {
		return corrupt("the sections end at offset %d, the trailer is at %d", end, s.Size-trailerSize)
	}
	return nil
}

func (s *segment) sectionsInOrder() []sectionEntry {
	var sections []sectionEntry
	for _, e := range s.sections {
		sections = append(sections, e)
	}
	slices.SortFunc(sections, func(a, b sectionEntry) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.name, b.name))
	})
	return sections
}

// reread reads any section as if it were the first time, and notes its fields
// if notes is not nil. It changes nothing of s.
func (s *segment) reread(name string, notes *[]note) (content []byte, err error) {
	again := &segment{segmentMeta: s.segmentMeta, segmentInfo: s.segmentInfo, sections: map[string]sectionEntry{}}
	again.Properties = nil
	err = s.section(name, func(c *cursor) {
		c.notes = notes
		content = c.b
		kind, _, _ := strings.Cut(name, ":")
		switch kind {
		case "meta":
			again.readMeta(c)
		case "events", "channels", "imports":
			c.counted()
		case "properties":
			again.readProperties(c)
		case "values":
			c.dictionary()
		case "index":
			c.valueIndex(s.PrefixBits)
		case "range":
			c.valueRanges(s.PrefixBits)
		case "directory":
			again.readDirectory(c)
		case "contents":
			again.readEntries(c)
		default:
			c.fail(name, "no section of this version has that name")
		}
	})
	return content, err
}

// checkBlock checks the order of rows, adds up their codes and compares both
// with what the segment says of the block.
func (s *segment) checkBlock(b *block, rows *rowBlock, counted *segmentInfo) error {
	w := segmentWriter{meta: s.segmentMeta}
	if err := w.validate(b.entry.block, rows); err != nil {
		return corrupt("%v", err)
	}
	for _, t := range rows.Time {
		if t < b.entry.least || t > b.entry.greatest {
			return corrupt("time %v lies outside the directory's bounds", t)
		}
	}
	if !slices.Equal(tile.NewTies(rows.Time, rows.Starts), b.Ties) {
		return corrupt("customers with ties differ from column \"ties\"")
	}
	count(rows.Event, counted.EventCounts, b.Rows)
	count(rows.Channel, counted.ChannelCounts, b.Rows)
	count(rows.Import, counted.ImportCounts, b.Rows)
	rows.eachColumn(func(i int, _ []uint32, c *tile.Column) { counted.ValueCounts[i] += int64(c.Present.Count()) })
	return nil
}

// count adds up codes; a column that is not there is all 0.
func count(codes []uint32, counts []int64, rows int) {
	if codes == nil {
		counts[0] += int64(rows)
	}
	for _, c := range codes {
		counts[c]++
	}
}
