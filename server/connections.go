package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Slow clients. A connection that makes no headway costs the server nothing
// but its place among connectionsMax; what it may not do is keep others out.
const (
	bodyGrace   = 10 * time.Second // before a body is held to rateMin
	rateMin     = 1 << 10          // bytes a second
	rateFair    = 16 << 10         // bytes a second that keep a connection its place when others want one
	keepGrace   = time.Second / 10 // a connection keeps its place for so long after an answer
	writePieces = 64 << 10         // an answer goes out in these, each of which renews the time to take it
)

// crowd is a listener with at most max open connections. A newcomer takes the
// place of the connection that has kept the server waiting longest; only
// where all of them wait for the server, or keep up, is it turned away. If
// newcomers had to wait instead, as many slow clients would keep all others out.
type crowd struct {
	net.Listener
	max   int
	now   func() time.Time
	mu    sync.Mutex
	conns map[*conn]bool
}

func newCrowd(l net.Listener, max int) *crowd {
	return &crowd{Listener: l, max: max, now: time.Now, conns: map[*conn]bool{}}
}

// Accept waits for a connection that there is room for, or room is made for.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		nc, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		x := &conn{Conn: nc, crowd: c, since: c.now()}
		c.mu.Lock()
		var out *conn
		full := len(c.conns) >= c.max
		if full {
			out = c.slowest()
			delete(c.conns, out)
		}
		if !full || out != nil {
			c.conns[x] = true
		}
		c.mu.Unlock()
		if full && out == nil {
			nc.Close() // without a word: what it speaks is not known yet
			continue
		}
		if out != nil {
			out.Conn.Close()
		}
		return x, nil
	}
}

// slowest picks the connection that a newcomer may replace, nil if none. The
// caller holds mu.
func (c *crowd) slowest() *conn {
	now := c.now()
	var out *conn
	var worst time.Duration
	for x := range c.conns {
		if owed := x.owes(now); owed > worst {
			out, worst = x, owed
		}
	}
	return out
}

// phase is what a connection is doing.
type phase uint8

const (
	asking    phase = iota // no request yet, or a part of its header
	sending                // the body of a request
	working                // the server has all it needs
	answering              // the client takes the answer
)

// conn is a connection of a crowd.
type conn struct {
	net.Conn
	crowd *crowd
	once  sync.Once

	mu    sync.Mutex
	phase phase
	since time.Time // when the phase began
	moved int64     // bytes in it

	blocked time.Duration // of it, in waiting for the client
	waiting time.Time     // when it began to wait that it waits for now; zero: it does not
	isCut   bool
}

// cut has nothing more be read of the client; one that takes an answer gets no
// more of it. A client that sends is told why.
func (x *conn) cut() {
	x.mu.Lock()
	x.isCut = true
	answers := x.phase == answering
	x.mu.Unlock()
	x.SetReadDeadline(time.Time{})
	if answers {
		x.Close()
	}
}

// SetReadDeadline sets when reading fails, which it does at once after cut.
func (x *conn) SetReadDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isCut {
		t = time.Unix(1, 0)
	}
	return x.Conn.SetReadDeadline(t)
}

// Close makes room for another connection, once however often it is called.
func (x *conn) Close() error {
	x.once.Do(func() {
		x.crowd.mu.Lock()
		delete(x.crowd.conns, x)
		x.crowd.mu.Unlock()
	})
	return x.Conn.Close()
}

// enter begins a phase; a nil conn, of a listener that is none of ours, has none.
func (x *conn) enter(p phase) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase == p && p != asking {
		return
	}
	x.phase, x.since, x.moved, x.blocked = p, x.crowd.now(), 0, 0
	if p == asking {
		x.since = x.since.Add(keepGrace) // it had an answer: it is no stranger
	}
}

// owes says for how long the connection has kept the server waiting, less the
// time that what it moved may take; nothing while it waits for the server.
func (x *conn) owes(now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase == working {
		return 0
	}
	return now.Sub(x.since) - timeAt(x.moved, rateFair)
}

