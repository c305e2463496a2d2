package tile

import (
	"wend/event"
	"wend/internal/forced"
)

// Column is one property over the rows of a tile. Only the slice of its type
// is used; it has an entry for every row, zero where the row has no value.
// Texts of few different values may have bit planes in place of the slice:
// they take a tenth of the memory, and tell the rows of a value at a glance.
type Column struct {
	Type    event.Type
	Present Bitmap    // rows that have a value
	Ints    []int64   // integer, boolean (0 or 1), time (microseconds)
	Floats  []float64 // float
	Codes   []uint32  // string: index into Dict; nil if Planes has it
	Planes  *Codes    // string: the same as bit planes; nil if Codes has it
	Dict    []string  // this tile's values, each once, in no particular order
}

// NewColumn returns a column without values for a number of rows.
func NewColumn(t event.Type, rows int) *Column {
	c := &Column{Type: t, Present: NewBitmap(rows)}
	switch t {
	case event.StringType:
		c.Codes = make([]uint32, rows)
	case event.FloatType:
		c.Floats = make([]float64, rows)
	default:
		c.Ints = make([]int64, rows)
	}
	return c
}

// planesMax is up to how many values a column of texts is turned into planes.
const planesMax = 256

// Packed returns a column with the same values that takes less memory, if there is one.
func (c *Column) Packed() *Column {
	if c == nil || c.Type != event.StringType || c.Planes != nil || len(c.Dict) > planesMax || forced.Roaring {
		return c
	}
	packed := *c
	packed.Planes, packed.Codes = NewCodes(c.Codes), nil
	return &packed
}

// Code returns the index into Dict of row i, which has a value.
func (c *Column) Code(i int) uint32 {
	if c.Planes != nil {
		return c.Planes.At(i)
	}
	return c.Codes[i]
}

// At returns row i's value, null if it has none.
func (c *Column) At(i int) event.Value {
	if c == nil || !c.Present.Get(i) {
		return event.Null
	}
	switch c.Type {
	case event.StringType:
		return event.String(c.Dict[c.Code(i)])
	case event.FloatType:
		return event.Float(c.Floats[i])
	case event.IntegerType:
		return event.Integer(c.Ints[i])
	case event.BooleanType:
		return event.Boolean(c.Ints[i] != 0)
	case event.TimeType:
		return event.Instant(event.Time(c.Ints[i]))
	}
	return event.Null
}

// Strings is a list of texts in one block of memory.
type Strings struct {
	Text string
	Ends []uint32 // text i is Text[Ends[i-1]:Ends[i]]
}

// NewStrings copies a list of texts into one block of memory.
func NewStrings(texts []string) *Strings {
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	text := make([]byte, 0, size)
	s := &Strings{Ends: make([]uint32, len(texts))}
	for i, t := range texts {
		text = append(text, t...)
		s.Ends[i] = uint32(len(text))
	}
	s.Text = string(text)
	return s
}

// Len returns the number of texts.
func (s *Strings) Len() int { return len(s.Ends) }

// At returns text i, without copying.
func (s *Strings) At(i int) string {
	if i == 0 {
		return s.Text[:s.Ends[0]]
	}
	return s.Text[s.Ends[i-1]:s.Ends[i]]
}
