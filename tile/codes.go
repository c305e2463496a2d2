package tile

import (
	"encoding/binary"
	"math/bits"
)

// Codes is a column of small numbers as bit planes, a bit-sliced index: for
// each 64 rows, Bits words, of which word b holds bit b of the 64 codes. The
// bitmap of any value is then a handful of word operations (O'Neil and Quass,
// "Improved query performance with variant indexes", 1997).
type Codes struct {
	Bits  int
	Words []uint64 // group g of 64 rows has Words[g*Bits : (g+1)*Bits]; rows past the last are 0
}

// NewCodes encodes one code per row in the fewest planes that hold them all.
func NewCodes(codes []uint32) *Codes {
	var all uint32
	for _, c := range codes {
		all |= c
	}
	c := &Codes{Bits: bits.Len32(all)}
	c.Words = make([]uint64, (len(codes)+63)/64*c.Bits)
	var group [64]uint32
	for g := 0; g*64 < len(codes); g++ {
		full := &group
		if rest := codes[g*64:]; len(rest) >= 64 {
			full = (*[64]uint32)(rest)
		} else {
			group = [64]uint32{}
			copy(group[:], rest)
		}
		planes := c.Words[g*c.Bits : (g+1)*c.Bits]
		for first := 0; first < c.Bits; first += 8 {
			setPlanes(planes[first:min(first+8, c.Bits)], full, first)
		}
	}
	return c
}

// NewCodes8 is NewCodes of codes that are bytes, which takes less time.
func NewCodes8(codes []byte) *Codes {
	var all byte
	for _, c := range codes {
		all |= c
	}
	c := &Codes{Bits: bits.Len8(all)}
	c.Words = make([]uint64, (len(codes)+63)/64*c.Bits)
	for g := 0; g*64 < len(codes); g++ {
		var full [64]byte
		copy(full[:], codes[g*64:])
		planes := c.group(g)
		for k := 0; k < 64; k += 8 {
			eight := binary.LittleEndian.Uint64(full[k:])
			for b := range planes {
				planes[b] |= gatherBits(eight>>(b&63)) << (k & 63)
			}
		}
	}
	return c
}

// HeldCodes encodes codes that hold for several rows: changes marks the rows,
// row 0 among them, from which on one of the held codes holds. It is what
// NewCodes makes of the codes row by row, in time for changes, not rows.
func HeldCodes(held []uint32, changes Bitmap, rows int) *Codes {
	var all uint32
	for _, c := range held {
		all |= c
	}
	c := &Codes{Bits: bits.Len32(all)}
	c.Words = make([]uint64, len(changes)*c.Bits)
	if c.Bits == 0 {
		return c
	}
	last := uint32(0)
	for g, marks := range changes {
		planes := c.group(g)
		before := last
		for ; marks != 0; marks &= marks - 1 {
			// Where a code changes, its planes have the difference at first.
			row := bits.TrailingZeros64(marks)
			difference := held[0] ^ last
			last, held = held[0], held[1:]
			for b := range planes {
				planes[b] |= uint64(difference>>(b&31)&1) << (row & 63)
			}
		}
		for b, w := range planes {
			w ^= uint64(before >> (b & 31) & 1)
			for s := 1; s < 64; s *= 2 {
				w ^= w << s // each bit the sum of those up to it
			}
			planes[b] = w
		}
	}
	if rows&63 != 0 {
		for b := range c.Bits {
			c.Words[len(c.Words)-c.Bits+b] &= 1<<(rows&63) - 1
		}
	}
	return c
}

// setPlanes fills up to eight planes with bits first, first+1, … of 64 codes.
func setPlanes(planes []uint64, codes *[64]uint32, first int) {
	for k := 0; k < 64; k += 8 {
		c := (*[8]uint32)(codes[k:])
		eight := uint64(byte(c[0]>>(first&31))) | uint64(byte(c[1]>>(first&31)))<<8 |
			uint64(byte(c[2]>>(first&31)))<<16 | uint64(byte(c[3]>>(first&31)))<<24 |
			uint64(byte(c[4]>>(first&31)))<<32 | uint64(byte(c[5]>>(first&31)))<<40 |
			uint64(byte(c[6]>>(first&31)))<<48 | uint64(byte(c[7]>>(first&31)))<<56
		for b := range planes {
			planes[b] |= gatherBits(eight>>(b&63)) << (k & 63)
		}
	}
}

