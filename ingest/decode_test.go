package ingest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wend/event"
)

var received = func() event.Time {
	c, _ := newClock(nil, "")
	t, _ := c.mapped("2025-03-01T12:00:00Z")
	return t
}()

// decodes checks what is made of a body: events by their index, then rejections.
func decodes(t *testing.T, opt JSONOptions, body, want string) {
	t.Helper()
	if opt.Received == 0 {
		opt.Received = received
	}
	d, err := DecodeJSON(strings.NewReader(body), opt)
	if err != nil {
		t.Errorf("%.200s: %v", body, err)
		return
	}
	var b strings.Builder
	for i := range d.Batch.Len() {
		e := d.Batch.At(i)
		fmt.Fprintf(&b, "%d %s %s %s", d.Index[i], e.Customer, e.Time, e.Name)
		if e.Channel != "" {
			fmt.Fprintf(&b, " @%s", e.Channel)
		}
		if e.ID != "" {
			fmt.Fprintf(&b, " #%s", e.ID)
		}
		for _, p := range e.Props {
			fmt.Fprintf(&b, " %s=%s:%.20s", p.Name, p.Value.Type(), p.Value)
		}
		b.WriteByte('\n')
	}
	for _, r := range d.Rejected {
		fmt.Fprintf(&b, "%d! %s\n", r.Index, r.Reason)
	}
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), b.String()); diff != "" {
		t.Errorf("%.300s (-want +got):\n%s", body, diff)
	}
}

