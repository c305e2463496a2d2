package storage

import (
	"slices"

	"wend/event"
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

// timeSet is the different times of a run, and one more than its highest tie rank.
type timeSet struct {
	times []event.Time
	top   uint32
}

// read adds the times of a segment.
func (s *timeSet) read(seg *segment) error {
	for b := range 1 << seg.PrefixBits {
		if seg.Stats(b).Rows == 0 {
			continue
		}
		block, err := seg.Block(b)
		if err != nil {
			return err
		}
		ranks, err := block.TieRank()
		if err != nil {
			return err
		}
		s.top = max(s.top, 1)
		for _, r := range ranks {
			s.top = max(s.top, r+1)
		}
		at := len(s.times)
		s.times = slices.Grow(s.times, block.Rows)[:at+block.Rows]
		block.Time.Decode(0, s.times[at:])
	}
	return nil
}

func (s *timeSet) sort() {
	slices.Sort(s.times)
	s.times = slices.Compact(s.times)
}

// sharedTimes returns, sorted, the times that at least two of the sets have.
func sharedTimes(sets []*timeSet) []event.Time {
	total := 0
	for _, s := range sets {
		if s != nil {
			total += len(s.times)
		}
	}
	all := make([]event.Time, 0, total)
	for _, s := range sets {
		if s != nil {
			all = append(all, s.times...)
			s.times = nil
		}
	}
	slices.Sort(all)
	shared := all[:0]
	for lo := 0; lo < len(all); {
		hi := lo + 1
		for hi < len(all) && all[hi] == all[lo] {
			hi++
		}
		if hi-lo > 1 {
			shared = append(shared, all[lo])
		}
		lo = hi
	}
	return slices.Clone(shared)
}

// raiseRanks adds base to the tie ranks of rows whose time is among shared.
func raiseRanks(ranks []uint32, times, shared []event.Time, base uint32) []uint32 {
	raised := make([]uint32, len(times))
	copy(raised, ranks)
	at := 0 // times rise within a customer: often the next one is near
	for i, t := range times {
		if at < len(shared) && shared[at] == t {
			raised[i] += base
			continue
		}
		k, ok := slices.BinarySearch(shared, t)
		if ok {
			raised[i] += base
			at = k
		}
	}
	return raised
}
