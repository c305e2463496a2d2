package tile

import (
	"fmt"

	"wend/event"
)

// Journey is one customer's events in order of time, then arrival.
type Journey struct {
	Customer string // canonical name
	Events   []event.Event
}

// Build makes a tile with all columns from journeys row by row, for snapshots
// small enough to keep in memory as events. Every name and property must be in
// the schema, with the type it has there.
func Build(schema *event.Schema, journeys []Journey) (*Tile, error) {
	b := builder{
		schema:   schema,
		events:   index(schema.Events),
		channels: index(schema.Channels),
		starts:   []uint32{0},
		columns:  make([]*Column, len(schema.Properties)),
		dicts:    make([]map[string]uint32, len(schema.Properties)+1),
		rows:     0,
	}
	for _, j := range journeys {
		b.rows += len(j.Events)
	}
	names := make([]string, len(journeys))
	for c, j := range journeys {
		names[c] = j.Customer
		for i := range j.Events {
			if err := b.add(&j.Events[i]); err != nil {
				return nil, fmt.Errorf("customer %q, event %d: %w", j.Customer, i, err)
			}
		}
		b.starts = append(b.starts, uint32(len(b.times)))
	}
	t := &Tile{
		Rows:    len(b.times),
		Starts:  b.starts,
		Firsts:  NewFirsts(b.starts),
		Names:   NewStrings(names),
		Event:   NewCodes(b.event),
		Time:    NewTimes(b.times, b.starts),
		Ties:    NewTies(b.times, b.starts),
		Channel: NewCodes(b.channel),
		IDs:     b.ids,
		Columns: b.columns,
	}
	t.Same = t.Time.Same(t.Starts, t.Ties)
	t.Lasts = t.Time.LastBases(t.Starts)
	return t, nil
}

type builder struct {
	schema           *event.Schema
	events, channels map[string]uint32
	rows             int // in all
	starts           []uint32
	times            []event.Time
	event, channel   []uint32
	ids              *Column
	columns          []*Column
	dicts            []map[string]uint32 // by property; the last is that of ids
}

func index(names []event.Name) map[string]uint32 {
	codes := make(map[string]uint32, len(names))
	for i, n := range names {
		codes[n.Text] = uint32(i)
	}
	return codes
}

func (b *builder) add(e *event.Event) error {
	code, ok := b.events[e.Name]
	if !ok {
		return fmt.Errorf("event %q is not in the schema", e.Name)
	}
	channel, ok := b.channels[e.Channel]
	if !ok && e.Channel != "" {
		return fmt.Errorf("channel %q is not in the schema", e.Channel)
	}
	row := len(b.times)
	b.times = append(b.times, e.Time)
	b.event = append(b.event, code)
	b.channel = append(b.channel, channel)
	if e.ID != "" {
		b.set(&b.ids, len(b.columns), row, event.String(e.ID))
	}
	for _, p := range e.Props {
		i, ok := b.schema.Property(p.Name)
		if !ok {
			return fmt.Errorf("property %q is not in the schema", p.Name)
		}
		v, want := p.Value, b.schema.Properties[i].Type
		if v.Type() == event.IntegerType && want == event.FloatType {
			v = event.Float(v.Float())
		}
		if v.IsNull() {
			continue
		}
		if v.Type() != want {
			return fmt.Errorf("property %q is %s, in the schema %s", p.Name, v.Type(), want)
		}
		b.set(&b.columns[i], i, row, v)
	}
	return nil
}

// set gives a row its value; dict is the index of the column's dictionary.
func (b *builder) set(column **Column, dict, row int, v event.Value) {
	c := *column
	if c == nil {
		c = NewColumn(v.Type(), b.rows)
		*column = c
	}
	c.Present.Set(row)
	switch v.Type() {
	case event.StringType:
		if b.dicts[dict] == nil {
			b.dicts[dict] = map[string]uint32{}
		}
		code, ok := b.dicts[dict][v.Text()]
		if !ok {
			code = uint32(len(c.Dict))
			b.dicts[dict][v.Text()] = code
			c.Dict = append(c.Dict, v.Text())
		}
		c.Codes[row] = code
	case event.FloatType:
		c.Floats[row] = v.Float()
	default:
		c.Ints[row] = v.Int()
	}
}
