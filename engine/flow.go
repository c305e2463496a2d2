package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// flowOperator answers `flow`: how journeys spread, level by level, from an
// anchor on, or how they came together at one.
//
// A journey gives one edge a level. Edges are counted by the labels of both
// ends, which is all that is needed to make the less frequent labels of a level
// (other) afterwards: a label is a place on its own level, so there are no
// cycles, and what leaves it is what entered it.
type flowOperator struct {
	r        *run
	grouping *grouping
	labeling *labeling
	from, to *matcher
	window   event.Duration
	depth    int
	top      int
}

// Codes that no label has.
const (
	exitCode     = ^uint32(0) - iota // no further event in the window
	openCode                         // none so far
	beginCode                        // backwards: no earlier event in the window
	restCode                         // labels that top leaves out
	leastEndCode = restCode
)

func newFlow(r *run) (operator, error) {
	p := r.plan
	o := &flowOperator{r: r, window: p.Windows[0], depth: int(p.Depth), top: int(p.Top)}
	var err error
	switch {
	case p.From != nil:
		o.from, err = r.matcher(p.From)
		r.reach(0, o.window)
	case p.To != nil:
		o.to, err = r.matcher(p.To)
		r.reach(o.window, 0)
	default:
		r.reach(0, 0)
	}
	if err != nil {
		return nil, err
	}
	if o.labeling, err = r.labeling(); err != nil {
		return nil, err
	}
	o.grouping, err = r.grouping()
	return o, err
}

func (o *flowOperator) explain(r *run) PlanNode {
	p := r.plan
	detail := "from each unit's first event"
	switch {
	case p.From != nil:
		detail = "from " + p.From.Text
	case p.To != nil:
		detail = "backwards from " + p.To.Text
	}
	detail += fmt.Sprintf(", %d levels, top %d of each", o.depth, o.top)
	if p.Collapse {
		detail += ", runs collapsed"
	}
	return PlanNode{Operator: "flow", Detail: detail}
}

// edgeKey is an edge of one group: the source is the earlier event's label.
type edgeKey struct {
	group          uint32
	level          uint32 // from 1
	source, target uint32
}

// edgeBytes is about what an edge takes in a table.
const edgeBytes = 64

// flowWorker counts one worker's edges.
type flowWorker struct {
	*flowOperator
	labels  *labeler
	groups  *grouper
	periods periods
	anchors tile.Bitmap // of the tile at hand; nil: every event
	edges   map[edgeKey]int64
	memory  ration
	place   place
	codes   []uint32 // of the journey at hand, from the anchor on
}

func (o *flowOperator) worker() *flowWorker {
	w := &flowWorker{flowOperator: o, labels: o.labeling.worker(), groups: o.grouping.worker(), edges: map[edgeKey]int64{}, memory: ration{budget: o.r.memory}}
	w.periods = periods{calendar: o.grouping.calendar, max: o.r.opt.Rows}
	return w
}

func (w *flowWorker) visit(v *view) error {
	w.anchors = v.rows
	if m := cmp.Or(w.from, w.to); m != nil {
		w.anchors = v.bitmap(v.Rows)
		if err := m.rows(v, w.anchors); err != nil {
			return err
		}
	}
	return v.units(func(u unit) error { return w.unit(v, u) })
}

// unit follows one journey from its first anchor in the range, or in each
// period of it.
func (w *flowWorker) unit(v *view, u unit) error {
	s := span{from: math.MinInt64, to: math.MaxInt64, all: !w.r.plan.During.Set}
	if !s.all {
		s.from, s.to = w.r.plan.During.From, w.r.plan.During.To
	}
	for {
		anchor := v.first(w.anchors, u, s)
		if anchor == u.hi {
			return nil
		}
		period := s
		if w.grouping.calendar != nil {
			begin, end, err := w.periods.bounds(v.Time.At(anchor))
			if err != nil {
				return err
			}
			period = span{from: max(s.from, begin), to: min(s.to, end)}
		}
		if err := w.journey(v, u, anchor, period); err != nil {
			return err
		}
		if w.grouping.calendar == nil {
			return nil
		}
		s.from, s.all = period.to, false
	}
}

