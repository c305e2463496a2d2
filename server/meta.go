package server

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"net/http"

	"wend/engine"
	"wend/query"
	"wend/storage"
)

//go:embed openapi.json
var openAPIDocument []byte

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openAPIDocument)
	return err
}

type checkAnswer struct {
	OK     bool        `json:"ok"`
	Errors []*apiError `json:"errors"`
}

// check tells a statement's mistakes without running it.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	var req queryRequest
	if err := decodeBody(r, &req); err != nil {
		return err
	}
	params, err := paramValues(req.Params)
	if err != nil {
		return err
	}
	opts := []engine.QueryOption{engine.WithParams(params)}
	if req.Lenient {
		opts = append(opts, engine.WithLenient())
	}
	q, done, err := s.begin(r, rand.Text())
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(q.ctx, s.timeFor(&req))
	defer cancel()
	answer := checkAnswer{OK: true, Errors: []*apiError{}}
	if err := s.db.Check(ctx, req.Query, opts...); err != nil {
		var mistakes query.Errors
		if !errors.As(err, &mistakes) {
			return err
		}
		answer.OK = false
		for _, m := range mistakes {
			answer.Errors = append(answer.Errors, fromMistake(m))
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

type completion struct {
	Text   string `json:"text"`
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
}

// complete lists what may stand at a position; position counts bytes.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Query    string `json:"query"`
		Position *int   `json:"position"`
	}
	if err := decodeBody(r, &req); err != nil {
		return err
	}
	at := len(req.Query)
	if req.Position != nil {
		if at = *req.Position; at < 0 || at > len(req.Query) {
			return badRequest("bad_position", "position lies outside the query", "it counts bytes from 0")
		}
	}
	q, done, err := s.begin(r, rand.Text())
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(q.ctx, s.opt.QueryTimeout)
	defer cancel()
	items, from := s.db.Complete(ctx, req.Query, at)
	if err := ctx.Err(); err != nil {
		return err
	}
	list := []completion{}
	for _, c := range items {
		list = append(list, completion{c.Text, c.Kind, c.Detail})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"from": from, "completions": list})
}

// nameBytes is about what a name takes while it is written, beside its text.
const nameBytes = 200

// schema counts as a query: what it lists is held until its client has taken it.
func (s *Server) schema(w http.ResponseWriter, r *http.Request) error {
	q, done, err := s.begin(r, rand.Text())
	if err != nil {
		return err
	}
	defer done()
	schema, definitions, err := s.db.Schema()
	if err != nil {
		return err
	}
	type name struct {
		Name   string `json:"name"`
		Events int64  `json:"events"`
	}
	type property struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	type definition struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
		Text string `json:"text"`
	}
	known := schema.Known()
	events, channels, properties, defs := []name{}, []name{}, []property{}, []definition{}
	for _, e := range known.Events {
		events = append(events, name{e.Text, e.Count})
	}
	for _, c := range known.Channels {
		if c.Text != "" {
			channels = append(channels, name{c.Text, c.Count})
		}
	}
	for _, p := range known.Properties {
		properties = append(properties, property{p.Name, p.Type.String()})
	}
	for _, d := range definitions {
		defs = append(defs, definition{d.Kind, d.Name, d.Text})
	}
	bytes := nameBytes * int64(len(events)+len(channels)+len(properties)+len(defs))
	for _, d := range defs {
		bytes += 2 * int64(len(d.Text))
	}
	release, err := q.holdAnswer(s.db, bytes)
	if err != nil {
		return err
	}
	defer release()
	w, written := q.writer(w, context.Background())
	defer written()
	return writeJSON(w, http.StatusOK, map[string]any{"events": events, "channels": channels, "properties": properties, "definitions": defs})
}

// status counts as a query: to count the customers of a large store takes as long
// as one. Where that is to be done at once, requests wait as long as their clients do.
func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	q, done, err := s.begin(r, rand.Text())
	if err != nil {
		return err
	}
	defer done()
	st, err := s.counted(q.ctx)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

// counted is the store's status, when no other is made.
func (s *Server) counted(ctx context.Context) (storage.Status, error) {
	select {
	case s.counting <- struct{}{}:
		defer func() { <-s.counting }()
		return s.db.Status(), nil
	case <-ctx.Done():
		return storage.Status{}, ctx.Err()
	}
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	_, err := w.Write([]byte("ok\n"))
	return err
}

// readiness says whether requests should be sent here: not while stopping.
func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) error {
	if s.stopping.Load() {
		return errStopping
	}
	_, err := w.Write([]byte("ready\n"))
	return err
}
