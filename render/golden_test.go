package render

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wend/engine"
	"wend/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds a text against a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func written(t *testing.T, r *engine.Result, format string, opt Options) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, r, format, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const day = float64(86_400_000)

var end, _ = parseTime("2025-03-31T23:59:59.5Z")

func parseTime(s string) (event.Time, error) {
	var y, mo, d, h, mi int
	var sec float64
	_, err := fmt.Sscanf(s, "%d-%d-%dT%d:%d:%fZ", &y, &mo, &d, &h, &mi, &sec)
	days := 0
	for year := 1970; year < y; year++ {
		days += 365
		if year%4 == 0 {
			days++
		}
	}
	for month := 1; month < mo; month++ {
		days += []int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	}
	return event.Time((float64((days+d-1)*86400+h*3600+mi*60) + sec) * 1e6), err
}

func funnel() *engine.Result {
	return &engine.Result{
		Columns: []engine.Column{{Name: "channel", Type: engine.String}, {Name: "step", Type: engine.Integer}, {Name: "touchpoint", Type: engine.String}, {Name: "customers", Type: engine.Integer},
			{Name: "from_previous", Type: engine.Share}, {Name: "from_first", Type: engine.Share}, {Name: "dropped", Type: engine.Integer}, {Name: "open", Type: engine.Integer},
			{Name: "median_from_previous", Type: engine.Duration}, {Name: "median_from_first", Type: engine.Duration}},
		Rows: [][]engine.Cell{
			{"web", int64(1), "view_product", int64(651448), nil, 1.0, int64(389000), int64(97), nil, nil},
			{"web", int64(2), "add_to_cart[value > 50]", int64(262351), 0.40272, 0.40272, int64(200000), int64(51), 93120.5, 93120.5},
			{"web", int64(3), "purchase", int64(62300), 0.23747, 0.09563, int64(0), int64(0), 2*day + 4*3_600_000, 2*day + 5*3_600_000},
			{nil, int64(1), "view_product", int64(12), nil, 1.0, int64(12), int64(0), nil, nil},
			{nil, int64(2), "add_to_cart[value > 50]", int64(0), 0.0, 0.0, int64(0), int64(0), nil, nil},
			{nil, int64(3), "purchase", int64(0), nil, 0.0, int64(0), int64(0), nil, nil},
		},
		Meta: engine.Meta{Query: "funnel view_product -> add_to_cart[value > 50] -> purchase within 7d by channel", Unit: "customers", EventsRead: 20000000, CustomersRead: 921486,
			BytesRead: 31457280, ElapsedMS: 15.82, Snapshot: "s42", EndOfData: end, Open: 148, Tied: 0.00031, Denominator: "customers with step 1",
			Cut: &engine.Cut{Kept: 10, Of: 214, Share: 0.634}, Warnings: []string{`channel = 'sotre': no event has this value; did you mean 'store'?`}},
	}
}

func paths() *engine.Result {
	row := func(journeys int64, share float64, median any, labels ...string) []engine.Cell {
		return []engine.Cell{labels, journeys, share, median}
	}
	return &engine.Result{
		Columns: []engine.Column{{Name: "path", Type: engine.List}, {Name: "journeys", Type: engine.Integer}, {Name: "share", Type: engine.Share}, {Name: "median_duration", Type: engine.Duration}},
		Rows: [][]engine.Cell{
			row(5000, 0.5, 3600_000.0, "ad_click", "view_product", "purchase"),
			row(2500, 0.25, 7500_000.0, "view_product", "add_to_cart", "support_call", "purchase"),
			row(1200, 0.12, 59_999.0, "ad_click", "view_product"),
			row(900, 0.09, 0.0, "view_product"),
			row(300, 0.03, nil, "店舗訪問", "购买\x1b[31m", "Café"),
			row(100, 0.01, 450.0, "ad_click", "view_product", "purchase", "return_item"),
		},
	}
}

func times() *engine.Result {
	minutes := func(m ...int) (d []event.Duration) {
		for _, n := range m {
			d = append(d, event.Duration(n)*event.Minute)
		}
		return d
	}
	return &engine.Result{
		Columns: []engine.Column{{Name: "step", Type: engine.Integer}, {Name: "touchpoint", Type: engine.String}, {Name: "customers", Type: engine.Integer}, {Name: "mean", Type: engine.Duration},
			{Name: "p10", Type: engine.Duration}, {Name: "p25", Type: engine.Duration}, {Name: "p50", Type: engine.Duration}, {Name: "p75", Type: engine.Duration}, {Name: "p90", Type: engine.Duration}, {Name: "p95", Type: engine.Duration}},
		Rows: [][]engine.Cell{{int64(2), "add_to_cart", int64(1310), 93120.5, 900.0, 12_000.0, 59_960.0, 3_599_700.0, 86_399_999.0, 200 * day}},
		Chart: &engine.Histogram{Steps: []engine.StepHistogram{
			{Step: 2, Touchpoint: "add_to_cart", Bounds: minutes(0, 1, 5, 60, 1440), Counts: []int64{1000, 250, 0, 60}},
			{Step: 3, Touchpoint: "purchase", Bounds: minutes(0, 1440), Counts: []int64{1}},
		}},
	}
}

