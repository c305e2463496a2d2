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
