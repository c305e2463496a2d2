// Package server answers queries and takes events over HTTP.
//
// It leaves the meaning of everything to engine and the shapes of answers to
// render; here are routes, limits, and what a client is told when something is
// wrong. Routes are listed once, in routes, and described in openapi.json.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"wend/access"
	"wend/engine"
	"wend/ingest"
)

// Limits of a connection. Each protects the others from one slow or greedy client.
const (
	headerTimeout  = 5 * time.Second
	headerBytesMax = 32 << 10
	idleTimeout    = 60 * time.Second
	queryTextMax   = 64 << 10
	queryTimeout   = 30 * time.Second // unless the request asks for less, or Options for another
	bodyWireMax    = ingest.RequestWireBytes
	bodyDecodedMax = ingest.RequestTextBytes
	bodiesMax      = 4 * bodyDecodedMax // of all requests together
	stallTimeout   = 30 * time.Second   // the longest wait for the next piece of a body, or for a client to take one of an answer
	stopGrace      = 10 * time.Second
	connectionsMax = 512
	eventsPerBatch = ingest.RequestEvents
	linksAtOnce    = 100_000
	queueWait      = 10 * time.Second // for one of queriesRunning to end
)

// Queries hold a connection each while they compute, wait or are read. They
// leave some for what brings data in and for what watches the server, and those
// of one token leave some for others.
const (
	queriesMax     = connectionsMax * 3 / 4
	queriesOfToken = connectionsMax / 4

	// queriesAdmitted is how many queries are between their beginning and their
	// answer. As many of them compute as there are processors: the DB gives them turns.
	queriesAdmitted = connectionsMax / 2

	// changesMax is how many requests that change the store are with it at once. Each
	// holds a connection while it waits for memory or for the disk, and with those of
	// the queries they leave some for what watches the server.
	changesMax = connectionsMax * 3 / 16
)

// Options configure a Server. Zero options are safe: loopback hosts only.
type Options struct {
	Log          *slog.Logger   // nil: discard
	LogQueries   bool           // statements in the log; they can hold personal data
	CORS         []string       // exact origins that may call from a browser
	Hosts        []string       // host names that requests may be addressed to, besides loopback ones
	QueryTimeout time.Duration  // 0: 30 s
	Access       *access.Keeper // who may do what; nil: everybody everything
	QueryRate    float64        // requests a second of one token, or of one address without; 0: any number
	IngestRate   float64        // the same for what brings data in
	BehindProxy  bool           // X-Forwarded-For says who calls
	AllowMemory  bool           // batches may be acknowledged before they are written anywhere
	BackupDir    string         // folder that backups are made in, under the names that requests give; empty: none are
	Version      string
}

// Server serves one store.
type Server struct {
	db      *engine.DB
	opt     Options
	log     *slog.Logger
	running *runningQueries
	slots   chan struct{}
	metrics *metrics
	answers *answers

	changes                 chan struct{}
	counting                chan struct{} // held by the status whose customers are being counted
	exports                 *places
	queryRates, ingestRates *limiter
	bodies                  *bodies

	grace time.Duration // for running requests when the server stops

	stopping atomic.Bool     // no new requests
	stop     context.Context // ends when running queries must end
	cancel   context.CancelFunc
}

// New makes a Server for an open store. The store stays the caller's to close.
func New(db *engine.DB, opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.QueryTimeout == 0 {
		opt.QueryTimeout = queryTimeout
	}
	s := &Server{db: db, opt: opt, log: opt.Log, running: newRunningQueries(), slots: make(chan struct{}, queriesAdmitted), answers: &answers{}, grace: stopGrace}
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.queryRates, s.ingestRates = newLimiter(opt.QueryRate), newLimiter(opt.IngestRate)
	s.changes = make(chan struct{}, changesMax)
	s.counting = make(chan struct{}, 1)
	s.exports = newPlaces(exportsRunning, exportGrace)
	s.bodies = newBodies(bodiesMax, answerGrace)
	s.metrics = newMetrics(s)
	return s
}

// Handler returns the server's routes with everything that stands before them.
func (s *Server) Handler() http.Handler { return s.handler(routes) }

func (s *Server) handler(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.Handle(rt.name(), s.endpoint(rt))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { notFound(mux, w, r) })
	compressed, err := gzhttp.NewWrapper(gzhttp.MinSize(packedFrom))
	if err != nil {
		panic(err) // the options are constants
	}
	guard := http.NewCrossOriginProtection()
	for _, origin := range s.opt.CORS {
		if err := guard.AddTrustedOrigin(origin); err != nil {
			s.log.Error("cors origin is not usable", "origin", origin, "error", err)
		}
	}
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &apiError{Status: http.StatusForbidden, Code: "foreign_origin",
			Message: "a page of another site may not change anything here", Hint: "start the server with --cors and the page's origin"})
	}))
	return paced(s.hosts(noTokenInURL(s.cors(guard.Handler(measured(compressed(mux)))))))
}

