package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"wend/access"
	"wend/engine"
	"wend/event"
	"wend/render"
	"wend/storage"
)

// queryRequest is the body of POST /v1/query.
type queryRequest struct {
	Query     string                     `json:"query"`
	Params    map[string]json.RawMessage `json:"params"`
	Lenient   bool                       `json:"lenient"`
	TimeoutMS int64                      `json:"timeout_ms"`
	OnMissing string                     `json:"on_missing"` // fail: no partial answer
}

func (s *Server) postQuery(w http.ResponseWriter, r *http.Request) error {
	body, err := readAll(r.Body, queryTextMax)
	if err != nil {
		return bodyError(err, "bad_request", "")
	}
	req := queryRequest{}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "text/plain" {
		req.Query = string(body)
	} else if err := strictJSON(body, &req); err != nil {
		return badRequest("bad_request", "the body is not a query: "+err.Error(), `send {"query": "…"}, or the text itself as text/plain`)
	}
	if granted(r).Has(access.Admin) {
		return s.query(w, r, req)
	}
	err = s.query(w, r, req, engine.ReadOnlyQuery())
	if errors.Is(err, storage.ErrReadOnly) {
		return missingScope("define and drop need", access.Admin)
	}
	return err
}

func (s *Server) getQuery(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	req := queryRequest{Query: values.Get("q"), OnMissing: values.Get("on_missing"), Params: map[string]json.RawMessage{}}
	var err error
	if req.Lenient, err = switched(values, "lenient"); err != nil {
		return err
	}
	if ms := values.Get("timeout_ms"); ms != "" {
		n, err := strconv.ParseInt(ms, 10, 64)
		if err != nil {
			return badRequest("bad_request", "timeout_ms is not a number", "")
		}
		req.TimeoutMS = n
	}
	for name, v := range values {
		if param, ok := strings.CutPrefix(name, "param."); ok {
			text, _ := json.Marshal(v[0])
			req.Params[param] = text
		}
	}
	err = s.query(w, r, req, engine.ReadOnlyQuery())
	if errors.Is(err, storage.ErrReadOnly) {
		w.Header().Set("Allow", "POST")
		return &apiError{Status: http.StatusMethodNotAllowed, Code: "needs_post", Message: "define and drop change the store", Hint: "send them with POST"}
	}
	return err
}

// paramValues reads parameters: numbers without a fraction are integers.
func paramValues(params map[string]json.RawMessage) (map[string]event.Value, error) {
	values := map[string]event.Value{}
	for name, raw := range params {
		var v any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			return nil, badRequest("bad_parameter", "parameter "+name+": "+err.Error(), "")
		}
		switch v := v.(type) {
		case nil:
			values[name] = event.Null
		case string:
			values[name] = event.String(v)
		case bool:
			values[name] = event.Boolean(v)
		case json.Number:
			if i, err := v.Int64(); err == nil {
				values[name] = event.Integer(i)
			} else if f, err := v.Float64(); err == nil {
				values[name] = event.Float(f)
			} else {
				return nil, badRequest("bad_parameter", "parameter "+name+" is out of range", "")
			}
		default:
			return nil, badRequest("bad_parameter", "parameter "+name+" is a list or an object", "pass a text, a number, true, false or null")
		}
	}
	return values, nil
}

// formats are the answers that a client can ask for, by media type.
var formats = []struct{ media, format string }{
	{"application/json", "json"},
	{"text/csv", "csv"},
	{"application/x-ndjson", "ndjson"},
}

// negotiate picks what Accept prefers of what we have, the first of equals.
func negotiate(accept string) (media, format string, ok bool) {
	if accept == "" {
		return formats[0].media, formats[0].format, true
	}
	best, first := 0.0, 0
	for _, f := range formats {
		q, at := quality(accept, f.media)
		if q > best || q == best && q > 0 && at < first {
			media, format, best, first = f.media, f.format, q, at
		}
	}
	return media, format, best > 0
}

// quality is how much Accept prefers a media type, 0 for not at all, and at which
// of its places it says so: at the one that names it most closely.
func quality(accept, media string) (q float64, at int) {
	kinds, _, _ := strings.Cut(media, "/")
	closest, i := -1, 0
	for part := range strings.SplitSeq(accept, ",") {
		i++
		kind, params, err := mime.ParseMediaType(part)
		exact := slices.Index([]string{"*/*", kinds + "/*", media}, kind)
		if err != nil || exact <= closest {
			continue
		}
		closest, at, q = exact, i, 1
		if given, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = given
		}
	}
	return q, at
}

