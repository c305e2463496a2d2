package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

func TestReaderBesideWriter(t *testing.T) {
	mem := vfs.NewMem()
	if _, err := Open("store", Options{FS: mem, ReadOnly: true}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a reader of a store that is not there: %v", err)
	}
	w := open(t, mem, "store")
	loadEvents(t, w, view("ann", 0), view("bob", 1))
	r := readerOf(t, mem)
	before := contents(t, r)
	pinned, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, w, AppendOptions{}, view("ann", 2))
	loadEvents(t, w, view("cid", 3))
	if err := w.Compact(t.Context()); err != nil { // removes every file that the reader has open
		t.Fatal(err)
	}
	if got := contents(t, r); got != before {
		t.Fatalf("the reader's state changed to\n%s", got)
	}
	if err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, r), contents(t, w); got != want {
		t.Fatalf("after a refresh the reader has\n%s, the writer\n%s", got, want)
	}
	if got := everything(t, pinned); len(got) != 2 {
		t.Fatalf("the snapshot from before has %d customers", len(got))
	}
	pinned.Release()
	if _, err := r.Append(t.Context(), batchOf([]event.Event{view("ann", 9)}), AppendOptions{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append to a reader: %v", err)
	}
}

// readerOf opens the store for reading.
func readerOf(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	opt := small(fs)
	opt.ReadOnly = true
	r, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// lastErasureIs wants a reader to know of an erasure as the last.
func lastErasureIs(t *testing.T, r *Store, want uint64) {
	t.Helper()
	if got, err := r.LastErasure(); err != nil || got != want {
		t.Errorf("the last erasure is %d, want %d: %v", got, want, err)
	}
}

// A reader may open a store between a writer's steps at any moment.
func TestReaderWhileCompacting(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	opt := small(mem)
	opt.ReadOnly = true
	done := make(chan error, 1)
	go func() {
		for i := range 60 {
			_, err := w.Append(t.Context(), batchOf([]event.Event{view(fmt.Sprint(i%7), i)}), AppendOptions{})
			if err == nil {
				err = w.Compact(t.Context())
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	last := int64(0)
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		r, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		rows := int64(0)
		for _, list := range everything(t, snap) {
			rows += int64(len(list))
		}
		if rows != snap.Events() || rows < last {
			t.Fatalf("%d rows, %d events, after %d before", rows, snap.Events(), last)
		}
		last = rows
		snap.Release()
		r.Close()
	}
	if last != 60 {
		t.Fatalf("the last reader saw %d of 60 events", last)
	}
}

// A snapshot reads what it pinned although its files are compacted away, and
// the files go when it does.
func TestPinnedFiles(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 0))
	loadEvents(t, s, view("bob", 1))
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments := func() (n int) {
		names, err := mem.ReadDir("store")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".seg") {
				n++
			}
		}
		return n
	}
	if n := segments(); n != 3 {
		t.Errorf("%d segments while the snapshot is held, want 3", n)
	}
	if got := everything(t, snap); len(got) != 2 {
		t.Errorf("the snapshot shows %v", got)
	}
	snap.Release()
	snap.Release() // harmless
	if n := segments(); n != 1 {
		t.Errorf("%d segments afterwards, want 1", n)
	}
}

// meanwhile does something before a segment is opened, or another file, once.
type meanwhile struct {
	*vfs.Mem
	name string // of the other file, in the store's folder; "": a segment
	do   func()
}

func (m *meanwhile) Open(name string) (vfs.File, error) {
	if do := m.do; do != nil && (m.name == "" && strings.HasSuffix(name, ".seg") || name == "store/"+m.name) {
		m.do = nil
		do()
	}
	return m.Mem.Open(name)
}

