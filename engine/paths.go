package engine

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// pathsOperator answers `paths`: the most frequent sequences of labels, from
// the beginning of journeys, from an event, to an event, or between two.
type pathsOperator struct {
	r                 *run
	grouping          *grouping
	labeling          *labeling
	from, to, through *matcher
	window            event.Duration
	length            int
}

// longerCode stands for a path of more labels than length allows.
const longerCode = ^uint32(0)

func newPaths(r *run) (operator, error) {
	p := r.plan
	o := &pathsOperator{r: r, length: int(p.Length)}
	if len(p.Windows) > 0 {
		o.window = p.Windows[0]
	}
	var err error
	for _, m := range []struct {
		plan *query.Matcher
		to   **matcher
	}{{p.From, &o.from}, {p.To, &o.to}, {p.Through, &o.through}} {
		if m.plan != nil && err == nil {
			*m.to, err = r.matcher(m.plan)
		}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case p.From != nil: // the window after the anchor
		r.reach(0, o.window)
	case p.To != nil:
		r.reach(o.window, 0)
	default:
		r.reach(0, 0)
	}
	if o.labeling, err = r.labeling(); err != nil {
		return nil, err
	}
	o.grouping, err = r.grouping()
	return o, err
}

func (o *pathsOperator) explain(r *run) PlanNode {
	p := r.plan
	var parts []string
	if p.From != nil {
		parts = append(parts, "from "+p.From.Text)
	}
	if p.To != nil {
		parts = append(parts, "to "+p.To.Text)
	}
	parts = append(parts, fmt.Sprintf("up to %d labels", p.Length))
	if p.Collapse {
		parts = append(parts, "runs collapsed")
	}
	if p.Through != nil {
		parts = append(parts, "through "+p.Through.Text)
	}
	return PlanNode{Operator: "paths", Detail: strings.Join(parts, ", ")}
}

// pathsWorker finds and counts one worker's paths.
type pathsWorker struct {
	*pathsOperator
	labels            *labeler
	groups            *grouper
	periods           periods
	table             *pathTable
	journeys          journeys
	memory            ration
	from, to, through tile.Bitmap // of the tile at hand
	runs              labelRuns
	packed            *packedPaths // nil: paths are lists of labels
	codes             []uint32
	place             place
}

func (o *pathsOperator) worker() *pathsWorker {
	w := &pathsWorker{pathsOperator: o, labels: o.labeling.worker(), groups: o.grouping.worker(), table: newPathTable(o.r), memory: ration{budget: o.r.memory}}
	w.periods = periods{calendar: o.grouping.calendar, max: o.r.opt.Rows}
	w.codes = make([]uint32, 0, o.length+1)
	if p := o.packing(); p != nil {
		w.packed = &packedPaths{packing: p}
	}
	return w
}

func (w *pathsWorker) visit(v *view) error {
	for _, b := range []struct {
		m  *matcher
		to *tile.Bitmap
	}{{w.pathsOperator.from, &w.from}, {w.pathsOperator.to, &w.to}, {w.pathsOperator.through, &w.through}} {
		*b.to = nil
		if b.m != nil {
			*b.to = v.bitmap(v.Rows)
			if err := b.m.rows(v, *b.to); err != nil {
				return err
			}
		}
	}
	if w.packed != nil {
		v.took = "packed paths"
		return w.packed.visit(w, v)
	}
	w.labels.loaded = nil
	if plan := w.r.plan; plan.Collapse || plan.FromEach || plan.ToEach {
		if err := w.labels.load(v); err != nil {
			return err
		}
	}
	return v.units(func(u unit) error { return w.unit(v, u) })
}

// span is a range in which anchors must lie: of during, or of one period of it.
type span struct {
	from, to event.Time
	all      bool // no range was given: times need not be looked at
}

// unit finds the paths of one journey, in each period that has an anchor.
func (w *pathsWorker) unit(v *view, u unit) error {
	anchors := v.rows
	switch {
	case w.from != nil:
		anchors = w.from
	case w.to != nil:
		anchors = w.to
	}
	s := span{from: math.MinInt64, to: math.MaxInt64, all: !w.r.plan.During.Set}
	if !s.all {
		s.from, s.to = w.r.plan.During.From, w.r.plan.During.To
	}
	if w.r.plan.Collapse {
		if anchors != nil && anchors.Next(u.lo, u.hi) == u.hi {
			return nil
		}
		if err := w.runs.cut(v, u, w.labels); err != nil {
			return err
		}
	}
	if w.grouping.calendar == nil {
		if first := v.first(anchors, u, s); first < u.hi {
			return w.inSpan(v, u, s, first)
		}
		return nil
	}
	for {
		first := v.first(anchors, u, s)
		if first == u.hi {
			return nil
		}
		period := s
		begin, end, err := w.periods.bounds(v.Time.At(first))
		if err != nil {
			return err
		}
		period.all = false
		period.from, period.to = max(s.from, begin), min(s.to, end)
		if err := w.inSpan(v, u, period, first); err != nil {
			return err
		}
		s.from, s.all = end, false
	}
}

