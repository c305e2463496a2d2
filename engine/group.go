package engine

import (
	"cmp"
	"encoding/binary"
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
)

// grouping splits an answer by window, by period of `every`, and by the values
// of `by`. An operator makes one, gives each worker a grouper, and at the end
// has merge turn the workers' groups into those of the answer:
//
//	g, err := r.grouping()            // once, before the scan
//	w := g.worker()                   // one a worker
//	id, err := w.group(v, place, window, v.Time.At(anchor))
//	accumulators[id].add(…)           // dense ids from 0, this worker's own
//	m, err := g.merge(groupers)       // after the scan
//	total[m.of(worker, id)].add(…)    // groups of the answer, in the order of its rows
//	row := append(m.cells(i), …)
//
// Rows are ordered by window as listed, then period, then group. Groups stand
// in one order in all windows and periods: those with the most anchors in the
// whole answer first, equal ones by their values, null after the values, and
// (other) last.
//
// All windows and all periods between the first and the last have all groups,
// also those without anchors there; operators for which no anchor means no row
// have none for them. Without by there is always the one group of all.
type grouping struct {
	run      *run
	by       []*coding
	plans    []query.ByPlan
	calendar *calendar
	windows  []event.Duration  // more than one: a column
	kept     []map[uint32]bool // by by, after keep: codes that stand for themselves; nil all
}

func (r *run) grouping() (*grouping, error) {
	g := &grouping{run: r, plans: r.plan.By, kept: make([]map[uint32]bool, len(r.plan.By))}
	const hint = "break down by something that has fewer values, or keep the most frequent with top"
	if n := len(r.plan.By); n > byMax {
		return nil, &LimitError{Limit: "by", Value: byMax, Reached: int64(n), Hint: "break down by fewer expressions"}
	}
	for _, by := range r.plan.By {
		c, err := r.coding(by.Expr, r.dictionary("groups", hint))
		if err != nil {
			return nil, err
		}
		g.by = append(g.by, c)
	}
	if r.plan.Every != "" {
		g.calendar = newCalendar(r.plan.Every, r.plan.Timezone)
	}
	if len(r.plan.Windows) > 1 {
		g.windows = r.plan.Windows
	}
	return g, nil
}

// whole reports whether there is a single group.
func (g *grouping) whole() bool { return len(g.by) == 0 && g.calendar == nil && g.windows == nil }

// otherCode stands for all values that top leaves out, once keep has told which.
const otherCode = ^uint32(0)

// grouper is one worker's side of a grouping.
type grouper struct {
	*grouping
	coders  []*coder
	periods periods
	starts  map[periodKey]uint32 // window and period -> prefix

	recent       periodKey // looked up last, for events of a journey lie close together
	recentPrefix uint32

	levels []level // prefix and code -> prefix; the last level's prefixes are groups
	groups []groupKey
	memory ration
}

type periodKey struct {
	window int
	start  event.Time
}

// level leads from a prefix and the code of the next expression of by to a
// longer prefix: by index where both are small, else by hashing.
type level struct {
	near [][]uint32 // by prefix, by code: prefix + 1
	far  map[uint64]uint32
	n    uint32
}

const (
	nearCodes    = 256
	nearPrefixes = 1024
	farBytes     = 32 // of an entry of far, with the room of its table
)

func (l *level) find(prefix, code uint32) (next uint32, ok bool) {
	if code < nearCodes && prefix < uint32(len(l.near)) {
		if codes := l.near[prefix]; codes != nil {
			next = codes[code]
			return next - 1, next != 0
		}
		return 0, false
	}
	if code < nearCodes && prefix < nearPrefixes {
		return 0, false
	}
	next, ok = l.far[uint64(prefix)<<32|uint64(code)]
	return next, ok
}

// add makes the next prefix.
func (l *level) add(prefix, code uint32, memory *ration) (next uint32, err error) {
	next = l.n
	l.n++
	if code >= nearCodes || prefix >= nearPrefixes {
		if err := memory.take(farBytes); err != nil {
			return 0, err
		}
		if l.far == nil {
			l.far = map[uint64]uint32{}
		}
		l.far[uint64(prefix)<<32|uint64(code)] = next
		return next, nil
	}
	for uint32(len(l.near)) <= prefix {
		l.near = append(l.near, nil)
	}
	if l.near[prefix] == nil {
		if err := memory.take(4 * nearCodes); err != nil {
			return 0, err
		}
		l.near[prefix] = make([]uint32, nearCodes)
	}
	l.near[prefix][code] = next + 1
	return next, nil
}

