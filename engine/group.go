package engine

import (
	"cmp"
	"slices"

	"wend/event"
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
// Rows are ordered by window as listed, then period, then the first expression
// of by and so on: its values by the number of anchors they have in the whole
// answer, the most first, equal ones by value, null after those; (other) last.
//
// A period between the first and the last that has no anchor is a group too,
// with null in the columns of by. Without by and every there is always one
// group a window, also over no events.
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
	const hint = "break down by something that has fewer values, keep the most frequent with top, or raise the limit"
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
	levels  []map[uint64]uint32  // prefix and code -> prefix; the last level's prefixes are groups
	last    []lastPair           // by level, what was looked up last
	groups  []groupKey
	memory  ration
}

type periodKey struct {
	window int
	start  event.Time
}

type lastPair struct {
	key  uint64
	next uint32
	ok   bool
}

// groupKey is one group of one worker.
type groupKey struct {
	periodKey
	codes   []uint32
	anchors int64
}

func (g *grouping) worker() *grouper {
	w := &grouper{grouping: g, starts: map[periodKey]uint32{}, memory: ration{budget: g.run.memory}, last: make([]lastPair, len(g.by)+1)}
	for _, c := range g.by {
		w.coders = append(w.coders, c.worker())
		w.levels = append(w.levels, map[uint64]uint32{})
	}
	w.periods = periods{calendar: g.calendar, max: g.run.opt.Rows}
	return w
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
		pair := uint64(prefix)<<32 | uint64(code)
		if l := &w.last[i+1]; l.ok && l.key == pair {
			prefix = l.next
			continue
		}
		next, ok := w.levels[i][pair]
		if !ok {
			next = uint32(len(w.levels[i]))
			if i == len(codes)-1 {
				if err := w.add(groupKey{periodKey: key, codes: slices.Clone(codes)}); err != nil {
					return 0, err
				}
			}
			w.levels[i][pair] = next
		}
		w.last[i+1] = lastPair{pair, next, true}
		prefix = next
	}
	w.groups[prefix].anchors++
	return int(prefix), nil
}

func (w *grouper) prefix(key periodKey, group bool) (uint32, error) {
	if w.calendar == nil && w.windows == nil && len(w.starts) > 0 {
		return 0, nil
	}
	prefix, ok := w.starts[key]
	if ok {
		return prefix, nil
	}
	if group {
		if err := w.add(groupKey{periodKey: key}); err != nil {
			return 0, err
		}
	}
	prefix = uint32(len(w.starts))
	w.starts[key] = prefix
	return prefix, nil
}

func (w *grouper) add(key groupKey) error {
	if len(w.groups) >= w.run.opt.Groups {
		return tooManyGroups(w.run, len(w.groups)+1)
	}
	if err := w.memory.take(160 + 4*int64(len(key.codes))); err != nil {
		return err
	}
	w.groups = append(w.groups, key)
	return nil
}

func tooManyGroups(r *run, n int) error {
	return &LimitError{Limit: "groups", Value: int64(r.opt.Groups), Reached: int64(n),
		Hint: "break down by something that has fewer values, keep the most frequent with top, choose longer periods, or raise the limit"}
}

// groups are the groups of an answer, in the order of its rows.
type groups struct {
	grouping *grouping
	list     []group
	target   [][]int   // by worker and its group
	values   [][]value // by by, by rank
	cut      *Cut
}

// group is one group of an answer. ranks are of its values; nil for a period
// without anchors.
type group struct {
	periodKey
	ranks   []int32
	anchors int64
}

// value is a value of an expression of by, or (other).
type value struct {
	value   event.Value
	other   bool
	anchors int64
}

// merge makes the answer's groups of the workers'. It applies top.
func (g *grouping) merge(ws []*grouper) (*groups, error) {
	m := &groups{grouping: g, target: make([][]int, len(ws))}
	ranks := m.rankValues(ws)
	index := map[string]int{} // ranks and period, as bytes: merged once a group, not once a row
	var key []byte
	for i, w := range ws {
		m.target[i] = make([]int, len(w.groups))
		for id := range w.groups {
			from := &w.groups[id]
			key = appendInt(appendInt(key[:0], int64(from.window)), int64(from.start))
			to := make([]int32, len(from.codes))
			for b, code := range from.codes {
				to[b] = ranks[b][code]
				key = appendInt(key, int64(to[b]))
			}
			at, ok := index[string(key)]
			if !ok {
				at = len(m.list)
				if at >= g.run.opt.Groups {
					return nil, tooManyGroups(g.run, at+1)
				}
				index[string(key)] = at
				m.list = append(m.list, group{periodKey: from.periodKey, ranks: to})
			}
			m.list[at].anchors += from.anchors
			m.target[i][id] = at
		}
	}
	if err := m.fill(); err != nil {
		return nil, err
	}
	m.order()
	return m, nil
}

