package engine

import (
	"cmp"
	"slices"

	"wend/event"
)

// transitionsOperator answers `transitions`: how often one event follows
// another, by label. A pair is two neighbouring events of a unit; its anchor
// is the first. With collapse, pairs of one label are passed over.
//
// The median gap needs all gaps, of which there are as many as events. They
// are not kept: a first scan counts each pair's gaps by magnitude, a second
// keeps only those of the magnitude in which the median lies. Where pairs are
// counted flat, gapSearch looks for it. Where even those do not fit, gaps are
// noted in several passes.
type transitionsOperator struct {
	r        *run
	grouping *grouping
	labeling *labeling
}

func newTransitions(r *run) (operator, error) {
	o := &transitionsOperator{r: r}
	var err error
	if o.labeling, err = r.labeling(); err != nil {
		return nil, err
	}
	o.grouping, err = r.grouping()
	return o, err
}

func (o *transitionsOperator) inPasses() bool { return o.r.plan.WithTimes }

func (o *transitionsOperator) explain(r *run) PlanNode {
	detail := "pairs of neighbouring events, counted by code"
	if r.plan.WithTimes {
		detail += "; gaps by magnitude, then those around the median"
	}
	return PlanNode{Operator: "transitions", Detail: detail}
}

// pairKey is a pair of labels in one of a worker's groups.
type pairKey struct {
	group          uint32
	source, target uint32
}

// pairBytes is about what one pair takes in a worker's table.
const pairBytes = 80

// transitionsWorker counts one worker's pairs.
type transitionsWorker struct {
	*transitionsOperator
	labels *labeler
	groups *grouper
	pairs  map[pairKey]int32 // -> index in counts
	counts []int64
	gaps   []gapCounts
	noted  []durations // in place of gaps, where the statement goes on in passes
	noter  *noter
	near   []int32     // pairs of the first labels in the first group: index + 1; made when first used
	flat   *flatPairs  // nil: units are looked at one by one
	second *secondScan // nil in the first scan
	memory ration
	place  place
}

// secondScan is what a worker needs to keep the gaps around the medians.
type secondScan struct {
	*medianSearch
	rows []int32            // of the answer, by this worker's pairs; -1: none that is wanted
	kept [][]event.Duration // by this worker's pairs
}

// nearLabels is how many labels have their pairs in a table without hashing.
const nearLabels = 512

func (o *transitionsOperator) worker() *transitionsWorker {
	w := &transitionsWorker{transitionsOperator: o, labels: o.labeling.worker(), groups: o.grouping.worker(),
		pairs: map[pairKey]int32{}, memory: ration{budget: o.r.memory}}
	if o.r.plan.WithTimes {
		w.noter = o.r.noter(&w.memory)
	}
	if width, ok := o.flatWidth(); ok {
		w.flat = &flatPairs{width: width}
	}
	return w
}

func (w *transitionsWorker) visit(v *view) error {
	if w.flat != nil {
		v.took = "flat pairs"
		return w.flat.visit(w, v)
	}
	if err := w.labels.load(v); err != nil {
		return err
	}
	if err := w.groups.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error { return w.unit(v, u) })
}

