package engine

import "wend/tile"

// flatPairs counts pairs without a loop for each unit: over all rows of a tile
// at once, after which the pairs that lie across two customers are taken off.
// It serves the plain statement over events or channels, whose codes are bytes.
type flatPairs struct {
	counts []uint32 // by source<<bits | target, over one tile
	total  []int64
	codes  []byte
}

// flatBits is the width of codes up to which the table of pairs stays small
// enough for a cache.
const flatBits = 7

// fits reports whether a tile can be counted flat.
func (f *flatPairs) fits(w *transitionsWorker, v *view) bool {
	p := w.r.plan
	if v.rows != nil || v.members != nil || p.During.Set || p.WithTimes || p.Collapse || p.Unit.Session || !w.grouping.whole() || len(w.labels.coders) != 1 {
		return false
	}
	column := f.column(w, v)
	return column != nil && column.Bits <= flatBits && v.Rows > 0
}

func (f *flatPairs) column(w *transitionsWorker, v *view) *tile.Codes {
	switch w.labels.coders[0].kind {
	case eventField:
		return v.Event
	case channelField:
		return v.Channel
	}
	return nil
}

func (f *flatPairs) visit(w *transitionsWorker, v *view) {
	if f.counts == nil {
		f.counts, f.total = make([]uint32, 1<<(2*flatBits)), make([]int64, 1<<(2*flatBits))
	}
	if cap(f.codes) < v.Rows {
		f.codes = make([]byte, v.Rows+v.Rows/4)
	}
	codes := f.codes[:v.Rows]
	f.column(w, v).Decode8(0, codes)
	counts := (*[1 << (2 * flatBits)]uint32)(f.counts)
	const mask = 1<<(2*flatBits) - 1
	key := uint(codes[0])
	for _, code := range codes[1:] {
		key = key<<flatBits | uint(code)
		counts[key&mask]++
	}
	// Customers without rows share their start with the next.
	before := uint32(0)
	for _, start := range v.Starts {
		if start > before && int(start) < v.Rows {
			counts[uint(codes[start-1])<<flatBits|uint(codes[start])]--
		}
		before = max(before, start)
	}
	for k, n := range f.counts {
		f.total[k] += int64(n)
	}
	clear(f.counts)
}

// finish hands the counts on to the worker's pairs.
func (f *flatPairs) finish(w *transitionsWorker) error {
	c := w.labels.coders[0]
	for key, n := range f.total {
		if n == 0 {
			continue
		}
		source, err := c.schemaCode(uint32(key >> flatBits))
		if err != nil {
			return err
		}
		target, err := c.schemaCode(uint32(key & (1<<flatBits - 1)))
		if err != nil {
			return err
		}
		pair, err := w.pair(0, source, target)
		if err != nil {
			return err
		}
		w.counts[pair] += n
	}
	return nil
}
