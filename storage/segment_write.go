package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"wend/event"
	"wend/tile"
)

// segmentWriter writes one segment, front to back, to a file or to memory.
type segmentWriter struct {
	w      io.Writer
	meta   segmentMeta
	seal   pageSeal
	info   segmentInfo
	hash   *xxhash.Digest
	offset int64
	next   int   // the least block that may come
	err    error // the first failure is final: what was written is of no use

	columns  []string // names of columns that have pages
	column   map[string]int
	blocks   []blockEntry
	pages    []pageEntry
	contents []sectionEntry

	dictionaries []dictionary
	eventIndex   valueIndex
	channelIndex valueIndex
	valueIndexes []valueIndex
	ranges       []valueRanges
	page         []byte // scratch
}

// blockEntry is a block's line in the directory.
type blockEntry struct {
	block, rows, customers int
	least, greatest        event.Time
	offset                 int64
	pages                  []pageEntry
	memory                 *memoryBlock // of a segment in memory, which has no pages
}

type pageEntry struct{ column, length int }

type sectionEntry struct {
	name           string
	offset, length int64
}

// valueIndex tells in which blocks the codes of a column occur.
type valueIndex struct {
	occurs  *roaring.Bitmap // code<<prefixBits + block
	open    tile.Bitmap     // blocks with values outside the dictionary
	tooMany bool            // code<<prefixBits + block does not fit 32 bits: no index
}

// valueRanges is the least and greatest value of a property by block.
type valueRanges struct {
	has             tile.Bitmap
	least, greatest []int64 // floats as their bits
}

// newSegmentWriter writes the header. The caller syncs and closes what is behind w.
func newSegmentWriter(w io.Writer, meta segmentMeta) (*segmentWriter, error) {
	if meta.PrefixBits < 0 || meta.PrefixBits > prefixBitsMax {
		return nil, fmt.Errorf("segment %d: %d prefix bits, at most %d", meta.ID, meta.PrefixBits, prefixBitsMax)
	}
	if len(meta.Channels) == 0 || meta.Channels[0] != "" || len(meta.Imports) == 0 || meta.Imports[0] != "" {
		return nil, fmt.Errorf("segment %d: the first channel and the first import must be \"\"", meta.ID)
	}
	s := &segmentWriter{
		w:            w,
		meta:         meta,
		seal:         newPageSeal(meta.Store, meta.ID),
		hash:         xxhash.New(),
		column:       map[string]int{},
		dictionaries: make([]dictionary, len(meta.Properties)),
		valueIndexes: make([]valueIndex, len(meta.Properties)),
		ranges:       make([]valueRanges, len(meta.Properties)),
	}
	s.info.EventCounts = make([]int64, len(meta.Events))
	s.info.ChannelCounts = make([]int64, len(meta.Channels))
	s.info.ImportCounts = make([]int64, len(meta.Imports))
	s.info.ValueCounts = make([]int64, len(meta.Properties))
	return s, s.write(appendHeader(nil, meta.Store, meta.ID, meta.Salt))
}

