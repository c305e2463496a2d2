package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
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

// A statement that runs when a customer is erased begins again when it may not
// go on, even if only its answer was left to give; the second time it ends.
func TestRunningStatementsBeginAgainAfterAnErasure(t *testing.T) {
	for erasures, want := range map[int]error{1: nil, 2: engine.ErrErased} {
		db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web"), at("bob", 0, "view", "web"), at("cid", 0, "view", "web")}, engine.Options{})
		var ended <-chan struct{}
		running, goOn := make(chan struct{}), make(chan struct{})
		var tries atomic.Int64
		type answer struct {
			res *engine.Result
			err error
		}
		answers := make(chan answer, 1)
		go func() {
			res, err := db.Query(context.Background(), "measure customers", engine.WithProgress(func(done, total int) {
				if done == total && tries.Add(1) <= int64(erasures) {
					running <- struct{}{}
					<-goOn
				}
			}))
			answers <- answer{res, err}
		}()
		for _, who := range []string{"ann", "bob"}[:erasures] {
			<-running
			ended = db.EraseAtOnce()
			if err := db.Erase(t.Context(), who); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("statements that ran when a customer was erased may go on")
			}
			goOn <- struct{}{}
		}
		a := <-answers
		if !errors.Is(a.err, want) || want == nil && (a.err != nil || first(a.res) != int64(2)) {
			t.Errorf("%d erasures while it ran: %+v, %v", erasures, a.res, a.err)
		}
		if res := ask(t, db, "measure customers"); first(res) != int64(3-erasures) {
			t.Errorf("%v customers afterwards, cached %v", first(res), res.Meta.Cached)
		}
	}
}

// Whoever reads all events one by one is told, and sees no more of the erased.
func TestReadingEventsEndsAfterAnErasure(t *testing.T) {
	db := openDB(t, vfs.NewMem(), []event.Event{at("ann", 0, "view", "web"), at("bob", 0, "view", "web"), at("cid", 0, "view", "web")}, engine.Options{})
	seen := 0
	var ended error
	for _, err := range db.Events(t.Context()) {
		if ended = err; err != nil {
			break
		}
		if seen++; seen == 1 {
			over := db.EraseAtOnce()
			if err := db.Erase(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
			<-over
		}
	}
	if seen != 1 || !errors.Is(ended, engine.ErrErased) {
		t.Errorf("%d events were read, and then: %v", seen, ended)
	}
}
