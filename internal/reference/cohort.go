package reference

import (
	"wend/event"
	"wend/query"
)

// cohort tells whether a customer is in a cohort: true, false or, where a test
// of a property is, unknown. All events of the snapshot count.
func (ev *evaluator) cohort(c *query.Cohort, who *customer) event.Value {
	var args []event.Value
	for _, a := range c.Args {
		args = append(args, ev.cohort(a, who))
	}
	switch c.Kind {
	case "and":
		return and(args)
	case "or":
		return not(and(each(args, not)))
	case "not":
		return not(args[0])
	case "in":
		return event.Boolean(ev.inSegment(c.Name.Text, who))
	case "property":
		return ev.value(c.Test, &scope{who: who})
	case "did":
		return event.Boolean(ev.did(c, who))
	case "reached", "stopped":
		return event.Boolean(ev.reached(c, who))
	}
	fail("cohort %s", c.Kind)
	return event.Null
}

func (ev *evaluator) inSegment(name string, who *customer) bool {
	d := ev.definitions[name]
	if d == nil {
		return false // the statement is lenient
	}
	if d.Kind != "segment" {
		fail("%q is no segment", name)
	}
	if ev.segments[name] == nil {
		ev.segments[name] = map[*customer]bool{}
	}
	in, known := ev.segments[name][who]
	if !known {
		in = isTrue(ev.cohort(d.Cohort, who))
		ev.segments[name][who] = in
	}
	return in
}

func (ev *evaluator) did(c *query.Cohort, who *customer) bool {
	during := always
	if c.During != nil {
		during = ev.interval(c.During)
	}
	var times int64
	for _, f := range who.events {
		if during.has(f.Time) && ev.fulfils(c.Alt, f) {
			times++
		}
	}
	switch c.Compare {
	case "at least":
		return times >= c.Times
	case "at most":
		return times <= c.Times
	case "exactly":
		return times == c.Times
	}
	return times > 0
}

// reached tells whether the customer's level is at least the step, or for
// `stopped at` whether it counts in `dropped` there.
func (ev *evaluator) reached(c *query.Cohort, who *customer) bool {
	written, options := c.Pattern, c.Options
	if c.Funnel != nil {
		d := ev.definitions[c.Funnel.Text]
		if d == nil || d.Kind != "funnel" {
			fail("no funnel %q", c.Funnel.Text)
		}
		written, options = d.Pattern, d.Options
	}
	p, s := ev.pattern(written), ev.read(options)
	s.count = "customers"
	step := int(c.Number)
	if c.Step != nil {
		step = stepNumber(p.steps, c.Step.Text)
	}
	of := outcomes(ev.matchings(who, p, s, s.windows[0]), s, s.during)
	switch {
	case len(of) == 0:
		return false
	case c.Kind == "reached":
		return of[0].level >= step
	}
	return of[0].level == step && step < len(p.steps) && !of[0].open
}
