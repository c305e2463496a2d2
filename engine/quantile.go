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
	all, narrowed := parts[0], false
	if n >= narrowMin {
		var near []T
		if near, narrowed = narrow(parts, n, &low, fraction > 0); narrowed {
			all = near
		}
	}
	if !narrowed && len(parts) > 1 {
		all = slices.Concat(parts...)
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

// narrowMin is from how many values on it pays to look only at those near the
// wanted rank, which a sample of at most so many tells.
const (
	narrowMin    = 1 << 14
	narrowSample = 1 << 11
)

// narrow returns the values near the one of rank low (and, if next is set, the
// one after it), and makes low the rank among them. A sample tells an interval
// in which that value very likely is: the values below are counted, those
// within kept. ok is false if it is not there.
func narrow[T number](parts [][]T, n int, low *int, next bool) (near []T, ok bool) {
	stride := max(16, n/narrowSample)
	sample := make([]T, 0, n/stride+1)
	at := 0
	for _, part := range parts {
		for ; at < len(part); at += stride {
			sample = append(sample, part[at])
		}
		at -= len(part)
	}
	reach := int(2.5 * math.Sqrt(float64(len(sample)))) // five standard deviations of a median's rank
	middle := int(float64(*low) / float64(n) * float64(len(sample)))
	if middle < reach || middle+reach >= len(sample) {
		return nil, false
	}
	from := selectRank(sample, middle-reach)
	to := selectRank(sample, middle+reach)
	below, upTo := 0, 0
	for _, part := range parts {
		for _, x := range part {
			under, notOver := 0, 0
			if x < from {
				under = 1
			}
			if x <= to {
				notOver = 1
			}
			below += under
			upTo += notOver
		}
	}
	if *low < below || *low >= upTo || next && *low+1 >= upTo {
		return nil, false
	}
	near = make([]T, upTo-below+1)
	kept := 0
	for _, part := range parts {
		for _, x := range part {
			reached, over := 0, 0
			if x >= from {
				reached = 1
			}
			if x > to {
				over = 1
			}
			near[kept] = x
			kept += reached - over
		}
	}
	*low -= below
	return near[:kept], true
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
