package reference

import (
	"math"
	"slices"

	"wend/event"
	"wend/query"
)

// Where the language is silent about `test last`: N are the events that
// `where`, `among` and `during` leave; S is the time of one of them such that
// floor(share·N) at most are later. Trained is on what was decided at or before
// S: by the next event, or by the end of the window. The most frequent labels
// are those of events not later than S that follow another of their unit. In
// next for, every later event with one before it is a test; where no suffix has
// its support there is no hit.

// guess is labels in the order in which they would be guessed.
type guess []string

func (g guess) hit(label string, first int) int {
	if slices.Contains(g[:min(first, len(g))], label) {
		return 1
	}
	return 0
}

// score counts the hits of one method.
type score struct {
	method                          string
	trained, tested, among1, among3 int
}

func (sc *score) test(g guess, label string) {
	sc.tested++
	sc.among1 += g.hit(label, 1)
	sc.among3 += g.hit(label, 3)
}

func (ev *evaluator) testOfNext(q *query.Query, s *settings) *Answer {
	units := ev.unitsInRange(s)
	var times []event.Time
	for _, u := range units {
		for _, f := range u.events {
			times = append(times, f.Time)
		}
	}
	answer := &Answer{Columns: []string{"method", "trained", "tested", "hit_1", "hit_3"}}
	own, always := score{method: "next after"}, score{method: "most frequent"}
	if q.For {
		own.method = "next for"
	}
	if len(times) > 0 {
		slices.Sort(times)
		split := times[len(times)-1-int(math.Floor(s.test*float64(len(times))))]
		frequent := map[string]int{}
		for _, u := range units {
			for i, label := range ev.labels(s, u) {
				if i > 0 && u.events[i].Time <= split {
					frequent[label]++
					always.trained++
				}
			}
		}
		if q.For {
			ev.testSuffixes(s, units, split, &own, &always, byCount(frequent))
		} else {
			ev.testAttempts(q, s, split, &own, &always, byCount(frequent))
		}
	}
	for _, sc := range []score{own, always} {
		answer.Rows = append(answer.Rows, []any{sc.method, int64(sc.trained), int64(sc.tested), share(sc.among1, sc.tested), share(sc.among3, sc.tested)})
	}
	t := &table{ev: ev, s: s, answer: answer}
	t.order()
	return answer
}

func (ev *evaluator) testAttempts(q *query.Query, s *settings, split event.Time, own, always *score, frequent guess) {
	var later []successor
	before := map[string]int{}
	p := ev.pattern(q.Pattern)
	ev.eachOutcome(p, s, 0, func(_ event.Time, o outcome) {
		n, ok := ev.nextOf(p, s, o)
		switch {
		case !ok:
		case n.time <= split:
			before[n.label]++
			own.trained++
		default:
			later = append(later, n)
		}
	})
	for _, n := range later {
		own.test(byCount(before), n.label)
		always.test(frequent, n.label)
	}
}

func (ev *evaluator) testSuffixes(s *settings, units []unit, split event.Time, own, always *score, frequent guess) {
	own.trained = always.trained
	for _, u := range units {
		labels := ev.labels(s, u)
		for i := 1; i < len(labels); i++ {
			if u.events[i].Time <= split {
				continue
			}
			var g guess
			for n := min(suffixMax, i); n > 0 && g == nil; n-- {
				followed := map[string]int{}
				support := 0
				for _, other := range units {
					theirs := ev.labels(s, other)
					for k := n; k < len(theirs); k++ {
						if other.events[k].Time <= split && slices.Equal(theirs[k-n:k], labels[i-n:i]) {
							followed[theirs[k]]++
							support++
						}
					}
				}
				if support >= supportMin {
					g = byCount(followed)
				}
			}
			own.test(g, labels[i])
			always.test(frequent, labels[i])
		}
	}
}
