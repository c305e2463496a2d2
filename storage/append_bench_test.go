package storage

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"wend/event"
	"wend/tile"
)

// shopBatches makes batches of events a second apart by a hundred thousand
// customers, as they come in while a shop is open.
func shopBatches(batches, size int) []*event.Batch {
	r := rand.New(rand.NewPCG(1, 3))
	var list []*event.Batch
	at := event.Time(1_735_689_600_000_000)
	for range batches {
		b := event.NewBuilder()
		for range size {
			b.Add(event.Event{Customer: fmt.Sprint("u", r.IntN(100_000)), Time: at, Name: fmt.Sprint("event", r.IntN(24)), Channel: fmt.Sprint("channel", r.IntN(12)),
				Props: []event.Prop{{Name: "device", Value: event.String(fmt.Sprint("d", r.IntN(4)))}, {Name: "value", Value: event.Float(float64(r.IntN(10_000)) / 100)}}})
			at += event.Time(event.Second)
		}
		list = append(list, b.Batch())
	}
	return list
}

func openForBench(b *testing.B) *Store {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), "store"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkAppend writes batches of a thousand to the log of a store on the
// disk: durable before it returns, by one caller and by sixteen who share the
// syncs, and in the memory of the system only. What fills the memtable is
// flushed in between, as it is for everybody.
func BenchmarkAppend(b *testing.B) {
	const size = 1000
	for _, c := range []struct {
		name       string
		durability Durability
		callers    int
	}{{"sync", Sync, 1}, {"sync, 16 callers", Sync, 16}, {"memory", Memory, 1}} {
		b.Run(c.name, func(b *testing.B) {
			batches := shopBatches(64, size)
			s := openForBench(b)
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var callers sync.WaitGroup
			for range c.callers {
				callers.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						batch := *batches[i%64]
						if ack, err := s.Append(b.Context(), &batch, AppendOptions{Durability: c.durability}); err != nil || ack.Accepted != size {
							b.Error(ack, err)
							return
						}
					}
				})
			}
			callers.Wait()
			perEvent(b, size)
		})
	}
}

// BenchmarkSnapshot takes a snapshot after every twenty batches of a thousand, as
// queries beside senders do: what is new is sorted, and merged with what was
// sorted before.
func BenchmarkSnapshot(b *testing.B) {
	const rounds, batches, size = 12, 20, 1000
	all := shopBatches(rounds*batches, size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := openForBench(b)
		for round := range rounds {
			for _, batch := range all[round*batches:][:batches] {
				again := *batch
				if _, err := s.Append(b.Context(), &again, AppendOptions{Durability: Memory}); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			snap, err := s.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if snap.Events() != int64((round+1)*batches*size) {
				b.Fatal(snap.Events())
			}
			snap.Release()
		}
		b.StartTimer()
	}
	perEvent(b, rounds*batches*size)
}

// BenchmarkLink makes known one visitor more among fifty thousand, and takes a
// snapshot that knows it.
func BenchmarkLink(b *testing.B) {
	const before = 50_000
	s := openForBench(b)
	link := func(i int) Link { return Link{fmt.Sprint("visitor", i), fmt.Sprint("u", i)} }
	var all []Link
	for i := range before {
		all = append(all, link(i))
	}
	if err := s.LinkAll(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := before; b.Loop(); i++ {
		if err := s.Link(b.Context(), link(i).From, link(i).To); err != nil {
			b.Fatal(err)
		}
		snap, err := s.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		snap.Release()
	}
}

// BenchmarkFreshTiles makes all tiles of a quarter of a million events in
// segments anew whenever another batch of a thousand has come.
func BenchmarkFreshTiles(b *testing.B) {
	const segments, size = 4, 1000
	all := shopBatches(segments+1, 64*size)
	s := openForBench(b)
	for _, batch := range all[:segments] {
		for lo := 0; lo < batch.Len(); lo += 32 * size {
			rows := make([]int, 32*size)
			for i := range rows {
				rows[i] = lo + i
			}
			if _, err := s.Append(b.Context(), selectRows(batch, rows), AppendOptions{Durability: Memory}); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rows := make([]int, size)
		for k := range rows {
			rows[k] = (i*size + k) % (64 * size)
		}
		if _, err := s.Append(b.Context(), selectRows(all[segments], rows), AppendOptions{Durability: Memory}); err != nil {
			b.Fatal(err)
		}
		snap, err := s.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		for t := range snap.Tiles() {
			if _, err := snap.Tile(b.Context(), t, tile.Need{}); err != nil {
				b.Fatal(err)
			}
		}
		snap.Release()
	}
	perEvent(b, segments*64*size)
}

// BenchmarkCompact merges ten segments of 20,000 events into one, verified as
// compaction always is.
func BenchmarkCompact(b *testing.B) {
	const segments, size = 10, 20_000
	batches := shopBatches(segments, size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s, err := Open(filepath.Join(b.TempDir(), "store"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			again := *batch
			if _, err := s.Append(b.Context(), &again, AppendOptions{Durability: Memory}); err != nil {
				b.Fatal(err)
			}
			if err := s.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := s.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if n := len(s.Status().Segments); n != 1 {
			b.Fatalf("%d segments are left", n)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	perEvent(b, segments*size)
}

// BenchmarkRecovery opens a store that a writer left without closing it, whose
// log is as long as a log gets: it reads and checks all of it.
func BenchmarkRecovery(b *testing.B) {
	const size = 1000
	dir := filepath.Join(b.TempDir(), "store")
	s, err := Open(dir, Options{MemtableEvents: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range shopBatches(260, size) {
		if _, err := s.Append(b.Context(), batch, AppendOptions{Durability: Interval}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(s.Status().LogBytes)
	kill(s)
	b.ResetTimer()
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if n := s.mem.rows; n != 260*size {
			b.Fatalf("%d events are back", n)
		}
		kill(s)
	}
	perEvent(b, 260*size)
}
