package query

import (
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// stepNames tells which step a name means: its `as` name, or its event's name
// where only one step has it.
type stepNames struct {
	byName map[string][]int // steps from 1
	count  int
}

func (s *stepNames) add(name string, step int) {
	if !slices.Contains(s.byName[name], step) {
		s.byName[name] = append(s.byName[name], step)
	}
}

// list returns the names in use.
func (s *stepNames) list() []string {
	var names []string
	for name := range s.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// wholePattern binds a pattern, or the defined funnel that it names, whose
// options join b.set.
func (b *binder) wholePattern(p *Pattern) (plan *PatternPlan, steps *stepNames) {
	expanded, from := b.expandFunnel(p, b.set)
	if expanded == nil {
		return &PatternPlan{}, nil
	}
	b.in(from, func() { plan, steps = b.pattern(expanded) })
	return plan, steps
}

// pattern binds a pattern that is not just the name of a defined funnel.
func (b *binder) pattern(p *Pattern) (*PatternPlan, *stepNames) {
	plan := &PatternPlan{AnyOrder: p.AnyOrder, Text: p.String()}
	most, what := stepsMax, "a pattern"
	if p.AnyOrder {
		most, what = anyOrderMax, "`any order`"
	}
	if len(p.Steps) > most {
		b.fail(p.Steps[most].Span, CodeTooManySteps, "", "%s has at most %d steps, this one has %d", what, most, len(p.Steps))
	}
	names := &stepNames{byName: map[string][]int{}, count: len(p.Steps)}
	taken := map[string]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		step := StepPlan{Match: b.alt(&s.Alt), Bound: -1}
		step.Name = step.Match.Text
		if name, ok := touchName(&s.Alt); ok {
			names.add(name, i+1)
		}
		if s.As != nil {
			step.Name = s.As.Text
			if taken[s.As.Text] {
				b.fail(s.As.Span, CodeDuplicateName, "", "two steps are called %q", s.As.Text)
			}
			taken[s.As.Text] = true
			names.add(s.As.Text, i+1)
		}
		if i > 0 && i <= len(p.Links) {
			b.link(&p.Links[i-1], &step)
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan, names
}

// touchName is the event's name of a step with one touch.
func touchName(a *Alt) (string, bool) {
	if len(a.Touches) != 1 || a.Touches[0].Any {
		return "", false
	}
	return a.Touches[0].Name.Text, true
}

// link binds how a step is reached from the one before. With exclusions in
// between, `-> !a -> !b ->` excludes a and b, and the one bound that its arrows
// may carry is the longest time between the two steps.
func (b *binder) link(l *Link, step *StepPlan) {
	step.Next = l.Next
	bounds := []*Duration{}
	if l.Bound != nil {
		bounds = append(bounds, l.Bound)
	}
	var excluded []string
	for i := range l.Nots {
		n := &l.Nots[i]
		if n.Next || (i == 0 && l.Next) {
			b.fail(n.Span, CodeBadPattern, "write `->` on both sides of `!`", "nothing can lie between neighbours, so `=>` cannot stand beside an exclusion")
		}
		if n.Bound != nil {
			bounds = append(bounds, n.Bound)
		}
		match := b.alt(&n.Alt)
		if step.Exclude == nil {
			step.Exclude = &Matcher{}
		}
		step.Exclude.Any = b.join(step.Exclude.Any, match.Any, n.Span)
		excluded = append(excluded, match.Text)
	}
	if step.Exclude != nil {
		step.Exclude.Text = strings.Join(excluded, " | ")
	}
	if len(bounds) > 1 {
		b.fail(bounds[1].Span, CodeBadPattern, "keep one: it bounds the time between the two steps", "only one of the arrows around an exclusion can carry a bound")
	}
	if seeded.On("bound_dropped") && step.Exclude != nil {
		bounds = nil
	}
	if len(bounds) > 0 {
		step.Bound = b.gap(bounds[0])
	}
}

// gap is the bound of an arrow; nothing at all (simultaneous) is allowed.
func (b *binder) gap(d *Duration) event.Duration {
	if d.Month {
		b.fail(d.Span, CodeBadDuration, "write days: 30d", "a bound is an elapsed time, and a %s has no fixed length", singular(d.Unit))
	}
	return d.Value
}

// alt binds an alternative: its touches, each narrowed by the group's suffix.
func (b *binder) alt(a *Alt) *Matcher {
	m := &Matcher{Text: a.String()}
	for i := range a.Touches {
		m.Any = b.join(m.Any, b.touch(&a.Touches[i]), a.Span)
	}
	filter := a.Filter
	if seeded.On("suffix_dropped") {
		filter = nil
	}
	m.Any = b.narrow(m.Any, a.Channels, filter)
	return m
}

// join adds alternatives; past the limit it drops them, having noted it.
func (b *binder) join(list, more []Touchpoint, at Span) []Touchpoint {
	if len(list)+len(more) > alternativesMax {
		b.fail(at, CodeTooManyAlternatives, "use fewer or smaller definitions", "this stands for more than %d touchpoints", alternativesMax)
		return list
	}
	return append(list, more...)
}

// touch binds one touch. A definition wins over an event of its name.
func (b *binder) touch(t *Touch) []Touchpoint {
	if t.Any {
		return b.narrow([]Touchpoint{{AnyEvent: true}}, t.Channels, t.Filter)
	}
	name := t.Name.Text
	_, isEvent := b.cat.Schema.Event(name)
	def, defined := b.cat.definition(name)
	switch {
	case defined && (def.Kind == "touchpoint" || def.Kind == "stage"):
		if isEvent {
			b.warn("%q is an event and a %s; the definition is used", name, def.Kind)
		}
		return b.narrow(b.definedTouch(t.Name), t.Channels, t.Filter)
	case defined && def.Kind == "funnel":
		b.fail(t.Name.Span, CodeWrongKind, "write its steps out to go on from them", "%q is a funnel; it can only be a whole pattern", name)
	case defined && !isEvent:
		b.fail(t.Name.Span, CodeWrongKind, "", "%q is %s, not an event", name, kindText(def.Kind))
	case !isEvent:
		known := append(b.cat.eventNames(), named(b.cat.names("touchpoint", "stage", "funnel")...)...)
		b.unknown(t.Name.Span, CodeUnknownEvent, "event", name, known)
	}
	return b.narrow([]Touchpoint{{Event: name}}, t.Channels, t.Filter)
}

// definedTouch expands a touchpoint or stage.
func (b *binder) definedTouch(n Name) []Touchpoint {
	b.uses(n)
	if list, ok := b.touches[n.Text]; ok {
		return list
	}
	var list []Touchpoint
	b.expand(n, func(d *Definition) {
		for i := range d.Touches {
			list = b.join(list, b.touch(&d.Touches[i]), n.Span)
		}
	})
	b.touches[n.Text] = list
	return list
}

// narrow adds a suffix to touchpoints: they must also be in one of the
// channels, and fulfil the filter.
func (b *binder) narrow(list []Touchpoint, channels *Channels, filter *Expr) []Touchpoint {
	if channels == nil && filter == nil {
		return list
	}
	var among []string
	if channels != nil {
		among = b.channels(channels)
	}
	var condition *ScalarExpr
	if filter != nil {
		condition = b.condition(filter, scope{})
	}
	narrowed := make([]Touchpoint, len(list))
	for i, t := range list {
		if channels != nil {
			t = t.in(among)
		}
		t.Filter = both(t.Filter, condition)
		narrowed[i] = t
	}
	return narrowed
}

// in narrows a touchpoint to channels. If it was in others already, nothing is
// left: no channel list says so, hence the filter.
func (t Touchpoint) in(channels []string) Touchpoint {
	if t.Channels == nil {
		t.Channels = channels
		return t
	}
	shared := slices.DeleteFunc(slices.Clone(t.Channels), func(c string) bool { return !slices.Contains(channels, c) })
	if len(shared) == 0 {
		t.Filter = &ScalarExpr{Op: "const", Type: event.BooleanType, Value: event.Boolean(false), Syntax: &Expr{Op: "literal", Value: event.Boolean(false)}}
		return t
	}
	t.Channels = shared
	return t
}

func both(x, y *ScalarExpr) *ScalarExpr {
	if x == nil {
		return y
	}
	if y == nil {
		return x
	}
	return &ScalarExpr{Op: "and", Type: event.BooleanType, Args: []*ScalarExpr{x, y}, Syntax: &Expr{Op: "and", Args: []*Expr{x.Syntax, y.Syntax}}, Span: y.Span}
}

// channels binds the list after @; a defined group stands for its channels.
func (b *binder) channels(c *Channels) []string {
	var list []string
	for _, n := range c.Names {
		for _, channel := range b.channel(n) {
			if !slices.Contains(list, channel) {
				list = append(list, channel)
			}
		}
	}
	return list
}

func (b *binder) channel(n Name) []string {
	_, isChannel := b.cat.Schema.Channel(n.Text)
	def, defined := b.cat.definition(n.Text)
	if defined && def.Kind == "channels" {
		if isChannel {
			b.warn("%q is a channel and a group of channels; the definition is used", n.Text)
		}
		var list []string
		b.uses(n)
		b.expand(n, func(d *Definition) { list = nameTexts(d.Channels) })
		if seeded.On("channels_first") {
			list = list[:1]
		}
		return list
	}
	if defined && !isChannel {
		b.fail(n.Span, CodeWrongKind, "", "%q is %s, not a channel", n.Text, kindText(def.Kind))
		return nil
	}
	if !isChannel || n.Text == "" {
		b.unknown(n.Span, CodeUnknownChannel, "channel", n.Text, append(b.cat.channelNames(), named(b.cat.names("channels")...)...))
	}
	return []string{n.Text}
}

func nameTexts(names []Name) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.Text
	}
	return list
}

// step finds the step that a name or, with a nil name, a number means. Of a
// pattern that could not be expanded (nil names) nothing more is said.
func (b *binder) step(span Span, n *Name, number int64, names *stepNames) (int, bool) {
	if names == nil {
		return 0, false
	}
	if n == nil {
		if number < 1 || number > int64(names.count) {
			b.fail(span, CodeUnknownStep, fmt.Sprintf("steps are numbered from 1 to %d", names.count), "there is no step %d", number)
			return 0, false
		}
		return int(number), true
	}
	steps := names.byName[n.Text]
	switch len(steps) {
	case 1:
		return steps[0], true
	case 0:
		hint := didYouMean(n.Text, named(names.list()...))
		if hint == "" {
			hint = fmt.Sprintf("a step is named by its number, 1 to %d, its `as` name, or its event's name", names.count)
		}
		b.fail(n.Span, CodeUnknownStep, hint, "no step is called %q", n.Text)
	default:
		b.fail(n.Span, CodeAmbiguousName, "use the number, or name one with `as`", "%q is the name of steps %s", n.Text, numbers(steps))
	}
	return 0, false
}

func numbers(list []int) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = fmt.Sprint(n)
	}
	return strings.Join(texts, " and ")
}
