package reference

import (
	"cmp"
	"fmt"
	"slices"

	"wend/event"
	"wend/query"
)

// pattern is a statement's pattern with defined funnels written out.
type pattern struct {
	anyOrder bool
	steps    []step
}

type step struct {
	as, event string // the names it can be referred to by
	title     string // column touchpoint
	alt       *query.Alt
	next      bool           // => before it
	bound     event.Duration // longest gap to the step before; negative: none
	not       []*query.Alt   // must not occur between the step before and this one
}

// definedFunnel returns the definition if the pattern is the name of a funnel.
func (ev *evaluator) definedFunnel(p *query.Pattern) *query.Definition {
	if p == nil || p.AnyOrder || len(p.Steps) != 1 || p.Steps[0].As != nil {
		return nil
	}
	alt := p.Steps[0].Alt
	if len(alt.Touches) != 1 || alt.Channels != nil || alt.Filter != nil {
		return nil
	}
	t := alt.Touches[0]
	if t.Any || t.Channels != nil || t.Filter != nil {
		return nil
	}
	if d := ev.definitions[t.Name.Text]; d != nil && d.Kind == "funnel" {
		return d
	}
	return nil
}

func (ev *evaluator) pattern(p *query.Pattern) *pattern {
	if d := ev.definedFunnel(p); d != nil {
		return ev.pattern(d.Pattern)
	}
	bound := &pattern{anyOrder: p.AnyOrder}
	for i := range p.Steps {
		s := step{alt: &p.Steps[i].Alt, title: p.Steps[i].Alt.String(), bound: -1}
		if as := p.Steps[i].As; as != nil {
			s.as, s.title = as.Text, as.Text
		}
		if t := s.alt.Touches; len(t) == 1 && !t[0].Any {
			s.event = t[0].Name.Text
		}
		if p.AnyOrder {
			s.title = fmt.Sprintf("%d of %d", i+1, len(p.Steps))
		} else if i > 0 {
			link := p.Links[i-1]
			s.next = link.Next
			bounds := []*query.Duration{link.Bound}
			for k := range link.Nots {
				s.not = append(s.not, &link.Nots[k].Alt)
				bounds = append(bounds, link.Nots[k].Bound)
			}
			for _, b := range bounds {
				if b != nil {
					s.bound = b.Value
				}
			}
		}
		bound.steps = append(bound.steps, s)
	}
	return bound
}

// fulfils tells whether an event fulfils one of the alternatives.
func (ev *evaluator) fulfils(alt *query.Alt, f *fact) bool {
	return ev.touchesAny(alt.Touches, f) && ev.suffix(alt.Channels, alt.Filter, f)
}

func (ev *evaluator) touchesAny(touches []query.Touch, f *fact) bool {
	return slices.ContainsFunc(touches, func(t query.Touch) bool {
		return ev.isNamed(t, f) && ev.suffix(t.Channels, t.Filter, f)
	})
}

func (ev *evaluator) isNamed(t query.Touch, f *fact) bool {
	if t.Any {
		return true
	}
	if d := ev.definitions[t.Name.Text]; d != nil && (d.Kind == "touchpoint" || d.Kind == "stage") {
		return ev.touchesAny(d.Touches, f)
	}
	return f.Name == t.Name.Text
}

func (ev *evaluator) suffix(channels *query.Channels, filter *query.Expr, f *fact) bool {
	if channels != nil && !slices.ContainsFunc(channels.Names, func(n query.Name) bool { return ev.isChannel(n.Text, f.Channel) }) {
		return false
	}
	return filter == nil || isTrue(ev.value(filter, &scope{at: f}))
}

func (ev *evaluator) isChannel(name, channel string) bool {
	if d := ev.definitions[name]; d != nil && d.Kind == "channels" {
		return channel != "" && slices.ContainsFunc(d.Channels, func(n query.Name) bool { return n.Text == channel })
	}
	return channel != "" && channel == name
}

