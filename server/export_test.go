package server

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wend/event"
)

func TestExport(t *testing.T) {
	s := openWith(t, 40, Options{})
	r := s.do("GET", "/v1/export", "")
	if lines := strings.Count(r.body, "\n"); r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/x-ndjson" || lines != 60 {
		t.Errorf("%s %s: %d lines, want 60", r.Status, r.Header.Get("Content-Type"), lines)
	}
	if r.Header.Get(partialResult)+r.Trailer.Get(partialResult) != "" {
		t.Error("a whole store is called partial")
	}
	r = s.do("GET", "/v1/export", "", "Accept", "text/csv")
	if first, _, _ := strings.Cut(r.body, "\n"); !strings.HasPrefix(first, "customer,time,event,") || strings.Count(r.body, "\n") != 61 {
		t.Errorf("as csv: %.200s", r.body)
	}
	s.do("GET", "/v1/export", "", "Accept", "application/pdf").refused(t, 406, "not_acceptable")
	// What was exported is what was sent.
	other := open(t, Options{})
	other.do("POST", "/v1/events", s.do("GET", "/v1/export", "").body)
	if got, want := other.ask("measure events, customers, sum(value)"), s.ask("measure events, customers, sum(value)"); got[0][0] != want[0][0] || got[0][2] != want[0][2] {
		t.Errorf("sent again it is %v, was %v", got, want)
	}
	for range exportsRunning {
		s.server.exports.take(nil, nil)
	}
	if r := s.do("GET", "/v1/export", ""); r.Header.Get("Retry-After") == "" {
		t.Errorf("one export too many: %s", r.Status)
	}
}

// An export that cannot go on is cut off, and a client does not take it for whole.
func TestExportThatStops(t *testing.T) {
	s := open(t, Options{})
	var events []event.Event
	for i := range 20_000 {
		events = append(events, event.Event{Customer: "customer-" + strings.Repeat("x", 50) + string(rune('a'+i%26)), Time: event.At(time.Unix(int64(i), 0)), Name: "view"})
	}
	if _, err := s.db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := s.do("GET", "/v1/export", "").body
	if strings.Count(whole, "\n") != 20_000 {
		t.Fatalf("%d lines", strings.Count(whole, "\n"))
	}
	s.server.cancel() // as a server does whose grace is over
	r, err := s.call(t.Context(), "GET", "/v1/export", "")
	if err == nil && r.StatusCode == 200 {
		t.Errorf("an export that was stopped looks whole, with %d of %d bytes", len(r.body), len(whole))
	}
}

// A client that takes an export slowly does not keep its place for as long as
// it likes: the export is cut off, and does not look whole.
func TestSlowExportsEnd(t *testing.T) {
	now := time.Unix(0, 0)
	x := &conn{crowd: &crowd{now: func() time.Time { return now }}}
	takes := func(bytes int, d time.Duration, want bool) {
		t.Helper()
		x.waits()
		now = now.Add(d)
		if x.waited(bytes); (x.late(answering, rateFair) > exportGrace) != want {
			t.Errorf("%d bytes of %s more: it lags: %v", bytes, d, !want)
		}
	}
	x.enter(answering)
	takes(0, exportGrace, false)
	takes(32*rateFair, 32*time.Second, false)
	takes(0, 1, true)
	takes(rateFair, 0, false)
	now = now.Add(time.Hour) // the store is being read
	takes(0, time.Second-1, false)
	takes(10<<40, 7*24*time.Hour, false) // terabytes, fast
	x.enter(working)
	x.enter(answering) // another answer
	takes(0, exportGrace, false)
	takes(0, 1, true)

	s := longAnswers(t)
	export := s.do("GET", "/v1/export", "") // while the clock stands still, nobody is slow
	if lines := strings.Count(export.body, "\n"); lines != 20_000 {
		t.Errorf("%d lines came", lines)
	}
	c := s.sent(t, "GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.(*net.TCPConn).SetReadBuffer(64 << 10)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for piece := make([]byte, 16<<10); err == nil; time.Sleep(time.Millisecond) {
		s.clock.Add(int64(exportGrace))
		_, err = res.Body.Read(piece)
	}
	if res.StatusCode != 200 || err == io.EOF {
		t.Errorf("%s, ended with %v", res.Status, err)
	}
	eventually(t, "there is room again", func() bool { return s.server.exports.count() == 0 })
	if !strings.Contains(s.log.String(), "too slowly") {
		t.Errorf("the log says %q", s.log.String())
	}
}

// Over HTTP/1.0 an answer ends where the connection does, whether it is whole or
// cut off: what has no length is refused.
func TestAnswersToHTTP10AreWhole(t *testing.T) {
	s := openWith(t, 100, Options{})
	send := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain\r\nAccept: application/x-ndjson\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		return res, string(text)
	}
	long := `measure events as "` + strings.Repeat("n", 60_000) + `" by customer limit 100` // 6 MB, with the name in each row
	random := make([]byte, 15_000)
	rand.NewChaCha8([32]byte{}).Read(random)
	dense := fmt.Sprintf(`measure events as "%x" by customer limit 100`, random) // 3 MB, of which compression leaves 38 kB
	for _, again := range []bool{false, true} {
		for _, query := range []string{"measure events by customer limit 100", dense} {
			res, body := send("POST", "/v1/query", query)
			if res.StatusCode != 200 || res.ContentLength != int64(len(body)) || res.Header.Get("Content-Encoding") != "" || strings.Count(body, "\n") != 100 {
				t.Errorf("%.30s again %v: %s %q, length %d of %d", query, again, res.Status, res.Header.Get("Content-Encoding"), res.ContentLength, len(body))
			}
		}
		if res, body := send("POST", "/v1/query", long); res.StatusCode != 505 || !strings.Contains(body, "http_version") {
			t.Errorf("a long answer, again %v: %s, %d bytes", again, res.Status, len(body))
		}
	}
	if res, body := send("GET", "/v1/export", ""); res.StatusCode != 505 || !strings.Contains(body, "proxy_http_version 1.1") {
		t.Errorf("an export: %s %.300s", res.Status, body)
	}
	if log := s.log.String(); strings.Contains(log, "request failed") {
		t.Errorf("what clients are refused is logged: %.300s", log)
	}
}
