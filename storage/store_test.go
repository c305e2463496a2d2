package storage

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wend/event"
	"wend/storage/vfs"
	"wend/tile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(text string) event.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return event.At(t)
}

func appendEvents(t *testing.T, s *Store, opt AppendOptions, events ...event.Event) Ack {
	t.Helper()
	ack, err := s.Append(t.Context(), batchOf(events), opt)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func loadEvents(t *testing.T, s *Store, events ...event.Event) LoadResult {
	t.Helper()
	l, err := s.NewLoad(t.Context(), LoadOptions{Source: "test.csv"})
	if err == nil {
		err = l.Add(batchOf(events))
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// contents lists a store's events, customer by customer, as lines.
func contents(t *testing.T, s *Store) string {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	all := everything(t, snap)
	var b strings.Builder
	for _, c := range sortedKeys(all) {
		for _, l := range all[c] {
			fmt.Fprintf(&b, "%s %s\n", c, l)
		}
	}
	return b.String()
}

// view is an event of customer c at a second of a day.
func view(c string, second int, props ...event.Prop) event.Event {
	return event.Event{Customer: c, Time: at("2025-03-01T10:00:00Z").Add(event.Duration(second) * event.Second), Name: "view", Props: props}
}

// The package has no hidden inputs: files, clock and randomness come through
// Options, whose defaults in env.go are the one exception. Nothing runs by
// itself but in the places listed here.
func TestNoHiddenInputs(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	banned := map[string][]string{
		"os": {"*"}, "io/ioutil": {"*"}, "syscall": {"*"}, "math/rand": {"*"}, "path/filepath": {"*"}, "golang.org/x/sys/unix": {"*"}, "crypto/rand": {"*"},
		"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer"},
		"math/rand/v2": {"Int", "IntN", "Uint32", "Uint64", "Float64", "Perm", "Shuffle", "N"},
	}
	parallel := map[string]string{
		"background.go work":           "the background, which Options.Background turns on",
		"store.go openWriter":          "begins it",
		"background.go keepSynced":     "keeps what durability interval promises",
		"compact.go flushBeside":       "flushes while a merge goes on, if there is a background",
		"load.go startDealing":         "makes records of batches while others are read; take waits",
		"load.go startSpill":           "writes records to a file while the next are made; finishSpill waits",
		"bucket_rows.go findTies":      "looks at the times of all buckets, of which the order does not matter",
		"segment_check.go checkBlocks": "checks several blocks at a time",
		"merge.go run":                 "merges ahead of the writing, which goes on in one order",
		"snapshot.go Customers":        "reads several tiles at a time",
		"aged.go aged":                 "counts in several blocks at a time",
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "env.go" {
			continue
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		local := map[string][]string{}
		for _, i := range file.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			if name == "backup_list.go" && p == "syscall" {
				continue // for the name of an error
			}
			if list := banned[p]; slices.Equal(list, []string{"*"}) {
				t.Errorf("%s imports %s", name, p)
			} else if list != nil {
				local[strings.TrimSuffix(path.Base(p), "v2")] = list
				if p == "math/rand/v2" {
					local["rand"] = list
				}
			}
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				_, starts := n.(*ast.GoStmt)
				if sel, ok := n.(*ast.SelectorExpr); ok {
					starts = sel.Sel.Name == "Go" || sel.Sel.Name == "NewTicker"
				}
				if starts && parallel[name+" "+f.Name.Name] == "" {
					t.Errorf("%s: %s begins something that runs by itself", name, f.Name.Name)
				}
				return true
			})
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(local[pkg.Name], sel.Sel.Name) {
					t.Errorf("%s uses %s.%s", name, pkg.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
	if seen < 20 {
		t.Fatalf("only %d files were looked at", seen)
	}
}

func TestOneWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, vfs.OS{}, dir)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("a second writer: %v", err)
	}
	host, _ := os.Hostname()
	for _, part := range []string{fmt.Sprintf("pid %d", os.Getpid()), host, "since 20", "read-only"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not say %q", err, part)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, vfs.OS{}, dir).Close(); err != nil {
		t.Fatalf("after the first writer is gone: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v, %v", info.Mode(), err)
	}
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		if i, err := n.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", n.Name(), i.Mode(), err)
		}
	}
}

