package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"wend/event"
	"wend/tile"
)

var testStore = [16]byte{'s', 't', 'o', 'r', 'e'}

// drawSegment draws a segment's description and its blocks.
func drawSegment(t *rapid.T) (segmentMeta, []*rowBlock) {
	meta := segmentMeta{
		Store:      testStore,
		ID:         rapid.Uint64().Draw(t, "id"),
		FirstLSN:   rapid.Uint64().Draw(t, "first LSN"),
		LastLSN:    rapid.Uint64().Draw(t, "last LSN"),
		PrefixBits: rapid.IntRange(0, 3).Draw(t, "prefix bits"),
		Events:     []string{"view", "cart", "purchase", "rückgabe", ""}[:rapid.IntRange(1, 5).Draw(t, "events")],
		Channels:   []string{"", "web", "store"}[:rapid.IntRange(1, 3).Draw(t, "channels")],
		Imports:    []string{"", "i1", "i2"}[:rapid.IntRange(1, 3).Draw(t, "imports")],
		Properties: []event.Property{
			{Name: "device", Type: event.StringType},
			{Name: "value", Type: event.FloatType},
			{Name: "items", Type: event.IntegerType},
			{Name: "member", Type: event.BooleanType},
			{Name: "due", Type: event.TimeType},
		},
	}
	names := rapid.SliceOfNDistinct(rapid.OneOf(
		rapid.StringN(1, 8, -1),
		rapid.Map(rapid.IntRange(0, 1<<20), func(i int) string { return fmt.Sprint("u", i) }),
	), 0, 30, rapid.ID).Draw(t, "customers")
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(customerHash(a), customerHash(b)), cmp.Compare(a, b))
	})
	blocks := make([]*rowBlock, 1<<meta.PrefixBits)
	for p := range blocks {
		var own []string
		for _, n := range names {
			if blockOf(customerHash(n), meta.PrefixBits) == p {
				own = append(own, n)
			}
		}
		blocks[p] = drawRows(t, meta, own)
	}
	return meta, blocks
}

func drawRows(t *rapid.T, meta segmentMeta, names []string) *rowBlock {
	rows := &rowBlock{Names: tile.NewStrings(names), Starts: []uint32{0}}
	unit := rapid.SampledFrom([]event.Time{1, 1000, 1000_000_000}).Draw(t, "unit")
	for range names {
		for _, at := range rapid.SliceOfN(rapid.Int64Range(-50, 50), 1, 12).Draw(t, "times") {
			rows.Time = append(rows.Time, event.Time(at)*unit)
		}
		slices.Sort(rows.Time[rows.Starts[len(rows.Starts)-1]:])
		rows.Starts = append(rows.Starts, uint32(len(rows.Time)))
	}
	n := len(rows.Time)
	codes := func(what string, values int) []uint32 {
		list := make([]uint32, n)
		if values < 2 || rapid.Bool().Draw(t, what+" constant") {
			return list
		}
		hold := rapid.IntRange(1, 9).Draw(t, what+" holds")
		for i := range list {
			if i%hold == 0 {
				list[i] = rapid.Uint32Range(0, uint32(values-1)).Draw(t, what)
			} else {
				list[i] = list[i-1]
			}
		}
		return list
	}
	rows.Event = codes("event", len(meta.Events))
	rows.Channel = codes("channel", len(meta.Channels))
	rows.Import = codes("import", len(meta.Imports))
	rows.TieRank = codes("tie rank", 1000)
	rows.IDs = drawColumn(t, event.StringType, rows.Event)
	for _, p := range meta.Properties {
		rows.Columns = append(rows.Columns, drawColumn(t, p.Type, rows.Event))
	}
	return rows
}

