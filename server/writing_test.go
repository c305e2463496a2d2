package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

// unread asks for a large answer and reads nothing but its head. It returns
// when the server waits for the client to take more.
func (s *shop) unread(t *testing.T, id string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	const query = "journey of 'ann' limit 20000"
	fmt.Fprintf(c, "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nX-Query-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(query), query)
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	return c
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
	return s
}

// An answer that nobody reads holds memory of the pool, and nothing else of
// what queries share; it can be ended like a query that is still counting.
func TestAnAnswerThatNobodyReadsCanBeEnded(t *testing.T) {
	s := longAnswers(t)
	s.unread(t, "slow")
	eventually(t, "the answer holds its memory", func() bool { return s.db.MemoryReserved() > 1<<20 && len(s.server.slots) == 0 })
	if r := s.do("DELETE", "/v1/queries/slow", ""); r.StatusCode != http.StatusNoContent {
		t.Errorf("%s %s", r.Status, r.body)
	}
	eventually(t, "everything is given back", func() bool { return s.db.MemoryReserved() == 0 && s.server.running.count() == 0 })
}

func TestAnAnswerThatNobodyReadsMakesRoomForQueries(t *testing.T) {
	s := longAnswers(t)
	s.unread(t, "slow")
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
