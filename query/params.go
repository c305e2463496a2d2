package query

import (
	"math"

	"wend/event"
)

// substitute copies a query with its parameters replaced by their values, so
// that everything after it, the canonical text included, sees literals.
func (b *binder) substitute(q *Query) *Query {
	c := *q
	c.Pattern = b.patternParams(q.Pattern)
	c.From, c.To = b.altParams(q.From), b.altParams(q.To)
	c.Regex = b.regexParams(q.Regex)
	c.Customer = b.textParam(q.Customer)
	c.Exprs = b.exprsParams(q.Exprs)
	c.Field = b.exprParams(q.Field)
	c.Outputs = copied(q.Outputs, func(o *Output) { o.Expr = b.exprParams(o.Expr) })
	c.Clauses = b.clausesParams(q.Clauses)
	return &c
}

// copied copies a list and changes each copy.
func copied[T any](list []T, change func(*T)) []T {
	if list == nil {
		return nil
	}
	c := make([]T, len(list))
	copy(c, list)
	for i := range c {
		change(&c[i])
	}
	return c
}

func (b *binder) patternParams(p *Pattern) *Pattern {
	if p == nil {
		return nil
	}
	c := *p
	c.Steps = copied(p.Steps, func(s *Step) { s.Alt = *b.altParams(&s.Alt) })
	c.Links = copied(p.Links, func(l *Link) {
		l.Nots = copied(l.Nots, func(n *Not) { n.Alt = *b.altParams(&n.Alt) })
	})
	return &c
}

func (b *binder) altParams(a *Alt) *Alt {
	if a == nil {
		return nil
	}
	c := *a
	c.Touches = copied(a.Touches, func(t *Touch) { t.Filter = b.exprParams(t.Filter) })
	c.Filter = b.exprParams(a.Filter)
	return &c
}

func (b *binder) regexParams(r *Regex) *Regex {
	if r == nil {
		return nil
	}
	c := *r
	c.Branches = copied(r.Branches, func(branch *RegexBranch) {
		branch.Items = copied(branch.Items, func(item *RegexItem) {
			item.Group = b.regexParams(item.Group)
			if item.Touch != nil {
				touch := *item.Touch
				touch.Filter = b.exprParams(touch.Filter)
				item.Touch = &touch
			}
		})
	})
	return &c
}

func (b *binder) clausesParams(list []Clause) []Clause {
	return copied(list, func(c *Clause) {
		c.Expr = b.exprParams(c.Expr)
		c.Groups = copied(c.Groups, func(g *Group) { g.Expr = b.exprParams(g.Expr) })
		c.Exprs = b.exprsParams(c.Exprs)
		c.Cohort = b.cohortParams(c.Cohort)
		c.Alt = b.altParams(c.Alt)
	})
}

func (b *binder) cohortParams(c *Cohort) *Cohort {
	if c == nil {
		return nil
	}
	k := *c
	k.Args = copied(c.Args, func(a **Cohort) { *a = b.cohortParams(*a) })
	k.Alt = b.altParams(c.Alt)
	k.Pattern = b.patternParams(c.Pattern)
	k.Options = b.clausesParams(c.Options)
	k.Test = b.exprParams(c.Test)
	return &k
}

func (b *binder) exprsParams(list []*Expr) []*Expr {
	return copied(list, func(e **Expr) { *e = b.exprParams(*e) })
}

func (b *binder) exprParams(e *Expr) *Expr {
	if e == nil {
		return nil
	}
	if e.Op == "param" {
		return b.literal(e)
	}
	c := *e
	c.Args = b.exprsParams(e.Args)
	c.Filter = b.exprParams(e.Filter)
	return &c
}

// literal is a parameter's value as the query's text could have had it.
func (b *binder) literal(e *Expr) *Expr {
	v, ok := b.param(e.Span, e.Text)
	if !ok {
		return &Expr{Span: e.Span, Op: "literal"}
	}
	positive := &Expr{Span: e.Span, Op: "literal", Value: v}
	switch v.Type() {
	case event.TimeType:
		return &Expr{Span: e.Span, Op: "date", Text: v.Time().String()}
	case event.IntegerType:
		if v.Int() >= 0 || v.Int() == math.MinInt64 { // which has no positive counterpart
			return positive
		}
		positive.Value = event.Integer(-v.Int())
	case event.FloatType:
		if math.IsInf(v.Float(), 0) {
			b.fail(e.Span, CodeBadParameter, "", "$%s is not a finite number", e.Text)
		}
		if !math.Signbit(v.Float()) {
			return positive
		}
		positive.Value = event.Float(-v.Float())
	default:
		return positive
	}
	return &Expr{Span: e.Span, Op: "neg", Args: []*Expr{positive}}
}

// textParam is a text where the grammar asks for one.
func (b *binder) textParam(t *Text) *Text {
	if t == nil || t.Param == "" {
		return t
	}
	v, ok := b.param(t.Span, t.Param)
	if ok && v.IsNull() {
		b.fail(t.Span, CodeBadParameter, "", "$%s is null", t.Param)
	}
	return &Text{Span: t.Span, Text: v.String()}
}

// param is a parameter's value. All of them that are used, each time anew, are
// as long as a statement may be at most: they are put in where the length of the
// text was checked already.
func (b *binder) param(span Span, name string) (event.Value, bool) {
	v, ok := b.cat.Params[name]
	if !ok {
		known := make([]string, 0, len(b.cat.Params))
		for k := range b.cat.Params {
			known = append(known, k)
		}
		b.fail(span, CodeMissingParameter, didYouMean(name, named(known...)), "the parameter $%s has no value", name)
	}
	if b.paramBytes > StatementBytesMax {
		return v, false // which is said
	}
	if b.paramBytes += len(v.Text()); b.paramBytes > StatementBytesMax {
		b.fail(span, CodeTextTooLong, "use $"+name+" less often, or import a long list of values as a property",
			"with $%s, the values of the parameters have more than %d bytes, which is the limit of a statement", name, StatementBytesMax)
		return v, false
	}
	return v, ok
}