// drawColumn draws values of one character a column: few, many, of one event only, …
func drawColumn(t *rapid.T, of event.Type, events []uint32) *tile.Column {
	c := tile.NewColumn(of, len(events))
	presence := rapid.SampledFrom([]string{"none", "all", "some", "of one event"}).Draw(t, "presence")
	wide := rapid.Bool().Draw(t, "many values")
	codes := map[string]uint32{}
	for i := range events {
		if presence == "none" || presence == "some" && rapid.Bool().Draw(t, "absent") || presence == "of one event" && events[i] != 0 {
			continue
		}
		c.Present.Set(i)
		switch of {
		case event.StringType:
			text := rapid.SampledFrom([]string{"", "mobile", "desktop", "ü"}).Draw(t, "text")
			if wide {
				text = rapid.StringN(0, 12, -1).Draw(t, "text")
			}
			code, ok := codes[text]
			if !ok {
				code = uint32(len(c.Dict))
				codes[text] = code
				c.Dict = append(c.Dict, text)
			}
			c.Codes[i] = code
		case event.FloatType:
			c.Floats[i] = float64(rapid.IntRange(-500, 500).Draw(t, "cents")) / 100
			if wide {
				c.Floats[i] = rapid.Float64().Draw(t, "float")
			}
		case event.BooleanType:
			c.Ints[i] = rapid.Int64Range(0, 1).Draw(t, "boolean")
		default:
			c.Ints[i] = rapid.Int64Range(-3, 3).Draw(t, "small") * 7
			if wide {
				c.Ints[i] = rapid.Int64().Draw(t, "integer")
			}
		}
	}
	return c
}

func writeSegment(t interface{ Fatal(...any) }, meta segmentMeta, blocks []*rowBlock) ([]byte, segmentInfo) {
	var file bytes.Buffer
	w, err := newSegmentWriter(&file, meta)
	if err != nil {
		t.Fatal(err)
	}
	for p, rows := range blocks {
		if err := w.AddBlock(p, rows); err != nil {
			t.Fatal(err)
		}
	}
	info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), info
}

// rowsOf lists a block's rows as events, so that two blocks compare by what they mean.
func rowsOf(meta segmentMeta, b *rowBlock) []string {
	var lines []string
	code := func(codes []uint32, i int) uint32 {
		if codes == nil {
			return 0
		}
		return codes[i]
	}
	for c := range b.Names.Len() {
		for i := int(b.Starts[c]); i < int(b.Starts[c+1]); i++ {
			var line strings.Builder
			fmt.Fprintf(&line, "%q %d %d channel %d import %d rank %d id %#v", b.Names.At(c), b.Time[i], b.Event[i],
				code(b.Channel, i), code(b.Import, i), code(b.TieRank, i), b.IDs.At(i))
			for k := range meta.Properties {
				v := b.column(k).At(i)
				fmt.Fprintf(&line, " %v:%q:%d", v.Type(), v.Text(), v.Int()) // a float by its bits
			}
			lines = append(lines, line.String())
		}
	}
	return lines
}

func TestSegmentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		meta, blocks := drawSegment(t)
		file, info := writeSegment(t, meta, blocks)
		s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(meta, s.segmentMeta); diff != "" {
			t.Fatalf("description differs (-written +read):\n%s", diff)
		}
		if diff := gocmp.Diff(info, s.segmentInfo, cmpopts.IgnoreFields(segmentInfo{}, "Checksum", "Hash"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("counts differ (-written +read):\n%s", diff)
		}
		for p, want := range blocks {
			b, err := s.Block(p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(rowsOf(meta, want), rowsOf(meta, got)); diff != "" {
				t.Fatalf("block %d differs (-written +read):\n%s", p, diff)
			}
			if stats := s.Stats(p); stats.Rows != len(want.Time) || stats.Customers != want.Names.Len() {
				t.Fatalf("block %d: %+v, want %d rows of %d customers", p, stats, len(want.Time), want.Names.Len())
			}
			checkIndexes(t, s, p, want)
		}
		checked, err := checkSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID, nil)
		if err != nil || checked.Checksum != info.Checksum || checked.Hash != info.Hash {
			t.Fatalf("check: %v, checksum %08x, want %08x", err, checked.Checksum, info.Checksum)
		}
	})
}

// checkIndexes checks that the indexes name block p for everything in it, and
// not for everything else.
func checkIndexes(t *rapid.T, s *segment, p int, rows *rowBlock) {
	is := func(what string, want bool) func(bool, error) {
		return func(got bool, err error) {
			if err != nil || got != want {
				t.Fatalf("block %d has %s: %v, %v", p, what, got, err)
			}
		}
	}
	for code := range s.Events {
		want := slices.Contains(rows.Event, uint32(code))
		is(fmt.Sprint("event ", code), want)(s.HasEvent(p, uint32(code)))
	}
	for code := 1; code < len(s.Channels); code++ {
		want := slices.Contains(rows.Channel, uint32(code))
		is(fmt.Sprint("channel ", code), want)(s.HasChannel(p, uint32(code)))
	}
	for k, c := range rows.Columns {
		for i := range rows.Time {
			if v := c.At(i); !v.IsNull() {
				is(fmt.Sprintf("%s %v", s.Properties[k].Name, v), true)(s.HasValue(p, k, v))
			}
		}
	}
	if len(rows.Time) == 0 {
		is("a value", false)(s.HasValue(p, 0, event.String("mobile")))
	}
}

