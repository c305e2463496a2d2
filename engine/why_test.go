package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
)

// For every customer of random small stores the verdict of why is what the
// funnel says of a store with this customer alone.
func TestWhyAgreesWithTheFunnel(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	verdicts := map[string]int{}
	for range 400 {
		byCustomer := map[string][]event.Event{}
		var events []event.Event
		for range 4 + r.IntN(30) {
			e := at(fmt.Sprintf("c%d", r.IntN(4)), r.Int64N(40), string("AABBCXY"[r.IntN(7)]), []string{"", "web"}[r.IntN(2)])
			if r.IntN(3) > 0 {
				e.Props = []event.Prop{{Name: "p", Value: event.Integer(r.Int64N(2))}}
			}
			events = append(events, e)
			byCustomer[e.Customer] = append(byCustomer[e.Customer], e)
		}
		schema := enginetest.Must(append([]event.Event{at("c", 0, "A", "web"), at("c", 0, "B", ""), at("c", 0, "C", ""), at("c", 0, "X", ""), at("c", 0, "Y", ""),
			{Customer: "c", Name: "A", Props: []event.Prop{{Name: "p", Value: event.Integer(1)}}}}, events...), enginetest.Options{}).Schema()
		end := at("", 25+r.Int64N(30), "", "").Time
		all := enginetest.Must(events, enginetest.Options{Tiles: 2, EndOfData: end, HasEnd: true, Schema: schema})
		pattern := []string{"A -> B", "A -> B -> C", "A => B -> C", "A -> !X -> B -> C", "A ->[4s] B -> !(X | Y) -> C", "A -> B => A", "any order (A, B, C)", "A", "A -> A ->[3s] !B -> A", "A =>[2s] B => C"}[r.IntN(10)]
		pattern += fmt.Sprintf(" within %ds", 1+r.IntN(20))
		during := []string{"", "", " during since 2025-01-01T00:00:10", " during 2025-01-01T00:00:05 to 2025-01-01T00:00:20"}[r.IntN(4)]
		clauses := []string{" holding p", " ties arrival", " where event != 'Y'", during, " among did B"}
		if pattern[:3] != "any" {
			clauses = append(clauses, " entry first")
		}
		for _, clause := range clauses {
			if r.IntN(4) == 0 {
				pattern += clause
			}
		}
		if pattern[:3] != "any" {
			pattern += []string{"", " exclusion void", " exclusion drop"}[r.IntN(3)]
		}
		funnel := "funnel " + pattern
		if r.IntN(3) == 0 {
			gap := fmt.Sprintf(" per session gap %ds", 2+r.IntN(8))
			pattern, funnel = pattern+gap, funnel+gap+" count customers"
		}
		for customer, own := range byCustomer {
			alone := enginetest.Must(own, enginetest.Options{EndOfData: end, HasEnd: true, Schema: schema})
			level, state := funnelSays(t, alone, funnel)
			res, err := run(all, "why '"+customer+"' in "+pattern, engine.RunOptions{})
			if err != nil {
				t.Fatalf("%s: %v", pattern, err)
			}
			if len(res.Rows) == 0 { // not in the cohort
				if level != 0 {
					t.Fatalf("%s: why says nothing of %s", pattern, customer)
				}
				continue
			}
			last := res.Rows[len(res.Rows)-1]
			said, _ := last[3].(int64)
			verdict := last[4].(string)
			verdicts[verdict]++
			if got := stateOf(verdict, said); said != level || got != state {
				t.Fatalf("%s\nof %v: %s at level %d\nfunnel: %s at level %d\n%v", pattern, own, verdict, said, state, level, res.Rows)
			}
			for i := 1; i < len(res.Rows)-1; i++ {
				if res.Rows[i][0].(event.Time) < res.Rows[i-1][0].(event.Time) {
					t.Fatalf("%s: out of order: %v", pattern, res.Rows)
				}
			}
		}
	}
	for _, verdict := range []string{"converted", "window over", "gap over", "exclusion", "session over", "next event", "open", "no entry"} {
		if verdicts[verdict] < 5 {
			t.Errorf("the verdict %q came up %d times", verdict, verdicts[verdict])
		}
	}
}

// funnelSays is what a funnel over one customer says: the level and what
// became of the customer, level 0 if it is not counted.
func funnelSays(t *testing.T, snap engine.Snapshot, text string) (level int64, state string) {
	t.Helper()
	res := mustRun(t, snap, text)
	state = "not counted"
	for i, row := range res.Rows {
		if row[2].(int64) == 0 {
			break
		}
		level = row[0].(int64)
		switch {
		case row[5].(int64) > 0:
			state = "dropped"
		case row[6].(int64) > 0:
			state = "open"
		case i == len(res.Rows)-1:
			state = "converted"
		}
	}
	return level, state
}

func stateOf(verdict string, level int64) string {
	switch {
	case level == 0:
		return "not counted"
	case verdict == "converted" || verdict == "open":
		return verdict
	}
	return "dropped"
}