var queryID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// query runs one statement and writes its answer.
func (s *Server) query(w http.ResponseWriter, r *http.Request, req queryRequest, opts ...engine.QueryOption) error {
	if strings.TrimSpace(req.Query) == "" {
		return badRequest("empty_query", "there is no query", `send {"query": "show events"}`)
	}
	if len(req.Query) > queryTextMax {
		return badRequest("query_text_limit", fmt.Sprintf("the query is longer than %d bytes", queryTextMax), "")
	}
	media, format, ok := negotiate(r.Header.Get("Accept"))
	if !ok {
		return &apiError{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "no answer of the accepted types", Hint: "accept application/json, text/csv or application/x-ndjson"}
	}
	if req.OnMissing != "" && req.OnMissing != "fail" && req.OnMissing != "partial" {
		return badRequest("bad_request", "on_missing is neither partial nor fail", "leave it out for an answer from what is not damaged")
	}
	id := r.Header.Get("X-Query-Id")
	switch {
	case id == "":
		id = rand.Text()
	case !queryID.MatchString(id):
		return badRequest("bad_query_id", "X-Query-Id is not usable", "use up to 64 letters, digits, dots, dashes and underscores")
	}
	if s.opt.LogQueries {
		s.log.Info("query", "id", id, "text", req.Query)
	}
	q, done, err := s.begin(r, id)
	if err != nil {
		return err
	}
	defer done()
	h := w.Header()
	h.Set("X-Query-Id", id)
	afresh := strings.Contains(r.Header.Get("Cache-Control"), "no-cache")
	key := answerKey{query: req.Query, params: req.paramsText(), format: format, lenient: req.Lenient}
	version := ""
	if !afresh {
		if version, err = s.db.Store().Version(); err != nil {
			return err
		}
		if x := s.answers.get(version, key); x != nil {
			s.metrics.cached.Inc()
			return s.send(q, w, r, x)
		}
	}
	result, err := s.run(q.ctx, req, afresh, opts)
	if err != nil {
		return &shaped{err, req.Query}
	}
	s.metrics.answered(result)
	if result.Meta.Partial && req.OnMissing == "fail" {
		return &apiError{Status: http.StatusServiceUnavailable, Code: "data_missing", Message: "damaged data is missing, so the answer would be partial",
			Hint: "without on_missing the rest answers; GET /v1/status tells what is missing"}
	}
	x := &answer{media: media, era: result.Era()}
	if result.Meta.Partial {
		h.Set(partialResult, "1")
	}
	if result.Repeatable() {
		x.tag = fmt.Sprintf(`"%016x"`, xxhash.Sum64String(result.Meta.Query+"\x00"+result.Meta.Snapshot+"\x00"+format))
	}
	keep, whole := x.tag != "" && result.Meta.Cached && result.Meta.Snapshot == version, !r.ProtoAtLeast(1, 1)
	if keep || whole {
		x.body, err = s.written(q, result, format)
		switch {
		case err == nil:
			if keep {
				s.answers.put(version, key, x)
			}
			return s.send(q, w, r, x)
		case whole && errors.Is(err, errNotKept):
			return errHTTP10
		case whole || q.ctx.Err() != nil || !errors.Is(err, errNotKept) && !errors.Is(err, engine.ErrLimit):
			return err
		}
	}
	if x.era.Err() != nil {
		return engine.ErrErased
	}
	if x.unchanged(w, r) {
		return nil
	}
	return s.stream(q, w, result, media, format)
}

// timeFor is how long a request may take.
func (s *Server) timeFor(req *queryRequest) time.Duration {
	if req.TimeoutMS > 0 && req.TimeoutMS < s.opt.QueryTimeout.Milliseconds() {
		return time.Duration(req.TimeoutMS) * time.Millisecond
	}
	return s.opt.QueryTimeout
}

// run has the store answer a request, within its time.
func (s *Server) run(begun context.Context, req queryRequest, afresh bool, opts []engine.QueryOption) (*engine.Result, error) {
	params, err := paramValues(req.Params)
	if err != nil {
		return nil, err
	}
	timeout := s.timeFor(&req)
	ctx, cancel := context.WithTimeout(begun, timeout)
	defer cancel()
	began := time.Now()
	late := func(err error) error {
		if errors.Is(err, context.DeadlineExceeded) && begun.Err() == nil {
			return &engine.LimitError{Limit: "time", Value: timeout.Milliseconds(), Reached: time.Since(began).Milliseconds(),
				Hint: "narrow the query with during, where or among, or raise timeout_ms, up to the server's --query-timeout"}
		}
		return err
	}
	if err := s.takeSlot(ctx); err != nil {
		return nil, late(err)
	}
	defer func() { <-s.slots }()
	opts = append(opts, engine.WithParams(params), engine.WithLimits(engine.RunOptions{Time: -1})) // ctx bounds it
	if req.Lenient {
		opts = append(opts, engine.WithLenient())
	}
	if afresh {
		opts = append(opts, engine.NoCache())
	}
	result, err := s.db.Query(ctx, req.Query, opts...)
	return result, late(err)
}

