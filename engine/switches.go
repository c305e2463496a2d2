package engine

import (
	"cmp"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// switchesOperator answers `switches`: how often a unit goes on in another
// channel, and how often it is lost there. A switch is two neighbouring events
// with different channels, where events without a channel are passed over; its
// anchor is the event on the old channel.
//
// Medians are found as transitions finds them, in memory that does not grow
// with the switches: by magnitude first, then among those of one magnitude.
type switchesOperator struct {
	r        *run
	grouping *grouping
	from, to []uint32 // channels; nil: any
	goal     *matcher // nil: any later event will do
	window   event.Duration
}

func newSwitches(r *run) (operator, error) {
	r.needChannel()
	o := &switchesOperator{r: r, window: r.plan.Windows[0]}
	o.from, o.to = r.channels(r.plan.FromChannels), r.channels(r.plan.ToChannels)
	var err error
	if r.plan.Goal != nil {
		if o.goal, err = r.matcher(r.plan.Goal); err != nil {
			return nil, err
		}
	}
	r.reach(0, maxInstant.Sub(0)) // the new channel may come at any time
	o.grouping, err = r.grouping()
	return o, err
}

// channels are the codes of names, nil for any; a name that the store does not
// know is the channel of no event.
func (r *run) channels(names []string) []uint32 {
	if names == nil {
		return nil
	}
	codes := []uint32{}
	for _, name := range names {
		if code, ok := r.schema.Channel(name); ok && code != 0 {
			codes = append(codes, uint32(code))
		}
	}
	return codes
}

func (o *switchesOperator) inPasses() bool { return true }

func (o *switchesOperator) explain(r *run) PlanNode {
	detail := "neighbouring events with different channels; lost if nothing follows within " + o.window.String()
	if o.goal != nil {
		detail = "neighbouring events with different channels; lost without " + o.goal.text + " within " + o.window.String()
	}
	return PlanNode{Operator: "switches", Detail: detail}
}

// switchCounts is what a group counts of two channels.
type switchCounts struct {
	count, customers, lost, open int64
	last                         int64 // the customer counted last, as customers come one after the other
	gaps                         gapCounts
	noted                        durations        // in place of gaps, where the statement goes on in passes
	wanted                       int32            // in the second scan: the row of the answer, -1 if its median is known
	kept                         []event.Duration // in the second scan: gaps of the magnitude in which the median lies
}

// switchBytes is about what one pair of channels takes.
const switchBytes = 208

// switchesWorker counts one worker's switches.
type switchesWorker struct {
	*switchesOperator
	groups   *grouper
	pairs    map[pairKey]*switchCounts
	grouped  bool          // only groups are counted, for top
	second   *medianSearch // nil in the first scan
	customer int64         // the number of the customer at hand among this worker's
	unitOf   [2]int        // which that is: tile and place
	goals    tile.Bitmap   // of the tile at hand
	noter    *noter
	memory   ration
	place    place
}

func (o *switchesOperator) worker() *switchesWorker {
	w := &switchesWorker{switchesOperator: o, groups: o.grouping.worker(), pairs: map[pairKey]*switchCounts{}, unitOf: [2]int{-1, -1}, memory: ration{budget: o.r.memory}}
	w.noter = o.r.noter(&w.memory)
	return w
}

func (w *switchesWorker) visit(v *view) error {
	if w.goal != nil {
		w.goals = v.bitmap(v.Rows)
		if err := w.goal.rows(v, w.goals); err != nil {
			return err
		}
	}
	return v.units(func(u unit) error { return w.unit(v, u) })
}

func (w *switchesWorker) unit(v *view, u unit) error {
	if at := [2]int{v.index, u.customer}; at != w.unitOf {
		w.unitOf = at
		w.customer++
	}
	old, before := -1, uint32(0)
	for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
		if err := v.tick(1); err != nil {
			return err
		}
		channel := v.channelAt(row)
		if channel == 0 {
			if seeded.On("no_channel_parts") {
				old = -1
			}
			continue
		}
		if old >= 0 && channel != before && wants(w.from, before) && wants(w.to, channel) && w.r.inRange(v.Time.At(old)) {
			if err := w.add(v, u, old, row); err != nil {
				return err
			}
		}
		old, before = row, channel
	}
	return nil
}

func wants(channels []uint32, channel uint32) bool {
	return channels == nil || slices.Contains(channels, channel)
}

// add counts the switch from row old to row row.
func (w *switchesWorker) add(v *view, u unit, old, row int) error {
	begun := v.Time.At(old)
	w.place.row, w.place.customer, w.place.last = old, u.customer, old
	group, err := w.groups.group(v, &w.place, 0, begun)
	if err != nil || w.grouped {
		return err
	}
	c, err := w.pair(pairKey{uint32(group), v.channelAt(old), v.channelAt(row)})
	if err != nil {
		return err
	}
	gap := v.Time.At(row).Sub(begun)
	if w.second != nil {
		if c.wanted >= 0 && w.second.wanted[c.wanted].holds(gap) {
			c.kept = append(c.kept, gap)
			return w.memory.take(8)
		}
		return nil
	}
	if c.count++; c.last != w.customer {
		c.last = w.customer
		c.customers++
	}
	switch w.fate(v, u, row) {
	case fateLost:
		c.lost++
	case fateOpen:
		c.open++
	}
	if w.noter != nil {
		c.noted.add(gap)
		return nil
	}
	return c.gaps.add(gap, &w.memory)
}

