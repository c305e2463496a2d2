package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"wend/event"
	"wend/storage/vfs"
	"wend/tile"
)

// Every batch has values that add up to nothing, so every snapshot must, too,
// whatever is appended, loaded, flushed and compacted at the time.
func TestWholeBatches(t *testing.T) {
	const writers, batches = 3, 60
	opt := small(vfs.NewMem())
	opt.Background = true
	opt.MemtableEvents = 150
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(w, i int) []event.Event {
		value := func(v int64) event.Prop { return event.Prop{Name: "value", Value: event.Integer(v)} }
		one, other := view(fmt.Sprint("c", i%5), i, value(int64(i+1))), view(fmt.Sprint("d", w, i%11), i/2, value(-int64(i+1)))
		one.ID, other.ID = fmt.Sprint("a", w, "-", i), fmt.Sprint("b", w, "-", i)
		return []event.Event{one, other}
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing, others sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range batches {
				for range 2 { // sent again, it changes nothing
					if _, err := s.Append(ctx, batchOf(pair(w, i)), AppendOptions{Durability: Durability(i % 3)}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writing.Go(func() {
		for i := range 10 {
			l, err := s.NewLoad(ctx, LoadOptions{})
			if err == nil {
				err = l.Add(batchOf(slices.Concat(pair(9, 2*i), pair(9, 2*i+1))))
			}
			if err == nil {
				_, err = l.Commit(ctx)
			}
			if err == nil && i%3 == 0 {
				err = s.Compact(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		others.Go(func() {
			last := int64(0)
			for ctx.Err() == nil {
				n, sum := total(t, s)
				if sum != 0 || n%2 != 0 || n < last {
					t.Errorf("%d events with sum %d, after %d", n, sum, last)
					return
				}
				last = n
			}
		})
	}
	writing.Wait()
	stop()
	others.Wait()
	if n, _ := total(t, s); n != 2*(writers*batches+20) {
		t.Errorf("%d events at the end", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// total counts the events of a snapshot and adds up their values.
func total(t *testing.T, s *Store) (events, sum int64) {
	snap, err := s.Snapshot()
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer snap.Release()
	need := tile.Need{Channel: true}
	if len(snap.Schema().Properties) > 0 {
		need.Properties = []int{0}
	}
	for i := range snap.Tiles() {
		tl, err := snap.Tile(context.Background(), i, need)
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		for row := range tl.Rows {
			sum += tl.Columns[0].At(row).Int()
		}
		events += int64(tl.Rows)
	}
	if events != snap.Events() {
		t.Errorf("%d rows, %d events", events, snap.Events())
	}
	return events, sum
}
