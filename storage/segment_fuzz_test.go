package storage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

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
		info, err := checkSegment("fuzz.seg", bytes.NewReader(file), int64(len(file)), [16]byte{}, 0)
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

// FuzzPage decodes pages of any content: the first argument chooses the
// encoding. What decodes has the length that was asked for.
func FuzzPage(f *testing.F) {
	wide := make([]int64, 300)
	for i := range wide {
		wide[i] = int64(i*i%97) << (i % 40)
	}
	held := make([]int64, 300)
	for i := range held {
		held[i] = int64(i / 50)
	}
	texts := tile.NewStrings([]string{"ann", "bob", "", "ü"})
	times := tile.NewTimes([]event.Time{5e6, 6e6, 9e9, 1, 1}, []uint32{0, 3, 5})
	column := tile.NewColumn(event.StringType, 4)
	column.Present.Set(2)
	column.Dict = []string{"b"}
	property, _, _ := appendProperty(nil, column, make([]uint32, 4), nil, &dictionary{})
	for kind, page := range [][]byte{
		appendInts(nil, wide, nil),
		appendInts(nil, held, everyThird(300)),
		appendBitmap(nil, everyThird(300), 300),
		{bitmapEvents, 1, 0},
		appendStrings(nil, texts),
		appendPlanes(nil, tile.NewCodes([]uint32{1, 2, 19})),
		appendCodes(nil, []uint32{7, 7, 7, 7}, nil),
		appendStarts(appendTimes(nil, times), []uint32{0, 3, 5}, times),
		property,
		appendFloats([]byte{bitmapAll}, []float64{1.5, 0.1}, nil),
		appendInts([]byte{bitmapAll}, wide, nil),
		appendInts([]byte{bitmapAll}, []int64{1, 0, 1}, nil),
	} {
		n := []uint16{300, 300, 300, 1, 4, 3, 4, 5, 4, 2, 300, 3}[kind]
		f.Add(uint8(kind), n, page)
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