// paramsText is a request's parameters in one text, the same for the same ones.
func (req *queryRequest) paramsText() string {
	if len(req.Params) == 0 {
		return ""
	}
	text, err := json.Marshal(req.Params) // with its keys in order
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// unchanged sets what caches go by. It answers 304, and says so, where the
// client has this answer already. One without a tag is not kept.
func (x *answer) unchanged(w http.ResponseWriter, r *http.Request) bool {
	if x.tag == "" {
		return false
	}
	h := w.Header()
	h.Set("ETag", x.tag)
	h.Set("Cache-Control", "no-cache") // keep it, but ask whether it still holds
	h.Add("Vary", "Accept")
	if !matches(r.Header.Get("If-None-Match"), x.tag) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// written writes an answer into memory, or fails with errNotKept.
func (s *Server) written(q running, result *engine.Result, format string) ([]byte, error) {
	release, err := q.hold(s.db, result.Bytes()+answerBytesMax)
	if err != nil {
		return nil, err
	}
	defer release()
	var b keptBody
	if err := render.Write(&b, result, format, render.Options{}); err != nil {
		return nil, err
	}
	return b.text.Bytes(), nil
}

// send sends an answer that is written already.
func (s *Server) send(q running, w http.ResponseWriter, r *http.Request, x *answer) error {
	if x.era.Err() != nil {
		return engine.ErrErased
	}
	if x.unchanged(w, r) {
		return nil
	}
	release, err := q.holdAnswer(s.db, int64(len(x.body)))
	if err != nil {
		return err
	}
	defer release()
	w, done := q.writer(w, x.era)
	defer done()
	w.Header().Set("Content-Type", x.media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(x.body)))
	if _, err := w.Write(x.body); err != nil {
		panic(http.ErrAbortHandler) // as in stream
	}
	return nil
}

// stream writes an answer while it goes out.
func (s *Server) stream(q running, w http.ResponseWriter, result *engine.Result, media, format string) error {
	release, err := q.holdAnswer(s.db, result.Bytes())
	if err != nil {
		return err
	}
	defer release()
	w, done := q.writer(w, result.Era())
	defer done()
	w.Header().Set("Content-Type", media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if err := render.Write(w, result, format, render.Options{}); err != nil {
		// The status is out: a cut connection is the only way left to say so.
		panic(http.ErrAbortHandler)
	}
	return nil
}

func matches(ifNoneMatch, tag string) bool {
	for part := range strings.SplitSeq(ifNoneMatch, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == tag || part == "*" {
			return true
		}
		// A compressing proxy marks its variant: "tag-gzip".
		if i := strings.LastIndexByte(part, '-'); i > 0 && part[:i]+`"` == tag {
			return true
		}
	}
	return false
}

// takeSlot waits until fewer than queriesRunning queries run.
func (s *Server) takeSlot(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(queueWait)
	defer wait.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return &apiError{Status: http.StatusServiceUnavailable, Code: "busy", Message: fmt.Sprintf("%d queries are running, which is the limit, and none ended within %s", cap(s.slots), queueWait),
			Hint: "try again in a moment", Retry: true}
	}
}

// answerGrace is how much longer than at rateBusy the client of an answer may
// take it before another query may have its place.
const answerGrace = 5 * time.Second

// runningQueries finds a running query by its id.
type runningQueries struct {
	places  *places
	mu      sync.Mutex
	queries map[string]runningQuery
	owned   map[string]int // by the owner's id, how many; of tokens alone
}

type runningQuery struct {
	owner string // the id of the token that asked; empty without tokens
	end   context.CancelCauseFunc
	place *place
}

func newRunningQueries() *runningQueries {
	return &runningQueries{places: newPlaces(queriesMax, answerGrace), queries: map[string]runningQuery{}, owned: map[string]int{}}
}

// add takes a query among those that run, or says why it may not be. end ends it
// before remove, for who asks for that or, with errLags, for another query.
func (q *runningQueries) add(id, owner string, x *conn, end context.CancelCauseFunc) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, taken := q.queries[id]; taken {
		return &apiError{Status: http.StatusConflict, Code: "query_id_in_use", Message: "a query with this X-Query-Id is running"}
	}
	if owner != "" && q.owned[owner] >= queriesOfToken {
		return &apiError{Status: http.StatusTooManyRequests, Code: "too_many_queries", Message: fmt.Sprintf("%d queries of this token are running or being read, which is the limit", queriesOfToken),
			Hint: "try again when some have ended", Retry: true}
	}
	at := q.places.take(x, func() { end(errLags) })
	if at == nil {
		return &apiError{Status: http.StatusServiceUnavailable, Code: "busy", Message: fmt.Sprintf("%d queries are running or being read, which is the limit", queriesMax),
			Hint: "try again in a moment", Retry: true}
	}
	q.queries[id] = runningQuery{owner, end, at}
	if owner != "" {
		q.owned[owner]++
	}
	return nil
}

func (q *runningQueries) remove(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	owner := q.queries[id].owner
	q.places.leave(q.queries[id].place)
	delete(q.queries, id)
	if q.owned[owner]--; q.owned[owner] <= 0 {
		delete(q.owned, owner)
	}
}

// end ends a query of the one who asks, or any for who may end others'.
func (q *runningQueries) end(id string, by access.Grant) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	x, ok := q.queries[id]
	if ok = ok && (x.owner == by.ID || by.Has(access.Admin)); ok {
		x.end(context.Canceled)
	}
	return ok
}

func (q *runningQueries) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queries)
}

func (s *Server) endQuery(w http.ResponseWriter, r *http.Request) error {
	if !s.running.end(r.PathValue("id"), granted(r)) {
		return &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "no query with this id is running"}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
