package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"strings"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs"
)

// versionedStore is a store with a manifest, a segment and a log, not closed.
func versionedStore(t *testing.T, opt Options) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	opt.FS = fsys
	s, err := Open("db", opt)
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("bob", 2))
	copied := fsys.Clone()
	kill(s)
	return copied
}

// filesOf returns every file of a directory, by name.
func filesOf(t *testing.T, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		data, err := vfs.ReadFile(fsys, path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// alterFile changes the bytes of a file whose name contains part.
func alterFile(t *testing.T, fsys vfs.FS, dir, part string, change func([]byte) []byte) {
	t.Helper()
	for name, data := range filesOf(t, fsys, dir) {
		if !strings.Contains(name, part) {
			continue
		}
		name = path.Join(dir, name)
		if err := fsys.Remove(name); err != nil {
			t.Fatal(err)
		}
		f, err := fsys.Create(name)
		if err == nil {
			_, err = f.Write(change([]byte(data)))
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s has no file %s", dir, part)
}

// A store of a release to come is refused by writers and readers alike, the
// version that it needs is named, and not a byte of the directory changes.
func TestNewerFormatIsRefused(t *testing.T) {
	sum := func(b []byte, n int) []byte {
		binary.LittleEndian.PutUint32(b[n:], crc32.Checksum(b[:n], castagnoli))
		return b
	}
	// edits puts another first edit into a manifest.
	first := func(payload string) func([]byte) []byte {
		return func(b []byte) []byte {
			var store [16]byte
			copy(store[:], b[8:])
			out := append([]byte{}, b[:manifestHeader]...)
			out = append(out, editMagic...)
			out = binary.LittleEndian.AppendUint32(out, uint32(len(payload)))
			out = binary.LittleEndian.AppendUint32(out, editChecksum(store, binary.LittleEndian.Uint64(b[24:]), 0, []byte(payload)))
			return append(out, payload...)
		}
	}
	newer, changed := 0, 0
	f := func(name, file, want string, change func([]byte) []byte) {
		t.Helper()
		newer++
		fsys := versionedStore(t, Options{})
		alterFile(t, fsys, "db", file, change)
		before := filesOf(t, fsys, "db")
		for _, readOnly := range []bool{false, true} {
			s, err := Open("db", Options{FS: fsys, ReadOnly: readOnly})
			if err == nil {
				kill(s)
			}
			if !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, read only %v: opened with %v, want ErrNewer with %q", name, readOnly, err, want)
			}
		}
		if after := filesOf(t, fsys, "db"); !maps.Equal(before, after) {
			changed++
			t.Errorf("%s: the refused store has changed", name)
		}
	}
	f("format", manifestPrefix, "use a release that reads format 3", first(`{"format":3,"next":9,"wal":1}`))
	f("field", manifestPrefix, `"shards"`, first(`{"format":2,"next":9,"wal":1,"shards":4}`))
	f("field of a field", manifestPrefix, `"tier"`, first(`{"format":2,"next":9,"wal":1,"add":[{"id":1,"tier":2}]}`))
	f("magic", manifestPrefix, `"wendMAN3"`, func(b []byte) []byte { b[7] = '3'; return sum(b, 32) })
	f("segment version", ".seg", "use a release that reads 7", func(b []byte) []byte { b[8] = 7; return sum(b, 44) })
	f("segment feature", ".seg", "features 0x4", func(b []byte) []byte { b[12] = 4; return sum(b, 44) })
	f("log", ".wal", `"wendWAL2"`, func(b []byte) []byte { b[7] = '2'; return sum(b, 36) })
	trust.Report(t, "P13", "kinds of newer stores refused", newer, "changed", changed)
}

// A flipped digit in a magic is damage, not a newer release.
func TestDamagedVersionIsDamage(t *testing.T) {
	for _, file := range []string{manifestPrefix, ".seg", ".wal"} {
		fsys := versionedStore(t, Options{})
		alterFile(t, fsys, "db", file, func(b []byte) []byte { b[7] ^= 1; b[8] ^= 2; return b })
		s, err := Open("db", Options{FS: fsys})
		if errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", file, err)
		}
		if err == nil {
			if len(s.missingData())+len(s.healed) == 0 {
				t.Errorf("%s: damage went unnoticed", file)
			}
			kill(s)
		}
	}
}

// A store keeps the format it was made with, and a store of format 1 has
// nothing that the first release does not know.
func TestFormatStays(t *testing.T) {
	for format, want := range map[int]string{1: manifestMagic1, 2: manifestMagic2} {
		fsys := versionedStore(t, Options{Format: format})
		s, err := Open("db", Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Link(t.Context(), "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		if got := s.Summary().Format; got != format {
			t.Errorf("a store of format %d says that it has %d", format, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for name, data := range filesOf(t, fsys, "db") {
			if !strings.HasPrefix(name, manifestPrefix) {
				continue
			}
			if !strings.HasPrefix(data, want) {
				t.Errorf("the manifest of a store of format %d begins with %q", format, data[:8])
			}
			if got := bytes.Contains([]byte(data), fmt.Appendf(nil, `{"format":%d,`, format)); got != (format > 1) {
				t.Errorf("a manifest of format %d names it: %v", format, got)
			}
		}
	}
}
