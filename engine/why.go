package engine

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/internal/seeded"
)

// whyOperator answers `why`: what became of one customer in a pattern, event
// by event. It runs the tracker that the funnel runs, over the customer's own
// events, and tells of the attempt that is reported: its events, what ended
// it, and the verdict in the last row.
//
// With `per session` it tells of the best of the customer's sessions, which is
// what `count customers` counts.
type whyOperator struct{ pattern *pattern }

// The verdicts.
const (
	verdictConverted = "converted"
	verdictWindow    = "window over"
	verdictGap       = "gap over"
	verdictExclusion = "exclusion"
	verdictSession   = "session over"
	verdictNext      = "next event"
	verdictOpen      = "open"
	verdictNoEntry   = "no entry" // no event that could begin an attempt
)

// What events did.
const (
	effectEntry    = "entry"        // began the reported attempt
	effectReached  = "reached"      // took it to the step
	effectExcluded = "excluded"     // ended it, where the step could have been reached
	effectNotNext  = "not the next" // stood where => asked for the step
	effectLate     = "too late"     // would have reached the step, had the window or the gap not been over
	effectGoing    = "still open"   // of another attempt, which can go on
)

func newWhy(r *run) (operator, error) {
	r.needChannel()
	p, err := r.pattern()
	if err != nil {
		return nil, err
	}
	return &whyOperator{p.thorough()}, nil // the journey is looked at afterwards
}

func (o *whyOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "why", Detail: fmt.Sprintf("of %q, found by identity; steps %d", r.plan.Customer, len(o.pattern.matches))}
}

func (o *whyOperator) run(r *run) (*Result, error) {
	res := &Result{Columns: []Column{{"time", Time}, {"event", String}, {"channel", String}, {"step", Integer}, {"effect", String}}}
	res.Meta.Unit = "events"
	res.Meta.Denominator = "events of the reported attempt, and those that ended it"
	v, c, err := r.locate()
	if v == nil || err != nil {
		return res, err
	}
	if !v.member(c) {
		r.warn(fmt.Sprintf("customer %q is not in the cohort of among", r.plan.Customer))
		return res, nil
	}
	only := v.bitmap(v.Customers())
	only.Set(c)
	v.members = only

	w := &whyWorker{v: v}
	w.tracker = o.pattern.worker(func(_ *view, a *attempt) error { w.attempt = *a; w.counted = true; return nil })
	if err := w.tracker.bitmaps(v); err != nil {
		return nil, err
	}
	if err := v.units(w.unit); err != nil {
		return nil, err
	}
	lo, hi := v.extent(c)
	r.stats.customers.Add(1)
	r.stats.events.Add(int64(hi - lo))
	r.stats.tied.Add(v.tiedOf(c))
	if w.story.open {
		res.Meta.Open = 1
	}
	res.Rows = w.rows()
	return res, nil
}

// whyWorker finds the story of a customer.
type whyWorker struct {
	tracker *tracker
	v       *view
	attempt attempt // of the unit at hand
	counted bool    // it has one
	story   story   // of the best unit so far
	going   []whyMoment
}

// story is what is told of one unit.
type story struct {
	moments []whyMoment
	verdict string
	at      event.Time // when the chain could no longer go on
	timed   bool       // at is set
	level   int        // 0: the unit is not counted
	open    bool
}

// whyMoment is an event that mattered.
type whyMoment struct {
	row    int
	order  [2]int // of the session, and in it
	step   int
	effect string
}

func (w *whyWorker) unit(u unit) error {
	t := w.tracker
	w.counted = false
	told := story{verdict: verdictNoEntry}
	var going []whyMoment
	if t.mayEnter(u) {
		if err := t.journey.load(w.v, u, t); err != nil {
			return err
		}
		if err := t.unit(w.v); err != nil {
			return err
		}
		if err := t.account(); err != nil {
			return err
		}
		switch {
		case w.counted:
			told = w.reported(u)
			if told.open && told.verdict != verdictOpen {
				going = w.stillGoing(u)
			}
		default:
			told = w.uncounted(u)
		}
	}
	w.take(told, going)
	return nil
}

