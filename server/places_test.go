package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// count is how many places are held.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}

// Where all places are held, those whose clients keep their answers waiting go to
// others, the slowest first; nobody loses one that is computed still or taken fast.
func TestPlacesOfSlowClientsAreTaken(t *testing.T) {
	now := time.Unix(0, 0)
	c := &crowd{now: func() time.Time { return now }}
	pass := func(d time.Duration) { now = now.Add(d) }
	client := func(p phase) *conn {
		x := &conn{crowd: c}
		x.enter(p)
		return x
	}
	takes := func(x *conn, bytes int, d time.Duration) {
		x.waits()
		pass(d)
		x.waited(bytes)
	}
	computing, unknown := client(working), (*conn)(nil)
	slow, fast := client(answering), client(answering)
	takes(slow, 60*17<<10, time.Minute) // enough for a connection to keep its place
	takes(fast, 60*rateBusy, time.Minute)
	reading := client(answering)
	takes(reading, 1, time.Millisecond)
	pass(time.Hour) // the server is not done with what it reads for it
	stuck := client(answering)
	stuck.waits()
	pass(2 * time.Minute)

	const grace = time.Second
	clients := map[string]*conn{"computing": computing, "unknown": unknown, "slow": slow, "fast": fast, "reading": reading, "stuck": stuck}
	p := newPlaces(len(clients), grace)
	var ended []string
	held := map[string]*place{}
	for name, x := range clients {
		held[name] = p.take(x, func() { ended = append(ended, name) })
	}
	f := func(want ...string) {
		t.Helper()
		if p.take(client(working), nil) == nil {
			ended = append(ended, "nobody")
		}
		if !slices.Equal(ended, want) {
			t.Errorf("ended were %v, want %v", ended, want)
		}
	}
	f("stuck")
	f("stuck", "slow")
	f("stuck", "slow", "nobody")
	takes(fast, rateBusy, time.Second+grace)
	f("stuck", "slow", "nobody", "nobody")
	takes(fast, 0, 1)
	f("stuck", "slow", "nobody", "nobody", "fast")
	p.leave(held["stuck"]) // it is another's
	if p.count() != len(clients) {
		t.Errorf("%d places are held of %d", p.count(), p.max)
	}
	p.leave(held["computing"])
	f("stuck", "slow", "nobody", "nobody", "fast")
}

// A query is answered and an export begins although answers that nobody reads
// hold their places.
func TestUnreadAnswersMakeWay(t *testing.T) {
	s := longAnswers(t)
	later := func(what, method, path, body string) {
		t.Helper()
		s.do(method, path, body).refused(t, 503, "busy") // the clients' grace is not over
		eventually(t, what, func() bool {
			s.clock.Add(int64(2 * exportGrace))
			return s.do(method, path, body).StatusCode == http.StatusOK
		})
	}
	s.queryUnread(t, "slow", "journey of 'ann' limit 20000")
	eventually(t, "the answer holds its memory", func() bool { return s.db.MemoryReserved() > 1<<20 && len(s.server.slots) == 0 })
	for i := range queriesMax - 1 {
		if err := s.server.running.add(fmt.Sprint(i), "", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	later("a query has its place", "POST", "/v1/query", `{"query": "measure events"}`)
	eventually(t, "it is ended", func() bool { return s.db.MemoryReserved() == 0 && s.server.running.count() == queriesMax-1 })
	if !strings.Contains(s.log.String(), "an answer was cut off") {
		t.Errorf("the log says %q", s.log.String())
	}

	for range exportsRunning {
		s.sent(t, "GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	eventually(t, "they begin", func() bool { return s.server.exports.count() == exportsRunning })
	later("an export has the place of one", "GET", "/v1/export", "")
}