// journey counts the edges from one anchor.
func (w *flowWorker) journey(v *view, u unit, anchor int, s span) error {
	w.place.row, w.place.customer, w.place.last = anchor, u.customer, anchor
	group, err := w.groups.group(v, &w.place, 0, v.Time.At(anchor))
	if err != nil {
		return err
	}
	w.codes = w.codes[:0]
	if w.to != nil {
		err = w.backward(v, u, anchor)
	} else {
		err = w.forward(v, u, anchor, s)
	}
	if err != nil {
		return err
	}
	for level := 1; level < len(w.codes); level++ {
		key := edgeKey{uint32(group), uint32(level), w.codes[level-1], w.codes[level]}
		if w.to != nil {
			key.source, key.target = key.target, key.source
		}
		n, ok := w.edges[key]
		if !ok {
			if len(w.edges) >= w.r.opt.Groups {
				return &LimitError{Limit: "groups", Value: int64(w.r.opt.Groups), Reached: int64(len(w.edges)) + 1,
					Hint: "label by something that has fewer values, leave events out with where, or lower depth"}
			}
			if err := w.memory.take(edgeBytes); err != nil {
				return err
			}
		}
		w.edges[key] = n + 1
	}
	return nil
}

// forward reads the labels from the anchor on, and how they end.
func (w *flowWorker) forward(v *view, u unit, anchor int, s span) error {
	last := v.Time.At(anchor).Add(w.window) // the last instant at which an event belongs to the journey
	if w.from == nil {
		last = min(last, s.to-1) // during selects events, not only the anchor
	}
	if seeded.On("flow_window_exclusive") {
		last--
	}
	for row := anchor; row < u.hi && v.Time.At(row) <= last; row = v.next(row+1, u.hi) {
		if full, err := w.label(v, u, row); err != nil || full {
			return err
		}
	}
	if last <= v.endOf(u) || u.ended || seeded.On("open_leaves") {
		w.codes = append(w.codes, exitCode)
	} else {
		w.codes = append(w.codes, openCode)
	}
	return nil
}

// endOf is the end of the data for a unit: of a unit whose clock was ahead, its
// last event.
func (v *view) endOf(u unit) event.Time {
	end := v.run.end
	if v.Time.At(u.hi-1) > end {
		end = max(end, v.Time.At(v.last(u.lo, u.hi)))
	}
	return end
}

// backward reads the labels from the anchor back.
func (w *flowWorker) backward(v *view, u unit, anchor int) error {
	oldest := v.Time.At(anchor).Add(-w.window)
	for row := anchor; row >= u.lo && v.Time.At(row) >= oldest; row = v.last(u.lo, row) {
		if full, err := w.label(v, u, row); err != nil || full {
			return err
		}
	}
	w.codes = append(w.codes, beginCode)
	return nil
}

// label adds a row's label to the journey, and reports whether it is as deep
// as it may be.
func (w *flowWorker) label(v *view, u unit, row int) (full bool, err error) {
	code, err := w.labels.code(v, u.customer, row)
	if err != nil {
		return false, err
	}
	if n := len(w.codes); n > 0 && w.r.plan.Collapse && w.codes[n-1] == code {
		return false, v.tick(1)
	}
	w.codes = append(w.codes, code)
	return len(w.codes) > w.depth, v.tick(1)
}

// stop is a label on one level of one group: level 0 is the anchor.
type stop struct {
	group, level, label uint32
}

