//go:build seeded

package storage

import (
	"strings"
	"testing"

	"wend/event"
	"wend/internal/seeded"
	"wend/internal/trust"
	"wend/storage/vfs"
)

// A compaction or a load whose merge errs says so, and changes nothing: the
// counts are right, and every file is as it was written.
func TestSeededStorageMerges(t *testing.T) {
	caught := 0
	for _, bug := range []string{"value_changed_in_merge", "rows_change_customers"} {
		t.Run(bug, func(t *testing.T) {
			mem := vfs.NewMem()
			s := open(t, mem, "store")
			for i := range 3 {
				n := event.Prop{Name: "n", Value: event.Integer(int64(i))}
				buy := view("bob", i, n)
				buy.Name = "buy"
				loadEvents(t, s, view("ann", i, n), buy)
			}
			before := contents(t, s)
			seeded.Switch(bug)
			err := s.Compact(t.Context())
			other := view("dan", 9)
			other.Name = "buy"
			l, e := s.NewLoad(t.Context(), LoadOptions{})
			if e == nil {
				e = l.Add(batchOf([]event.Event{view("cleo", 9, event.Prop{Name: "n", Value: event.Integer(1)}), other}))
			}
			if e == nil {
				_, e = l.Commit(t.Context())
			}
			seeded.Switch("")
			for what, err := range map[string]error{"compaction": err, "load": e} {
				if err == nil || !strings.Contains(err.Error(), "the rows written have the sum") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if after := contents(t, s); after != before {
				t.Errorf("the store has:\n%s", after)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if after := contents(t, open(t, mem, "store")); after != before {
				t.Errorf("opened again it has:\n%s", after)
			}
			if !t.Failed() {
				caught++
			}
		})
	}
	trust.Report(t, "P15", "bugs in merges caught before the edit", caught)
}
