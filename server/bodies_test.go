package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"wend/ingest"
	"wend/internal/trust"
	"wend/storage"
)

// A small body must not become a large one, whatever it is made of.
func TestDecompressionBombs(t *testing.T) {
	s := open(t, Options{})
	const oneLink = `{"from": "a", "to": "b"}`
	blank := strings.Repeat(" ", 1<<20)
	// Rows that nobody sent, and names that are new in each eighth event.
	var table strings.Builder
	table.WriteString(strings.Repeat("\n", eventsPerBatch-1000))
	for i := range 8 * 62 {
		table.WriteString(`{"customer":"a","time":1,"event":"e"`)
		for p := range 256 {
			fmt.Fprintf(&table, `,"%x":""`, i/8*256+p)
		}
		table.WriteString("}\n")
	}
	bombs := []struct {
		call, name, body string
		status           int
		code             string
		header           []string
	}{
		{"events", "gzip, 1 to 1000", gzipped(t, strings.Repeat(blank, 16)), 413, "too_large", nil},
		{"events", "gzip of many members", strings.Repeat(gzipped(t, blank), 16), 413, "too_large", nil},
		{"events", "zstd", zstdOf(t, strings.Repeat(blank, 16)), 413, "too_large", nil},
		{"events", "zstd of many frames", strings.Repeat(zstdOf(t, blank), 16), 413, "too_large", nil},
		// A frame whose header asks for a window of 2 GiB.
		{"events", "zstd window", "\x28\xb5\x2f\xfd\x00\xa8" + strings.Repeat("\x00", 32), 413, "too_large", nil},
		// One that says how long its content is: 2 GiB.
		{"events", "zstd content", "\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x80" + strings.Repeat("\x00", 32), 413, "too_large", nil},
		{"events", "plain", strings.Repeat(" ", bodyWireMax+1), 413, "too_large", nil},
		// Five bytes that ask for 4 GiB: snappy is not spoken.
		{"events", "snappy", "\xff\xff\xff\xff\x0f", 415, "bad_encoding", []string{"Content-Encoding", "snappy"}},
		{"events", "garbage after gzip", gzipped(t, twoEvents) + "trailing garbage", 400, "bad_events", []string{"Content-Encoding", "gzip"}},
		{"events", "garbage after zstd", zstdOf(t, twoEvents) + "trailing garbage", 400, "bad_events", []string{"Content-Encoding", "zstd"}},
		{"events", "gzip cut short", gzipped(t, twoEvents)[:40], 400, "bad_events", []string{"Content-Encoding", "gzip"}},
		{"events", "gzip in gzip", gzipped(t, gzipped(t, strings.Repeat(blank, 16))), 200, "", nil},                // is read once, and is no event then
		{"events?strict=1", "names that are new in each eighth event", table.String(), 400, "rejected_event", nil}, // too many of them
		{"links", "zstd window", "\x28\xb5\x2f\xfd\x00\xa8" + strings.Repeat("\x00", 32), 413, "too_large", nil},
		{"links", "zstd", zstdOf(t, strings.Repeat(blank, 16)), 413, "too_large", nil},
		{"links", "no zstd", "not zstd", 400, "bad_link", []string{"Content-Encoding", "zstd"}},
		{"links", "garbage after zstd", zstdOf(t, oneLink) + "trailing garbage", 400, "bad_link", nil},
		{"links", "gzip cut short", gzipped(t, oneLink)[:20], 400, "bad_link", nil},
		{"links", "numbers for links", "[" + strings.Repeat("1,", bodyWireMax/2-2) + "1]", 400, "bad_link", nil},
		{"links", "links", "[" + strings.Repeat(`{"from":"a","to":"b"},`, linksAtOnce) + `{"from":"a","to":"b"}]`, 413, "too_many_links", nil},
	}
	for _, b := range bombs {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := s.do("POST", "/v1/"+b.call, b.body, b.header...)
		runtime.ReadMemStats(&after)
		if b.status == 200 {
			if r.StatusCode != 200 || !strings.Contains(r.body, `"accepted":0`) {
				t.Errorf("%s: %s %s", b.name, r.Status, r.body)
			}
		} else {
			r.refused(t, b.status, b.code)
		}
		if after.HeapSys > before.HeapSys && after.HeapSys-before.HeapSys > 2*bodyDecodedMax {
			t.Errorf("%s: the heap grew by %d bytes", b.name, after.HeapSys-before.HeapSys)
		}
	}
	if rows := s.ask("measure events"); rows[0][0] != 0.0 {
		t.Errorf("they left %v events", rows[0][0])
	}
	if log := s.log.String(); log != "" {
		t.Errorf("what clients are refused is logged: %.300s", log)
	}
	trust.Report(t, "S6", "bombs", len(bombs))

	// What is stored must not stay as large as its table, either: 80 MB of a small body.
	table.Reset()
	for i := range 500 {
		table.WriteString(`{"customer":"a","time":1,"event":"e"`)
		for p := range 20 {
			fmt.Fprintf(&table, `,"%x":""`, (20*i+p)%9900)
		}
		table.WriteString("}\n")
	}
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for i := range 6 {
		if r := s.do("POST", "/v1/events", table.String()); r.StatusCode != 200 || !strings.Contains(r.body, `"accepted":500`) {
			t.Fatalf("a wide batch: %s %.200s", r.Status, r.body)
		}
		if after := live(); after > before+300<<20 {
			t.Errorf("%d batches of %d bytes keep %d bytes", i+1, table.Len(), after-before)
		}
	}
}