func TestToken(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	batch := []event.Event{view("ann", 0), {Customer: "", Name: "view"}, view("ann", 1)}
	first := appendEvents(t, s, AppendOptions{Token: "client-1"}, batch...)
	if first.Accepted != 2 || len(first.Rejected) != 1 || first.Rejected[0].Index != 1 {
		t.Fatalf("ack %+v", first)
	}
	want := contents(t, s)
	again := func(when string) {
		t.Helper()
		if ack := appendEvents(t, s, AppendOptions{Token: "client-1"}, batch...); fmt.Sprint(ack) != fmt.Sprint(first) {
			t.Errorf("%s: the repeated batch got %+v, first %+v", when, ack, first)
		}
		if got := contents(t, s); got != want {
			t.Errorf("%s: the repeated batch left\n%s", when, got)
		}
	}
	again("at once")
	mem = mem.Clone()
	s.Close()
	s = open(t, mem, "store")
	again("after a crash")
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	again("after a flush")
	s.Close()
	s = open(t, mem, "store")
	again("after opening again")
}

// A batch of which nothing can be stored has an answer to remember all the same.
func TestTokenOfNothing(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	bad := event.Event{Name: "view", Time: at("0500-01-01T00:00:00Z")}
	first := appendEvents(t, s, AppendOptions{Token: "t"}, bad)
	if first.Accepted != 0 || len(first.Rejected) != 1 {
		t.Fatalf("%+v", first)
	}
	for range 2 {
		if again := appendEvents(t, s, AppendOptions{Token: "t"}, bad); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("again: %+v, first %+v", again, first)
		}
		if got := contents(t, s); got != "" || s.Status().Partition != "" {
			t.Errorf("contents %q, partitions by %q", got, s.Status().Partition)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, mem, "store")
	}
}

// A store takes names of properties up to a number, and then events that have no
// further ones; who sends data as names is told.
func TestTooManyProperties(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	const each = 250
	full := func(first int) event.Event {
		e := view("ann", first)
		for i := range each {
			e.Props = append(e.Props, event.Prop{Name: fmt.Sprint("p", first+i), Value: event.Integer(1)})
		}
		return e
	}
	for first := 0; first < storeProperties; first += each {
		if ack := appendEvents(t, s, AppendOptions{}, full(first)); ack.Accepted != 1 {
			t.Fatalf("property %d: %+v", first, ack)
		}
	}
	ack := appendEvents(t, s, AppendOptions{}, full(storeProperties-1), full(0))
	if ack.Accepted != 1 || len(ack.Rejected) != 1 || ack.Rejected[0].Index != 0 || !strings.Contains(ack.Rejected[0].Reason, "one more than the 10000") {
		t.Errorf("one new property, and none: %+v", ack)
	}
}

