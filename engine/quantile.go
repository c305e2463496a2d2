package engine

import (
	"cmp"
	"math"
	"slices"

	"wend/internal/seeded"
)

// quantile returns the value below which a share of the values lies, by linear
// interpolation between the closest ranks: over 1 2 3 4 the 0.95 quantile is
// 3.85. It reorders values. ok is false over nothing.
//
// The parts are searched together, as if joined, so that workers' values need
// not be copied into one list first; they are reordered each for itself.
func quantile[T number](share float64, parts ...[]T) (value float64, ok bool) {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	if n == 0 {
		return 0, false
	}
	rank := share * float64(n-1)
	low := int(math.Floor(rank))
	fraction := rank - float64(low)
	all := parts[0]
	if len(parts) > 1 {
		if n > distributionMin {
			all, low = narrow(parts, low, fraction > 0)
		} else {
			all = make([]T, 0, n)
			for _, part := range parts {
				all = append(all, part...)
			}
		}
	}
	a := selectRank(all, low)
	if fraction == 0 || seeded.On("median_lower") {
		return float64(a), true
	}
	b := slices.Min(all[low+1:])
	return float64(a) + (float64(b)-float64(a))*fraction, true
}

// quantiles is quantile for several shares of the same values, in rising order.
func quantiles[T number](shares []float64, parts ...[]T) []float64 {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	if n == 0 {
		return nil
	}
	all := parts[0]
	if len(parts) > 1 {
		all = make([]T, 0, n)
		for _, part := range parts {
			all = append(all, part...)
		}
	}
	values := make([]float64, len(shares))
	from := 0 // what comes before is not greater than the rest
	for i, share := range shares {
		rank := share * float64(n-1)
		low := int(math.Floor(rank))
		selectRank(all[from:], low-from)
		from = low
		values[i] = float64(all[low])
		if fraction := rank - float64(low); fraction > 0 {
			values[i] += (float64(slices.Min(all[low+1:])) - float64(all[low])) * fraction
		}
	}
	return values
}

type number interface {
	~int64 | ~float64 | ~uint32
}

// distributionMin is from how many values on it pays to look only at those
// near the wanted rank: a first pass counts values by range, a second collects
// one range.
const distributionMin = 1 << 20

// narrow returns the values of the range that holds rank low (and, if next is
// set, low+1), and the rank within them.
func narrow[T number](parts [][]T, low int, next bool) ([]T, int) {
	const ranges = 1 << 12
	least, most := extremes(parts)
	width := (float64(most) - float64(least)) / ranges
	if width == 0 || math.IsInf(width, 0) {
		var all []T
		for _, part := range parts {
			all = append(all, part...)
		}
		return all, low
	}
	index := func(x T) int { return min(int((float64(x)-float64(least))/width), ranges-1) }
	var counts [ranges]int
	for _, part := range parts {
		for _, x := range part {
			counts[index(x)]++
		}
	}
	first, before := 0, 0
	for before+counts[first] <= low {
		before += counts[first]
		first++
	}
	last, kept := first, counts[first]
	for next && before+kept <= low+1 {
		last++
		kept += counts[last]
	}
	near := make([]T, 0, kept)
	for _, part := range parts {
		for _, x := range part {
			if i := index(x); i >= first && i <= last {
				near = append(near, x)
			}
		}
	}
	return near, low - before
}

func extremes[T number](parts [][]T) (least, most T) {
	any := false
	for _, part := range parts {
		for _, x := range part {
			if !any {
				least, most, any = x, x, true
			}
			least, most = min(least, x), max(most, x)
		}
	}
	return least, most
}

// selectRank reorders values so that the one of rank k stands at k, none
// before it greater and none after it smaller, and returns it. It is Hoare's
// selection with the median of three; when that goes badly, it sorts.
func selectRank[T cmp.Ordered](values []T, k int) T {
	lo, hi := 0, len(values)-1
	for budget := 64; lo < hi; budget-- {
		if hi-lo < 16 || budget == 0 {
			slices.Sort(values[lo : hi+1])
			break
		}
		pivot := middle(values[lo], values[lo+(hi-lo)/2], values[hi])
		i, j := lo, hi
		for i <= j {
			for values[i] < pivot {
				i++
			}
			for values[j] > pivot {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return values[k]
		}
	}
	return values[k]
}

func middle[T cmp.Ordered](a, b, c T) T {
	return max(min(a, b), min(max(a, b), c))
}