// matching is a unit's events in the order of patterns, with what each fulfils.
type matching struct {
	*pattern
	events   []*fact
	fulfils  [][]bool // by step, event
	excluded [][]bool // by step, event: must not come before the step
	held     []event.Value
	holding  bool
	over     bool       // the session has ended
	end      event.Time // of the data, or the unit's last event if its clock was ahead
	window   event.Duration
}

func (ev *evaluator) match(p *pattern, u unit, s *settings, window event.Duration) *matching {
	m := &matching{pattern: p, events: slices.Clone(u.events), holding: s.holding != "", over: u.over, window: window}
	m.end = max(ev.end, u.events[len(u.events)-1].Time)
	if !s.arrival {
		lowest := map[*fact]int{}
		for _, f := range m.events {
			lowest[f] = slices.IndexFunc(p.steps, func(st step) bool { return ev.fulfils(st.alt, f) })
			if lowest[f] < 0 {
				lowest[f] = len(p.steps)
			}
		}
		slices.SortStableFunc(m.events, func(a, b *fact) int {
			if a.Time != b.Time {
				return cmp.Compare(a.Time, b.Time)
			}
			return lowest[a] - lowest[b]
		})
	}
	for _, st := range p.steps {
		fulfils, excluded := make([]bool, len(m.events)), make([]bool, len(m.events))
		for i, f := range m.events {
			fulfils[i] = ev.fulfils(st.alt, f)
			excluded[i] = slices.ContainsFunc(st.not, func(alt *query.Alt) bool { return ev.fulfils(alt, f) })
		}
		m.fulfils, m.excluded = append(m.fulfils, fulfils), append(m.excluded, excluded)
	}
	m.held = make([]event.Value, len(m.events))
	for i, f := range m.events {
		if m.holding {
			m.held[i] = f.field(s.holding)
		}
	}
	return m
}

// carries tells whether event i can be a step of an attempt from entry.
func (m *matching) carries(i, entry int) bool {
	return !m.holding || isTrue(compare("=", m.held[i], m.held[entry]))
}

// excludes tells whether event i ends chains from entry that wait for step k.
func (m *matching) excludes(i, k, entry int) bool {
	return m.excluded[k][i] && (!m.holding || m.held[i].IsNull() || m.carries(i, entry))
}

func (m *matching) isEntry(i int) bool {
	if m.holding && m.held[i].IsNull() {
		return false
	}
	return m.fulfils[0][i] || m.anyOrder && slices.ContainsFunc(m.fulfils, func(step []bool) bool { return step[i] })
}

// chain is e1 … ek from its last event back.
type chain struct {
	at     int // place of ek
	step   int // the step that ek stands for, from 0
	level  int // k
	before *chain
}

// isLater compares two chains from the last event back. Two sets of any order
// with the same events differ in what stands for what: the lower step wins.
func (c *chain) isLater(other *chain) bool {
	for a, b := c, other; a != nil && b != nil; a, b = a.before, b.before {
		if a.at != b.at {
			return a.at > b.at
		}
	}
	for a, b := c, other; a != nil && b != nil; a, b = a.before, b.before {
		if a.step != b.step {
			return a.step < b.step
		}
	}
	return false
}

// chainsInOrder returns, by step and event, the latest chain from entry that
// ends with this event as this step, nil if there is none.
//
// What can follow a chain depends on its entry, its last step and its last
// event only, and chains are compared from the last event back. So of the
// chains that agree in these three, the latest is the only one that any
// reported chain can begin with; and the latest chain to an event is the one
// through the latest predecessor.
func (m *matching) chainsInOrder(entry int) [][]*chain {
	best := make([][]*chain, len(m.steps))
	for k := range best {
		best[k] = make([]*chain, len(m.events))
	}
	best[0][entry] = &chain{at: entry, level: 1}
	for k := 1; k < len(m.steps); k++ {
		for i := entry + 1; i < len(m.events); i++ {
			if !m.fulfils[k][i] || !m.carries(i, entry) || !m.within(entry, i, m.window) {
				continue
			}
			for before := i - 1; before >= entry && best[k][i] == nil; before-- {
				if c := best[k-1][before]; c != nil && m.within(before, i, m.steps[k].bound) {
					best[k][i] = &chain{at: i, step: k, level: k + 1, before: c}
				}
				if m.steps[k].next || m.excludes(before, k, entry) {
					break // what lies further back has this event strictly between
				}
			}
		}
	}
	return best
}

