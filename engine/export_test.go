package engine

import "strings"

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

// WithSpent has f told what the run took: bytes reserved at most, looks at the
// context inside of tiles, steps of automata.
func (o RunOptions) WithSpent(f func(bytes, checks, steps int64)) RunOptions {
	o.spent = func(s spent) { f(s.bytes, s.checks, s.steps) }
	return o
}

// ShareMemory is shareMemory.
func (opt *Options) ShareMemory(process int64) { opt.shareMemory(process) }
