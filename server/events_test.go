package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"wend/storage"
)

const twoEvents = `{"customer": "a", "time": "2025-03-01T10:00:00Z", "event": "view", "id": "1"}
{"customer": "a", "time": "2025-03-01T11:00:00Z", "event": "buy", "channel": "store", "id": "2", "order": {"value": 19.5}}
`

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func zstdOf(t *testing.T, text string, opt ...zstd.EOption) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, opt...)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func TestEventsInEveryForm(t *testing.T) {
	array := "[" + strings.ReplaceAll(strings.TrimSpace(twoEvents), "\n", ",") + "]"
	f := func(name, body string, header ...string) {
		t.Helper()
		s := open(t, Options{})
		var ack eventsAnswer
		s.do("POST", "/v1/events", body, header...).decode(t, &ack)
		if ack.Accepted != 2 || ack.Durability != "sync" || ack.LSN == 0 || ack.Rejected == nil {
			t.Errorf("%s: %+v", name, ack)
		}
		if rows := s.ask("measure sum(order.value), customers"); fmt.Sprint(rows) != "[[19.5 1]]" {
			t.Errorf("%s: %v", name, rows)
		}
	}
	f("lines", twoEvents)
	f("array", array)
	f("gzip", gzipped(t, twoEvents), "Content-Encoding", "gzip")
	f("zstd", zstdOf(t, twoEvents), "Content-Encoding", "zstd")
	f("gzip by its first bytes", gzipped(t, array), "Content-Type", "application/x-www-form-urlencoded")
	f("zstd by its first bytes", zstdOf(t, array))
	half := strings.Index(twoEvents, "\n") + 1
	f("gzip of two members", gzipped(t, twoEvents[:half])+gzipped(t, twoEvents[half:]), "Content-Encoding", "gzip")
}

func TestEventsThatAreSentAgain(t *testing.T) {
	s := open(t, Options{})
	send := func(body string, header ...string) (ack eventsAnswer) {
		s.do("POST", "/v1/events", body, header...).decode(t, &ack)
		return ack
	}
	first := send(twoEvents, "X-Batch-Token", "batch-1")
	if again := send(twoEvents, "X-Batch-Token", "batch-1"); again.Accepted != 2 || again.LSN != first.LSN {
		t.Errorf("with the token of a batch that is stored: %+v", again)
	}
	if again := send(twoEvents); again.Accepted != 0 || again.Duplicates != 2 {
		t.Errorf("without a token: %+v", again)
	}
	if other := send(strings.ReplaceAll(twoEvents, "19.5", "20")); other.Duplicates != 2 || other.Conflicts != 1 {
		t.Errorf("with other content: %+v", other)
	}
	if rows := s.ask("measure events, max(order.value)"); fmt.Sprint(rows) != "[[2 19.5]]" {
		t.Errorf("%v", rows)
	}
}

func TestEventsThatCannotBeTaken(t *testing.T) {
	s := open(t, Options{})
	const body = `{"customer": "a", "time": "2025-03-01T10:00:00Z", "event": "view", "n": 1}
{"time": "2025-03-01T10:00:00Z", "event": "view"}
{"customer": "a", "time": "yesterday", "event": "view"}
{"customer": "b", "time": "2025-03-01T10:00:00Z", "event": "view", "n": "many"}
{"customer": "c", "time": "2025-03-01T10:00:00Z", "event": "view", "n": 2}`
	r := s.do("POST", "/v1/events?strict=1", body)
	r.refused(t, 400, "rejected_event")
	if !strings.Contains(r.body, "event 1: ") {
		t.Errorf("it does not say which: %s", r.body)
	}
	s.do("POST", "/v1/events?strict", body).refused(t, 400, "rejected_event")
	var many strings.Builder // properties that nobody can refuse but the store, which has room for 10,000
	for i := range 40 {
		many.WriteString(`{"customer": "a", "time": "2025-03-01T10:00:00Z", "event": "view"`)
		for k := range 251 {
			fmt.Fprintf(&many, `, "p%d": 1`, 251*i+k)
		}
		many.WriteString("}\n")
	}
	full := s.do("POST", "/v1/events?strict=1", many.String())
	full.refused(t, 400, "rejected_event")
	if !strings.Contains(full.body, "event 39: ") {
		t.Errorf("it does not say which: %s", full.body)
	}
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("a strict batch left %v events", rows[0][0])
	}
	var ack eventsAnswer
	s.do("POST", "/v1/events", body).decode(t, &ack)
	if ack.Accepted != 2 || len(ack.Rejected) != 3 {
		t.Fatalf("%+v", ack)
	}
	for i, want := range []string{"customer", "time", "n"} {
		if j := ack.Rejected[i]; j.Index != i+1 || !strings.Contains(j.Reason, want) {
			t.Errorf("%+v", j)
		}
	}
	// What clashes with the store is counted as the client counts, too.
	s.do("POST", "/v1/events", `[{"event": "view"}, {"customer": "d", "time": "2025-03-01", "event": "view", "n": true}]`).decode(t, &ack)
	if ack.Accepted != 0 || len(ack.Rejected) != 2 || ack.Rejected[1].Index != 1 {
		t.Errorf("%+v", ack)
	}
	r = s.do("GET", "/metrics", "")
	if !strings.Contains(r.body, `wend_ingest_events_total{result="rejected"} 5`) || !strings.Contains(r.body, `wend_ingest_events_total{result="accepted"} 2`) {
		t.Error("the metrics do not count them")
	}
}

