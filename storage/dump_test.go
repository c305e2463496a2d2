package storage

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"wend/event"
	"wend/storage/vfs"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestDumpSegment(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	var got bytes.Buffer
	d := newDumper(&got)
	if err := dumpSegment(d, "test.seg", bytes.NewReader(file), int64(len(file))); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	if d.at != int64(len(file)) {
		t.Errorf("%d of %d bytes were dumped", d.at, len(file))
	}
	const golden = "testdata/segment.dump"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the format has changed: raise formatVersion and keep the old reader, or run with -update (-want +got):\n%s", diff)
	}
}

func TestDump(t *testing.T) {
	fsys := vfs.NewMem()
	f := func(content []byte, want string, wantErr error) {
		t.Helper()
		file, err := fsys.Create("000042.seg")
		if err == nil {
			_, err = file.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Dump(&got, fsys, "000042.seg"); !errors.Is(err, wantErr) || !strings.Contains(got.String(), want) {
			t.Errorf("dump of %d bytes: %v, want %q in\n%s", len(content), err, want, got.String())
		}
		if err := fsys.Remove("000042.seg"); err != nil {
			t.Fatal(err)
		}
	}
	meta, blocks := smallSegment()
	segment, _ := writeSegment(t, meta, blocks)
	f(segment, "trailer", nil)
	f(segment[:len(segment)-1], "segment 42", ErrCorrupt)
	f(segment[:20], "", ErrCorrupt)
	f([]byte("a letter"), "", ErrCorrupt)
	f(nil, "", ErrCorrupt)
	// What was never a store's is not damaged.
	if err := writeFile(fsys, "letter.txt", []byte("a letter")); err != nil {
		t.Fatal(err)
	}
	if err := Dump(&bytes.Buffer{}, fsys, "letter.txt"); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("dump of a letter: %v", err)
	}
	if err := Dump(&bytes.Buffer{}, fsys, "y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dump of no file: %v", err)
	}
}

func TestDumpDamagedSegment(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	file[headerSize+10] ^= 1
	d := newDumper(&bytes.Buffer{})
	if err := dumpSegment(d, "test.seg", bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// readsBetween is a writer that has a segment read whenever something is written.
type readsBetween struct {
	bytes.Buffer
	read func()
}

func (w *readsBetween) Write(p []byte) (int, error) {
	w.read()
	return w.Buffer.Write(p)
}

// A dump shows the bytes of its file, whatever else the process reads meanwhile
// with the memory that readers share.
func TestDumpBesideReaders(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	s, err := openSegment("test.seg", bytes.NewReader(file), int64(len(file)), meta.Store, meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	var alone bytes.Buffer
	beside := &readsBetween{read: func() {
		for i := range s.blocks {
			b, err := s.Block(s.blocks[i].block)
			if err == nil {
				_, err = b.Names()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}}
	for _, w := range []io.Writer{&alone, beside} {
		d := &dumper{w: bufio.NewWriterSize(w, 16)}
		if err := errors.Join(dumpSegment(d, "test.seg", bytes.NewReader(file), int64(len(file))), d.flush()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(alone.String(), beside.String()); diff != "" {
		t.Errorf("(-alone +beside):\n%s", diff)
	}
}

// The log and the manifest as people see them. The golden files hold the
// format: when one changes, old stores must stay readable.
func TestDumpLog(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{Token: "t1"}, view("ann", 0, event.Prop{Name: "value", Value: event.Float(19.9)}), event.Event{Customer: "bob", Time: at("2025-03-01T11:00:00Z"), Name: "call", Channel: "phone", ID: "7"})
	appendEvents(t, s, AppendOptions{}, view("bob", 1))
	appendEvents(t, s, AppendOptions{Token: "t2"}, event.Event{Name: "view"}, event.Event{Name: "view"}, event.Event{Customer: "ann"}, event.Event{Name: "view"})
	if err := s.Link(t.Context(), "anon", "ann"); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, name := range []string{manifestName(1), path.Base(walFileName(t, mem))} {
		fmt.Fprintf(&got, "%s\n", name)
		if err := Dump(&got, mem, path.Join("store", name)); err != nil {
			t.Error(err)
		}
	}
	const golden = "testdata/log.dump"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the format has changed; if that is meant, run with -update. Got\n%s", got.String())
	}
}
