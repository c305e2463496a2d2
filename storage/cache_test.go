package storage

import (
	"context"
	"fmt"
	"testing"

	"wend/event"
	"wend/tile"
)

// What is kept of a tile with events of the memtable goes when newer events come.
func TestTilesOfOlderMemtablesAreForgotten(t *testing.T) {
	ctx := context.Background()
	s, err := Open(t.TempDir(), Options{BlockCustomers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept := func(keys []string) (n int) {
		s.cache.entries.Wait()
		for _, key := range keys {
			if _, ok := s.cache.get(key); ok {
				n++
			}
		}
		return n
	}
	var before []string
	for i := range 6 {
		var events []event.Event
		for c := range 40 {
			events = append(events, event.Event{Customer: fmt.Sprint(c), Name: "view", Channel: "web", Time: event.Time(i),
				Props: []event.Prop{{Name: "n", Value: event.Integer(int64(c))}}})
		}
		if _, err := s.Append(ctx, batchOf(events), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the cache
			for k := range snap.Tiles() {
				if _, err := snap.Tile(ctx, k, tile.Need{Channel: true, Properties: []int{0}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var now []string
		for _, p := range s.cache.places {
			now = append(now, p.keys...)
		}
		snap.Release()
		if n := kept(now); i > 0 && (n == 0 || n < len(now)*3/4) {
			t.Errorf("after batch %d: %d of %d entries are kept", i, n, len(now))
		}
		if n := kept(before); i > 1 && (len(before) == 0 || n > 0) {
			t.Errorf("after batch %d: %d of the %d entries of before are kept", i, n, len(before))
		}
		before = now
	}
}
