package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// turnOf returns a turn of a statement that has used so much time, and has a place.
func turnOf(t *testing.T, q *turns, used time.Duration) *turn {
	t.Helper()
	turn := q.claim().turn()
	turn.claim.used.Store(int64(used))
	if err := turn.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return turn
}

// Who has used least comes first, whenever it came; and on one level who came first.
func TestTurnsGoToThoseWhoUsedLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		first := turnOf(t, q, time.Hour)
		var mu sync.Mutex
		var order []string
		for _, s := range []struct {
			name string
			used time.Duration
		}{{"long", time.Hour}, {"other long", time.Minute}, {"short", 100 * time.Millisecond}, {"new", 0}} {
			go func() {
				turn := turnOf(t, q, s.used)
				mu.Lock()
				order = append(order, s.name)
				mu.Unlock()
				turn.end()
			}()
			synctest.Wait()
		}
		first.end()
		synctest.Wait()
		if len(order) != 4 || order[0] != "new" || order[1] != "short" || order[2] != "long" || order[3] != "other long" {
			t.Errorf("%v", order)
		}
	})
}

// Whoever computes for long gives way: at once to those who have used less, and
// after a slice of time to those of its own level.
func TestTurnsAreGivenUp(t *testing.T) {
	for _, c := range []struct {
		name          string
		used, other   time.Duration
		computed      time.Duration
		wantsToGiveUp bool
	}{
		{"to a new statement", time.Hour, 0, 0, true},
		{"to one of its level, too early", time.Hour, time.Hour, slice / 2, false},
		{"to one of its level", time.Hour, time.Hour, slice, true},
		{"to one that has used more", 0, time.Hour, slice, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newTurns(1)
				turn := turnOf(t, q, c.used)
				got := false
				done := make(chan struct{})
				go func() {
					defer close(done)
					other := q.claim().turn()
					other.claim.used.Store(int64(c.other))
					if other.begin(t.Context()) == nil {
						got = true
						other.end()
					}
				}()
				synctest.Wait()
				turn.began = turn.began.Add(-c.computed) // time.Sleep would let patience end
				if err := turn.yield(t.Context()); err != nil {
					t.Error(err)
				}
				if got != c.wantsToGiveUp {
					t.Errorf("the other had its turn: %v", got)
				}
				turn.end()
				<-done
				if q.taken != 0 || len(q.waiting) != 0 || q.some.Load() {
					t.Errorf("%d places are taken, %d wait", q.taken, len(q.waiting))
				}
			})
		})
	}
}

// Where nobody gives way, new statements begin beside them after a while, up to
// twice as many as there are places; those of the last level wait.
func TestTurnsBesideThoseWhoDoNotGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		stuck := turnOf(t, q, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		long := q.claim().turn()
		long.claim.used.Store(int64(time.Hour))
		if err := long.begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a long statement: %v", err)
		}
		begun := time.Now()
		beside := turnOf(t, q, 0)
		if waited := time.Since(begun); waited != patience {
			t.Errorf("a new one waited %v", waited)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.claim().turn().begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one too many: %v", err)
		}
		stuck.end()
		beside.end()
		if q.taken != 0 || len(q.waiting) != 0 {
			t.Errorf("%d places are taken, %d wait", q.taken, len(q.waiting))
		}
	})
}

// Where there are always some who have used less, a long statement waits for
// them, but not for ever: after a while it counts as new.
func TestTurnsLiftWhoWaitedLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var others sync.WaitGroup
		for range 3 {
			others.Go(func() {
				for ctx.Err() == nil {
					short := q.claim().turn()
					if short.begin(ctx) == nil {
						time.Sleep(levelTime / 2)
						short.end()
					}
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		long, begun := q.claim().turn(), time.Now()
		long.claim.used.Store(int64(time.Hour))
		if err := long.begin(ctx); err != nil {
			t.Errorf("a long statement: %v", err)
		}
		if waited := time.Since(begun); waited < liftAfter || waited > liftAfter+100*time.Millisecond {
			t.Errorf("it waited %v", waited)
		}
		if level := long.levelAt(time.Now()); level != 0 {
			t.Errorf("it goes on at level %d", level)
		}
		long.end()
		stop()
		others.Wait()
	})
}

// Where those who have used less never end, a long statement does: each time it
// is lifted it gets twice as much as before.
func TestTurnsOfALongOneBesideShortOnes(t *testing.T) {
	const block, cost = 5 * time.Millisecond, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		compute := func(ctx context.Context, statement *claim, cost time.Duration) {
			turn := statement.turn()
			if turn.begin(ctx) != nil {
				return
			}
			defer turn.end()
			for range cost / block {
				if time.Sleep(block); turn.yield(ctx) != nil {
					return
				}
			}
		}
		var others sync.WaitGroup
		for range 3 { // more than the processor has time for
			others.Go(func() {
				for ctx.Err() == nil {
					compute(ctx, q.claim(), 8*block)
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		long := q.claim()
		var workers sync.WaitGroup
		for range 2 {
			workers.Go(func() { compute(ctx, long, cost/2) })
		}
		workers.Wait()
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("a statement of %v took %v", cost, took)
		} else {
			t.Logf("a statement of %v took %v", cost, took)
		}
		stop()
		others.Wait()
	})
}

// A statement is lifted once for each wait, not for each of its goroutines.
func TestTurnsLiftAStatementOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		stuck, beside := turnOf(t, q, 0), turnOf(t, q, 0) // one too many: nobody else has a turn
		long := q.claim()
		long.used.Store(int64(time.Hour))
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				turn := long.turn()
				if turn.begin(t.Context()) == nil {
					turn.end()
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(liftAfter)
		if n := long.lifts.Load(); n != 1 {
			t.Errorf("lifted %d times", n)
		}
		stuck.end()
		beside.end()
		workers.Wait()
	})
}

// Of many who always ask for more than the processors have, each gets about its
// share: short statements hardly wait, and the longest wait no longer than all
// others beside them take.
func TestTurnsOfMany(t *testing.T) {
	const clients, places, block = 14, 2, 5 * time.Millisecond
	costs := []time.Duration{2 * block, 100 * block, 160 * block, 400 * block}
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(places)
		var mu sync.Mutex
		longest := map[time.Duration]time.Duration{}
		run := func(cost time.Duration) {
			statement, begun := q.claim(), time.Now()
			left := make(chan struct{}, cost/block)
			for range cap(left) {
				left <- struct{}{}
			}
			close(left)
			var workers sync.WaitGroup
			for range places {
				workers.Go(func() {
					turn := statement.turn()
					if err := turn.begin(t.Context()); err != nil {
						t.Error(err)
					}
					defer turn.end()
					for range left {
						time.Sleep(block)
						if err := turn.yield(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			workers.Wait()
			mu.Lock()
			defer mu.Unlock()
			longest[cost] = max(longest[cost], time.Since(begun))
		}
		end := time.Now().Add(5 * time.Minute)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				for time.Now().Before(end) {
					run(costs[r.IntN(len(costs))])
				}
			})
		}
		all.Wait()
		if short := longest[costs[0]]; short > 200*time.Millisecond {
			t.Errorf("a statement of %v took %v", costs[0], short)
		}
		for _, cost := range costs[1:] {
			if share := clients * cost / places; longest[cost] > share*5/4 {
				t.Errorf("a statement of %v took %v, its share of the processors would take %v", cost, longest[cost], share)
			}
		}
	})
}
