package query

// cohort binds a condition on customers. A cohort looks at all events of the
// snapshot, whatever the statement's where and during.
func (b *binder) cohort(c *Cohort) *CohortPlan {
	plan := &CohortPlan{Kind: c.Kind}
	switch c.Kind {
	case "and", "or", "not":
		for _, a := range c.Args {
			plan.Args = append(plan.Args, b.cohort(a))
		}
	case "did":
		b.did(c, plan)
	case "reached", "stopped":
		b.reached(c, plan)
	case "in":
		plan.Kind, plan.Args = "segment", []*CohortPlan{b.segment(c.Name)}
	case "property":
		plan.Test = b.condition(c.Test, scope{latest: true})
	}
	plan.Text = fullCohort(c, plan).String()
	return plan
}

// did binds how often, and when; without a number, at least once.
func (b *binder) did(c *Cohort, plan *CohortPlan) {
	plan.Match = b.alt(c.Alt)
	plan.Min, plan.Max = 1, -1
	switch c.Compare {
	case "at least":
		plan.Min = c.Times
	case "at most":
		plan.Min, plan.Max = 0, c.Times
	case "exactly":
		plan.Min, plan.Max = c.Times, c.Times
	}
	if c.During != nil {
		plan.During = b.interval(c.During)
	}
}

// reached binds the funnel of a cohort as a plan of its own, and the step.
func (b *binder) reached(c *Cohort, plan *CohortPlan) {
	pattern := c.Pattern
	if pattern == nil {
		if !b.ofKind(*c.Funnel, "funnel") {
			plan.Kind = "or" // without Args: nobody
			return
		}
		pattern = plainPattern(*c.Funnel)
	}
	var steps *stepNames
	plan.Sub, steps = b.funnel(pattern, c.Options)
	if len(plan.Sub.Windows) > 1 {
		b.fail(c.Span, CodeBadCombination, "give it one `within` of its own", "a funnel in a cohort has one window, this one has %d", len(plan.Sub.Windows))
	}
	if plan.Sub.Pattern.AnyOrder && c.Step != nil {
		b.fail(c.Step.Span, CodeUnknownStep, "write the level as a number", "in `any order` a level is a number of steps, not one of them")
		return
	}
	if step, ok := b.step(c.Span, c.Step, c.Number, steps); ok {
		plan.Step = step
	}
}

// funnel binds a pattern with options as a funnel over all events: what
// `reached` and `stopped` look at, and what `define funnel` checks.
func (b *binder) funnel(pattern *Pattern, options []Clause) (*Plan, *stepNames) {
	outer := b.set
	defer func() { b.set = outer }()
	b.set = b.gather(options, optionKinds, "a funnel in parentheses")
	p := &Plan{Verb: "funnel", Timezone: b.zone, End: b.end, HasEnd: b.hasEnd}
	var steps *stepNames
	p.Pattern, steps = b.wholePattern(pattern)
	b.options(&Query{Verb: "funnel"}, p)
	p.Count = "customers" // a customer's level is the best of its sessions
	b.clause("where", func(c *Clause) { p.Where = b.condition(c.Expr, scope{}) })
	b.clause("during", func(c *Clause) { p.During = b.interval(c.Range) })
	return p, steps
}

// plainPattern is the pattern that is just a name.
func plainPattern(n Name) *Pattern {
	touch := Touch{Span: n.Span, Name: n}
	return &Pattern{Span: n.Span, Steps: []Step{{Span: n.Span, Alt: Alt{Span: n.Span, Touches: []Touch{touch}}}}}
}

// segment binds a defined segment, once for all its uses. An unknown one,
// where that is only a warning, has nobody in it.
func (b *binder) segment(n Name) *CohortPlan {
	nobody := &CohortPlan{Kind: "or", Text: "in " + n.String()}
	if !b.ofKind(n, "segment") {
		return nobody
	}
	b.uses(n)
	s, ok := b.segments[n.Text]
	if !ok {
		outside := b.members
		b.members = 0
		s.plan = nobody
		b.expand(n, func(d *Definition) { s.plan = b.cohort(d.Cohort) })
		s.members = b.members + 1
		b.segments[n.Text] = s
		b.members = outside
	}
	b.members += s.members
	if b.members > segmentsMax {
		b.fail(n.Span, CodeTooManyAlternatives, "use fewer or smaller definitions", "the segments used stand for more than %d", segmentsMax)
		b.members = 0
	}
	return s.plan
}

// boundSegment is a segment's plan and how many segments it is made of, itself
// and each use counted: one that uses another twice is twice the work.
type boundSegment struct {
	plan    *CohortPlan
	members int
}