func TestRejections(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 0, event.Prop{Name: "n", Value: event.Integer(1)}, event.Prop{Name: "s", Value: event.String("x")}))
	big := view("ann", 1, event.Prop{Name: "s", Value: event.String(strings.Repeat("x", eventBytes))})
	many := view("ann", 1)
	for i := range eventProperties + 1 {
		many.Props = append(many.Props, event.Prop{Name: fmt.Sprint("p", i), Value: event.Integer(1)})
	}
	cases := []struct {
		name   string
		event  event.Event
		reason string
	}{
		{"clash", view("ann", 1, event.Prop{Name: "n", Value: event.String("1")}), `property "n": expected integer, got string`},
		{"clash the other way", view("ann", 1, event.Prop{Name: "s", Value: event.Integer(1)}), `property "s": expected string, got integer`},
		{"reserved name", view("ann", 1, event.Prop{Name: "channel", Value: event.String("web")}), `property "channel": the name is an event's own field; rename the property`},
		{"no customer", event.Event{Name: "view"}, "the event has no customer"},
		{"no name", event.Event{Customer: "ann"}, "the event has no name"},
		{"too early", event.Event{Customer: "ann", Name: "view", Time: event.MinTime - 1}, "the time lies outside the years 0001 to 9999"},
		{"not UTF-8", view("a\xff", 1), `customer "a\xff" is not valid UTF-8`},
		{"long and not UTF-8", view("\xff"+strings.Repeat("a", eventBytes), 1), `customer "\xff` + strings.Repeat("a", 127) + `"… is not valid UTF-8`},
		{"infinite", view("ann", 1, event.Prop{Name: "f", Value: event.Float(math.Inf(1))}), `property "f" is not a finite number`},
		{"too big", big, fmt.Sprintf("the event has %d bytes, the limit is %d", eventBytes+len("ann")+len("view")+1+8, eventBytes)},
		{"too many properties", many, "the event has 257 properties, the limit is 256"},
		{"long name", event.Event{Customer: "ann", Name: strings.Repeat("n", 129)}, "the event name has 129 bytes, the limit is 128"},
	}
	want := contents(t, s)
	for _, c := range cases {
		ack := appendEvents(t, s, AppendOptions{}, c.event)
		if ack.Accepted != 0 || len(ack.Rejected) != 1 || ack.Rejected[0].Reason != c.reason {
			t.Errorf("%s: %+v, want %q", c.name, ack, c.reason)
		}
	}
	if got := contents(t, s); got != want {
		t.Errorf("a rejected event was stored:\n%s", got)
	}
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("bob", 1), cases[0].event}), AppendOptions{Strict: true}); !errors.Is(err, ErrRefused) {
		t.Errorf("strict: %v", err)
	}
	if got := contents(t, s); got != want {
		t.Errorf("a refused batch was stored:\n%s", got)
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if n := len(snap.Schema().Properties); n != 2 {
		t.Errorf("rejected events left %d properties, want 2", n)
	}
	// A bulk load takes what is merely large.
	if res := loadEvents(t, s, big, cases[0].event); res.Events != 1 || res.Rejected != 1 || res.Rejects[0].Index != 1 {
		t.Errorf("load: %+v", res)
	}
}

// An integer property becomes float when the first float arrives, in old
// segments too, and stays so.
func TestWidening(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	value := func(v event.Value) event.Prop { return event.Prop{Name: "value", Value: v} }
	loadEvents(t, s, view("ann", 0, value(event.Integer(1))))
	appendEvents(t, s, AppendOptions{}, view("ann", 1, value(event.Integer(2))))
	appendEvents(t, s, AppendOptions{}, view("ann", 2, value(event.Float(2.5))), view("ann", 3))
	appendEvents(t, s, AppendOptions{}, view("ann", 4, value(event.Integer(7))))
	want := `ann 2025-03-01T10:00:00Z view channel="" id="" value:float=1
ann 2025-03-01T10:00:01Z view channel="" id="" value:float=2
ann 2025-03-01T10:00:02Z view channel="" id="" value:float=2.5
ann 2025-03-01T10:00:03Z view channel="" id=""
ann 2025-03-01T10:00:04Z view channel="" id="" value:float=7
`
	if got := contents(t, s); got != want {
		t.Fatalf("got\n%s", got)
	}
	mem = mem.Clone()
	s.Close()
	s = open(t, mem, "store")
	if got := contents(t, s); got != want {
		t.Fatalf("after a crash\n%s", got)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s); got != want {
		t.Fatalf("compacted\n%s", got)
	}
}

