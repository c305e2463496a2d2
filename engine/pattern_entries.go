package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
)

// entrants follows all entries of a journey at once, each as an attempt of its
// own, in one pass: what machine.follow would find for every single one.
//
// At a step, entries are held in groups that were brought there by one event.
// Later entries were brought there by the same event or a later one, so groups
// are intervals of entries, and the chains that may still go on are those of
// the groups at the end of the list. An event that fulfils the next step takes
// them all: it makes one group there, in place of all groups of entries that
// are not older. So an event costs a bounded number of groups a step, however
// many attempts overlap.
//
// A group's interval may hold entries that never reached the step: they are in
// no group of the step before, where the search for their chain ends.
type entrants struct {
	*pattern
	window event.Duration
	view   *view // of the journey at hand
	steps  int64 // done so far

	marks   []mark
	entries []int32 // the marks that are entries
	groups  []entrantGroup
	lists   [stepsMax]entrantList
	young   int    // entries before this one are too old for the window
	over    []bool // entry -> its attempt has ended by what is no longer seen
	hit     []bool // entry -> an excluded event ended it
	found   chain
}

// entrantGroup is entries lo to hi, brought to a step by the event at mark at.
// Groups do not change, so that what a list was like earlier stays readable.
type entrantGroup struct {
	lo, hi int32
	at     int32
	before int32 // the newest group of the step before when the event came, -1: none
	next   int32 // the next older group of the step, -1: none
	jump   int32 // an older one, farther away: finds any in logarithmic time
	depth  int32
}

// entrantList is the groups of a step, older ones first.
type entrantList struct {
	groups []int32
	alive  int // groups before this one cannot go on, for whatever reason
	killed int // groups before this one an exclusion ended
}

func (n *entrants) reset(marks []mark) {
	n.marks, n.entries, n.groups, n.young = marks, n.entries[:0], n.groups[:0], 0
	n.over, n.hit = n.over[:0], n.hit[:0]
	for k := range n.matches {
		l := &n.lists[k]
		l.groups, l.alive, l.killed = l.groups[:0], 0, 0
	}
}

// enterAll lets all marks do what they do to the entries in the range.
func (n *entrants) enterAll(marks []mark, r entryRange) {
	n.reset(marks)
	for i := range marks {
		if i%rowsBetweenChecks == rowsBetweenChecks-1 && n.view.look() != nil {
			return // as in machine.best
		}
		x := &marks[i]
		n.age(x)
		if x.time >= r.to && n.young == len(n.entries) {
			return
		}
		n.apply(int32(i), x, r.has(x.time) && !x.hit)
	}
}

// age leaves behind entries whose window is over.
func (n *entrants) age(x *mark) {
	longest := n.window
	if seeded.On("entries_window_exclusive") {
		longest--
	}
	for n.young < len(n.entries) && x.time.Sub(n.marks[n.entries[n.young]].time) > longest {
		n.young++
	}
}

// apply is machine.apply for all entries.
func (n *entrants) apply(i int32, x *mark, enter bool) {
	var ended [stepsMax]entrySpan
	killed := uint32(0)
	for todo := (x.steps | x.kills) & (1<<len(n.matches) - 1); todo != 0; {
		k := 31 - bits.LeadingZeros32(todo)
		bit := uint32(1) << k
		todo &^= bit
		n.steps++
		if k == 0 {
			break
		}
		from := n.able(k-1, x.time, x.place)
		if x.steps&bit != 0 && !from.empty() {
			n.take(k, from, i)
		}
		if x.kills&bit != 0 {
			n.kill(k - 1)
			if !from.empty() {
				killed |= bit >> 1
				ended[k-1] = from
			}
		}
	}
	if x.steps&1 != 0 && enter {
		e := int32(len(n.entries))
		n.entries = append(n.entries, i)
		n.over, n.hit = append(n.over, false), append(n.hit, false)
		n.push(0, entrantGroup{lo: e, hi: e, at: i, before: -1})
	}
	if killed != 0 && n.exclusion != cutHits {
		n.findHits(x, killed, &ended)
	}
}

// entrySpan is an interval of entries.
type entrySpan struct{ lo, hi int32 }

func (s entrySpan) empty() bool { return s.lo > s.hi }

// able is the interval of entries whose chains at step k may go on with an
// event of this time and place.
func (n *entrants) able(k int, t event.Time, place int32) entrySpan {
	l := &n.lists[k]
	for l.alive < len(l.groups) {
		at := &n.marks[n.groups[l.groups[l.alive]].at]
		if !(n.bounds[k+1] >= 0 && t.Sub(at.time) > n.bounds[k+1]) && !(n.next>>(k+1)&1 != 0 && place > at.place+1) {
			break
		}
		l.alive++
	}
	if l.alive == len(l.groups) {
		return entrySpan{0, -1}
	}
	return entrySpan{max(n.groups[l.groups[l.alive]].lo, int32(n.young)), n.groups[l.groups[len(l.groups)-1]].hi}
}

