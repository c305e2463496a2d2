package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"wend/ingest"
)

// exportsRunning is how many exports run at once: each reads the whole store.
const exportsRunning = 2

// exportGrace is how much longer than at rateFair the client of an export may
// take it, and than at rateBusy when others want its place: while it does, it
// holds files that are not needed otherwise.
const exportGrace = time.Minute

// errLags ends an answer.
var errLags = errors.New("the client takes the answer too slowly")

// promptWriter passes an export on until the client lags behind.
type promptWriter struct {
	http.ResponseWriter
	conn *conn
}

// Write fails when the client has taken too little of what was written before.
func (w promptWriter) Write(p []byte) (int, error) {
	if w.conn.late(answering, rateFair) > exportGrace {
		return 0, errLags
	}
	return w.ResponseWriter.Write(p)
}

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
	if !r.ProtoAtLeast(1, 1) {
		return errHTTP10
	}
	ctx, end := context.WithCancelCause(r.Context())
	cancel := func() { end(context.Canceled) }
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	x := connBehind(r)
	at := s.exports.take(x, func() { end(errLags) })
	if at == nil {
		return &apiError{Status: http.StatusServiceUnavailable, Code: "busy", Message: "as many exports as may run at once are running", Retry: true}
	}
	defer s.exports.leave(at)
	schema, _, err := s.db.Schema()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Trailer", partialResult)
	w, done := running{ctx: ctx, end: end}.writer(w, s.db.Era()) // before the events
	defer done()
	out := &statusWriter{ResponseWriter: promptWriter{w, x}}
	events, err := ingest.NewWriter(out, format, schema.Known().Properties)
	if err == nil {
		err = events.WriteAll(s.db.Events(ctx))
	}
	if errors.Is(err, errLags) || errors.Is(context.Cause(ctx), errLags) {
		s.log.Warn("an export was cut off: its client takes it too slowly")
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
