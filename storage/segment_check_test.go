package storage

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestCheckSegmentComparesParts: parts that each pass their checksum, but
// contradict each other, are damage.
func TestCheckSegmentComparesParts(t *testing.T) {
	f := func(want string, change func(*segmentWriter)) {
		t.Helper()
		meta, blocks := smallSegment()
		var file bytes.Buffer
		w, err := newSegmentWriter(&file, meta)
		if err == nil {
			err = w.AddBlock(0, blocks[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		change(w)
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		_, err = checkSegment("test.seg", bytes.NewReader(file.Bytes()), int64(file.Len()), meta.Store, meta.ID, nil)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	counts := "rows of each name differ"
	f(counts, func(w *segmentWriter) { w.info.EventCounts[0]++ })
	f(counts, func(w *segmentWriter) { w.info.ChannelCounts[1]-- })
	f(counts, func(w *segmentWriter) { w.info.ImportCounts[1]-- })
	f(counts, func(w *segmentWriter) { w.info.ValueCounts[0]++ })
	f("meta has", func(w *segmentWriter) { w.info.Rows++ })
	f("meta has", func(w *segmentWriter) { w.info.Customers-- })
	f("outside the directory's bounds", func(w *segmentWriter) { w.blocks[0].greatest-- })
	f("outside the directory's bounds", func(w *segmentWriter) { w.blocks[0].least++ })
	f("what is before ends at", func(w *segmentWriter) { w.blocks[0].pages = w.blocks[0].pages[:14-1] })
	f("the directory has 4", func(w *segmentWriter) { w.blocks[0].customers += 2; w.info.Customers += 2 })
	f("has 0 customers", func(w *segmentWriter) { w.blocks[0].customers = 0 })
	f("block 1 of 1", func(w *segmentWriter) { w.blocks[0].block = 1 })
	f("2 is more than 1", func(w *segmentWriter) { w.blocks = append(w.blocks, w.blocks[0]) })
	f("is there twice", func(w *segmentWriter) { w.section("meta", w.appendMeta(nil)) })
	f("no section of this version", func(w *segmentWriter) { w.section("bloom", []byte{1}) })
	f(`column "ties"`, func(w *segmentWriter) { w.columns[3] = "knots" })
	f(`"names" is missing`, func(w *segmentWriter) { w.columns[5] = "aliases" })
	f(`"starts" is missing`, func(w *segmentWriter) { w.columns[2] = "ends" })
	f(`"time" is missing`, func(w *segmentWriter) { w.columns[1] = "hour" })
	f("type 9 is unknown", func(w *segmentWriter) { w.meta.Properties[5].Type = 9 })
}
