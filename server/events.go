package server

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/klauspost/compress/zstd"

	"wend/ingest"
	"wend/storage"
)

// decompressed returns the request's body as it was before Content-Encoding,
// by its header or its first bytes, and bounded: more than bodyDecodedMax bytes
// are errTooLarge whatever the compressed size.
func decompressed(r *http.Request) (io.Reader, error) {
	wire := bufio.NewReader(&cappedReader{r: r.Body, left: bodyWireMax})
	magic, _ := wire.Peek(4)
	var body io.Reader = wire
	switch encoding := r.Header.Get("Content-Encoding"); {
	case encoding == "gzip" || encoding == "" && len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(wire)
		if err != nil {
			return nil, badRequest("bad_encoding", "the body is not gzip: "+err.Error(), "")
		}
		body = z
	case encoding == "zstd" || encoding == "" && len(magic) == 4 && string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(wire, zstd.WithDecoderMaxMemory(bodyDecodedMax), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, badRequest("bad_encoding", "the body is not zstd: "+err.Error(), "")
		}
		body = z.IOReadCloser()
	case encoding != "" && encoding != "identity":
		return nil, &apiError{Status: http.StatusUnsupportedMediaType, Code: "bad_encoding", Message: "content encoding " + encoding + " is not known", Hint: "send gzip, zstd or none"}
	}
	return &cappedReader{r: body, left: bodyDecodedMax}, nil
}

// cappedReader fails with errTooLarge where io.LimitReader would end quietly.
type cappedReader struct {
	r    io.Reader
	left int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

// rejection is one event of a batch that was not taken, and why.
type rejection struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

// eventsAnswer is the answer to POST /v1/events.
type eventsAnswer struct {
	Accepted   int64       `json:"accepted"`
	Duplicates int64       `json:"duplicates"`
	Conflicts  int64       `json:"conflicts,omitempty"`
	Rejected   []rejection `json:"rejected"`
	Durability string      `json:"durability"`
	LSN        uint64      `json:"lsn"`
}

func (s *Server) postEvents(w http.ResponseWriter, r *http.Request) error {
	opt := storage.AppendOptions{Token: r.Header.Get("X-Batch-Token"), Strict: r.URL.Query().Get("strict") == "1"}
	switch d := r.Header.Get("X-Durability"); d {
	case "", "sync":
		opt.Durability = storage.Sync
	case "interval":
		opt.Durability = storage.Interval
	case "memory":
		opt.Durability = storage.Memory
	default:
		return badRequest("bad_durability", "X-Durability is "+d, "use sync, interval or memory")
	}
	body, err := decompressed(r)
	if err != nil {
		return err
	}
	decoded, err := ingest.DecodeJSON(body, ingest.JSONOptions{EventsMax: eventsPerBatch})
	var many *ingest.TooManyError
	switch {
	case errors.As(err, &many):
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_many_events", Message: many.Error()}
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case err != nil:
		return badRequest("bad_events", err.Error(), "send one JSON object a line, or an array of objects")
	}
	answer := eventsAnswer{Rejected: []rejection{}}
	for _, j := range decoded.Rejected {
		answer.Rejected = append(answer.Rejected, rejection{j.Index, j.Reason})
	}
	if opt.Strict && len(answer.Rejected) > 0 {
		return badRequest("rejected_event", "a strict batch holds an event that cannot be taken: "+answer.Rejected[0].Reason, "correct it, or send without strict=1 to have the others stored")
	}
	ack, err := s.db.AppendBatch(r.Context(), decoded.Batch, opt)
	if err != nil {
		return err
	}
	// The store counts in the batch that it was given: back to the client's own numbers.
	for _, j := range ack.Rejected {
		answer.Rejected = append(answer.Rejected, rejection{decoded.Index[j.Index], j.Reason})
	}
	if opt.Strict && len(ack.Rejected) > 0 {
		return badRequest("rejected_event", "a strict batch holds an event that cannot be taken: "+ack.Rejected[0].Reason, "correct it, or send without strict=1 to have the others stored")
	}
	answer.Accepted, answer.Duplicates, answer.Conflicts = ack.Accepted, ack.Duplicates, ack.Conflicts
	answer.Durability, answer.LSN = ack.Durability.String(), ack.LSN
	s.metrics.ingested(answer.Accepted, answer.Duplicates, int64(len(answer.Rejected)))
	return writeJSON(w, http.StatusOK, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		LSN uint64 `json:"lsn"`
	}
	if err := decodeBody(r, &req); err != nil {
		return err
	}
	if err := s.db.Store().Sync(r.Context(), req.LSN); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"lsn": req.LSN, "durability": "sync"})
}

func decodeBody(r *http.Request, into any) error {
	body, err := readAll(r.Body, queryTextMax)
	if err != nil {
		return err
	}
	if err := strictJSON(body, into); err != nil {
		return badRequest("bad_request", "the body is not what this call takes: "+err.Error(), "GET /v1/openapi.json shows it")
	}
	return nil
}

type linkBody struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (s *Server) postLink(w http.ResponseWriter, r *http.Request) error {
	var l linkBody
	if err := decodeBody(r, &l); err != nil {
		return err
	}
	if l.From == "" || l.To == "" {
		return badRequest("bad_link", "a link needs from and to", `send {"from": "anon-1", "to": "customer-7"}`)
	}
	if err := s.db.Link(r.Context(), l.From, l.To); err != nil {
		return linkError(err)
	}
	return writeJSON(w, http.StatusOK, l)
}

// linkError tells a link that cannot be from a store that cannot write.
func linkError(err error) error {
	if errors.Is(err, storage.ErrBadLink) {
		return badRequest("bad_link", err.Error(), "")
	}
	return err
}

func (s *Server) getLinks(w http.ResponseWriter, _ *http.Request) error {
	links := []linkBody{}
	for _, l := range s.db.Links() {
		links = append(links, linkBody{l.From, l.To})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"links": links})
}

func (s *Server) deleteLink(w http.ResponseWriter, r *http.Request) error {
	if err := s.db.Unlink(r.Context(), r.PathValue("from")); err != nil {
		return linkError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
