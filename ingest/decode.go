package ingest

import (
	"errors"
	"fmt"
	"io"
	"slices"
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

	// futureMax is how far ahead of its arrival an event may lie: a clock that
	// is two days fast is wrong, one that is a day off may be in another zone.
	futureMax = 48 * event.Hour
)

// JSONOptions say how sent events are read. The zero value is good.
type JSONOptions struct {
	Known    map[string]event.Type // property to type in the store
	Received event.Time            // when the events arrived; 0: now
	Timezone *time.Location        // of times that name none; nil: UTC

	// Limits; 0: 64 KiB an event, 256 properties, names of 128 bytes, 50,000
	// events, depth 16.
	EventBytesMax, PropertiesMax, NameBytesMax, EventsMax, DepthMax int
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
// sent_at is given, the time is corrected by what the sender's clock was off.
// A profile may come without a time: it then holds from its arrival.
//
// An event that cannot be taken is rejected by itself; an error is one of
// reading, or of a text that does not fall into events.
func DecodeJSON(r io.Reader, opt JSONOptions) (*Decoded, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	d := newDecoder(opt)
	text := strings.TrimPrefix(textOf(body), "\ufeff")
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
	d.out.Batch = d.builder.Batch()
	return &d.out, nil
}

// decoder turns texts of events into a batch.
type decoder struct {
	opt     JSONOptions
	walker  *walker
	clock   *clock
	builder *event.Builder
	types   map[string]event.Type // of the properties so far
	out     Decoded
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
	d := &decoder{opt: opt, builder: event.NewBuilder(), types: map[string]event.Type{}}
	d.clock, _ = newClock(opt.Timezone, "") // only a layout can be mistaken
	d.walker = newWalker()
	d.walker.depthMax, d.walker.nameMax = opt.DepthMax, opt.NameBytesMax
	d.walker.valuesMax = opt.PropertiesMax + len(sentFields)
	d.walker.nodesMax = opt.EventsMax * 4
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
	if err != nil {
		d.out.Rejected = append(d.out.Rejected, Rejection{index, err.Error()})
		return nil
	}
	d.builder.Add(e)
	d.out.Index = append(d.out.Index, index)
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

// sentFields are the keys of an event that are not properties.
var sentFields = map[string]bool{"customer": true, "time": true, "event": true, "channel": true, "id": true, "sent_at": true}

func (d *decoder) event(text string) (event.Event, error) {
	var e event.Event
	if len(text) > d.opt.EventBytesMax {
		return e, fmt.Errorf("the event is longer than %d bytes", d.opt.EventBytesMax)
	}
	if !utf8.ValidString(text) {
		return e, errors.New("the event is not UTF-8")
	}
	if err := d.walker.walk(text); err != nil {
		if strings.HasPrefix(err.Error(), "text follows the JSON object: \"{") {
			err = errors.New("two objects stand on one line; curl keeps line ends with --data-binary")
		}
		return e, err
	}
	if err := d.ownFields(&e); err != nil {
		return e, err
	}
	for _, l := range d.walker.leaves {
		name := l.node.name
		if sentFields[name] {
			continue
		}
		v, err := d.property(name, l)
		if err != nil {
			return e, err
		}
		e.Props = append(e.Props, event.Prop{Name: name, Value: v})
	}
	if len(e.Props) > d.opt.PropertiesMax {
		return e, fmt.Errorf("more than %d properties", d.opt.PropertiesMax)
	}
	slices.SortFunc(e.Props, func(p, q event.Prop) int { return strings.Compare(p.Name, q.Name) })
	for i := range e.Props[min(1, len(e.Props)):] {
		if e.Props[i].Name == e.Props[i+1].Name {
			return e, fmt.Errorf("the property %q has two values", e.Props[i].Name)
		}
	}
	for _, p := range e.Props { // only an event that is taken decides types
		if t, ok := d.types[p.Name]; !ok || t == event.IntegerType {
			d.types[p.Name] = p.Value.Type()
		}
	}
	return e, nil
}

// ownFields reads an event's own fields.
func (d *decoder) ownFields(e *event.Event) error {
	var sentAt event.Time
	var hasTime, hasSentAt bool
	for _, l := range d.walker.leaves {
		name := l.node.name
		if !sentFields[name] {
			continue
		}
		if l.kind == jsonBool || l.kind == jsonArray {
			return fmt.Errorf("%s: %s", name, misfit(event.StringType, l.kind, l.raw))
		}
		switch name {
		case "customer":
			e.Customer = l.raw
		case "event":
			e.Name = l.raw
		case "channel":
			e.Channel = l.raw
		case "id":
			e.ID = l.raw
		case "time", "sent_at":
			t, fault := d.clock.usual(l.raw)
			if fault == outOfRange {
				return fmt.Errorf("%s: %s is outside the years 1 to 9999", name, quoteShort(l.raw))
			} else if fault != timeOK {
				return fmt.Errorf("%s: expected a time, got %s", name, quoteShort(l.raw))
			}
			if name == "time" {
				e.Time, hasTime = t, true
			} else {
				sentAt, hasSentAt = t, true
			}
		}
	}
	switch {
	case e.Customer == "":
		return errors.New("there is no customer")
	case e.Name == "":
		return errors.New("there is no event")
	case len(e.Name) > d.opt.NameBytesMax:
		return fmt.Errorf("the event's name is longer than %d bytes", d.opt.NameBytesMax)
	case len(e.Channel) > d.opt.NameBytesMax:
		return fmt.Errorf("the channel's name is longer than %d bytes", d.opt.NameBytesMax)
	case len(e.Customer) > fieldBytesMax:
		return fmt.Errorf("customer is longer than %d bytes", fieldBytesMax)
	case len(e.ID) > fieldBytesMax:
		return fmt.Errorf("id is longer than %d bytes", fieldBytesMax)
	case !hasTime && e.Name == "profile":
		e.Time = d.opt.Received
		return nil
	case !hasTime:
		return errors.New("there is no time")
	}
	if hasSentAt { // both are far from int64's ends
		e.Time += d.opt.Received - sentAt
	}
	if e.Time < event.MinTime || e.Time > event.MaxTime {
		return errors.New("time: corrected by sent_at it is outside the years 1 to 9999")
	}
	if e.Time > d.opt.Received.Add(futureMax) {
		return fmt.Errorf("time: %s lies more than 48 hours ahead", e.Time)
	}
	return nil
}

// property reads a property's value as the type that the store, or an event
// before, has given it.
func (d *decoder) property(name string, l leaf) (event.Value, error) {
	want, ok := d.opt.Known[name]
	if before, seen := d.types[name]; seen && (!ok || want == event.IntegerType) {
		want, ok = before, true
	}
	v := event.Null
	switch l.kind {
	case jsonBool:
		v = event.Boolean(l.raw == "true")
	case jsonNumber:
		if n, ok := anyInteger(l.raw); ok {
			v = event.Integer(n)
		} else if f, ok := (&reading{}).anyNumber(l.raw); ok {
			v = event.Float(f)
		} else {
			return v, fmt.Errorf("%s: the number %s is too large", name, quoteShort(l.raw))
		}
	default:
		v = event.String(l.raw)
	}
	if !ok || v.Type() == want {
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
	return v, fmt.Errorf("%s: %s", name, misfit(want, l.kind, l.raw))
}
