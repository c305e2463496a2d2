package reference

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about drivers: an attempt is decided when it
// converted or when nothing of it could go on. A number's quartiles are
// interpolated; a value on a border belongs below. p_value is null where a
// margin of the table is empty, and Holm counts the others only. lift is taken
// of the cells as they are.

// normal975 is the 97.5 % point of the normal distribution.
const normal975 = 1.959963984540054

// case_ is one unit that converted or dropped, with its value of each factor.
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
	var rows [][]any
	for _, g := range s.by {
		var of [][]any
		if g.Expr.Op == "name" && g.Expr.Name.Text == "events" && !g.Expr.Name.Quoted {
			of = ev.eventRows(subjects)
		} else {
			of = ev.factorRows(g, s, subjects)
		}
		for _, row := range of {
			rows = append(rows, append([]any{g.Expr.String()}, row...))
		}
	}
	holm(rows)
	t.answer.Rows = rows
	t.order()
	return t.answer
}

// factorRows compares those with each value of an expression on the entry.
func (ev *evaluator) factorRows(g query.Group, s *settings, subjects []subject) [][]any {
	var values []any
	for _, u := range subjects {
		values = append(values, cell(ev.value(g.Expr, u.outcome.scope())))
	}
	values = atQuartiles(values)
	var all [][]any
	for _, v := range values {
		all = append(all, []any{v})
	}
	top := int(g.Top)
	if top <= 0 {
		top = max(s.top, 0)
	}
	different := mostFrequent(all)
	if top > 0 && len(different) > top {
		for i, v := range values {
			if !slices.ContainsFunc(different[:top], func(k []any) bool { return equalCells(k, []any{v}) }) {
				values[i] = rest{}
			}
		}
		different = append(different[:top:top], []any{rest{}})
	}
	var rows [][]any
	for _, d := range different {
		with := make([]bool, len(values))
		for i, v := range values {
			with[i] = equalCells([]any{v}, d)
		}
		v := d[0]
		if v == (rest{}) {
			v = other
		}
		rows = append(rows, append([]any{v}, fourfold(subjects, with)...))
	}
	return rows
}

// atQuartiles cuts numbers of more than 20 values at their quartiles.
func atQuartiles(values []any) []any {
	var numbers []float64
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			numbers = append(numbers, float64(v))
		case float64:
			numbers = append(numbers, v)
		}
	}
	different := slices.Compact(slices.Sorted(slices.Values(numbers)))
	if len(different) <= numbersMax {
		return values
	}
	q1, q2, q3 := *percentile(numbers, 0.25), *percentile(numbers, 0.5), *percentile(numbers, 0.75)
	var cut []any
	for _, v := range values {
		if v == nil {
			cut = append(cut, nil)
			continue
		}
		n := number(v).Float()
		switch {
		case n <= q1:
			cut = append(cut, fmt.Sprintf("<= %v", q1))
		case n <= q2:
			cut = append(cut, fmt.Sprintf("<= %v", q2))
		case n <= q3:
			cut = append(cut, fmt.Sprintf("<= %v", q3))
		default:
			cut = append(cut, fmt.Sprintf("> %v", q3))
		}
	}
	return cut
}

// eventRows compares those that met a touchpoint after the entry, up to T, among
// the units that were undecided then.
func (ev *evaluator) eventRows(subjects []subject) [][]any {
	var times []float64
	for _, u := range subjects {
		if u.converted {
			times = append(times, float64(u.outcome.elapsed(0, u.outcome.level-1)))
		}
	}
	lower := percentile(times, 0.25)
	if lower == nil {
		return nil
	}
	var undecided []subject
	for _, u := range subjects {
		if float64(u.outcome.decided().Sub(u.outcome.scope().at.Time)) > *lower {
			undecided = append(undecided, u)
		}
	}
	met := map[string][]bool{}
	names := map[string]int{}
	for i, u := range undecided {
		m, entry := u.outcome.matching, u.outcome.places()[0]
		for _, f := range m.events[entry+1:] {
			if float64(f.Time.Sub(m.events[entry].Time)) > *lower {
				continue
			}
			if met[f.Name] == nil {
				met[f.Name] = make([]bool, len(undecided))
			}
			if !met[f.Name][i] {
				names[f.Name]++
			}
			met[f.Name][i] = true
		}
	}
	var rows [][]any
	for _, name := range byCount(names) {
		rows = append(rows, append([]any{name}, fourfold(undecided, met[name])...))
	}
	return rows
}

// decided is when the outcome was certain: with the last step, or when no chain
// from the entry could go on.
func (o outcome) decided() event.Time {
	m := o.matching
	if o.level == len(m.steps) {
		return m.events[o.reported.at].Time
	}
	entry := o.places()[0]
	limit := m.events[entry].Time.Add(m.window)
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
// converted, dropped, odds ratio, its interval, lift, p.
func fourfold(subjects []subject, with []bool) []any {
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
	row := []any{int64(a), int64(b), nil, nil, nil, nil, nil}
	if with := share(a, a+b); with != nil && a+c > 0 {
		row[5] = with.(float64) / (float64(a+c) / float64(a+b+c+d))
	}
	if margins := (fa + fb) * (fc + fd) * (fa + fc) * (fb + fd); margins > 0 {
		chi := (fa + fb + fc + fd) * (fa*fd - fb*fc) * (fa*fd - fb*fc) / margins
		row[6] = math.Erfc(math.Sqrt(chi / 2)) // one degree of freedom
	}
	if a == 0 || b == 0 || c == 0 || d == 0 {
		fa, fb, fc, fd = fa+0.5, fb+0.5, fc+0.5, fd+0.5
	}
	ratio := fa * fd / (fb * fc)
	spread := normal975 * math.Sqrt(1/fa+1/fb+1/fc+1/fd)
	row[2], row[3], row[4] = ratio, ratio*math.Exp(-spread), ratio*math.Exp(spread)
	return row
}

// holm makes the p values, the last cells of the rows, hold for all of them together.
func holm(rows [][]any) {
	var tested [][]any
	for _, row := range rows {
		if row[8] != nil {
			tested = append(tested, row)
		}
	}
	slices.SortStableFunc(tested, func(x, y []any) int { return cmp.Compare(x[8].(float64), y[8].(float64)) })
	least := 0.0
	for i, row := range tested {
		least = min(1, max(least, row[8].(float64)*float64(len(tested)-i)))
		row[8] = least
	}
}
