package storage

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// Merging, loading and checking events that have few of thousands of properties
// takes memory for the values that there are, not for each property in each row.
func TestFewOfManyProperties(t *testing.T) {
	const names, rows, each, rounds = 3000, 8_000, 3, 8
	const all = int64(rows * names * 8) // of one copy of the columns over all rows
	r := rand.New(rand.NewPCG(3, 3))
	var events []event.Event
	for i := range rows {
		e := view(fmt.Sprint("c", i%900), i)
		for _, p := range r.Perm(names)[:each] {
			v := event.Integer(int64(i))
			switch p % 3 {
			case 1:
				v = event.Float(float64(i) / 8)
			case 2:
				v = event.String(fmt.Sprint("text ", i%50))
			}
			e.Props = append(e.Props, event.Prop{Name: fmt.Sprint("p", p), Value: v})
		}
		events = append(events, e)
	}
	opt := small(vfs.NewMem())
	opt.Partition, opt.SegmentRows, opt.ChunkRows, opt.MemtableEvents, opt.BlockCustomers = widthYear, 0, 0, 1<<20, 0
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bounded := func(what string, most int64, do func() error) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > most {
			t.Errorf("%s allocates %d MB, more than %d; all properties of all rows are %d", what, took>>20, most>>20, all>>20)
		} else {
			t.Logf("%s allocates %d MB", what, took>>20)
		}
	}
	for part := range slices.Chunk(events, rows/rounds) {
		for batch := range slices.Chunk(part, 50) {
			appendEvents(t, s, AppendOptions{Durability: Memory}, batch...)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, s)
	bounded("merging", all*2/3, func() error { return s.Compact(t.Context()) })
	if contents(t, s) != before {
		t.Error("merged, the events are others")
	}
	if n := len(s.state().segments); n != 1 {
		t.Errorf("there are %d segments", n)
	}
	f := s.segments[s.state().segments[0].ID]
	block, err := f.seg.Block(0)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := block.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if size := decoded.size(); size > all/16 {
		t.Errorf("the decoded block has %d MB", size>>20)
	}
	bounded("checking", all/2, func() error {
		report, err := s.Check(t.Context())
		if err == nil && len(report.Damaged) > 0 {
			err = fmt.Errorf("damaged: %v", report.Damaged)
		}
		return err
	})

	loaded := open(t, vfs.NewMem(), "store")
	loaded.opt = s.opt
	loaded.opt.FS = loaded.fs
	l, err := loaded.NewLoad(t.Context(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for batch := range slices.Chunk(events, 50) {
		if err := l.Add(batchOf(batch)); err != nil {
			t.Fatal(err)
		}
	}
	bounded("loading", all/2, func() error {
		_, err := l.Commit(t.Context())
		return err
	})
	if contents(t, loaded) != before {
		t.Error("loaded, the events are others")
	}
	again := slices.Clone(events[:100])
	again[0].Props = again[0].Props[1:] // another event
	if res := loadEvents(t, loaded, again...); res.Events != 1 || res.Duplicates != 99 {
		t.Errorf("of 100 events, of which 99 are stored, %d are new and %d are not", res.Events, res.Duplicates)
	}
}
