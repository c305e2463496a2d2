package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/tile"
)

// benchSnapshot is a made-up store of two million events in sessions, encoded
// as storage would: 24 events, 12 channels, a number on some.
type benchSnapshot struct {
	schema *event.Schema
	tiles  []*tile.Tile
	rows   int64
	end    event.Time
}

func newBenchSnapshot(customers int) *benchSnapshot {
	s := &benchSnapshot{schema: &event.Schema{Channels: []event.Name{{}}, Properties: []event.Property{{Name: "value", Type: event.FloatType}}}}
	for i := range 24 {
		s.schema.Events = append(s.schema.Events, event.Name{Text: fmt.Sprintf("e%02d", i)})
	}
	for i := range 12 {
		s.schema.Channels = append(s.schema.Channels, event.Name{Text: fmt.Sprintf("ch%02d", i)})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for done := 0; done < customers; done += 2048 {
		t := &tile.Tile{Starts: []uint32{0}}
		var events, channels []uint32
		var times []event.Time
		for range min(2048, customers-done) {
			at := event.Time(r.Int64N(int64(80 * event.Day)))
			for range 1 + r.IntN(5) {
				channel := 1 + r.Uint32N(12)
				for range 1 + r.IntN(13) {
					at += event.Time(event.Millisecond) * event.Time(1+r.Int64N(120_000))
					times = append(times, at)
					events = append(events, uint32(min(23, int(r.ExpFloat64()*5))))
					channels = append(channels, channel)
				}
				at += event.Time(r.Int64N(int64(5 * event.Day)))
			}
			s.end = max(s.end, at)
			t.Starts = append(t.Starts, uint32(len(times)))
		}
		t.Rows, t.Firsts = len(times), tile.NewFirsts(t.Starts)
		t.Event, t.Channel = tile.NewCodes(events), tile.NewCodes(channels)
		t.Time, t.Ties = tile.NewTimes(times, t.Starts), tile.NewTies(times, t.Starts)
		t.Same, t.Lasts = t.Time.Same(t.Starts, t.Ties), t.Time.LastBases(t.Starts)
		column := tile.NewColumn(event.FloatType, t.Rows)
		for i, code := range events {
			if code > 8 {
				column.Present.Set(i)
				column.Floats[i] = float64(r.IntN(10000)) / 100
			}
		}
		t.Columns = []*tile.Column{column}
		s.tiles, s.rows = append(s.tiles, t), s.rows+int64(t.Rows)
	}
	return s
}

func (s *benchSnapshot) Schema() *event.Schema { return s.schema }
func (s *benchSnapshot) Definitions() []event.Definition {
	return []event.Definition{
		{Kind: "stage", Name: "early", Text: "define stage early as e00 | e01 | e02"},
		{Kind: "stage", Name: "late", Text: "define stage late as e05 | e10"},
	}
}
func (s *benchSnapshot) Version() string               { return "bench" }
func (s *benchSnapshot) EndOfData() (event.Time, bool) { return s.end, true }
func (s *benchSnapshot) Events() int64                 { return s.rows }
func (s *benchSnapshot) Customers() (int64, error)     { return 0, nil }
func (s *benchSnapshot) Tiles() int                    { return len(s.tiles) }
func (s *benchSnapshot) Missing() []engine.Missing     { return nil }
func (s *benchSnapshot) Tile(_ context.Context, i int, _ tile.Need) (*tile.Tile, error) {
	return s.tiles[i], nil
}
func (s *benchSnapshot) TileRows(int) int64 { return 0 }
func (s *benchSnapshot) Locate(context.Context, string) (int, int, string, bool, error) {
	return 0, 0, "", false, nil
}

// BenchmarkStatements measures statements over two million events; ns/event
// is over all of them.
func BenchmarkStatements(b *testing.B) {
	snap := newBenchSnapshot(96 * 1024)
	for _, text := range []string{
		"transitions", "transitions with times", "transitions of event, channel", "transitions collapse",
		"paths length 5", "paths to e10 within 7d", "paths from e10 within 7d", "paths length 5 collapse", "paths from each e10 within 7d",
		"measure events, customers", "measure events, customers by event, channel", "measure sum(value) by channel every day", "measure median(value)", "measure sessions",
		"measure 100 * sum(value) / (events + 1) by event, channel every day",
		"funnel e00 -> e05 -> e10 within 7d",
		"map early, late by channel score value within 7d", "moments score value goal e10 within 7d",
	} {
		st, err := query.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.schema, Definitions: snap.Definitions(), EndOfData: snap.end})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if _, err := engine.Run(context.Background(), plan, snap, engine.RunOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(snap.rows), "ns/event")
		})
	}
}
