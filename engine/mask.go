package engine

import (
	"math/bits"
	"slices"
	"sort"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// masks finds the attempts of journeys in which steps need only follow one
// another within the window: no machine, only bits. A pattern may ask more of
// its later steps (pattern.free says from which on); journeys that may get as
// far as that are the machine's.
//
// The order of a journey's rows is the order of its events, once those that
// share a time are put in the pattern's order (tieOrder). The rows that fulfil a step are bits of a bitmap, so how far the
// journey can get at most, whatever the times are, is told by looking for the
// lowest bit of each step above that of the step before. Most journeys have no
// entry, or nothing above it, and are done with then. For each of the others
// bits propose an attempt. All times that are needed are read in one go, and
// where those of a proposal lie too far apart, seek looks for another.
type masks struct {
	steps   []tile.Bitmap // rows that fulfil each step; of the first, those that during selects
	words   []uint64      // the same, those of all steps for 64 rows side by side
	entered []uint32      // customers with an entry, and nothing that could be a second step
	deeper  []uint32      // customers that may get further
	general []uint32      // customers with an entry that bits do not decide: the pattern asks more
	levels  []uint8       // of the proposals for deeper
	rows    []uint32      // the entries of entered; then the proposals, each with the newest entry unless it converts
	times   []event.Time  // of rows
	own     [stepsMax]uint64
	ties    tieOrder // what rows are places of
}

// longJourney is how many rows fit a mask.
const longJourney = 64

// freeSteps is how many of the first steps bits and times alone decide: in any
// journey, and in those without an excluded event.
func (p *pattern) freeSteps() (free, calm int) {
	plan := p.run.plan
	if p.run.opt.General || p.anyOrder || p.count != countUnits || plan.Unit.Session || plan.EntryFirst || plan.Holding != "" || plan.Every != "" {
		return 0, 0
	}
	calm = len(p.matches)
	for k := range p.matches {
		if p.bounds[k] >= 0 || p.next>>k&1 != 0 {
			calm = k
			break
		}
	}
	free = calm
	if p.excluded != 0 {
		free = min(free, bits.TrailingZeros32(p.excluded))
	}
	return free, calm
}

// visitMasks finds the attempts of all customers of a tile.
func (t *tracker) visitMasks(v *view) error {
	m := &t.masks
	m.steps = append(m.steps[:0], t.stepRows...)
	m.ties.moved = nil
	if !t.run.plan.TiesArrival && !seeded.On("ties_by_arrival") {
		if err := t.orderTies(v); err != nil {
			return err
		}
	}
	if m.ties.moved != nil {
		v.took = "bit masks, equal times put in order"
	}
	if d := &t.run.plan.During; d.Set {
		first := m.steps[0]
		m.steps[0] = v.bitmap(v.Rows)
		m.during(v, first, d)
	}
	m.interleave(v.Rows)
	m.classify(v)
	m.keepMembers(v)
	m.levels = m.levels[:0]
	m.deeper = slices.DeleteFunc(m.deeper, func(c uint32) bool {
		lo, hi := v.Range(int(c))
		if t.propose(v, lo, hi) {
			return false
		}
		m.general = append(m.general, c)
		return true
	})
	m.times = grown(m.times, len(m.rows))[:len(m.rows)]
	v.Time.Gather(m.rows, m.times)
	for w, window := range t.windows {
		t.found.window = w
		if err := t.emitProposals(v, window); err != nil {
			return err
		}
	}
	for _, c := range m.general {
		lo, hi := v.extent(int(c))
		if err := t.visitUnit(v, unit{customer: int(c), lo: lo, hi: hi}); err != nil {
			return err
		}
	}
	return nil
}

// during selects the entries among the rows that fulfil the first step.
func (m *masks) during(v *view, first tile.Bitmap, d *query.Interval) {
	m.rows = m.rows[:0]
	for row := first.Next(0, v.Rows); row < v.Rows; row = first.Next(row+1, v.Rows) {
		m.rows = append(m.rows, uint32(row))
	}
	m.times = grown(m.times, len(m.rows))[:len(m.rows)]
	v.Time.Gather(m.rows, m.times)
	for i, at := range m.times {
		if at >= d.From && at < d.To {
			m.steps[0].Set(int(m.rows[i]))
		}
	}
}

// interleave lays the words of all steps side by side, with a group of zeros
// behind the last.
func (m *masks) interleave(rows int) {
	n := len(m.steps)
	size := ((rows+63)/64 + 1) * n
	m.words = grown(m.words, size)[:size]
	for k, step := range m.steps {
		for at, w := range step {
			m.words[at*n+k] = w
		}
	}
	clear(m.words[size-n:])
}

// grown returns a list of at least n entries, whatever is in them.
func grown[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n+n/4)
	}
	return list[:cap(list)]
}

