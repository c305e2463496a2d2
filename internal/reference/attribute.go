package reference

import (
	"cmp"
	"math"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about attribute: earlier conversions end the
// touches of later ones whether or not they lie in the range. A journey that
// does not convert begins after the unit's last conversion of all, is not cut by
// the window and belongs to the group of its last event in the range, which is
// no anchor. Rows by what the first model counts, rounded to six digits, then by
// label. With markov every label of the journeys has a row. The share of an old
// touch is taken relative to the newest, so that none is lost to rounding.

// directLabel stands for conversions without touches.
const directLabel = "(direct)"

// conversion is one event that fulfils ALT with the touches before it, or what
// a unit did that led to none.
type conversion struct {
	at      *fact // nil: it did not convert
	touches []*fact
	labels  []string
	worth   float64
	group   []any // of what did not convert
}

// modelColumn is what a model's columns are called after conversions_ and value_.
func modelColumn(m query.Model) string {
	switch {
	case m.Name == "decay" && m.Duration != nil:
		return "decay_" + m.Duration.Value.String()
	case m.Name == "decay":
		return "decay_7d"
	case m.Name == "markov" && m.Number > 1:
		return "markov_2"
	}
	return m.Name
}

func (ev *evaluator) attribute(q *query.Query, s *settings) *Answer {
	if len(s.models) == 0 {
		s.models = []query.Model{{Name: "last"}}
	}
	columns := attributeColumns(s)
	t := ev.newTable(s, true, columns...)
	var conversions []conversion
	type part struct {
		window int
		period event.Time
	}
	without := map[part][]conversion{} // journeys that did not convert
	for w := range s.windows {
		for _, u := range ev.units(s) {
			for _, span := range ev.spans(u.events, s) {
				for _, c := range ev.conversionsOf(q, s, u, s.windows[w], span.in) {
					if c.at == nil {
						at := part{w, span.period}
						for _, g := range s.by {
							c.group = append(c.group, cell(ev.value(g.Expr, &scope{at: c.touches[len(c.touches)-1]})))
						}
						without[at] = append(without[at], c)
						continue
					}
					conversions = append(conversions, c)
					t.add(w, span.period, &scope{at: c.at})
				}
			}
		}
	}
	return t.finish(false, func(members []int) [][]any {
		var of []conversion
		for _, i := range members {
			of = append(of, conversions[i])
		}
		r := t.records[members[0]]
		var also []conversion
		for _, c := range without[part{r.window, r.period}] {
			if equalCells(t.shownAs(c.group), r.group) {
				also = append(also, c)
			}
		}
		return attributeRows(s, of, also)
	})
}

func attributeColumns(s *settings) []string {
	columns := []string{"label"}
	for _, m := range s.models {
		columns = append(columns, "conversions_"+modelColumn(m))
	}
	if s.worth != nil {
		for _, m := range s.models {
			columns = append(columns, "value_"+modelColumn(m))
		}
	}
	return columns
}

// conversionsOf lists the conversions of a unit in the range, and what it did
// in the range after its last conversion of all.
func (ev *evaluator) conversionsOf(q *query.Query, s *settings, u unit, window event.Duration, in interval) []conversion {
	var list []conversion
	begin := 0
	for i, f := range u.events {
		if !ev.fulfils(q.From, f) {
			continue
		}
		c := conversion{at: f}
		for _, touch := range u.events[begin:i] {
			if f.Time.Sub(touch.Time) <= window {
				c.touches = append(c.touches, touch)
				c.labels = append(c.labels, ev.label(q.Exprs, touch))
			}
		}
		begin = i + 1
		if !in.has(f.Time) {
			continue
		}
		if s.worth != nil {
			if v := ev.value(s.worth, &scope{at: f}); !v.IsNull() {
				c.worth = v.Float()
			}
		}
		list = append(list, c)
	}
	rest := conversion{}
	for _, f := range u.events[begin:] {
		if in.has(f.Time) {
			rest.touches = append(rest.touches, f)
			rest.labels = append(rest.labels, ev.label(q.Exprs, f))
		}
	}
	if len(rest.touches) > 0 {
		list = append(list, rest)
	}
	return list
}

// shownAs puts the values of a group that `top` did not keep into (other).
func (t *table) shownAs(group []any) []any {
	shown := slices.Clone(group)
	for i, g := range t.s.by {
		kept := slices.ContainsFunc(t.records, func(r record) bool { return equalCells(r.group[i:i+1], group[i:i+1]) })
		if g.Top > 0 && !kept {
			shown[i] = rest{}
		}
	}
	return shown
}

func attributeRows(s *settings, conversions, without []conversion) [][]any {
	one := func(conversion) float64 { return 1 }
	value := func(c conversion) float64 { return c.worth }
	var columns []map[string]float64
	for _, m := range s.models {
		columns = append(columns, credits(m, conversions, without, one))
	}
	if s.worth != nil {
		for _, m := range s.models {
			columns = append(columns, credits(m, conversions, without, value))
		}
	}
	var labels []string
	for _, c := range conversions {
		labels = append(labels, c.labels...)
		if len(c.labels) == 0 {
			labels = append(labels, directLabel)
		}
	}
	if slices.ContainsFunc(s.models, func(m query.Model) bool { return m.Name == "markov" }) {
		for _, c := range without {
			labels = append(labels, c.labels...)
		}
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	var rows [][]any
	for _, label := range labels {
		row := []any{label}
		for _, credit := range columns {
			row = append(row, credit[label])
		}
		rows = append(rows, row)
	}
	rounded := func(row []any) float64 { return math.Round(row[1].(float64) * 1e6) }
	slices.SortStableFunc(rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(rounded(b), rounded(a)), compareCells(a[0], b[0]))
	})
	return rows
}

