package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/query"
	"wend/storage"
	"wend/storage/vfs"
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
	r := &run{ctx: t.Context(), opt: RunOptions{Workers: 3}}
	err = r.parallel(100, func(i int) error {
		if i == 7 {
			panic("bug")
		}
		return nil
	})
	if !errors.As(err, &p) || p.Value != "bug" {
		t.Errorf("a panic in one of several goroutines gives %v", err)
	}
}

// A model is made in the background, where nobody is told of a panic but the
// log, and the log repeats nothing of what was panicked with.
func TestAPanicInTheBackgroundIsLogged(t *testing.T) {
	const canary = "canary7"
	var log bytes.Buffer
	db, err := Open("store", Options{Storage: storage.Options{FS: vfs.NewMem()}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	db.models.now = func() time.Time { panic(canary) }
	db.learn(&query.Plan{Text: "next for '" + canary + "'"}, "key", QuerySettings{})
	if err := db.Close(); err != nil { // which waits for it
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, canary) || !strings.Contains(text, "panic=string") || !strings.Contains(text, "makeModel") {
		t.Errorf("the log says %s", text)
	}
}
