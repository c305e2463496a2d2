package storage

import (
	"fmt"
	"maps"
	"slices"

	"wend/event"
)

// catalog is the store's dictionaries: a name's code is its place in the list
// and never changes, so segments of any age share codes. Lists only grow, and
// a property's entry is replaced in a copy when it widens, so slices handed to
// snapshots stay as they were. A name that an erasure took leaves "" in its
// place; if it comes back it has another code.
type catalog struct {
	events       []string
	channels     []string // channels[0] is ""
	properties   []event.Property
	eventCode    map[string]uint32
	channelCode  map[string]uint32
	propertyCode map[string]int
}

func newCatalog(events, channels []string, properties []event.Property) *catalog {
	if len(channels) == 0 {
		channels = []string{""}
	}
	c := &catalog{
		events: events, channels: channels, properties: properties,
		eventCode: map[string]uint32{}, channelCode: map[string]uint32{}, propertyCode: map[string]int{},
	}
	for i, n := range events {
		if n != "" {
			c.eventCode[n] = uint32(i)
		}
	}
	for i, n := range channels {
		if n != "" || i == 0 {
			c.channelCode[n] = uint32(i)
		}
	}
	for i, p := range properties {
		if p.Name != "" {
			c.propertyCode[p.Name] = i
		}
	}
	return c
}

func (c *catalog) clone() *catalog {
	return &catalog{
		events: slices.Clip(c.events), channels: slices.Clip(c.channels), properties: slices.Clip(c.properties),
		eventCode: maps.Clone(c.eventCode), channelCode: maps.Clone(c.channelCode), propertyCode: maps.Clone(c.propertyCode),
	}
}

func (c *catalog) event(name string) uint32 {
	code, ok := c.eventCode[name]
	if !ok {
		code = uint32(len(c.events))
		c.events = append(c.events, name)
		c.eventCode[name] = code
	}
	return code
}

func (c *catalog) channel(name string) uint32 {
	code, ok := c.channelCode[name]
	if !ok {
		code = uint32(len(c.channels))
		c.channels = append(c.channels, name)
		c.channelCode[name] = code
	}
	return code
}

// property returns the index of a property whose values have type t, adding
// or widening it. accepts must have said yes before.
func (c *catalog) property(name string, t event.Type) int {
	i, ok := c.propertyCode[name]
	switch {
	case !ok:
		i = len(c.properties)
		c.properties = append(c.properties, event.Property{Name: name, Type: t})
		c.propertyCode[name] = i
	case t == event.FloatType && c.properties[i].Type == event.IntegerType:
		c.properties = slices.Clone(c.properties)
		c.properties[i].Type = event.FloatType
	}
	return i
}

// accepts says why values of type t cannot be stored under a property's name;
// empty if they can.
func (c *catalog) accepts(name string, t event.Type) string {
	if slices.Contains(event.Reserved, name) {
		return fmt.Sprintf("property %q: the name is an event's own field; rename the property", name)
	}
	i, ok := c.propertyCode[name]
	if !ok {
		return ""
	}
	have := c.properties[i].Type
	if have == t || have.Numeric() && t.Numeric() {
		return ""
	}
	return fmt.Sprintf("property %q: expected %s, got %s", name, have, t)
}
