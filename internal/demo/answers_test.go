package demo

import (
	"context"
	"math"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/query"
)

// snapshot is the shop's data as a store would hold it.
func (s *Shop) snapshot(t *testing.T) engine.Snapshot {
	t.Helper()
	var events []event.Event
	for _, e := range s.rows {
		x := event.Event{Customer: e.customer, Time: event.At(e.time), Name: e.event, Channel: e.channel}
		if e.score > 0 {
			x.Props = append(x.Props, event.Prop{Name: "score", Value: event.Integer(int64(e.score))})
		}
		if e.category != "" {
			x.Props = append(x.Props, event.Prop{Name: "category", Value: event.String(e.category)})
		}
		events = append(events, x)
	}
	opt := enginetest.Options{Tiles: 3, Links: map[string]string{}, Definitions: []event.Definition{
		{Kind: "stage", Name: "reserved", Text: "define stage reserved as reserve_in_store"},
		{Kind: "stage", Name: "collected", Text: "define stage collected as store_pickup"},
		{Kind: "stage", Name: "bought", Text: "define stage bought as purchase | survey@email"},
		{Kind: "stage", Name: "called", Text: "define stage called as call_transfer | survey@call_center"},
	}}
	for _, l := range s.Links {
		opt.Links[l.From] = l.To
	}
	snap, err := enginetest.New(events, opt)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// answer runs a statement.
func answer(t *testing.T, snap engine.Snapshot, text string) *engine.Result {
	t.Helper()
	st, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := snap.EndOfData()
	plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.Schema(), Definitions: snap.Definitions(), EndOfData: end})
	if err != nil {
		t.Fatal(err)
	}
	res, err := engine.Run(context.Background(), plan, snap, engine.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// cells answers a statement and returns one row's cells, by column.
func cells(t *testing.T, snap engine.Snapshot, text, column, value string) map[string]engine.Cell {
	t.Helper()
	res := answer(t, snap, text)
	for _, row := range res.Rows {
		found := map[string]engine.Cell{}
		for i, c := range res.Columns {
			found[c.Name] = row[i]
		}
		if found[column] == value {
			t.Logf("%s: %v", text, row)
			return found
		}
	}
	t.Fatalf("%s: no row with %s %q", text, column, value)
	return nil
}

// What is planted in the shop, the statements find: the hand-over's loss to
// three in a hundred (of those that an advertisement led to, who are fewer, to
// five), the fall of the score to 0.15; cancellations to ten in a hundred, for
// few complain, and what goes with shoes to five.
func TestStatementsFindThePlantedEffects(t *testing.T) {
	snap := New(1, Customers).snapshot(t)
	near := func(what string, got engine.Cell, want, within float64) {
		t.Helper()
		if x, ok := got.(float64); !ok || math.Abs(x-want) > within {
			t.Errorf("%s is %v, planted %.2f", what, got, want)
		}
	}
	reserved := cells(t, snap, "map reserved, collected within 4d", "stage", "reserved")
	near("map: share that goes on from reserved to collected", reserved["to_next_stage"], 1-HandoverLoss, 0.03)
	lost := cells(t, snap, "moments goal store_pickup within 4d", "touchpoint", "reserve_in_store")
	near("moments: loss after reserve_in_store", lost["loss"], HandoverLoss, 0.03)
	transfer := cells(t, snap, "moments score score", "touchpoint", "call_transfer")
	near("moments: fall after call_transfer", transfer["fall"], ScoreFall, 0.15)
	call := cells(t, snap, "moments score score where event != 'call_transfer' among did call_transfer exactly 0 times", "touchpoint", "support_call")
	near("moments: fall after a call that was not transferred", call["fall"], 0, 0.15)

	before := cells(t, snap, "map bought, called score score among did call_transfer", "stage", "bought")
	after := cells(t, snap, "map bought, called score score among did call_transfer", "stage", "called")
	near("map: fall of the emotional curve", before["score_avg"].(float64)-after["score_avg"].(float64), ScoreFall, 0.15)

	// Of advertisement, reservation and pick-up only, each journey from an
	// advertisement to a reservation is a switch to web or app.
	switches := answer(t, snap, "switches from (display | search_ads | social) to (web | app) goal store_pickup within 4d where event in ('ad_click', 'reserve_in_store', 'store_pickup')")
	var over, missed int64
	for _, row := range switches.Rows {
		over += row[2].(int64) - row[5].(int64)
		missed += row[4].(int64)
	}
	near("switches: loss of reservations after an advertisement", float64(missed)/float64(over), HandoverLoss, 0.05)

	cancelled := cells(t, snap, "funnel complaint -> cancel within 30d where event in ('complaint', 'cancel')", "touchpoint", "cancel")
	near("funnel: share of complaints that end in cancelling", cancelled["from_previous"], CancelAfterComplaint, 0.1)
	shoes := cells(t, snap, "affinity of category in store_purchase per session gap 1h where event = 'store_purchase'", "left", "shoes")
	near("affinity: bags with shoes", shoes["confidence"], AddOns, 0.05)
	if shoes["right"] != "bags" {
		t.Errorf("with shoes go %v", shoes["right"])
	}

	greatest := cells(t, snap, "moments score score goal (purchase | store_purchase) top 1", "touchpoint", "call_transfer")
	if greatest["fall_n"].(int64) < 100 {
		t.Errorf("the moment of truth rests on %v customers", greatest["fall_n"])
	}
}
