// Package transcript reads tests that a newcomer can read: events, queries
// and their answers as text.
//
//	# Why the case is here.
//	-- events
//	ann  view  0    @web  value=5
//	ann  buy   20m  @store
//	-- end 1h
//	-- query
//	funnel view -> buy within 15m
//	-- answer
//	step  touchpoint  customers  dropped
//	1     view        1          1
//	2     buy         0          0
//
// Times are elapsed since 2025-01-01, bare numbers are seconds, or instants.
// An answer lists the columns that the case is about; a query may have
// several, and many queries may follow one set of events. Instead of an answer
// there may be an error. Sections links and definitions belong to the events
// before them. Words after `-- events` are events that the store knows though
// none of them is left.
//
// It serves tests only. It knows events and answers as values and leaves it to
// the test what answers them.
package transcript

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"wend/event"
	"wend/query"
)

// Base is the instant that times in transcripts count from.
const Base event.Time = 1735689600 * 1000000

// Case is one query over some events.
type Case struct {
	Line        int // of the query in the file
	Note        string
	Events      []event.Event
	Known       []string // events that the store knows beside those
	Links       map[string]string
	Definitions []event.Definition
	End         event.Time // end of data, if HasEnd
	HasEnd      bool
	Query       string
	Columns     []string   // those that the answer is about; empty: an error is wanted
	Rows        [][]string // what they hold
	Error       string
}

// File is a transcript: its cases, and how to write it with other answers.
type File struct {
	Name   string
	Cases  []*Case
	pieces []piece
}

// piece is some lines as they are, or the answer of a case.
type piece struct {
	text string
	of   *Case
}

// Read reads a transcript.
func Read(name string) (*File, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := &reader{file: &File{Name: name}}
	for i, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		if err := r.line(i+1, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	return r.file, nil
}

type reader struct {
	file    *File
	section string
	world   Case // what the next query is asked of
	at      *Case
}

func (r *reader) line(number int, line string) error {
	if title, ok := strings.CutPrefix(line, "-- "); ok {
		return r.begin(number, line, title)
	}
	isAnswer := r.section == "answer" || r.section == "error"
	if !isAnswer || strings.HasPrefix(line, "#") || line == "" {
		r.file.pieces = append(r.file.pieces, piece{text: line + "\n"})
	}
	if note, ok := strings.CutPrefix(line, "#"); ok {
		if r.section != "note" {
			r.section, r.world.Note = "note", ""
		}
		r.world.Note += strings.TrimSpace(note) + " "
		return nil
	}
	if strings.TrimSpace(line) == "" {
		return nil
	}
	switch r.section {
	case "events":
		e, err := parseEvent(line)
		r.world.Events = append(r.world.Events, e)
		return err
	case "links":
		from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.world.Links[from] = strings.TrimSpace(to)
	case "definitions":
		return r.define(line)
	case "query":
		r.at.Query = strings.TrimPrefix(r.at.Query+"\n"+line, "\n")
	case "answer":
		cells := fields(line)
		if r.at.Columns == nil {
			r.at.Columns = cells
		} else {
			r.at.Rows = append(r.at.Rows, cells)
		}
	case "error":
		r.at.Error = strings.TrimPrefix(r.at.Error+"\n"+line, "\n")
	default:
		return fmt.Errorf("a line outside of a section: %q", line)
	}
	return nil
}

func (r *reader) begin(number int, line, title string) error {
	word, argument, _ := strings.Cut(title, " ")
	switch word {
	case "answer", "error":
		if r.at == nil {
			return fmt.Errorf("an answer without a query")
		}
		r.file.pieces = append(r.file.pieces, piece{of: r.at})
		r.section = word
		return nil
	case "events":
		r.world = Case{Note: r.world.Note, Links: map[string]string{}, Known: strings.Fields(argument)}
	case "end":
		t, err := parseTime(argument)
		if err != nil {
			return err
		}
		r.world.End, r.world.HasEnd = t, true
	case "query":
		c := r.world
		c.Line = number
		widen(c.Events)
		r.at = &c
		r.file.Cases = append(r.file.Cases, r.at)
	case "links", "definitions":
	default:
		return fmt.Errorf("unknown section %q", title)
	}
	r.section = word
	r.file.pieces = append(r.file.pieces, piece{text: line + "\n"})
	return nil
}

func (r *reader) define(line string) error {
	st, err := query.Parse(line)
	if err != nil {
		return err
	}
	if len(st) != 1 || st[0].Define == nil {
		return fmt.Errorf("not a definition: %s", line)
	}
	d := st[0].Define
	r.world.Definitions = append(r.world.Definitions[:len(r.world.Definitions):len(r.world.Definitions)],
		event.Definition{Kind: d.Kind, Name: d.Name.Text, Text: st[0].String()})
	return nil
}

// parseEvent reads: customer, event, time, and in any order @channel, #id and
// property=value. A name with spaces stands in double quotes.
func parseEvent(line string) (event.Event, error) {
	words := words(line)
	if len(words) < 3 {
		return event.Event{}, fmt.Errorf("an event is a customer, a name and a time: %q", line)
	}
	t, err := parseTime(words[2])
	if err != nil {
		return event.Event{}, err
	}
	e := event.Event{Customer: unquote(words[0]), Name: unquote(words[1]), Time: t}
	for _, w := range words[3:] {
		if channel, ok := strings.CutPrefix(w, "@"); ok {
			e.Channel = unquote(channel)
		} else if id, ok := strings.CutPrefix(w, "#"); ok {
			e.ID = id
		} else if name, value, ok := strings.Cut(w, "="); ok {
			e.Props = append(e.Props, event.Prop{Name: unquote(name), Value: parseValue(value)})
		} else {
			return e, fmt.Errorf("neither @channel nor #id nor property=value: %q", w)
		}
	}
	return e, nil
}

// widen makes the integers of a property floats if any of its values is one,
// as a store does.
func widen(events []event.Event) {
	floats := map[string]bool{}
	for _, e := range events {
		for _, p := range e.Props {
			floats[p.Name] = floats[p.Name] || p.Value.Type() == event.FloatType
		}
	}
	for _, e := range events {
		for i, p := range e.Props {
			if floats[p.Name] && p.Value.Type() == event.IntegerType {
				e.Props[i].Value = event.Float(p.Value.Float())
			}
		}
	}
}

// words splits at spaces outside of double quotes.
func words(line string) []string {
	var list []string
	quoted, word := false, ""
	for _, r := range line + " " {
		switch {
		case r == '"':
			quoted = !quoted
			word += `"`
		case r == ' ' && !quoted:
			if word != "" {
				list = append(list, word)
			}
			word = ""
		default:
			word += string(r)
		}
	}
	return list
}

func unquote(s string) string { return strings.ReplaceAll(s, `"`, "") }

func parseTime(s string) (event.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Base + event.Time(n)*event.Time(event.Second), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return event.At(t), nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return event.At(t), nil
	}
	d, err := time.ParseDuration(strings.Replace(s, "d", "h", 1))
	if err != nil {
		return 0, fmt.Errorf("%q is no time", s)
	}
	if strings.Contains(s, "d") {
		d *= 24
	}
	return Base + event.Time(d.Microseconds()), nil
}