// Rows of a file without ids: equal ones all count, the file again adds
// nothing, and a file with one more of them adds one.
func TestEqualRows(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	twice := []event.Event{view("ann", 0), view("ann", 0)}
	if res := loadEvents(t, s, twice...); res.Events != 2 {
		t.Fatalf("%+v", res)
	}
	if res := loadEvents(t, s, twice...); res.Events != 0 || res.Duplicates != 2 || res.ImportID != "" {
		t.Fatalf("again: %+v", res)
	}
	if res := loadEvents(t, s, append(twice, view("ann", 0))...); res.Events != 1 || res.Duplicates != 2 {
		t.Fatalf("with a third: %+v", res)
	}
	// An appended event without id is a new one each time.
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	if n := strings.Count(contents(t, s), "\n"); n != 4 {
		t.Fatalf("%d events, want 4", n)
	}
}

func TestUndo(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	want := contents(t, s)
	rows := []event.Event{view("ann", 5), {Customer: "zoe", Time: at("2031-01-01T00:00:00Z"), Name: "view", ID: "1"}}
	res := loadEvents(t, s, rows...)
	if err := s.Compact(t.Context()); err != nil { // the import's rows now share segments with others
		t.Fatal(err)
	}
	if n, err := s.Undo(t.Context(), res.ImportID); n != 2 || err != nil {
		t.Fatalf("undo: %d, %v", n, err)
	}
	if got := contents(t, s); got != want {
		t.Fatalf("after undo\n%s", got)
	}
	if _, err := s.Undo(t.Context(), res.ImportID); err == nil || !strings.Contains(err.Error(), "undone already") {
		t.Errorf("second undo: %v", err)
	}
	if _, err := s.Undo(t.Context(), "nonsense"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), res.ImportID) {
		t.Errorf("undo of nothing: %v", err)
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	end, ok := snap.EndOfData()
	snap.Release()
	if !ok || end != at("2025-03-01T10:00:00Z") {
		t.Errorf("end of data is %v, %v", end, ok)
	}
	again := loadEvents(t, s, rows...)
	if again.Events != 2 || again.ImportID == res.ImportID {
		t.Errorf("the file again: %+v", again)
	}
	if list := s.Imports(); len(list) != 2 || !list[0].Undone || list[1].Undone || list[1].Source != "test.csv" {
		t.Errorf("imports: %+v", list)
	}
}

func TestEndOfData(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	n, err := snap.Customers()
	if end, ok := snap.EndOfData(); ok || err != nil || n != 0 || snap.Events() != 0 || snap.Tiles() != 1 {
		t.Errorf("an empty store has end of data %v", end)
	}
	if tl, err := snap.Tile(t.Context(), 0, tile.Need{Names: true, Channel: true, IDs: true}); err != nil || tl.Rows != 0 || tl.Customers() != 0 || tl.Names.Len() != 0 {
		t.Errorf("an empty store's tile: %+v, %v", tl, err)
	}
	snap.Release()
	appendEvents(t, s, AppendOptions{}, view("ann", 0), event.Event{Customer: "ann", Name: "visit", Time: at("2030-01-02T00:00:00Z")})
	snap, err = s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if end, ok := snap.EndOfData(); !ok || end != at("2030-01-01T00:00:00Z") { // when the batch came
		t.Errorf("end of data is %v", end)
	}
}