// credits shares the worth of the conversions out among the labels.
func credits(m query.Model, conversions, without []conversion, worth func(conversion) float64) map[string]float64 {
	credit := map[string]float64{}
	touched := 0.0 // the worth of conversions with touches
	for _, c := range conversions {
		if len(c.labels) == 0 {
			credit[directLabel] += worth(c)
			continue
		}
		touched += worth(c)
		weights := make([]float64, len(c.labels))
		n := len(weights)
		switch m.Name {
		case "first":
			weights[0] = 1
		case "last":
			weights[n-1] = 1
		case "linear":
			for i := range weights {
				weights[i] = 1
			}
		case "position":
			for i := range weights {
				weights[i] = 0.2 / float64(max(1, n-2))
			}
			weights[0], weights[n-1] = 0.4, 0.4
		case "decay":
			half := 7 * event.Day
			if m.Duration != nil {
				half = m.Duration.Value
			}
			for i, f := range c.touches {
				weights[i] = math.Exp2(-float64(c.touches[n-1].Time.Sub(f.Time)) / float64(half))
			}
		case "shapley", "markov":
			continue
		}
		total := 0.0
		for _, w := range weights {
			total += w
		}
		for i, w := range weights {
			credit[c.labels[i]] += worth(c) * w / total
		}
	}
	switch m.Name {
	case "shapley":
		shapley(conversions, worth, credit)
	case "markov":
		for label, effect := range removalEffects(conversions, without, max(1, int(m.Number))) {
			credit[label] += touched * effect
		}
	}
	return credit
}

// playersMax is how many labels the definition of the Shapley value is tried
// over: it asks for all their subsets.
const playersMax = 8

