package storage

import (
	"slices"
	"strings"
	"testing"
)

// Segments of an edit that failed stay, because the edit may be on the disk,
// until the next edit decides that they are not the store's.
func TestSegmentsOfAFailedEditGo(t *testing.T) {
	s, fs := openFaulty(t)
	segments := func() (list []string) {
		names, err := fs.ReadDir("store")
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".seg") })
	}
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	fs.fail = func(_ int, call, name string) bool { return call == "sync" && strings.Contains(name, "MANIFEST") }
	if err := s.Flush(t.Context()); err == nil {
		t.Fatal("an edit that failed was acknowledged")
	}
	fs.fail = nil
	first := segments()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := segments(); len(first) != 1 || len(now) != 1 || slices.Equal(first, now) {
		t.Errorf("after the failed edit there is %v, after the next %v", first, now)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, open(t, fs.Mem, "store")); strings.Count(got, "ann 2025") != 1 {
		t.Errorf("opened again it has %q", got)
	}
}
