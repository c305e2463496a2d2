package storage

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"wend/tile"
)

const (
	intsConst = iota
	intsPacked
	intsZstd
	intsHeld
)

// zstdWorth is the size below which compressing a list cannot repay the frame's header.
const zstdWorth = 48

// appendInts appends a list in the smallest of its encodings. anchors are the
// anchor rows of the block if the list is over its rows, else nil.
func appendInts(dst []byte, values []int64, anchors tile.Bitmap) []byte {
	return appendIntList(dst, values, anchors, true)
}

func appendIntList(dst []byte, values []int64, anchors tile.Bitmap, mayHold bool) []byte {
	if len(values) == 0 {
		return dst
	}
	least, greatest := values[0], values[0]
	for _, v := range values {
		least, greatest = min(least, v), max(greatest, v)
	}
	if least == greatest {
		return binary.AppendVarint(append(dst, intsConst), least)
	}
	unit := commonUnit(values, least, greatest)
	width := bits.Len64(uint64(greatest-least) / unit)
	scale := binary.AppendUvarint(binary.AppendVarint(nil, least), unit)
	best := 2 + len(scale) + packedSize(len(values), width)

	var held []byte
	if mayHold {
		held = appendHeld(nil, values, anchors, width, best)
	}
	if held != nil && len(held) < best {
		best = len(held)
	} else {
		held = nil
	}

	numbers := distances(values, least, unit)
	// Values that hold for long are not shorter as the frame of every row; trying cost a third of writing.
	if best > zstdWorth && (held == nil || len(held) > packedSize(len(values), width)/2) {
		size := (width + 7) / 8
		z := append(append([]byte{intsZstd}, scale...), byte(size))
		z = appendZstd(z, shuffle(numbers, size))
		if len(z) < best-best/16 { // it is slower to read, so it must be worth it
			return append(dst, z...)
		}
	}
	if held != nil {
		return append(dst, held...)
	}
	dst = append(append(append(dst, intsPacked), scale...), byte(width))
	return appendPacked(dst, numbers, width)
}

// distances returns how many units the values lie above the least.
func distances(values []int64, least int64, unit uint64) []uint64 {
	numbers := make([]uint64, len(values))
	for i, v := range values {
		numbers[i] = uint64(v - least)
	}
	if unit > 1 {
		for i := range numbers {
			numbers[i] /= unit
		}
	}
	return numbers
}

// commonUnit returns the greatest common divisor of the distances from least.
// Short ranges, dictionary codes most of all, are not worth the search.
func commonUnit(values []int64, least, greatest int64) uint64 {
	if uint64(greatest-least) < 1<<10 {
		return 1
	}
	unit := uint64(0)
	for _, v := range values {
		for a := uint64(v - least); a != 0; {
			unit, a = a, unit%a
		}
		if unit == 1 {
			break
		}
	}
	return unit
}

// appendHeld encodes values that hold for several rows, or returns nil if that
// promises no less than most bytes.
func appendHeld(dst []byte, values []int64, anchors tile.Bitmap, width, most int) []byte {
	changes := changed(values)
	all, beside, atAnchors := changes.Count(), 0, 0
	for i, w := range anchors {
		atAnchors += bits.OnesCount64(w)
		beside += bits.OnesCount64(changes[i] &^ w)
	}
	size := func(stored, marked int) int {
		return (stored*width + int(markBits(marked, len(values)))) / 8
	}
	byChanges, byAnchors := size(all, all), math.MaxInt
	if anchors != nil {
		byAnchors = size(atAnchors+beside, beside)
	}
	if min(byChanges, byAnchors) > most-most/8 {
		return nil
	}
	useAnchors := byAnchors < byChanges
	stored := make([]int64, 0, max(all, atAnchors+beside))
	for w, marks := range changes {
		if useAnchors {
			marks |= anchors[w]
			changes[w] &^= anchors[w]
		}
		for ; marks != 0; marks &= marks - 1 {
			stored = append(stored, values[w<<6+bits.TrailingZeros64(marks)])
		}
	}
	dst = append(dst, intsHeld, 0)
	if useAnchors {
		dst[len(dst)-1] = 1
	}
	dst = appendBitmap(dst, changes, len(values))
	return appendIntList(dst, stored, nil, false)
}

// changed marks the values that differ from the one before, and the first.
func changed(values []int64) tile.Bitmap {
	changes := tile.NewBitmap(len(values))
	last := ^values[0]
	for w := range changes {
		own := values[w<<6 : min(w<<6+64, len(values))]
		var marks uint64
		for i, v := range own {
			var mark uint64
			if v != last {
				mark = 1
			}
			marks |= mark << (i & 63)
			last = v
		}
		changes[w] = marks
	}
	return changes
}

// markBits estimates the bits to mark some rows of many: their entropy.
func markBits(marked, rows int) float64 {
	if marked == 0 || marked == rows {
		return 0
	}
	p := float64(marked) / float64(rows)
	return -float64(rows) * (p*math.Log2(p) + (1-p)*math.Log2(1-p))
}