// The limits of a body, each from below, at it, and above.
func TestLimitsOfABody(t *testing.T) {
	s := open(t, Options{})
	const one = `{"customer":"a","time":1,"event":"e"}` + "\n"
	padded := func(n int) string { return strings.Repeat(" ", n-len(one)) + one }
	f := func(what, body string, want int) {
		t.Helper()
		if r := s.do("POST", "/v1/events", body); r.StatusCode != want {
			t.Errorf("%s: %s %.200s", what, r.Status, r.body)
		}
	}
	f("wire n-1", padded(bodyWireMax-1), 200)
	f("wire n", padded(bodyWireMax), 200)
	f("wire n+1", padded(bodyWireMax+1), 413)
	f("ratio under the first MiB", gzipped(t, padded(ingest.RequestRatioFree)), 200)
	f("ratio above it", gzipped(t, padded(4*ingest.RequestRatioFree)), 413)
}

// Framing that lies about a body's length.
func TestLengthsOfBodies(t *testing.T) {
	s := open(t, Options{})
	head := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
	const noChunk = "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
	line := `{"customer":"a","time":1,"event":"e"}`
	f := func(what, request string, want int) {
		t.Helper()
		if got := statusOf(t, s, head+request); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	f("chunked", "Transfer-Encoding: chunked\r\n\r\n"+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(line), line), 200)
	f("chunked and a length", fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(line), len(line), line), 200) // the chunks count
	f("no number", "Content-Length: many\r\n\r\n"+line, 400)
	f("negative", "Content-Length: -1\r\n\r\n"+line, 400)
	f("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"+line, 400)
	f("another coding", "Transfer-Encoding: gzip\r\n\r\n"+line, 501)
	f("a chunk that is none", noChunk+line, 400)
	f("a length that ends in an event", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(line)-1, line), 200) // rejected by itself
	f("header above 32 KiB", "X-Long: "+strings.Repeat("x", headerBytesMax+8<<10)+"\r\n\r\n", 431)
	f("header below", "Content-Length: 0\r\nX-Long: "+strings.Repeat("x", headerBytesMax-1<<10)+"\r\n\r\n", 200)
	if rows := s.ask("measure events"); rows[0][0] != 2.0 {
		t.Errorf("%v events were stored, want those of the two whole bodies", rows[0][0])
	}
	for _, call := range []string{"query", "check", "sync", "links", "erase"} {
		if got := statusOf(t, s, "POST /v1/"+call+" HTTP/1.1\r\nHost: localhost\r\n"+noChunk); got != 400 {
			t.Errorf("a chunk that is none, to %s: %d, want 400", call, got)
		}
	}
}

