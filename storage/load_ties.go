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

	filters [2]timeFilter // a time that occurs twice does so in both; of the others few do
}

// timeFilter tells by a hash which times may occur more than once, as a Bloom
// filter does (Bloom, "Space/time trade-offs in hash coding with allowable
// errors", 1970).
type timeFilter struct{ seen, again []uint64 }

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
		if !t.twice(time) {
			return 0
		}
	case !(b.ranked.first && time == b.first || b.ranked.last && time == b.last):
		return rank
	}
	return b.ranked.base + rank
}

// begin readies t for looking at the times of some rows: there are at least
// sixteen cells for each, unless there are more than fit 128 MiB.
func (t *loadTies) begin(rows int64) {
	cells := min(max(bits.Len64(uint64(rows))+4, 10), 28)
	for i := range t.filters {
		t.filters[i] = timeFilter{make([]uint64, 1<<cells/64), make([]uint64, 1<<cells/64)}
	}
}

// look looks at the time of one row. It may be called by several goroutines at once.
func (t *loadTies) look(time event.Time) {
	for i, cell := range timeHashes(time) {
		f := &t.filters[i]
		cell %= uint64(len(f.seen)) * 64
		bit := uint64(1) << (cell & 63)
		if atomic.OrUint64(&f.seen[cell>>6], bit)&bit != 0 && atomic.LoadUint64(&f.again[cell>>6])&bit == 0 {
			atomic.OrUint64(&f.again[cell>>6], bit)
		}
	}
}

// twice reports whether a time may occur more than once; false is certain.
func (t *loadTies) twice(time event.Time) bool {
	for i, cell := range timeHashes(time) {
		f := &t.filters[i]
		cell %= uint64(len(f.again)) * 64
		if f.again[cell>>6]>>(cell&63)&1 == 0 {
			return false
		}
	}
	return true
}

func timeHashes(time event.Time) [2]uint64 {
	high, low := bits.Mul64(uint64(time)^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	h := high ^ low
	return [2]uint64{h >> 32, fold(h, timeSeed) >> 32}
}
