package storage

import (
	"errors"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
)

// identified is a view with an id.
func identified(c string, second int) event.Event {
	e := view(c, second)
	e.ID = "x"
	return e
}

func failsAt(call, name string) func(int, string, string) bool {
	return func(_ int, c, n string) bool { return c == call && strings.Contains(path.Base(n), name) }
}

// An event comes again while the batch that has it first is being synced, and
// the fsync fails. Nothing may have been said, or written, that counts on the
// first.
func TestDuplicateOfWhatIsBeingSynced(t *testing.T) {
	for _, known := range []struct {
		by string
		AppendOptions
	}{
		{"x", AppendOptions{Durability: Interval, Token: "t"}}, {"x", AppendOptions{Durability: Interval}}, {"x", AppendOptions{Durability: Memory}},
		{RowID([16]byte{1}, 0), AppendOptions{Durability: Interval}},
	} {
		opt := known.AppendOptions
		t.Run(strings.Join([]string{known.by, opt.Durability.String(), opt.Token}, " "), func(t *testing.T) {
			s, fs := openFaulty(t)
			appendEvents(t, s, AppendOptions{}, view("ann", 0))
			x, y := identified("ann", 1), identified("bob", 2)
			x.ID, y.ID = known.by, known.by
			batch := func() *event.Batch { return batchOf([]event.Event{x, y}) }
			first := make(chan error, 1)
			var once sync.Once
			fs.fail = func(_ int, call, name string) bool {
				if call != "sync" || !strings.HasSuffix(name, walSuffix) {
					return false
				}
				once.Do(func() {
					go func() {
						_, err := s.Append(t.Context(), batch(), opt)
						first <- err
					}()
					time.Sleep(50 * time.Millisecond) // the other would have been taken by now
				})
				return true
			}
			if _, err := s.Append(t.Context(), batchOf([]event.Event{x}), AppendOptions{}); !errors.Is(err, errDisk) {
				t.Fatalf("append on a failing disk: %v", err)
			}
			err := <-first
			fs.fail = nil
			if err != nil || opt.Token != "" {
				_, err = s.Append(t.Context(), batch(), opt)
			}
			if got := contents(t, s); err != nil || strings.Count(got, "\n") != 3 {
				t.Errorf("when both were sent again: %v\n%s", err, got)
			}
			kill(s)
		})
	}
}

// The record of a batch outlives the one before, which has its event first: a
// disk may write the later sectors only.
func TestDuplicateOfWhatIsLost(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	x := identified("ann", 1)
	x.Props = []event.Prop{{Name: "note", Value: event.String(strings.Repeat("long ", 300))}}
	take := func(opt AppendOptions, events ...event.Event) {
		if _, _, _, _, err := s.takeLocked(batchOf(events), opt); err != nil {
			t.Fatal(err)
		}
	}
	start := s.wal.size
	take(AppendOptions{}, x)
	end := s.wal.size
	take(AppendOptions{Token: "t"}, x, view("bob", 2))
	name := walFileName(t, mem)
	crashed := mem.Clone()
	data, err := vfs.ReadFile(crashed, name)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[start:end])
	replaceFile(t, crashed, name, data)
	after := open(t, crashed, "store")
	appendEvents(t, after, AppendOptions{Token: "t"}, x, view("bob", 2))
	if got := contents(t, after); strings.Count(got, "\n") != 3 {
		t.Errorf("sent again after the crash:\n%s", got)
	}
	kill(s)
}

// A batch waits to be made durable while a flush fails, and then the log fails
// behind it: whoever waits is told what is so.
func TestLogFailsBehindADurableBatch(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	appendEvents(t, s, AppendOptions{Durability: Interval}, view("ann", 1))
	fs.fail = failsAt("sync", walSuffix)
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("bob", 2)}), AppendOptions{}); !errors.Is(err, errDisk) {
		t.Fatalf("append on a failing disk: %v", err)
	}
	var log *wal
	var lsn uint64
	fs.fail = func(_ int, call, name string) bool {
		if call != "write" || !strings.Contains(name, ".seg") {
			return false
		}
		if log == nil { // while the flush runs, another batch is written and waits
			_, _, wait, to, err := s.takeLocked(batchOf([]event.Event{view("cid", 3)}), AppendOptions{})
			if err != nil {
				t.Error(err)
			}
			log, lsn = to, wait.lsn
		}
		return true
	}
	if err := s.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("flush on a failing disk: %v", err)
	}
	fs.fail = failsAt("write", walSuffix)
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("dan", 4)}), AppendOptions{}); !errors.Is(err, errDisk) {
		t.Fatalf("append on a failing disk: %v", err)
	}
	fs.fail = nil
	if err := log.sync(lsn); err != nil {
		t.Fatalf("the batch that waited: %v", err)
	}
	want := contents(t, s)
	if !strings.Contains(want, "cid") {
		t.Errorf("a batch that was acknowledged is not shown:\n%s", want)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, open(t, fs.Mem.Clone(), "store")); got != want {
		t.Errorf("after a crash\n%s\nwant\n%s", got, want)
	}
	kill(s)
}