// take keeps the story of the better unit: the rule is the tracker's for
// customers who are counted by the best of their sessions.
func (w *whyWorker) take(told story, going []whyMoment) {
	best, steps := &w.story, len(w.tracker.matches)
	if told.open && len(going) == 0 {
		going = told.moments
	}
	open := best.open || told.open
	if told.open {
		w.going = going
	}
	switch {
	case best.verdict == "", best.level == 0 && told.verdict != verdictNoEntry,
		told.level > 0 && told.level >= best.level && best.level < steps:
		*best = told
	}
	best.open = open && best.level < steps
}

// rows are the answer: the moments in order, and the verdict.
func (w *whyWorker) rows() [][]Cell {
	s, v := &w.story, w.v
	if s.open {
		s.verdict, s.at, s.timed = verdictOpen, v.run.end, true
		for _, m := range w.going {
			if !slices.ContainsFunc(s.moments, func(x whyMoment) bool { return x.row == m.row }) {
				m.effect = effectGoing
				s.moments = append(s.moments, m)
			}
		}
	}
	slices.SortFunc(s.moments, func(a, b whyMoment) int {
		return cmp.Or(cmp.Compare(a.order[0], b.order[0]), cmp.Compare(a.order[1], b.order[1]))
	})
	var rows [][]Cell
	for _, m := range s.moments {
		rows = append(rows, []Cell{v.Time.At(m.row), v.run.schema.Events[v.Event.At(m.row)].Text, v.channelCell(m.row), int64(m.step), m.effect})
	}
	verdict := []Cell{nil, nil, nil, nil, cmp.Or(s.verdict, verdictNoEntry)}
	if s.timed {
		verdict[0] = s.at
	}
	if s.level > 0 {
		verdict[3] = int64(s.level)
	}
	return append(rows, verdict)
}

// reported tells of the unit's reported attempt.
func (w *whyWorker) reported(u unit) story {
	a, t := &w.attempt, w.tracker
	s := story{level: a.level, open: a.open, moments: w.chain(&a.chain, u)}
	if a.level == len(t.matches) {
		s.verdict, s.at, s.timed = verdictConverted, a.time[a.level-1], true
		return s
	}
	w.end(&s, u)
	return s
}

// chain is the moments of a chain's events.
func (w *whyWorker) chain(c *chain, u unit) []whyMoment {
	var list []whyMoment
	for k := range c.level {
		effect := effectReached
		if k == 0 {
			effect = effectEntry
		}
		list = append(list, w.moment(u, c.place[k], k+1, effect))
	}
	return list
}

func (w *whyWorker) moment(u unit, place int32, step int, effect string) whyMoment {
	return whyMoment{row: w.tracker.journey.row(place), order: [2]int{u.ordinal, int(place)}, step: step, effect: effect}
}

// end finds out how the reported attempt, which did not convert, ended: what
// kept its chain from the step that it waited for.
func (w *whyWorker) end(s *story, u unit) {
	t, a := w.tracker, &w.attempt
	j, k := &t.journey, a.level // k is the step waited for, from 0
	last := a.place[k-1]
	limit, over := a.time[0].Add(t.windows[0]), verdictWindow
	if t.bounds[k] >= 0 && !t.anyOrder && !seeded.On("why_knows_no_gap") {
		if bound := a.time[k-1].Add(t.bounds[k]); bound < limit {
			limit, over = bound, verdictGap
		}
	}
	s.timed = true
	if t.next>>k&1 != 0 {
		if row := j.after(last); row >= 0 && w.v.Time.At(row) <= limit {
			s.verdict, s.at = verdictNext, w.v.Time.At(row)
			s.moments = append(s.moments, w.moment(u, last+1, k+1, effectNotNext))
			return
		}
	}
	rest := j.marks[j.markAt(last+1):]
	for i := range rest {
		x := &rest[i]
		if x.time > limit {
			break
		}
		excluded := x.kills>>k&1 != 0
		if !seeded.On("why_any_value_excludes") {
			excluded = excluded && (w.sameValue(x) || x.value == noValue)
		}
		if excluded {
			s.verdict, s.at = verdictExclusion, x.time
			s.moments = append(s.moments, w.moment(u, x.place, k+1, effectExcluded))
			return
		}
	}
	end := w.v.Time.At(w.v.last(u.lo, u.hi))
	switch {
	case u.ended && end <= limit:
		s.verdict, s.at = verdictSession, end
	case limit <= j.end:
		s.verdict, s.at = over, limit
		w.late(s, u, rest, limit)
	default:
		s.verdict, s.at = verdictOpen, w.v.run.end
	}
}