func TestDecodeJSON(t *testing.T) {
	decodes(t, JSONOptions{}, `{"customer":"c1","time":"2025-03-01T10:00:00Z","event":"purchase","channel":"store","id":"x","value":19.9,"cart":{"n":2,"codes":["a"]},"none":null}
{"customer":2,"time":1740823200,"event":"view","note":"2025-01-01"}
`, `
0 c1 2025-03-01T10:00:00Z purchase @store #x cart.codes=string:["a"] cart.n=integer:2 value=float:19.9
1 2 2025-03-01T10:00:00Z view note=string:2025-01-01
`)
	// An array; each event at fault is rejected alone.
	decodes(t, JSONOptions{}, ` [ {"customer":"a","time":1,"event":"e","x":1}, {"customer":"a","time":1}, 7, {"customer":"a","time":1,"event":"e","x":"t]"},
 {"customer":"a","time":1,"event":"e","x":2.5}, {"customer":"a","time":1,"event":"e","x":}, {"time":1,"event":"e"},
 {"customer":"a","event":"e"}, {"customer":"a","time":true,"event":"e"}, {"customer":["a"],"time":1,"event":"e"}, {"customer":"a","time":"noon","event":"e"}, {"customer":"a","customer":"b","time":1,"event":"e"} ] `, `
0 a 1970-01-01T00:00:01Z e x=float:1
4 a 1970-01-01T00:00:01Z e x=float:2.5
1! there is no event
2! expected a JSON object, got "7"
3! x: expected an integer, got "t]"
5! expected a value, got "}" at byte 42
6! there is no customer
7! there is no time
8! time: expected a string, got true
9! customer: expected a string, got an array
10! time: expected a time, got "noon"
11! the key "customer" stands twice in one object
`)
	decodes(t, JSONOptions{}, "[]", "")
	decodes(t, JSONOptions{}, "\n \n", "")
	decodes(t, JSONOptions{}, "{\n \"customer\": \"a\",\n \"time\": 1, \"event\": \"e\"\n}\n", "0 a 1970-01-01T00:00:01Z e\n")
	decodes(t, JSONOptions{}, `{"customer":"a","time":1,"event":"e"}{"customer":"a","time":1,"event":"e"}`, "0! two objects stand on one line; curl keeps line ends with --data-binary\n")
	decodes(t, JSONOptions{}, "{\"customer\":\"\xff\",\"time\":1,\"event\":\"e\"}", "0! the event is not UTF-8\n")
	// The sender's clock was an hour slow: what it called 10:00 was 11:00.
	decodes(t, JSONOptions{}, `{"customer":"a","time":"2025-03-01T10:00:00Z","sent_at":"2025-03-01T11:00:00Z","event":"e"}`, "0 a 2025-03-01T11:00:00Z e\n")
	decodes(t, JSONOptions{SentAt: true}, `{"customer":"a","time":"2025-03-01T10:00:00Z","sent_at":7,"event":"e"}`, "0 a 2025-03-01T10:00:00Z e sent_at=integer:7\n")
	// A profile holds from its arrival.
	decodes(t, JSONOptions{}, `{"customer":"a","event":"profile","tier":"gold"}`, "0 a 2025-03-01T12:00:00Z profile tier=string:gold\n")
	decodes(t, JSONOptions{}, `{"customer":"a","time":"2025-03-03T12:00:00Z","event":"e"}
{"customer":"a","time":"2025-03-03T12:00:00.000001Z","event":"e"}`, `
0 a 2025-03-03T12:00:00Z e
1! time: 2025-03-03T12:00:00.000001Z lies more than 48 hours ahead
`)
	// The store's types hold.
	decodes(t, JSONOptions{Known: map[string]event.Type{"t": event.TimeType, "f": event.FloatType, "i": event.IntegerType, "s": event.StringType}},
		`{"customer":"a","time":1,"event":"e","t":"2025-01-01","f":1,"i":2,"s":"x"}
{"customer":"a","time":1,"event":"e","i":2.5}
{"customer":"a","time":1,"event":"e","t":"noon"}
{"customer":"a","time":1,"event":"e","s":1}
{"customer":"a","time":1,"event":"e","f":1e999}`, `
0 a 1970-01-01T00:00:01Z e f=float:1 i=float:2 s=string:x t=time:2025-01-01T00:00:00Z
1 a 1970-01-01T00:00:01Z e i=float:2.5
2! t: expected a time, got "noon"
3! s: expected a string, got the number 1
4! f: the number "1e999" is too large
`)
	// An event that is rejected decides no types.
	decodes(t, JSONOptions{}, `{"customer":"a","event":"e","x":"text"}
{"customer":"a","time":1,"event":"e","x":1}`, "1 a 1970-01-01T00:00:01Z e x=integer:1\n0! there is no time\n")
	for _, cut := range []string{`[{"customer":"a"`, `[`, `[{},`, `[{"a":"]}`, `[] []`, `[{"customer":"a","time":1,"event":"x"}}{"customer":"b","time":1,"event":"x"}]`} {
		if d, err := DecodeJSON(strings.NewReader(cut), JSONOptions{}); err == nil {
			t.Errorf("%s is read as %d events", cut, d.Total)
		}
	}
}

