package storage

import (
	"errors"
	"fmt"
	"testing"

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
