package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/storage"
	"wend/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands at the beginning of 2026.
func clock() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// openDB opens a store in memory with some events in it.
func openDB(t *testing.T, fs vfs.FS, events []event.Event, opt engine.Options) *engine.DB {
	t.Helper()
	opt.Storage.FS, opt.Storage.Clock = fs, clock
	db, err := engine.Open("shop", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if len(events) > 0 {
		if _, err := db.Append(context.Background(), events); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func ask(t *testing.T, db *engine.DB, text string, opts ...engine.QueryOption) *engine.Result {
	t.Helper()
	res, err := db.Query(context.Background(), text, opts...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return res
}

// first is the answer's first cell.
func first(res *engine.Result) any { return res.Rows[0][0] }

func TestAppendLinkQuery(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("anon", 0, "view", "web"), at("ann", 60, "buy", "store")}, engine.Options{})
	const text = "funnel view -> buy within 1h"
	if res := ask(t, db, text); res.Rows[1][2] != int64(0) {
		t.Errorf("before the link: %v", res.Rows)
	}
	if err := db.Link(context.Background(), "anon", "ann"); err != nil {
		t.Fatal(err)
	}
	if res := ask(t, db, text); res.Rows[1][2] != int64(1) {
		t.Errorf("after the link: %v", res.Rows)
	}
	if rows := ask(t, db, "journey of 'anon'").Rows; len(rows) != 2 {
		t.Errorf("journey: %v", rows)
	}
	if err := db.Unlink(context.Background(), "anon"); err != nil || len(db.Links()) != 0 {
		t.Errorf("unlink: %v, %v", err, db.Links())
	}
}

// A clash of types rejects the event it is found at, by its place in what the
// caller gave, whether storage finds it or the batch cannot hold it.
func TestAppendRejectsByIndex(t *testing.T) {
	db := openDB(t, vfs.NewMem(), nil, engine.Options{})
	events := make([]event.Event, 5)
	for i, x := range []event.Value{event.String("a"), event.Integer(1), event.String("b"), event.Null, event.Boolean(true)} {
		events[i] = at("ann", int64(i), "e", "")
		events[i].Props = []event.Prop{{Name: "x", Value: x}}
	}
	events[3].Customer = ""
	ack, err := db.Append(context.Background(), events)
	if err != nil || ack.Accepted != 2 {
		t.Fatalf("%+v, %v", ack, err)
	}
	var places []int
	for _, r := range ack.Rejected {
		places = append(places, r.Index)
	}
	if slices.Sort(places); !slices.Equal(places, []int{1, 3, 4}) {
		t.Errorf("rejected %v", ack.Rejected)
	}
}

func TestAnswersAreCachedByWhatWasAskedAndOfWhat(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	if ask(t, db, "measure events").Meta.Cached {
		t.Error("cached at first")
	}
	if res := ask(t, db, "MEASURE  events -- again"); !res.Meta.Cached || first(res) != int64(1) {
		t.Errorf("another way to write it: cached %v, %v", res.Meta.Cached, res.Rows)
	}
	if ask(t, db, "measure events", engine.NoCache()).Meta.Cached {
		t.Error("cached in spite of NoCache")
	}
	param := func(v string) engine.QueryOption {
		return engine.WithParams(map[string]event.Value{"c": event.String(v)})
	}
	ask(t, db, "measure events where channel = $c", param("web"))
	if res := ask(t, db, "measure events where channel = $c", param("app")); res.Meta.Cached || first(res) != int64(0) {
		t.Errorf("another parameter: cached %v, %v", res.Meta.Cached, res.Rows)
	}
	if _, err := db.Append(context.Background(), []event.Event{at("bob", 5, "view", "web")}); err != nil {
		t.Fatal(err)
	}
	if res := ask(t, db, "measure events"); res.Meta.Cached || first(res) != int64(2) {
		t.Errorf("after an append: cached %v, %v", res.Meta.Cached, res.Rows)
	}
	// What a definition stands for is part of the state.
	ask(t, db, "define touchpoint seen as view")
	ask(t, db, "measure events where event = 'view'")
	ask(t, db, "paths from seen")
	if res := ask(t, db, "define touchpoint seen as view[channel = 'app']"); res.Rows[0][3] != "replaced" {
		t.Errorf("defining again: %v", res.Rows)
	}
	if res := ask(t, db, "paths from seen", engine.WithLenient()); res.Meta.Cached || len(res.Rows) != 0 {
		t.Errorf("after defining again: cached %v, %v", res.Meta.Cached, res.Rows)
	}
}

func TestDefineAndDrop(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, fs, []event.Event{at("ann", 0, "view", "web"), at("ann", 5, "buy", "")}, engine.Options{})
	ask(t, db, "define segment buyers as did buy")
	if res := ask(t, db, "measure customers among in buyers"); first(res) != int64(1) {
		t.Errorf("%v", res.Rows)
	}
	if _, err := db.Query(context.Background(), "define segment x as in nobody"); !isMistake(err) {
		t.Errorf("defining with an unknown name: %v", err)
	}
	ask(t, db, "define segment good as in buyers")
	if _, err := db.Query(context.Background(), "drop buyers"); !isMistake(err) || !strings.Contains(err.Error(), "good") {
		t.Errorf("dropping what another uses: %v", err)
	}
	for _, text := range []string{"define segment y as did view", "drop good"} {
		if _, err := db.Query(context.Background(), text, engine.ReadOnlyQuery()); !errors.Is(err, storage.ErrReadOnly) {
			t.Errorf("%s where only reading is allowed: %v", text, err)
		}
	}
	ask(t, db, "drop good")
	if res := ask(t, db, "show definitions"); len(res.Rows) != 1 {
		t.Errorf("%v", res.Rows)
	}
}

func isMistake(err error) bool {
	var mistake *query.Error
	return errors.As(err, &mistake)
}

func TestCheckFindsMistakesWithoutRunning(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	if err := db.Check(t.Context(), "define touchpoint seen as view; funnel seen -> view; drop seen; paths"); err != nil {
		t.Errorf("a good script: %v", err)
	}
	if _, definitions, _ := db.Schema(); len(definitions) != 0 {
		t.Errorf("checking defined %v", definitions)
	}
	err := db.Check(t.Context(), "funnel veiw -> view; paths from biew; measure evens")
	var all query.Errors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Errorf("three mistakes: %v", err)
	}
	if err := db.Check(t.Context(), "measure events where channel = $c"); !isMistake(err) {
		t.Errorf("a parameter without value: %v", err)
	}
	for _, text := range []string{"", "paths; paths"} {
		if _, err := db.Query(context.Background(), text); !isMistake(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// looking is a context that ends after so many looks at it.
type looking struct {
	context.Context
	left int
}

func (l *looking) Err() error {
	if l.left--; l.left < 0 {
		return context.Canceled
	}
	return nil
}

// Check reads no more than a script's length and Complete no more than a
// statement's, both wait for their turn, and end when nobody waits for them.
func TestCheckAndCompleteAreBounded(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	code := func(err error) string {
		var all query.Errors
		if !errors.As(err, &all) || len(all) != 1 {
			return fmt.Sprint(err)
		}
		return all[0].Code
	}
	if err := db.Check(t.Context(), strings.Repeat("paths;", 1000)); err != nil {
		t.Errorf("as many statements as may be: %v", err)
	}
	if err := db.Check(t.Context(), strings.Repeat("paths;", 1001)); code(err) != "too_many_statements" {
		t.Errorf("one more: %v", err)
	}
	statement := "measure events where channel = '" + strings.Repeat("x", 650) + "';"
	if err := db.Check(t.Context(), strings.Repeat(statement, 300)); err != nil {
		t.Errorf("%d bytes of short statements: %.300v", 300*len(statement), err)
	}
	if err := db.Check(t.Context(), "paths;"+strings.Repeat(" ", 1<<20-11)+"paths"); err != nil {
		t.Errorf("a script of 1 MiB: %.300v", err)
	}
	if err := db.Check(t.Context(), strings.Repeat(" ", 1<<20)+"p"); code(err) != query.CodeTextTooLong {
		t.Errorf("a longer one: %.300v", err)
	}
	if err := db.Check(t.Context(), "paths where channel = '"+strings.Repeat("x", query.StatementBytesMax)+"'"); code(err) != query.CodeTextTooLong {
		t.Errorf("a long statement: %.300v", err)
	}
	long := strings.Repeat(" ", query.StatementBytesMax) + "fun"
	if items, from := db.Complete(t.Context(), long, len(long)); items != nil || from != len(long) {
		t.Errorf("a long text completes to %v from %d", items, from)
	}
	if err := db.Check(&looking{t.Context(), 5}, strings.Repeat("drop zz;", 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the middle: %v", err)
	}
	if err := db.Check(&looking{t.Context(), 11}, strings.Repeat("drop zz;", 10)); !isMistake(err) {
		t.Errorf("not cancelled: %v", err)
	}
	db.Close()
	if err := db.Check(t.Context(), "paths"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestComplete(t *testing.T) {
	e := at("ann", 0, "view", "web")
	e.Props = []event.Prop{{Name: "tier", Value: event.String("gold")}}
	db := openDB(t, vfs.NewMem(), []event.Event{e}, engine.Options{})
	items, from := db.Complete(t.Context(), "funnel vi", 9)
	if from != 7 || len(items) == 0 || items[0].Text != "view" {
		t.Errorf("%v from %d", items, from)
	}
	items, _ = db.Complete(t.Context(), "measure events where tier = ", 28)
	if !slices.ContainsFunc(items, func(c query.Completion) bool { return strings.Contains(c.Text, "gold") }) {
		t.Errorf("values: %v", items)
	}
}

func TestReaderSeesWhatTheWriterPublished(t *testing.T) {
	fs := vfs.NewMem()
	db := openDB(t, fs, []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	reader := openDB(t, fs, nil, engine.Options{ReadOnly: true})
	if n := first(ask(t, reader, "measure events")); n != int64(1) {
		t.Errorf("%v events", n)
	}
	if _, err := db.Append(context.Background(), []event.Event{at("bob", 0, "view", "web")}); err != nil {
		t.Fatal(err)
	}
	if n := first(ask(t, reader, "measure events")); n != int64(2) {
		t.Errorf("%v events after another", n)
	}
	if _, err := reader.Query(context.Background(), "define touchpoint seen as view"); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("define by a reader: %v", err)
	}
}

func TestClosedDB(t *testing.T) {
	db := openDB(t, vfs.NewMem(), nil, engine.Options{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Query(context.Background(), "show events"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("query: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// slow holds a query up: its progress function waits until it may go on, or
// until the one who asked has gone.
type slow struct {
	ctx     context.Context
	started chan struct{}
	once    sync.Once
	goOn    chan struct{}
}

func newSlow(ctx context.Context) *slow {
	return &slow{ctx: ctx, started: make(chan struct{}), goOn: make(chan struct{})}
}

func (s *slow) progress(int, int) {
	s.once.Do(func() { close(s.started) })
	select {
	case <-s.goOn:
	case <-s.ctx.Done():
	}
}

func TestIdenticalQueriesAreComputedOnce(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	s := newSlow(ctx)
	results := make(chan *engine.Result, 3)
	query := func(opts ...engine.QueryOption) {
		res, err := db.Query(context.Background(), "measure events", opts...)
		if err != nil {
			t.Error(err)
		}
		results <- res
	}
	go query(engine.WithProgress(s.progress))
	<-s.started
	for range 2 {
		go query()
	}
	waitFor(t, func() bool { return db.Waiting("measure events") == 3 })
	close(s.goOn)
	one := <-results
	for range 2 {
		if other := <-results; &other.Rows[0] != &one.Rows[0] {
			t.Error("computed more than once")
		}
	}
}

// An equal query that ends after a query has looked for its answer, and before it
// looks who computes the same, has computed it for both.
func TestQueriesThatEndInTheGap(t *testing.T) {
	db := openDB(t, vfs.NewMem(), walks(100), engine.Options{})
	const question = "next for 'c''1'"
	var one *engine.Result
	asked := false
	db.SetModelClock(func() time.Time { // is asked between the two
		if !asked {
			asked = true
			one = ask(t, db, question)
		}
		return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	})
	other := ask(t, db, question)
	if one == nil || one.Meta.Cached || !other.Meta.Cached || &other.Rows[0] != &one.Rows[0] {
		t.Error("computed more than once")
	}
	db.LearnNext()
}

func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	for range 20_000 {
		if ready() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("waited in vain")
}

func TestAQueryEndsWhenTheLastWhoWaitsGoes(t *testing.T) {
	var events []event.Event
	for c := range 3000 {
		events = append(events, at(fmt.Sprint(c), 0, "view", "web"))
	}
	db := openDB(t, vfs.NewMem(), events, engine.Options{Workers: 1, Storage: storage.Options{BlockCustomers: 64}})
	const text = "measure customers"
	var tiles atomic.Int64
	ended := make(chan error, 2)
	wait := func(ctx context.Context, left int) *slow {
		s := newSlow(ctx)
		go func() {
			_, err := db.Query(ctx, text, engine.WithProgress(func(done, total int) {
				tiles.Store(int64(done))
				s.progress(done, total)
				for ctx.Err() != nil && db.Waiting(text) > left { // until it is known that one has gone
					time.Sleep(time.Millisecond)
				}
			}))
			ended <- err
		}()
		return s
	}
	one, oneLeaves := context.WithCancel(context.Background())
	defer oneLeaves()
	other, otherLeaves := context.WithCancel(context.Background())
	defer otherLeaves()
	<-wait(one, 1).started
	second := wait(other, 0)
	waitFor(t, func() bool { return db.Waiting(text) == 2 })
	oneLeaves()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("who goes away gets %v", err)
	}
	<-second.started // it went on for the other
	if n := db.Waiting(text); n != 1 {
		t.Errorf("%d wait", n)
	}
	otherLeaves()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("who goes away gets %v", err)
	}
	if n := tiles.Load(); n > 3 {
		t.Errorf("it went on for %d tiles with nobody waiting", n)
	}
	// Who asks now must not be given what was cancelled.
	if res := ask(t, db, text); first(res) != int64(3000) {
		t.Errorf("%v", res.Rows)
	}
}

func TestClosingEndsRunningQueries(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web")}, engine.Options{})
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	s := newSlow(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := db.Query(context.Background(), "measure events", engine.WithProgress(s.progress))
		ended <- err
	}()
	<-s.started
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	waitFor(t, func() bool {
		_, err := db.Query(context.Background(), "show events")
		return errors.Is(err, storage.ErrClosed)
	})
	close(s.goOn)
	if err := <-ended; err != nil && !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the query: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestQueriesShareTheMemoryOfTheDB(t *testing.T) {
	var events []event.Event
	for c := range 2000 {
		e := at(fmt.Sprint(c), 0, "view", "web")
		e.Props = []event.Prop{{Name: "x", Value: event.Integer(int64(c))}}
		events = append(events, e)
	}
	db := openDB(t, vfs.NewMem(), events, engine.Options{MemoryBytes: 64 << 10})
	_, err := db.Query(context.Background(), "measure distinct(x)")
	var limit *engine.LimitError
	if !errors.As(err, &limit) || limit.Limit != "memory" || !strings.Contains(limit.Hint, "share") {
		t.Errorf("got %v", err)
	}
	ask(t, db, "measure events") // what the first took was given back
	if n := db.MemoryReserved(); n != 0 {
		t.Errorf("%d bytes are held when nothing runs", n)
	}
}

func TestMemoryOfTheProcessIsShared(t *testing.T) {
	for _, c := range []struct {
		process       int64
		given, shared engine.Options
	}{
		{0, engine.Options{}, engine.Options{CacheBytes: 512 << 20, MemoryBytes: 512 << 20}},
		{1000 << 20, engine.Options{}, engine.Options{CacheBytes: 200 << 20, MemoryBytes: 400 << 20}},
		{100 << 30, engine.Options{}, engine.Options{CacheBytes: 512 << 20, MemoryBytes: 40 << 30}},
		{1000 << 20, engine.Options{CacheBytes: 1, MemoryBytes: 2}, engine.Options{CacheBytes: 1, MemoryBytes: 2}},
	} {
		got := c.given
		got.ShareMemory(c.process)
		if got.CacheBytes != c.shared.CacheBytes || got.MemoryBytes != c.shared.MemoryBytes {
			t.Errorf("of %d bytes: %d for what is kept, %d for queries", c.process, got.CacheBytes, got.MemoryBytes)
		}
	}
}

func TestAStatementsTextIsLimited(t *testing.T) {
	db := openDB(t, vfs.NewMem(), nil, engine.Options{})
	var mistakes query.Errors
	_, err := db.Query(t.Context(), "show events"+strings.Repeat(" ", query.StatementBytesMax))
	if !errors.As(err, &mistakes) || mistakes[0].Code != query.CodeTextTooLong {
		t.Errorf("got %v", err)
	}
}
