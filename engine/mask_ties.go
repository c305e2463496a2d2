package engine

import (
	"math/bits"
	"slices"

	"wend/tile"
)

// tieOrder puts the events of a tile that share a time in the order in which a
// pattern sees them: by the lowest step they fulfil, those that fulfil none
// last, then by arrival. Masks then work on places, which are rows except where
// that order moves an event; a place has the time of its row, as events move
// among their equals only.
type tieOrder struct {
	moved tile.Bitmap // places whose event is not that of their row; nil: there are none
	rows  []uint32    // where it is instead, at the places that are moved
	keys  []uint64    // scratch: step and row of the events at one time
}

// row is the row of the event at a place.
func (o *tieOrder) row(place int) int {
	if o.moved == nil || !o.moved.Get(place) {
		return place
	}
	return int(o.rows[place])
}

// orderTies lets the bitmaps of the steps mean places. Where the lowest steps do
// not fall from a row to the next at the same time, places are rows: that is
// asked of 64 rows at once, and most ties are done with.
func (t *tracker) orderTies(v *view) error {
	m := &t.masks
	m.ties.moved = nil
	end := 0 // of the last group put in order
	for at, same := range v.Same {
		if same == 0 {
			continue
		}
		var falls, lower, before uint64
		for _, step := range t.stepRows {
			lower |= step[at]
			if at > 0 {
				before |= step[at-1]
			}
			falls |= lower &^ (lower<<1 | before>>63)
		}
		for falls &= same; falls != 0; falls &= falls - 1 {
			row := at<<6 + bits.TrailingZeros64(falls)
			if row < end {
				continue
			}
			lo := row - 1
			for v.Same.Get(lo) {
				lo--
			}
			for end = row + 1; end < v.Rows && v.Same.Get(end); {
				end++
			}
			if err := v.tick(end - lo); err != nil {
				return err
			}
			t.orderGroup(v, lo, end)
		}
	}
	return nil
}

// orderGroup puts the events of rows [lo, hi) in order, which share a time.
// Those that do not exist keep their places.
func (t *tracker) orderGroup(v *view, lo, hi int) {
	m := &t.masks
	o := &m.ties
	o.keys = o.keys[:0]
	for row := v.next(lo, hi); row < hi; row = v.next(row+1, hi) {
		o.keys = append(o.keys, uint64(t.lowestStep(row))<<32|uint64(row))
	}
	slices.Sort(o.keys)
	place := v.next(lo, hi)
	for _, key := range o.keys {
		if row := int(uint32(key)); row != place {
			if o.moved == nil {
				o.moved = v.bitmap(v.Rows)
				o.rows = grown(o.rows, v.Rows)[:v.Rows]
				for k, step := range t.stepRows {
					m.steps[k] = v.copyOf(step)
				}
				for k, kills := range t.killRows {
					if kills != nil {
						m.kills[k] = v.copyOf(kills)
					}
				}
			}
			o.moved.Set(place)
			o.rows[place] = uint32(row)
			for k, step := range t.stepRows {
				m.steps[k].Put(place, step.Get(row))
			}
			for k, kills := range t.killRows {
				if kills != nil {
					m.kills[k].Put(place, kills.Get(row))
				}
			}
		}
		place = v.next(place+1, hi)
	}
}
