package ingest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"wend/event"
)

// reading is what a worker needs to make sense of texts.
type reading struct {
	clock *clock
	comma bool // decimals follow a comma
}

// class is a set of the ways in which a column's values have been written.
type class uint8

const (
	integers class = 1 << iota
	floats
	booleans
	times
	texts
)

// settled reports that no further value can change what a column is.
func (c class) settled() bool {
	return c&texts != 0 || c&(integers|floats) != 0 && c&(booleans|times) != 0 || c&booleans != 0 && c&times != 0
}

// kind returns the type that holds all values of the classes.
func (c class) kind() event.Type {
	switch {
	case c == 0:
		return event.None
	case c == integers:
		return event.IntegerType
	case c&^(integers|floats) == 0:
		return event.FloatType
	case c == booleans:
		return event.BooleanType
	case c == times:
		return event.TimeType
	}
	return event.StringType
}

// classify says how one value is written.
func (r *reading) classify(k kind, raw string) class {
	switch k {
	case jsonText:
		if _, ok := r.clock.property(raw); ok {
			return times
		}
		return texts
	case jsonNumber:
		if _, ok := anyInteger(raw); ok {
			return integers
		}
		if _, ok := r.anyJSONNumber(raw); ok {
			return floats
		}
		return texts // overflows
	case jsonBool:
		return booleans
	case jsonArray:
		return texts
	}
	switch c := raw[0]; {
	case c-'0' <= 9 || c == '-' || c == '.' || c == ',':
		if _, ok := integer(raw); ok {
			return integers
		}
		if _, ok := r.number(raw); ok {
			return floats
		}
		if _, ok := r.clock.property(raw); ok {
			return times
		}
	case c|0x20 == 't' || c|0x20 == 'f':
		if _, ok := boolean(raw); ok {
			return booleans
		}
		fallthrough
	default:
		if r.clock.layout != "" {
			if _, ok := r.clock.property(raw); ok {
				return times
			}
		}
	}
	return texts
}

// anyJSONNumber reads a JSON number, whose decimals never follow a comma.
func (r *reading) anyJSONNumber(raw string) (float64, bool) {
	return (&reading{clock: r.clock}).anyNumber(raw)
}

// column is one property of a file: what it is called, and what its values are.
type column struct {
	name   string     // of the property
	source string     // of the file's column or key
	typ    event.Type // None: no value has been seen yet
	told   bool       // by --type: every way of writing such a value will do, and nothing widens
}

// layout says what the parts of a record are for. It does not change; a
// property that turns up later makes a new one.
type layout struct {
	fields    [fieldCount]place
	columns   []column
	byName    map[string]int
	fieldOf   map[string]field // JSON: by name
	at        []int            // CSV: for each column of the file its place in columns, or -1
	constants []constant
	header    []string // CSV
}

// constant is a property that --set gives to every row.
type constant struct {
	column int
	text   string
}

// property returns the index of a JSON name's column, and its name; -1 if no
// such property has been seen.
func (l *layout) property(source string) (int, string) {
	name := source
	for reserved(name) {
		name += "_"
	}
	if i, ok := l.byName[name]; ok {
		return i, name
	}
	return -1, name
}

// with returns the layout with more columns, or other types for some.
func (l *layout) with(columns ...column) *layout {
	n := *l
	n.columns = slices.Clone(l.columns)
	n.byName = maps.Clone(l.byName)
	for _, c := range columns {
		if i, ok := n.byName[c.name]; ok {
			n.columns[i] = c
			continue
		}
		n.byName[c.name] = len(n.columns)
		n.columns = append(n.columns, c)
	}
	return &n
}

// reserved reports whether a name is one of an event's own fields.
func reserved(name string) bool {
	for _, r := range event.Reserved {
		if name == r {
			return true
		}
	}
	return false
}

// typing is what is known of types before a file is read. It does not change.
type typing struct {
	asked map[string]event.Type // --type
	held  map[string]event.Type // of the store and of earlier files
}

// decide returns what a column is, from what is known of it beforehand and
// from how its values are written.
func (t typing) decide(name, source string, seen class) column {
	c := column{name: name, source: source}
	if asked, ok := t.asked[name]; ok {
		c.typ, c.told = asked, true
		return c
	}
	if asked, ok := t.asked[source]; ok {
		c.typ, c.told = asked, true
		return c
	}
	held, ok := t.held[name]
	switch {
	case !ok:
		c.typ = seen.kind()
	case held == event.IntegerType && seen&floats != 0:
		c.typ = event.FloatType
	default:
		c.typ = held
	}
	return c
}

// open reports whether the values of a column have a say in its type.
func (t typing) open(c column) bool {
	d := t.decide(c.name, c.source, 0)
	return d.typ == event.None || d.typ == event.IntegerType && !d.told
}

// checkTold refuses a --type that contradicts the store.
func checkTold(opt Options) error {
	for name, t := range opt.Types {
		known, ok := opt.Known[name]
		if ok && known != t && !(known == event.IntegerType && t == event.FloatType) {
			return &MappingError{Message: fmt.Sprintf("property %q is of type %s in the store; it cannot become %s. Import the column under another name, or into a new store", name, known, t)}
		}
		if reserved(name) {
			return &MappingError{Message: fmt.Sprintf("%s is a field of every event and has no type to choose; types are for properties", name)}
		}
	}
	return nil
}

// misfit says what was expected of a value and what came.
func misfit(t event.Type, k kind, raw string) string {
	article := "a "
	if strings.ContainsRune("aeiou", rune(t.String()[0])) {
		article = "an "
	}
	got := quoteShort(raw)
	switch k {
	case jsonNumber:
		got = "the number " + raw
	case jsonBool:
		got = raw
	case jsonArray:
		got = "an array"
	}
	return "expected " + article + t.String() + ", got " + got
}
