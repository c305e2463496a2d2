package storage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs/simfs"
	"wend/tile"
)

// Canaries are strings that only the erased customer has: whoever still sings
// after the erasure betrays a byte that stayed.
const (
	canaryName   = "Kanarienvogel-αβγ-4711-with-a-name-that-is-rather-long@example.org"
	canaryShort  = "Q~z¤"
	canaryAnon   = "anon-0f3c-canary"
	canaryID     = "canary-event-id"
	canaryText   = "Canary Road 7, 12345 Canaria"
	canaryEvent  = "opened_canary_letter"
	canaryProp   = "canary_allergy"
	canaryPath   = "canary_channel"
	canaryToken  = "batch-of-canary"
	canaryDefine = "canary-in-a-definition"
)

// identities of the erased customer: one is linked to another, that to the first.
var canaryNames = []string{canaryName, canaryShort, canaryAnon}

var canaries = []string{canaryName, canaryShort, canaryAnon, canaryID, canaryText, canaryEvent, canaryProp, canaryPath, canaryToken, canaryDefine, "canar", "Canar"}

// canaryEvents makes events of the customer that is going to be erased.
func canaryEvents(r *rand.Rand, n int) []event.Event {
	list := make([]event.Event, n)
	for i := range list {
		e := event.Event{
			Customer: canaryNames[r.IntN(len(canaryNames))],
			Time:     event.At(time.Date(2025, time.Month(1+r.IntN(3)), 1+r.IntN(3), 0, 0, 0, 0, time.UTC)),
			Name:     []string{"view", "buy", canaryEvent}[r.IntN(3)],
			Channel:  []string{"", "web", canaryPath}[r.IntN(3)],
		}
		if r.IntN(8) == 0 { // far in the future, as a wrong clock would have it: bulk loads take it
			e.Time = event.At(time.Date(2091, 1, 1, 0, 0, 0, 0, time.UTC))
		}
		if r.IntN(2) == 0 {
			e.ID = fmt.Sprint(canaryID, r.IntN(50))
		}
		if r.IntN(2) == 0 {
			e.Props = append(e.Props, event.Prop{Name: canaryProp, Value: event.String("nuts")})
		}
		if r.IntN(2) == 0 {
			e.Props = append(e.Props, event.Prop{Name: "page", Value: event.String([]string{canaryText, canaryDefine, "p1"}[r.IntN(3)])})
		}
		list[i] = e
	}
	return list
}

// singing lists where in the files of a directory a canary is left.
func singing(fs *simfs.FS, words []string) []string {
	var found []string
	files := fs.Files()
	for _, name := range sortedKeys(files) {
		look := func(how string, data []byte) {
			for _, w := range words {
				if bytes.Contains(data, []byte(w)) {
					found = append(found, fmt.Sprintf("%s (%s): %q", name, how, w))
				}
			}
		}
		look("name", []byte(name))
		look("raw", files[name])
		decompressed(files[name], func(data []byte) { look("decompressed", data) })
		if strings.HasSuffix(name, ".seg") {
			look("decoded", decodedSegment(fs, name, files[name]))
		}
	}
	return found
}

// decompressed decompresses whatever begins like a compressed frame.
func decompressed(data []byte, see func([]byte)) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<24))
	if err != nil {
		panic(err)
	}
	defer d.Close()
	for at := 0; ; at++ {
		i := bytes.Index(data[at:], []byte{0x28, 0xb5, 0x2f, 0xfd})
		if i < 0 {
			return
		}
		at += i
		out, _ := d.DecodeAll(data[at:], nil) // what follows the frame is no frame
		see(out)
	}
}

