package engine

import "wend/internal/seeded"

// What attribution counts for labels with small codes stands in tables without
// hashing: by label and number of touches the equal shares, by two labels the
// transitions of the chain of order 1. Both are whole numbers; they become
// what they stand for when the scan is over.

// nearCredits is up to which code a group finds its labels without hashing.
const nearCredits = 256

// credit returns what the group has for a label, nil if it has none yet.
func (g *credits) credit(code uint32) *credit {
	if code < uint32(len(g.near)) {
		return g.near[code]
	}
	return g.labels[code]
}

func (g *credits) addLabel(code uint32, c *credit) {
	g.labels[code] = c
	if code >= nearCredits {
		return
	}
	for uint32(len(g.near)) <= code {
		g.near = append(g.near, nil)
	}
	g.near[code] = c
}

// equalTouches is up to how many touches equal shares are counted by their number.
const equalTouches = 32

// equalShares counts the shares of 1/n by n.
type equalShares [equalTouches + 1]int64

// settle turns the counted shares into sums.
func (c *credit) settle() {
	for model := range c.equal {
		for n, times := range c.equal[model] {
			if times > 0 {
				c.conversions[model].addTimes(1/float64(n), times)
			}
		}
		c.equal[model] = equalShares{}
	}
}

// nearChain counts the transitions of a chain of order 1 between the first
// labels. Behind the labels stand the start and the conversion, which share a
// place since none leads to the one nor from the other, and the loss.
type nearChain [chainPlaces * chainPlaces]int64

const (
	chainLabels = 62
	chainPlaces = 64

	chainStart     = chainLabels
	chainConverted = chainLabels
	chainLost      = chainLabels + 1
)

// add counts one journey, or reports that a label of it is not among the first.
func (c *nearChain) add(codes []uint32, converted bool) bool {
	for _, code := range codes {
		if code >= chainLabels {
			return false
		}
	}
	state := uint32(chainStart)
	for _, code := range codes {
		c[state%chainPlaces*chainPlaces+code%chainPlaces]++
		state = code
	}
	end := uint32(chainLost)
	if converted && !seeded.On("dense_conversions_lost") {
		end = chainConverted
	}
	c[state%chainPlaces*chainPlaces+end]++
	return true
}

// settle adds the counts to those of all labels.
func (c *nearChain) settle(to transitionCounts, memory *ration) error {
	for at, n := range c {
		if n == 0 {
			continue
		}
		from, next := uint32(at/chainPlaces), uint32(at%chainPlaces)
		key := transitionKey{state: markovState{startCode, from}, next: next}
		if from == chainStart {
			key.state.label = startCode
		}
		switch next {
		case chainConverted:
			key.next = convertedCode
		case chainLost:
			key.next = lostCode
		}
		if err := memory.take(transitionBytes); err != nil {
			return err
		}
		to[key] += n
	}
	return nil
}

// settle turns what the worker counted in tables into sums and transitions.
func (w *attributeWorker) settle() error {
	for _, g := range w.credits {
		for _, c := range g.labels {
			c.settle()
		}
	}
	if w.near == nil || len(w.credits) == 0 {
		return nil
	}
	for i, order := range w.chains {
		if order == 1 {
			if err := w.near.settle(w.credits[0].chains[i], &w.memory); err != nil {
				return err
			}
		}
	}
	return nil
}
