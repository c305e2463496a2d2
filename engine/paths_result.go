package engine

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"wend/event"
)

func (o *pathsOperator) run(r *run) (*Result, error) {
	var a pathsAnswer
	packed := o.packing() != nil
	var err error
	if packed {
		a, err = o.answerPacked()
	} else {
		a.ws, err = scan(r, func() (*pathsWorker, error) { return o.worker(), nil })
	}
	if err != nil {
		return nil, err
	}
	if o.grouping.whole() {
		for _, w := range a.ws {
			w.groups.all()
		}
	}
	m, err := o.grouping.merge(groupersOf(a.ws, func(w *pathsWorker) *grouper { return w.groups }))
	if err != nil {
		return nil, err
	}
	if !packed {
		if err := o.answerListed(&a, m); err != nil {
			return nil, err
		}
	}

	res := &Result{weight: "journeys"}
	res.Columns = append(o.grouping.columns(), Column{"path", List}, Column{"journeys", Integer}, Column{"share", Share}, Column{"median_duration", Duration})
	res.Meta.Denominator = "all journeys that gave a path"
	if r.plan.Every != "" || len(r.plan.By) > 0 {
		res.Meta.Denominator += ", within the period and group"
	}
	if res.Meta.Cut = a.cut; a.cut == nil {
		res.Meta.Cut = m.cut
	}
	for _, s := range a.shown {
		e := &a.all.entries[s.entry]
		if err := r.add(res, append(m.cells(int(e.group)), o.labels(a.all.path(e)), e.count, share(e.count, s.of), medianOf(a.durations[s.entry]))); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// pathsAnswer is what all paths come to.
type pathsAnswer struct {
	ws        []*pathsWorker
	all       *pathTable // paths that may be shown
	shown     []shownPath
	cut       *Cut
	durations map[int][]event.Duration // by entry shown
}

// answerListed chooses of the paths that are lists of labels.
func (o *pathsOperator) answerListed(a *pathsAnswer, m *groups) error {
	all, target, err := o.merge(a.ws, m)
	if err != nil {
		return err
	}
	totals := make([]int64, m.len())
	for i := range all.entries {
		totals[all.entries[i].group] += all.entries[i].count
	}
	a.all = all
	a.shown, a.cut = o.choose(all, totals, len(all.entries))
	a.durations = o.durations(a.ws, target, a.shown, len(all.entries))
	return nil
}

const mergedPathBytes = 4 + 4 + 8 + 16

// merge adds the workers' paths up. target says, by worker and its path, which
// path of the whole it is.
func (o *pathsOperator) merge(ws []*pathsWorker, m *groups) (all *pathTable, target [][]uint32, err error) {
	all = newPathTable(o.r)
	for i, w := range ws {
		// What became of each path, and its place among those to choose from.
		if err := o.r.memory.reserve(mergedPathBytes * int64(len(w.table.entries))); err != nil {
			return nil, nil, err
		}
		to := make([]uint32, len(w.table.entries))
		for k := range w.table.entries {
			e := &w.table.entries[k]
			at, err := all.add(uint32(m.of(i, int(e.group))), w.table.path(e), e.count)
			if err != nil {
				return nil, nil, err
			}
			to[k] = uint32(at)
		}
		target = append(target, to)
		w.table = nil
	}
	return all, target, o.r.ctx.Err()
}

// shownPath is a row of the answer: an entry of the table of all paths, and the
// journeys of its group.
type shownPath struct {
	entry int
	of    int64
}

// choose returns, group by group, the most frequent paths: as many as top
// says, or the fewest that cover the share asked for. Equal counts are ordered
// by label, bytewise. The table has all that may be shown; totals are the
// journeys of each group, paths how many paths there are.
func (o *pathsOperator) choose(all *pathTable, totals []int64, paths int) (shown []shownPath, cut *Cut) {
	byGroup := make([][]int32, len(totals))
	for i := range all.entries {
		e := &all.entries[i]
		byGroup[e.group] = append(byGroup[e.group], int32(i))
	}
	var kept, total int64
	for g, entries := range byGroup {
		total += totals[g]
		n := o.most(all, entries, totals[g])
		for _, i := range entries[:n] {
			shown = append(shown, shownPath{int(i), totals[g]})
			kept += all.entries[i].count
		}
	}
	if len(shown) < paths {
		cut = &Cut{Kept: int64(len(shown)), Of: int64(paths), Share: share(kept, total)}
	}
	return shown, cut
}

// most orders the entries of one group as far as they are shown, and returns
// how many are.
func (o *pathsOperator) most(all *pathTable, entries []int32, total int64) int {
	count := func(i int32) int64 { return all.entries[i].count }
	n := len(entries)
	if o.r.plan.Cover > 0 {
		slices.SortFunc(entries, func(a, b int32) int { return cmp.Compare(count(b), count(a)) })
		// In percent, which people write, products are exact where those of
		// shares are not.
		percent := math.Round(o.r.plan.Cover*1e10) / 1e8
		var covered int64
		for n = 0; n < len(entries) && float64(covered)*100 < percent*float64(total); n++ {
			covered += count(entries[n])
		}
	} else if top := o.r.plan.Top; top > 0 {
		n = int(min(int64(n), top))
	}
	if n == 0 {
		return 0
	}
	// Only paths that may be shown are worth comparing by their labels.
	counts := make([]int64, len(entries))
	for k, i := range entries {
		counts[k] = count(i)
	}
	least := -selectRank(negated(counts), n-1)
	candidates := 0
	for k, i := range entries {
		if count(i) >= least {
			entries[candidates], entries[k] = i, entries[candidates]
			candidates++
		}
	}
	slices.SortFunc(entries[:candidates], func(a, b int32) int {
		return cmp.Or(cmp.Compare(count(b), count(a)), o.comparePaths(all.path(&all.entries[a]), all.path(&all.entries[b])))
	})
	return n
}

func negated(counts []int64) []int64 {
	for i := range counts {
		counts[i] = -counts[i]
	}
	return counts
}

func (o *pathsOperator) comparePaths(a, b []uint32) int {
	for k := range min(len(a), len(b)) {
		if a[k] != b[k] {
			return strings.Compare(o.label(a[k]), o.label(b[k]))
		}
	}
	return len(a) - len(b)
}

func (o *pathsOperator) label(code uint32) string {
	if code == longerCode {
		return "(longer)"
	}
	return o.labeling.text(code)
}

func (o *pathsOperator) labels(path []uint32) []string {
	texts := make([]string, len(path))
	for i, code := range path {
		texts[i] = o.label(code)
	}
	return texts
}

// durations collects those of the journeys whose paths are shown.
func (o *pathsOperator) durations(ws []*pathsWorker, target [][]uint32, shown []shownPath, paths int) map[int][]event.Duration {
	wanted := make([]bool, paths)
	for _, s := range shown {
		wanted[s.entry] = true
	}
	lists := map[int][]event.Duration{}
	for i, w := range ws {
		for piece, of := range w.journeys.paths {
			for k, path := range of {
				if at := target[i][path]; wanted[at] {
					lists[int(at)] = append(lists[int(at)], w.journeys.durations[piece][k])
				}
			}
		}
	}
	return lists
}
