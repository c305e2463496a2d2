package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// masks finds the attempts of journeys in which steps need only follow one
// another within the window, and no excluded event: no machine, only bits. A
// pattern may ask more of its later steps (pattern.free says from which on);
// journeys that may get as far as that are the machine's.
//
// The order of a journey's rows is the order of its events, once those that
// share a time are put in the pattern's order (tieOrder). The rows that fulfil
// a step are bits of a bitmap. Behind every row that may end a chain, up to the
// customer's last row or the first excluded event, the next step's rows may
// follow: that is one addition for 64 rows of a tile, whose carry runs on until
// something is in its way. So no journey is looked at on its own to know how
// far it may get. A gap between two events that is longer than the window is in
// the way, too; within it, few chains turn out to be too long.
//
// Each customer with more than entries has then one attempt that is likely. All
// times of these are read in one go, and where those of an attempt lie too far
// apart, seek looks for another.
type masks struct {
	steps  []tile.Bitmap // rows that fulfil each step; of the first, those that may be entries
	kills  []tile.Bitmap // rows excluded before each step; nil: none, or not for bits to decide
	reach  []tile.Bitmap // of them, those that may end a chain of so many steps
	heads  [][]uint32    // by step: the first row in reach of every customer who has one
	ranks  []uint32      // customers who begin before each 64 rows
	filled []uint32      // customers who have rows, unless all do

	general []uint32 // customers with an entry that bits do not decide: the pattern asks more
	chances []chance
	late    []uint32     // customers with events as late as an open one's entry
	newest  []uint32     // entries of theirs
	entered []event.Time // when those were
	open    tile.Bitmap  // customers whose newest entry's window is not over
	rows    []uint32     // of the chances, one after another
	times   []event.Time // of rows
	decided decided
	ties    tieOrder // what rows are places of
}

// chance is the attempt of a customer who may get beyond entries, if times are
// no obstacle.
type chance struct {
	customer uint32
	at       uint32 // of its first row, in masks.rows
	level    uint8
}

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
	if p.excluded != 0 && !p.cutByBits() {
		free = min(free, bits.TrailingZeros32(p.excluded))
	}
	return free, calm
}

// cutByBits reports whether bits tell what excluded events do: where they leave
// alone what was reached before them. Entries they must leave alone, too: it is
// the newest entry by which an attempt is open.
func (p *pattern) cutByBits() bool { return p.exclusion == cutHits && p.excluded&2 == 0 }

// visitMasks finds the attempts of all customers of a tile.
func (t *tracker) visitMasks(v *view) error {
	m := &t.masks
	m.steps = append(m.steps[:0], t.stepRows...)
	m.kills = append(m.kills[:0], t.killRows...)
	m.ties.moved = nil
	if !t.run.plan.TiesArrival && !seeded.On("ties_by_arrival") {
		if err := t.orderTies(v); err != nil {
			return err
		}
	}
	if m.ties.moved != nil {
		v.took = "bit masks, equal times put in order"
	}
	m.entries(v)
	t.chainOn(v)
	t.propose(v)
	if err := v.tick(v.Rows); err != nil {
		return err
	}
	m.times = grown(m.times, len(m.rows))[:len(m.rows)]
	v.Time.Gather(m.rows, m.times)
	for w, window := range t.windows {
		if err := t.decide(v, w, window); err != nil {
			return err
		}
	}
	if len(m.general) > 0 {
		t.mark(v)
	}
	for _, c := range m.general {
		lo, hi := v.extent(int(c))
		if err := t.visitUnit(v, unit{customer: int(c), lo: lo, hi: hi}); err != nil {
			return err
		}
	}
	return nil
}

// entries selects the entries among the rows that fulfil the first step.
func (m *masks) entries(v *view) {
	during := v.run.plan.During.Set
	if !during && v.members == nil {
		return
	}
	first := v.bitmap(v.Rows)
	if during {
		v.Time.Between(v.run.plan.During.From, v.run.plan.During.To, m.steps[0], first)
	} else {
		copy(first, m.steps[0])
	}
	if v.members != nil {
		first.And(v.memberRows())
	}
	m.steps[0] = first
}

