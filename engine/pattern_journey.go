package engine

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// journey is one unit's events as a pattern sees them: in the order that ties
// decide, with what each of them means to the pattern.
//
// The place of an event is its number in that order. Most journeys have no
// ties to decide, and nobody asks which events are neighbours: their places
// are simply rows, with gaps where events do not exist.
type journey struct {
	*pattern
	v      *view
	unit   unit
	order  []int32    // the row at each place; empty: place p is row unit.lo+p
	end    event.Time // of the data; the unit's last event if its clock was ahead
	places int        // how many there are; only known if order is used, or all rows exist
	marks  []mark

	ranks  []uint8 // scratch of arrange: by row, the lowest step it fulfils
	values map[int64]int32
}

// begin makes the journey that of a unit, with no events looked at yet.
func (j *journey) begin(v *view, u unit) {
	j.v, j.unit, j.order, j.marks = v, u, j.order[:0], j.marks[:0]
	j.places = u.hi - u.lo
	if j.end = j.run.end; v.Time.At(u.hi-1) > j.end {
		j.end = max(j.end, v.Time.At(v.last(u.lo, u.hi)))
	}
}

// load fills the journey with the events of a unit. What comes before the
// first entry means nothing.
func (j *journey) load(v *view, u unit, t *tracker) error {
	j.begin(v, u)
	if !j.run.plan.TiesArrival && j.tied() || j.next != 0 && v.rows != nil {
		j.arrange(t)
		for place, row := range j.order {
			if err := v.tick(1); err != nil {
				return err
			}
			if t.marked.Get(int(row)) {
				j.mark(t, int(row), place)
			}
		}
	} else {
		first := t.stepRows[0].Next(u.lo, u.hi)
		if j.anyOrder {
			first = u.lo
		}
		for row := t.marked.Next(first, u.hi); row < u.hi; row = t.marked.Next(row+1, u.hi) {
			if err := v.tick(1); err != nil {
				return err
			}
			j.mark(t, row, row-u.lo)
		}
	}
	if j.holding.set {
		j.value()
	}
	return nil
}

// markAt is the number of the first mark at a place or after it.
func (j *journey) markAt(place int32) int {
	i, _ := slices.BinarySearchFunc(j.marks, place, func(x mark, place int32) int { return cmp.Compare(x.place, place) })
	return i
}

// tied reports whether two events of the unit that exist have one time.
func (j *journey) tied() bool {
	v := j.v
	if !v.Ties.Get(j.unit.customer) {
		return false
	}
	previous := minInstant
	for row := v.next(j.unit.lo, j.unit.hi); row < j.unit.hi; row = v.next(row+1, j.unit.hi) {
		t := v.Time.At(row)
		if t == previous {
			return true
		}
		previous = t
	}
	return false
}

// arrange puts the unit's events in order: by time, events at one time by the
// lowest step they fulfil, those that fulfil none last, then by arrival.
func (j *journey) arrange(t *tracker) {
	v := j.v
	for row := v.next(j.unit.lo, j.unit.hi); row < j.unit.hi; row = v.next(row+1, j.unit.hi) {
		j.order = append(j.order, int32(row))
	}
	j.places = len(j.order)
	if j.run.plan.TiesArrival || seeded.On("ties_by_arrival") {
		return
	}
	j.ranks = slices.Grow(j.ranks[:0], j.unit.hi-j.unit.lo)[:j.unit.hi-j.unit.lo]
	for begin := 0; begin < len(j.order); {
		at := v.Time.At(int(j.order[begin]))
		end := begin + 1
		for end < len(j.order) && v.Time.At(int(j.order[end])) == at {
			end++
		}
		if group := j.order[begin:end]; len(group) > 1 {
			for _, row := range group {
				j.ranks[int(row)-j.unit.lo] = t.lowestStep(int(row))
			}
			slices.SortStableFunc(group, func(x, y int32) int {
				return int(j.ranks[int(x)-j.unit.lo]) - int(j.ranks[int(y)-j.unit.lo])
			})
		}
		begin = end
	}
}

// lowestStep is the first step that the event at row fulfils, stepsMax if none.
func (t *tracker) lowestStep(row int) uint8 {
	for k := len(t.stepRows) - 1; seeded.On("ties_highest_step") && k >= 0; k-- {
		if t.stepRows[k].Get(row) {
			return uint8(k)
		}
	}
	for k := range t.stepRows {
		if t.stepRows[k].Get(row) {
			return uint8(k)
		}
	}
	return stepsMax
}

func (j *journey) mark(t *tracker, row, place int) {
	x := mark{time: j.v.Time.At(row), place: int32(place)}
	word, bit := row>>6, row&63
	for k := range t.stepRows {
		x.steps |= uint32(t.stepRows[k][word]>>bit&1) << k
	}
	for s := t.excluded; s != 0; s &= s - 1 {
		k := bits.TrailingZeros32(s)
		x.kills |= uint32(t.killRows[k][word]>>bit&1) << k
	}
	j.marks = append(j.marks, x)
}

// row is the row at a place.
func (j *journey) row(place int32) int {
	if len(j.order) > 0 {
		return int(j.order[place])
	}
	return j.unit.lo + int(place)
}

// after is the row of the unit's next event after a place, -1 if there is none.
func (j *journey) after(place int32) int {
	if len(j.order) > 0 {
		if int(place)+1 < len(j.order) {
			return int(j.order[place+1])
		}
		return -1
	}
	if row := j.v.next(j.row(place)+1, j.unit.hi); row < j.unit.hi {
		return row
	}
	return -1
}

// value tells the marks' values of the held property apart: by small numbers,
// which mean nothing beyond this journey.
func (j *journey) value() {
	switch j.holding.field {
	case fieldEvent:
		for i := range j.marks {
			x := &j.marks[i]
			x.value = int32(j.v.Event.At(j.row(x.place)))
		}
	case fieldChannel:
		for i := range j.marks {
			x := &j.marks[i]
			x.value = int32(j.v.channelAt(j.row(x.place))) - 1
		}
	case fieldProperty:
		j.property(j.v.column(j.holding.column))
	default:
		j.property(nil)
	}
}

func (j *journey) property(column *tile.Column) {
	if j.values == nil {
		j.values = map[int64]int32{}
	}
	clear(j.values)
	for i := range j.marks {
		x := &j.marks[i]
		row := j.row(x.place)
		switch {
		case (column == nil || !column.Present.Get(row)) && seeded.On("held_null_matches"):
			x.value = j.number(-1 << 62)
		case column == nil || !column.Present.Get(row):
			x.value = noValue
		case column.Type == event.StringType:
			x.value = int32(column.Code(row))
		case column.Type == event.FloatType:
			f := column.Floats[row]
			if f == 0 {
				f = 0 // -0 is no value of its own
			}
			x.value = j.number(int64(math.Float64bits(f)))
		default:
			x.value = j.number(column.Ints[row])
		}
	}
}

func (j *journey) number(bits int64) int32 {
	n, ok := j.values[bits]
	if !ok {
		n = int32(len(j.values))
		j.values[bits] = n
	}
	return n
}
