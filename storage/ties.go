package storage

import (
	"slices"

	"wend/event"
	"wend/tile"
)

// span is a closed range of times; the zero span is empty.
type span struct {
	min, max event.Time
	some     bool
}

func (s span) with(lo, hi event.Time) span {
	if !s.some {
		return span{lo, hi, true}
	}
	return span{min(s.min, lo), max(s.max, hi), true}
}

func (s span) overlaps(o span) bool { return s.some && o.some && s.min <= o.max && o.min <= s.max }

// sharedTimes are times that several runs have, and perhaps some that lie close
// to those of another run: it is a bitmap of as many cells as memory allows, for
// the different times of a year may be as many as its rows. A rank that is raised
// needlessly costs bits on the disk and changes no order.
type sharedTimes struct {
	from, to event.Time // others are not shared
	shift    int        // a cell is 1<<shift microseconds wide
	cells    tile.Bitmap
}

// Of a run with a row in every second of a year each second has a cell of its own.
const (
	cellsMax   = 1 << 27 // 16 MiB a bitmap, of which there are three while runs are compared
	cellsOfRow = 64
)

// newSharedTimes returns no times, with cells for so many rows within a span.
func newSharedTimes(within span, rows int64) *sharedTimes {
	s := &sharedTimes{from: within.min, to: within.max}
	most := uint64(min(cellsOfRow*rows, cellsMax))
	for uint64(s.to-s.from)>>s.shift >= most {
		s.shift++
	}
	s.cells = s.bitmap()
	return s
}

func (s *sharedTimes) bitmap() tile.Bitmap {
	return tile.NewBitmap(int(uint64(s.to-s.from)>>s.shift) + 1)
}

// mark marks the cells of times in a bitmap of its own.
func (s *sharedTimes) mark(in tile.Bitmap, times []event.Time) {
	for _, t := range times {
		if t >= s.from && t <= s.to {
			in.Set(int(uint64(t-s.from) >> s.shift))
		}
	}
}

func (s *sharedTimes) has(t event.Time) bool {
	return t >= s.from && t <= s.to && s.cells.Get(int(uint64(t-s.from)>>s.shift))
}

// common returns the span that holds all times that several of the spans may have.
func common(spans []span) span {
	var all span
	for i, x := range spans {
		for _, y := range spans[:i] {
			if x.overlaps(y) {
				all = all.with(max(x.min, y.min), min(x.max, y.max))
			}
		}
	}
	return all
}

// markTimes marks the times of a segment, and returns one more than its highest
// tie rank.
func (s *sharedTimes) markTimes(in tile.Bitmap, seg *segment) (top uint32, err error) {
	var times []event.Time
	for b := range 1 << seg.PrefixBits {
		if seg.Stats(b).Rows == 0 {
			continue
		}
		block, err := seg.Block(b)
		if err != nil {
			return 0, err
		}
		ranks, err := block.TieRank()
		if err != nil {
			return 0, err
		}
		top = max(top, 1)
		for _, r := range ranks {
			top = max(top, r+1)
		}
		times = slices.Grow(times[:0], block.Rows)[:block.Rows]
		block.Time.Decode(0, times)
		s.mark(in, times)
	}
	return top, nil
}

// raiseRanks adds base to the tie ranks of rows whose time is among shared.
func raiseRanks(ranks []uint32, times []event.Time, shared *sharedTimes, base uint32) []uint32 {
	raised := make([]uint32, len(times))
	copy(raised, ranks)
	for i, t := range times {
		if shared.has(t) {
			raised[i] += base
		}
	}
	return raised
}
