package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
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
			items, _ := db.Complete(t.Context(), typed, len(typed))
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

// Whoever reads all events one by one is told, and sees no more of the erased,
// also where another process erases.
func TestReadingEventsEndsAfterAnErasure(t *testing.T) {
	fs := vfs.NewMem()
	writer := openDB(t, fs, []event.Event{at("ann", 0, "view", "web"), at("bob", 0, "view", "web"), at("cid", 0, "view", "web")}, engine.Options{})
	for _, c := range []struct {
		erased string
		reader *engine.DB
	}{{"ann", writer}, {"bob", openDB(t, fs, nil, engine.Options{ReadOnly: true})}} {
		seen := 0
		var ended error
		for _, err := range c.reader.Events(t.Context()) {
			if ended = err; err != nil {
				break
			}
			if seen++; seen > 1 {
				continue
			}
			over := c.reader.EraseAtOnce()
			if err := writer.Erase(t.Context(), c.erased); err != nil {
				t.Fatal(err)
			}
			select {
			case <-over:
			case <-time.After(time.Minute):
				t.Errorf("reading goes on after %s was erased", c.erased)
			}
		}
		if seen != 1 || !errors.Is(ended, engine.ErrErased) {
			t.Errorf("%s is erased: %d events were read, and then: %v", c.erased, seen, ended)
		}
	}
}

// blindFS does not list folders while it is blind.
type blindFS struct {
	*vfs.Mem
	blind atomic.Bool
}

func (f *blindFS) ReadDir(name string) ([]string, error) {
	if f.blind.Load() {
		return nil, syscall.EMFILE
	}
	return f.Mem.ReadDir(name)
}

// Where nobody can tell whether another process erases, reading ends, and the
// log says why, once.
func TestReadingEventsEndsWhereErasuresCannotBeLookedFor(t *testing.T) {
	fs := &blindFS{Mem: vfs.NewMem()}
	openDB(t, fs, []event.Event{at("ann", 0, "view", "web"), at("bob", 0, "view", "web")}, engine.Options{})
	var log bytes.Buffer
	reader := openDB(t, fs, nil, engine.Options{ReadOnly: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var ended error
	for _, err := range reader.Events(t.Context()) {
		if ended = err; err != nil {
			break
		}
		over := reader.EraseAtOnce()
		fs.blind.Store(true)
		select {
		case <-over:
		case <-time.After(time.Minute):
			t.Fatal("reading goes on")
		}
	}
	if !errors.Is(ended, engine.ErrErased) {
		t.Errorf("reading ended with %v", ended)
	}
	if _, err := reader.Query(t.Context(), "measure customers"); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("a statement that began afterwards: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "level="); n != 1 || !strings.Contains(log.String(), syscall.EMFILE.Error()) {
		t.Errorf("the log has\n%s", &log)
	}
}
