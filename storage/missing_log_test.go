package storage

import (
	"path"
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
