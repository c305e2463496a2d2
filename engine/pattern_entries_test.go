package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// randomPattern makes a pattern over marks: nothing of it looks at a tile.
func randomPattern(r *rand.Rand) *pattern {
	steps := 1 + r.IntN(4)
	p := &pattern{run: &run{plan: &query.Plan{}, end: event.Time(r.IntN(60))}, matches: make([]*matcher, steps), bounds: make([]event.Duration, steps), exclusion: voidHits}
	for k := range steps {
		p.bounds[k] = -1
		switch {
		case k == 0:
		case r.IntN(4) == 0:
			p.next |= 1 << k
		case r.IntN(3) == 0:
			p.excluded |= 1 << k
		}
		if k > 0 && r.IntN(3) == 0 {
			p.bounds[k] = event.Duration(r.IntN(8))
		}
	}
	return p
}

func randomMarks(r *rand.Rand, p *pattern) *journey {
	j := &journey{pattern: p, v: &view{Tile: &tile.Tile{}}}
	at, place := event.Time(0), int32(0)
	for range r.IntN(40) {
		at += event.Time(r.IntN(3))
		place += 1 + int32(r.IntN(5)/4)
		x := mark{time: at, place: place}
		for k := range p.matches {
			x.steps |= uint32(r.IntN(3)/2) << k
		}
		if r.IntN(3) == 0 {
			x.kills = r.Uint32() & p.excluded
		}
		j.marks = append(j.marks, x)
	}
	j.places = int(place) + 1 + r.IntN(2)
	j.end = max(p.run.end, at)
	return j
}

// All entries at once must find what following each of them finds.
func TestEntriesAtOnceAreEntriesOneByOne(t *testing.T) {
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := randomPattern(r)
		j := randomMarks(r, p)
		window := event.Duration(r.IntN(30))
		all := &entrants{pattern: p, window: window}
		one := &machine{pattern: p, window: window}
		all.enterAll(j.marks, entryRange{minInstant, maxInstant})
		for e, at := range all.entries {
			want, _, hit := one.follow(j, int(at))
			got := all.result(int32(e), j)
			if fmt.Sprint(got.level, got.open, got.place[:got.level], all.hit[e]) != fmt.Sprint(want.level, want.open, want.place[:want.level], hit) {
				t.Fatalf("seed %d, entry %d (mark %d): got level %d, open %v, places %v, hit %v; want %d, %v, %v, %v\nsteps %d next %b bounds %v window %d end %d\n%v",
					seed, e, at, got.level, got.open, got.place[:got.level], all.hit[e], want.level, want.open, want.place[:want.level], hit,
					len(p.matches), p.next, p.bounds, window, j.end, j.marks)
			}
		}
	}
}

// The best of all entries, followed one by one, is what one state a step finds.
func TestOneStateAStepFindsTheBestEntry(t *testing.T) {
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := randomPattern(r)
		j := randomMarks(r, p)
		m := &machine{pattern: p, window: event.Duration(r.IntN(30))}
		want := chain{}
		open := false
		for i := range j.marks {
			if j.marks[i].steps&1 == 0 {
				continue
			}
			c, _, _ := m.follow(j, i)
			open = open || c.open
			if isBetter(c, &want, len(p.matches)) {
				want = *c
			}
		}
		want.open = open && want.level < len(p.matches)
		got := m.best(j, j.marks, entryRange{minInstant, maxInstant})
		if fmt.Sprint(got.level, got.open, got.place[:got.level]) != fmt.Sprint(want.level, want.open, want.place[:want.level]) {
			t.Fatalf("seed %d: got level %d, open %v, places %v; want %d, %v, %v\n%v", seed, got.level, got.open, got.place[:got.level], want.level, want.open, want.place[:want.level], j.marks)
		}
	}
}

// isBetter is the rule of the reported attempt: the deepest; of those that
// convert what ends first, of others what ends last; then the latest from the
// last event back.
func isBetter(a, b *chain, steps int) bool {
	if a.level != b.level {
		return a.level > b.level
	}
	for k := a.level - 1; k >= 0; k-- {
		if a.place[k] != b.place[k] {
			return (a.place[k] > b.place[k]) != (k == steps-1)
		}
	}
	return false
}