// groupKey is one group of one worker.
type groupKey struct {
	periodKey
	codes   []uint32
	anchors int64
}

func (g *grouping) worker() *grouper {
	w := &grouper{grouping: g, starts: map[periodKey]uint32{}, memory: ration{budget: g.run.memory}}
	for _, c := range g.by {
		w.coders = append(w.coders, c.worker())
		w.levels = append(w.levels, level{})
	}
	w.periods = periods{calendar: g.calendar, max: g.run.opt.Rows}
	return w
}

// load prepares for a tile most of whose rows are anchors.
func (w *grouper) load(v *view) error {
	for _, c := range w.coders {
		if err := c.load(v); err != nil {
			return err
		}
	}
	return nil
}

// group returns the group of an anchor and counts it: the place's event in
// window number window (0 if there is one). Values of by are read at the place.
func (w *grouper) group(v *view, p *place, window int, anchor event.Time) (int, error) {
	var codes [byMax]uint32
	for i, c := range w.coders {
		code, err := c.code(v, p)
		if err != nil {
			return 0, err
		}
		if kept := w.kept[i]; kept != nil && !kept[code] {
			code = otherCode
		}
		codes[i] = code
	}
	return w.find(window, anchor, codes[:len(w.coders)])
}

// byMax is how many expressions by may list.
const byMax = 16

// find returns the group of values given by their codes.
func (w *grouper) find(window int, anchor event.Time, codes []uint32) (int, error) {
	key := periodKey{window: window}
	if w.calendar != nil {
		start, err := w.periods.of(anchor)
		if err != nil {
			return 0, err
		}
		key.start = start
	}
	prefix, err := w.prefix(key, len(codes) == 0)
	if err != nil {
		return 0, err
	}
	for i, code := range codes {
		next, ok := w.levels[i].find(prefix, code)
		if !ok {
			if i == len(codes)-1 {
				if err := w.add(groupKey{periodKey: key, codes: slices.Clone(codes)}); err != nil {
					return 0, err
				}
			}
			if next, err = w.levels[i].add(prefix, code, &w.memory); err != nil {
				return 0, err
			}
		}
		prefix = next
	}
	w.groups[prefix].anchors++
	return int(prefix), nil
}

func (w *grouper) prefix(key periodKey, group bool) (uint32, error) {
	if len(w.starts) > 0 && key == w.recent {
		return w.recentPrefix, nil
	}
	prefix, ok := w.starts[key]
	if ok {
		w.recent, w.recentPrefix = key, prefix
		return prefix, nil
	}
	if group {
		if err := w.add(groupKey{periodKey: key}); err != nil {
			return 0, err
		}
	}
	prefix = uint32(len(w.starts))
	w.starts[key] = prefix
	w.recent, w.recentPrefix = key, prefix
	return prefix, nil
}

// groupKeyBytes is what a group takes at a worker, and about what a statement
// keeps for it beside.
const groupKeyBytes = 112

func (w *grouper) add(key groupKey) error {
	if len(w.groups) >= w.run.opt.Groups {
		return tooManyGroups(w.run, len(w.groups)+1)
	}
	if err := w.memory.take(groupKeyBytes + 4*int64(len(key.codes))); err != nil {
		return err
	}
	w.groups = append(w.groups, key)
	return nil
}

func tooManyGroups(r *run, n int) error {
	return &LimitError{Limit: "groups", Value: int64(r.opt.Groups), Reached: int64(n),
		Hint: "break down by something that has fewer values, keep the most frequent with top, or choose longer periods"}
}

// all makes the one group of a grouping that is whole, for workers that do not
// ask for each anchor's group.
func (w *grouper) all() {
	if len(w.groups) == 0 {
		w.groups = append(w.groups, groupKey{})
	}
	w.groups[0].anchors++
}

// groups are the groups of an answer, in the order of its rows.
type groups struct {
	grouping *grouping
	list     []group
	target   [][]int   // by worker and its group
	values   [][]value // by expression of by
	combined []combination
	cut      *Cut
}

// group is one group of an answer.
type group struct {
	periodKey
	combination int
	anchors     int64
}

