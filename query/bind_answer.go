package query

import (
	"fmt"
	"slices"

	"wend/event"
)

// subject binds what stands between a statement's name and its clauses,
// patterns aside.
func (b *binder) subject(q *Query, p *Plan) {
	if q.Customer != nil {
		p.Customer = q.Customer.Text
	}
	if q.From != nil {
		p.From = b.alt(q.From)
	}
	if q.To != nil {
		p.To = b.alt(q.To)
	}
	if q.FromEach && q.ToEach {
		b.fail(q.To.Span, CodeBadCombination, "drop one `each`", "`from each` and `to each` do not go together")
	}
	if q.FromCh != nil {
		p.FromChannels = b.channels(q.FromCh)
	}
	if q.ToCh != nil {
		p.ToChannels = b.channels(q.ToCh)
	}
	if q.Regex != nil {
		p.Regex = b.regex(q.Regex)
	}
	switch q.Verb {
	case "attribute":
		p.Of = b.values(q.Exprs, scope{})
	case "affinity":
		p.Of = b.values([]*Expr{q.Field}, scope{})
	case "measure":
		b.outputs(q, p)
	case "map":
		b.stages(q, p)
	case "describe":
		b.describe(q.Names[0], p)
	}
}

// answer binds the clauses that shape the answer.
func (b *binder) answer(q *Query, p *Plan, steps *stepNames) {
	name := statementName(q)
	b.clause("where", func(c *Clause) { p.Where = b.condition(c.Expr, scope{}) })
	b.clause("among", func(c *Clause) { p.Among = b.cohort(c.Cohort) })
	b.clause("of", func(c *Clause) { p.Of = b.values(c.Exprs, scope{latest: name == "customers"}) })
	if p.Of == nil && slices.Contains(clausesOf(name), "of") && name != "customers" {
		p.Of = []*ScalarExpr{b.eventName()}
	}
	b.numbers(name, p)
	b.clause("collapse", func(c *Clause) { p.Collapse = true })
	b.clause("through", func(c *Clause) { p.Through = b.alt(c.Alt) })
	b.clause("goal", func(c *Clause) { p.Goal = b.alt(c.Alt) })
	b.clause("score", func(c *Clause) { p.Score = b.numericProperty(c.Expr, "`score`") })
	b.clause("value", func(c *Clause) { p.Value = b.conversionValue(c.Expr) })
	b.models(name, p)
	b.clause("every", func(c *Clause) { p.Every = c.Word })
	if name == "retention" && !b.has("every") {
		b.fail(q.Span, CodeMissingClause, "add `every week for 8`, say", "`retention` needs `every`")
	}
	b.clause("by", func(c *Clause) { b.by(c, name, p, steps) })
	if name == "drivers of" && !b.has("by") {
		b.fail(q.Span, CodeMissingClause, "add `by channel`, say, or `by events`", "`drivers of` needs `by` with the factors")
	}
	b.clause("order", func(c *Clause) { p.Order = &Order{Column: c.Field.Text, Desc: c.Word == "desc"} })
	b.order(q, p)
}

// eventName is the label where a statement gives none.
func (b *binder) eventName() *ScalarExpr {
	return &ScalarExpr{Op: "field", Field: "event", Type: event.StringType, Syntax: &Expr{Op: "name", Name: Name{Text: "event"}}}
}

func (b *binder) values(list []*Expr, s scope) []*ScalarExpr {
	var bound []*ScalarExpr
	for _, e := range list {
		bound = append(bound, b.value(e, s))
	}
	return bound
}

