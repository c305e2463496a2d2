package storage

import (
	"encoding/binary"
	"math"

	"wend/event"
	"wend/tile"
)

const (
	stringShared = iota // indexes into a list of the segment's dictionary
	stringLocal         // indexes into texts of the page
	stringPlain         // a text a row
)

const (
	floatDecimal = iota
	floatBits
)

// dictionary is the values of one string property in one segment.
type dictionary struct {
	values []string
	codes  map[string]uint32
	bytes  int
}

// A dictionary is read whole when its property is first read, and is only
// useful while values come back.
const (
	dictionaryValuesMax = 1 << 15
	dictionaryBytesMax  = 1 << 22
)

// code returns a value's code, adding the value if there is room.
func (d *dictionary) code(value string) (uint32, bool) {
	if code, ok := d.codes[value]; ok {
		return code, true
	}
	if len(d.values) >= dictionaryValuesMax || d.bytes+len(value) > dictionaryBytesMax {
		return 0, false
	}
	if d.codes == nil {
		d.codes = map[string]uint32{}
	}
	code := uint32(len(d.values))
	d.codes[value] = code
	d.values = append(d.values, value)
	d.bytes += len(value)
	return code, true
}

// repeats tells whether a block's values are likely to come back: a column in
// which nearly every row has its own is better off without the dictionary.
func repeats(distinct, rows int) bool { return distinct <= 64 || distinct*2 <= rows }

// appendProperty appends a property's column, which is of all rows or of those
// that are present. It returns the dictionary codes
// that occur, or shared false if a string column does without the dictionary;
// d is nil for a column that never has one.
func appendProperty(dst []byte, rows tile.Bitmap, c *tile.Column, events []uint32, anchors tile.Bitmap, d *dictionary) (page []byte, used []uint32, shared bool) {
	dst = appendPresence(dst, rows, events)
	present := c.Present.Count()
	if present < len(events) {
		anchors = nil // the lists are over present rows, not over all
	}
	switch c.Type {
	case event.StringType:
		return appendTextColumn(dst, c, present, len(events), anchors, d)
	case event.FloatType:
		return appendFloats(dst, presentValues(c.Floats, c.Present, present), anchors), nil, true
	}
	return appendInts(dst, presentValues(c.Ints, c.Present, present), anchors), nil, true
}

// presentValues leaves out the rows that have no value.
func presentValues[T any](values []T, present tile.Bitmap, count int) []T {
	if count == len(values) {
		return values
	}
	picked := make([]T, 0, count)
	for i := present.Next(0, len(values)); i < len(values); i = present.Next(i+1, len(values)) {
		picked = append(picked, values[i])
	}
	return picked
}

// atRows is the inverse of presentValues.
func atRows[T any](values []T, present tile.Bitmap, rows int) []T {
	if len(values) == rows {
		return values
	}
	placed := make([]T, rows)
	k := 0
	for i := present.Next(0, rows); i < rows; i = present.Next(i+1, rows) {
		placed[i] = values[k]
		k++
	}
	return placed
}

func appendTextColumn(dst []byte, c *tile.Column, present, rows int, anchors tile.Bitmap, d *dictionary) (page []byte, used []uint32, shared bool) {
	codes := presentValues(c.Codes, c.Present, present)
	occurs := make([]bool, len(c.Dict))
	distinct := 0
	for _, code := range codes {
		if !occurs[code] {
			occurs[code] = true
			distinct++
		}
	}
	if d != nil && repeats(distinct, present) {
		if page, used, ok := appendShared(dst, c.Dict, codes, occurs, anchors, d); ok {
			return page, used, true
		}
	}
	if distinct == present {
		texts := make([]string, present)
		for i, code := range codes {
			texts[i] = c.Dict[code]
		}
		return appendStrings(append(dst, stringPlain), tile.NewStrings(texts)), nil, false
	}
	index := make([]int64, len(c.Dict))
	var values []string
	for code, yes := range occurs {
		if yes {
			index[code] = int64(len(values))
			values = append(values, c.Dict[code])
		}
	}
	dst = binary.AppendUvarint(append(dst, stringLocal), uint64(distinct))
	dst = appendStrings(dst, tile.NewStrings(values))
	return appendInts(dst, translated(codes, index), anchors), nil, false
}

func appendShared(dst []byte, dict []string, codes []uint32, occurs []bool, anchors tile.Bitmap, d *dictionary) (page []byte, used []uint32, ok bool) {
	shared := make([]uint32, len(dict)) // dictionary code by the column's
	most := uint32(0)
	for code, yes := range occurs {
		if !yes {
			continue
		}
		if shared[code], ok = d.code(dict[code]); !ok {
			return nil, nil, false
		}
		most = max(most, shared[code])
	}
	// Rising order without sorting: dictionary codes are few.
	rank := make([]int64, most+1)
	for code, yes := range occurs {
		if yes {
			rank[shared[code]] = 1
		}
	}
	var rising []int64
	for code, yes := range rank {
		if yes != 0 {
			rank[code] = int64(len(rising))
			rising = append(rising, int64(code))
			used = append(used, uint32(code))
		}
	}
	index := make([]int64, len(dict))
	for code, yes := range occurs {
		if yes {
			index[code] = rank[shared[code]]
		}
	}
	dst = binary.AppendUvarint(append(dst, stringShared), uint64(len(rising)))
	dst = appendInts(dst, rising, nil)
	return appendInts(dst, translated(codes, index), anchors), used, true
}

