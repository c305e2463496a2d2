package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wend/internal/trust"
)

// backlog is a listener whose connections come from the test.
type backlog struct{ waiting chan net.Conn }

func (b *backlog) Accept() (net.Conn, error) {
	select {
	case c := <-b.waiting:
		return c, nil
	default:
		return nil, errors.New("nobody is there")
	}
}
func (b *backlog) Close() error   { return nil }
func (b *backlog) Addr() net.Addr { return nil }

// silent is a connection that remembers that it was closed.
type silent struct {
	net.Conn
	closed bool
}

func (s *silent) Close() error { s.closed = true; return nil }

func TestNewcomersTakeThePlaceOfTheSlowest(t *testing.T) {
	now := time.Unix(0, 0)
	b := &backlog{make(chan net.Conn, 1)}
	c := newCrowd(b, 3)
	c.now = func() time.Time { return now }
	come := func() (*conn, *silent) {
		t.Helper()
		s := &silent{}
		b.waiting <- s
		x, err := c.Accept()
		if err != nil {
			return nil, s
		}
		return x.(*conn), s
	}
	pass := func(d time.Duration) { now = now.Add(d) }
	first, one := come()
	pass(time.Second)
	second, two := come()
	pass(time.Second)
	third, three := come()
	pass(time.Second)
	gone := func(want ...bool) {
		t.Helper()
		if got := []bool{one.closed, two.closed, three.closed}; !slices.Equal(got, want) {
			t.Errorf("closed are %v, want %v", got, want)
		}
	}
	// The first one's request is running, the second one sends a body of which
	// little has come: it goes, although the third one has sent nothing at all.
	first.enter(working)
	second.enter(sending)
	second.move(100)
	pass(time.Minute)
	third.enter(asking) // between two requests
	pass(time.Second + keepGrace)
	fourth, four := come()
	gone(false, true, false)
	// Who takes an answer fast enough stays, whoever has been waiting goes.
	fourth.enter(answering)
	pass(time.Second)
	fourth.move(64 << 10)
	pass(2 * time.Second)
	fifth, five := come()
	gone(false, true, true)
	if four.closed {
		t.Error("a client that keeps up lost its place")
	}
	// Where all wait for the server, a newcomer is turned away.
	fourth.enter(working)
	fifth.enter(working)
	pass(time.Hour)
	if x, six := come(); x != nil || !six.closed {
		t.Error("a newcomer took the place of a client that waits for its answer")
	}
	// Until one leaves.
	first.Close()
	if x, seven := come(); x == nil || seven.closed || five.closed || len(c.conns) != 3 {
		t.Errorf("after one left: %d connections", len(c.conns))
	}
	first.Close() // twice is once
	if len(c.conns) != 3 {
		t.Error("a connection left twice")
	}
}

// An honest client is answered while others do everything slowly. The number
// of others and the time are larger in long runs: WEND_SLOW_CLIENTS=3000
// WEND_SLOW_SECONDS=300.
func TestSlowClients(t *testing.T) {
	others := int(trust.Number("WEND_SLOW_CLIENTS", 150))
	seconds := trust.Number("WEND_SLOW_SECONDS", 1)
	places := min(connectionsMax, others/3)
	s := openWith(t, 50, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := s.server.httpServer()
	done := make(chan error)
	go func() { done <- srv.Serve(newCrowd(l, places)) }()
	address := l.Addr().String()

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	slow := func(begin string, read bool) {
		for ctx.Err() == nil {
			c, err := net.Dial("tcp", address)
			if err != nil {
				pause(500 * time.Millisecond)
				continue
			}
			end := context.AfterFunc(ctx, func() { c.Close() })
			_, err = io.WriteString(c, begin)
			for one := make([]byte, 1); err == nil && ctx.Err() == nil; pause(300 * time.Millisecond) {
				if read {
					_, err = c.Read(one)
				} else {
					_, err = io.WriteString(c, "x")
				}
			}
			end()
			c.Close()
			pause(500 * time.Millisecond)
		}
	}
	for i := range others {
		clients.Go(func() {
			switch i % 6 {
			case 0:
				slow("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", false)
			case 1: // so many answers that no buffer takes them
				slow(strings.Repeat("GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 100), true)
			default:
				slow("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", false)
			}
		})
	}
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var asked, answered atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	for i := range 2 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i == 0}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for ctx.Err() == nil {
				asked.Add(1)
				began := time.Now()
				res, err := client.Post("http://"+address+"/v1/query", "text/plain", strings.NewReader("measure customers"))
				if err == nil {
					if _, err = io.ReadAll(res.Body); err == nil && res.StatusCode == 200 {
						answered.Add(1)
					} else {
						t.Errorf("%s, %v", res.Status, err)
					}
					res.Body.Close()
				} else {
					t.Log(err)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				pause(2 * time.Millisecond)
			}
		})
	}
	pause(time.Duration(seconds) * time.Second)
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	stop()
	clients.Wait()
	srv.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	most := 0.001
	if seconds < 60 {
		most = 0.01 // all others come in the first moment, when nobody has been slow for long
	}
	if lost := asked.Load() - answered.Load(); answered.Load() == 0 || float64(lost) > most*float64(asked.Load()) {
		t.Errorf("%d of %d honest requests were not answered", lost, asked.Load())
	}
	slices.Sort(took)
	trust.Report(t, "S8", "slow", others, "places", places, "seconds", seconds, "honest", asked.Load(), "unanswered", asked.Load()-answered.Load(),
		"p99", took[len(took)*99/100].Round(time.Millisecond), "memory", fmt.Sprintf("%+dMiB", (int64(after.Sys)-int64(before.Sys))>>20))
}
