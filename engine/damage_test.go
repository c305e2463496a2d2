package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
)

// damagedDB is a store of two segments, of February and of March, one event a
// day; the latter has a damaged page.
func damagedDB(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "db")
	db, err := engine.Open(dir, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for month := 2; month <= 3; month++ {
		var events []event.Event
		for day := range 28 {
			at := event.At(time.Date(2025, time.Month(month), day+1, 0, 0, 0, 0, time.UTC))
			events = append(events, event.Event{Customer: fmt.Sprint("c", day), Time: at, Name: []string{"view", "buy"}[month-2], ID: fmt.Sprint(month, day)})
		}
		if _, err := db.Append(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		if err := db.Store().Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range db.Status().Segments {
		files = append(files, s.File)
	}
	if err := db.Close(); err != nil || len(files) != 2 {
		t.Fatal(err, files)
	}
	name := filepath.Join(dir, files[1])
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[60] ^= 4
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A query that meets a damaged page is answered from the rest: as if the
// segment had never been there, with what is missing named.
func TestDamageInAQuery(t *testing.T) {
	for _, readOnly := range []bool{true, false} {
		dir := damagedDB(t)
		var log bytes.Buffer
		db, err := engine.Open(dir, engine.Options{ReadOnly: readOnly, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			res, err := db.Query(t.Context(), "funnel view -> buy within 90d")
			// "buy" stood in the damaged segment only: it is known, and nobody bought.
			if err != nil || !res.Meta.Partial || len(res.Meta.Missing) != 1 || res.Meta.Missing[0].Rows != 28 {
				t.Fatalf("read only %v: %v, %+v", readOnly, err, res)
			}
			if got := fmt.Sprint(res.Rows[0][2], res.Rows[1][2]); got != "28 0" {
				t.Errorf("read only %v: funnel %s", readOnly, got)
			}
			res, err = db.Query(t.Context(), "measure events, customers")
			if err != nil || fmt.Sprint(res.Rows) != "[[28 28]]" || !res.Meta.Partial {
				t.Errorf("read only %v: %v, %+v", readOnly, err, res)
			}
		}
		if st := db.Status(); len(st.Missing) != 1 || st.Customers != 28 || st.Events != 28 {
			t.Errorf("read only %v: status %+v", readOnly, st)
		}
		if n := strings.Count(log.String(), "segment is left out"); n != 1 {
			t.Errorf("read only %v: logged %d times:\n%s", readOnly, n, log.String())
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(filepath.Join(dir, "quarantine"))
		if kept := err == nil; kept == readOnly {
			t.Errorf("read only %v: moved to the quarantine: %v", readOnly, kept)
		}
	}
}

// Counting customers, exporting and the span of times meet damage, too.
func TestDamageElsewhere(t *testing.T) {
	f := func(what string, use func(*engine.DB) (string, error), want string) {
		t.Helper()
		db, err := engine.Open(damagedDB(t), engine.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if got, err := use(db); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", what, got, err, want)
		}
		if n := len(db.Status().Missing); n != 1 {
			t.Errorf("%s: %d segments are missing", what, n)
		}
	}
	f("status", func(db *engine.DB) (string, error) { return fmt.Sprint(db.Status().Customers), nil }, "28")
	f("export", func(db *engine.DB) (string, error) {
		n := 0
		for e, err := range db.Events(t.Context()) {
			if err != nil {
				return "", err
			}
			if e.Name != "view" {
				return "", fmt.Errorf("event %+v", e)
			}
			n++
		}
		return fmt.Sprint(n), nil
	}, "28")
	f("show status", func(db *engine.DB) (string, error) {
		res, err := db.Query(t.Context(), "show status")
		if err != nil {
			return "", err
		}
		return fmt.Sprint(res.Rows[1][1]), nil
	}, "28")
}

// A damage that has no segment is no reason to try again.
func TestOtherErrorsStay(t *testing.T) {
	db, err := engine.Open(damagedDB(t), engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, err := range []error{nil, errors.New("no space"), storage.ErrCorrupt, &storage.DamageError{Segment: "memory", Err: storage.ErrCorrupt}} {
		if db.Store().SetAside(err) {
			t.Errorf("%v was set aside", err)
		}
	}
}