// classify deals the customers out by how far they may get. Whether one has an
// entry is as good as random, so no branch asks: all are listed, and the next
// takes the place of one that does not count.
func (m *masks) classify(v *view) {
	n := len(m.steps)
	second := min(1, n-1)
	starts := v.Starts
	m.general = m.general[:0]
	if m.steps[0].Count()*sparseEntries < len(starts) {
		m.classifyFew(v, second)
		return
	}
	m.entered, m.deeper, m.rows = grown(m.entered, len(starts)), grown(m.deeper, len(starts)), grown(m.rows, len(starts))
	entered, deeper, rows := m.entered, m.deeper, m.rows
	some, more := 0, 0
	lo := starts[0]
	for c, hi := range starts[1:] {
		var x, y uint64
		var row uint32
		if length := hi - lo; length-1 < longJourney {
			words := m.words[int(lo>>6)*n:][: 2*n : 2*n]
			all := ^uint64(0) >> ((longJourney - length) & 63)
			x = cut(words[0], words[n], lo) & all
			y = cut(words[second], words[n+second], lo) & all
			row = lo + uint32(bits.Len64(x)) - 1
			if n == 1 {
				row = lo + uint32(bits.TrailingZeros64(x)) // the first entry converts
			}
		} else {
			x, y, row = m.classifyLong(int(lo), int(hi), second)
		}
		y = above(x, y)
		if n == 1 {
			y = 0
		}
		entered[some], rows[some], deeper[more] = uint32(c), row, uint32(c)
		isSome, isMore := 0, 0
		if x != 0 {
			isSome = 1
		}
		if y != 0 {
			isMore = 1
		}
		some += isSome - isMore
		more += isMore
		lo = hi
	}
	m.entered, m.deeper, m.rows = entered[:some], deeper[:more], rows[:some]
}

// sparseEntries is how many customers there must be for each entry so that it
// pays to look for the customers of entries, not for entries of customers.
const sparseEntries = 8

// classifyFew is classify where few customers have an entry.
func (m *masks) classifyFew(v *view, second int) {
	m.entered, m.deeper, m.rows = m.entered[:0], m.deeper[:0], m.rows[:0]
	first := m.steps[0]
	for row := first.Next(0, v.Rows); row < v.Rows; {
		c := sort.Search(v.Customers(), func(c int) bool { return v.Starts[c+1] > uint32(row) })
		lo, hi := v.Range(c)
		_, y, newest := m.classifyLong(lo, hi, second)
		if y != 0 {
			m.deeper = append(m.deeper, uint32(c))
		} else {
			m.entered, m.rows = append(m.entered, uint32(c)), append(m.rows, newest)
		}
		row = first.Next(hi, v.Rows)
	}
}

// cut returns the bits from row lo on of two words, the first of which has it.
func cut(word, next uint64, lo uint32) uint64 {
	return word>>(lo&63) | next<<1<<(63-lo&63)
}

// above returns the bits of y above the lowest of x, none if x has none.
func above(x, y uint64) uint64 { return y & -(x & -x << 1) }

