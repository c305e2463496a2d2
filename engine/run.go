// Package engine answers statements: it runs bound plans over snapshots of a
// store, and DB joins store, language and cache into what an embedding program
// holds.
//
// It sees a store through Snapshot only, and knows nothing of files. It leaves
// syntax and names to package query, and the look of answers to package render.
// Every statement is an operator in a file of its own; scan.go is the loop over
// tiles that they share, group.go the breakdowns.
package engine

import (
	"context"
	"errors"
	"runtime"
	"time"

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
	Customers() (int64, error)

	// Tiles is the number of tiles; every customer is in exactly one. Tile
	// reads one: it may be called from several goroutines.
	// TileRows says beforehand about how many rows a tile has.
	Tiles() int
	TileRows(i int) int64
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
	AnswerBytes int64                 // memory of the answer's rows; 0: the default, 64 MiB
	Groups      int                   // groups of by, labels, paths; 0: the default, 1,000,000
	Time        time.Duration         // how long it may take; 0: the default, 10 minutes; negative: any time
	Progress    func(done, total int) // called now and then with tiles done; may be nil
	General     bool                  // take no short cuts: the general algorithms only, for tests that compare
	Passes      int64                 // look for quantiles in several passes from the beginning, noting so many bytes of values; 0: only where values do not fit; for tests that compare
	Took        func(shortCut string) // called for every tile with the short cut that it took, "" for none, by several goroutines; for tests that count

	learned func(*nextModel) // `next for` makes a model, hands it over and answers nothing; may be nil
	model   *nextModel       // what `next for` may answer from; nil: it scans
	aged    time.Duration    // how old the model's state is; 0: it is that of the snapshot

	spent  func(spent)        // told what the run took, for tests; may be nil
	looked func()             // called whenever the run looks between scans, for tests; may be nil
	status func() [][2]string // further rows of `show status`; may be nil
	shared *pool              // what all queries of a DB may use together; nil: no such bound
	claim  *claim             // of the processors that all queries of a DB have together; nil: all of them
}

func (o RunOptions) withDefaults() RunOptions {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = memoryDefault
	}
	if o.Rows <= 0 {
		o.Rows = rowsDefault
	}
	if o.AnswerBytes <= 0 {
		o.AnswerBytes = answerDefault
	}
	if o.Groups <= 0 {
		o.Groups = groupsDefault
	}
	if o.Time == 0 {
		o.Time = timeDefault
	}
	return o
}

// Run evaluates a plan over a snapshot. It is a pure function: no clock but
// for elapsed times, no disk but the snapshot, no globals. It fails with
// *query.Error for what only data can show (integer overflow, an event in two
// stages), *LimitError for a limit, ctx's error when cancelled, and the
// snapshot's errors.
func Run(ctx context.Context, plan *query.Plan, snap Snapshot, opt RunOptions) (*Result, error) {
	begun := time.Now()
	res, several, err := runOnce(ctx, plan, snap, opt, begun, opt.Passes > 0)
	if limit := (*LimitError)(nil); several && errors.As(err, &limit) && limit.Limit == "memory" && ctx.Err() == nil {
		// Rather than give up, look at the data several times.
		res, _, err = runOnce(ctx, plan, snap, opt, begun, true)
	}
	return res, err
}

// runOnce is Run, in passes or not. several says that passes may help where
// memory was wanting.
func runOnce(ctx context.Context, plan *query.Plan, snap Snapshot, opt RunOptions, begun time.Time, inPasses bool) (res *Result, several bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := newRun(ctx, plan, snap, opt)
	if r.opt.Time > 0 {
		var cancel context.CancelFunc
		r.ctx, cancel = context.WithDeadline(ctx, begun.Add(r.opt.Time))
		defer cancel()
	}
	r.memory = newBudget(r.ctx, r.opt.MemoryBytes, r.opt.shared, end)
	defer r.memory.close()
	if r.opt.spent != nil {
		defer func() {
			r.opt.spent(spent{bytes: r.memory.peak.Load(), checks: r.stats.checks.Load(), steps: r.stats.steps.Load()})
		}()
	}
	r.rows.budget = r.memory
	if err := r.turn.begin(r.ctx); err != nil {
		return nil, false, err
	}
	defer func() { r.turn.end() }() // not the one of now: a scan gives back another
	op, err := r.operator()
	if err != nil {
		return nil, false, err
	}
	if s, ok := op.(severalPasses); ok && s.inPasses() {
		several = !inPasses
		if inPasses {
			r.passes = &passes{r: r, bytes: opt.Passes, rankings: map[string]*ranking{}}
		}
	}
	if r.passes != nil {
		res, err = r.passes.run(op)
	} else {
		res, err = r.answer(op)
	}
	var limit *LimitError
	switch {
	case err == nil:
	case errors.As(context.Cause(ctx), &limit): // the pool ended this query
		return nil, several, limit
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil, false, &LimitError{Limit: "time", Value: r.opt.Time.Milliseconds(), Reached: time.Since(begun).Milliseconds(),
			Hint: "narrow the statement with during or among"}
	default:
		return nil, several, err
	}
	res.Meta.ElapsedMS = float64(time.Since(begun)) / float64(time.Millisecond)
	return res, false, nil
}

