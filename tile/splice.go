package tile

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"wend/event"
)

// TimesSplicer makes one time column of rows of others, without their times: it
// moves frames to new bases and slots to new places. It is the memory for one
// column after the other.
type TimesSplicer struct {
	times   *Times
	sources []spliceSource
	limit   uint64   // of a slot
	bases   []uint32 // room for one a row
	ticks   []uint64 // of the sample

	row      int
	at       int    // whole bytes of the slots that are written
	pending  uint64 // bits behind them
	filled   uint   // how many, less than eight
	count    int    // the frame of the last row
	base     uint64 // where it begins, in ticks
	lastTick uint64 // of the last row
}

// spliceSource is a column that rows come from, as it is seen in units of the outcome.
type spliceSource struct {
	*Times
	origin uint64 // in ticks
	factor uint64 // ticks of the outcome in one
	alike  bool   // slots are what they are in the outcome
}

// SampleRows is how many rows tell enough of a column to choose its width.
const SampleRows = 2 * sampleRows

// Begin begins a column of a number of rows, which are rows of the sources. The
// sample is times of some rows that will follow each other, by which the width
// is chosen; SampleRows are enough.
func (s *TimesSplicer) Begin(sources []*Times, rows int, sample []event.Time) {
	*s = TimesSplicer{sources: s.sources[:0], bases: slices.Grow(s.bases[:0], rows)[:rows], ticks: s.ticks[:0], count: -1, lastTick: ^uint64(0)}
	t := &Times{Rows: rows, Anchors: NewBitmap(rows), Origin: event.MaxTime}
	s.times = t
	newest := event.MinTime
	for _, from := range sources {
		t.Origin, newest = min(t.Origin, from.Origin), max(newest, from.newest)
	}
	unit := uint64(0)
	for _, from := range sources {
		if from.newest > from.Origin { // a column of one time has no unit
			unit = gcd(uint64(from.Unit), unit)
		}
		unit = gcd(uint64(from.Origin-t.Origin), unit)
	}
	unit = max(unit, 1)
	t.Unit = int64(unit)
	for _, from := range sources {
		s.sources = append(s.sources, spliceSource{from, uint64(from.Origin-t.Origin) / unit, uint64(from.Unit) / unit, false})
	}
	ticks := uint64(max(newest, t.Origin)-t.Origin) / unit
	shift := max(0, bits.Len64(ticks)-baseBitsMax)
	shift = max(0, bits.Len64(ticks+1<<shift)-baseBitsMax) // with room to begin a little earlier
	t.Shift = uint8(shift)
	main := s.main(rows)
	if main != nil { // its bases shall be bases of the outcome
		if over := main.origin & (1<<shift - 1); over != 0 {
			t.Origin -= event.Time((1<<shift - over) * unit)
			for i := range s.sources {
				s.sources[i].origin += 1<<shift - over
			}
		}
	}
	rangeBits := bits.Len64(ticks + 1<<shift)
	t.Width = s.width(main, rangeBits, sample)
	s.limit = 1 << (t.Width & 63)
	for i := range s.sources {
		from := &s.sources[i]
		from.alike = from.factor == 1 && from.Width == t.Width && from.Shift == t.Shift && from.origin&(1<<t.Shift-1) == 0
	}
	t.Slots = make([]byte, SlotBytes(rows, t.Width))
}

// main returns the source that most rows are from, if one is.
func (s *TimesSplicer) main(rows int) *spliceSource {
	for i := range s.sources {
		if from := &s.sources[i]; 2*from.Rows > rows && from.factor == 1 {
			return from
		}
	}
	return nil
}

// width chooses the width of a slot: that of the main source, so that its slots
// stay what they are, or the best for the sample.
func (s *TimesSplicer) width(main *spliceSource, rangeBits int, sample []event.Time) uint8 {
	t := s.times
	if main != nil && main.Width >= t.Shift {
		return main.Width
	}
	if len(sample) == 0 {
		return t.Shift
	}
	for _, at := range sample {
		s.ticks = append(s.ticks, uint64(at-t.Origin)/uint64(t.Unit))
	}
	return uint8(chooseWidth(s.ticks, rangeBits, int(t.Shift)))
}