// shuffle writes the lowest byte of all numbers, then the next, …: the high
// ones, often equal, compress away.
func shuffle(numbers []uint64, size int) []byte {
	dst := make([]byte, 0, size*len(numbers))
	for k := range size {
		for _, n := range numbers {
			dst = append(dst, byte(n>>(8*k&63)))
		}
	}
	return dst
}

// ints reads a list of n integers.
func (c *cursor) ints(what string, n int, anchors tile.Bitmap) []int64 {
	return readInts[int64](c, what, n, anchors, true)
}

// narrowed reads a list of n codes below limit.
func (c *cursor) narrowed(what string, n, limit int, anchors tile.Bitmap) []uint32 {
	codes := readInts[uint32](c, what, n, anchors, true)
	if !c.below(what, codes, limit) {
		return nil
	}
	return codes
}

// below fails unless all codes are below limit.
func (c *cursor) below(what string, codes []uint32, limit int) bool {
	most := uint32(0)
	for _, code := range codes {
		most = max(most, code)
	}
	if len(codes) > 0 && uint64(most) >= uint64(limit) {
		c.fail(what, "code %d is not below %d", most, limit)
	}
	return c.err == nil
}

// readInts decodes to the type that is wanted at once: property codes are read
// for every row of a query's tiles. What does not fit the type is damage.
func readInts[T int64 | uint32](c *cursor, what string, n int, anchors tile.Bitmap, mayHold bool) []T {
	if n == 0 || c.err != nil {
		return nil
	}
	kind := c.byte(what + ": kind of integers")
	switch {
	case c.err != nil:
	case kind == intsConst:
		v := c.varint("value of all")
		if c.err != nil || !fits[T](c, what, uint64(v)) {
			return nil
		}
		values := make([]T, n)
		if v != 0 {
			for i := range values {
				values[i] = T(v)
			}
		}
		return values
	case kind == intsPacked:
		least, unit := c.varint("least"), c.uvarint("unit")
		width := int(c.byte("width"))
		numbers := c.packed("packed numbers", n, width)
		return scaled[T](c, what, numbers, least, unit)
	case kind == intsZstd:
		least, unit := c.varint("least"), c.uvarint("unit")
		size := int(c.byte("bytes a number"))
		if size < 1 || size > 8 {
			c.fail(what, "%d bytes a number", size)
			return nil
		}
		raw := c.zstd("compressed numbers", size*n)
		if c.err != nil {
			return nil
		}
		c.numbers = slices.Grow(c.numbers[:0], n)[:n]
		numbers := c.numbers
		clear(numbers)
		for k := range size {
			for i, b := range raw[k*n : (k+1)*n] {
				numbers[i] |= uint64(b) << (8 * k & 63)
			}
		}
		return scaled[T](c, what, numbers, least, unit)
	case kind == intsHeld && mayHold:
		return held[T](c, what, n, anchors)
	default:
		c.fail(what, "kind %d of integers is unknown here", kind)
	}
	return nil
}

// fits fails if a bit of all values together is outside the type.
func fits[T int64 | uint32](c *cursor, what string, together uint64) bool {
	if uint64(T(together)) != together {
		c.fail(what, "a number does not fit %T", T(0))
		return false
	}
	return true
}

func scaled[T int64 | uint32](c *cursor, what string, numbers []uint64, least int64, unit uint64) []T {
	values := make([]T, len(numbers))
	var together uint64
	for i, n := range numbers {
		v := uint64(least) + n*unit
		values[i] = T(v)
		together |= v
	}
	if !fits[T](c, what, together) {
		return nil
	}
	return values
}

func held[T int64 | uint32](c *cursor, what string, n int, anchors tile.Bitmap) []T {
	changes, stored := heldList[T](c, what, n, anchors)
	if c.err != nil {
		return nil
	}
	values := make([]T, n)
	k := -1
	for w, marks := range changes {
		own := values[w<<6 : min(w<<6+64, n)]
		for i := range own {
			k += int(marks & 1)
			marks >>= 1
			own[i] = stored[k]
		}
	}
	return values
}

// heldList reads the rows at which values change, the first among them, and the values.
func heldList[T int64 | uint32](c *cursor, what string, n int, anchors tile.Bitmap) (changes tile.Bitmap, stored []T) {
	atAnchors := c.byte("values at anchors")
	changes = c.bitmap("changes", n, nil)
	if c.err != nil {
		return nil, nil
	}
	if atAnchors == 1 {
		if anchors == nil || len(anchors) != len(changes) {
			c.fail(what, "anchors where there are none")
			return nil, nil
		}
		changes.Or(anchors)
	}
	if atAnchors > 1 || !changes.Get(0) {
		c.fail(what, "the first row has no value")
		return nil, nil
	}
	stored = readInts[T](c, "held values", changes.Count(), nil, false)
	if c.err != nil {
		return nil, nil
	}
	return changes, stored
}