// gatherBits collects the lowest bit of each of eight bytes into one byte: the
// multiplication adds byte i's bit, moved by 7-i bytes and i bits, to the top byte.
func gatherBits(eight uint64) uint64 {
	return eight & 0x0101010101010101 * 0x0102040810204080 >> 56
}

// spread is the inverse of gatherBits: bit i of the index is the lowest bit of byte i.
var spread = func() (table [256]uint64) {
	for i := range table {
		for b := range 8 {
			table[i] |= uint64(i>>b&1) << (8 * b)
		}
	}
	return table
}()

// At returns row i's code.
func (c *Codes) At(i int) uint32 {
	var code uint32
	g, shift := i>>6*c.Bits, i&63
	for b, w := range c.Words[g : g+c.Bits] {
		code |= uint32(w>>shift&1) << (b & 31)
	}
	return code
}

// Cut returns the codes of n rows from row i on as one number: the bits of the
// lowest plane, those of the next from bit apart on, and so on. All must fit 64
// bits, and n must be at most apart.
func (c *Codes) Cut(i, n, apart int) uint64 {
	from, shift := i>>6*c.Bits, i&63
	planes := c.Words[from : from+c.Bits]
	mask := uint64(1)<<(n&63) - 1
	var number uint64
	at := 0
	if shift+n <= 64 {
		for _, w := range planes {
			number |= w >> (shift & 63) & mask << (at & 63)
			at += apart
		}
		return number
	}
	following := c.Words[from+c.Bits:][:len(planes)]
	for b, w := range planes {
		number |= (w>>(shift&63) | following[b]<<((64-shift)&63)) & mask << (at & 63)
		at += apart
	}
	return number
}

// CutFirsts cuts out the codes of every customer's first rows, most at most and
// as far apart: dst gets a number for each of the customers, whose rows begin at
// starts and end at the next.
func (c *Codes) CutFirsts(starts []uint32, most int, dst []uint64) {
	lo := int(starts[0])
	for k, start := range starts[1:] {
		hi := int(start)
		n := min(most, hi-lo)
		if shift := lo & 63; c.Bits == 5 && n > 0 && shift+n <= 64 { // Cut, in registers
			p := (*[5]uint64)(c.Words[lo>>6*5:])
			mask, apart := uint64(1)<<(n&63)-1, most&15
			a, b, c, d, e := p[0]>>shift&mask, p[1]>>shift&mask, p[2]>>shift&mask, p[3]>>shift&mask, p[4]>>shift&mask
			dst[k] = (((e<<apart|d)<<apart|c)<<apart|b)<<apart | a
		} else if dst[k] = 0; n > 0 {
			dst[k] = c.Cut(lo, n, most)
		}
		lo = hi
	}
}

// Decode writes the codes of rows [lo, lo+len(dst)) to dst.
func (c *Codes) Decode(lo int, dst []uint32) {
	var group [64]uint32
	for len(dst) > 0 {
		if lo&63 == 0 && len(dst) >= 64 {
			c.decodeGroup(lo>>6, (*[64]uint32)(dst))
			lo, dst = lo+64, dst[64:]
			continue
		}
		c.decodeGroup(lo>>6, &group)
		n := copy(dst, group[lo&63:])
		lo, dst = lo+n, dst[n:]
	}
}

// group returns the planes of group g.
func (c *Codes) group(g int) []uint64 { return c.Words[g*c.Bits : (g+1)*c.Bits] }

func (c *Codes) decodeGroup(g int, dst *[64]uint32) {
	planes := c.group(g)
	var some [64]byte
	spreadPlanes(planes[:min(8, len(planes))], &some)
	for i, code := range some {
		dst[i] = uint32(code)
	}
	for first := 8; first < len(planes); first += 8 {
		spreadPlanes(planes[first:min(first+8, len(planes))], &some)
		for i, code := range some {
			dst[i] |= uint32(code) << (first & 31)
		}
	}
}

// Decode8 is Decode into bytes, for codes of at most eight bits; it takes about
// a third of the time.
func (c *Codes) Decode8(lo int, dst []byte) {
	if c.Bits > 8 {
		panic("tile: Decode8 of codes wider than a byte")
	}
	var group [64]byte
	for len(dst) > 0 {
		if lo&63 == 0 && len(dst) >= 64 {
			spreadPlanes(c.group(lo>>6), (*[64]byte)(dst))
			lo, dst = lo+64, dst[64:]
			continue
		}
		spreadPlanes(c.group(lo>>6), &group)
		n := copy(dst, group[lo&63:])
		lo, dst = lo+n, dst[n:]
	}
}

