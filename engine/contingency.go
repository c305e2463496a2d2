package engine

import (
	"cmp"
	"math"
	"slices"
)

// contingency is a table of two by two: units with a factor and without it,
// that converted and that dropped.
type contingency struct {
	a, b int64 // with the factor: converted, dropped
	c, d int64 // without
}

// smallCell is from how many units on a cell's numbers are taken for normal.
const smallCell = 30

// small reports whether a cell has too few units for the approximations.
func (t *contingency) small() bool { return min(t.a, t.b, t.c, t.d) < smallCell }

// oddsRatio returns how much greater the odds to convert are with the factor
// than without, and the bounds of its 95 % interval, by the normal
// approximation of its logarithm (Woolf 1955). If a cell is empty, 0.5 is added
// to all (Haldane 1956, Anscombe 1956).
func (t *contingency) oddsRatio() (ratio, low, high float64) {
	a, b, c, d := float64(t.a), float64(t.b), float64(t.c), float64(t.d)
	if t.a == 0 || t.b == 0 || t.c == 0 || t.d == 0 {
		a, b, c, d = a+0.5, b+0.5, c+0.5, d+0.5
	}
	const z = 1.959963984540054 // the normal distribution's 97.5 % point
	ratio = a * d / (b * c)
	width := math.Exp(z * math.Sqrt(1/a+1/b+1/c+1/d))
	return ratio, ratio / width, ratio * width
}

// lift is the conversion with the factor over that of all; ok is false if
// nobody has the factor or nobody converted.
func (t *contingency) lift() (lift float64, ok bool) {
	if t.a+t.b == 0 || t.a+t.c == 0 {
		return 0, false
	}
	all := float64(t.a + t.b + t.c + t.d)
	return float64(t.a) * all / (float64(t.a+t.b) * float64(t.a+t.c)), true
}

// chiSquare is Pearson's statistic without correction; ok is false if a margin
// is empty, so that there is nothing to compare.
func (t *contingency) chiSquare() (x float64, ok bool) {
	with, without := float64(t.a+t.b), float64(t.c+t.d)
	converted, dropped := float64(t.a+t.c), float64(t.b+t.d)
	if with == 0 || without == 0 || converted == 0 || dropped == 0 {
		return 0, false
	}
	// Both ways round, with and without the factor, this is the same float:
	// equal rows are to stand in the order of their values.
	difference := float64(t.a)*float64(t.d) - float64(t.b)*float64(t.c)
	return difference / (with * without) * difference / (converted * dropped) * (with + without), true
}

// chiSquareTail is the probability that chance alone makes Pearson's statistic
// of a table of two by two at least x.
func chiSquareTail(x float64) float64 { return math.Erfc(math.Sqrt(x / 2)) }

// holm corrects p-values for their number: none is a discovery by chance with
// more than its own probability, however the tests depend on each other (Holm
// 1979).
func holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	corrected := make([]float64, len(p))
	least := 0.0
	for rank, i := range order {
		least = max(least, min(1, p[i]*float64(len(p)-rank)))
		corrected[i] = least
	}
	return corrected
}
