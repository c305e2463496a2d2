// Package event is the vocabulary that all other packages share: what an
// event is, what a property's value can be, and how instants and elapsed
// times are written.
//
// It depends on the standard library only.
package event

// Event is one fact about a customer: who, when, what, and where.
type Event struct {
	Customer string // identity as the source sent it; never empty
	Time     Time
	Name     string // what happened; never empty
	Channel  string // where; empty means absent (null)
	ID       string // the source's own id of this event; empty if it has none
	Props    []Prop // further properties, by name, each name once
}

// Prop is one named property of an event.
type Prop struct {
	Name  string
	Value Value
}

// Prop returns the value of the property called name, Null if the event has none.
func (e *Event) Prop(name string) Value {
	for i := range e.Props {
		if e.Props[i].Name == name {
			return e.Props[i].Value
		}
	}
	return Null
}

// Reserved names an event's own fields. A property may not take one of them:
// the language reads them as the field.
var Reserved = []string{"customer", "time", "event", "channel", "id"}
