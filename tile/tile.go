// Package tile is the one in-memory shape in which journeys reach the
// operators: about two thousand customers, each with all events in order,
// column by column, still encoded.
//
// storage builds tiles, engine reads them; neither needs to know the other's
// side. Rows of a customer are ordered by time, then arrival. A tile does not
// change once it is built and may be shared between goroutines.
package tile

import "wend/event"

// Tile holds the journeys of some customers.
type Tile struct {
	Rows    int
	Starts  []uint32  // customer c owns rows Starts[c] to Starts[c+1]; one entry more than customers
	Firsts  Bitmap    // first rows of the customers who have rows
	Names   *Strings  // canonical name of each customer; nil unless needed
	Event   *Codes    // index into Schema.Events
	Time    *Times    // never decreasing within a customer
	Lasts   []uint32  // the base of each customer's last row (Times.LastBases)
	Ties    Bitmap    // customers with two events at one time
	Same    Bitmap    // rows at the time of the customer's row before; nil if there are none
	Channel *Codes    // index into Schema.Channels, 0 is absent; nil unless needed
	IDs     *Column   // the source's own event ids, null where it gave none; nil unless needed
	Columns []*Column // by index into Schema.Properties; nil unless needed, or if no row has a value
}

// Need says which columns of a tile a caller will read. Customers, events and
// times are always there.
type Need struct {
	Names      bool
	Channel    bool
	IDs        bool
	Properties []int // indexes into Schema.Properties

	// From and To bound the times that matter, To exclusive; both zero means all.
	// Rows outside may be left out (other months are, where that is much) or not: the caller
	// still compares times. Customers without rows may then be missing.
	From, To event.Time
}

// Customers returns the number of customers, with or without rows.
func (t *Tile) Customers() int { return len(t.Starts) - 1 }

// Range returns the rows [lo, hi) of customer c.
func (t *Tile) Range(c int) (lo, hi int) { return int(t.Starts[c]), int(t.Starts[c+1]) }
