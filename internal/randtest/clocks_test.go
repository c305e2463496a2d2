package randtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/internal/reference"
	"wend/internal/trust"
	"wend/query"
	"wend/storage"
	"wend/storage/vfs"
)

// TestClocks sends random streams to stores whose clock stands still, jumps
// ahead and runs backwards, with events that are late by years and events from
// the future: what was taken is answered as the reference answers it, whatever
// the clock said. WEND_STREAMS is the number of streams.
func TestClocks(t *testing.T) {
	seed := fromEnvironment(t, "WEND_SEED", 1)
	usual := uint64(2_000)
	if testing.Short() {
		usual /= 10
	}
	streams := fromEnvironment(t, "WEND_STREAMS", usual)
	numbers := make(chan uint64)
	var wg sync.WaitGroup
	var total clockStream
	var mu sync.Mutex
	var ran atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range numbers {
				if t.Failed() {
					continue
				}
				s := clockStream{r: rand.New(rand.NewPCG(seed, i))}
				if err := s.run(); err != nil {
					t.Errorf("seed %d, stream %d: %v", seed, i, err)
				}
				ran.Add(1)
				mu.Lock()
				total.sent, total.late, total.future, total.jumps, total.asked = total.sent+s.sent, total.late+s.late, total.future+s.future, total.jumps+s.jumps, total.asked+s.asked
				mu.Unlock()
			}
		})
	}
	for i := range streams {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	trust.Report(t, "P12", "streams with clock jumps", ran.Load(), "events", total.sent, "late", fmt.Sprintf("%d%%", 100*total.late/max(1, total.sent)),
		"future", fmt.Sprintf("%d%%", 100*total.future/max(1, total.sent)), "jumps", total.jumps, "answers", total.asked, "wrong", btoi(t.Failed()), "seed", seed)
}

// clockStream is one store and what was sent to it.
type clockStream struct {
	r        *rand.Rand
	clock    time.Time
	received event.Time // the latest time of the clock at which a batch was taken
	taken    []event.Event

	sent, late, future, jumps, asked int
}

// futureMax is how far ahead of the clock an event may lie.
const futureMax = 48 * event.Hour

func (s *clockStream) run() error {
	s.clock = time.Date(2025, 3, 29, 12, 0, 0, 0, time.UTC)
	opt := storage.Options{FS: vfs.NewMem(), Clock: func() time.Time { return s.clock }, MemtableEvents: 8, BlockCustomers: 2}
	db, err := engine.Open("db", engine.Options{Storage: opt, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer func() { db.Close() }()
	ctx := context.Background()
	for range 2 + s.r.IntN(5) {
		if err := s.send(ctx, db); err != nil {
			return err
		}
		switch s.r.IntN(10) {
		case 0:
			s.jumps++
			s.clock = s.clock.AddDate(s.r.IntN(21)-10, 0, 0)
		case 1:
			s.jumps++
			s.clock = s.clock.Add(-time.Duration(s.r.IntN(1_000_000)) * time.Second)
		case 2: // it stands still
		default:
			s.clock = s.clock.Add(time.Duration(s.r.IntN(100_000)) * time.Second)
		}
		switch s.r.IntN(6) {
		case 0:
			err = db.Compact(ctx)
		case 1:
			if err = db.Close(); err == nil {
				db, err = engine.Open("db", engine.Options{Storage: opt, CacheBytes: 1 << 20})
			}
		}
		if err != nil {
			return err
		}
	}
	return s.ask(ctx, db)
}

// send appends a batch of which some events are late, some from the future.
func (s *clockStream) send(ctx context.Context, db *engine.DB) error {
	now := event.At(s.clock)
	var batch []event.Event
	var refused []int
	for i := range 1 + s.r.IntN(6) {
		e := event.Event{Customer: pick(s.r, []string{"a", "b", "ü"}), Name: pick(s.r, []string{"view", "cart", "buy"}), Time: now.Add(-event.Duration(s.r.IntN(50)) * event.Minute)}
		s.sent++
		switch k := s.r.IntN(100); {
		case k < 30:
			s.late++
			e.Time = now.Add(-event.Duration(s.r.IntN(3000)) * event.Day)
		case k < 35:
			s.future++
			e.Time = now.Add(futureMax + event.Duration(s.r.IntN(3)-1)) // a microsecond decides
		case k < 37:
			s.late++
			e.Time = pick(s.r, []event.Time{event.MinTime, event.At(time.Unix(0, 0)), event.At(time.Date(2016, 12, 31, 23, 59, 59, 999_999_000, time.UTC))})
		case k < 38:
			s.future++
			e.Time = pick(s.r, []event.Time{event.MaxTime, event.At(time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC))})
		}
		if e.Time > now.Add(futureMax) {
			refused = append(refused, i)
		}
		batch = append(batch, e)
	}
	ack, err := db.Append(ctx, batch)
	if err != nil {
		return err
	}
	var rejected []int
	for _, j := range ack.Rejected {
		rejected = append(rejected, j.Index)
	}
	if !slices.Equal(rejected, refused) {
		return fmt.Errorf("at %v: rejected %v, want %v of %v", s.clock, ack.Rejected, refused, batch)
	}
	for i, e := range batch {
		if !slices.Contains(refused, i) {
			s.taken = append(s.taken, e)
			s.received = max(s.received, now)
		}
	}
	return nil
}

// ask compares answers with the reference's over what was taken.
func (s *clockStream) ask(ctx context.Context, db *engine.DB) error {
	if len(s.taken) == 0 {
		return nil
	}
	newest := s.taken[0].Time
	for _, e := range s.taken {
		newest = max(newest, e.Time)
	}
	end := min(newest, s.received)
	for _, text := range []string{
		"funnel view -> cart -> buy within 2d lenient", "transitions with times", "measure events, customers by event",
		"paths to buy within 1h lenient", "journey of 'a'", "dropoff view -> buy within 6h lenient",
	} {
		st, err := query.Parse(text)
		if err != nil {
			return err
		}
		want, wantErr := reference.Evaluate(s.taken, nil, st[0], nil, end)
		got, err := db.Query(ctx, text)
		if (err == nil) != (wantErr == nil) {
			return fmt.Errorf("%s: %v, reference: %v", text, err, wantErr)
		}
		if err != nil {
			continue
		}
		s.asked++
		if d := Difference(want, answer(got).Columns, got.Rows); d != "" {
			return fmt.Errorf("%s over %v: %s", text, s.taken, d)
		}
		if got.Meta.EndOfData != end {
			return fmt.Errorf("%s: the end of data is %v, want %v", text, got.Meta.EndOfData, end)
		}
	}
	return nil
}
