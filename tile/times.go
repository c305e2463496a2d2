package tile

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"

	"wend/event"
)

// Times is the time column. An anchor row opens a frame: a base time, and
// Width bits per row for the distance from it, until a row does not fit or the
// customer ends. Any row's time is then one rank, one base and one load:
//
//	tick(i) = Bases[anchors in rows 0 to i, less one]<<Shift + slot(i)
//	time(i) = Origin + tick(i) * Unit
//
// Shift is 0 unless the column spans more than 2^32 ticks; the slot of an
// anchor carries only the bits that its base leaves out. Nothing assumes
// rising times: a row before its frame's base is an anchor.
type Times struct {
	Rows    int
	Origin  event.Time
	Unit    int64  // microseconds a tick
	Shift   uint8  // low bits that bases leave to the slots, at most Width
	Width   uint8  // bits of a slot, at most WidthMax
	Anchors Bitmap // row 0 is one
	Bases   []uint32
	Slots   []byte // row i has bits [i*Width, (i+1)*Width), lowest first; slotPadding bytes follow

	rank   []uint32   // anchors before each 64 rows
	newest event.Time // none is later
	stops  atomic.Pointer[stops]
}

const (
	WidthMax    = 56 // of a slot: at any bit offset it lies within eight bytes
	slotPadding = 8  // so that the last slot's load stays inside
	baseBitsMax = 32
)

// SlotBytes returns the length of Slots for a number of rows and a width.
func SlotBytes(rows int, width uint8) int {
	return (rows*int(width)+7)/8 + slotPadding
}

// NewTimes encodes the times of a tile's rows; starts are the tile's customer
// starts, which all become anchors. It is exact for all times from
// event.MinTime to event.MaxTime.
func NewTimes(times []event.Time, starts []uint32) *Times {
	return new(TimesEncoder).Encode(times, starts)
}

// TimesEncoder is the memory in which times are encoded, for one column after the other.
type TimesEncoder struct {
	ticks []uint64
	bases []uint32
}

// Encode is NewTimes.
func (e *TimesEncoder) Encode(times []event.Time, starts []uint32) *Times {
	t := &Times{Rows: len(times), Unit: 1, Anchors: NewBitmap(len(times))}
	if len(times) == 0 {
		t.Slots = make([]byte, slotPadding)
		return t
	}
	t.Origin = times[0]
	for _, at := range times {
		t.Origin = min(t.Origin, at)
	}
	e.ticks = slices.Grow(e.ticks[:0], len(times))[:len(times)]
	ticks := e.ticks
	unit, largest := ticksOf(ticks, times, t.Origin)
	t.Unit = unit
	rangeBits := bits.Len64(largest)
	t.Shift = uint8(max(0, rangeBits-baseBitsMax))
	t.Width = uint8(chooseWidth(ticks, rangeBits, int(t.Shift)))
	e.bases = t.fill(ticks, starts, e.bases[:0])
	t.Bases = slices.Clone(e.bases)
	t.Rank()
	return t
}

// fill packs the ticks and appends the bases.
func (t *Times) fill(ticks []uint64, starts []uint32, bases []uint32) []uint32 {
	slots := make([]byte, SlotBytes(len(ticks), t.Width))
	anchors := t.Anchors
	width, shift := uint(t.Width), uint(t.Shift)
	limit := uint64(1) << (width & 63)
	var base uint64
	start := 0         // the customer start to come, as a row; 0 in any case
	var pending uint64 // bits not yet stored
	var filled uint
	at := 0
	for i, tick := range ticks {
		if i == start || tick-base >= limit {
			for len(starts) > 0 && start <= i {
				start = int(starts[0])
				starts = starts[1:]
			}
			high := tick >> (shift & 63)
			base = high << (shift & 63)
			bases = append(bases, uint32(high))
			anchors[i>>6] |= 1 << (i & 63)
		}
		slot := tick - base
		pending |= slot << (filled & 63)
		filled += width
		if filled >= 64 {
			binary.LittleEndian.PutUint64(slots[at:], pending)
			at += 8
			filled -= 64
			pending = slot >> ((width - filled) & 63)
		}
	}
	binary.LittleEndian.PutUint64(slots[at:], pending) // into the padding at most
	t.Slots = slots
	return bases
}

// Rank prepares t for reading after its fields were set from a page.
func (t *Times) Rank() {
	t.rank = make([]uint32, len(t.Anchors))
	n := 0
	for w, flags := range t.Anchors {
		t.rank[w] = uint32(n)
		n += bits.OnesCount64(flags)
	}
	t.newest = t.Origin
	if len(t.Bases) > 0 {
		tick := uint64(slices.Max(t.Bases))<<(t.Shift&63) + 1<<(t.Width&63) - 1
		t.newest = event.MaxTime
		if tick < uint64(event.MaxTime-t.Origin)/uint64(t.Unit) {
			t.newest = t.Origin + event.Time(tick)*event.Time(t.Unit)
		}
	}
}

