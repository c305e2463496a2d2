package randtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// nameText writes a name, quoted where the grammar could take it for
// something else.
func nameText(name string) string {
	reserved := []string{"any", "each", "not", "null", "true", "false", "order", "as", "to", "from"}
	if strings.ContainsAny(name, " -.") || slices.Contains(reserved, strings.ToLower(name)) {
		return `"` + name + `"`
	}
	return name
}

func textLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func literal(v event.Value) string {
	switch v.Type() {
	case event.StringType:
		return textLiteral(v.Text())
	case event.TimeType:
		return v.Time().Std().Format("2006-01-02T15:04:05.000000Z")
	case event.FloatType:
		text := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	}
	return v.String()
}

// field is a property or one of the event's own fields that repeat.
func (g *gen) field() string {
	if len(g.w.props) == 0 || g.r.IntN(5) == 0 {
		return "channel"
	}
	return propertyText(pick(g.r, g.w.props).name)
}

// propertyText writes a property: a dotted one is quoted half by need, so that
// it cannot be taken for a step's.
func propertyText(name string) string {
	if strings.Contains(name, ".") {
		return `"` + name + `"`
	}
	return name
}

// dotless is a property that may stand behind a dot.
func (g *gen) dotless() string {
	if f := g.field(); !strings.Contains(f, ".") {
		return f
	}
	return "channel"
}

// customerField is a property of the customer, or a field where no event has any.
func (g *gen) customerField() string {
	for _, p := range g.w.props {
		if p.name == "tier" || p.typ == event.StringType && g.r.IntN(2) == 0 {
			return "customer." + propertyText(p.name)
		}
	}
	return "channel"
}

// properties lists one or two properties.
func (g *gen) properties() string {
	a, b := pick(g.r, g.w.props).name, pick(g.r, g.w.props).name
	if a == b || g.r.IntN(2) == 0 {
		return propertyText(a)
	}
	return propertyText(a) + ", " + propertyText(b)
}

// computed lists the fields that the world's definitions make.
func (g *gen) computed() (fields []string) {
	if len(g.w.alts) > 1 {
		fields = append(fields, "stage")
	}
	if len(g.w.groups) > 0 {
		fields = append(fields, "channel_group")
	}
	return fields
}

// typed is an expression of one type over an event.
func (g *gen) typed(t event.Type, depth int) string {
	var choices []string
	for _, p := range g.w.props {
		if p.typ == t {
			choices = append(choices, propertyText(p.name), propertyText(p.name))
		}
	}
	switch t {
	case event.StringType:
		choices = append(choices, "event", "channel")
		if depth > 0 {
			inner := g.typed(t, depth-1)
			choices = append(choices, "lower("+inner+")", "upper("+inner+")", "coalesce("+inner+", "+g.typed(t, 0)+")", "coalesce(channel, 'nowhere')", "date(time)", g.customerField())
			choices = append(choices, g.computed()...)
		}
	case event.IntegerType:
		choices = append(choices, "hour(time)", "length(event)")
		if depth > 0 {
			a, b := g.typed(t, depth-1), g.typed(t, 0)
			choices = append(choices, "("+a+" + "+b+")", "("+a+" - "+b+")", a+" * 2", "-"+b, "abs("+a+")", "weekday(time)", "month(time)", "day(time)", "year(time)", "length("+g.typed(event.StringType, 0)+")", "coalesce("+b+", 7)")
		}
	case event.FloatType:
		a := g.typed(event.IntegerType, 0)
		choices = append(choices, a+" / 2", "("+a+" + 0.5)")
		if depth > 0 {
			choices = append(choices, a+" / "+g.typed(event.IntegerType, 0), "round("+g.typed(t, depth-1)+")", "abs("+g.typed(t, depth-1)+")")
		}
	case event.TimeType:
		choices = append(choices, "time")
		if depth > 0 {
			choices = append(choices, "time", "time + "+g.duration(), "time - "+g.duration())
		}
	}
	return pick(g.r, choices)
}

func (g *gen) scalar(depth int) string {
	return g.typed(pick(g.r, []event.Type{event.StringType, event.StringType, event.IntegerType, event.FloatType}), depth)
}

