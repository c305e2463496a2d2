package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load is requests at a fixed rate, over so many connections.
type load struct {
	to          *served
	connections int
	rate        float64 // a second; 0: each connection sends as soon as it has its answer
	time        time.Duration

	request func(i int, buf []byte) []byte             // request i, written to buf; by several goroutines
	check   func(i int, status int, body []byte) error // of its answer, which is the caller's until it returns
	sent    func(i int)                                // told before it leaves; may be nil
}

// measured is what came of it.
type measured struct {
	took, late []time.Duration
	lasted     time.Duration
	processor  time.Duration // of the server, all it did meanwhile; 0: not told
	unsent     int
	refused    int // by a server that has enough to do, and says so
	mistakes   []error
}

func (m *measured) rate() float64 { return float64(len(m.took)) / m.lasted.Seconds() }

func (m *measured) latency(q float64) time.Duration  { return quantile(m.took, q) }
func (m *measured) lateness(q float64) time.Duration { return quantile(m.late, q) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// ticket is a request that is due.
type ticket struct {
	i  int
	at time.Time
}

// run sends and measures. A server that falls behind by more than half of the
// time is not waited for: what was not sent by then is counted as such.
func (l *load) run(ctx context.Context) (*measured, error) {
	ctx, cancel := context.WithTimeout(ctx, l.time+l.time/2+5*time.Second)
	defer cancel()
	all := int(l.rate * l.time.Seconds()) // 0: as many as go, each handed over when somebody takes it
	tickets := make(chan ticket, all)
	m := &measured{}
	var mu sync.Mutex
	var workers sync.WaitGroup
	used := l.to.processor()
	begun := time.Now().Add(20 * time.Millisecond)
	var failed error
	for range l.connections {
		c, err := dial(ctx, l.to.address)
		if err != nil {
			cancel()
			return nil, err
		}
		workers.Go(func() {
			defer c.close()
			took, late, mistakes, refused, err := l.work(ctx, c, tickets)
			mu.Lock()
			defer mu.Unlock()
			m.took, m.late, m.mistakes = append(m.took, took...), append(m.late, late...), append(m.mistakes, mistakes...)
			m.refused += refused
			if err != nil && failed == nil {
				failed = err
				cancel()
			}
		})
	}
	if l.rate == 0 {
		l.issueUntil(ctx, tickets, begun.Add(l.time))
	} else {
		l.issue(ctx, tickets, all, begun)
	}
	close(tickets)
	workers.Wait()
	m.unsent = max(0, all-len(m.took)-m.refused)
	m.lasted, m.processor = time.Since(begun), l.to.processor()-used
	slices.Sort(m.took)
	slices.Sort(m.late)
	return m, failed
}

// issue hands out tickets when they are due.
func (l *load) issue(ctx context.Context, tickets chan<- ticket, all int, begun time.Time) {
	for i := 0; i < all && ctx.Err() == nil; i++ {
		at := begun.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
		if time.Until(at) > 0 {
			sleepUntil(at, l.rate)
		}
		tickets <- ticket{i, at} // there is room for all
	}
}

// issueUntil hands out tickets to whoever is free.
func (l *load) issueUntil(ctx context.Context, tickets chan<- ticket, end time.Time) {
	for i := 0; time.Now().Before(end); i++ {
		select {
		case tickets <- ticket{i: i}:
		case <-ctx.Done():
			return
		}
	}
}

// sleepUntil waits for a moment: exactly where few are waited for, since a
// sleep ends up to a millisecond late; within 200 microseconds where many are.
func sleepUntil(at time.Time, rate float64) {
	const exact = 300 * time.Microsecond
	if rate > 1000 {
		time.Sleep(max(time.Until(at), 200*time.Microsecond))
		return
	}
	if wait := time.Until(at); wait > 2*time.Millisecond {
		time.Sleep(wait - 1500*time.Microsecond)
	}
	for time.Until(at) > exact {
		time.Sleep(50 * time.Microsecond)
	}
	for time.Until(at) > 0 {
	}
}

func (l *load) work(ctx context.Context, c *connection, tickets <-chan ticket) (took, late []time.Duration, mistakes []error, refused int, err error) {
	var buf []byte
	for t := range tickets {
		if ctx.Err() != nil {
			return took, late, mistakes, refused, nil
		}
		if l.rate == 0 {
			t.at = time.Now()
		}
		buf = l.request(t.i, buf[:0])
		if l.sent != nil {
			l.sent(t.i)
		}
		leaves := time.Now()
		status, body, err := c.ask(buf)
		if err != nil {
			return took, late, mistakes, refused, fmt.Errorf("request %d: %w", t.i, err)
		}
		if status == http.StatusServiceUnavailable {
			refused++
			continue
		}
		took, late = append(took, time.Since(t.at)), append(late, leaves.Sub(t.at))
		if err := l.check(t.i, status, body); err != nil {
			mistakes = append(mistakes, fmt.Errorf("request %d: %w", t.i, err))
		}
	}
	return took, late, mistakes, refused, nil
}

// dial opens a connection and sends a first request, for which the server does
// not wait long.
func dial(ctx context.Context, address string) (*connection, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := newConnection(conn)
	if _, _, err := c.ask([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}
