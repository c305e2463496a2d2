package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"wend/event"
	"wend/ingest"
	"wend/storage"
)

// rejection is one event of a batch that was not taken, and why.
type rejection struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

// eventsAnswer is the answer to POST /v1/events.
type eventsAnswer struct {
	Accepted   int64       `json:"accepted"`
	Duplicates int64       `json:"duplicates"`
	Suppressed int64       `json:"suppressed,omitempty"` // of customers who were erased, and are not to come back
	Conflicts  int64       `json:"conflicts,omitempty"`  // of the duplicates, those with other content than what is stored
	Rejected   []rejection `json:"rejected"`
	Durability string      `json:"durability"`
	LSN        uint64      `json:"lsn"`
}

func (s *Server) postEvents(w http.ResponseWriter, r *http.Request) error {
	var opt storage.AppendOptions
	var err error
	if opt.Token, err = once(r, "X-Batch-Token", "bad_batch_token"); err != nil {
		return err
	}
	if opt.Durability, err = s.durability(r); err != nil {
		return err
	}
	if opt.Strict, err = switched(r.URL.Query(), "strict"); err != nil {
		return err
	}
	if err := storage.CheckToken(opt.Token); err != nil {
		return badRequest("bad_batch_token", err.Error(), "")
	}
	body, err := s.decompressed(r)
	if err != nil {
		return err
	}
	defer body.Close()
	ack, err := s.appendBody(r, body, opt)
	if err != nil {
		return err
	}
	body.settle(rejectionBytes * int64(len(ack.Rejected))) // the client may take its time
	answer := eventsAnswer{Accepted: ack.Accepted, Duplicates: ack.Duplicates + ack.Conflicts, Conflicts: ack.Conflicts,
		Suppressed: ack.Suppressed, Rejected: []rejection{}, Durability: ack.Durability.String(), LSN: ack.LSN}
	s.metrics.ingested(answer.Accepted, answer.Duplicates, int64(len(ack.Rejected)))
	return answer.write(w, ack.Rejected)
}

// appendBody has the store take what a body brings.
func (s *Server) appendBody(r *http.Request, body *pooledReader, opt storage.AppendOptions) (storage.Ack, error) {
	var types ingest.JSONOptions
	err := s.change(func() (err error) { // to ask the store may be to wait for it, too
		types, err = s.propertyTypes(r.Header.Get("X-Property-Types"))
		return err
	})
	if err != nil {
		return storage.Ack{}, err
	}
	decoded, err := ingest.DecodeJSON(body, ingest.JSONOptions{EventsMax: eventsPerBatch, Known: types.Known, SentAt: types.SentAt, Length: r.ContentLength, Reserve: body.reserve})
	var many *ingest.TooManyError
	switch {
	case errors.As(err, &many):
		return storage.Ack{}, &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_many_events", Message: many.Error()}
	case err != nil:
		return storage.Ack{}, bodyError(err, "bad_events", "send one JSON object a line, or an array of objects")
	}
	if err := body.reserve(rejectionBytes * int64(decoded.Total)); err != nil {
		return storage.Ack{}, err
	}
	opt.Index = decoded.Index
	for _, j := range decoded.Rejected {
		opt.Rejected = append(opt.Rejected, storage.Rejection{Index: j.Index, Reason: j.Reason})
	}
	var ack storage.Ack
	err = s.change(func() (err error) {
		ack, err = s.db.AppendBatch(r.Context(), decoded.Batch, opt)
		return err
	})
	if errors.Is(err, storage.ErrRefused) {
		return storage.Ack{}, refusedBatch(ack.Rejected[0])
	}
	return ack, err
}

// rejectionBytes is about what a rejected event takes until its answer is out: a
// few hundred different reasons are texts that many share.
const rejectionBytes = 64

// write writes the answer with what is rejected, one after the other.
func (a *eventsAnswer) write(w http.ResponseWriter, rejected []storage.Rejection) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	const list = `"rejected":[`
	at := bytes.Index(text, []byte(list)) + len(list)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriter(w)
	out.Write(text[:at])
	for i, r := range rejected {
		if i > 0 {
			out.WriteByte(',')
		}
		one, _ := json.Marshal(rejection{r.Index, r.Reason}) // a number and a text
		if _, err := out.Write(one); err != nil {
			break // Flush says so
		}
	}
	out.Write(text[at:])
	out.WriteByte('\n')
	if err := out.Flush(); err != nil {
		panic(http.ErrAbortHandler) // the status is out: a cut connection says that this is not all
	}
	return nil
}

// change has the store do what a request needs for a change, in one of the places
// there are for that. No place is held while a client sends a body.
func (s *Server) change(do func() error) error {
	select {
	case s.changes <- struct{}{}:
		defer func() { <-s.changes }()
		return do()
	default:
		return &apiError{Status: http.StatusServiceUnavailable, Code: "ingest_busy",
			Message: fmt.Sprintf("%d requests wait for the store to write what they bring, which is the limit; nothing of this one was stored", changesMax),
			Hint:    "send it again when Retry-After says; a request with more events takes one place, too", Retry: true}
	}
}

// refusedBatch is the error of a strict batch that holds an event which cannot be taken.
func refusedBatch(r storage.Rejection) error {
	return badRequest("rejected_event", fmt.Sprintf("a strict batch is refused for its event %d: %s", r.Index, r.Reason), "correct it, or send without strict=1 to have the others stored")
}

// once returns a header that must not be there twice: one of the two would not
// be what its sender meant.
func once(r *http.Request, name, code string) (string, error) {
	if len(r.Header.Values(name)) > 1 {
		return "", badRequest(code, name+" is there more than once", "send it once")
	}
	return r.Header.Get(name), nil
}

