package storage

import (
	"strings"
	"sync"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// heldLog is a file system whose log can be kept from being synced.
type heldLog struct {
	vfs.FS
	mu      sync.Mutex
	hold    chan struct{} // syncs wait until it is closed; nil: they do not
	waiting chan struct{} // told of each that waits
}

func (h *heldLog) Create(name string) (vfs.File, error) {
	f, err := h.FS.Create(name)
	if err == nil && strings.HasSuffix(name, ".wal") {
		return &heldFile{f, h}, nil
	}
	return f, err
}

type heldFile struct {
	vfs.File
	log *heldLog
}

func (f *heldFile) Sync() error {
	f.log.mu.Lock()
	hold := f.log.hold
	f.log.mu.Unlock()
	if hold != nil {
		f.log.waiting <- struct{}{}
		<-hold
	}
	return f.File.Sync()
}

// A batch that is acknowledged after a later one is a change that answers show:
// whoever keeps answers by version must not give the one from before.
func TestVersionTellsOfABatchThatComesAfterALaterOne(t *testing.T) {
	fs := &heldLog{FS: vfs.NewMem(), waiting: make(chan struct{}, 1)}
	s, err := Open("store", small(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The log is made, and synced, with the first batch.
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("cat", 0)}), AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	fs.mu.Lock()
	fs.hold = make(chan struct{})
	fs.mu.Unlock()
	synced := make(chan error)
	go func() {
		_, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 1)}), AppendOptions{})
		synced <- err
	}()
	<-fs.waiting
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("bob", 2)}), AppendOptions{Durability: Memory}); err != nil {
		t.Fatal(err)
	}
	state := func() (string, int64) {
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		return snap.Version(), snap.Events()
	}
	before, events := state()
	if events != 2 {
		t.Fatalf("%d events while the first batch waits for its sync", events)
	}
	close(fs.hold)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if after, events := state(); events != 3 || after == before {
		t.Errorf("%d events; the version was %s and is %s", events, before, after)
	}
}

// A batch is lost with the process, and another one gets its number: whoever
// keeps answers by version must not give those that show the lost one.
func TestVersionTellsOfALostBatch(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	crashed := mem.Clone()
	version := func(s *Store, c string) string {
		if c != "" {
			appendEvents(t, s, AppendOptions{Durability: Memory}, view(c, 2))
		}
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		return snap.Version()
	}
	lost := version(s, "bob")
	again := open(t, crashed, "store")
	if got := version(again, "cid"); got == lost {
		t.Errorf("the state with the batch that was lost and the one with another in its place are both %s", got)
	}
	if err := again.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	durable := version(again, "")
	if got := version(open(t, crashed.Clone(), "store"), ""); got != durable {
		t.Errorf("the version of a durable state is %s, and after another opening %s", durable, got)
	}
}
