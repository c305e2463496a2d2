package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"wend/engine"
	"wend/query"
	"wend/storage"
)

// apiError is what a client is told when a call fails.
type apiError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"` // stable, snake case
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Length  int    `json:"length,omitempty"`
	Hint    string `json:"hint,omitempty"`

	Others []*apiError   `json:"-"` // further mistakes of the same statement
	Retry  bool          `json:"-"` // the same request may succeed in a moment
	Wait   time.Duration `json:"-"` // or after this time
}

// Error is the message alone; the code and the hint have fields of their own in the answer.
func (e *apiError) Error() string { return e.Message }

// errStopping refuses what comes after the server was told to stop.
var errStopping = &apiError{Status: http.StatusServiceUnavailable, Code: "stopping", Message: "the server is stopping", Retry: true}

// errHTTP10 refuses what has no length to who speaks HTTP/1.0: an answer that
// is cut off would look whole.
var errHTTP10 = &apiError{Status: http.StatusHTTPVersionNotSupported, Code: "http_version", Message: "an answer of this length is not sent over HTTP/1.0, where nobody could tell whether it is whole",
	Hint: "use HTTP/1.1; in nginx, proxy_http_version 1.1"}

func badRequest(code, message, hint string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: message, Hint: hint}
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, e *apiError) {
	body := struct {
		Error  *apiError   `json:"error"`
		Errors []*apiError `json:"errors,omitempty"`
	}{Error: e}
	if len(e.Others) > 0 {
		body.Errors = append([]*apiError{e}, e.Others...)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("ETag")
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.Retry || e.Wait > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter(e.Wait)))
	}
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(body)
}

// answerError turns any error of a handler into an answer. What is not a
// client's mistake is logged, without anything a client sent.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	e := toAPIError(err)
	var bug *engine.PanicError
	if errors.As(err, &bug) {
		s.metrics.panics.Inc()
		s.log.Error("a statement ran into a bug", "route", routePath(r), "shape", shapeOf(err), "stack", string(bug.Stack))
	}
	if e.Status >= 500 && e.Status != http.StatusHTTPVersionNotSupported {
		s.log.Error("request failed", "route", routePath(r), "code", e.Code, "status", e.Status, "shape", shapeOf(err), "cause", causeOf(err))
	}
	writeError(w, e)
}

func toAPIError(err error) *apiError {
	var known *apiError
	var mistakes query.Errors
	var mistake *query.Error
	var limit *engine.LimitError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &mistakes) && len(mistakes) > 0:
		first := fromMistake(mistakes[0])
		for _, m := range mistakes[1:] {
			first.Others = append(first.Others, fromMistake(m))
		}
		return first
	case errors.As(err, &mistake):
		return fromMistake(mistake)
	case errors.As(err, &limit):
		return badRequest(strings.ReplaceAll(limit.Limit, " ", "_")+"_limit", limit.Message(), limit.Hint)
	case errors.Is(err, context.DeadlineExceeded):
		return badRequest("time_limit", "the query did not finish within its time", "narrow it with during, where or among, or raise timeout_ms")
	case errors.Is(err, context.Canceled):
		return &apiError{Status: http.StatusConflict, Code: "query_ended", Message: "the query was ended before it finished"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &apiError{Status: http.StatusRequestTimeout, Code: "body_timeout", Message: "the body did not arrive in time", Hint: "send it at 1 KiB a second or faster, in smaller batches"}
	case errors.Is(err, errBodies):
		return &apiError{Status: http.StatusServiceUnavailable, Code: "ingest_busy", Message: "the bodies of other requests take all the memory there is for them", Retry: true}
	case errors.Is(err, errTooLarge):
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the request's body is " + err.Error(), Hint: "send less at once"}
	case errors.Is(err, storage.ErrNotFound):
		return &apiError{Status: http.StatusNotFound, Code: "not_found", Message: err.Error()}
	case errors.Is(err, engine.ErrErased):
		return &apiError{Status: http.StatusServiceUnavailable, Code: "customer_erased", Message: "a customer was erased while the query ran", Hint: "send it again", Retry: true}
	case errors.Is(err, storage.ErrReadOnly):
		return &apiError{Status: http.StatusServiceUnavailable, Code: "read_only", Message: "the store is open for reading only"}
	case errors.Is(err, storage.ErrClosed):
		return errStopping
	case errors.Is(err, storage.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return &apiError{Status: http.StatusInsufficientStorage, Code: "disk_full", Message: "the disk is full; nothing of this request was stored", Hint: "free some room on it: events are taken again by themselves", Retry: true}
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &apiError{Status: http.StatusServiceUnavailable, Code: "disk_error", Message: "the disk or the system failed; nothing of this request was acknowledged, and it may be sent again", Retry: true}
	}
	return &apiError{Status: http.StatusInternalServerError, Code: "internal", Message: "the server could not do this; its log says more"}
}

func fromMistake(m *query.Error) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: m.Code, Message: m.Message,
		Line: m.Line, Column: m.Column, Length: m.Length, Hint: m.Hint}
}
