package storage

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
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

func TestDumpDamagedSegment(t *testing.T) {
	meta, blocks := smallSegment()
	file, _ := writeSegment(t, meta, blocks)
	file[headerSize+10] ^= 1
	d := newDumper(&bytes.Buffer{})
	if err := dumpSegment(d, "test.seg", bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}
