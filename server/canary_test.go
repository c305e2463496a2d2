package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"wend/access"
	"wend/internal/trust"
	"wend/storage/vfs"
)

// failingFiles fail every change, naming what they were given.
type failingFiles struct {
	vfs.FS
	err error
}

func (f *failingFiles) Create(name string) (vfs.File, error) {
	return nil, fmt.Errorf("create %s for canary-disk: %w", name, f.err)
}
func (f *failingFiles) Open(name string) (vfs.File, error) {
	return nil, fmt.Errorf("open %s for canary-disk: %w", name, f.err)
}

// Canaries are put into everything that a client can send, and every kind of
// failure is brought about: none of them shows in a log, a metric or a profile.
func TestNothingThatIsSentIsLogged(t *testing.T) {
	x := withTokens(t)
	log := &lockedBuffer{}
	s := open(t, Options{Access: x.keeper, CORS: []string{"https://reports.example"}})
	s.server.log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	all := "Bearer " + x.all.Reveal()
	var answers strings.Builder
	paths := 0
	do := func(method, path, body string, header ...string) reply {
		t.Helper()
		paths++
		r, err := s.call(t.Context(), method, path, body, append([]string{"Authorization", all, "Cookie", "canary-cookie", "User-Agent", "canary-agent", "X-Forwarded-For", "canary-address"}, header...)...)
		if err != nil {
			t.Fatal(err)
		}
		answers.WriteString(r.body)
		return r
	}
	everything := func() {
		const event = `{"customer":"canary-customer","time":"2025-03-01","event":"view","id":"canary-id","secret":"canary-value","n":%s}`
		do("POST", "/v1/events", fmt.Sprintf(event, "1"), "X-Batch-Token", "canary-batch")
		do("POST", "/v1/events", fmt.Sprintf(event, `"canary-type"`))
		do("POST", "/v1/events?strict=1", fmt.Sprintf(event, `"canary-type"`))
		do("POST", "/v1/events", `[{"customer":"canary-customer"`)
		do("POST", "/v1/events", "canary-body", "Content-Encoding", "gzip")
		do("POST", "/v1/events", "canary-body", "Content-Encoding", "canary-encoding")
		do("POST", "/v1/events", "canary-body", "X-Durability", "canary-durability")
		do("POST", "/v1/events", "canary-body", "X-Property-Types", "canary-name=canary-type")
		do("POST", "/v1/events", strings.Repeat("canary-body", bodyWireMax/10))
		do("POST", "/v1/sync", `{"lsn": "canary-lsn"}`)
		do("POST", "/v1/links", `{"from":"canary-link","to":"canary-customer"}`)
		do("POST", "/v1/links", `{"from":"canary-link","to":"canary-link"}`)
		do("POST", "/v1/links", `{"from":"canary-link","to":"canary-other"}`)
		do("DELETE", "/v1/links/canary-nobody", "")
		for _, q := range []string{"measure events where secret = 'canary-literal'", "journey of 'canary-customer'", "funnel canary-step -> view", "measure sum(secret)", "measure events where secret ~ '(canary-pattern'",
			"define stage a as view where secret = 'canary-literal'", "explain analyze measure events where secret = 'canary-literal'", "'canary-literal"} {
			do("POST", "/v1/query", q, "Content-Type", "text/plain", "X-Query-Id", "canary-query", "Cache-Control", "no-cache")
			do("GET", "/v1/query?q="+strings.NewReplacer(" ", "+", "'", "%27", ">", "%3E").Replace(q), "")
			do("POST", "/v1/check", fmt.Sprintf(`{"query": %q}`, q))
			do("POST", "/v1/complete", fmt.Sprintf(`{"query": %q}`, q))
		}
		do("POST", "/v1/query", `{"query":"measure events where secret = $canary","params":{"canary":"canary-parameter"},"timeout_ms":1}`)
		do("POST", "/v1/query", `{"query":"x","canary-field":1}`)
		do("POST", "/v1/query", "show events", "Accept", "canary/accept")
		do("POST", "/v1/query", "show events", "X-Query-Id", "canary query")
		do("DELETE", "/v1/queries/canary-query", "")
		do("GET", "/v1/canary-path?canary-name=canary-value", "")
		do("PUT", "/v1/query", "canary-body")
		do("GET", "/v1/schema?token=canary-token", "")
		do("GET", "/v1/schema", "", "Host", "canary-host.example")
		do("POST", "/v1/query", "show events", "Origin", "https://canary-origin.example")
		do("GET", "/v1/schema", "", "Authorization", "Bearer canary-token-canary-token-canary-token")
		do("GET", "/v1/schema", "", "Authorization", "Bearer "+x.unknown.Reveal())
		do("GET", "/v1/schema", "", "Authorization", "Bearer "+x.revoked.Reveal())
		do("GET", "/v1/status?access_token="+x.unknown.Reveal(), "")
		do("POST", "/v1/events", "", "Authorization", "Bearer "+x.byScope[access.Query].Reveal())
	}
	everything()
	// A client that goes away in the middle, and bytes that are no request.
	for _, request := range []string{"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + all + "\r\nContent-Length: 1000\r\n\r\ncanary-half", "canary-bytes\r\n\r\n"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request)
		c.Close()
	}
	// A disk that fails, fills, and a store that is closed.
	files := s.files.FS
	for _, err := range []error{errors.New("canary-disk"), syscall.EIO, syscall.ENOSPC} {
		s.files.FS = &failingFiles{files, err}
		s.db.Compact(context.Background())
		everything()
	}
	s.files.FS = files
	// Handlers with a bug.
	broken := s.server.handler([]route{
		{"GET", "/panics", needs(anyone), func(*Server, http.ResponseWriter, *http.Request) error { panic("canary-panic") }},
		{"GET", "/fails", needs(anyone), func(*Server, http.ResponseWriter, *http.Request) error {
			return &shaped{errors.New("canary-error"), "measure events where a = 'canary-literal'"}
		}},
	})
	s.Config.Handler = broken
	do("GET", "/panics?canary-name", "")
	do("GET", "/fails?canary-name", "")
	if !strings.Contains(log.String(), "panicked") || !strings.Contains(log.String(), `"shape":"`) {
		t.Errorf("the log does not tell of failures at all:\n%s", log)
	}
	s.Config.Handler = s.server.Handler()
	metrics := do("GET", "/metrics", "").body
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for where, text := range map[string]string{"the log": log.String(), "the store's log": s.log.String(), "the metrics": metrics, "a profile": profile.String()} {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "canary") && !strings.Contains(line, "canary_test.go") && !strings.Contains(line, "server.TestNothing") || access.Contains(line) {
				hits++
				t.Errorf("%s says %.500s", where, line)
			}
		}
	}
	if access.Contains(answers.String()) {
		hits++
		t.Error("an answer repeats a token")
	}
	trust.Report(t, "S11", "requests", paths, "lines", strings.Count(log.String(), "\n")+strings.Count(metrics, "\n"), "hits", hits)
}

