package engine

import (
	"math"

	"wend/event"
)

// distinct is the different values of an aggregate: whole numbers, times, truth
// values and codes of texts are words of one set, fractions of another.
type distinct struct{ words, fractions wordSet }

// add puts a number, a time or a truth value into the set. 1 and 1.0, and 0 and
// -0, are one value.
func (d *distinct) add(x event.Value, memory *ration) error {
	if x.Type() != event.FloatType {
		return d.words.add(uint64(x.Int()), memory)
	}
	if f := x.Float(); f >= -(1<<62) && f <= 1<<62 && f == float64(int64(f)) {
		return d.words.add(uint64(int64(f)), memory)
	}
	return d.fractions.add(math.Float64bits(x.Float()), memory)
}

func (d *distinct) merge(o *distinct, memory *ration) error {
	if err := d.words.merge(&o.words, memory); err != nil {
		return err
	}
	return d.fractions.merge(&o.fractions, memory)
}
