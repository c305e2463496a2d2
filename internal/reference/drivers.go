package reference

import (
	"cmp"
	"math"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about drivers: a unit is undecided as long as
// some chain from the entry of its reported attempt can go on. T is rounded down
// to a microsecond. A number's quartiles are interpolated; a value on a border
// belongs below, and with `top` nothing is cut. p_value is null where a margin
// of the table is empty, and Holm counts the others only. lift is taken of the
// cells as they are. Rows by chi-square, the greatest first, then by factor as
// listed, then by value, null after the values and what the factor's `top` leaves
// out after null; the statement's `top` keeps the first.

// normal975 is the 97.5 % point of the normal distribution.
const normal975 = 1.959963984540054

// subject is one unit that converted or dropped.
type subject struct {
	outcome   outcome
	converted bool
}

// numbersMax is how many values a number has before it is cut at its quartiles.
const numbersMax = 20

func (ev *evaluator) drivers(q *query.Query, s *settings) *Answer {
	whole := *s
	whole.by = nil
	t := ev.newTable(&whole, false, "factor", "value", "converted", "dropped", "odds_ratio", "low", "high", "lift", "p_value")
	p := ev.pattern(q.Pattern)
	var subjects []subject
	ev.eachOutcome(p, s, 0, func(_ event.Time, o outcome) {
		converted := o.level == len(p.steps)
		if converted || !o.open {
			subjects = append(subjects, subject{o, converted})
		}
	})
	var rows []factorRow
	for i, g := range s.by {
		if g.Expr.Op == "name" && g.Expr.Name.Text == "events" && !g.Expr.Name.Quoted {
			rows = append(rows, ev.eventRows(i, s, subjects)...)
		} else {
			rows = append(rows, ev.factorRows(i, g, subjects)...)
		}
	}
	slices.SortStableFunc(rows, func(a, b factorRow) int {
		if a.chi == b.chi && a.factor == b.factor {
			return compareCells(a.value, b.value)
		}
		return cmp.Or(cmp.Compare(b.chi, a.chi), cmp.Compare(a.factor, b.factor))
	})
	holm(rows)
	if s.top >= 0 && len(rows) > s.top {
		rows = rows[:s.top]
	}
	for _, row := range rows {
		t.answer.Rows = append(t.answer.Rows, append([]any{s.by[row.factor].Expr.String(), row.text}, row.cells...))
	}
	t.order()
	return t.answer
}

// factorRow is a row before its place is known.
type factorRow struct {
	factor int
	value  any // orders rows
	text   any
	chi    float64 // negative: undefined
	cells  []any
}

// factorRows compares those with each value of an expression on the entry.
func (ev *evaluator) factorRows(factor int, g query.Group, subjects []subject) []factorRow {
	var values []any
	for _, u := range subjects {
		values = append(values, cell(ev.value(g.Expr, u.outcome.scope())))
	}
	var all [][]any
	for _, v := range values {
		all = append(all, []any{v})
	}
	different := mostFrequent(all)
	var bounds []float64
	if g.Top > 0 {
		different = different[:min(int(g.Top), len(different))]
		for i, v := range values {
			if !slices.ContainsFunc(different, func(k []any) bool { return equalCells(k, []any{v}) }) {
				values[i] = rest{}
			}
		}
	} else if bounds = quartilesOf(different, values); bounds != nil {
		for i, v := range values {
			if v != nil {
				place, _ := slices.BinarySearch(bounds, number(v).Float())
				values[i] = int64(place)
			}
		}
	}
	all = nil
	for _, v := range values {
		all = append(all, []any{v})
	}
	var rows []factorRow
	for _, d := range mostFrequent(all) {
		with := make([]bool, len(values))
		for i, v := range values {
			with[i] = equalCells([]any{v}, d)
		}
		row := factorRow{factor: factor, value: d[0]}
		switch v := d[0].(type) {
		case nil:
		case rest:
			row.text = other
		default:
			row.text = textOf(v)
			if bounds != nil {
				row.text = betweenBounds(bounds, int(v.(int64)))
			}
		}
		row.chi, row.cells = fourfold(subjects, with)
		rows = append(rows, row)
	}
	return rows
}

func textOf(c any) string {
	switch c := c.(type) {
	case string:
		return c
	case bool:
		return event.Boolean(c).String()
	case event.Time:
		return c.String()
	}
	return number(c).String()
}

// quartilesOf returns the quartiles of numbers that have more than 20 values.
func quartilesOf(different [][]any, values []any) []float64 {
	var numbers []float64
	count := 0
	for _, d := range different {
		if d[0] != nil {
			count++
		}
	}
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			numbers = append(numbers, float64(v))
		case float64:
			numbers = append(numbers, v)
		}
	}
	if len(numbers) == 0 || count <= numbersMax {
		return nil
	}
	return slices.Compact([]float64{*percentile(numbers, 0.25), *percentile(numbers, 0.5), *percentile(numbers, 0.75)})
}