// A customer with very many events, half of them at one time, over several runs.
func TestLongJourney(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	s.opt.ChunkRows, s.opt.SegmentRows = 50_000, 100_000
	const rows = 300_000
	var events []event.Event
	for i := range rows {
		e := view("robot", i/2*(i%2), event.Prop{Name: "n", Value: event.Integer(int64(i))})
		events = append(events, e)
	}
	l, err := s.NewLoad(t.Context(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(events, 20_000) {
		if err := l.Add(batchOf(part)); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := l.Commit(t.Context()); err != nil || res.Events != rows || res.Customers != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	appendEvents(t, s, AppendOptions{}, view("robot", 0, event.Prop{Name: "n", Value: event.Integer(rows)}))
	if res := loadEvents(t, s, events[:1000]...); res.Duplicates != 1000 {
		t.Fatalf("%+v", res)
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return int(a.Time - b.Time) })
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	i, _, _, ok, err := snap.Locate(t.Context(), "robot")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	tl, err := snap.Tile(t.Context(), i, tile.Need{Properties: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	zero := rows/2 + 1 // these share the first time, in order of arrival; then the appended one
	for row := range rows + 1 {
		want := int64(rows)
		switch {
		case row < zero:
			want = events[row].Props[0].Value.Int()
		case row > zero:
			want = events[row-1].Props[0].Value.Int()
		}
		if got := tl.Columns[0].At(row).Int(); got != want {
			t.Fatalf("row %d is event %d, want %d", row, got, want)
		}
	}
}

func TestDefinitions(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	d := event.Definition{Kind: "stage", Name: "cart", Text: "define stage cart as add"}
	if replaced, err := s.Define(t.Context(), d); replaced || err != nil {
		t.Fatal(replaced, err)
	}
	d.Text = "define stage cart as add | put"
	if replaced, err := s.Define(t.Context(), d); !replaced || err != nil {
		t.Fatal(replaced, err)
	}
	mem = mem.Clone()
	s.Close()
	s = open(t, mem, "store")
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if got := snap.Definitions(); len(got) != 1 || got[0] != d {
		t.Errorf("definitions: %v", got)
	}
	snap.Release()
	if err := s.Drop(t.Context(), "cart"); err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(t.Context(), "cart"); !errors.Is(err, ErrNotFound) {
		t.Errorf("second drop: %v", err)
	}
}

// Values of megabytes pass through a load and a compaction.
func TestLargeValues(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	long := strings.Repeat("äöü", 400_000)
	loadEvents(t, s, view("ann", 0, event.Prop{Name: "text", Value: event.String(long)}), view("bob", 0, event.Prop{Name: "text", Value: event.String("x")}))
	loadEvents(t, s, view("ann", 1, event.Prop{Name: "text", Value: event.String(long + "!")}))
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := contents(t, s)
	if strings.Count(got, "text:string="+long+"\n") != 1 || strings.Count(got, "text:string="+long+"!\n") != 1 {
		t.Errorf("%d bytes of contents lack the long values", len(got))
	}
}

// The background flushes and compacts by itself, while events arrive.
func TestBackground(t *testing.T) {
	opt := small(vfs.NewMem())
	opt.Background = true
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{}
	for i := range 300 {
		e := []event.Event{view(fmt.Sprint("c", i%10), i%20), view(fmt.Sprint("c", i%7), i)}
		appendEvents(t, s, AppendOptions{}, e...)
		m.addBatch(e, false)
	}
	m.compare(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot of a closed store: %v", err)
	}
}

func TestWidths(t *testing.T) {
	for _, c := range []struct {
		years, perYear int
		want           string
	}{
		{1, 12, "year"}, {4, 12, "year"}, {5, 12, "decade"}, {5, 250_000, "year"}, {14, 50_000, "decade"}, {30, 2_000_000, "year"},
		{300, 100, "century"}, {2000, 50, "all"}, {9000, 1, "all"},
	} {
		h := newHistogram()
		for y := range c.years {
			for m := range 12 {
				partition, _, _ := partitionOf(widthMonth, event.At(time.Date(1+y, time.Month(m+1), 3, 0, 0, 0, 0, time.UTC)))
				h.rows[partition] += int64(c.perYear / 12)
			}
		}
		if got := h.width(); got != c.want {
			t.Errorf("%d years of %d events: width %s, want %s", c.years, c.perYear, got, c.want)
		}
	}
	for _, width := range append([]string{widthMonth}, widths...) {
		for _, text := range []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2024-02-29T12:00:00Z", "9999-12-31T23:59:59.999999Z"} {
			p, from, to := partitionOf(width, at(text))
			if before, _, _ := partitionOf(width, from); from > event.MinTime && before != p || at(text) < from || at(text) >= to {
				t.Errorf("%s of %s: [%s, %s)", width, text, from, to)
			}
			if after, _, _ := partitionOf(width, to-1); to < event.MaxTime && after != p {
				t.Errorf("%s of %s: the last microsecond is in %d, not %d", width, text, after, p)
			}
		}
	}
}

// Files are written, synced, named and made known in the order in which a
// crash at any point loses nothing: bytes, name, directory, manifest; and only
// then the files that nobody needs any more go.
func TestOrderOfWrites(t *testing.T) {
	fs := &faults{Mem: vfs.NewMem()}
	var calls []string
	fs.fail = func(_ int, call, name string) bool {
		kind := path.Ext(strings.TrimSuffix(name, ".tmp"))
		if strings.Contains(name, manifestPrefix) {
			kind = "manifest"
		}
		if c := call + " " + kind; len(calls) == 0 || calls[len(calls)-1] != c {
			calls = append(calls, c)
		}
		return false
	}
	opt := small(nil)
	opt.FS = fs
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	step := func(name, want string, do func() error) {
		t.Helper()
		calls = nil
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(calls, ", "); got != want {
			t.Errorf("%s does\n%s, want\n%s", name, got, want)
		}
	}
	appendOne := func() error {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 0)}), AppendOptions{})
		return err
	}
	step("the first append", "create .wal, write .wal, sync .wal, syncdir , write manifest, sync manifest, write manifest, sync manifest, write .wal, sync .wal", appendOne)
	step("an append", "write .wal, sync .wal", appendOne)
	step("a flush", "create .seg, write .seg, sync .seg, rename .seg, syncdir , write manifest, sync manifest, write manifest, sync manifest, remove .wal", func() error { return s.Flush(t.Context()) })
	step("a link", "write manifest, sync manifest, write manifest, sync manifest", func() error { return s.Link(t.Context(), "a", "b") })
	load := func() error {
		loadEvents(t, s, view("bob", len(s.Imports())))
		return nil
	}
	step("a load", "create .seg, write .seg, sync .seg, rename .seg, syncdir , write manifest, sync manifest, write manifest, sync manifest", load)
	s.opt.ChunkRows = 1
	step("a load of more than stays in memory", "create .run, write .run, create .seg, write .seg, sync .seg, rename .seg, syncdir , write manifest, sync manifest, write manifest, sync manifest, remove .run", load)
	step("a compaction", "create .seg, write .seg, sync .seg, rename .seg, syncdir , write manifest, sync manifest, write manifest, sync manifest, remove .seg", func() error { return s.Compact(t.Context()) })
	step("a new manifest", "remove manifest, create manifest, write manifest, sync manifest, rename manifest, remove manifest, create manifest, write manifest, sync manifest, rename manifest, syncdir , remove manifest", func() error { return s.manifest.rewrite(s.state()) })
}

func TestStatus(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	loadEvents(t, s, view("ann", 0), view("bob", 5))
	appendEvents(t, s, AppendOptions{}, view("anon", 9))
	if err := s.Link(t.Context(), "anon", "ann"); err != nil {
		t.Fatal(err)
	}
	st := s.Status()
	if st.Events != 3 || st.Customers != 2 || st.From != view("", 0).Time || st.To != view("", 9).Time || st.EndOfData != st.To ||
		len(st.Segments) != 1 || st.Segments[0].Events != 2 || st.MemtableEvents != 1 || st.LogFiles != 1 || st.LogBytes == 0 ||
		len(st.Imports) != 1 || st.Links != 1 || st.Partition != "month" || st.Bytes != st.Segments[0].Bytes {
		t.Errorf("status %+v", st)
	}
	sum := int64(0)
	for _, c := range st.Columns {
		sum += c.Bytes
	}
	if len(st.Columns) < 4 || sum > st.Bytes || sum < st.Bytes/2 {
		t.Errorf("columns of %d bytes in %d: %v", sum, st.Bytes, st.Columns)
	}
}
