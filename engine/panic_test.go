package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// broken is a snapshot whose tiles panic, as a bug would.
type broken struct{ Snapshot }

func (broken) Schema() *event.Schema {
	return &event.Schema{Events: []event.Name{{Text: "a", Count: 1}}, Channels: []event.Name{{}}}
}
func (broken) Definitions() []event.Definition    { return nil }
func (broken) Version() string                    { return "broken" }
func (broken) EndOfData() (t event.Time, ok bool) { return 10, true }
func (broken) Events() int64                      { return 1 }
func (broken) Customers() (int64, error)          { return 1, nil }
func (broken) Tiles() int                         { return 4 }
func (broken) Missing() []Missing                 { return nil }
func (broken) Tile(context.Context, int, tile.Need) (*tile.Tile, error) {
	panic("index out of range")
}

func TestAPanicEndsTheStatementOnly(t *testing.T) {
	statements, err := query.Parse("measure events")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := query.Bind(statements[0], &query.Catalog{Schema: broken{}.Schema(), EndOfData: 10})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), plan, broken{}, RunOptions{Workers: 3})
	var p *PanicError
	if !errors.As(err, &p) || !strings.Contains(string(p.Stack), "Tile") {
		t.Errorf("a panic in a worker gives %v", err)
	}
	_, err = new(flights).do(t.Context(), "key", nil, nil, func(context.Context, func(int, int)) (*Result, error) { panic("bug") })
	if !errors.As(err, &p) || p.Value != "bug" {
		t.Errorf("a panic in a flight gives %v", err)
	}
}
