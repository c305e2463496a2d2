package query

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// pattern parses steps joined by arrows, or any order (…).
func (p *parser) pattern() *Pattern {
	first := *p.peek()
	pattern := &Pattern{}
	p.patternAt = p.at
	if p.keyword("any") != "" {
		pattern.AnyOrder = true
		pattern.Steps = p.anyOrder()
		if t := p.peek(); t.symbol("->") || t.symbol("=>") {
			p.fail(CodeAnyOrderAlone, p.here(), "write the order out, or leave the other steps away",
				"`any order (…)` is a whole pattern; no arrow may follow it")
		}
	} else {
		pattern.Steps = append(pattern.Steps, p.step(""))
		for p.arrowAhead() {
			pattern.Links = append(pattern.Links, p.link())
			arrow := p.previous().Value
			if p.peek().word() == "any" && p.after(1).word() == "order" {
				p.fail(CodeAnyOrderAlone, p.here(), "write the order out, or leave the other steps away",
					"`any order (…)` is a whole pattern; no arrow may lead to it")
			}
			pattern.Steps = append(pattern.Steps, p.step(arrow))
		}
	}
	pattern.Span = p.span(first)
	return pattern
}

func (p *parser) anyOrder() []Step {
	var steps []Step
	p.expectWord("order")
	if !p.opening("(") {
		p.unexpected()
	}
	for more := true; more; more = p.accept(",") {
		steps = append(steps, p.step(","))
	}
	p.closing(")")
	return steps
}

// step parses one step. arrow is what stands before it, a comma in any order
// (…), for the message that it is missing.
func (p *parser) step(arrow string) Step {
	first := *p.peek()
	if p.noStep(arrow) {
		return Step{}
	}
	clause := first.Type == kindWord && slices.Contains(clauseOrder, first.word())
	if clause {
		p.taken, p.takenStep = p.at, p.at
	}
	s := Step{Alt: *p.alt()}
	if p.keyword("as") != "" {
		name := p.name(wantThing)
		s.As = &name
	}
	s.Span = p.span(first)
	return s
}

// noStep finds what people write where a step must stand.
func (p *parser) noStep(arrow string) bool {
	t := p.peek()
	switch {
	case p.stopped:
		return true
	case t.symbol("!") && arrow == ",":
		p.fail(CodeExclusionAtEnd, p.here(), "", "`any order (…)` takes no exclusions")
	case t.symbol("!"):
		p.next()
		p.alt()
		p.fail(CodeExclusionAtEnd, p.span(*t), "an exclusion stands between two steps: a -> !x -> b",
			"a pattern cannot begin with an exclusion")
	case t.symbol("->") || t.symbol("=>"):
		p.fail(CodeMissingStep, p.here(), "`*` stands for any event", "a step is missing before `%s`", t.Value)
	case arrow != "" && arrow != "," && t.EOF():
		p.want(wantEvent, "")
		p.want(wantSymbol, "*")
		p.fail(CodeMissingStep, place(p.previous()), "`*` stands for any event", "a step is missing at the end of the pattern")
	case arrow != "" && (t.symbol(")") || t.symbol(",")):
		p.fail(CodeMissingStep, p.here(), "`*` stands for any event", "a step is missing before `%s`", t.Value)
	default:
		return false
	}
	return true
}

// arrowAhead reports whether another step follows. Operators that look like an
// arrow are taken for one, with a message.
func (p *parser) arrowAhead() bool {
	t := p.peek()
	switch {
	case t.symbol("->"), t.symbol("=>"):
		return true
	case t.symbol(">="):
		p.report(CodeWrongOperator, p.here(), "did you mean `=>`?", "`>=` is not an arrow")
		return true
	case t.symbol(">"):
		p.report(CodeWrongOperator, p.here(), "did you mean `->`?", "`>` is not an arrow")
		return true
	}
	p.want(wantSymbol, "->")
	p.want(wantSymbol, "=>")
	return false
}

