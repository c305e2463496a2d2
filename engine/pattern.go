package engine

import (
	"fmt"

	"wend/event"
)

// stepsMax is how many steps a pattern may have: a set of steps is one uint32.
const stepsMax = 32

// pattern is the compiled pattern of a statement and the options that say how
// journeys are held against it. It is shared by all workers.
type pattern struct {
	run       *run
	matches   []*matcher
	excludes  []*matcher // excludes[k] must not occur between steps k-1 and k; nil: none
	excluded  uint32     // the steps that have one
	next      uint32     // the steps that must be the very next event
	bounds    []event.Duration
	anyOrder  bool
	windows   []event.Duration
	count     counted
	exclusion exclusion
	holding   holding
	calendar  *calendar // every; nil without
	plain     bool      // what fulfils no second step is done with at a glance
	free      int       // the first so many steps need only follow one another: see masks
	calm      int       // the same in journeys without an excluded event
}

// counted is what a pattern counts.
type counted uint8

const (
	countUnits             counted = iota // customers, or sessions
	countSessionsCustomers                // customers, each by the best of its sessions
	countAttempts
	countEntries
)

// exclusion is what becomes of attempts that an excluded event ended.
type exclusion uint8

const (
	cutHits  exclusion = iota // they count as far as they got
	voidHits                  // they do not exist
	dropHits                  // their unit does not exist
)

// holding is the property whose value all steps of an attempt share.
type holding struct {
	set    bool
	field  fieldKind
	column int
}

func (r *run) pattern() (*pattern, error) {
	plan := r.plan
	steps := plan.Pattern.Steps
	if len(steps) > stepsMax {
		return nil, &LimitError{Limit: "steps", Value: stepsMax, Reached: int64(len(steps)), Hint: "use a shorter pattern"}
	}
	p := &pattern{run: r, anyOrder: plan.Pattern.AnyOrder, windows: plan.Windows, excludes: make([]*matcher, len(steps))}
	for k := range steps {
		m, err := r.matcher(steps[k].Match)
		if err != nil {
			return nil, err
		}
		p.matches = append(p.matches, m)
		p.bounds = append(p.bounds, steps[k].Bound)
		if k == 0 || p.anyOrder {
			p.bounds[k] = -1
			continue
		}
		if steps[k].Next {
			p.next |= 1 << k
		}
		if steps[k].Exclude != nil {
			if p.excludes[k], err = r.matcher(steps[k].Exclude); err != nil {
				return nil, err
			}
			p.excluded |= 1 << k
		}
	}
	switch {
	case plan.Count == "attempts":
		p.count = countAttempts
	case plan.Count == "entries":
		p.count = countEntries
	case plan.Unit.Session && plan.Count == "customers":
		p.count = countSessionsCustomers
	}
	switch plan.Exclusion {
	case "void":
		p.exclusion = voidHits
	case "drop":
		p.exclusion = dropHits
	}
	if plan.Every != "" {
		p.calendar = newCalendar(plan.Every, plan.Timezone)
	}
	p.plain = len(steps) > 1 && !p.anyOrder && p.next == 0 && p.excluded&2 == 0 && p.count == countUnits &&
		!plan.EntryFirst && plan.Holding == "" && p.calendar == nil && !plan.During.Set
	p.free, p.calm = p.freeSteps()
	return p, p.hold(plan.Holding)
}

func (p *pattern) hold(name string) error {
	h := &p.holding
	switch name {
	case "":
		return nil
	case "channel":
		h.field = fieldChannel
		p.run.needChannel()
	case "event":
		h.field = fieldEvent
	case "customer", "time", "id":
		return fmt.Errorf("engine: %s cannot be held", name)
	default:
		i, ok := p.run.schema.Property(name)
		h.field, h.column = fieldProperty, i
		if ok {
			p.run.needProperty(i)
		} else {
			h.field = fieldAbsent
		}
	}
	h.set = true
	return nil
}

// thorough is the pattern without the short cuts that find an attempt without
// loading its journey.
func (p *pattern) thorough() *pattern {
	t := *p
	t.plain, t.free = false, 0
	return &t
}

// attempt is what a pattern found in a unit: the reported attempt, with the
// unit's level and whether it is open. When attempts or entries are counted it
// is one of those.
type attempt struct {
	chain
	window   int // number of the window
	customer int
	rows     [stepsMax]int // of the chain's events, in order
	standing [stepsMax]int // of the event that stands for each step, -1 where none does
	next     int           // the unit's next event after the chain's last; -1: none
	period   event.Time    // the end of the period; 0 without every

	undecided bool // what the tracker's inspect found out, if it has one
}

func (a *attempt) converted(steps int) bool { return a.level == steps }

// elapsed is the time from the entry to the event of step k, from 0.
func (a *attempt) elapsed(k int) event.Duration { return a.time[k].Sub(a.time[0]) }

// at fills in where expressions about the attempt are evaluated.
func (a *attempt) at(p *place, steps int) {
	p.row, p.customer, p.last = a.rows[0], a.customer, a.rows[a.level-1]
	p.steps = append(p.steps[:0], a.standing[:steps]...)
}
