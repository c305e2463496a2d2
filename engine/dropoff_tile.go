package engine

import (
	"wend/event"
	"wend/internal/seeded"
)

// dropoffWorker counts where units that stopped went instead. What bits decide
// of a tile it counts at once, where no attempt needs to be asked for its group,
// or a single column tells.
type dropoffWorker struct {
	*patternWorker[*dropoffGroup]
	labels *labeler
	direct directGroups
	stops  []dropoffStop
	pairs  []uint32     // of the stops that went on: their last event, and the next
	times  []event.Time // of pairs
}

// dropoffStop is a unit that stopped.
type dropoffStop struct {
	group    uint32
	step     uint32 // from 0
	customer uint32
	next     int // row; -1: none
}

// next counts a unit of a group that stopped at a step, and went on with a row, if it did.
func (w *dropoffWorker) next(v *view, g *dropoffGroup, step, customer, row int) (*dropoffNext, error) {
	key := dropoffKey{step: step, nothing: row < 0}
	if !key.nothing {
		if _, hi := v.Range(customer); seeded.On("dropoff_skips") && v.next(row+1, hi) < hi {
			row = v.next(row+1, hi)
		}
		var err error
		if key.label, err = w.labels.code(v, customer, row); err != nil {
			return nil, err
		}
	}
	n, err := g.of(key, &w.memory)
	if err == nil {
		n.count++
	}
	return n, err
}

// takeTiles has the tracker hand over tiles in place of attempts, if possible.
func (w *dropoffWorker) takeTiles() {
	if w.whole || w.grouper.direct() {
		w.tracker.wants, w.tracker.batch = wantEntries, w.addTile
	}
}

// addTile counts a tile.
func (w *dropoffWorker) addTile(v *view, d *decided) error {
	if len(d.entries)+len(d.attempts) == 0 {
		return nil
	}
	groups, err := w.groupsOf(v, d)
	if err != nil {
		return err
	}
	m := &w.tracker.masks
	w.stops, w.pairs = w.stops[:0], w.pairs[:0]
	if err := w.reachAll(groups); err != nil {
		return err
	}
	stop := func(group, c uint32, level int, place uint32) {
		s := dropoffStop{group: group, step: uint32(level - 1), customer: c, next: m.after(v, place, int(c))}
		w.stops = append(w.stops, s)
		if s.next >= 0 {
			w.pairs = append(w.pairs, place, uint32(s.next))
		}
	}
	for i, place := range d.entries {
		if d.entryOpen[i] {
			w.groups[groups[i]].open++
			continue
		}
		stop(groups[i], m.customer(v, place), 1, place)
	}
	groups = groups[len(d.entries):]
	for i := range d.attempts {
		a := &d.attempts[i]
		last := a.at + uint32(a.level) - 1
		switch {
		case a.open:
			w.groups[groups[i]].open++
		case int(a.level) < len(m.steps):
			stop(groups[i], a.customer, int(a.level), d.rows[last])
		}
	}
	return w.count(v)
}

// reachAll makes the accumulators of all groups of a tile.
func (w *dropoffWorker) reachAll(groups []uint32) error {
	for _, id := range groups {
		if err := w.reach(int(id)); err != nil {
			return err
		}
	}
	return nil
}

// count counts the stops of a tile.
func (w *dropoffWorker) count(v *view) error {
	w.times = grown(w.times, len(w.pairs))[:len(w.pairs)]
	v.Time.Gather(w.pairs, w.times)
	times := w.times
	for i := range w.stops {
		s := &w.stops[i]
		n, err := w.next(v, w.groups[s.group], int(s.step), int(s.customer), s.next)
		if err != nil {
			return err
		}
		if s.next >= 0 {
			n.gaps.add(times[1].Sub(times[0]))
			times = times[2:]
		}
	}
	return w.list(durationBytes / 2 * int64(len(w.pairs)))
}

// groupsOf finds the groups of the entries, then of the attempts.
func (w *dropoffWorker) groupsOf(v *view, d *decided) ([]uint32, error) {
	n := len(d.entries) + len(d.attempts)
	rows := w.direct.begin(n)
	if w.whole {
		w.grouper.all()
		w.grouper.groups[0].anchors += int64(n) - 1 // one is counted already
		clear(w.direct.ids)
		return w.direct.ids, nil
	}
	w.tracker.masks.anchorRows(d, rows)
	return w.grouper.groupRows(v, &w.direct)
}
