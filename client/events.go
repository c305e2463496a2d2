package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"wend/event"
	"wend/ingest"
	"wend/storage"
)

// A batch with a token is sent attemptsMax times before its failure is the
// caller's, with waits between that double from waitFirst up to waitMax: half a
// minute together, within which a server is started again. A server that asks for
// a longer wait gets it, up to askedMax.
const (
	attemptsMax = 12
	waitFirst   = 50 * time.Millisecond
	waitMax     = 5 * time.Second
	askedMax    = time.Minute
)

// timeoutDefault is how long one attempt may take.
const timeoutDefault = time.Minute

// typesBytesMax bounds the header that names the properties that are times, which
// JSON cannot tell from texts, and sent_at: servers take headers of 32 KiB together.
const typesBytesMax = 24 << 10

// ErrTooLarge is the error of a batch that is not sent, because no server takes it.
var ErrTooLarge = errors.New("the batch is larger than a server takes at once")

// Append sends events as one batch, which is stored whole or not at all. So it
// is never parted: more than 50,000 events, events times different properties
// beyond 6 million, and texts beyond 64 MiB, or 16 MiB compressed, or 16 MiB that
// compress to a hundredth, or names of times beyond 24 KiB, are ErrTooLarge, and nothing is sent. Whoever has more
// sends several batches.
//
// With a token, which names the batch and must be another one for every batch,
// it is safe to send the same batch again. Append does so by itself where no
// answer came, or not all of it, within Options.Timeout, and where the server
// answers that the failure is its own (5xx) or that it has to wait (429): up to
// twelve times in about half a minute, each time later, and as late as the
// server's Retry-After wants, up to a minute each time. After an error the batch may be stored or not;
// sending it again with the token is still safe.
//
// Events that JSON cannot say, because a text is not UTF-8 or a number infinite,
// are not sent: they are in the Ack's rejections, like those that the server rejects.
func (c *Client) Append(ctx context.Context, events []event.Event, token string) (storage.Ack, error) {
	var rejected []storage.Rejection
	for i := range events {
		if reason := unsendable(&events[i]); reason != "" {
			rejected = append(rejected, storage.Rejection{Index: i, Reason: reason})
		}
	}
	if len(rejected) == 0 {
		return c.appendAll(ctx, events, token)
	}
	if len(rejected) == len(events) {
		return storage.Ack{Rejected: rejected}, nil
	}
	var rest []event.Event
	var index []int // of the rest in events
	for i, left := 0, rejected; i < len(events); i++ {
		if len(left) > 0 && left[0].Index == i {
			left = left[1:]
			continue
		}
		rest = append(rest, events[i])
		index = append(index, i)
	}
	ack, err := c.appendAll(ctx, rest, token)
	for _, r := range ack.Rejected {
		if r.Index >= 0 && r.Index < len(index) {
			r.Index = index[r.Index]
		}
		rejected = append(rejected, r)
	}
	if err == nil {
		slices.SortFunc(rejected, func(a, b storage.Rejection) int { return cmp.Compare(a.Index, b.Index) })
		ack.Rejected = rejected
	}
	return ack, err
}

// unsendable says why an event cannot be written as JSON and be the same, in a store's words.
func unsendable(e *event.Event) string {
	bad := func(what, text string) string { return fmt.Sprintf("%s %.128q is not valid UTF-8", what, text) }
	switch {
	case !utf8.ValidString(e.Customer):
		return bad("customer", e.Customer)
	case !utf8.ValidString(e.Name):
		return bad("event name", e.Name)
	case !utf8.ValidString(e.Channel):
		return bad("channel", e.Channel)
	case !utf8.ValidString(e.ID):
		return bad("id", e.ID)
	}
	for _, p := range e.Props {
		switch {
		case p.Value.IsNull():
		case !utf8.ValidString(p.Name):
			return bad("property name", p.Name)
		case !utf8.ValidString(p.Value.Text()):
			return bad(fmt.Sprintf("property %.128q", p.Name), p.Value.Text())
		case p.Value.Type() == event.FloatType && math.IsInf(p.Value.Float(), 0):
			return fmt.Sprintf("property %.128q is not a finite number", p.Name)
		}
	}
	return ""
}