// constant is a literal that occurs in the world, or nearly.
func (g *gen) constant(t event.Type) string {
	for _, p := range some(g.r, g.w.props, len(g.w.props)) {
		if p.typ == t && g.r.IntN(3) > 0 {
			return literal(pick(g.r, p.values))
		}
	}
	switch t {
	case event.StringType:
		if len(g.w.channels) > 0 && g.r.IntN(2) == 0 {
			return textLiteral(pick(g.r, g.w.channels))
		}
		return textLiteral(pick(g.r, g.w.names))
	case event.IntegerType:
		return fmt.Sprint(g.r.IntN(8) - 2)
	case event.FloatType:
		return pick(g.r, []string{"0.5", "2.0", "1.25", "-1.5"})
	case event.TimeType:
		return g.dateOf(g.instant())
	}
	return "true"
}

// condition is a boolean expression. customers: it may ask for the customer's
// latest values and segments.
func (g *gen) condition(depth int, customers bool) string {
	if depth > 0 && g.r.IntN(3) == 0 {
		a, b := g.condition(depth-1, customers), g.condition(depth-1, customers)
		return pick(g.r, []string{a + " and " + b, "(" + a + " or " + b + ")", "not (" + a + ")", "not (" + a + " and " + b + ")"})
	}
	if customers && g.r.IntN(8) == 0 {
		if len(g.w.segments) > 0 && g.r.IntN(2) == 0 {
			return "segment(" + pick(g.r, g.w.segments) + ")"
		}
		return g.customerField() + " = " + g.constant(event.StringType)
	}
	if g.lenient && g.r.IntN(8) == 0 {
		return "no_such_property is " + pick(g.r, []string{"null", "not null"})
	}
	t := pick(g.r, []event.Type{event.StringType, event.StringType, event.IntegerType, event.FloatType, event.BooleanType, event.TimeType})
	if t == event.BooleanType {
		for _, p := range g.w.props {
			if p.typ == t {
				return pick(g.r, []string{p.name, "not " + p.name, p.name + " = true", p.name + " != false", p.name + " is null"})
			}
		}
		t = event.StringType
	}
	if t == event.TimeType && g.r.IntN(3) == 0 {
		return "time - " + g.typed(t, 0) + pick(g.r, []string{" > ", " <= ", " = "}) + g.duration()
	}
	left := g.typed(t, depth)
	if (t == event.IntegerType || t == event.FloatType) && g.r.IntN(4) == 0 {
		t = pick(g.r, []event.Type{event.IntegerType, event.FloatType}) // numbers of both types compare
	}
	switch g.r.IntN(9) {
	case 0:
		return left + pick(g.r, []string{" is null", " is not null"})
	case 1:
		return left + pick(g.r, []string{" in (", " not in ("}) + g.constant(t) + ", " + g.constant(t) + ")"
	case 2:
		return left + pick(g.r, []string{" between ", " not between "}) + g.constant(t) + " and " + g.constant(t)
	case 3:
		if t == event.StringType {
			return left + pick(g.r, []string{" like 'g%'", " not like '%o%'", " like '_'", ` like 'a\%b%'`, " like '%'", " ~ '^[a-g]'", " ~ 'o'", " ~ 'ü|山'"})
		}
	case 4:
		return left + pick(g.r, []string{" = ", " < ", " != "}) + g.typed(t, 0)
	}
	if g.r.IntN(12) == 0 {
		return left + pick(g.r, []string{" = null", " in (" + g.constant(t) + ", null)", " not in (null, " + g.constant(t) + ")"})
	}
	return left + pick(g.r, []string{" = ", " = ", " != ", " < ", " <= ", " > ", " >= "}) + g.constant(t)
}

// measure is an expression over aggregates.
func (g *gen) measure(depth int) string {
	number := func() string { return g.typed(pick(g.r, []event.Type{event.IntegerType, event.FloatType}), 1) }
	if depth > 0 && g.r.IntN(4) == 0 {
		return g.measure(depth-1) + pick(g.r, []string{" / ", " + ", " - "}) + "(" + g.measure(0) + ")"
	}
	m := ""
	switch g.r.IntN(8) {
	case 0, 1, 2:
		m = pick(g.r, []string{"events", "customers", "sessions"})
	case 3:
		m = pick(g.r, []string{"distinct(" + g.scalar(1) + ")", "distinct(customer)", "distinct(time)", "coalesce(sum(" + number() + "), 0)", "round(avg(" + number() + "))"})
		if !strings.HasPrefix(m, "distinct") {
			return m
		}
	default:
		m = pick(g.r, []string{"sum", "avg", "min", "max", "median", "p95", "p10", "p0", "p100"}) + "(" + number() + ")"
	}
	if g.r.IntN(3) == 0 {
		m += "[" + g.condition(1, true) + "]"
	}
	return m
}
