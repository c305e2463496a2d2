package engine

import (
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// mark is an event of a journey that fulfils a step or is excluded somewhere.
type mark struct {
	time  event.Time
	place int32  // in the order of the unit's events
	value int32  // holding: which value, noValue if null
	steps uint32 // the steps it fulfils
	kills uint32 // bit k: excluded between steps k-1 and k
	hit   bool   // as an entry it does not exist: an excluded event ended its attempt
}

const noValue = -1

// tracker is one worker's side of a pattern.
type tracker struct {
	*pattern
	machine  machine
	entrants entrants
	any      anyOrder
	journey  journey
	held     heldValues
	periods  periods
	masks    masks
	pending  []attempt // of the customer at hand, when it is counted by the best of its sessions
	found    attempt
	emit     func(v *view, a *attempt) error

	// batch, if set, takes what bits decide of a tile in place of emit; wants says
	// what it needs of the entries that nothing followed.
	batch   func(v *view, d *decided) error
	wants   entriesWanted
	inspect func(v *view, a *attempt) // nil, or asked about every attempt while its journey is at hand

	stepRows []tile.Bitmap
	killRows []tile.Bitmap
	marked   tile.Bitmap
	tried    bool // hits were found out for the journey and window at hand

	memory    ration
	accounted int64 // bytes of scratch that memory was told of
}

// worker returns a tracker that calls emit for every unit (attempt, entry) that
// is counted. What emit is given is valid until it returns.
func (p *pattern) worker(emit func(v *view, a *attempt) error) *tracker {
	t := &tracker{pattern: p, emit: emit, wants: wantTimes, machine: machine{pattern: p}, memory: ration{budget: p.run.memory}}
	t.any.pattern, t.entrants.pattern = p, p
	t.journey.pattern = p
	t.periods = periods{calendar: p.calendar, max: p.run.opt.Rows}
	t.stepRows = make([]tile.Bitmap, len(p.matches))
	t.killRows = make([]tile.Bitmap, len(p.matches))
	return t
}

// visit finds the attempts of all units of a tile.
func (t *tracker) visit(v *view) error {
	if err := t.fulfil(v); err != nil {
		return err
	}
	defer t.tellSteps()
	if t.free > 1 || t.free == len(t.matches) {
		v.took = "bit masks"
		return t.visitMasks(v)
	}
	t.mark(v)
	customer := -1
	err := v.units(func(u unit) error {
		if u.customer != customer {
			customer = u.customer
			if err := t.flush(v); err != nil {
				return err
			}
		}
		return t.visitUnit(v, u)
	})
	if err != nil {
		return err
	}
	return t.flush(v)
}

// tellSteps adds up what the machines did.
func (t *tracker) tellSteps() {
	t.run.stats.steps.Add(t.machine.steps + t.any.steps + t.entrants.steps)
	t.machine.steps, t.any.steps, t.entrants.steps = 0, 0, 0
}

// visitUnit finds the attempts of one unit by the machines.
func (t *tracker) visitUnit(v *view, u unit) error {
	if !t.mayEnter(u) {
		return nil
	}
	if t.plain && t.stopsAtOnce(v, u) {
		return t.entryOnly(v, u)
	}
	if err := t.journey.load(v, u, t); err != nil {
		return err
	}
	if err := t.unit(v); err != nil {
		return err
	}
	return t.account()
}

// account tells the budget what the longest journey so far took. Its size is
// known only once it was held; the next one as long takes no more.
func (t *tracker) account() error {
	n := &t.entrants
	bytes := int64(cap(t.journey.marks)+cap(t.held.valued)+cap(t.held.null)+cap(t.held.merged))*markBytes +
		int64(cap(t.journey.order)+cap(n.entries))*4 + int64(cap(n.groups))*groupBytes
	if bytes <= t.accounted {
		return nil
	}
	err := t.memory.take(bytes - t.accounted)
	t.accounted = bytes
	return err
}

// What a mark and a group of entries take.
const (
	markBytes  = 32
	groupBytes = 28 + 4
)

// bitmaps decides for the whole tile which events fulfil which step: most
// journeys are then done with at a glance.
func (t *tracker) bitmaps(v *view) error {
	if err := t.fulfil(v); err != nil {
		return err
	}
	t.mark(v)
	return nil
}

// fulfil finds the rows that fulfil each step, and those that are excluded.
func (t *tracker) fulfil(v *view) error {
	for k := range t.matches {
		t.stepRows[k] = v.bitmap(v.Rows)
		if err := t.matches[k].rows(v, t.stepRows[k]); err != nil {
			return err
		}
		if t.excludes[k] == nil {
			continue
		}
		t.killRows[k] = v.bitmap(v.Rows)
		if err := t.excludes[k].rows(v, t.killRows[k]); err != nil {
			return err
		}
	}
	return nil
}

// mark joins the rows that any journey is loaded from.
func (t *tracker) mark(v *view) {
	t.marked = v.bitmap(v.Rows)
	for k := range t.matches {
		t.marked.Or(t.stepRows[k])
		if t.excludes[k] != nil {
			t.marked.Or(t.killRows[k])
		}
	}
}

// mayEnter reports whether the unit has an event that could be an entry.
func (t *tracker) mayEnter(u unit) bool {
	if t.anyOrder {
		return t.marked.Next(u.lo, u.hi) < u.hi
	}
	return t.stepRows[0].Next(u.lo, u.hi) < u.hi
}

// stopsAtOnce reports whether the unit has no event that could be a second
// step: most units of most patterns. Where events share a time, rows need not
// be in the order of the pattern, so it does not know.
func (t *tracker) stopsAtOnce(v *view, u unit) bool {
	if v.Ties.Get(u.customer) && !t.run.plan.TiesArrival {
		return false
	}
	first := t.stepRows[0].Next(u.lo, u.hi)
	return t.stepRows[1].Next(first+1, u.hi) == u.hi
}

// entryOnly reports a unit that did not get beyond its entries: its last one.
func (t *tracker) entryOnly(v *view, u unit) error {
	t.journey.begin(v, u)
	m := &t.machine
	for w, window := range t.windows {
		m.window, t.found.window = window, w
		row := t.stepRows[0].Last(u.lo, u.hi)
		m.reset()
		m.enter(&mark{time: v.Time.At(row), place: int32(row - u.lo)})
		if err := t.report(v, m.result(&t.journey)); err != nil {
			return err
		}
	}
	return nil
}

// unit evaluates the journey at hand for every window and period.
func (t *tracker) unit(v *view) error {
	during := &t.run.plan.During
	r := entryRange{from: minInstant, to: maxInstant}
	if during.Set {
		r.from, r.to = during.From, during.To
	}
	for w, window := range t.windows {
		t.machine.window, t.entrants.window, t.any.window = window, window, window
		t.entrants.view = v
		t.found.window = w
		t.tried = false
		if err := t.ranges(v, r); err != nil {
			return err
		}
	}
	return nil
}

// The bounds of a range that has none.
const (
	minInstant = event.Time(-1 << 63)
	maxInstant = event.Time(1<<63 - 1)
)

// entryRange selects entries: from inclusive, to exclusive.
type entryRange struct{ from, to event.Time }

func (r entryRange) has(t event.Time) bool {
	return t >= r.from && (t < r.to || seeded.On("range_end_included") && t == r.to)
}

// ranges evaluates the range, or each period in it that has an entry as if it
// were the range.
func (t *tracker) ranges(v *view, r entryRange) error {
	marks := t.journey.marks
	for i := 0; i < len(marks); {
		if !t.canEnter(&marks[i]) || !r.has(marks[i].time) {
			i++
			continue
		}
		if t.calendar == nil {
			return t.evaluate(v, i, r)
		}
		begin, end, err := t.periods.bounds(marks[i].time)
		if err != nil {
			return err
		}
		t.found.period = end
		// A window much longer than the period is looked through for each period.
		if err := v.tick(rowsBetweenChecks / 16); err != nil {
			return err
		}
		if err := t.evaluate(v, i, entryRange{max(begin, r.from), min(end, r.to)}); err != nil {
			return err
		}
		for i < len(marks) && marks[i].time < end {
			i++
		}
	}
	return nil
}

// bounds returns the period that holds t.
func (p *periods) bounds(t event.Time) (begin, end event.Time, err error) {
	if begin, err = p.of(t); err != nil {
		return 0, 0, err
	}
	return begin, p.starts[p.last+1], nil
}

// canEnter reports whether an event can be an entry. With holding it must have a value.
func (p *pattern) canEnter(x *mark) bool {
	if p.holding.set && x.value == noValue {
		return false
	}
	return x.steps&1 != 0 || p.anyOrder && x.steps != 0
}

// evaluate reports what is counted in the journey at hand with entries in the
// range; marks[first] is the first of them.
func (t *tracker) evaluate(v *view, first int, r entryRange) error {
	if t.run.plan.EntryFirst {
		if seeded.On("entry_first_any_range") {
			first = slices.IndexFunc(t.journey.marks, func(x mark) bool { return t.canEnter(&x) })
		}
		c, _, hit := t.follow(first)
		if hit && t.exclusion != cutHits {
			return nil
		}
		return t.report(v, c)
	}
	if t.count == countAttempts {
		return t.attempts(v, first, r)
	}
	if t.exclusion != cutHits {
		if err := t.findHits(); err != nil {
			return err
		}
		if t.exclusion == dropHits && t.anyHit(first, r) {
			return nil
		}
	}
	if t.count == countEntries {
		return t.entries(v, first, r)
	}
	c := t.best(first, r)
	if c.level == 0 {
		return nil
	}
	return t.report(v, c)
}

// report hands an attempt on, or keeps it until all sessions of its customer
// have been looked at.
func (t *tracker) report(v *view, c *chain) error {
	a := &t.found
	j := &t.journey
	a.chain.copy(c)
	a.customer = j.unit.customer
	for k := range t.matches {
		a.standing[k] = -1
	}
	for k := range c.level {
		a.rows[k] = j.row(c.place[k])
		if !t.anyOrder {
			a.standing[k] = a.rows[k]
		}
	}
	if t.anyOrder {
		t.any.stand(j, c, a)
	}
	a.next = j.after(c.place[c.level-1])
	if t.inspect != nil {
		t.inspect(v, a)
	}
	if t.count != countSessionsCustomers {
		return t.emit(v, a)
	}
	for i := len(t.pending) - 1; i >= 0; i-- {
		if p := &t.pending[i]; p.window == a.window && p.period == a.period {
			open := p.open || a.open
			if a.level >= p.level && !p.converted(len(t.matches)) {
				*p = *a // of equally deep ones that of the later session ends later
			}
			p.open = open && !p.converted(len(t.matches))
			return nil
		}
	}
	t.pending = append(t.pending, *a)
	return nil
}

// flush emits what was kept of a customer's sessions.
func (t *tracker) flush(v *view) error {
	for i := range t.pending {
		if err := t.emit(v, &t.pending[i]); err != nil {
			return err
		}
	}
	t.pending = t.pending[:0]
	return nil
}

// best finds the level and the reported attempt over all entries in the range.
// With holding it is the best over the values, each of which has chains of its
// own.
func (t *tracker) best(first int, r entryRange) *chain {
	marks := t.journey.marks[first:]
	if !t.holding.set {
		return t.bestOf(marks, r)
	}
	best, open := &t.held.best, false
	best.level = 0
	t.held.split(marks, t.excluded)
	for t.held.next() {
		c := t.bestOf(t.held.marks, r)
		open = open || c.open
		if c.level > 0 && c.betterThan(best, len(t.matches)) {
			best.copy(c)
		}
	}
	best.open = open && best.level < len(t.matches)
	return best
}

func (t *tracker) bestOf(marks []mark, r entryRange) *chain {
	if t.anyOrder {
		return t.any.best(&t.journey, marks, r)
	}
	return t.machine.best(&t.journey, marks, r)
}

// copy makes c the same chain as d.
func (c *chain) copy(d *chain) {
	c.level, c.open = d.level, d.open
	copy(c.place[:d.level], d.place[:])
	copy(c.time[:d.level], d.time[:])
}

// betterThan compares the reported attempts of two values by the general rule.
func (c *chain) betterThan(d *chain, steps int) bool {
	if c.level != d.level || c.level == 0 {
		return c.level > d.level
	}
	earlier := c.place[c.level-1] < d.place[d.level-1]
	return earlier == (c.level == steps)
}

// attempts reports the attempts of a unit one after another: each begins at
// the first free entry and keeps it. Attempts that were hit take their events
// even where they do not count.
func (t *tracker) attempts(v *view, first int, r entryRange) error {
	if t.exclusion == dropHits {
		hit := false
		if err := t.sequence(v, first, r, func(_ *chain, h bool) error { hit = hit || h; return nil }); err != nil || hit {
			return err
		}
	}
	return t.sequence(v, first, r, func(c *chain, hit bool) error {
		if hit && t.exclusion == voidHits {
			return nil
		}
		return t.report(v, c)
	})
}

func (t *tracker) sequence(v *view, first int, r entryRange, f func(c *chain, hit bool) error) error {
	marks := t.journey.marks
	for i := first; i < len(marks) && marks[i].time < r.to; {
		if !t.canEnter(&marks[i]) {
			i++
			continue
		}
		c, end, hit := t.follow(i)
		if err := f(c, hit); err != nil {
			return err
		}
		if err := v.tick(end - i); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// entries reports every entry in the range as an attempt of its own.
func (t *tracker) entries(v *view, first int, r entryRange) error {
	marks := t.journey.marks
	if t.anyOrder {
		for i := first; i < len(marks) && marks[i].time < r.to; i++ {
			if !t.canEnter(&marks[i]) {
				continue
			}
			c, end, _ := t.follow(i)
			if err := t.report(v, c); err != nil {
				return err
			}
			if err := v.tick(end - i); err != nil {
				return err
			}
		}
		return nil
	}
	return t.eachValue(marks[first:], func(marks []mark) error {
		t.entrants.enterAll(marks, r)
		for e := range t.entrants.entries {
			c := t.entrants.result(int32(e), &t.journey)
			if err := t.report(v, c); err != nil {
				return err
			}
		}
		return v.tick(len(marks))
	})
}

// eachValue calls f with the marks, or with holding with those of each value.
func (t *tracker) eachValue(marks []mark, f func(marks []mark) error) error {
	if !t.holding.set {
		return f(marks)
	}
	t.held.split(marks, t.excluded)
	for t.held.next() {
		if err := f(t.held.marks); err != nil {
			return err
		}
	}
	return nil
}

// follow runs all chains from the entry marks[i] to its end.
func (t *tracker) follow(i int) (c *chain, end int, hit bool) {
	if t.anyOrder {
		c, end = t.any.follow(&t.journey, i)
		return c, end, false
	}
	return t.machine.follow(&t.journey, i)
}

// findHits finds out which entries were ended by an excluded event.
func (t *tracker) findHits() error {
	if t.tried || t.excluded == 0 {
		return nil
	}
	t.tried = true
	all := t.journey.marks
	for i := range all {
		all[i].hit = false
	}
	return t.eachValue(all, func(marks []mark) error {
		t.entrants.enterAll(marks, entryRange{minInstant, maxInstant})
		for e, at := range t.entrants.entries {
			if t.entrants.hit[e] {
				all[t.journey.markAt(marks[at].place)].hit = true
			}
		}
		return nil
	})
}

// couldGoOn reports whether an attempt that did not convert could still go on
// after a time, by any chain from its entry. Its journey is the one at hand.
func (t *tracker) couldGoOn(a *attempt, at event.Time) bool {
	if t.anyOrder {
		return a.time[0].Add(t.windows[a.window]) > at
	}
	return t.machine.couldGoOn(&t.journey, t.journey.markAt(a.place[0]), at)
}

// anyHit reports whether an attempt with an entry in the range was hit.
func (t *tracker) anyHit(first int, r entryRange) bool {
	marks := t.journey.marks
	for i := first; i < len(marks) && marks[i].time < r.to; i++ {
		if marks[i].hit {
			return true
		}
	}
	return false
}
