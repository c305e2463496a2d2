package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"wend/event"
)

// Limits of events that are sent, rather than read from a file that somebody
// chose. JSONOptions can set others.
const (
	sentEventBytes = 64 << 10
	sentProperties = 256
	sentNameBytes  = 128
	sentEvents     = 50_000
	sentDepth      = 16
	sentNames      = 20_000 // of properties and what they are nested in: twice what a store may have

	// sentGrowth is how many times the memory of its text a batch takes without
	// asking JSONOptions.Reserve. Events that have the same properties take less.
	sentGrowth = 4

	// futureMax is how far ahead of its arrival an event may lie: a clock that
	// is two days fast is wrong, one that is a day off may be in another zone.
	futureMax = 48 * event.Hour
)

// Limits of one request with events: the server keeps them, and a client that
// heeds them is not refused.
const (
	RequestEvents    = sentEvents
	RequestCells     = 6_000_000 // events times different properties; of a few megabytes of events that each have properties of their own it could be anything
	RequestWireBytes = 16 << 20
	RequestTextBytes = 64 << 20

	// Data that people send compresses to a tenth or a twentieth. More than
	// RequestRatio, after the first RequestRatioFree bytes, is made to hurt.
	RequestRatio     = 100
	RequestRatioFree = 1 << 20
)

// JSONOptions say how sent events are read. The zero value is good.
type JSONOptions struct {
	Known    map[string]event.Type // property to type in the store
	Received event.Time            // when the events arrived; 0: now
	Timezone *time.Location        // of times that name none; nil: UTC
	SentAt   bool                  // sent_at is a property like others

	// Limits; 0: 64 KiB an event, 256 properties, names of 128 bytes, 50,000
	// events, depth 16.
	EventBytesMax, PropertiesMax, NameBytesMax, EventsMax, DepthMax int

	// Length is how long the text is said to be; 0: nobody knows.
	Length int64

	// Reserve is asked before the batch takes more memory than four times its
	// text, as one of events with different properties does, for the bytes
	// beyond. Its error ends decoding. nil: any number.
	Reserve func(bytes int64) error
}

// Decoded are events that were sent, less those that cannot be taken.
type Decoded struct {
	Batch    *event.Batch
	Index    []int // for each row of Batch, its place among the events sent
	Rejected []Rejection
	Total    int // events sent
}

// Rejection is one event that cannot be taken, by its place among those sent.
type Rejection struct {
	Index  int
	Reason string
}

// TooManyError says that more events were sent at once than one batch may hold.
type TooManyError struct{ Max int }

// Error says how many are allowed, not how many came: counting ended there.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("more than %d events in one request; send them in several", e.Max)
}

// DecodeJSON reads events as JSON: one object a line, or an array of objects,
// with the keys customer, time, event, channel, id and sent_at; other keys are
// properties, whose types are those of JSON unless the store knows better. If
// sent_at is given, the time is corrected by what the sender's clock was off,
// unless JSONOptions.SentAt says that it is a property.
// A profile may come without a time: it then holds from its arrival.
//
// An event that cannot be taken is rejected by itself; an error is one of
// reading, or of a text that does not fall into events.
func DecodeJSON(r io.Reader, opt JSONOptions) (*Decoded, error) {
	const believed = 32 << 10 // more memory is taken when there is something to put into it
	var body bytes.Buffer
	body.Grow(int(min(max(opt.Length, 0), believed)) + bytes.MinRead)
	if _, err := body.ReadFrom(r); err != nil {
		return nil, err
	}
	d := newDecoder(opt)
	text := strings.TrimPrefix(textOf(body.Bytes()), "\ufeff")
	d.valid = utf8.ValidString(text)
	d.rows.paid = sentGrowth * len(text) / cellBytes
	d.rows.expect(min(strings.Count(text, "\n")+1, d.opt.EventsMax))
	var err error
	if begin := strings.TrimLeft(text, " \t\r\n"); strings.HasPrefix(begin, "[") {
		err = d.array(begin)
	} else if first, _, _ := strings.Cut(begin, "\n"); strings.TrimSpace(first) == "{" {
		err = d.next(strings.TrimSpace(begin)) // one object, written over several lines
	} else {
		for l := (lines{text: text}); err == nil && l.next(); {
			err = d.next(l.record)
		}
	}
	if err != nil {
		return nil, err
	}
	d.out.Batch = d.rows.finish()
	return &d.out, nil
}

// decoder turns texts of events into a batch.
type decoder struct {
	opt    JSONOptions
	walker *walker
	clock  *clock
	valid  bool // the whole text is UTF-8
	rows   sentRows
	out    Decoded
}

