package tile

import (
	"math/bits"
	"slices"
	"sort"

	"wend/event"
)

// NewFirsts marks the first row of every customer who has one.
func NewFirsts(starts []uint32) Bitmap {
	rows := starts[len(starts)-1]
	firsts := NewBitmap(int(rows))
	for _, start := range starts {
		if start < rows {
			firsts.Set(int(start))
		}
	}
	return firsts
}

// After sets dst to the rows of y behind the first row of x of their customer,
// each up to the next of the stops, at which a customer's first row must be: one
// addition for 64 rows, whose carry runs on until it meets a stop.
func (x Bitmap) After(stops, y, dst Bitmap) {
	var above, carry uint64 // the word before: its last row, and whether the run goes on
	stops, y, dst = stops[:len(x)], y[:len(x)], dst[:len(x)]
	for i, word := range x {
		begin := (word<<1 | above) &^ stops[i]
		above = word >> 63
		run := ^stops[i] | begin
		var sum uint64
		sum, carry = bits.Add64(run, begin, carry)
		dst[i] = (run&^sum | begin) & y[i]
	}
}

// Heads leaves in dst each customer's first row of x, and returns how many
// customers have one. Firsts are their first rows. x and dst may be one.
func (x Bitmap) Heads(firsts, dst Bitmap) int {
	var above, carry uint64
	n := 0
	firsts, dst = firsts[:len(x)], dst[:len(x)]
	for i, word := range x {
		begin := (word<<1 | above) &^ firsts[i]
		above = word >> 63
		run := ^firsts[i] | begin
		var sum uint64
		sum, carry = bits.Add64(run, begin, carry)
		head := word &^ (run&^sum | begin)
		n += bits.OnesCount64(head)
		dst[i] = head
	}
	return n
}

// List writes the set bits to list, which has room for them.
func (b Bitmap) List(list []uint32) {
	n := 0
	for at, word := range b {
		for ; word != 0; word &= word - 1 {
			list[n] = uint32(at<<6 + bits.TrailingZeros64(word))
			n++
		}
	}
}

// Since sets dst, which comes empty, to the rows at a time or later, of times
// that never decrease within a customer. Firsts are the customers' first rows.
//
// A frame's base tells for all of its rows at once, unless the time lies in the
// midst of it. Marked are the frames that begin at the time or later; what
// comes behind a mark is later, too.
func (t *Times) Since(at event.Time, firsts, dst Bitmap) {
	begin, within := t.framesAt(at)
	next := 0 // base
	var carry uint64
	for w, left := range t.Anchors {
		marks := dst[w]
		for ; left != 0; left &= left - 1 {
			base := uint64(t.Bases[next])
			next++
			mark := uint64(0)
			if base >= begin {
				mark = left & -left
			}
			marks |= mark
			if base-within < begin-within {
				if row := t.search(at, w<<6+bits.TrailingZeros64(left)); row>>6 == w {
					marks |= 1 << (row & 63)
				} else if row < t.Rows {
					dst.Set(row)
				}
			}
		}
		run := ^firsts[w] | marks
		var sum uint64
		sum, carry = bits.Add64(run, marks, carry)
		dst[w] = run&^sum | marks
	}
	dst.trim(t.Rows)
}

// Between sets dst, which comes empty, to the rows of x at the time from or
// later, but before to. As in Since, bases tell of most rows.
func (t *Times) Between(from, to event.Time, x, dst Bitmap) {
	fromBegin, fromWithin := t.framesAt(from)
	toBegin, toWithin := t.framesAt(to)
	within := max(fromBegin, toWithin) - fromBegin // bases that tell a row to be in the range
	anchors, bases := t.Anchors, t.Bases
	rank, dst := t.rank[:len(x)], dst[:len(x)]
	for w, left := range x {
		if left == 0 {
			continue
		}
		flags, before := anchors[w], rank[w]
		rows := uint64(0)
		for ; left != 0; left &= left - 1 {
			row := left & -left
			base := uint64(bases[before+uint32(bits.OnesCount64(flags&(row<<1-1)))-1])
			in := uint64(0)
			if base-fromBegin < within {
				in = row
			}
			if base-fromWithin < fromBegin-fromWithin || base-toWithin < toBegin-toWithin {
				if at := t.At(w<<6 + bits.TrailingZeros64(row)); at >= from && at < to {
					in = row
				}
			}
			rows |= in
		}
		dst[w] = rows
	}
}

