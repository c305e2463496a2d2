package engine

// wordSet is a set of 64-bit words: a hash table with open addressing that holds
// nothing but the words, so that a value takes 12 to 24 bytes and not the ten
// times of a map of values. The zero wordSet is empty.
type wordSet struct {
	slots []uint64 // a power of two of them, or none; 0: free
	n     int      // taken slots
	zero  bool     // the word 0, which no slot can hold
}

const wordSetLeast = 8 // slots of the smallest table

func (s *wordSet) len() int {
	if s.zero {
		return s.n + 1
	}
	return s.n
}

// has reports whether a word is in the set.
func (s *wordSet) has(x uint64) bool {
	if x == 0 {
		return s.zero
	}
	return s.n > 0 && s.slots[s.slot(x)] == x
}

// add puts a word into the set. What it needs is taken from memory.
func (s *wordSet) add(x uint64, memory *ration) error {
	if x == 0 {
		s.zero = true
		return nil
	}
	if err := s.room(s.n+1, memory); err != nil {
		return err
	}
	at := s.slot(x)
	if s.slots[at] == 0 {
		s.slots[at] = x
		s.n++
	}
	return nil
}

// slot is where a word is, or would be.
func (s *wordSet) slot(x uint64) uint64 {
	mask := uint64(len(s.slots) - 1)
	h := x * 0x9e3779b97f4a7c15 // 2^64 over the golden ratio: Knuth, The Art of Computer Programming 3, 6.4
	at := (h ^ h>>32) & mask
	for s.slots[at] != 0 && s.slots[at] != x {
		at = (at + 1) & mask
	}
	return at
}

// room makes the table large enough for n words: three quarters are taken at most.
func (s *wordSet) room(n int, memory *ration) error {
	if 4*n <= 3*len(s.slots) {
		return nil
	}
	old, size := s.slots, wordSetLeast
	for 4*n > 3*size {
		size *= 2
	}
	if err := memory.take(8 * int64(size)); err != nil {
		return err
	}
	s.slots = make([]uint64, size)
	for _, x := range old {
		if x != 0 {
			s.slots[s.slot(x)] = x
		}
	}
	memory.left += 8 * int64(len(old))
	return nil
}

// merge adds all words of o, and empties it.
func (s *wordSet) merge(o *wordSet, memory *ration) error {
	if s.n < o.n {
		*s, *o = *o, *s
	}
	s.zero = s.zero || o.zero
	// Words come in the order of their slots. In a table that grows meanwhile
	// they would crowd its beginning.
	if err := s.room(s.n+o.n, memory); err != nil {
		return err
	}
	for _, x := range o.slots {
		if x != 0 {
			if err := s.add(x, memory); err != nil {
				return err
			}
		}
	}
	memory.left += 8 * int64(len(o.slots))
	*o = wordSet{}
	return nil
}
