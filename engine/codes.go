package engine

import (
	"sync"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// dictionary gives small dense codes to values, the same to all workers of a
// run. Workers ask it only for values that are new to them (coder), so its
// lock is no meeting point. Which code a value gets depends on chance; what is
// shown is ordered by value.
type dictionary struct {
	mu     sync.Mutex
	index  map[event.Value]uint32
	values []event.Value
	limit  int // codes there may be
	name   string
	hint   string
	memory ration
}

func (r *run) dictionary(name, hint string) *dictionary {
	return &dictionary{index: map[event.Value]uint32{}, limit: r.opt.Groups, name: name, hint: hint, memory: ration{budget: r.memory}}
}

// entryBytes is about what one value takes in a dictionary: the value in the
// map, with its room to grow, and in the list.
const entryBytes = 136

func (d *dictionary) code(x event.Value) (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if code, ok := d.index[x]; ok {
		return code, nil
	}
	if len(d.values) >= d.limit {
		return 0, &LimitError{Limit: d.name, Value: int64(d.limit), Reached: int64(len(d.values)) + 1, Hint: d.hint}
	}
	if err := d.memory.take(entryBytes + int64(len(x.Text()))); err != nil {
		return 0, err
	}
	d.memory.budget.lasting.Add(entryBytes + int64(len(x.Text())))
	code := uint32(len(d.values))
	d.values = append(d.values, x)
	d.index[x] = code
	return code, nil
}

// find returns the code of a value, if it has one already.
func (d *dictionary) find(x event.Value) (code uint32, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	code, ok = d.index[x]
	return code, ok
}

// value returns the value of a code, also while workers still add some.
func (d *dictionary) value(code uint32) event.Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.values[code]
}

// coding turns the values of one expression into codes of a dictionary. Event,
// channel and text properties already are codes in a tile; their values are
// looked up once a tile, not once a row.
type coding struct {
	run      *run
	expr     scalar
	kind     codingKind
	property int
	dict     *dictionary
	text     func(event.Value) event.Value // what is coded in place of the value; nil: the value itself
}

type codingKind uint8

const (
	anyExpression codingKind = iota
	eventField
	channelField
	textProperty
)

// coding compiles an expression for coding.
func (r *run) coding(e *query.ScalarExpr, d *dictionary) (*coding, error) {
	c := &coding{run: r, dict: d, kind: anyExpression}
	if e.Op == "field" && e.Scope == query.EventScope {
		switch {
		case !e.Property && e.Field == "event":
			c.kind = eventField
			return c, nil
		case !e.Property && e.Field == "channel":
			r.needChannel()
			c.kind = channelField
			return c, nil
		case e.Property && e.Type == event.StringType:
			if i, ok := r.schema.Property(e.Field); ok && r.schema.Properties[i].Type == event.StringType {
				r.needProperty(i)
				c.kind, c.property = textProperty, i
				return c, nil
			}
		}
	}
	var err error
	c.expr, err = r.compile(e)
	return c, err
}

// coder is one worker's side of a coding.
type coder struct {
	*coding
	direct []uint32 // by schema code, or by code of the tile's dictionary: code + 1, 0 unknown
	tile   int      // whose dictionary direct belongs to
	null   uint32   // code of null + 1
	seen   map[event.Value]uint32
	loaded []uint32 // codes of all rows of the tile at hand; nil: look each up
	rows   []uint32 // scratch of load
}

func (c *coding) worker() *coder {
	w := &coder{coding: c, tile: -1}
	switch c.kind {
	case eventField:
		w.direct = make([]uint32, len(c.run.schema.Events))
	case channelField:
		w.direct = make([]uint32, len(c.run.schema.Channels))
	case anyExpression:
		w.seen = map[event.Value]uint32{}
	}
	return w
}

// code returns the code of the expression's value at a place.
func (c *coder) code(v *view, p *place) (uint32, error) {
	if c.loaded != nil {
		return c.loaded[p.row], nil
	}
	switch c.kind {
	case eventField:
		return c.schemaCode(v.Event.At(p.row))
	case channelField:
		return c.schemaCode(v.Channel.At(p.row))
	case textProperty:
		column := v.column(c.property)
		if column == nil || !column.Present.Get(p.row) {
			if c.null != 0 {
				return c.null - 1, nil
			}
			return c.learn(&c.null, event.Null)
		}
		if c.tile != v.index {
			c.tile = v.index
			if cap(c.direct) < len(column.Dict) {
				c.direct = make([]uint32, len(column.Dict)+len(column.Dict)/4)
			}
			c.direct = c.direct[:len(column.Dict)]
			clear(c.direct)
		}
		s := column.Code(p.row)
		if code := c.direct[s]; code != 0 {
			return code - 1, nil
		}
		return c.learn(&c.direct[s], event.String(column.Dict[s]))
	}
	x, err := c.expr.value(v, p)
	if err != nil {
		return 0, err
	}
	if x.Type() == event.FloatType && x.Float() == 0 {
		x = event.Float(0) // -0 is no value of its own
	}
	if code, ok := c.seen[x]; ok {
		return code, nil
	}
	var slot uint32
	code, err := c.learn(&slot, x)
	if err == nil {
		c.seen[x] = code
		err = c.run.memory.reserve(entryBytes)
	}
	return code, err
}

func (c *coder) learn(slot *uint32, x event.Value) (uint32, error) {
	if c.text != nil {
		x = c.text(x)
	}
	code, err := c.dict.code(x)
	*slot = code + 1
	return code, err
}

// schemaCode returns the code of an event or a channel.
func (c *coder) schemaCode(s uint32) (uint32, error) {
	if code := c.direct[s]; code != 0 {
		return code - 1, nil
	}
	x := event.Null
	switch {
	case c.kind == eventField:
		x = event.String(c.run.schema.Events[s].Text)
	case s > 0:
		x = event.String(c.run.schema.Channels[s].Text)
	}
	return c.learn(&c.direct[s], x)
}

// load looks up the codes of all rows of a tile at once, if that is cheap: for
// operators that look at most rows.
func (c *coder) load(v *view) error {
	c.loaded = nil
	if c.kind == anyExpression {
		return nil
	}
	if cap(c.rows) < v.Rows {
		c.rows = make([]uint32, v.Rows+v.Rows/8)
	}
	rows := c.rows[:v.Rows]
	if err := c.decode(v, rows); err != nil {
		return err
	}
	c.loaded = rows
	return nil
}

// decode writes the codes of all rows of a tile to dst. Only for columns that
// are codes already.
func (c *coder) decode(v *view, dst []uint32) error {
	switch c.kind {
	case eventField:
		v.Event.Decode(0, dst)
	case channelField:
		v.Channel.Decode(0, dst)
	default:
		var p place
		for p.row = range dst {
			var err error
			if dst[p.row], err = c.code(v, &p); err != nil {
				return err
			}
		}
		return nil
	}
	direct := c.direct
	for i, s := range dst {
		code := direct[s]
		if code == 0 {
			if _, err := c.schemaCode(s); err != nil {
				return err
			}
			code = direct[s]
		}
		dst[i] = code - 1
	}
	return nil
}

// column returns a property's column, nil if no row of the tile has a value.
func (v *view) column(property int) *tile.Column {
	if property >= len(v.Columns) {
		return nil
	}
	return v.Columns[property]
}
