package engine

import (
	"math/bits"
	"slices"

	"wend/event"
	"wend/internal/seeded"
)

// anyOrder finds the largest number of different steps that different events
// within one window fulfil.
//
// Sets of events that fulfil different steps are the independent sets of a
// matroid. kept is its newest basis over the events so far: an event that
// comes is always taken, and if it cannot be given a step of its own in
// addition, the oldest of the events it competes with goes. The kept events
// that lie within a window before the newest event are then a basis of all
// that lie there: their number is the level, and they are the newest chain
// that ends here. At most one event a step is kept.
type anyOrder struct {
	*pattern
	window event.Duration
	steps  int64              // done so far
	kept   []mark             // in order
	holder [anyStepsMax]int32 // by step: place of the kept event that stands for it, -1: none

	via  [anyStepsMax]mark // assign: the event that asked for the step
	rest []mark            // entries in the range, when it has been left behind

	found chain
}

// anyStepsMax is how many steps `any order` may have: finding an event's
// competitors looks at every pair.
const anyStepsMax = 16

func (o *anyOrder) reset() {
	o.kept = o.kept[:0]
	o.holder = [anyStepsMax]int32{}
	for k := range o.holder {
		o.holder[k] = -1
	}
}

// best finds the level and the reported attempt over the entries in a range:
// the earliest event of a chain must lie in it.
func (o *anyOrder) best(j *journey, marks []mark, r entryRange) *chain {
	o.reset()
	o.rest = o.rest[:0]
	best := &o.found
	best.level, best.open = 0, false
	newest, left := minInstant, false
	for i := range marks {
		if i%rowsBetweenChecks == rowsBetweenChecks-1 && j.v.look() != nil {
			break // as in machine.best
		}
		x := &marks[i]
		if x.steps == 0 || x.time < r.from {
			continue
		}
		if x.time < r.to {
			newest = x.time
		} else if !left {
			left = true
			o.rest = append(o.rest, o.kept...)
		}
		o.drop(x.time)
		if left && len(o.rest) == 0 {
			break
		}
		o.add(x, -1)
		if !left || o.kept[0].time < r.to {
			if len(o.kept) >= best.level {
				best.take(o.kept)
			}
		} else if swapped := o.reachBack(x); len(swapped) >= max(best.level, 1) {
			best.take(swapped)
		}
		if best.level == len(o.matches) {
			return best
		}
	}
	best.open = best.level > 0 && o.open(j, newest)
	return best
}

// open reports whether an attempt with this entry can still go on: any event
// may fulfil a step that is missing.
func (o *anyOrder) open(j *journey, entry event.Time) bool {
	return !j.unit.ended && entry.Add(o.window) > j.end
}

func (c *chain) take(events []mark) {
	c.level = len(events)
	for k := range events {
		c.place[k], c.time[k] = events[k].place, events[k].time
	}
}

// drop forgets what is older than the window at t.
func (o *anyOrder) drop(t event.Time) {
	for len(o.kept) > 0 && t.Sub(o.kept[0].time) > o.window {
		o.release(o.kept[0].place)
		o.kept = slices.Delete(o.kept, 0, 1)
	}
	o.rest = slices.DeleteFunc(o.rest, func(x mark) bool { return t.Sub(x.time) > o.window })
}

func (o *anyOrder) release(place int32) {
	for k, holder := range o.holder {
		if holder == place {
			o.holder[k] = -1
		}
	}
}

// add takes an event. If all its steps are taken, and those of the events that
// could make way for it too, the oldest of its competitors goes, but never the
// one at place pinned; if there is no other, the event itself does not come in.
func (o *anyOrder) add(x *mark, pinned int32) (taken bool) {
	if seeded.On("anyorder_reuse") {
		x = &mark{time: x.time, place: x.place, value: x.value, steps: 1<<len(o.matches) - 1}
	}
	reached, free := o.compete(x)
	if free < 0 {
		oldest := -1
		for s := reached; s != 0; s &= s - 1 {
			k := bits.TrailingZeros32(s)
			if o.holder[k] != pinned && (oldest < 0 || o.holder[k] < o.holder[oldest]) {
				oldest = k
			}
		}
		if oldest < 0 {
			return false
		}
		free = oldest
		gone := o.holder[oldest]
		o.kept = slices.DeleteFunc(o.kept, func(y mark) bool { return y.place == gone })
	}
	// Hand the steps on along the way that was found.
	for {
		giver := o.via[free]
		previous := o.stepOf(giver.place)
		o.holder[free] = giver.place
		if giver.place == x.place {
			break
		}
		free = previous
	}
	o.kept = append(o.kept, *x)
	return true
}

