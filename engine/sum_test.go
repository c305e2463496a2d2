package engine

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestExactSumIsTheRoundedSum(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	for range 300 {
		var sums [2]exactSum
		var whole wholeSum
		want := new(big.Float).SetPrec(4000)
		for range r.IntN(60) {
			x := math.Ldexp(r.Float64()-0.5, r.IntN(300)-150)
			if r.IntN(4) == 0 {
				x = -want64(want) // cancel nearly all
			}
			sums[r.IntN(2)].add(x)
			want.Add(want, new(big.Float).SetFloat64(x))
			n := r.Int64() - math.MaxInt64/2
			whole.add(n)
			want.Add(want, new(big.Float).SetInt64(n))
		}
		sums[0].merge(&sums[1])
		sums[0].addWhole(whole)
		if got := sums[0].value(); got != want64(want) {
			t.Fatalf("got %v, want %v", got, want64(want))
		}
	}
}

func TestExactSumOfEqualNumbers(t *testing.T) {
	for n := 1; n <= equalTouches; n++ {
		var once, each exactSum
		for range 1000 * n {
			each.add(1 / float64(n))
		}
		once.addTimes(1/float64(n), int64(1000*n))
		each.addTimes(-1/float64(n), int64(1000*n))
		if rest := each.value(); rest != 0 || math.Abs(once.value()-1000) > 1e-9 {
			t.Errorf("1/%d, %d times: %v, off by %v", n, 1000*n, once.value(), rest)
		}
	}
}

func want64(f *big.Float) float64 {
	x, _ := f.Float64()
	return x
}

func TestWholeSum(t *testing.T) {
	var s wholeSum
	for range 5 {
		s.add(math.MaxInt64)
	}
	if _, fits := s.int64(); fits || s.float() != 5*float64(math.MaxInt64) {
		t.Errorf("five times the largest: %v", s.float())
	}
	for range 5 {
		s.add(math.MinInt64)
	}
	if n, fits := s.int64(); !fits || n != -5 {
		t.Errorf("%d, fits %v", n, fits)
	}
}
