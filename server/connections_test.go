package server

import (
	"bufio"
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

	"wend/access"
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
	second.waited(100)
	pass(time.Minute)
	third.enter(asking) // between two requests
	pass(time.Second + keepGrace)
	fourth, four := come()
	gone(false, true, false)
	// Who takes an answer fast enough stays, whoever has been waiting goes.
	fourth.enter(answering)
	pass(time.Second)
	fourth.waited(64 << 10)
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

// Queries that run or wait never hold all connections, and those of one token
// only a part of what queries may; batches that wait for the disk do not either.
// What else there is to ask gets through, however often the others ask again.
func TestNobodyHoldsAllConnections(t *testing.T) {
	x := withTokens(t)
	const batch = `{"customer": "new", "time": 1, "event": "view"}`
	queries := crowding{"POST /v1/query", access.Query, funnel, (*slowFiles).hold, func(s *Server) int { return s.running.count() }, "POST /v1/events", access.Ingest, batch}
	batches := crowding{"POST /v1/events", access.Ingest, batch, (*slowFiles).holdSyncs, func(s *Server) int { return len(s.changes) }, "POST /v1/query", access.Query, "measure customers"}
	f := func(name string, of crowding, opt Options, held int, status int, code string) {
		t.Run(name, func(t *testing.T) {
			s := openWith(t, 100, opt)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := s.server.httpServer()
			done := make(chan error)
			go func() { done <- srv.Serve(newCrowd(l, connectionsMax)) }()
			if r := s.do("POST", "/v1/events", batch, "Authorization", "Bearer "+x.byScope[access.Ingest].Reveal()); r.StatusCode != 200 { // there is a log
				t.Fatalf("%s %s", r.Status, r.body)
			}
			gate := of.hold(s.files)
			ctx, stop := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			request := fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
				of.call, x.byScope[of.scope].Reveal(), len(of.body), of.body)
			defer func() {
				stop()
				s.files.release()
				clients.Wait()
				srv.Close()
				<-done
			}()
			var wrong atomic.Int64
			// A machine that is slow is not kept busy by clients alone: the slower the
			// server, the longer they rest.
			rest := func(began time.Time) {
				select {
				case <-ctx.Done():
				case <-time.After(max(300*time.Millisecond, 10*time.Since(began))):
				}
			}
			greedy := func() { // keeps a connection and asks again and again
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return
				}
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				for r := bufio.NewReader(c); ctx.Err() == nil; {
					began := time.Now()
					io.WriteString(c, request)
					res, err := http.ReadResponse(r, nil)
					if err != nil {
						rest(began)
						return // its place was given to another
					}
					body, err := io.ReadAll(res.Body)
					if err == nil && ctx.Err() == nil && (res.StatusCode != status || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), code)) {
						wrong.Add(1)
						t.Logf("%s %s", res.Status, body)
					}
					rest(began)
				}
			}
			for range connectionsMax + connectionsMax/8 {
				clients.Go(func() {
					for ctx.Err() == nil {
						greedy()
					}
				})
			}
			<-gate.reached
			within(t, time.Minute, "as many as may are held", func() bool { return of.count(s.server) == held })
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			answered := func(call string, scope access.Scope, body string) func() bool {
				method, path, _ := strings.Cut(call, " ")
				return func() bool {
					req, err := http.NewRequest(method, "http://"+l.Addr().String()+path, strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Authorization", "Bearer "+x.byScope[scope].Reveal())
					req.Header.Set("Content-Type", "text/plain")
					res, err := client.Do(req)
					if err != nil {
						return false
					}
					defer res.Body.Close()
					return res.StatusCode == 200
				}
			}
			for range 5 {
				within(t, time.Minute, "/healthz answers", answered("GET /healthz", access.Query, ""))
				within(t, time.Minute, "/metrics answers", answered("GET /metrics", access.Metrics, ""))
				within(t, time.Minute, of.other+" answers", answered(of.other, of.otherScope, of.otherBody))
			}
			if n := of.count(s.server); n > held || wrong.Load() > 0 {
				t.Errorf("%d were held meanwhile, want %d at most; %d refusals were others than %d %s", n, held, wrong.Load(), status, code)
			}
		})
	}
	f("queries of one token", queries, Options{Access: x.keeper, QueryTimeout: time.Hour}, queriesOfToken, http.StatusTooManyRequests, "too_many_queries")
	f("queries of everybody", queries, Options{QueryTimeout: time.Hour}, queriesMax, http.StatusServiceUnavailable, "busy")
	f("batches", batches, Options{}, changesMax, http.StatusServiceUnavailable, "ingest_busy")
}

// crowding is a call that many make at once, and another that goes on beside it.
type crowding struct {
	call  string
	scope access.Scope
	body  string
	hold  func(*slowFiles) *gate // what lets the calls wait
	count func(*Server) int      // of those that wait

	other      string
	otherScope access.Scope
	otherBody  string
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
	most := float64(asked.Load()) / 1000
	if seconds < 60 {
		most = max(10*most, 1) // all others come in the first moment, when nobody has been slow for long
	}
	if lost := asked.Load() - answered.Load(); answered.Load() == 0 || float64(lost) > most {
		t.Errorf("%d of %d honest requests were not answered", lost, asked.Load())
	}
	slices.Sort(took)
	trust.Report(t, "S8", "slow", others, "places", places, "seconds", seconds, "honest", asked.Load(), "unanswered", asked.Load()-answered.Load(),
		"p99", took[len(took)*99/100].Round(time.Millisecond), "memory", fmt.Sprintf("%+dMiB", (int64(after.Sys)-int64(before.Sys))>>20))
}
