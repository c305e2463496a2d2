package engine

import (
	"math"
	"math/big"
	"math/bits"
)

// wholeSum adds whole numbers in 128 bits, so that only a result that does not
// fit overflows, never a sum on the way to it.
type wholeSum struct {
	high int64
	low  uint64
}

func (s *wholeSum) add(n int64) {
	var carry uint64
	s.low, carry = bits.Add64(s.low, uint64(n), 0)
	s.high += n>>63 + int64(carry)
}

func (s *wholeSum) merge(o wholeSum) {
	var carry uint64
	s.low, carry = bits.Add64(s.low, o.low, 0)
	s.high += o.high + int64(carry)
}

// int64 returns the sum if it fits.
func (s *wholeSum) int64() (int64, bool) {
	n := int64(s.low)
	return n, s.high == n>>63
}

func (s *wholeSum) big() *big.Int {
	b := big.NewInt(s.high)
	b.Lsh(b, 64)
	return b.Add(b, new(big.Int).SetUint64(s.low))
}

// float returns the sum rounded to the nearest float.
func (s *wholeSum) float() float64 {
	if n, ok := s.int64(); ok {
		return float64(n)
	}
	f, _ := new(big.Float).SetInt(s.big()).Float64()
	return f
}

// exactSum adds floats without rounding: the sum is kept as a few floats that
// do not overlap, and rounded when it is read. The result is the same in
// whatever order the floats come (Shewchuk, "Adaptive precision floating-point
// arithmetic and fast robust geometric predicates", 1997).
type exactSum struct {
	parts []float64
	// Infinities, and sums past the largest float, are added up apart: they
	// leave no remainder to keep.
	special float64
}

func (s *exactSum) add(x float64) {
	if math.IsInf(x, 0) {
		s.special += x
		return
	}
	kept := 0
	for _, y := range s.parts {
		if math.Abs(x) < math.Abs(y) {
			x, y = y, x
		}
		high := x + y
		if math.IsInf(high, 0) {
			s.special += high
			s.parts = s.parts[:0]
			return
		}
		if low := y - (high - x); low != 0 {
			s.parts[kept] = low
			kept++
		}
		x = high
	}
	s.parts = append(s.parts[:kept], x)
}

// addTimes adds x so many times at once: the product is exact in two parts.
func (s *exactSum) addTimes(x float64, times int64) {
	high := x * float64(times)
	s.add(high)
	s.add(math.FMA(x, float64(times), -high))
}

func (s *exactSum) merge(o *exactSum) {
	s.special += o.special
	for _, x := range o.parts {
		s.add(x)
	}
}

// addWhole adds a sum of whole numbers, which may have more digits than a float.
func (s *exactSum) addWhole(w wholeSum) {
	rest := w.big()
	for rest.Sign() != 0 {
		f, _ := new(big.Float).SetInt(rest).Float64()
		s.add(f)
		n, _ := big.NewFloat(f).Int(nil)
		rest.Sub(rest, n)
	}
}

// value returns the sum rounded to the nearest float.
func (s *exactSum) value() float64 {
	if s.special != 0 {
		return s.special
	}
	n := len(s.parts)
	if n == 0 {
		return 0
	}
	high, low := s.parts[n-1], 0.0
	n--
	for n > 0 {
		x, y := high, s.parts[n-1]
		n--
		high = x + y
		low = y - (high - x)
		if low != 0 {
			break
		}
	}
	// Half way between two floats, the parts below decide.
	if n > 0 && (low < 0 && s.parts[n-1] < 0 || low > 0 && s.parts[n-1] > 0) {
		double := low * 2
		if sum := high + double; double == sum-high {
			high = sum
		}
	}
	return high
}
