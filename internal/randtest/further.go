package randtest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/event"
)

// furtherHead writes what follows the verb of the statements beside funnel and paths.
func (g *gen) furtherHead(s *Statement) {
	switch s.Verb {
	case "why":
		g.patternOf(s)
		s.Lead = textLiteral(pick(g.r, g.w.Events).Customer) + " in"
	case "drivers":
		g.patternOf(s)
		s.Lead = "of"
		g.columns = []string{"factor", "converted", "dropped", "odds_ratio", "lift", "p_value"}
	case "next after":
		g.patternOf(s)
		g.columns = []string{"next", "probability", "support", "median_time"}
	case "next for":
		s.Head = textLiteral(pick(g.r, g.w.Events).Customer)
		g.columns = []string{"next", "probability", "support", "median_time", "suffix"}
	case "attribute":
		s.Head = g.alt() + " to " + pick(g.r, []string{"channel", "channel", "event", "event, channel", g.scalar(1), g.field()})
		g.columns = []string{"conversions_last"}
	case "retention":
		s.Head = g.alt() + " -> " + g.alt()
		g.columns = []string{"cohort", "size", "period", "customers", "share"}
	case "flow":
		s.Head = pick(g.r, []string{"", "from " + g.alt(), "from " + g.alt(), "to " + g.alt()})
		g.columns = []string{"level", "source", "target", "journeys", "share"}
	case "switches":
		s.Head = pick(g.r, []string{"", "", "from " + g.channel(), "to " + g.channel(), "from " + g.channel() + " to " + g.channel()})
		if len(g.w.channels)+len(g.w.groups) == 0 {
			s.Head = "" // there is none to name
		}
		g.columns = []string{"source", "target", "count", "customers", "lost", "open", "loss_rate", "median_gap"}
	case "match":
		s.Head = g.regex(2)
		g.columns = []string{"customers", "matches", "median_duration"}
	case "map":
		s.Head = pick(g.r, []string{"early, späte_phase", "early, späte_phase", "späte_phase, early", "early"})
		g.columns = []string{"stage", "channel", "customers", "events", "reached", "to_next_stage", "score_avg", "breaks"}
	case "moments":
		g.columns = []string{"touchpoint", "customers", "reach", "loss"}
	case "affinity":
		s.Head = "of " + pick(g.r, []string{"channel", "event", g.wordField()}) + " in " + pick(g.r, []string{"*", g.alt()})
		g.columns = []string{"left", "right", "together", "support", "confidence", "lift"}
	default:
		panic("no generator for " + s.Verb)
	}
}

func (g *gen) patternOf(s *Statement) {
	p := g.pattern()
	s.Pattern = &p
	if len(g.w.funnels) > 0 && g.r.IntN(12) == 0 {
		s.Pattern, g.steps = &Pattern{Steps: []string{g.w.funnels[0]}}, []string{"1"}
	}
}

func (g *gen) furtherClause(kind string) string {
	switch kind {
	case "using":
		models := some(g.r, []string{"first", "last", "linear", "position", "decay", "decay(" + g.duration() + ")", "markov", "markov(2)", "shapley"}, 1+g.r.IntN(4))
		if i := slices.Index(models, "decay(7d)"); i >= 0 && slices.Contains(models, "decay") {
			models = slices.Delete(models, i, i+1) // they are one
		}
		g.columns = []string{"label"} // shares that are nearly equal have no order
		if models[0] == "first" || models[0] == "last" {
			g.columns = append(g.columns, "conversions_"+models[0])
		}
		return "using " + strings.Join(models, ", ")
	case "value":
		choices := []string{"hour(time)", "length(event)", "hour(time) / 7"}
		for _, p := range g.smallNumbers() {
			choices = append(choices, p, p, p+" + 0.5")
		}
		return "value " + pick(g.r, choices)
	case "score":
		return "score " + pick(g.r, g.smallNumbers())
	case "goal":
		return "goal " + g.alt()
	case "for":
		return fmt.Sprint("for ", 1+g.r.IntN(5))
	case "depth":
		return fmt.Sprint("depth ", 1+g.r.IntN(6))
	case "test":
		return fmt.Sprint("test last ", pick(g.r, []int{10, 20, 33, 50, 80}), "%")
	}
	panic("no generator for clause " + kind)
}

// needs adds the clauses that a statement cannot do without and drops those
// that the world has nothing for.
func (g *gen) needs(verb string, kinds map[string]bool) {
	switch verb {
	case "retention":
		kinds["every"] = true
	case "drivers":
		kinds["by"] = true
	}
	if kinds["score"] && len(g.smallNumbers()) == 0 {
		delete(kinds, "score")
	}
}

// possible tells whether the world has what a statement is about.
func (w *World) possible(verb string) bool {
	return verb != "map" || slices.Contains(w.alts, "early")
}

// smallNumbers lists the numeric properties whose sums do not round.
func (g *gen) smallNumbers() []string {
	var names []string
	for _, p := range g.w.props {
		small := p.typ.Numeric() && !slices.ContainsFunc(p.values, func(v event.Value) bool { return math.Abs(v.Float()) > 1e6 })
		if small {
			names = append(names, propertyText(p.name))
		}
	}
	return names
}

// wordField is a property, or the channel where there is none.
func (g *gen) wordField() string { return propertyText(pick(g.r, g.w.props).name) }

func (g *gen) channel() string { return strings.TrimPrefix(g.at(), "@") }

// regex writes an expression of match.
func (g *gen) regex(depth int) string {
	var branches []string
	for len(branches) == 0 || depth < 2 && len(branches) < 3 && g.r.IntN(2) == 0 {
		text := g.regexItem(depth)
		for range g.r.IntN(3) {
			text += " =>" + pick(g.r, []string{"", "", "", "[" + g.duration() + "]"}) + " " + g.regexItem(depth)
		}
		branches = append(branches, text)
	}
	return strings.Join(branches, " | ")
}

func (g *gen) regexItem(depth int) string {
	item := g.touch()
	if strings.HasPrefix(item, "*") {
		item = "(" + item + ")"
	}
	if depth > 0 && g.r.IntN(3) == 0 {
		item = "(" + g.regex(depth-1) + ")"
	}
	return item + pick(g.r, []string{"", "", "", "?", "*", "+", "{2}", "{1,}", "{0,2}", "{2,3}"})
}
