package engine

import (
	"math/bits"
	"slices"

	"wend/event"
)

// pathTable counts paths: sequences of label codes, each in a group. It is a
// hash table with open addressing over entries that hold the codes themselves,
// so that equal hashes of different paths do no harm.
type pathTable struct {
	slots   []uint32 // entry + 1, 0 free; a power of two long
	entries []pathEntry
	codes   []uint32 // of all entries
	limit   int
	run     *run
	memory  ration
}

type pathEntry struct {
	hash    uint64
	group   uint32
	from, n uint32 // codes[from : from+n]
	count   int64
}

// What an entry takes, and each of its codes: lists have some room to grow.
const (
	pathEntryBytes = 48
	pathCodeBytes  = 6
)

func newPathTable(r *run) *pathTable {
	return &pathTable{slots: make([]uint32, 1024), limit: r.opt.Groups, run: r, memory: ration{budget: r.memory}}
}

// add returns the entry of a path and adds n to its count.
func (t *pathTable) add(group uint32, codes []uint32, n int64) (int, error) {
	hash := hashPath(group, codes)
	mask := uint64(len(t.slots) - 1)
	at := hash >> 20 & mask
	for ; t.slots[at] != 0; at = (at + 1) & mask {
		e := &t.entries[t.slots[at]-1]
		if e.hash == hash && e.group == group && slices.Equal(t.path(e), codes) {
			e.count += n
			return int(t.slots[at] - 1), nil
		}
	}
	if len(t.entries) >= t.limit {
		return 0, tooManyPaths(t.limit, len(t.entries)+1)
	}
	if err := t.memory.take(pathEntryBytes + pathCodeBytes*int64(len(codes))); err != nil {
		return 0, err
	}
	t.entries = append(t.entries, pathEntry{hash: hash, group: group, from: uint32(len(t.codes)), n: uint32(len(codes)), count: n})
	t.codes = append(t.codes, codes...)
	t.slots[at] = uint32(len(t.entries))
	if 2*len(t.entries) > len(t.slots) {
		if err := t.memory.take(4 * 4 * int64(len(t.slots))); err != nil {
			return 0, err
		}
		t.grow()
	}
	return len(t.entries) - 1, nil
}

func tooManyPaths(limit, n int) error {
	return &LimitError{Limit: "paths", Value: int64(limit), Reached: int64(n),
		Hint: "shorten paths with length, label by something that has fewer values, leave events out with where, or use collapse"}
}

// path returns the codes of an entry.
func (t *pathTable) path(e *pathEntry) []uint32 { return t.codes[e.from : e.from+e.n] }

func (t *pathTable) grow() {
	t.slots = make([]uint32, 4*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for i := range t.entries {
		at := t.entries[i].hash >> 20 & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = uint32(i + 1)
	}
}

// hashPath mixes the codes by the high and low halves of products.
func hashPath(group uint32, codes []uint32) uint64 {
	const k0, k1 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
	h := uint64(group)*k1 + uint64(len(codes)) + k0
	for _, c := range codes {
		high, low := bits.Mul64(h^uint64(c), k0)
		h = high ^ low ^ k1
	}
	high, low := bits.Mul64(h, k1)
	return high ^ low
}

// journeys lists which path every journey gave and how long it took, in pieces
// that are never moved: one number a journey for the median durations.
type journeys struct {
	paths     [][]uint32
	durations [][]event.Duration
}

const journeysPiece = 1 << 13

func (j *journeys) add(path int, d event.Duration, memory *ration) error {
	last := len(j.paths) - 1
	if last < 0 || len(j.paths[last]) == cap(j.paths[last]) {
		size := journeysPiece
		if last < 0 {
			size = 256
		}
		if err := memory.take(int64(size) * 12); err != nil {
			return err
		}
		j.paths = append(j.paths, make([]uint32, 0, size))
		j.durations = append(j.durations, make([]event.Duration, 0, size))
		last++
	}
	j.paths[last] = append(j.paths[last], uint32(path))
	j.durations[last] = append(j.durations[last], d)
	return nil
}