func translated(codes []uint32, index []int64) []int64 {
	values := make([]int64, len(codes))
	for i, code := range codes {
		values[i] = index[code]
	}
	return values
}

// property reads the column of n rows.
func (c *cursor) property(t event.Type, n int, events *tile.Codes, anchors tile.Bitmap, d []string) *tile.Column {
	column := c.present(t, n, events, anchors, d)
	if column == nil {
		return nil
	}
	putInPlace(column, n)
	return column
}

// putInPlace gives the values of the rows that are present their places among n.
func putInPlace(column *tile.Column, n int) {
	switch column.Type {
	case event.StringType:
		column.Codes = atRows(column.Codes, column.Present, n)
	case event.FloatType:
		column.Floats = atRows(column.Floats, column.Present, n)
	default:
		column.Ints = atRows(column.Ints, column.Present, n)
	}
}

// present reads which of n rows have a property, and the values of these alone.
func (c *cursor) present(t event.Type, n int, events *tile.Codes, anchors tile.Bitmap, d []string) *tile.Column {
	column := &tile.Column{Type: t, Present: c.bitmap("presence", n, events)}
	if c.err != nil {
		return nil
	}
	present := column.Present.Count()
	if present < n {
		anchors = nil
	}
	switch t {
	case event.StringType:
		column.Codes, column.Dict = c.textColumn(present, anchors, d)
	case event.FloatType:
		column.Floats = c.floats(present, anchors)
	case event.IntegerType, event.BooleanType, event.TimeType:
		column.Ints = c.ints("values", present, anchors)
	default:
		c.fail("values", "type %d is unknown", t)
	}
	if t == event.BooleanType {
		for _, v := range column.Ints {
			if v != 0 && v != 1 {
				c.fail("values", "boolean %d", v)
			}
		}
	}
	if c.err != nil {
		return nil
	}
	return column // lists are as long as presence says only now that there is no error
}

func (c *cursor) textColumn(n int, anchors tile.Bitmap, d []string) ([]uint32, []string) {
	kind := c.byte("kind of strings")
	switch {
	case c.err != nil:
		return nil, nil
	case kind == stringPlain:
		values := list(c.texts("values", n))
		codes := make([]uint32, len(values))
		for i := range codes {
			codes[i] = uint32(i)
		}
		return codes, values
	case kind > stringPlain:
		c.fail("values", "kind %d of strings is unknown", kind)
		return nil, nil
	}
	distinct := c.count("distinct values", n)
	var values []string
	if kind == stringLocal {
		values = list(c.texts("distinct values", distinct))
	} else {
		values = make([]string, distinct)
		for i, code := range c.narrowed("dictionary codes", distinct, len(d), nil) {
			values[i] = d[code]
		}
	}
	return c.narrowed("values", n, distinct, anchors), values
}

// decimalsMax: prices, shares and scores have few decimals.
const decimalsMax = 6

var powersOf10 = [decimalsMax + 1]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}

// decimal returns v as an integer of 10^-exponent, if that is exact: comparing
// what a reader will compute with the value's bits is the proof. Minus zero,
// infinities and most results of arithmetic are not.
func decimal(v float64, exponent int) (scaled int64, exact bool) {
	rounded := math.Round(v * powersOf10[exponent])
	if !(math.Abs(rounded) < 1<<53) {
		return 0, false
	}
	scaled = int64(rounded)
	return scaled, math.Float64bits(float64(scaled)/powersOf10[exponent]) == math.Float64bits(v)
}

// decimals writes values to ints in the fewest decimals that are exact for all.
func decimals(values []float64, ints []int64) (exponent int, exact bool) {
	for i := 0; i < len(values); {
		scaled, exact := decimal(values[i], exponent)
		if exact {
			ints[i] = scaled
			i++
			continue
		}
		if exponent++; exponent > decimalsMax {
			return 0, false
		}
		i = 0 // what came before must be exact with this many, too
	}
	return exponent, true
}

func appendFloats(dst []byte, values []float64, anchors tile.Bitmap) []byte {
	ints := make([]int64, len(values))
	exponent, exact := decimals(values, ints)
	if !exact {
		for i, v := range values {
			ints[i] = int64(math.Float64bits(v))
		}
		return appendInts(append(dst, floatBits), ints, anchors)
	}
	return appendInts(append(dst, floatDecimal, byte(exponent)), ints, anchors)
}

func (c *cursor) floats(n int, anchors tile.Bitmap) []float64 {
	kind, exponent := c.byte("kind of floats"), byte(0)
	if kind == floatDecimal {
		exponent = c.byte("decimals")
	}
	if kind > floatBits || exponent > decimalsMax {
		c.fail("values", "kind %d of floats with %d decimals is unknown", kind, exponent)
	}
	ints := c.ints("values", n, anchors)
	if c.err != nil {
		return nil
	}
	values := make([]float64, len(ints))
	for i, v := range ints {
		if kind == floatBits {
			values[i] = math.Float64frombits(uint64(v))
		} else {
			values[i] = float64(v) / powersOf10[exponent]
		}
	}
	return values
}
