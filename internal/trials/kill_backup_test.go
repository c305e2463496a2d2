package trials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"wend/event"
	"wend/internal/process"
	"wend/internal/trust"
	"wend/storage"
	"wend/storage/vfs"
)

// copied is a store, and what it and backups of it hold.
type copied struct {
	store, first, backup string                   // directories; first is the backup of before
	before, all          map[int64]int            // the numbers of the events in the two backups
	left                 map[int64]int            // of the second, without who was erased since
	spans                map[string]time.Duration // from the first sign of a command to its end
}

func newCopied(t *testing.T) *copied {
	t.Helper()
	dir := t.TempDir()
	c := &copied{store: filepath.Join(dir, "store"), first: filepath.Join(dir, "first"), backup: filepath.Join(dir, "backup"),
		before: map[int64]int{}, all: map[int64]int{}, left: map[int64]int{}, spans: map[string]time.Duration{}}
	s, err := storage.Open(c.store, storage.Options{SegmentRows: 5000})
	if err != nil {
		t.Fatal(err)
	}
	begin := event.At(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
	for load := range 4 {
		l, err := s.NewLoad(t.Context(), storage.LoadOptions{Source: fmt.Sprint(load)})
		events := event.NewBuilder()
		for i := range 20000 {
			n := int64(load*20000 + i)
			e := event.Event{Customer: fmt.Sprint("c", n%1000), Name: "tick", Time: begin.Add(event.Duration(n) * event.Minute),
				Props: []event.Prop{{Name: "n", Value: event.Integer(n)}}}
			events.Add(e)
			c.all[n] = 1
			if load < 2 {
				c.before[n] = 1
			}
			if n%1000 != 7 {
				c.left[n] = 1
			}
		}
		if err == nil {
			err = l.Add(events.Batch())
		}
		if err == nil {
			_, err = l.Commit(t.Context())
		}
		if err == nil && load == 1 {
			_, err = s.Backup(t.Context(), c.first, storage.BackupOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Backup(t.Context(), c.backup, storage.BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

// kill runs a command, ends it as kill -9 does a while after a file shows that
// it has begun, and reports whether that was before its end.
func (c *copied) kill(r *rand.Rand, sign string, words ...string) (killed bool, err error) {
	cmd := exec.Command(process.Program, words...)
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if _, err := os.Stat(sign); err == nil {
			break
		}
		select {
		case err := <-ended:
			return false, err
		case <-time.After(100 * time.Microsecond):
		}
	}
	begun, wait := time.Now(), time.Minute
	if span := c.spans[words[0]]; span > 0 {
		wait = time.Duration(r.Int64N(int64(span)))
	}
	select {
	case err := <-ended:
		c.spans[words[0]] = max(c.spans[words[0]], time.Since(begun))
		return false, err
	case <-time.After(wait):
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, err
	}
	return <-ended != nil, nil
}

// TestKillBackup is promise P14 under kill -9: a backup that verifies is whole,
// the one that was there before or the new one, and a restored store that can be
// opened is all there, and nobody who was erased since is in it. The same
// command again does what is left.
func TestKillBackup(t *testing.T) {
	seed, points := trust.Number("WEND_SEED", 1), int(trust.Number("WEND_BACKUP_KILLS", 12))
	c := newCopied(t)
	r := rand.New(rand.NewPCG(seed, 18))
	target := filepath.Join(t.TempDir(), "target")
	whole := func(allowed ...map[int64]int) error {
		got, err := readNumbers(target)
		for _, want := range allowed {
			if err == nil && maps.Equal(got, want) {
				return nil
			}
		}
		return fmt.Errorf("%d events are there: %w", len(got), err)
	}
	again := func(words ...string) error {
		if out, err := exec.Command(process.Program, words...).CombinedOutput(); err != nil {
			return fmt.Errorf("again: %w\n%s", err, out)
		}
		return nil
	}
	backups, restores, stopped := 0, 0, 0
	for n := 0; backups < points; n++ { // the first is not killed, and tells how long it takes
		older := n%2 == 1
		if older {
			if err := os.CopyFS(target, os.DirFS(c.first)); err != nil {
				t.Fatal(err)
			}
		}
		killed, err := c.kill(r, filepath.Join(target, "BACKUP.tmp"), "backup", c.store, target)
		if err != nil {
			t.Fatalf("backup %d: %v", n, err)
		}
		report, err := storage.VerifyBackup(context.Background(), vfs.OS{}, target)
		switch {
		case err == nil && len(report.Damaged) == 0:
			err = whole(c.before, c.all)
		case err == nil:
			err = fmt.Errorf("it is damaged: %+v", report.Damaged)
		case !older && killed && (errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrUnfinished) || errors.Is(err, fs.ErrNotExist)):
			stopped++
			err = nil
		}
		if err == nil {
			err = again("backup", c.store, target)
		}
		if err == nil {
			err = whole(c.all)
		}
		if err != nil {
			t.Fatalf("seed %d, backup %d, over an older one %v, killed %v: %v", seed, n, older, killed, err)
		}
		if killed {
			backups++
		}
		if err := os.RemoveAll(target); err != nil {
			t.Fatal(err)
		}
	}
	trust.Report(t, "P14", "kill -9 of backups", backups, "that verify and are not whole", 0, "seed", seed)

	if err := again("erase", c.store, "c7"); err != nil {
		t.Fatal(err)
	}
	restore := []string{"restore", c.backup, target, "--ledger", storage.LedgerPath(c.store)}
	for n := 0; restores < points; n++ {
		killed, err := c.kill(r, filepath.Join(target, "RESTORING"), restore...)
		if err != nil {
			t.Fatalf("restore %d: %v", n, err)
		}
		if err = whole(c.left, map[int64]int{}); errors.Is(err, storage.ErrUnfinished) && killed {
			stopped++
			err = nil
		}
		if err == nil && killed {
			if _, e := os.Stat(filepath.Join(target, "RESTORING")); e == nil {
				err = again(restore...)
			}
		}
		if err == nil {
			err = whole(c.left)
		}
		if err != nil {
			t.Fatalf("seed %d, restore %d, killed %v: %v", seed, n, killed, err)
		}
		if killed {
			restores++
		}
		if err := errors.Join(os.RemoveAll(target), os.RemoveAll(storage.LedgerPath(target))); err != nil {
			t.Fatal(err)
		}
	}
	trust.Report(t, "P14", "kill -9 of restores", restores, "that can be opened and are not whole", 0, "unfinished, and told", stopped, "seed", seed)
	if stopped == 0 {
		t.Error("nothing was stopped in the middle")
	}
}