// measured keeps answers to HTTP/1.0 as they are: compression takes away their
// length, and nobody could tell whether they are whole.
func measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.ProtoAtLeast(1, 1) {
			r.Header.Del("Accept-Encoding")
		}
		next.ServeHTTP(w, r)
	})
}

// notFound answers what no route answers: a call that is not there, or one
// that is there with another method.
func notFound(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "POST", "DELETE"} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	e := &apiError{Status: http.StatusNotFound, Code: "not_found",
		Message: fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path), Hint: "GET /v1/openapi.json lists the calls"}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		e.Status, e.Code = http.StatusMethodNotAllowed, "method_not_allowed"
		e.Hint = "use " + strings.Join(allowed, " or ")
	}
	writeError(w, e)
}

// endpoint runs one route, counts it, and turns its error into an answer. A
// panic in it ends the request and not the process.
func (s *Server) endpoint(rt route) http.Handler {
	name := rt.name()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		counted := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					s.metrics.request(name, counted.code(), time.Since(began))
					panic(p)
				}
				s.metrics.panics.Inc()
				s.log.Error("a request panicked", "route", name, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
				if counted.status != 0 {
					panic(http.ErrAbortHandler) // an answer has begun; a cut connection says that it is not whole
				}
				writeError(counted, &apiError{Status: http.StatusInternalServerError, Code: "internal", Message: "the server made a mistake; its log says where"})
			}
			s.metrics.request(name, counted.code(), time.Since(began))
		}()
		r, err := s.authorize(rt, r)
		if err == nil && s.stopping.Load() && !rt.always() {
			err = errStopping
		}
		if err == nil {
			err = rt.handle(s, counted, r)
		}
		if err != nil {
			gone := r.Context().Err() != nil && s.stop.Err() == nil && errors.Is(err, context.Canceled)
			if gone || counted.failed != nil && errors.Is(err, counted.failed) {
				// The client went away. If it reads all the same, it is not to take
				// an empty answer, or a part of one, for all.
				counted.status = 499
				panic(http.ErrAbortHandler)
			} else {
				s.answerError(counted, r, err)
			}
		}
	})
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
	failed error // of the last write
}

// WriteHeader notes the status, the first time.
func (w *statusWriter) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write notes the status that is sent where none was given.
func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.failed = err
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// routePath is the request's path without what a client may have put into it.
func routePath(r *http.Request) string {
	if r.Pattern != "" {
		return r.Pattern
	}
	return "unknown"
}

// hosts refuses requests that are addressed to a name that is not ours: a page
// elsewhere whose name was made to point here (DNS rebinding) sends its own.
func (s *Server) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knownHost(r.Host) {
			writeError(w, &apiError{Status: http.StatusForbidden, Code: "unknown_host",
				Message: "this server does not answer to that host name", Hint: "start it with --host and the name that clients use"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// cors lets the pages of the configured origins read answers.
func (s *Server) cors(next http.Handler) http.Handler {
	allowed := map[string]bool{}
	for _, o := range s.opt.CORS {
		allowed[o] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin != "" && allowed[origin] {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", origin)
			h.Add("Vary", "Origin")
			h.Set("Access-Control-Expose-Headers", "ETag, Retry-After, X-Query-Id, X-Partial-Result")
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding, X-Query-Id, X-Durability, X-Batch-Token, X-Property-Types, Cache-Control, If-None-Match")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// httpServer is the server of connections, with its limits.
func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ConnContext:       connContext,
		ConnState:         connState,
		ReadHeaderTimeout: headerTimeout, // of a TLS handshake, too
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		// It would answer OPTIONS * before anybody has looked at the host.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// Serve answers on a listener until ctx ends, then stops gracefully: no new
// requests, running ones have ten seconds to finish, then they are cancelled.
func (s *Server) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	srv := s.httpServer()
	l = newCrowd(l, connectionsMax)
	if tlsConfig != nil {
		l = tls.NewListener(l, tlsConfig)
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	grace, done := context.WithTimeout(context.Background(), s.grace)
	defer done()
	err := srv.Shutdown(grace)
	s.cancel()
	if errors.Is(err, context.DeadlineExceeded) {
		srv.Close()
		err = nil
	}
	return err
}

var errTooLarge = errors.New("too large")

// readAll reads a body of at most max bytes.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%w: more than %d KiB", errTooLarge, max>>10)
	}
	return b, err
}