func (w *transitionsWorker) unit(v *view, u unit) error {
	plan := w.r.plan
	during, calendar, whole := plan.During.Set, w.grouping.calendar != nil, w.grouping.whole()
	row := v.next(u.lo, u.hi)
	if row == u.hi {
		return nil
	}
	source, err := w.labels.code(v, u.customer, row)
	if err != nil {
		return err
	}
	for next := v.next(row+1, u.hi); next < u.hi; next = v.next(next+1, u.hi) {
		target, err := w.labels.code(v, u.customer, next)
		if err != nil {
			return err
		}
		first, before := row, source
		row, source = next, target
		if plan.Collapse && before == target {
			continue
		}
		var t event.Time
		if during || calendar || plan.WithTimes {
			if t = v.Time.At(first); !w.r.inRange(t) {
				continue
			}
		}
		group := 0
		if !whole {
			w.place.row, w.place.customer, w.place.last = first, u.customer, first
			if group, err = w.groups.group(v, &w.place, 0, t); err != nil {
				return err
			}
		}
		pair, err := w.pair(uint32(group), before, target)
		if err != nil {
			return err
		}
		w.counts[pair]++
		if plan.WithTimes {
			if err := w.gap(pair, v.Time.At(next).Sub(t)); err != nil {
				return err
			}
		}
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// pair returns the index of a pair among this worker's.
func (w *transitionsWorker) pair(group, source, target uint32) (int32, error) {
	direct := group == 0 && source < nearLabels && target < nearLabels
	if direct {
		if w.near == nil {
			if err := w.memory.take(4 * nearLabels * nearLabels); err != nil {
				return 0, err
			}
			w.near = make([]int32, nearLabels*nearLabels)
		}
		if at := w.near[source*nearLabels+target]; at != 0 {
			return at - 1, nil
		}
	}
	key := pairKey{group, source, target}
	at, ok := w.pairs[key]
	if !ok {
		if len(w.counts) >= w.r.opt.Groups {
			return 0, tooManyPairs(w.r, len(w.counts)+1)
		}
		if err := w.memory.take(pairBytes); err != nil {
			return 0, err
		}
		at = int32(len(w.counts))
		w.pairs[key] = at
		w.counts = append(w.counts, 0)
		switch {
		case w.second != nil:
			w.second.rows = append(w.second.rows, w.second.row(w.groups, key))
			w.second.kept = append(w.second.kept, nil)
		case w.noter != nil:
			var of *groupKey
			if !w.grouping.whole() {
				of = &w.groups.groups[group]
			}
			gaps, err := w.noter.durationsOf(of, source, target)
			if err != nil {
				return 0, err
			}
			w.noted = append(w.noted, gaps)
		case w.r.plan.WithTimes && w.flat == nil:
			w.gaps = append(w.gaps, gapCounts{})
		}
	}
	if direct {
		w.near[source*nearLabels+target] = at + 1
	}
	return at, nil
}

func tooManyPairs(r *run, n int) error {
	return &LimitError{Limit: "groups", Value: int64(r.opt.Groups), Reached: int64(n),
		Hint: "label by something that has fewer values, or leave events out with where"}
}

// gap counts a gap by magnitude or, in the second scan, keeps it.
func (w *transitionsWorker) gap(pair int32, d event.Duration) error {
	if w.noter != nil {
		w.noted[pair].add(d)
		return nil
	}
	if w.second == nil {
		return w.gaps[pair].add(d, &w.memory)
	}
	row := w.second.rows[pair]
	if row < 0 || !w.second.wanted[row].holds(d) {
		return nil
	}
	kept := &w.second.kept[pair]
	if len(*kept) == cap(*kept) {
		if err := w.memory.take(max(32, 8*int64(len(*kept)))); err != nil {
			return err
		}
	}
	*kept = append(*kept, d)
	return nil
}

// transition is one row of the answer.
type transition struct {
	group          int
	source, target uint32
	count          int64
	gaps           gapCounts
	noted          durations
	median         Cell
}

func (o *transitionsOperator) run(r *run) (*Result, error) {
	ws, err := scan(r, func() (*transitionsWorker, error) { return o.worker(), nil })
	if err != nil {
		return nil, err
	}
	for _, w := range ws {
		if w.flat != nil {
			if err := w.flat.finish(w); err != nil {
				return nil, err
			}
		}
		if o.grouping.whole() {
			w.groups.all()
		}
	}
	m, err := o.grouping.merge(groupersOf(ws, func(w *transitionsWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	rows, index := o.merge(ws, m)
	sources := map[pairKey]int64{}
	for i := range rows {
		sources[pairKey{group: uint32(rows[i].group), source: rows[i].source}] += rows[i].count
	}
	shown, cut := o.top(rows)
	if r.plan.WithTimes {
		if r.passes != nil {
			err = o.notedMedians(rows, shown)
		} else if _, flat := o.flatWidth(); flat {
			err = o.flatMedians(rows, shown)
		} else {
			err = o.medians(ws, m, rows, shown, index)
		}
		if err != nil {
			return nil, err
		}
	}
	res := &Result{Columns: append(o.grouping.columns(), Column{"source", String}, Column{"target", String}, Column{"count", Integer}, Column{"share_of_source", Share}), weight: "count"}
	if r.plan.WithTimes {
		res.Columns = append(res.Columns, Column{"median_gap", Duration})
	}
	res.Meta.Denominator = "all pairs of the same source"
	if r.plan.Every != "" || len(r.plan.By) > 0 {
		res.Meta.Denominator += ", within the period and group"
	}
	res.Meta.Cut = cut
	if cut == nil {
		res.Meta.Cut = m.cut
	}
	for _, i := range shown {
		t := &rows[i]
		row := append(m.cells(t.group), o.labeling.text(t.source), o.labeling.text(t.target), t.count,
			share(t.count, sources[pairKey{group: uint32(t.group), source: t.source}]))
		if r.plan.WithTimes {
			row = append(row, t.median)
		}
		if err := r.add(res, row); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// merge adds the workers' pairs up; index finds a row by its group and labels.
func (o *transitionsOperator) merge(ws []*transitionsWorker, m *groups) ([]transition, map[pairKey]int32) {
	var rows []transition
	index := map[pairKey]int32{}
	for i, w := range ws {
		for key, at := range w.pairs {
			to := pairKey{uint32(m.of(i, int(key.group))), key.source, key.target}
			row, ok := index[to]
			if !ok {
				row = int32(len(rows))
				index[to] = row
				rows = append(rows, transition{group: int(to.group), source: to.source, target: to.target})
			}
			rows[row].count += w.counts[at]
			if w.gaps != nil {
				rows[row].gaps.merge(&w.gaps[at])
			}
			if w.noted != nil {
				rows[row].noted.join(&w.noted[at])
			}
		}
	}
	return rows, index
}

// top orders rows by group, then count, then labels, and keeps the first of
// each group.
func (o *transitionsOperator) top(rows []transition) (shown []int, cut *Cut) {
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &rows[i], &rows[j]
		if n := cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(b.count, a.count)); n != 0 {
			return n
		}
		return cmp.Or(cmp.Compare(o.labeling.text(a.source), o.labeling.text(b.source)),
			cmp.Compare(o.labeling.text(a.target), o.labeling.text(b.target)))
	})
	if o.r.plan.Top == 0 {
		return order, nil
	}
	var kept, all int64
	inGroup := int64(0)
	for k, i := range order {
		if k > 0 && rows[order[k-1]].group != rows[i].group {
			inGroup = 0
		}
		all += rows[i].count
		if inGroup++; inGroup <= o.r.plan.Top {
			shown = append(shown, i)
			kept += rows[i].count
		}
	}
	if len(shown) < len(rows) {
		cut = &Cut{Kept: int64(len(shown)), Of: int64(len(rows)), Share: share(kept, all)}
	}
	return shown, cut
}

// notedMedians asks for the median gap of the rows shown.
func (o *transitionsOperator) notedMedians(rows []transition, shown []int) (err error) {
	for k, i := range shown {
		if k%rowsBetweenLooks == 0 {
			if err := o.r.look(); err != nil {
				return err
			}
		}
		if rows[i].median, err = rows[i].noted.median(o.r); err != nil {
			return err
		}
	}
	return nil
}

// medianSearch is what workers of the second scan share.
type medianSearch struct {
	index  map[pairKey]int32 // row of the answer, by its group and labels
	wanted []gapRange        // by row
	groups func(*groupKey) int
}

// row returns the row of the answer that a worker's pair belongs to, -1 if its
// median is known already or not shown. Codes of labels are the same in all
// scans of a run, those of groups are a worker's own.
func (s *medianSearch) row(groups *grouper, key pairKey) int32 {
	group := 0
	if !groups.whole() {
		group = s.groups(&groups.groups[key.group])
	}
	row, ok := s.index[pairKey{uint32(group), key.source, key.target}]
	if !ok || s.wanted[row].empty() {
		return -1
	}
	return row
}

// medians computes the median gap of the rows shown. Where the first scan left
// open where in its magnitude the median lies, a second scan looks.
func (o *transitionsOperator) medians(ws []*transitionsWorker, m *groups, rows []transition, shown []int, index map[pairKey]int32) error {
	search := &medianSearch{index: index, wanted: make([]gapRange, len(rows)), groups: m.finder(groupersOf(ws, func(w *transitionsWorker) *grouper { return w.groups }))}
	again := false
	for _, i := range shown {
		t := &rows[i]
		if median, ok := t.gaps.median(); ok {
			t.median = median
			continue
		}
		search.wanted[i] = t.gaps.medianRange()
		again = true
	}
	if !again {
		return nil
	}
	o.r.stats.again()
	seconds, err := scan(o.r, func() (*transitionsWorker, error) {
		w := o.worker()
		w.second = &secondScan{medianSearch: search}
		return w, nil
	})
	if err != nil {
		return err
	}
	parts := make([][][]event.Duration, len(rows))
	for _, w := range seconds {
		for pair, row := range w.second.rows {
			if row >= 0 {
				parts[row] = append(parts[row], w.second.kept[pair])
			}
		}
	}
	for row, part := range parts {
		if part != nil {
			rows[row].median = search.wanted[row].median(slices.Concat(part...))
		}
	}
	return nil
}
