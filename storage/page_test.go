package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wend/event"
	"wend/tile"
)

func TestIntsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Int64()
		switch rapid.IntRange(0, 2).Draw(t, "range") {
		case 1:
			number = rapid.Int64Range(0, 3)
		case 2:
			number = rapid.Map(rapid.Int64Range(-500, 500), func(v int64) int64 { return v * 3_600_000_000 })
		}
		var values []int64
		for range rapid.IntRange(0, 40).Draw(t, "runs") {
			v := number.Draw(t, "value")
			for range rapid.IntRange(1, 20).Draw(t, "length") {
				values = append(values, v)
			}
		}
		var anchors tile.Bitmap
		if rapid.Bool().Draw(t, "anchors") {
			anchors = everyThird(len(values))
		}
		c := &cursor{b: appendInts(nil, values, anchors)}
		got := c.ints("test", len(values), anchors)
		if err := c.end(); err != nil || !slices.Equal(got, values) {
			t.Fatalf("%v became %v, %v", values, got, err)
		}
	})
}

// TestIntsEncodings holds which encoding each kind of list gets.
func TestIntsEncodings(t *testing.T) {
	const n = 6000
	list := func(value func(i int) int64) []int64 {
		values := make([]int64, n)
		for i := range values {
			values[i] = value(i)
		}
		return values
	}
	r := rand.New(rand.NewPCG(1, 2))
	f := func(kind byte, bytesMax int, values []int64, anchors tile.Bitmap) {
		t.Helper()
		page := appendInts(nil, values, anchors)
		if page[0] != kind || len(page) > bytesMax {
			t.Errorf("kind %d of %d bytes, want kind %d of at most %d", page[0], len(page), kind, bytesMax)
		}
		c := &cursor{b: page}
		if got := c.ints("test", n, anchors); c.end() != nil || !slices.Equal(got, values) {
			t.Errorf("kind %d: values differ, %v", kind, c.err)
		}
	}
	f(intsConst, 11, list(func(int) int64 { return math.MinInt64 }), nil)
	f(intsPacked, n*10/8+9, list(func(int) int64 { return r.Int64N(1024) }), nil)
	f(intsPacked, n*10/8+13, list(func(int) int64 { return r.Int64N(1024) * 3_600_000_000 }), nil)
	f(intsPacked, n*8+14, list(func(int) int64 { return int64(r.Uint64()) }), nil)
	f(intsHeld, 200, list(func(i int) int64 { return int64(i / 100 % 7) }), nil)
	f(intsHeld, n/3+30, list(func(i int) int64 { return int64(i / 3 * 7 % 251) }), everyThird(n))
	f(intsZstd, n*7/8, list(func(int) int64 { return r.Int64N(16) * r.Int64N(16) }), nil)
}

func TestBitmapEncodings(t *testing.T) {
	const n = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	f := func(kind byte, bytesMax int, set func(i int) bool) {
		t.Helper()
		b := tile.NewBitmap(n)
		for i := range n {
			if set(i) {
				b.Set(i)
			}
		}
		page := appendBitmap(nil, b, n)
		if page[0] != kind || len(page) > bytesMax {
			t.Errorf("kind %d of %d bytes, want kind %d of at most %d", page[0], len(page), kind, bytesMax)
		}
		c := &cursor{b: page}
		if got := c.bitmap("test", n, nil); c.end() != nil || !slices.Equal(got, b) {
			t.Errorf("kind %d: bits differ, %v", kind, c.err)
		}
	}
	f(bitmapNone, 1, func(int) bool { return false })
	f(bitmapAll, 1, func(int) bool { return true })
	f(bitmapRaw, n/8+1, func(int) bool { return r.IntN(2) == 0 })
	f(bitmapRoaring, 300, func(int) bool { return r.IntN(1000) == 0 })
	f(bitmapRoaring, 50, func(i int) bool { return i > 777 && i < 77_777 })
	f(bitmapZstd, n/16, func(int) bool { return r.IntN(15) == 0 })
}

func TestPresenceByEvent(t *testing.T) {
	events := make([]uint32, 1000)
	b := tile.NewBitmap(len(events))
	for i := range events {
		events[i] = uint32(i * i % 24)
		if events[i] == 9 || events[i] == 16 {
			b.Set(i)
		}
	}
	f := func(kind byte) {
		t.Helper()
		page := appendPresence(nil, b, events)
		c := &cursor{b: page}
		got := c.bitmap("test", len(events), tile.NewCodes(events))
		if c.end() != nil || page[0] != kind || !slices.Equal(got, b) {
			t.Errorf("kind %d, want %d: %v", page[0], kind, c.err)
		}
	}
	f(bitmapEvents)
	b.Set(slices.Index(events, 4)) // one row of an event whose other rows lack it
	f(bitmapZstd)
}

