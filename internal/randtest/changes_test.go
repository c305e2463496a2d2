package randtest

import (
	"context"
	"maps"
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
	"wend/storage/vfs"
)

// TestAnswersFollowChanges asks the same statements again while events arrive,
// links are made and taken back, an import is undone and the store compacts:
// nothing that is kept from earlier answers may show.
func TestAnswersFollowChanges(t *testing.T) {
	worlds := uint64(60)
	if testing.Short() {
		worlds = 10
	}
	for i := range worlds {
		if followChanges(t, i); t.Failed() {
			return
		}
	}
}

func followChanges(t *testing.T, index uint64) {
	w := NewWorld(31, index)
	r := rand.New(rand.NewPCG(31, index))
	ctx := context.Background()
	opt := storage.Options{FS: vfs.NewMem(), Clock: func() time.Time { return w.EndOfData.Std() }, MemtableEvents: 40, BlockCustomers: 2}
	db, err := engine.Open("db", engine.Options{Storage: opt})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, d := range w.Definitions {
		if _, err := db.Store().Define(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	var statements []*Statement
	for k := range uint64(5) {
		statements = append(statements, NewStatement(w, 31, index*5+k, Pair{}))
	}
	now := w.clone()
	now.Events, now.Links = nil, map[string]string{}
	for step := range 8 {
		switch {
		case len(now.Events) < len(w.Events) && step%3 != 2:
			more := w.Events[len(now.Events):min(len(w.Events), len(now.Events)+1+len(w.Events)/4)]
			if _, err := db.Append(ctx, more); err != nil {
				t.Fatal(err)
			}
			now.Events = append(now.Events, more...)
		case len(now.Links) < len(w.Links):
			for _, from := range slices.Sorted(maps.Keys(w.Links)) {
				if now.Links[from] == "" {
					if err := db.Link(ctx, from, w.Links[from]); err != nil {
						t.Fatal(err)
					}
					now.Links[from] = w.Links[from]
					break
				}
			}
		case len(now.Links) > 0 && r.IntN(2) == 0:
			from := slices.Sorted(maps.Keys(now.Links))[0]
			if err := db.Unlink(ctx, from); err != nil {
				t.Fatal(err)
			}
			delete(now.Links, from)
		default:
			if err := db.Compact(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range statements {
			for range 2 { // the second answer may come from a cache
				checkNow(t, db, now, s)
			}
		}
	}
}

func checkNow(t *testing.T, db *engine.DB, now *World, s *Statement) {
	t.Helper()
	st, err := query.Parse(s.String())
	if err != nil {
		t.Fatal(err)
	}
	var end event.Time
	for _, e := range now.Events {
		end = max(end, e.Time)
	}
	want, wantErr := reference.Evaluate(now.Events, now.Links, st[0], now.Definitions, min(end, now.EndOfData))
	got, err := db.Query(context.Background(), s.String(), engine.WithLenient())
	if err == nil && strings.HasPrefix(s.String(), "next for ") && !got.Repeatable() { // by counts of before: it says how old they are
		got, err = db.Query(context.Background(), s.String(), engine.WithLenient(), engine.NoCache())
	}
	if err != nil || wantErr != nil {
		if err == nil || wantErr == nil {
			t.Errorf("%s: %v, want %v", s, err, wantErr)
		}
		return
	}
	var columns []string
	for _, c := range got.Columns {
		columns = append(columns, c.Name)
	}
	if d := Difference(want, columns, got.Rows); d != "" {
		t.Errorf("after %d events: %s\n%s", len(now.Events), d, transcriptOf(Case{now, s}, want))
	}
}
