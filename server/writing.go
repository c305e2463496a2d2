package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"wend/engine"
)

// running is one query, or one check of some, from its request until its answer
// is written: it can be ended all the while.
type running struct {
	ctx    context.Context
	end    context.CancelCauseFunc
	packed int64 // bytes that packing the answer takes
}

// What packs an answer takes packerBytes, for answers of packedFrom bytes and more.
const (
	packedFrom  = 2 << 10
	packerBytes = 1 << 20
)

// begin makes a request a running query, under its id. done, which must be
// called, makes an end of it.
func (s *Server) begin(r *http.Request, id string) (q running, done func(), err error) {
	ctx, end := context.WithCancelCause(r.Context())
	cancel := func() { end(context.Canceled) }
	if err := s.running.add(id, granted(r).ID, connBehind(r), end); err != nil {
		cancel()
		return q, nil, err
	}
	forget := context.AfterFunc(s.stop, cancel)
	packed := int64(0)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") || strings.Contains(r.Header.Get("Accept-Encoding"), "zstd") {
		packed = packerBytes
	}
	return running{ctx, end, packed}, func() {
		if errors.Is(context.Cause(ctx), errLags) {
			s.log.Warn("an answer was cut off: its client took it too slowly, and another query wanted its place")
		}
		forget()
		s.running.remove(id)
		cancel()
	}, nil
}

// hold reserves the memory of an answer while it is written, out of the pool of
// all queries: clients that take long must not make the server hold more than
// it has. Where queries need the memory, the largest answer is cut off.
func (q running) hold(db *engine.DB, bytes int64) (release func(), err error) {
	return db.Reserve(q.ctx, bytes, q.end)
}

// holdAnswer is hold for an answer that goes out, with what packs it.
func (q running) holdAnswer(db *engine.DB, bytes int64) (release func(), err error) {
	if bytes >= packedFrom {
		bytes += q.packed
	}
	return q.hold(db, bytes)
}

// writer passes an answer on until the query is ended, or the era of what it
// shows, which ends the query. A client that reads nothing blocks a write; the end
// of the query ends that one, too.
func (q running) writer(w http.ResponseWriter, era context.Context) (out http.ResponseWriter, done func()) {
	over := context.AfterFunc(era, func() { q.end(engine.ErrErased) })
	ended := make(chan struct{})
	stop := context.AfterFunc(q.ctx, func() {
		defer close(ended)
		http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // not supported: there is no connection
	})
	return endedWriter{w, q.ctx}, func() {
		over()
		if !stop() {
			<-ended // w is somebody else's when the handler returns
		}
	}
}

type endedWriter struct {
	http.ResponseWriter
	ctx context.Context
}

// Write fails when the query has ended: nobody is told a part as if it were all.
// It looks between pieces, each of which is given time of its own.
func (w endedWriter) Write(p []byte) (written int, err error) {
	for {
		if err := w.ctx.Err(); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(p[:min(len(p), writePieces)])
		written += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}
