package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"wend/event"
	"wend/tile"
)

// reseal makes all checksums of a mutated file right again, as far as they
// can be found, so that decoders see the damage.
func reseal(file []byte) {
	size := len(file)
	if size < headerSize+trailerSize {
		return
	}
	var store [16]byte
	copy(file, segmentMagic)
	binary.LittleEndian.PutUint32(file[8:], formatVersion)
	binary.LittleEndian.PutUint32(file[12:], 0)
	copy(file[16:32], store[:])
	binary.LittleEndian.PutUint64(file[32:], 0)
	binary.LittleEndian.PutUint32(file[44:], crc32.Checksum(file[:44], castagnoli))
	seal := newPageSeal(store, 0)
	put := func(block uint32, name string, offset, length int64) []byte {
		if offset < 0 || length < sumSize || offset > int64(size)-length {
			return nil
		}
		content := file[offset : offset+length-sumSize]
		binary.LittleEndian.PutUint32(file[offset+length-sumSize:], seal.sum(block, name, content))
		return content
	}
	trailer := file[size-trailerSize:]
	binary.LittleEndian.PutUint64(trailer[12:], uint64(size))
	copy(trailer[24:], trailerMagic)
	put(noBlock, "trailer", int64(size-trailerSize), 24)
	offset, length := binary.LittleEndian.Uint64(trailer), binary.LittleEndian.Uint32(trailer[8:])
	s := &segment{sections: map[string]sectionEntry{}}
	s.readEntries(&cursor{b: put(noBlock, "contents", int64(offset), int64(length))})
	sections := map[string][]byte{}
	for name, e := range s.sections {
		sections[name] = put(noBlock, name, e.offset, e.length)
	}
	s.readMeta(&cursor{b: sections["meta"]})
	s.readDirectory(&cursor{b: sections["directory"]})
	for _, b := range s.blocks {
		at := b.offset
		for _, p := range b.pages {
			put(uint32(b.block), s.columns[p.column], at, int64(p.length))
			at += int64(p.length)
		}
	}
}

// FuzzSegment opens, checks and dumps segments whose content is damaged under
// right checksums.
func FuzzSegment(f *testing.F) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(f, meta, blocks)
	f.Add(file)
	meta.PrefixBits = 1
	empty, _ := writeSegment(f, meta, nil)
	f.Add(empty)
	f.Fuzz(func(t *testing.T, file []byte) {
		file = slices.Clone(file)
		reseal(file)
		info, err := checkSegment("fuzz.seg", bytes.NewReader(file), int64(len(file)), [16]byte{}, 0, nil)
		if dumped := dumpSegment(newDumper(&bytes.Buffer{}), "fuzz.seg", bytes.NewReader(file), int64(len(file))); err == nil && dumped != nil {
			t.Errorf("a segment of %d rows passes the check, but is not dumped: %v", info.Rows, dumped)
		}
	})
}

// pageKinds decodes a page of each encoding with n values and returns how many came out.
var pageKinds = []struct {
	name   string
	decode func(c *cursor, n int) int
}{
	{"integers", func(c *cursor, n int) int { return len(c.ints("fuzz", n, nil)) }},
	{"integers held at anchors", func(c *cursor, n int) int { return len(c.ints("fuzz", n, everyThird(n))) }},
	{"bitmap", func(c *cursor, n int) int { return min(len(c.bitmap("fuzz", n, nil))*64, n) }},
	{"presence", func(c *cursor, n int) int {
		return min(len(c.bitmap("fuzz", n, tile.NewCodes(make([]uint32, n))))*64, n)
	}},
	{"texts", func(c *cursor, n int) int { return c.texts("fuzz", n).Len() }},
	{"planes", func(c *cursor, n int) int {
		if codes := c.planes("fuzz", n, 20); codes != nil {
			dst := make([]uint32, n)
			codes.Decode(0, dst)
			for _, code := range dst {
				_ = [20]bool{}[code]
			}
		}
		return n
	}},
	{"codes", func(c *cursor, n int) int { c.codes("fuzz", n, 20, everyThird(n)); return n }},
	{"time and starts", func(c *cursor, n int) int {
		if times := c.times(n); times != nil {
			times.Decode(0, make([]event.Time, n))
			c.starts(n/2, times)
		}
		return n
	}},
	{"string column", func(c *cursor, n int) int { return columnRows(c, event.StringType, n) }},
	{"float column", func(c *cursor, n int) int { return columnRows(c, event.FloatType, n) }},
	{"integer column", func(c *cursor, n int) int { return columnRows(c, event.IntegerType, n) }},
	{"boolean column", func(c *cursor, n int) int { return columnRows(c, event.BooleanType, n) }},
}