// combination is one value for each expression of by.
type combination struct {
	values  []int32 // indexes into groups.values
	anchors int64
}

// value is a value of an expression of by, or (other).
type value struct {
	value event.Value
	other bool
}

// What a combination of values and a group of the answer take in merge: in its
// lists, its indexes and the permutations that order them.
const (
	combinationBytes = 128
	mergedGroupBytes = 176
)

// What rankValues takes for a value: to count and sort it, and to keep it with
// its rank. Tables have their room to grow.
const (
	countedValueBytes = 44
	rankedValueBytes  = 64
)

// merge makes the answer's groups of the workers'. It applies top.
func (g *grouping) merge(ws []*grouper) (*groups, error) {
	m := &groups{grouping: g, target: make([][]int, len(ws))}
	memory := ration{budget: g.run.memory}
	ranks, err := m.rankValues(ws, &memory)
	if err != nil {
		return nil, err
	}
	combined := map[string]int{}
	index := map[group]int{}
	var key []byte
	for i, w := range ws {
		if err := memory.take(8 * int64(len(w.groups))); err != nil {
			return nil, err
		}
		m.target[i] = make([]int, len(w.groups))
		for id := range w.groups {
			if id%rowsBetweenChecks == 0 {
				if err := g.run.look(); err != nil {
					return nil, err
				}
			}
			from := &w.groups[id]
			key = key[:0]
			values := make([]int32, len(from.codes))
			for b, code := range from.codes {
				values[b] = ranks[b][code]
				key = binary.LittleEndian.AppendUint32(key, uint32(values[b]))
			}
			c, ok := combined[string(key)]
			if !ok {
				if err := memory.take(combinationBytes + 8*int64(len(from.codes))); err != nil {
					return nil, err
				}
				c = len(m.combined)
				combined[string(key)] = c
				m.combined = append(m.combined, combination{values: values})
			}
			m.combined[c].anchors += from.anchors
			at, ok := index[group{periodKey: from.periodKey, combination: c}]
			if !ok {
				at = len(m.list)
				if at >= g.run.opt.Groups {
					return nil, tooManyGroups(g.run, at+1)
				}
				if err := memory.take(mergedGroupBytes); err != nil {
					return nil, err
				}
				index[group{periodKey: from.periodKey, combination: c}] = at
				m.list = append(m.list, group{periodKey: from.periodKey, combination: c})
			}
			m.list[at].anchors += from.anchors
			m.target[i][id] = at
		}
	}
	if err := m.fill(index); err != nil {
		return nil, err
	}
	if err := m.order(); err != nil {
		return nil, err
	}
	return m, nil
}

