package storage

import (
	"math/rand/v2"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// An older version of a segment, of the same store, number and length, with the
// same checksum, is not taken for it. The checksums of its pages are right, and
// because each page ends in its own, so is the CRC32C of the whole file.
func TestStaleSegment(t *testing.T) {
	// version is a store that differs from others only in one value.
	version := func(value int64, draws int) (*vfs.Mem, segmentRecord) {
		mem := vfs.NewMem()
		opt := small(mem)
		opt.Rand = rand.New(rand.NewPCG(1, 1))
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		for range draws {
			opt.Rand.Uint32()
		}
		appendEvents(t, s, AppendOptions{}, view("ann", 1, event.Prop{Name: "n", Value: event.Integer(value)}))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return mem, s.state().segments[0]
	}
	mem, is := version(5, 0)
	name := "store/" + is.file()
	for _, c := range []struct {
		what  string
		draws int
		query bool // it is noticed by the opening, not only by reading the file whole
	}{{"another file", 1, true}, {"the same file, changed", 0, false}} {
		old, was := version(6, c.draws)
		if was.ID != is.ID || was.Size != is.Size || was.Checksum != is.Checksum {
			t.Fatalf("%s: the versions differ in more than their content: %+v, %+v", c.what, was, is)
		}
		sound, err := vfs.ReadFile(mem, name)
		if err != nil {
			t.Fatal(err)
		}
		stale, err := vfs.ReadFile(old, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := overwrite(mem, name, stale); err != nil {
			t.Fatal(err)
		}
		s, err := Open("store", Options{FS: mem, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if missing := s.Summary().Missing; c.query != (len(missing) == 1) {
			t.Errorf("%s: opened, it misses %v", c.what, missing)
		}
		report, err := s.Check(t.Context())
		if err != nil || len(report.Damaged) != 1 || !strings.HasPrefix(report.Damaged[0].File, is.file()) {
			t.Errorf("%s: checked, it has %v damaged, %v", c.what, report.Damaged, err)
		}
		if snap, err := s.Snapshot(); err != nil {
			t.Error(err)
		} else if damage := snap.Verify(t.Context()); !c.query && !s.SetAside(damage) {
			t.Errorf("%s: verified, %v", c.what, damage)
		} else {
			snap.Release()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := overwrite(mem, name, sound); err != nil {
			t.Fatal(err)
		}
	}
}

func overwrite(fs vfs.FS, name string, data []byte) error {
	if err := fs.Remove(name); err != nil {
		return err
	}
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Close()
	}
	return err
}