// numbers binds the clauses that are one number, with their defaults.
func (b *binder) numbers(name string, p *Plan) {
	p.Top = defaultTop[name]
	b.clause("cover", func(c *Clause) {
		p.Cover, p.Top = c.Percent/100, 0
		if c.Percent <= 0 || c.Percent > 100 {
			b.fail(c.Span, CodeBadNumber, "", "`cover` is more than 0%% and at most 100%%")
		}
		if b.has("top") {
			b.fail(c.Span, CodeBadCombination, "drop one of them", "`cover` stands instead of `top`")
		}
	})
	b.clause("top", func(c *Clause) { p.Top = b.positive(c, 0) })
	if name == "paths" {
		p.Length = defaultLength
	}
	b.clause("length", func(c *Clause) { p.Length = b.positive(c, lengthMax) })
	if name == "flow" {
		p.Depth = defaultDepth
	}
	b.clause("depth", func(c *Clause) { p.Depth = b.positive(c, lengthMax) })
	if name == "customers" {
		p.Limit = defaultLimit
	}
	b.clause("limit", func(c *Clause) { p.Limit = b.positive(c, 0) })
	if name == "retention" {
		p.Periods = defaultFor
	}
	b.clause("for", func(c *Clause) { p.Periods = b.positive(c, periodsMax) })
	b.clause("test", func(c *Clause) {
		p.TestLast = c.Percent / 100
		if c.Percent <= 0 || c.Percent >= 100 {
			b.fail(c.Span, CodeBadNumber, "", "`test last` is more than 0%% and less than 100%%")
		}
	})
}

// by binds the breakdown: its column is called as it is written.
func (b *binder) by(c *Clause, name string, p *Plan, steps *stepNames) {
	for i := range c.Groups {
		g := &c.Groups[i]
		column := ByPlan{Name: g.Expr.String(), Top: g.Top}
		if g.Top < 0 {
			b.fail(g.Span, CodeBadNumber, "", "`top` must be at least 1")
		}
		if slices.ContainsFunc(p.By, func(other ByPlan) bool { return other.Name == column.Name }) {
			b.fail(g.Span, CodeDuplicateName, "", "`by` has %s twice", column.Name)
		}
		if name == "drivers of" && isName(g.Expr, "events") {
			column.Expr = &ScalarExpr{Op: "events", Type: event.StringType, Syntax: g.Expr, Span: g.Expr.Span}
		} else {
			column.Expr = b.value(g.Expr, scope{steps: steps})
		}
		if name == "map" && !isName(g.Expr, "channel") {
			b.fail(g.Span, CodeBadField, "", "`map` is broken down by channel only")
		}
		p.By = append(p.By, column)
	}
}

func isName(e *Expr, name string) bool {
	return e.Op == "name" && !e.Name.Quoted && e.Name.Text == name
}

// outputs binds the columns of measure. Only sessions need to know where a
// session ends.
func (b *binder) outputs(q *Query, p *Plan) {
	sessions := false
	for i := range q.Outputs {
		o := &q.Outputs[i]
		column := OutputPlan{Name: o.Expr.String()}
		at := o.Expr.Span
		if o.As != nil {
			column.Name, at = o.As.Text, o.As.Span
		}
		if slices.ContainsFunc(p.Outputs, func(other OutputPlan) bool { return other.Name == column.Name }) {
			b.fail(at, CodeDuplicateName, "name one with `as`", "two columns are called %q", column.Name)
		}
		column.Expr = b.value(o.Expr, scope{aggregates: true})
		if column.Expr != nil && countsSessions(column.Expr) {
			sessions = true
		}
		p.Outputs = append(p.Outputs, column)
	}
	p.Unit.Session = sessions
	if !sessions {
		p.Unit.Gap = 0
	}
}

// stages binds the columns of a journey map.
func (b *binder) stages(q *Query, p *Plan) {
	for _, n := range q.Names {
		if slices.ContainsFunc(p.Stages, func(s StagePlan) bool { return s.Name == n.Text }) {
			b.fail(n.Span, CodeDuplicateName, "", "the stage %q is named twice", n.Text)
		}
		stage := StagePlan{Name: n.Text, Match: &Matcher{Text: n.String()}}
		if b.ofKind(n, "stage") {
			stage = b.stage(n)
		}
		p.Stages = append(p.Stages, stage)
	}
}

// describe finds what a name means: a definition first, as everywhere.
func (b *binder) describe(n Name, p *Plan) {
	p.Describe = n.Text
	_, isDefinition := b.cat.definition(n.Text)
	_, isEvent := b.cat.Schema.Event(n.Text)
	_, isChannel := b.cat.Schema.Channel(n.Text)
	_, isProperty := b.cat.Schema.Property(n.Text)
	if isDefinition || isEvent || isChannel || isProperty || slices.Contains(event.Reserved, n.Text) {
		return
	}
	known := append(b.cat.eventNames(), b.cat.channelNames()...)
	known = append(known, named(b.cat.propertyNames()...)...)
	known = append(known, named(b.cat.names()...)...)
	b.fail(n.Span, CodeUnknownName, didYouMean(n.Text, known), "nothing is called %q", n.Text)
}

