package query

import "math"

// cohort parses a condition on customers: or binds weaker than and.
func (p *parser) cohort() *Cohort {
	return p.cohortChain("or", func() *Cohort {
		return p.cohortChain("and", p.member)
	})
}

// cohortChain parses parts joined by a word. Parts in parentheses that are
// joined by the same word become parts of the whole.
func (p *parser) cohortChain(word string, part func() *Cohort) *Cohort {
	first := *p.peek()
	chain := &Cohort{Kind: word}
	for more := true; more; more = p.joined(word) {
		if c := part(); c.Kind == word {
			chain.Args = append(chain.Args, c.Args...)
		} else {
			chain.Args = append(chain.Args, c)
		}
	}
	if len(chain.Args) == 1 {
		return chain.Args[0]
	}
	chain.Span = p.span(first)
	return chain
}

func (p *parser) member() *Cohort {
	first := *p.peek()
	c := &Cohort{Kind: p.keyword("not", "did", "reached", "stopped", "in")}
	switch c.Kind {
	case "not":
		p.enter(place(&first))
		c.Args = []*Cohort{p.member()}
		p.leave()
	case "did":
		p.did(c)
	case "reached":
		p.level(c)
	case "stopped":
		p.expectWord("at")
		p.level(c)
	case "in":
		c.Name = p.name(wantSegment)
	default:
		if p.opening("(") {
			c = p.cohort()
			p.closing(")")
			return c
		}
		p.property(c)
	}
	c.Span = p.span(first)
	return c
}

func (p *parser) did(c *Cohort) {
	c.Alt = p.alt()
	switch p.keyword("at", "exactly") {
	case "at":
		c.Compare = "at " + p.expectWord("least", "most")
		c.Times = p.timesNumber()
	case "exactly":
		c.Compare = "exactly"
		c.Times = p.timesNumber()
	}
	if p.keyword("during") != "" {
		c.During = p.dateRange()
	}
}

func (p *parser) timesNumber() int64 {
	n := p.number("a number", 0, math.MaxInt64)
	p.expectWord("times")
	return n
}

// level parses the step and the funnel of `reached` and `stopped at`.
func (p *parser) level(c *Cohort) {
	if p.peek().Type == kindNumber {
		c.Number = p.number("the number of a step", 1, math.MaxInt64)
	} else {
		name := p.name(wantEvent)
		c.Step = &name
	}
	p.expectWord("in")
	if p.opening("(") {
		c.Pattern = p.pattern()
		c.Options = p.options()
		p.closing(")")
		return
	}
	name := p.name(wantFunnel)
	c.Funnel = &name
}

// property parses customer.tier = 'gold'.
func (p *parser) property(c *Cohort) {
	c.Kind = "property"
	t := *p.peek()
	left := &Expr{}
	switch {
	case t.Type == kindCprop:
		p.next()
		text := t.Value[len("customer."):]
		c.Name = Name{Span: place(&t), Text: text}
		left = &Expr{Op: "name", Name: Name{Span: place(&t), Text: t.Value}}
	case t.word() == "customer" && t.Value == "customer":
		p.next()
		p.expect(".")
		c.Name = p.prop()
		left = &Expr{Op: "of", Name: Name{Span: place(&t), Text: t.Value}, Prop: &c.Name}
	case t.Type == kindWord && !p.stopped:
		p.want(wantOfCustomer, "")
		p.fail(CodeUnexpectedToken, place(&t), p.memberHint(&t), "unexpected %q; expected %s", t.Value, p.expected())
		return
	default:
		p.want(wantOfCustomer, "")
		p.unexpected()
		return
	}
	left.Span = p.span(t)
	c.Test = p.test(t, left)
	if c.Test == left {
		p.unexpected()
	}
}

func (p *parser) memberHint(t *token) string {
	switch p.after(1).Value {
	case "=", "!=", "<", "<=", ">", ">=", "~":
		return "write customer." + t.Value + " for the customer's latest value"
	}
	if hint := p.hint(t); hint != "" {
		return hint
	}
	return "write `in " + t.Value + "` for a segment, `did " + t.Value + "` for an event"
}
