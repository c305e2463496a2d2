package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
)

// propose appends the attempt that a journey has if times are no obstacle: the
// first conversion, else the newest attempt of the deepest level. It appends
// none and reports false where the journey may get beyond the free steps.
func (t *tracker) propose(v *view, lo, hi int) bool {
	m := &t.masks
	n := len(m.steps)
	if hi-lo > longJourney {
		return t.proposeLong(v, lo, hi)
	}
	words := m.words[lo>>6*n:][: 2*n : 2*n]
	own := m.own[:n]
	all := ^uint64(0) >> ((longJourney - (hi - lo)) & 63)
	reached := 1
	own[0] = cut(words[0], words[n], uint32(lo)) & all
	for k := 1; k < n; k++ {
		own[k] = above(own[k-1], cut(words[k], words[n+k], uint32(lo))&all)
		if own[k] == 0 {
			break
		}
		reached++
	}
	if reached >= t.free && t.free < n && t.beyond(v, lo, hi, reached) {
		return false
	}
	var chain [stepsMax]uint32
	last := own[reached-1]
	at := bits.Len64(last) - 1
	if reached == n {
		at = bits.TrailingZeros64(last)
	}
	chain[reached-1] = uint32(lo + at)
	for k := reached - 2; k >= 0; k-- {
		at = bits.Len64(own[k]&(1<<(at&63)-1)) - 1
		chain[k] = uint32(lo + at)
	}
	m.levels = append(m.levels, uint8(reached))
	m.rows = append(m.rows, chain[:reached]...)
	if reached < n {
		m.rows = append(m.rows, uint32(lo+bits.Len64(own[0])-1))
	}
	return true
}

// beyond reports whether a journey that reaches a step behind the free ones is
// not for bits to decide: if it has an excluded event, or gets to where steps
// ask for more.
func (t *tracker) beyond(v *view, lo, hi, reached int) bool {
	if reached >= t.calm && t.calm < len(t.matches) {
		return true
	}
	for k, kills := range t.killRows {
		if t.excludes[k] != nil && kills.Next(lo, hi) < hi && !seeded.On("excluded_unseen") {
			return true
		}
	}
	return false
}

// proposeLong is propose for a journey that does not fit a mask.
func (t *tracker) proposeLong(v *view, lo, hi int) bool {
	m := &t.masks
	n := len(m.steps)
	reached := 0
	first := lo - 1 // the earliest event of the step before
	for ; reached < n; reached++ {
		next := m.steps[reached].Next(first+1, hi)
		if next == hi {
			break
		}
		first = next
	}
	if reached >= t.free && t.free < n && t.beyond(v, lo, hi, reached) {
		return false
	}
	row := first
	if reached < n {
		row = m.steps[reached-1].Last(first, hi)
	}
	at := len(m.rows)
	for range reached {
		m.rows = append(m.rows, 0)
	}
	for k := reached - 1; k >= 0; k-- {
		if k < reached-1 {
			row = m.steps[k].Last(lo, row)
		}
		m.rows[at+k] = uint32(row)
	}
	m.levels = append(m.levels, uint8(reached))
	if reached < n {
		m.rows = append(m.rows, uint32(m.steps[0].Last(lo, hi)))
	}
	return true
}