func newDecoder(opt JSONOptions) *decoder {
	or := func(n *int, usual int) {
		if *n == 0 {
			*n = usual
		}
	}
	or(&opt.EventBytesMax, sentEventBytes)
	or(&opt.PropertiesMax, sentProperties)
	or(&opt.NameBytesMax, sentNameBytes)
	or(&opt.EventsMax, sentEvents)
	or(&opt.DepthMax, sentDepth)
	if opt.Received == 0 {
		opt.Received = event.At(time.Now())
	}
	d := &decoder{opt: opt}
	d.clock, _ = newClock(opt.Timezone, "") // only a layout can be mistaken
	d.walker = newWalker()
	d.walker.depthMax, d.walker.nameMax = opt.DepthMax, opt.NameBytesMax
	d.walker.valuesMax = opt.PropertiesMax + len(sentFields)
	d.walker.nodesMax = sentNames
	return d
}

// next takes one event. An error ends decoding; an event at fault does not.
func (d *decoder) next(text string) error {
	index := d.out.Total
	if index == d.opt.EventsMax {
		return &TooManyError{d.opt.EventsMax}
	}
	d.out.Total++
	e, err := d.event(text)
	cells := 0
	if err == nil {
		cells = d.rows.with(e)
	}
	if cells > RequestCells {
		err = errors.New("the events sent with it have too many different properties; send fewer at once, and put what differs into values, not into names")
	}
	if err != nil {
		d.out.Rejected = append(d.out.Rejected, Rejection{index, err.Error()})
		return nil
	}
	if err := d.pay(cells); err != nil {
		return err
	}
	d.rows.add(e)
	d.out.Index = append(d.out.Index, index)
	return nil
}

// pay reserves memory before the batch has so many cells.
func (d *decoder) pay(cells int) error {
	const least = 64 << 10 // at once
	if cells <= d.rows.paid {
		return nil
	}
	more := max(cells-d.rows.paid, least)
	if d.opt.Reserve != nil {
		if err := d.opt.Reserve(int64(more) * cellBytes); err != nil {
			return err
		}
	}
	d.rows.paid += more
	return nil
}

var errNotClosed = errors.New("the JSON array is not closed; the request may have been cut off")

// array takes the elements of an array one by one. They are told apart by
// brackets and quotes alone, so that one at fault does not spoil the others.
func (d *decoder) array(text string) error {
	rest := strings.TrimLeft(text[1:], " \t\r\n")
	if strings.HasPrefix(rest, "]") {
		return d.end(rest[1:])
	}
	for {
		n := elementEnd(rest)
		if n < 0 {
			return errNotClosed
		}
		if rest[n] == '}' {
			return fmt.Errorf("the JSON array has a } where an element ends: %s", quoteShort(rest[n:]))
		}
		if err := d.next(strings.TrimSpace(rest[:n])); err != nil {
			return err
		}
		if rest[n] == ']' {
			return d.end(rest[n+1:])
		}
		rest = rest[n+1:]
	}
}

func (d *decoder) end(rest string) error {
	if rest = strings.TrimSpace(rest); rest != "" {
		return fmt.Errorf("text follows the JSON array: %s", quoteShort(rest))
	}
	return nil
}

// elementEnd finds the comma or bracket that ends an array's element.
func elementEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// sentField is a key of an event that is not a property.
type sentField int

const (
	sentCustomer sentField = iota
	sentTime
	sentEvent
	sentChannel
	sentID
	sentAt
)

var sentFields = map[string]sentField{"customer": sentCustomer, "time": sentTime, "event": sentEvent, "channel": sentChannel, "id": sentID, "sent_at": sentAt}

// target is what a node's values are for: a property, by its column, or one of
// sentFields, as -1 less its number.
func (d *decoder) target(n *node) int {
	if n.target == unresolved {
		if f, ok := sentFields[n.name]; ok && !(f == sentAt && d.opt.SentAt) {
			n.target = -1 - int(f)
		} else {
			n.target = d.rows.column(n.name, d.opt.Known)
		}
	}
	return n.target
}

// event reads an event. What it returns is valid until the next.
func (d *decoder) event(text string) (*sentRow, error) {
	if len(text) > d.opt.EventBytesMax {
		return nil, fmt.Errorf("the event is longer than %d bytes", d.opt.EventBytesMax)
	}
	if !d.valid && !utf8.ValidString(text) {
		return nil, errors.New("the event is not UTF-8")
	}
	if err := d.walker.walk(text); err != nil {
		if strings.HasPrefix(err.Error(), "text follows the JSON object: \"{") {
			err = errors.New("two objects stand on one line; curl keeps line ends with --data-binary")
		}
		return nil, err
	}
	e := d.rows.begin()
	if err := d.ownFields(e); err != nil {
		return nil, err
	}
	for _, l := range d.walker.leaves {
		column := d.target(l.node)
		if column < 0 {
			continue
		}
		v, err := d.property(&d.rows.columns[column], l)
		if err != nil {
			return nil, err
		}
		e.set(column, v)
	}
	if len(e.values) > d.opt.PropertiesMax {
		return nil, fmt.Errorf("more than %d properties", d.opt.PropertiesMax)
	}
	if name := d.rows.twice(e); name != "" {
		return nil, fmt.Errorf("the property %s has two values", quoteShort(name))
	}
	return e, nil
}

