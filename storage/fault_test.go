package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
)

var errDisk = errors.New("no space left on device")

// faults is a file system that fails when it is told to. Every operation that
// changes something counts.
type faults struct {
	*vfs.Mem
	ops  int
	fail func(op int, call, name string) bool // nil: never
}

func (f *faults) check(call, name string) error {
	f.ops++
	if f.fail != nil && f.fail(f.ops, call, name) {
		return fmt.Errorf("%s %s: %w", call, name, errDisk)
	}
	return nil
}

func (f *faults) Create(name string) (vfs.File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	file, err := f.Mem.Create(name)
	return &faultyFile{file, f, name}, err
}

func (f *faults) Rename(old, new string) error {
	if err := f.check("rename", old); err != nil {
		return err
	}
	return f.Mem.Rename(old, new)
}

func (f *faults) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	return f.Mem.Remove(name)
}

func (f *faults) SyncDir(name string) error {
	if err := f.check("syncdir", name); err != nil {
		return err
	}
	return f.Mem.SyncDir(name)
}

// openFaulty begins a store on a file system that can fail.
func openFaulty(t *testing.T) (*Store, *faults) {
	t.Helper()
	fs := &faults{Mem: vfs.NewMem()}
	return open(t, fs, "store"), fs
}

type faultyFile struct {
	vfs.File
	fs   *faults
	name string
}

// Write writes half when it fails, as a full disk does.
func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.fs.check("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// A failed write or sync of the log must not take later batches with it
// (Prometheus lost acknowledged ones that way, issue 13027).
func TestLogFailure(t *testing.T) {
	for _, call := range []string{"write", "sync"} {
		t.Run(call, func(t *testing.T) {
			s, fs := openFaulty(t)
			appendEvents(t, s, AppendOptions{}, view("ann", 0))
			appendEvents(t, s, AppendOptions{Durability: Interval}, view("ann", 1))
			fs.fail = func(_ int, c, name string) bool { return c == call && strings.HasSuffix(name, walSuffix) }
			bad := view("ann", 2)
			bad.ID = "x"
			for range 3 {
				if _, err := s.Append(t.Context(), batchOf([]event.Event{bad}), AppendOptions{Token: "bad"}); !errors.Is(err, errDisk) {
					t.Fatalf("append on a failing disk: %v", err)
				}
			}
			if got := contents(t, s); strings.Count(got, "\n") != 2 {
				t.Fatalf("a batch that failed is visible:\n%s", got)
			}
			fs.fail = nil
			appendEvents(t, s, AppendOptions{}, view("ann", 3))
			if ack := appendEvents(t, s, AppendOptions{Token: "bad"}, bad); ack.Accepted != 1 {
				t.Fatalf("the batch sent again: %+v", ack)
			}
			want := contents(t, s)
			if strings.Count(want, "\n") != 4 {
				t.Fatalf("contents\n%s", want)
			}
			after := open(t, fs.Mem.Clone(), "store")
			if got := contents(t, after); got != want {
				t.Errorf("after a crash\n%s\nwant\n%s", got, want)
			}
			if len(after.missingData()) > 0 {
				t.Errorf("missing: %v", after.missingData())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A batch whose log failed after it was acknowledged is in no log. Sent again, by
// its token or its events' ids, and to be durable now, it is not acknowledged
// before it is somewhere; so is one that was to be in memory only.
func TestSentAgainFromNoLog(t *testing.T) {
	for _, level := range []Durability{Interval, Memory} {
		for _, token := range []string{"token", ""} {
			t.Run(fmt.Sprintf("%v, token %q", level, token), func(t *testing.T) {
				s, fs := openFaulty(t)
				appendEvents(t, s, AppendOptions{}, view("ann", 0))
				e := view("ann", 1)
				e.ID = "x"
				appendEvents(t, s, AppendOptions{Durability: level, Token: token}, e)
				fs.fail = func(_ int, call, _ string) bool { return call == "sync" }
				if _, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 2)}), AppendOptions{}); !errors.Is(err, errDisk) {
					t.Fatalf("append on a failing disk: %v", err)
				}
				if ack, err := s.Append(t.Context(), batchOf([]event.Event{e}), AppendOptions{Token: token}); !errors.Is(err, errDisk) {
					t.Errorf("sent again on a failing disk: %+v, %v", ack, err)
				}
				fs.fail = nil
				appendEvents(t, s, AppendOptions{Token: token}, e)
				if got := contents(t, open(t, fs.Mem.Clone(), "store")); strings.Count(got, "\n") != 2 {
					t.Errorf("after a crash\n%s", got)
				}
				kill(s)
			})
		}
	}
}

// A batch that still waits for its fsync is sent again by its token, to be in
// memory only: the answer would be the first's, which says that it is durable.
func TestSentAgainBeforeSync(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	batch := func() *event.Batch { return batchOf([]event.Event{view("ann", 1)}) }
	again := make(chan Ack, 1)
	var once sync.Once
	fs.fail = func(_ int, call, name string) bool {
		if call != "sync" || !strings.HasSuffix(name, walSuffix) {
			return false
		}
		once.Do(func() {
			go func() {
				ack, _ := s.Append(t.Context(), batch(), AppendOptions{Token: "t", Durability: Memory})
				again <- ack
			}()
			time.Sleep(50 * time.Millisecond) // the other would have answered by now
		})
		return true
	}
	if _, err := s.Append(t.Context(), batch(), AppendOptions{Token: "t"}); !errors.Is(err, errDisk) {
		t.Fatalf("append on a failing disk: %v", err)
	}
	if ack := <-again; ack.Accepted > 0 && ack.Durability != Memory { // it may have come so late that it was the first
		t.Errorf("sent again while the fsync fails: %+v", ack)
	}
	kill(s)
}

// A flush fails, and then the log that was begun after it: the batches of the log
// before are where they were, and are not there twice after the next opening.
func TestLogFailsAfterFlushFailed(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	fs.fail = func(_ int, call, name string) bool { return call == "write" && strings.Contains(name, ".seg") }
	if err := s.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("flush on a failing disk: %v", err)
	}
	fs.fail = nil
	appendEvents(t, s, AppendOptions{Durability: Interval}, view("ann", 1))
	fs.fail = func(_ int, call, name string) bool { return call == "sync" && strings.HasSuffix(name, walSuffix) }
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 2)}), AppendOptions{}); !errors.Is(err, errDisk) {
		t.Fatalf("append on a failing disk: %v", err)
	}
	fs.fail = nil
	appendEvents(t, s, AppendOptions{}, view("ann", 3))
	want := contents(t, s)
	if got := contents(t, open(t, fs.Mem.Clone(), "store")); got != want || strings.Count(got, "\n") != 3 {
		t.Errorf("after a crash\n%s\nwant\n%s", got, want)
	}
	kill(s)
}

