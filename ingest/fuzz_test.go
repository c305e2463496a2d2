package ingest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allRecords reads a CSV text in pieces of at least size bytes.
func allRecords(t *testing.T, text, delim string, size int) (records_ [][]string, lines []int64, faults int) {
	t.Helper()
	s := newSplitter(strings.NewReader(text), delim)
	s.size = size
	total := 0
	for {
		p, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.fault != "" {
			faults++
			continue
		}
		total += len(p.data)
		var rec records
		for rec.open(p.data, delim); rec.scan(); {
			if rec.fault != "" {
				faults++
			}
			fields := make([]string, len(rec.fields))
			for i := range fields {
				fields[i] = rec.field(i)
			}
			records_ = append(records_, fields)
			lines = append(lines, p.line+rec.line)
		}
	}
	if faults == 0 && total != len(text) {
		t.Fatalf("the pieces have %d bytes of %d", total, len(text))
	}
	return records_, lines, faults
}

// checkCSV holds our reader against encoding/csv wherever that accepts a text.
// It may read more: a quote in the middle of a field stands for itself.
func checkCSV(t *testing.T, text string, size int) {
	t.Helper()
	got, gotLines, faults := allRecords(t, text, ",", size)
	again, againLines, againFaults := allRecords(t, text, ",", 1<<12)
	if diff := cmp.Diff(again, got); diff != "" || faults != againFaults || cmp.Diff(againLines, gotLines) != "" {
		t.Fatalf("%q in pieces of %d (-whole +pieces):\n%s\n%v %v", text, size, diff, againLines, gotLines)
	}
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	var want [][]string
	var lines []int64
	for {
		record, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			if !errors.Is(err, csv.ErrBareQuote) && !errors.Is(err, csv.ErrQuote) {
				t.Fatal(err)
			}
			return
		}
		line, _ := r.FieldPos(0)
		want, lines = append(want, record), append(lines, int64(line))
	}
	for _, record := range got { // encoding/csv turns quoted \r\n into \n, we keep it
		for i := range record {
			record[i] = strings.ReplaceAll(record[i], "\r\n", "\n")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || faults != 0 {
		t.Fatalf("%q has %d faults (-encoding/csv +ours):\n%s", text, faults, diff)
	}
	if diff := cmp.Diff(lines, gotLines); diff != "" {
		t.Fatalf("%q: lines (-encoding/csv +ours):\n%s", text, diff)
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("a,b\n1,\"2\n3\"\r\n\n\"x\"\"y\",", uint8(3))
	f.Add("\"a\n", uint8(1))
	f.Add("\"\"\n\"\"\r\n,\n", uint8(2))
	f.Add("a\r\r\nb\r", uint8(1))
	f.Fuzz(func(t *testing.T, text string, size uint8) { checkCSV(t, text, int(size)+1) })
}

func TestCSVAgreesWithEncodingCSV(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	parts := []string{"a", "bc", "longer than eight bytes", ",", ",", "\n", "\n", "\r\n", `"`, `""`, `"quoted, here"`, "\"two\nlines\"", "é", " ", "\r"}
	for range 20_000 {
		var b strings.Builder
		for range rng.IntN(30) {
			b.WriteString(parts[rng.IntN(len(parts))])
		}
		checkCSV(t, b.String(), 1+rng.IntN(40))
	}
}

func TestWideDelimiterReadsAsNarrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	parts := []string{"a", "longer than eight bytes", ",", "\n", "\r\n", `"x,y"`, "\"two\nlines\"", `"`, ""}
	for range 5_000 {
		var b strings.Builder
		for range rng.IntN(20) {
			b.WriteString(parts[rng.IntN(len(parts))])
		}
		want, _, wantFaults := allRecords(t, b.String(), ",", 16)
		got, _, gotFaults := allRecords(t, strings.ReplaceAll(b.String(), ",", "::"), "::", 16)
		for _, record := range got {
			for i := range record {
				record[i] = strings.ReplaceAll(record[i], "::", ",")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || wantFaults != gotFaults {
			t.Fatalf("%q (-narrow +wide):\n%s", b.String(), diff)
		}
	}
}

// flatten is what the walker must find, by encoding/json: leaves in order. ok is
// false if a key stands twice in an object or is empty outside of arrays, which
// encoding/json does not mind.
func flatten(d *json.Decoder, name string, out *[]string) (ok bool) {
	token, _ := d.Token()
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			*out = append(*out, name+"=array")
			return skipArrayTokens(d)
		}
		seen := map[string]bool{}
		ok = true
		for d.More() {
			key, _ := d.Token()
			k := key.(string)
			ok = ok && !seen[k] && (k != "" || name == inArray)
			seen[k] = true
			child := k
			if name == inArray {
				child = inArray
			} else if name != "" {
				child = name + "." + k
			}
			ok = flatten(d, child, out) && ok
		}
		d.Token()
		return ok
	case nil:
	case string:
		*out = append(*out, name+"=text "+v)
	default:
		*out = append(*out, fmt.Sprintf("%s=%v", name, v))
	}
	return true
}

// inArray is the name of all that lies within arrays.
const inArray = "(within an array)"

func skipArrayTokens(d *json.Decoder) (ok bool) {
	ok = true
	for d.More() {
		var ignored []string
		ok = flatten(d, inArray, &ignored) && ok
	}
	d.Token()
	return ok
}

var (
	halfPair    = regexp.MustCompile(`(?i)\\ud[89a-f]`)
	replacement = regexp.MustCompile(`(?i)\\ufffd|�`)
)

func checkNDJSON(t *testing.T, text string) {
	t.Helper()
	w := newWalker()
	w.depthMax, w.nameMax, w.valuesMax = 9_000, 1<<30, 1<<30
	err := w.walk(text)
	trimmed := strings.TrimLeft(text, " \t\r\n")
	if !json.Valid([]byte(text)) || !strings.HasPrefix(trimmed, "{") {
		if err == nil {
			t.Fatalf("%q is not a JSON object, but is read as %v", text, w.leaves)
		}
		return
	}
	if halfPair.MatchString(text) { // perhaps: encoding/json makes U+FFFD of half a surrogate pair
		if err != nil && strings.Contains(err.Error(), "half of a surrogate pair") {
			return
		}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var want, got []string
	unique := flatten(d, "", &want)
	if unique != (err == nil) {
		t.Fatalf("%q: %v; keys are unique: %v", text, err, unique)
	}
	if err != nil {
		return
	}
	replaced := func(s string) string { return string(bytes.ToValidUTF8([]byte(s), []byte("\ufffd"))) }
	for _, l := range w.leaves {
		switch l.kind {
		case jsonArray:
			if !json.Valid([]byte(l.raw)) {
				t.Fatalf("%q: the array %q", text, l.raw)
			}
			got = append(got, l.node.name+"=array")
		case jsonText:
			got = append(got, l.node.name+"=text "+l.raw)
		default:
			got = append(got, l.node.name+"="+l.raw)
		}
	}
	for i := range got {
		got[i] = replaced(got[i])
	}
	for i := range want {
		want[i] = replaced(want[i])
	}
	if strings.Contains(strings.Join(want, ""), "�") && !replacement.MatchString(text) {
		t.Fatalf("%q is taken, with half of a surrogate pair", text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-encoding/json +ours):\n%s", text, diff)
	}
}

func FuzzNDJSON(f *testing.F) {
	f.Add(`{"a":{"b":[1,{"c":null}]},"d":-1.5e+3,"é":"\u00e9\ud83d\ude00\ud800","t":true}`)
	f.Add(`{"a":1,"a":2}`)
	f.Add(` {"":{"":""}} `)
	f.Add(`{"a":01}`)
	f.Add(`{"a":[{"b":1,"b":2}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ToValidUTF8(text, "") == text { // lines that are not are rejected before
			checkNDJSON(t, text)
		}
	})
}

func TestNDJSONAgreesWithEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	parts := []string{"{", "}", "[", "]", ":", ",", `"a"`, `"b"`, `"\n\u0041\ud834\udd1e"`, `"\ud834x"`, "1", "-0.5", "1e9", "01", "true", "null", "nul", " ", `"`, `\`, "é"}
	var value func(depth int) string
	value = func(depth int) string {
		switch n := rng.IntN(9); {
		case n < 2 && depth < 4:
			var items []string
			for range rng.IntN(4) {
				items = append(items, fmt.Sprintf("%q : %s", string(rune('a'+rng.IntN(6))), value(depth+1)))
			}
			return "{" + strings.Join(items, " ,") + "}"
		case n < 3 && depth < 4:
			var items []string
			for range rng.IntN(3) {
				items = append(items, value(depth+1))
			}
			return "[" + strings.Join(items, ",") + " ]"
		default:
			return []string{`"text"`, `"\"q\\\/\b\f\n\r\t\u00e9"`, "12", "-1.25E-2", "false", "null", `"😀"`}[rng.IntN(7)]
		}
	}
	for range 20_000 {
		text := "{\"x\":" + value(0) + ",\"y\":" + value(0) + "}"
		if rng.IntN(3) == 0 { // break it somewhere
			at := rng.IntN(len(text))
			text = strings.ToValidUTF8(text[:at]+parts[rng.IntN(len(parts))]+text[at+rng.IntN(len(text)-at):], "?")
		}
		checkNDJSON(t, text)
	}
}

// FuzzDecodeJSON looks for events that break a limit and are taken all the same.
func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`[{"customer":"a","time":1,"event":"e","x":{"y":1}},{"customer":"a"}]`))
	f.Add([]byte("{\"customer\":\"a\",\"time\":1,\"event\":\"e\"}\n\n{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := DecodeJSON(bytes.NewReader(body), JSONOptions{EventBytesMax: 200, PropertiesMax: 3, NameBytesMax: 5, EventsMax: 4, DepthMax: 3, Received: 1})
		if err != nil {
			return
		}
		if d.Total > 4 || d.Batch.Len()+len(d.Rejected) != d.Total || len(d.Index) != d.Batch.Len() {
			t.Fatalf("%q: %d events, %d taken, %d rejected", body, d.Total, d.Batch.Len(), len(d.Rejected))
		}
		for i := range d.Batch.Len() {
			e := d.Batch.At(i)
			if e.Customer == "" || e.Name == "" || len(e.Name) > 5 || len(e.Channel) > 5 || len(e.Props) > 3 {
				t.Fatalf("%q gives %v", body, e)
			}
			for _, p := range e.Props {
				if len(p.Name) > 5 || strings.ToValidUTF8(p.Value.Text(), "") != p.Value.Text() {
					t.Fatalf("%q gives %v", body, e)
				}
			}
		}
	})
}
