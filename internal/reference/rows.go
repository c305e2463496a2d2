package reference

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/query"
)

// record is one thing that a statement counts, with what rows are split by.
type record struct {
	window int
	period event.Time
	group  []any // the values of `by`, as cells
	scope  *scope
}

// other is the group of the values that `top` does not keep.
const other = "(other)"

// rest marks the group other among cells, apart from a value that reads so.
type rest struct{}

// table collects the rows of an answer: `rows` is called for every window,
// period and group with the places of their records among all records.
type table struct {
	ev      *evaluator
	s       *settings
	records []record
	answer  *Answer
}

// newTable begins an answer. Its first columns say what rows are split by.
func (ev *evaluator) newTable(s *settings, windows bool, columns ...string) *table {
	t := &table{ev: ev, s: s, answer: &Answer{}}
	if windows && len(s.windows) > 1 {
		t.answer.Columns = append(t.answer.Columns, "window")
	}
	if s.every != "" {
		t.answer.Columns = append(t.answer.Columns, "period")
	}
	for _, g := range s.by {
		t.answer.Columns = append(t.answer.Columns, g.Expr.String())
	}
	t.answer.Columns = append(t.answer.Columns, columns...)
	return t
}

// add counts one thing; sc says what the expressions of `by` see.
func (t *table) add(window int, period event.Time, sc *scope) {
	r := record{window: window, period: period, scope: sc}
	for _, g := range t.s.by {
		r.group = append(r.group, cell(t.ev.value(g.Expr, sc)))
	}
	t.records = append(t.records, r)
}

func cell(v event.Value) any {
	switch v.Type() {
	case event.StringType:
		return v.Text()
	case event.IntegerType:
		return v.Int()
	case event.FloatType:
		return v.Float() + 0 // one zero, whatever its sign
	case event.BooleanType:
		return v.Bool()
	case event.TimeType:
		return v.Time()
	}
	return nil
}

// finish lays the records out by window, period and group. everywhere: groups
// and periods without records get rows as well.
func (t *table) finish(everywhere bool, rows func(members []int) [][]any) *Answer {
	for i, g := range t.s.by {
		if g.Top > 0 {
			t.keepTop(i, int(g.Top))
		}
	}
	var all [][]any
	for _, r := range t.records {
		all = append(all, r.group)
	}
	groups := mostFrequent(all)
	if len(t.s.by) == 0 {
		groups = [][]any{nil}
	}
	type place struct {
		window int
		period event.Time
		group  string
	}
	members := map[place][]int{}
	for i, r := range t.records {
		at := place{r.window, r.period, fmt.Sprintf("%#v", r.group)}
		members[at] = append(members[at], i)
	}
	for w := range t.s.windows {
		for _, period := range t.periods() {
			for _, group := range groups {
				of := members[place{w, period, fmt.Sprintf("%#v", group)}]
				if len(of) > 0 || everywhere {
					t.append(w, period, group, rows(of))
				}
			}
		}
	}
	t.order()
	return t.answer
}

func (t *table) append(window int, period event.Time, group []any, rows [][]any) {
	for _, row := range rows {
		var head []any
		if slices.Contains(t.answer.Columns, "window") {
			head = append(head, milliseconds(t.s.windows[window]))
		}
		if t.s.every != "" {
			head = append(head, period)
		}
		for _, c := range group {
			if c == (rest{}) {
				c = other
			}
			head = append(head, c)
		}
		t.answer.Rows = append(t.answer.Rows, append(head, row...))
	}
}

// periods are all from that of the first record to that of the last.
func (t *table) periods() []event.Time {
	if t.s.every == "" {
		return []event.Time{0}
	}
	if len(t.records) == 0 {
		return nil
	}
	byTime := func(a, b record) int { return cmp.Compare(a.period, b.period) }
	last := slices.MaxFunc(t.records, byTime).period
	var periods []event.Time
	for p := slices.MinFunc(t.records, byTime).period; p <= last; p = t.ev.period(p, t.s.every).to {
		periods = append(periods, p)
	}
	return periods
}

