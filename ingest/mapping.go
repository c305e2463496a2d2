package ingest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"wend/event"
)

// field is one of an event's own fields.
type field int

const (
	fieldCustomer field = iota
	fieldTime
	fieldEvent
	fieldChannel
	fieldID
	fieldCount
)

// String is the name of the field in events.
func (f field) String() string { return event.Reserved[f] }

// Column names that are usual for each field, most telling first, written
// without case and punctuation: user_id, userId and "User ID" are one.
var usualNames = [fieldCount][]string{
	fieldCustomer: {"customer", "customerid", "user", "userid", "distinctid", "visitorid", "fullvisitorid", "userpseudoid",
		"client", "clientid", "customerno", "customernumber", "member", "memberid", "contact", "contactid", "account", "accountid",
		"person", "personid", "profileid", "subscriberid", "householdid", "anonymousid", "cookieid", "uid", "case", "caseid", "caseconceptname"},
	fieldTime: {"time", "timestamp", "ts", "eventtime", "eventtimestamp", "datetime", "timetimestamp", "occurredat", "happenedat",
		"createdat", "originaltimestamp", "completetimestamp", "eventdate", "date"},
	fieldEvent: {"event", "eventname", "eventtype", "action", "activity", "touchpoint", "interaction", "behavior", "behaviour",
		"behaviortype", "conceptname", "activityname", "eventaction"},
	fieldChannel: {"channel", "channelname", "marketingchannel", "source", "medium", "utmsource", "utmmedium", "trafficsource", "channelgrouping"},
	fieldID:      {"id", "eventid", "messageid", "insertid", "eventuuid"},
}

