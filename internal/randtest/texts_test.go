package randtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/event"
)

// TestConditionsOnManyTexts asks for conditions on a property with more
// different texts than random worlds have, in a store, where its codes are bit
// planes.
func TestConditionsOnManyTexts(t *testing.T) {
	many := "p in ('v1', 'v3', 'v20', 'v32', 'c1', 'c2', 'c8', 'c39', 'none')"
	for _, texts := range []int{33, 200, 256, 257, 300} { // from 257 on they are no planes
		r := rand.New(rand.NewPCG(4, uint64(texts)))
		w := &World{}
		for i := range 3000 {
			e := event.Event{Customer: fmt.Sprint("c", r.IntN(40)), Name: pick(r, []string{"view", "buy"}), Time: origin + event.Time(i)*event.Time(event.Minute)}
			if r.IntN(4) > 0 {
				e.Props = []event.Prop{{Name: "p", Value: event.String(fmt.Sprint("v", r.IntN(texts)))}}
			}
			w.Events = append(w.Events, e)
		}
		w.EndOfData = w.Events[len(w.Events)-1].Time
		for layout := range uint64(3) {
			snap, err := stored(w, layout)
			if err != nil {
				t.Fatal(err)
			}
			for _, condition := range []string{"p != 'v7'", "not p = 'v3'", "p < 'v2' or p is null", "p is not null", "coalesce(p, 'v9') = 'v9'",
				"p in ('v1', 'v20', 'v32')", "p in ('v1', null)", many, "not " + many, "customer " + many[1:], "event = 'buy' and p != 'v5'", "event = 'buy' and not (p like 'v1%' or p is null)"} {
				for _, text := range []string{"measure events, customers where " + condition, "funnel view -> buy within 1h where " + condition} {
					if o := compare(Case{w, &Statement{Verb: text}}, snap, 2); o.kind != "" || o.rows == 0 {
						t.Errorf("%d texts, layout %d, %s: %s: %s", texts, layout, text, o.kind, o.detail)
					}
				}
			}
			if err := snap.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
