package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"wend/internal/seeded"
)

// pageSeal computes checksums of one segment's pages over their identity and content.
type pageSeal struct {
	start uint32 // state after store and segment id
}

func newPageSeal(store [16]byte, segment uint64) pageSeal {
	id := binary.LittleEndian.AppendUint64(store[:], segment)
	return pageSeal{crc32.Checksum(id, castagnoli)}
}

func (s pageSeal) sum(block uint32, name string, content []byte) uint32 {
	id := make([]byte, 0, 64)
	id = binary.LittleEndian.AppendUint32(id, block)
	id = append(id, name...)
	return crc32.Update(crc32.Update(s.start, castagnoli, id), castagnoli, content)
}

// seal appends the checksum of page, which is all content.
func (s pageSeal) seal(block uint32, name string, page []byte) []byte {
	return binary.LittleEndian.AppendUint32(page, s.sum(block, name, page))
}

// open verifies a page and returns its content.
func (s pageSeal) open(block uint32, name string, page []byte) ([]byte, error) {
	if len(page) < sumSize {
		return nil, corrupt("%d bytes are too few for a checksum", len(page))
	}
	content := page[:len(page)-sumSize]
	got, want := s.sum(block, name, content), binary.LittleEndian.Uint32(page[len(content):])
	if got != want && !seeded.On("page_checksum_skipped") {
		return nil, corrupt("checksum is %08x, stored is %08x", got, want)
	}
	return content, nil
}

// cursor reads a page's fields. The first fault stays: later reads return
// zeros, and the caller looks at err once, before it allocates or loops by
// what it read. If notes is set, each field is noted there for a dump.
type cursor struct {
	b     []byte
	at    int
	err   error
	notes *[]note

	numbers []uint64 // memory for what packed and zstd return
	raw     []byte
}

// note says what the bytes up to end mean; they begin where the note before ended.
type note struct {
	end  int
	text string
}

func (c *cursor) fail(what, format string, args ...any) {
	if c.err == nil {
		c.err = corrupt("%s at byte %d: "+format, append([]any{what, c.at}, args...)...)
		c.at = len(c.b)
	}
}

func (c *cursor) noted(format string, args ...any) {
	if c.notes != nil {
		*c.notes = append(*c.notes, note{c.at, fmt.Sprintf(format, args...)})
	}
}

func (c *cursor) uvarint(what string) uint64 {
	v, n := binary.Uvarint(c.b[c.at:])
	if n <= 0 {
		c.fail(what, "no number")
		return 0
	}
	c.at += n
	c.noted("%s %d", what, v)
	return v
}

func (c *cursor) varint(what string) int64 {
	v, n := binary.Varint(c.b[c.at:])
	if n <= 0 {
		c.fail(what, "no number")
		return 0
	}
	c.at += n
	c.noted("%s %d", what, v)
	return v
}

// count reads a number that the caller will allocate by.
func (c *cursor) count(what string, most int) int {
	v := c.uvarint(what)
	if v > uint64(most) {
		c.fail(what, "%d is more than %d", v, most)
		return 0
	}
	return int(v)
}

func (c *cursor) byte(what string) byte {
	if c.at >= len(c.b) {
		c.fail(what, "the page ends")
		return 0
	}
	v := c.b[c.at]
	c.at++
	c.noted("%s %d", what, v)
	return v
}

// bytes returns the next n bytes, which stay the page's.
func (c *cursor) bytes(what string, n int) []byte {
	if n < 0 || n > len(c.b)-c.at {
		c.fail(what, "%d bytes are wanted, %d are left", n, len(c.b)-c.at)
		return nil
	}
	v := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	if n > 0 {
		c.noted("%s", what)
	}
	return v
}

func (c *cursor) text(what string) string {
	n := c.count("length of "+what, math.MaxInt32)
	v := string(c.bytes(what, n))
	if c.notes != nil && n > 0 {
		(*c.notes)[len(*c.notes)-1].text = fmt.Sprintf("%s %q", what, v)
	}
	return v
}

// end fails unless everything was read.
func (c *cursor) end() error {
	if c.err == nil && c.at != len(c.b) {
		c.fail("page", "%d bytes are left over", len(c.b)-c.at)
	}
	return c.err
}

// appendPacked appends numbers in width bits each, at most 64.
func appendPacked(dst []byte, numbers []uint64, width int) []byte {
	if width == 0 {
		return dst
	}
	var pending uint64
	filled := 0
	for _, n := range numbers {
		pending |= n << (filled & 63)
		filled += width
		if filled < 64 {
			continue
		}
		dst = binary.LittleEndian.AppendUint64(dst, pending)
		filled -= 64
		pending = 0
		if filled > 0 {
			pending = n >> ((width - filled) & 63)
		}
	}
	for ; filled > 0; filled -= 8 {
		dst = append(dst, byte(pending))
		pending >>= 8
	}
	return dst
}

func packedSize(n, width int) int { return (n*width + 7) / 8 }

// packed reads n numbers of width bits, into memory that the next call uses again.
func (c *cursor) packed(what string, n, width int) []uint64 {
	if width > 64 || n > math.MaxInt/64 {
		c.fail(what, "width %d", width)
		return nil
	}
	src := c.bytes(what, packedSize(n, width))
	if c.err != nil {
		return nil
	}
	c.numbers = slices.Grow(c.numbers[:0], n)[:n]
	unpack(c.numbers, src, width)
	return c.numbers
}

func unpack(numbers []uint64, src []byte, width int) {
	if width == 0 {
		clear(numbers)
		return
	}
	mask := ^uint64(0) >> ((64 - width) & 63)
	bit := 0
	i := 0
	if width <= 56 {
		for ; i < len(numbers) && bit>>3+8 <= len(src); i++ {
			numbers[i] = binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
			bit += width
		}
	}
	for ; i < len(numbers); i++ {
		var wide [16]byte
		copy(wide[:], src[bit>>3:])
		low, high := binary.LittleEndian.Uint64(wide[:]), binary.LittleEndian.Uint64(wide[8:])
		numbers[i] = (low>>(bit&7) | high<<1<<(63-bit&7)) & mask
		bit += width
	}
}