// conversionValue binds what attribution shares out.
func (b *binder) conversionValue(e *Expr) *ScalarExpr {
	x := b.value(e, scope{})
	if x != nil && !numeric(x) {
		b.fail(e.Span, CodeTypeMismatch, "", "`value` needs a number, but %s is %s", x.brief(), typeName(x.Type))
	}
	return x
}

// defaultHalfLife is that of decay without one.
const defaultHalfLife = 7 * event.Day

var modelNames = []string{"first", "last", "linear", "position", "decay", "markov", "shapley"}

// models binds the attribution models; without any it is the last touch.
func (b *binder) models(name string, p *Plan) {
	if name != "attribute" {
		return
	}
	if !b.has("using") {
		p.Models = []ModelPlan{{Name: "last", Column: "last"}}
	}
	b.clause("using", func(c *Clause) {
		for i := range c.Models {
			m := b.model(&c.Models[i])
			if slices.ContainsFunc(p.Models, func(other ModelPlan) bool { return other.Column == m.Column }) {
				b.fail(c.Models[i].Span, CodeDuplicateName, "", "the model %s is named twice", m.Column)
			}
			p.Models = append(p.Models, m)
		}
	})
}

func (b *binder) model(m *Model) ModelPlan {
	plan := ModelPlan{Name: m.Name, Column: m.Name}
	if !slices.Contains(modelNames, m.Name) {
		hint := didYouMean(m.Name, named(modelNames...))
		b.fail(m.Span, CodeUnknownModel, hint, "unknown model %q", m.Name)
		return plan
	}
	switch {
	case m.Name == "decay":
		plan.HalfLife = defaultHalfLife
		if m.Duration != nil {
			plan.HalfLife, _ = b.elapsed(m.Duration, "the half-life")
		}
		plan.Column = "decay_" + plan.HalfLife.String()
	case m.Name == "markov":
		plan.Order = 1
		if m.Number != 0 {
			plan.Order = m.Number
		}
		if plan.Order != 1 && plan.Order != 2 {
			b.fail(m.Span, CodeBadNumber, "", "`markov` is of order 1 or 2")
		}
		if plan.Order != 1 {
			plan.Column = fmt.Sprintf("markov_%d", plan.Order)
		}
	}
	takesDuration, takesNumber := m.Name == "decay", m.Name == "markov"
	if m.Duration != nil && !takesDuration || m.Number != 0 && !takesNumber {
		b.fail(m.Span, CodeWrongArguments, "", "`%s` does not take this argument", m.Name)
	}
	return plan
}

// regex binds the expression of match.
func (b *binder) regex(r *Regex) *RegexPlan {
	plan := &RegexPlan{Text: r.String()}
	for i := range r.Branches {
		branch := &r.Branches[i]
		var sequence RegexSequence
		for k := range branch.Items {
			item := b.regexItem(&branch.Items[k])
			if k > 0 && branch.Bounds[k-1] != nil {
				item.Bound = b.gap(branch.Bounds[k-1])
			}
			sequence.Items = append(sequence.Items, item)
		}
		plan.Branches = append(plan.Branches, sequence)
	}
	return plan
}

func (b *binder) regexItem(r *RegexItem) RegexItemPlan {
	item := RegexItemPlan{Min: r.Min, Max: r.Max, Bound: -1}
	if max(r.Min, r.Max) > repeatMax {
		b.fail(r.Span, CodeBadRepeat, "", "an item repeats at most %d times; without a limit write {%d,}", repeatMax, repeatMax)
	}
	if r.Max >= 0 && r.Max < max(r.Min, 1) {
		b.fail(r.Span, CodeBadRepeat, "", "%s repeats from %d to %d times", r.Repeat, r.Min, r.Max)
	}
	if r.Group != nil {
		item.Group = b.regex(r.Group)
		return item
	}
	item.Match = &Matcher{Any: b.touch(r.Touch), Text: r.Touch.String()}
	return item
}
