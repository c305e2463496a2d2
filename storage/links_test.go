package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
)

func TestLinkErrors(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	link := func(from, to string) string {
		if err := s.Link(t.Context(), from, to); err != nil {
			return err.Error()
		}
		return ""
	}
	for _, c := range []struct{ from, to, want string }{
		{"a", "b", ""},
		{"a", "b", ""}, // again: nothing new
		{"b", "c", ""},
		{"a", "c", `link "a" to "c": this link cannot be made: it is linked to "b" already; unlink it first`},
		{"c", "a", `link "c" to "a": this link cannot be made: "b" is linked to "c", so the links would go round in a circle`},
		{"d", "d", `link "d" to "d": this link cannot be made: an identity cannot be linked to itself`},
		{"", "d", `link "" to "d": this link cannot be made: an identity cannot be empty`},
	} {
		if got := link(c.from, c.to); got != c.want {
			t.Errorf("link %s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
	appendEvents(t, s, AppendOptions{}, view("a", 0))
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	for _, name := range []string{"a", "b", "c"} {
		if _, _, canonical, ok, err := snap.Locate(t.Context(), name); canonical != "c" || !ok || err != nil {
			t.Errorf("Locate(%s) = %s, %v, %v", name, canonical, ok, err)
		}
	}
	if err := s.Unlink(t.Context(), "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unlink of nothing: %v", err)
	}
	if got := s.Links(); fmt.Sprint(got) != "[{a b} {b c}]" {
		t.Errorf("links: %v", got)
	}
}

// A link makes anew the tiles of the two that it joins, and of those who belong
// to them, and no other: where customers are linked all the time, most of what a
// query reads is there already.
func TestLinksChangeTilesThatTheyTouchOnly(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	link := func(from, to string) {
		t.Helper()
		if err := s.Link(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
	}
	var events []event.Event
	for i := range 60 {
		events = append(events, view(fmt.Sprint("known", i), i), view(fmt.Sprint("visitor", i), i))
	}
	appendEvents(t, s, AppendOptions{}, events...)
	for i := range 40 {
		link(fmt.Sprint("visitor", i), fmt.Sprint("known", i))
	}
	keys := func() (bits int, list []string) {
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		for i := range snap.Tiles() {
			m := tileMerge{snap: snap, tile: i}
			if err := m.gather(); err != nil {
				t.Fatal(err)
			}
			list = append(list, m.key())
		}
		return snap.bits, list
	}
	_, before := keys()
	changes := func(what string, names ...string) {
		t.Helper()
		bits, now := keys()
		touched := map[int]bool{}
		for _, name := range names {
			touched[blockOf(customerHash(name), bits)] = true
		}
		for i := range now {
			if same := now[i] == before[i]; same == touched[i] {
				t.Errorf("%s: tile %d of %d is the same: %v", what, i, len(now), same)
			}
		}
		before = now
	}
	link("visitor50", "known50")
	changes("a visitor is known", "visitor50", "known50")
	link("known50", "known51")
	changes("and somebody else", "visitor50", "known50", "known51")
	if err := s.Unlink(t.Context(), "known50"); err != nil {
		t.Fatal(err)
	}
	changes("and is not, after all", "visitor50", "known50", "known51")
	link("nobody", "known1")
	changes("somebody without events", "nobody", "known1")
	if len(before) < 16 {
		t.Errorf("%d tiles", len(before))
	}
}

// A table of links that follows another is the one that is made from nothing:
// who belongs to whom, where sources have them, and the fingerprints of tiles.
// Links that are refused, and who belongs to whom, are those that walking each
// chain to its end finds.
func TestLinkTablesFollowOneAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 17))
	followed := 0
	for range 20 {
		s := open(t, vfs.NewMem(), "store")
		name := func() string { return fmt.Sprint("c", r.IntN(60)) }
		model := map[string]string{}
		end := func(links map[string]string, name string) string {
			for links[name] != "" {
				name = links[name]
			}
			return name
		}
		for range 150 {
			switch r.IntN(5) {
			case 0:
				appendEvents(t, s, AppendOptions{}, view(name(), r.IntN(100)), view(name(), r.IntN(100)))
			case 1:
				if links := s.Links(); len(links) > 0 && r.IntN(4) == 0 {
					from := links[r.IntN(len(links))].From
					if err := s.Unlink(t.Context(), from); err != nil {
						t.Fatal(err)
					}
					delete(model, from)
				}
			default:
				links := make([]Link, 1+r.IntN(2)*r.IntN(6))
				with, bad := maps.Clone(model), false
				for i := range links {
					from, to := name(), name()
					links[i] = Link{from, to}
					bad = bad || with[from] != to && (with[from] != "" || end(with, to) == from)
					if !bad {
						with[from] = to
					}
				}
				if err := s.LinkAll(t.Context(), links); bad != errors.Is(err, ErrBadLink) || !bad && err != nil {
					t.Fatalf("links %v and then %v: %v, want one that cannot be made: %v", model, links, err, bad)
				}
				if !bad {
					model = with
				}
			}
			if r.IntN(3) == 0 {
				continue // the next follows several changes
			}
			snap, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			want := newLinkTable(s.state().links)
			for from := range model {
				if got := want.resolve(from); got != end(model, from) {
					t.Fatalf("links %v: %s belongs to %s", model, from, got)
				}
			}
			if got := snap.links; got != nil || want != nil {
				followed += min(len(got.earlier), 1)
				if !maps.Equal(maps.Collect(got.canonical.all()), maps.Collect(want.canonical.all())) || !slices.Equal(got.involved, want.involved) ||
					!maps.EqualFunc(maps.Collect(got.aliases.all()), maps.Collect(want.aliases.all()), slices.Equal) {
					t.Fatalf("links %v: %v, want %v", s.Links(), got, want)
				}
				for _, src := range snap.sources {
					if r.IntN(3) == 0 {
						continue // nobody asked
					}
					places, err := got.places(snap, src)
					if err != nil {
						t.Fatal(err)
					}
					if all, err := want.locate(snap, src); err != nil || !slices.Equal(places, all) {
						t.Fatalf("links %v: places %v, want %v, %v", s.Links(), places, all, err)
					}
				}
				for i := range snap.Tiles() {
					if got.print(i, snap.bits) != want.print(i, snap.bits) {
						t.Fatalf("links %v: tile %d has another fingerprint", s.Links(), i)
					}
				}
			}
			snap.Release()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if followed < 500 {
		t.Errorf("%d tables followed another", followed)
	}
}

// impatient is cancelled when it has been looked at three times.
type impatient struct {
	context.Context
	looks int
}

func (c *impatient) Err() error {
	if c.looks++; c.looks > 3 {
		return context.Canceled
	}
	return nil
}

// However long the chain that links make, and in whatever order they come, to
// link, to take a snapshot, to open the store and to erase walk no part of it
// twice: fifty thousand links cost what as many pairs do, not minutes.
func TestLongChains(t *testing.T) {
	const n = 50_000
	name := func(i int) string { return fmt.Sprintf("%06d", i) }
	for _, order := range []string{"from the first", "from the last"} {
		t.Run(order, func(t *testing.T) {
			var links []Link
			for i := range n {
				links = append(links, Link{name(i), name(i + 1)})
			}
			if order == "from the last" {
				slices.Reverse(links)
			}
			fs := vfs.NewMem()
			s := open(t, fs, "store")
			soon := func(what string, f func() error) {
				t.Helper()
				done := make(chan error, 1)
				go func() { done <- f() }()
				select {
				case err := <-done:
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("%s is not done after 20 seconds", what)
				}
			}
			snapshot := func(want string) func() error {
				return func() error {
					snap, err := s.Snapshot()
					if err != nil {
						return err
					}
					defer snap.Release()
					if got := snap.links.resolve(name(0)); got != want {
						return fmt.Errorf("the first belongs to %s, not to %s", got, want)
					}
					for _, src := range snap.sources {
						if snap.links == nil {
							break
						}
						if _, err := snap.links.places(snap, src); err != nil {
							return err
						}
					}
					return nil
				}
			}
			appendEvents(t, s, AppendOptions{}, view(name(0), 0), view(name(n), 0))
			if err := s.LinkAll(&impatient{Context: t.Context()}, links); !errors.Is(err, context.Canceled) || len(s.Links()) > 0 {
				t.Errorf("nobody waits any more: %v, %d links", err, len(s.Links()))
			}
			soon("link", func() error { return s.LinkAll(t.Context(), links) })
			soon("snapshot", snapshot(name(n)))
			if err := s.Link(t.Context(), name(n), name(0)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is linked to %q, so", name(n-1), name(n))) {
				t.Errorf("a circle: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, fs, "store")
			soon("snapshot of a store opened again", snapshot(name(n)))
			soon("one link more, and a snapshot", func() error {
				if err := s.Link(t.Context(), name(n), name(n+1)); err != nil {
					return err
				}
				snap, err := s.Snapshot()
				if err != nil {
					return err
				}
				snap.Release()
				if len(snap.links.earlier) > 0 {
					t.Errorf("in %d sources all who moved are put in place one by one", len(snap.links.earlier))
				}
				return snapshot(name(n + 1))()
			})
			soon("erase", func() error {
				_, err := s.Erase(t.Context(), name(n/2), EraseOptions{})
				return err
			})
			soon("snapshot after an erasure", snapshot(name(0)))
		})
	}
}

// A thousand more who come to belong to a customer of many are put among them
// at once, not one after the other.
func TestManyLinksToOneCustomer(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	bytes := func(from, to int) uint64 {
		t.Helper()
		var links []Link
		for i := from; i < to; i++ {
			links = append(links, Link{fmt.Sprint("visitor", i), "customer"})
		}
		if err := s.LinkAll(t.Context(), links); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		snap.Release()
		return after.TotalAlloc - before.TotalAlloc
	}
	all, more := bytes(0, 20_000), bytes(20_000, 21_000)
	if more > all {
		t.Errorf("%d bytes for 20,000 links, and %d for a thousand more", all, more)
	}
}
