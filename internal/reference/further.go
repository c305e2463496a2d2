package reference

import (
	"wend/event"
	"wend/query"
)

// Where the language is silent about the statements beside funnel and paths,
// the reference reads it so; each of their files adds its own.
//
//   - What is open of a unit is so if its session is not over and the window
//     ends after the end of the data (or the unit's last event, if its clock
//     was ahead).
//   - Rows come by count, the greatest first, then by label.

// further are the clauses of the statements beside funnel and paths.
type further struct {
	goal    *query.Alt
	periods int
	depth   int
	models  []query.Model
	worth   *query.Expr // value
	score   *query.Expr
	test    float64 // share of the events
	basket  string  // per FIELD
}

// periodsOfRetention is how many periods retention shows without `for`.
const periodsOfRetention = 12

// depthOfFlow is how many edges flow follows without `depth`.
const depthOfFlow = 4

// readFurther reads a clause that only these statements take.
func (s *settings) readFurther(c query.Clause) {
	switch c.Kind {
	case "goal":
		s.goal = c.Alt
	case "for":
		s.periods = int(c.Number)
	case "depth":
		s.depth = int(c.Number)
	case "using":
		s.models = c.Models
	case "value":
		s.worth = c.Expr
	case "score":
		s.score = c.Expr
	case "test":
		s.test = c.Percent / 100
	default:
		fail("clause %s", c.Kind)
	}
}

// further answers the statements beside funnel and paths.
func (ev *evaluator) further(q *query.Query, s *settings) *Answer {
	switch q.Verb {
	case "why":
		return ev.why(q, s)
	case "attribute":
		return ev.attribute(q, s)
	case "retention":
		return ev.retention(q, s)
	case "flow":
		return ev.flow(q, s)
	case "switches":
		return ev.switches(q, s)
	case "match":
		return ev.matchRegex(q, s)
	case "map":
		return ev.journeyMap(q, s)
	case "moments":
		return ev.moments(s)
	case "affinity":
		return ev.affinity(q, s)
	case "drivers":
		return ev.drivers(q, s)
	case "next":
		if q.For {
			return ev.nextFor(q, s)
		}
		return ev.nextAfter(q, s)
	}
	fail("no reference for %s", q.Verb)
	return nil
}

// fate is what became of a unit after one of its events.
type fate uint8

const (
	wentOn fate = iota
	lost
	stillOpen
)

// fateAfter tells what became of a unit after its event i: it went on if something
// followed within the window or, with a goal, if the event or what followed
// fulfils it.
func (ev *evaluator) fateAfter(u unit, i int, s *settings) fate {
	until := u.events[i].Time.Add(s.windows[0])
	if s.goal != nil && ev.fulfils(s.goal, u.events[i]) {
		return wentOn
	}
	for _, f := range u.events[i+1:] {
		if f.Time <= until && (s.goal == nil || ev.fulfils(s.goal, f)) {
			return wentOn
		}
	}
	if ev.canGoOn(u, until) {
		return stillOpen
	}
	return lost
}

// canGoOn tells whether an event of the unit could still come up to an instant.
func (ev *evaluator) canGoOn(u unit, until event.Time) bool {
	return !u.over && until > max(ev.end, u.events[len(u.events)-1].Time)
}
