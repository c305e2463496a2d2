package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

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
func TestLinkTablesFollowOneAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 17))
	followed := 0
	for range 20 {
		s := open(t, vfs.NewMem(), "store")
		name := func() string { return fmt.Sprint("c", r.IntN(60)) }
		for range 150 {
			switch r.IntN(5) {
			case 0:
				appendEvents(t, s, AppendOptions{}, view(name(), r.IntN(100)), view(name(), r.IntN(100)))
			case 1:
				if links := s.Links(); len(links) > 0 && r.IntN(4) == 0 {
					if err := s.Unlink(t.Context(), links[r.IntN(len(links))].From); err != nil {
						t.Fatal(err)
					}
				}
			default:
				if err := s.Link(t.Context(), name(), name()); err != nil && !errors.Is(err, ErrBadLink) {
					t.Fatal(err)
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
