package storage

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wend/storage/vfs"
)

// paused stops who creates the second segment file from when it is armed.
type paused struct {
	*vfs.Mem
	creates     atomic.Int64 // since it is armed
	armed       atomic.Bool
	began, goOn chan struct{}
}

func (p *paused) Create(name string) (vfs.File, error) {
	if p.armed.Load() && strings.HasSuffix(name, ".seg.tmp") && p.creates.Add(1) == 2 {
		close(p.began)
		<-p.goOn
	}
	return p.Mem.Create(name)
}

// While the background merges, which may take minutes, appended events become
// durable and do not pile up in memory.
func TestAppendsBesideAMerge(t *testing.T) {
	fs := &paused{Mem: vfs.NewMem(), began: make(chan struct{}), goOn: make(chan struct{})}
	opt := small(fs)
	opt.Background = true
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tierRuns {
		if i == tierRuns-1 {
			fs.armed.Store(true) // the first file is that of this flush, the second that of the merge
		}
		appendEvents(t, s, AppendOptions{}, view("ann", i), view("bob", i))
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-fs.began
	eventually := func(what string, is func() bool) {
		t.Helper()
		for range 1000 {
			if is() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("beside a merge, %s", what)
	}
	ack := appendEvents(t, s, AppendOptions{Durability: Interval}, view("cid", 1))
	eventually("the log was not synced", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wal.mu.Lock()
		defer s.wal.mu.Unlock()
		return s.wal.syncedTo >= ack.LSN
	})
	for i := range s.opt.MemtableEvents {
		appendEvents(t, s, AppendOptions{Durability: Memory}, view(fmt.Sprint("c", i%7), i))
	}
	eventually("the memtable was not flushed", func() bool { return s.Summary().MemtableEvents < s.opt.MemtableEvents })
	close(fs.goOn)
	want := 2*tierRuns + 1 + s.opt.MemtableEvents
	eventually("the runs were not merged", func() bool { return len(s.Summary().Segments) < tierRuns })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs, "store")
	if got := strings.Count(contents(t, s), "\n"); got != want {
		t.Errorf("%d events, want %d", got, want)
	}
}