// rankValues finds which values of each expression of by top keeps, and
// returns for each code the index of its value. Values that top leaves out
// share the last index.
func (m *groups) rankValues(ws []*grouper, memory *ration) ([]map[uint32]int32, error) {
	g := m.grouping
	ranks := make([]map[uint32]int32, len(g.by))
	m.values = make([][]value, len(g.by))
	for b, c := range g.by {
		anchors := map[uint32]int64{}
		var all int64
		for _, w := range ws {
			for i := range w.groups {
				if i%rowsBetweenChecks == 0 {
					if err := g.run.look(); err != nil {
						return nil, err
					}
				}
				known := len(anchors)
				anchors[w.groups[i].codes[b]] += w.groups[i].anchors
				all += w.groups[i].anchors
				if len(anchors) > known {
					if err := memory.take(countedValueBytes + rankedValueBytes); err != nil {
						return nil, err
					}
				}
			}
		}
		codes := make([]uint32, 0, len(anchors))
		for code := range anchors {
			codes = append(codes, code)
		}
		var err error
		slices.SortFunc(codes, looking(g.run.look, &err, func(x, y uint32) int {
			if (x == otherCode) != (y == otherCode) {
				return truth(x == otherCode) - truth(y == otherCode)
			}
			if n := cmp.Compare(anchors[y], anchors[x]); n != 0 && !seeded.On("top_by_value") || x == otherCode {
				return n
			}
			return compareNullsLast(c.dict.values[x], c.dict.values[y])
		}))
		if err != nil {
			return nil, err
		}
		top := len(codes)
		if g.plans[b].Top > 0 && g.kept[b] == nil {
			top = int(min(int64(top), g.plans[b].Top))
		}
		ranks[b] = map[uint32]int32{}
		m.values[b] = make([]value, 0, min(top+1, len(codes)))
		var kept int64
		for i, code := range codes {
			if i%rowsBetweenChecks == 0 {
				if err := g.run.look(); err != nil {
					return nil, err
				}
			}
			ranks[b][code] = int32(min(i, top))
			switch {
			case i < top && code != otherCode:
				m.values[b] = append(m.values[b], value{value: c.dict.values[code]})
				kept += anchors[code]
			case i == top || code == otherCode:
				m.values[b] = append(m.values[b], value{other: true})
			}
		}
		if top < len(codes) && m.cut == nil {
			m.cut = &Cut{Kept: int64(top), Of: int64(len(codes)), Share: share(kept, all)}
		}
		memory.left += countedValueBytes * int64(len(codes))
	}
	return ranks, nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// compareNullsLast orders values as answers list them.
func compareNullsLast(a, b event.Value) int {
	if a.IsNull() || b.IsNull() {
		return truth(a.IsNull()) - truth(b.IsNull())
	}
	return event.Compare(a, b)
}

// fill adds the groups that have no anchor.
func (m *groups) fill(have map[group]int) error {
	g := m.grouping
	if len(g.by) == 0 && len(m.combined) == 0 {
		m.combined = append(m.combined, combination{})
	}
	starts := []event.Time{0}
	if g.calendar != nil {
		if len(m.list) == 0 {
			return nil
		}
		first, last := m.list[0].start, m.list[0].start
		for i := range m.list {
			first, last = min(first, m.list[i].start), max(last, m.list[i].start)
		}
		starts = starts[:0]
		for start := first; start <= last; start = g.calendar.next(start) {
			if starts = append(starts, start); len(starts) > g.run.opt.Rows {
				p := periods{max: g.run.opt.Rows}
				return p.tooMany(len(starts))
			}
		}
	}
	windows := max(1, len(g.windows))
	if n := windows * len(starts) * len(m.combined); n > g.run.opt.Groups {
		return tooManyGroups(g.run, n)
	} else if err := g.run.memory.reserve(int64(n-len(m.list)) * mergedGroupBytes); err != nil {
		return err
	}
	for w := range windows {
		for _, start := range starts {
			for c := range m.combined {
				if c%rowsBetweenChecks == 0 {
					if err := g.run.look(); err != nil {
						return err
					}
				}
				key := group{periodKey: periodKey{w, start}, combination: c}
				if _, ok := have[key]; !ok {
					m.list = append(m.list, key)
				}
			}
		}
	}
	return nil
}

func (m *groups) order() error {
	ranks, err := m.rankCombinations()
	if err != nil {
		return err
	}
	perm := make([]int, len(m.list))
	for i := range perm {
		perm[i] = i
	}
	slices.SortFunc(perm, looking(m.grouping.run.look, &err, func(i, j int) int {
		x, y := &m.list[i], &m.list[j]
		return cmp.Or(cmp.Compare(x.window, y.window), cmp.Compare(x.start, y.start),
			cmp.Compare(ranks[x.combination], ranks[y.combination]))
	}))
	if err != nil {
		return err
	}
	place := make([]int, len(perm))
	ordered := make([]group, len(perm))
	for at, i := range perm {
		place[i], ordered[at] = at, m.list[i]
	}
	m.list = ordered
	for _, ids := range m.target {
		for id := range ids {
			ids[id] = place[ids[id]]
		}
	}
	return nil
}

// rankCombinations returns the place of each combination in the order of groups.
func (m *groups) rankCombinations() ([]int, error) {
	perm := make([]int, len(m.combined))
	for i := range perm {
		perm[i] = i
	}
	isOther := func(c *combination, b int) int { return truth(m.values[b][c.values[b]].other) }
	others := func(c *combination) int {
		n := 0
		for b := range m.values {
			n += isOther(c, b)
		}
		return n
	}
	var err error
	slices.SortFunc(perm, looking(m.grouping.run.look, &err, func(i, j int) int {
		x, y := &m.combined[i], &m.combined[j]
		if n := cmp.Or(others(x)-others(y), cmp.Compare(y.anchors, x.anchors)); n != 0 {
			return n
		}
		for b, values := range m.values {
			if n := isOther(x, b) - isOther(y, b); n != 0 {
				return n
			}
			if n := compareNullsLast(values[x.values[b]].value, values[y.values[b]].value); n != 0 {
				return n
			}
		}
		return 0
	}))
	if err != nil {
		return nil, err
	}
	ranks := make([]int, len(perm))
	for rank, i := range perm {
		ranks[i] = rank
	}
	return ranks, nil
}

// len is the number of groups.
func (m *groups) len() int { return len(m.list) }

// of returns the group that a worker's group became.
func (m *groups) of(worker, id int) int { return m.target[worker][id] }

// finder returns a function that finds the group of the answer for a group of
// any worker, also one of a later scan.
func (m *groups) finder(ws []*grouper) func(*groupKey) int {
	index := map[string]int{}
	for i, w := range ws {
		for id := range w.groups {
			index[string(w.groups[id].bytes())] = m.of(i, id)
		}
	}
	return func(g *groupKey) int { return index[string(g.bytes())] }
}

func (g *groupKey) bytes() []byte {
	b := make([]byte, 0, 16+4*byMax)
	b = binary.LittleEndian.AppendUint64(b, uint64(g.window))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.start))
	for _, code := range g.codes {
		b = binary.LittleEndian.AppendUint32(b, code)
	}
	return b
}

