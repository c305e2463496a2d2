package storage

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// rows gives the events of a source the ids under which they are appended.
func rows(events ...event.Event) []event.Event {
	seen := map[string]int{}
	var list []event.Event
	for _, e := range events {
		if e.ID == "" {
			content := fmt.Sprint(e)
			sum := sha256.Sum256([]byte(content))
			e.ID = RowID([16]byte(sum[:]), seen[content])
			seen[content]++
		}
		list = append(list, e)
	}
	return list
}

// The rows of a source are the same events whether they are loaded or appended,
// in whichever order, and wherever the store has them by then. Expected is what
// loading both sources gives.
func TestRowsAppendedAndLoaded(t *testing.T) {
	number := func(v event.Value) event.Prop { return event.Prop{Name: "n", Value: v} }
	other := view("ann", 0)
	other.Channel = "web"
	mine := view("ann", 0)
	mine.ID = "mine"
	ann, five := view("ann", 0), view("ann", 1, number(event.Integer(5)))
	half := view("bob", 9, number(event.Float(0.5))) // from here on n is a float
	large := view("ann", 0, number(event.Integer(1<<53)))
	sources := []struct {
		name          string
		first, second []event.Event
		both          int
	}{
		{"the same", []event.Event{ann, five, view("bob", 2)}, []event.Event{ann, five, view("bob", 2)}, 3},
		{"repeats", []event.Event{ann, ann, ann}, []event.Event{ann, ann, ann}, 3},
		{"fewer repeats, then more", []event.Event{ann}, []event.Event{ann, ann, ann}, 3},
		{"overlap", []event.Event{ann, five, view("bob", 2)}, []event.Event{view("bob", 2), view("bob", 3), ann}, 4},
		{"other content at the same time", []event.Event{ann}, []event.Event{other, view("ann", 0, number(event.Integer(1))), view("zoe", 0)}, 4},
		{"an integer that is a float by then", []event.Event{five, half}, []event.Event{half, five}, 2},
		{"integers that are one float", []event.Event{large}, []event.Event{view("ann", 0, number(event.Integer(1<<53+1))), large}, 2},
		{"one with an id of its own", []event.Event{mine}, []event.Event{ann, ann}, 3},
	}
	bring := func(t *testing.T, s *Store, how string, events []event.Event) {
		t.Helper()
		if how == "loaded" {
			loadEvents(t, s, events...)
			return
		}
		for _, e := range rows(events...) { // batches part a source anywhere
			appendEvents(t, s, AppendOptions{}, e)
		}
	}
	between := map[string]func(t *testing.T, mem *vfs.Mem, s *Store) *Store{
		"at once": func(_ *testing.T, _ *vfs.Mem, s *Store) *Store { return s },
		"flushed": func(t *testing.T, _ *vfs.Mem, s *Store) *Store {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"compacted": func(t *testing.T, _ *vfs.Mem, s *Store) *Store {
			appendEvents(t, s, AppendOptions{}, view("carl", 0))
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"after a crash": func(t *testing.T, mem *vfs.Mem, s *Store) *Store {
			crashed := mem.Clone()
			return open(t, crashed, "store")
		},
	}
	for _, src := range sources {
		for _, order := range [][3]string{{"appended", "loaded", "appended"}, {"loaded", "appended", "loaded"}, {"appended", "appended", "loaded"}} {
			for then, between := range between {
				t.Run(fmt.Sprint(src.name, "/", order, "/", then), func(t *testing.T) {
					mem := vfs.NewMem()
					s := open(t, mem, "store")
					bring(t, s, order[0], src.first)
					s = between(t, mem, s)
					bring(t, s, order[1], src.second)
					again := contents(t, s)
					if n := strings.Count(again, "\n") - strings.Count(again, "carl"); n != src.both {
						t.Fatalf("%d events, want %d:\n%s", n, src.both, again)
					}
					bring(t, s, order[2], src.first)
					bring(t, s, order[2], src.second)
					if got := contents(t, s); got != again {
						t.Errorf("both once more:\n%s\nbefore:\n%s", got, again)
					}
				})
			}
		}
	}
}

// However many other rows a customer has at one moment, as where times are
// dates, to look among them takes memory for what is looked for alone.
func TestRowsAmongManyOfOneMoment(t *testing.T) {
	opt := small(vfs.NewMem())
	opt.MemtableEvents, opt.SegmentRows = 1<<20, 1<<20
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const others = 20_000
	var list []event.Event
	for i := range others {
		list = append(list, view("ann", 0, event.Prop{Name: "n", Value: event.Integer(int64(i))}))
	}
	for _, where := range []string{"in memory", "in a segment"} {
		if where == "in memory" {
			appendEvents(t, s, AppendOptions{}, list...)
		} else if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := batchOf(rows(list[0]))
		look := func() (bytes uint64) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ack, err := s.Append(t.Context(), again, AppendOptions{})
			runtime.ReadMemStats(&after)
			if err != nil || ack.Duplicates != 1 {
				t.Fatalf("%s: %+v, %v", where, ack, err)
			}
			return after.TotalAlloc - before.TotalAlloc
		}
		look() // what is read is kept
		if bytes := look(); bytes > 50*others {
			t.Errorf("%s: to find one row among %d takes %d bytes", where, others, bytes)
		}
	}
}

// A row does not count that is not to be seen: it may come again.
func TestRowsThatAreGone(t *testing.T) {
	file := []event.Event{view("ann", 0), view("ann", 0), view("bob", 1)}
	for name, gone := range map[string]func(s *Store) error{
		"undone": func(s *Store) error { _, err := s.Undo(t.Context(), s.Imports()[0].ID); return err },
		"erased": func(s *Store) error {
			for _, c := range []string{"ann", "bob"} {
				if _, err := s.Erase(t.Context(), c, EraseOptions{}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, vfs.NewMem(), "store")
			loadEvents(t, s, file...)
			if err := gone(s); err != nil {
				t.Fatal(err)
			}
			if ack := appendEvents(t, s, AppendOptions{}, rows(file...)...); ack.Accepted != 3 {
				t.Errorf("%+v", ack)
			}
			if ack := appendEvents(t, s, AppendOptions{}, rows(file...)...); ack.Accepted != 0 || ack.Duplicates != 3 {
				t.Errorf("again: %+v", ack)
			}
		})
	}
}

// Only what RowID makes is read as such; any other id is the sender's own.
func TestRowID(t *testing.T) {
	hash := [16]byte{0xff, 1, 2}
	for _, n := range []int{0, 1, 123456789} {
		if before, ok := rowBefore(RowID(hash, n)); before != n || !ok {
			t.Errorf("%s: %d, %v", RowID(hash, n), before, ok)
		}
	}
	made := RowID(hash, 7)
	for _, id := range []string{"", "7", rowIDPrefix, strings.TrimPrefix(made, rowIDPrefix), strings.TrimSuffix(made, ".7"),
		strings.TrimSuffix(made, "7"), made + " ", made + "x", strings.Replace(made, ".7", ".07", 1), strings.Replace(made, ".7", ".-7", 1),
		strings.Replace(made, ".7", ".99999999999999999999", 1), strings.Replace(made, "_", "+", 1), strings.ToUpper(made), " " + made} {
		if _, ok := rowBefore(id); ok {
			t.Errorf("%q is read as a row's", id)
		}
	}
}

// Integers that are different rows, and one float once they are flushed, are
// each known again, however often each is there.
func TestRowsOfLargeIntegers(t *testing.T) {
	for _, times := range [][3]int{{1, 1, 0}, {3, 1, 0}, {1, 3, 0}, {1, 2, 4}} {
		s := open(t, vfs.NewMem(), "store")
		n := func(v event.Value) event.Prop { return event.Prop{Name: "n", Value: v} }
		appendEvents(t, s, AppendOptions{}, view("bob", 9, n(event.Float(0.5)))) // n is a float
		const large = 1 << 60
		var source []event.Event
		for k, times := range times {
			for range times {
				source = append(source, view("ann", 0, n(event.Integer(large+int64(k)))))
			}
		}
		for i := range 4 {
			want := 0
			if i == 0 {
				want = len(source)
			}
			if ack := appendEvents(t, s, AppendOptions{}, rows(source...)...); int(ack.Accepted) != want {
				t.Errorf("%v, sent for the %d. time: %+v", times, i+1, ack)
			}
			if i != 1 { // once from memory, then from a segment
				continue
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