// Newest is not earlier than any of the times.
func (t *Times) Newest() event.Time { return t.newest }

// Longest is not shorter than what lies between any two of the times.
func (t *Times) Longest() event.Duration { return t.newest.Sub(t.Origin) }

// At returns row i's time.
func (t *Times) At(i int) event.Time {
	w := i >> 6
	base := t.rank[w] + uint32(bits.OnesCount64(t.Anchors[w]<<(63-i&63)))
	bit := i * int(t.Width)
	slot := binary.LittleEndian.Uint64(t.Slots[bit>>3:]) >> (bit & 7) & (1<<(t.Width&63) - 1)
	tick := int64(t.Bases[base-1])<<(t.Shift&63) + int64(slot)
	return t.Origin + event.Time(tick*t.Unit)
}

// Elapsed returns what lies between the times of two rows.
func (t *Times) Elapsed(from, to int) event.Duration {
	anchors, slots, bases := t.Anchors, t.Slots, t.Bases
	rank := t.rank[:len(anchors)]
	width, mask := t.Width, uint64(1)<<(t.Width&63)-1
	slot := func(i int) uint64 {
		bit := uint64(i) * uint64(width)
		return binary.LittleEndian.Uint64(slots[bit>>3:]) >> (bit & 7) & mask
	}
	base := func(i int) int64 {
		return int64(bases[rank[i>>6]+uint32(bits.OnesCount64(anchors[i>>6]<<(63-i&63)))-1])
	}
	ticks := (base(to)-base(from))<<(t.Shift&63) + int64(slot(to)) - int64(slot(from))
	return event.Duration(ticks * t.Unit)
}

// GatherElapsed is Elapsed of many pairs of rows, by turns from and to: dst gets
// what lies between them. One pair does not wait for the other.
func (t *Times) GatherElapsed(pairs []uint32, dst []event.Duration) {
	width, mask := uint64(t.Width), uint64(1)<<(t.Width&63)-1
	unit, shift := t.Unit, t.Shift&63
	anchors, slots, bases := t.Anchors, t.Slots, t.Bases
	rank := t.rank[:len(anchors)]
	pairs = pairs[:2*len(dst)]
	for k := range dst {
		from, to := uint64(pairs[2*k]), uint64(pairs[2*k+1])
		fromBase := rank[from>>6] + uint32(bits.OnesCount64(anchors[from>>6]<<(63-from&63)))
		toBase := rank[to>>6] + uint32(bits.OnesCount64(anchors[to>>6]<<(63-to&63)))
		fromBit, toBit := from*width, to*width
		fromSlot := binary.LittleEndian.Uint64(slots[fromBit>>3:]) >> (fromBit & 7) & mask
		toSlot := binary.LittleEndian.Uint64(slots[toBit>>3:]) >> (toBit & 7) & mask
		ticks := (int64(bases[toBase-1])-int64(bases[fromBase-1]))<<shift + int64(toSlot) - int64(fromSlot)
		dst[k] = event.Duration(ticks * unit)
	}
}

// Gather writes the times of some rows to dst, which is as long as rows. One
// row does not wait for the other, as it may where At's callers decide between.
func (t *Times) Gather(rows []uint32, dst []event.Time) {
	width, mask := uint64(t.Width), uint64(1)<<(t.Width&63)-1
	origin, unit, shift := int64(t.Origin), t.Unit, t.Shift&63
	anchors, slots, bases := t.Anchors, t.Slots, t.Bases
	rank := t.rank[:len(anchors)]
	dst = dst[:len(rows)]
	for k, i := range rows {
		w := i >> 6
		base := rank[w] + uint32(bits.OnesCount64(anchors[w]<<(63-i&63)))
		bit := uint64(i) * width
		slot := binary.LittleEndian.Uint64(slots[bit>>3:]) >> (bit & 7) & mask
		dst[k] = event.Time(origin + (int64(bases[base-1])<<shift+int64(slot))*unit)
	}
}