// seek finds the level of the journey in rows [lo, hi), and leaves the rows of
// the attempt that is reported in found.rows. It knows that the journey has an
// entry and something above it.
//
// The best entry for an event of a later step is found backwards, by the last
// bit of each step before: if that one is too early, all are. Forwards it
// looks for the first conversion, and where there is none, backwards for the
// last event of each level. No stretch of rows is searched more than twice.
func (t *tracker) seek(v *view, lo, hi int, window event.Duration) (level int) {
	if hi-lo <= longJourney {
		return t.seekShort(v, lo, hi, window)
	}
	steps, rows := t.masks.steps, &t.found.rows
	last := len(steps) - 1
	most := last - 1 // step that may be reached without conversion
	first := steps[0].Next(lo, hi)
	for entry := first; entry < hi; entry = steps[0].Next(rows[0]+1, hi) {
		row, k := entry, 1
		for ; k <= last; k++ {
			if row = steps[k].Next(row+1, hi); row == hi {
				break
			}
		}
		if k <= last {
			if entry == first {
				most = k - 1
			}
			break
		}
		rows[last] = row
		for k = last - 1; k >= 0; k-- {
			rows[k] = steps[k].Last(entry, rows[k+1])
		}
		if v.Time.At(row).Sub(v.Time.At(rows[0])) <= window {
			return last + 1
		}
	}
	for k := most; k > 0; k-- {
		if t.newest(v, k, lo, hi, window) {
			return k + 1
		}
	}
	rows[0] = steps[0].Last(lo, hi)
	return 1
}

// newest finds the last event of step k that an entry within the window leads to.
func (t *tracker) newest(v *view, k, lo, hi int, window event.Duration) bool {
	steps, rows := t.masks.steps, &t.found.rows
	var entered event.Time
	for j := range k {
		rows[j] = hi // unknown
	}
	for row := steps[k].Last(lo, hi); row >= 0; row = steps[k].Last(lo, row) {
		rows[k] = row
		for j := k - 1; j >= 0 && rows[j] >= rows[j+1]; j-- {
			if rows[j] = steps[j].Last(lo, rows[j+1]); rows[j] < 0 {
				return false
			}
			if j == 0 {
				entered = v.Time.At(rows[0])
			}
		}
		if v.Time.At(row).Sub(entered) <= window {
			return true
		}
	}
	return false
}

// seekShort is seek for a journey that fits a mask: the same search, bit by bit.
func (t *tracker) seekShort(v *view, lo, hi int, window event.Duration) (level int) {
	m, rows := &t.masks, &t.found.rows
	n := len(m.steps)
	words := m.words[lo>>6*n:][: 2*n : 2*n]
	all := ^uint64(0) >> ((longJourney - (hi - lo)) & 63)
	own := m.own[:n]
	for k := range own {
		own[k] = cut(words[k], words[n+k], uint32(lo)) & all
	}
	last := n - 1
	most := last - 1
	// lead finds the latest entry that leads to a bit of step k, and the chain
	// between, and reports whether it is within the window.
	lead := func(k, bit int) bool {
		end := bit
		rows[k] = lo + bit
		for j := k - 1; j >= 0; j-- {
			bit = bits.Len64(own[j]&(1<<(bit&63)-1)) - 1
			rows[j] = lo + bit
		}
		return v.Time.At(lo+end).Sub(v.Time.At(lo+bit)) <= window
	}
	for entries := own[0]; entries != 0; {
		bit, k := bits.TrailingZeros64(entries), 1
		for ; k <= last; k++ {
			later := own[k] &^ (1<<(bit&63)<<1 - 1)
			if later == 0 {
				break
			}
			bit = bits.TrailingZeros64(later)
		}
		if k <= last {
			if entries == own[0] {
				most = k - 1
			}
			break
		}
		if lead(last, bit) {
			return n
		}
		entries = own[0] &^ (1<<((rows[0]-lo)&63)<<1 - 1)
	}
	for k := most; k > 0; k-- {
		// Below the first bit that a chain leads to none is led to.
		from := bits.TrailingZeros64(own[0])
		for j := 1; j <= k; j++ {
			from = bits.TrailingZeros64(own[j] &^ (1<<(from&63)<<1 - 1))
		}
		for left := own[k] &^ (1<<(from&63) - 1); left != 0; {
			bit := bits.Len64(left) - 1
			if lead(k, bit) {
				return k + 1
			}
			left &^= 1 << (bit & 63)
		}
	}
	rows[0] = lo + bits.Len64(own[0]) - 1
	return 1
}
