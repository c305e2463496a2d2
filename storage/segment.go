package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"wend/event"
	"wend/tile"
)

// segmentMeta is what a segment says about itself as a whole. Lists are
// dictionaries: codes in the segment are indexes into them. Writers pass the
// store's own lists, so that codes of most segments need no translation when
// tiles are made; names that no row carries stay, with a count of 0.
type segmentMeta struct {
	Store      [16]byte // store id
	ID         uint64   // segment id, never used twice in a store
	FirstLSN   uint64   // arrival range of the rows, both inclusive
	LastLSN    uint64
	PrefixBits int // block p holds the customers whose hash begins with these bits
	Events     []string
	Channels   []string // Channels[0] is ""
	Imports    []string // Imports[0] is "", no import
	Properties []event.Property

	// Of files that are written:
	Erased uint64 // erasures up to this number left out what they erase
	Sparse bool   // names that no row carries are written as ""

	Salt uint32 // drawn for the file, so that another one of the same number is not taken for it; 0 in stores of format 1
}

// prefixBitsMax bounds the blocks of a segment: a million of 2,048 customers are enough.
const prefixBitsMax = 20

// segmentInfo is what the writer found out: the manifest keeps it, the reader has it again.
type segmentInfo struct {
	Size          int64
	Checksum      uint32 // CRC32C of the whole file
	Hash          uint64 // xxHash64 of the whole file
	Rows          int64
	Customers     int64 // identities as sent
	MinTime       event.Time
	MaxTime       event.Time
	EventCounts   []int64 // rows by event code
	ChannelCounts []int64
	ImportCounts  []int64
	ValueCounts   []int64 // rows that have the property, by property
}

// rowBlock is the rows of one block, decoded: the form in which rows pass from
// memtable, load and merge to the writer, and from the reader to a merge.
// Customers are ordered by (customerHash, name), their rows by time, then arrival.
type rowBlock struct {
	Names   *tile.Strings // identities as sent, each once
	Starts  []uint32      // customer c owns rows Starts[c] to Starts[c+1], at least one
	Event   []uint32      // index into segmentMeta.Events
	Time    []event.Time
	Channel []uint32       // index into segmentMeta.Channels; nil: no row has one
	Import  []uint32       // index into segmentMeta.Imports; nil: all 0
	TieRank []uint32       // place in arrival order among equal times of the segment; nil: all 0
	IDs     *tile.Column   // event ids; nil: no row has one
	Columns []*tile.Column // by index into segmentMeta.Properties; nil (or list too short): none, or it is thin
	Thin    []thinColumn   // by rising property: those that few rows have

	thinRows *lazy[*thinIndex]
}

// size is about how many bytes of memory the rows take.
func (b *rowBlock) size() int64 {
	const block, column = 512, 128
	n := block + int64(len(b.Names.Text)+4*len(b.Names.Ends)+4*len(b.Starts)+8*len(b.Time)+4*(len(b.Event)+len(b.Channel)+len(b.Import)+len(b.TieRank)))
	add := func(_ int, rows []uint32, c *tile.Column) {
		n += column + int64(4*len(rows)+8*len(c.Present)+8*len(c.Ints)+8*len(c.Floats)+4*len(c.Codes)+16*len(c.Dict))
		for _, text := range c.Dict {
			n += int64(len(text))
		}
	}
	if b.IDs != nil {
		add(0, nil, b.IDs)
	}
	b.eachColumn(add)
	return n + 8*int64(len(b.Columns))
}

// customerHash orders customers, and its leading bits choose the block.
func customerHash(name string) uint64 { return xxhash.Sum64String(name) }

// blockOf returns the block that a hash belongs to, of 1<<prefixBits.
func blockOf(hash uint64, prefixBits int) int { return int(hash >> 1 >> (63 - prefixBits)) }

