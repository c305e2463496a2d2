package storage

import (
	"bytes"
	"encoding/binary"

	"github.com/RoaringBitmap/roaring/v2"

	"wend/internal/forced"
	"wend/tile"
)

const (
	bitmapNone = iota
	bitmapAll
	bitmapRaw
	bitmapRoaring
	bitmapZstd
	bitmapEvents
)

// appendBitmap appends n bits in the smallest of their encodings.
func appendBitmap(dst []byte, b tile.Bitmap, n int) []byte {
	if n == 0 {
		return dst
	}
	count := b.Count()
	switch count {
	case 0:
		return append(dst, bitmapNone)
	case n:
		return append(dst, bitmapAll)
	}
	if forced.Roaring {
		return appendRoaring(append(dst, bitmapRoaring), roaringOf(b))
	}
	raw := appendBits(nil, b, n)
	best := append([]byte{bitmapRaw}, raw...)
	if r := roaringOf(b); int(r.GetSerializedSizeInBytes())+3 < len(best) {
		best = appendRoaring([]byte{bitmapRoaring}, r)
	}
	if len(best) > zstdWorth {
		if z := appendZstd([]byte{bitmapZstd}, raw); len(z) < len(best) {
			best = z
		}
	}
	return append(dst, best...)
}

// appendPresence is appendBitmap for the rows that have a property: often
// these are just the rows of some events, and naming those takes no space.
func appendPresence(dst []byte, b tile.Bitmap, events []uint32) []byte {
	n := len(events)
	if count := b.Count(); count == 0 || count == n || forced.Roaring {
		return appendBitmap(dst, b, n)
	}
	var with, without []bool // by event code: seen on a row that has, has not, the property
	for i, e := range events {
		for int(e) >= len(with) {
			with, without = append(with, false), append(without, false)
		}
		if b.Get(i) {
			with[e] = true
		} else {
			without[e] = true
		}
		if with[e] && without[e] {
			return appendBitmap(dst, b, n)
		}
	}
	var codes []uint32
	for code, yes := range with {
		if yes {
			codes = append(codes, uint32(code))
		}
	}
	dst = binary.AppendUvarint(append(dst, bitmapEvents), uint64(len(codes)))
	for _, code := range codes {
		dst = binary.AppendUvarint(dst, uint64(code))
	}
	return dst
}

func appendBits(dst []byte, b tile.Bitmap, n int) []byte {
	from := len(dst)
	for _, w := range b {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst[:from+(n+7)/8]
}

func roaringOf(b tile.Bitmap) *roaring.Bitmap {
	r := roaring.FromDense(b, true)
	r.RunOptimize()
	return r
}

func appendRoaring(dst []byte, r *roaring.Bitmap) []byte {
	var buf bytes.Buffer
	if _, err := r.WriteTo(&buf); err != nil {
		panic(err) // a buffer takes everything
	}
	return appendText(dst, buf.String())
}

// roaring reads a roaring bitmap whose members are below limit.
func (c *cursor) roaring(what string, limit uint64) *roaring.Bitmap {
	raw := c.bytes(what, c.count("length of "+what, len(c.b)))
	if c.err != nil {
		return nil
	}
	r := roaring.New()
	n, err := r.ReadFrom(bytes.NewReader(raw))
	if err == nil {
		err = r.Validate()
	}
	switch {
	case err != nil:
		c.fail(what, "%v", err)
	case n != int64(len(raw)):
		c.fail(what, "%d of %d bytes were read", n, len(raw))
	case !r.IsEmpty() && uint64(r.Maximum()) >= limit:
		c.fail(what, "member %d is not below %d", r.Maximum(), limit)
	default:
		return r
	}
	return nil
}

// bitmap reads n bits. events are the block's rows for a presence bitmap, else nil.
func (c *cursor) bitmap(what string, n int, events *tile.Codes) tile.Bitmap {
	if n == 0 || c.err != nil {
		return nil
	}
	kind := c.byte(what + ": kind of bitmap")
	if c.err != nil {
		return nil
	}
	b := tile.NewBitmap(n)
	switch {
	case kind == bitmapNone:
	case kind == bitmapAll:
		b.Fill(n)
	case kind == bitmapRaw:
		c.setBits(what, b, n, c.bytes(what, (n+7)/8))
	case kind == bitmapZstd:
		c.setBits(what, b, n, c.zstd(what, (n+7)/8))
	case kind == bitmapRoaring:
		if r := c.roaring(what, uint64(n)); r != nil {
			it := r.ManyIterator()
			var some [256]uint32
			for k := it.NextMany(some[:]); k > 0; k = it.NextMany(some[:]) {
				for _, i := range some[:k] {
					b.Set(int(i))
				}
			}
		}
	case kind == bitmapEvents && events != nil:
		var codes []uint32
		for range c.count("events that have it", len(c.b)) {
			codes = append(codes, uint32(c.count("event", 1<<32-1)))
		}
		if c.err == nil {
			events.Match(codes, n, b)
		}
	default:
		c.fail(what, "kind %d of bitmap is unknown here", kind)
	}
	if c.err != nil {
		return nil
	}
	return b
}

func (c *cursor) setBits(what string, b tile.Bitmap, n int, raw []byte) {
	if c.err != nil {
		return
	}
	for i := range b {
		var word [8]byte
		copy(word[:], raw[i*8:])
		b[i] = binary.LittleEndian.Uint64(word[:])
	}
	if n&63 != 0 && b[len(b)-1]>>(n&63) != 0 {
		c.fail(what, "bits past the last are set")
	}
}