func TestTextsEncodings(t *testing.T) {
	f := func(kind byte, bytesMax int, texts []string) {
		t.Helper()
		page := appendStrings(nil, tile.NewStrings(texts))
		if page[0] != kind || len(page) > bytesMax {
			t.Errorf("%.3q…: kind %d of %d bytes, want kind %d of at most %d", texts[0], page[0], len(page), kind, bytesMax)
		}
		c := &cursor{b: page}
		got := c.texts("test", len(texts))
		if c.end() != nil || !slices.Equal(list(got), texts) {
			t.Errorf("%.3q… came back otherwise, %v", texts[0], c.err)
		}
	}
	var users, mails, uuids []string
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		users = append(users, fmt.Sprint("u", i*i*7919%1_000_003))
		uuids = append(uuids, fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Int64N(1<<48)))
		mails = append(mails, fmt.Sprintf("user.%d@mail.example.com", i*i*7919%1_000_003))
	}
	f(textsNumbered, 2000*20/8+13, users)
	f(textsZstd, 2000*8, mails)
	f(textsUUID, 2000*16+1, uuids)
	f(textsUUID, 17, []string{"01234567-89ab-cdef-0123-456789abcdef"})
	f(textsZstd, 2000*21, append(uuids[1:], "01234567-89AB-cdef-0123-456789abcdef")) // would lose its case
	f(textsPlain, 40, []string{"01234567-89ab-cdef-0123-456789abcdeg"})
	f(textsPlain, 40, []string{"01234567+89ab-cdef-0123-456789abcdef"})
	f(textsNumbered, 40, []string{"17", "4", "0", "999999999999999999"})
	f(textsPlain, 50, []string{"17", "04"})                  // the number would lose its zero
	f(textsPlain, 50, []string{"17", "9999999999999999999"}) // does not fit an integer
	f(textsPlain, 50, []string{"u17", "v18"})
	f(textsPlain, 50, []string{"u17", "u"})
	f(textsPlain, 50, []string{"u17", "u-1"})
	f(textsPlain, 50, []string{""})
	f(textsZstd, 200, []string{strings.Repeat("x", 1_000_000)})
}

// TestStringColumnForms holds when a block's strings go through the segment's dictionary.
func TestStringColumnForms(t *testing.T) {
	const n = 1000
	f := func(kind byte, d *dictionary, value func(i int) string) {
		t.Helper()
		c := tile.NewColumn(event.StringType, n)
		c.Present.Fill(n)
		codes := map[string]uint32{}
		for i := range n {
			code, ok := codes[value(i)]
			if !ok {
				code = uint32(len(c.Dict))
				codes[value(i)] = code
				c.Dict = append(c.Dict, value(i))
			}
			c.Codes[i] = code
		}
		events := make([]uint32, n)
		page, used, shared := appendProperty(nil, c.Present, c, events, nil, d)
		if page[0] != bitmapAll || page[1] != kind || shared != (kind == stringShared) || shared && len(used) != len(c.Dict) {
			t.Errorf("kind %d, want %d; shared %v, %d codes", page[1], kind, shared, len(used))
		}
		cur := &cursor{b: page}
		got := cur.property(event.StringType, n, tile.NewCodes(events), nil, d.values)
		if err := cur.end(); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if got.At(i).Text() != value(i) {
				t.Fatalf("row %d: %q, want %q", i, got.At(i).Text(), value(i))
			}
		}
	}
	full := &dictionary{values: make([]string, dictionaryValuesMax)}
	f(stringShared, &dictionary{}, func(i int) string { return fmt.Sprint(i % 50) })
	f(stringShared, &dictionary{values: []string{"7", "8"}, codes: map[string]uint32{"7": 0, "8": 1}}, func(i int) string { return fmt.Sprint(9 - i%3) })
	f(stringPlain, &dictionary{}, func(i int) string { return fmt.Sprint("order ", i) })
	f(stringLocal, &dictionary{}, func(i int) string { return fmt.Sprint("visit ", i*2/3) })
	f(stringLocal, full, func(i int) string { return fmt.Sprint(i % 50) })
}

func TestAppendDecimal(t *testing.T) {
	check := func(n int64) {
		if got, want := string(appendDecimal([]byte("u"), n)), fmt.Sprint("u", n); got != want {
			t.Fatalf("%d: %s", n, got)
		}
	}
	for n := range int64(10_000) {
		check(n)
		check(n * 10_000)
		check(99_999_999 - n)
	}
	for _, n := range []int64{-1, 100_000_000, math.MinInt64, math.MaxInt64} {
		check(n)
	}
}

func TestPackedEveryWidth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for width := range 65 {
		numbers := make([]uint64, 131)
		for i := range numbers {
			numbers[i] = r.Uint64() & (1<<width - 1)
		}
		page := appendPacked(nil, numbers, width)
		if len(page) != packedSize(len(numbers), width) {
			t.Errorf("width %d: %d bytes, want %d", width, len(page), packedSize(len(numbers), width))
		}
		c := &cursor{b: page}
		if got := c.packed("test", len(numbers), width); c.end() != nil || !slices.Equal(got, numbers) {
			t.Errorf("width %d: numbers differ, %v", width, c.err)
		}
	}
}

func TestCodesBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codes := rapid.SliceOfN(rapid.Uint32Range(0, 40), 1, 150).Draw(t, "codes")
		limit := rapid.IntRange(0, 70).Draw(t, "limit")
		if got, want := codesBelow(tile.NewCodes(codes), len(codes), limit), int(slices.Max(codes)) < limit; got != want {
			t.Fatalf("codes %v below %d: %v", codes, limit, got)
		}
	})
	past := tile.NewCodes([]uint32{1, 1})
	past.Words[0] |= 1 << 2
	if codesBelow(past, 2, 2) {
		t.Error("a code past the last row is not noticed")
	}
}
