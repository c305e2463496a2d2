package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"wend/event"
	"wend/storage/vfs"
)

// While rows are sorted for a snapshot, half as many more may come, and at least
// paceRows; who comes then waits, and is stored once when they are sorted.
func TestAppendsDoNotOutrunSorting(t *testing.T) {
	for _, rows := range []int{0, 4 * paceRows} {
		synctest.Test(t, func(t *testing.T) {
			opt := small(vfs.NewMem())
			opt.MemtableEvents = 100
			s, err := Open("store", opt)
			if err != nil {
				t.Fatal(err)
			}
			one := func(ctx context.Context, i int) error {
				ack, err := s.Append(ctx, batchOf([]event.Event{view("ann", i)}), AppendOptions{Token: fmt.Sprint(i)})
				if err == nil && ack.Accepted != 1 {
					err = fmt.Errorf("acknowledged as %+v", ack)
				}
				return err
			}
			sorted := s.beginSort(rows)
			s.pace.taken += int64(max(rows/2, paceRows)) - 1
			if err := one(t.Context(), 1); err != nil {
				t.Fatalf("the last that may come while %d rows are sorted: %v", rows, err)
			}
			waited, left := make(chan error, 1), make(chan error, 1)
			ctx, leave := context.WithCancel(t.Context())
			go func() { waited <- one(t.Context(), 2) }()
			go func() { left <- one(ctx, 3) }()
			synctest.Wait()
			if s.mem.rows != 1 || len(waited)+len(left) > 0 {
				t.Errorf("while %d rows are sorted %d have come, and nobody waits", rows, s.mem.rows)
			}
			leave()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("one whose client is gone: %v", err)
			}
			sorted()
			if err := <-waited; err != nil {
				t.Errorf("one that waited: %v", err)
			}
			if err := one(t.Context(), 3); err != nil {
				t.Errorf("one that is sent again: %v", err)
			}
			if s.mem.rows != 3 {
				t.Errorf("%d events at the end", s.mem.rows)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
