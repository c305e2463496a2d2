package storage

import (
	"testing"

	"wend/storage/vfs"
)

// Whatever stands in a log file, reading it ends, and what it returns lies
// within the file.
func FuzzLog(f *testing.F) {
	mem := vfs.NewMem()
	s, err := Open("store", small(mem))
	if err != nil {
		f.Fatal(err)
	}
	g := &shop{r: s.opt.Rand}
	for range 3 {
		if _, err := s.Append(f.Context(), batchOf(g.events(4)), AppendOptions{Token: "t"}); err != nil {
			f.Fatal(err)
		}
	}
	store := s.state().store
	data, err := vfs.ReadFile(mem, "store/000001.wal")
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(data, int64(-1))
	f.Add(data[:len(data)/2], int64(len(data)))
	f.Fuzz(func(t *testing.T, data []byte, limit int64) {
		var counts *walExtent
		if limit >= 0 {
			counts = &walExtent{number: 1, bytes: limit, gaps: []walHole{{limit / 3, limit / 2}}}
		}
		log, err := parseWAL(data, store, 1, counts)
		if err != nil {
			return
		}
		end := int64(0)
		for _, r := range log.records {
			if r.offset < end || r.offset+recordHeader+int64(len(r.content)) > int64(len(data)) {
				t.Fatalf("a record of %d bytes at %d, after %d, in %d bytes", len(r.content), r.offset, end, len(data))
			}
			end = r.offset + recordHeader + int64(len(r.content))
		}
	})
}

// An encoded batch may be anything: decoding it fails or gives a batch that can be used.
func FuzzBatch(f *testing.F) {
	g := &shop{r: small(nil).Rand, floats: true}
	f.Add(appendBatch(nil, batchOf(g.events(20))))
	f.Add(appendBatch(nil, batchOf(nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDecoder(data)
		b := d.decodeBatch()
		if d.err != nil {
			return
		}
		again := newDecoder(appendBatch(nil, b)).decodeBatch()
		for i := range b.Len() {
			if got, want := line(again.At(i), nil), line(b.At(i), nil); got != want {
				t.Fatalf("event %d became %s, was %s", i, got, want)
			}
		}
	})
}

// A manifest may be anything: reading it fails or gives a state.
func FuzzManifest(f *testing.F) {
	mem := vfs.NewMem()
	s, err := Open("store", small(mem))
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Link(f.Context(), "a", "b"); err != nil {
		f.Fatal(err)
	}
	data, err := vfs.ReadFile(mem, "store/"+manifestName(1))
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		st, count, valid, err := parseManifest(data, 1)
		if err == nil && (st == nil || count == 0 || valid > int64(len(data))) {
			t.Fatalf("%d edits, %d of %d bytes", count, valid, len(data))
		}
	})
}
