package tile

import "wend/event"

// NewTies marks the customers with two events at one time.
func NewTies(times []event.Time, starts []uint32) Bitmap {
	ties := NewBitmap(max(0, len(starts)-1))
	for c := 0; c+1 < len(starts); c++ {
		own := times[starts[c]:starts[c+1]]
		for i := 1; i < len(own); i++ {
			if own[i] == own[i-1] {
				ties.Set(c)
				break
			}
		}
	}
	return ties
}

// Tied clears ties of customers who have no two events at one time, and returns
// what Same does of the rest.
func (t *Times) Tied(starts []uint32, ties Bitmap) (same Bitmap) {
	same = t.Same(starts, ties)
	if same == nil {
		return nil
	}
	some := false
	for c := ties.Next(0, len(starts)-1); c < len(starts)-1; c = ties.Next(c+1, len(starts)-1) {
		if hi := int(starts[c+1]); same.Next(int(starts[c]), hi) == hi {
			ties.Clear(c)
		} else {
			some = true
		}
	}
	if !some {
		return nil
	}
	return same
}

// Same marks the rows at the time of the row before, if both are one
// customer's. Ties are the customers who have such rows; it is nil if none has.
func (t *Times) Same(starts []uint32, ties Bitmap) Bitmap {
	customers := len(starts) - 1
	c := ties.Next(0, customers)
	if c == customers {
		return nil
	}
	same := NewBitmap(t.Rows)
	var times [256]event.Time
	for ; c < customers; c = ties.Next(c+1, customers) {
		lo, hi := int(starts[c]), int(starts[c+1])
		for before := t.At(lo); lo+1 < hi; {
			some := times[:min(len(times), hi-lo-1)]
			t.Decode(lo+1, some)
			for i, at := range some {
				if at == before {
					same.Set(lo + 1 + i)
				}
				before = at
			}
			lo += len(some)
		}
	}
	return same
}
