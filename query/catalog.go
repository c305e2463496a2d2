package query

import (
	"slices"

	"wend/event"
)

// Catalog is what Bind, CheckDefine and Complete know about a store: the names
// there are, the definitions, and how far the data reaches. It is read only.
type Catalog struct {
	Schema      *event.Schema
	Definitions []event.Definition

	EndOfData event.Time // of the snapshot; ranges such as `last 30 days` count back from it
	Empty     bool       // the store has no events, so EndOfData means nothing

	Params  map[string]event.Value // values of $name, by name without the $
	Lenient bool                   // unknown names are warnings: they match nothing, or are null

	// HasValue tells whether any event has this value of a string property, for
	// warnings about unknown values. It may be nil, and it may be unsure, which
	// warns of nothing. "event" and "channel" are looked up in Schema instead.
	HasValue func(property, value string) (known, sure bool)
}

// definition finds a definition by its name.
func (c *Catalog) definition(name string) (event.Definition, bool) {
	for _, d := range c.Definitions {
		if d.Name == name {
			return d, true
		}
	}
	return event.Definition{}, false
}

// names lists the names of the definitions of these kinds; of all kinds without any.
func (c *Catalog) names(kinds ...string) []string {
	var names []string
	for _, d := range c.Definitions {
		if len(kinds) == 0 {
			names = append(names, d.Name)
		}
		for _, k := range kinds {
			if d.Kind == k {
				names = append(names, d.Name)
			}
		}
	}
	return names
}

// eventNames lists the events of the schema, for suggestions.
func (c *Catalog) eventNames() []event.Name { return c.Schema.Known().Events }

// channelNames lists the channels of the schema, without the absent one.
func (c *Catalog) channelNames() []event.Name {
	return slices.DeleteFunc(slices.Clone(c.Schema.Channels), func(n event.Name) bool { return n.Text == "" })
}

// propertyNames lists the properties of the schema.
func (c *Catalog) propertyNames() []string {
	var names []string
	for _, p := range c.Schema.Known().Properties {
		names = append(names, p.Name)
	}
	return names
}

// named makes candidates of plain texts, for suggestions.
func named(texts ...string) []event.Name {
	names := make([]event.Name, len(texts))
	for i, text := range texts {
		names[i].Text = text
	}
	return names
}
