package engine

import (
	"wend/event"
	"wend/internal/seeded"
)

// propose lists for every customer who may get beyond entries the attempt that
// there is if times are no obstacle: the first conversion, else the newest
// attempt of the deepest level. Those who may get beyond the free steps it
// leaves to the machine.
func (t *tracker) propose(v *view) {
	m := &t.masks
	begin := min(1, len(m.reach)-1)
	all := m.heads[begin]
	m.general = m.general[:0]
	m.chances = grown(m.chances, len(all))[:len(all)]
	m.rows = grown(m.rows, len(all)*len(m.reach))
	chances, at := 0, 0
	var done [stepsMax]int // customers passed, by step
	for i, row := range all {
		end := uint32(v.Rows) // of rows that are this customer's, or nobody's in reach
		if i+1 < len(all) {
			end = all[i+1]
		}
		level, head := begin+1, row
		next := end // this step's first row of the next customer
		for k := level; k < len(m.reach); k++ {
			heads := m.heads[k]
			at := done[k]
			if at == len(heads) || heads[at] >= end {
				break
			}
			done[k] = at + 1
			level, head, next = k+1, heads[at], uint32(v.Rows)
			if at+1 < len(heads) {
				next = heads[at+1]
			}
		}
		c := m.customer(v, row)
		if level >= t.free && t.free < len(m.steps) && t.beyond(v, int(c), level) {
			m.general = append(m.general, c)
			continue
		}
		if level < len(m.steps) {
			head = lastBefore(m.reach[level-1], next)
		}
		own := m.rows[at : at+level]
		own[level-1] = head
		for k := level - 2; k >= 0; k-- {
			head = lastBefore(m.reach[k], head)
			own[k] = head
		}
		m.chances[chances] = chance{customer: c, at: uint32(at), level: uint8(level)}
		chances, at = chances+1, at+level
	}
	m.chances, m.rows = m.chances[:chances], m.rows[:at]
}

// beyond reports whether a journey that reaches a step behind the free ones is
// not for bits to decide: if it has an excluded event, or gets to where steps
// ask for more.
func (t *tracker) beyond(v *view, c, reached int) bool {
	if reached >= t.calm && t.calm < len(t.matches) {
		return true
	}
	lo, hi := v.Range(c)
	for k, kills := range t.killRows {
		if t.excludes[k] != nil && kills.Next(lo, hi) < hi && !seeded.On("excluded_unseen") {
			return true
		}
	}
	return false
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
	reach, rows := t.masks.reach, &t.found.rows
	last := len(t.masks.steps) - 1
	most := len(reach) - 1 // step that may be reached without conversion
	if most == last {
		most--
		for entry := reach[0].Next(lo, hi); entry < hi; entry = reach[0].Next(rows[0]+1, hi) {
			row, k := entry, 1
			for ; k <= last; k++ {
				if row = reach[k].Next(row+1, hi); row == hi {
					break
				}
			}
			if k <= last {
				break
			}
			rows[last] = row
			for k = last - 1; k >= 0; k-- {
				rows[k] = reach[k].Last(entry, rows[k+1])
			}
			if v.Time.At(row).Sub(v.Time.At(rows[0])) <= window {
				return last + 1
			}
		}
	}
	for k := most; k > 0; k-- {
		if t.newest(v, k, lo, hi, window) {
			return k + 1
		}
	}
	rows[0] = reach[0].Last(lo, hi)
	return 1
}

// newest finds the last event of step k that an entry within the window leads to.
func (t *tracker) newest(v *view, k, lo, hi int, window event.Duration) bool {
	reach, rows := t.masks.reach, &t.found.rows
	var entered event.Time
	for j := range k {
		rows[j] = hi // unknown
	}
	for row := reach[k].Last(lo, hi); row >= 0; row = reach[k].Last(lo, row) {
		rows[k] = row
		for j := k - 1; j >= 0 && rows[j] >= rows[j+1]; j-- {
			if rows[j] = reach[j].Last(lo, rows[j+1]); rows[j] < 0 {
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
