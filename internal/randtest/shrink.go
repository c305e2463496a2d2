package randtest

import (
	"maps"
	"slices"

	"wend/event"
)

// Case is one statement on one world.
type Case struct {
	World     *World
	Statement *Statement
}

// Shrink takes away what a failing case does not need: clauses and steps,
// customers, events, properties, links and definitions, as long as it fails.
func Shrink(c Case, fails func(Case) bool) Case {
	for changed := true; changed; {
		changed = false
		for _, candidates := range []func(Case) []Case{withoutClause, withoutStep, withoutCustomer, withoutEvents, withoutProperty, withoutLink, withoutDefinition} {
			for smaller := true; smaller; {
				smaller = false
				for _, candidate := range candidates(c) {
					if fails(candidate) {
						c, smaller, changed = candidate, true, true
						break
					}
				}
			}
		}
	}
	return c
}

func withoutClause(c Case) []Case {
	var cases []Case
	for i := range c.Statement.Clauses {
		s := *c.Statement
		s.Clauses = slices.Delete(slices.Clone(s.Clauses), i, i+1)
		cases = append(cases, Case{c.World, &s})
	}
	return cases
}

func withoutStep(c Case) []Case {
	p := c.Statement.Pattern
	if p == nil || len(p.Steps) < 2 {
		return nil
	}
	var cases []Case
	for i := range p.Steps {
		q := Pattern{AnyOrder: p.AnyOrder, Steps: slices.Delete(slices.Clone(p.Steps), i, i+1)}
		if !p.AnyOrder {
			link := min(i, len(p.Links)-1)
			q.Links = slices.Delete(slices.Clone(p.Links), link, link+1)
		}
		s := *c.Statement
		s.Pattern = &q
		cases = append(cases, Case{c.World, &s})
	}
	return cases
}

func withoutCustomer(c Case) []Case {
	var names []string
	for _, e := range c.World.Events {
		if !slices.Contains(names, e.Customer) {
			names = append(names, e.Customer)
		}
	}
	if len(names) < 2 {
		return nil
	}
	var cases []Case
	for _, name := range names {
		w := c.World.clone()
		w.Events = slices.DeleteFunc(w.Events, func(e event.Event) bool { return e.Customer == name })
		cases = append(cases, Case{w, c.Statement})
	}
	return cases
}

// withoutEvents drops halves, quarters … and single events.
func withoutEvents(c Case) []Case {
	var cases []Case
	n := len(c.World.Events)
	for size := n / 2; size > 0; size /= 2 {
		for at := 0; at+size <= n && n > size; at += size {
			w := c.World.clone()
			w.Events = slices.Delete(w.Events, at, at+size)
			cases = append(cases, Case{w, c.Statement})
		}
	}
	return cases
}

func withoutProperty(c Case) []Case {
	var cases []Case
	names := map[string]bool{"": true} // "" is the channel
	for _, e := range c.World.Events {
		for _, p := range e.Props {
			names[p.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		w := c.World.clone()
		found := false
		for i, e := range w.Events {
			if name == "" {
				found = found || e.Channel != ""
				w.Events[i].Channel = ""
				continue
			}
			w.Events[i].Props = slices.DeleteFunc(slices.Clone(e.Props), func(p event.Prop) bool { return p.Name == name })
			found = found || len(w.Events[i].Props) < len(e.Props)
		}
		if found {
			cases = append(cases, Case{w, c.Statement})
		}
	}
	return cases
}

func withoutLink(c Case) []Case {
	var cases []Case
	for _, from := range slices.Sorted(maps.Keys(c.World.Links)) {
		w := c.World.clone()
		delete(w.Links, from)
		cases = append(cases, Case{w, c.Statement})
	}
	return cases
}

func withoutDefinition(c Case) []Case {
	var cases []Case
	for i := range c.World.Definitions {
		w := c.World.clone()
		w.Definitions = slices.Delete(w.Definitions, i, i+1)
		cases = append(cases, Case{w, c.Statement})
	}
	return cases
}
