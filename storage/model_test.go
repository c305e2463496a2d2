package storage

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
	"wend/tile"
)

// model is the plain version of a store: a list of events.
type model struct {
	events []modelEvent // in order of arrival
	links  map[string]string
	undone map[string]bool
}

type modelEvent struct {
	event.Event
	importID string
	memory   bool // durability memory: a crash may lose it
}

// canonical is the customer at the end of the links.
func (m *model) canonical(name string) string {
	for m.links[name] != "" {
		name = m.links[name]
	}
	return name
}

// journeys returns every customer's events as lines, in order; those between
// two times, if to is not 0.
func (m *model) journeys(types map[string]event.Type, from, to event.Time) map[string][]string {
	rows := map[string][]event.Event{}
	for _, e := range m.events {
		if !m.undone[e.importID] || e.importID == "" {
			rows[m.canonical(e.Customer)] = append(rows[m.canonical(e.Customer)], e.Event)
		}
	}
	lines := map[string][]string{}
	for c, list := range rows {
		slices.SortStableFunc(list, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
		for _, e := range list {
			if to != 0 && (e.Time < from || e.Time >= to) {
				continue
			}
			lines[c] = append(lines[c], line(e, types))
		}
	}
	return lines
}

// line writes an event, without the identity it came with.
func line(e event.Event, types map[string]event.Type) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s channel=%q id=%q", e.Time, e.Name, e.Channel, e.ID)
	props := slices.Clone(e.Props)
	slices.SortFunc(props, func(p, q event.Prop) int { return cmp.Compare(p.Name, q.Name) })
	for _, p := range props {
		if types[p.Name] == event.FloatType {
			p.Value = event.Float(p.Value.Float())
		}
		fmt.Fprintf(&b, " %s:%s=%s", p.Name, p.Value.Type(), p.Value)
	}
	return b.String()
}

// content is what makes a repeated event a duplicate or a conflict.
func content(e event.Event) string { return line(e, map[string]event.Type{"value": event.FloatType}) }

func schemaTypes(s *event.Schema) map[string]event.Type {
	types := map[string]event.Type{}
	for _, p := range s.Properties {
		types[p.Name] = p.Type
	}
	return types
}

// everything reads all tiles of a snapshot, and checks their form.
func everything(t *testing.T, snap *Snapshot) map[string][]string {
	t.Helper()
	return between(t, snap, 0, 0)
}

// between reads the events of a snapshot at times from and before to; both 0 means all.
func between(t *testing.T, snap *Snapshot, from, to event.Time) map[string][]string {
	t.Helper()
	schema := snap.Schema()
	need := tile.Need{Names: true, Channel: true, IDs: true, From: from, To: to}
	for i := range schema.Properties {
		need.Properties = append(need.Properties, i)
	}
	lines := map[string][]string{}
	for i := range snap.Tiles() {
		tl, err := snap.Tile(t.Context(), i, need)
		if err != nil {
			t.Fatalf("tile %d: %v", i, err)
		}
		if tl.Rows != int(tl.Starts[tl.Customers()]) || tl.Names.Len() != tl.Customers() {
			t.Fatalf("tile %d: %d rows, starts end at %d, %d names for %d customers", i, tl.Rows, tl.Starts[tl.Customers()], tl.Names.Len(), tl.Customers())
		}
		for c := range tl.Customers() {
			name := tl.Names.At(c)
			if lines[name] != nil {
				t.Fatalf("customer %q is in two tiles", name)
			}
			lo, hi := tl.Range(c)
			ties := false
			for row := lo; row < hi; row++ {
				same := row > lo && tl.Time.At(row) == tl.Time.At(row-1)
				if ties = ties || same; same != (tl.Same != nil && tl.Same.Get(row)) {
					t.Fatalf("customer %q, row %d: at the time of the row before is %v", name, row-lo, same)
				}
				if to != 0 && (tl.Time.At(row) < from || tl.Time.At(row) >= to) {
					continue
				}
				e := event.Event{Time: tl.Time.At(row), Name: schema.Events[tl.Event.At(row)].Text, Channel: schema.Channels[tl.Channel.At(row)].Text}
				if v := tl.IDs.At(row); !v.IsNull() {
					e.ID = v.Text()
				}
				for p, column := range tl.Columns {
					if v := column.At(row); !v.IsNull() {
						e.Props = append(e.Props, event.Prop{Name: schema.Properties[p].Name, Value: v})
					}
				}
				lines[name] = append(lines[name], line(e, nil))
			}
			if tl.Ties.Get(c) != ties {
				t.Fatalf("customer %q: ties are %v", name, ties)
			}
			if to != 0 {
				continue // places are those of the whole tile
			}
			at, index, canonical, ok, err := snap.Locate(t.Context(), name)
			if err != nil || !ok || at != i || index != c || canonical != name {
				t.Fatalf("Locate(%q) = %d, %d, %q, %v, %v; it is at %d, %d", name, at, index, canonical, ok, err, i, c)
			}
		}
	}
	return lines
}

