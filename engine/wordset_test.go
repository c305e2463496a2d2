package engine

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// A wordSet holds what was put into it, 0 and words that share their low or
// their high half too, and takes no memory that it does not account for.
func TestWordSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := [](func() uint64){
		func() uint64 { return rng.Uint64N(300) },
		func() uint64 { return rng.Uint64N(5000) << 32 },
		func() uint64 { return rng.Uint64N(5000)<<40 | 7 },
		rng.Uint64,
	}
	for n := range 60 {
		b := newBudget(t.Context(), 1<<30, nil, nil)
		var sets [3]wordSet
		rations := [3]ration{{budget: b}, {budget: b}, {budget: b}}
		want := map[uint64]bool{}
		for i := range sets {
			for range rng.IntN(1 << (n % 14)) {
				x := word[rng.IntN(len(word))]()
				want[x] = true
				if err := sets[i].add(x, &rations[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := 1; i < len(sets); i++ {
			if err := sets[0].merge(&sets[i], &rations[0]); err != nil {
				t.Fatal(err)
			}
		}
		if sets[0].len() != len(want) {
			t.Fatalf("%d words, want %d", sets[0].len(), len(want))
		}
		for x := range want {
			if !sets[0].has(x) || sets[0].has(x+1) != want[x+1] {
				t.Fatalf("%x or the next is there although it should not, or the other way round", x)
			}
		}
		held := b.used.Load() - rations[0].left - rations[1].left - rations[2].left
		if held != 8*int64(len(sets[0].slots)) {
			t.Fatalf("%d bytes are accounted for %d slots", held, len(sets[0].slots))
		}
	}
	var s wordSet
	small := ration{budget: newBudget(t.Context(), 1<<16, nil, nil)}
	for x := range uint64(1 << 16) {
		if err := s.add(x, &small); err != nil {
			if !errors.Is(err, ErrLimit) || s.len() < 1000 {
				t.Errorf("64 KiB were full after %d words: %v", s.len(), err)
			}
			return
		}
	}
	t.Error("64 KiB held 65,536 words")
}
