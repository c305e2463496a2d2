package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

// sent sends a request on a connection of its own, of which little is read ahead.
func (s *shop) sent(t *testing.T, request string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprint(c, request)
	return c
}

// unread is sent, for a large answer of which nothing but its head is read. It
// returns when the server waits for the client to take more.
func (s *shop) unread(t *testing.T, request string) net.Conn {
	t.Helper()
	c := s.sent(t, request)
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	return c
}

// queryUnread asks a query whose answer is unread.
func (s *shop) queryUnread(t *testing.T, id, query string) net.Conn {
	t.Helper()
	return s.unread(t, fmt.Sprintf("POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nX-Query-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(query), query))
}

// narrow is a listener whose connections take little that nobody reads.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if c, ok := c.(*net.TCPConn); ok {
		c.SetWriteBuffer(64 << 10)
	}
	return c, err
}

// longAnswers has a customer whose journey is more than what the sockets of a
// connection take.
func longAnswers(t *testing.T) *shop {
	t.Helper()
	s := open(t, Options{})
	db, err := engine.Open("long", engine.Options{MemoryBytes: 64 << 20, Storage: storage.Options{FS: vfs.NewMem(), CacheBytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var events []event.Event
	for i := range 20_000 {
		events = append(events, event.Event{Customer: "ann", Time: event.Time(i) * event.Time(event.Hour), Name: "view",
			Props: []event.Prop{{Name: "text", Value: event.String(fmt.Sprint(i, strings.Repeat("x", 1000)))}}})
	}
	if _, err := db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	s.db, s.server.db = db, db
	s.Server.Close()
	s.Server = httptest.NewUnstartedServer(nil)
	c := newCrowd(narrow{s.Listener}, connectionsMax)
	c.now = func() time.Time { return time.Unix(0, s.clock.Load()) }
	s.Config, s.Listener = s.server.httpServer(), c
	s.Start()
	return s
}

// An answer that nobody reads holds memory of the pool, and nothing else of
// what queries share; it can be ended like a query that is still counting.
func TestAnAnswerThatNobodyReadsCanBeEnded(t *testing.T) {
	s := longAnswers(t)
	s.queryUnread(t, "slow", "journey of 'ann' limit 20000")
	eventually(t, "the answer holds its memory", func() bool { return s.db.MemoryReserved() > 1<<20 && len(s.server.slots) == 0 })
	if r := s.do("DELETE", "/v1/queries/slow", ""); r.StatusCode != http.StatusNoContent {
		t.Errorf("%s %s", r.Status, r.body)
	}
	eventually(t, "everything is given back", func() bool { return s.db.MemoryReserved() == 0 && s.server.running.count() == 0 })
}

// deadlines tells the write deadlines that it is given.
type deadlines struct {
	*httptest.ResponseRecorder
	set chan time.Time
}

func (d deadlines) SetWriteDeadline(t time.Time) error { d.set <- t; return nil }

// meanwhile has something happen before each write.
type meanwhile struct {
	*pacedWriter
	happens func()
}

func (m meanwhile) Write(p []byte) (int, error) { m.happens(); return m.pacedWriter.Write(p) }

// An end that comes when a piece is about to be written is not taken back by the
// time that the piece is given.
func TestAnEndBeforeAPiece(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	c := deadlines{httptest.NewRecorder(), make(chan time.Time, 2)}
	w, done := running{ctx: ctx, end: end}.writer(meanwhile{&pacedWriter{ResponseWriter: c, control: http.NewResponseController(c)}, func() {
		end(nil)
		if d := <-c.set; d.After(time.Now()) {
			t.Errorf("it may go on until %s", d)
		}
	}}, t.Context())
	w.Write([]byte("piece"))
	done()
	if len(c.set) > 0 {
		t.Errorf("it may go on until %s", <-c.set)
	}
}

// An answer that is written before it goes out is no other.
func TestAKeptAnswerThatNobodyReadsCanBeEnded(t *testing.T) {
	s := longAnswers(t)
	const query = "journey of 'ann' limit 3500"
	r := s.do("POST", "/v1/query", query, "Content-Type", "text/plain")
	if r.StatusCode != 200 || len(r.body) < 3<<20 {
		t.Fatalf("%s, %d bytes", r.Status, len(r.body))
	}
	for _, what := range []string{"kept by the engine", "kept as it was sent"} {
		s.queryUnread(t, "slow", query)
		eventually(t, what+", the answer holds its memory", func() bool { return s.db.MemoryReserved() >= 3<<20 })
		if r := s.do("DELETE", "/v1/queries/slow", ""); r.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %s %s", what, r.Status, r.body)
		}
		eventually(t, what+", everything is given back", func() bool { return s.db.MemoryReserved() == 0 && s.server.running.count() == 0 })
		if len(s.server.answers.kept) != 1 {
			t.Fatalf("%s: %d answers are kept", what, len(s.server.answers.kept))
		}
	}
}

// Where others, who each hold less, have all the memory, an answer that has no
// room is refused; one that only would be kept goes out.
func TestAnswersThatThereIsNoMemoryToKeep(t *testing.T) {
	s := longAnswers(t)
	const small, large = "measure events", "journey of 'ann' limit 3500"
	ask := func(query string) reply {
		t.Helper()
		return s.do("POST", "/v1/query", query, "Content-Type", "text/plain")
	}
	for _, query := range []string{large, large, small} {
		if r := ask(query); r.StatusCode != 200 {
			t.Fatalf("%s: %s %s", query, r.Status, r.body)
		}
	}
	if len(s.server.answers.kept) != 1 {
		t.Fatalf("%d answers are kept", len(s.server.answers.kept))
	}
	for range 63 << 20 / (3 << 20) {
		release, err := s.db.Reserve(t.Context(), 3<<20, func(error) { t.Error("ended for a larger one") })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
	ask(large).refused(t, 400, "memory_limit")
	if r := ask(small); r.StatusCode != 200 || len(s.server.answers.kept) != 1 {
		t.Errorf("%s: %s %s, %d are kept", small, r.Status, r.body, len(s.server.answers.kept))
	}
}

func TestAnAnswerThatNobodyReadsMakesRoomForQueries(t *testing.T) {
	s := longAnswers(t)
	s.queryUnread(t, "slow", "journey of 'ann' limit 20000")
	eventually(t, "the answer holds its memory", func() bool { return s.db.MemoryReserved() > 1<<20 })
	slow := s.db.MemoryReserved()
	each := (64<<20 - slow) / 2 // of two queries that just fit beside it; slow is larger than one
	reserve := func(bytes int64) {
		ctx, end := context.WithCancelCause(t.Context())
		defer end(nil)
		release, err := s.db.Reserve(ctx, bytes, end)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
	reserve(each)
	reserve(each + 1<<20)
	eventually(t, "the answer is cut off", func() bool { return s.db.MemoryReserved() == 2*each+1<<20 && s.server.running.count() == 0 })
}

// An answer that is read slowly ends when a customer is erased, as statements do;
// what is kept of answers goes, too.
func TestAnswersUnderWayEndWithAnErasure(t *testing.T) {
	s := longAnswers(t)
	for range 2 { // the second time it is kept
		if r := s.do("POST", "/v1/query", "journey of 'ann' limit 3500", "Content-Type", "text/plain"); r.StatusCode != 200 {
			t.Fatal(r.Status)
		}
	}
	kept := func() int {
		s.server.answers.mu.Lock()
		defer s.server.answers.mu.Unlock()
		return len(s.server.answers.kept)
	}
	if kept() != 1 {
		t.Fatalf("%d answers are kept", kept())
	}
	c := s.queryUnread(t, "slow", "journey of 'ann' limit 20000")
	eventually(t, "the answer holds its memory", func() bool { return s.db.MemoryReserved() > 1<<20 })
	if r := s.do("POST", "/v1/erase", `{"customer": "ann"}`); r.StatusCode != 202 {
		t.Fatal(r.Status, r.body)
	}
	eventually(t, "nothing of her is held", func() bool { return s.db.MemoryReserved() == 0 && s.server.running.count() == 0 && kept() == 0 })
	if n, err := io.Copy(io.Discard, c); n > 1<<20 {
		t.Errorf("%d bytes were sent; %v", n, err)
	}
}

// Links are a list that is held while it is read: it counts as a query does, and
// takes its memory from where queries do.
func TestLinksUnread(t *testing.T) {
	s := longAnswers(t)
	const links = 20_000
	many := make([]storage.Link, links)
	for i := range many {
		many[i] = storage.Link{From: fmt.Sprintf("visitor %020d", i), To: "ann"}
	}
	if err := s.db.Store().LinkAll(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	c := s.sent(t, "GET /v1/links HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the list counts", func() bool {
		return s.server.running.count() == 1 && s.db.MemoryReserved() == linkBytes*links
	})
	c.Close()
	eventually(t, "it counts no more", func() bool { return s.server.running.count() == 0 && s.db.MemoryReserved() == 0 })
}

// So does an export, in the middle of a customer.
func TestExportEndsWithAnErasure(t *testing.T) {
	s := longAnswers(t)
	if err := s.db.Store().Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := s.unread(t, "GET /v1/export HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if r := s.do("POST", "/v1/erase", `{"customer": "ann"}`); r.StatusCode != 202 {
		t.Fatal(r.Status, r.body)
	}
	eventually(t, "the export has ended", func() bool {
		s.server.exports.mu.Lock()
		defer s.server.exports.mu.Unlock()
		return len(s.server.exports.held) == 0
	})
	if n, err := io.Copy(io.Discard, c); n > 1<<20 {
		t.Errorf("%d bytes were sent; %v", n, err)
	}
}

// A client that says that it has sent everything, and reads on, is not told that
// a request was carried out that was not.
func TestHalfClosedClients(t *testing.T) {
	s := openWith(t, 2, Options{})
	for range cap(s.server.slots) {
		s.server.slots <- struct{}{}
	}
	c := s.sent(t, "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nmeasure events")
	eventually(t, "the query waits", func() bool { return s.server.running.count() == 1 })
	c.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(c); len(answer) > 0 {
		t.Errorf("it reads %q, %v", answer, err)
	}
}