// orderSegment has a row for each customer, in 4 blocks: plan is "a" or "b" by
// the block, value the length of the name, order unique.
func orderSegment(t *testing.T, customers int) (*segment, []*rowBlock) {
	meta := segmentMeta{Store: testStore, ID: 7, PrefixBits: 2, Events: []string{"view"}, Channels: []string{""}, Imports: []string{""},
		Properties: []event.Property{{Name: "plan", Type: event.StringType}, {Name: "value", Type: event.FloatType}, {Name: "order", Type: event.StringType}}}
	names := make([][]string, 4)
	for i := range customers {
		name := fmt.Sprint("customer ", i)
		p := blockOf(customerHash(name), 2)
		names[p] = append(names[p], name)
	}
	blocks := make([]*rowBlock, 4)
	for p, own := range names {
		slices.SortFunc(own, func(a, b string) int { return cmp.Compare(customerHash(a), customerHash(b)) })
		n := len(own)
		plan, value, order := tile.NewColumn(event.StringType, n), tile.NewColumn(event.FloatType, n), tile.NewColumn(event.StringType, n)
		plan.Dict = []string{[]string{"a", "b"}[p%2], "of no row"}
		rows := &rowBlock{Names: tile.NewStrings(own), Starts: []uint32{0}, Event: make([]uint32, n), Time: make([]event.Time, n),
			Columns: []*tile.Column{plan, value, order}}
		for i, name := range own {
			rows.Starts = append(rows.Starts, uint32(i+1))
			plan.Present.Set(i)
			value.Present.Set(i)
			order.Present.Set(i)
			value.Floats[i] = float64(len(name) + p*100)
			order.Dict = append(order.Dict, "order of "+name)
			order.Codes[i] = uint32(i)
		}
		blocks[p] = rows
	}
	file, _ := writeSegment(t, meta, blocks)
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	return s, blocks
}

func TestSegmentIndexSkips(t *testing.T) {
	s, _ := orderSegment(t, 1000)
	f := func(prop int, value event.Value, want ...bool) {
		t.Helper()
		for p := range want {
			if got, err := s.HasValue(p, prop, value); err != nil || got != want[p] {
				t.Errorf("block %d may have %v: %v, %v; want %v", p, value, got, err, want[p])
			}
		}
	}
	f(0, event.String("a"), true, false, true, false)
	f(0, event.String("b"), false, true, false, true)
	f(0, event.String("of no row"), false, false, false, false)
	f(1, event.Float(11.5), true, false, false, false)
	f(1, event.Integer(212), false, false, true, false)
	f(1, event.Float(313), false, false, false, false)
	f(2, event.String("order of nobody"), true, true, true, true) // each row has its own: no index
}

func TestSegmentValues(t *testing.T) {
	f := func(s *segment, prop int, prefix string, limit int, complete bool, want ...string) {
		t.Helper()
		got, all := s.Values(prop, prefix, limit)
		if !slices.Equal(got, want) || all != complete {
			t.Errorf("values with %q: %q, complete %v", prefix, got, all)
		}
	}
	s, _ := orderSegment(t, 1000)
	f(s, 0, "", 9, true, "a", "b")
	f(s, 0, "b", 9, true, "b")
	f(s, 0, "c", 9, true)
	f(s, 0, "", 1, false, "a")
	f(s, 1, "", 9, true)       // not a string
	f(s, 2, "order", 9, false) // too many to keep
	s, _ = orderSegment(t, 0)
	f(s, 0, "", 9, true)
}

func TestSegmentRefusesNewerFormats(t *testing.T) {
	meta, blocks := smallSegment()
	f := func(offset int, want string) {
		t.Helper()
		file, _ := writeSegment(t, meta, blocks)
		file[offset]++
		binary.LittleEndian.PutUint32(file[44:], crc32.Checksum(file[:44], castagnoli))
		_, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
		if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	f(8, "format version 2")
	f(12, "needs features 0x1")
}

// TestSegmentReadErrors: an error of the file system is passed on, and not taken for damage.
func TestSegmentReadErrors(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	for good := 0; ; good++ {
		r := &failingReader{bytes.NewReader(file), good}
		_, err := checkSegment("test.seg", r, int64(len(file)), meta.Store, meta.ID, nil)
		if err == nil {
			break // no read is left to fail
		}
		if !errors.Is(err, errBadSector) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("after %d reads: %v", good, err)
		}
		if good > 1000 {
			t.Fatal("reading does not come to an end")
		}
	}
}

