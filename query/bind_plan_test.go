package query

import (
	"fmt"
	"math"
	"strings"

	"wend/event"
)

// planText shows a plan for transcripts: a line for everything that is set.
func planText(p *Plan) string {
	var w planWriter
	w.plan(p)
	return w.String()
}

type planWriter struct {
	strings.Builder
	depth int
}

func (w *planWriter) line(format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("  ", w.depth), fmt.Sprintf(format, args...))
}

func (w *planWriter) indented(write func()) {
	w.depth++
	write()
	w.depth--
}

func (w *planWriter) plan(p *Plan) {
	w.line("%s", p.Verb)
	w.indented(func() {
		w.pattern(p)
		w.matcher("from", p.From)
		w.matcher("to", p.To)
		if p.Regex != nil {
			w.line("match")
			w.indented(func() { w.regex(p.Regex) })
		}
		if p.FromChannels != nil || p.ToChannels != nil {
			w.line("from channels %v to channels %v", p.FromChannels, p.ToChannels)
		}
		for _, o := range p.Outputs {
			w.line("output %s = %s", o.Name, scalarText(o.Expr))
		}
		for _, s := range p.Stages {
			w.matcher("stage "+s.Name, s.Match)
		}
		w.text("customer", p.Customer)
		w.text("describe", p.Describe)
		w.unit(p)
		w.scalars("of", p.Of)
		w.scalar("value", p.Value)
		w.text("score", p.Score)
		w.matcher("through", p.Through)
		w.matcher("goal", p.Goal)
		for _, m := range p.Models {
			w.line("model %s, half-life %s, order %d: %s", m.Name, m.HalfLife, m.Order, m.Column)
		}
		w.numbers(p)
		w.scalar("where", p.Where)
		w.interval("during", p.During)
		if p.Among != nil {
			w.line("among")
			w.indented(func() { w.cohort(p.Among) })
		}
		for _, g := range p.By {
			w.line("by %s top %d = %s", g.Name, g.Top, scalarText(g.Expr))
		}
		w.text("every", p.Every)
		if p.Order != nil {
			w.line("order by %s, descending %v", p.Order.Column, p.Order.Desc)
		}
		if p.HasEnd {
			w.line("end %s", p.End)
		}
	})
}

func (w *planWriter) text(what, text string) {
	if text != "" {
		w.line("%s %s", what, text)
	}
}

func (w *planWriter) pattern(p *Plan) {
	if p.Pattern == nil {
		return
	}
	for i, s := range p.Pattern.Steps {
		how := ""
		if s.Next {
			how += ", the very next"
		}
		if s.Bound >= 0 {
			how += ", at most " + s.Bound.String() + " later"
		}
		if p.Pattern.AnyOrder {
			how += ", in any order"
		}
		w.matcher(fmt.Sprintf("step %d %s%s", i+1, s.Name, how), s.Match)
		w.indented(func() { w.matcher("not after", s.Exclude) })
	}
}

func (w *planWriter) unit(p *Plan) {
	if p.Pattern != nil || p.HasWindow || p.Unit.Session {
		unit := "customer"
		if p.Unit.Session {
			unit = "session gap " + p.Unit.Gap.String()
		}
		w.line("windows %v per %s", p.Windows, unit)
	}
	if p.Pattern != nil {
		w.line("count %s, entry first %v, ties arrival %v, exclusion %s", p.Count, p.EntryFirst, p.TiesArrival, p.Exclusion)
	}
	w.text("holding", p.Holding)
	w.text("baskets per", p.Per)
}

func (w *planWriter) numbers(p *Plan) {
	var set []string
	for _, n := range []struct {
		name  string
		value int64
	}{{"length", p.Length}, {"depth", p.Depth}, {"top", p.Top}, {"periods", p.Periods}, {"limit", p.Limit}} {
		if n.value != 0 {
			set = append(set, fmt.Sprintf("%s %d", n.name, n.value))
		}
	}
	if p.Cover != 0 {
		set = append(set, fmt.Sprintf("cover %g", p.Cover))
	}
	if p.TestLast != 0 {
		set = append(set, fmt.Sprintf("test last %g", p.TestLast))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"collapse", p.Collapse}, {"from each", p.FromEach}, {"to each", p.ToEach}, {"with times", p.WithTimes}, {"for", p.For}} {
		if f.set {
			set = append(set, f.name)
		}
	}
	if len(set) > 0 {
		w.line("%s", strings.Join(set, ", "))
	}
}