// All bodies together hold no more than their pool, and give it back.
func TestBodiesShareAPool(t *testing.T) {
	s := open(t, Options{})
	others := &pooledReader{pool: s.server.bodies}
	if err := others.reserve(bodiesMax - 2*poolPiece); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat(" ", 2*poolPiece) + twoEvents
	s.do("POST", "/v1/events", large).refused(t, 503, "ingest_busy")
	r := s.do("POST", "/v1/links", "["+large+"]")
	if r.refused(t, 503, "ingest_busy"); r.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", r.Header.Get("Retry-After"))
	}
	var odd strings.Builder // a table of them is a hundred times as large
	for i := range 60 {
		odd.WriteString(`{"customer":"a","time":1,"event":"e"`)
		for p := range 200 {
			fmt.Fprintf(&odd, `,"%d":1`, i*200+p)
		}
		odd.WriteString("}\n")
	}
	s.do("POST", "/v1/events", odd.String()).refused(t, 503, "ingest_busy")
	if r := s.do("POST", "/v1/events", twoEvents); r.StatusCode != 200 {
		t.Errorf("a small body beside them: %s %s", r.Status, r.body)
	}
	others.Close()
	if r := s.do("POST", "/v1/events", large); r.StatusCode != 200 {
		t.Errorf("after they went: %s %s", r.Status, r.body)
	}
	eventually(t, "everything is given back", func() bool { return s.server.bodies.unused() == bodiesMax })
}

func (b *bodies) unused() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left
}

// Where no memory is left, a body that its client does not go on with goes for
// another; one that the server has whole, and one that arrives fast, stay.
func TestSlowBodiesGoForOthers(t *testing.T) {
	s := longAnswers(t)
	others := &pooledReader{pool: s.server.bodies}
	if err := others.reserve(bodiesMax - 8*poolPiece); err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	large := strings.Repeat(" ", 5*poolPiece)
	c := s.sent(t, fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(large)+len(twoEvents), large))
	eventually(t, "the server waits for its last line", func() bool { return s.server.bodies.unused() == 2*poolPiece })
	s.do("POST", "/v1/events", large+twoEvents).refused(t, 503, "ingest_busy")
	eventually(t, "the slow body goes for another", func() bool { // once the server waits for the rest of it
		s.clock.Add(int64(answerGrace + 2*time.Second))
		return s.do("POST", "/v1/events", large+twoEvents).StatusCode == 200
	})
	answer, err := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("the slow client is told %q, %v", answer, err)
	}
	if r := s.do("POST", "/v1/query", "measure events", "Content-Type", "text/plain"); !strings.Contains(r.body, "20001") {
		t.Errorf("the event of one body was to be stored beside the 20,000: %s", r.body)
	}
	eventually(t, "everything is given back", func() bool { return s.server.bodies.unused() == 8*poolPiece })
}

// The slowest bodies go, as many as are needed; none where all of them do not make
// room enough.
func TestSlowBodiesGoForSomething(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBodies(10, answerGrace)
	waits := func(held int64) *pooledReader {
		t.Helper()
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		p := &pooledReader{pool: b, conn: &conn{Conn: near, crowd: &crowd{now: func() time.Time { return now }}}}
		if err := p.reserve(3); err != nil {
			t.Fatal(err)
		}
		p.body = io.NopCloser(near)
		p.settle(held)
		p.conn.enter(sending)
		p.conn.waits()
		now = now.Add(time.Minute)
		return p
	}
	nothing, slowest, slow := waits(0), waits(3), waits(3)
	f := func(bytes int64, want error, gone ...bool) {
		t.Helper()
		p := &pooledReader{pool: b}
		defer p.Close()
		if err := p.reserve(bytes); err != want {
			t.Errorf("%d bytes: %v, want %v", bytes, err, want)
		}
		if got := []bool{nothing.gone, slowest.gone, slow.gone}; !slices.Equal(got, gone) {
			t.Errorf("for %d bytes went %v, want %v", bytes, got, gone)
		}
	}
	f(11, errBodies, false, false, false)
	f(4, nil, false, false, false)
	f(7, nil, false, true, false)
	f(8, nil, false, true, true)
}