// failingReader fails after some good reads.
type failingReader struct {
	*bytes.Reader
	good int
}

var errBadSector = errors.New("bad sector")

func (r *failingReader) ReadAt(b []byte, at int64) (int, error) {
	if r.good == 0 {
		return 0, errBadSector
	}
	r.good--
	return r.Reader.ReadAt(b, at)
}

func TestSegmentOneLongJourney(t *testing.T) {
	const n = 1_000_000
	rows := &rowBlock{Names: tile.NewStrings([]string{"ann"}), Starts: []uint32{0, n}, Event: make([]uint32, n), Time: make([]event.Time, n)}
	for i := range n {
		rows.Event[i] = uint32(i % 3)
		rows.Time[i] = event.Time(i / 2)
	}
	meta := segmentMeta{Store: testStore, Events: []string{"a", "b", "c"}, Channels: []string{""}, Imports: []string{""}}
	file, _ := writeSegment(t, meta, []*rowBlock{rows})
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Block(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, n / 2, n - 1} {
		if b.Event.At(i) != rows.Event[i] || b.Time.At(i) != rows.Time[i] {
			t.Errorf("row %d: event %d at %v", i, b.Event.At(i), b.Time.At(i))
		}
	}
	if !b.Ties.Get(0) {
		t.Error("equal times are not marked")
	}
}

func TestSegmentWriterRefuses(t *testing.T) {
	meta := segmentMeta{Store: testStore, Events: []string{"view"}, Channels: []string{""}, Imports: []string{""}, PrefixBits: 1}
	f := func(want string, change func(*rowBlock)) {
		t.Helper()
		rows := &rowBlock{Names: tile.NewStrings([]string{"ann"}), Starts: []uint32{0, 2}, Event: []uint32{0, 0}, Time: []event.Time{1, 2}}
		change(rows)
		w, err := newSegmentWriter(&bytes.Buffer{}, meta)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.AddBlock(blockOf(customerHash("ann"), 1), rows); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	f("event code 1 of 1", func(r *rowBlock) { r.Event[1] = 1 })
	f("earlier than the one before", func(r *rowBlock) { r.Time[1] = 0 })
	f("has no rows", func(r *rowBlock) { r.Names, r.Starts = tile.NewStrings([]string{"ann", "ann"}), []uint32{0, 0, 2} })
	f("out of order", func(r *rowBlock) { r.Names, r.Starts = tile.NewStrings([]string{"ann", "ann"}), []uint32{0, 1, 2} })
	f("another block", func(r *rowBlock) { r.Names = tile.NewStrings([]string{otherBlock("ann")}) })
	f("differ in length", func(r *rowBlock) { r.Import = []uint32{0} })
	f("do not fit", func(r *rowBlock) { r.Starts[1] = 1 })
	f("1 columns for 0", func(r *rowBlock) { r.Columns = make([]*tile.Column, 1) })
}

func TestNewSegmentWriterRefuses(t *testing.T) {
	for _, meta := range []segmentMeta{
		{PrefixBits: prefixBitsMax + 1, Channels: []string{""}, Imports: []string{""}},
		{PrefixBits: -1, Channels: []string{""}, Imports: []string{""}},
		{Imports: []string{""}},
		{Channels: []string{"web"}, Imports: []string{""}},
		{Channels: []string{""}},
	} {
		if _, err := newSegmentWriter(&bytes.Buffer{}, meta); err == nil {
			t.Errorf("%+v is accepted", meta)
		}
	}
}

// otherBlock returns a name whose hash begins with another bit.
func otherBlock(name string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(name, i); blockOf(customerHash(other), 1) != blockOf(customerHash(name), 1) {
			return other
		}
	}
}

// failingWriter takes some bytes and then fails.
type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	n := min(len(b), w.left)
	w.left -= n
	if n < len(b) {
		return n, errDiskFull
	}
	return n, nil
}

var errDiskFull = errors.New("no space left")

func TestSegmentWriterReportsFailure(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	for size := range file {
		w, err := newSegmentWriter(&failingWriter{size}, meta)
		for p, rows := range blocks {
			if err == nil {
				err = w.AddBlock(p, rows)
			}
		}
		if err == nil {
			_, err = w.Finish()
		}
		if !errors.Is(err, errDiskFull) {
			t.Fatalf("after %d bytes: %v", size, err)
		}
	}
}