// A write of the log fails, and then the process is killed: what was
// acknowledged as interval before it is in the file, and stays.
func TestFailedWriteKeepsTheOnesBefore(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	appendEvents(t, s, AppendOptions{Durability: Interval}, view("ann", 1))
	fs.fail = func(_ int, call, _ string) bool { return call == "write" }
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 2)}), AppendOptions{}); !errors.Is(err, errDisk) {
		t.Fatalf("append on a failing disk: %v", err)
	}
	if got := contents(t, open(t, fs.Mem.Clone(), "store")); strings.Count(got, "\n") != 2 {
		t.Errorf("after the process was killed\n%s", got)
	}
	kill(s)
}

func walFileName(t *testing.T, fs *vfs.Mem) string {
	t.Helper()
	names, err := fs.ReadDir("store")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, walSuffix) })
	if i < 0 {
		t.Fatalf("no log among %v", names)
	}
	return path.Join("store", names[i])
}

// replaceFile puts other content in place of a file's.
func replaceFile(t *testing.T, fs *vfs.Mem, name string, data []byte) {
	t.Helper()
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fewBatches returns a store whose log holds five batches of one event, as a crash leaves it.
func fewBatches(t *testing.T) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	for i := range 5 {
		appendEvents(t, s, AppendOptions{}, view("ann", i))
	}
	return mem.Clone()
}