// segment is an open segment. It does not change and may be used from several
// goroutines. Each method that reads checks what it read; damage is an error
// that wraps ErrCorrupt and names file, block, column or section, and offset.
type segment struct {
	segmentMeta
	segmentInfo // Checksum and Hash are 0: only the writer and checkSegment know it

	name     string
	r        io.ReaderAt
	seal     pageSeal
	sections map[string]sectionEntry
	columns  []string
	blocks   []blockEntry // those with rows, by block

	values  []lazy[[]string]          // by property: its dictionary,
	codes   []lazy[map[string]uint32] // and the codes of its values
	indexes map[string]*lazy[*valueIndex]
	ranges  []lazy[*valueRanges]
	numbers *lazy[map[string]int] // properties by the names of their columns

	held []lazy[heldValues] // by property, of a segment in memory; nil: it is in a file
}

// lazy is a section that is read when it is first asked for, and again where
// that failed: what the disk or the system cannot do now it may do later.
type lazy[T any] struct {
	mu    sync.Mutex
	done  atomic.Bool
	value T
}

func (l *lazy[T]) get(read func() (T, error)) (T, error) {
	if l.done.Load() {
		return l.value, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done.Load() {
		return l.value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	l.value = value
	l.done.Store(true)
	return value, nil
}

// openSegment reads header, directory and dictionaries. name is for errors. size is the
// file's length as the manifest has it; store and id are what the caller expects to find.
func openSegment(name string, r io.ReaderAt, size int64, store [16]byte, id uint64) (*segment, error) {
	s := &segment{name: name, r: r, seal: newPageSeal(store, id), sections: map[string]sectionEntry{}}
	s.Store, s.ID, s.Size = store, id, size
	if err := s.readHeader(); err != nil {
		return nil, fmt.Errorf("open segment %s: header: %w", name, err)
	}
	if err := s.readContents(); err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	for _, section := range []struct {
		name string
		read func(*cursor)
	}{
		{"meta", s.readMeta},
		{"events", func(c *cursor) { s.Events, s.EventCounts = c.counted() }},
		{"channels", func(c *cursor) { s.Channels, s.ChannelCounts = c.counted() }},
		{"imports", func(c *cursor) { s.Imports, s.ImportCounts = c.counted() }},
		{"properties", s.readProperties},
		{"directory", s.readDirectory},
	} {
		if err := s.section(section.name, section.read); err != nil {
			return nil, fmt.Errorf("open segment %s: %w", name, err)
		}
	}
	s.values = make([]lazy[[]string], len(s.Properties))
	s.codes = make([]lazy[map[string]uint32], len(s.Properties))
	s.ranges = make([]lazy[*valueRanges], len(s.Properties))
	s.indexes = map[string]*lazy[*valueIndex]{}
	s.numbers = new(lazy[map[string]int])
	for name := range s.sections {
		s.indexes[name] = &lazy[*valueIndex]{}
	}
	return s, nil
}

// read returns n bytes at an offset, with their place in its errors.
func (s *segment) read(offset, n int64) ([]byte, error) { return s.readInto(nil, offset, n) }

// readInto is read into the memory of buffer, if that is enough.
func (s *segment) readInto(buffer []byte, offset, n int64) ([]byte, error) {
	if n < 0 || offset < 0 || offset > s.Size-n {
		return nil, corrupt("offset %d, length %d: the file has %d bytes", offset, n, s.Size)
	}
	b := slices.Grow(buffer[:0], int(n))[:n]
	got, err := s.r.ReadAt(b, offset)
	switch {
	case int64(got) == n:
		return b, nil
	case err == io.EOF:
		return nil, corrupt("offset %d, length %d: the file ends after %d", offset, n, offset+int64(got))
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("offset %d, length %d: %w", offset, n, err)
}

func (s *segment) readHeader() error {
	if s.Size < headerSize+trailerSize {
		return corrupt("%d bytes are too few for a segment", s.Size)
	}
	b, err := s.read(0, headerSize)
	if err != nil {
		return err
	}
	if string(b[:8]) != segmentMagic {
		return corrupt("offset 0: begins with %q", b[:8])
	}
	// The version comes before the checksum: a newer format may sum otherwise.
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		if crc32.Checksum(b[:44], castagnoli) != binary.LittleEndian.Uint32(b[44:]) {
			return corrupt("offset 44: checksum mismatch")
		}
		if v < formatVersion {
			return corrupt("offset 8: format version %d", v)
		}
		return fmt.Errorf("%w: a segment of format version %d, and this release reads %d; use a release that reads %d", ErrNewer, v, formatVersion, v)
	}
	if crc32.Checksum(b[:44], castagnoli) != binary.LittleEndian.Uint32(b[44:]) {
		return corrupt("offset 44: checksum mismatch")
	}
	if features := binary.LittleEndian.Uint32(b[12:]); features&^featuresKnown != 0 {
		return fmt.Errorf("%w: a segment that needs features %#x, which this release does not have; use the release that wrote it, or a later one", ErrNewer, features&^featuresKnown)
	}
	if [16]byte(b[16:32]) != s.Store {
		return corrupt("offset 16: belongs to store %x, not %x", b[16:32], s.Store)
	}
	if got := binary.LittleEndian.Uint64(b[32:]); got != s.ID {
		return corrupt("offset 32: is segment %d, not %d", got, s.ID)
	}
	s.Salt = binary.LittleEndian.Uint32(b[40:])
	return nil
}

// readContents reads trailer and table of contents.
func (s *segment) readContents() error {
	at := s.Size - trailerSize
	b, err := s.read(at, trailerSize)
	if err != nil {
		return fmt.Errorf("trailer: %w", err)
	}
	if string(b[24:]) != trailerMagic {
		return corrupt("trailer: offset %d: ends with %q: cut short, or bytes follow", at+24, b[24:])
	}
	if b, err = s.seal.open(noBlock, "trailer", b[:24]); err != nil {
		return fmt.Errorf("trailer: offset %d: %w", at, err)
	}
	if length := binary.LittleEndian.Uint64(b[12:]); length != uint64(s.Size) {
		return corrupt("trailer: offset %d: the file had %d bytes, it has %d", at+12, length, s.Size)
	}
	offset, length := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	if offset+uint64(length) != uint64(at) {
		return corrupt("trailer: offset %d: contents at %d of length %d do not reach it", at, offset, length)
	}
	s.sections["contents"] = sectionEntry{"contents", int64(offset), int64(length)}
	return s.section("contents", s.readEntries)
}

func (s *segment) readEntries(c *cursor) {
	for range c.count("number of sections", len(c.b)) {
		e := sectionEntry{name: c.text("section")}
		e.offset = int64(c.count("offset", math.MaxInt64))
		e.length = int64(c.count("length", math.MaxInt64))
		if _, twice := s.sections[e.name]; twice {
			c.fail("section", "%q is there twice", e.name)
		}
		s.sections[e.name] = e
	}
}

// section reads a section that must be there.
func (s *segment) section(name string, read func(*cursor)) error {
	e, ok := s.sections[name]
	if !ok {
		return corrupt("section %q is missing", name)
	}
	page, err := s.read(e.offset, e.length)
	if err == nil {
		page, err = s.seal.open(noBlock, name, page)
	}
	if err != nil {
		return fmt.Errorf("section %q: offset %d: %w", name, e.offset, err)
	}
	c := &cursor{b: page}
	read(c)
	if err := c.end(); err != nil {
		return fmt.Errorf("section %q: offset %d: %w", name, e.offset, err)
	}
	return nil
}

func (s *segment) readMeta(c *cursor) {
	s.FirstLSN = c.uvarint("first LSN")
	s.LastLSN = c.uvarint("last LSN")
	s.PrefixBits = c.count("prefix bits", prefixBitsMax)
	s.Rows = int64(c.count("rows", math.MaxInt64))
	s.Customers = int64(c.count("customers", math.MaxInt64))
	s.MinTime = event.Time(c.varint("least time"))
	s.MaxTime = event.Time(c.varint("greatest time"))
}

// counted reads a list of names and how many rows carry each.
func (c *cursor) counted() ([]string, []int64) {
	n := c.count("number of names", namesMax)
	names := list(c.texts("names", n))
	counts := c.ints("rows of each", n, nil)
	return names, counts
}

// namesMax bounds lists of names, before memory is taken for them.
const namesMax = 1 << 24

func (s *segment) readProperties(c *cursor) {
	n := c.count("number of properties", namesMax)
	names := list(c.texts("names", n))
	types := c.bytes("types", n)
	s.ValueCounts = c.ints("rows that have it", n, nil)
	if c.err != nil {
		return
	}
	for i, name := range names {
		t := event.Type(types[i])
		if t == event.None || t > event.TimeType {
			c.fail("types", "type %d is unknown", t)
			return
		}
		s.Properties = append(s.Properties, event.Property{Name: name, Type: t})
	}
}

func (s *segment) readDirectory(c *cursor) {
	n := c.count("number of columns", namesMax)
	s.columns = list(c.texts("columns", n))
	offset := int64(headerSize)
	block, rows, customers := 0, int64(0), int64(0)
	for i := range c.count("number of blocks", 1<<s.PrefixBits) {
		step := c.count("distance", 1<<s.PrefixBits)
		if i > 0 && step == 0 {
			c.fail("distance", "block %d is there twice", block)
		}
		block += step
		b := blockEntry{block: block, offset: offset}
		b.rows = c.count("rows", math.MaxUint32)
		b.customers = c.count("customers", b.rows)
		b.least = event.Time(c.varint("least time"))
		b.greatest = b.least + event.Time(c.uvarint("greatest less least"))
		for range c.count("pages", n) {
			page := pageEntry{c.count("column", n-1), c.count("length", math.MaxInt32)}
			b.pages = append(b.pages, page)
			offset += int64(page.length)
		}
		if c.err != nil {
			return
		}
		if block >= 1<<s.PrefixBits || b.customers == 0 {
			c.fail("block", "block %d of %d has %d customers", block, 1<<s.PrefixBits, b.customers)
		}
		rows, customers = rows+int64(b.rows), customers+int64(b.customers)
		s.blocks = append(s.blocks, b)
	}
	if rows != s.Rows || customers != s.Customers {
		c.fail("blocks", "%d rows of %d customers, meta has %d of %d", rows, customers, s.Rows, s.Customers)
	}
}

// blockStats tells about a block without reading it.
type blockStats struct {
	Customers, Rows  int
	MinTime, MaxTime event.Time
}

// entry returns block p's line in the directory, nil if it is empty.
func (s *segment) entry(p int) *blockEntry {
	i, ok := slices.BinarySearchFunc(s.blocks, p, func(b blockEntry, p int) int { return b.block - p })
	if !ok {
		return nil
	}
	return &s.blocks[i]
}

// Stats describes block p; an empty block has zero rows.
func (s *segment) Stats(p int) blockStats {
	e := s.entry(p)
	if e == nil {
		return blockStats{}
	}
	return blockStats{e.customers, e.rows, e.least, e.greatest}
}

// dictionary returns the dictionary of string property i.
func (s *segment) dictionary(i int) ([]string, error) {
	return s.values[i].get(func() (values []string, err error) {
		err = s.section("values:"+s.Properties[i].Name, func(c *cursor) {
			values = c.dictionary()
		})
		if err != nil {
			err = s.damaged(fmt.Errorf("segment %s: %w", s.name, err))
		}
		return values, err
	})
}

func (c *cursor) dictionary() []string {
	return list(c.texts("values", c.count("number of values", dictionaryValuesMax)))
}

// ColumnBytes adds up the lengths of each column's pages, by column name, and
// of the sections, by section name.
func (s *segment) ColumnBytes() map[string]int64 {
	sizes := map[string]int64{}
	for _, b := range s.blocks {
		for _, p := range b.pages {
			sizes[s.columns[p.column]] += int64(p.length)
		}
	}
	for name, e := range s.sections {
		sizes["section "+name] += e.length
	}
	return sizes
}
