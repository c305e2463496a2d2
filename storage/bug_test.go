package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/trust"
)

// A panic at any moment of writing ends writing and nothing else: no lock is
// left behind, what was acknowledged stays readable, and is all there when the
// store is opened again.
func TestPanicsEndWritingAndNothingElse(t *testing.T) {
	injected, broken := 0, 0
	for op := 1; ; op++ {
		s, fs := openFaulty(t)
		begin, met := fs.ops, false
		fs.fail = func(at int, _, _ string) bool {
			if at == begin+op {
				met = true
				panic("secret customer")
			}
			return false
		}
		var acked []string
		writes := func(err error) bool {
			if err != nil && !errors.Is(err, ErrReadOnly) {
				t.Fatalf("op %d: %v", op, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Fatalf("the error tells of %v", err)
			}
			return err == nil
		}
		send := func(from, n int) {
			var events []event.Event
			for i := range n {
				e := view(fmt.Sprintf("c%d", (from+i)%7), from+i)
				e.ID = fmt.Sprintf("id%04d", from+i)
				events = append(events, e)
			}
			if _, err := s.Append(t.Context(), batchOf(events), AppendOptions{}); writes(err) {
				for _, e := range events {
					acked = append(acked, e.ID)
				}
			}
		}
		send(0, 30)
		send(100, 30) // fills the memtable
		writes(s.Link(t.Context(), "c1", "c2"))
		_, err := s.Define(t.Context(), event.Definition{Kind: "stage", Name: "a", Text: "define stage a as view"})
		writes(err)
		load, err := s.NewLoad(t.Context(), LoadOptions{Source: "file"})
		if writes(err) {
			err := load.Add(batchOf([]event.Event{view("l1", 1), view("l2", 2)}))
			if writes(err) {
				_, err = load.Commit(t.Context())
				writes(err)
			}
		}
		send(200, 50)
		writes(s.Compact(t.Context()))
		send(300, 3)
		if s.broken.Load() {
			broken++
			if _, err := s.Append(t.Context(), batchOf([]event.Event{view("x", 1)}), AppendOptions{}); !errors.Is(err, ErrReadOnly) {
				t.Fatalf("op %d: a broken store takes events: %v", op, err)
			}
		}
		holds := func(when string, s *Store) {
			t.Helper()
			snap, err := s.Snapshot()
			if err != nil {
				t.Fatalf("op %d, %s: %v", op, when, err)
			}
			defer snap.Release()
			found := fmt.Sprint(everything(t, snap))
			for _, id := range acked {
				if !strings.Contains(found, id) {
					t.Fatalf("op %d, %s: %s is lost", op, when, id)
				}
			}
		}
		holds("after the panic", s)
		fs.fail = nil
		if err := s.Close(); err != nil {
			t.Fatalf("op %d: close: %v", op, err)
		}
		after := open(t, fs.Mem, "store")
		holds("opened again", after)
		if _, err := after.Append(t.Context(), batchOf([]event.Event{view("x", 1)}), AppendOptions{}); err != nil {
			t.Fatalf("op %d: opened again: %v", op, err)
		}
		if !met {
			break
		}
		injected++
	}
	if broken < injected*9/10 {
		t.Errorf("of %d panics %d ended writing", injected, broken)
	}
	trust.Report(t, "S13", "writer", injected, "exits", 0, "read-only", broken)
}
