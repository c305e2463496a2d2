package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// A disk fills up. Events are refused before it is full, queries go on, and
// events are taken again when there is room: not at once, but when there is a
// quarter more of it. Undoing an import takes the ballast's room.
func TestDiskFull(t *testing.T) {
	fs := simfs.New(simfs.Strict)
	opt := small(nil)
	opt.FS, opt.BallastBytes, opt.MemtableEvents = fs, 1<<20, 1<<20
	const disk = 200_000
	fs.SetBudget(disk)
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer kill(s)
	ballast := func() int { return len(fs.Files()["store/"+ballastName]) }
	if ballast() != disk/spareShare {
		t.Fatalf("the ballast has %d bytes of a disk of %d", ballast(), disk)
	}
	imported := loadEvents(t, s, view("ann", 0)).ImportID
	text := event.Prop{Name: "text", Value: event.String(strings.Repeat("x", 500))}
	stored := 1
	for {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view("bob", stored, text)}), AppendOptions{})
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatalf("after %d events: %v", stored, err)
		}
		stored++
	}
	free, total, _ := fs.Usage("store")
	spare := s.spare(total)
	if free >= spare || free < spare/2 || !s.Summary().DiskFull {
		t.Fatalf("events are refused when %d bytes are free, of %d to be spared; the status says %v", free, spare, s.Summary().DiskFull)
	}
	if got := strings.Count(contents(t, s), "\n"); got != stored {
		t.Fatalf("%d events can be read, %d were taken", got, stored)
	}
	one := func() error {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view("cid", 1)}), AppendOptions{})
		return err
	}
	if _, err := s.NewLoad(t.Context(), LoadOptions{}); !errors.Is(err, ErrFull) {
		t.Errorf("a load on the full disk: %v", err)
	}
	if _, err := s.Append(t.Context(), batchOf([]event.Event{{Customer: "cid"}}), AppendOptions{Token: "t"}); !errors.Is(err, ErrFull) {
		t.Errorf("an answer that is to be kept on the full disk: %v", err)
	}
	fs.SetBudget(fs.Used() + int64(spare) + 100)
	if err := one(); !errors.Is(err, ErrFull) {
		t.Errorf("a hundred bytes more than nothing, and events are taken again: %v", err)
	}
	fs.SetBudget(2 * disk)
	if err := one(); err != nil {
		t.Errorf("there is room again: %v", err)
	}

	fs.SetBudget(fs.Used() + 10) // not even an edit of the manifest fits
	if err := one(); !errors.Is(err, ErrFull) {
		t.Errorf("full again: %v", err)
	}
	if _, err := s.Undo(t.Context(), imported); err != nil {
		t.Errorf("undo on the full disk: %v", err)
	}
	if ballast() != 0 {
		t.Error("the ballast was not given back")
	}
	fs.SetBudget(4 * disk)
	if err := one(); err != nil || ballast() == 0 {
		t.Errorf("with room again: %v, a ballast of %d bytes", err, ballast())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	trust.Report(t, "P8", "sim full disk, events taken before it", stored, "lost", 0, "ballast given back and made again", 1)
}

// A compaction for which the disk lacks room is not begun: by hand it is an error,
// in the background it waits, and partitions that fit are merged meanwhile. With
// the room that it asked for, events are taken while both copies are there.
func TestCompactionWithoutRoom(t *testing.T) {
	for _, ballast := range []int64{0, 4096} {
		fs := simfs.New(simfs.Strict)
		log := &strings.Builder{}
		opt := small(nil)
		opt.FS, opt.BallastBytes, opt.MemtableEvents, opt.SegmentRows, opt.Partition = fs, ballast, 1<<20, 1<<20, widthYear
		opt.Log = slog.New(slog.NewTextHandler(log, nil))
		fs.SetBudget(4 << 20)
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		defer kill(s)
		for run := range tierRuns {
			var sent []event.Event
			for i := range 200 {
				sent = append(sent, view(fmt.Sprint("c", i), run, event.Prop{Name: "text", Value: event.String(fmt.Sprint(run, i*i))}))
			}
			later := view("late", run) // in a partition of its own, which is small
			later.Time = later.Time.Add(400 * event.Day)
			loadEvents(t, s, append(sent, later)...)
		}
		before := contents(t, s)
		many := len(s.Summary().Segments)
		free := func(n uint64) { fs.SetBudget(fs.Used() + int64(n)) }

		if free(uint64(s.Summary().Bytes) / 2); ballast > 0 {
			free(uint64(s.Summary().Bytes) * 2) // the same, and what is kept free for other work
		}
		for worked := true; worked; {
			if worked, err = s.CompactStep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		st := s.Summary()
		if st.CompactionWaits == nil || st.CompactionWaits.Segments != tierRuns || st.CompactionWaits.Free >= st.CompactionWaits.Needed {
			t.Fatalf("ballast %d: the compaction waits for %+v", ballast, st.CompactionWaits)
		}
		if len(st.Segments) != many-tierRuns+1 {
			t.Errorf("ballast %d: %d segments of %d, the small partition is not merged", ballast, len(st.Segments), many)
		}
		if err := s.Compact(t.Context()); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), st.CompactionWaits.String()) {
			t.Errorf("ballast %d: by hand: %v", ballast, err)
		}
		if _, err := s.CompactStep(t.Context()); err != nil || strings.Count(log.String(), "a compaction waits") != 1 {
			t.Errorf("ballast %d: %v, and the log says\n%s", ballast, err, log)
		}
		if s.Summary().DiskFull || contents(t, s) != before {
			t.Errorf("ballast %d: the store is another", ballast)
		}

		free(st.CompactionWaits.Needed)
		snap, err := s.Snapshot() // it keeps the files that are replaced
		if err != nil {
			t.Fatal(err)
		}
		if worked, err := s.CompactStep(t.Context()); !worked || err != nil {
			t.Errorf("ballast %d: with the room that it asked for: %v, %v", ballast, worked, err)
		}
		if _, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 1)}), AppendOptions{}); err != nil {
			t.Errorf("ballast %d: an event beside both copies: %v", ballast, err)
		}
		snap.Release()
		if _, err := s.CompactStep(t.Context()); err != nil || s.Summary().CompactionWaits != nil || len(s.Summary().Segments) != 2 {
			t.Errorf("ballast %d: after all: %v, %+v", ballast, err, s.Summary())
		}
	}
}