// first returns the first row of a unit in bits (nil: all) and in the span, or u.hi.
func (v *view) first(bits tile.Bitmap, u unit, s span) int {
	lo := u.lo
	if !s.all {
		lo = v.since(u.lo, u.hi, s.from)
	}
	first := lo
	if bits != nil {
		first = bits.Next(lo, u.hi)
	}
	if first < u.hi && !s.all && v.Time.At(first) >= s.to {
		return u.hi
	}
	return first
}

// since returns the first of the rows [lo, hi) of a customer whose time is not
// before t, or hi.
func (v *view) since(lo, hi int, t event.Time) int {
	if lo == hi || v.Time.At(lo) >= t {
		return lo
	}
	return lo + sort.Search(hi-lo, func(k int) bool { return v.Time.At(lo+k) >= t })
}

// inSpan finds the paths whose anchors lie in the span; first is the first
// event there that can be an anchor.
func (w *pathsWorker) inSpan(v *view, u unit, s span, first int) error {
	plan := w.r.plan
	switch {
	case w.from != nil && w.to != nil && plan.FromEach:
		return w.fromEachTo(v, u, s, first)
	case w.from != nil && w.to != nil:
		return w.fromTo(v, u, s, first)
	case w.from == nil && w.to == nil:
		until := u.hi
		if !s.all {
			until = v.since(first, u.hi, s.to)
		}
		return w.forward(v, u, first, until)
	}
	anchors, one := w.from, w.after
	each := plan.FromEach
	if w.to != nil {
		anchors, one, each = w.to, w.before, plan.ToEach
	}
	for i := first; i < u.hi && (s.all || v.Time.At(i) < s.to); i = anchors.Next(i+1, u.hi) {
		if err := one(v, u, i); err != nil || !each {
			return err
		}
		if err := v.tick(w.length); err != nil {
			return err
		}
	}
	return nil
}

// after is the path from row x up to the window after it.
func (w *pathsWorker) after(v *view, u unit, x int) error {
	until := u.hi
	if end := v.Time.At(x).Add(w.window); v.Time.At(u.hi-1) > end {
		until = v.since(x, u.hi, end+1)
		if seeded.On("paths_window_exclusive") {
			until = v.since(x, u.hi, end)
		}
	}
	return w.forward(v, u, x, until)
}

// forward emits the path of the first labels of rows [first, until).
func (w *pathsWorker) forward(v *view, u unit, first, until int) error {
	if w.packed != nil {
		return w.packed.forward(w, v, first, until)
	}
	if w.r.plan.Collapse {
		if seeded.On("collapse_after_length") {
			end := first
			for n := 1; n < w.length; n++ {
				end = v.next(end+1, until)
			}
			until = min(end+1, until)
		}
		runs := &w.runs
		last := v.last(u.lo, until)
		from := runs.of(u, first)
		to := min(from+w.length-1, runs.of(u, last))
		return w.emit(v, u, first, first, min(int(runs.ends[to]), last), runs.codes[from:to+1])
	}
	w.codes = w.codes[:0]
	last := first
	for i := first; i < until && len(w.codes) < w.length; i = v.next(i+1, u.hi) {
		code, err := w.labels.code(v, u.customer, i)
		if err != nil {
			return err
		}
		w.codes = append(w.codes, code)
		last = i
	}
	return w.emit(v, u, first, first, last, w.codes)
}

// before is the path of the last labels up to row y, none older than the window.
func (w *pathsWorker) before(v *view, u unit, y int) error {
	oldest := v.Time.At(y).Add(-w.window)
	if w.packed != nil {
		return w.packed.before(w, v, u, y, oldest)
	}
	if w.r.plan.Collapse {
		runs := &w.runs
		begin := v.next(v.since(u.lo, y, oldest), u.hi)
		to := runs.of(u, y)
		from := max(to-w.length+1, runs.of(u, begin))
		return w.emit(v, u, y, max(int(runs.starts[from]), begin), y, runs.codes[from:to+1])
	}
	w.codes = w.codes[:0]
	first := y
	for i := y; i >= u.lo && len(w.codes) < w.length && v.Time.At(i) >= oldest; i = v.last(u.lo, i) {
		code, err := w.labels.code(v, u.customer, i)
		if err != nil {
			return err
		}
		w.codes = append(w.codes, code)
		first = i
	}
	slices.Reverse(w.codes)
	return w.emit(v, u, y, first, y, w.codes)
}

