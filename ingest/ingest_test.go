package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/text/encoding/charmap"

	"wend/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write makes a file and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// transcript writes what was read: one line an event, then rejects, then notes.
func transcript(r *Reader, batches []*event.Batch) string {
	var b strings.Builder
	for _, batch := range batches {
		for i := range batch.Len() {
			e := batch.At(i)
			fmt.Fprintf(&b, "%s %s %s", e.Customer, e.Time, e.Name)
			if e.Channel != "" {
				fmt.Fprintf(&b, " @%s", e.Channel)
			}
			if e.ID != "" {
				fmt.Fprintf(&b, " #%s", e.ID)
			}
			for _, p := range e.Props {
				fmt.Fprintf(&b, " %s=%s:%s", p.Name, p.Value.Type(), p.Value)
			}
			b.WriteByte('\n')
		}
	}
	for _, reject := range r.Rejects() {
		reject.File = filepath.Base(reject.File)
		fmt.Fprintf(&b, "! %s\n", reject)
	}
	for _, n := range r.Notes() {
		fmt.Fprintf(&b, "note %s\n", filepath.Base(n))
	}
	return b.String()
}

// reads checks what becomes of a file.
func reads(t *testing.T, opt Options, name, content, want string) {
	t.Helper()
	r, batches := readAll(t, opt, write(t, name, content))
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), transcript(r, batches)); diff != "" {
		t.Errorf("%q (-want +got):\n%s", content, diff)
	}
}

func TestCSV(t *testing.T) {
	// The usual names are found, all else is a property, an empty field is none.
	reads(t, Options{}, "a.csv", "User ID,timestamp,action,source,amount,note\nann,2025-03-01T10:00:00Z,view,web,12.5,\nbob,2025-03-01 11:00:00,buy,,3,\"a, b\"\n", `
ann 2025-03-01T10:00:00Z view @web amount=float:12.5
bob 2025-03-01T11:00:00Z buy amount=float:3 note=string:a, b
`)
	// A byte-order mark, Windows line ends, no line end after the last row.
	reads(t, Options{}, "a.csv", "\ufeffcustomer,time,event,n\r\nann,2025-03-01,view,1\r\nbob,2025-03-02,buy,-2", `
ann 2025-03-01T00:00:00Z view n=integer:1
bob 2025-03-02T00:00:00Z buy n=integer:-2
`)
	// A line end, a doubled quote and a delimiter within quotes; blank lines.
	reads(t, Options{}, "a.csv", "customer,time,event,note\n\nann,2025-03-01,view,\"one\ntwo, \"\"three\"\"\"\n\r\nbob,2025-03-02,buy,6\" nail\n", `
ann 2025-03-01T00:00:00Z view note=string:one
two, "three"
bob 2025-03-02T00:00:00Z buy note=string:6" nail
`)
	// Semicolons are found out, decimals follow a comma, dots group thousands.
	reads(t, Options{DecimalComma: true}, "a.csv", "customer;time;event;value\nann;01.03.2025 10:00;buy;1.234,5\nbob;1.3.2025;buy;0,5\n", `
ann 2025-03-01T10:00:00Z buy value=float:1234.5
bob 2025-03-01T00:00:00Z buy value=float:0.5
`)
	reads(t, Options{}, "a.txt", "sep=|\r\ncustomer|time|event\r\na,b|2025-03-01|view\r\n", `
a,b 2025-03-01T00:00:00Z view
`)
	reads(t, Options{}, "a.tsv", "customer\ttime\tevent\nann, jr\t2025-03-01\tview\n", `
ann, jr 2025-03-01T00:00:00Z view
`)
	// Any other delimiter, here one of several bytes.
	reads(t, Options{Delimiter: '¦'}, "a.csv", "customer¦time¦event¦x\nann¦2025-03-01¦view¦\"1¦2\"\n", `
ann 2025-03-01T00:00:00Z view x=string:1¦2
`)
	// Rows that cannot be used are rejected alone, by line and column.
	reads(t, Options{}, "a.csv", "customer,time,event,x\n,2025-03-01,view,1\nann,yesterday,view,1\n\"ann\",2025-03-01,\"vi\new\",1\nann,2025-03-01,,1\nann,2025-03-01,view\nann,2025-03-01,view,1,2\nann,\"2025-03-01\"x,view,1\nann,99999-01-01,view,1\nann,2025-03-01,a\xffb,1\ncustomer,time,event,x\nbob,2025-03-01,view,2\n", `
ann 2025-03-01T00:00:00Z vi
ew x=integer:1
bob 2025-03-01T00:00:00Z view x=integer:2
! a.csv:2: customer: there is no customer
! a.csv:3: time: expected a time, got "yesterday"
! a.csv:6: event: there is no event
! a.csv:7: the row has 3 fields, the header 4
! a.csv:8: the row has 5 fields, the header 4
! a.csv:9: text follows a closing quote; a quote inside a quoted field is written twice
! a.csv:10: time: expected a time, got "99999-01-01"
! a.csv:11: event: the text is not UTF-8: "a\xffb"; --encoding names another one
! a.csv:12: the header stands here again
`)
	// A quote that is never closed costs its own line only.
	reads(t, Options{}, "a.csv", "customer,time,event,x\nann,2025-03-01,view,1\nann,2025-03-02,\"view,1\nbob,2025-03-03,view,2\n", `
ann 2025-03-01T00:00:00Z view x=integer:1
bob 2025-03-03T00:00:00Z view x=integer:2
! a.csv:3: a quote is opened in column 3 and not closed
`)
	reads(t, Options{}, "a.csv", "", "note a.csv is empty\n")
	reads(t, Options{}, "a.csv", "\ufeff\r\n\r\n", "note a.csv is empty\n")
	reads(t, Options{}, "a.csv", "customer,time,event\n", "note a.csv has a header and no rows\n")
	reads(t, Options{}, "a.csv", "customer,time,event", "note a.csv has a header and no rows\n")
	// Columns without a name, with an event's name for something else, twice.
	reads(t, Options{Map: map[string]string{"event": "what"}}, "a.csv", ",customer,time,what,event,x,x\n1,ann,2025-03-01,view,E,5,6\n", `
ann 2025-03-01T00:00:00Z view column_1=integer:1 event_=string:E x=integer:5 x_2=integer:6
note a.csv: column 1, "", becomes the property column_1
note a.csv: column 5, "event", becomes the property event_
note a.csv: column 7, "x", becomes the property x_2
`)
	// Constants stand for fields and properties; what they replace keeps its column.
	reads(t, Options{Set: map[string]string{"channel": "store", "event": "purchase", "time": "2025-03-01 12:00", "country": "DE"}}, "a.csv", "customer,amount,id\nann,5,x1\n", `
ann 2025-03-01T12:00:00Z purchase @store #x1 amount=integer:5 country=string:DE
`)
}

