package storage

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// storeOfEdits is a store with several edits in its manifest, and the names of
// the manifest and its copy.
func storeOfEdits(t *testing.T) (mem *vfs.Mem, holds string, files [2]string) {
	t.Helper()
	mem = vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1), view("bob", 2))
	for _, err := range []error{s.Link(t.Context(), "ann", "bob"), s.Link(t.Context(), "cleo", "bob")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Define(t.Context(), event.Definition{Kind: "stage", Name: "a", Text: "define stage a as view"}); err != nil {
		t.Fatal(err)
	}
	holds = contents(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := path.Join("store", manifestName(s.manifest.number))
	return mem, holds, [2]string{name, name + copySuffix}
}

// Where the manifest is damaged and where its copy is, taken together, decides:
// what is whole in one of them is not lost.
func TestManifestAndCopyDamaged(t *testing.T) {
	probe, _, files := storeOfEdits(t)
	data, err := vfs.ReadFile(probe, files[0])
	if err != nil {
		t.Fatal(err)
	}
	var edits []int // where they begin
	for at := range data {
		if strings.HasPrefix(string(data[at:]), editMagic) {
			edits = append(edits, at+editHeader)
		}
	}
	if len(edits) < 4 {
		t.Fatalf("the manifest has %d edits", len(edits))
	}
	places := append([]int{2, 20}, edits...) // of which the first two are the header's
	part := func(at int) int {
		if at < manifestHeader {
			return -1
		}
		return slices.Index(edits, at)
	}
	for _, a := range places {
		for _, b := range places {
			mem, holds, files := storeOfEdits(t)
			for i, at := range []int{a, b} {
				damaged, err := vfs.ReadFile(mem, files[i])
				if err != nil {
					t.Fatal(err)
				}
				damaged[at] ^= 4
				if err := overwrite(mem, files[i], damaged); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open("store", small(mem))
			if part(a) == part(b) {
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("bytes %d and %d are damaged, of one part: %v", a, b, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("bytes %d and %d are damaged: %v", a, b, err)
				continue
			}
			if got := contents(t, s); got != holds || len(s.Summary().Healed) != 2 || s.Summary().Definitions != 1 {
				t.Errorf("bytes %d and %d are damaged: it has\n%s", a, b, got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if again := open(t, mem, "store"); len(again.Summary().Healed) != 0 || contents(t, again) != holds {
				t.Errorf("bytes %d and %d were damaged: opened again it is not whole", a, b)
			}
		}
	}
}

// A folder with segments and no manifest is a damaged store, not a new one:
// a new one would take the segments for leftovers.
func TestManifestMissing(t *testing.T) {
	mem, _, files := storeOfEdits(t)
	for _, name := range files {
		if err := mem.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	before, err := mem.ReadDir("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		opt := small(mem)
		opt.ReadOnly = readOnly
		if _, err := Open("store", opt); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "is missing") {
			t.Errorf("opened without a manifest: %v", err)
		}
	}
	if after, err := mem.ReadDir("store"); err != nil || !slices.Equal(before, after) {
		t.Errorf("the folder has %v, it had %v", after, before)
	}
}
