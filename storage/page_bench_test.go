package storage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/event"
	"wend/tile"
)

// BenchmarkPageRead decodes each encoding of a page: lists of a block's size.
func BenchmarkPageRead(b *testing.B) {
	const n = 44_000
	r := rand.New(rand.NewPCG(1, 2))
	list := func(value func(i int) int64) []int64 {
		values := make([]int64, n)
		for i := range values {
			values[i] = value(i)
		}
		return values
	}
	codes := func(value func(i int) int64) []uint32 {
		values := make([]uint32, n)
		for i, v := range list(value) {
			values[i] = uint32(v)
		}
		return values
	}
	set := func(has func(i int) bool) tile.Bitmap {
		m := tile.NewBitmap(n)
		for i := range n {
			if has(i) {
				m.Set(i)
			}
		}
		return m
	}
	floats := func(value func() float64) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = value()
		}
		return values
	}
	texts := func(text func(i int) string) *tile.Strings {
		var all []string
		for i := range n {
			all = append(all, text(i))
		}
		return tile.NewStrings(all)
	}
	run := func(name string, kind byte, page []byte, read func(c *cursor)) {
		b.Helper()
		if page[0] != kind {
			b.Fatalf("%s: the page is of kind %d, want %d", name, page[0], kind)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := &cursor{b: page}
				if read(c); c.end() != nil {
					b.Fatal(c.err)
				}
			}
			perEvent(b, n)
		})
	}
	ints := func(name string, kind byte, values []int64) {
		run("ints/"+name, kind, appendInts(nil, values, nil), func(c *cursor) { c.ints("list", n, nil) })
	}
	ints("const", intsConst, list(func(int) int64 { return 7 }))
	ints("packed", intsPacked, list(func(int) int64 { return r.Int64N(1024) }))
	ints("held", intsHeld, list(func(i int) int64 { return int64(i / 100 % 7) }))
	ints("zstd", intsZstd, list(func(int) int64 { return r.Int64N(16) * r.Int64N(16) }))

	events := codes(func(i int) int64 { return r.Int64N(24) })
	rows := tile.NewCodes(events)
	bitmap := func(name string, kind byte, m tile.Bitmap) {
		run("bitmap/"+name, kind, appendPresence(nil, m, events), func(c *cursor) { c.bitmap("bits", n, rows) })
	}
	bitmap("none", bitmapNone, tile.NewBitmap(n))
	bitmap("all", bitmapAll, set(func(int) bool { return true }))
	bitmap("raw", bitmapRaw, set(func(int) bool { return r.IntN(2) == 0 }))
	bitmap("roaring", bitmapRoaring, set(func(int) bool { return r.IntN(1000) == 0 }))
	bitmap("zstd", bitmapZstd, set(func(int) bool { return r.IntN(15) == 0 }))
	bitmap("events", bitmapEvents, set(func(i int) bool { return events[i] == 12 || events[i] == 14 }))

	run("codes/planes", codesPlanes, appendCodes(nil, events, nil), func(c *cursor) { c.codes("codes", n, 24, nil) })
	run("codes/ints", codesInts, appendCodes(nil, codes(func(i int) int64 { return int64(i / 50 % 12) }), nil), func(c *cursor) { c.codes("codes", n, 12, nil) })
	run("floats/decimal", floatDecimal, appendFloats(nil, floats(func() float64 { return float64(r.IntN(10_000)) / 100 }), nil), func(c *cursor) { c.floats(n, nil) })
	run("floats/bits", floatBits, appendFloats(nil, floats(r.Float64), nil), func(c *cursor) { c.floats(n, nil) })

	strings := func(name string, kind byte, s *tile.Strings) {
		run("texts/"+name, kind, appendStrings(nil, s), func(c *cursor) { c.texts("texts", n) })
	}
	strings("plain", textsPlain, texts(func(int) string { return string(binary.LittleEndian.AppendUint64(nil, r.Uint64())) }))
	strings("zstd", textsZstd, texts(func(i int) string { return fmt.Sprint("customer ", i%900, " of the north") }))
	strings("numbered", textsNumbered, texts(func(int) string { return fmt.Sprint("u", r.IntN(1_000_000)) }))
	strings("uuid", textsUUID, texts(func(int) string {
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Int64N(1<<48))
	}))

	var times []event.Time
	var starts []uint32
	for at := event.Time(0); len(times) < n; at += event.Time(r.Int64N(100_000)) * 1000 {
		if len(times)%20 == 0 {
			starts, at = append(starts, uint32(len(times))), event.Time(r.Int64N(90*86_400_000))*1000
		}
		times = append(times, at)
	}
	starts = append(starts, n)
	page := appendTimes(nil, tile.NewTimes(times, starts))
	b.Run("times", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := &cursor{b: page}
			if c.times(n); c.end() != nil {
				b.Fatal(c.err)
			}
		}
		perEvent(b, n)
	})
}