func (m *matching) within(from, to int, bound event.Duration) bool {
	return bound < 0 || m.events[to].Time.Sub(m.events[from].Time) <= bound
}

// chainsInAnyOrder is the same for `any order`: a chain is a set of events in
// their order, each standing for another step. By set of steps and last event.
func (m *matching) chainsInAnyOrder(entry int) [][]*chain {
	sets := 1 << len(m.steps)
	best := make([][]*chain, sets)
	for set := range best {
		best[set] = make([]*chain, len(m.events))
	}
	for k := range m.steps {
		if m.fulfils[k][entry] {
			best[1<<k][entry] = &chain{at: entry, step: k, level: 1}
		}
	}
	for i := entry + 1; i < len(m.events); i++ {
		if !m.carries(i, entry) || !m.within(entry, i, m.window) {
			continue
		}
		for k := range m.steps {
			if !m.fulfils[k][i] {
				continue
			}
			for set := 1; set < sets; set++ {
				if set&(1<<k) != 0 {
					continue
				}
				for before := i - 1; before >= entry; before-- {
					if c := best[set][before]; c != nil {
						longer := &chain{at: i, step: k, level: c.level + 1, before: c}
						if old := best[set|1<<k][i]; old == nil || longer.isLater(old) {
							best[set|1<<k][i] = longer
						}
						break // chains that end before it are earlier
					}
				}
			}
		}
	}
	return best
}

// attempt is one entry with all chains from it.
type attempt struct {
	reported  *chain // the first that converts, else the latest of the deepest
	converted bool
	open      bool // at the end of the data some chain from it can still go on
	hit       bool // an excluded event ended it
	free      int  // the first event after it that may begin another
}

func (m *matching) attempt(entry int) attempt {
	if m.anyOrder {
		return m.attemptInAnyOrder(entry)
	}
	var a attempt
	chains := m.chainsInOrder(entry)
	end := 0 // when the last chain ended: 2i+1 by event i, 2i by time before event i
	for k := range chains {
		for _, c := range chains[k] {
			if c == nil {
				continue
			}
			a.consider(c, len(m.steps))
			if k+1 == len(m.steps) {
				continue
			}
			over, cut, open := m.fate(c, k+1, entry)
			a.open = a.open || open
			if over > end {
				end, a.hit = over, false
			}
			if over == end && cut {
				a.hit = true
			}
		}
	}
	a.free = end / 2
	if a.hit {
		a.free++
	}
	a.settle()
	return a
}

// fate tells when a chain that waits for step k ended: by event i (2i+1), cut
// by an exclusion or because `=>` asked for another or i took the chain on; or
// by time before event i (2i). open: it did not end before the data did.
func (m *matching) fate(c *chain, k, entry int) (over int, cut, open bool) {
	limit := m.events[entry].Time.Add(m.window)
	if m.steps[k].bound >= 0 {
		limit = min(limit, m.events[c.at].Time.Add(m.steps[k].bound))
	}
	for i := c.at + 1; i < len(m.events); i++ {
		if m.events[i].Time > limit {
			return 2 * i, false, false
		}
		if m.excludes(i, k, entry) {
			return 2*i + 1, true, false
		}
		if m.steps[k].next {
			return 2*i + 1, false, false
		}
	}
	return 2 * len(m.events), false, limit > m.end && !m.over
}