// While the disk takes nothing, events are refused with the reason, and all else
// goes on: a server that answers queries is healthy and ready, and who watches it
// learns from the metrics. When the disk works again, events are taken.
func TestEventsThatTheDiskCannotTake(t *testing.T) {
	s := openWith(t, 10, Options{})
	const one = `{"customer":"a","time":1,"event":"e"}`
	send := func() reply { return s.do("POST", "/v1/events", one) }
	want := 15.0
	for _, c := range []struct {
		err    syscall.Errno
		status int
		code   string
	}{{syscall.ENOSPC, 507, "disk_full"}, {syscall.EIO, 503, "disk_error"}} {
		if r := send(); r.StatusCode != 200 {
			t.Fatalf("before: %s %s", r.Status, r.body)
		}
		want++
		s.files.fails.Store(int64(c.err))
		for range 2 { // in the log that is open, then in a new one
			r := send()
			if r.refused(t, c.status, c.code); r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: there is no Retry-After", c.code)
			}
		}
		for path, body := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
			if r := s.do("GET", path, ""); r.StatusCode != 200 || r.body != body {
				t.Errorf("%s: %s is %s %q", c.code, path, r.Status, r.body)
			}
		}
		refused := fmt.Sprintf(`wend_http_requests_total{route="POST /v1/events",status="%d"} 2`, c.status)
		if r := s.do("GET", "/metrics", ""); !strings.Contains(r.body, refused) {
			t.Errorf("%s: the metrics do not tell", c.code)
		}
		if rows := s.ask("measure events"); rows[0][0] != want {
			t.Errorf("%s: %v events, want %v", c.code, rows[0][0], want)
		}
		s.files.fails.Store(0)
	}
	if r := send(); r.StatusCode != 200 {
		t.Errorf("afterwards: %s %s", r.Status, r.body)
	}
}

func TestTypesOfProperties(t *testing.T) {
	s := open(t, Options{})
	s.do("POST", "/v1/events", `{"customer": "a", "time": "2025-03-01", "event": "view", "at": "2025-03-02", "n": 1}`, "X-Property-Types", "at=time&n=float")
	// Now the store knows, and what a client says does not count.
	s.do("POST", "/v1/events", `{"customer": "a", "time": "2025-03-02", "event": "view", "at": "2025-03-03", "n": 2}`, "X-Property-Types", "at=string")
	if rows := s.ask("show properties"); fmt.Sprint(rows) != "[[at time] [n float]]" {
		t.Errorf("%v", rows)
	}
	if rows := s.ask("measure max(at), sum(n)"); fmt.Sprint(rows) != "[[2025-03-03T00:00:00Z 3]]" {
		t.Errorf("%v", rows)
	}
	s.do("POST", "/v1/events", `[]`, "X-Property-Types", "at=date").refused(t, 400, "bad_types")
}

func TestDurability(t *testing.T) {
	s := open(t, Options{AllowMemory: true})
	for i, level := range []string{"sync", "interval", "memory"} {
		var ack eventsAnswer
		s.do("POST", "/v1/events", fmt.Sprintf(`{"customer": "a", "time": %d, "event": "view"}`, 1740000000+i), "X-Durability", level).decode(t, &ack)
		if ack.Durability != level || ack.Accepted != 1 {
			t.Errorf("%s: %+v", level, ack)
		}
		if r := s.do("POST", "/v1/sync", fmt.Sprintf(`{"lsn": %d}`, ack.LSN)); r.StatusCode != 200 || !strings.Contains(r.body, `"sync"`) {
			t.Errorf("sync: %s %s", r.Status, r.body)
		}
	}
	s.do("POST", "/v1/events", twoEvents, "X-Durability", "perhaps").refused(t, 400, "bad_durability")
	// Nobody is told less than was asked for, so that which of two counts must be plain.
	s.do("POST", "/v1/events", twoEvents, "X-Durability", "memory", "X-Durability", "sync").refused(t, 400, "bad_durability")
	s.do("POST", "/v1/events", twoEvents, "X-Batch-Token", "a", "X-Batch-Token", "b").refused(t, 400, "bad_batch_token")
	// What only memory holds is acknowledged where the operator wants that.
	s = open(t, Options{})
	s.do("POST", "/v1/events", twoEvents, "X-Durability", "memory").refused(t, 403, "memory_not_allowed")
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("a refused batch left %v events", rows[0][0])
	}
}