// decodedSegment is every string of a segment.
func decodedSegment(fs *simfs.FS, name string, data []byte) []byte {
	var b bytes.Buffer
	if err := Dump(&b, fs, name); err != nil {
		return b.Bytes() // it is damaged: its raw bytes are looked at
	}
	var store [16]byte
	copy(store[:], data[16:32])
	id, _ := fileNumber(name[strings.LastIndexByte(name, '/')+1:])
	seg, err := openSegment(name, bytes.NewReader(data), int64(len(data)), store, id)
	if err != nil {
		return b.Bytes()
	}
	fmt.Fprintln(&b, seg.Events, seg.Channels, seg.Imports, seg.Properties, seg.columns)
	for i, p := range seg.Properties {
		if p.Type == event.StringType && seg.ValueCounts[i] > 0 {
			values, _ := seg.dictionary(i)
			fmt.Fprintln(&b, values)
		}
	}
	for _, e := range seg.blocks {
		block, err := seg.Block(e.block)
		if err != nil {
			continue
		}
		rows, err := block.Decode()
		if err != nil {
			continue
		}
		for i := range rows.Names.Len() {
			fmt.Fprintln(&b, rows.Names.At(i))
		}
		if rows.IDs != nil {
			fmt.Fprintln(&b, rows.IDs.Dict)
		}
		rows.eachColumn(func(_ int, _ []uint32, c *tile.Column) { fmt.Fprintln(&b, c.Dict) })
	}
	return b.Bytes()
}

// others is what a store answers about everybody but the canaries: a line for
// each event, in order.
func others(t testing.TB, s *Store) string {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	return described(t, snap, func(name string) bool { return !slices.Contains(canaryNames, name) })
}

func described(t testing.TB, snap *Snapshot, who func(string) bool) string {
	t.Helper()
	schema := snap.Schema()
	need := tile.Need{Names: true, Channel: true, IDs: true}
	for i := range schema.Properties {
		need.Properties = append(need.Properties, i)
	}
	var lines []string
	rows := int64(0)
	for i := range snap.Tiles() {
		tl, err := snap.Tile(context.Background(), i, need)
		if err != nil {
			t.Fatal(err)
		}
		rows += int64(tl.Rows)
		for c := range tl.Customers() {
			if !who(tl.Names.At(c)) {
				continue
			}
			var line strings.Builder
			lo, hi := tl.Range(c)
			for row := lo; row < hi; row++ {
				fmt.Fprint(&line, tl.Names.At(c), " ", tl.Time.At(row), " ", schema.Events[tl.Event.At(row)].Text, " ", schema.Channels[tl.Channel.At(row)].Text, " ", tl.IDs.At(row))
				var props []string
				for k, p := range schema.Properties {
					if v := tl.Columns[k].At(row); !v.IsNull() {
						props = append(props, fmt.Sprint(" ", p.Name, "=", v))
					}
				}
				slices.Sort(props)
				fmt.Fprintln(&line, strings.Join(props, ""))
			}
			lines = append(lines, line.String())
		}
	}
	if rows != snap.Events() {
		t.Fatalf("the tiles have %d rows, the snapshot says %d", rows, snap.Events())
	}
	slices.Sort(lines) // tiles may be cut otherwise
	return strings.Join(lines, "")
}

// eraseStore is a store with a random history, of which canaries are a part.
type eraseStore struct {
	t    testing.TB
	seed uint64
	r    *rand.Rand
	fs   *simfs.FS
	s    *Store
	seq  int
	now  time.Time
	tok  map[string]Ack
	sent map[string][]event.Event
}

func newEraseStore(t testing.TB, seed uint64) *eraseStore {
	e := &eraseStore{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 21)), fs: simfs.New(simfs.Strict), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), tok: map[string]Ack{}, sent: map[string][]event.Event{}}
	e.open()
	return e
}

func (e *eraseStore) open() {
	e.t.Helper()
	s, err := Open("data/store", Options{FS: e.fs, Rand: rand.New(rand.NewPCG(e.seed, 22)), Clock: func() time.Time { e.now = e.now.Add(time.Second); return e.now },
		MemtableEvents: 30, SegmentRows: 40, ChunkRows: 25, BlockCustomers: 3, CacheBytes: 1 << 20})
	if err != nil {
		e.t.Fatalf("seed %d: open: %v", e.seed, err)
	}
	e.s = s
}