// faltering is a file that cannot be read for a while.
type faltering struct {
	io.ReaderAt
	times int
}

func (f *faltering) ReadAt(p []byte, off int64) (int, error) {
	if f.times--; f.times >= 0 {
		return 0, syscall.EIO
	}
	return f.ReaderAt.ReadAt(p, off)
}

// A section that could not be read is read again when it is next asked for.
func TestSectionIsReadAgain(t *testing.T) {
	meta, blocks := smallSegment()
	data, _ := writeSegment(t, meta, blocks)
	file := &faltering{ReaderAt: bytes.NewReader(data)}
	s, err := openSegment("small", file, int64(len(data)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	file.times = 1
	if _, err := s.dictionary(0); !errors.Is(err, syscall.EIO) {
		t.Fatalf("a read that fails: %v", err)
	}
	if values, err := s.dictionary(0); err != nil || len(values) == 0 {
		t.Errorf("read again: %q, %v", values, err)
	}
}

// smallSegment has every column and section in few bytes.
func smallSegment() (segmentMeta, []*rowBlock) {
	column := func(c *tile.Column, rows ...int) *tile.Column {
		for _, i := range rows {
			c.Present.Set(i)
		}
		return c
	}
	meta := segmentMeta{Store: testStore, ID: 42, FirstLSN: 3, LastLSN: 9, Events: []string{"view", "buy"},
		Channels: []string{"", "web"}, Imports: []string{"", "i1"},
		Properties: []event.Property{
			{Name: "device", Type: event.StringType}, {Name: "value", Type: event.FloatType}, {Name: "items", Type: event.IntegerType},
			{Name: "member", Type: event.BooleanType}, {Name: "due", Type: event.TimeType}, {Name: "note", Type: event.StringType}}}
	names := []string{"ann", "bob"}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(customerHash(a), customerHash(b)) })
	rows := &rowBlock{
		Names: tile.NewStrings(names), Starts: []uint32{0, 3, 5},
		Event: []uint32{0, 1, 1, 0, 1}, Time: []event.Time{10e6, 20e6, 25e6, 15e6, 15e6},
		Channel: []uint32{1, 1, 1, 0, 1}, Import: []uint32{0, 0, 0, 1, 1}, TieRank: []uint32{0, 0, 0, 0, 1},
		IDs: column(&tile.Column{Type: event.StringType, Present: tile.NewBitmap(5), Codes: []uint32{0, 0, 1, 0, 0}, Dict: []string{"e1", "e2"}}, 0, 2),
		Columns: []*tile.Column{
			column(&tile.Column{Type: event.StringType, Present: tile.NewBitmap(5), Codes: []uint32{0, 0, 0, 1, 1}, Dict: []string{"mobile", "pos"}}, 0, 1, 2, 3, 4),
			column(&tile.Column{Type: event.FloatType, Present: tile.NewBitmap(5), Floats: []float64{0, 12.5, 3.25, 0, 7}}, 1, 2, 4),
			column(&tile.Column{Type: event.IntegerType, Present: tile.NewBitmap(5), Ints: []int64{3, 0, 0, 0, -1}}, 0, 4),
			column(&tile.Column{Type: event.BooleanType, Present: tile.NewBitmap(5), Ints: []int64{1, 0, 1, 0, 0}}, 0, 1, 2, 3, 4),
			column(&tile.Column{Type: event.TimeType, Present: tile.NewBitmap(5), Ints: []int64{0, 0, 0, 0, 86400e6}}, 4),
			nil,
		},
	}
	return meta, []*rowBlock{rows}
}

func TestSegmentFindsEveryFlippedBit(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			_, err := checkSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID, nil)
			if err == nil {
				t.Errorf("byte %d, bit %d flipped: not noticed", i, bit)
			} else if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "test.seg") {
				t.Errorf("byte %d, bit %d flipped: %v", i, bit, err)
			}
			file[i] ^= 1 << bit
		}
	}
}

func TestSegmentFindsWrongLength(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	f := func(file []byte, what string) {
		t.Helper()
		_, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range file {
		f(file[:n], fmt.Sprint("cut to ", n))
	}
	for _, more := range []int{1, 7, 32, 4096} {
		f(append(slices.Clip(file), make([]byte, more)...), fmt.Sprint("longer by ", more))
		f(append(slices.Clip(file), file[len(file)-min(more, len(file)):]...), fmt.Sprint("its end again, ", more))
	}
}

// TestSegmentFileShorterThanManifest: the manifest's length is what counts, not the file's.
func TestSegmentFileShorterThanManifest(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	for n := range file {
		_, err := openSegment("test.seg", bytes.NewReader(file[:n]), int64(len(file)), meta.Store, meta.ID)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "the file ends after") {
			t.Errorf("cut to %d of %d: %v", n, len(file), err)
		}
	}
}