// compare holds a snapshot against the model.
func (m *model) compare(t *testing.T, s *Store) {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	types := schemaTypes(snap.Schema())
	for _, months := range [][2]string{{"2025-01-02T00:00:00Z", "2025-02-02T01:00:00Z"}, {"2025-02-01T01:00:00Z", "2025-03-01T00:00:00Z"}} {
		from, to := at(months[0]), at(months[1])
		if want, got := fmt.Sprint(m.journeys(types, from, to)), fmt.Sprint(between(t, snap, from, to)); got != want {
			t.Fatalf("from %s to %s there is\n%s, want\n%s", from, to, got, want)
		}
	}
	want, got := m.journeys(types, 0, 0), everything(t, snap)
	for _, c := range sortedKeys(want) {
		if !slices.Equal(want[c], got[c]) {
			t.Fatalf("customer %q has\n  %s\nwant\n  %s", c, strings.Join(got[c], "\n  "), strings.Join(want[c], "\n  "))
		}
	}
	for _, c := range sortedKeys(got) {
		if want[c] == nil {
			t.Fatalf("customer %q should not be there", c)
		}
	}
	rows := 0
	for _, list := range want {
		rows += len(list)
	}
	if n, err := snap.Customers(); err != nil || n != int64(len(want)) || snap.Events() != int64(rows) {
		t.Fatalf("%d customers, %v, %d events; want %d, %d", n, err, snap.Events(), len(want), rows)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// small are options under which everything happens within a few events.
func small(fs vfs.FS) Options {
	clock := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return Options{
		FS: fs, Rand: rand.New(rand.NewPCG(1, 2)), Clock: func() time.Time { return clock },
		Partition: widthMonth, MemtableEvents: 40, SegmentRows: 60, ChunkRows: 30, BlockCustomers: 3, CacheBytes: 1 << 20,
	}
}

func open(t *testing.T, fs vfs.FS, dir string) *Store {
	t.Helper()
	s, err := Open(dir, small(fs))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func batchOf(events []event.Event) *event.Batch {
	b := event.NewBuilder()
	for _, e := range events {
		b.Add(e)
	}
	return b.Batch()
}

// shop makes random events with few customers, times and values, so that
// everything collides.
type shop struct {
	r      *rand.Rand
	floats bool // "value" is not always an integer
}

func (g *shop) event() event.Event {
	e := event.Event{
		Customer: fmt.Sprintf("c%d", g.r.IntN(12)),
		Time:     event.At(time.Date(2025, time.Month(1+g.r.IntN(3)), 1+g.r.IntN(2), g.r.IntN(2), 0, 0, 0, time.UTC)),
		Name:     []string{"view", "cart", "buy"}[g.r.IntN(3)],
		Channel:  []string{"", "web", "store"}[g.r.IntN(3)],
	}
	if g.r.IntN(2) == 0 {
		e.Props = append(e.Props, event.Prop{Name: "page", Value: event.String(fmt.Sprintf("p%d", g.r.IntN(3)))})
	}
	switch g.r.IntN(8) {
	case 0, 3:
		e.Props = append(e.Props, event.Prop{Name: "value", Value: event.Integer(int64(g.r.IntN(3)))})
	case 4:
		if g.floats {
			e.Props = append(e.Props, event.Prop{Name: "value", Value: event.Float(float64(g.r.IntN(4)) / 2)})
		}
	case 1:
		e.Props = append(e.Props, event.Prop{Name: "sure", Value: event.Boolean(g.r.IntN(2) == 0)})
	case 2:
		e.Props = append(e.Props, event.Prop{Name: "due", Value: event.Instant(event.Time(g.r.IntN(3)))})
	}
	if g.r.IntN(3) == 0 {
		e.ID = fmt.Sprintf("id%d", g.r.IntN(400))
	}
	return e
}

func (g *shop) events(n int) []event.Event {
	list := make([]event.Event, n)
	for i := range list {
		list[i] = g.event()
	}
	return list
}

// addBatch is what Append should do; it returns accepted, duplicates and conflicts.
func (m *model) addBatch(events []event.Event, memory bool) (n [3]int64) {
	for _, e := range events {
		m.add(modelEvent{Event: e, memory: memory}, &n)
	}
	return n
}

func (m *model) add(e modelEvent, n *[3]int64) {
	switch first, known := m.find(e.Event); {
	case !known:
		m.events = append(m.events, e)
		n[0]++
	case content(first) == content(e.Event):
		n[1]++
	default:
		n[2]++
	}
}

func (m *model) find(e event.Event) (event.Event, bool) {
	if e.ID == "" {
		return e, false
	}
	for _, o := range m.events {
		if o.Customer == e.Customer && o.ID == e.ID && (o.importID == "" || !m.undone[o.importID]) {
			return o.Event, true
		}
	}
	return e, false
}

// addLoad is what a bulk load should do.
func (m *model) addLoad(events []event.Event, importID string) (n [3]int64) {
	stored := map[string]int{}
	for _, o := range m.events {
		if o.ID == "" && (o.importID == "" || !m.undone[o.importID]) {
			stored[o.Customer+" "+content(o.Event)]++
		}
	}
	for _, e := range events {
		key := e.Customer + " " + content(e)
		if e.ID == "" && stored[key] > 0 {
			stored[key]--
			n[1]++
			continue
		}
		m.add(modelEvent{Event: e, importID: importID}, &n)
	}
	return n
}

// TestRandomHistories does random things to a store and to the model.
func TestRandomHistories(t *testing.T) {
	histories, steps := 80, 25
	if testing.Short() {
		histories = 20
	}
	for seed := range uint64(histories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			var fs vfs.FS = vfs.NewMem()
			dir := "store"
			if seed%10 == 0 {
				fs, dir = vfs.OS{}, filepath.Join(t.TempDir(), "store")
			}
			history{t: t, g: &shop{r: r}, m: &model{links: map[string]string{}, undone: map[string]bool{}}, fs: fs, dir: dir}.run(steps)
		})
	}
	t.Logf("%d histories of %d steps, seeds 0 to %d", histories, steps, histories-1)
}

type history struct {
	t   *testing.T
	g   *shop
	m   *model
	fs  vfs.FS
	dir string
}

func (h history) run(steps int) {
	t, r, ctx := h.t, h.g.r, context.Background()
	opt := small(h.fs)
	opt.Partition = []string{widthMonth, ""}[r.IntN(2)] // the events are of three months
	s, err := Open(h.dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var imports []string
	var pinned *Snapshot // some state of long ago, and what it showed
	var shown string
	for step := range steps {
		h.g.floats = step > steps/3 // by then there are segments with integers
		switch r.IntN(13) {
		case 0, 1, 2, 3:
			events := h.g.events(1 + r.IntN(20))
			level := Durability(r.IntN(3))
			ack, err := s.Append(ctx, batchOf(events), AppendOptions{Durability: level})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := [3]int64{ack.Accepted, ack.Duplicates, ack.Conflicts}, h.m.addBatch(events, level == Memory); got != want {
				t.Fatalf("append: accepted, duplicates, conflicts = %v, want %v", got, want)
			}
		case 4, 5:
			events := h.g.events(1 + r.IntN(150))
			if n := len(h.m.events); n > 0 && r.IntN(2) == 0 { // part of what is there already
				for range 20 {
					events = append(events, h.m.events[r.IntN(n)].Event)
				}
			}
			l, err := s.NewLoad(ctx, LoadOptions{Source: "test"})
			if err != nil {
				t.Fatal(err)
			}
			for part := range slices.Chunk(events, 17) {
				if err := l.Add(batchOf(part)); err != nil {
					t.Fatal(err)
				}
			}
			if r.IntN(6) == 0 {
				if err := l.Abort(); err != nil {
					t.Fatal(err)
				}
				break
			}
			res, err := l.Commit(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := [3]int64{res.Events, res.Duplicates, res.Conflicts}, h.m.addLoad(events, res.ImportID); got != want {
				t.Fatalf("load: events, duplicates, conflicts = %v, want %v", got, want)
			}
			if res.ImportID != "" {
				imports = append(imports, res.ImportID)
			}
		case 6:
			if err := s.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		case 7:
			if _, err := s.CompactStep(ctx); err != nil {
				t.Fatal(err)
			}
		case 8:
			if r.IntN(2) == 0 {
				if err := s.Compact(ctx); err != nil {
					t.Fatal(err)
				}
			}
		case 9:
			from, to := fmt.Sprintf("c%d", r.IntN(12)), fmt.Sprintf("c%d", r.IntN(14))
			err := s.Link(ctx, from, to)
			legal := h.m.links[from] == to || h.m.links[from] == "" && h.m.canonical(to) != from
			if legal != (err == nil) {
				t.Fatalf("link %s to %s: legal is %v, error is %v", from, to, legal, err)
			}
			if legal {
				h.m.links[from] = to
			}
			for from := range h.m.links {
				if r.IntN(6) == 0 {
					if err := s.Unlink(ctx, from); err != nil {
						t.Fatal(err)
					}
					delete(h.m.links, from)
				}
				break
			}
		case 10:
			if len(imports) > 0 {
				id := imports[r.IntN(len(imports))]
				_, err := s.Undo(ctx, id)
				if (err == nil) == h.m.undone[id] {
					t.Fatalf("undo of %s: undone before is %v, error is %v", id, h.m.undone[id], err)
				}
				h.m.undone[id] = true
			}
		case 11:
			before, _, _ := strings.Cut(version(t, s), "-p") // closing makes all durable
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, h.fs, h.dir)
			if after := version(t, s); after != before {
				t.Fatalf("version %s became %s by opening again", before, after)
			}
		case 12:
			mem, ok := h.fs.(*vfs.Mem)
			if !ok {
				break
			}
			h.fs = mem.Clone() // the process is gone, and its memory with it
			s.Close()
			h.m.events = slices.DeleteFunc(h.m.events, func(e modelEvent) bool { return e.memory })
			opt := small(h.fs)
			opt.ReadOnly = true
			reader, err := Open(h.dir, opt)
			if err != nil {
				t.Fatal(err)
			}
			h.m.compare(t, reader)
			if err := reader.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, h.fs, h.dir)
		}
		if s.mem.rows == 0 { // flushed: durable after all
			for i := range h.m.events {
				h.m.events[i].memory = false
			}
		}
		h.m.compare(t, s)
		if pinned != nil {
			if now := fmt.Sprint(everything(t, pinned)); now != shown {
				t.Fatalf("a snapshot changed from\n%s to\n%s", shown, now)
			}
		}
		if pinned == nil || r.IntN(4) == 0 {
			if pinned != nil {
				pinned.Release()
			}
			var err error
			if pinned, err = s.Snapshot(); err != nil {
				t.Fatal(err)
			}
			shown = fmt.Sprint(everything(t, pinned))
		}
	}
	pinned.Release()
	report, err := s.Check(ctx)
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("check: %v, %v", report, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func version(t *testing.T, s *Store) string {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	return snap.Version()
}