// Cut anywhere behind the header, the log's whole records count. A header that
// is cut is damage: the manifest tells of the log only when it is durable.
func TestTornLog(t *testing.T) {
	mem := fewBatches(t)
	name := walFileName(t, mem)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for size := 0; size <= len(data); size++ {
		torn := mem.Clone()
		replaceFile(t, torn, name, data[:size])
		damaged := size < strings.Index(string(data), recordMagic)
		report, err := readerOf(t, torn).Check(t.Context())
		if err != nil || damaged != (fmt.Sprint(report.Damaged) == "[{000001.wal damaged data: the header ends early}]") {
			t.Fatalf("cut at %d of %d: a check finds %v, %v", size, len(data), report.Damaged, err)
		}
		s := open(t, torn, "store")
		n := strings.Count(contents(t, s), "\n")
		if n < last || (len(s.missingData()) > 0) != damaged {
			t.Fatalf("cut at %d of %d: %d events, %d before, missing %v", size, len(data), n, last, s.missingData())
		}
		last = n
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last != 5 {
		t.Fatalf("the whole log has %d events", last)
	}
}

// The newest log, too, is reported when it is not there: by every answer, by a check, and still
// when the store is opened again.
func TestMissingNewestLog(t *testing.T) {
	mem := fewBatches(t)
	older := walFileName(t, mem)
	s := open(t, mem, "store") // the batches stay in the older log, and another begins
	appendEvents(t, s, AppendOptions{}, view("bert", 9))
	for events, lost := range map[int]string{0: "", 1: older} {
		crashed := mem.Clone()
		names, err := crashed.ReadDir("store")
		if err != nil {
			t.Fatal(err)
		}
		gone := 0
		for _, name := range names {
			if file := path.Join("store", name); strings.HasSuffix(name, walSuffix) && (lost == "" || file == lost) {
				if err := crashed.Remove(file); err != nil {
					t.Fatal(err)
				}
				gone++
			}
		}
		for range 2 {
			s := open(t, crashed, "store")
			report, err := s.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first := fmt.Sprint(`"segment":"`, path.Base(older), `","from":null,"to":null,"rows":null,`)
			batches := `"first_lsn":1,"last_lsn":5`
			if lost == "" {
				batches = `"first_lsn":1,"last_lsn":null`
			}
			text, err := json.Marshal(s.missingData())
			if err != nil || !strings.Contains(string(text), first) || !strings.Contains(string(text), batches) {
				t.Errorf("without %q: missing is %s, want %s and %s; %v", lost, text, first, batches, err)
			}
			var back []Missing
			if err := json.Unmarshal(text, &back); err != nil || !slices.Equal(back, s.missingData()) {
				t.Errorf("%s is read as %v, %v", text, back, err)
			}
			if n := s.Status().Events; n != int64(events) || len(s.missingData()) != gone || len(report.Damaged) != gone {
				t.Errorf("without %q: %d events, missing %v, damaged %v; want %d and %d files", lost, n, s.missingData(), report.Damaged, events, gone)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Nothing is said to be durable that is not there: batches that only memory had
// are gone with their process.
func TestSyncOfLostBatch(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	ack := appendEvents(t, s, AppendOptions{Durability: Memory}, view("ann", 2))
	s = open(t, mem.Clone(), "store")
	if err := s.Sync(t.Context(), ack.LSN); !errors.Is(err, ErrNotFound) {
		t.Errorf("sync of a batch that is gone: %v", err)
	}
	if err := s.Sync(t.Context(), ack.LSN-1); err != nil {
		t.Error(err)
	}
}

// Damage inside of the log loses the damaged batch only, and is reported.
func TestDamagedLog(t *testing.T) {
	mem := fewBatches(t)
	name := walFileName(t, mem)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	head := strings.Index(string(data), recordMagic)
	tail := strings.LastIndex(string(data), recordMagic) // nothing vouches for the last record yet
	reported := 0
	for i := head; i < tail; i++ {
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i % 8)
		damaged := mem.Clone()
		replaceFile(t, damaged, name, bad)
		s := open(t, damaged, "store")
		n := strings.Count(contents(t, s), "\n")
		if n < 4 {
			t.Fatalf("a flipped bit at %d of %d leaves %d events", i, len(data), n)
		}
		if n == 4 && len(s.missingData()) == 0 {
			// Only a mark behind the batch can tell that it was durable; the
			// last batch but one has its mark in the record that follows it.
			t.Fatalf("a flipped bit at %d lost a batch and was not reported", i)
		}
		if missing := s.missingData(); len(missing) > 0 {
			reported++
			lost := lostBatches(s, 5)
			if m := missing[0]; n == 4 && (m.FirstLSN != lost[0] || m.LastLSN != lost[0]) {
				t.Fatalf("a flipped bit at %d lost batch %d and reports %d to %d", i, lost[0], m.FirstLSN, m.LastLSN)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reported < (tail-head)/2 {
		t.Errorf("%d of %d flips were reported", reported, tail-head)
	}
}

// A damaged log of a store of format 1, whose manifest cannot tell of it, is kept
// in the folder quarantine when it is no longer needed.
func TestDamagedLogOfFormat1(t *testing.T) {
	mem := vfs.NewMem()
	opt := small(mem)
	opt.Format = 1
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	appendEvents(t, s, AppendOptions{}, view("bob", 2))
	kill(s)
	name := walFileName(t, mem)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	data[strings.LastIndex(string(data), "ann")] ^= 1
	replaceFile(t, mem, name, data)
	if s, err = Open("store", opt); err != nil {
		t.Fatal(err)
	}
	if len(s.missingData()) != 1 {
		t.Errorf("%v is missing", s.missingData())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, err := vfs.ReadFile(mem, "store/"+quarantineDir+"/"+path.Base(name)); string(kept) != string(data) {
		t.Errorf("of the log, %d bytes are kept: %v", len(kept), err)
	}
}

// lostBatches lists the LSNs up to the last that the memtable does not have.
func lostBatches(s *Store, last uint64) (lost []uint64) {
	for lsn := uint64(1); lsn <= last; lsn++ {
		if !slices.ContainsFunc(s.mem.batches, func(b *memBatch) bool { return b.lsn == lsn }) {
			lost = append(lost, lsn)
		}
	}
	return lost
}

// Every bit of the manifest matters: an edit that was published is there, or
// opening fails and says why.
func TestDamagedManifest(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 0))
	if err := s.Link(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Link(t.Context(), "b", "c"); err != nil {
		t.Fatal(err)
	}
	mem = mem.Clone()
	name := path.Join("store", manifestName(1))
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	tail := strings.LastIndex(string(data), editMagic) // a damaged last edit is taken for a torn one
	for i := range tail {
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i % 8)
		damaged := mem.Clone()
		replaceFile(t, damaged, name, bad)
		s, err := Open("store", small(damaged))
		if err != nil || len(s.healed) != 1 || s.healed[0].File != path.Base(name) || len(s.Links()) != 2 {
			t.Fatalf("a flipped bit at %d of %d: %v", i, len(data), err)
		}
		kill(s)
		if kept, err := vfs.ReadFile(damaged, path.Join("store", quarantineDir, path.Base(name))); err != nil || !slices.Equal(kept, bad) {
			t.Fatalf("the damaged manifest was not kept: %v", err)
		}
		damaged = mem.Clone()
		replaceFile(t, damaged, name, bad)
		replaceFile(t, damaged, name+copySuffix, bad)
		s, err = Open("store", small(damaged))
		if !errors.Is(err, ErrCorrupt) {
			if err == nil {
				s.Close()
			}
			t.Fatalf("a flipped bit at %d of %d of both: %v", i, len(data), err)
		}
	}
}

// A damaged segment is left out and reported; the rest answers.
func TestDamagedSegment(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 0))
	loadEvents(t, s, view("bob", 1))
	name := path.Join("store", s.state().segments[0].file())
	mem = mem.Clone()
	for _, damage := range []string{"gone", "empty", "short", "long", "flipped"} {
		damaged := mem.Clone()
		data, err := vfs.ReadFile(damaged, name)
		if err != nil {
			t.Fatal(err)
		}
		switch damage {
		case "gone":
			err = damaged.Remove(name)
		case "empty":
			replaceFile(t, damaged, name, nil)
		case "short":
			replaceFile(t, damaged, name, data[:len(data)-1])
		case "long":
			replaceFile(t, damaged, name, append(data, 0))
		case "flipped":
			data[len(data)-5] ^= 4
			replaceFile(t, damaged, name, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, damaged, "store")
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if m := snap.Missing(); len(m) != 1 || m[0].Rows != 1 || m[0].From != view("ann", 0).Time || m[0].Reason == "" {
			t.Errorf("%s: missing %+v", damage, m)
		}
		if got := everything(t, snap); len(got) != 1 || len(got["bob"]) != 1 {
			t.Errorf("%s: contents %v", damage, got)
		}
		snap.Release()
		report, err := s.Check(t.Context())
		if err != nil || len(report.Damaged) != 1 || report.Damaged[0].File != path.Base(name) {
			t.Errorf("%s: check says %+v, %v", damage, report, err)
		}
		if err := s.Compact(t.Context()); err != nil {
			t.Errorf("%s: compact: %v", damage, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// From any operation on, the disk fails: what was acknowledged is there when
// the store is opened again, a load is there whole or not at all, and nothing
// is left over.
func TestDiskFailsFrom(t *testing.T) {
	for from := 1; ; from++ {
		fs := &faults{Mem: vfs.NewMem()}
		fs.fail = func(op int, _, _ string) bool { return op >= from }
		acked, failed := story(t, fs)
		after := open(t, fs.Mem.Clone(), "store")
		snap, err := after.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		got := everything(t, snap)
		snap.Release()
		for _, c := range acked {
			if len(got[c]) == 0 {
				t.Fatalf("operation %d: customer %q was acknowledged and is gone", from, c)
			}
		}
		if n := len(got["load1"]) + len(got["load2"]); n != 0 && n != 80 {
			t.Fatalf("operation %d: %d of 80 loaded rows", from, n)
		}
		report, err := after.Check(t.Context())
		if err != nil || len(report.Damaged) > 0 || len(after.missingData()) > 0 {
			t.Fatalf("operation %d: check says %+v, %v; missing %v", from, report, err, after.missingData())
		}
		names, err := after.fs.ReadDir("store")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".run") || strings.HasSuffix(n, ".tmp") {
				t.Fatalf("operation %d: %s is left over", from, n)
			}
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
		if !failed {
			t.Logf("%d operations", from-1)
			return
		}
	}
}

// A load fails when its edit is durable in the manifest but not in the copy.
// Until another file of the manifest says that the load is none, its segments
// stay, also when an erasure clears the folder up and cannot write that file.
func TestEraseAfterALoadOfUnknownEnd(t *testing.T) {
	for steps := 0; ; steps++ {
		s, fs := openFaulty(t)
		appendEvents(t, s, AppendOptions{}, view("ann", 0), view("bob", 1))
		if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
			t.Fatal(err)
		}
		more := true
		for range steps {
			var err error
			if more, err = s.EraseStep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		fs.fail = func(_ int, call, name string) bool { return call == "write" && strings.Contains(name, copySuffix) }
		l, err := s.NewLoad(t.Context(), LoadOptions{})
		if err == nil {
			err = l.Add(batchOf([]event.Event{view("cid", 2)}))
		}
		if err == nil {
			_, err = l.Commit(t.Context())
		}
		if more && !errors.Is(err, errDisk) {
			t.Fatalf("a load whose edit has no copy, after %d steps: %v", steps, err)
		}
		fs.fail = func(_ int, call, name string) bool {
			return call == "write" && strings.HasPrefix(path.Base(name), manifestPrefix)
		}
		for err, worked := error(nil), true; err == nil && worked; {
			worked, err = s.EraseStep(t.Context())
		}
		after := open(t, fs.Mem.Clone(), "store")
		if lost := after.missingData(); len(lost) > 0 {
			t.Errorf("after %d steps of an erasure, a load and a power cut these are missing: %+v", steps, lost)
		}
		fs.fail = nil
		if err := errors.Join(after.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// story does a bit of everything and goes on whatever fails. It returns the
// customers whose events were acknowledged.
func story(t *testing.T, fs *faults) (acked []string, failed bool) {
	opt := small(nil)
	opt.FS = fs
	s, err := Open("store", opt)
	if err != nil {
		return nil, true
	}
	note := func(err error, customers ...string) {
		if err != nil {
			failed = true
			if !errors.Is(err, errDisk) {
				t.Fatalf("the failure is %v", err)
			}
			return
		}
		acked = append(acked, customers...)
	}
	add := func(c string) {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view(c, 1)}), AppendOptions{})
		note(err, c)
	}
	add("ann")
	add("bob")
	l, err := s.NewLoad(t.Context(), LoadOptions{})
	note(err)
	var events []event.Event
	for i := range 40 {
		events = append(events, view("load1", i), view("load2", i))
	}
	for part := range slices.Chunk(events, 25) {
		if err == nil {
			err = l.Add(batchOf(part))
		}
	}
	if err == nil {
		_, err = l.Commit(t.Context())
	} else if e := l.Abort(); e != nil && !errors.Is(e, errDisk) {
		t.Fatal(e)
	}
	note(err, "load1", "load2")
	add("cid")
	note(s.Link(t.Context(), "x", "y"))
	note(s.Compact(t.Context()))
	add("dan")
	note(s.Close())
	return acked, failed
}
