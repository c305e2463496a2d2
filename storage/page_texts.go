package storage

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"wend/tile"
)

const (
	textsPlain = iota
	textsZstd
	textsNumbered
	textsUUID
)

// appendStrings appends a list of texts in the smallest of its encodings.
func appendStrings(dst []byte, s *tile.Strings) []byte {
	n := s.Len()
	if n == 0 {
		return dst
	}
	if prefix, numbers, ok := numbered(s); ok {
		dst = appendText(append(dst, textsNumbered), prefix)
		return appendInts(dst, numbers, nil)
	}
	lengths := make([]int64, n)
	for i := range lengths {
		lengths[i] = int64(len(s.At(i)))
	}
	all := s.Text[:s.Ends[n-1]]
	best := append(appendInts([]byte{textsPlain}, lengths, nil), all...)
	if len(all) > zstdWorth {
		if z := appendZstd(appendInts([]byte{textsZstd}, lengths, nil), []byte(all)); len(z) < len(best) {
			best = z
		}
	}
	if binary, ok := uuids(s); ok && len(binary) < len(best) {
		return append(append(dst, textsUUID), binary...)
	}
	return append(dst, best...)
}

const (
	uuidText   = len("00000000-0000-0000-0000-000000000000")
	uuidBinary = 16
)

// uuids returns the 16 bytes of each text, if all are UUIDs in lower case: the
// ids that most sources give events and visitors. Compressed as text they take 20.
func uuids(s *tile.Strings) (binary []byte, ok bool) {
	for i := range s.Len() {
		text := s.At(i)
		if len(text) != uuidText || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
			return nil, false
		}
		digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
		if strings.ContainsAny(digits, "ABCDEF") {
			return nil, false
		}
		var err error
		if binary, err = hex.AppendDecode(binary, []byte(digits)); err != nil {
			return nil, false
		}
	}
	return binary, true
}

func appendUUID(dst []byte, binary []byte) []byte {
	for i, b := range binary {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}

// digitsMax is how many decimal digits always fit an int64.
const digitsMax = 18

// numbered splits texts like u17, u4242 into prefix and numbers, if all are of
// that form and the numbers give back their digits.
func numbered(s *tile.Strings) (prefix string, numbers []int64, ok bool) {
	first := s.At(0)
	prefix = first[:len(strings.TrimRight(first, "0123456789"))]
	for i := range s.Len() {
		digits, has := strings.CutPrefix(s.At(i), prefix)
		if !has || digits == "" || len(digits) > digitsMax || digits[0] == '0' && digits != "0" {
			return "", nil, false
		}
		number := int64(0)
		for k := range len(digits) {
			if digits[k] < '0' || digits[k] > '9' {
				return "", nil, false
			}
			number = number*10 + int64(digits[k]-'0')
		}
		numbers = append(numbers, number)
	}
	return prefix, numbers, true
}

// appendDecimal is strconv.AppendInt, in less time for numbers of up to eight
// digits: customers' names are most of what a merge of tiles reads as text.
func appendDecimal(dst []byte, number int64) []byte {
	if number < 0 || number >= 1e8 {
		return strconv.AppendInt(dst, number, 10)
	}
	// Halves, quarters and eighths of the digits are divided off side by side.
	// The factors are 2^20/100 and 2^10/10, rounded up.
	digits := uint64(number)/10_000 | uint64(number)%10_000<<32
	above := digits * 10486 >> 20 & 0x7f_0000_007f
	digits = above | (digits-above*100)<<16
	above = digits * 103 >> 10 & 0x0f_000f_000f_000f
	digits = above | (digits-above*10)<<8
	zeros := min(bits.TrailingZeros64(digits)/8, 7)
	ascii := (digits | 0x3030303030303030) >> (8 * zeros & 63)
	return binary.LittleEndian.AppendUint64(dst, ascii)[:len(dst)+8-zeros]
}

// texts reads a list of n texts.
func (c *cursor) texts(what string, n int) *tile.Strings {
	s := &tile.Strings{}
	if n == 0 || c.err != nil {
		return s
	}
	kind := c.byte(what + ": kind of texts")
	switch {
	case c.err != nil:
	case kind == textsNumbered:
		prefix := c.text("prefix")
		numbers := c.ints("numbers", n, nil)
		if c.err != nil {
			return s
		}
		all := c.raw[:0]
		s.Ends = make([]uint32, n)
		for i, number := range numbers {
			all = appendDecimal(append(all, prefix...), number)
			s.Ends[i] = uint32(len(all))
		}
		c.raw = all[:0]
		if len(all) > math.MaxUint32 {
			c.fail(what, "%d bytes of text", len(all))
			return &tile.Strings{}
		}
		s.Text = string(all)
	case kind == textsPlain, kind == textsZstd:
		lengths := c.ints("lengths", n, nil)
		total := int64(0)
		for _, l := range lengths {
			if l < 0 || l > math.MaxUint32 {
				c.fail(what, "a text of %d bytes", l)
				return s
			}
			total += l
		}
		if total > math.MaxUint32 {
			c.fail(what, "%d bytes of text", total)
		}
		var all []byte
		if kind == textsPlain {
			all = c.bytes("texts", int(total))
		} else {
			all = c.zstd("compressed texts", int(total))
		}
		if c.err != nil {
			return s
		}
		s.Text = string(all)
		s.Ends = make([]uint32, n)
		end := int64(0)
		for i, l := range lengths {
			end += l
			s.Ends[i] = uint32(end)
		}
	case kind == textsUUID:
		binary := c.bytes("UUIDs", n*uuidBinary)
		if c.err != nil || n*uuidText > math.MaxUint32 {
			c.fail(what, "%d UUIDs", n)
			return s
		}
		all := make([]byte, 0, n*uuidText)
		s.Ends = make([]uint32, n)
		for i := range n {
			all = appendUUID(all, binary[i*uuidBinary:(i+1)*uuidBinary])
			s.Ends[i] = uint32(len(all))
		}
		s.Text = string(all)
	default:
		c.fail(what, "kind %d of texts is unknown", kind)
	}
	return s
}

// list returns the texts as a slice; they share one block of memory.
func list(s *tile.Strings) []string {
	texts := make([]string, s.Len())
	for i := range texts {
		texts[i] = s.At(i)
	}
	return texts
}