func TestMappingMistakes(t *testing.T) {
	f := func(opt Options, content, want string) {
		t.Helper()
		_, err := Open(t.Context(), []string{write(t, "a.csv", content)}, nil, opt)
		var mistake *MappingError
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want a mapping error with %q", err, want)
		}
	}
	const good = "customer,time,event\nann,2025-03-01,view\n"
	f(Options{}, "a,time,event\n", "no column is recognised as customer; name one with --map customer=COLUMN or give all rows one with --set customer=VALUE; its columns are a, time, event")
	f(Options{}, "wer,wann,was\n", "no column is recognised as customer, time or event; name them with --map customer=COLUMN,time=COLUMN,event=COLUMN or give all rows one with --set customer=VALUE; its columns are wer, wann, was")
	f(Options{Map: map[string]string{"customer": "user"}}, good, `there is no column "user" for customer`)
	f(Options{Map: map[string]string{"user": "customer"}}, good, `there is no field "user" to map`)
	f(Options{Map: map[string]string{"time": "time"}, Set: map[string]string{"time": "2025-01-01"}}, good, "both mapped to a column and set")
	f(Options{Set: map[string]string{"time": "noon"}}, good, `time is set to "noon", which is not a time`)
	f(Options{TimeFormat: "DD.MM.YYYY"}, good, "does not say where year, month and day stand")
	f(Options{Encoding: "klingon"}, good, `encoding "klingon" is not known`)
	f(Options{OnError: "ignore"}, good, "skip or stop")
	f(Options{Format: "xml"}, good, `format "xml" is not known`)
	f(Options{Delimiter: '"'}, good, "cannot be a delimiter")
	f(Options{Types: map[string]event.Type{"zip": event.StringType}, Known: map[string]event.Type{"zip": event.IntegerType}}, good, `property "zip" is of type integer in the store`)
	f(Options{Types: map[string]event.Type{"time": event.StringType}}, good, "time is a field of every event")
	f(Options{}, "customer,ti\xe4me,event\n", "the header is not UTF-8")
	f(Options{}, "customer\x00,time,event\n", "zero bytes")
	f(Options{}, strings.Repeat("n", 129)+",customer,time,event\n", "longer than 128 bytes")
	if _, err := Open(t.Context(), []string{filepath.Join(t.TempDir(), "none.csv")}, nil, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestNDJSON(t *testing.T) {
	reads(t, Options{}, "a.ndjson", `{"customer":"ann","time":"2025-03-01T10:00:00.5Z","event":"view","channel":"web","id":7,"n":9223372036854775807,"ok":true,"none":null}
{"time":1740823200000,"customer":12,"event":"buy","cart":{"total":9.5,"items":["a",{"b":1}],"deep":{"er":"x"}},"n":-1,"when":"2025-03-01"}

{"customer":"ü\u00fc\ud83d\ude00","time":1740823200,"event":"a\"b","n":null,"empty":{},"id":null}
`, `
ann 2025-03-01T10:00:00.5Z view @web #7 n=integer:9223372036854775807 ok=boolean:true
12 2025-03-01T10:00:00Z buy cart.deep.er=string:x cart.items=string:["a",{"b":1}] cart.total=float:9.5 n=integer:-1 when=time:2025-03-01T00:00:00Z
üü😀 2025-03-01T10:00:00Z a"b
`)
	// A property that is a number here and a text there is a text everywhere.
	reads(t, Options{}, "a.jsonl", `{"customer":"a","time":1,"event":"e","p":1}
{"customer":"a","time":2,"event":"e","p":"x"}
{"customer":"a","time":3,"event":"e","p":true}
`, `
a 1970-01-01T00:00:01Z e p=string:1
a 1970-01-01T00:00:02Z e p=string:x
a 1970-01-01T00:00:03Z e p=string:true
`)
	reads(t, Options{Map: map[string]string{"customer": "user.id", "event": "type"}}, "a.ndjson", `{"user":{"id":"u1"},"time":1,"type":"view","event":"click","a.b":1}
{"user":{"id":true},"time":1,"type":"view"}
{"user":{"id":"u1","id":"u2"},"time":1,"type":"view"}
{"user":{"id":"u1"},"time":1,"type":"view","a.b":1,"a":{"b":2}}
{"user":{"id":"u1"},"time":1,"type":"view","a":[{"b":1,"b":1}]}
{"user":{"id":"u1"},"time":1,"type":"view","a":NaN}
{"user":{"id":"u1"},"time":1,"type":"view","a":01}
{"user":{"id":"u1"},"time":1,"type":"view"
[1]
{"user":{"id":"u1"},"time":1,"type":"view"} {}
{"user":{"id":"u`+"\xff"+`1"},"time":1,"type":"view"}
{"time":1,"type":"view"}
{"user":{"id":"u\ud8001"},"time":1,"type":"view"}
{"user":{"id":"u1"},"time":1,"type":"view","a":["\udc00\ud800"]}
`, `
u1 1970-01-01T00:00:01Z view a.b=integer:1 event_=string:click
! a.ndjson:2: user.id: expected a string, got true
! a.ndjson:3: the key "id" stands twice in one object
! a.ndjson:4: a.b: the property "a.b" has two values
! a.ndjson:5: the key "b" stands twice in one object
! a.ndjson:6: expected a value, got "NaN}" at byte 48
! a.ndjson:7: expected a comma or }, got "1}" at byte 49
! a.ndjson:8: the JSON text ends where a comma or } is expected
! a.ndjson:9: expected a JSON object, got an array
! a.ndjson:10: text follows the JSON object: "{}"
! a.ndjson:11: the line is not UTF-8; --encoding names another one
! a.ndjson:12: user.id: there is no customer
! a.ndjson:13: a string is not UTF-8: half of a surrogate pair, \ud800, at byte 17
! a.ndjson:14: a string is not UTF-8: half of a surrogate pair, \udc00, at byte 50
`)
	_, err := Open(t.Context(), []string{write(t, "a.json", "[{}]")}, nil, Options{})
	if err == nil || !strings.Contains(err.Error(), "one JSON array") {
		t.Errorf("a file that is one array: %v", err)
	}
}

// manyRows writes a CSV whose column x has value(i) in row i.
func manyRows(n int, value func(i int) string) string {
	var b strings.Builder
	b.WriteString("customer,time,event,x\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,%d,e,%s\n", i%100, i, value(i))
	}
	return b.String()
}