// Decode writes the times of rows [lo, lo+len(dst)) to dst.
func (t *Times) Decode(lo int, dst []event.Time) {
	if len(dst) == 0 {
		return
	}
	width, mask := int(t.Width), uint64(1)<<(t.Width&63)-1
	origin, unit, shift := int64(t.Origin), t.Unit, t.Shift&63
	slots, bases := t.Slots, t.Bases
	flags := t.Anchors[lo>>6]
	base := int(t.rank[lo>>6]) + bits.OnesCount64(flags&(1<<(lo&63)-1)) - 1
	flags >>= lo & 63
	bit := lo * width
	for k := 0; k < len(dst); {
		run := dst[k:min(k+64-(lo+k)&63, len(dst))]
		for i := range run {
			base += int(flags & 1)
			flags >>= 1
			slot := binary.LittleEndian.Uint64(slots[bit>>3:]) >> (bit & 7) & mask
			bit += width
			run[i] = event.Time(origin + (int64(bases[base])<<shift+int64(slot))*unit)
		}
		k += len(run)
		if k < len(dst) {
			flags = t.Anchors[(lo+k)>>6]
		}
	}
}

// ticksOf fills ticks with the distances from origin, divided by their greatest
// common divisor, which it returns with the largest quotient. A few times mostly tell
// the divisor of all.
func ticksOf(ticks []uint64, times []event.Time, origin event.Time) (unit int64, largest uint64) {
	divisor := uint64(0)
	for _, at := range times[:min(len(times), 64)] {
		divisor = gcd(uint64(at-origin), divisor)
	}
	largest, ok := divide(ticks, times, origin, divisor)
	if !ok {
		for _, at := range times {
			if distance := uint64(at - origin); divisor == 0 || distance%divisor != 0 {
				divisor = gcd(distance, divisor)
			}
		}
		largest, _ = divide(ticks, times, origin, divisor)
	}
	return int64(max(divisor, 1)), largest
}

// divide fills ticks and reports whether every distance is a multiple of
// divisor. Division by a number that divides is a shift and a multiplication by
// the inverse of its odd part modulo 2^64; a quotient too large, or bits
// shifted out, show that it does not divide.
func divide(ticks []uint64, times []event.Time, origin event.Time, divisor uint64) (largest uint64, ok bool) {
	divisor = max(divisor, 1) // 0 divides only zeros
	zeros := bits.TrailingZeros64(divisor)
	odd := divisor >> zeros
	inverse, most, lost := oddInverse(odd), ^uint64(0)/odd, uint64(1)<<zeros-1
	var bitsLost uint64
	ticks = ticks[:len(times)]
	for i, at := range times {
		distance := uint64(at - origin)
		q := distance >> (zeros & 63) * inverse
		ticks[i] = q
		bitsLost |= distance & lost
		largest = max(largest, q)
	}
	return largest, bitsLost == 0 && largest <= most
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// oddInverse returns x with odd*x = 1 modulo 2^64; each round doubles the bits that are right.
func oddInverse(odd uint64) uint64 {
	x := odd // right in three bits
	for range 5 {
		x *= 2 - odd*x
	}
	return x
}

const (
	sampleStretches = 4   // rows from which the width is chosen:
	sampleRows      = 384 // enough to be within a per cent of the best, for 0.5 ns a row of a tile
)

// chooseWidth finds the slot width for which slots and bases take the fewest
// bits on disk, judged by a sample. There an anchor's slot holds the low bits of
// its tick, so that a base costs what the range has above the width.
func chooseWidth(ticks []uint64, rangeBits, shift int) (width int) {
	stretches := [][]uint64{ticks}
	if len(ticks) > sampleStretches*sampleRows {
		stretches = stretches[:0]
		for s := range sampleStretches {
			lo := (len(ticks) - sampleRows) * s / (sampleStretches - 1)
			stretches = append(stretches, ticks[lo:lo+sampleRows])
		}
	}
	widest := min(rangeBits, WidthMax)
	best := ^uint64(0)
	try := func(w int) {
		if w < shift || w > widest {
			return
		}
		if cost := frameCost(stretches, w, shift, rangeBits); cost < best {
			best, width = cost, w
		}
	}
	try(widest)
	for w := shift; w < widest; w += 3 {
		try(w)
	}
	for middle, d := width, -2; d <= 2; d++ {
		try(middle + d)
	}
	return width
}

// frameCost returns the bits that the stretches take.
func frameCost(stretches [][]uint64, width, shift, rangeBits int) uint64 {
	limit := uint64(1) << (width & 63)
	rows, anchors := 0, 0
	for _, ticks := range stretches {
		base := ticks[0] >> (shift & 63) << (shift & 63)
		anchors++
		for _, tick := range ticks {
			if tick-base >= limit {
				base = tick >> (shift & 63) << (shift & 63)
				anchors++
			}
		}
		rows += len(ticks)
	}
	return uint64(rows*width + anchors*(rangeBits-width))
}
