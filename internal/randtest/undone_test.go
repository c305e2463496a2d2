package randtest

import (
	"context"
	"fmt"
	"testing"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

// TestUndoneRowsAmongLinkedIdentities: where an import was undone, rows of
// identities that are neighbours in a block were once taken for one journey
// in order, though their times interleave.
func TestUndoneRowsAmongLinkedIdentities(t *testing.T) {
	ctx := context.Background()
	store, err := storage.Open("store", storage.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l := layouter{ctx: ctx, store: store}
	w := &World{Links: map[string]string{}}
	for i := range 20 {
		for k := range 2 {
			w.Events = append(w.Events, event.Event{Customer: fmt.Sprintf("anon-%d", i), Name: "A", Time: origin + event.Time(100*k+i)})
		}
		w.Links[fmt.Sprintf("anon-%d", i)] = "c"
	}
	if _, err := l.load(w.Events); err != nil {
		t.Fatal(err)
	}
	strays := []event.Event{{Customer: "anon-0", Name: "A", Time: origin + 1000}, {Customer: "d", Name: "A", Time: origin}}
	id, err := l.load(strays)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Undo(ctx, id); err != nil {
		t.Fatal(err)
	}
	for from, to := range w.Links {
		if err := store.Link(ctx, from, to); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	got, err := answerOf(storedSnapshot{snap, store}, "journey of 'c'", engine.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := byReference(w, "journey of 'c'")
	if err != nil {
		t.Fatal(err)
	}
	if d := Difference(want, got.Columns, got.Rows); d != "" {
		t.Error(d)
	}
}