// late adds the first event that would have gone on, had it come in time.
func (w *whyWorker) late(s *story, u unit, rest []mark, limit event.Time) {
	t, a := w.tracker, &w.attempt
	wanted := uint32(1) << a.level
	if t.anyOrder {
		wanted = 0
		for k := range t.matches {
			if a.standing[k] < 0 {
				wanted |= 1 << k
			}
		}
	}
	if t.next&wanted != 0 {
		if row := t.journey.after(a.place[a.level-1]); row < 0 || len(rest) == 0 || t.journey.row(rest[0].place) != row {
			return
		}
		rest = rest[:1]
	}
	for i := range rest {
		if x := &rest[i]; x.time > limit && x.steps&wanted != 0 && w.sameValue(x) {
			s.moments = append(s.moments, w.moment(u, x.place, a.level+1, effectLate))
			return
		}
	}
}

// sameValue reports whether an event has the reported attempt's value of the
// held property. Without holding all events do.
func (w *whyWorker) sameValue(x *mark) bool {
	return !w.tracker.holding.set || x.value == w.valueAt(w.attempt.place[0])
}

func (w *whyWorker) valueAt(place int32) int32 {
	j := &w.tracker.journey
	return j.marks[j.markAt(place)].value
}

// stillGoing finds the newest chain that can go on, where it is not the one
// that is reported.
func (w *whyWorker) stillGoing(u unit) []whyMoment {
	t := w.tracker
	r := t.entryRange()
	if t.anyOrder {
		for i := len(t.journey.marks) - 1; i >= 0; i-- {
			if x := &t.journey.marks[i]; t.canEnter(x) && r.has(x.time) {
				return []whyMoment{w.moment(u, x.place, 1, effectGoing)}
			}
		}
		return nil
	}
	if !t.holding.set || t.run.plan.EntryFirst {
		return w.goingOf(u)
	}
	var going []whyMoment
	t.held.split(t.journey.marks, t.excluded)
	for t.held.next() && going == nil {
		if t.machine.best(&t.journey, t.held.marks, r).open {
			going = w.goingOf(u)
		}
	}
	return going
}

// goingOf is the chain that can go on of the machine as it stands.
func (w *whyWorker) goingOf(u unit) []whyMoment {
	m := &w.tracker.machine
	for k := len(m.matches) - 1; k >= 0; k-- {
		if m.alive>>k&1 != 0 && m.canGoOn(k, &w.tracker.journey) {
			c := m.chains[k]
			c.level = k + 1
			return w.chain(&c, u)
		}
	}
	return nil
}

// uncounted tells of a unit that the funnel does not count: it has no entry in
// the range, or an exclusion makes it or its attempts not exist.
func (w *whyWorker) uncounted(u unit) story {
	t := w.tracker
	r, first := t.entryRange(), t.run.plan.EntryFirst
	at := -1
	for i := range t.journey.marks {
		if x := &t.journey.marks[i]; t.canEnter(x) && r.has(x.time) && (x.hit || first) {
			if at = i; first {
				break
			}
		}
	}
	if at < 0 {
		return story{verdict: verdictNoEntry}
	}
	c, end, _ := t.follow(at)
	ended := &t.journey.marks[end-1]
	s := story{verdict: verdictExclusion, at: ended.time, timed: true, moments: w.chain(c, u)}
	s.moments = append(s.moments, w.moment(u, ended.place, c.level+1, effectExcluded))
	return s
}

// entryRange is the range of entries that during selects.
func (t *tracker) entryRange() entryRange {
	if d := &t.run.plan.During; d.Set {
		return entryRange{d.From, d.To}
	}
	return entryRange{minInstant, maxInstant}
}