func appendHeader(dst []byte, store [16]byte, id uint64, salt uint32) []byte {
	from := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = append(dst, store[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, id)
	dst = binary.LittleEndian.AppendUint32(dst, salt)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

func (w *segmentWriter) write(b []byte) error {
	if w.err != nil {
		return w.err
	}
	n, err := w.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write segment %d at offset %d: %w", w.meta.ID, w.offset, err)
		return w.err
	}
	w.offset += int64(n)
	w.info.Checksum = crc32.Update(w.info.Checksum, castagnoli, b)
	_, _ = w.hash.Write(b) // it never fails
	return nil
}

// AddBlock writes block p; blocks come in rising order, those left out are
// empty. rows is only read, and not kept. Rows out of order, customers of
// another prefix and codes past their dictionary are the caller's bug, and an error.
func (w *segmentWriter) AddBlock(p int, rows *rowBlock) error {
	if w.err != nil {
		return w.err
	}
	if p < w.next || p >= 1<<w.meta.PrefixBits {
		return fmt.Errorf("segment %d: block %d after %d of %d", w.meta.ID, p, w.next-1, 1<<w.meta.PrefixBits)
	}
	if err := w.validate(p, rows); err != nil {
		return fmt.Errorf("segment %d, block %d: %w", w.meta.ID, p, err)
	}
	w.next = p + 1
	if len(rows.Time) == 0 {
		return nil
	}
	entry := blockEntry{block: p, rows: len(rows.Time), customers: rows.Names.Len(),
		offset: w.offset, least: rows.Time[0], greatest: rows.Time[0]}
	for _, t := range rows.Time {
		entry.least, entry.greatest = min(entry.least, t), max(entry.greatest, t)
	}
	first := len(w.pages)
	if err := w.writeColumns(p, rows); err != nil {
		return err
	}
	entry.pages = w.pages[first:]
	if w.info.Rows == 0 {
		w.info.MinTime, w.info.MaxTime = entry.least, entry.greatest
	}
	w.info.MinTime, w.info.MaxTime = min(w.info.MinTime, entry.least), max(w.info.MaxTime, entry.greatest)
	w.info.Rows += int64(entry.rows)
	w.info.Customers += int64(entry.customers)
	w.blocks = append(w.blocks, entry)
	return nil
}

// validate checks what readers rely on and no checksum would show.
func (w *segmentWriter) validate(p int, rows *rowBlock) error {
	n, customers := len(rows.Time), rows.Names.Len()
	if len(rows.Starts) != customers+1 || rows.Starts[0] != 0 || int(rows.Starts[customers]) != n || n > math.MaxUint32 {
		return errors.New("customer starts do not fit the rows")
	}
	if len(rows.Event) != n || rows.Channel != nil && len(rows.Channel) != n ||
		rows.Import != nil && len(rows.Import) != n || rows.TieRank != nil && len(rows.TieRank) != n {
		return errors.New("columns differ in length")
	}
	if len(rows.Columns) > len(w.meta.Properties) {
		return fmt.Errorf("%d columns for %d properties", len(rows.Columns), len(w.meta.Properties))
	}
	for i, t := range rows.Thin {
		if t.property >= len(w.meta.Properties) || i > 0 && t.property <= rows.Thin[i-1].property || t.property < len(rows.Columns) && rows.Columns[t.property] != nil {
			return fmt.Errorf("thin column %d of %d is of property %d of %d", i, len(rows.Thin), t.property, len(w.meta.Properties))
		}
	}
	var mistaken error
	rows.eachColumn(func(i int, _ []uint32, c *tile.Column) {
		if c.Type != w.meta.Properties[i].Type {
			mistaken = fmt.Errorf("property %q is %s, its column %s", w.meta.Properties[i].Name, w.meta.Properties[i].Type, c.Type)
		}
	})
	if mistaken != nil {
		return mistaken
	}
	var lastHash uint64
	var lastName string
	for c := range customers {
		name := rows.Names.At(c)
		hash := customerHash(name)
		lo, hi := rows.Starts[c], rows.Starts[c+1]
		switch {
		case blockOf(hash, w.meta.PrefixBits) != p:
			return fmt.Errorf("customer %q belongs to another block", name)
		case c > 0 && (hash < lastHash || hash == lastHash && name <= lastName):
			return fmt.Errorf("customer %q is out of order", name)
		case lo >= hi:
			return fmt.Errorf("customer %q has no rows", name)
		}
		for i := lo + 1; i < hi; i++ {
			if rows.Time[i] < rows.Time[i-1] {
				return fmt.Errorf("customer %q: row %d is earlier than the one before", name, i)
			}
		}
		lastHash, lastName = hash, name
	}
	return nil
}

func (w *segmentWriter) writeColumns(p int, rows *rowBlock) error {
	times := tile.NewTimes(rows.Time, rows.Starts)
	if err := w.countCodes(&w.eventIndex, p, "event", rows.Event, w.info.EventCounts); err != nil {
		return err
	}
	w.put(p, "event", appendPlanes(w.page[:0], tile.NewCodes(rows.Event)))
	w.put(p, "time", appendTimes(w.page[:0], times))
	w.put(p, "starts", appendStarts(w.page[:0], rows.Starts, times))
	if ties := tile.NewTies(rows.Time, rows.Starts); ties.Count() > 0 {
		w.put(p, "ties", appendBitmap(w.page[:0], ties, rows.Names.Len()))
	}
	channel := rows.Channel
	if channel == nil {
		w.info.ChannelCounts[0] += int64(len(rows.Event))
	} else if err := w.countCodes(&w.channelIndex, p, "channel", channel, w.info.ChannelCounts); err != nil {
		return err
	}
	if someSet(channel) {
		w.put(p, "channel", appendCodes(w.page[:0], channel, times.Anchors))
	}
	w.put(p, "names", appendStrings(w.page[:0], rows.Names))
	if rows.Import == nil {
		w.info.ImportCounts[0] += int64(len(rows.Event))
	} else if err := w.countCodes(nil, p, "import", rows.Import, w.info.ImportCounts); err != nil {
		return err
	}
	if someSet(rows.Import) {
		w.put(p, "import", appendInts(w.page[:0], widened(rows.Import), times.Anchors))
	}
	if someSet(rows.TieRank) {
		w.put(p, "tie rank", appendInts(w.page[:0], widened(rows.TieRank), times.Anchors))
	}
	if hasValues(rows.IDs) {
		page, _, _ := appendProperty(w.page[:0], rows.IDs.Present, rows.IDs, rows.Event, times.Anchors, nil)
		w.put(p, "id", page)
	}
	scratch := tile.NewBitmap(len(rows.Time))
	rows.eachColumn(func(i int, of []uint32, c *tile.Column) {
		present := c.Present
		if of != nil {
			present = scratch
			for _, row := range of {
				present.Set(int(row))
			}
		}
		if hasValues(c) {
			w.putProperty(p, i, present, c, rows.Event, times.Anchors)
		}
		if of != nil {
			clear(scratch)
		}
	})
	return w.err
}

func someSet(codes []uint32) bool {
	for _, c := range codes {
		if c != 0 {
			return true
		}
	}
	return false
}

func hasValues(c *tile.Column) bool {
	return c != nil && c.Present.Next(0, len(c.Present)*64) < len(c.Present)*64
}

// countCodes counts a block's codes and indexes them.
func (w *segmentWriter) countCodes(index *valueIndex, p int, what string, codes []uint32, counts []int64) error {
	own := make([]int64, len(counts))
	for i, c := range codes {
		if int(c) >= len(own) {
			return fmt.Errorf("segment %d, block %d, row %d: %s code %d of %d", w.meta.ID, p, i, what, c, len(own))
		}
		own[c]++
	}
	var used []uint32
	for c, n := range own {
		counts[c] += n
		if n > 0 {
			used = append(used, uint32(c))
		}
	}
	if index != nil {
		index.add(used, p, w.meta.PrefixBits)
	}
	return nil
}

func (x *valueIndex) add(codes []uint32, p, prefixBits int) {
	if x.occurs == nil {
		x.occurs = roaring.New()
	}
	for _, c := range codes {
		if bits.Len32(c)+prefixBits > 32 {
			x.tooMany = true
			return
		}
		x.occurs.Add(c<<prefixBits + uint32(p))
	}
}

func (w *segmentWriter) putProperty(p, i int, present tile.Bitmap, c *tile.Column, events []uint32, anchors tile.Bitmap) {
	page, used, shared := appendProperty(w.page[:0], present, c, events, anchors, &w.dictionaries[i])
	w.put(p, "property:"+w.meta.Properties[i].Name, page)
	w.info.ValueCounts[i] += int64(c.Present.Count())
	switch c.Type {
	case event.StringType:
		w.valueIndexes[i].add(used, p, w.meta.PrefixBits)
		if !shared {
			w.valueIndexes[i].addOpen(p, w.meta.PrefixBits)
		}
	case event.IntegerType, event.FloatType, event.TimeType:
		w.ranges[i].add(c, p, w.meta.PrefixBits)
	}
}

func (x *valueIndex) addOpen(p, prefixBits int) {
	if x.open == nil {
		x.open = tile.NewBitmap(1 << prefixBits)
	}
	x.open.Set(p)
}

func (r *valueRanges) add(c *tile.Column, p, prefixBits int) {
	if r.has == nil {
		r.has = tile.NewBitmap(1 << prefixBits)
	}
	r.has.Set(p)
	end := len(c.Present) * 64
	first := c.Present.Next(0, end)
	if c.Type == event.FloatType {
		least, greatest := c.Floats[first], c.Floats[first]
		for i := first; i < end; i = c.Present.Next(i+1, end) {
			least, greatest = min(least, c.Floats[i]), max(greatest, c.Floats[i])
		}
		r.least = append(r.least, int64(math.Float64bits(least)))
		r.greatest = append(r.greatest, int64(math.Float64bits(greatest)))
		return
	}
	least, greatest := c.Ints[first], c.Ints[first]
	for i := first; i < end; i = c.Present.Next(i+1, end) {
		least, greatest = min(least, c.Ints[i]), max(greatest, c.Ints[i])
	}
	r.least, r.greatest = append(r.least, least), append(r.greatest, greatest)
}

// put writes a page; its bytes may be scratch.
func (w *segmentWriter) put(p int, column string, page []byte) {
	page = w.seal.seal(uint32(p), column, page)
	w.page = page
	c, ok := w.column[column]
	if !ok {
		c = len(w.columns)
		w.column[column] = c
		w.columns = append(w.columns, column)
	}
	w.pages = append(w.pages, pageEntry{c, len(page)})
	w.err = w.write(page)
}

// Finish writes dictionaries, indexes, directory and trailer.
func (w *segmentWriter) Finish() (segmentInfo, error) {
	if w.meta.Sparse {
		w.forgetUnused()
	}
	w.section("meta", w.appendMeta(nil))
	w.section("events", appendCounted(nil, w.meta.Events, w.info.EventCounts))
	w.section("channels", appendCounted(nil, w.meta.Channels, w.info.ChannelCounts))
	w.section("imports", appendCounted(nil, w.meta.Imports, w.info.ImportCounts))
	w.section("properties", w.appendProperties(nil))
	w.index("event", &w.eventIndex)
	w.index("channel", &w.channelIndex)
	for i, p := range w.meta.Properties {
		if p.Type == event.StringType && w.info.ValueCounts[i] > 0 {
			values := binary.AppendUvarint(nil, uint64(len(w.dictionaries[i].values)))
			w.section("values:"+p.Name, appendStrings(values, tile.NewStrings(w.dictionaries[i].values)))
			w.index("property:"+p.Name, &w.valueIndexes[i])
		}
		if r := &w.ranges[i]; r.has != nil {
			page := appendBitmap(nil, r.has, 1<<w.meta.PrefixBits)
			page = appendInts(page, r.least, nil)
			w.section("range:"+p.Name, appendInts(page, r.greatest, nil))
		}
	}
	w.section("directory", w.appendDirectory(nil))
	w.finishFile()
	w.info.Size, w.info.Hash = w.offset, w.hash.Sum64()
	if w.err != nil {
		return segmentInfo{}, w.err
	}
	return w.info, nil
}

// forgetUnused blanks names that no row carries. Their codes stay, so that
// segments go on to share codes; but a name is in the files of those who use
// it only, and leaves with them.
func (w *segmentWriter) forgetUnused() {
	blank := func(names []string, counts []int64) []string {
		names = slices.Clone(names)
		for code, n := range counts {
			if n == 0 {
				names[code] = ""
			}
		}
		return names
	}
	w.meta.Events = blank(w.meta.Events, w.info.EventCounts)
	w.meta.Channels = blank(w.meta.Channels, w.info.ChannelCounts)
	w.meta.Properties = slices.Clone(w.meta.Properties)
	for i, n := range w.info.ValueCounts {
		if n == 0 {
			w.meta.Properties[i].Name = ""
		}
	}
}

func (w *segmentWriter) section(name string, content []byte) {
	content = w.seal.seal(noBlock, name, content)
	w.contents = append(w.contents, sectionEntry{name, w.offset, int64(len(content))})
	w.err = w.write(content)
}

func (w *segmentWriter) appendMeta(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, w.meta.FirstLSN)
	dst = binary.AppendUvarint(dst, w.meta.LastLSN)
	dst = binary.AppendUvarint(dst, uint64(w.meta.PrefixBits))
	dst = binary.AppendUvarint(dst, uint64(w.info.Rows))
	dst = binary.AppendUvarint(dst, uint64(w.info.Customers))
	dst = binary.AppendVarint(dst, int64(w.info.MinTime))
	return binary.AppendVarint(dst, int64(w.info.MaxTime))
}

