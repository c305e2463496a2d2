package storage

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"wend/event"
	"wend/internal/forced"
	"wend/tile"
)

const (
	codesPlanes = iota
	codesInts
)

// appendPlanes appends bit planes.
func appendPlanes(dst []byte, c *tile.Codes) []byte {
	dst = append(dst, byte(c.Bits))
	for _, w := range c.Words {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// planes reads bit planes of n codes, all below limit.
func (c *cursor) planes(what string, n int, limit int) *tile.Codes {
	width := int(c.byte("planes"))
	if width > 32 {
		c.fail(what, "%d planes", width)
		return nil
	}
	groups := (n + 63) / 64
	raw := c.bytes(what+" planes", groups*width*8)
	if c.err != nil {
		return nil
	}
	codes := &tile.Codes{Bits: width, Words: make([]uint64, groups*width)}
	for i := range codes.Words {
		codes.Words[i] = binary.LittleEndian.Uint64(raw[i*8:])
	}
	if !codesBelow(codes, n, limit) {
		c.fail(what, "a code is not below %d, or set past the last row", limit)
		return nil
	}
	return codes
}

// codesBelow reports whether all n codes are below limit and the rest of the last word 0.
func codesBelow(c *tile.Codes, n int, limit int) bool {
	if limit == 0 {
		return n == 0
	}
	if n&63 != 0 {
		for _, w := range c.Words[len(c.Words)-c.Bits:] {
			if w>>(n&63) != 0 {
				return false
			}
		}
	}
	greatest := uint64(limit - 1)
	if bits.Len64(greatest) > c.Bits || greatest == 1<<c.Bits-1 {
		return true
	}
	for words := c.Words; len(words) > 0; words = words[c.Bits:] {
		equal, above := ^uint64(0), uint64(0) // compared with greatest, so far
		for b := c.Bits - 1; b >= 0; b-- {
			if w := words[b]; greatest>>b&1 != 0 {
				equal &= w
			} else {
				above |= equal & w
				equal &^= w
			}
		}
		if above != 0 {
			return false
		}
	}
	return true
}

// appendCodes appends codes as planes, which are read as they are, or as
// integers where those are clearly smaller.
func appendCodes(dst []byte, codes []uint32, anchors tile.Bitmap) []byte {
	ints := appendInts([]byte{codesInts}, widened(codes), anchors)
	planes := tile.NewCodes(codes)
	if len(ints) < len(planes.Words)*7 || forced.Roaring { // seven eighths
		return append(dst, ints...)
	}
	return appendPlanes(append(dst, codesPlanes), planes)
}

func widened(codes []uint32) []int64 {
	values := make([]int64, len(codes))
	for i, code := range codes {
		values[i] = int64(code)
	}
	return values
}

func (c *cursor) codes(what string, n, limit int, anchors tile.Bitmap) *tile.Codes {
	kind := c.byte("kind of codes")
	switch {
	case c.err != nil:
	case kind == codesPlanes:
		return c.planes(what, n, limit)
	case kind == codesInts && c.at < len(c.b) && c.b[c.at] == intsHeld:
		c.byte(what + ": kind of integers")
		changes, stored := heldList[uint32](c, what, n, anchors)
		if c.below(what, stored, limit) {
			return tile.HeldCodes(stored, changes, n)
		}
	case kind == codesInts:
		if codes := c.narrowed(what, n, limit, anchors); c.err == nil {
			return tile.NewCodes(codes)
		}
	default:
		c.fail(what, "kind %d of codes is unknown", kind)
	}
	return nil
}

// appendTimes appends the time column. In memory an anchor's base is exact and
// its slot nearly empty; here the slot takes the low bits of the anchor's tick,
// and only what is above them is written beside.
func appendTimes(dst []byte, t *tile.Times) []byte {
	dst = binary.AppendVarint(dst, int64(t.Origin))
	dst = binary.AppendUvarint(dst, uint64(t.Unit))
	dst = append(dst, t.Shift, t.Width)
	dst = appendBits(dst, t.Anchors, t.Rows)
	slots := slices.Clone(t.Slots)
	width := uint(t.Width)
	highs := make([]uint64, len(t.Bases))
	all, row := uint64(0), -1
	for i, base := range t.Bases {
		row = t.Anchors.Next(row+1, t.Rows)
		tick := uint64(base)<<t.Shift + slot(slots, row, width)
		setSlot(slots, row, width, tick&(1<<width-1))
		highs[i] = tick >> width
		all |= highs[i]
	}
	dst = binary.AppendUvarint(dst, uint64(len(highs)))
	dst = append(dst, byte(bits.Len64(all)))
	dst = appendPacked(dst, highs, bits.Len64(all))
	return append(dst, slots[:packedSize(t.Rows, int(t.Width))]...)
}

// slot returns the bits of row i of packed slots that have padding behind them.
func slot(slots []byte, i int, width uint) uint64 {
	bit := uint(i) * width
	return binary.LittleEndian.Uint64(slots[bit>>3:]) >> (bit & 7) & (1<<width - 1)
}

func setSlot(slots []byte, i int, width uint, value uint64) {
	bit := uint(i) * width
	word := binary.LittleEndian.Uint64(slots[bit>>3:])
	word = word&^((1<<width-1)<<(bit&7)) | value<<(bit&7)
	binary.LittleEndian.PutUint64(slots[bit>>3:], word)
}

// times reads the time column of n rows.
func (c *cursor) times(n int) *tile.Times {
	t := &tile.Times{Rows: n}
	t.Origin = event.Time(c.varint("origin"))
	t.Unit = int64(c.uvarint("unit"))
	t.Shift, t.Width = c.byte("shift"), c.byte("width")
	t.Anchors = tile.NewBitmap(n)
	c.setBits("anchors", t.Anchors, n, c.bytes("anchors", (n+7)/8))
	count := c.count("number of anchors", n)
	highs := c.packed("high bits of anchors", count, int(c.byte("width of high bits")))
	slots := c.bytes("slots", packedSize(n, int(t.Width)))
	switch {
	case c.err != nil:
		return nil
	case t.Unit < 1:
		c.fail("time", "unit %d", t.Unit)
		return nil
	case t.Width > tile.WidthMax || t.Shift > t.Width:
		c.fail("time", "widths %d and %d", t.Shift, t.Width)
		return nil
	case count != t.Anchors.Count() || n > 0 && !t.Anchors.Get(0):
		c.fail("time", "%d high bits for %d anchors", count, t.Anchors.Count())
		return nil
	}
	own := make([]byte, tile.SlotBytes(n, t.Width))
	copy(own, slots)
	t.Slots = own
	t.Bases = make([]uint32, count)
	if !takeBases(t, highs) {
		c.fail("time", "an anchor is too many ticks from the origin")
		return nil
	}
	t.Rank()
	return t
}

// takeBases moves what slots of anchors have of their ticks to the bases, and
// reports whether all ticks are possible.
func takeBases(t *tile.Times, highs []uint64) bool {
	width, shift := uint(t.Width)&63, uint(t.Shift)&63
	moved := uint64(1)<<width - 1<<shift // bits of a slot
	slots, bases := t.Slots, t.Bases[:len(highs)]
	var over uint64 // bits that a tick or a base cannot have
	i := 0
	for w, flags := range t.Anchors {
		for ; flags != 0; flags &= flags - 1 {
			bit := uint(w<<6+bits.TrailingZeros64(flags)) * width
			at := slots[bit>>3:][:8]
			word := binary.LittleEndian.Uint64(at)
			high := highs[i]
			tick := high<<width | word>>(bit&7)&(1<<width-1)
			over |= tick>>shift>>32 | high>>1>>(63-width&63)
			bases[i] = uint32(tick >> shift)
			binary.LittleEndian.PutUint64(at, word&^(moved<<(bit&7)))
			i++
		}
	}
	return over == 0
}

// appendStarts appends which anchors begin a customer.
func appendStarts(dst []byte, starts []uint32, t *tile.Times) []byte {
	flags := make([]byte, (len(t.Bases)+7)/8)
	anchor, row := 0, -1
	for _, s := range starts[:len(starts)-1] {
		for row = t.Anchors.Next(row+1, t.Rows); row < int(s); row = t.Anchors.Next(row+1, t.Rows) {
			anchor++
		}
		flags[anchor>>3] |= 1 << (anchor & 7)
		anchor++
	}
	return append(dst, flags...)
}

// starts reads the starts of a number of customers.
func (c *cursor) starts(customers int, t *tile.Times) []uint32 {
	flags := c.bytes("customer starts", (len(t.Bases)+7)/8)
	if c.err != nil {
		return nil
	}
	count := 0
	for _, eight := range flags {
		count += bits.OnesCount8(eight)
	}
	starts := make([]uint32, customers+1)
	anchor, next := 0, 0
	for w, marks := range t.Anchors {
		if count != customers {
			break
		}
		for ; marks != 0; marks &= marks - 1 {
			starts[next] = uint32(w<<6 + bits.TrailingZeros64(marks)) // stays if it begins a customer
			next += int(flags[anchor>>3] >> (anchor & 7) & 1)
			anchor++
		}
	}
	if next != customers || customers > 0 && starts[0] != 0 {
		c.fail("starts", "%d customers, the directory has %d", count, customers)
		return nil
	}
	starts[customers] = uint32(t.Rows)
	return starts
}