// stream reads a text that can be read only once.
func stream(t *testing.T, opt Options, content string) (*Reader, []*event.Batch) {
	t.Helper()
	r, err := Open(t.Context(), []string{"-"}, io.MultiReader(strings.NewReader(content)), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, drain(t, r)
}

func packed(t *testing.T, content string, writer func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := writer(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompression(t *testing.T) {
	const content = "customer,time,event\nann,1,view\n"
	const want = "ann 1970-01-01T00:00:01Z view\n"
	toGzip := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	toZstd := func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	gz, zst := packed(t, content, toGzip), packed(t, content, toZstd)
	reads(t, Options{}, "a.csv.gz", gz, want)
	reads(t, Options{}, "a.csv", gz, want) // the content tells, not the name
	reads(t, Options{}, "a.csv.zst", zst, want)
	reads(t, Options{}, "a.csv.gz", gz+gz[:0]+packed(t, "bob,2,view\n", toGzip), want+"bob 1970-01-01T00:00:02Z view\n")

	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, m := range []struct{ name, content string }{
		{"data/1.csv", content}, {"data/", ""}, {"readme.pdf", "%PDF"}, {"__MACOSX/1.csv", "x"}, {"2.ndjson.gz", packed(t, `{"customer":"bob","time":2,"event":"buy"}`, toGzip)},
	} {
		w, err := z.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, m.content)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	reads(t, Options{}, "a.zip", archive.String(), want+"bob 1970-01-01T00:00:02Z buy\nnote a.zip: readme.pdf was left out: its name does not end like a table's (csv, tsv, txt, ndjson, jsonl)\n")
	none := "PK\x05\x06" + strings.Repeat("\x00", 18)
	for what, open := range map[string]func() (*Reader, error){
		"an archive on standard input":   func() (*Reader, error) { return Open(t.Context(), []string{"-"}, &archive, Options{}) },
		"an empty one on standard input": func() (*Reader, error) { return Open(t.Context(), []string{"-"}, strings.NewReader(none), Options{}) },
		"an empty archive": func() (*Reader, error) {
			return Open(t.Context(), []string{write(t, "none.zip", none)}, nil, Options{})
		},
		"a folder":                            func() (*Reader, error) { return Open(t.Context(), []string{t.TempDir()}, nil, Options{}) },
		"standard input, where there is none": func() (*Reader, error) { return Open(t.Context(), []string{"-"}, nil, Options{}) },
	} {
		var source *SourceError
		if _, err := open(); !errors.As(err, &source) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r, batches := stream(t, Options{}, gz)
	if got := transcript(r, batches); got != want {
		t.Errorf("a compressed stream gives %q", got)
	}

	// A file that was cut off is an error that says so, not a shorter file.
	for name, wrap := range map[string]func(io.Writer) io.WriteCloser{"a.csv.gz": toGzip, "a.csv.zst": toZstd} {
		long := packed(t, manyRows(50_000, func(i int) string { return fmt.Sprint(i * i) }), wrap)
		for _, length := range []int{7, 100, len(long) - 100} {
			r, err := Open(t.Context(), []string{write(t, name, long[:length])}, nil, Options{})
			for err == nil {
				_, err = r.Next(context.Background())
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "the file is cut off") {
				t.Errorf("%s, cut off after %d bytes: %v", name, length, err)
			}
			if r != nil {
				r.Close()
			}
		}
	}
}

func TestEncodings(t *testing.T) {
	const content = "customer,time,event,preis\nJürgen,1,Größe,5 €\n"
	const want = "Jürgen 1970-01-01T00:00:01Z Größe preis=string:5 €\n"
	windows, err := charmap.Windows1252.NewEncoder().String(content)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, Options{Encoding: "windows-1252"}, "a.csv", windows, want)
	reads(t, Options{}, "a.csv", windows, "! a.csv:2: customer: the text is not UTF-8: \"J\\xfcrgen\"; --encoding names another one\n")
	utf16 := "\xff\xfe"
	for _, r := range content {
		utf16 += string([]byte{byte(r), byte(r >> 8)})
	}
	reads(t, Options{}, "a.csv", utf16, want)
}

func TestLargeFieldsAndManyColumns(t *testing.T) {
	large := strings.Repeat("x\"\"\n", 256<<10) // 1 MiB, quoted
	var header, row strings.Builder
	for i := range 500 {
		fmt.Fprintf(&header, ",c%d", i)
		fmt.Fprintf(&row, ",%d", i)
	}
	r, batches := readAll(t, Options{}, write(t, "a.csv", "customer,time,event"+header.String()+",big\nann,1,e"+row.String()+",\""+large+"\"\nbob,2,e"+row.String()+",small\n"))
	if r.Stats().Rejected != 0 || len(batches) != 1 {
		t.Fatalf("rejects %v", r.Rejects())
	}
	e := batches[0].At(0)
	if len(e.Props) != 501 || e.Prop("c499") != event.Integer(499) || e.Prop("big").Text() != strings.ReplaceAll(large, `""`, `"`) {
		t.Errorf("the event has %d properties, c499 %v", len(e.Props), e.Prop("c499"))
	}
	if e = batches[0].At(1); e.Prop("big").Text() != "small" {
		t.Errorf("the row after it is %v", e)
	}
	var j strings.Builder
	j.WriteString(`{"customer":"ann","time":1,"event":"e"`)
	for i := range 500 {
		fmt.Fprintf(&j, `,"c%d":%d`, i, i)
	}
	fmt.Fprintf(&j, `,"big":"%s"}`+"\n", strings.Repeat("y", 1<<20))
	r, batches = readAll(t, Options{}, write(t, "a.ndjson", j.String()))
	if e := batches[0].At(0); len(e.Props) != 501 || len(e.Prop("big").Text()) != 1<<20 {
		t.Errorf("the JSON event has %d properties; %v", len(e.Props), r.Rejects())
	}
}

func TestRecordWithoutEnd(t *testing.T) {
	// More than a record may have: the line is rejected, what follows is read.
	content := "customer,time,event\nann,1,\"view\n" + strings.Repeat("bob,2,view\n", 2_000_000)
	r, _ := readAll(t, Options{RejectsKept: 2}, write(t, "a.csv", content))
	if s := r.Stats(); s.Events != 2_000_000 || s.Rejected != 1 || !strings.Contains(r.Rejects()[0].Reason, "16 MiB") {
		t.Errorf("%d events, %d rejected: %v", s.Events, s.Rejected, r.Rejects())
	}
}

func TestAFileNamedTwiceIsReadOnce(t *testing.T) {
	path := write(t, "a.csv", "customer,time,event\nann,1,view\n")
	r, batches := readAll(t, Options{}, path, filepath.Dir(path)+"/./a.csv")
	if got, want := transcript(r, batches), "ann 1970-01-01T00:00:01Z view\nnote a.csv is named twice and read once\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIdsUsedAsKeys(t *testing.T) {
	var b strings.Builder
	for i := range propertiesMax + 1 {
		fmt.Fprintf(&b, "{\"customer\":\"a\",\"time\":1,\"event\":\"e\",\"k%d\":1}\n", i)
	}
	r, err := Open(t.Context(), []string{write(t, "a.ndjson", b.String())}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var mistake *MappingError
	if _, err := r.Next(context.Background()); !errors.As(err, &mistake) || !strings.Contains(err.Error(), "4096 different properties") {
		t.Errorf("the error is %v", err)
	}
}

// A header of too many columns is refused before anything is made of them.
func TestHeaderOfManyColumns(t *testing.T) {
	header := func(more int) string {
		var b strings.Builder
		b.WriteString("customer,time,event")
		for i := range more {
			fmt.Fprintf(&b, ",c%d", i)
		}
		return write(t, fmt.Sprintf("%d.csv", more), b.String()+"\nann,1,view"+strings.Repeat(",", more)+"\n")
	}
	if _, batches := readAll(t, Options{}, header(propertiesMax)); len(batches) != 1 {
		t.Errorf("of a file of %d properties there are %d batches", propertiesMax, len(batches))
	}
	for _, more := range []int{propertiesMax + 1, propertiesMax + 10, 1_000_000} {
		path := header(more)
		var err error
		allocs := testing.AllocsPerRun(1, func() { _, err = Open(t.Context(), []string{path}, nil, Options{}) })
		var mistake *MappingError
		if want := fmt.Sprintf("the header has %d columns, and a file may have at most 4096", more+3); !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
		if allocs > 10*propertiesMax {
			t.Errorf("%d columns took %.0f allocations", more, allocs)
		}
	}
}

// TestLongLineOfManyFields: a line costs what it is long, not its square.
func TestLongLineOfManyFields(t *testing.T) {
	line := strings.Repeat(",", 4<<20)
	r, _ := readAll(t, Options{}, write(t, "a.csv", "customer,time,event\nann,1,\"view\""+line+"\nbob,2,view\n"))
	if s := r.Stats(); s.Events != 1 || s.Rejected != 1 {
		t.Errorf("%d events, %d rejected", s.Events, s.Rejected)
	}
}

func TestOnErrorStop(t *testing.T) {
	r, err := Open(t.Context(), []string{write(t, "a.csv", "customer,time,event\nann,1,view\nann,x,view\n")}, nil, Options{OnError: "stop"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = r.Next(context.Background())
	var reject *RejectError
	if !errors.As(err, &reject) || reject.Reject.Line != 3 || reject.Reject.Column != "time" {
		t.Errorf("the error is %v", err)
	}
}

func TestRejectsAreCountedAll(t *testing.T) {
	r, _ := readAll(t, Options{RejectsKept: 3, pieceBytes: 1 << 12, heldBytes: 1 << 12}, write(t, "a.csv", "customer,time,event\n"+strings.Repeat(",1,view\n", 5000)))
	if len(r.Rejects()) != 3 || r.Stats().Rejected != 5000 || r.Rejects()[2].Line != 4 {
		t.Errorf("%d of %d: %v", len(r.Rejects()), r.Stats().Rejected, r.Rejects())
	}
}

func TestPreviewReadsAllAndKeepsTheFirst(t *testing.T) {
	r, err := Open(t.Context(), []string{write(t, "a.csv", "customer,time,event\nann,1,view\nbob,2,view\nann,x,view\n")}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, err := r.Preview(context.Background(), 1)
	if err != nil || len(first) != 1 || first[0].Customer != "ann" {
		t.Errorf("the first events are %v (%v)", first, err)
	}
	if s := r.Stats(); s.Events != 2 || s.Rejected != 1 {
		t.Errorf("%d events, %d rejected", s.Events, s.Rejected)
	}
}

func TestReadingCanBeLeft(t *testing.T) {
	path := write(t, "a.csv", manyRows(200_000, func(i int) string { return "x" }))
	r, err := Open(t.Context(), []string{path}, nil, Options{pieceBytes: 1 << 14, heldBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := r.Next(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = r.Next(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}
	if err := r.Close(); err != nil { // goleak looks for what is left running
		t.Error(err)
	}
}

func TestProgressReachesTheEnd(t *testing.T) {
	path := write(t, "a.csv", manyRows(100_000, func(i int) string { return fmt.Sprint(i) }))
	var last Progress
	r, _ := readAll(t, Options{pieceBytes: 1 << 16, heldBytes: 1 << 16, Progress: func(p Progress) {
		if p.Bytes < last.Bytes || p.Rows < last.Rows || p.Bytes > p.Total {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}}, path)
	if last.Rows != 100_000 || r.Stats().Bytes == 0 {
		t.Errorf("the last was %+v", last)
	}
}

func TestTimezone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	reads(t, Options{Timezone: berlin, TimeFormat: "02/01/06 15:04"}, "a.csv", "customer,time,event,day\nann,31/12/24 23:30,e,2025-03-01\n", `
ann 2024-12-31T22:30:00Z e day=time:2025-02-28T23:00:00Z
`)
}

func TestMappingIsToldInWords(t *testing.T) {
	r, _ := readAll(t, Options{Set: map[string]string{"channel": "store"}}, write(t, "a.csv", "User Id,ts,event,x,y\nann,1,view,1,\n"))
	if got, want := r.Mappings()[0].String(), "customer = User Id (recognised), time = ts (recognised), event = event, channel = 'store'; properties x integer, y"; got != want {
		t.Errorf("got %s", got)
	}
	r, _ = readAll(t, Options{}, write(t, "a.ndjson", `{"user":"ann","time":1,"event":"view","a":{"b":1.5}}`))
	if got, want := r.Mappings()[0].String(), "customer = user (recognised), time = time, event = event; properties a.b float"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestWriterWritesWhatReaderReads: what was exported comes back as it was.
func TestWriterWritesWhatReaderReads(t *testing.T) {
	at, _ := (&clock{zone: time.UTC}).mapped("2025-03-01T10:00:00.000001Z")
	events := []event.Event{
		{Customer: "ann, \"a\"", Time: at, Name: "view\nmore", Channel: "web", ID: "x", Props: []event.Prop{{Name: "a b", Value: event.String("tab\t<\u2028>")}, {Name: "f", Value: event.Float(0.1)}, {Name: "i", Value: event.Integer(-1 << 50)}, {Name: "ok", Value: event.Boolean(false)}, {Name: "when", Value: event.Instant(at)}}},
		{Customer: "bób", Time: -1, Name: "buy", Props: []event.Prop{{Name: "f", Value: event.Float(1e-300)}}},
	}
	for _, format := range []string{"csv", "ndjson"} {
		var b bytes.Buffer
		w, err := NewWriter(&b, format, []event.Property{{Name: "a b", Type: event.StringType}, {Name: "f", Type: event.FloatType}, {Name: "i", Type: event.IntegerType}, {Name: "ok", Type: event.BooleanType}, {Name: "when", Type: event.TimeType}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		_, batches := readAll(t, Options{}, write(t, "a."+format, b.String()))
		for i, want := range events {
			if diff := cmp.Diff(want, batches[0].At(i), cmp.AllowUnexported(event.Value{})); diff != "" {
				t.Errorf("%s, event %d (-written +read):\n%s", format, i, diff)
			}
		}
	}
}

// Whoever waits for a stream can stop: for its first bytes, and for a pipe that
// nobody writes to.
func TestOpenEndsWithItsContext(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	silent, in := io.Pipe()
	defer in.Close()
	for _, path := range []string{"-", pipe} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err := Open(ctx, []string{path}, silent, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that whoever still opens it for reading comes to an end
	if err == nil {
		writer.Close()
	}
	// A file is not looked at when it is too late.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, []string{write(t, "a.csv", "customer,time,event\n")}, nil, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a file: %v", err)
	}
}

// A survey that looks only at the columns whose types are open sees what one
// that takes lines apart sees.
func TestSurveyOfLines(t *testing.T) {
	words := []string{"", "", "1", "-2.5", "true", "2025-01-01", "x y", "007", "é", "\r", " 3", "user", " user"}
	r := rand.New(rand.NewPCG(1, 2))
	for _, header := range []string{"user,time,event,a", "user,a,time,b,event,c,d", "a,user,time,event"} {
		for round := range 300 {
			var text strings.Builder
			for range r.IntN(8) {
				switch r.IntN(9) {
				case 0:
					text.WriteString(header)
				case 1: // a blank line
				default:
					fields := make([]string, max(1, strings.Count(header, ",")+1-r.IntN(5)/4))
					for i := range fields {
						fields[i] = words[r.IntN(len(words))]
					}
					text.WriteString(strings.Join(fields, ","))
				}
				text.WriteString([]string{"\n", "\r\n", "\n\n"}[r.IntN(3)])
			}
			reader, err := Open(t.Context(), []string{"-"}, strings.NewReader(header+"\n"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := reader.parts[0]
			data := piece{data: []byte(strings.TrimSuffix(text.String(), "\n")), line: 2}
			var seen [2]string
			for i, max := range []int64{-1, math.MaxInt64} {
				s := newSurvey(p.layout)
				newWorker(reader.reading, typing{}, p, 0).survey(data, s, max)
				seen[i] = fmt.Sprint(s.rows, s.seen)
			}
			if seen[0] != seen[1] {
				t.Fatalf("header %s, round %d: %q: columns alone show %s, lines %s", header, round, data.data, seen[0], seen[1])
			}
			reader.Close()
		}
	}
}