// Group8 is Decode8 of 64 rows, those of word g of a bitmap; behind the last row
// are zeros.
func (c *Codes) Group8(g int, dst *[64]byte) {
	if c.Bits > 8 {
		panic("tile: Group8 of codes wider than a byte")
	}
	spreadPlanes(c.group(g), dst)
}

// spreadPlanes turns up to eight planes of a group into its 64 codes, a byte
// each. Planes that are missing count as zeros: loops over four, five
// and eight planes in registers took half the time of one over the planes
// there are. Five hold the codes of 17 to 32 events.
func spreadPlanes(planes []uint64, dst *[64]byte) {
	var p [8]uint64
	for b, w := range planes {
		p[b&7] = w
	}
	p0, p1, p2, p3, p4, p5, p6, p7 := p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
	switch {
	case len(planes) <= 4:
		for k := 0; k < 64; k += 8 {
			binary.LittleEndian.PutUint64(dst[k:k+8], spread[byte(p0)]|spread[byte(p1)]<<1|spread[byte(p2)]<<2|spread[byte(p3)]<<3)
			p0, p1, p2, p3 = p0>>8, p1>>8, p2>>8, p3>>8
		}
	case len(planes) == 5:
		for k := 0; k < 64; k += 8 {
			binary.LittleEndian.PutUint64(dst[k:k+8], spread[byte(p0)]|spread[byte(p1)]<<1|spread[byte(p2)]<<2|
				spread[byte(p3)]<<3|spread[byte(p4)]<<4)
			p0, p1, p2, p3, p4 = p0>>8, p1>>8, p2>>8, p3>>8, p4>>8
		}
	default:
		for k := 0; k < 64; k += 8 {
			binary.LittleEndian.PutUint64(dst[k:k+8], spread[byte(p0)]|spread[byte(p1)]<<1|spread[byte(p2)]<<2|spread[byte(p3)]<<3|
				spread[byte(p4)]<<4|spread[byte(p5)]<<5|spread[byte(p6)]<<6|spread[byte(p7)]<<7)
			p0, p1, p2, p3, p4, p5, p6, p7 = p0>>8, p1>>8, p2>>8, p3>>8, p4>>8, p5>>8, p6>>8, p7>>8
		}
	}
}

// Match sets dst to the rows below n whose code is in codes.
func (c *Codes) Match(codes []uint32, n int, dst Bitmap) {
	clear(dst)
	for _, code := range codes {
		if code>>(c.Bits&63) == 0 || c.Bits >= 32 {
			c.match(code, dst)
		}
	}
	if n&63 != 0 {
		dst[len(dst)-1] &= 1<<(n&63) - 1
	}
}

// match adds the rows with one code. A plane that should be 0 is inverted by
// its mask, so that a row matches where all words are 1.
func (c *Codes) match(code uint32, dst Bitmap) {
	var flip [32]uint64
	for b := range c.Bits {
		flip[b] = uint64(code>>b&1) - 1
	}
	words := c.Words[:len(dst)*c.Bits]
	switch c.Bits {
	case 4:
		f0, f1, f2, f3 := flip[0], flip[1], flip[2], flip[3]
		for g := range dst {
			p := (*[4]uint64)(words)
			words = words[4:]
			dst[g] |= (p[0] ^ f0) & (p[1] ^ f1) & (p[2] ^ f2) & (p[3] ^ f3)
		}
	case 5:
		f0, f1, f2, f3, f4 := flip[0], flip[1], flip[2], flip[3], flip[4]
		for g := range dst {
			p := (*[5]uint64)(words)
			words = words[5:]
			dst[g] |= (p[0] ^ f0) & (p[1] ^ f1) & (p[2] ^ f2) & (p[3] ^ f3) & (p[4] ^ f4)
		}
	case 6:
		f0, f1, f2, f3, f4, f5 := flip[0], flip[1], flip[2], flip[3], flip[4], flip[5]
		for g := range dst {
			p := (*[6]uint64)(words)
			words = words[6:]
			dst[g] |= (p[0] ^ f0) & (p[1] ^ f1) & (p[2] ^ f2) & (p[3] ^ f3) & (p[4] ^ f4) & (p[5] ^ f5)
		}
	default:
		for g := range dst {
			w := ^uint64(0)
			for b, plane := range words[:c.Bits] {
				w &= plane ^ flip[b&31]
			}
			words = words[c.Bits:]
			dst[g] |= w
		}
	}
}