// take brings entries to step k. Those that converted do not convert again.
func (n *entrants) take(k int, from entrySpan, i int32) {
	l, before := &n.lists[k], n.newest(k-1)
	last := k == len(n.matches)-1
	if last && len(l.groups) > 0 {
		if from.lo = max(from.lo, n.groups[n.newest(k)].hi+1); from.empty() {
			return
		}
	}
	alive, killed := l.alive, l.killed
	for len(l.groups) > 0 {
		top := n.groups[n.newest(k)]
		if top.hi < from.lo {
			break
		}
		l.groups = l.groups[:len(l.groups)-1]
		if top.lo < from.lo {
			top.hi = from.lo - 1
			n.push(k, top)
			break
		}
	}
	l.alive, l.killed = min(alive, len(l.groups)), min(killed, len(l.groups))
	n.push(k, entrantGroup{lo: from.lo, hi: from.hi, at: i, before: before})
}

// kill ends the chains at step k.
func (n *entrants) kill(k int) {
	l := &n.lists[k]
	l.alive, l.killed = len(l.groups), len(l.groups)
}

// findHits finds the entries that x ended: they had a chain that it excludes,
// and have none left.
func (n *entrants) findHits(x *mark, killed uint32, ended *[stepsMax]entrySpan) {
	var alive [stepsMax]entrySpan
	for k := range len(n.matches) - 1 {
		alive[k] = n.able(k, x.time, x.place+1)
	}
	converted := int32(-1)
	if g := n.newest(len(n.matches) - 1); g >= 0 {
		converted = n.groups[g].hi
	}
	for ; killed != 0; killed &= killed - 1 {
		k := bits.TrailingZeros32(killed)
		for e := max(ended[k].lo, converted+1); e <= ended[k].hi; e++ {
			if hi, ok := covering(e, alive[:len(n.matches)-1]); ok {
				e = hi // up to there all have a chain left
				continue
			}
			n.steps++
			if n.over[e] {
				continue
			}
			n.over[e] = true
			n.hit[e] = n.chain(nil, e, k, n.newest(k))
		}
	}
}

// newest is the last group of a list, -1 if it has none.
func (n *entrants) newest(k int) int32 {
	l := n.lists[k].groups
	if len(l) == 0 {
		return -1
	}
	return l[len(l)-1]
}

func (n *entrants) push(k int, g entrantGroup) {
	l := &n.lists[k]
	g.next, g.jump, g.depth = n.newest(k), -1, 0
	if g.next >= 0 {
		next := &n.groups[g.next]
		g.depth, g.jump = next.depth+1, g.next
		if next.jump >= 0 {
			if far := &n.groups[next.jump]; far.jump >= 0 && next.depth-far.depth == far.depth-n.groups[far.jump].depth {
				g.jump = far.jump
			}
		}
	}
	l.groups = append(l.groups, int32(len(n.groups)))
	n.groups = append(n.groups, g)
}

// covering returns the end of an interval that has e in it.
func covering(e int32, spans []entrySpan) (hi int32, ok bool) {
	for _, s := range spans {
		if s.lo <= e && e <= s.hi {
			return s.hi, true
		}
	}
	return 0, false
}

// find returns the group that has entry e in it, or an older one if none has;
// -1 if there is none.
func (n *entrants) find(g int32, e int32) int32 {
	for g >= 0 && n.groups[g].lo > e {
		if far := n.groups[g].jump; far >= 0 && n.groups[far].lo > e {
			g = far
		} else {
			g = n.groups[g].next
		}
	}
	return g
}

// chain follows entry e's chain back from step k, in the list that begins with
// group g, and fills c if it is not nil. It reports false if e has none.
func (n *entrants) chain(c *chain, e int32, k int, g int32) bool {
	for ; k >= 0; k-- {
		if g = n.find(g, e); g < 0 || n.groups[g].hi < e {
			return false
		}
		if c != nil {
			x := &n.marks[n.groups[g].at]
			c.place[k], c.time[k] = x.place, x.time
		}
		g = n.groups[g].before
	}
	return true
}

// result is the attempt of entry e, once all marks were seen. It is valid until
// the next.
func (n *entrants) result(e int32, j *journey) *chain {
	c := &n.found
	c.level = 0
	for k := len(n.matches) - 1; k >= 0; k-- {
		if n.chain(c, e, k, n.newest(k)) {
			c.level = k + 1
			break
		}
	}
	c.open = c.level < len(n.matches) && n.open(e, c.level, j)
	return c
}

// open reports whether at the end of the data a chain of entry e can still go on.
func (n *entrants) open(e int32, level int, j *journey) bool {
	if j.unit.ended {
		return false
	}
	for k := range level {
		g := n.find(n.newest(k), e)
		if int(n.groups[g].depth) >= n.lists[k].killed && n.canGoOn(e, k, g, j) {
			return true
		}
	}
	return false
}

func (n *entrants) canGoOn(e int32, k int, g int32, j *journey) bool {
	if n.limit(e, k, g) <= j.end {
		return false
	}
	return n.pattern.next>>(k+1)&1 == 0 || int(n.marks[n.groups[g].at].place) == j.places-1
}

// limit is the last instant at which entry e's chain at step k may go on.
func (n *entrants) limit(e int32, k int, g int32) event.Time {
	limit := n.marks[n.entries[e]].time.Add(n.window)
	if n.bounds[k+1] >= 0 {
		limit = min(limit, n.marks[n.groups[g].at].time.Add(n.bounds[k+1]))
	}
	return limit
}