func (e *eraseStore) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatalf("seed %d: %v", e.seed, err)
	}
}

// live does something that has nothing to do with the erasure, or everything.
func (e *eraseStore) live(canary bool) {
	ctx := context.Background()
	g := &shop{r: e.r}
	events := g.events(1 + e.r.IntN(9))
	if canary && e.r.IntN(2) == 0 {
		events = append(events, canaryEvents(e.r, 1+e.r.IntN(5))...)
		e.r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	}
	e.seq++
	switch e.r.IntN(10) {
	default:
		opt := AppendOptions{Durability: []Durability{Sync, Interval, Memory}[e.r.IntN(3)]}
		if e.r.IntN(3) == 0 {
			opt.Token = fmt.Sprint("t", e.seq)
			if canary {
				opt.Token = fmt.Sprint(canaryToken, e.seq)
				if e.r.IntN(2) == 0 { // an event that is rejected, with a reason that names it
					events = append(events, event.Event{Customer: canaryName, Time: 1, Name: canaryEvent + "\xff"})
				}
			}
		}
		ack, err := e.s.Append(ctx, batchOf(events), opt)
		e.must(err)
		if opt.Token != "" {
			e.tok[opt.Token], e.sent[opt.Token] = ack, events
		}
	case 0:
		source := "export"
		if canary {
			source = "export of " + canaryShort
		}
		l, err := e.s.NewLoad(ctx, LoadOptions{Source: source})
		e.must(err)
		e.must(l.Add(batchOf(events)))
		res, err := l.Commit(ctx)
		e.must(err)
		if res.ImportID != "" && e.r.IntN(4) == 0 {
			_, err := e.s.Undo(ctx, res.ImportID)
			e.must(err)
		}
	case 1:
		e.must(e.s.Flush(ctx))
	case 2:
		_, err := e.s.CompactStep(ctx)
		e.must(err)
	case 3:
		from, to := fmt.Sprintf("c%d", e.r.IntN(12)), fmt.Sprintf("c%d", e.r.IntN(12))
		_ = e.s.Link(ctx, from, to) // some cannot be
	case 4:
		if e.r.IntN(3) == 0 {
			e.must(e.s.Compact(ctx))
		}
	}
}

// tell fills a store with canaries, and everything that may name them.
func (e *eraseStore) tell() {
	ctx := context.Background()
	for range 3 + e.r.IntN(25) {
		e.live(true)
	}
	e.must(e.s.Link(ctx, canaryAnon, canaryShort))
	e.must(e.s.Link(ctx, canaryShort, canaryName))
	for i, text := range []string{
		"define touchpoint d0 as " + canaryEvent, "define segment d1 as customers where page = '" + canaryDefine + "'",
		"define segment d2 as customers where customer = '" + canaryShort + "'", "define touchpoint d3 as view",
	} {
		_, err := e.s.Define(ctx, event.Definition{Kind: "touchpoint", Name: fmt.Sprint("d", i), Text: text})
		e.must(err)
	}
	// The last definition stays: somebody else has what it names.
	_, err := e.s.Append(ctx, batchOf([]event.Event{{Customer: "c1", Time: event.At(time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)), Name: "view"}}), AppendOptions{})
	e.must(err)
	// The row that the second definition is about, and one of each canary.
	full := event.Event{Customer: canaryAnon, Time: event.At(time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)), Name: canaryEvent, Channel: canaryPath, ID: canaryID,
		Props: []event.Prop{{Name: canaryProp, Value: event.String(canaryText)}, {Name: "page", Value: event.String(canaryDefine)}}}
	ack, err := e.s.Append(ctx, batchOf([]event.Event{full}), AppendOptions{Token: canaryToken})
	e.must(err)
	e.tok[canaryToken], e.sent[canaryToken] = ack, []event.Event{full}
	for range e.r.IntN(5) {
		e.live(true)
	}
}

func (e *eraseStore) finish() {
	e.t.Helper()
	for range 10_000 {
		worked, err := e.s.EraseStep(context.Background())
		e.must(err)
		if !worked {
			return
		}
	}
	e.t.Fatalf("seed %d: the erasure does not end", e.seed)
}

