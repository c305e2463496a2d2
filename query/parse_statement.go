package query

import "slices"

// verbs begin a query; the others begin what changes or explains something.
var verbs = []string{
	"funnel", "times", "dropoff", "why", "drivers", "paths", "flow", "transitions", "switches", "match", "next",
	"retention", "attribute", "affinity", "map", "moments", "measure", "journey", "customers", "show", "describe",
}

var otherVerbs = []string{"explain", "define", "drop"}

// statement parses the whole statement; what is left over is a mistake.
func (p *parser) statement() *Statement {
	first := *p.peek()
	s := &Statement{}
	switch p.verbOrWant(otherVerbs) {
	case "define":
		s.Define = p.definition(first)
	case "drop":
		name := p.name(wantDefinition)
		s.Drop = &name
	case "explain":
		s.Explain = true
		s.Analyze = p.keyword("analyze") != ""
		s.Query = p.query()
	default:
		s.Query = p.query()
	}
	if !p.stopped && !p.peek().EOF() {
		p.unexpected()
	}
	s.Span = p.span(first)
	return s
}

func (p *parser) verbOrWant(list []string) string {
	if w := p.peek().word(); slices.Contains(list, w) {
		p.next()
		return w
	}
	for _, v := range list {
		p.want(wantVerb, v)
	}
	return ""
}

func (p *parser) query() *Query {
	first := *p.peek()
	q := &Query{Verb: p.verbOrWant(verbs)}
	switch q.Verb {
	case "funnel", "times", "dropoff":
		q.Pattern = p.pattern()
	case "why":
		q.Customer = p.customer()
		p.expectWord("in")
		q.Pattern = p.pattern()
	case "drivers":
		p.expectWord("of")
		q.Pattern = p.pattern()
	case "next":
		q.For = p.expectWord("after", "for") == "for"
		if q.For {
			q.Customer = p.customer()
		} else {
			q.Pattern = p.pattern()
		}
	case "paths":
		if p.keyword("from") != "" {
			q.FromEach = p.keyword("each") != ""
			q.From = p.alt()
		}
		if p.keyword("to") != "" {
			q.ToEach = p.keyword("each") != ""
			q.To = p.alt()
		}
	case "flow":
		switch p.keyword("from", "to") {
		case "from":
			q.From = p.alt()
		case "to":
			q.To = p.alt()
		}
	case "transitions":
		if p.keyword("with") != "" {
			p.expectWord("times")
			q.Times = true
		}
	case "switches":
		if p.keyword("from") != "" {
			q.FromCh = p.channels()
		}
		if p.keyword("to") != "" {
			q.ToCh = p.channels()
		}
	case "match":
		q.Regex = p.regex()
	case "retention":
		q.From = p.alt()
		p.expect("->")
		q.To = p.alt()
	case "attribute":
		q.From = p.alt()
		p.expectWord("to")
		q.Exprs = p.exprs(wantExpression)
	case "affinity":
		p.expectWord("of")
		q.Field = p.fieldExpr()
		p.expectWord("in")
		q.From = p.alt()
	case "map":
		q.Names = p.names(wantStage)
	case "measure":
		q.Outputs = p.outputs()
	case "journey":
		p.expectWord("of")
		q.Customer = p.customer()
	case "show":
		q.Show = p.expectWord("events", "channels", "properties", "definitions", "status")
	case "describe":
		q.Names = []Name{p.name(wantKnown)}
		q.Span = p.span(first)
		return q
	case "customers", "moments":
	default:
		p.unknownStatement()
	}
	q.Clauses = p.clauses()
	q.Span = p.span(first)
	return q
}

func (p *parser) unknownStatement() {
	t := p.peek()
	if t.Type != kindWord {
		p.unexpected()
		return
	}
	if slices.Contains(otherVerbs, t.word()) {
		p.fail(CodeUnknownStatement, p.here(), "it explains how a query is answered", "`explain` does not go with `%s`", t.word())
		return
	}
	all := append(slices.Clone(verbs), otherVerbs...)
	hint := "statements begin with a word such as `funnel`, `paths` or `measure`"
	if near := Nearest(t.word(), all, 1); len(near) > 0 {
		hint = "did you mean `" + near[0] + "`?"
	}
	p.fail(CodeUnknownStatement, p.here(), hint, "there is no statement %q", t.Value)
}

// customer parses the customer that a statement is about.
func (p *parser) customer() *Text {
	t := *p.peek()
	text := &Text{}
	switch t.Type {
	case kindString:
		text.Text = unquote(p.next().Value)
	case kindParam:
		text.Param = p.next().Value[1:]
	default:
		p.want(wantThing, "a customer such as 'c-1042'")
		p.unexpected()
	}
	text.Span = p.span(t)
	return text
}

func (p *parser) outputs() []Output {
	var outputs []Output
	for more := true; more; more = p.accept(",") {
		o := Output{Expr: p.exprWanting(wantMeasure)}
		if p.keyword("as") != "" {
			name := p.name(wantThing)
			o.As = &name
		}
		outputs = append(outputs, o)
	}
	return outputs
}

// definition parses what follows `define`.
func (p *parser) definition(first token) *Definition {
	d := &Definition{Kind: p.expectWord("touchpoint", "stage", "channels", "segment", "funnel")}
	d.Name = p.name(wantThing)
	p.expectWord("as")
	switch d.Kind {
	case "touchpoint", "stage":
		d.Touches = p.touches()
	case "channels":
		d.Channels = p.names(wantChannel)
	case "segment":
		d.Cohort = p.cohort()
	case "funnel":
		d.Pattern = p.pattern()
		d.Options = p.options()
	}
	d.Span = p.span(first)
	return d
}