// arrow parses an arrow and its bound. arrowAhead has seen it.
func (p *parser) arrow() (next bool, bound *Duration) {
	t := p.next()
	next = t.Value == "=>" || t.Value == ">="
	if p.opening("[") {
		d := p.duration(wantDuration)
		bound = &d
		p.closing("]")
	}
	return next, bound
}

func (p *parser) link() Link {
	first := *p.peek()
	var l Link
	l.Next, l.Bound = p.arrow()
	for p.peek().symbol("!") {
		bang := p.next()
		n := Not{Alt: *p.alt()}
		if !p.arrowAhead() {
			if p.peek().EOF() || p.clauseAhead() || p.peek().symbol(")") {
				p.fail(CodeExclusionAtEnd, p.span(bang), "an exclusion stands between two steps: a -> !x -> b",
					"a pattern cannot end with an exclusion")
			} else {
				p.unexpected()
			}
			break
		}
		n.Next, n.Bound = p.arrow()
		n.Span = p.span(bang)
		l.Nots = append(l.Nots, n)
	}
	if len(l.Nots) == 0 {
		p.want(wantSymbol, "!")
	}
	l.Span = p.span(first)
	return l
}

// alt parses one touch, or alternatives in parentheses with their own suffix.
// A group of one is that one, unless both have the same kind of suffix.
func (p *parser) alt() *Alt {
	first := *p.peek()
	a := &Alt{}
	if p.opening("(") {
		a.Grouped = true
		a.Touches = p.touches()
		p.closing(")")
		p.suffix(&a.Channels, &a.Filter)
		if one := &a.Touches[0]; len(a.Touches) == 1 && !(one.Channels != nil && a.Channels != nil) && !(one.Filter != nil && a.Filter != nil) {
			if a.Channels != nil {
				one.Channels = a.Channels
			}
			if a.Filter != nil {
				one.Filter = a.Filter
			}
			a.Grouped, a.Channels, a.Filter = false, nil, nil
		}
	} else {
		a.Touches = []Touch{p.touch()}
	}
	a.Span = p.span(first)
	return a
}

func (p *parser) touches() []Touch {
	var touches []Touch
	for more := true; more; more = p.barAhead() {
		touches = append(touches, p.touch())
	}
	return touches
}

// barAhead consumes a `|` between alternatives.
func (p *parser) barAhead() bool {
	if t := p.peek(); t.symbol("||") || t.word() == "or" && p.depth > 0 {
		p.report(CodeWrongOperator, p.here(), "did you mean `|`?", "alternatives are not joined by `%s`", t.Value)
		p.next()
		return true
	}
	return p.accept("|")
}

func (p *parser) touch() Touch {
	first := *p.peek()
	t := Touch{}
	if p.accept("*") {
		t.Any = true
	} else {
		t.Name = p.name(wantEvent)
	}
	p.suffix(&t.Channels, &t.Filter)
	t.Span = p.span(first)
	return t
}

// suffix parses @channels and [condition], each at most once, in either order.
func (p *parser) suffix(channels **Channels, filter **Expr) {
	for !p.stopped {
		switch {
		case *channels == nil && p.accept("@"):
			*channels = p.channels()
		case *filter == nil && p.opening("["):
			*filter = p.expr()
			p.closing("]")
		default:
			return
		}
	}
}

func (p *parser) channels() *Channels {
	first := *p.peek()
	c := &Channels{}
	if p.opening("(") {
		for more := true; more; more = p.barAhead() {
			c.Names = append(c.Names, p.name(wantChannel))
		}
		p.closing(")")
	} else {
		c.Names = []Name{p.name(wantChannel)}
	}
	c.Span = p.span(first)
	return c
}

