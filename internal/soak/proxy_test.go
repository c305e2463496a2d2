package soak

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between clients and a server and lets connections fail: it cuts
// them at one byte after the other of what is sent and of what is answered,
// answers errors of its own before or behind the server's back, and keeps
// answers for itself.
type proxy struct {
	listener net.Listener
	rng      *rand.Rand // guarded by mu
	mu       sync.Mutex
	target   string // host and port of the server
	conns    map[net.Conn]struct{}
	closed   bool
	running  sync.WaitGroup

	requests, answers boundaries
	cuts, errors5xx   atomic.Int64
	stalls            atomic.Int64
}

// boundaries is the places between bytes at which connections are cut, in turn.
type boundaries struct {
	next, longest atomic.Int64
	tried         sync.Map // by place
}

// place is where the next connection is cut: from 0 up to the longest message
// that was seen, and again from 0.
func (b *boundaries) place() int64 {
	n := b.next.Add(1) - 1
	n %= max(1, b.longest.Load()+1)
	b.tried.Store(n, true)
	return n
}

func (b *boundaries) saw(n int64) {
	for old := b.longest.Load(); n > old && !b.longest.CompareAndSwap(old, n); {
		old = b.longest.Load()
	}
}

func (b *boundaries) String() string {
	n := 0
	b.tried.Range(func(any, any) bool { n++; return true })
	return fmt.Sprintf("%d/%d", n, b.longest.Load()+1)
}

func newProxy(t *testing.T, seed uint64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, rng: rand.New(rand.NewPCG(seed, 7)), conns: map[net.Conn]struct{}{}}
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

// to says where the server is from now on.
func (p *proxy) to(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = strings.TrimPrefix(url, "http://")
}

// keep remembers a connection, to close it at the end.
func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
	}
	p.conns[c] = struct{}{}
}

func (p *proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// cutConn is a connection that breaks when so many bytes went through it.
type cutConn struct {
	net.Conn
	left   int64  // negative: it never breaks
	begin  func() // called before the first byte
	passed atomic.Int64
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.begin != nil && c.passed.Load() == 0 {
		c.begin()
	}
	whole := len(b)
	if c.left >= 0 && int64(whole) > c.left-c.passed.Load() {
		b = b[:c.left-c.passed.Load()]
	}
	n, err := c.Conn.Write(b)
	c.passed.Add(int64(n))
	if err == nil && n < whole {
		err = io.ErrClosedPipe
	}
	return n, err
}

// serve passes one connection on, with the fault that is its lot.
func (p *proxy) serve(client net.Conn) {
	p.keep(client)
	defer p.drop(client)
	p.mu.Lock()
	target, lot, status := p.target, p.rng.IntN(100), 500+p.rng.IntN(5)
	p.mu.Unlock()
	refuse := sync.OnceFunc(func() {
		p.errors5xx.Add(1)
		fmt.Fprintf(client, "HTTP/1.1 %d Fault\r\nConnection: close\r\nContent-Length: 6\r\n\r\nfault\n", status)
	})
	up, down := &cutConn{left: -1}, &cutConn{Conn: client, left: -1}
	silent := false
	switch {
	case lot < 20:
		p.cuts.Add(1)
		up.left = p.requests.place()
	case lot < 40:
		p.cuts.Add(1)
		down.left = p.answers.place()
	case lot < 44: // the server never hears of it
		_, _ = client.Read(make([]byte, 4096))
		refuse()
		return
	case lot < 48: // the server does, and its answer is lost
		silent = true
		defer refuse()
	case lot < 50:
		p.stalls.Add(1)
		silent = true
		defer func() { _, _ = io.Copy(io.Discard, client) }() // until the client has waited enough
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		refuse() // it is being started again
		return
	}
	p.keep(server)
	defer p.drop(server)
	up.Conn = server
	if silent {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.Copy(up, client)
		}()
		_, _ = server.Read(make([]byte, 4096)) // so it was answered
		_ = client.SetReadDeadline(time.Now())
		<-sent
		_ = client.SetReadDeadline(time.Time{})
		return
	}
	// A connection may be used for several requests: the first is there when its answer begins.
	var first atomic.Int64
	down.begin = func() { first.Store(up.passed.Load()) }
	both := make(chan struct{}, 2)
	pass := func(to io.Writer, from net.Conn) {
		_, _ = io.Copy(to, from)
		both <- struct{}{}
	}
	go pass(up, client)
	go pass(down, server)
	<-both // whichever side ends or is cut, ends both
	client.Close()
	server.Close()
	<-both
	if one := first.Load(); one > 0 && one == up.passed.Load() && up.left < 0 && down.left < 0 {
		p.requests.saw(one)
		p.answers.saw(down.passed.Load())
	}
}
