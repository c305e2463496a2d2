package storage

import (
	"math"

	"wend/event"
	"wend/tile"
)

// timeslice is what of a snapshot's times a tile has to have. Partitions are
// wide, so that a customer's events lie together; a statement about a few
// months reads a tile of just those, which is made once and kept like others.
type timeslice struct {
	from, to event.Time // whole months, to exclusive; both zero: all times
	rows     bool       // rows outside are left out, not just sources that lie outside
}

// slice returns the months that cover the times of a need, if it is worth it to
// leave out the rest: a tile of its own takes room and work, so it has to leave
// out at least half. Nobody counts the rows of a month beforehand; they are
// taken to be spread evenly over the times of their source.
func (s *Snapshot) slice(need tile.Need) timeslice {
	if need.From == 0 && need.To == 0 {
		return timeslice{}
	}
	t := monthsOf(need.From, need.To)
	inside, met := 0.0, 0.0
	for _, src := range s.sources {
		if t.meets(src) {
			rows := float64(src.seg.Rows - src.undone)
			met += rows
			inside += rows * t.share(src)
		}
	}
	all := float64(s.rows)
	if 2*inside > all {
		return timeslice{}
	}
	t.rows = 2*met > all || 2*inside <= met
	return t
}

// monthsOf returns the calendar months that cover [from, to).
func monthsOf(from, to event.Time) timeslice {
	t := timeslice{from: math.MinInt64, to: math.MaxInt64}
	if from > event.MinTime {
		_, t.from, _ = partitionOf(widthMonth, from)
	}
	if to <= event.MaxTime {
		_, _, t.to = partitionOf(widthMonth, max(to-1, event.MinTime))
	}
	return t
}

func (t timeslice) all() bool { return t.from == 0 && t.to == 0 }

// meets reports whether a source may have rows of the slice.
func (t timeslice) meets(src *source) bool {
	if src.seg.Rows == src.undone {
		return false
	}
	return t.all() || src.seg.MaxTime >= t.from && src.seg.MinTime < t.to
}

// holds reports whether the slice has all rows of a source.
func (t timeslice) holds(src *source) bool {
	return src.seg.MinTime >= t.from && src.seg.MaxTime < t.to
}

// share is how much of a source that it meets the slice has, about.
func (t timeslice) share(src *source) float64 {
	if t.holds(src) {
		return 1
	}
	from, to := float64(src.seg.MinTime), float64(src.seg.MaxTime)
	return max(0, min(to, float64(t.to))-max(from, float64(t.from))) / (to - from)
}

// cuts reports whether rows of the blocks have to be left out.
func (t timeslice) cuts(blocks []*tileBlock) bool {
	if !t.rows {
		return false
	}
	for _, b := range blocks {
		if !t.holds(b.src) {
			return true
		}
	}
	return false
}

// drop marks the rows outside of the slice, besides those that are marked.
func (t timeslice) drop(dropped tile.Bitmap, times []event.Time) tile.Bitmap {
	if dropped == nil {
		dropped = tile.NewBitmap(len(times))
	}
	for row, at := range times {
		if at < t.from || at >= t.to {
			dropped.Set(row)
		}
	}
	return dropped
}

// alone reports whether the tile is one block, of which just what lies outside
// of a span of times is left out.
func (m *tileMerge) alone() bool {
	if len(m.blocks) != 1 || len(m.linked) > 0 {
		return false
	}
	src, index := m.blocks[0].src, m.blocks[0].index
	return src.seg.PrefixBits == m.snap.bits && src.seg.held == nil && src.drop == nil && len(src.mask.of(index)) == 0
}

// cutOne is merge of such a tile. A customer's rows are in order of time, so that
// what is left of them is one stretch, and the frames of the time column tell
// which, 64 rows at a time: no names are read, and no times decoded.
func (m *tileMerge) cutOne() (*hotTile, error) {
	b, h := m.blocks[0], &hotTile{layout: layout{key: m.key(), shared: m.cut}}
	read, err := m.snap.cache.read(b, m.cut || m.snap.growing)
	if err != nil {
		return nil, err
	}
	from, to := event.Time(math.MinInt64), event.Time(math.MaxInt64)
	if h.blocks = []*tileBlock{read.slim()}; m.cut {
		h.blocks[0], m.read = b, []*tileBlock{read}
		from, to = m.slice.from, m.slice.to
	}
	if b.aged() {
		from = max(from, b.src.aged.before)
	}
	n, firsts := b.Rows(), tile.NewFirsts(read.Starts)
	inside, later := tile.NewBitmap(n), tile.NewBitmap(n)
	read.Time.Since(from, firsts, inside)
	if to <= b.src.seg.Stats(b.index).MaxTime {
		read.Time.Since(to, firsts, later)
		inside.AndNot(later)
	}

	h.rows.list = m.list[:0]
	tied, customer, rows := m.tied[:0], 0, uint32(0)
	for lo := inside.Next(0, n); lo < n; {
		hi := inside.NextNot(lo, n)
		h.rows.add(0, uint32(lo), uint32(hi-lo))
		for int(read.Starts[customer+1]) <= lo {
			customer++
		}
		for at := lo; at < hi; customer++ {
			if read.Ties.Get(customer) {
				tied = append(tied, uint32(len(h.who)))
			}
			h.starts = append(h.starts, rows)
			h.who = append(h.who, identity{0, uint32(customer)})
			end := min(hi, int(read.Starts[customer+1]))
			rows += uint32(end - at)
			at = end
		}
		lo = inside.Next(hi, n)
	}
	h.starts = append(h.starts, rows)
	m.tied, m.list = tied, h.rows.list
	m.encode(h, nil, []*tileBlock{read})
	return h, nil
}