// shapley shares by the definition: a label's mean contribution to the worth
// of the sets that it joins. With many labels it shares each conversion
// equally among its different labels, which is the same.
func shapley(conversions []conversion, worth func(conversion) float64, credit map[string]float64) {
	var players []string
	for _, c := range conversions {
		players = append(players, c.labels...)
	}
	slices.Sort(players)
	players = slices.Compact(players)
	if len(players) > playersMax {
		shareEqually(conversions, worth, credit)
		return
	}
	worthOf := make([]float64, 1<<len(players)) // by set of labels
	for _, c := range conversions {
		if len(c.labels) == 0 {
			continue
		}
		needs := 0
		for i, p := range players {
			if slices.Contains(c.labels, p) {
				needs |= 1 << i
			}
		}
		for set := range worthOf {
			if needs&^set == 0 {
				worthOf[set] += worth(c)
			}
		}
	}
	for i, p := range players {
		for set := range worthOf {
			if set&(1<<i) != 0 {
				continue
			}
			size := 0
			for rest := set; rest > 0; rest >>= 1 {
				size += rest & 1
			}
			credit[p] += (worthOf[set|1<<i] - worthOf[set]) * factorial(size) * factorial(len(players)-size-1) / factorial(len(players))
		}
	}
}

// shareEqually shares each conversion among its different labels.
func shareEqually(conversions []conversion, worth func(conversion) float64, credit map[string]float64) {
	for _, c := range conversions {
		different := slices.Compact(slices.Sorted(slices.Values(c.labels)))
		for _, label := range different {
			credit[label] += worth(c) / float64(len(different))
		}
	}
}

func factorial(n int) float64 {
	f := 1.0
	for i := 2; i <= n; i++ {
		f *= float64(i)
	}
	return f
}

// removalEffects walks the absorbing chain step by step, from the start until
// nearly all has arrived, once as it is and once without each label.
func removalEffects(conversions, without []conversion, order int) map[string]float64 {
	chain := map[string]map[string]float64{}
	ends := map[string]string{} // the label that a state ends with
	move := func(from, to string) {
		if chain[from] == nil {
			chain[from] = map[string]float64{}
		}
		chain[from][to]++
	}
	for _, c := range slices.Concat(conversions, without) {
		if len(c.labels) == 0 {
			continue
		}
		state := "start"
		for i, label := range c.labels {
			next := "at\x00" + label
			if order == 2 && i > 0 {
				next = "at\x00" + c.labels[i-1] + "\x00then\x00" + label
			}
			ends[next] = label
			move(state, next)
			state = next
		}
		if c.at != nil {
			move(state, "conversion")
		} else {
			move(state, "null")
		}
	}
	all := arrival(chain, ends, "")
	effects := map[string]float64{}
	total := 0.0
	if all == 0 {
		return effects
	}
	labels := slices.Sorted(func(yield func(string) bool) {
		for _, label := range ends {
			if !yield(label) {
				return
			}
		}
	})
	for _, label := range slices.Compact(labels) {
		effects[label] = (all - arrival(chain, ends, "\x00"+label)) / all
		total += effects[label]
	}
	for label := range effects {
		effects[label] /= total
	}
	return effects
}

// arrival is the probability to reach the conversion; what enters the label
// without is lost.
func arrival(chain map[string]map[string]float64, ends map[string]string, without string) float64 {
	const enough = 1e-13
	type edge struct {
		from, to int
		p        float64
	}
	number := map[string]int{}
	var states []string
	for from, targets := range chain {
		for state := range targets {
			if _, ok := number[state]; !ok {
				number[state] = len(states)
				states = append(states, state)
			}
		}
		if _, ok := number[from]; !ok {
			number[from] = len(states)
			states = append(states, from)
		}
	}
	var edges []edge
	arrived := 0.0
	for from, targets := range chain {
		total := 0.0
		for _, n := range targets {
			total += n
		}
		for to, n := range targets {
			if label, ok := ends[to]; ok && without == "\x00"+label || to == "null" {
				continue
			}
			edges = append(edges, edge{number[from], number[to], n / total})
		}
	}
	if len(states) == 0 {
		return 0 // no journey has touches
	}
	at := make([]float64, len(states))
	at[number["start"]] = 1
	conversion, converts := number["conversion"]
	for {
		next := make([]float64, len(states))
		moving := 0.0
		for _, e := range edges {
			next[e.to] += at[e.from] * e.p
			moving += at[e.from] * e.p
		}
		if converts {
			arrived += next[conversion]
			moving -= next[conversion]
			next[conversion] = 0
		}
		at = next
		if moving < enough {
			return arrived
		}
	}
}
