package engine

import (
	"context"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// Snapshot is what the engine needs of a store: one unchanging state of it.
type Snapshot interface {
	Schema() *event.Schema
	Definitions() []event.Definition

	// Version names the state: equal versions have equal answers.
	Version() string

	// EndOfData is the newest event's time, but not later than the time at
	// which the newest batch was received. An empty store has none.
	EndOfData() (t event.Time, ok bool)

	// Events and Customers count what the snapshot holds; customers are
	// canonical ones, after links.
	Events() int64
	Customers() int64

	// Tiles is the number of tiles; every customer is in exactly one. Tile
	// reads one: it may be called from several goroutines.
	Tiles() int
	Tile(ctx context.Context, i int, need tile.Need) (*tile.Tile, error)

	// Locate finds a customer by any of its identities.
	Locate(ctx context.Context, customer string) (tileIndex, index int, canonical string, ok bool, err error)

	// Missing lists damaged data that the tiles leave out.
	Missing() []Missing
}

// RunOptions bound one run.
type RunOptions struct {
	Workers     int                   // goroutines; 0: one a core
	MemoryBytes int64                 // budget of the query; 0: the default, 256 MiB
	Rows        int                   // answer rows; 0: the default, 100,000
	Groups      int                   // groups of by, labels, paths; 0: the default, 1,000,000
	Progress    func(done, total int) // called now and then with tiles done; may be nil
}

// Run evaluates a plan over a snapshot. It is a pure function: no clock but
// for elapsed times, no disk but the snapshot, no globals. It fails with
// *query.Error for what only data can show (integer overflow, an event in two
// stages), *LimitError for a limit, ctx's error when cancelled, and the
// snapshot's errors.
func Run(ctx context.Context, plan *query.Plan, snap Snapshot, opt RunOptions) (*Result, error) {
	panic("engine: Run is written next")
}