func everyThird(n int) tile.Bitmap {
	b := tile.NewBitmap(n)
	for i := 0; i < n; i += 3 {
		b.Set(i)
	}
	return b
}

func columnRows(c *cursor, t event.Type, n int) int {
	column := c.property(t, n, tile.NewCodes(make([]uint32, n)), everyThird(n), []string{"a", "b", "c"})
	if column == nil {
		return 0
	}
	for i := range n {
		column.At(i)
	}
	return len(column.Codes) + len(column.Floats) + len(column.Ints)
}

// samplePage is a good page of an encoding.
type samplePage struct {
	kind int // of pageKinds
	n    int
	page []byte
}

func samplePages() []samplePage {
	wide, held := make([]int64, 300), make([]int64, 300)
	for i := range wide {
		wide[i] = int64(i*i%97) << (i % 40)
		held[i] = int64(i / 50)
	}
	skewed := make([]int64, 4000)
	for i := range skewed {
		skewed[i] = int64(i%17/16*i%100) << 20
	}
	texts := tile.NewStrings([]string{"ann", "bob", "", "ü"})
	long := tile.NewStrings([]string{strings.Repeat("ann", 100), "bob"})
	times := tile.NewTimes([]event.Time{5e6, 6e6, 9e9, 1, 1}, []uint32{0, 3, 5})
	column := tile.NewColumn(event.StringType, 4)
	column.Present.Set(2)
	column.Dict = []string{"b"}
	property, _, _ := appendProperty(nil, column.Present, column, make([]uint32, 4), nil, &dictionary{})
	return []samplePage{
		{0, 300, appendInts(nil, wide, nil)},
		{0, 300, appendInts(nil, held[:300], nil)},
		{0, 4000, appendInts(nil, skewed, nil)},
		{0, 3, appendInts(nil, []int64{5, 5, 5}, nil)},
		{1, 300, appendInts(nil, held, everyThird(300))},
		{2, 300, appendBitmap(nil, everyThird(300), 300)},
		{2, 4000, appendBitmap(nil, tile.Bitmap(append(make([]uint64, 62), 7)), 4000)},
		{3, 1, []byte{bitmapEvents, 1, 0}},
		{4, 4, appendStrings(nil, texts)},
		{4, 2, appendStrings(nil, long)},
		{4, 2, appendStrings(nil, tile.NewStrings([]string{"u1", "u77"}))},
		{4, 1, appendStrings(nil, tile.NewStrings([]string{"01234567-89ab-cdef-0123-456789abcdef"}))},
		{5, 3, appendPlanes(nil, tile.NewCodes([]uint32{1, 2, 19}))},
		{6, 4, appendCodes(nil, []uint32{7, 7, 7, 7}, nil)},
		{6, 4, appendCodes(nil, []uint32{7, 1, 3, 2}, nil)},
		{7, 5, appendStarts(appendTimes(nil, times), []uint32{0, 3, 5}, times)},
		{8, 4, property},
		{8, 2, appendStrings([]byte{bitmapAll, stringPlain}, tile.NewStrings([]string{"x", "y"}))},
		{8, 3, appendInts(appendStrings([]byte{bitmapAll, stringLocal, 2}, tile.NewStrings([]string{"x", "y"})), []int64{0, 1, 0}, nil)},
		{9, 2, appendFloats([]byte{bitmapAll}, []float64{1.5, 0.1}, nil)},
		{9, 2, appendFloats([]byte{bitmapAll}, []float64{1.0 / 3, 2}, nil)},
		{10, 300, appendInts([]byte{bitmapAll}, wide, nil)},
		{11, 3, appendInts([]byte{bitmapAll}, []int64{1, 0, 1}, nil)},
	}
}

func TestPageCutShort(t *testing.T) {
	for _, s := range samplePages() {
		k := pageKinds[s.kind]
		c := &cursor{b: s.page}
		if k.decode(c, s.n); c.end() != nil {
			t.Errorf("%s: %v", k.name, c.err)
		}
		for size := range s.page {
			c := &cursor{b: s.page[:size]}
			if k.decode(c, s.n); !errors.Is(c.end(), ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", k.name, size, len(s.page), c.err)
			}
		}
	}
}