func (w *switchesWorker) pair(key pairKey) (*switchCounts, error) {
	c := w.pairs[key]
	if c == nil {
		if len(w.pairs) >= w.r.opt.Groups {
			return nil, tooManyGroups(w.r, len(w.pairs)+1)
		}
		if err := w.memory.take(switchBytes); err != nil {
			return nil, err
		}
		c = &switchCounts{wanted: -1}
		if w.second != nil {
			c.wanted = w.second.row(w.groups, key)
		} else if w.noter != nil {
			var err error
			if c.noted, err = w.noter.durationsOf(&w.groups.groups[key.group], key.source, key.target); err != nil {
				return nil, err
			}
		}
		w.pairs[key] = c
	}
	return c, nil
}

// fate is what became of a switch.
type fate uint8

const (
	fateKept fate = iota
	fateLost
	fateOpen
)

// fate tells what became of the unit after it arrived at row.
func (w *switchesWorker) fate(v *view, u unit, row int) fate {
	until := v.Time.At(row).Add(w.window)
	follows := v.next(row+1, u.hi)
	if w.goal != nil && !seeded.On("goal_forgotten") {
		follows = w.goals.Next(row, u.hi) // the arrival itself may be the goal
	}
	switch {
	case follows < u.hi && v.Time.At(follows) <= until:
		return fateKept
	case until > v.endOf(u) && !u.ended:
		return fateOpen
	}
	return fateLost
}

// switchRow is one row of the answer.
type switchRow struct {
	pairKey
	switchCounts
	median Cell
}

func (o *switchesOperator) run(r *run) (*Result, error) {
	groupsOf := func(w *switchesWorker) *grouper { return w.groups }
	if o.grouping.hasTop() {
		// A customer with switches in two of the groups that top leaves out
		// counts once in (other).
		ws, err := scan(r, func() (*switchesWorker, error) {
			w := o.worker()
			w.grouped = true
			return w, nil
		})
		if err != nil {
			return nil, err
		}
		m, err := o.grouping.merge(groupersOf(ws, groupsOf))
		if err != nil {
			return nil, err
		}
		o.grouping.keep(m)
		r.stats.again()
	}
	ws, err := scan(r, func() (*switchesWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, groupsOf))
	if err != nil {
		return nil, err
	}
	rows, index := mergeSwitches(ws, m)
	if err := o.medians(rows, index, m.finder(groupersOf(ws, groupsOf))); err != nil {
		return nil, err
	}
	name := func(code uint32) string { return r.schema.Channels[code].Text }
	slices.SortFunc(rows, func(a, b *switchRow) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(b.count, a.count),
			strings.Compare(name(a.source), name(b.source)), strings.Compare(name(a.target), name(b.target)))
	})
	res := &Result{weight: "count"}
	res.Columns = append(o.grouping.columns(), Column{"source", String}, Column{"target", String}, Column{"count", Integer}, Column{"customers", Integer},
		Column{"lost", Integer}, Column{"open", Integer}, Column{"loss_rate", Share}, Column{"median_gap", Duration})
	for _, row := range rows {
		if err := r.add(res, append(m.cells(int(row.group)), name(row.source), name(row.target), row.count, row.customers,
			row.lost, row.open, ratio(row.lost, row.count-row.open), row.median)); err != nil {
			return nil, err
		}
		res.Meta.Open += row.open
	}
	res.Meta.Unit = "switches"
	res.Meta.Denominator = "switches between the two channels that are not open"
	res.Meta.Cut = m.cut
	return res, nil
}

func mergeSwitches(ws []*switchesWorker, m *groups) ([]*switchRow, map[pairKey]int32) {
	var rows []*switchRow
	index := map[pairKey]int32{}
	for i, w := range ws {
		for key, c := range w.pairs {
			key.group = uint32(m.of(i, int(key.group)))
			at, ok := index[key]
			if !ok {
				at = int32(len(rows))
				index[key] = at
				rows = append(rows, &switchRow{pairKey: key})
			}
			row := rows[at]
			row.count += c.count
			row.customers += c.customers
			row.lost += c.lost
			row.open += c.open
			row.gaps.merge(&c.gaps)
			row.noted.join(&c.noted)
		}
	}
	return rows, index
}

// medians fills in the median gaps. Where the first scan left open where in its
// magnitude a median lies, a second scan looks.
func (o *switchesOperator) medians(rows []*switchRow, index map[pairKey]int32, groups func(*groupKey) int) error {
	search := &medianSearch{index: index, wanted: make([]gapRange, len(rows)), groups: groups}
	again := false
	for i, row := range rows {
		if o.r.passes != nil {
			median, err := row.noted.median(o.r)
			if err != nil {
				return err
			}
			row.median = median
			continue
		}
		median, ok := row.gaps.median()
		if row.median = median; !ok {
			search.wanted[i] = row.gaps.medianRange()
			again = true
		}
	}
	if !again {
		return nil
	}
	o.r.stats.again()
	ws, err := scan(o.r, func() (*switchesWorker, error) {
		w := o.worker()
		w.second = search
		return w, nil
	})
	if err != nil {
		return err
	}
	kept := make([][]event.Duration, len(rows))
	for _, w := range ws {
		for _, c := range w.pairs {
			if c.wanted >= 0 {
				kept[c.wanted] = append(kept[c.wanted], c.kept...)
			}
		}
	}
	for i, values := range kept {
		if values != nil {
			rows[i].median = search.wanted[i].median(values)
		}
	}
	return nil
}
