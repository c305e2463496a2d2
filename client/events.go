package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/klauspost/compress/zstd"

	"wend/event"
	"wend/ingest"
	"wend/storage"
)

// attemptsMax is how often a batch is sent before its failure is the caller's.
const attemptsMax = 5

// typesBytesMax bounds the header that names properties' types; without it the
// server goes by JSON's own.
const typesBytesMax = 16 << 10

// Append sends events as one batch, which is stored whole or not at all. With a
// token it is safe to send the same batch again, and Append does so by itself
// where the server is busy or the connection broke.
func (c *Client) Append(ctx context.Context, events []event.Event, token string) (storage.Ack, error) {
	body, err := encode(events)
	if err != nil {
		return storage.Ack{}, fmt.Errorf("encode %d events: %w", len(events), err)
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}, "Content-Encoding": {"zstd"}}
	types := url.Values{}
	for _, e := range events {
		for _, p := range e.Props {
			if types.Get(p.Name) != event.FloatType.String() && !p.Value.IsNull() {
				types.Set(p.Name, p.Value.Type().String())
			}
		}
	}
	if len(types) > 0 && len(types.Encode()) < typesBytesMax {
		header.Set("X-Property-Types", types.Encode())
	}
	attempts := 1
	if token != "" {
		header.Set("X-Batch-Token", token)
		attempts = attemptsMax
	}
	for wait := 100 * time.Millisecond; ; wait *= 3 {
		var answer struct {
			Accepted, Duplicates, Conflicts, Suppressed int64
			Rejected                                    []storage.Rejection
			LSN                                         uint64
		}
		err := c.send(ctx, http.MethodPost, "/v1/events", header.Clone(), bytes.NewReader(body), &answer, "")
		if err == nil {
			return storage.Ack{Accepted: answer.Accepted, Duplicates: answer.Duplicates - answer.Conflicts, Conflicts: answer.Conflicts, Suppressed: answer.Suppressed,
				Rejected: answer.Rejected, LSN: answer.LSN}, nil
		}
		attempts--
		if attempts == 0 || !passing(err) {
			return storage.Ack{}, fmt.Errorf("send %d events: %w", len(events), err)
		}
		select {
		case <-ctx.Done():
			return storage.Ack{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// passing reports whether the same request may succeed in a moment.
func passing(err error) bool {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusServiceUnavailable
	}
	var lost *unreachable
	return errors.As(err, &lost)
}

func encode(events []event.Event) ([]byte, error) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w, err := ingest.NewWriter(z, "ndjson", nil)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if err := w.Write(e); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Flush(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
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