func (o *flowOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*flowWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *flowWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	all := map[edgeKey]int64{}
	for i, w := range ws {
		for key, n := range w.edges {
			key.group = uint32(m.of(i, int(key.group)))
			all[key] += n
		}
	}
	kept, cut := o.keep(all)
	if cut == nil {
		cut = m.cut
	}
	shown := map[edgeKey]int64{}
	for key, n := range all {
		shown[o.folded(key, kept)] += n
	}
	journeys := make([]int64, m.len())
	keys := make([]edgeKey, 0, len(shown))
	for key, n := range shown {
		keys = append(keys, key)
		if key.level == 1 {
			journeys[key.group] += n
		}
	}
	slices.SortFunc(keys, func(a, b edgeKey) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.level, b.level), cmp.Compare(shown[b], shown[a]),
			strings.Compare(o.text(a.source), o.text(b.source)), strings.Compare(o.text(a.target), o.text(b.target)))
	})
	res := &Result{weight: "journeys"}
	res.Columns = append(o.grouping.columns(), Column{"level", Integer}, Column{"source", String}, Column{"target", String}, Column{"journeys", Integer}, Column{"share", Share})
	for _, key := range keys {
		if err := r.add(res, append(m.cells(int(key.group)), int64(key.level), o.text(key.source), o.text(key.target), shown[key], share(shown[key], journeys[key.group]))); err != nil {
			return nil, err
		}
	}
	res.Meta.Denominator = "all journeys with an anchor"
	if r.plan.Every != "" || len(r.plan.By) > 0 {
		res.Meta.Denominator += ", within the period and group"
	}
	for key, n := range shown {
		if key.target == openCode {
			res.Meta.Open += n
		}
	}
	res.Meta.Cut = cut
	return res, nil
}

// ends returns the stops that an edge connects: the nearer to the anchor first.
func (o *flowOperator) ends(key edgeKey) (near, far stop) {
	near, far = stop{key.group, key.level - 1, key.source}, stop{key.group, key.level, key.target}
	if o.to != nil {
		near.label, far.label = far.label, near.label
	}
	return near, far
}

// keep returns the stops that keep their names: the top labels of each level,
// equal ones by label.
func (o *flowOperator) keep(all map[edgeKey]int64) (map[stop]bool, *Cut) {
	counts := map[stop]int64{}
	for key, n := range all {
		near, far := o.ends(key)
		if key.level == 1 {
			counts[near] += n
		}
		if far.label < leastEndCode {
			counts[far] += n
		}
	}
	stops := make([]stop, 0, len(counts))
	var whole int64
	for s, n := range counts {
		stops = append(stops, s)
		whole += n
	}
	slices.SortFunc(stops, func(a, b stop) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.level, b.level), cmp.Compare(counts[b], counts[a]),
			strings.Compare(o.labeling.text(a.label), o.labeling.text(b.label)))
	})
	kept := map[stop]bool{}
	var covered int64
	n := 0
	for i, s := range stops {
		if i > 0 && (stops[i-1].group != s.group || stops[i-1].level != s.level) {
			n = 0
		}
		if n++; n <= o.top {
			kept[s] = true
			covered += counts[s]
		}
	}
	if len(kept) == len(stops) {
		return kept, nil
	}
	return kept, &Cut{Kept: int64(len(kept)), Of: int64(len(stops)), Share: share(covered, whole)}
}

// folded is the edge with labels that are not kept made (other).
func (o *flowOperator) folded(key edgeKey, kept map[stop]bool) edgeKey {
	near, far := o.ends(key)
	for _, s := range []*stop{&near, &far} {
		if s.label < leastEndCode && !kept[*s] {
			s.label = restCode
		}
	}
	key.source, key.target = near.label, far.label
	if o.to != nil {
		key.source, key.target = far.label, near.label
	}
	return key
}

func (o *flowOperator) text(code uint32) string {
	switch code {
	case exitCode:
		return "(exit)"
	case openCode:
		return "(open)"
	case beginCode:
		return "(start)"
	case restCode:
		return otherLabel
	}
	return o.labeling.text(code)
}
