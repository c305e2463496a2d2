package event

import "slices"

// Schema lists what there is to query in one snapshot. Codes are indexes:
// Events[3] is the event with code 3 wherever codes appear in that snapshot.
type Schema struct {
	Events     []Name
	Channels   []Name // Channels[0] is "", the code of an absent channel
	Properties []Property
}

// Name is an event or a channel that the store knows. When the customer is
// erased who alone had events of a name, Text becomes "": the code is not used
// again. So does the Name of a property.
type Name struct {
	Text  string
	Count int64 // events that carry it, an upper bound while duplicates await compaction
}

// Property is one property that events may carry.
type Property struct {
	Name string
	Type Type
}

// Known returns the schema with only the names there are, for those who list
// them: without the empty places that erasures leave. Codes are those of s, not
// of what it returns.
func (s *Schema) Known() *Schema {
	named := func(list []Name) []Name {
		return slices.DeleteFunc(slices.Clone(list), func(n Name) bool { return n.Text == "" })
	}
	known := &Schema{Events: named(s.Events), Channels: s.Channels}
	if len(s.Channels) > 0 {
		known.Channels = append([]Name{s.Channels[0]}, named(s.Channels[1:])...)
	}
	known.Properties = slices.DeleteFunc(slices.Clone(s.Properties), func(p Property) bool { return p.Name == "" })
	return known
}

// Event returns the code of an event's name.
func (s *Schema) Event(name string) (code int, ok bool) { return find(s.Events, name) }

// Channel returns the code of a channel's name.
func (s *Schema) Channel(name string) (code int, ok bool) { return find(s.Channels, name) }

func find(names []Name, text string) (int, bool) {
	for i := range names {
		if names[i].Text == text {
			return i, true
		}
	}
	return 0, false
}

// Property returns the index of a property.
func (s *Schema) Property(name string) (index int, ok bool) {
	for i := range s.Properties {
		if s.Properties[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// Definition is a named piece of the language that a store keeps:
// a touchpoint, a stage, a group of channels, a segment or a funnel.
type Definition struct {
	Kind string // "touchpoint", "stage", "channels", "segment" or "funnel"
	Name string
	Text string // the whole statement in canonical form: define … as …
}
