package query

import (
	"fmt"
	"slices"
	"strings"

	"wend/event"
)

// reading is one thing that a name can mean.
type reading struct {
	what string // for the error when there are two
	x    *ScalarExpr
}

// name binds a name or a.b to what it means where it stands.
func (b *binder) name(e *Expr, s scope) *ScalarExpr {
	if e.Op == "of" {
		return b.dotted(e, s)
	}
	n := e.Name
	if s.aggregates {
		return b.aggregateName(n)
	}
	if n.Quoted {
		return b.plain(n, s)
	}
	if !strings.Contains(n.Text, ".") {
		return b.choose(n, s, b.computed(n.Text, s.own()))
	}
	var readings []reading
	for i := strings.LastIndexByte(n.Text, '.'); i > 0; i = strings.LastIndexByte(n.Text[:i], '.') {
		before, after := n.Text[:i], n.Text[i+1:]
		if s.steps == nil || len(s.steps.byName[before]) != 1 {
			continue
		}
		for _, r := range b.ofEvent(after, StepScope) {
			r.x.Step = s.steps.byName[before][0]
			readings = append(readings, reading{r.what + " of step " + before, r.x})
		}
		break // only the longest prefix that names a step
	}
	if prop, ok := strings.CutPrefix(n.Text, "customer."); ok {
		if x := b.latest(prop); x != nil {
			readings = append(readings, reading{"property " + prop + " of the customer", x})
		}
	}
	if prop, ok := strings.CutPrefix(n.Text, "last."); ok && s.steps != nil {
		for _, r := range b.ofEvent(prop, LastScope) {
			readings = append(readings, reading{r.what + " of the last event", r.x})
		}
	}
	return b.choose(n, s, readings)
}

// choose picks the one thing that a name means. The property of exactly this
// name is one of them.
func (b *binder) choose(n Name, s scope, readings []reading) *ScalarExpr {
	if x := b.field(n.Text, s.own()); x != nil {
		readings = append(readings, reading{"property " + n.Text, x})
	}
	if len(readings) == 0 {
		return b.plain(n, s)
	}
	return b.only(n, readings)
}

// only is the one thing that a name means; of two or more, none is guessed.
func (b *binder) only(n Name, readings []reading) *ScalarExpr {
	if len(readings) == 1 {
		return readings[0].x
	}
	what := make([]string, len(readings))
	for i, r := range readings {
		what[i] = r.what
	}
	b.fail(n.Span, CodeAmbiguousName, fmt.Sprintf(`"%s" in double quotes is always the property`, n.Text),
		"%s can be %s", n.Text, strings.Join(what, " or "))
	return nil
}

// own is whose field a plain name is.
func (s scope) own() Scope {
	if s.latest {
		return CustomerScope
	}
	return EventScope
}

// plain binds a name that can only be a field or property; it is an error if
// there is none.
func (b *binder) plain(n Name, s scope) *ScalarExpr {
	if x := b.field(n.Text, s.own()); x != nil {
		return x
	}
	if s.latest && slices.Contains(event.Reserved, n.Text) {
		b.fail(n.Span, CodeBadField, "", "of a customer there are the latest values of properties, but not %s", n.Text)
		return nil
	}
	known := append(b.cat.propertyNames(), event.Reserved...)
	unknown := n.Text
	if !n.Quoted {
		known = append(known, "stage", "channel_group")
		of, prop := knownPrefix(n.Text, s)
		if s.steps != nil && len(s.steps.byName[of]) > 1 {
			b.step(n.Span, &Name{Span: n.Span, Text: of}, 0, s.steps) // says which steps
			return nil
		}
		if of != "" {
			unknown = prop
			if of == "customer" {
				known = b.cat.propertyNames()
			}
		} else if before, _, dotted := strings.Cut(n.Text, "."); dotted && s.steps == nil && !b.lenient {
			if _, isEvent := b.cat.Schema.Event(before); isEvent {
				b.fail(n.Span, CodeUnknownProperty, "a property of a step can be named in `by`, after a pattern", "unknown property %q", n.Text)
				return nil
			}
		}
	}
	otherwise := ""
	switch f := functions[strings.ToLower(unknown)]; {
	case s.compared && unknown == n.Text:
		otherwise = "a text is written in single quotes: " + quote(n.Text, "'")
	case f.args == event.TimeType && !n.Quoted:
		otherwise = "did you mean `" + strings.ToLower(unknown) + "(time)`?"
	}
	b.unknownOr(n.Span, CodeUnknownProperty, "property", unknown, named(known...), otherwise)
	return b.nothing()
}