func TestShapesOfStatements(t *testing.T) {
	f := func(a, b string, same bool) {
		t.Helper()
		if (shapeOf(&shaped{io.EOF, a}) == shapeOf(&shaped{io.EOF, b})) != same {
			t.Errorf("%q and %q: one shape is %v", a, b, !same)
		}
	}
	f("measure events where a = 'x'", "MEASURE  events\nwhere a = 'o''brien'", true)
	f("funnel view -> buy within 7d", "funnel view -> buy within 30d", true)
	f("measure events during since 2025-01-01", "measure events during since 2024-12-31T10:00:00Z", true)
	f("measure events where a = 'x'", "measure events where b = 'x'", false)
	if shapeOf(io.EOF) != "" {
		t.Error("what is no statement has a shape")
	}
}

// With a panic at any handler, before or after it began to answer, the process
// goes on and the client learns of it.
func TestPanicsInHandlers(t *testing.T) {
	s := open(t, Options{})
	times := int(trust.Number("WEND_INJECTIONS", 10))
	var early, late []route
	var injected atomic.Int64 // clients ask again where a connection that they had kept breaks
	for _, rt := range routes {
		rt.scopes = needs(anyone)
		handle := rt.handle
		rt.handle = func(*Server, http.ResponseWriter, *http.Request) error {
			injected.Add(1)
			panic(errors.New("secret customer"))
		}
		early = append(early, rt)
		rt.handle = func(s *Server, w http.ResponseWriter, r *http.Request) error {
			injected.Add(1)
			handle(s, w, r) // whatever it answers
			if w.(*statusWriter).status != 0 {
				http.NewResponseController(w).Flush()
			}
			panic("secret customer")
		}
		late = append(late, rt)
	}
	call := func(rt route) (reply, error) {
		return s.call(t.Context(), rt.method, strings.NewReplacer("{id}", "none", "{from}", "nobody").Replace(rt.path), "{}")
	}
	for range times {
		s.Config.Handler = s.server.handler(early)
		for _, rt := range early {
			r, err := call(rt)
			if err != nil {
				t.Fatalf("%s: %v", rt.name(), err)
			}
			r.refused(t, 500, "internal")
		}
		s.Config.Handler = s.server.handler(late)
		for _, rt := range late {
			if r, err := call(rt); err == nil && r.StatusCode != 500 {
				t.Errorf("%s: an answer that a panic cut off looks whole: %s", rt.name(), r.body)
			}
		}
	}
	s.Config.Handler = s.server.Handler()
	if got := s.do("GET", "/metrics", "").body; !strings.Contains(got, fmt.Sprintf("wend_panics_total %d\n", injected.Load())) {
		t.Error("the metrics do not count the panics")
	}
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("afterwards: %v", rows)
	}
	if strings.Contains(s.log.String(), "secret customer") {
		t.Error("the log says what was panicked with")
	}
	trust.Report(t, "S13", "handlers", len(routes), "injected", injected.Load(), "exits", 0)
}