// switched reports whether a parameter of an address is switched on. Whoever writes
// something else into it means one of the two.
func switched(values url.Values, name string) (bool, error) {
	if !values.Has(name) {
		return false, nil
	}
	switch value := values.Get(name); value {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	default:
		return false, badRequest("bad_request", fmt.Sprintf("%s is %q", name, value), "write "+name+"=1, or leave it out")
	}
}

// durability is what the request asks for.
func (s *Server) durability(r *http.Request) (storage.Durability, error) {
	d, err := once(r, "X-Durability", "bad_durability")
	if err != nil {
		return 0, err
	}
	if d == "" {
		return storage.Sync, nil
	}
	level, known := storage.ParseDurability(d)
	switch {
	case !known:
		return 0, badRequest("bad_durability", "X-Durability is "+d, "use sync, interval or memory")
	case level == storage.Memory && !s.opt.AllowMemory:
		return 0, &apiError{Status: http.StatusForbidden, Code: "memory_not_allowed",
			Message: "this server acknowledges nothing that is only in memory", Hint: "send sync or interval, or have the server started with --allow-memory"}
	}
	return level, nil
}

// propertyTypes are the types that a batch's properties are read as: those that
// the store has given them already and, for others, those that the client
// names, as in at=time&value=float. JSON cannot tell a time from a text, nor a
// property sent_at from the sender's clock: a client that names it means the property.
func (s *Server) propertyTypes(named string) (ingest.JSONOptions, error) {
	known := map[string]event.Type{}
	sentAt := false
	if named != "" {
		values, err := url.ParseQuery(named)
		if err != nil {
			return ingest.JSONOptions{}, badRequest("bad_types", "X-Property-Types cannot be read: "+err.Error(), "write at=time&value=float")
		}
		sentAt = values.Has("sent_at")
		for name := range values {
			t, ok := event.ParseType(values.Get(name))
			if !ok {
				return ingest.JSONOptions{}, badRequest("bad_types", "X-Property-Types names a type that there is not: "+values.Get(name), "types are string, integer, float, boolean and time")
			}
			known[name] = t
		}
	}
	properties, err := s.db.Store().Properties()
	if err != nil {
		return ingest.JSONOptions{}, err
	}
	for _, p := range properties {
		known[p.Name] = p.Type
	}
	return ingest.JSONOptions{Known: known, SentAt: sentAt}, nil
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
	if err := s.change(func() error { return s.db.Store().Sync(r.Context(), req.LSN) }); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"lsn": req.LSN, "durability": "sync"})
}

func decodeBody(r *http.Request, into any) error {
	body, err := readAll(r.Body, queryTextMax)
	if err != nil {
		return bodyError(err, "bad_request", "")
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

// postLink makes one link, or those of an array: all of them or none.
func (s *Server) postLink(w http.ResponseWriter, r *http.Request) error {
	in, err := s.decompressed(r)
	if err != nil {
		return err
	}
	defer in.Close()
	body, err := readAll(in, bodyDecodedMax)
	if err != nil {
		return bodyError(err, "bad_link", "")
	}
	var several []linkBody
	one := !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	if one {
		several = make([]linkBody, 1)
		err = strictJSON(body, &several[0])
	} else {
		several, err = strictList[linkBody](body, linksAtOnce)
	}
	switch {
	case errors.Is(err, errTooMany):
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_many_links",
			Message: fmt.Sprintf("more than %d links in one request", linksAtOnce), Hint: "send them in several; none of these was made"}
	case err != nil:
		return badRequest("bad_link", "the body is not a link: "+err.Error(), `send {"from": "anon-1", "to": "customer-7"}, or an array of such`)
	}
	links := make([]storage.Link, len(several))
	for i, l := range several {
		if l.From == "" || l.To == "" {
			return badRequest("bad_link", "a link needs from and to", `send {"from": "anon-1", "to": "customer-7"}`)
		}
		links[i] = storage.Link(l)
	}
	if err := s.change(func() error { return s.db.Store().LinkAll(r.Context(), links) }); err != nil {
		return linkError(err)
	}
	if one {
		return writeJSON(w, http.StatusOK, several[0])
	}
	return writeJSON(w, http.StatusOK, map[string]any{"links": len(links)})
}

// linkError tells a link that cannot be from a store that cannot write.
func linkError(err error) error {
	if errors.Is(err, storage.ErrBadLink) {
		return badRequest("bad_link", err.Error(), "")
	}
	return err
}

// linkBytes is what a link takes in a list.
const linkBytes = 32

// getLinks lists the links, each written when it was encoded. It counts as a
// query: the list is held until its client has taken it.
func (s *Server) getLinks(w http.ResponseWriter, r *http.Request) error {
	q, done, err := s.begin(r, rand.Text())
	if err != nil {
		return err
	}
	defer done()
	release, err := q.holdAnswer(s.db, linkBytes*int64(s.db.Store().Summary().Links))
	if err != nil {
		return err
	}
	defer release()
	era := s.db.Era() // before the list
	links := s.db.Links()
	w, written := q.writer(w, era)
	defer written()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriter(w)
	out.WriteString(`{"links":[`)
	for i, l := range links {
		if i > 0 {
			out.WriteByte(',')
		}
		link, _ := json.Marshal(linkBody(l)) // two texts
		if _, err := out.Write(link); err != nil {
			break // Flush says so
		}
	}
	out.WriteString("]}\n")
	if err := out.Flush(); err != nil {
		panic(http.ErrAbortHandler) // the status is out: a cut connection says that these are not all
	}
	return nil
}

func (s *Server) deleteLink(w http.ResponseWriter, r *http.Request) error {
	if err := s.change(func() error { return s.db.Unlink(r.Context(), r.PathValue("from")) }); err != nil {
		return linkError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
