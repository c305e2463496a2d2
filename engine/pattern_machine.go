package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
)

// chain is events that fulfil the first steps of a pattern, in order.
type chain struct {
	level int  // how many; 0: there is no attempt
	open  bool // an attempt can still go on at the end of the data
	place [stepsMax]int32
	time  [stepsMax]event.Time
}

// machine runs the chains of a journey in one pass, one state a step.
//
// State k is the newest chain of k+1 events so far: that whose last event is
// the latest, among those the one whose event before is the latest, and so on.
// It can do whatever an older one can: it has more of the window and of the
// bound left, and what excluded it excludes all that ended before it. So one
// state a step finds the level, and the newest chain of the level is the
// attempt that is reported. Nothing backtracks.
type machine struct {
	*pattern
	window event.Duration
	steps  int64  // done so far: what each event did to each chain
	alive  uint32 // the states from which a chain may go on
	seen   uint32 // the states that were ever reached
	chains [stepsMax]chain
}

func (m *machine) reset() { m.alive, m.seen = 0, 0 }

// best finds the level and the reported attempt over the entries in a range.
func (m *machine) best(j *journey, marks []mark, r entryRange) *chain {
	m.reset()
	last := len(m.matches) - 1
	for i := range marks {
		if i%rowsBetweenChecks == rowsBetweenChecks-1 && j.v.look() != nil {
			break // what is found is of no use to anybody; who asks next will say so
		}
		x := &marks[i]
		if m.apply(x, r.has(x.time) && (!x.hit || seeded.On("hits_counted"))); m.seen>>last&1 != 0 && !seeded.On("last_conversion") {
			return m.result(j)
		}
		if x.time >= r.to && m.over(x.time) {
			break
		}
	}
	return m.result(j)
}

// over reports whether no chain can go on at t for the window's sake.
func (m *machine) over(t event.Time) bool {
	for s := m.alive; s != 0; s &= s - 1 {
		if t.Sub(m.chains[bits.TrailingZeros32(s)].time[0]) <= m.window {
			return false
		}
	}
	return true
}

// apply lets an event do to the chains what it does: the last steps first, so
// that no event is used twice. A step is reached before an exclusion ends what
// waits for it, as the event that fulfils the step is not between. It returns
// the states that an exclusion ended.
func (m *machine) apply(x *mark, enter bool) (killed uint32) {
	reach := x.steps & (m.alive<<1 | 1)
	m.steps++
	for todo := reach | x.kills&(m.alive<<1); todo != 0; {
		k := 31 - bits.LeadingZeros32(todo)
		bit := uint32(1) << k
		todo &^= bit
		m.steps++
		if k == 0 {
			if enter {
				m.enter(x)
			}
			return killed
		}
		if seeded.On("exclusion_early") && x.kills&bit != 0 {
			reach &^= bit
		}
		if seeded.On("oldest_entry") && m.seen&bit != 0 {
			reach &^= bit
		}
		if reach&bit != 0 && m.canStep(k, x) {
			m.step(k, x)
		}
		if x.kills&bit != 0 && !(seeded.On("exclusion_ignored_once") && k+1 < len(m.matches)) {
			killed |= m.alive & (bit >> 1)
			m.alive &^= bit >> 1
		}
	}
	return killed
}

func (m *machine) enter(x *mark) {
	c := &m.chains[0]
	c.place[0], c.time[0] = x.place, x.time
	m.alive |= 1
	m.seen |= 1
}

// canStep reports whether the chain at step k-1 may go on to step k with x.
func (m *machine) canStep(k int, x *mark) bool {
	c := &m.chains[k-1]
	switch {
	case seeded.On("window_exclusive") && x.time.Sub(c.time[0]) == m.window:
		return false
	case seeded.On("gap_exclusive") && x.time.Sub(c.time[k-1]) == m.bounds[k]:
		return false
	case seeded.On("window_from_previous"):
		return x.time.Sub(c.time[k-1]) <= m.window
	case x.time.Sub(c.time[0]) > m.window:
		return false
	case m.bounds[k] >= 0 && x.time.Sub(c.time[k-1]) > m.bounds[k]:
		return false
	case m.next>>k&1 != 0 && x.place != c.place[k-1]+1 && !seeded.On("next_is_later"):
		return false
	}
	return true
}

func (m *machine) step(k int, x *mark) {
	from, to := &m.chains[k-1], &m.chains[k]
	copy(to.place[:k], from.place[:k])
	copy(to.time[:k], from.time[:k])
	to.place[k], to.time[k] = x.place, x.time
	m.alive |= 1 << k
	m.seen |= 1 << k
}