func TestBodiesThatAreNoEvents(t *testing.T) {
	s := open(t, Options{})
	f := func(body string, status int, code string, header ...string) {
		t.Helper()
		s.do("POST", "/v1/events", body, header...).refused(t, status, code)
	}
	f(`[{"customer": "a"`, 400, "bad_events")
	f("not gzip", 400, "bad_encoding", "Content-Encoding", "gzip")
	f("not zstd", 400, "bad_events", "Content-Encoding", "zstd")
	f("x", 415, "bad_encoding", "Content-Encoding", "br")
	f(gzipped(t, twoEvents)+"trailing garbage", 400, "bad_events", "Content-Encoding", "gzip")
	f(gzipped(t, twoEvents)[:40], 400, "bad_events", "Content-Encoding", "gzip")
	f(strings.Repeat(`{"customer":"a","time":1,"event":"e"}`+"\n", eventsPerBatch+1), 413, "too_many_events")
	f(strings.Repeat(" ", bodyWireMax+1)+twoEvents, 413, "too_large")
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("they left %v events", rows[0][0])
	}
	var ack eventsAnswer
	s.do("POST", "/v1/events", "").decode(t, &ack)
	if ack.Accepted != 0 {
		t.Errorf("an empty body: %+v", ack)
	}
}

// A client that stops in the middle of a body does not hold the server up.
func TestBodiesThatNeverEnd(t *testing.T) {
	s := open(t, Options{})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n%s", twoEvents)
	s.do("GET", "/healthz", "")
	conn.Close()
	eventually(t, "the request is over", func() bool {
		return strings.Contains(s.do("GET", "/metrics", "").body, `wend_http_requests_total{route="POST /v1/events"`)
	})
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("half a body left %v events", rows[0][0])
	}
}

func TestLinks(t *testing.T) {
	s := openWith(t, 4, Options{})
	if r := s.do("POST", "/v1/links", `{"from": "c0001", "to": "c0000"}`); r.StatusCode != 200 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	if rows := s.ask("measure customers"); rows[0][0] != 3.0 {
		t.Errorf("%v customers after a link of two of four", rows[0][0])
	}
	if r := s.do("POST", "/v1/links", `[{"from": "anon/1", "to": "c0000"}, {"from": "c0003", "to": "c0002"}]`); r.body != `{"links":2}`+"\n" {
		t.Errorf("several: %s", r.body)
	}
	// One that cannot be makes none of an array.
	s.do("POST", "/v1/links", `[{"from": "x", "to": "c0000"}, {"from": "c0000", "to": "c0001"}]`).refused(t, 400, "bad_link")
	s.do("POST", "/v1/links", `{"from": "x", "to": "x"}`).refused(t, 400, "bad_link")
	s.do("POST", "/v1/links", `{"from": "", "to": "x"}`).refused(t, 400, "bad_link")
	s.do("POST", "/v1/links", `{"from": "a", "to": "b", "why": "c"}`).refused(t, 400, "bad_link")
	const all = `{"links":[{"from":"anon/1","to":"c0000"},{"from":"c0001","to":"c0000"},{"from":"c0003","to":"c0002"}]}` + "\n"
	if r := s.do("GET", "/v1/links", ""); r.body != all {
		t.Errorf("%s", r.body)
	}
	if r := s.do("DELETE", "/v1/links/anon%2F1", ""); r.StatusCode != 204 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	s.do("DELETE", "/v1/links/nobody", "").refused(t, 404, "not_found")
	// Many go out while they are encoded.
	many := make([]storage.Link, 5000)
	for i := range many {
		many[i] = storage.Link{From: fmt.Sprintf("visitor %04d", i), To: "c0000"}
	}
	if err := s.db.Store().LinkAll(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	parts := &writes{ResponseRecorder: httptest.NewRecorder()}
	req := httptest.NewRequest("GET", "/v1/links", nil)
	req.Host = "localhost"
	s.server.Handler().ServeHTTP(parts, req)
	var answer struct{ Links []storage.Link }
	if err := json.Unmarshal(parts.Body.Bytes(), &answer); err != nil || len(answer.Links) != 5002 || answer.Links[5001] != many[4999] {
		t.Errorf("%d links, %v", len(answer.Links), err)
	}
	if parts.longest > 1<<13 {
		t.Errorf("%d bytes of links are written at once", parts.longest)
	}
}

// writes notes the longest piece of an answer.
type writes struct {
	*httptest.ResponseRecorder
	longest int
}

func (w *writes) Write(p []byte) (int, error) {
	w.longest = max(w.longest, len(p))
	return w.ResponseRecorder.Write(p)
}