// classifyLong returns what masks of a longer journey, or of none, come to.
func (m *masks) classifyLong(lo, hi, second int) (x, y uint64, newest uint32) {
	first := m.steps[0].Next(lo, hi)
	if first == hi {
		return 0, 0, 0
	}
	if len(m.steps) == 1 {
		return 1, 0, uint32(first)
	}
	if m.steps[second].Next(first+1, hi) < hi {
		y = 2
	}
	return 1, y, uint32(m.steps[0].Last(lo, hi))
}

// keepMembers drops the customers that are not in the cohort.
func (m *masks) keepMembers(v *view) {
	if v.members == nil {
		return
	}
	kept := 0
	for i, c := range m.entered {
		if v.member(int(c)) {
			m.entered[kept], m.rows[kept] = c, m.rows[i]
			kept++
		}
	}
	m.entered, m.rows = m.entered[:kept], m.rows[:kept]
	m.deeper = slices.DeleteFunc(m.deeper, func(c uint32) bool { return !v.member(int(c)) })
}

// emitProposals reports the customers that bits decide.
func (t *tracker) emitProposals(v *view, window event.Duration) error {
	m := &t.masks
	entered := m.entered
	if t.entered != nil {
		t.entered(v, entered, m.times[:len(entered)])
		entered = nil
	}
	for i, c := range entered {
		t.found.rows[0], t.found.time[0] = int(m.rows[i]), m.times[i]
		if err := t.emitFound(v, int(c), 1, m.times[i], window); err != nil {
			return err
		}
	}
	rows, times := m.rows[len(m.entered):], m.times[len(m.entered):]
	for i, c := range m.deeper {
		level := int(m.levels[i])
		newest := level // where the newest entry is
		if level == len(m.steps) {
			newest = 0
		}
		end := max(newest+1, level)
		if times[level-1].Sub(times[0]) <= window {
			for k := range level {
				t.found.rows[k], t.found.time[k] = int(rows[k]), times[k]
			}
			if err := t.emitFound(v, int(c), level, times[newest], window); err != nil {
				return err
			}
		} else if err := t.emitSought(v, int(c), window); err != nil {
			return err
		}
		rows, times = rows[end:], times[end:]
	}
	return nil
}

// emitSought looks for the attempt of a customer whose proposal was none.
func (t *tracker) emitSought(v *view, c int, window event.Duration) error {
	lo, hi := v.Range(c)
	level := t.seek(v, lo, hi, window)
	for k := range level {
		t.found.time[k] = v.Time.At(t.found.rows[k])
	}
	newest := v.Time.At(t.masks.steps[0].Last(lo, hi))
	if err := v.tick(hi - lo); err != nil {
		return err
	}
	return t.emitFound(v, c, level, newest, window)
}

// emitFound reports the attempt whose places and times are in found. As long as
// the newest entry's window is, the journey is open.
func (t *tracker) emitFound(v *view, c, level int, newest event.Time, window event.Duration) error {
	a := &t.found
	a.customer, a.level, a.open = c, level, false
	for k := range t.matches {
		a.standing[k] = -1
	}
	if level < len(t.matches) {
		a.open = v.open(c, newest.Add(window))
	}
	_, hi := v.Range(c)
	if a.next = v.next(a.rows[level-1]+1, hi); a.next == hi {
		a.next = -1
	}
	if ties := &t.masks.ties; ties.moved != nil {
		if a.next >= 0 {
			a.next = ties.row(a.next)
		}
		for k := range level {
			a.rows[k] = ties.row(a.rows[k])
		}
	}
	copy(a.standing[:level], a.rows[:])
	return t.emit(v, a)
}

// open reports whether a window that ends at a time is not over yet for a customer.
func (v *view) open(c int, limit event.Time) bool { return limit > v.run.end && limit > v.ends(c) }

// ends is the end of the data for a customer: where the clock was ahead, the last event.
func (v *view) ends(c int) event.Time {
	lo, hi := v.extent(c)
	if v.Time.At(hi-1) <= v.run.end {
		return v.run.end
	}
	return max(v.run.end, v.Time.At(v.last(lo, hi)))
}
