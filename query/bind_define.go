package query

import (
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// expand runs bind on the body of a definition, of which n is a use. Mistakes
// inside point at the use in the statement.
func (b *binder) expand(n Name, bind func(*Definition)) {
	if at := slices.Index(b.using, n.Text); at >= 0 {
		cycle := strings.Join(append(slices.Clone(b.using[at:]), n.Text), " -> ")
		span := n.Span
		if b.use != nil {
			span = *b.use
		}
		b.in(origin{}, func() { b.fail(span, CodeCycle, "", "the definition uses itself: %s", cycle) })
		return
	}
	if len(b.using) >= definitionsDepth {
		b.fail(n.Span, CodeTooDeep, "", "definitions use definitions more than %d deep", definitionsDepth)
		return
	}
	d, ok := b.definition(n)
	if !ok {
		return
	}
	inside := origin{using: append(slices.Clip(b.using), n.Text), use: b.use}
	if inside.use == nil {
		inside.use = &n.Span
	}
	b.in(inside, func() { bind(d) })
}

// definition parses a definition that is known to exist.
func (b *binder) definition(n Name) (*Definition, bool) {
	if d, ok := b.parsed[n.Text]; ok {
		return d, d != nil
	}
	kept, _ := b.cat.definition(n.Text)
	d, err := parseDefinition(kept)
	if err != nil {
		b.fail(n.Span, CodeBadDefinition, "define it again", "the definition of %q cannot be read: %v", n.Text, err)
	}
	b.parsed[n.Text] = d
	return d, d != nil
}

// parseDefinition reads a definition as stores keep it.
func parseDefinition(kept event.Definition) (*Definition, error) {
	list, err := Parse(kept.Text)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || list[0].Define == nil {
		return nil, fmt.Errorf("%q is not one definition", kept.Text)
	}
	return list[0].Define, nil
}

// expandFunnel replaces a pattern that is the name of a defined funnel by the
// funnel's own, and says where that comes from. The funnel's options join
// those that are set, except where one is given already. A definition that
// cannot be expanded, for which a mistake is noted, leaves no pattern: nil.
func (b *binder) expandFunnel(p *Pattern, set map[string]bound) (*Pattern, origin) {
	name, ok := b.funnelName(p)
	if !ok {
		return p, b.origin
	}
	if _, isEvent := b.cat.Schema.Event(name.Text); isEvent {
		b.warn("%q is an event and a funnel; the definition is used", name.Text)
	}
	var expanded *Pattern
	from := b.origin
	b.uses(name)
	b.expand(name, func(d *Definition) {
		for kind, c := range b.gather(d.Options, optionKinds, "a defined funnel") {
			if _, given := set[kind]; !given || seeded.On("statement_options_lose") {
				set[kind] = c
			}
		}
		expanded, from = b.expandFunnel(d.Pattern, set)
	})
	return expanded, from
}

// funnelName tells whether a pattern is just the name of a defined funnel.
func (b *binder) funnelName(p *Pattern) (Name, bool) {
	if p.AnyOrder || len(p.Steps) != 1 || p.Steps[0].As != nil {
		return Name{}, false
	}
	a := &p.Steps[0].Alt
	if a.Grouped || a.Channels != nil || a.Filter != nil || len(a.Touches) != 1 {
		return Name{}, false
	}
	t := &a.Touches[0]
	if t.Any || t.Channels != nil || t.Filter != nil {
		return Name{}, false
	}
	def, ok := b.cat.definition(t.Name.Text)
	return t.Name, ok && def.Kind == "funnel"
}

// ofKind finds a definition of one kind, or notes that there is none.
func (b *binder) ofKind(n Name, kind string) bool {
	def, ok := b.cat.definition(n.Text)
	switch {
	case !ok:
		b.unknown(n.Span, CodeUnknownDefinition, kind, n.Text, named(b.cat.names(kind)...))
	case def.Kind != kind:
		b.fail(n.Span, CodeWrongKind, "", "%q is %s, not %s", n.Text, kindText(def.Kind), kindText(kind))
	default:
		return true
	}
	return false
}

func kindText(kind string) string {
	if kind == "channels" {
		return "a group of channels"
	}
	return "a " + kind
}