// Add appends n rows of a source, of one customer or several whole ones, and
// reports whether the first is at the time of the row before.
//
// Frames of the source become frames of the outcome, without a branch a frame.
// Only where a slot is too wide, because its source has wider ones or larger
// units, another frame opens.
func (s *TimesSplicer) Add(source, row, n int) (tied bool) {
	from, to := &s.sources[source], s.times
	origin, factor, limit := from.origin, from.factor, s.limit
	fromSlots, fromBases, fromAnchors := from.Slots, from.Bases, from.Anchors
	fromWidth, fromShift := uint(from.Width)&63, uint(from.Shift)&63
	slots, bases, anchors := to.Slots, s.bases, to.Anchors
	width, shift := uint(to.Width), uint(to.Shift)&63
	mask, low := uint64(1)<<fromWidth-1, uint64(1)<<shift-1

	flags := fromAnchors[row>>6]
	frame := int(from.rank[row>>6]) + bits.OnesCount64(flags<<(63-row&63)) - 1
	bit := uint(row) * fromWidth
	first := origin + (uint64(fromBases[frame])<<fromShift+binary.LittleEndian.Uint64(fromSlots[bit>>3:])>>(bit&7)&mask)*factor
	tied = first == s.lastTick
	if from.alike {
		s.copy(from, row, n, frame)
		return tied
	}
	// Rows from the midst of a frame on are a frame, too.
	frame--
	flags = flags>>(row&63) | 1

	base, count := s.base, s.count
	at, pending, filled := s.at, s.pending, s.filled
	tick := first
	for k := range n {
		if (row+k)&63 == 0 {
			flags = fromAnchors[(row+k)>>6]
			if k == 0 {
				flags |= 1
			}
		}
		opens := flags & 1
		flags >>= 1
		frame += int(opens)
		begin := origin + uint64(fromBases[frame])<<fromShift*factor
		base ^= (base ^ begin&^low) & -opens
		tick = begin + binary.LittleEndian.Uint64(fromSlots[bit>>3:])>>(bit&7)&mask*factor
		bit += fromWidth
		slot := tick - base
		if slot >= limit {
			base, opens = tick&^low, 1
			slot = tick - base
		}
		count += int(opens)
		bases[count] = uint32(base >> shift)
		anchors[(s.row+k)>>6] |= opens << ((s.row + k) & 63)
		pending |= slot << (filled & 7)
		binary.LittleEndian.PutUint64(slots[at:], pending)
		filled += width
		at += int(filled >> 3)
		pending >>= filled &^ 7 & 63
		filled &= 7
	}
	s.base, s.count, s.lastTick = base, count, tick
	s.at, s.pending, s.filled = at, pending, filled
	s.row += n
	return tied
}

// copy is Add of rows of a frame, and those behind it, whose slots stay what
// they are.
func (s *TimesSplicer) copy(from *spliceSource, row, n, frame int) {
	const step = 56 // bits at once
	to := s.times
	to.Anchors.Copy(s.row, from.Anchors, row, n)
	to.Anchors.Set(s.row) // of rows from the midst of a frame on, too
	end := row + n - 1
	last := int(from.rank[end>>6]) + bits.OnesCount64(from.Anchors[end>>6]<<(63-end&63)) - 1
	later := uint32(from.origin >> (to.Shift & 63))
	bases := s.bases[s.count+1:][:last+1-frame]
	for i, base := range from.Bases[frame : last+1] {
		bases[i] = base + later
	}
	s.count += len(bases)
	s.base = uint64(s.bases[s.count]) << (to.Shift & 63)

	width := int(to.Width)
	at, pending, filled := s.at, s.pending, s.filled
	for bit, behind := row*width, (end+1)*width; bit < behind; {
		some := min(step, behind-bit)
		word := binary.LittleEndian.Uint64(from.Slots[bit>>3:]) >> (bit & 7) & (1<<(some&63) - 1)
		bit += some
		pending |= word << (filled & 7)
		binary.LittleEndian.PutUint64(to.Slots[at:], pending)
		filled += uint(some)
		at += int(filled >> 3)
		pending >>= filled &^ 7 & 63
		filled &= 7
	}
	s.at, s.pending, s.filled = at, pending, filled
	bit := end * width
	s.lastTick = s.base + binary.LittleEndian.Uint64(from.Slots[bit>>3:])>>(bit&7)&(1<<(width&63)-1)
	s.row += n
}

// Times returns the column once all rows are there.
func (s *TimesSplicer) Times() *Times {
	t := s.times
	s.times = nil
	t.Bases = slices.Clone(s.bases[:s.count+1])
	t.Rank()
	return t
}