func appendCounted(dst []byte, names []string, counts []int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	dst = appendStrings(dst, tile.NewStrings(names))
	return appendInts(dst, counts, nil)
}

func (w *segmentWriter) appendProperties(dst []byte) []byte {
	names := make([]string, len(w.meta.Properties))
	types := make([]byte, len(names))
	for i, p := range w.meta.Properties {
		names[i], types[i] = p.Name, byte(p.Type)
	}
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	dst = appendStrings(dst, tile.NewStrings(names))
	dst = append(dst, types...)
	return appendInts(dst, w.info.ValueCounts, nil)
}

// index writes a value index. Without it every block counts as one that may hold any value.
func (w *segmentWriter) index(column string, x *valueIndex) {
	if x.tooMany || x.occurs == nil {
		return
	}
	open := x.open
	if open == nil {
		open = tile.NewBitmap(1 << w.meta.PrefixBits)
	}
	x.occurs.RunOptimize()
	w.section("index:"+column, appendRoaring(appendBitmap(nil, open, 1<<w.meta.PrefixBits), x.occurs))
}

func (w *segmentWriter) appendDirectory(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(w.columns)))
	dst = appendStrings(dst, tile.NewStrings(w.columns))
	dst = binary.AppendUvarint(dst, uint64(len(w.blocks)))
	last := 0
	for _, b := range w.blocks {
		dst = binary.AppendUvarint(dst, uint64(b.block-last))
		dst = binary.AppendUvarint(dst, uint64(b.rows))
		dst = binary.AppendUvarint(dst, uint64(b.customers))
		dst = binary.AppendVarint(dst, int64(b.least))
		dst = binary.AppendUvarint(dst, uint64(b.greatest-b.least))
		dst = binary.AppendUvarint(dst, uint64(len(b.pages)))
		for _, p := range b.pages {
			dst = binary.AppendUvarint(dst, uint64(p.column))
			dst = binary.AppendUvarint(dst, uint64(p.length))
		}
		last = b.block
	}
	return dst
}

// finishFile writes contents and trailer.
func (w *segmentWriter) finishFile() {
	offset := w.offset
	contents := binary.AppendUvarint(nil, uint64(len(w.contents)))
	for _, s := range w.contents {
		contents = appendText(contents, s.name)
		contents = binary.AppendUvarint(contents, uint64(s.offset))
		contents = binary.AppendUvarint(contents, uint64(s.length))
	}
	contents = w.seal.seal(noBlock, "contents", contents)
	w.err = w.write(contents)

	trailer := binary.LittleEndian.AppendUint64(nil, uint64(offset))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(contents)))
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(w.offset+trailerSize))
	trailer = w.seal.seal(noBlock, "trailer", trailer)
	w.err = w.write(append(trailer, trailerMagic...))
}