// spent is what a run took: at most so many bytes at one time, so many looks at
// the context inside of tiles, so many steps of automata.
type spent struct{ bytes, checks, steps int64 }

// run is one evaluation of a plan: what its operator, expressions, matchers
// and cohorts share. All of it is set up before the first tile is read and is
// only read afterwards, but for the statistics.
type run struct {
	ctx    context.Context
	plan   *query.Plan
	snap   Snapshot
	schema *event.Schema
	opt    RunOptions
	memory *budget
	turn   *turn      // of the goroutine that runs it, while no workers do
	rows   ration     // of the answer
	end    event.Time // end of data; the least time if the snapshot is empty
	need   tile.Need  // what tiles must bring; compiling expressions adds to it
	where  scalar     // nil: all events
	among  *cohort    // nil: all customers
	passes *passes    // nil: the values of which quantiles are wanted are listed

	aggregates map[*query.ScalarExpr]int // expressions that stand for a value of view.aggregates; nil: none

	// ordered says that the order of a unit's events matters to the answer, so
	// that it tells the share of tied ones. All statements but a few.
	ordered bool

	// How far the operator looks before and after an anchor, if it said so.
	reaches       bool
	back, forward event.Duration

	warnings []string
	stats    scanStats
}

func newRun(ctx context.Context, plan *query.Plan, snap Snapshot, opt RunOptions) *run {
	r := &run{ctx: ctx, plan: plan, snap: snap, schema: snap.Schema(), opt: opt.withDefaults(), turn: opt.claim.turn(), end: event.MinTime, ordered: true}
	if t, ok := snap.EndOfData(); ok {
		r.end = t
	}
	if plan.HasEnd {
		r.end = plan.End
	}
	return r
}

// operator compiles the plan's where and among, which all statements share,
// and makes the statement's operator.
func (r *run) operator() (operator, error) {
	var err error
	if r.plan.Where != nil {
		if r.where, err = r.compile(r.plan.Where); err != nil {
			return nil, err
		}
	}
	if r.plan.Among != nil {
		if r.among, err = r.cohort(r.plan.Among); err != nil {
			return nil, err
		}
	}
	return newOperator(r)
}

// look is for loops between the scans: it returns the context's error if the
// query was cancelled, and gives way to others.
func (r *run) look() error {
	if r.opt.looked != nil {
		r.opt.looked()
	}
	return r.turn.yield(r.ctx)
}

// needChannel, needNames, needIDs and needProperty ask for columns beyond
// those that every tile has.
func (r *run) needChannel() { r.need.Channel = true }
func (r *run) needNames()   { r.need.Names = true }
func (r *run) needIDs()     { r.need.IDs = true }

func (r *run) needProperty(index int) {
	for _, p := range r.need.Properties {
		if p == index {
			return
		}
	}
	r.need.Properties = append(r.need.Properties, index)
}

// reach says that the operator looks no further than so much before and after
// an anchor in the range of during: times beyond need not be read.
// Operators that never call it get every customer's whole journey.
func (r *run) reach(back, forward event.Duration) { r.reaches, r.back, r.forward = true, back, forward }

// warn adds a warning to the answer. Only before the scan: workers do not warn.
func (r *run) warn(text string) { r.warnings = append(r.warnings, text) }

// inRange reports whether an anchor at t is one that during selects.
func (r *run) inRange(t event.Time) bool {
	d := &r.plan.During
	return !d.Set || t >= d.From && t < d.To
}