func (o *anyOrder) stepOf(place int32) int {
	return slices.Index(o.holder[:], place)
}

// compete finds the steps that x could get if their holders made way, which
// may take other steps in turn, and one of them that is free, -1 if none is.
func (o *anyOrder) compete(x *mark) (reached uint32, free int) {
	var queue [anyStepsMax + 1]mark
	queue[0] = *x
	for head, tail := 0, 1; head < tail; head++ {
		y := queue[head]
		for s := y.steps &^ reached; s != 0; s &= s - 1 {
			o.steps++
			k := bits.TrailingZeros32(s)
			reached |= 1 << k
			o.via[k] = y
			if o.holder[k] < 0 {
				return reached, k
			}
			queue[tail] = o.keptAt(o.holder[k])
			tail++
		}
	}
	return reached, -1
}

func (o *anyOrder) keptAt(place int32) mark {
	for _, y := range o.kept {
		if y.place == place {
			return y
		}
	}
	panic("engine: the holder of a step is not among the kept events")
}

// reachBack gives the newest chain that ends with x and begins in the range,
// where all events kept came after it: one of them makes way for an entry. The
// oldest that can goes, for the newest entry that can take its place.
func (o *anyOrder) reachBack(x *mark) []mark {
	gone, entry := int32(-1), mark{}
	for i := range o.rest {
		e := o.rest[i]
		reached, _ := o.compete(&e)
		for s := reached; s != 0; s &= s - 1 {
			place := o.holder[bits.TrailingZeros32(s)]
			if place < 0 || place == x.place {
				continue
			}
			if gone < 0 || place < gone || place == gone && e.place > entry.place {
				gone, entry = place, e
			}
		}
	}
	if gone < 0 {
		return nil
	}
	swapped := []mark{entry}
	for _, y := range o.kept {
		if y.place != gone {
			swapped = append(swapped, y)
		}
	}
	return swapped
}

// follow finds the chains of a single entry, the journey's mark number i.
func (o *anyOrder) follow(j *journey, i int) (c *chain, end int) {
	c = &o.found
	o.reset()
	o.rest = o.rest[:0]
	entry := &j.marks[i]
	o.add(entry, -1)
	c.take(o.kept)
	n := i + 1
	for ; n < len(j.marks) && c.level < len(o.matches); n++ {
		x := &j.marks[n]
		if x.time.Sub(entry.time) > o.window {
			break
		}
		if x.steps == 0 || o.holding.set && x.value != entry.value {
			continue
		}
		if o.add(x, entry.place) && len(o.kept) >= c.level {
			c.take(o.kept)
		}
	}
	c.open = c.level < len(o.matches) && o.open(j, entry.time)
	return c, n
}

// stand tells which event of an attempt stands for which step: the last event
// for the first step that it can stand for so that the others still find one,
// and so on from the last back.
func (o *anyOrder) stand(j *journey, c *chain, a *attempt) {
	events := make([]mark, c.level)
	for k := range events {
		i, _ := slices.BinarySearchFunc(j.marks, c.place[k], func(x mark, place int32) int { return int(x.place) - int(place) })
		events[k] = j.marks[i]
	}
	free := uint32(1)<<len(o.matches) - 1
	for k := len(events) - 1; k >= 0; k-- {
		for s := events[k].steps & free; s != 0; s &= s - 1 {
			step := bits.TrailingZeros32(s)
			if standable(events[:k], free&^(1<<step)) {
				a.standing[step] = a.rows[k]
				free &^= 1 << step
				break
			}
		}
	}
}

// standable reports whether each of the events can have one of the steps for its own.
func standable(events []mark, free uint32) bool {
	var holder [anyStepsMax]int
	for k := range holder {
		holder[k] = -1
	}
	var place func(i int, tried *uint32) bool
	place = func(i int, tried *uint32) bool {
		for s := events[i].steps & free &^ *tried; s != 0; s &= s - 1 {
			k := bits.TrailingZeros32(s)
			*tried |= 1 << k
			if holder[k] < 0 || place(holder[k], tried) {
				holder[k] = i
				return true
			}
		}
		return false
	}
	for i := range events {
		var tried uint32
		if !place(i, &tried) {
			return false
		}
	}
	return true
}
