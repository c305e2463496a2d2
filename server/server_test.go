package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a server on a real listener, over a store in memory.
type shop struct {
	*httptest.Server
	t      *testing.T
	server *Server
	db     *engine.DB
	files  *slowFiles
	log    *lockedBuffer
	clock  atomic.Int64 // of the connections of longAnswers, in nanoseconds; it stands still
}

// lockedBuffer is a log that several requests write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open serves an empty store.
func open(t *testing.T, opt Options) *shop {
	t.Helper()
	s := &shop{t: t, files: &slowFiles{FS: vfs.NewMem()}, log: &lockedBuffer{}}
	db, err := engine.Open("shop", engine.Options{Storage: storage.Options{FS: s.files, BlockCustomers: 16, CacheBytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s.db = db
	opt.Log = slog.New(slog.NewTextHandler(s.log, nil))
	s.server = New(db, opt)
	s.Server = httptest.NewUnstartedServer(nil)
	s.Config = s.server.httpServer()
	s.Start()
	t.Cleanup(func() {
		s.Server.Close()
		s.Client().CloseIdleConnections()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openWith serves a store of n customers, each with a view, and every second
// one with a purchase an hour later, on files that queries have to read.
func openWith(t *testing.T, n int, opt Options) *shop {
	t.Helper()
	s := open(t, opt)
	var events []event.Event
	begin := event.At(time.Date(2025, 3, 1, 10, 0, 0, 0, time.UTC))
	for i := range n {
		e := event.Event{Customer: fmt.Sprintf("c%04d", i), Time: begin, Name: "view", Channel: "web",
			Props: []event.Prop{{Name: "value", Value: event.Float(1.5)}}}
		events = append(events, e)
		if i%2 == 0 {
			e.Name, e.Time, e.Channel = "purchase", begin.Add(event.Hour), "store"
			events = append(events, e)
		}
	}
	if _, err := s.db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body string
}

// call sends a request; header holds names and values in turn.
func (s *shop) call(ctx context.Context, method, path, body string, header ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res, string(text)}, err
}

func (s *shop) do(method, path, body string, header ...string) reply {
	s.t.Helper()
	r, err := s.call(s.t.Context(), method, path, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// ask runs a statement and returns the rows.
func (s *shop) ask(query string, header ...string) [][]any {
	s.t.Helper()
	r := s.do("POST", "/v1/query", query, append([]string{"Content-Type", "text/plain"}, header...)...)
	var answer struct{ Rows [][]any }
	if r.StatusCode != 200 {
		s.t.Fatalf("%s: %s %s", query, r.Status, r.body)
	}
	r.decode(s.t, &answer)
	return answer.Rows
}

func (r reply) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
}

// refused checks that a request was refused with a status and a code.
func (r reply) refused(t *testing.T, status int, code string) apiError {
	t.Helper()
	var body struct{ Error apiError }
	r.decode(t, &body)
	if r.StatusCode != status || body.Error.Code != code || body.Error.Message == "" {
		t.Errorf("answered %d %s, want %d %s", r.StatusCode, r.body, status, code)
	}
	return body.Error
}

// slowFiles are files whose reading or syncing can be held up, so that a query
// runs, or a batch waits, for as long as a test wants and no longer.
type slowFiles struct {
	vfs.FS
	reads atomic.Int64
	gate  atomic.Pointer[gate]
	fails atomic.Int64 // with this syscall.Errno every write; 0: none does
}

type gate struct {
	reached chan struct{} // a read, or a sync, waits here
	open    chan struct{}
	syncs   bool // and no reads
}

// hold lets the next reads wait until release is called.
func (f *slowFiles) hold() *gate {
	g := &gate{reached: make(chan struct{}, 1), open: make(chan struct{})}
	f.gate.Store(g)
	return g
}

// holdSyncs is hold for syncs.
func (f *slowFiles) holdSyncs() *gate {
	g := &gate{reached: make(chan struct{}, 1), open: make(chan struct{}), syncs: true}
	f.gate.Store(g)
	return g
}

// pass waits where it is held.
func (f *slowFiles) pass(sync bool) {
	if g := f.gate.Load(); g != nil && g.syncs == sync {
		select {
		case g.reached <- struct{}{}:
		default:
		}
		<-g.open
	}
}

func (f *slowFiles) release() { close(f.gate.Swap(nil).open) }

func (f *slowFiles) Create(name string) (vfs.File, error) { return f.wrap(f.FS.Create(name)) }
func (f *slowFiles) Open(name string) (vfs.File, error)   { return f.wrap(f.FS.Open(name)) }

func (f *slowFiles) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{file, f}, nil
}

type slowFile struct {
	vfs.File
	of *slowFiles
}

func (f slowFile) ReadAt(p []byte, off int64) (int, error) {
	f.of.reads.Add(1)
	f.of.pass(false)
	return f.File.ReadAt(p, off)
}

func (f slowFile) Write(p []byte) (int, error) {
	if err := f.of.fails.Load(); err != 0 {
		return 0, syscall.Errno(err)
	}
	return f.File.Write(p)
}

func (f slowFile) Sync() error {
	f.of.pass(true)
	return f.File.Sync()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	within(t, 10*time.Second, what, holds)
}

// within is eventually for what a slow machine needs longer for.
func within(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

func TestPagesOfOtherSites(t *testing.T) {
	s := openWith(t, 2, Options{CORS: []string{"https://reports.example"}})
	foreign := []string{"Origin", "https://evil.example", "Content-Type", "text/plain"}
	e := s.do("POST", "/v1/query", "define stage a as view", foreign...).refused(t, 403, "foreign_origin")
	if !strings.Contains(e.Hint, "--cors") {
		t.Errorf("the hint %q does not name the setting", e.Hint)
	}
	s.do("POST", "/v1/events", "[]", "Sec-Fetch-Site", "cross-site").refused(t, 403, "foreign_origin")
	s.do("DELETE", "/v1/links/a", "", foreign...).refused(t, 403, "foreign_origin")
	if r := s.do("GET", "/v1/query?q=show+events", "", foreign...); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an origin that is not listed may read answers")
	}

	ours := []string{"Origin", "https://reports.example", "Content-Type", "text/plain"}
	r := s.do("POST", "/v1/query", "show events", ours...)
	if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != "https://reports.example" || !strings.Contains(r.Header.Get("Vary"), "Origin") {
		t.Errorf("a listed origin is answered %s %v", r.Status, r.Header)
	}
	if exposed := r.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "ETag") || !strings.Contains(exposed, "Retry-After") {
		t.Errorf("a listed origin may read %q", exposed)
	}
	r = s.do("OPTIONS", "/v1/query", "", append(ours, "Access-Control-Request-Method", "POST")...)
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("the preflight of a listed origin is answered %s %v", r.Status, r.Header)
	}
	for _, sent := range []string{"X-Query-Id", "X-Property-Types", "If-None-Match"} {
		if !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), sent) {
			t.Errorf("a listed origin may not send %s", sent)
		}
	}
}

// brokenPipe is the connection of a client that went away.
type brokenPipe struct{ http.ResponseWriter }

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// A client that goes away while it is answered is no failure of the server.
func TestClientGoesAwayDuringAnAnswer(t *testing.T) {
	s := open(t, Options{})
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("the connection is not given up: %v", p)
			}
		}()
		s.server.Handler().ServeHTTP(brokenPipe{httptest.NewRecorder()}, httptest.NewRequest("GET", s.URL+"/v1/openapi.json", nil))
	}()
	if r := s.do("GET", "/metrics", ""); !strings.Contains(r.body, `route="GET /v1/openapi.json",status="499"} 1`) || s.log.String() != "" {
		t.Errorf("it is counted as\n%s\nand logged as %s", r.body, s.log)
	}
}

