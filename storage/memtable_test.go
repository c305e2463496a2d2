package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wend/event"
	"wend/storage/vfs"
)

// wideBatch is number i of batches of ten events, each with eight properties
// that no other of the batch has.
func wideBatch(i int) *event.Batch {
	var events []event.Event
	for row := range 10 {
		e := view(fmt.Sprint("c", row), i)
		for p := range 8 {
			e.Props = append(e.Props, event.Prop{Name: fmt.Sprint("p", 8*row+p), Value: event.String("x")})
		}
		events = append(events, e)
	}
	return batchOf(events)
}

// Batches of many properties fill the memtable with few events: a table has a
// place for each property in each row, used or not.
func TestWideBatchesFillTheMemtable(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	limit := s.opt.memtableBytes()
	for i := range 8 {
		if _, err := s.Append(t.Context(), wideBatch(i), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := s.mem.size(); n >= limit {
			t.Errorf("%d events that take %d bytes are not flushed, the limit is %d", s.mem.rows, n, limit)
		}
	}
	if n := len(s.state().segments); n < 3 {
		t.Errorf("80 events are in %d segments", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range s.opt.MemtableEvents - 1 {
		appendEvents(t, s, AppendOptions{}, view("ann", i, event.Prop{Name: "p0", Value: event.String("x")}))
	}
	if s.mem.rows != s.opt.MemtableEvents-1 {
		t.Errorf("of narrow events the memtable has %d, as few as one below its limit", s.mem.rows)
	}

	// What few rows have counts in all, whichever batch they came with.
	m := newMemtable()
	add := func(b *event.Batch) {
		mem := &memBatch{lsn: uint64(len(m.batches))}
		mem.batch, mem.props = s.catalog.encode(b)
		m.add(mem)
	}
	check := func(when string) {
		t.Helper()
		if want := newMemtable().with(m); m.rows != want.rows || m.bytes != want.bytes || m.size() < want.size() || m.size() < 8*int64(80*m.rows) {
			t.Errorf("%s %d rows take %d bytes, and %d sorted; counted anew %d, %d and %d", when, m.rows, m.bytes, m.size(), want.rows, want.bytes, want.size())
		}
	}
	for i := range 20 {
		add(batchOf([]event.Event{view("ann", i), view("bob", i)}))
	}
	add(wideBatch(0))
	check("at first")
	m.remove(func(b *memBatch) bool { return b.lsn < 5 })
	check("without the first")
	m.takeOut(s.catalog, func(b *event.Batch, i int) bool { return b.Customer[i] == "ann" })
	check("without a customer")
}

// While a flush takes long, what comes meanwhile is kept up to a few memtables;
// who comes then waits, and is stored once.
func TestAppendsDoNotOutrunFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &paused{Mem: vfs.NewMem(), began: make(chan struct{}), goOn: make(chan struct{})}
		fs.creates.Store(1)
		fs.armed.Store(true)
		opt := small(fs)
		opt.Background = true
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		most, sent := memtablesOwed*s.opt.memtableBytes(), 0
		size := func() (n int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, m := range s.memory() {
				n += m.size()
			}
			return n
		}
		results := make(chan error, 100)
		send := func(ctx context.Context) {
			i := sent
			sent++
			go func() {
				_, err := s.Append(ctx, wideBatch(i), AppendOptions{})
				results <- err
			}()
			synctest.Wait()
		}
		for len(results) == sent && sent < 100 {
			send(t.Context())
		}
		<-fs.began
		if n := size(); n < most || n > most*3/2 || len(results) != sent-1 {
			t.Errorf("while a flush takes long, %d of %d batches are taken, of %d bytes; there is memory for %d", len(results), sent, n, most)
		}
		ctx, leave := context.WithCancel(t.Context())
		send(ctx)
		leave()
		gone := 0
		close(fs.goOn)
		for range sent {
			if err := <-results; errors.Is(err, context.Canceled) {
				gone++
			} else if err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, fs, "store")
		if got, want := strings.Count(contents(t, s), "\n"), 10*(sent-1); gone != 1 || got != want {
			t.Errorf("%d events, want %d; %d gave up", got, want, gone)
		}
	})
}

// sealed makes no segment file while it is shut.
type sealed struct {
	*vfs.Mem
	shut atomic.Bool
}

func (f *sealed) Create(name string) (vfs.File, error) {
	if f.shut.Load() && strings.HasSuffix(name, ".seg.tmp") {
		return nil, errDisk
	}
	return f.Mem.Create(name)
}

// Where the memtable cannot be written, appends end with an error before it
// takes all memory, and go on when it can be.
func TestAppendsEndWhereFlushesFail(t *testing.T) {
	for _, background := range []bool{false, true} {
		fs := &sealed{Mem: vfs.NewMem()}
		fs.shut.Store(true)
		opt := small(fs)
		opt.Background = background
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		taken := 1
		first := sendFirst(t, s)
		for err == nil && taken < 100 {
			if _, err = s.Append(t.Context(), wideBatch(taken), AppendOptions{}); err == nil {
				taken++
			}
		}
		if again := sendFirst(t, s); !reflect.DeepEqual(again, first) {
			t.Errorf("background %v: the first batch sent again is answered %+v, before %+v", background, again, first)
		}
		if most := int(memtablesOwed * s.opt.memtableBytes() / bytesOf(wideBatch(0))); !errors.Is(err, errDisk) || taken > most {
			t.Errorf("background %v: after %d batches, of at most %d: %v", background, taken, most, err)
		}
		fs.shut.Store(false)
		for try := 0; err != nil && try < 100; try++ { // the background may be at a flush that is about to fail
			_, err = s.Append(t.Context(), wideBatch(taken), AppendOptions{})
		}
		if got, want := strings.Count(contents(t, s), "\n"), 10*(taken+1); err != nil || got != want {
			t.Errorf("background %v: %d events, want %d; %v", background, got, want, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Who began a flush may leave: those who wait for it look again.
func TestAFlushThatWasLeftIsNobodysError(t *testing.T) {
	s := open(t, vfs.NewMem(), "store")
	s.opt.Background = true // as far as waiting goes
	ended := make(chan struct{})
	close(ended)
	for failed, want := range map[error]error{context.Canceled: nil, context.DeadlineExceeded: nil, errDisk: errDisk} {
		s.flushErr = fmt.Errorf("flush: %w", failed)
		if err := s.waitForRoom(t.Context(), ended); !errors.Is(err, want) {
			t.Errorf("after %v: %v", failed, err)
		}
	}
	s.opt.Background = false
}

func sendFirst(t *testing.T, s *Store) Ack {
	t.Helper()
	ack, err := s.Append(t.Context(), wideBatch(0), AppendOptions{Token: "first"})
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

// A bug elsewhere ends all writing, also for appends that wait for a flush.
func TestAppendsThatWaitHearOfABug(t *testing.T) {
	opt := small(vfs.NewMem())
	opt.Background = true
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	s.writing.Lock()
	ended := make(chan error)
	go func() {
		for i := 0; ; i++ {
			if _, err := s.Append(t.Context(), wideBatch(i), AppendOptions{}); err != nil {
				ended <- err
				return
			}
		}
	}()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		waits = s.roomier != nil
		s.mu.Unlock()
	}
	s.broken.Store(true)
	s.writing.Unlock()
	if err := <-ended; !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