// timeAt is the time that bytes may take at a rate, in bytes a second.
func timeAt(bytes, rate int64) time.Duration {
	return time.Duration(bytes/rate)*time.Second + time.Duration(bytes%rate)*time.Second/time.Duration(rate)
}

// waits notes that the client is to send, or to take, a piece.
func (x *conn) waits() {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting = x.crowd.now()
}

// waited notes that it did, with n bytes.
func (x *conn) waited(n int) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moved += int64(n)
	x.blocked += x.crowd.now().Sub(x.waiting)
	x.waiting = time.Time{}
}

// late says for how much longer the client has kept the server waiting in a phase
// than what moved in it may take at a rate; nothing in another phase.
func (x *conn) late(in phase, rate int64) time.Duration {
	if x == nil {
		return 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase != in {
		return 0
	}
	blocked := x.blocked
	if !x.waiting.IsZero() {
		blocked += x.crowd.now().Sub(x.waiting)
	}
	return blocked - timeAt(x.moved, rate)
}

type connKey struct{}

// connOf finds the connection of a crowd behind one that may be encrypted.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	x, _ := c.(*conn)
	return x
}

// connBehind is the connection that a request came on; nil, which may be asked
// all the same, if the listener is none of ours.
func connBehind(r *http.Request) *conn {
	x, _ := r.Context().Value(connKey{}).(*conn)
	return x
}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connOf(c))
}

func connState(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		connOf(c).enter(asking)
	}
}

// paced stands before everything: it gives a client up that sends its body, or
// takes its answer, too slowly.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := connBehind(r)
		control := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			x.enter(sending)
			body := &pacedBody{ReadCloser: r.Body, control: control, conn: x, began: time.Now()}
			// Also where no handler reads the body: it is read all the same before
			// an answer goes out. Not supported means that there is no connection.
			control.SetReadDeadline(body.due(body.began))
			r.Body = body
		} else {
			x.enter(working)
		}
		next.ServeHTTP(&pacedWriter{ResponseWriter: w, control: control, conn: x}, r)
	})
}

// pacedBody is a body that has to arrive at rateMin, after a grace, without
// long breaks.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	conn    *conn
	began   time.Time
	read    int64
}

// due is when the next piece has to be there.
func (b *pacedBody) due(now time.Time) time.Time {
	due := b.began.Add(bodyGrace + time.Duration(b.read)*time.Second/rateMin)
	if stalled := now.Add(stallTimeout); stalled.Before(due) {
		return stalled
	}
	return due
}

// Read fails when the client sends too slowly for too long.
func (b *pacedBody) Read(p []byte) (int, error) {
	b.control.SetReadDeadline(b.due(time.Now()))
	b.conn.waits()
	n, err := b.ReadCloser.Read(p)
	b.conn.waited(n)
	b.read += int64(n)
	if err == io.EOF {
		// The deadline must not outlive the body: the server goes on reading
		// to learn whether the client is still there.
		b.control.SetReadDeadline(time.Time{})
		b.conn.enter(working)
	}
	return n, err
}

// pacedWriter gives each piece of an answer its own time.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	conn    *conn

	mu    sync.Mutex
	ended bool // pieces are given no more time
}

// Write fails when the client takes nothing for too long.
func (w *pacedWriter) Write(p []byte) (written int, err error) {
	w.conn.enter(answering)
	for {
		piece := p[:min(len(p), writePieces)]
		w.renew()
		w.conn.waits()
		n, err := w.ResponseWriter.Write(piece)
		w.conn.waited(n)
		written += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}

// renew gives the next piece its time.
func (w *pacedWriter) renew() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	}
}

// SetWriteDeadline ends the answer at a time, whatever is still to be written.
func (w *pacedWriter) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	return w.control.SetWriteDeadline(t)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
