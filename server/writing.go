package server

import (
	"context"
	"net/http"
	"time"

	"wend/engine"
)

// running is one query from its request until its answer is written: it can be
// ended all the while.
type running struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// begin makes a request a running query, under its id. done, which must be
// called, makes an end of it.
func (s *Server) begin(r *http.Request, id string) (q running, done func(), err error) {
	ctx, end := context.WithCancelCause(r.Context())
	cancel := func() { end(context.Canceled) }
	if !s.running.add(id, granted(r).ID, cancel) {
		cancel()
		return q, nil, &apiError{Status: http.StatusConflict, Code: "query_id_in_use", Message: "a query with this X-Query-Id is running"}
	}
	forget := context.AfterFunc(s.stop, cancel)
	return running{ctx, end}, func() {
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

// writer passes an answer on until the query is ended. A client that reads
// nothing blocks a write; the end of the query ends that one, too.
func (q running) writer(w http.ResponseWriter) (out http.ResponseWriter, done func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(q.ctx, func() {
		defer close(ended)
		http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // not supported: there is no connection
	})
	return endedWriter{w, q.ctx}, func() {
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
func (w endedWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}
