package tile

import "math/bits"

// Bitmap has one bit for every row (or customer), bit i in word i/64. Bits past
// the last row are zero.
type Bitmap []uint64

// NewBitmap returns a Bitmap of n zero bits.
func NewBitmap(n int) Bitmap { return make(Bitmap, (n+63)/64) }

// Get reports bit i.
func (b Bitmap) Get(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

// Set sets bit i.
func (b Bitmap) Set(i int) { b[i>>6] |= 1 << (i & 63) }

// Clear clears bit i.
func (b Bitmap) Clear(i int) { b[i>>6] &^= 1 << (i & 63) }

// Put sets or clears bit i.
func (b Bitmap) Put(i int, set bool) {
	if set {
		b.Set(i)
	} else {
		b.Clear(i)
	}
}

// Fill sets bits [0, n) and clears the rest.
func (b Bitmap) Fill(n int) {
	for i := range b {
		b[i] = ^uint64(0)
	}
	if n&63 != 0 {
		b[len(b)-1] = 1<<(n&63) - 1
	}
}

// SetRange sets bits [lo, hi).
func (b Bitmap) SetRange(lo, hi int) {
	if lo >= hi {
		return
	}
	first, last := ^uint64(0)<<(lo&63), ^uint64(0)>>(63-(hi-1)&63)
	from, to := lo>>6, (hi-1)>>6
	if from == to {
		b[from] |= first & last
		return
	}
	b[from] |= first
	for i := from + 1; i < to; i++ {
		b[i] = ^uint64(0)
	}
	b[to] |= last
}

// Copy copies n bits of src from a bit on, and reports whether one of them is
// set. The bits that they are copied to must be zero before.
func (b Bitmap) Copy(at int, src Bitmap, from, n int) (any bool) {
	for n > 0 {
		step := min(n, 64-at&63, 64-from&63)
		w := src[from>>6] >> (from & 63)
		if step < 64 {
			w &= 1<<step - 1
		}
		b[at>>6] |= w << (at & 63)
		any = any || w != 0
		at, from, n = at+step, from+step, n-step
	}
	return any
}

// And keeps the bits that o has too.
func (b Bitmap) And(o Bitmap) {
	for i := range b {
		b[i] &= o[i]
	}
}

// Or adds the bits of o.
func (b Bitmap) Or(o Bitmap) {
	for i := range b {
		b[i] |= o[i]
	}
}

// AndNot drops the bits of o.
func (b Bitmap) AndNot(o Bitmap) {
	for i := range b {
		b[i] &^= o[i]
	}
}

// Count returns the number of set bits.
func (b Bitmap) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Next returns the first set bit in [from, end), or end.
func (b Bitmap) Next(from, end int) int {
	if from >= end {
		return end
	}
	w := b[from>>6] >> (from & 63)
	if w != 0 {
		return min(from+bits.TrailingZeros64(w), end)
	}
	for i := from>>6 + 1; i<<6 < end; i++ {
		if b[i] != 0 {
			return min(i<<6+bits.TrailingZeros64(b[i]), end)
		}
	}
	return end
}

// NextNot returns the first bit in [from, end) that is not set, or end.
func (b Bitmap) NextNot(from, end int) int {
	if from >= end {
		return end
	}
	w := ^b[from>>6] >> (from & 63)
	if w != 0 {
		return min(from+bits.TrailingZeros64(w), end)
	}
	for i := from>>6 + 1; i<<6 < end; i++ {
		if b[i] != ^uint64(0) {
			return min(i<<6+bits.TrailingZeros64(^b[i]), end)
		}
	}
	return end
}

// Last returns the last set bit in [from, end), or -1.
func (b Bitmap) Last(from, end int) int {
	for i := end - 1; i >= from; i = i&^63 - 1 {
		w := b[i>>6] << (63 - i&63)
		if w != 0 {
			i -= bits.LeadingZeros64(w)
			if i < from {
				return -1
			}
			return i
		}
	}
	return -1
}
