package engine

import (
	"wend/event"
	"wend/tile"
)

// score reads the property that `score` names.
type score struct {
	set     bool
	column  int
	integer bool
}

// score resolves the plan's `score`. A property that the store does not know
// (the statement is lenient) is one that no event has.
func (r *run) score() score {
	if r.plan.Score == "" {
		return score{}
	}
	s := score{set: true, column: -1}
	if i, ok := r.schema.Property(r.plan.Score); ok {
		r.needProperty(i)
		s.column, s.integer = i, r.schema.Properties[i].Type == event.IntegerType
	}
	return s
}

// of returns the column of a tile, nil if none of its events has a score.
func (s *score) of(v *view) *tile.Column {
	if !s.set || s.column < 0 {
		return nil
	}
	return v.column(s.column)
}

// scoreSum adds scores up without rounding, so that no order of them matters.
type scoreSum struct {
	n        int64
	whole    wholeSum
	fraction exactSum
}

// add adds the score of a row, once or taken away.
func (s *scoreSum) add(c *tile.Column, row int, away bool) {
	if c.Type == event.IntegerType {
		x := wholeSum{}
		if x.add(c.Ints[row]); away {
			x = x.negative()
		}
		s.whole.merge(x)
		return
	}
	if x := c.Floats[row]; away {
		s.fraction.add(-x)
	} else {
		s.fraction.add(x)
	}
}

func (s *scoreSum) merge(o *scoreSum) {
	s.n += o.n
	s.whole.merge(o.whole)
	s.fraction.merge(&o.fraction)
}

// mean is the sum over n, null if n is 0.
func (s *scoreSum) mean() Cell {
	if s.n == 0 {
		return nil
	}
	sum := exactSum{special: s.fraction.special, parts: append([]float64(nil), s.fraction.parts...)}
	sum.addWhole(s.whole)
	return sum.value() / float64(s.n)
}

// negative is the sum with its sign turned.
func (s wholeSum) negative() wholeSum {
	n := wholeSum{high: ^s.high, low: ^s.low}
	n.merge(wholeSum{low: 1})
	return n
}

// maturity tells which windows are over. A window that reaches beyond the end
// of the data, or beyond the range whose events are looked at, is not: what it
// would have seen is not known.
type maturity struct {
	window event.Duration
	end    event.Time
}

func (r *run) maturity() maturity {
	m := maturity{window: r.plan.Windows[0], end: r.end}
	if d := &r.plan.During; d.Set && d.To <= m.end {
		m.end = d.To - 1
	}
	return m
}

// over reports whether the window after t is over, given the customer's last
// event: one that a clock ahead put beyond the end shows that time has passed.
func (m *maturity) over(t, last event.Time) bool { return t.Add(m.window) <= max(m.end, last) }

// selected returns the rows of customer c that during selects.
func (v *view) selected(c int) (lo, hi int) {
	lo, hi = v.extent(c)
	if d := &v.run.plan.During; d.Set {
		lo = v.since(lo, hi, d.From)
		hi = v.since(lo, hi, d.To)
	}
	return lo, hi
}