// A check beside a writer complains of what is damaged or missing, and not of
// segments that the writer replaced since the check began.
func TestCheckBesideWriter(t *testing.T) {
	for what, c := range map[string]struct {
		left bool // the reader could not open the segment
		do   func(w *Store, mem *vfs.Mem, file string) error
		want string // of the report's one entry; empty: there is none
	}{
		"merged":          {do: func(w *Store, _ *vfs.Mem, _ string) error { return w.Compact(t.Context()) }},
		"merged, unread":  {left: true, do: func(w *Store, _ *vfs.Mem, _ string) error { return w.Compact(t.Context()) }},
		"removed":         {do: func(_ *Store, mem *vfs.Mem, file string) error { return mem.Remove("store/" + file) }, want: "not exist"},
		"removed, unread": {left: true, do: func(_ *Store, mem *vfs.Mem, file string) error { return mem.Remove("store/" + file) }, want: "not exist"},
		"set aside": {do: func(w *Store, _ *vfs.Mem, file string) error {
			w.SetAside(&DamageError{file, fmt.Errorf("%w: as a query found", ErrCorrupt)})
			return nil
		}, want: "as a query found"},
	} {
		mem := vfs.NewMem()
		w := open(t, mem, "store")
		loadEvents(t, w, view("ann", 0))
		loadEvents(t, w, view("bob", 1))
		file := w.state().segments[0].file()
		beside := &meanwhile{Mem: mem}
		opt := small(beside)
		opt.ReadOnly = true
		r, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		if c.left {
			r.mu.Lock()
			f := r.segments[r.state().segments[0].ID]
			delete(r.segments, f.record.ID)
			f.release()
			r.mu.Unlock()
		}
		beside.do = func() {
			if err := c.do(w, mem, file); err != nil {
				t.Fatal(err)
			}
		}
		report, err := r.Check(t.Context())
		switch {
		case err != nil || beside.do != nil:
			t.Errorf("%s: the check was not done: %v", what, err)
		case c.want == "" && len(report.Damaged) > 0:
			t.Errorf("%s: the check found %v", what, report.Damaged)
		case c.want != "" && (len(report.Damaged) != 1 || report.Damaged[0].File != file || !strings.Contains(report.Damaged[0].Reason, c.want)):
			t.Errorf("%s: the check found %v, want %s: %s", what, report.Damaged, file, c.want)
		}
		r.Close()
	}
}

// Of segments that merges replaced nothing stays in memory when nobody reads them.
func TestReplacedSegmentsAreForgotten(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	const rounds, perMerge = 20, 2
	for i := range rounds {
		appendEvents(t, s, AppendOptions{}, view("ann", i))
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(s.retired); n > perMerge {
			t.Fatalf("after %d merges of %d segments %d of them are held", i, perMerge, n)
		}
	}
	if len(s.state().segments) != 1 {
		t.Errorf("%d segments are left", len(s.state().segments))
	}
}

