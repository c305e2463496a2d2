package storage

// The segment file
//
// A segment is written front to back, once, and never changed. Integers of
// fixed size are little-endian; uvarint and varint (zigzag) are those of
// encoding/binary; "text" is a uvarint length and that many bytes.
//
//	header      48 bytes
//	blocks      pages of block 0, of block 1, …; nothing between them
//	sections    dictionaries, indexes, directory; nothing between them
//	contents    table of contents: where each section is, by name
//	trailer     32 bytes, the last of the file
//
//	header      8  magic "wendseg\n"
//	            4  format version, 1
//	            4  required features: a reader that does not know a set bit refuses the file
//	           16  store id
//	            8  segment id
//	            4  salt, as the manifest has it; zero in stores of format 1
//	            4  CRC32C of the 44 bytes before
//
//	trailer     8  offset of the contents
//	            4  length of the contents with checksum
//	            8  length of the file: bytes after the trailer are an error
//	            4  CRC32C of identity (below, name "trailer") and the 20 bytes before
//	            8  magic "gesdnew\n"
//
// Every page and section, and the contents, ends in a CRC32C of 4 bytes. It
// covers the content and, before it, the identity, which is not stored: store
// id, segment id, block number (4 bytes; ffffffff outside blocks) and the name
// of column, section, or "contents". A page that was written to the wrong
// place, or belongs to another segment, does not pass.
//
// # Blocks
//
// A segment with b prefix bits has 1<<b blocks. Block p holds the customers
// whose xxhash64 begins with the bits of p, ordered by (hash, name); a
// customer's rows stand in order of time, then arrival. An empty block has no
// pages. A column in which no row of the block has a value has no page. The
// pages of a block, in this order:
//
//	event       planes                          index into "events"
//	time        frames, see tile.Times
//	starts      a bit an anchor of "time", lowest first, filled to a byte: a customer begins
//	ties        bitmap over customers           two events at one time
//	channel     codes                           index into "channels"
//	names       texts, one a customer
//	import      integers                        index into "imports"
//	tie rank    integers                        arrival order among equal times of the segment
//	id          column of strings
//	property:N  column of the property's type
//
// # Encodings
//
// n, the number of values, is always known before a value list is read: rows,
// customers or anchors of the block. A list of none takes no bytes. "packed"
// is n numbers of w bits, lowest bit first, filled with zero bits to a byte.
// "zstd" is a uvarint length and that many bytes: one frame that tells its size.
//
//	planes      byte w; for each 64 rows w words of 8 bytes: word k holds bit k of the 64 codes
//	frames      varint origin, uvarint unit, byte shift, byte width; bitmap over rows, (n+7)/8
//	            bytes: anchors; uvarint number of anchors, byte w, packed: high bits; packed
//	            slots of width bits. An anchor's tick is its high bits << width + slot, another
//	            row's the tick of the last anchor before, low shift bits cleared, + slot;
//	            time = origin + unit * tick
//	codes       byte 0: planes; 1: integers
//	integers    byte 0: varint, the value of all
//	            byte 1: varint least, uvarint unit, byte w, packed: value = least + unit * number
//	            byte 2: varint least, uvarint unit, byte k, zstd of k*n bytes: the lowest bytes
//	                    of all numbers, then the second lowest, …
//	            byte 3: byte a; bitmap of changes; integers: a value for each row that changes or,
//	                    if a is 1, is an anchor of "time"; it holds up to the next. Row 0 changes.
//	                    Values are not of kind 3 again; a is 1 only in lists over rows.
//	bitmap      byte 0: none; 1: all; 2: (n+7)/8 bytes; 3: text, a serialised roaring bitmap;
//	            byte 4: zstd of (n+7)/8 bytes;
//	            byte 5 (presence only): uvarint count, uvarints: event codes whose rows are set
//	texts       byte 0: integers, the lengths; the bytes of all
//	            byte 1: integers, the lengths; zstd of the bytes of all
//	            byte 2: text, a prefix; integers, decimal numbers that follow it
//	            byte 3: 16 bytes of each: UUIDs, written in lower case
//	column      bitmap over rows: presence; then m values, one for each present row
//	 integer, boolean, time: integers
//	 float      byte 0: byte e, integers: value = integer / 10^e; byte 1: integers: IEEE 754 bits
//	 string     byte 0: uvarint d; integers, d rising codes of "values:N"; integers, indexes into them
//	            byte 1: uvarint d; d texts; integers, indexes into them
//	            byte 2: texts, one a row
//
// # Sections
//
//	meta        uvarints: first LSN, last LSN, prefix bits, rows, customers; varints: least, greatest time
//	events, channels, imports
//	            uvarint count; texts; integers: rows that carry each
//	properties  uvarint count; texts: names; a byte each: event.Type; integers: rows that have it
//	values:N    uvarint count; texts: the dictionary of string property N
//	index:C     for C event, channel, property:N of strings: bitmap over blocks: those with values
//	            outside the dictionary; text, a roaring bitmap of code<<b + p: code occurs in block p
//	range:N     for numeric and time properties, over blocks with rows of it: bitmap over
//	            blocks; integers: least values; integers: greatest (floats as IEEE 754 bits)
//	directory   uvarint count of columns, texts: their names; uvarint count of blocks with rows, and of
//	            each: uvarints: distance of its number from the one before (the first: from 0), rows,
//	            customers; varint least time, uvarint greatest less least; uvarint pages, and of
//	            each: uvarint index of its column, uvarint length with checksum
//	contents    uvarint count, and of each: text name, uvarint offset, uvarint length with checksum
//
// # Example
//
// A whole segment, annotated, is in testdata/segment.dump. There customer
// "ann" has three rows, at 10, 20 and 25 seconds after the epoch, and "bob" two
// at 15. Block 0 begins with the page of column "event" of these five rows:
//
//	01                       one plane
//	16 00 00 00 00 00 00 00  bits 1, 2 and 4: rows 1, 2 and 4 are event 1, "buy"
//	78 de 45 e3              CRC32C of store, segment, 00 00 00 00, "event" and the 9 bytes
//
// then column "time", where so few rows are cheapest with a frame a time:
//
//	80 da c4 09              origin 10,000,000 microseconds
//	c0 96 b1 02              unit 5,000,000 microseconds
//	00 00                    shift 0, and slots of width 0
//	0f                       anchors: rows 0 to 3
//	04 02 78                 4 ticks, all high bits, of 2 bits: 0, 2, 3 and 1; row 4 is in the frame of row 3
//	a2 e7 d9 b6              CRC32C
//
// and "starts":
//
//	09                       of the anchors, the first and the fourth begin a customer
//	e5 49 03 01              CRC32C

import "fmt"

const (
	segmentMagic  = "wendseg\n"
	trailerMagic  = "gesdnew\n"
	formatVersion = 1
	featuresKnown = 0 // bits of required features that this release can read

	headerSize  = 48
	trailerSize = 32
	sumSize     = 4
	noBlock     = ^uint32(0)
)

// corrupt makes an error that says: the bytes are not those that were written.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
