package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// A load makes of rows what appending them makes: the same journeys in the same
// order, also where identities are linked and times are equal, the same rows
// rejected as the second of their id; whether rows stay in memory or go to the
// file, however batches cut them, and however finely buckets are sorted.
func TestLoadEqualsAppend(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	number := func(n int) event.Prop { return event.Prop{Name: "n", Value: event.Integer(int64(n))} }
	customer := func(n int) string { return fmt.Sprint("c", n) }
	many := func(n int, one func(i int) event.Event) []event.Event {
		events := make([]event.Event, n)
		for i := range events {
			events[i] = one(i)
		}
		return events
	}
	backwards := func(events []event.Event) []event.Event {
		slices.Reverse(events)
		return events
	}
	wide := func(i int) event.Event {
		e := view(customer(i%40), i%25)
		e.Channel = []string{"", "web", "店"}[i%3]
		for k := range 20 {
			if (i+k)%7 == 0 {
				e.Props = append(e.Props, event.Prop{Name: fmt.Sprint("p", k), Value: event.String(strings.Repeat("é", i%300))})
			}
		}
		value := event.Integer(int64(i))
		if i > 200 { // by then batches with integers are in the buckets
			value = event.Float(float64(i) + 0.5)
		}
		e.Props = append(e.Props, event.Prop{Name: "value", Value: value}, event.Prop{Name: "yes", Value: event.Boolean(i%2 == 0)},
			event.Prop{Name: "due", Value: event.Instant(event.MinTime.Add(event.Duration(i)))})
		return e
	}
	cases := map[string][]event.Event{
		"one event":   {view("ann", 0)},
		"rising":      many(900, func(i int) event.Event { return view(customer(r.IntN(60)), i/4, number(i)) }),
		"falling":     backwards(many(900, func(i int) event.Event { return view(customer(r.IntN(60)), i/4, number(i)) })),
		"in disorder": many(900, func(i int) event.Event { return view(customer(r.IntN(60)), r.IntN(50), number(i)) }),
		"all at once": many(300, func(i int) event.Event { return view(customer(r.IntN(9)), 0, number(i)) }),
		"customer after customer": many(900, func(i int) event.Event {
			return view(customer(i/30), i%30*7%30, number(i))
		}),
		"two files one after the other": many(900, func(i int) event.Event { return view(customer(r.IntN(60)), i%450/3, number(i)) }),
		"a long journey": many(2000, func(i int) event.Event {
			if i%10 == 0 {
				return view(customer(i), r.IntN(1000), number(i))
			}
			return view("robot", r.IntN(1000), number(i))
		}),
		"many customers": many(6000, func(i int) event.Event { return view(customer(r.IntN(4000)), i, number(i)) }),
		"ids": many(900, func(i int) event.Event {
			e := view(customer(r.IntN(10)), r.IntN(20), number(r.IntN(2)))
			if r.IntN(5) > 0 {
				e.ID = fmt.Sprint("id", r.IntN(30))
			}
			return e
		}),
		"names": many(400, func(i int) event.Event {
			e := view([]string{"ünï", "客户", "x", strings.Repeat("long", 500), "\x00", "a\nb"}[r.IntN(6)], i%90, number(i))
			e.Name = fmt.Sprint("event ", i%200)
			return e
		}),
		"times": many(400, func(i int) event.Event {
			e := view(customer(r.IntN(20)), 0, number(i))
			e.Time = []event.Time{event.MinTime, at("2029-12-31T23:59:59.999999Z"), -1, 0, 1, 999, 1000, 1_000_000, e.Time}[r.IntN(9)]
			return e
		}),
		"properties": many(400, wide),
	}
	for name, events := range cases {
		t.Run(name, func(t *testing.T) {
			appended := open(t, vfs.NewMem(), "store")
			var want LoadResult
			for part := range slices.Chunk(events, 100) {
				ack := appendEvents(t, appended, AppendOptions{Durability: Memory}, part...)
				want.Events += ack.Accepted
				want.Duplicates += ack.Duplicates
				want.Conflicts += ack.Conflicts
			}
			linkPairs(t, appended, events)
			expected := contents(t, appended)
			for _, how := range []struct {
				name         string
				batch, chunk int
				atOnce       int64
			}{{"in memory", 100, 1 << 20, atOnceBytes}, {"spilled", 37, 50, atOnceBytes}, {"sorted in pieces", 500, 2000, 1}, {"row by row", 1, 300, 100}} {
				s := open(t, vfs.NewMem(), "store")
				s.opt.ChunkRows = how.chunk
				l, err := s.NewLoad(t.Context(), LoadOptions{Source: "test.csv"})
				if err != nil {
					t.Fatal(err)
				}
				l.buckets.atOnce = how.atOnce
				for part := range slices.Chunk(events, how.batch) {
					if err := l.Add(batchOf(part)); err != nil {
						t.Fatal(err)
					}
				}
				got, err := l.Commit(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", how.name, err)
				}
				if got.Events != want.Events || got.Duplicates != want.Duplicates || got.Conflicts != want.Conflicts {
					t.Errorf("%s: %+v, appending gives %+v", how.name, got, want)
				}
				linkPairs(t, s, events)
				if is := contents(t, s); is != expected {
					t.Errorf("%s: %s", how.name, firstDifference(is, expected))
				}
			}
		})
	}
}

// linkPairs makes one customer of every two that there are.
func linkPairs(t *testing.T, s *Store, events []event.Event) {
	t.Helper()
	names := map[string]bool{}
	for i := range events {
		names[events[i].Customer] = true
	}
	list := sortedKeys(names)
	for i := 1; i < min(len(list), 40); i += 2 {
		if err := s.Link(t.Context(), list[i], list[i-1]); err != nil {
			t.Fatal(err)
		}
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %.300q, want %.300q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// What is read of the temporary file is what was written to it.
func TestSpilledRowsDamaged(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	l, err := s.NewLoad(t.Context(), LoadOptions{Source: "test.csv"})
	for i := 0; err == nil && i < 200; i++ {
		err = l.Add(batchOf([]event.Event{view(fmt.Sprint("c", i), i)}))
	}
	if err == nil {
		err = l.settle()
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(mem, l.buckets.name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := l.buckets.remove(); err != nil {
		t.Fatal(err)
	}
	if l.buckets.file, err = mem.Create(l.buckets.name); err == nil {
		_, err = l.buckets.file.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "it is not what was written") {
		t.Errorf("commit: %v", err)
	}
	if all := contents(t, s); all != "" {
		t.Errorf("the store has:\n%s", all)
	}
}

// Of times that occur once few count as ones that occur twice, or every row of
// a file in disorder would have a rank.
func TestTimesThatOccurTwice(t *testing.T) {
	const rows = 50_000
	var ties loadTies
	ties.begin(rows)
	once := func(i int) event.Time { return event.Time(i) * event.Time(event.Hour) }
	for i := range rows {
		ties.look(once(i))
		if i%100 == 0 {
			ties.look(once(i))
		}
	}
	mistaken := 0
	for i := range rows {
		switch is := ties.twice(once(i)); {
		case i%100 == 0 && !is:
			t.Fatalf("time %d occurs twice, and counts as one that does not", i)
		case i%100 != 0 && is:
			mistaken++
		}
	}
	if mistaken > rows/100 {
		t.Errorf("%d of %d times that occur once count as ones that occur twice", mistaken, rows)
	}
}
