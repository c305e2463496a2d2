package engine

import (
	"wend/event"
	"wend/tile"
)

// masks finds the attempts of a pattern whose steps follow one another within
// the window, and no more is asked of them: no machine, only bits.
//
// In a journey whose times all differ, the order of its rows is the order of
// its events. The rows that fulfil a step are bits of a bitmap, so how far the
// journey can get at most, whatever the times are, is told by looking for the
// lowest bit of each step above that of the step before. Most journeys have no
// entry, or nothing above it, and are done with then. For the others a few
// times decide; which ones, seek says.
type masks struct {
	steps   []tile.Bitmap // rows that fulfil each step; of the first, those that during selects
	words   []uint64      // the same, those of all steps for 64 rows side by side
	entered []uint32      // customers with an entry, and nothing that could be a second step
	deeper  []uint32      // customers that may get further
	tied    []uint32      // customers with an entry whose rows need not be in the order of steps
	time    event.Time    // of seek's entry
}

// longJourney is from how many rows on a journey has no mask of its own.
const longJourney = 64

// maskable reports whether bits and times alone decide the pattern.
func (p *pattern) maskable() bool {
	plan := p.run.plan
	for _, bound := range p.bounds {
		if bound >= 0 {
			return false
		}
	}
	return !p.run.opt.General && !p.anyOrder && p.next == 0 && p.excluded == 0 && p.count == countUnits &&
		!plan.Unit.Session && !plan.EntryFirst && plan.Holding == "" && plan.Every == ""
}

// visitMasks finds the attempts of all customers of a tile.
func (t *tracker) visitMasks(v *view) error {
	m := &t.masks
	m.steps = append(m.steps[:0], t.stepRows...)
	if d := &t.run.plan.During; d.Set {
		m.steps[0] = v.bitmap(v.Rows)
		for row := t.stepRows[0].Next(0, v.Rows); row < v.Rows; row = t.stepRows[0].Next(row+1, v.Rows) {
			if at := v.Time.At(row); at >= d.From && at < d.To {
				m.steps[0].Set(row)
			}
		}
	}
	t.classify(v)
	for w, window := range t.windows {
		t.found.window = w
		for _, c := range m.entered {
			if err := t.emitEntry(v, int(c), window); err != nil {
				return err
			}
		}
		for _, c := range m.deeper {
			lo, hi := v.Range(int(c))
			level := t.seek(v, lo, hi, window)
			if err := t.emitFound(v, int(c), level, window); err != nil {
				return err
			}
			if err := v.tick(hi - lo); err != nil {
				return err
			}
		}
	}
	for _, c := range m.tied {
		lo, hi := v.extent(int(c))
		if err := t.visitUnit(v, unit{customer: int(c), lo: lo, hi: hi}); err != nil {
			return err
		}
	}
	return nil
}

// classify deals the customers out by how far they may get.
func (t *tracker) classify(v *view) {
	m := &t.masks
	n := len(m.steps)
	second := min(1, n-1)
	m.interleave(v.Rows)
	customers := v.Customers()
	m.entered, m.deeper, m.tied = grown(m.entered, customers), grown(m.deeper, customers), m.tied[:0]
	entered, deeper := 0, 0
	for c := range customers {
		lo, hi := v.Range(c)
		var x, y uint64
		if hi-lo <= longJourney {
			at, shift, left := lo>>6*n, lo&63, 63-lo&63
			own := ^uint64(0) >> (longJourney - (hi - lo))
			if hi == lo {
				continue
			}
			x = (m.words[at]>>shift | m.words[at+n]<<1<<left) & own
			y = (m.words[at+second]>>shift | m.words[at+n+second]<<1<<left) & own
			y &= -(x & -x << 1)
		} else if first := m.steps[0].Next(lo, hi); first < hi {
			x = 1
			if n > 1 && m.steps[1].Next(first+1, hi) < hi {
				y = 1
			}
		}
		if n == 1 {
			y = 0
		}
		m.entered[entered], m.deeper[deeper] = uint32(c), uint32(c)
		some, more := 0, 0
		if x != 0 {
			some = 1
		}
		if x != 0 && y != 0 {
			more = 1
		}
		entered += some &^ more
		deeper += more
	}
	m.entered, m.deeper = m.entered[:entered], m.deeper[:deeper]
	m.setApart(t, v)
}

// setApart moves the customers that bits cannot decide, and drops those that
// are not in the cohort.
func (m *masks) setApart(t *tracker, v *view) {
	ties := !t.run.plan.TiesArrival && v.Ties.Next(0, v.Customers()) < v.Customers()
	if !ties && v.members == nil {
		return
	}
	for _, list := range []*[]uint32{&m.entered, &m.deeper} {
		kept := (*list)[:0]
		for _, c := range *list {
			switch {
			case !v.member(int(c)):
			case ties && v.Ties.Get(int(c)):
				m.tied = append(m.tied, c)
			default:
				kept = append(kept, c)
			}
		}
		*list = kept
	}
}

