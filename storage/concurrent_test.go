package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/tile"
)

// Every batch has values that add up to nothing, so every snapshot must, too,
// whatever is appended, loaded, flushed and compacted at the time.
func TestWholeBatches(t *testing.T) {
	const writers, batches = 3, 60
	opt := small(vfs.NewMem())
	opt.Background = true
	opt.MemtableEvents = 150
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(w, i int) []event.Event {
		value := func(v int64) event.Prop { return event.Prop{Name: "value", Value: event.Integer(v)} }
		one, other := view(fmt.Sprint("c", i%5), i, value(int64(i+1))), view(fmt.Sprint("d", w, i%11), i/2, value(-int64(i+1)))
		one.ID, other.ID = fmt.Sprint("a", w, "-", i), fmt.Sprint("b", w, "-", i)
		return []event.Event{one, other}
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing, others sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range batches {
				for range 2 { // sent again, it changes nothing
					if _, err := s.Append(ctx, batchOf(pair(w, i)), AppendOptions{Durability: Durability(i % 3)}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writing.Go(func() {
		for i := range 10 {
			l, err := s.NewLoad(ctx, LoadOptions{})
			if err == nil {
				err = l.Add(batchOf(slices.Concat(pair(9, 2*i), pair(9, 2*i+1))))
			}
			if err == nil {
				_, err = l.Commit(ctx)
			}
			if err == nil && i%3 == 0 {
				err = s.Compact(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		others.Go(func() {
			last := int64(0)
			for ctx.Err() == nil {
				n, sum := total(t, s)
				if sum != 0 || n%2 != 0 || n < last {
					t.Errorf("%d events with sum %d, after %d", n, sum, last)
					return
				}
				last = n
			}
		})
	}
	writing.Wait()
	stop()
	others.Wait()
	if n, _ := total(t, s); n != 2*(writers*batches+20) {
		t.Errorf("%d events at the end", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// total counts the events of a snapshot and adds up their values.
func total(t *testing.T, s *Store) (events, sum int64) {
	snap, err := s.Snapshot()
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer snap.Release()
	need := tile.Need{Channel: true}
	if len(snap.Schema().Properties) > 0 {
		need.Properties = []int{0}
	}
	for i := range snap.Tiles() {
		tl, err := snap.Tile(context.Background(), i, need)
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		for row := range tl.Rows {
			sum += tl.Columns[0].At(row).Int()
		}
		events += int64(tl.Rows)
	}
	if events != snap.Events() {
		t.Errorf("%d rows, %d events", events, snap.Events())
	}
	return events, sum
}

// TestConcurrent is promise P4: while four write, flush, load, compact and
// erase, eight read. A snapshot has whole batches, is the same however often it
// is read, and when all is over nothing is held any more. WEND_CONCURRENT=2m
// says for how long.
func TestConcurrent(t *testing.T) {
	long := 2 * time.Second
	if d, err := time.ParseDuration(os.Getenv("WEND_CONCURRENT")); err == nil {
		long = d
	}
	const readers, writers = 8, 4
	goroutines, descriptors := runtime.NumGoroutine(), openFiles(t)
	dir := filepath.Join(t.TempDir(), "store")
	// Little is cached, so that files are read while they are replaced.
	opt := Options{Background: true, MemtableEvents: 400, SegmentRows: 500, ChunkRows: 300, BlockCustomers: 20, CacheBytes: 1 << 16}
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), long)
	defer stop()
	var group sync.WaitGroup
	var batches, reads, compactions, erasures atomic.Int64
	each := func(n int, do func(who, i int) error) {
		for who := range n {
			group.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if err := do(who, i); err != nil && !errors.Is(err, ctx.Err()) {
						t.Error(err)
						stop()
					}
				}
			})
		}
	}
	each(writers, func(who, i int) error {
		value := func(v int) event.Prop { return event.Prop{Name: "value", Value: event.Integer(int64(v))} }
		// Whoever is erased goes with a batch of its own, so that sums stay.
		batch := []event.Event{view(fmt.Sprint("c", i%97), i, value(i+1)), view(fmt.Sprint("d", who, i%11), i/2, value(-i-1))}
		if i%8 == 0 {
			batch = []event.Event{view(fmt.Sprint("gone", who, i%3), i, value(i)), view(fmt.Sprint("gone", who, i%3), i, value(-i))}
		}
		batch[0].ID, batch[1].ID = fmt.Sprint("a", who, "-", i), fmt.Sprint("b", who, "-", i)
		if i%50 == 49 {
			l, err := s.NewLoad(ctx, LoadOptions{})
			if err == nil {
				err = l.Add(batchOf(batch))
			}
			if err == nil {
				_, err = l.Commit(ctx)
			}
			return err
		}
		_, err := s.Append(ctx, batchOf(batch), AppendOptions{Durability: []Durability{Interval, Memory, Sync}[i%3]})
		batches.Add(1)
		return err
	})
	each(1, func(_, i int) error {
		time.Sleep(5 * time.Millisecond)
		compactions.Add(1)
		if i%2 == 0 {
			return s.Flush(ctx)
		}
		return s.Compact(ctx)
	})
	each(1, func(_, i int) error {
		time.Sleep(5 * time.Millisecond)
		_, err := s.Erase(ctx, fmt.Sprint("gone", i%writers, i/writers%3), EraseOptions{})
		erasures.Add(1)
		return err
	})
	each(readers, func(_, i int) error {
		snap, err := s.Snapshot()
		if err != nil {
			return err
		}
		defer snap.Release()
		first := shown(snap)
		for range 1 + i%3 {
			if again := shown(snap); again != first {
				return fmt.Errorf("a snapshot had %+v, and when it was read again %+v", first, again)
			}
		}
		if first.err != "" || first.sum != 0 || first.events%2 != 0 || first.events != snap.Events() {
			return fmt.Errorf("a snapshot of %d events has %+v", snap.Events(), first)
		}
		reads.Add(1)
		return nil
	})
	group.Wait()
	pins := 0
	if err := s.Compact(context.Background()); err != nil {
		t.Error(err)
	}
	if snap, err := s.Snapshot(); err != nil || len(snap.files) == 0 {
		t.Errorf("a snapshot at the end: %v", err)
	} else {
		snap.Release() // a short run may have had none of files
	}
	s.mu.Lock()
	for _, f := range s.segments {
		pins += int(f.refs.Load()) - 1 // the store's own
	}
	for _, f := range s.retired {
		pins += max(int(f.refs.Load()), 0)
	}
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	more := 0
	for range 100 { // goroutines that have been told to end need a moment to do it
		if more = runtime.NumGoroutine() - goroutines; more <= 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if left := openFiles(t) - descriptors; pins != 0 || left > 0 || more > 0 {
		t.Errorf("afterwards there are %d pins, %d open files and %d goroutines more", pins, left, more)
	}
	violations := 0
	if t.Failed() {
		violations = 1
	}
	trust.Report(t, "P4", "readers", readers, "writers", writers, "for", long, "batches", batches.Load(), "reads", reads.Load(),
		"compactions", compactions.Load(), "erasures", erasures.Load(), "violations", violations, "pins left", pins)
}

// seen is all that a snapshot shows, with a sum over its bytes.
type seen struct {
	events, sum int64
	bytes       uint64
	err         string
}

func shown(snap *Snapshot) (a seen) {
	h := fnv.New64a()
	need := tile.Need{Names: true, Channel: true, IDs: true}
	value := -1
	for i, p := range snap.Schema().Properties {
		if p.Name == "value" {
			value, need.Properties = 0, []int{i}
		}
	}
	for i := range snap.Tiles() {
		tl, err := snap.Tile(context.Background(), i, need)
		if err != nil {
			a.err = err.Error()
			return a
		}
		for c := range tl.Customers() {
			fmt.Fprintln(h, tl.Names.At(c))
			lo, hi := tl.Range(c)
			for row := lo; row < hi; row++ {
				n := int64(0)
				if value == 0 {
					n = tl.Columns[0].At(row).Int()
				}
				a.sum += n
				fmt.Fprintln(h, tl.Time.At(row), tl.Event.At(row), tl.IDs.At(row), n)
			}
		}
		a.events += int64(tl.Rows)
	}
	a.bytes = h.Sum64()
	return a
}

// openFiles counts the process's descriptors, but for those that the runtime
// makes for itself when it first waits for one.
func openFiles(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not counted: %v", err)
	}
	n := 0
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			n++
		}
	}
	return n
}
