package engine

import "wend/event"

// decided is what bits decide of a tile for one window: customers who did not
// get beyond their entries, and the attempts of the others. Rows are places
// (masks.row): equal times may have been put in order.
type decided struct {
	window     int
	single     int64        // customers with entries only
	singleOpen int64        // those who are open
	entries    []uint32     // the newest entries of those customers
	entryOpen  []bool       // whether they are open
	entryTimes []event.Time // if asked for
	attempts   []decidedAttempt
	rows       []uint32     // of the attempts
	times      []event.Time // of rows
}

// decidedAttempt is the attempt of a customer who may get beyond entries.
type decidedAttempt struct {
	chance
	open bool
}

// entriesWanted says what of the entries of customers without more is asked for.
type entriesWanted uint8

const (
	wantCounts  entriesWanted = iota // how many, and how many are open
	wantEntries                      // their rows
	wantTimes                        // rows and times
)

// decide finds out what the chances come to within a window, and hands it on.
func (t *tracker) decide(v *view, number int, window event.Duration) error {
	m := &t.masks
	d := &m.decided
	d.window = number
	if err := t.findOpen(v, window); err != nil {
		return err
	}
	if err := t.resolve(v, window); err != nil {
		return err
	}
	t.decideEntries(v)
	if t.batch != nil {
		return t.batch(v, d)
	}
	return t.emitDecided(v, d)
}

// findOpen marks the customers with an entry whose window is not over at the end
// of the data: their newest entry's is not. Few have events as late as that.
func (t *tracker) findOpen(v *view, window event.Duration) error {
	m := &t.masks
	m.open = v.bitmap(v.Customers())
	if during := &v.run.plan.During; during.Set && during.To.Add(window) <= v.run.end {
		return nil // no entry is as late as that
	}
	m.late = v.Time.MayBeSince(v.run.end.Add(-window).Add(1), v.Lasts, m.late[:0])
	newest := grown(m.newest, len(m.late))[:len(m.late)]
	n := 0
	for _, c := range m.late {
		lo, hi := v.Range(int(c))
		if row := m.reach[0].Last(lo, hi); row >= 0 {
			m.late[n], newest[n] = c, uint32(row)
			n++
		}
		if err := v.tick((hi - lo) / 64); err != nil {
			return err
		}
	}
	m.newest, m.entered = newest, grown(m.entered, n)[:n]
	v.Time.Gather(newest[:n], m.entered)
	for i, c := range m.late[:n] {
		if limit := m.entered[i].Add(window); limit > v.run.end && v.open(int(c), limit) {
			m.open.Set(int(c))
		}
	}
	return nil
}

// resolve finds the attempts: most are the chances.
func (t *tracker) resolve(v *view, window event.Duration) error {
	m := &t.masks
	d := &m.decided
	d.attempts = grown(d.attempts, len(m.chances))[:len(m.chances)]
	rows := len(m.rows)
	d.rows, d.times = m.rows, m.times
	for i := range m.chances {
		a := decidedAttempt{chance: m.chances[i]}
		own := m.times[a.at : a.at+uint32(a.level)]
		if own[len(own)-1].Sub(own[0]) > window {
			lo, hi := v.Range(int(a.customer))
			a.level = uint8(t.seek(v, lo, hi, window))
			a.at = uint32(len(d.rows))
			for _, row := range t.found.rows[:a.level] {
				d.rows, d.times = append(d.rows, uint32(row)), append(d.times, v.Time.At(row))
			}
			if err := v.tick(hi - lo); err != nil {
				return err
			}
		}
		a.open = int(a.level) < len(m.steps) && m.open.Get(int(a.customer))
		d.attempts[i] = a
	}
	m.rows, m.times = m.rows[:rows], m.times[:rows]
	return nil
}