// A log repeats an earlier batch before it takes a new one: after an opening
// events of one time stand in the order in which they arrived.
func TestRepeatedBatchesKeepTheirPlace(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	named := func(name string) event.Event {
		e := view("ann", 1)
		e.Name = name
		return e
	}
	appendEvents(t, s, AppendOptions{Durability: Interval}, named("c"))
	fs.fail = failsAt("sync", walSuffix)
	if err := s.Sync(t.Context(), 2); !errors.Is(err, errDisk) {
		t.Fatalf("sync on a failing disk: %v", err)
	}
	taken := false
	fs.fail = func(_ int, call, name string) bool {
		if call == "write" && strings.Contains(name, ".seg") && !taken {
			taken = true
			if _, _, _, _, err := s.takeLocked(batchOf([]event.Event{named("b")}), AppendOptions{Durability: Interval}); err != nil {
				t.Error(err)
			}
		}
		return taken && strings.Contains(name, ".seg")
	}
	if err := s.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("flush on a failing disk: %v", err)
	}
	fs.fail = nil
	if got, want := contents(t, open(t, fs.Mem.Clone(), "store")), contents(t, s); got != want {
		t.Errorf("the later batch outlives the earlier\n%s\nwant\n%s", got, want)
	}
	appendEvents(t, s, AppendOptions{}, named("a"))
	want := contents(t, s)
	after := open(t, fs.Mem.Clone(), "store")
	if got := contents(t, after); got != want || strings.Count(got, "\n") != 4 {
		t.Errorf("after a crash\n%s\nwant\n%s", got, want)
	}
	if err := after.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, after); got != want {
		t.Errorf("after a crash and a flush\n%s\nwant\n%s", got, want)
	}
	kill(s)
}

// What was acknowledged as interval, and whose log failed, is in a log again
// without another append.
func TestLoggedAgainWithoutAnAppend(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{Durability: Interval}, view("ann", 1))
	fs.fail = failsAt("sync", walSuffix)
	if err := s.syncWritten(); !errors.Is(err, errDisk) {
		t.Fatalf("sync on a failing disk: %v", err)
	}
	fs.fail = nil
	if err := errors.Join(s.relog(), s.syncWritten()); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, open(t, fs.Mem.Clone(), "store")); strings.Count(got, "\n") != 1 {
		t.Errorf("after a crash\n%s", got)
	}
	kill(s)
}

// To say that an event is there already is to say that it is as durable as asked
// for, also without power loss in mind.
func TestDuplicateOfWhatIsInMemory(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{Durability: Memory}, identified("ann", 1))
	appendEvents(t, s, AppendOptions{Durability: Interval}, identified("ann", 1))
	if got := contents(t, open(t, mem.Clone(), "store")); strings.Count(got, "\n") != 1 {
		t.Errorf("after the process was killed\n%s", got)
	}
}

// An edit is durable in the manifest and failed for who made it, because its
// copy could not be written: what is answered after that does not rely on its
// not being there.
func TestAnswersAfterAnEditOfUnknownEnd(t *testing.T) {
	imported := func(t *testing.T, s *Store) string {
		t.Helper()
		l, err := s.NewLoad(t.Context(), LoadOptions{Source: "a.csv"})
		if err == nil {
			err = l.Add(batchOf([]event.Event{identified("ann", 1)}))
		}
		if err != nil {
			t.Fatal(err)
		}
		result, err := l.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return result.ImportID
	}
	undo := func(t *testing.T, s *Store, id string) error {
		_, err := s.Undo(t.Context(), id)
		return err
	}
	for name, c := range map[string]struct {
		fails func(t *testing.T, s *Store, id string) error
		again func(t *testing.T, s *Store)
	}{
		"undo, the event again":  {undo, func(t *testing.T, s *Store) { appendEvents(t, s, AppendOptions{}, identified("ann", 1)) }},
		"undo, the import again": {undo, func(t *testing.T, s *Store) { imported(t, s) }},
		"unlink, the link again": {
			func(t *testing.T, s *Store, _ string) error { return s.Unlink(t.Context(), "ann") },
			func(t *testing.T, s *Store) {
				if err := s.Link(t.Context(), "ann", "bob"); err != nil {
					t.Fatal(err)
				}
			},
		},
		"erasure, the batch again": {
			func(t *testing.T, s *Store, _ string) error {
				_, err := s.Erase(t.Context(), "cid", EraseOptions{})
				return err
			},
			func(t *testing.T, s *Store) { appendEvents(t, s, AppendOptions{Token: "t"}, view("cid", 3)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, fs := openFaulty(t)
			id := imported(t, s)
			appendEvents(t, s, AppendOptions{Token: "t"}, view("cid", 3))
			if err := errors.Join(s.Link(t.Context(), "ann", "bob"), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			want := contents(t, s)
			fs.fail = failsAt("write", copySuffix)
			if err := c.fails(t, s, id); !errors.Is(err, errDisk) {
				t.Fatalf("on a failing disk: %v", err)
			}
			fs.fail = nil
			c.again(t, s)
			if got := contents(t, open(t, fs.Mem.Clone(), "store")); got != want {
				t.Errorf("after a crash\n%s\nwant\n%s", got, want)
			}
			kill(s)
		})
	}
}

// While an erasure waits, a flush goes on, and a new log repeats a batch whose
// log had failed: the log goes, too, with the token that may tell who it was.
func TestErasureReachesRepeatedBatches(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("bob", 0))
	appendEvents(t, s, AppendOptions{Durability: Interval, Token: "mail of ann"}, view("ann", 1), view("bob", 2))
	fs.fail = failsAt("sync", walSuffix)
	if err := s.Sync(t.Context(), 2); !errors.Is(err, errDisk) {
		t.Fatalf("sync on a failing disk: %v", err)
	}
	fs.fail = nil
	if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	fs.fail = func(_ int, call, name string) bool {
		if call == "write" && strings.Contains(name, ".seg") {
			once.Do(func() {
				if err := s.relog(); err != nil {
					t.Error(err)
				}
			})
		}
		return false
	}
	for more := true; more; {
		var err error
		if more, err = s.EraseStep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	names, err := fs.ReadDir("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if data, err := vfs.ReadFile(fs, path.Join("store", name)); err != nil || strings.Contains(string(data), "mail of ann") {
			t.Errorf("%s still has the token (%v)", name, err)
		}
	}
	kill(s)
}