func usual(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '_', '-', ' ', '.', ':', '$':
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// place says where a field's value comes from.
type place struct {
	column     string // of the file; "" if none
	at         int    // CSV: the column's number
	recognised bool   // by its name, not by --map
	constant   bool   // --set
	text       string // the constant
	time       event.Time
}

func (p *place) given() bool { return p.column != "" || p.constant }

// Mapping is how one file's columns become events: what was asked for, what
// was recognised, and what its properties turned out to be.
type Mapping struct {
	File       string // and the member of an archive, after a colon
	Format     string // csv or ndjson
	Delimiter  string // of csv
	Fields     []Field
	Properties []Property // in the file's order; their types are final when the file has been read
	Notes      []string   // renamed columns, an empty file, other things to know
}

// Field says where one of an event's own fields comes from.
type Field struct {
	Name       string // customer, time, event, channel or id
	Column     string // of the file, "" if the value is constant
	Constant   string
	Recognised bool // chosen by its usual name
}

// Property is a column that became a property.
type Property struct {
	Column, Name string
	Type         event.Type // None: the file has no value for it
}

// String writes the mapping for people, on one line.
func (m Mapping) String() string {
	var b strings.Builder
	for i, f := range m.Fields {
		if i > 0 {
			b.WriteString(", ")
		}
		if f.Column == "" {
			fmt.Fprintf(&b, "%s = '%s'", f.Name, f.Constant)
			continue
		}
		fmt.Fprintf(&b, "%s = %s", f.Name, f.Column)
		if f.Recognised && f.Name != f.Column {
			b.WriteString(" (recognised)")
		}
	}
	for i, p := range m.Properties {
		if i == 0 {
			b.WriteString("; properties ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(p.Name)
		if p.Type != event.None {
			b.WriteString(" " + p.Type.String())
		}
	}
	return b.String()
}

// MappingError says that a file's columns and the options do not go together:
// a mistake of the user's, not of the data.
type MappingError struct {
	File    string
	Message string
	Columns []string // that the file has
}

// Error names the first 20 of the file's columns, from which the user can choose.
func (e *MappingError) Error() string {
	s := e.Message
	if e.File != "" {
		s = e.File + ": " + s
	}
	if len(e.Columns) > 0 {
		shown := e.Columns
		more := ""
		if len(shown) > 20 {
			more = fmt.Sprintf(", … (%d in all)", len(shown))
			shown = shown[:20]
		}
		s += "; its columns are " + strings.Join(shown, ", ") + more
	}
	return s
}

// checkMap refuses fields that do not exist, before any file is opened.
func checkMap(opt Options) error {
	for name, column := range opt.Map {
		if !reserved(name) && reserved(column) {
			return &MappingError{Message: fmt.Sprintf("there is no field %q to map; the field stands first: --map %s=%s", name, column, name)}
		}
		if !reserved(name) {
			return &MappingError{Message: fmt.Sprintf("there is no field %q to map; the fields are customer, time, event, channel and id, and other columns become properties by themselves", name)}
		}
		if _, both := opt.Set[name]; both {
			return &MappingError{Message: fmt.Sprintf("%s is both mapped to a column and set to a constant", name)}
		}
	}
	for name, text := range opt.Set {
		if text == "" {
			return &MappingError{Message: fmt.Sprintf("%s is set to nothing", name)}
		}
		if !utf8.ValidString(text) || len(text) > fieldBytesMax || len(name) > nameBytesMax || name == "" {
			return &MappingError{Message: fmt.Sprintf("%s cannot be set to %s", quoteShort(name), quoteShort(text))}
		}
	}
	return nil
}

// mapFields finds the columns of an event's own fields. lax allows fields of
// JSON files that a sample of the file does not show.
func mapFields(file string, columns []string, opt Options, c *clock, lax bool) ([fieldCount]place, error) {
	var places [fieldCount]place
	taken := map[int]bool{}
	for f := range places {
		name := field(f).String()
		places[f].at = -1
		if text, ok := opt.Set[name]; ok {
			places[f].constant, places[f].text = true, text
			if field(f) == fieldTime {
				t, fault := c.mapped(text)
				if fault != timeOK {
					return places, &MappingError{Message: fmt.Sprintf("time is set to %s, which is not a time", quoteShort(text))}
				}
				places[f].time, places[f].text = t, ""
			}
			continue
		}
		want, ok := opt.Map[name]
		if !ok {
			continue
		}
		at := findColumn(columns, want)
		if at < 0 && !(lax && (field(f) == fieldChannel || field(f) == fieldID)) {
			return places, &MappingError{File: file, Message: fmt.Sprintf("there is no column %q for %s", want, name), Columns: columns}
		}
		places[f].at, places[f].column = at, want
		if at >= 0 {
			places[f].column = columns[at]
			taken[at] = true
		}
	}
	var lacking []string
	for f := range places {
		if places[f].given() {
			continue
		}
		at := recognise(columns, usualNames[f], taken)
		if at >= 0 {
			places[f].at, places[f].column, places[f].recognised = at, columns[at], true
			taken[at] = true
			continue
		}
		if name := field(f).String(); field(f) != fieldChannel && field(f) != fieldID {
			lacking = append(lacking, name)
		}
		if lax { // a line may come that has it under its own name
			places[f].column, places[f].recognised = field(f).String(), true
		}
	}
	if len(lacking) > 0 {
		return places, unrecognised(file, lacking, columns)
	}
	return places, nil
}

// unrecognised says which fields no column is for, all of them at once.
func unrecognised(file string, fields, columns []string) error {
	what, which := fields[0], "name one"
	if last := len(fields) - 1; last > 0 {
		what, which = strings.Join(fields[:last], ", ")+" or "+fields[last], "name them"
	}
	return &MappingError{File: file, Columns: columns,
		Message: fmt.Sprintf("no column is recognised as %s; %s with --map %s=COLUMN or give all rows one with --set %s=VALUE",
			what, which, strings.Join(fields, "=COLUMN,"), fields[0])}
}

// findColumn finds a column that the user named: exactly, or, if one fits, in
// other case.
func findColumn(columns []string, want string) int {
	if i := slices.Index(columns, want); i >= 0 {
		return i
	}
	found := -1
	for i, c := range columns {
		if strings.EqualFold(c, want) {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

func recognise(columns, names []string, taken map[int]bool) int {
	for _, name := range names {
		for i, c := range columns {
			if !taken[i] && usual(c) == name {
				return i
			}
		}
	}
	return -1
}

const (
	// propertiesMax is how many properties a file may have: an export with
	// its keys and values mixed up would otherwise fill the catalogue.
	propertiesMax = 4096

	// nameBytesMax bounds a property's name.
	nameBytesMax = 128
)

// propertyColumns names the properties of a CSV file. Columns get other names
// where an event has a field of that name, where two have the same, and where
// they have none.
func propertyColumns(file string, header []string, places *[fieldCount]place) (names []string, notes []string, err error) {
	used := map[string]bool{}
	names = make([]string, len(header))
	own := map[int]bool{}
	for f := range places {
		if places[f].column != "" {
			own[places[f].at] = true
		}
	}
	for i, column := range header {
		if own[i] {
			continue
		}
		name := column
		if name == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		if len(name) > nameBytesMax {
			return nil, nil, &MappingError{File: file, Message: fmt.Sprintf("the name of column %d, %s, is longer than %d bytes; does the file have a header?", i+1, quoteShort(name), nameBytesMax)}
		}
		for n, base := 2, name; reserved(name) || used[name]; n++ {
			if reserved(base) {
				base += "_"
				name = base
				continue
			}
			name = fmt.Sprintf("%s_%d", base, n)
		}
		if name != column {
			notes = append(notes, fmt.Sprintf("column %d, %q, becomes the property %s", i+1, column, name))
		}
		used[name] = true
		names[i] = name
	}
	return names, notes, nil
}

func sortedKeys(m map[string]string) []string {
	return slices.Sorted(maps.Keys(m))
}