// LastBases returns the base of the frame that every customer's last row is in;
// 0 for those without rows.
func (t *Times) LastBases(starts []uint32) []uint32 {
	lasts := make([]uint32, len(starts)-1)
	for c := range lasts {
		if lo, hi := starts[c], starts[c+1]; lo < hi {
			at, bit := (hi-1)>>6, (hi-1)&63
			lasts[c] = t.Bases[t.rank[at]+uint32(bits.OnesCount64(t.Anchors[at]<<(63-bit)))-1]
		}
	}
	return lasts
}

// MayBeSince appends the customers whose last rows may be at a time or later to
// a list; lasts are their last bases. A few of them are not.
func (t *Times) MayBeSince(at event.Time, lasts, list []uint32) []uint32 {
	_, within := t.framesAt(at)
	list = slices.Grow(list, len(lasts))
	n := len(list)
	list = list[:n+len(lasts)]
	for c, base := range lasts {
		list[n] = uint32(c)
		if uint64(base) >= within {
			n++
		}
	}
	return list[:n]
}

// framesAt returns the least base of the frames that begin at a time or later,
// and the least of those that may have rows then.
func (t *Times) framesAt(at event.Time) (begin, within uint64) {
	if at <= t.Origin {
		return 0, 0
	}
	tick := (uint64(at)-uint64(t.Origin)-1)/uint64(t.Unit) + 1
	begin = (tick-1)>>(t.Shift&63) + 1
	if longest := uint64(1)<<(t.Width&63) - 1; tick > longest {
		within = (tick-longest-1)>>(t.Shift&63) + 1
	}
	return begin, within
}

// search returns the first row at a time or later of the frame that begins at a
// row; the row behind the column if it has none.
func (t *Times) search(at event.Time, row int) int {
	end := t.Anchors.Next(row+1, t.Rows)
	if found := row + sort.Search(end-row, func(k int) bool { return t.At(row+k) >= at }); found < end {
		return found
	}
	return t.Rows
}

// stops are rows that come more than so long after the row before.
type stops struct {
	longest event.Duration
	rows    Bitmap
}

// Stops returns the customers' first rows, firsts, and rows that come more than
// so long after the row before, some of them: those that two bases tell. Nobody
// may change what it returns: it is kept until somebody asks for another length,
// as it takes longer to find than to use, and most ask for one again.
func (t *Times) Stops(longest event.Duration, firsts Bitmap) Bitmap {
	if kept := t.stops.Load(); kept != nil && kept.longest == longest {
		return kept.rows
	}
	ticks := uint64(min(max(longest, 0), 1<<62)) / uint64(t.Unit)
	least := int64((ticks+uint64(1)<<(t.Width&63)-1)>>(t.Shift&63)) + 1 // between two bases
	rows := make(Bitmap, len(t.Anchors))
	bases, next := t.Bases, 0
	before := int64(0)
	for w, left := range t.Anchors {
		gaps := firsts[w]
		for ; left != 0; left &= left - 1 {
			base := int64(bases[next])
			next++
			gap := uint64(0)
			if base-before >= least {
				gap = left & -left
			}
			gaps |= gap
			before = base
		}
		rows[w] = gaps
	}
	t.stops.Store(&stops{longest: longest, rows: rows})
	return rows
}

// trim clears the bits from n on.
func (b Bitmap) trim(n int) {
	if n&63 != 0 {
		b[len(b)-1] &= 1<<(n&63) - 1
	}
}