// name parses a name that must be there; kind is what it names.
func (p *parser) name(kind wantKind) Name {
	t := *p.peek()
	n := Name{}
	switch t.Type {
	case kindWord:
		p.next()
		n.Text = t.Value + p.hyphenated(t)
	case kindString, kindQuoted:
		p.next()
		n.Text, n.Quoted = unquote(t.Value), true
		if n.Text == "" {
			p.report(CodeEmptyName, place(&t), "", "a name cannot be empty")
		}
	case kindAttached:
		p.next()
		rest := p.hyphenated(t) // tells that it needs quotes, if there is one
		if n.Text = t.Value + rest; rest == "" {
			p.report(CodeDigitInName, place(&t), `write "`+n.Text+`"`, "a name that begins with a digit needs quotes")
		}
	case kindCprop:
		p.fail(CodeUnexpectedToken, place(&t), `write "`+t.Value+`" if it is a name`,
			"%s is a property of the customer, not a name", t.Value)
	default:
		text := ""
		if kind == wantThing {
			text = "a name"
		}
		p.want(kind, text)
		p.unexpected()
	}
	n.Span = p.span(t)
	return n
}

// hyphenated finds add-to-cart, consumes the rest of it, and returns the rest.
// Names stand where nothing can be subtracted.
func (p *parser) hyphenated(first token) string {
	var rest strings.Builder
	end := first.end()
	for !p.stopped {
		minus, part := p.peek(), p.after(1)
		if !minus.symbol("-") || minus.Pos.Offset != end || part.Pos.Offset != end+1 ||
			part.Type != kindWord && part.Type != kindNumber && part.Type != kindAttached {
			break
		}
		p.next()
		p.next()
		rest.WriteString("-" + part.Value)
		end = part.end()
	}
	if rest.Len() > 0 {
		whole := first.Value + rest.String()
		p.report(CodeHyphenInName, p.span(first), `write "`+whole+`"`, "a name with a hyphen needs quotes")
	}
	return rest.String()
}

func (p *parser) names(kind wantKind) []Name {
	var names []Name
	for more := true; more; more = p.accept(",") {
		names = append(names, p.name(kind))
	}
	return names
}

func (p *parser) regex() *Regex {
	first := *p.peek()
	r := &Regex{}
	for more := true; more; more = p.barAhead() {
		r.Branches = append(r.Branches, p.branch())
	}
	r.Span = p.span(first)
	return r
}

func (p *parser) branch() RegexBranch {
	b := RegexBranch{Items: []RegexItem{p.item()}}
	for !p.stopped {
		switch t := p.peek(); {
		case t.symbol("->"):
			p.report(CodeWrongOperator, p.here(), "did you mean `=>`? Events between may be matched by `*`", "`match` joins neighbouring events")
		case t.symbol(">="):
			p.report(CodeWrongOperator, p.here(), "did you mean `=>`?", "`>=` is not an arrow")
		case t.symbol("=>"):
		default:
			p.want(wantSymbol, "=>")
			return b
		}
		_, bound := p.arrow()
		b.Bounds = append(b.Bounds, bound)
		b.Items = append(b.Items, p.item())
	}
	return b
}

func (p *parser) item() RegexItem {
	first := *p.peek()
	i := RegexItem{Min: 1, Max: 1}
	if p.opening("(") {
		i.Group = p.regex()
		p.closing(")")
	} else {
		t := p.touch()
		i.Touch = &t
	}
	p.repeat(&i)
	i.Span = p.span(first)
	return i
}

func (p *parser) repeat(i *RegexItem) {
	switch {
	case p.accept("?"):
		i.Min, i.Max, i.Repeat = 0, 1, "?"
	case p.accept("*"):
		i.Min, i.Max, i.Repeat = 0, -1, "*"
	case p.accept("+"):
		i.Min, i.Max, i.Repeat = 1, -1, "+"
	case p.opening("{"):
		i.Min = int(p.number("a number of times", 0, math.MaxInt32))
		i.Max, i.Repeat = i.Min, "{"+strconv.Itoa(i.Min)+"}"
		if p.accept(",") {
			i.Max, i.Repeat = -1, "{"+strconv.Itoa(i.Min)+",}"
			if !p.peek().symbol("}") {
				i.Max = int(p.number("a number of times", 0, math.MaxInt32))
				i.Repeat = "{" + strconv.Itoa(i.Min) + "," + strconv.Itoa(i.Max) + "}"
			}
		}
		p.closing("}")
	}
}
