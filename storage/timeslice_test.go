package storage

import (
	"fmt"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
	"wend/tile"
)

// What a statement about some months reads of a store with four customers who
// each have an event on the first of every month, from February 2023 to
// November 2025, one of them by a link or none: rows by the times that matter.
func TestTimeSlices(t *testing.T) {
	for _, linked := range []bool{true, false} {
		for _, width := range []string{"month", "year", "all"} {
			sliced(t, width, linked)
		}
	}
}

func sliced(t *testing.T, width string, linked bool) {
	t.Helper()
	opt := small(vfs.NewMem())
	opt.Partition, opt.BlockCustomers = width, 100
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var events []event.Event
	for month := 1; month < 35; month++ {
		for c := range 4 {
			events = append(events, event.Event{Customer: fmt.Sprint("c", c), Name: "view", Time: event.At(time.Date(2023, time.Month(1+month), 1, 12, 0, 0, 0, time.UTC))})
		}
	}
	loadEvents(t, s, events...)
	if linked {
		if err := s.Link(t.Context(), "c0", "ann"); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	for _, ask := range []struct {
		from, to string
		months   int // whose rows are there
	}{
		{"2024-02-10T00:00:00Z", "2024-02-11T00:00:00Z", 1},
		{"2024-02-01T12:00:00Z", "2024-02-01T12:00:00.000001Z", 1},
		{"2024-02-10T00:00:00Z", "2024-03-01T00:00:00.000001Z", 2},
		{"2024-10-10T00:00:00Z", "2025-03-01T00:00:00Z", 5},
		{"2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", 12},
		{"2023-02-01T00:00:00Z", "2024-05-01T00:00:00Z", 15},
		{"2023-02-01T00:00:00Z", "2025-05-01T00:00:00Z", 34}, // more than half: all
		{"2025-11-01T00:00:00Z", "9999-12-31T00:00:00Z", 1},
		{"0001-01-01T00:00:00Z", "2023-03-01T00:00:00Z", 1},
		{"2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z", 0},
		{"2024-05-20T00:00:00Z", "2024-05-10T00:00:00Z", 1}, // no time at all
	} {
		for again := range 2 { // made, and kept
			rows := 0
			for i := range snap.Tiles() {
				tl, err := snap.Tile(t.Context(), i, tile.Need{Names: true, From: at(ask.from), To: at(ask.to)})
				if err != nil {
					t.Fatal(err)
				}
				rows += tl.Rows
				for c := range tl.Customers() { // months that follow one another, none twice
					lo, hi := int(tl.Starts[c]), int(tl.Starts[c+1])
					for k := lo + 1; k < hi; k++ {
						before := tl.Time.At(k - 1).Std()
						if want := event.At(before.AddDate(0, 1, 0)); tl.Time.At(k) != want || tl.Event.At(k) != 0 {
							t.Errorf("by %s, from %s to %s: after %s comes %s", width, ask.from, ask.to, before, tl.Time.At(k))
						}
					}
					if at := tl.Time.At(lo); ask.from > "2023-02" && ask.months < 34 && at.Std().Format("2006-01") != ask.from[:7] {
						t.Errorf("by %s, from %s to %s: the first is of %s", width, ask.from, ask.to, at)
					}
				}
				if tl.Rows > 0 && (tl.Customers() != 4 || tl.Names.Len() != 4) || tl.Rows == 0 && tl.Customers() != 0 {
					t.Errorf("by %s, from %s to %s: %d customers, %d names, %d rows", width, ask.from, ask.to, tl.Customers(), tl.Names.Len(), tl.Rows)
				}
			}
			if rows != 4*ask.months {
				t.Errorf("by %s, from %s to %s, asked %d times: %d rows, want those of %d months", width, ask.from, ask.to, again+1, rows, ask.months)
			}
		}
	}
}
