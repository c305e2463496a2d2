package query

import "slices"

// canonical writes a bound statement with everything that holds for it: all
// defaults, the options of a defined funnel, the values of parameters, clauses
// in the order of clauseOrder. Names of definitions stay names. Read again, it
// binds to an equal plan.
func (b *binder) canonical(q *Query, p *Plan, s *Statement) string {
	full := *q
	full.Clauses = nil
	name := statementName(q)
	for _, kind := range clausesOf(name) {
		if c, ok := b.fullClause(kind, name, p); ok {
			c.Kind = kind
			full.Clauses = append(full.Clauses, c)
		}
	}
	text := Statement{Explain: s.Explain, Analyze: s.Analyze, Query: &full}
	return text.String()
}

// fullClause is a clause as it holds; ok is false if there is none.
func (b *binder) fullClause(kind, name string, p *Plan) (c Clause, ok bool) {
	given, ok := b.set[kind]
	if ok {
		c = *given.Clause
	}
	switch kind {
	case "within", "entry", "ties", "exclusion":
		return optionClause(kind, p)
	case "per":
		return b.fullPer(c, ok, name, p)
	case "count":
		return Clause{Word: p.Count}, true
	case "of":
		if !ok && p.Of != nil {
			return Clause{Exprs: []*Expr{{Op: "name", Name: Name{Text: "event"}}}}, true
		}
	case "length":
		return Clause{Number: p.Length}, p.Length > 0
	case "depth":
		return Clause{Number: p.Depth}, p.Depth > 0
	case "top":
		return Clause{Number: p.Top}, p.Top > 0
	case "limit":
		return Clause{Number: p.Limit}, p.Limit > 0
	case "for":
		return Clause{Number: p.Periods}, p.Periods > 0
	case "using":
		return fullModels(p), true
	case "among":
		if ok {
			c.Cohort = fullCohort(c.Cohort, p.Among)
		}
	case "order":
		if ok && c.Word == "" {
			c.Word = "asc"
		}
	case "timezone":
		return Clause{Text: b.zoneName}, true
	case "lenient":
		return Clause{}, b.lenient
	}
	return c, ok
}

// optionClause is an option that always holds for a statement on a pattern.
func optionClause(kind string, p *Plan) (Clause, bool) {
	c := Clause{Kind: kind}
	switch kind {
	case "within":
		for _, w := range p.Windows {
			c.Durations = append(c.Durations, Duration{Value: w})
		}
		return c, p.HasWindow
	case "per":
		c.Word = "customer"
		if p.Unit.Session {
			c.Word, c.Gap = "session", &Duration{Value: p.Unit.Gap}
		}
	case "entry":
		c.Word = "best"
		if p.EntryFirst {
			c.Word = "first"
		}
	case "ties":
		c.Word = "steps"
		if p.TiesArrival {
			c.Word = "arrival"
		}
	case "exclusion":
		c.Word = p.Exclusion
	}
	return c, true
}

// fullPer is the unit. Of measure, only sessions look at it.
func (b *binder) fullPer(given Clause, ok bool, name string, p *Plan) (Clause, bool) {
	if name == "measure" && !p.Unit.Session {
		return Clause{}, false
	}
	if ok && given.Word == "field" {
		return given, true
	}
	return optionClause("per", p)
}

func fullModels(p *Plan) Clause {
	var c Clause
	for _, m := range p.Models {
		model := Model{Name: m.Name}
		switch m.Name {
		case "decay":
			model.Duration = &Duration{Value: m.HalfLife}
		case "markov":
			model.Number = m.Order
		}
		c.Models = append(c.Models, model)
	}
	return c
}

// fullCohort writes out what holds for the parts of a cohort. It walks the
// text and its plan side by side: segments and funnels that are named stay names.
func fullCohort(c *Cohort, p *CohortPlan) *Cohort {
	full := *c
	switch c.Kind {
	case "and", "or", "not":
		full.Args = slices.Clone(c.Args)
		for i := range full.Args {
			full.Args[i] = fullCohort(c.Args[i], p.Args[i])
		}
	case "did":
		if c.Compare == "" {
			full.Compare, full.Times = "at least", 1
		}
	case "reached", "stopped":
		if c.Pattern != nil {
			full.Options = fullOptions(c.Options, p.Sub)
		}
	}
	return &full
}

// fullOptions are the options that hold for a funnel in parentheses.
func fullOptions(given []Clause, p *Plan) []Clause {
	var full []Clause
	for _, kind := range optionKinds {
		at := slices.IndexFunc(given, func(c Clause) bool { return c.Kind == kind })
		switch kind {
		case "where", "during", "holding":
			if at >= 0 {
				full = append(full, given[at])
			}
		default:
			if c, ok := optionClause(kind, p); ok {
				full = append(full, c)
			}
		}
	}
	return full
}
