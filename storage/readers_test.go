package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

func TestReaderBesideWriter(t *testing.T) {
	mem := vfs.NewMem()
	if _, err := Open("store", Options{FS: mem, ReadOnly: true}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a reader of a store that is not there: %v", err)
	}
	w := open(t, mem, "store")
	loadEvents(t, w, view("ann", 0), view("bob", 1))
	opt := small(mem)
	opt.ReadOnly = true
	r, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before := contents(t, r)
	pinned, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, w, AppendOptions{}, view("ann", 2))
	loadEvents(t, w, view("cid", 3))
	if err := w.Compact(t.Context()); err != nil { // removes every file that the reader has open
		t.Fatal(err)
	}
	if got := contents(t, r); got != before {
		t.Fatalf("the reader's state changed to\n%s", got)
	}
	if err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, r), contents(t, w); got != want {
		t.Fatalf("after a refresh the reader has\n%s, the writer\n%s", got, want)
	}
	if got := everything(t, pinned); len(got) != 2 {
		t.Fatalf("the snapshot from before has %d customers", len(got))
	}
	pinned.Release()
	if _, err := r.Append(t.Context(), batchOf([]event.Event{view("ann", 9)}), AppendOptions{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append to a reader: %v", err)
	}
}

// A reader may open a store between a writer's steps at any moment.
func TestReaderWhileCompacting(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	opt := small(mem)
	opt.ReadOnly = true
	done := make(chan error, 1)
	go func() {
		for i := range 60 {
			_, err := w.Append(t.Context(), batchOf([]event.Event{view(fmt.Sprint(i%7), i)}), AppendOptions{})
			if err == nil {
				err = w.Compact(t.Context())
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	last := int64(0)
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		r, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		rows := int64(0)
		for _, list := range everything(t, snap) {
			rows += int64(len(list))
		}
		if rows != snap.Events() || rows < last {
			t.Fatalf("%d rows, %d events, after %d before", rows, snap.Events(), last)
		}
		last = rows
		snap.Release()
		r.Close()
	}
	if last != 60 {
		t.Fatalf("the last reader saw %d of 60 events", last)
	}
}

// A snapshot reads what it pinned although its files are compacted away, and
// the files go when it does.
func TestPinnedFiles(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 0))
	loadEvents(t, s, view("bob", 1))
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments := func() (n int) {
		names, err := mem.ReadDir("store")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".seg") {
				n++
			}
		}
		return n
	}
	if n := segments(); n != 3 {
		t.Errorf("%d segments while the snapshot is held, want 3", n)
	}
	if got := everything(t, snap); len(got) != 2 {
		t.Errorf("the snapshot shows %v", got)
	}
	snap.Release()
	snap.Release() // harmless
	if n := segments(); n != 1 {
		t.Errorf("%d segments afterwards, want 1", n)
	}
}
