package storage

import (
	"fmt"
	"testing"

	"wend/storage/vfs"
)

// Events that arrive one flush after the other, all of one year, are written a
// number of times that grows with the logarithm of the flushes, and the runs
// that a tile is put together from stay few.
func TestTiers(t *testing.T) {
	opt := small(vfs.NewMem())
	opt.Partition, opt.CacheBytes = widthYear, -1
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const flushes, each = 600, 3
	seen := map[uint64]bool{}
	written, most := int64(0), 0
	note := func() {
		for _, r := range s.state().segments {
			if !seen[r.ID] {
				seen[r.ID] = true
				written += r.Rows
			}
		}
	}
	for i := range flushes {
		for k := range each {
			appendEvents(t, s, AppendOptions{Durability: Memory}, view(fmt.Sprint("c", k), i))
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		note()
		for worked := true; worked; note() {
			if worked, err = s.CompactStep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, len(s.runsByPartition()[0]))
	}
	// The logarithm of 600 to the base of two is 9.2. Merging everything when
	// there are eight runs would write an event 43 times.
	if times := float64(written) / (flushes * each); times > 6 {
		t.Errorf("an event was written %.1f times", times)
	}
	if most > 2*tierRuns {
		t.Errorf("there were up to %d runs", most)
	}
}
