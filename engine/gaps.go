package engine

import (
	"math"
	"math/bits"
	"slices"

	"wend/event"
)

// gapCounts knows enough of a lot of elapsed times to say where their median
// lies, in memory that does not grow with them: the first few as they are,
// more than those only by magnitude.
type gapCounts struct {
	few    []event.Duration
	counts *[magnitudes]uint32
	n      int64
}

const (
	fewGaps = 64

	// Magnitudes divide each power of two into eight; below 16 µs every value
	// is a magnitude of its own.
	magnitudeBits = 3
	magnitudes    = 16 + (63-4)<<magnitudeBits
	gapCountBytes = magnitudes * 4
)

func magnitude(d event.Duration) int {
	if d < 16 {
		return max(0, int(d))
	}
	e := bits.Len64(uint64(d)) - 1 // 4…62
	return 16 + (e-4)<<magnitudeBits + int(uint64(d)>>(e-magnitudeBits)&(1<<magnitudeBits-1))
}

// magnitudeStart returns the least value of a magnitude.
func magnitudeStart(m int) event.Duration {
	if m < 16 {
		return event.Duration(m)
	}
	m -= 16
	e := m>>magnitudeBits + 4
	if e > 62 {
		return math.MaxInt64
	}
	return event.Duration(1)<<e | event.Duration(m&(1<<magnitudeBits-1))<<(e-magnitudeBits)
}

func (g *gapCounts) add(d event.Duration, memory *ration) error {
	if g.n++; g.counts == nil {
		if len(g.few) < fewGaps {
			if len(g.few) == cap(g.few) {
				if err := memory.take(max(32, 8*int64(len(g.few)))); err != nil {
					return err
				}
			}
			g.few = append(g.few, d)
			return nil
		}
		if err := memory.take(gapCountBytes); err != nil {
			return err
		}
		g.spread()
	}
	g.counts[magnitude(d)]++
	return nil
}

// spread goes over from a few values to magnitudes.
func (g *gapCounts) spread() {
	g.counts = new([magnitudes]uint32)
	for _, d := range g.few {
		g.counts[magnitude(d)]++
	}
	g.few = nil
}

// merge adds what another worker counted. It may take its memory over.
func (g *gapCounts) merge(o *gapCounts) {
	g.n += o.n
	switch {
	case o.counts == nil && g.counts == nil && len(g.few)+len(o.few) <= 4*fewGaps:
		g.few = append(g.few, o.few...)
		return
	case g.counts == nil && o.counts != nil:
		few := g.few
		g.counts, g.few = o.counts, nil
		for _, d := range few {
			g.counts[magnitude(d)]++
		}
		return
	case g.counts == nil:
		g.spread()
	}
	for _, d := range o.few {
		g.counts[magnitude(d)]++
	}
	if o.counts != nil {
		for m, n := range o.counts {
			g.counts[m] += n
		}
	}
}

// median returns the median in milliseconds, if the counts tell it.
func (g *gapCounts) median() (Cell, bool) {
	if g.counts == nil {
		return medianOf(g.few), true
	}
	r := g.medianRange()
	if r.to-r.from == 1 { // one value, however often
		return r.from.Milliseconds(), true
	}
	return nil, false
}

// medianOf returns the median of elapsed times in milliseconds, null over nothing.
func medianOf(parts ...[]event.Duration) Cell {
	if m, ok := quantile(0.5, parts...); ok {
		return m / float64(event.Millisecond)
	}
	return nil
}

// gapRange is where a median lies: among the values in [from, to), of which the
// wanted ones have ranks low and high.
type gapRange struct {
	from, to  event.Duration
	low, high int64
}

func (r *gapRange) empty() bool                 { return r.to == 0 }
func (r *gapRange) holds(d event.Duration) bool { return d >= r.from && d < r.to }

func (g *gapCounts) medianRange() gapRange {
	low, high := (g.n-1)/2, g.n/2
	var before int64
	r := gapRange{from: -1}
	var skipped int64
	for m, n := range g.counts {
		next := before + int64(n)
		if r.from < 0 && low < next {
			r.from, skipped = magnitudeStart(m), before
		}
		if high < next {
			r.to = magnitudeStart(m + 1)
			break
		}
		before = next
	}
	r.low, r.high = low-skipped, high-skipped
	return r
}

// median returns the median, in milliseconds, given all values in the range.
func (r *gapRange) median(values []event.Duration) Cell {
	a := selectRank(values, int(r.low))
	b := a
	if r.high > r.low {
		b = slices.Min(values[r.high:])
	}
	return (float64(a) + (float64(b)-float64(a))/2) / float64(event.Millisecond)
}
