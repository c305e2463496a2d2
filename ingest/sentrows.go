package ingest

import (
	"cmp"
	"slices"
	"strings"

	"wend/event"
)

// sentRows collects sent events, column by column. What columns there are, and
// of which types, comes to light on the way.
type sentRows struct {
	batch   event.Batch
	n       int
	names   dictionary
	chans   dictionary
	columns []sentColumn
	byName  map[string]int
	row     sentRow
	events  int64 // looked at, taken or not
	used    int   // columns that have a value
	room    int   // rows that memory is taken for at once
	paid    int   // cells that memory may be taken for, see decoder.pay
}

// cellBytes is what a row's place in a column takes: a text, and whether there is one.
const cellBytes = 17

// with is how many cells the batch has if it takes a row.
func (r *sentRows) with(e *sentRow) int {
	used := r.used
	for _, v := range e.values {
		if len(r.columns[v.column].rows) == 0 {
			used++
		}
	}
	return used * (r.n + 1)
}

// sentColumn is the values of one property, and their rows. Its type is that of
// the store, or of the first value; None until there is one. Only finish puts
// them in the places of their rows: of names that few events have, that takes
// far more memory than the values do.
type sentColumn struct {
	event.Column
	rows []int32
	seen int64 // number of the event that last had one
}

// sentRow is one event, not taken yet: until it is, it decides nothing.
type sentRow struct {
	customer, name, channel, id string

	time   event.Time
	values []sentValue
}

type sentValue struct {
	column int
	value  event.Value
}

// expect says how many events are to come, roughly.
func (r *sentRows) expect(n int) {
	r.room = n
	r.batch = event.Batch{
		Customer: make([]string, 0, n), Time: make([]event.Time, 0, n),
		Name: make([]uint32, 0, n), Channel: make([]uint32, 0, n),
	}
	r.byName = map[string]int{}
	r.names.reset()
	r.chans.reset()
	r.chans.code("")
}

// column returns the place of a property's column.
func (r *sentRows) column(name string, known map[string]event.Type) int {
	i, ok := r.byName[name]
	if !ok {
		i = len(r.columns)
		r.byName[name] = i
		r.columns = append(r.columns, sentColumn{Column: event.Column{Name: name, Type: known[name]}})
	}
	return i
}

// begin returns an empty row.
func (r *sentRows) begin() *sentRow {
	r.row = sentRow{values: r.row.values[:0]}
	return &r.row
}

func (e *sentRow) set(column int, v event.Value) { e.values = append(e.values, sentValue{column, v}) }

// twice returns the first of the properties, by name, that the row has two
// values of: two keys may be one property, as in {"a.b": 1, "a": {"b": 2}}.
func (r *sentRows) twice(e *sentRow) (name string) {
	r.events++
	for _, v := range e.values {
		c := &r.columns[v.column]
		if c.seen == r.events && (name == "" || c.Name < name) {
			name = c.Name
		}
		c.seen = r.events
	}
	return name
}

// add takes a row.
func (r *sentRows) add(e *sentRow) {
	b := &r.batch
	b.Customer = append(b.Customer, e.customer)
	b.Time = append(b.Time, e.time)
	b.Name = append(b.Name, r.names.code(e.name))
	b.Channel = append(b.Channel, r.chans.code(e.channel))
	if e.id != "" && b.ID == nil {
		b.ID = make([]string, r.n, r.room)
	}
	if b.ID != nil {
		b.ID = append(b.ID, e.id)
	}
	for _, v := range e.values {
		c := &r.columns[v.column]
		if len(c.rows) == 0 {
			r.used++
		}
		room := 0
		if r.used*r.room <= r.paid {
			room = r.room
		}
		c.set(r.n, v.value, room)
	}
	r.n++
}

// set gives a row a value. room is for how many rows memory is taken, once the
// column has turned out to be more than an oddity; 0: as it comes.
func (c *sentColumn) set(row int, v event.Value, room int) {
	const some = 8
	switch {
	case c.Type == event.None:
		c.Type = v.Type()
	case c.Type == event.IntegerType && v.Type() == event.FloatType:
		widen(&c.Column, len(c.Ints))
	}
	if c.rows = append(c.rows, int32(row)); len(c.rows) == some {
		c.reserve(room)
	}
	switch c.Type {
	case event.StringType:
		c.Texts = append(c.Texts, v.Text())
	case event.FloatType:
		c.Floats = append(c.Floats, v.Float())
	default:
		c.Ints = append(c.Ints, v.Int())
	}
}

// reserve takes memory for so many rows.
func (c *sentColumn) reserve(rows int) {
	c.rows = slices.Grow(c.rows, max(rows-len(c.rows), 0))
	switch c.Type {
	case event.StringType:
		c.Texts = slices.Grow(c.Texts, max(rows-len(c.Texts), 0))
	case event.FloatType:
		c.Floats = slices.Grow(c.Floats, max(rows-len(c.Floats), 0))
	default:
		c.Ints = slices.Grow(c.Ints, max(rows-len(c.Ints), 0))
	}
}

// spread puts the values in the places of their rows, of n.
func (c *sentColumn) spread(n int) {
	if len(c.rows) == n {
		return // all have one
	}
	c.Present = make([]bool, n)
	for _, row := range c.rows {
		c.Present[row] = true
	}
	c.Ints, c.Floats, c.Texts = placed(c.Ints, c.rows, n), placed(c.Floats, c.rows, n), placed(c.Texts, c.rows, n)
}

// placed returns a list of n with values at their rows; nil of nil.
func placed[T any](values []T, rows []int32, n int) []T {
	if values == nil {
		return nil
	}
	list := make([]T, n)
	for i, row := range rows {
		list[row] = values[i]
	}
	return list
}

// detach copies texts that are pieces of what was sent, which is several times
// as long and would stay in memory as long as any of them.
func detach(texts []string) {
	size := 0
	for _, s := range texts {
		size += len(s)
	}
	var all strings.Builder
	all.Grow(size)
	for _, s := range texts {
		all.WriteString(s)
	}
	rest := all.String()
	for i, s := range texts {
		texts[i], rest = rest[:len(s)], rest[len(s):]
	}
}

// finish returns the batch, which shares no memory with what was sent. Its
// columns are in the order of their first values.
func (r *sentRows) finish() *event.Batch {
	b := new(event.Batch) // one of its own: r belongs to a decoder, which knows the text
	*b = r.batch
	b.Names, b.Channels = r.names.list, r.chans.list
	for _, texts := range [][]string{b.Customer, b.ID, b.Names, b.Channels} {
		detach(texts)
	}
	used := slices.DeleteFunc(r.columns, func(c sentColumn) bool { return len(c.rows) == 0 })
	slices.SortFunc(used, func(p, q sentColumn) int {
		return cmp.Or(cmp.Compare(p.rows[0], q.rows[0]), strings.Compare(p.Name, q.Name))
	})
	for i := range used {
		c := &used[i]
		c.spread(r.n)
		c.Name = strings.Clone(c.Name)
		detach(c.Texts)
		b.Columns = append(b.Columns, c.Column)
	}
	return b
}
