package storage

import (
	"math/bits"
	"sync/atomic"

	"wend/event"
)

// loadTies tells the tie ranks of a load's rows, which keep the order of
// arrival among equal times of different customers. Within a batch the records
// have ranks; rows of a time that several batches have are raised by what the
// batches before may have given out. A time that comes back is often one that
// no other batch has: so as not to give it a rank that takes room, times
// are looked up, by hash, among those that occur more than once.
type loadTies struct {
	some      bool // there is a batch before
	last      event.Time
	latest    *loadBatch
	given     uint32 // ranks of the batches so far
	unordered bool   // a row came after one of a later time

	seen, again []uint64 // bits by hash of a time: it occurs; it does so twice
}

// batchRanks is what is added to the ranks of a batch.
type batchRanks struct {
	base        uint32
	first, last bool // the batch before, the one after have that time as well
}

// add takes note of the next batch.
func (t *loadTies) add(d *dealt, b *loadBatch) {
	b.ranked.base = t.given
	t.given += d.ranks
	if t.some && b.first == t.last {
		t.latest.ranked.last, b.ranked.first = true, true
	}
	t.unordered = t.unordered || !d.rising || t.some && b.first < t.last
	t.some, t.last, t.latest = true, b.last, b
}

// rank returns the tie rank of a row whose record has another.
func (t *loadTies) rank(b *loadBatch, time event.Time, rank uint32) uint32 {
	switch {
	case t.unordered:
		if cell := t.cell(time); t.again[cell>>6]>>(cell&63)&1 == 0 {
			return 0
		}
	case !(b.ranked.first && time == b.first || b.ranked.last && time == b.last):
		return rank
	}
	return b.ranked.base + rank
}

// begin readies t for looking at the times of some rows.
func (t *loadTies) begin(rows int64) {
	cells := min(max(bits.Len64(uint64(rows))+3, 10), 28)
	t.seen, t.again = make([]uint64, 1<<cells/64), make([]uint64, 1<<cells/64)
}

// look looks at the time of one row. It may be called by several goroutines at once.
func (t *loadTies) look(time event.Time) {
	cell := t.cell(time)
	bit := uint64(1) << (cell & 63)
	if atomic.OrUint64(&t.seen[cell>>6], bit)&bit != 0 && atomic.LoadUint64(&t.again[cell>>6])&bit == 0 {
		atomic.OrUint64(&t.again[cell>>6], bit)
	}
}

func (t *loadTies) cell(time event.Time) uint64 {
	return mix(0, uint64(time)) % (uint64(len(t.seen)) * 64)
}