// last returns the last row in [from, end) that exists, or from-1.
func (v *view) last(from, end int) int {
	if v.rows == nil || end <= from {
		return max(end, from) - 1
	}
	if i := v.rows.Last(from, end); i >= 0 {
		return i
	}
	return from - 1
}

// fromEachTo finds a path for every from event: to the first to event after it.
func (w *pathsWorker) fromEachTo(v *view, u unit, s span, first int) error {
	y := -1
	for x := first; x < u.hi; x = w.from.Next(x+1, u.hi) {
		t := v.Time.At(x)
		if !s.all && t >= s.to {
			return nil
		}
		if y <= x {
			if y = w.to.Next(x+1, u.hi); y == u.hi {
				return nil
			}
		}
		if v.Time.At(y).Sub(t) <= w.window {
			if err := w.between(v, u, x, y); err != nil {
				return err
			}
		}
		if err := v.tick(w.length); err != nil {
			return err
		}
	}
	return nil
}

// fromTo finds, for the first to event that has one, or for each, the earliest
// from event within the window before it.
func (w *pathsWorker) fromTo(v *view, u unit, s span, first int) error {
	x := first
	for y := w.to.Next(first+1, u.hi); y < u.hi; y = w.to.Next(y+1, u.hi) {
		for oldest := v.Time.At(y).Add(-w.window); x < y && v.Time.At(x) < oldest; {
			x = w.from.Next(x+1, u.hi)
		}
		if x == u.hi || !s.all && v.Time.At(x) >= s.to {
			return nil
		}
		if x < y {
			if err := w.between(v, u, x, y); err != nil || !w.r.plan.ToEach {
				return err
			}
		}
		if err := v.tick(w.length); err != nil {
			return err
		}
	}
	return nil
}

// between is the path from row x to row y.
func (w *pathsWorker) between(v *view, u unit, x, y int) error {
	if w.packed != nil {
		return w.packed.between(w, v, x, y)
	}
	if w.r.plan.Collapse {
		from, to := w.runs.of(u, x), w.runs.of(u, y)
		if to-from >= w.length {
			return w.emit(v, u, x, x, y, []uint32{longerCode})
		}
		return w.emit(v, u, x, x, y, w.runs.codes[from:to+1])
	}
	w.codes = w.codes[:0]
	for i := x; i <= y; i = v.next(i+1, u.hi) {
		if len(w.codes) == w.length {
			w.codes = append(w.codes[:0], longerCode)
			break
		}
		code, err := w.labels.code(v, u.customer, i)
		if err != nil {
			return err
		}
		w.codes = append(w.codes, code)
	}
	return w.emit(v, u, x, x, y, w.codes)
}

// emit counts one path; first and last are the first and the last row behind
// its labels.
func (w *pathsWorker) emit(v *view, u unit, anchor, first, last int, codes []uint32) error {
	if w.through != nil && w.through.Next(first, last+1) > last {
		return nil
	}
	group := 0
	if !w.grouping.whole() {
		w.place.row, w.place.customer, w.place.last = anchor, u.customer, anchor
		var err error
		if group, err = w.groups.group(v, &w.place, 0, v.Time.At(anchor)); err != nil {
			return err
		}
	}
	path, err := w.table.add(uint32(group), codes, 1)
	if err != nil {
		return err
	}
	return w.journeys.add(path, v.Time.Elapsed(first, last), &w.memory)
}

// labelRuns are a unit's events cut into runs of one label, for collapse: a
// path over them costs its labels, not its events.
type labelRuns struct {
	codes        []uint32
	starts, ends []int32 // first and last row of each run
	run          []int32 // by row of the unit that exists
}

func (l *labelRuns) cut(v *view, u unit, labels *labeler) error {
	l.codes, l.starts, l.ends = l.codes[:0], l.starts[:0], l.ends[:0]
	if cap(l.run) < u.hi-u.lo {
		l.run = make([]int32, 2*(u.hi-u.lo))
	}
	l.run = l.run[:u.hi-u.lo]
	for i := v.next(u.lo, u.hi); i < u.hi; i = v.next(i+1, u.hi) {
		if err := v.tick(1); err != nil {
			return err
		}
		code, err := labels.code(v, u.customer, i)
		if err != nil {
			return err
		}
		if n := len(l.codes); n == 0 || l.codes[n-1] != code {
			l.codes, l.starts, l.ends = append(l.codes, code), append(l.starts, int32(i)), append(l.ends, int32(i))
		}
		l.ends[len(l.ends)-1] = int32(i)
		l.run[i-u.lo] = int32(len(l.codes) - 1)
	}
	return nil
}

// of returns the run of a row that exists.
func (l *labelRuns) of(u unit, row int) int { return int(l.run[row-u.lo]) }
