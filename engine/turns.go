package engine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns shares the processors among the statements of a DB. As many goroutines
// compute as there are processors, so that a statement that has just come need
// not stand in line with all that were there before: those that have used less
// time go first, and the others give way where they look whether they were
// cancelled. This is a multilevel feedback queue: a statement's level tells how
// much time it has used, and on one level everybody has a slice of time in turn.
// Who has waited long begins on the first level again.
type turns struct {
	places int

	mu      sync.Mutex
	taken   int
	waiting []*turn     // in the order they came
	some    atomic.Bool // somebody waits: what a look costs where nobody does
	watch   *time.Timer // watches those who wait, while there are some
}

const (
	// levelTime is what a statement may use on the first level, 4 ms; up to the
	// last, each further level begins at levelTimes as much. Were there more
	// levels, statements of about the same length would overtake each other, and
	// the last of many would wait longest.
	levelTime  = 1 << 22 * time.Nanosecond
	levelTimes = 16
	levelMax   = 3 // from a second on

	// placesMost times the places are taken at most, with those too many.
	placesMost = 2

	// slice is how long a goroutine computes while others of its level wait.
	slice = 10 * time.Millisecond

	// liftAfter is how long a turn waits until its statement begins anew on the
	// first level. Where short statements come without end, a long one would
	// otherwise wait until its time is over. Each time, it may stay twice as long
	// on the second level, up to 2^liftMax times: so it ends after as many waits as
	// its time has doublings, and the shortest statements hardly notice.
	liftAfter = 2 * time.Second
	liftMax   = 8

	// patience is how long a turn below the last level waits for a place before
	// it takes one too many: those who hold the places may be reading files, or
	// sorting, and cannot give way.
	patience = 5 * time.Millisecond
)

func newTurns(places int) *turns { return &turns{places: places} }

// claim is what a statement has used of the processors. nil: it has them for itself.
type claim struct {
	turns *turns
	used  atomic.Int64 // nanoseconds, over all its goroutines, since it began or was lifted
	lifts atomic.Int32 // how often it was

	lifted time.Time // last; guarded by turns.mu
}

func (q *turns) claim() *claim { return &claim{turns: q} }

// turn makes a turn for another goroutine of the statement.
func (c *claim) turn() *turn { return &turn{claim: c} }

// turn is one goroutine's part in its statement's claim. A nil turn, and one of
// no claim, waits for nobody.
type turn struct {
	claim *claim
	began time.Time
	holds bool

	// While it waits:
	level   int
	since   time.Time
	granted chan struct{} // has a buffer of one
}

func (t *turn) free() bool { return t == nil || t.claim == nil }

// levelAt is the statement's level if this turn ended now.
func (t *turn) levelAt(now time.Time) (level int) {
	used := time.Duration(t.claim.used.Load())
	if t.holds {
		used += now.Sub(t.began)
	}
	for up := levelTime; used >= up && level < levelMax; up *= levelTimes {
		if level == 1 && used < up<<min(t.claim.lifts.Load(), liftMax) {
			break
		}
		level++
	}
	return level
}

// begin takes a place and waits until there is one. It fails with the context's
// error, and takes none then.
func (t *turn) begin(ctx context.Context) error {
	if t.free() || t.holds {
		return nil
	}
	q := t.claim.turns
	q.mu.Lock()
	t.level = t.levelAt(time.Time{})
	if q.taken < q.places && q.first(t.level) == nil {
		q.taken++
		q.mu.Unlock()
		t.start()
		return nil
	}
	q.join(t)
	q.grant()
	q.mu.Unlock()
	return t.wait(ctx)
}

// end gives the place back.
func (t *turn) end() {
	if t.free() || !t.holds {
		return
	}
	t.stop()
	q := t.claim.turns
	q.mu.Lock()
	q.taken--
	q.grant()
	q.mu.Unlock()
}

// yield gives the place to somebody who has used less, or waits for a turn on
// the same level, and waits for the next one. To be called by whoever computes
// for long, every now and then.
func (t *turn) yield(ctx context.Context) error {
	if t.free() || !t.holds || !t.claim.turns.some.Load() {
		return ctx.Err()
	}
	now := time.Now()
	level := t.levelAt(now)
	if now.Sub(t.began) < slice {
		level-- // those of its own level have to wait
	}
	q := t.claim.turns
	q.mu.Lock()
	if q.first(level) == nil {
		q.mu.Unlock()
		return ctx.Err()
	}
	t.stop()
	t.level = t.levelAt(now)
	q.taken--
	q.join(t)
	q.grant()
	q.mu.Unlock()
	return t.wait(ctx)
}

func (t *turn) start() { t.began, t.holds = time.Now(), true }

func (t *turn) stop() {
	t.claim.used.Add(int64(time.Since(t.began)))
	t.holds = false
}

// wait waits until the turn is granted.
func (t *turn) wait(ctx context.Context) error {
	select {
	case <-t.granted:
		t.start()
		return nil
	case <-ctx.Done():
		if !t.claim.turns.leave(t) { // granted just now
			t.start()
			t.end()
		}
		return ctx.Err()
	}
}

// join puts a turn in the line. The caller holds mu.
func (q *turns) join(t *turn) {
	t.since, t.granted = time.Now(), make(chan struct{}, 1)
	q.waiting = append(q.waiting, t)
	if !q.some.Swap(true) {
		q.watch = time.AfterFunc(patience, q.look)
	}
}

// look has those who have waited long begin anew, and the first of all, if
// nobody gives way to it, beside those who hold the places.
func (q *turns) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, t := range q.waiting {
		if t.level == 0 || now.Sub(t.since) < liftAfter {
			continue
		}
		if t.level = 0; now.Sub(t.claim.lifted) >= liftAfter { // not just now for another of its goroutines
			t.claim.used.Store(0)
			t.claim.lifts.Add(1)
			t.claim.lifted = now
		}
	}
	if t := q.first(levelMax - 1); t != nil && now.Sub(t.since) >= patience && q.taken < placesMost*q.places {
		q.admit(t)
	}
	if len(q.waiting) > 0 {
		q.watch.Reset(patience)
	}
}

// first is who waits up to a level and comes first: the lowest level, and on it
// who has waited longest. The caller holds mu.
func (q *turns) first(level int) *turn {
	var first *turn
	for _, t := range q.waiting {
		if t.level <= level && (first == nil || t.level < first.level) {
			first = t
		}
	}
	return first
}

// grant gives free places to those who wait. The caller holds mu.
func (q *turns) grant() {
	for q.taken < q.places && len(q.waiting) > 0 {
		q.admit(q.first(levelMax))
	}
}

// admit gives a place to one who waits. The caller holds mu.
func (q *turns) admit(t *turn) {
	q.remove(t)
	q.taken++
	t.granted <- struct{}{}
}

// leave takes a turn out of the line, and reports whether it still stood there.
func (q *turns) leave(t *turn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.remove(t)
}

func (q *turns) remove(t *turn) bool {
	i := slices.Index(q.waiting, t)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if len(q.waiting) == 0 {
		q.some.Store(false)
		q.watch.Stop()
	}
	return true
}
