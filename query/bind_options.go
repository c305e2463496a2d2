package query

import (
	"slices"

	"wend/event"
)

// What holds where a statement does not say otherwise.
const (
	defaultWindow = 30 * event.Day
	defaultGap    = 30 * event.Minute
	defaultFor    = 12 // periods of retention
	defaultLimit  = 100
	defaultLength = 5
	defaultDepth  = 4
)

// defaultTop is the statement's own top, 0 where all are shown.
var defaultTop = map[string]int64{"dropoff": 10, "paths": 10, "flow": 5, "affinity of": 100}

// options binds what decides how units and attempts are followed: the clauses
// that a defined funnel may carry, and count.
func (b *binder) options(q *Query, p *Plan) {
	name := statementName(q)
	if slices.Contains(clausesOf(name), "within") {
		b.windows(p, name, name != "paths" || q.From != nil || q.To != nil)
	}
	b.unit(p, name)
	b.clause("holding", func(c *Clause) { p.Holding = b.holding(c.Field) })
	p.Exclusion = "cut"
	b.clause("exclusion", func(c *Clause) { p.Exclusion = c.Word })
	b.clause("entry", func(c *Clause) { p.EntryFirst = c.Word == "first" })
	b.clause("ties", func(c *Clause) { p.TiesArrival = c.Word == "arrival" })
	if p.Pattern == nil {
		p.Exclusion = ""
		return
	}
	p.Count = "customers"
	if p.Unit.Session {
		p.Count = "sessions"
	}
	b.clause("count", func(c *Clause) {
		p.Count = c.Word
		if c.Word == "sessions" && !p.Unit.Session {
			b.fail(c.Span, CodeBadCombination, "add `per session`", "`count sessions` needs `per session`")
		}
	})
}

// windows binds within: where none is given, 30 days where the statement has a window.
func (b *binder) windows(p *Plan, name string, has bool) {
	p.HasWindow = has
	b.clause("within", func(c *Clause) {
		if !p.HasWindow {
			b.fail(c.Span, CodeBadCombination, "add `from` or `to`, or leave `within` out", "`paths` has a window only after `from` or before `to`")
		}
		if len(c.Durations) > 1 && !slices.Contains(windowLists, name) {
			b.fail(c.Durations[1].Span, CodeBadCombination, "ask once for each window", "`%s` takes one window", name)
		}
		for i := range c.Durations {
			if d, ok := b.elapsed(&c.Durations[i], "a window"); ok {
				p.Windows = append(p.Windows, d)
			}
		}
	})
	if p.HasWindow && !b.has("within") {
		p.Windows = []event.Duration{defaultWindow}
	}
}

// elapsed checks a duration that must be a positive elapsed time.
func (b *binder) elapsed(d *Duration, what string) (event.Duration, bool) {
	if d.Month {
		b.fail(d.Span, CodeBadDuration, "write days: 30d", "%s is an elapsed time, and a %s has no fixed length", what, singular(d.Unit))
		return 0, false
	}
	if d.Value <= 0 {
		b.fail(d.Span, CodeBadDuration, "", "%s must be longer than nothing", what)
		return 0, false
	}
	return d.Value, true
}

// unit binds per, for affinity also the property whose values are baskets.
func (b *binder) unit(p *Plan, name string) {
	p.Unit.Gap = defaultGap
	b.clause("per", func(c *Clause) {
		switch c.Word {
		case "session":
			p.Unit.Session = true
		case "field":
			if name != "affinity of" {
				b.fail(c.Field.Span, CodeBadCombination, "", "`per` is followed by `customer` or `session`, not %q", c.Field.Text)
				return
			}
			p.Per, _ = b.property(*c.Field)
		}
		if c.Gap != nil {
			if d, ok := b.elapsed(c.Gap, "the gap of a session"); ok {
				p.Unit.Gap = d
			}
		}
	})
	if !p.Unit.Session && name != "measure" {
		p.Unit.Gap = 0
	}
}

// holding binds the property that all steps of an attempt share.
func (b *binder) holding(n *Name) string {
	if n.Text == "channel" {
		return n.Text
	}
	if slices.Contains(event.Reserved, n.Text) {
		b.fail(n.Span, CodeBadField, "", "`holding` takes a property or `channel`, not %q", n.Text)
		return ""
	}
	name, _ := b.property(*n)
	return name
}

// property finds a property of events by a plain name.
func (b *binder) property(n Name) (string, event.Type) {
	i, ok := b.cat.Schema.Property(n.Text)
	if !ok {
		b.unknown(n.Span, CodeUnknownProperty, "property", n.Text, named(b.cat.propertyNames()...))
		return n.Text, event.None
	}
	return n.Text, b.cat.Schema.Properties[i].Type
}

// numericProperty finds a property whose values can be added up.
func (b *binder) numericProperty(e *Expr, what string) string {
	if e.Op != "name" {
		b.fail(e.Span, CodeBadField, "", "%s takes the name of a property", what)
		return ""
	}
	name, typ := b.property(e.Name)
	if typ != event.None && !typ.Numeric() {
		b.fail(e.Span, CodeTypeMismatch, "", "%s needs numbers, but %s is %s", what, name, typeName(typ))
	}
	return name
}

// positive checks a number that counts something.
func (b *binder) positive(c *Clause, most int64) int64 {
	switch {
	case c.Number < 1:
		b.fail(c.Span, CodeBadNumber, "", "`%s` must be at least 1", clauseWord(c.Kind))
	case most > 0 && c.Number > most:
		b.fail(c.Span, CodeBadNumber, "", "`%s` can be at most %d", clauseWord(c.Kind), most)
	}
	return c.Number
}

func singular(unit string) string {
	if n := len(unit); n > 1 && unit[n-1] == 's' {
		return unit[:n-1]
	}
	return unit
}