// ownFields reads an event's own fields.
func (d *decoder) ownFields(e *sentRow) error {
	var sent event.Time
	var hasTime, hasSent bool
	for _, l := range d.walker.leaves {
		target := d.target(l.node)
		if target >= 0 {
			continue
		}
		name := l.node.name
		if l.kind == jsonBool || l.kind == jsonArray {
			return fmt.Errorf("%s: %s", name, misfit(event.StringType, l.kind, l.raw))
		}
		switch field := sentField(-1 - target); field {
		case sentCustomer:
			e.customer = l.raw
		case sentEvent:
			e.name = l.raw
		case sentChannel:
			e.channel = l.raw
		case sentID:
			e.id = l.raw
		case sentTime, sentAt:
			t, fault := d.clock.usual(l.raw)
			if fault == outOfRange {
				return fmt.Errorf("%s: %s is outside the years 1 to 9999", name, quoteShort(l.raw))
			} else if fault != timeOK {
				return fmt.Errorf("%s: expected a time, got %s", name, quoteShort(l.raw))
			}
			if field == sentTime {
				e.time, hasTime = t, true
			} else {
				sent, hasSent = t, true
			}
		}
	}
	switch {
	case e.customer == "":
		return errors.New("there is no customer")
	case e.name == "":
		return errors.New("there is no event")
	case len(e.name) > d.opt.NameBytesMax:
		return fmt.Errorf("the event's name is longer than %d bytes", d.opt.NameBytesMax)
	case len(e.channel) > d.opt.NameBytesMax:
		return fmt.Errorf("the channel's name is longer than %d bytes", d.opt.NameBytesMax)
	case len(e.customer) > fieldBytesMax:
		return fmt.Errorf("customer is longer than %d bytes", fieldBytesMax)
	case len(e.id) > fieldBytesMax:
		return fmt.Errorf("id is longer than %d bytes", fieldBytesMax)
	case !hasTime && e.name == "profile":
		e.time = d.opt.Received
		return nil
	case !hasTime:
		return errors.New("there is no time")
	}
	if hasSent { // both are far from int64's ends
		e.time += d.opt.Received - sent
	}
	if e.time < event.MinTime || e.time > event.MaxTime {
		return errors.New("time: corrected by sent_at it is outside the years 1 to 9999")
	}
	if e.time > d.opt.Received.Add(futureMax) {
		return fmt.Errorf("time: %s lies more than 48 hours ahead", e.time)
	}
	return nil
}

// property reads a property's value as the type that the store, or an event
// before, has given its column.
func (d *decoder) property(c *sentColumn, l leaf) (event.Value, error) {
	var v event.Value
	switch l.kind {
	case jsonBool:
		v = event.Boolean(l.raw == "true")
	case jsonNumber:
		var ok bool
		if v, ok = sentNumber(l.raw); !ok {
			return v, fmt.Errorf("%s: the number %s is too large", c.Name, quoteShort(l.raw))
		}
	default:
		v = event.String(l.raw)
	}
	want := c.Type
	if want == event.None || v.Type() == want {
		return v, nil
	}
	switch {
	case want == event.FloatType && v.Type() == event.IntegerType:
		return event.Float(float64(v.Int())), nil
	case want == event.IntegerType && v.Type() == event.FloatType:
		return v, nil // the property widens
	case want == event.TimeType && l.kind == jsonText:
		if t, ok := d.clock.property(l.raw); ok {
			return event.Instant(t), nil
		}
	}
	return v, fmt.Errorf("%s: %s", c.Name, misfit(want, l.kind, l.raw))
}

// sentNumber reads a number of JSON's grammar.
func sentNumber(raw string) (event.Value, bool) {
	if n, ok := integer(raw); ok {
		return event.Integer(n), true
	}
	if f, ok := decimal(raw); ok && widens(raw) && raw != "-0" {
		return event.Float(f), true
	}
	if n, ok := anyInteger(raw); ok {
		return event.Integer(n), true
	}
	f, ok := (&reading{}).anyNumber(raw)
	return event.Float(f), ok
}