// On a disk where not an edit of the manifest fits, erasing a customer comes to
// its end, and so does retention, with the ballast's room alone.
func TestTakingOutOfAFullDisk(t *testing.T) {
	for what, takeOut := range map[string]func(s *Store) (left int64, err error){
		"an erasure": func(s *Store) (int64, error) {
			receipt, err := s.Erase(t.Context(), "c1", EraseOptions{})
			for worked := true; worked && err == nil; {
				worked, err = s.EraseStep(t.Context())
			}
			if receipt, _ := s.Receipt(receipt.ID); err == nil && receipt.State != "done" {
				err = fmt.Errorf("the erasure is %+v", receipt)
			}
			return 361, err
		},
		"retention": func(s *Store) (int64, error) { return 101 + 59, s.retain(t.Context()) }, // the cutoff goes in steps of an hour
	} {
		fs := simfs.New(simfs.Strict)
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		opt := small(nil)
		opt.FS, opt.BallastBytes, opt.SegmentRows = fs, 20_000, 50
		opt.Clock, opt.Retention = func() time.Time { return now }, 100*time.Minute
		fs.SetBudget(4_000_000)
		s, err := Open("data/store", opt)
		if err != nil {
			t.Fatal(err)
		}
		var sent []event.Event
		for i := range 400 {
			e := event.Event{Customer: fmt.Sprint("c", i%10), Name: "view", Time: event.At(now.Add(-time.Duration(i) * time.Minute))}
			sent = append(sent, e)
		}
		loadEvents(t, s, sent...)
		appendEvents(t, s, AppendOptions{}, sent[11])
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		fs.SetBudget(fs.Used() + 10)
		left, err := takeOut(s)
		if err != nil {
			t.Errorf("%s on a full disk: %v", what, err)
		}
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		events := snap.Events()
		if events == 0 || events > left {
			t.Errorf("%s on a full disk leaves %d events, want at most %d", what, events, left)
		}
		snap.Release()
		after, err := Open("data/store", Options{FS: fs.Crash(rand.New(rand.NewPCG(1, 1)), simfs.AllLost), CacheBytes: -1})
		if err != nil {
			t.Fatalf("%s on a full disk, and the power lost: %v", what, err)
		}
		if n := after.Summary().Events; n != events {
			t.Errorf("%s on a full disk, and the power lost: %d events", what, n)
		}
		kill(after)
		kill(s)
	}
}

// The ballast is given back also by a process that was begun on the full disk,
// and by one that makes none itself, as commands.
func TestBallastOfAnEarlierProcess(t *testing.T) {
	for _, bytes := range []int64{1 << 20, 0} {
		fs := simfs.New(simfs.Strict)
		fs.SetBudget(200_000)
		opt := small(nil)
		opt.FS, opt.BallastBytes = fs, 1<<20
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		loadEvents(t, s, view("ann", 0), view("bob", 1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs.SetBudget(fs.Used() + 10)
		opt.BallastBytes = bytes
		if s, err = Open("store", opt); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
			t.Errorf("an erasure beside a ballast of %d bytes, by a process that makes one of %d: %v", len(fs.Files()["store/"+ballastName]), bytes, err)
		}
		kill(s)
	}
}

// A store that nobody asked to reserve room has no ballast, and takes events
// until the disk says no.
func TestNoBallast(t *testing.T) {
	fs := simfs.New(simfs.Strict)
	fs.SetBudget(30_000)
	opt := small(nil)
	opt.FS = fs
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer kill(s)
	for i := 0; ; i++ {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view(fmt.Sprint("c", i), i)}), AppendOptions{})
		if err != nil {
			if errors.Is(err, ErrFull) || i < 10 {
				t.Errorf("after %d events: %v", i, err)
			}
			break
		}
	}
	if _, err := fs.Open(path.Join("store", ballastName)); err == nil {
		t.Error("a ballast was made")
	}
}