func (w *planWriter) interval(what string, in Interval) {
	if !in.Set {
		return
	}
	from, to := "", ""
	if in.From != math.MinInt64 {
		from = in.From.String() + " <= "
	}
	if in.To != math.MaxInt64 {
		to = " < " + in.To.String()
	}
	w.line("%s %stime%s", what, from, to)
}

func (w *planWriter) matcher(what string, m *Matcher) {
	if m == nil {
		return
	}
	alternatives := make([]string, len(m.Any))
	for i, t := range m.Any {
		alternatives[i] = t.Event
		if t.AnyEvent {
			alternatives[i] = "*"
		}
		if t.Channels != nil {
			alternatives[i] += fmt.Sprintf(" in %v", t.Channels)
		}
		if t.Filter != nil {
			alternatives[i] += " where " + scalarText(t.Filter)
		}
	}
	w.line("%s: %s", what, strings.Join(alternatives, " | "))
}

func (w *planWriter) regex(r *RegexPlan) {
	for i, branch := range r.Branches {
		if i > 0 {
			w.line("or")
		}
		for _, item := range branch.Items {
			how := fmt.Sprintf("%d to %d times", item.Min, item.Max)
			if item.Max < 0 {
				how = fmt.Sprintf("%d times or more", item.Min)
			}
			if item.Bound >= 0 {
				how += ", at most " + item.Bound.String() + " later"
			}
			if item.Group != nil {
				w.line("%s", how)
				w.indented(func() { w.regex(item.Group) })
				continue
			}
			w.matcher(how, item.Match)
		}
	}
}

func (w *planWriter) cohort(c *CohortPlan) {
	switch c.Kind {
	case "did":
		most := "or more"
		if c.Max >= 0 {
			most = fmt.Sprintf("to %d", c.Max)
		}
		w.matcher(fmt.Sprintf("did %d %s times", c.Min, most), c.Match)
		w.indented(func() { w.interval("during", c.During) })
	case "reached", "stopped":
		w.line("%s %d in", c.Kind, c.Step)
		w.indented(func() { w.plan(c.Sub) })
	case "property":
		w.line("customer %s", scalarText(c.Test))
	default:
		w.line("%s", c.Kind)
		for _, a := range c.Args {
			w.indented(func() { w.cohort(a) })
		}
	}
}

func (w *planWriter) scalar(what string, x *ScalarExpr) {
	if x != nil {
		w.line("%s %s", what, scalarText(x))
	}
}

func (w *planWriter) scalars(what string, list []*ScalarExpr) {
	for _, x := range list {
		w.scalar(what, x)
	}
}

// scalarText shows an expression with its operator first and with its types.
func scalarText(x *ScalarExpr) string {
	var text string
	switch x.Op {
	case "const":
		text = x.Value.String()
		switch x.Value.Type() {
		case event.StringType:
			text = "'" + text + "'"
		case event.None:
			text = "null"
		}
	case "field":
		text = []string{"", fmt.Sprintf("step %d ", x.Step), "last ", "customer's "}[x.Scope] + x.Field + " " + x.Type.String()
	case "stage":
		for _, s := range x.Stages {
			text += " " + s.Name + ": " + matcherText(s.Match)
		}
		text = "stage" + text
	case "group":
		for _, g := range x.Groups {
			text += fmt.Sprintf(" %s: %v", g.Name, g.Channels)
		}
		text = "group" + text
	case "segment":
		var w planWriter
		w.cohort(x.Cohort)
		text = "segment " + x.Name + ": " + strings.Join(strings.Fields(w.String()), " ")
	default:
		text = x.Op
		if x.Op == "percentile" {
			text += " " + x.Value.String()
		}
		for _, a := range x.Args {
			text += " " + scalarText(a)
		}
		if x.Regexp != nil {
			text += " " + x.Regexp.String()
		}
		if x.Type != event.BooleanType {
			text += " " + x.Type.String()
		}
	}
	if x.Filter != nil {
		text += " if " + scalarText(x.Filter)
	}
	if x.Op == "const" {
		return text
	}
	return "(" + text + ")"
}

func matcherText(m *Matcher) string {
	var w planWriter
	w.matcher("", m)
	return strings.TrimPrefix(strings.TrimSpace(w.String()), ": ")
}
