package server

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"wend/ingest"
)

// decompressed returns the request's body as it was before Content-Encoding,
// by its header or its first bytes, and bounded: more than bodyDecodedMax bytes
// are errBodyTooLarge whatever the compressed size.
func (s *Server) decompressed(r *http.Request) (*pooledReader, error) {
	sent := &cappedReader{r: r.Body, left: bodyWireMax}
	wire := bufio.NewReaderSize(sent, framesMax)
	magic, _ := wire.Peek(4)
	body := io.NopCloser(io.Reader(wire))
	p := &pooledReader{pool: s.bodies, conn: connBehind(r)}
	switch encoding := r.Header.Get("Content-Encoding"); {
	case encoding == "gzip" || encoding == "" && len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(wire)
		if err != nil {
			return nil, bodyError(err, "bad_encoding", "")
		}
		body = z
	case encoding == "zstd" || encoding == "" && len(magic) == 4 && string(magic) == "\x28\xb5\x2f\xfd":
		window := windowOf(wire, r.ContentLength)
		if err := p.reserve(window + zstdBlocks); err != nil {
			return nil, err
		}
		z, err := zstd.NewReader(wire, zstd.WithDecoderMaxMemory(bodyDecodedMax), zstd.WithDecoderMaxWindow(windowMax), zstd.WithDecoderConcurrency(1))
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

// framesMax is the size up to which all frames of a zstd body are looked at.
const framesMax = 16 << 10

// windowOf is the largest window that the frames of a zstd body ask for: of a
// short one, of which all can be looked at, and windowMax of others.
func windowOf(wire *bufio.Reader, length int64) int64 {
	if length < 0 || length > framesMax {
		return windowMax
	}
	frames, _ := wire.Peek(int(length)) // what is missing, or no zstd, the reader finds
	window := uint64(zstd.MinWindowSize)
	for {
		var h zstd.Header
		rest, err := h.DecodeAndStrip(frames)
		switch {
		case err != nil:
			return int64(min(window, windowMax))
		case h.Skippable:
			frames = rest[min(int(h.SkippableSize), len(rest)):]
			continue
		case h.SingleSegment:
			window = max(window, h.FrameContentSize)
		default:
			window = max(window, h.WindowSize)
		}
		frames = afterBlocks(rest, h.HasCheckSum)
	}
}

// afterBlocks skips the blocks of a zstd frame (RFC 8878, 3.1.1.2), and its checksum.
func afterBlocks(b []byte, checksum bool) []byte {
	const header, runLength = 3, 1
	for len(b) >= header {
		bits := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		size := int(bits >> 3)
		if bits>>1&3 == runLength {
			size = 1
		}
		b = b[min(header+size, len(b)):]
		if bits&1 == 0 {
			continue
		}
		if checksum {
			b = b[min(4, len(b)):]
		}
		return b
	}
	return nil
}

// errBodies says that the memory of bodies is taken.
var errBodies = errors.New("no memory is left for bodies")

// bodies is the memory that all bodies share, which are held decoded, and what
// their answers list. Where too little is left, a body goes whose client has kept
// the server waiting for the rest of it, or to take the answer, the slowest first,
// if that went at less than rateBusy. Those that the server works on, and those
// that arrive fast, stay; so do all where those that may go hold too little.
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
	if !b.room(p, bytes) {
		return errBodies
	}
	b.left -= bytes
	p.held += bytes
	b.open[p] = true
	return nil
}

// room makes room for a body: the slowest others go until there is enough, or none
// if all that may go hold too little. The caller holds mu.
func (b *bodies) room(p *pooledReader, bytes int64) bool {
	if b.left >= bytes {
		return true
	}
	late, most := map[*pooledReader]time.Duration{}, b.left
	for x := range b.open {
		if by := max(x.conn.late(sending, rateBusy), x.conn.late(answering, rateBusy)); by > b.grace && x != p && x.held > 0 {
			late[x] = by
			most += x.held
		}
	}
	if most < bytes {
		return false
	}
	for _, out := range slices.SortedFunc(maps.Keys(late), func(x, y *pooledReader) int { return cmp.Compare(late[y], late[x]) }) {
		out.gone = true
		out.conn.cut()
		if b.giveBack(out); b.left >= bytes {
			break
		}
	}
	return true
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

// settle ends the reading, and gives back all but some bytes, which are held until
// Close.
func (p *pooledReader) settle(bytes int64) {
	p.body.Close()
	p.r, p.body = nil, nil
	p.pool.mu.Lock()
	defer p.pool.mu.Unlock()
	if bytes = min(bytes, p.held); !p.gone {
		p.pool.left += p.held - bytes
		p.held = bytes
	}
}

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

// errBodyTooLarge tells the limits of a body that may be compressed.
var errBodyTooLarge = fmt.Errorf("%w: more than %d MiB as sent, or decompressed than %d MiB or %d times its size", errTooLarge, bodyWireMax>>20, bodyDecodedMax>>20, ingest.RequestRatio)

// bodyError tells what is wrong with a body that could not be read. Where nothing
// but the body is to blame, that is a mistake with the given code.
func bodyError(err error, code, hint string) error {
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return errBodyTooLarge
	case errors.Is(err, errTooLarge), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errBodies):
		return err
	}
	return badRequest(code, "the body cannot be read: "+err.Error(), hint)
}

// windowMax is the memory that a zstd body may ask for: what the levels up to
// 19 use. A larger one is refused before it is reserved.
const windowMax = 8 << 20

// zstdBlocks is what a zstd body takes beside its window: a block as it was sent,
// its literals, and what becomes of it.
const zstdBlocks = 512 << 10

// cappedReader fails with errBodyTooLarge where io.LimitReader would end quietly,
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
		return 0, errBodyTooLarge
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	c.read += int64(n)
	if c.left < 0 || c.sent != nil && c.read > ingest.RequestRatioFree && c.read > ingest.RequestRatio*c.sent.read {
		return n, errBodyTooLarge
	}
	return n, err
}