// decideEntries counts or lists the customers who did not get beyond entries.
func (t *tracker) decideEntries(v *view) {
	m := &t.masks
	d := &m.decided
	d.single, d.singleOpen = 0, 0
	d.entries, d.entryOpen, d.entryTimes = d.entries[:0], d.entryOpen[:0], d.entryTimes[:0]
	if len(m.steps) == 1 {
		return
	}
	if t.wants == wantCounts {
		d.single = int64(m.reach[0].Heads(v.Firsts, v.bitmap(v.Rows)) - len(m.heads[1]))
		d.singleOpen = int64(m.open.Count())
		for i := range m.chances {
			d.singleOpen -= int64(truth(m.open.Get(int(m.chances[i].customer))))
		}
		for _, c := range m.general {
			d.singleOpen -= int64(truth(m.open.Get(int(c))))
		}
		return
	}
	m.heads[0] = v.heads(m.reach[0], m.heads[0])
	heads, more := m.heads[0], m.heads[1]
	d.entries = grown(d.entries, len(heads))
	n := 0
	for i := range heads {
		end := uint32(v.Rows)
		if i+1 < len(heads) {
			end = heads[i+1]
		}
		if len(more) > 0 && more[0] < end {
			more = more[1:]
			continue
		}
		d.entries[n] = lastBefore(m.reach[0], end)
		n++
	}
	d.entries = d.entries[:n]
	d.entryOpen = grown(d.entryOpen, n)[:n]
	d.single = int64(n)
	for i, row := range d.entries {
		d.entryOpen[i] = m.open.Get(int(m.customer(v, row)))
		d.singleOpen += int64(truth(d.entryOpen[i]))
	}
	if t.wants == wantTimes {
		d.entryTimes = grown(d.entryTimes, n)[:n]
		v.Time.Gather(d.entries, d.entryTimes)
	}
}

// anchorRows fills rows with those of the entries, then with the attempts' first ones.
func (m *masks) anchorRows(d *decided, rows []uint32) {
	for i, place := range d.entries {
		rows[i] = m.row(place)
	}
	rows = rows[len(d.entries):]
	for i := range d.attempts {
		rows[i] = m.row(d.rows[d.attempts[i].at])
	}
}

// emitDecided reports the attempts one by one.
func (t *tracker) emitDecided(v *view, d *decided) error {
	t.found.window = d.window
	for i, row := range d.entries {
		t.found.rows[0], t.found.time[0] = int(row), d.entryTimes[i]
		if err := t.emitFound(v, int(t.masks.customer(v, row)), 1, d.entryOpen[i]); err != nil {
			return err
		}
	}
	for i := range d.attempts {
		a := &d.attempts[i]
		for k := range int(a.level) {
			t.found.rows[k], t.found.time[k] = int(d.rows[int(a.at)+k]), d.times[int(a.at)+k]
		}
		if err := t.emitFound(v, int(a.customer), int(a.level), a.open); err != nil {
			return err
		}
	}
	return nil
}

// emitFound reports the attempt whose places and times are in found.
func (t *tracker) emitFound(v *view, c, level int, open bool) error {
	a := &t.found
	a.customer, a.level, a.open = c, level, open
	for k := range t.matches {
		a.standing[k] = -1
	}
	a.next = t.masks.after(v, uint32(a.rows[level-1]), c)
	for k := range level {
		a.rows[k] = t.masks.ties.row(a.rows[k])
	}
	copy(a.standing[:level], a.rows[:])
	return t.emit(v, a)
}

// after is the row of the customer's next event after a place, -1 if there is none.
func (m *masks) after(v *view, place uint32, c int) int {
	_, hi := v.Range(c)
	next := v.next(int(place)+1, hi)
	if next == hi {
		return -1
	}
	return m.ties.row(next)
}

// open reports whether a window that ends at a time is not over yet for a customer.
func (v *view) open(c int, limit event.Time) bool { return limit > v.run.end && limit > v.ends(c) }

// ends is the end of the data for a customer: where the clock was ahead, the last event.
func (v *view) ends(c int) event.Time {
	lo, hi := v.extent(c)
	if v.Time.At(hi-1) <= v.run.end {
		return v.run.end
	}
	return max(v.run.end, v.Time.At(v.last(lo, hi)))
}
