package render

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"wend/engine"
	"wend/event"
)

// writeJSON writes an answer as one JSON object: columns, rows, meta, and what
// a chart of it needs besides.
func writeJSON(out *bufio.Writer, r *engine.Result) error {
	var b []byte
	b = append(b, `{"columns": [`...)
	for i, c := range r.Columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, `{"name": `...)
		b = appendText(b, c.Name)
		b = append(b, `, "type": `...)
		b = appendText(b, string(c.Type))
		b = append(b, '}')
	}
	b = append(b, "],\n \"rows\": ["...)
	for n, row := range r.Rows {
		if n > 0 {
			b = append(b, ",\n          "...)
		}
		b = append(b, '[')
		for i, c := range row {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendCell(b, c)
		}
		b = append(b, ']')
		if _, err := out.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, "],\n \"meta\": "...)
	meta, err := marshal(metaOf(&r.Meta))
	if err != nil {
		return fmt.Errorf("write what the answer says of itself: %w", err)
	}
	b = append(b, meta...)
	if h, ok := r.Chart.(*engine.Histogram); ok && h != nil {
		steps, err := marshal(histogramOf(h))
		if err != nil {
			return fmt.Errorf("write the histogram: %w", err)
		}
		b = append(append(b, ",\n \"histogram\": "...), steps...)
	}
	b = append(b, "}\n"...)
	_, err = out.Write(b)
	return err
}

// stepHistogram is how long it took to one step. Bucket i holds what took
// bounds_ms[i] or longer, and less than bounds_ms[i+1].
type stepHistogram struct {
	Step       int       `json:"step"`
	Touchpoint string    `json:"touchpoint"`
	Bounds     []float64 `json:"bounds_ms"`
	Counts     []int64   `json:"counts"`
}

func histogramOf(h *engine.Histogram) []stepHistogram {
	steps := []stepHistogram{}
	for _, s := range h.Steps {
		out := stepHistogram{s.Step, s.Touchpoint, []float64{}, append([]int64{}, s.Counts...)}
		for _, d := range s.Bounds {
			out.Bounds = append(out.Bounds, float64(d)/float64(event.Millisecond))
		}
		steps = append(steps, out)
	}
	return steps
}

// marshal is json.Marshal that leaves the < and > of arrows readable.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// appendText writes a JSON string.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, `\n`...)
			case c == '\r':
				b = append(b, `\r`...)
			case c == '\t':
				b = append(b, `\t`...)
			case c < ' ' || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		b = utf8.AppendRune(b, r) // U+FFFD for what is not UTF-8
		i += n
	}
	return append(b, '"')
}

// appendFloat writes a JSON number that reads back as the same float.
func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

func appendCell(b []byte, c engine.Cell) []byte {
	switch v := c.(type) {
	case nil:
		return append(b, "null"...)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendText(b, v)
	case event.Time:
		return appendText(b, v.String())
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendText(b, s)
		}
		return append(b, ']')
	case []event.Prop:
		b = append(b, '{')
		for i, p := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendText(b, p.Name), ": "...)
			b = appendValue(b, p.Value)
		}
		return append(b, '}')
	}
	return appendText(b, fmt.Sprint(c))
}

func appendValue(b []byte, v event.Value) []byte {
	switch v.Type() {
	case event.None:
		return append(b, "null"...)
	case event.IntegerType, event.BooleanType:
		return append(b, v.String()...)
	case event.FloatType:
		return appendFloat(b, v.Float())
	}
	return appendText(b, v.String())
}

// meta is engine.Meta as JSON shows it.
type meta struct {
	Query         string    `json:"query"`
	Unit          string    `json:"unit"`
	EventsRead    int64     `json:"events_read"`
	CustomersRead int64     `json:"customers_read"`
	BytesRead     int64     `json:"bytes_read"`
	ElapsedMS     float64   `json:"elapsed_ms"`
	Snapshot      string    `json:"snapshot"`
	EndOfData     *string   `json:"end_of_data"`
	Open          int64     `json:"open"`
	Tied          float64   `json:"tied"`
	Denominator   string    `json:"denominator"`
	During        string    `json:"during,omitempty"`
	Cut           *cut      `json:"cut"`
	Warnings      []string  `json:"warnings"`
	Partial       bool      `json:"partial"`
	Missing       []missing `json:"missing"`
	Cached        bool      `json:"cached"`
	Plan          []node    `json:"plan,omitempty"`
}

type cut struct {
	Kept  int64   `json:"kept"`
	Of    int64   `json:"of"`
	Share float64 `json:"share"`
}

// missing has null for what nobody knows of a damaged log.
type missing struct {
	Segment  string  `json:"segment"`
	From     *string `json:"from"`
	To       *string `json:"to"`
	Rows     *int64  `json:"rows"`
	Reason   string  `json:"reason"`
	FirstLSN *uint64 `json:"first_lsn"`
	LastLSN  *uint64 `json:"last_lsn"`
}