// What a batch's answer lists is held until the client has taken it, and no longer
// than others can wait; the body itself is not.
func TestAnswersOfBatchesUnread(t *testing.T) {
	s := longAnswers(t)
	others := &pooledReader{pool: s.server.bodies}
	if err := others.reserve(bodiesMax - 32*poolPiece); err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	const lines = 50_000
	large := strings.Repeat("{}\n", lines) + strings.Repeat(" ", 5*poolPiece)
	c := s.unread(t, fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
	if held := 32*poolPiece - s.server.bodies.unused(); held != lines*rejectionBytes {
		t.Errorf("%d bytes are held for the answer, want %d", held, lines*rejectionBytes)
	}
	more := &pooledReader{pool: s.server.bodies}
	defer more.Close()
	if err := more.reserve(30 * poolPiece); !errors.Is(err, errBodies) {
		t.Errorf("the answer goes for others at once: %v", err)
	}
	eventually(t, "the slow answer goes for others", func() bool { // once the server waits for its client
		s.clock.Add(int64(20 * time.Second))
		return more.reserve(30*poolPiece) == nil
	})
	if n, err := io.Copy(io.Discard, c); n > 1<<20 {
		t.Errorf("%d bytes of the answer came; %v", n, err)
	}
}

// The window that a zstd body asks for is taken from the memory of bodies.
func TestWindowsTakeMemoryOfBodies(t *testing.T) {
	s := New(open(t, Options{}).db, Options{})
	f := func(what, start string, window int64) {
		t.Helper()
		before := s.bodies.unused()
		r := httptest.NewRequest("POST", "/v1/events", strings.NewReader(start))
		r.Header.Set("Content-Encoding", "zstd")
		in, err := s.decompressed(r)
		if err != nil {
			t.Fatal(err)
		}
		if took := before - s.bodies.unused(); took != window+zstdBlocks {
			t.Errorf("%s takes %d bytes, want %d and %d", what, took, window, zstdBlocks)
		}
		in.Close()
		if s.bodies.unused() != before {
			t.Errorf("%s keeps something", what)
		}
	}
	const magic = "\x28\xb5\x2f\xfd"
	f("a window of 8 MiB", magic+"\x00\x68", 8<<20)
	f("one of 1 KiB", magic+"\x00\x00", 1<<10)
	f("one beyond the limit", magic+"\x00\x80", windowMax)
	f("a single segment of 300 bytes", magic+"\x60\x2c\x00", 1<<10)
	f("one of 65,792 bytes", magic+"\x60\x00\xff", 65_536)
	f("a frame that is skipped", "\x50\x2a\x4d\x18\x00\x00\x00\x00", 1<<10)
	f("no zstd", "what", 1<<10)
	f("a long body", magic+"\x00\x00"+strings.Repeat(" ", framesMax), windowMax)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	small, large := enc.EncodeAll([]byte(twoEvents), nil), enc.EncodeAll([]byte(strings.Repeat(" ", 50_000)), nil)
	f("a small frame, one that is skipped, and a large one", string(small)+"\x50\x2a\x4d\x18\x02\x00\x00\x00ab"+string(large), 50_000)
	others := &pooledReader{pool: s.bodies}
	if err := others.reserve(bodiesMax - 8<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := s.decompressed(httptest.NewRequest("POST", "/v1/events", strings.NewReader(magic+"\x00\x68"))); !errors.Is(err, errBodies) {
		t.Errorf("a window for which there is no memory: %v", err)
	}
}

// The limits of an event, each from below, at it, and above, as they are told
// to who sends it. What is above is not stored.
func TestLimitsOfAnEvent(t *testing.T) {
	s := open(t, Options{})
	tried, violations := 0, 0
	f := func(what, event string, want bool) {
		t.Helper()
		tried++
		var ack eventsAnswer
		s.do("POST", "/v1/events", event).decode(t, &ack)
		if (ack.Accepted == 1) != want || ack.Accepted+int64(len(ack.Rejected)) != 1 {
			violations++
			t.Errorf("%s: %+v", what, ack)
		}
	}
	n := 0
	event := func(more string) string {
		n++
		return fmt.Sprintf(`{"customer":"c","time":%d,"event":"e"%s}`, 1_700_000_000+n, more)
	}
	bytesOf := func(size int) string {
		e := event(`,"t":""`)
		return strings.Replace(e, `"t":""`, `"t":"`+strings.Repeat("x", size-len(e))+`"`, 1)
	}
	f("bytes n-1", bytesOf(64<<10-1), true)
	f("bytes n", bytesOf(64<<10), true)
	f("bytes n+1", bytesOf(64<<10+1), false)
	properties := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `,"p%d":1`, i)
		}
		return event(b.String())
	}
	f("properties n-1", properties(255), true)
	f("properties n", properties(256), true)
	f("properties n+1", properties(257), false)
	for what, more := range map[string]string{"property": `,"%s":1`, "channel": `,"channel":"%s"`} {
		f(what+"'s name n-1", event(fmt.Sprintf(more, strings.Repeat("x", 127))), true)
		f(what+"'s name n", event(fmt.Sprintf(more, strings.Repeat("x", 128))), true)
		f(what+"'s name n+1", event(fmt.Sprintf(more, strings.Repeat("x", 129))), false)
	}
	f("flattened name n", event(`,"`+strings.Repeat("x", 63)+`":{"`+strings.Repeat("y", 64)+`":1}`), true)
	f("flattened name n+1", event(`,"`+strings.Repeat("x", 64)+`":{"`+strings.Repeat("y", 64)+`":1}`), false)
	f("event's name n", strings.Replace(event(""), `"e"`, `"`+strings.Repeat("x", 128)+`"`, 1), true)
	f("event's name n+1", strings.Replace(event(""), `"e"`, `"`+strings.Repeat("x", 129)+`"`, 1), false)
	nested := func(depth int) string { // the event itself is the first level
		return event(`,"d":` + strings.Repeat(`{"d":`, depth-1) + "1" + strings.Repeat("}", depth-1))
	}
	f("depth n-1", nested(15), true)
	f("depth n", nested(16), true)
	f("depth n+1", nested(17), false)
	f("depth of arrays n+1", event(`,"d":`+strings.Repeat("[", 16)+strings.Repeat("]", 16)), false)
	f("brackets without end", event(`,"d":`+strings.Repeat("[", 60_000)), false)
	f("not UTF-8", event(",\"t\":\"\xff\""), false)
	f("half a character, escaped", event(`,"t":"\ud800"`), false)
	f("a zero byte, escaped", event(`,"t":"\u0000"`), true)
	f("a zero byte", event(",\"t\":\"\x00\""), false)
	f("NaN", event(`,"x":NaN`), false)
	f("infinity", event(`,"x":Infinity`), false)
	f("too large for a float", event(`,"x":1e309`), false)
	f("the largest float", event(`,"x":1.7976931348623157e308`), true)
	f("a number of 70 digits", event(`,"x":1`+strings.Repeat("0", 69)), true)
	f("a key twice", event(`,"x":1,"x":2`), false)
	f("a key twice, inside", event(`,"o":{"x":1,"x":2}`), false)
	f("a key twice, in an array", event(`,"o":[{"x":1,"x":2}]`), false)
	f("a key twice, once escaped", event(`,"x":1,"\u0078":2`), false)
	f("a name twice, once nested", event(`,"a":{"b":1},"a.b":2`), false)
	f("a field twice", event(`,"customer":"d"`), false)
	line := `{"customer":"c","time":1,"event":"e","id":"%d"}` + "\n"
	many := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for count, want := range map[int]int{eventsPerBatch - 1: 200, eventsPerBatch: 200, eventsPerBatch + 1: 413} {
		tried++
		if r := s.do("POST", "/v1/events", many(count)); r.StatusCode != want {
			violations++
			t.Errorf("%d events: %s %.200s", count, r.Status, r.body)
		}
	}
	trust.Report(t, "S7", "boundaries", tried, "violations", violations)
}

