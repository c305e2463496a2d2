package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/query"
)

// run binds and runs a statement over a snapshot.
func run(snap engine.Snapshot, text string, opt engine.RunOptions) (*engine.Result, error) {
	return runContext(context.Background(), snap, text, opt)
}

func runContext(ctx context.Context, snap engine.Snapshot, text string, opt engine.RunOptions) (*engine.Result, error) {
	st, err := query.Parse(text)
	if err != nil {
		return nil, err
	}
	end, ok := snap.EndOfData()
	plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.Schema(), Definitions: snap.Definitions(), EndOfData: end, Empty: !ok})
	if err != nil {
		return nil, err
	}
	return engine.Run(ctx, plan, snap, opt)
}

func mustRun(t *testing.T, snap engine.Snapshot, text string) *engine.Result {
	t.Helper()
	res, err := run(snap, text, engine.RunOptions{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return res
}

// at is an event of a customer so many seconds into 2025.
func at(customer string, seconds int64, name, channel string) event.Event {
	const base = 1735689600
	return event.Event{Customer: customer, Time: event.Time((base + seconds) * 1e6), Name: name, Channel: channel}
}

var shop = enginetest.Must([]event.Event{
	at("ann", 0, "view", "web"), at("ann", 10, "buy", "app"), at("bob", 0, "view", "web"), at("bob", 200_000, "view", ""),
}, enginetest.Options{Tiles: 2})

func TestExplain(t *testing.T) {
	for text, want := range map[string]string{
		"explain paths from view to buy through buy collapse by channel top 3 where event != 'buy' order by journeys limit 5": `
limit: 5
  order: journeys, ascending
    paths: from view, to buy, up to 5 labels, runs collapsed, through buy
      group: by channel top 3
        where: bitmap of event != 'buy'
          scan: 2 tiles; columns event, time, channel`,
		"explain measure events during 2025-01-01 to 2025-01-02 every day": `
measure: events
  group: every day in UTC
    scan: 2 tiles; columns event, time; times from 2025-01-01T00:00:00Z before 2025-01-03T00:00:00Z`,
		// A cohort looks at all events of a customer: nothing is pruned.
		"explain measure events during 2025-01-01 to 2025-01-02 among did buy": `
measure: events
  among: bitmap of customers: did buy at least 1 times
    scan: 2 tiles; columns event, time`,
		"explain transitions with times per session end 2025-01-01": `
transitions: pairs of neighbouring events, counted by code; gaps by magnitude, then those around the median
  sessions: cut where the gap is larger than 30m
    end: events after 2025-01-01T23:59:59.999999Z do not exist
      scan: 2 tiles; columns event, time`,
		"explain journey of 'ann'": `
journey: of "ann", found by identity
  scan: one tile of 2 tiles; columns event, time, channel, customer`,
		"explain show events": `
show: events, from the catalogue`,
	} {
		var lines []string
		for _, row := range mustRun(t, shop, text).Rows {
			lines = append(lines, fmt.Sprintf("%s: %s", row[0], row[1]))
		}
		if got := "\n" + strings.Join(lines, "\n"); got != want {
			t.Errorf("%s\n%s\nwant\n%s", text, got, want)
		}
	}
}

func TestExplainAnalyzeSaysWhatWasReadAndSkipped(t *testing.T) {
	// Of four events one lies beyond the range, and where leaves one of the rest.
	res := mustRun(t, shop, "explain analyze measure events where event = 'buy' during 2025-01-01 to 2025-01-01")
	counts := map[string][2]int64{}
	for _, n := range res.Meta.Plan {
		counts[n.Operator] = [2]int64{n.Events, n.Skipped}
	}
	if want := map[string][2]int64{"measure": {1, 0}, "where": {3, 2}, "scan": {3, 1}}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("events and skipped by operator: %v, want %v", counts, want)
	}
	if res.Meta.EventsRead != 3 || res.Meta.BytesRead == 0 || len(res.Rows) != 3 || len(res.Columns) != 5 {
		t.Errorf("read %d events, %d bytes; %d rows of %d columns", res.Meta.EventsRead, res.Meta.BytesRead, len(res.Rows), len(res.Columns))
	}
}

func TestMetaSaysWhatTheAnswerStandsOn(t *testing.T) {
	tied := enginetest.Must([]event.Event{
		at("ann", 0, "a", ""), at("ann", 5, "b", ""), at("ann", 5, "c", ""), at("bob", 5, "a", ""),
		at("cat", 1, "a", ""), at("cat", 1, "a", ""), at("cat", 1, "a", ""), at("cat", 2, "a", ""),
	}, enginetest.Options{Missing: []engine.Missing{{Segment: "7.seg", Rows: 3}}})
	m := mustRun(t, tied, "paths top 1 during since 2025-01-01").Meta
	if m.EventsRead != 8 || m.CustomersRead != 3 || m.Tied != 5.0/8 {
		t.Errorf("read %d events of %d customers, %v tied", m.EventsRead, m.CustomersRead, m.Tied)
	}
	if m.Cut == nil || *m.Cut != (engine.Cut{Kept: 1, Of: 3, Share: 1.0 / 3}) {
		t.Errorf("cut %+v", m.Cut)
	}
	if !m.Partial || len(m.Missing) != 1 {
		t.Errorf("partial %v, missing %v", m.Partial, m.Missing)
	}
	if m.During != "from 2025-01-01T00:00:00Z" || m.EndOfData.String() != "2025-01-01T00:00:05Z" || m.Unit != "customers" || m.Denominator == "" || !strings.Contains(m.Query, "length 5") {
		t.Errorf("%+v", m)
	}
	if cut := mustRun(t, tied, "transitions limit 1").Meta.Cut; *cut != (engine.Cut{Kept: 1, Of: 3, Share: 3.0 / 5}) {
		t.Errorf("cut by limit %+v", cut)
	}
	if w := mustRun(t, tied, "journey of 'nobody'").Meta.Warnings; len(w) != 1 || w[0] != `no customer "nobody"` {
		t.Errorf("warnings %q", w)
	}
}
