package storage

import (
	"io"

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
}

// segmentInfo is what the writer found out: the manifest keeps it, the reader has it again.
type segmentInfo struct {
	Size          int64
	Checksum      uint32 // CRC32C of the whole file
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
	Starts  []uint32      // customer c owns rows Starts[c] to Starts[c+1]
	Event   []uint32      // index into segmentMeta.Events
	Time    []event.Time
	Channel []uint32       // index into segmentMeta.Channels; nil: no row has one
	Import  []uint32       // index into segmentMeta.Imports; nil: all 0
	TieRank []uint32       // place in arrival order among equal times of the segment; nil: all 0
	IDs     *tile.Column   // event ids; nil: no row has one
	Columns []*tile.Column // by index into segmentMeta.Properties; nil (or list too short): no row has a value
}

// customerHash orders customers, and its leading bits choose the block.
func customerHash(name string) uint64 { panic("storage: written next") }

// blockOf returns the block that a hash belongs to, of 1<<prefixBits.
func blockOf(hash uint64, prefixBits int) int { panic("storage: written next") }

// segmentWriter writes one segment, front to back, to a file or to memory.
type segmentWriter struct{}

// newSegmentWriter writes the header. The caller syncs and closes what is behind w.
func newSegmentWriter(w io.Writer, meta segmentMeta) (*segmentWriter, error) {
	panic("storage: written next")
}

// AddBlock writes block p; blocks come in rising order, those left out are
// empty. rows is only read, and not kept. Rows out of order, customers of
// another prefix and codes past their dictionary are the caller's bug, and an error.
func (w *segmentWriter) AddBlock(p int, rows *rowBlock) error { panic("storage: written next") }

// Finish writes dictionaries, indexes, directory and trailer.
func (w *segmentWriter) Finish() (segmentInfo, error) { panic("storage: written next") }

// segment is an open segment. It does not change and may be used from several
// goroutines. Each method that reads checks what it read; damage is an error
// that wraps ErrCorrupt and names section, block and offset.
type segment struct {
	segmentMeta
	segmentInfo // Checksum is 0: only the writer and checkSegment know it
}

// openSegment reads header, directory and dictionaries. name is for errors. size is the
// file's length as the manifest has it; store and id are what the caller expects to find.
func openSegment(name string, r io.ReaderAt, size int64, store [16]byte, id uint64) (*segment, error) {
	panic("storage: written next")
}

// blockStats tells about a block without reading it.
type blockStats struct {
	Customers, Rows  int
	MinTime, MaxTime event.Time
}

// Stats describes block p; an empty block has zero rows.
func (s *segment) Stats(p int) blockStats { panic("storage: written next") }

// Block reads the columns of block p that every query needs.
func (s *segment) Block(p int) (*block, error) { panic("storage: written next") }

// block is one block with its hot columns still encoded, in the tile's forms:
// a tile made of this block alone takes them as they are.
type block struct {
	Rows   int
	Starts []uint32
	Event  *tile.Codes
	Time   *tile.Times
	Ties   tile.Bitmap // customers with two events at one time
}

// Names reads the customers' identities, in order.
func (b *block) Names() (*tile.Strings, error) { panic("storage: written next") }

// Channel reads the channel column; nil if no row has one.
func (b *block) Channel() (*tile.Codes, error) { panic("storage: written next") }

// Import reads the import codes; nil if all are 0.
func (b *block) Import() ([]uint32, error) { panic("storage: written next") }

// TieRank reads the tie ranks; nil if all are 0.
func (b *block) TieRank() ([]uint32, error) { panic("storage: written next") }

// IDs reads the event ids; nil if no row has one.
func (b *block) IDs() (*tile.Column, error) { panic("storage: written next") }

// Column reads property prop of segmentMeta.Properties; nil if no row has a value.
func (b *block) Column(prop int) (*tile.Column, error) { panic("storage: written next") }

// Decode reads everything, for a merge.
func (b *block) Decode() (*rowBlock, error) { panic("storage: written next") }

// HasEvent, HasChannel and HasValue report whether block p may hold a row with
// the code or the value, by the segment's indexes alone; false is certain.
func (s *segment) HasEvent(p int, code uint32) bool                 { panic("storage: written next") }
func (s *segment) HasChannel(p int, code uint32) bool               { panic("storage: written next") }
func (s *segment) HasValue(p int, prop int, value event.Value) bool { panic("storage: written next") }

// Values returns the values of a string property that begin with prefix, at most limit, sorted;
// complete is false if the segment does not keep them all in a dictionary or the limit cut them.
func (s *segment) Values(prop int, prefix string, limit int) (values []string, complete bool) {
	panic("storage: written next")
}

// checkSegment reads and decodes everything and compares it with the directory.
func checkSegment(name string, r io.ReaderAt, size int64, store [16]byte, id uint64) (segmentInfo, error) {
	panic("storage: written next")
}