// keepTop puts the records that have none of the n most frequent values of
// column i into one group.
func (t *table) keepTop(i, n int) {
	var single [][]any
	for _, r := range t.records {
		single = append(single, r.group[i:i+1])
	}
	kept := mostFrequent(single)
	kept = kept[:min(n, len(kept))]
	for _, r := range t.records {
		if !slices.ContainsFunc(kept, func(k []any) bool { return equalCells(k, r.group[i:i+1]) }) {
			r.group[i] = rest{}
		}
	}
}

// mostFrequent lists the different tuples, the most frequent first, equal ones
// by their values.
func mostFrequent(all [][]any) [][]any {
	tuples := slices.SortedFunc(slices.Values(all), compareTuples)
	different := slices.CompactFunc(slices.Clone(tuples), equalCells)
	count := make([]int, len(different))
	at := 0
	for _, tuple := range tuples {
		if !equalCells(tuple, different[at]) {
			at++
		}
		count[at]++
	}
	order := make([]int, len(different))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(countRests(different[a]), countRests(different[b])), cmp.Compare(count[b], count[a]))
	})
	sorted := make([][]any, len(order))
	for i, at := range order {
		sorted[i] = different[at]
	}
	return sorted
}

// countRests counts the places taken by (other): such groups come last.
func countRests(tuple []any) int {
	n := 0
	for _, c := range tuple {
		if c == (rest{}) {
			n++
		}
	}
	return n
}

func equalCells(a, b []any) bool { return compareTuples(a, b) == 0 }

func compareTuples(a, b []any) int { return slices.CompareFunc(a, b, compareCells) }

// compareCells orders the cells of one column; null comes after the values.
func compareCells(a, b any) int {
	switch x := a.(type) {
	case rest, nil:
		return cmp.Compare(rank(a), rank(b))
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y)
		}
	case bool:
		if y, ok := b.(bool); ok {
			return event.Compare(event.Boolean(x), event.Boolean(y))
		}
	case event.Time:
		if y, ok := b.(event.Time); ok {
			return cmp.Compare(x, y)
		}
	case []string:
		if y, ok := b.([]string); ok {
			return slices.Compare(x, y)
		}
	default:
		if rank(b) == 0 {
			return event.Compare(number(a), number(b))
		}
	}
	return cmp.Compare(rank(a), rank(b))
}

func rank(c any) int {
	switch c.(type) {
	case nil:
		return 1
	case rest:
		return 2
	}
	return 0
}

func number(c any) event.Value {
	if i, ok := c.(int64); ok {
		return event.Integer(i)
	}
	return event.Float(c.(float64))
}

// order applies `order by` and `limit`.
func (t *table) order() {
	if t.s.orderBy != "" {
		column := slices.Index(t.answer.Columns, t.s.orderBy)
		if column < 0 {
			fail("no column %q", t.s.orderBy)
		}
		slices.SortStableFunc(t.answer.Rows, func(a, b []any) int {
			x, y := a[column], b[column]
			if t.s.descending && x != nil && y != nil {
				return compareCells(y, x)
			}
			return compareCells(x, y)
		})
	}
	if t.s.limit >= 0 && len(t.answer.Rows) > t.s.limit {
		t.answer.Rows = t.answer.Rows[:t.s.limit]
	}
}

func milliseconds(d event.Duration) float64 { return float64(d) / 1000 }

// durationPercentile is a percentile of durations in milliseconds, nil over nothing.
func durationPercentile(durations []event.Duration, p float64) any {
	var numbers []float64
	for _, d := range durations {
		numbers = append(numbers, float64(d))
	}
	if v := percentile(numbers, p); v != nil {
		return *v / 1000
	}
	return nil
}

func share(part, whole int) any {
	if whole == 0 {
		return nil
	}
	return float64(part) / float64(whole)
}

// label is what a path shows for an event.
func (ev *evaluator) label(of []*query.Expr, f *fact) string {
	if len(of) == 0 {
		return f.Name
	}
	var parts []string
	for _, e := range of {
		v := ev.value(e, &scope{at: f})
		switch v.Type() {
		case event.None:
			v = event.String("(none)")
		case event.FloatType:
			v = event.Float(v.Float() + 0) // one zero, whatever its sign
		}
		parts = append(parts, v.String())
	}
	return strings.Join(parts, " @ ")
}
