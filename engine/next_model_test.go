package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/internal/reference"
	"wend/query"
	"wend/storage"
	"wend/storage/vfs/simfs"
)

// walks are random journeys of n customers, in which some suffixes of every
// length occur often enough and others do not.
func walks(n int) []event.Event {
	r := rand.New(rand.NewPCG(4, 9))
	var events []event.Event
	for c := range n {
		second := r.Int64N(100_000)
		for range r.IntN(14) {
			second += 1 + r.Int64N(900)
			e := at(fmt.Sprintf("c'%d", c), second, string("aaabbcd"[r.IntN(7)]), []string{"web", "app"}[r.IntN(2)])
			events = append(events, e)
		}
	}
	return events
}

// What is kept for next for answers like a scan, and like the reference, for
// every customer; it is made when it is asked for the second time.
func TestNextForFromWhatIsKept(t *testing.T) {
	events := walks(400)
	db := openDB(t, simfs.New(1), events, engine.Options{})
	var end event.Time
	for _, e := range events {
		end = max(end, e.Time)
	}
	for _, clauses := range []string{"", " top 2", " of event, channel", " per session gap 10m top 1", " where event != 'b' during 2025-01-01 to 2025-01-02T03:00:00", " among did d"} {
		for range 2 {
			db.Query(context.Background(), "next for 'c''1'"+clauses)
			db.LearnNext()
		}
		kept, lengths := 0, map[int]int{}
		for c := range 400 {
			text := fmt.Sprintf("next for 'c''%d'%s", c, clauses)
			want, wantErr := db.Query(context.Background(), text, engine.NoCache())
			got, err := db.Query(context.Background(), text)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("%s: %v, by a scan %v", text, err, wantErr)
			}
			if err != nil {
				continue
			}
			if fmt.Sprint(got.Rows) != fmt.Sprint(want.Rows) || fmt.Sprint(got.Meta.Cut) != fmt.Sprint(want.Meta.Cut) || len(got.Meta.Warnings) > 0 {
				t.Fatalf("%s: %v, by a scan %v; %v", text, got.Rows, want.Rows, got.Meta.Warnings)
			}
			lengths[len(got.Rows[0][4].([]string))]++
			if got.Meta.EventsRead < want.Meta.EventsRead {
				kept++
			}
			if c%40 == 0 {
				agreesWithReference(t, events, end, text, got)
			}
		}
		if kept < 100 || len(lengths) < 2 {
			t.Errorf("%q: %d answers by what is kept, of lengths %v", clauses, kept, lengths)
		}
	}
}

func agreesWithReference(t *testing.T, events []event.Event, end event.Time, text string, got *engine.Result) {
	t.Helper()
	st, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := reference.Evaluate(events, nil, st[0], nil, end)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Rows) != len(got.Rows) {
		t.Fatalf("%s: %v, by the reference %v", text, got.Rows, want.Rows)
	}
	for i, row := range want.Rows {
		for _, k := range []int{0, 1, 2, 4} {
			if fmt.Sprint(row[k]) != fmt.Sprint(got.Rows[i][k]) {
				t.Fatalf("%s, row %d: %v, by the reference %v", text, i+1, got.Rows[i], row)
			}
		}
	}
}

// While events come in, what is kept serves on and says how old it is, until a
// newer one is made; nothing that is old is served for long. The customer's own
// events are always those of now.
func TestNextForWhileEventsComeIn(t *testing.T) {
	db := openDB(t, simfs.New(1), walks(300), engine.Options{})
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	db.SetModelClock(func() time.Time { return now })
	next := func() (support int64, warning string) {
		t.Helper()
		res := ask(t, db, "next for 'c''1'")
		for _, row := range res.Rows {
			support += row[2].(int64)
		}
		return support, strings.Join(res.Meta.Warnings, "\n")
	}
	stream := func(n int) {
		t.Helper()
		var events []event.Event
		for i := range n {
			events = append(events, at(fmt.Sprintf("n%d", i), 200_000+int64(n), "z", ""), at(fmt.Sprintf("n%d", i), 200_001+int64(n), "a", ""))
		}
		events = append(events, at("c'1", 300_000+int64(n), "z", ""))
		if _, err := db.Append(context.Background(), events); err != nil {
			t.Fatal(err)
		}
	}
	next()
	stream(30) // z is new: what is kept cannot know it, so a scan answers
	next()
	db.LearnNext()
	first, warning := next()
	if first != 30 || warning != "" {
		t.Fatalf("%d followers of z, %q; want 30 of now", first, warning)
	}
	stream(31)
	now = now.Add(20 * time.Second)
	if n, warning := next(); n != 30 || !strings.Contains(warning, "20s ago") {
		t.Errorf("after 20 s: %d, %q; want the 30 of before, which says so", n, warning)
	}
	if n, _ := next(); n != 30 {
		t.Errorf("%d: a model is made anew before a minute is over", n)
	}
	now = now.Add(time.Minute)
	next()
	db.LearnNext()
	if n, warning := next(); n != 62 || warning != "" {
		t.Errorf("after a minute: %d, %q; want the 62 of now", n, warning)
	}
	stream(32)
	now = now.Add(time.Hour)
	if n, warning := next(); n != 95 || warning != "" {
		t.Errorf("after an hour: %d, %q; want the 95 of now by a scan", n, warning)
	}
	db.LearnNext()
}

