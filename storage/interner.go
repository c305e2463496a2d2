package storage

import (
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// interner numbers different texts of one block of memory, in order of appearance.
type interner struct {
	slots  []uint32 // number + 1 by hash; 0: empty
	hashes []uint64 // by number
	spans  [][2]int // by number: where the text is
	latest uint32   // that next returned
}

// next is code for a text that is often the one asked for last.
func (t *interner) next(data []byte, lo, hi int) uint32 {
	if t.len() == 0 || string(t.text(data, t.latest)) != string(data[lo:hi]) {
		t.latest = t.code(data, lo, hi)
	}
	return t.latest
}

func (t *interner) len() int { return len(t.spans) }

// textHash is quick for short texts. Unlike customerHash it may change: it is
// in no file.
func textHash(b []byte) uint64 {
	const k1, k2 = 0x9e3779b97f4a7c15, 0xe7037ed1a0b428db
	var first, last uint64
	switch n := len(b); {
	case n > 16:
		return xxhash.Sum64(b)
	case n >= 8:
		first, last = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		first, last = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		first, last = uint64(b[0]), uint64(b[n/2])|uint64(b[n-1])<<8
	}
	high, low := bits.Mul64(first^k1, last^k2^uint64(len(b)))
	return high ^ low
}

func (t *interner) reset() {
	if len(t.hashes) > 0 {
		clear(t.slots)
	}
	t.hashes, t.spans, t.latest = t.hashes[:0], t.spans[:0], 0
}

// code returns the number of the text data[lo:hi].
func (t *interner) code(data []byte, lo, hi int) uint32 {
	hash := textHash(data[lo:hi])
	if 2*len(t.hashes) >= len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		code := t.slots[i] - 1
		if t.hashes[code] == hash && string(t.text(data, code)) == string(data[lo:hi]) {
			return code
		}
	}
	t.hashes = append(t.hashes, hash)
	t.spans = append(t.spans, [2]int{lo, hi})
	t.slots[i] = uint32(len(t.hashes))
	return t.slots[i] - 1
}

func (t *interner) text(data []byte, code uint32) []byte {
	span := t.spans[code]
	return data[span[0]:span[1]]
}

func (t *interner) grow() {
	t.slots = make([]uint32, max(64, 2*len(t.slots)))
	mask := uint64(len(t.slots) - 1)
	for code, hash := range t.hashes {
		i := hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(code + 1)
	}
}

// list returns the texts by number.
func (t *interner) list(data []byte) []string {
	list := make([]string, len(t.spans))
	for code := range list {
		list[code] = string(t.text(data, uint32(code)))
	}
	return list
}