// The token of a batch is kept for days: it is short.
func TestBatchTokens(t *testing.T) {
	s := open(t, Options{})
	if r := s.do("POST", "/v1/events", twoEvents, "X-Batch-Token", strings.Repeat("x", storage.TokenMax)); r.StatusCode != 200 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	s.do("POST", "/v1/events", twoEvents, "X-Batch-Token", strings.Repeat("x", storage.TokenMax+1)).refused(t, 400, "bad_batch_token")
	s.do("POST", "/v1/events", twoEvents, "X-Batch-Token", "caf\xe9").refused(t, 400, "bad_batch_token")
	// The answer is the first one, whatever comes under the token later.
	mixed := `{"customer":"a","event":"view","time":"soon"}` + "\n" + twoEvents + `{"customer":"","event":"view","time":1}` + "\n"
	var bad strings.Builder
	for i := range 300 {
		fmt.Fprintf(&bad, `{"customer":"a","event":"view","time":"day %d"}`+"\n", i)
	}
	for token, c := range map[string]struct {
		body string
		want []string
	}{
		"mixed": {mixed, []string{`"duplicates":2`, `{"index":0,"reason":"time: expected a time, got \"soon\""}`, `{"index":3,`}},
		"bad":   {bad.String(), []string{`"accepted":0`, `got \"day 255\""`, `{"index":256,"reason":"it cannot be stored either; only 256 different reasons`, `{"index":299,`}},
	} {
		first := s.do("POST", "/v1/events", c.body, "X-Batch-Token", token)
		for _, want := range c.want {
			if !strings.Contains(first.body, want) {
				t.Errorf("%s: no %s in %s %.300s", token, want, first.Status, first.body)
			}
		}
		if again := s.do("POST", "/v1/events", twoEvents, "X-Batch-Token", token); again.body != first.body {
			t.Errorf("%s, sent again: %.300s", token, again.body)
		}
	}
}