// TestEraseCanaries is promise P10: after an erasure no byte of the customer
// is left in any file, raw or decompressed, nothing answers with one, and what
// is known of everybody else is the same to the byte. WEND_ERASE_STORES says in
// how many random stores.
func TestEraseCanaries(t *testing.T) {
	seed, stores := trust.Number("WEND_SEED", 1), trust.Number("WEND_ERASE_STORES", 200)
	if testing.Short() {
		stores = min(stores, 40)
	}
	scanned := 0
	for at := range stores {
		scanned += eraseCanaries(t, seed+at)
		if t.Failed() {
			break
		}
	}
	trust.Report(t, "P10", "random stores", stores, "files scanned", scanned, "bytes of an erased customer", 0, "seed", seed)
}

func eraseCanaries(t testing.TB, seed uint64) (files int) {
	e := newEraseStore(t, seed)
	defer func() { kill(e.s) }()
	ctx := context.Background()
	e.tell()
	before := others(t, e.s)
	var pinned *Snapshot
	if e.r.IntN(4) == 0 {
		var err error
		pinned, err = e.s.Snapshot()
		e.must(err)
	}
	after := After(e.r.IntN(2))
	receipt, err := e.s.Erase(ctx, canaryNames[e.r.IntN(len(canaryNames))], EraseOptions{After: after})
	e.must(err)
	e.quiet(before, "right after the erasure")
	if e.r.IntN(3) == 0 { // power fails
		if pinned != nil {
			pinned.Release()
			pinned = nil
		}
		next := e.fs.Crash(e.r, simfs.Mode(e.r.IntN(int(simfs.Modes))))
		kill(e.s)
		e.fs = next
		e.open()
		if durable := others(t, e.s); len(durable) < len(before) { // interval and memory batches may be lost
			before = durable
		}
		e.quiet(before, "after a power failure")
	}
	for range e.r.IntN(6) {
		worked, err := e.s.EraseStep(ctx)
		e.must(err)
		if !worked {
			break
		}
		e.quiet(before, "between two steps")
	}
	if pinned != nil {
		e.finish()
		if r, err := e.s.Receipt(receipt.ID); err != nil || r.State == "done" && len(singing(e.fs, canaries)) > 0 {
			t.Fatalf("seed %d: done while a snapshot shows the customer: %+v, %v", seed, r, err)
		}
		described(t, pinned, func(string) bool { return true }) // what it reads is still there
		pinned.Release()
	}
	for range e.r.IntN(4) {
		e.live(false)
	}
	before = others(t, e.s)
	e.finish()
	e.quiet(before, "at the end")
	if left := singing(e.fs, canaries); len(left) > 0 {
		t.Fatalf("seed %d: %d canaries are left:\n%s", seed, len(left), strings.Join(left, "\n"))
	}
	done, err := e.s.Receipt(receipt.ID)
	if err != nil || done.State != "done" || done.Finished == nil || len(done.Warnings) > 0 {
		t.Fatalf("seed %d: the receipt says %+v, %v", seed, done, err)
	}
	if err := checkClean(e.s, true); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, d := range e.s.state().defines {
		if d.Name != "d3" {
			t.Fatalf("seed %d: definition %q is still there", seed, d.Text)
		}
	}
	if len(e.s.state().defines) != 1 || len(e.s.Links()) > 0 && slices.ContainsFunc(e.s.Links(), func(l Link) bool { return slices.Contains(canaryNames, l.From) }) {
		t.Fatalf("seed %d: definitions %v, links %v", seed, e.s.state().defines, e.s.Links())
	}
	files = len(e.fs.Files())
	e.again(after, before)
	return files
}

