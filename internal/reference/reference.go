// Package reference answers statements slowly and obviously: it is the judge
// of the engine, written from the language's definitions alone. It follows
// chains of events, where the engine follows states; it shares no code with
// the engine or the binder and reads the syntax tree as it was written.
//
// It serves tests only and leaves checking to the binder: statements with
// mistakes may get any answer.
//
// Where the language is silent the reference reads it so:
//
//   - `last 30 days` is from that long before the end of the data up to and
//     including it; months count back to the same day or the month's last one.
//     `end` with a date includes that day.
//   - Only events in the range of `during` (or of the period) can be entries;
//     level and reported attempt are chosen among their chains. Under `holding`
//     an event without the property is no entry.
//   - Attempts follow one another over all held values. An attempt has ended
//     when its last chain has; if one event cuts one chain and breaks `=>` of
//     another, it counts as the one that cut.
//   - A session is over if the customer has a later one, or its last event
//     (before `where`) and the gap are not later than the end of the data.
//   - Events later than the end of the data, by clocks ahead, exist. After one of
//     them what must come before it is over for its unit.
//   - `exclusion drop` drops the unit, with `per session` the session, also where
//     customers are counted by the best of their sessions.
//   - In `any order` every event that fulfils some step can be the entry; of
//     several assignments of the same events the later event stands for the
//     lower step.
//   - Rows come by window, period, group, then in the statement's own order.
//     Groups: most anchors first over the whole answer, then by value, null
//     after the values, `(other)` last.
//   - Periods run from the first anchor of the answer to the last. Where rows
//     of zeros say something (funnel, times, measure) every group has them.
//   - `order by` keeps the order of equal rows; null comes last.
//   - `paths from X to Y`: X is the anchor and lies in the range, Y may lie
//     after it. All events of a collapsed run stand behind its label.
//   - Shares of `paths` and `dropoff` are of the period and group.
//   - A test of a customer's null property is unknown, also under `not`.
package reference

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"wend/event"
	"wend/query"
)

// Answer is what a statement returns. Cells are int64, float64 (shares,
// means, milliseconds), string, bool, event.Time, []string, []event.Prop or nil.
type Answer struct {
	Columns []string
	Rows    [][]any
}

// mistake is the error of a statement that cannot be answered; it travels by
// panic from the depth of an expression to Evaluate.
type mistake string

func fail(format string, args ...any) { panic(mistake(fmt.Sprintf(format, args...))) }