// result is the newest chain of the highest level, once all events were seen.
// It is valid until the machine runs again.
func (m *machine) result(j *journey) *chain {
	level := bits.Len32(m.seen)
	c := &m.chains[max(level, 1)-1]
	c.level = level
	c.open = level > 0 && level < len(m.matches) && m.open(j)
	return c
}

// open reports whether at the end of the data a chain can still go on.
func (m *machine) open(j *journey) bool {
	if j.unit.ended || seeded.On("open_ignored") {
		return false
	}
	for s := m.alive; s != 0; s &= s - 1 {
		if m.canGoOn(bits.TrailingZeros32(s), j) {
			return true
		}
	}
	return false
}

// canGoOn reports whether an event later than the end of the data could still
// take the chain at step k further.
func (m *machine) canGoOn(k int, j *journey) bool {
	if k == len(m.matches)-1 || m.limit(k) <= j.end && !(seeded.On("open_when_over") && m.limit(k) == j.end) {
		return false
	}
	return m.next>>(k+1)&1 == 0 || int(m.chains[k].place[k]) == j.places-1
}

// limit is the last instant at which the chain at step k may go on.
func (m *machine) limit(k int) event.Time {
	c := &m.chains[k]
	limit := c.time[0].Add(m.window)
	if k+1 < len(m.bounds) && m.bounds[k+1] >= 0 {
		limit = min(limit, c.time[k].Add(m.bounds[k+1]))
	}
	return limit
}

// follow runs the chains of a single entry, the journey's mark number i, until
// the attempt is over: it converted, or no chain can go on. It returns the
// attempt, the number of the first mark that is free again, and whether an
// excluded event ended it.
func (m *machine) follow(j *journey, i int) (c *chain, end int, hit bool) {
	m.reset()
	m.enter(&j.marks[i])
	value := j.marks[i].value
	last := len(m.matches) - 1
	if last == 0 {
		return m.result(j), i + 1, false
	}
	for n := i + 1; n < len(j.marks); n++ {
		x := j.marks[n]
		if m.expire(&x); m.alive == 0 {
			return m.result(j), n, false
		}
		m.hold(&x, value)
		killed := m.apply(&x, false)
		if m.seen>>last&1 != 0 {
			if seeded.On("attempts_reuse") {
				return m.result(j), n, false
			}
			return m.result(j), n + 1, false
		}
		m.miss(&x)
		if m.alive != 0 {
			continue
		}
		if killed != 0 && !seeded.On("attempts_cut_is_free") {
			return m.result(j), n + 1, true
		}
		return m.result(j), n, false // x broke a =>, and is free
	}
	return m.result(j), len(j.marks), false
}

// hold leaves of x what it is to attempts whose steps all carry a value.
func (m *machine) hold(x *mark, value int32) {
	if !m.holding.set || x.value == value {
		return
	}
	x.steps = 0
	if x.value != noValue {
		x.kills = 0
	}
}

// couldGoOn reports whether some chain from the entry marks[i], of an attempt
// that had not converted by then, could still go on after a time.
func (m *machine) couldGoOn(j *journey, i int, at event.Time) bool {
	m.reset()
	m.enter(&j.marks[i])
	value := j.marks[i].value
	for _, x := range j.marks[i+1:] {
		if x.time > at {
			break
		}
		m.expire(&x)
		m.hold(&x, value)
		m.apply(&x, false)
		m.miss(&x)
	}
	if seeded.On("deepest_chain_decides") {
		m.alive &= 1 << (bits.Len32(m.seen) - 1)
	}
	for s := m.alive; s != 0; s &= s - 1 {
		k := bits.TrailingZeros32(s)
		if m.limit(k) <= at {
			continue
		}
		if m.next>>(k+1)&1 == 0 {
			return true
		}
		if row := j.after(m.chains[k].place[k]); row < 0 || j.v.Time.At(row) > at {
			return true
		}
	}
	return false
}

// expire ends the chains that were over before x.
func (m *machine) expire(x *mark) {
	for s := m.alive; s != 0; s &= s - 1 {
		k := bits.TrailingZeros32(s)
		if x.time > m.limit(k) || m.next>>(k+1)&1 != 0 && x.place > m.chains[k].place[k]+1 {
			m.alive &^= 1 << k
		}
	}
}

// miss ends the chains that waited for x to be their very next event.
func (m *machine) miss(x *mark) {
	for s := m.alive & (m.next >> 1); s != 0; s &= s - 1 {
		if k := bits.TrailingZeros32(s); m.chains[k].place[k] < x.place {
			m.alive &^= 1 << k
		}
	}
}