// A reader that nobody asks anything gives up the files that an erasure
// replaced; what else is published it does not read before it is asked.
func TestIdleReaderGivesUpErasedFiles(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	appendEvents(t, w, AppendOptions{}, view("zoe", 1), view("bob", 2))
	flush := func() {
		t.Helper()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	r := readerOf(t, mem)
	before := r.state()
	for range 3 {
		appendEvents(t, w, AppendOptions{}, view("bob", 3))
		flush()
		lastErasureIs(t, r, 0)
	}
	if r.state() != before {
		t.Error("an idle reader read what is no erasure")
	}
	if _, err := w.Erase(t.Context(), "zoe", EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	lastErasureIs(t, r, 1)
	if got := contents(t, r); strings.Contains(got, "zoe") {
		t.Errorf("after the erasure the reader has\n%s", got)
	}
	for worked := true; worked; {
		var err error
		if worked, err = w.EraseStep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lastErasureIs(t, r, 1)
	for id, f := range r.segments {
		if w.segments[id] == nil {
			t.Errorf("the reader holds %s open, which is gone", f.path)
		}
	}
	before = r.state()
	lastErasureIs(t, r, 1)
	if r.state() != before || len(r.segments) != len(w.segments) {
		t.Errorf("the reader has %d files, the writer %d", len(r.segments), len(w.segments))
	}
}

// logReads counts how often a log is opened.
type logReads struct {
	*vfs.Mem
	n atomic.Int64
}

func (f *logReads) Open(name string) (vfs.File, error) {
	if strings.HasSuffix(name, walSuffix) {
		f.n.Add(1)
	}
	return f.Mem.Open(name)
}

// A reader that nobody asks anything reads a store whose manifest is damaged or
// torn only when something of it has changed, and then sees erasures.
func TestIdleReaderOfADamagedManifest(t *testing.T) {
	for what, change := range map[string]func(fs vfs.FS, name string) error{
		"the copy is missing": func(fs vfs.FS, name string) error { return fs.Remove(name + copySuffix) },
		"the tail is torn": func(fs vfs.FS, name string) error {
			f, err := fs.OpenAppend(name)
			if err == nil {
				_, err = f.Write([]byte(editMagic))
			}
			return err
		},
	} {
		mem := &logReads{Mem: vfs.NewMem()}
		w := open(t, mem, "store")
		loadEvents(t, w, view("zoe", 1))
		appendEvents(t, w, AppendOptions{}, view("bob", 2))
		name := "store/" + manifestName(w.manifest.number)
		kill(w)
		if err := change(mem, name); err != nil {
			t.Fatal(err)
		}
		r := readerOf(t, mem)
		before := mem.n.Load()
		lastErasureIs(t, r, 0)
		lastErasureIs(t, r, 0)
		if n := mem.n.Load() - before; n != 0 || before == 0 {
			t.Errorf("%s: two looks opened a log %d times, opening %d times", what, n, before)
		}
		w = open(t, mem, "store")
		if _, err := w.Erase(t.Context(), "zoe", EraseOptions{}); err != nil {
			t.Fatal(err)
		}
		lastErasureIs(t, r, 1)
	}
}

// failingReads is a file system that can be exchanged, and that fails one read of
// a segment.
type failingReads struct {
	*vfs.Mem
	left int // reads until then; below 0: none fails
}

func (f *failingReads) Open(name string) (vfs.File, error) {
	file, err := f.Mem.Open(name)
	if err == nil && strings.HasSuffix(name, ".seg") {
		file = failingFile{file, f}
	}
	return file, err
}

type failingFile struct {
	vfs.File
	fs *failingReads
}

func (f failingFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.left--
	if f.fs.left == -1 {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// A manifest to whose two files a writer adds while they are read is not damaged.
func TestCheckWhileTheManifestGrows(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	loadEvents(t, w, view("ann", 0))
	beside := &meanwhile{Mem: mem, name: manifestName(w.manifest.number)}
	beside.do = func() { // the copy is read already
		loadEvents(t, w, view("bob", 1))
		loadEvents(t, w, view("cid", 1))
	}
	r := readerOf(t, beside)
	if report, err := r.Check(t.Context()); err != nil || len(report.Damaged) > 0 || beside.do != nil {
		t.Errorf("the check found %v, %v", report.Damaged, err)
	}
}

// A repair that only looks takes what a writer beside it adds for no damage.
func TestDryRepairBesideWriter(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	loadEvents(t, w, view("ann", 0))
	beside := &meanwhile{Mem: mem, name: manifestName(w.manifest.number)}
	beside.do = func() {
		loadEvents(t, w, view("bob", 1))
		loadEvents(t, w, view("cid", 1))
	}
	if done, err := Repair(t.Context(), "store", small(beside), RepairOptions{}); err != nil || !done.Sound || beside.do != nil {
		t.Errorf("%+v, %v", done, err)
	}
}

// A reader that has seen an edit which then failed shows nothing of it when
// another has taken its place.
func TestReaderOfAFailedEdit(t *testing.T) {
	for what, edit := range map[string]func(w *Store, customer string) error{
		"erasure": func(w *Store, customer string) error {
			_, err := w.Erase(t.Context(), customer, EraseOptions{})
			return err
		},
		"link": func(w *Store, customer string) error { return w.Link(t.Context(), customer, "ann") },
	} {
		w, files := openFaulty(t)
		loadEvents(t, w, view("zoe", 1), view("bob", 2), view("ann", 3))
		files.fail = func(_ int, _, name string) bool { return strings.Contains(name, copySuffix) }
		if err := edit(w, "zoe"); !errors.Is(err, errDisk) {
			t.Fatalf("%s on a failing disk: %v", what, err)
		}
		files.fail = nil
		r := readerOf(t, files.Mem)
		before, err := r.LastErasure()
		if err != nil {
			t.Fatal(err)
		}
		version, err := r.Version()
		if err != nil {
			t.Fatal(err)
		}
		failed := contents(t, r)
		if err := edit(w, "bob"); err != nil {
			t.Fatal(err)
		}
		last, err := r.LastErasure()
		if err == nil {
			err = r.Refresh()
		}
		if err != nil {
			t.Fatal(err)
		}
		got := contents(t, r)
		if now, err := r.Version(); got != contents(t, w) || got == failed || now == version || err != nil {
			t.Errorf("%s: as version %s, %v, after %s, the reader shows\n%s, the writer\n%s", what, now, err, version, got, contents(t, w))
		}
		if what == "erasure" && last == before {
			t.Errorf("the reader does not know that another customer was erased")
		}
	}
}

// A reader whose folder was exchanged for a copy that went another way shows what
// the copy has, also in files of the same names.
func TestReaderOfAnotherCopy(t *testing.T) {
	files := &failingReads{Mem: vfs.NewMem(), left: -1}
	w := open(t, files, "store")
	loadEvents(t, w, view("zoe", 1))
	kill(w)
	copied := files.Clone()
	loadEvents(t, open(t, files, "store"), view("ann", 2))
	r := readerOf(t, files)
	w = open(t, copied, "store")
	loadEvents(t, w, view("cid", 3))
	loadEvents(t, w, view("dan", 3))
	files.Mem = copied
	if err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, r), contents(t, w); got != want {
		t.Errorf("the reader shows\n%s, the writer\n%s", got, want)
	}
}

// After a look at the store that failed, a reader's next snapshot looks again: it
// is of all there is.
func TestSnapshotAfterAFailedRead(t *testing.T) {
	files := &failingReads{Mem: vfs.NewMem(), left: -1}
	w := open(t, files.Mem, "store")
	loadEvents(t, w, view("zoe", 1), view("bob", 2))
	r := readerOf(t, files)
	loadEvents(t, w, view("ann", 4), view("cid", 5))
	files.left = 0
	if err := r.Refresh(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got, want := contents(t, r), contents(t, w); got != want {
		t.Errorf("the reader shows\n%s, the writer\n%s", got, want)
	}
}

// A reader whose folder was exchanged for an older copy shows nobody whom the
// ledger names, also when a read failed while it took that in.
func TestReaderHidesAfterAFailedRead(t *testing.T) {
	writing := vfs.NewMem()
	w := open(t, writing, "store")
	loadEvents(t, w, view("zoe", 1), view("bob", 2))
	before := writing.Clone()
	if _, err := w.Erase(t.Context(), "zoe", EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	for worked, err := true, error(nil); worked; {
		if worked, err = w.EraseStep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ledger, err := vfs.ReadFile(writing, LedgerPath("store"))
	if err == nil {
		err = writeFile(before, LedgerPath("store"), ledger)
	}
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for n := 0; failed == n; n++ {
		files := &failingReads{Mem: writing.Clone(), left: -1}
		opt := small(files)
		opt.ReadOnly = true
		r, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		files.Mem, files.left = before, n
		if err := r.Refresh(); errors.Is(err, syscall.EIO) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
		files.left = -1
		if err := r.Refresh(); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, r); strings.Contains(got, "zoe") || !strings.Contains(got, "bob") {
			t.Errorf("read %d failed, and the reader has\n%s", n, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if failed < 2 {
		t.Errorf("%d reads failed", failed)
	}
}

// A reader that had to close files which a writer then replaced looks at the
// newest state before it calls them missing.
func TestReplacedWhileClosedByPool(t *testing.T) {
	const segments = 20
	for name, use := range map[string]func(r *Store, snap *Snapshot) error{
		"query": func(r *Store, snap *Snapshot) error {
			if _, err := snap.Customers(); !r.SetAside(err) {
				return fmt.Errorf("not tried again: %w", err)
			}
			return nil
		},
		"status": func(r *Store, _ *Snapshot) error {
			if st := r.Status(); st.Customers != 1 || len(st.Missing) > 0 {
				return fmt.Errorf("%+v", st)
			}
			return nil
		},
	} {
		mem, _ := runs(t, segments)
		w := open(t, mem, "store")
		opt := small(mem)
		opt.ReadOnly, opt.CacheBytes = true, -1
		r, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		r.open.Shrink() // closes the first half
		for i := range segments {
			appendEvents(t, w, AppendOptions{}, view("ann", 40*24*60*i+1))
		}
		if err := w.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := use(r, snap); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m := r.Summary().Missing; len(m) > 0 || contents(t, r) != contents(t, w) {
			t.Errorf("%s: missing are %+v", name, m)
		}
		snap.Release()
		kill(r)
	}
}

// What is missing of the newest state is missing.
func TestMissingWhileClosedByPool(t *testing.T) {
	mem, files := runs(t, 20)
	opt := small(mem)
	opt.ReadOnly, opt.CacheBytes = true, -1
	r, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.open.Shrink()
	if err := mem.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); len(st.Missing) != 1 || "store/"+st.Missing[0].Segment != files[0] || st.Customers != 1 {
		t.Errorf("%+v", st)
	}
}