func appendInt(b []byte, n int64) []byte {
	for s := 0; s < 64; s += 8 {
		b = append(b, byte(n>>s))
	}
	return b
}

// rankValues orders the values of each expression of by, and returns for each
// the rank of a code. Values that top leaves out share the last rank.
func (m *groups) rankValues(ws []*grouper) []map[uint32]int32 {
	g := m.grouping
	ranks := make([]map[uint32]int32, len(g.by))
	m.values = make([][]value, len(g.by))
	for b, c := range g.by {
		anchors := map[uint32]int64{}
		var all int64
		for _, w := range ws {
			for i := range w.groups {
				anchors[w.groups[i].codes[b]] += w.groups[i].anchors
				all += w.groups[i].anchors
			}
		}
		codes := make([]uint32, 0, len(anchors))
		for code := range anchors {
			codes = append(codes, code)
		}
		slices.SortFunc(codes, func(x, y uint32) int {
			if (x == otherCode) != (y == otherCode) {
				return truth(x == otherCode) - truth(y == otherCode)
			}
			if n := cmp.Compare(anchors[y], anchors[x]); n != 0 || x == otherCode {
				return n
			}
			return compareNullsLast(c.dict.values[x], c.dict.values[y])
		})
		top := len(codes)
		if g.plans[b].Top > 0 && g.kept[b] == nil {
			top = int(min(int64(top), g.plans[b].Top))
		}
		ranks[b] = map[uint32]int32{}
		var kept int64
		for i, code := range codes {
			ranks[b][code] = int32(min(i, top))
			switch {
			case i < top && code != otherCode:
				m.values[b] = append(m.values[b], value{value: c.dict.values[code], anchors: anchors[code]})
				kept += anchors[code]
			case i == top || code == otherCode:
				m.values[b] = append(m.values[b], value{other: true})
			}
		}
		if top < len(codes) && m.cut == nil {
			m.cut = &Cut{Kept: int64(top), Of: int64(len(codes)), Share: share(kept, all)}
		}
	}
	return ranks
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

// fill adds the groups that are shown though they have no anchor.
func (m *groups) fill() error {
	g := m.grouping
	windows := max(1, len(g.windows))
	if g.calendar == nil {
		if len(g.by) > 0 {
			return nil
		}
		have := make([]bool, windows)
		for i := range m.list {
			have[m.list[i].window] = true
		}
		for w := range windows {
			if !have[w] {
				m.list = append(m.list, group{periodKey: periodKey{window: w}})
			}
		}
		return nil
	}
	if len(m.list) == 0 {
		return nil
	}
	have := map[periodKey]bool{}
	first, last := m.list[0].start, m.list[0].start
	for i := range m.list {
		have[m.list[i].periodKey] = true
		first, last = min(first, m.list[i].start), max(last, m.list[i].start)
	}
	for start := first; start <= last; start = g.calendar.next(start) {
		for w := range windows {
			if key := (periodKey{w, start}); !have[key] {
				if len(m.list) >= g.run.opt.Groups {
					return tooManyGroups(g.run, len(m.list)+1)
				}
				m.list = append(m.list, group{periodKey: key})
			}
		}
	}
	return nil
}

func (m *groups) order() {
	perm := make([]int, len(m.list))
	for i := range perm {
		perm[i] = i
	}
	slices.SortFunc(perm, func(i, j int) int {
		x, y := &m.list[i], &m.list[j]
		return cmp.Or(cmp.Compare(x.window, y.window), cmp.Compare(x.start, y.start), slices.Compare(x.ranks, y.ranks))
	})
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
}

// len is the number of groups.
func (m *groups) len() int { return len(m.list) }

// of returns the group that a worker's group became.
func (m *groups) of(worker, id int) int { return m.target[worker][id] }

// empty reports whether group i is a period in which nothing happened.
func (m *groups) empty(i int) bool { return m.list[i].anchors == 0 }

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

// cells are group i's values for columns; the caller appends its own.
func (m *groups) cells(i int) []Cell {
	g, it := m.grouping, &m.list[i]
	cells := make([]Cell, 0, 16)
	if g.windows != nil {
		cells = append(cells, g.windows[it.window].Milliseconds())
	}
	if g.calendar != nil {
		cells = append(cells, it.start)
	}
	for b := range g.plans {
		if it.ranks == nil {
			cells = append(cells, nil)
			continue
		}
		x := m.values[b][it.ranks[b]]
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
