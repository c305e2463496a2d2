package engine

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"

	"wend/internal/seeded"
)

// heldValues splits a journey's marks by the value of the held property. An
// excluded event without a value ends the attempts of every value: it is put
// into each value's marks, but only where it can change something, so that
// the pieces together stay proportional to the journey.
type heldValues struct {
	marks []mark // of the value at hand, in order

	valued   []mark // by value, then place
	at       int
	excluded uint32
	null     []mark            // excluded events without a value, in order
	nullOf   [stepsMax][]int32 // by step: which of null are excluded before it
	merged   []mark            // scratch
	best     chain             // over the values
	between  [stepsMax]int32   // scratch
}

func (h *heldValues) split(marks []mark, excluded uint32) {
	h.valued, h.null, h.at, h.excluded = h.valued[:0], h.null[:0], 0, excluded
	for k := range h.nullOf {
		h.nullOf[k] = h.nullOf[k][:0]
	}
	for _, x := range marks {
		switch {
		case x.value != noValue:
			h.valued = append(h.valued, x)
		case x.kills != 0 && !seeded.On("excluded_null_spares"):
			x.steps = 0
			for s := x.kills; s != 0; s &= s - 1 {
				k := bits.TrailingZeros32(s)
				h.nullOf[k] = append(h.nullOf[k], int32(len(h.null)))
			}
			h.null = append(h.null, x)
		}
	}
	slices.SortFunc(h.valued, func(x, y mark) int {
		return cmp.Or(cmp.Compare(x.value, y.value), cmp.Compare(x.place, y.place))
	})
}

// next goes on to the next value; it reports false after the last.
func (h *heldValues) next() bool {
	if h.at == len(h.valued) {
		return false
	}
	value := h.valued[h.at].value
	end := h.at + 1
	for end < len(h.valued) && h.valued[end].value == value {
		end++
	}
	own := h.valued[h.at:end]
	h.at = end
	if len(h.null) == 0 {
		h.marks = own
		return true
	}
	h.merged = h.merged[:0]
	for i := range own {
		h.merged = append(h.merged, own[i])
		until := int32(1<<31 - 1)
		if i+1 < len(own) {
			until = own[i+1].place
		}
		h.addNull(own[i].place, until)
	}
	h.marks = h.merged
	return true
}

// addNull appends the events without a value that lie between two places: for
// each step only the first, for after it nothing is left to end.
func (h *heldValues) addNull(after, until int32) {
	found := h.between[:0]
	for s := h.excluded; s != 0; s &= s - 1 {
		list := h.nullOf[bits.TrailingZeros32(s)]
		i := sort.Search(len(list), func(i int) bool { return h.null[list[i]].place > after })
		if i < len(list) && h.null[list[i]].place < until && !slices.Contains(found, list[i]) {
			found = append(found, list[i])
		}
	}
	slices.Sort(found)
	for _, n := range found {
		h.merged = append(h.merged, h.null[n])
	}
}
