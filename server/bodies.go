package server

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"wend/ingest"
)

// decompressed returns the request's body as it was before Content-Encoding,
// by its header or its first bytes, and bounded: more than bodyDecodedMax bytes
// are errTooLarge whatever the compressed size.
func (s *Server) decompressed(r *http.Request) (*pooledReader, error) {
	sent := &cappedReader{r: r.Body, left: bodyWireMax}
	wire := bufio.NewReader(sent)
	magic, _ := wire.Peek(4)
	body := io.NopCloser(io.Reader(wire))
	p := &pooledReader{pool: s.bodies, conn: connBehind(r)}
	switch encoding := r.Header.Get("Content-Encoding"); {
	case encoding == "gzip" || encoding == "" && len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(wire)
		if err != nil {
			return nil, badRequest("bad_encoding", "the body is not gzip: "+err.Error(), "")
		}
		body = z
	case encoding == "zstd" || encoding == "" && len(magic) == 4 && string(magic) == "\x28\xb5\x2f\xfd":
		window := windowOf(wire)
		if err := p.reserve(window + zstdBlocks); err != nil {
			return nil, err
		}
		z, err := zstd.NewReader(wire, zstd.WithDecoderMaxMemory(bodyDecodedMax), zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderConcurrency(1))
		if err != nil {
			p.Close()
			return nil, badRequest("bad_encoding", "the body is not zstd: "+err.Error(), "")
		}
		body = z.IOReadCloser()
	case encoding != "" && encoding != "identity":
		return nil, &apiError{Status: http.StatusUnsupportedMediaType, Code: "bad_encoding", Message: "content encoding " + encoding + " is not known", Hint: "send gzip, zstd or none"}
	}
	p.r, p.body = &cappedReader{r: body, left: bodyDecodedMax, sent: sent}, body
	return p, nil
}

// windowOf is the memory that a zstd body's first frame asks for, at most
// windowMax. A later frame may not ask for more.
func windowOf(wire *bufio.Reader) int64 {
	start, _ := wire.Peek(zstd.HeaderMaxSize)
	var h zstd.Header
	if err := h.Decode(start); err != nil { // as the reader will say
		return zstd.MinWindowSize
	}
	size := h.WindowSize
	switch {
	case h.Skippable: // what follows is not known
		size = windowMax
	case h.SingleSegment:
		size = h.FrameContentSize
	}
	return int64(min(max(size, zstd.MinWindowSize), windowMax))
}

// errBodies says that the memory of bodies is taken.
var errBodies = errors.New("no memory is left for bodies")

// bodies is the memory that all bodies share, which are held decoded. Where too
// little is left, a body goes whose client has kept the server waiting for the
// rest of it, the slowest first, if that came at less than rateBusy. Bodies that
// have arrived, and those that arrive fast, stay.
type bodies struct {
	grace time.Duration // so much longer than at rateBusy a client may take

	mu   sync.Mutex
	left int64
	open map[*pooledReader]bool // those that hold something
}

func newBodies(bytes int64, grace time.Duration) *bodies {
	return &bodies{grace: grace, left: bytes, open: map[*pooledReader]bool{}}
}

// take takes memory for a body, or fails with errBodies.
func (b *bodies) take(p *pooledReader, bytes int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.gone {
		return errBodies
	}
	for b.left < bytes {
		out := b.slowest(p)
		if out == nil {
			return errBodies
		}
		out.gone = true
		out.conn.cut()
		b.giveBack(out)
	}
	b.left -= bytes
	p.held += bytes
	b.open[p] = true
	return nil
}

// slowest picks the body that goes for another one, nil if none does. The caller
// holds mu.
func (b *bodies) slowest(other *pooledReader) *pooledReader {
	var out *pooledReader
	worst := b.grace
	for p := range b.open {
		if late := p.conn.late(sending, rateBusy); late > worst && p != other {
			out, worst = p, late
		}
	}
	return out
}

// giveBack gives back what a body holds. The caller holds mu.
func (b *bodies) giveBack(p *pooledReader) {
	b.left += p.held
	p.held = 0
	delete(b.open, p)
}

// pooledReader takes what it is about to hand out from the memory that all
// bodies share, first, and gives it back when it is closed: as long as it is
// open somebody holds what was read.
type pooledReader struct {
	r    io.Reader
	body io.Closer // nil: there is none yet
	pool *bodies
	conn *conn
	room int64 // that may be read before more is taken

	// Guarded by pool.mu.
	held int64
	gone bool // another body has its memory
}

// poolPiece is what is taken at once.
const poolPiece = 256 << 10

// Read fails with errBodies when there is no memory for what it would return.
func (p *pooledReader) Read(b []byte) (int, error) {
	if p.room == 0 {
		if err := p.pool.take(p, poolPiece); err != nil {
			return 0, err
		}
		p.room = poolPiece
	}
	n, err := p.r.Read(b[:min(int64(len(b)), p.room)])
	p.room -= int64(n)
	return n, err
}

// reserve takes bytes for what is made of what was read, until Close.
func (p *pooledReader) reserve(bytes int64) error { return p.pool.take(p, bytes) }

// Close gives everything back.
func (p *pooledReader) Close() error {
	p.pool.mu.Lock()
	p.pool.giveBack(p)
	p.pool.mu.Unlock()
	if p.body == nil {
		return nil
	}
	return p.body.Close()
}

// windowMax is the memory that a zstd body may ask for: what the levels up to
// 19 use. A larger one is refused before it is reserved.
const windowMax = 8 << 20

// zstdBlocks is what a zstd body takes beside its window: a block as it was sent,
// its literals, and what becomes of it.
const zstdBlocks = 512 << 10

// cappedReader fails with errTooLarge where io.LimitReader would end quietly,
// or where it is ingest.RequestRatio times as much as was sent.
type cappedReader struct {
	r    io.Reader
	left int64
	read int64
	sent *cappedReader // what was compressed; nil: no ratio is kept
}

// Read returns what there is within the limits.
func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	c.read += int64(n)
	if c.left < 0 || c.sent != nil && c.read > ingest.RequestRatioFree && c.read > ingest.RequestRatio*c.sent.read {
		return n, errTooLarge
	}
	return n, err
}