// quiet checks that nothing is shown of the canaries, and everything of others.
func (e *eraseStore) quiet(before, when string) {
	e.t.Helper()
	snap, err := e.s.Snapshot()
	e.must(err)
	defer snap.Release()
	all := described(e.t, snap, func(string) bool { return true })
	for _, w := range canaries {
		if strings.Contains(all, w) {
			e.t.Fatalf("seed %d: %s, %q is shown:\n%s", e.seed, when, w, all)
		}
	}
	if all != before {
		e.t.Fatalf("seed %d: %s, the others have\n%swant\n%s", e.seed, when, all, before)
	}
	if to, ok := snap.EndOfData(); ok && to.Std().Year() > 2089 {
		e.t.Fatalf("seed %d: %s, the data end at %v, a time that only the erased customer had", e.seed, when, to)
	}
}

// again sends what was erased once more, before and after the store is opened
// again, and batches whose token is known.
func (e *eraseStore) again(after After, before string) {
	ctx := context.Background()
	for _, token := range sortedKeys(e.tok) {
		ack, err := e.s.Append(ctx, batchOf(e.sent[token]), AppendOptions{Token: token})
		e.must(err)
		want := e.tok[token]
		if ack.LSN != want.LSN || ack.Accepted != want.Accepted || len(ack.Rejected) != len(want.Rejected) {
			if ack.LSN <= want.LSN {
				e.t.Fatalf("seed %d: token %q got %+v, the first answer was %+v", e.seed, token, ack, want)
			}
			continue // lost with the power
		}
	}
	bytes := int64(0)
	for t := range e.s.state().tokens.all() {
		bytes += t.size(e.s.state().format)
	}
	if n := e.s.state().tokens.size(); n != bytes {
		e.t.Fatalf("seed %d: %s, tokens count as %d bytes and have %d", e.seed, before, n, bytes)
	}
	for range 2 {
		events := canaryEvents(e.r, 1)
		events[0].ID, events[0].Time = canaryID, event.At(e.now)
		ack, err := e.s.Append(ctx, batchOf(events), AppendOptions{})
		e.must(err)
		if after == Suppress && (ack.Accepted != 0 || ack.Suppressed != 1) {
			e.t.Fatalf("seed %d: an event that is to be refused: %+v", e.seed, ack)
		}
		if after == Allow && ack.Accepted+ack.Duplicates+ack.Conflicts != 1 {
			e.t.Fatalf("seed %d: an event under a name that is free again: %+v", e.seed, ack)
		}
		l, err := e.s.NewLoad(ctx, LoadOptions{})
		e.must(err)
		e.must(l.Add(batchOf(canaryEvents(e.r, 3))))
		res, err := l.Commit(ctx)
		e.must(err)
		if after == Suppress && (res.Events != 0 || res.Suppressed != 3) {
			e.t.Fatalf("seed %d: events of a file that are to be refused: %+v", e.seed, res)
		}
		e.must(e.s.Close())
		e.open()
	}
}

// A batch that no log has is in memory alone, with what its sender called it and
// why an event of it was rejected. That is not written down after the erasure.
func TestEraseWhatNoLogHas(t *testing.T) {
	e := newEraseStore(t, 1)
	defer func() { kill(e.s) }()
	ctx := t.Context()
	sent := append((&shop{r: e.r}).events(3), event.Event{Customer: canaryName, Time: 1, Name: canaryEvent + "\xff"})
	opt := AppendOptions{Durability: Memory, Token: canaryToken}
	ack, err := e.s.Append(ctx, batchOf(sent), opt)
	e.must(err)
	_, err = e.s.Erase(ctx, canaryName, EraseOptions{})
	e.must(err)
	e.finish()
	_, err = e.s.Append(ctx, batchOf((&shop{r: e.r}).events(3)), AppendOptions{})
	e.must(err)
	e.must(e.s.Flush(ctx))
	if left := singing(e.fs, canaries); len(left) > 0 {
		t.Errorf("left are\n%s", strings.Join(left, "\n"))
	}
	again, err := e.s.Append(ctx, batchOf(sent), opt)
	if err != nil || again.Accepted != ack.Accepted || again.LSN != ack.LSN {
		t.Errorf("sent again: %+v, %v; at first %+v", again, err, ack)
	}
}
