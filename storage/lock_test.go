package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs"
)

// TestOneOfManyWriters is promise P9: of openers that race, one has the store; the
// others are told who, and change nothing. WEND_RACES=1000 is the long size.
func TestOneOfManyWriters(t *testing.T) {
	const openers = 8
	dir := filepath.Join(t.TempDir(), "store")
	races := trust.Number("WEND_RACES", 25)
	for range races {
		var group sync.WaitGroup
		var mu sync.Mutex
		var winners []*Store
		begin := make(chan struct{})
		for range openers {
			group.Go(func() {
				<-begin
				s, err := Open(dir, Options{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					winners = append(winners, s)
				case !errors.Is(err, ErrLocked):
					t.Errorf("a loser is told %v", err)
				}
			})
		}
		close(begin)
		group.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d of %d have the store", len(winners), openers)
		}
		before := filesOf(t, vfs.OS{}, dir)
		_, err := Open(dir, Options{})
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid ") || !strings.Contains(err.Error(), " since ") {
			t.Fatalf("beside a writer: %v", err)
		}
		for name, data := range filesOf(t, vfs.OS{}, dir) {
			if before[name] != data {
				t.Fatalf("the refused opening changed %s", name)
			}
		}
		if err := winners[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
	trust.Report(t, "P9", "races", races, "openers", openers, "with more or less than one winner", 0)
}

// Opening a store that was closed, and closing it, writes nothing but the lock.
// All of it is its owner's alone.
func TestOpeningWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	backupOf(t, s, dir+".backup")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := filesOf(t, vfs.OS{}, dir)
	for range 2 {
		if s, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if n := s.Summary().MemtableEvents; n != 0 {
			t.Errorf("%d events are replayed after a clean stop", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	after := filesOf(t, vfs.OS{}, dir)
	delete(before, lockName)
	delete(after, lockName)
	for name := range after {
		if before[name] != after[name] || len(before) != len(after) {
			t.Errorf("opening and closing changed %s", name)
		}
	}
	for _, root := range []string{dir, dir + ".backup"} {
		err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			want := os.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			}
			if err == nil && info.Mode().Perm() != want {
				t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