func parseValue(s string) event.Value {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return event.Integer(n)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return event.Float(f)
	}
	if b, err := strconv.ParseBool(s); err == nil && len(s) > 1 {
		return event.Boolean(b)
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return event.Instant(event.At(t))
	}
	return event.String(unquote(s))
}

// fields splits a row of a table: cells stand two spaces apart.
func fields(line string) []string {
	var cells []string
	for cell := range strings.SplitSeq(line, "  ") {
		if cell = strings.TrimSpace(cell); cell != "" {
			cells = append(cells, cell)
		}
	}
	return cells
}

// Cell writes a cell of an answer as transcripts do. Elapsed times
// (milliseconds) are told by the column, so that they can be read.
func Cell(x any, elapsed bool) string {
	switch x := x.(type) {
	case nil:
		return "-"
	case float64:
		if elapsed {
			return event.Duration(x * 1000).String()
		}
		return strconv.FormatFloat(x, 'g', 12, 64)
	case []string:
		return strings.Join(x, ", ")
	case []event.Prop:
		var list []string
		for _, p := range x {
			list = append(list, p.Name+"="+p.Value.String())
		}
		return strings.Join(list, ", ")
	case string:
		if x == "" {
			return `""`
		}
		return x
	}
	return fmt.Sprint(x)
}

// Table lays out cells two spaces apart.
func Table(columns []string, rows [][]string) string {
	widths := make([]int, len(columns))
	all := append([][]string{columns}, rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range all {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// Write writes the transcript with the answers that its cases now have.
func (f *File) Write() error {
	var b strings.Builder
	for _, p := range f.pieces {
		switch {
		case p.of == nil:
			b.WriteString(p.text)
		case p.of.Columns == nil:
			b.WriteString("-- error\n" + p.of.Error + "\n")
		default:
			b.WriteString("-- answer\n" + Table(p.of.Columns, p.of.Rows))
		}
	}
	return os.WriteFile(f.Name, []byte(b.String()), 0o644)
}
