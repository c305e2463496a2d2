package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

func TestAnErasedCustomerIsInNoAnswer(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{
		at("ann", 0, "view", "web"), at("cookie", 1, "cart", "app"), at("bob", 2, "view", "web"), at("ann", 3, "wish", "web"),
	}, engine.Options{})
	if err := db.Link(t.Context(), "cookie", "ann"); err != nil {
		t.Fatal(err)
	}
	if n := first(ask(t, db, "measure events")); n != int64(4) {
		t.Fatalf("%v events", n)
	}
	if err := db.Erase(t.Context(), "cookie"); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		t.Helper()
		if res := ask(t, db, "measure events", engine.WithLenient()); first(res) != int64(1) {
			t.Errorf("%s: %v events, cached %v", when, first(res), res.Meta.Cached)
		}
		for _, text := range []string{"journey of 'ann'", "journey of 'cookie'"} {
			if res := ask(t, db, text); len(res.Rows) > 0 {
				t.Errorf("%s: %s: %v", when, text, res.Rows)
			}
		}
		if res := ask(t, db, "show events"); len(res.Rows) != 1 || first(res) != "view" {
			t.Errorf("%s: show events: %v", when, res.Rows)
		}
		for _, typed := range []string{"funnel ", "measure events where channel = '"} {
			items, _ := db.Complete(typed, len(typed))
			for _, c := range items {
				if c.Text == "wish" || c.Text == "cart" || strings.Contains(c.Text, "app") {
					t.Errorf("%s: %q completes to %q", when, typed, c.Text)
				}
			}
		}
	}
	look("right after")
	receipts := db.Store().Receipts()
	if len(receipts) != 1 {
		t.Fatalf("%d receipts", len(receipts))
	}
	if r, err := db.WaitErased(t.Context(), receipts[0].ID); err != nil || r.State != "done" {
		t.Fatalf("%+v, %v", r, err)
	}
	look("when it is done")
	if _, err := db.Receipt("nothing"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unknown erasure: %v", err)
	}
}

// A statement that runs when a customer is erased ends, or begins again.
func TestRunningStatementsBeginAgainAfterAnErasure(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web"), at("bob", 0, "view", "web")}, engine.Options{})
	ended := db.EraseAtOnce()
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	s := newSlow(ctx)
	results := make(chan *engine.Result, 1)
	go func() {
		res, err := db.Query(context.Background(), "measure customers", engine.WithProgress(s.progress))
		if err != nil {
			t.Error(err)
		}
		results <- res
	}()
	<-s.started
	if err := db.Erase(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: // what ran before may not go on
	case <-time.After(time.Minute):
		t.Fatal("statements that ran when a customer was erased go on")
	}
	close(s.goOn)
	if res := <-results; res != nil && first(res) != int64(1) && first(res) != int64(2) {
		t.Errorf("%v customers", first(res))
	}
	if res := ask(t, db, "measure customers"); first(res) != int64(1) {
		t.Errorf("%v customers afterwards, cached %v", first(res), res.Meta.Cached)
	}
}