// Evaluate answers st over events, which stand in order of arrival. links
// leads from an identity to the one it belongs to.
func Evaluate(events []event.Event, links map[string]string, st *query.Statement, definitions []event.Definition, endOfData event.Time) (answer *Answer, err error) {
	defer func() {
		r := recover()
		if m, ok := r.(mistake); ok {
			answer, err = nil, fmt.Errorf("evaluate %s: %s", st, string(m))
		} else if r != nil {
			panic(r)
		}
	}()
	q := st.Query
	if q == nil {
		return nil, fmt.Errorf("evaluate %s: not a query", st)
	}
	ev := &evaluator{definitions: map[string]*query.Definition{}, end: endOfData, zone: time.UTC, links: links, segments: map[string]map[*customer]bool{}}
	for _, d := range definitions {
		parsed, err := query.Parse(d.Text)
		if err != nil {
			return nil, fmt.Errorf("definition %s: %w", d.Name, err)
		}
		ev.definitions[d.Name] = parsed[0].Define
	}
	for _, c := range q.Clauses {
		if c.Kind == "timezone" {
			if ev.zone, err = time.LoadLocation(c.Text); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range q.Clauses {
		if c.Kind == "end" {
			ev.end = ev.lastInstant(c.Time)
			events = slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool { return e.Time > ev.end })
		}
	}
	ev.gather(events)
	s := ev.settings(q)
	switch q.Verb {
	case "funnel", "times", "dropoff":
		return ev.patternStatement(q, s), nil
	case "paths":
		return ev.paths(q, s), nil
	case "transitions":
		return ev.transitions(q, s), nil
	case "measure":
		return ev.measure(q, s), nil
	case "journey":
		return ev.journey(q, s), nil
	case "customers":
		return ev.listCustomers(s), nil
	}
	return ev.further(q, s), nil
}

type evaluator struct {
	customers   []*customer // by name
	definitions map[string]*query.Definition
	links       map[string]string
	end         event.Time
	zone        *time.Location
	segments    map[string]map[*customer]bool
}

// customer is one canonical identity with all its events, by time, then arrival.
type customer struct {
	name   string
	events []*fact
}

// fact is one event of a customer.
type fact struct {
	event.Event
	customer *customer
	at       int // position among the customer's events
}

// canonical follows the links of an identity to their end.
func (ev *evaluator) canonical(identity string) string {
	for {
		next, ok := ev.links[identity]
		if !ok {
			return identity
		}
		identity = next
	}
}

func (ev *evaluator) gather(events []event.Event) {
	byName := map[string]*customer{}
	for _, e := range events {
		name := ev.canonical(e.Customer)
		c := byName[name]
		if c == nil {
			c = &customer{name: name}
			byName[name] = c
			ev.customers = append(ev.customers, c)
		}
		c.events = append(c.events, &fact{Event: e, customer: c})
	}
	slices.SortFunc(ev.customers, func(a, b *customer) int { return strings.Compare(a.name, b.name) })
	for _, c := range ev.customers {
		slices.SortStableFunc(c.events, func(a, b *fact) int { return cmp.Compare(a.Time, b.Time) })
		for i, f := range c.events {
			f.at = i
		}
	}
}

// latest returns the customer's latest non-null value of a field.
func (c *customer) latest(field string) event.Value {
	for _, f := range slices.Backward(c.events) {
		if v := f.field(field); !v.IsNull() {
			return v
		}
	}
	return event.Null
}

// field returns one of the event's own fields or a property.
func (f *fact) field(name string) event.Value {
	text := ""
	switch name {
	case "customer":
		text = f.customer.name
	case "event":
		text = f.Name
	case "channel":
		text = f.Channel
	case "id":
		text = f.ID
	case "time":
		return event.Instant(f.Time)
	default:
		return f.Prop(name)
	}
	if text == "" {
		return event.Null
	}
	return event.String(text)
}

// interval is a range of instants, the first included, the second not.
type interval struct{ from, to event.Time }

var always = interval{event.MinTime, event.MaxTime + 1}

func (in interval) has(t event.Time) bool { return in.from <= t && t < in.to }

func (in interval) and(other interval) interval {
	return interval{max(in.from, other.from), min(in.to, other.to)}
}

// settings are a statement's clauses with their defaults.
type settings struct {
	where      *query.Expr
	during     interval
	windows    []event.Duration
	session    bool
	gap        event.Duration
	holding    string
	entryFirst bool
	arrival    bool
	exclusion  string
	by         []query.Group
	every      string
	count      string
	among      *query.Cohort
	of         []*query.Expr
	length     int
	top        int // -1: not given
	cover      float64
	collapse   bool
	through    *query.Alt
	orderBy    string
	descending bool
	limit      int // -1: not given
	further
}

// gapDefault ends a session where no gap is given.
const gapDefault = 30 * event.Minute

// settings reads the clauses of q; those of a defined funnel come first, so
// that the statement's own stand.
func (ev *evaluator) settings(q *query.Query) *settings {
	clauses := q.Clauses
	if d := ev.definedFunnel(q.Pattern); d != nil {
		clauses = slices.Concat(d.Options, clauses)
	}
	return ev.read(clauses)
}

func (ev *evaluator) read(clauses []query.Clause) *settings {
	s := &settings{during: always, windows: []event.Duration{30 * event.Day}, gap: gapDefault, exclusion: "cut", length: 5, top: -1, limit: -1, further: further{periods: periodsOfRetention, depth: depthOfFlow}}
	for _, c := range clauses {
		switch c.Kind {
		case "where":
			s.where = c.Expr
		case "during":
			s.during = ev.interval(c.Range)
		case "within":
			s.windows = nil
			for _, d := range c.Durations {
				s.windows = append(s.windows, d.Value)
			}
		case "per":
			s.session, s.gap = c.Word == "session", gapDefault
			if c.Gap != nil {
				s.gap = c.Gap.Value
			}
			if c.Word == "field" {
				s.basket = c.Field.Text
			}
		case "holding":
			s.holding = c.Field.Text
		case "entry":
			s.entryFirst = c.Word == "first"
		case "ties":
			s.arrival = c.Word == "arrival"
		case "exclusion":
			s.exclusion = c.Word
		case "by":
			s.by = c.Groups
		case "every":
			s.every = c.Word
		case "count":
			s.count = c.Word
		case "among":
			s.among = c.Cohort
		case "of":
			s.of = c.Exprs
		case "length":
			s.length = int(c.Number)
		case "top":
			s.top = int(c.Number)
		case "cover":
			s.cover = c.Percent / 100
		case "collapse":
			s.collapse = true
		case "through":
			s.through = c.Alt
		case "order":
			s.orderBy, s.descending = c.Field.Text, c.Word == "desc"
		case "limit":
			s.limit = int(c.Number)
		case "timezone", "end", "lenient":
		default:
			s.readFurther(c)
		}
	}
	if s.count == "" {
		s.count = "customers"
		if s.session {
			s.count = "sessions"
		}
	}
	return s
}

// unit is what a statement follows: a customer's or a session's events as far
// as `where` lets them exist.
type unit struct {
	customer *customer
	events   []*fact
	over     bool // no later event can join: the session has ended
}

// units cuts the customers of `among` into units. Sessions are cut before
// `where`; units that lose all their events are none.
func (ev *evaluator) units(s *settings) []unit {
	var all []unit
	for _, c := range ev.customers {
		if s.among == nil || isTrue(ev.cohort(s.among, c)) {
			all = append(all, ev.unitsOf(c, s)...)
		}
	}
	return all
}

func (ev *evaluator) unitsOf(c *customer, s *settings) []unit {
	var units []unit
	for _, part := range ev.sessions(c, s) {
		u := unit{customer: c}
		for _, f := range part {
			if s.where == nil || isTrue(ev.value(s.where, &scope{at: f})) {
				u.events = append(u.events, f)
			}
		}
		last := part[len(part)-1]
		u.over = s.session && (last.at < len(c.events)-1 || last.Time.Add(s.gap) <= ev.end)
		if len(u.events) > 0 {
			units = append(units, u)
		}
	}
	return units
}

// sessions cuts a customer's events where the gap is larger; without
// `per session` all of them are one part.
func (ev *evaluator) sessions(c *customer, s *settings) [][]*fact {
	if !s.session {
		return [][]*fact{c.events}
	}
	var parts [][]*fact
	for i, f := range c.events {
		if i == 0 || f.Time.Sub(c.events[i-1].Time) > s.gap {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], f)
	}
	return parts
}