// knownPrefix splits a name after its longest prefix that names steps, the
// customer or the last event: when a.b is unknown although a is known, b is
// the mistake.
func knownPrefix(text string, s scope) (of, prop string) {
	for i := strings.LastIndexByte(text, '.'); i > 0; i = strings.LastIndexByte(text[:i], '.') {
		before := text[:i]
		if before == "customer" || s.steps != nil && (before == "last" || len(s.steps.byName[before]) > 0) {
			return before, text[i+1:]
		}
	}
	return "", ""
}

// nothing is what an unknown name is when that is only a warning: null.
func (b *binder) nothing() *ScalarExpr {
	if !b.lenient {
		return nil
	}
	return constant(event.Null)
}

// dotted binds a.b where a part was quoted or a is a number: always a step's,
// the customer's, or the last event's.
func (b *binder) dotted(e *Expr, s scope) *ScalarExpr {
	n, prop := e.Name, *e.Prop
	numbered := n.Text == ""
	switch {
	case s.aggregates:
		b.fail(e.Span, CodeNotAnAggregate, "", "%s belongs to one event", e)
		return nil
	case !numbered && !n.Quoted && n.Text == "customer":
		if x := b.latest(prop.Text); x != nil {
			return x
		}
		b.unknown(prop.Span, CodeUnknownProperty, "property", prop.Text, named(b.cat.propertyNames()...))
		return b.nothing()
	case s.steps == nil:
		b.fail(e.Span, CodeUnknownStep, "", "%s: steps have names only in `by`, after a pattern", e)
		return nil
	case !numbered && !n.Quoted && n.Text == "last" && len(s.steps.byName["last"]) == 0:
		return b.stepProperty(prop, LastScope, 0)
	}
	var name *Name
	if !numbered {
		name = &n
	}
	step, ok := b.step(e.Span, name, e.Number, s.steps)
	if !ok {
		return nil
	}
	return b.stepProperty(prop, StepScope, step)
}

// stepProperty binds what stands behind a step and a dot.
func (b *binder) stepProperty(prop Name, of Scope, step int) *ScalarExpr {
	var readings []reading
	if !prop.Quoted {
		readings = b.ofEvent(prop.Text, of)
	} else if x := b.field(prop.Text, of); x != nil {
		readings = []reading{{"property " + prop.Text, x}}
	}
	if len(readings) == 0 {
		known := append(append(b.cat.propertyNames(), event.Reserved...), "stage", "channel_group")
		b.unknown(prop.Span, CodeUnknownProperty, "property", prop.Text, named(known...))
		return b.nothing()
	}
	x := b.only(prop, readings)
	if x != nil {
		x.Step = step
	}
	return x
}

// ofEvent lists what a name can mean of an event: its field or property, and
// what definitions compute of it.
func (b *binder) ofEvent(name string, of Scope) []reading {
	var readings []reading
	if x := b.field(name, of); x != nil {
		readings = append(readings, reading{"property " + name, x})
	}
	return append(readings, b.computed(name, of)...)
}

// latest is the customer's latest value of a property.
func (b *binder) latest(prop string) *ScalarExpr { return b.field(prop, CustomerScope) }

// field is a field or property by its name, nil if there is none.
func (b *binder) field(name string, of Scope) *ScalarExpr {
	if slices.Contains(event.Reserved, name) && of != CustomerScope {
		x := &ScalarExpr{Op: "field", Field: name, Scope: of, Type: event.StringType}
		if name == "time" {
			x.Type = event.TimeType
		}
		return x
	}
	i, ok := b.cat.Schema.Property(name)
	if !ok {
		return nil
	}
	return &ScalarExpr{Op: "field", Field: name, Property: true, Scope: of, Type: b.cat.Schema.Properties[i].Type}
}

// computed are the fields that definitions make. A property of that name is
// only in doubt where there are such definitions.
func (b *binder) computed(name string, of Scope) []reading {
	if of == CustomerScope || name != "stage" && name != "channel_group" {
		return nil
	}
	kind := "stage"
	if name == "channel_group" {
		kind = "channels"
	}
	names := b.cat.names(kind)
	if len(names) == 0 {
		if _, ok := b.cat.Schema.Property(name); ok {
			return nil
		}
		b.warn("no %s is defined, so %s is null", strings.TrimPrefix(kindText(kind), "a "), name)
	}
	x := &ScalarExpr{Op: "stage", Scope: of, Type: event.StringType}
	if kind == "channels" {
		x.Op = "group"
	}
	for _, n := range names {
		if kind == "stage" {
			x.Stages = append(x.Stages, b.stage(Name{Text: n}))
			continue
		}
		b.expand(Name{Text: n}, func(d *Definition) {
			x.Groups = append(x.Groups, ChannelGroup{Name: n, Channels: nameTexts(d.Channels)})
		})
	}
	return []reading{{"the defined " + name, x}}
}

// stage is a defined stage as a named condition.
func (b *binder) stage(n Name) StagePlan {
	return StagePlan{Name: n.Text, Match: &Matcher{Any: b.definedTouch(n), Text: n.Text}}
}
