package engine

import (
	"strings"
	"time"
)

// Waiting counts who waits for a running query of this canonical text.
func (db *DB) Waiting(text string) int {
	db.flights.mu.Lock()
	defer db.flights.mu.Unlock()
	n := 0
	for key, fl := range db.flights.running {
		if strings.Contains(key, "\x00"+text) {
			n += fl.waiting
		}
	}
	return n
}

// LearnNext waits until the models that are being made are there.
func (db *DB) LearnNext() { db.running.Wait() }

// KeptNext counts the models that are there.
func (db *DB) KeptNext() (n int) {
	db.models.mu.Lock()
	defer db.models.mu.Unlock()
	for _, k := range db.models.kept {
		if k.model != nil {
			n++
		}
	}
	return n
}

// SetModelClock has models age by another clock.
func (db *DB) SetModelClock(now func() time.Time) { db.models.now = now }

// WithLooked has f called whenever the run looks at the context between scans.
func (o RunOptions) WithLooked(f func()) RunOptions {
	o.looked = f
	return o
}

// WithSpent has f told what the run took: bytes reserved at most, looks at the
// context inside of tiles, steps of automata.
func (o RunOptions) WithSpent(f func(bytes, checks, steps int64)) RunOptions {
	o.spent = func(s spent) { f(s.bytes, s.checks, s.steps) }
	return o
}

// ShareMemory is shareMemory.
func (opt *Options) ShareMemory(process int64) { opt.shareMemory(process) }

// EraseAtOnce has statements that run when a customer is erased end at once.
// The channel is closed when those of now may not go on.
func (db *DB) EraseAtOnce() <-chan struct{} {
	db.eras.mu.Lock()
	db.eras.grace = 0
	db.eras.mu.Unlock()
	return db.eras.current().ctx.Done()
}