// keep tells the grouping which values top kept, so that a second scan groups
// the rest as (other) from the start: what is counted distinctly within a
// group, such as customers, cannot be added up afterwards.
func (g *grouping) keep(m *groups) {
	for b, by := range g.plans {
		if by.Top == 0 || len(m.values[b]) == 0 || !m.values[b][len(m.values[b])-1].other {
			continue
		}
		kept := map[event.Value]bool{}
		for _, x := range m.values[b] {
			if !x.other {
				kept[x.value] = true
			}
		}
		g.kept[b] = map[uint32]bool{}
		for code, x := range g.by[b].dict.values {
			if kept[x] {
				g.kept[b][uint32(code)] = true
			}
		}
	}
}

// hasTop reports whether an expression of by has a top.
func (g *grouping) hasTop() bool {
	return slices.ContainsFunc(g.plans, func(b query.ByPlan) bool { return b.Top > 0 })
}

// columns are those in front of a statement's own: window, period, by.
func (g *grouping) columns() []Column {
	var cols []Column
	if g.windows != nil {
		cols = append(cols, Column{"window", Duration})
	}
	if g.calendar != nil {
		cols = append(cols, Column{"period", Time})
	}
	for _, by := range g.plans {
		cols = append(cols, Column{by.Name, byColumnType(by)})
	}
	return cols
}

// byColumnType is the type of a column of by. With top it is text, for
// (other) stands among the values.
func byColumnType(by query.ByPlan) ColumnType {
	if by.Top > 0 {
		return String
	}
	return columnType(by.Expr.Type)
}

// cellsOfGroups is how many cells a row of a statement with groups has room for.
const cellsOfGroups = 12

// cells are group i's values for columns; the caller appends its own.
func (m *groups) cells(i int) []Cell {
	g, it := m.grouping, &m.list[i]
	cells := make([]Cell, 0, cellsOfGroups)
	if g.windows != nil {
		cells = append(cells, g.windows[it.window].Milliseconds())
	}
	if g.calendar != nil {
		cells = append(cells, it.start)
	}
	for b := range g.plans {
		x := m.values[b][m.combined[it.combination].values[b]]
		switch {
		case x.other:
			cells = append(cells, "(other)")
		case g.plans[b].Top > 0 && !x.value.IsNull():
			cells = append(cells, x.value.String())
		default:
			cells = append(cells, cell(x.value))
		}
	}
	return cells
}

// columnType is how values of a type are shown.
func columnType(t event.Type) ColumnType {
	switch t {
	case event.IntegerType:
		return Integer
	case event.FloatType:
		return Number
	case event.BooleanType:
		return Boolean
	case event.TimeType:
		return Time
	}
	return String
}

// cell is a value as a cell.
func cell(x event.Value) Cell {
	switch x.Type() {
	case event.StringType:
		return x.Text()
	case event.IntegerType:
		return x.Int()
	case event.FloatType:
		return x.Float()
	case event.BooleanType:
		return x.Bool()
	case event.TimeType:
		return x.Time()
	}
	return nil
}