func (m *matching) attemptInAnyOrder(entry int) attempt {
	var a attempt
	for _, byEvent := range m.chainsInAnyOrder(entry) {
		for _, c := range byEvent {
			if c != nil {
				a.consider(c, len(m.steps))
			}
		}
	}
	limit := m.events[entry].Time.Add(m.window)
	a.open = limit > m.end && !m.over
	for a.free < len(m.events) && m.events[a.free].Time <= limit {
		a.free++
	}
	a.settle()
	return a
}

// consider keeps the chain that the attempt reports: of those that convert the
// one that ends first, else of the deepest the one that ends last; then the latest.
func (a *attempt) consider(c *chain, steps int) {
	old := a.reported
	converts := c.level == steps
	a.converted = a.converted || converts
	switch {
	case old == nil || c.level > old.level,
		c.level == old.level && converts && c.at < old.at,
		c.level == old.level && (c.at == old.at || !converts) && c.isLater(old):
		a.reported = c
	}
}

// settle ends a converted attempt with the event that converted it.
func (a *attempt) settle() {
	if a.converted {
		a.open, a.hit, a.free = false, false, a.reported.at+1
	}
}

// attempts returns the attempts whose entries lie in the range: one after
// another, or one for every entry.
func (m *matching) attempts(in interval, entryFirst, oneAfterAnother bool) []attempt {
	var attempts []attempt
	free := 0
	for i, f := range m.events {
		if !in.has(f.Time) || !m.isEntry(i) || oneAfterAnother && i < free {
			continue
		}
		a := m.attempt(i)
		free = a.free
		attempts = append(attempts, a)
		if entryFirst {
			break
		}
	}
	return attempts
}

// outcome is what a unit counts as: its level, the attempt reported, and
// whether some attempt of it is open.
type outcome struct {
	reported *chain
	level    int // 0: the unit is not counted
	open     bool
	matching *matching
}

// best sums up attempts of a unit: the deepest level and, by the same rule as
// among the chains of one attempt, the reported one.
func (m *matching) best(attempts []attempt) outcome {
	whole := attempt{}
	for _, a := range attempts {
		whole.consider(a.reported, len(m.steps))
		whole.open = whole.open || a.open
	}
	whole.settle()
	if whole.reported == nil {
		return outcome{}
	}
	return outcome{whole.reported, whole.reported.level, whole.open, m}
}

// outcomes returns what a customer counts as in the range: one outcome, or one
// for each of its sessions, attempts or entries.
func outcomes(units []*matching, s *settings, in interval) []outcome {
	var outcomes []outcome
	for _, m := range units {
		attempts := m.attempts(in, s.entryFirst, s.count == "attempts")
		hit := slices.ContainsFunc(attempts, func(a attempt) bool { return a.hit })
		switch {
		case hit && s.exclusion == "drop":
			attempts = nil // the unit, customer or session, does not exist
		case s.exclusion == "void":
			attempts = slices.DeleteFunc(attempts, func(a attempt) bool { return a.hit })
		}
		if s.count == "attempts" || s.count == "entries" {
			for _, a := range attempts {
				outcomes = append(outcomes, m.best([]attempt{a}))
			}
		} else if o := m.best(attempts); o.level > 0 {
			outcomes = append(outcomes, o)
		}
	}
	if s.count != "customers" {
		return outcomes
	}
	return bestOf(outcomes)
}

// bestOf makes one outcome of a customer's sessions: the best level, open if
// any is; sessions follow one another, so chains compare by session first.
func bestOf(sessions []outcome) []outcome {
	if len(sessions) == 0 {
		return nil
	}
	whole := sessions[0]
	steps := len(whole.matching.steps)
	for _, o := range sessions[1:] {
		open := whole.open || o.open
		if o.level > whole.level || o.level == whole.level && o.level < steps {
			whole = o
		}
		whole.open = open && whole.level < steps
	}
	return []outcome{whole}
}