// What a definition means is part of what is kept.
func TestNextForAfterADefinition(t *testing.T) {
	db := openDB(t, simfs.New(1), walks(300), engine.Options{})
	labels := func() []string {
		var list []string
		for _, row := range ask(t, db, "next for 'c''1' of stage").Rows {
			list = append(list, row[0].(string))
		}
		slices.Sort(list)
		return list
	}
	ask(t, db, "define stage one as a")
	for range 3 {
		labels()
		db.LearnNext()
	}
	ask(t, db, "define stage one as b")
	ask(t, db, "define stage two as c")
	if got := strings.Join(labels(), " "); got != "(none) one two" {
		t.Errorf("labels %s", got)
	}
}

// What is kept counts nobody who was erased and nothing that was taken back,
// from that moment on; what is being made meanwhile is not kept either.
func TestNextForWhenDataIsTakenOut(t *testing.T) {
	ctx := context.Background()
	const question = "next for 'c''1'"
	removals := []struct {
		name string
		take func(db *engine.DB, imported string) error
	}{
		{"erasure", func(db *engine.DB, _ string) error { return db.Erase(ctx, "c'2") }},
		{"undo", func(db *engine.DB, imported string) error { _, err := db.Undo(ctx, imported); return err }},
		{"unlink", func(db *engine.DB, _ string) error { return db.Unlink(ctx, "c'3") }},
		{"erasure by the store", func(db *engine.DB, _ string) error {
			_, err := db.Store().Erase(ctx, "c'2", storage.EraseOptions{})
			return err
		}},
		{"undo by the store", func(db *engine.DB, imported string) error {
			_, err := db.Store().Undo(ctx, imported)
			return err
		}},
	}
	prepare := func(t *testing.T) (db *engine.DB, imported string) {
		db = openDB(t, simfs.New(1), walks(300), engine.Options{})
		load, err := db.Store().NewLoad(ctx, storage.LoadOptions{Source: "more"})
		if err != nil {
			t.Fatal(err)
		}
		more := event.NewBuilder()
		for i := range 40 {
			more.Add(at(fmt.Sprintf("m%d", i), 0, "a", ""))
			more.Add(at(fmt.Sprintf("m%d", i), 1, "b", ""))
		}
		if err := load.Add(more.Batch()); err != nil {
			t.Fatal(err)
		}
		done, err := load.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Link(ctx, "c'3", "c'4"); err != nil {
			t.Fatal(err)
		}
		ask(t, db, question)
		return db, done.ImportID
	}
	now := func(t *testing.T, db *engine.DB) {
		t.Helper()
		want := ask(t, db, question, engine.NoCache())
		if got := ask(t, db, question); fmt.Sprint(got.Rows) != fmt.Sprint(want.Rows) || len(got.Meta.Warnings) > 0 {
			t.Errorf("%v %q, by a scan %v", got.Rows, got.Meta.Warnings, want.Rows)
		}
		if n := db.KeptNext(); n > 0 {
			t.Errorf("%d models are kept of before", n)
		}
	}
	for _, r := range removals {
		t.Run(r.name, func(t *testing.T) {
			db, imported := prepare(t)
			db.Append(ctx, []event.Event{at("z", 0, "a", "")}) // so that it does not answer from what it did
			ask(t, db, question)
			db.LearnNext()
			if n := db.KeptNext(); n != 1 {
				t.Fatalf("%d models are kept", n)
			}
			if err := r.take(db, imported); err != nil {
				t.Fatal(err)
			}
			now(t, db)
		})
		t.Run(r.name+" while one is made", func(t *testing.T) {
			db, imported := prepare(t)
			db.Append(ctx, []event.Event{at("z", 0, "a", "")})
			asked := 0
			var failed error
			scanned := func() error { _, err := db.Query(ctx, question); return err }
			db.SetModelClock(func() time.Time {
				if asked++; asked == 2 { // first by the question, then by the making, which has its snapshot
					failed = errors.Join(r.take(db, imported), scanned())
				}
				return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
			})
			ask(t, db, question)
			db.LearnNext()
			if failed != nil || asked < 2 {
				t.Fatal(failed, asked)
			}
			now(t, db)
		})
	}
}
