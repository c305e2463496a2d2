package storage

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// A log that was given up and that a later one builds on is reported when it is
// gone. The batches of the later one are there.
func TestMissingLog(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("bob", 1))
	first := walName(s.wal.number)
	fs.fail = func(_ int, call, name string) bool { return call == "sync" && path.Base(name) == first }
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("dan", 2)}), AppendOptions{}); err == nil {
		t.Fatal("a batch that was not synced was acknowledged")
	}
	fs.fail = nil
	appendEvents(t, s, AppendOptions{}, view("cleo", 3))
	if s.wal == nil || walName(s.wal.number) == first {
		t.Fatal("the log was not given up")
	}
	left := vfs.NewMem()
	for _, name := range []string{manifestName(s.manifest.number), manifestName(s.manifest.number) + copySuffix, walName(s.wal.number)} {
		data, err := vfs.ReadFile(fs.Mem, path.Join("store", name))
		if err == nil {
			err = left.MkdirAll("store")
		}
		if err == nil {
			err = overwrite(left, path.Join("store", name), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := open(t, left, "store")
	if missing := after.Summary().Missing; len(missing) != 1 || missing[0].Segment != first {
		t.Errorf("missing is %v, want %s", missing, first)
	}
	if got := contents(t, after); !strings.Contains(got, "cleo") {
		t.Errorf("it has %q", got)
	}
}

// File numbers are compared as numbers: of seven digits they sort before six.
func TestNumbersOfSevenDigits(t *testing.T) {
	s, fs := openFaulty(t)
	s.next = 999_999
	appendEvents(t, s, AppendOptions{}, view("bob", 1))
	fs.fail = func(_ int, call, name string) bool { return call == "sync" && path.Base(name) == "999999.wal" }
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("dan", 2)}), AppendOptions{}); err == nil {
		t.Fatal("a batch that was not synced was acknowledged")
	}
	fs.fail = nil
	appendEvents(t, s, AppendOptions{}, view("cleo", 3))
	if names := sortedKeys(filesOf(t, fs, "store")); !slices.Contains(names, "999999.wal") || !slices.Contains(names, "1000000.wal") {
		t.Fatalf("there are %v", names)
	}
	want := contents(t, s)
	after := open(t, fs.Mem.Clone(), "store")
	if got := contents(t, after); got != want || strings.Count(got, "\n") != 2 || len(after.missingData()) > 0 {
		t.Errorf("after a crash\n%swant\n%smissing %v", got, want, after.missingData())
	}

	// A manifest that is not removed in time is by the next opening.
	s.manifest.number, s.manifest.kept = 999_998, 999_998
	for i := range 3 {
		if err := s.Link(t.Context(), fmt.Sprint("a", i), "bob"); err != nil {
			t.Fatal(err)
		}
		fs.fail = func(_ int, call, name string) bool {
			return call == "remove" && strings.HasPrefix(path.Base(name), "MANIFEST-999999") && !strings.HasSuffix(name, tempSuffix)
		}
		s.manifest.abandon() // the next edit begins a new file
	}
	fs.fail = nil
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after = open(t, fs, "store")
	if len(after.Links()) != 3 || after.manifest.number < 1_000_000 {
		t.Errorf("manifest %d has links %v", after.manifest.number, after.Links())
	}
	for name := range filesOf(t, fs, "store") {
		if n, ok := manifestNumber(name); ok && n != after.manifest.number {
			t.Errorf("%s is left", name)
		}
	}
}
