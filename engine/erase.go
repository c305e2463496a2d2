package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"wend/internal/seeded"
	"wend/storage"
)

// ErrErased says that a customer was erased while a statement ran, twice: its
// answer might have shown something of the customer.
var ErrErased = errors.New("a customer was erased while the statement ran; run it again")

// eraseGrace is how long a statement that runs when a customer is erased may
// go on. Most end by themselves within it; the others begin again, and where
// customers are erased all the time they end when they take longer. Five
// seconds after an erasure no statement of before is to run any more.
const eraseGrace = 4 * time.Second

// eraseLook is how often a DB that is open for reading looks for erasures of the
// process that writes. What it takes is taken from the grace.
const eraseLook = time.Second

// eras tells statements that began before an erasure from those after it.
type eras struct {
	mu    sync.Mutex
	grace time.Duration
	now   *era
}

// era is the time between two erasures.
type era struct {
	ctx context.Context // ends, with ErrErased, when what began in the era may not go on
	end context.CancelCauseFunc
}

func newEra() *era {
	ctx, end := context.WithCancelCause(context.Background())
	return &era{ctx, end}
}

func newEras(grace time.Duration) *eras { return &eras{grace: grace, now: newEra()} }

// wait is how long statements may go on after an erasure.
func (e *eras) wait() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.grace
}

func (e *eras) current() *era {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// Era is a context that ends, with ErrErased, some seconds after the next
// erasure: who then still passes on what was read before is to stop.
func (db *DB) Era() context.Context { return db.eras.current().ctx }

// Era is the DB's of when the answer's computing began.
func (res *Result) Era() context.Context {
	if res.era == nil {
		return context.Background()
	}
	return res.era.ctx
}

// next begins another era, and has the last one end after a while.
func (e *eras) next(after time.Duration, ended func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.now
	e.now = newEra()
	time.AfterFunc(after, func() {
		last.end(ErrErased)
		ended()
	})
}

// over reports whether a later era has begun: what was computed in this one is
// not kept.
func (e *eras) over(of *era) bool { return e.current() != of }

// Erase makes a customer, and every identity linked to it, disappear from all
// answers. When it returns that is durable; the bytes go from the disk soon
// after. Events that arrive under these names later count again.
func (db *DB) Erase(ctx context.Context, customer string) error {
	_, err := db.EraseWith(ctx, customer, storage.EraseOptions{})
	return err
}

// EraseWith is Erase with a say about later events, and a receipt.
func (db *DB) EraseWith(ctx context.Context, customer string, opt storage.EraseOptions) (storage.Receipt, error) {
	if err := db.begin(); err != nil {
		return storage.Receipt{}, err
	}
	defer db.running.Done()
	receipt, err := db.store.Erase(ctx, customer, opt)
	if err != nil {
		return receipt, err
	}
	db.erased(db.eras.wait())
	return receipt, nil
}

// erased has what began before an erasure end after a while, and forgets what
// was computed before it.
func (db *DB) erased(after time.Duration) {
	db.eras.next(after, func() { // again, when nobody is left who may put something of before into it
		if db.begin() == nil {
			db.results.clear()
			db.running.Done()
		}
	})
	if !seeded.On("cache_survives_erasure") {
		db.results.clear()
		db.models.clear()
	}
}

// followErasures does for erasures of another process what EraseWith does for
// those of this one, as long as the DB is open. last is the newest that is known.
// While it cannot look, there may be one: what began before ends when that has
// lasted as long as it may go on after an erasure; what begins cannot read, and
// says so.
func (db *DB) followErasures(last uint64) {
	defer db.following.Done()
	var failing time.Time // since when it cannot look; zero: it can
	ended := false        // what began before that
	tick := time.NewTicker(eraseLook)
	defer tick.Stop()
	for {
		select {
		case <-db.ctx.Done():
			return
		case <-tick.C:
		}
		err := shielded(func() error {
			now, err := db.store.LastErasure()
			if err == nil && now != last {
				last = now
				db.erased(db.eras.wait())
			}
			return err
		})
		if err == nil {
			failing, ended = time.Time{}, false
			continue
		}
		if failing.IsZero() {
			failing = time.Now()
			if bug := db.logBug("look for erasures", err); !bug && db.opt.Logger != nil {
				db.opt.Logger.Warn("look for erasures: what runs ends soon unless it can be done", "error", err)
			}
		}
		if !ended && time.Since(failing) >= db.eras.wait() {
			ended = true
			db.erased(0)
		}
	}
}

// Receipt tells how far an erasure is.
func (db *DB) Receipt(id string) (storage.Receipt, error) { return db.store.Receipt(id) }

// WaitErased returns the receipt of an erasure when it is done: no file of the
// store has a byte of the customer then.
func (db *DB) WaitErased(ctx context.Context, id string) (storage.Receipt, error) {
	const look = 50 * time.Millisecond
	for {
		r, err := db.store.Receipt(id)
		if err != nil || r.State == "done" {
			return r, err
		}
		if !db.opt.Storage.Background {
			if _, err := db.store.EraseStep(ctx); err != nil {
				return r, err
			}
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-db.ctx.Done():
			return r, storage.ErrClosed
		case <-time.After(look):
		}
	}
}