// TestPageRefuses holds what decoders check of content that no writer makes.
func TestPageRefuses(t *testing.T) {
	f := func(kind, n int, want string, page ...byte) {
		t.Helper()
		c := &cursor{b: page}
		pageKinds[kind].decode(c, n)
		if err := c.end(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %x: error %v, want %q", pageKinds[kind].name, page, err, want)
		}
	}
	varint := func(v int64) []byte { return binary.AppendVarint(nil, v) }
	f(0, 3, "kind 9 of integers", 9)
	f(0, 3, "width 65", intsPacked, 0, 1, 65)
	f(0, 3, "9 bytes a number", intsZstd, 0, 1, 9)
	f(0, 3, "no frame", intsZstd, 0, 1, 1, 4, 1, 2, 3, 4)
	f(0, 4, "3 bytes in a frame of", append([]byte{intsZstd, 0, 1, 1}, appendZstd(nil, []byte{1, 2, 3})...)...)
	f(0, 3, "the first row", intsHeld, 0, bitmapRaw, 2, intsConst, 0)
	f(0, 3, "anchors where there are none", intsHeld, 1, bitmapRaw, 1, intsConst, 0)
	f(1, 3, "the first row", intsHeld, 2, bitmapRaw, 1, intsConst, 0)
	f(0, 3, "kind 3 of integers", intsHeld, 0, bitmapRaw, 3, intsHeld)
	f(2, 3, "kind 7 of bitmap", 7)
	f(2, 3, "kind 5 of bitmap", bitmapEvents)
	f(2, 3, "bits past the last", bitmapRaw, 8)
	f(2, 3, "is not below 3", appendRoaring([]byte{bitmapRoaring}, roaring.BitmapOf(3))...)
	f(2, 3, "roaring", bitmapRoaring, 2, 0, 0)
	f(4, 2, "kind 4 of texts", 4)
	f(4, 2, "a text of -1 bytes", append([]byte{textsPlain, intsConst}, varint(-1)...)...)
	f(4, 2, "bytes of text", append([]byte{textsPlain, intsConst}, varint(math.MaxUint32)...)...)
	f(5, 2, "33 planes", 33)
	f(5, 2, "not below 20", append([]byte{5}, bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 5)...)...)
	f(6, 2, "kind 2 of codes", 2)
	f(6, 2, "code 20 is not below 20", append([]byte{codesInts, intsConst}, varint(20)...)...)
	f(6, 2, "does not fit", append([]byte{codesInts, intsConst}, varint(1<<32)...)...)
	f(6, 2, "does not fit", append([]byte{codesInts, intsPacked}, append(varint(-1), 1, 1, 2)...)...)
	f(7, 2, "widths", 0, 1, 9, 8, 1, 1, 0, 0, 0)
	f(7, 2, "2 high bits for 1 anchors", 0, 1, 0, 0, 1, 2, 0)
	f(7, 2, "1 high bits for 1 anchors", 0, 1, 0, 0, 2, 1, 0) // row 0 must be one
	f(7, 2, "too many ticks from the origin", 0, 1, 0, 0, 1, 1, 33, 0, 0, 0, 0, 1)
	f(7, 2, "0 customers", 0, 1, 0, 0, 3, 2, 0, 0)
	f(7, 2, "2 customers, the directory has 1", 0, 1, 0, 0, 3, 2, 0, 3)
	f(8, 2, "kind 3 of strings", bitmapAll, 3)
	f(8, 2, "3 is more than 2", bitmapAll, stringShared, 3)
	f(8, 2, "code 3 is not below 3", append([]byte{bitmapAll, stringShared, 1, intsConst}, varint(3)...)...)
	f(9, 2, "with 7 decimals", bitmapAll, floatDecimal, 7)
	f(9, 2, "kind 2 of floats", bitmapAll, 2)
	f(11, 2, "boolean 2", append([]byte{bitmapAll, intsConst}, varint(2)...)...)
	f(11, 0, "bytes are left over", 1)
}

// FuzzPage decodes pages of any content: the first argument chooses the
// encoding. What decodes has the length that was asked for.
func FuzzPage(f *testing.F) {
	for _, s := range samplePages() {
		f.Add(uint8(s.kind), uint16(s.n), s.page)
	}
	f.Fuzz(func(t *testing.T, kind uint8, n uint16, page []byte) {
		k := pageKinds[int(kind)%len(pageKinds)]
		n %= 4096
		c := &cursor{b: page}
		got := k.decode(c, int(n))
		if c.end() == nil && got != int(n) {
			t.Errorf("%s: %d of %d values", k.name, got, n)
		}
	})
}
