package randtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/reference"
)

// inWorlds returns what runs a check in worlds of a seed, and tells with a
// complaint what was asked. Large worlds are passed over.
func inWorlds(t *testing.T, seed, worlds uint64, evaluate func(*World, string) (*reference.Answer, error)) func(name string, check func(w *World, g *gen, ask func(string) *reference.Answer) string) {
	return func(name string, check func(w *World, g *gen, ask func(string) *reference.Answer) string) {
		t.Run(name, func(t *testing.T) {
			for i := range worlds {
				w := NewWorld(seed, i)
				if len(w.Events) > 400 {
					continue
				}
				g := &gen{r: rand.New(rand.NewPCG(seed+1, i)), w: w}
				asked := ""
				complaint := check(w, g, func(text string) *reference.Answer {
					asked += "\n" + text
					a, err := evaluate(w, text)
					if err != nil {
						t.Fatalf("world %d, %s: %v", i, text, err)
					}
					return a
				})
				if complaint != "" {
					t.Fatalf("world %d: %s%s", i, complaint, asked)
				}
			}
		})
	}
}

// holdInvariants holds an evaluator to what must be true of any answers,
// whatever the right ones are.
func holdInvariants(t *testing.T, evaluate func(*World, string) (*reference.Answer, error)) {
	worlds := uint64(150)
	if testing.Short() {
		worlds = 20
	}
	each := inWorlds(t, 11, worlds, evaluate)

	each("a level is dropped, open or the next one", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		a := ask("funnel " + p.String() + g.options() + " count " + pick(g.r, []string{"customers", "attempts", "entries"}))
		for k, row := range a.Rows {
			next := int64(0)
			if k+1 < len(a.Rows) {
				next = a.Rows[k+1][2].(int64)
			}
			dropped, open := row[5].(int64), row[6].(int64)
			if next > row[2].(int64) {
				return fmt.Sprintf("step %d has more than the one before", k+2)
			}
			if k+1 < len(a.Rows) && row[2].(int64) != dropped+open+next {
				return fmt.Sprintf("step %d: %v is not %d dropped + %d open + %d", k+1, row[2], dropped, open, next)
			}
		}
		return ""
	})
	each("a wider window lowers no level", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		a := ask("funnel " + p.String() + " within " + g.duration() + ", " + g.longDuration())
		n := len(p.Steps)
		return notMore(counts(a.Rows[:n], 3), counts(a.Rows[n:], 3))
	})
	each("the next event is harder than a later one", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		steps := []string{g.touch(), g.touch(), g.touch()}
		within := " within " + g.duration()
		next, later := ask("funnel "+strings.Join(steps, " => ")+within), ask("funnel "+strings.Join(steps, " -> ")+within)
		return notMore(counts(next.Rows, 2), counts(later.Rows, 2))
	})
	each("any order is easier than one order", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		steps := []string{g.touch(), g.touch(), g.touch()}
		within := " within " + g.duration()
		one, anyOrder := ask("funnel "+strings.Join(steps, " -> ")+within), ask("funnel any order ("+strings.Join(steps, ", ")+")"+within)
		return notMore(counts(one.Rows, 2), counts(anyOrder.Rows, 2))
	})
	each("groups add up to the whole", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		rest := p.String() + " within " + g.duration() + pick(g.r, []string{"", " per session", " count attempts"})
		whole, groups := ask("funnel "+rest), ask("funnel "+rest+" by "+pick(g.r, []string{"channel", "event", "channel top 1", g.field(), "last.channel"}))
		sums := make([]int64, len(p.Steps))
		for i, row := range groups.Rows {
			sums[i%len(sums)] += row[3].(int64)
		}
		if !slices.Equal(sums, counts(whole.Rows, 2)) {
			return fmt.Sprint("groups add up to ", sums)
		}
		return ""
	})
	each("entries, attempts, customers", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		first := func(count string) int64 {
			return ask("funnel " + p.String() + " within " + g.w.unit.String() + " count " + count).Rows[0][2].(int64)
		}
		if entries, attempts, customers := first("entries"), first("attempts"), first("customers"); entries < attempts || attempts < customers {
			return fmt.Sprint(entries, attempts, customers)
		}
		return ""
	})
	each("what dropped went somewhere", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		rest := p.String() + " within " + g.duration()
		sums := make([]int64, len(p.Steps))
		for _, row := range ask("dropoff " + rest + " top 2").Rows {
			sums[row[0].(int64)-1] += row[3].(int64)
		}
		if want := counts(ask("funnel "+rest).Rows, 5); !slices.Equal(sums, want) {
			return fmt.Sprintf("dropoff adds up to %d, dropped are %d", sums, want)
		}
		return ""
	})
	each("foreign events at other times change no level", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		steps := []string{nameText(pick(g.r, w.names)), nameText(pick(g.r, w.names)), nameText(pick(g.r, w.names))}
		text := "funnel " + strings.Join(steps, " -> ") + " within " + g.duration() + pick(g.r, []string{"", " entry first", " holding channel", " count attempts"})
		before := counts(ask(text).Rows, 2)
		var end event.Time
		for _, e := range w.Events {
			end = max(end, e.Time)
		}
		taken := map[event.Time]bool{}
		for _, e := range w.Events {
			taken[e.Time] = true
		}
		for range len(w.Events) {
			e := pick(g.r, w.Events)
			e.Name, e.Time = "foreign", e.Time+event.Time(g.r.IntN(5)-2)*1000
			if !taken[e.Time] && e.Time < end {
				w.Events = slices.Insert(w.Events, g.r.IntN(len(w.Events)), e)
			}
		}
		if after := counts(ask(text).Rows, 2); !slices.Equal(before, after) {
			return fmt.Sprintf("%d became %d", before, after)
		}
		return ""
	})
	each("without equal times the order of arrival is nothing", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		for i := range w.Events {
			w.Events[i].Time += 3 * event.Time(i) // more than jitter: now no two are equal
			w.EndOfData = max(w.EndOfData, w.Events[i].Time)
		}
		s := NewStatement(w, 13, g.r.Uint64(), Pair{})
		if s.Verb == "next for" {
			return "" // it may have nothing to tell
		}
		before := ask(s.String())
		g.r.Shuffle(len(w.Events), func(i, j int) { w.Events[i], w.Events[j] = w.Events[j], w.Events[i] })
		return Difference(before, ask(s.String()).Columns, ask(s.String()).Rows)
	})
}

// counts reads the column of a funnel that counts.
func counts(rows [][]any, column int) []int64 {
	var list []int64
	for _, row := range rows {
		list = append(list, row[column].(int64))
	}
	return list
}

func notMore(a, b []int64) string {
	for k := range a {
		if a[k] > b[k] {
			return fmt.Sprintf("%d is not within %d", a, b)
		}
	}
	return ""
}