func grown(list []uint32, n int) []uint32 {
	if cap(list) < n {
		return make([]uint32, n+n/4)
	}
	return list[:cap(list)]
}

// interleave lays the words of all steps side by side, with a group of zeros
// behind the last.
func (m *masks) interleave(rows int) {
	n := len(m.steps)
	size := ((rows+63)/64 + 1) * n
	if cap(m.words) < size {
		m.words = make([]uint64, size+size/4)
	}
	m.words = m.words[:size]
	for k, step := range m.steps {
		for at, w := range step {
			m.words[at*n+k] = w
		}
	}
	clear(m.words[size-n:])
}

// seek finds the level of the journey in rows [lo, hi), and leaves the rows of
// the attempt that is reported in found.rows, the entry's time in masks.time.
// It knows that the journey has an entry and something above it.
//
// The best entry for an event of a later step is found backwards, by the last
// bit of each step before: if that one is too early, all are. Forwards it
// looks for the first conversion, and where there is none, backwards for the
// last event of each level. No stretch of rows is searched more than twice.
func (t *tracker) seek(v *view, lo, hi int, window event.Duration) (level int) {
	steps, rows := t.masks.steps, &t.found.rows
	last := len(steps) - 1
	most := last - 1 // step that may be reached without conversion
	first := steps[0].Next(lo, hi)
	for entry := first; entry < hi; entry = steps[0].Next(rows[0]+1, hi) {
		row, k := entry, 1
		for ; k <= last; k++ {
			if row = steps[k].Next(row+1, hi); row == hi {
				break
			}
		}
		if k <= last {
			if entry == first {
				most = k - 1
			}
			break
		}
		rows[last] = row
		for k = last - 1; k >= 0; k-- {
			rows[k] = steps[k].Last(entry, rows[k+1])
		}
		t.masks.time = v.Time.At(rows[0])
		if v.Time.At(row).Sub(t.masks.time) <= window {
			return last + 1
		}
	}
	for k := most; k > 0; k-- {
		if t.newest(v, k, lo, hi, window) {
			return k + 1
		}
	}
	rows[0] = steps[0].Last(lo, hi)
	t.masks.time = v.Time.At(rows[0])
	return 1
}

// newest finds the last event of step k that an entry within the window leads to.
func (t *tracker) newest(v *view, k, lo, hi int, window event.Duration) bool {
	steps, rows := t.masks.steps, &t.found.rows
	for j := range k {
		rows[j] = hi // unknown
	}
	for row := steps[k].Last(lo, hi); row >= 0; row = steps[k].Last(lo, row) {
		rows[k] = row
		for j := k - 1; j >= 0 && rows[j] >= rows[j+1]; j-- {
			if rows[j] = steps[j].Last(lo, rows[j+1]); rows[j] < 0 {
				return false
			}
			if j == 0 {
				t.masks.time = v.Time.At(rows[0])
			}
		}
		if v.Time.At(row).Sub(t.masks.time) <= window {
			return true
		}
	}
	return false
}

// emitEntry reports a customer who did not get beyond the entry.
func (t *tracker) emitEntry(v *view, c int, window event.Duration) error {
	lo, hi := v.Range(c)
	entries := t.masks.steps[0]
	if len(t.matches) == 1 {
		t.found.rows[0] = entries.Next(lo, hi) // and has converted
	} else {
		t.found.rows[0] = entries.Last(lo, hi)
	}
	t.masks.time = v.Time.At(t.found.rows[0])
	return t.emitFound(v, c, 1, window)
}

// emitFound reports the attempt in found.rows.
func (t *tracker) emitFound(v *view, c, level int, window event.Duration) error {
	a := &t.found
	lo, hi := v.Range(c)
	a.customer, a.level, a.open = c, level, false
	a.time[0], a.standing[0] = t.masks.time, a.rows[0]
	for k := 1; k < level; k++ {
		a.time[k] = v.Time.At(a.rows[k])
		a.standing[k] = a.rows[k]
	}
	for k := level; k < len(t.matches); k++ {
		a.standing[k] = -1
	}
	if level < len(t.matches) {
		newest := a.time[0]
		if level > 1 {
			newest = v.Time.At(t.masks.steps[0].Last(lo, hi))
		}
		limit := newest.Add(window)
		a.open = limit > t.run.end && limit > v.ends(c)
	}
	a.next = v.next(a.rows[level-1]+1, hi)
	if a.next == hi {
		a.next = -1
	}
	return t.emit(v, a)
}

// ends is the end of the data for a customer: where the clock was ahead, the last event.
func (v *view) ends(c int) event.Time {
	lo, hi := v.extent(c)
	if v.Time.At(hi-1) <= v.run.end {
		return v.run.end
	}
	return max(v.run.end, v.Time.At(v.last(lo, hi)))
}