func TestCallsThatAreNotThere(t *testing.T) {
	s := open(t, Options{})
	s.do("GET", "/v1/nonsense", "").refused(t, 404, "not_found")
	s.do("GET", "/", "").refused(t, 404, "not_found")
	r := s.do("PUT", "/v1/query", "{}")
	r.refused(t, 405, "method_not_allowed")
	if r.Header.Get("Allow") != "GET, POST" {
		t.Errorf("Allow: %q", r.Header.Get("Allow"))
	}
	s.do("GET", "/v1/links/x", "").refused(t, 405, "method_not_allowed")
}

func TestPanicsAreAnsweredAndCounted(t *testing.T) {
	s := open(t, Options{})
	early := s.server.endpoint(route{"GET", "/early", needs(anyone), func(*Server, http.ResponseWriter, *http.Request) error { panic("secret customer") }})
	late := s.server.endpoint(route{"GET", "/late", needs(anyone), func(_ *Server, w http.ResponseWriter, _ *http.Request) error {
		io.WriteString(w, "half an ans")
		http.NewResponseController(w).Flush()
		panic(errors.New("secret customer"))
	}})
	mux := http.NewServeMux()
	mux.Handle("/early", early)
	mux.Handle("/late", late)
	broken := httptest.NewServer(mux)
	defer broken.Close()
	res, err := broken.Client().Get(broken.URL + "/early")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	reply{res, string(body)}.refused(t, 500, "internal")
	res, err = broken.Client().Get(broken.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("an answer that a panic cut off looks whole")
	}
	res.Body.Close()
	if r := s.do("GET", "/metrics", ""); !strings.Contains(r.body, "wend_panics_total 2\n") || !strings.Contains(r.body, `wend_http_requests_total{route="GET /early",status="500"} 1`) {
		t.Error("the metrics do not count the panics")
	}
	if log := s.log.String(); !strings.Contains(log, "panicked") || strings.Contains(log, "secret customer") {
		t.Errorf("the log says %s", log)
	}
}
