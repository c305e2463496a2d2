package tile

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
	c := &Codes{}
	for ; all != 0; all >>= 1 {
		c.Bits++
	}
	groups := (len(codes) + 63) / 64
	c.Words = make([]uint64, groups*c.Bits)
	for i, code := range codes {
		for b := range c.Bits {
			c.Words[i>>6*c.Bits+b] |= uint64(code>>b&1) << (i & 63)
		}
	}
	return c
}

// At returns row i's code.
func (c *Codes) At(i int) uint32 {
	var code uint32
	for b, w := range c.Words[i>>6*c.Bits : (i>>6+1)*c.Bits] {
		code |= uint32(w>>(i&63)&1) << b
	}
	return code
}

// Decode writes the codes of rows [lo, lo+len(dst)) to dst.
func (c *Codes) Decode(lo int, dst []uint32) {
	for k := range dst {
		dst[k] = c.At(lo + k)
	}
}

// Match sets dst to the rows below n whose code is in codes.
func (c *Codes) Match(codes []uint32, n int, dst Bitmap) {
	clear(dst)
	for _, code := range codes {
		if code>>c.Bits != 0 {
			continue
		}
		for g := range dst {
			w := ^uint64(0)
			for b := range c.Bits {
				w &= c.Words[g*c.Bits+b] ^ (uint64(code>>b&1) - 1)
			}
			dst[g] |= w
		}
	}
	if n&63 != 0 {
		dst[len(dst)-1] &= 1<<(n&63) - 1
	}
}