// A body that does not go on is told so, wherever it stops: clients send it again.
func TestBodiesThatStop(t *testing.T) {
	s := New(open(t, Options{}).db, Options{})
	for _, call := range []string{"events", "links", "query"} {
		for encoding, begin := range map[string]string{"": "{", "gzip": gzipped(t, twoEvents)[:5], "zstd": zstdOf(t, twoEvents)[:5]} {
			r := httptest.NewRequest("POST", "http://localhost/v1/"+call, io.MultiReader(strings.NewReader(begin), iotest.ErrReader(os.ErrDeadlineExceeded)))
			r.Header.Set("Content-Encoding", encoding)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			reply{w.Result(), w.Body.String()}.refused(t, 408, "body_timeout")
		}
	}
}

// A body below the least rate ends, although it never stops.
func TestSlowBodiesEnd(t *testing.T) {
	b := &pacedBody{began: time.Unix(0, 0)}
	f := func(read int64, after, want time.Duration) {
		t.Helper()
		b.read = read
		if got := b.due(b.began.Add(after)).Sub(b.began); got != want {
			t.Errorf("%s after its beginning a body of %d bytes so far has until %s, want %s", after, read, got, want)
		}
	}
	f(0, 0, bodyGrace)
	f(0, 9*time.Second, bodyGrace)
	f(10<<10, 0, bodyGrace+10*time.Second) // 1 KiB a second, after the grace
	f(10<<10, 15*time.Second, bodyGrace+10*time.Second)
	f(1<<20, 20*time.Second, 20*time.Second+stallTimeout) // fast so far: only a long break ends it
}
