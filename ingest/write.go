package ingest

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"wend/event"
)

// Writer writes events in a form that Reader reads back as they were.
type Writer struct {
	// Fractions has ndjson say of each number whether it is an integer: whole
	// floats are written as 2.0. It is for readers that see a part of the events,
	// in which all floats may be whole.
	Fractions bool

	out   *bufio.Writer
	csv   *csv.Writer
	props []event.Property // of csv, a column each
	row   []string
}

// NewWriter writes csv, with a column for each of the properties, or ndjson.
func NewWriter(out io.Writer, format string, props []event.Property) (*Writer, error) {
	w := &Writer{out: bufio.NewWriterSize(out, 1<<16), props: props}
	switch format {
	case "ndjson":
		return w, nil
	case "csv":
		w.csv = csv.NewWriter(w.out)
		w.row = append(w.row, event.Reserved...)
		for _, p := range props {
			w.row = append(w.row, p.Name)
		}
		return w, w.csv.Write(w.row)
	}
	return nil, fmt.Errorf("events are written as csv or ndjson, not %q", format)
}

// Write writes one event.
func (w *Writer) Write(e event.Event) error {
	if w.csv == nil {
		return w.object(e)
	}
	w.row = append(w.row[:0], e.Customer, e.Time.String(), e.Name, e.Channel, e.ID)
	for _, p := range w.props {
		w.row = append(w.row, e.Prop(p.Name).String())
	}
	return w.csv.Write(w.row)
}

func (w *Writer) object(e event.Event) error {
	w.out.WriteByte('{')
	w.field("", "customer", e.Customer)
	w.field(",", "time", e.Time)
	w.field(",", "event", e.Name)
	if e.Channel != "" {
		w.field(",", "channel", e.Channel)
	}
	if e.ID != "" {
		w.field(",", "id", e.ID)
	}
	for _, p := range e.Props {
		switch p.Value.Type() {
		case event.StringType:
			w.field(",", p.Name, p.Value.Text())
		case event.TimeType:
			w.field(",", p.Name, p.Value.Time())
		case event.IntegerType:
			w.field(",", p.Name, p.Value.Int())
		case event.FloatType:
			if w.Fractions {
				w.field(",", p.Name, fraction(p.Value.Float()))
			} else {
				w.field(",", p.Name, p.Value.Float())
			}
		case event.BooleanType:
			w.field(",", p.Name, p.Value.Bool())
		}
	}
	_, err := w.out.WriteString("}\n")
	return err
}

type fraction float64

// MarshalJSON writes 2 as 2.0.
func (f fraction) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(float64(f) + 0) // -0 equals 0
	if err == nil && !bytes.ContainsAny(text, ".e") {
		text = append(text, ".0"...)
	}
	return text, err
}

// field writes one member; a failed write shows at the end of the object.
func (w *Writer) field(before, name string, value any) {
	w.out.WriteString(before)
	key, _ := json.Marshal(name)
	w.out.Write(key)
	w.out.WriteByte(':')
	text, _ := json.Marshal(value)
	w.out.Write(text)
}

// Flush writes what is still held back.
func (w *Writer) Flush() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// WriteAll writes all events and holds none back. It ends with the first error,
// of reading them or of writing.
func (w *Writer) WriteAll(events iter.Seq2[event.Event, error]) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return w.Flush()
}
