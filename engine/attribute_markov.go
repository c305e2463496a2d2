package engine

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"wend/internal/seeded"
)

// transitionCounts are the transitions of journeys between states: pairs of
// the label before and the label at hand, of which a chain of order 1 uses
// only the second.
type transitionCounts map[transitionKey]int64

type transitionKey struct {
	state markovState
	next  uint32 // the next label, convertedCode or lostCode
}

// markovState is a state of the chain.
type markovState struct{ before, label uint32 }

// Codes that no label has.
const (
	startCode     = ^uint32(0)
	convertedCode = ^uint32(0) - 1
	lostCode      = ^uint32(0) - 2 // the state "null"
)

// transitionBytes is about what one transition takes.
const transitionBytes = 64

// add counts one journey.
func (t transitionCounts) add(codes []uint32, order int64, converted bool, memory *ration) error {
	state := markovState{startCode, startCode}
	count := func(next uint32) error {
		key := transitionKey{state, next}
		n, ok := t[key]
		if !ok {
			if err := memory.take(transitionBytes); err != nil {
				return err
			}
		}
		t[key] = n + 1
		state = state.then(next, order)
		return nil
	}
	for _, code := range codes {
		if err := count(code); err != nil {
			return err
		}
	}
	if converted {
		return count(convertedCode)
	}
	return count(lostCode)
}

// then is the state after a label.
func (s markovState) then(label uint32, order int64) markovState {
	if order == 1 || seeded.On("pairs_forgotten") {
		return markovState{startCode, label}
	}
	return markovState{s.label, label}
}

func (t transitionCounts) merge(o transitionCounts) {
	for key, n := range o {
		t[key] += n
	}
}

// chainStatesMax bounds the dense solve: the labels of markov, the pairs of labels
// of markov(2) that occur. Its memory grows with their square, its time with
// their cube: a thousand take 16 MB and a second or two.
const chainStatesMax = 1000

// chainOf is the absorbing Markov chain of some journeys.
type chainOf struct {
	states  []markovState
	leaving []float64 // probability to leave the start to each state
	convert []float64 // probability to convert from each state at once
	system  *matrix   // I - Q, with Q the probabilities between states
}

// removalEffects returns each label's part of the conversions that had
// touches: its removal effect over the sum of all.
//
// With N the inverse of I-Q, a journey from the start visits state i N[i]
// times on average and converts from there with probability v[i]. A label's
// states S are visited for the first time in state i with probability h[i],
// where h N[S,S] = N[start,S]; what converts through S is h·v, and that over
// all that converts is what is lost when every transition into S leads to
// null. So one inverse serves all labels.
func (o *attributeOperator) removalEffects(counts transitionCounts, order int64) (map[uint32]float64, error) {
	c, err := o.chain(counts, order)
	if err != nil || len(c.states) == 0 {
		return nil, err
	}
	n := len(c.states)
	bytes := 3 * 8 * int64(n) * int64(n)
	if err := o.r.memory.reserve(bytes); err != nil {
		return nil, err
	}
	defer o.r.memory.release(bytes)
	inverse, err := c.system.inverse(o.r.look)
	if err != nil {
		return nil, err
	}
	visits, chance := make([]float64, n), make([]float64, n)
	for i := range n {
		for k := range n {
			visits[k] += c.leaving[i] * inverse.at(i, k)
			chance[i] += inverse.at(i, k) * c.convert[k]
		}
	}
	byLabel := map[uint32][]int{}
	for i, s := range c.states {
		byLabel[s.label] = append(byLabel[s.label], i)
	}
	effects, all := map[uint32]float64{}, 0.0
	for i := range n { // in the order of states, so that sums do not depend on chance
		label := c.states[i].label
		if _, done := effects[label]; done {
			continue
		}
		of := byLabel[label]
		// h N[S,S] = N[start,S] is N[S,S]ᵀ hᵀ = N[start,S]ᵀ.
		among, right := newMatrix(len(of)), make([]float64, len(of))
		for a, from := range of {
			right[a] = visits[from]
			for b, to := range of {
				among.set(b, a, inverse.at(from, to))
			}
		}
		first, err := among.solve(right)
		if err != nil {
			return nil, err
		}
		lost := 0.0
		for a, state := range of {
			lost += first[a] * chance[state]
		}
		lost = max(lost, 0)
		effects[label] = lost
		all += lost
	}
	if all == 0 {
		return nil, nil
	}
	for label := range effects {
		effects[label] /= all
	}
	return effects, nil
}

