package server

import (
	"context"
	"net/http"

	"wend/ingest"
)

// exportsRunning is how many exports run at once: each reads the whole store.
const exportsRunning = 2

// export writes every event as wend export does, while it reads them.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	accept := r.Header.Get("Accept")
	media, format, ok := negotiate(accept)
	if !ok {
		return &apiError{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "no answer of the accepted types", Hint: "accept text/csv or application/x-ndjson"}
	}
	if format == "json" { // one JSON text of a whole store is of use to nobody
		media, format = "application/x-ndjson", "ndjson"
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		return &apiError{Status: http.StatusServiceUnavailable, Code: "busy", Message: "as many exports as may run at once are running", Retry: true}
	}
	schema, _, err := s.db.Schema()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Trailer", partialResult)
	out := &statusWriter{ResponseWriter: w}
	events, err := ingest.NewWriter(out, format, schema.Known().Properties)
	if err == nil {
		err = events.WriteAll(s.db.Events(ctx))
	}
	if err != nil && out.status != 0 {
		panic(http.ErrAbortHandler) // the status is out: a cut connection says that this is not everything
	}
	if err != nil {
		h.Del("Trailer")
		return err
	}
	if len(s.db.Store().Summary().Missing) > 0 { // also what was found while it was read
		h.Set(partialResult, "1")
	}
	return nil
}

// partialResult is the header, and of an export the trailer, of an answer
// that leaves damaged data out.
const partialResult = "X-Partial-Result"
