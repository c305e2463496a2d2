package render

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"wend/engine"
	"wend/event"
)

func TestDurationText(t *testing.T) {
	f := func(ms float64, want string) {
		t.Helper()
		if got := durationText(ms); got != want {
			t.Errorf("%v ms is %q, want %q", ms, got, want)
		}
	}
	f(0, "0s")
	f(0.25, "0.2ms")
	f(4.5, "4.5ms")
	f(850, "850ms")
	f(999.6, "1s")
	f(5_100, "5.1s")
	f(59_940, "59.9s")
	f(59_960, "1m")
	f(93_120.5, "1m 33s")
	f(3_599_600, "1h")
	f(3_660_000, "1h 1m")
	f(86_399_999, "1d")
	f(187_200_000, "2d 4h")
	f(139*day+3_600_000, "139d")
	f(-93_120.5, "-1m 33s")
	f(math.NaN(), "null")
}

func TestShareText(t *testing.T) {
	f := func(share float64, want string) {
		t.Helper()
		if got := shareText(share); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
	f(0, "0.0 %")
	f(0.0004, "<0.1 %")
	f(0.0005, "0.1 %")
	f(0.4027, "40.3 %")
	f(0.9994, "99.9 %")
	f(0.9999, ">99.9 %") // not all of them
	f(1, "100.0 %")
	f(1.25, "125.0 %")
}

func TestNumberText(t *testing.T) {
	f := func(number float64, want, ascii string) {
		t.Helper()
		if got := numberText(number, Options{Unicode: true}); got != want {
			t.Errorf("%v is %q, want %q", number, got, want)
		}
		if got := numberText(number, Options{}); got != ascii {
			t.Errorf("%v is %q in ASCII, want %q", number, got, ascii)
		}
	}
	f(0, "0", "0")
	f(math.Copysign(0, -1), "0", "0")
	f(3, "3", "3")
	f(999, "999", "999")
	f(9747747.934, "9\u2009747\u2009747.93", "9,747,747.93")
	f(-1234.5, "-1\u2009234.5", "-1,234.5")
	f(12.34567, "12.346", "12.346")
	f(0.012345, "0.012345", "0.012345")
	f(0.00001, "1e-05", "1e-05")
	f(1e20, "1e+20", "1e+20")
	f(math.Inf(1), "null", "null")
}

func TestBarNeverLies(t *testing.T) {
	f := func(share float64, want string, opt Options) {
		t.Helper()
		if got := bar(share, 8, opt); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
	f(0, "", Options{Unicode: true})
	f(-1, "", Options{Unicode: true})
	f(math.NaN(), "", Options{Unicode: true})
	f(1e-9, "▏", Options{Unicode: true})
	f(0.5, "████", Options{Unicode: true})
	f(0.55, "████▍", Options{Unicode: true})
	f(2, "████████", Options{Unicode: true})
	f(1e-9, "#", Options{})
	f(1, "########", Options{})
}

// TestPrograms reads back what programs read and finds every digit again.
func TestPrograms(t *testing.T) {
	third := 1.0 / 3
	r := &engine.Result{
		Columns: []engine.Column{{Name: "n", Type: engine.Integer}, {Name: "share", Type: engine.Share}, {Name: "took", Type: engine.Duration}, {Name: "at", Type: engine.Time}, {Name: "name, \"quoted\"\n", Type: engine.String}, {Name: "path", Type: engine.List}},
		Rows: [][]engine.Cell{
			{int64(math.MaxInt64), third, 1e-7, event.Time(-1), "a,\"b\"\r\nc\xff", []string{}},
			{nil, nil, nil, nil, nil, nil},
			{int64(-1), math.NaN(), 1e300, event.MaxTime, "", []string{"x", "y > z"}},
		},
	}
	var body struct {
		Columns []engine.Column
		Rows    [][]any
		Meta    map[string]any
	}
	d := json.NewDecoder(strings.NewReader(written(t, r, "json", Options{Unicode: true, Color: true, Width: 20})))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		t.Fatal(err)
	}
	if n := body.Rows[0][0].(json.Number); n != "9223372036854775807" {
		t.Errorf("the largest integer is %s", n)
	}
	if got, _ := body.Rows[0][1].(json.Number).Float64(); got != third {
		t.Errorf("a third is %v", got)
	}
	if got, _ := body.Rows[0][2].(json.Number).Float64(); got != 1e-7 {
		t.Errorf("1e-7 is %v", got)
	}
	for i, want := range []any{json.Number("9223372036854775807"), nil, nil, "1969-12-31T23:59:59.999999Z", "a,\"b\"\r\nc\ufffd"} {
		if want != nil && body.Rows[0][i] != want {
			t.Errorf("column %d is %v, want %v", i, body.Rows[0][i], want)
		}
		if body.Rows[1][i] != nil {
			t.Errorf("null in column %d is %v", i, body.Rows[1][i])
		}
	}
	if body.Rows[2][1] != nil || body.Columns[4].Name != "name, \"quoted\"\n" || len(body.Rows[2][5].([]any)) != 2 {
		t.Errorf("the last row is %v", body.Rows[2])
	}

	records, err := csv.NewReader(strings.NewReader(written(t, r, "csv", Options{}))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := records[1]; got[0] != "9223372036854775807" || got[1] != "0.3333333333333333" || got[3] != "1969-12-31T23:59:59.999999Z" || got[5] != "" {
		t.Errorf("the first record is %q", got)
	}
	for i, line := range strings.Split(strings.TrimSuffix(written(t, r, "ndjson", Options{}), "\n"), "\n") {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil || len(row) != 6 {
			t.Errorf("line %d, %s: %v", i, line, err)
		}
	}
}

func TestSpreadsheetSafe(t *testing.T) {
	r := &engine.Result{Columns: []engine.Column{{Name: "event", Type: engine.String}, {Name: "n", Type: engine.Integer}},
		Rows: [][]engine.Cell{{"=1+1", int64(-5)}, {"@web", int64(1)}, {"a=b", nil}}}
	if got, want := written(t, r, "csv", Options{SpreadsheetSafe: true}), "event,n\n'=1+1,-5\n'@web,1\na=b,\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestColor(t *testing.T) {
	r := &engine.Result{Columns: []engine.Column{{Name: "event", Type: engine.String}, {Name: "n", Type: engine.Integer}}, Rows: [][]engine.Cell{{"a", nil}}}
	want := "\x1b[1mevent\x1b[0m  \x1b[1m   n\x1b[0m\n\x1b[2m-----  ----\x1b[0m\na      \x1b[2mnull\x1b[0m\n"
	if got := written(t, r, "table", Options{Color: true}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDrawable(t *testing.T) {
	for name, r := range results() {
		want := name == "funnel" || name == "paths"
		if Drawable(r) != want {
			t.Errorf("%s is drawable: %v", name, !want)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Write(&strings.Builder{}, funnel(), "xml", Options{}); err == nil || !strings.Contains(err.Error(), "markdown") {
		t.Errorf("the error is %v", err)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("the pipe is broken")
	}
	return len(p), nil
}

func TestWriteErrorsAreReported(t *testing.T) {
	for _, format := range Formats {
		if err := Write(&failing{after: 10}, funnel(), format, Options{}); err == nil {
			t.Errorf("%s hides that nothing was written", format)
		}
	}
}

func TestHugeCellIsCut(t *testing.T) {
	r := &engine.Result{Columns: []engine.Column{{Name: "a", Type: engine.String}, {Name: "b", Type: engine.String}}, Rows: [][]engine.Cell{{strings.Repeat("é", 1<<20), "short"}}}
	got := written(t, r, "table", Options{Width: 20, Unicode: true})
	if want := "a              b\n────────────── ─────\nééééééééééééé… short\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
