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

func newEras() *eras { return &eras{grace: eraseGrace, now: newEra()} }

func (e *eras) current() *era {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// next begins another era, and has the last one end in a moment.
func (e *eras) next(ended func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.now
	e.now = newEra()
	time.AfterFunc(e.grace, func() {
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
	db.eras.next(func() { // again, when nobody is left who may put something of before into it
		if db.begin() == nil {
			db.results.clear()
			db.running.Done()
		}
	})
	if !seeded.On("cache_survives_erasure") {
		db.results.clear()
		db.models.clear()
	}
	return receipt, nil
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