func betweenBounds(bounds []float64, place int) string {
	text := func(i int) string { return event.Float(bounds[i]).String() }
	switch place {
	case 0:
		return "<= " + text(0)
	case len(bounds):
		return "> " + text(place-1)
	}
	return "> " + text(place-1) + " to " + text(place)
}

// eventRows compares those that met a touchpoint after the entry, up to T, among
// the units that were undecided then.
func (ev *evaluator) eventRows(factor int, s *settings, subjects []subject) []factorRow {
	var times []float64
	for _, u := range subjects {
		if u.converted {
			times = append(times, float64(u.outcome.elapsed(0, u.outcome.level-1)))
		}
	}
	quartile := percentile(times, 0.25)
	if quartile == nil {
		return nil
	}
	early := event.Duration(math.Floor(*quartile))
	var undecided []subject
	for _, u := range subjects {
		if ev.decided(u.outcome, s).Sub(u.outcome.scope().at.Time) > early {
			undecided = append(undecided, u)
		}
	}
	met := map[string][]bool{}
	for i, u := range undecided {
		m, entry := u.outcome.matching, u.outcome.places()[0]
		for _, f := range m.events[entry+1:] {
			if f.Time.Sub(m.events[entry].Time) > early {
				continue
			}
			if met[f.Name] == nil {
				met[f.Name] = make([]bool, len(undecided))
			}
			met[f.Name][i] = true
		}
	}
	var rows []factorRow
	for name, with := range met {
		row := factorRow{factor: factor, value: name, text: name}
		row.chi, row.cells = fourfold(undecided, with)
		rows = append(rows, row)
	}
	return rows
}

// decided is when the outcome was certain: with the last step, or when no chain
// from the entry could go on.
func (ev *evaluator) decided(o outcome, s *settings) event.Time {
	m := o.matching
	if o.level == len(m.steps) {
		return m.events[o.reported.at].Time
	}
	entry := o.places()[0]
	limit := m.events[entry].Time.Add(m.window)
	if s.session {
		limit = min(limit, ev.sessionEnd(m.events[entry], s))
	}
	if m.anyOrder {
		return limit
	}
	decided := m.events[entry].Time
	for k, chains := range m.chainsInOrder(entry) {
		for _, c := range chains {
			if c == nil || k+1 == len(m.steps) {
				continue
			}
			until := limit
			if m.steps[k+1].bound >= 0 {
				until = min(until, m.events[c.at].Time.Add(m.steps[k+1].bound))
			}
			if over, _, _ := m.fate(c, k+1, entry); over%2 == 1 {
				until = m.events[over/2].Time
			}
			decided = max(decided, until)
		}
	}
	return decided
}

// fourfold compares converters and droppers with and without something:
// chi-square, converted, dropped, odds ratio, its interval, lift, p.
func fourfold(subjects []subject, with []bool) (chi float64, row []any) {
	var a, b, c, d int
	for i, u := range subjects {
		switch {
		case with[i] && u.converted:
			a++
		case with[i]:
			b++
		case u.converted:
			c++
		default:
			d++
		}
	}
	fa, fb, fc, fd := float64(a), float64(b), float64(c), float64(d)
	row = []any{int64(a), int64(b), nil, nil, nil, nil, nil}
	chi = -1
	if with := share(a, a+b); with != nil && a+c > 0 {
		row[5] = with.(float64) / (float64(a+c) / float64(a+b+c+d))
	}
	if margins := (fa + fb) * (fc + fd) * (fa + fc) * (fb + fd); margins > 0 {
		chi = (fa + fb + fc + fd) * (fa*fd - fb*fc) * (fa*fd - fb*fc) / margins
		row[6] = math.Erfc(math.Sqrt(chi / 2)) // one degree of freedom
	}
	if a == 0 || b == 0 || c == 0 || d == 0 {
		fa, fb, fc, fd = fa+0.5, fb+0.5, fc+0.5, fd+0.5
	}
	ratio := fa * fd / (fb * fc)
	spread := normal975 * math.Sqrt(1/fa+1/fb+1/fc+1/fd)
	row[2], row[3], row[4] = ratio, ratio*math.Exp(-spread), ratio*math.Exp(spread)
	return chi, row
}

// holm makes the p values hold for all of the rows together; they stand by chi-square.
func holm(rows []factorRow) {
	tests := 0
	for _, row := range rows {
		if row.chi >= 0 {
			tests++
		}
	}
	least := 0.0
	for i, row := range rows[:tests] {
		least = min(1, max(least, row.cells[6].(float64)*float64(tests-i)))
		row.cells[6] = least
	}
}