// TestSegmentLateDamage: sections that opening leaves for later are checked when they are read.
func TestSegmentLateDamage(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	f := func(section string, read func(*segment) error) {
		t.Helper()
		s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(s); err != nil {
			t.Fatal(err)
		}
		at := s.sections[section].offset
		file[at] ^= 1
		defer func() { file[at] ^= 1 }()
		s, err = openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(s); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), section) {
			t.Errorf("damage of %s: %v", section, err)
		}
	}
	f("index:event", func(s *segment) error { _, err := s.HasEvent(0, 0); return err })
	f("index:channel", func(s *segment) error { _, err := s.HasChannel(0, 1); return err })
	f("index:property:device", func(s *segment) error { _, err := s.HasValue(0, 0, event.String("pos")); return err })
	f("values:device", func(s *segment) error { _, err := s.HasValue(0, 0, event.String("pos")); return err })
	f("values:device", func(s *segment) error {
		b, err := s.Block(0)
		if err == nil {
			_, err = b.Decode()
		}
		return err
	})
	f("range:value", func(s *segment) error { _, err := s.HasValue(0, 1, event.Float(1)); return err })
}

func TestSegmentColumnBytesAddUp(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(headerSize + trailerSize)
	for _, size := range s.ColumnBytes() {
		sum += size
	}
	if sum != int64(len(file)) {
		t.Errorf("columns, sections, header and trailer add up to %d bytes, the file has %d", sum, len(file))
	}
}

// TestSegmentIndexTooLarge: where code and block do not fit 32 bits there is no
// index, and every block may hold every code.
func TestSegmentIndexTooLarge(t *testing.T) {
	meta := segmentMeta{Store: testStore, PrefixBits: prefixBitsMax, Channels: []string{""}, Imports: []string{""}}
	for i := range 1 << (33 - prefixBitsMax) {
		meta.Events = append(meta.Events, fmt.Sprint("event ", i))
	}
	p := blockOf(customerHash("ann"), prefixBitsMax)
	blocks := make([]*rowBlock, p+1)
	for i := range blocks {
		blocks[i] = &rowBlock{Names: &tile.Strings{}, Starts: []uint32{0}}
	}
	blocks[p] = &rowBlock{Names: tile.NewStrings([]string{"ann"}), Starts: []uint32{0, 1}, Event: []uint32{uint32(len(meta.Events) - 1)}, Time: []event.Time{5}}
	file, _ := writeSegment(t, meta, blocks)
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	for block, want := range map[int]bool{p: true, p - 1: false} {
		if got, err := s.HasEvent(block, 0); got != want || err != nil {
			t.Errorf("block %d may hold event 0: %v, %v", block, got, err)
		}
	}
}

func TestSegmentFindsMisplacedPages(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	f := func(what string, store [16]byte, id uint64) {
		t.Helper()
		if _, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), store, id); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("of another segment", meta.Store, meta.ID+1)
	f("of another store", [16]byte{1}, meta.ID)

	// The same content under another segment id has the same length; each page
	// put in its place must be found by its checksum alone.
	other := meta
	other.ID++
	twin, _ := writeSegment(t, other, blocks)
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	offset := s.blocks[0].offset
	for _, p := range s.blocks[0].pages {
		end := offset + int64(p.length)
		mixed := slices.Concat(file[:offset], twin[offset:end], file[end:])
		if _, err := checkSegment("test.seg", bytes.NewReader(mixed), int64(len(mixed)), meta.Store, meta.ID, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("page %s of another segment: %v", s.columns[p.column], err)
		}
		offset = end
	}
}

func TestFloatsKeepTheirBits(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), 0.1, 1e300, math.SmallestNonzeroFloat64, 9007199254740993}
	for n := range values {
		page := appendFloats(nil, values[:n+1], nil)
		c := &cursor{b: page}
		got := c.floats(n+1, nil)
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		for i, v := range values[:n+1] {
			if math.Float64bits(got[i]) != math.Float64bits(v) {
				t.Errorf("%v became %v among %v", v, got[i], values[:n+1])
			}
		}
	}
}