// appendAll sends events as one batch.
func (c *Client) appendAll(ctx context.Context, events []event.Event, token string) (storage.Ack, error) {
	names, typed := map[string]bool{}, url.Values{}
	for _, e := range events {
		for _, p := range e.Props {
			if !p.Value.IsNull() {
				names[p.Name] = true
			}
			// Servers take sent_at for the sender's clock where its type is not named.
			if t := p.Value.Type(); t == event.TimeType || t != event.None && p.Name == "sent_at" && !typed.Has(p.Name) {
				typed.Set(p.Name, t.String())
			}
		}
	}
	body, encoding, err := encode(events, len(names))
	types := typed.Encode()
	if err == nil && len(types) > typesBytesMax {
		err = tooLarge(fmt.Sprintf("the names of its %d properties that are times have %d bytes, the limit is %d", len(typed), len(types), typesBytesMax))
	}
	if err != nil {
		return storage.Ack{}, fmt.Errorf("send %d events: %w", len(events), err)
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}, "Content-Encoding": {encoding}}
	if types != "" {
		header.Set("X-Property-Types", types)
	}
	attempts := 1
	if token != "" {
		header.Set("X-Batch-Token", token)
		attempts = attemptsMax
	}
	for wait := waitFirst; ; wait = min(2*wait, waitMax) {
		ack, err := c.sendEvents(ctx, header.Clone(), body)
		if err == nil {
			return ack, nil
		}
		if ctx.Err() != nil {
			return storage.Ack{}, ctx.Err()
		}
		attempts--
		again, after := passing(err)
		if attempts <= 0 || !again {
			return storage.Ack{}, fmt.Errorf("send %d events: %w", len(events), err)
		}
		// Between half and all of it, so that clients that failed together do not come back together.
		pause := max(after, wait/2+rand.N(wait/2))
		select {
		case <-ctx.Done():
			return storage.Ack{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// sendEvents sends a batch once.
func (c *Client) sendEvents(ctx context.Context, header http.Header, body []byte) (storage.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var answer struct {
		Accepted, Duplicates, Conflicts, Suppressed int64
		Rejected                                    []storage.Rejection
		LSN                                         uint64
	}
	if err := c.send(ctx, http.MethodPost, "/v1/events", header, bytes.NewReader(body), &answer, ""); err != nil {
		return storage.Ack{}, err
	}
	return storage.Ack{Accepted: answer.Accepted, Duplicates: answer.Duplicates - answer.Conflicts, Conflicts: answer.Conflicts, Suppressed: answer.Suppressed,
		Rejected: answer.Rejected, LSN: answer.LSN}, nil
}

// passing reports whether the same request may succeed in a moment, and when
// the server wants it at the earliest.
func passing(err error) (again bool, after time.Duration) {
	var refused *Error
	if errors.As(err, &refused) {
		switch {
		case refused.Status >= 500, refused.Status == http.StatusTooManyRequests, refused.Status == http.StatusRequestTimeout:
			return true, min(refused.RetryAfter, askedMax)
		}
		return false, 0
	}
	var lost *unreachable
	var cut *cutAnswer
	return errors.As(err, &lost) || errors.As(err, &cut) || errors.Is(err, context.DeadlineExceeded), 0
}

// encode writes a batch as NDJSON, compressed unless that makes so little of it
// that a server would take it for an attack.
func encode(events []event.Event, properties int) (body []byte, encoding string, err error) {
	if n := len(events); n > ingest.RequestEvents {
		return nil, "", tooLarge(fmt.Sprintf("it has %d events, the limit is %d", n, ingest.RequestEvents))
	}
	if cells := len(events) * properties; cells > ingest.RequestCells {
		return nil, "", tooLarge(fmt.Sprintf("%d events with %d different properties are %d values, absent ones counted, the limit is %d", len(events), properties, cells, ingest.RequestCells))
	}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, "", err
	}
	text := &measured{to: z, packed: &packed}
	if err := errors.Join(writeEvents(text, events), z.Close()); err != nil {
		return nil, "", err
	}
	if text.dense {
		if text.bytes > ingest.RequestWireBytes {
			return nil, "", tooLarge(fmt.Sprintf("its text has %d bytes and compresses to less than a hundredth, the limit of such is %d", text.bytes, ingest.RequestWireBytes))
		}
		var plain bytes.Buffer
		plain.Grow(text.bytes)
		err := writeEvents(&plain, events)
		return plain.Bytes(), "identity", err
	}
	if packed.Len() > ingest.RequestWireBytes {
		return nil, "", tooLarge(fmt.Sprintf("it has %d bytes compressed, the limit is %d", packed.Len(), ingest.RequestWireBytes))
	}
	return packed.Bytes(), "zstd", nil
}

func tooLarge(what string) error {
	return fmt.Errorf("%w: %s; send several batches, each with a token of its own", ErrTooLarge, what)
}

func writeEvents(to io.Writer, events []event.Event) error {
	w, err := ingest.NewWriter(to, "ndjson", nil)
	if err != nil {
		return err
	}
	w.Fractions = true
	for _, e := range events {
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return w.Flush()
}

// measured compresses a text as long as servers take it.
type measured struct {
	to     io.Writer
	packed *bytes.Buffer // what became of it so far
	bytes  int
	dense  bool // somewhere so little had become of it that servers may refuse to go on
}

// Write fails with ErrTooLarge when the text is longer than servers take.
func (m *measured) Write(text []byte) (int, error) {
	if m.bytes += len(text); m.bytes > ingest.RequestTextBytes {
		return 0, tooLarge(fmt.Sprintf("its text has more than %d bytes", ingest.RequestTextBytes))
	}
	n, err := m.to.Write(text)
	m.dense = m.dense || m.bytes > ingest.RequestRatioFree && m.bytes > ingest.RequestRatio*m.packed.Len()
	return n, err
}

// Schema lists what there is to query on the server.
func (c *Client) Schema(ctx context.Context) (*event.Schema, []event.Definition, error) {
	var answer struct {
		Events, Channels []struct {
			Name   string
			Events int64
		}
		Properties  []struct{ Name, Type string }
		Definitions []struct{ Kind, Name, Text string }
	}
	if err := c.do(ctx, http.MethodGet, "/v1/schema", nil, &answer, ""); err != nil {
		return nil, nil, err
	}
	schema := &event.Schema{Channels: []event.Name{{}}}
	for _, e := range answer.Events {
		schema.Events = append(schema.Events, event.Name{Text: e.Name, Count: e.Events})
	}
	for _, x := range answer.Channels {
		schema.Channels = append(schema.Channels, event.Name{Text: x.Name, Count: x.Events})
	}
	for _, p := range answer.Properties {
		t, ok := event.ParseType(p.Type)
		if !ok {
			return nil, nil, fmt.Errorf("the server's property %q has the type %q, which this version does not know", p.Name, p.Type)
		}
		schema.Properties = append(schema.Properties, event.Property{Name: p.Name, Type: t})
	}
	var definitions []event.Definition
	for _, d := range answer.Definitions {
		definitions = append(definitions, event.Definition{Kind: d.Kind, Name: d.Name, Text: d.Text})
	}
	return schema, definitions, nil
}
