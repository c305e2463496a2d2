package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serving runs a shop's server on a listener of its own, as the command does.
func (s *shop) serving(t *testing.T) (url string, stop context.CancelFunc, stopped <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(ctx, l, nil) }()
	return "http://" + l.Addr().String(), cancel, done
}

func post(url, query string) <-chan string {
	done := make(chan string, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Post(url+"/v1/query", "text/plain", strings.NewReader(query))
		if err != nil {
			done <- err.Error()
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			done <- err.Error()
			return
		}
		done <- string(body)
	}()
	return done
}

func TestAGracefulStopLetsAQueryFinish(t *testing.T) {
	s := openWith(t, 100, Options{})
	url, stop, stopped := s.serving(t)
	g := s.files.hold()
	answer := post(url, funnel)
	<-g.reached
	stop()
	eventually(t, "it is not ready", func() bool {
		r := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/readyz", nil)
		req.Host = "localhost"
		s.server.Handler().ServeHTTP(r, req)
		return r.Code == 503
	})
	// What comes now is refused, on connections that are open already too.
	s.do("POST", "/v1/query", funnel, "Content-Type", "text/plain").refused(t, 503, "stopping")
	s.do("POST", "/v1/events", twoEvents).refused(t, 503, "stopping")
	s.do("POST", "/v1/links", `{"from": "x", "to": "c0000"}`).refused(t, 503, "stopping")
	for _, path := range []string{"/healthz", "/metrics"} { // whoever watches it sees it stop
		if r := s.do("GET", path, ""); r.StatusCode != 200 {
			t.Errorf("%s while stopping: %s", path, r.Status)
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("it stopped before the query was done: %v", err)
	default:
	}
	s.files.release()
	if got := <-answer; !strings.Contains(got, `"purchase", 50`) {
		t.Errorf("the running query was answered %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAStopDoesNotWaitForEver(t *testing.T) {
	s := openWith(t, 100, Options{})
	s.server.grace = 20 * time.Millisecond
	url, stop, stopped := s.serving(t)
	g := s.files.hold()
	answer := post(url, funnel)
	<-g.reached
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	s.files.release()
	if got := <-answer; strings.Contains(got, "purchase") {
		t.Errorf("a query that was cut off was answered %q", got)
	}
}
