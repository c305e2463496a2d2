package tile

import "wend/event"

// Times is the time column.
type Times struct {
	raw []event.Time
}

// NewTimes encodes the times of a tile's rows; starts are the tile's customer starts.
func NewTimes(times []event.Time, starts []uint32) *Times { return &Times{raw: times} }

// At returns row i's time.
func (t *Times) At(i int) event.Time { return t.raw[i] }

// Decode writes the times of rows [lo, lo+len(dst)) to dst.
func (t *Times) Decode(lo int, dst []event.Time) { copy(dst, t.raw[lo:]) }