// chain makes the chain of the counts. States stand in the order of their
// labels' texts, so that rounding does not depend on the order of codes.
func (o *attributeOperator) chain(counts transitionCounts, order int64) (*chainOf, error) {
	c := &chainOf{}
	left := map[markovState]int64{}
	for key, n := range counts {
		if left[key.state] == 0 && key.state.label != startCode {
			c.states = append(c.states, key.state)
		}
		left[key.state] += n
	}
	if n := len(c.states); n > chainStatesMax {
		limit := &LimitError{Limit: "labels", Value: chainStatesMax, Reached: int64(n), Hint: "label by something that has fewer values, or leave events out with where"}
		if order > 1 {
			limit.Limit, limit.Hint = "pairs of labels", limit.Hint+", or use markov"
		}
		return nil, limit
	}
	text := func(code uint32) string {
		if code == startCode {
			return ""
		}
		return o.labeling.text(code)
	}
	slices.SortFunc(c.states, func(a, b markovState) int {
		return cmp.Or(strings.Compare(text(a.label), text(b.label)), strings.Compare(text(a.before), text(b.before)), cmp.Compare(a.before, b.before))
	})
	n := len(c.states)
	index := map[markovState]int{}
	for i, s := range c.states {
		index[s] = i
	}
	if err := o.r.memory.reserve(8 * int64(n) * int64(n)); err != nil {
		return nil, err
	}
	defer o.r.memory.release(8 * int64(n) * int64(n))
	c.leaving, c.convert, c.system = make([]float64, n), make([]float64, n), newMatrix(n)
	for i := range n {
		c.system.set(i, i, 1)
	}
	for key, count := range counts {
		p := float64(count) / float64(left[key.state])
		from, ok := index[key.state]
		switch {
		case !ok:
			c.leaving[index[key.state.then(key.next, order)]] = p
		case key.next == convertedCode:
			c.convert[from] = p
		case key.next != lostCode:
			to := index[key.state.then(key.next, order)]
			c.system.set(from, to, c.system.at(from, to)-p)
		}
	}
	return c, nil
}

// matrix is a square matrix, row by row.
type matrix struct {
	n      int
	values []float64
}

func newMatrix(n int) *matrix { return &matrix{n, make([]float64, n*n)} }

func (m *matrix) at(i, k int) float64     { return m.values[i*m.n+k] }
func (m *matrix) set(i, k int, x float64) { m.values[i*m.n+k] = x }
func (m *matrix) row(i int) []float64     { return m.values[i*m.n : (i+1)*m.n] }

// solve returns x with m x = right, by elimination with partial pivoting. It
// uses m up.
func (m *matrix) solve(right []float64) ([]float64, error) {
	x := &matrix{1, right}
	if err := m.eliminate(len(right), func(i int) []float64 { return x.values[i : i+1] }, nil); err != nil {
		return nil, err
	}
	return right, nil
}

// inverse returns m's inverse. It uses m up. stop is asked now and then
// whether to go on.
func (m *matrix) inverse(stop func() error) (*matrix, error) {
	inverse := newMatrix(m.n)
	for i := range m.n {
		inverse.set(i, i, 1)
	}
	return inverse, m.eliminate(m.n, inverse.row, stop)
}

// eliminate makes m the identity by row operations (Gauss and Jordan, with
// partial pivoting), and does the same to the rows of the right side.
func (m *matrix) eliminate(n int, right func(i int) []float64, stop func() error) error {
	for k := range n {
		if stop != nil {
			if err := stop(); err != nil {
				return err
			}
		}
		pivot := k
		for i := k + 1; i < n; i++ {
			if math.Abs(m.at(i, k)) > math.Abs(m.at(pivot, k)) {
				pivot = i
			}
		}
		if m.at(pivot, k) == 0 {
			// Every state was left by a journey that ended, so the end can be
			// reached from every state and I-Q has an inverse.
			panic("engine: a Markov chain has a state that no journey leaves")
		}
		if pivot != k {
			swapRows(m.row(k), m.row(pivot))
			swapRows(right(k), right(pivot))
		}
		scale := 1 / m.at(k, k)
		for _, row := range [][]float64{m.row(k), right(k)} {
			for c := range row {
				row[c] *= scale
			}
		}
		for i := range n {
			f := m.at(i, k)
			if i == k || f == 0 {
				continue
			}
			subtractRow(m.row(i), m.row(k), f)
			subtractRow(right(i), right(k), f)
		}
	}
	return nil
}

func swapRows(a, b []float64) {
	for c := range a {
		a[c], b[c] = b[c], a[c]
	}
}

func subtractRow(a, b []float64, f float64) {
	for c := range a {
		a[c] -= f * b[c]
	}
}
