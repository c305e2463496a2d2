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

// WithPeak has f told what the run had reserved at most.
func (o RunOptions) WithPeak(f func(bytes int64)) RunOptions {
	o.peak = f
	return o
}

// ShareMemory is shareMemory.
func (opt *Options) ShareMemory(process int64) { opt.shareMemory(process) }