// TestSentLimits tries each limit at its last good size and one above.
func TestSentLimits(t *testing.T) {
	f := func(name string, good bool, body string) {
		t.Helper()
		d, err := DecodeJSON(strings.NewReader(body), JSONOptions{Received: received})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if (d.Batch.Len() == 1) != good || d.Total != 1 {
			t.Errorf("%s: taken %d of %d, want %v; %v", name, d.Batch.Len(), d.Total, good, d.Rejected)
		}
	}
	const base = `{"customer":"a","time":1,"event":"e"`
	for _, over := range []int{0, 1} {
		good := over == 0
		text := base + `,"x":"`
		f("64 KiB an event", good, text+strings.Repeat("x", 64<<10-len(text)-2+over)+`"}`)
		var b strings.Builder
		for i := range 256 + over {
			fmt.Fprintf(&b, `,"p%d":1`, i)
		}
		f("256 properties", good, base+`,"sent_at":null,"channel":"c","id":"i"`+b.String()+"}")
		name := strings.Repeat("n", 128+over)
		f("a property's name", good, base+`,"`+name+`":1}`)
		f("a nested name", good, base+`,"n":{"`+name[2:]+`":1}}`)
		f("an event's name", good, `{"customer":"a","time":1,"event":"`+name+`"}`)
		f("a channel's name", good, base+`,"channel":"`+name+`"}`)
		f("a customer", good, `{"time":1,"event":"e","customer":"`+strings.Repeat("c", 4096+over)+`"}`)
		f("depth", good, base+`,"x":`+strings.Repeat("[", 15+over)+strings.Repeat("]", 15+over)+"}")
		f("depth of objects", good, base+`,`+strings.Repeat(`"x":{`, 15+over)+`"y":1`+strings.Repeat("}", 15+over)+"}")
	}
	events := strings.Repeat(base+"}\n", 50_000)
	if d, err := DecodeJSON(strings.NewReader(events), JSONOptions{}); err != nil || d.Batch.Len() != 50_000 {
		t.Errorf("50,000 events: %v", err)
	}
	// Events of a few bytes that each have properties of their own: a table of
	// them would take gigabytes. Those that find no room are named.
	var odd strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&odd, base+",\"p%d\":1,\"q%d\":2}\n", i, i)
	}
	d, err := DecodeJSON(strings.NewReader(odd.String()), JSONOptions{})
	if err != nil || d.Batch.Len() != 1732 || len(d.Batch.Columns) != 3464 || len(d.Rejected) != 8268 || !strings.Contains(d.Rejected[0].Reason, "too many different properties") {
		t.Errorf("properties of their own: %d rows, %d columns, %d rejected, %v", d.Batch.Len(), len(d.Batch.Columns), len(d.Rejected), err)
	}
	// Memory beyond that of the text is asked for, and none is taken for rows
	// that are blank lines.
	blank := strings.Repeat("\n", 40_000)
	var groups strings.Builder // eight events each, which have names of their own
	for i := range 40 * 8 {
		groups.WriteString(base)
		for p := range 100 {
			fmt.Fprintf(&groups, `,"%d":1`, i/8*100+p)
		}
		groups.WriteString("}\n")
	}
	for _, body := range []string{groups.String(), blank + groups.String()} {
		reserved := int64(0)
		took := allocated(func() {
			opt := JSONOptions{Reserve: func(bytes int64) error { reserved += bytes; return nil }}
			if d, err := DecodeJSON(strings.NewReader(body), opt); err != nil || d.Batch.Len() != 320 || len(d.Batch.Columns) != 4000 {
				t.Errorf("names of eight events each: %v", err)
			}
		})
		if reserved < 10<<20 || took > 3*reserved {
			t.Errorf("names of eight events each: %d bytes were asked for, %d taken", reserved, took)
		}
	}
	full := errors.New("full")
	if _, err := DecodeJSON(strings.NewReader(groups.String()), JSONOptions{Reserve: func(int64) error { return full }}); err != full {
		t.Errorf("without memory: %v", err)
	}
	if _, err := DecodeJSON(strings.NewReader(events), JSONOptions{Reserve: func(int64) error { return full }}); err != nil {
		t.Errorf("without memory, events that are alike: %v", err)
	}
	var many *TooManyError
	if _, err := DecodeJSON(strings.NewReader(events+base+"}"), JSONOptions{}); !errors.As(err, &many) || many.Max != 50_000 {
		t.Errorf("50,001 events: %v", err)
	}
}

// allocated is how many bytes a function allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// A batch may stay in memory for long. What it was sent in may not.
func TestDecodedBatchesLetGoOfWhatWasSent(t *testing.T) {
	const batches, length = 32, 1 << 20
	body := `{"customer": "ann", "id": "7", "event": "view", "channel": "web", "time": 1735689600000, "page": "/home"}` +
		strings.Repeat(" ", length) + "\n"
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var held []*event.Batch
	for range batches {
		d, err := DecodeJSON(strings.NewReader(body), JSONOptions{EventBytesMax: 2 * length})
		if err != nil || d.Batch.Len() != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		held = append(held, d.Batch)
	}
	if grown := heap() - before; grown > batches*length/4 {
		t.Errorf("%d batches of an event hold %d bytes", batches, grown)
	}
	runtime.KeepAlive(held)
}
