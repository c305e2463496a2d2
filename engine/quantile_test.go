package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// slowQuantile is the definition: interpolate between the closest ranks.
func slowQuantile(share float64, values []int64) float64 {
	sorted := values
	if !slices.IsSorted(sorted) {
		sorted = slices.Sorted(slices.Values(values))
	}
	rank := share * float64(len(sorted)-1)
	low := int(rank)
	if low == len(sorted)-1 {
		return float64(sorted[low])
	}
	return float64(sorted[low]) + (float64(sorted[low+1])-float64(sorted[low]))*(rank-float64(low))
}

func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := 1; n < 400; n++ {
		values := make([]int64, n)
		for i := range values {
			values[i] = r.Int64N(1 + int64(n)/3) // with repetitions
			if n%5 == 0 {
				values[i] = -r.Int64N(1 << 40)
			}
		}
		cut := r.IntN(n + 1)
		shares := []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1}
		several := quantiles(shares, slices.Clone(values[:cut]), slices.Clone(values[cut:]))
		for i, share := range shares {
			want := slowQuantile(share, values)
			got, ok := quantile(share, slices.Clone(values[:cut]), nil, slices.Clone(values[cut:]))
			if !ok || got != want {
				t.Fatalf("quantile %v of %d values: %v, want %v", share, n, got, want)
			}
			if several[i] != want {
				t.Fatalf("quantiles %v of %d values: %v, want %v at %v", shares, n, several, want, share)
			}
		}
	}
	if _, ok := quantile[int64](0.5); ok {
		t.Error("a quantile of nothing")
	}
	if _, ok := quantile(0.5, []float64{}, []float64{}); ok {
		t.Error("a quantile of nothing, in two parts")
	}
}

// Of many values only those near the wanted rank are looked at, which a sample
// tells; where one in so many is unlike the others it tells wrong.
func TestQuantileOfVeryMany(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, spread := range []int64{1, 3, 1 << 50, -1} {
		values := make([]int64, 5*narrowMin+3)
		for i := range values {
			if values[i] = int64(i); spread < 0 && i%(len(values)/narrowSample) == 0 {
				values[i] = -values[i]
			} else if spread > 0 {
				values[i] = r.Int64N(spread) * r.Int64N(3)
			}
		}
		sorted := slices.Sorted(slices.Values(values))
		for _, share := range []float64{0, 0.5, 0.999999, 1} {
			want := slowQuantile(share, sorted)
			if got, _ := quantile(share, slices.Clone(values[:1000]), slices.Clone(values[1000:])); got != want {
				t.Errorf("quantile %v of values up to %d: %v, want %v", share, spread, got, want)
			}
		}
	}
}

// Values in the order that is worst for selection by the median of three.
func TestSelectRankOfSortedAndEqualValues(t *testing.T) {
	const n = 5000
	rising, equal, organ := make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range n {
		rising[i], organ[i] = int64(i), int64(min(i, n-i))
	}
	for _, values := range [][]int64{rising, equal, organ} {
		sorted := slices.Sorted(slices.Values(values))
		for _, k := range []int{0, 1, n / 2, n - 1} {
			list := slices.Clone(values)
			if got := selectRank(list, k); got != sorted[k] || list[k] != got {
				t.Errorf("rank %d is %d, want %d", k, got, sorted[k])
			}
			for i, x := range list {
				if i < k && x > list[k] || i > k && x < list[k] {
					t.Fatalf("rank %d: %d stands at %d", k, x, i)
				}
			}
		}
	}
}