// fewEntries is how many rows there must be for each that may be an entry so
// that it does not pay to look for gaps.
const fewEntries = 48

// chainOn finds the rows that may end chains, and each customer's first of them.
func (t *tracker) chainOn(v *view) {
	m := &t.masks
	steps := max(1, min(len(m.steps), t.calm))
	m.reach = append(m.reach[:0], m.steps[0])
	stops := v.Firsts
	if window := t.longestWindow(); steps > 1 && v.Time.Longest() > window && m.reach[0].Count()*fewEntries > v.Rows {
		stops = v.Time.Stops(window, v.Firsts)
	}
	for k := 1; k < steps; k++ {
		next := v.bitmap(v.Rows)
		if kills := m.kills[k]; kills == nil || !t.cutByBits() || seeded.On("excluded_unseen") {
			m.reach[k-1].After(stops, m.steps[k], next)
		} else {
			afterUntil(m.reach[k-1], stops, kills, m.steps[k], next)
		}
		m.reach = append(m.reach, next)
	}
	for len(m.heads) < steps {
		m.heads = append(m.heads, nil)
	}
	m.heads = m.heads[:steps]
	for k := min(1, steps-1); k < steps; k++ {
		m.heads[k] = v.heads(m.reach[k], m.heads[k])
	}
	m.number(v)
}

func (t *tracker) longestWindow() event.Duration {
	longest := t.windows[0]
	for _, w := range t.windows {
		longest = max(longest, w)
	}
	return longest
}

// afterUntil is After that goes on up to an excluded event. That may itself be
// a row of x, or what comes after one.
func afterUntil(x, stops, kills, y, dst tile.Bitmap) {
	var above, killed, carry uint64
	for i, word := range x {
		begin := (word<<1 | above) &^ stops[i]
		above = word >> 63
		run := ^(stops[i] | kills[i]<<1 | killed) | begin
		killed = kills[i] >> 63
		var sum uint64
		sum, carry = bits.Add64(run, begin, carry)
		dst[i] = (run&^sum | begin) & y[i]
	}
}

// heads lists each customer's first row of a bitmap.
func (v *view) heads(x tile.Bitmap, list []uint32) []uint32 {
	heads := v.bitmap(v.Rows)
	n := x.Heads(v.Firsts, heads)
	list = grown(list, n)[:n]
	heads.List(list)
	return list
}

// number makes customer tell whose row it is.
func (m *masks) number(v *view) {
	m.ranks = grown(m.ranks, len(v.Firsts))[:len(v.Firsts)]
	n := 0
	for at, firsts := range v.Firsts {
		m.ranks[at] = uint32(n)
		n += bits.OnesCount64(firsts)
	}
	m.filled = m.filled[:0]
	for c := 0; n < v.Customers() && c < v.Customers(); c++ {
		if lo, hi := v.Range(c); lo < hi {
			m.filled = append(m.filled, uint32(c))
		}
	}
}

// customer is the one who has a row.
func (m *masks) customer(v *view, row uint32) uint32 {
	at := row >> 6
	c := m.ranks[at] + uint32(bits.OnesCount64(v.Firsts[at]<<(63-row&63))) - 1
	if len(m.filled) > 0 {
		return m.filled[c]
	}
	return c
}

// row is the row whose event is at a place.
func (m *masks) row(place uint32) uint32 { return uint32(m.ties.row(int(place))) }

// lastBefore is the last row of a bitmap before a row; there must be one.
func lastBefore(b tile.Bitmap, row uint32) uint32 {
	row--
	at := row >> 6
	word := b[at] << (63 - row&63) >> (63 - row&63)
	for word == 0 {
		at--
		word = b[at]
	}
	return at<<6 + uint32(bits.Len64(word)) - 1
}

// grown returns a list of at least n entries, whatever is in them.
func grown[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n+n/4)
	}
	return list[:cap(list)]
}