func missingOf(m engine.Missing) missing {
	out := missing{Segment: m.Segment, Reason: m.Reason}
	if m.Rows != 0 {
		from, to := m.From.String(), m.To.String()
		out.From, out.To, out.Rows = &from, &to, &m.Rows
	}
	if m.FirstLSN != 0 {
		out.FirstLSN = &m.FirstLSN
	}
	if m.LastLSN != 0 {
		out.LastLSN = &m.LastLSN
	}
	return out
}

type node struct {
	Depth     int     `json:"depth"`
	Operator  string  `json:"operator"`
	Detail    string  `json:"detail"`
	Events    int64   `json:"events"`
	Skipped   int64   `json:"skipped"`
	ElapsedMS float64 `json:"elapsed_ms"`
}

func metaOf(m *engine.Meta) *meta {
	out := &meta{Query: m.Query, Unit: m.Unit, EventsRead: m.EventsRead, CustomersRead: m.CustomersRead, BytesRead: m.BytesRead,
		ElapsedMS: finite(m.ElapsedMS), Snapshot: m.Snapshot, Open: m.Open, Tied: finite(m.Tied), Denominator: m.Denominator,
		During: m.During, Warnings: m.Warnings, Partial: m.Partial, Missing: []missing{}, Cached: m.Cached}
	if out.Warnings == nil {
		out.Warnings = []string{}
	}
	if hasEnd(m) {
		s := m.EndOfData.String()
		out.EndOfData = &s
	}
	if m.Cut != nil {
		out.Cut = &cut{m.Cut.Kept, m.Cut.Of, finite(m.Cut.Share)}
	}
	for _, x := range m.Missing {
		out.Missing = append(out.Missing, missingOf(x))
	}
	for _, n := range m.Plan {
		out.Plan = append(out.Plan, node{n.Depth, n.Operator, n.Detail, n.Events, n.Skipped, finite(n.ElapsedMS)})
	}
	return out
}

// hasEnd reports whether the data has an end: an empty store's is the least time.
func hasEnd(m *engine.Meta) bool {
	return m.EndOfData > event.MinTime && (m.EndOfData != 0 || m.EventsRead > 0)
}

func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// writeNDJSON writes one object a row.
func writeNDJSON(out *bufio.Writer, r *engine.Result) error {
	names := make([][]byte, len(r.Columns))
	for i, c := range r.Columns {
		names[i] = append(appendText(nil, c.Name), ": "...)
	}
	var b []byte
	for _, row := range r.Rows {
		b = append(b[:0], '{')
		for i, c := range row {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(b, names[i]...)
			b = appendCell(b, c)
		}
		b = append(b, "}\n"...)
		if _, err := out.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// writeCSV writes RFC 4180 with a header and line feeds. Null is the empty
// field; shares, durations (milliseconds) and times keep full precision; the
// labels of a path are joined by " > ", objects are JSON.
func writeCSV(out *bufio.Writer, r *engine.Result, opt Options) error {
	w := csv.NewWriter(out)
	record := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		record[i] = c.Name
	}
	if err := w.Write(record); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for i, c := range row {
			record[i] = csvField(c)
			if opt.SpreadsheetSafe && isText(c) && runsAsFormula(record[i]) {
				record[i] = "'" + record[i]
			}
		}
		if err := w.Write(record); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func csvField(c engine.Cell) string {
	switch v := c.(type) {
	case nil:
		return ""
	case string:
		return v
	case []string:
		return strings.Join(v, " > ")
	case event.Time:
		return v.String()
	}
	return string(appendCell(nil, c))
}

func isText(c engine.Cell) bool {
	switch c.(type) {
	case string, []string:
		return true
	}
	return false
}

// runsAsFormula reports texts that spreadsheets take for a formula.
func runsAsFormula(s string) bool {
	return s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0]))
}

// writeMarkdown writes a table for reports, with numbers as people read them.
func writeMarkdown(out *bufio.Writer, r *engine.Result) {
	if len(r.Columns) == 0 {
		return
	}
	opt := Options{Unicode: true}
	columns := make([]*people, len(r.Columns))
	line := func(cell func(i int) string) {
		for i := range r.Columns {
			out.WriteString("| " + cell(i) + " ")
		}
		out.WriteString("|\n")
	}
	line(func(i int) string {
		columns[i] = forPeople(r, i, opt)
		return markdownText(r.Columns[i].Name)
	})
	for i := range r.Columns {
		if columns[i].right() {
			out.WriteString("| ---: ")
		} else {
			out.WriteString("| --- ")
		}
	}
	out.WriteString("|\n")
	for _, row := range r.Rows {
		line(func(i int) string {
			if row[i] == nil {
				return ""
			}
			return markdownText(columns[i].cell(row[i]))
		})
	}
}

var markdownEscapes = strings.NewReplacer("|", `\|`, "\\", `\\`, "*", `\*`, "`", "\\`", "<", "&lt;")

// markdownText writes a text so that Markdown shows it as it is. An underscore
// within a word needs no escape, and names are easier to read without.
func markdownText(s string) string {
	s = markdownEscapes.Replace(visible(s))
	if strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, " _") || strings.Contains(s, "_ ") {
		s = strings.ReplaceAll(s, "_", `\_`)
	}
	return s
}
