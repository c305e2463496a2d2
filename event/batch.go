package event

import "slices"

// Batch is many events, column by column: the form in which import and the
// write-ahead log hand them on. Row i of every column belongs to event i;
// rows stand in order of arrival.
type Batch struct {
	Customer []string
	Time     []Time
	Name     []uint32 // index into Names
	Channel  []uint32 // index into Channels; 0 is absent
	ID       []string // nil if no event has an id; "" is none
	Names    []string
	Channels []string // Channels[0] is ""
	Columns  []Column
}

// Column is one property's values in a batch. Only the slice of its type is
// used, and it has an entry for every row; entries of absent rows are zero.
type Column struct {
	Name    string
	Type    Type
	Present []bool    // false: the event lacks the property; nil: all have it
	Ints    []int64   // integer, boolean (0 or 1), time (microseconds)
	Floats  []float64 // float
	Texts   []string  // string
}

// Len returns the number of events.
func (b *Batch) Len() int { return len(b.Time) }

// At returns row i's value.
func (c *Column) At(i int) Value {
	if c.Present != nil && !c.Present[i] {
		return Null
	}
	switch c.Type {
	case StringType:
		return String(c.Texts[i])
	case FloatType:
		return Float(c.Floats[i])
	case IntegerType:
		return Integer(c.Ints[i])
	case BooleanType:
		return Boolean(c.Ints[i] != 0)
	case TimeType:
		return Instant(Time(c.Ints[i]))
	}
	return Null
}

// At returns event i.
func (b *Batch) At(i int) Event {
	e := Event{Customer: b.Customer[i], Time: b.Time[i], Name: b.Names[b.Name[i]], Channel: b.Channels[b.Channel[i]]}
	if b.ID != nil {
		e.ID = b.ID[i]
	}
	for c := range b.Columns {
		if v := b.Columns[c].At(i); !v.IsNull() {
			e.Props = append(e.Props, Prop{b.Columns[c].Name, v})
		}
	}
	slices.SortFunc(e.Props, func(p, q Prop) int {
		if p.Name < q.Name {
			return -1
		}
		return 1
	})
	return e
}

// Builder collects events into a Batch. A property's type is that of its first
// value; an integer where floats came before widens, and floats widen integers
// that came before. Any other mixture is the caller's mistake to prevent.
type Builder struct {
	batch    Batch
	names    map[string]uint32
	channels map[string]uint32
	columns  map[string]int
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{
		batch:    Batch{Channels: []string{""}},
		names:    map[string]uint32{},
		channels: map[string]uint32{"": 0},
		columns:  map[string]int{},
	}
}

// Add appends one event.
func (b *Builder) Add(e Event) {
	row := len(b.batch.Time)
	b.batch.Customer = append(b.batch.Customer, e.Customer)
	b.batch.Time = append(b.batch.Time, e.Time)
	b.batch.Name = append(b.batch.Name, intern(&b.batch.Names, b.names, e.Name))
	b.batch.Channel = append(b.batch.Channel, intern(&b.batch.Channels, b.channels, e.Channel))
	if e.ID != "" && b.batch.ID == nil {
		b.batch.ID = make([]string, row, row+1)
	}
	if b.batch.ID != nil {
		b.batch.ID = append(b.batch.ID, e.ID)
	}
	for _, p := range e.Props {
		if !p.Value.IsNull() {
			b.set(row, p)
		}
	}
	for i := range b.batch.Columns {
		b.batch.Columns[i].grow(row + 1)
	}
}

func (b *Builder) set(row int, p Prop) {
	i, ok := b.columns[p.Name]
	if !ok {
		i = len(b.batch.Columns)
		b.columns[p.Name] = i
		b.batch.Columns = append(b.batch.Columns, Column{Name: p.Name, Type: p.Value.Type(), Present: []bool{}})
	}
	c := &b.batch.Columns[i]
	if c.Type == IntegerType && p.Value.Type() == FloatType {
		c.Floats = make([]float64, len(c.Ints))
		for k, n := range c.Ints {
			c.Floats[k] = float64(n)
		}
		c.Type, c.Ints = FloatType, nil
	}
	c.grow(row + 1)
	c.Present[row] = true
	switch c.Type {
	case StringType:
		c.Texts[row] = p.Value.Text()
	case FloatType:
		c.Floats[row] = p.Value.Float()
	default:
		c.Ints[row] = p.Value.Int()
	}
}

func (c *Column) grow(n int) {
	for len(c.Present) < n {
		c.Present = append(c.Present, false)
	}
	switch c.Type {
	case StringType:
		for len(c.Texts) < n {
			c.Texts = append(c.Texts, "")
		}
	case FloatType:
		for len(c.Floats) < n {
			c.Floats = append(c.Floats, 0)
		}
	default:
		for len(c.Ints) < n {
			c.Ints = append(c.Ints, 0)
		}
	}
}

func intern(list *[]string, index map[string]uint32, text string) uint32 {
	code, ok := index[text]
	if !ok {
		code = uint32(len(*list))
		*list = append(*list, text)
		index[text] = code
	}
	return code
}

// Len returns the number of events added.
func (b *Builder) Len() int { return b.batch.Len() }

// Batch returns what was added and empties the Builder.
func (b *Builder) Batch() *Batch {
	done := b.batch
	*b = *NewBuilder()
	return &done
}