func mixed() *engine.Result {
	t1, _ := parseTime("2025-03-01T10:00:00Z")
	t2, _ := parseTime("2025-03-01T10:00:00.25Z")
	return &engine.Result{
		Columns: []engine.Column{{Name: "time", Type: engine.Time}, {Name: "event", Type: engine.String}, {Name: "ok", Type: engine.Boolean}, {Name: "score", Type: engine.Number}, {Name: "properties", Type: engine.Object}},
		Rows: [][]engine.Cell{
			{t1, "view|product", true, -1234567.891, []event.Prop{{Name: "amount", Value: event.Float(19.9)}, {Name: "at", Value: event.Instant(t1)}, {Name: "gift", Value: event.Boolean(false)}, {Name: "n", Value: event.Integer(1234567)}, {Name: "note", Value: event.String("a \"b\"\nc")}}},
			{t2, "=1+1", nil, 0.000012345, []event.Prop{}},
			{nil, "", false, 3.0, nil},
		},
		Meta: engine.Meta{Query: "journey of 'ann'", Unit: "events", Partial: true, Missing: []engine.Missing{{Segment: "000042.seg", From: t1, To: t2, Rows: 1500, Reason: "checksum mismatch", FirstLSN: 4, LastLSN: 9},
			{Segment: "000007.wal", Reason: "the file is missing", FirstLSN: 10}}},
	}
}

func results() map[string]*engine.Result {
	return map[string]*engine.Result{
		"funnel": funnel(), "paths": paths(), "times": times(), "mixed": mixed(),
		"empty": {Columns: []engine.Column{{Name: "customer", Type: engine.String}, {Name: "events", Type: engine.Integer}}},
		"bars": {Columns: []engine.Column{{Name: "event", Type: engine.String}, {Name: "events", Type: engine.Integer}},
			Rows: [][]engine.Cell{{"view_product", int64(8234567)}, {"a very long name of an event that somebody made up on a Friday afternoon", int64(4117283)}, {"rare", int64(1)}, {"never", int64(0)}, {nil, nil}}},
		"dropoff": {Columns: []engine.Column{{Name: "step", Type: engine.Integer}, {Name: "touchpoint", Type: engine.String}, {Name: "next", Type: engine.String}, {Name: "customers", Type: engine.Integer}, {Name: "share", Type: engine.Share}, {Name: "median_time_to_next", Type: engine.Duration}},
			Rows: [][]engine.Cell{{int64(1), "view", "(nothing)", int64(75), 0.75, nil}, {int64(1), "view", "support_call", int64(25), 0.25, 86_400_000.0}}},
		"transitions": {Columns: []engine.Column{{Name: "source", Type: engine.String}, {Name: "target", Type: engine.String}, {Name: "count", Type: engine.Integer}, {Name: "share_of_source", Type: engine.Share}},
			Rows: [][]engine.Cell{{"view", "view", int64(300), 0.75}, {"view", "cart", int64(100), 0.25}}},
	}
}

// TestGolden writes each answer in each format for people, at usual widths.
func TestGolden(t *testing.T) {
	for name, r := range results() {
		for _, format := range []string{"table", "chart"} {
			var b strings.Builder
			for _, w := range []int{40, 80, 120} {
				for _, unicode := range []bool{true, false} {
					opt := Options{Width: w, Unicode: unicode, Rows: 5}
					text := written(t, r, format, opt)
					fmt.Fprintf(&b, "== %s of %d columns, Unicode %v\n%s%s\n\n", format, w, unicode, text, Footer(r, opt))
					for _, line := range strings.Split(text, "\n") {
						if width(line) > w {
							t.Errorf("%s %s: a line of %d columns in %d: %s", name, format, width(line), w, line)
						}
						if !unicode && name != "paths" && strings.IndexFunc(line, func(r rune) bool { return r > 126 }) >= 0 {
							t.Errorf("%s %s: %q is not ASCII", name, format, line)
						}
					}
				}
			}
			golden(t, name+"."+format+".txt", b.String())
		}
		for _, format := range []string{"json", "csv", "ndjson", "markdown", "vertical"} {
			golden(t, name+"."+format, written(t, r, format, Options{}))
		}
	}
}
