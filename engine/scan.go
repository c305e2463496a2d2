package engine

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// operator answers one kind of statement. It is made once a run; making it
// compiles the plan's expressions and asks for columns (run.need…), so that
// they are known before the first tile is read.
type operator interface {
	// run reads the tiles it needs, with scan, and returns the answer: columns,
	// rows, and of Meta what is the statement's own (Unit, Denominator, Open, Cut).
	run(r *run) (*Result, error)

	// explain describes the operator in one line: what it counts and how.
	explain(r *run) PlanNode
}

// worker is one goroutine's share of a scan. It has an accumulator of its own,
// allocated on its own, so that workers never write near each other; all
// scratch lives in it.
type worker interface {
	visit(v *view) error
}

// scanStats is what a run read, for Meta and explain analyze.
type scanStats struct {
	tiles, events, customers, tied atomic.Int64
	bytes                          atomic.Int64
	read, filter, work             atomic.Int64 // nanoseconds over all workers: tiles, where and among, operator
	left                           atomic.Int64 // events that where and end leave out
	outside                        atomic.Int64 // customers that among leaves out
	steps                          atomic.Int64 // of automata
	checks                         atomic.Int64 // how often workers looked inside a tile whether the query was cancelled
}

// again makes the statistics those of one pass, where an operator scans twice:
// an answer says how much data it looked at, not how often.
func (s *scanStats) again() {
	for _, n := range []*atomic.Int64{&s.tiles, &s.events, &s.customers, &s.tied, &s.bytes, &s.left, &s.outside} {
		n.Store(0)
	}
}

// scan reads every tile once: workers take tiles from a shared counter until
// none is left. make is called once for each worker, before any tile is read.
// The order of the returned workers has no meaning; an answer must not depend
// on which worker saw which tile.
func scan[W worker](r *run, make func() (W, error)) ([]W, error) { return scanSome(r, 1, make) }

// scanSome is scan of every so-manyth tile, for samples.
func scanSome[W worker](r *run, stride int, make func() (W, error)) ([]W, error) {
	r.prune()
	tiles := r.snap.Tiles()
	n := max(1, min(r.opt.Workers, tiles))
	ws := []W{}
	for range n {
		w, err := make()
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	var next, done atomic.Int64
	var failed scanFailure
	var wait sync.WaitGroup
	// The first worker goes on with this goroutine's turn, and the last one gives
	// it back. Whoever still waits for a turn when no tile is left has nothing to do.
	own := r.turn
	r.turn = nil
	more, noMore := context.WithCancel(ctx)
	defer noMore()
	var working atomic.Int64
	working.Store(int64(n))
	for k, w := range ws {
		wait.Add(1)
		go func() {
			defer wait.Done()
			turn := own
			if k > 0 {
				turn = r.opt.claim.turn()
			}
			defer func() {
				if working.Add(-1) == 0 {
					r.turn = turn
				} else {
					turn.end()
				}
			}()
			if turn.begin(more) != nil {
				return
			}
			i := -1
			v := &view{run: r, ctx: ctx, turn: turn}
			err := shielded(func() error {
				for {
					i = int(next.Add(1)-1) * stride
					if i >= tiles {
						noMore()
						return nil
					}
					if turn.yield(ctx) != nil {
						return nil
					}
					if err := v.visit(i, w); err != nil {
						return err
					}
					if r.opt.Progress != nil && stride == 1 {
						r.opt.Progress(int(done.Add(1)), tiles)
					}
				}
			})
			if err != nil {
				failed.set(i, err)
				cancel()
			}
		}()
	}
	wait.Wait()
	if err := r.turn.begin(r.ctx); err != nil {
		return nil, err
	}
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	if failed.err != nil {
		return nil, failed.err
	}
	return ws, nil
}

// parallel calls f for each number below n, by as many goroutines as the run has
// workers. It returns an error of f, of the lowest number; none is begun after it.
func (r *run) parallel(n int, f func(i int) error) error {
	var next atomic.Int64
	var failed scanFailure
	var wait sync.WaitGroup
	r.turn.end()
	for range min(n, r.opt.Workers) {
		wait.Go(func() {
			turn := r.opt.claim.turn()
			_ = turn.begin(r.ctx) // f is called also where the query is cancelled, which f finds out
			defer turn.end()
			for i := int(next.Add(1) - 1); i < n; i = int(next.Add(1) - 1) {
				if err := shielded(func() error { return f(i) }); err != nil {
					failed.set(i, err)
					next.Store(int64(n))
				}
				_ = turn.yield(r.ctx)
			}
		})
	}
	wait.Wait()
	_ = r.turn.begin(r.ctx)
	return failed.err
}

// prune asks for no more than the times that matter, where the operator said
// how far it looks around an anchor (run.reach) and nothing looks further.
func (r *run) prune() {
	d := r.plan.During
	if !r.reaches || !d.Set || r.plan.Unit.Session || looksBeyond(r.plan) {
		return
	}
	r.need.From, r.need.To = d.From.Add(-r.back), d.To.Add(r.forward)
}

// looksBeyond reports whether an expression or a cohort of the plan looks at
// events of the customer that are not near the anchor.
func looksBeyond(p *query.Plan) bool {
	if p.Among != nil || exprLooksBeyond(p.Where) || exprLooksBeyond(p.Value) {
		return true
	}
	exprs := slices.Clone(p.Of)
	for i := range p.By {
		exprs = append(exprs, p.By[i].Expr)
	}
	for i := range p.Outputs {
		exprs = append(exprs, p.Outputs[i].Expr)
	}
	matchers := []*query.Matcher{p.From, p.To, p.Through, p.Goal}
	if p.Pattern != nil {
		for i := range p.Pattern.Steps {
			matchers = append(matchers, p.Pattern.Steps[i].Match, p.Pattern.Steps[i].Exclude)
		}
	}
	for i := range p.Stages {
		matchers = append(matchers, p.Stages[i].Match)
	}
	return slices.ContainsFunc(exprs, exprLooksBeyond) || slices.ContainsFunc(matchers, matcherLooksBeyond)
}

func matcherLooksBeyond(m *query.Matcher) bool {
	return m != nil && slices.ContainsFunc(m.Any, func(t query.Touchpoint) bool { return exprLooksBeyond(t.Filter) })
}

func exprLooksBeyond(e *query.ScalarExpr) bool {
	if e == nil {
		return false
	}
	return e.Cohort != nil || e.Scope == query.CustomerScope || exprLooksBeyond(e.Filter) || slices.ContainsFunc(e.Args, exprLooksBeyond) ||
		slices.ContainsFunc(e.Stages, func(s query.StagePlan) bool { return matcherLooksBeyond(s.Match) })
}

// scanFailure keeps the error of the first tile that failed.
type scanFailure struct {
	mu   sync.Mutex
	tile int
	err  error
}

func (f *scanFailure) set(tile int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || tile < f.tile && err != context.Canceled {
		f.tile, f.err = tile, err
	}
}

// view is a tile prepared for a query: with the rows and customers that exist
// for it. A worker reuses its view for one tile after the other; what visit is
// given, and all scratch taken from it, is valid until visit returns.
type view struct {
	*tile.Tile
	run     *run
	ctx     context.Context
	turn    *turn       // of the goroutine
	index   int         // which tile
	rows    tile.Bitmap // events that where and end leave; nil: all
	members tile.Bitmap // customers in the cohort of among; nil: all

	took       string        // the short cut that the operator took; "": none
	held       int64         // bytes reserved for a tile
	free, used []tile.Bitmap // scratch
	scratch    int64         // bytes of it that nothing is reserved for yet
	ticks      int
	cohorts    cohortMemo

	aggregates []event.Value // of a row of the answer, see run.aggregates
}

func (v *view) visit(i int, w worker) error {
	r := v.run
	begun := time.Now()
	t, err := v.read(i)
	if err != nil {
		return err
	}
	v.Tile, v.index, v.rows, v.members, v.took = t, i, nil, nil, ""
	v.free, v.used = append(v.free, v.used...), v.used[:0]
	read := time.Now()
	if err := v.prepare(); err != nil {
		return err
	}
	ready := time.Now()
	if err := w.visit(v); err != nil {
		return err
	}
	if r.opt.Took != nil {
		if r.passes != nil {
			r.opt.Took("passes")
		}
		r.opt.Took(v.took)
	}
	if v.scratch > 0 { // known by now; the next tile uses it again
		if err := r.memory.reserve(v.scratch); err != nil {
			return err
		}
		v.scratch = 0
	}
	if r.ordered {
		r.stats.tied.Add(v.countTied())
	}
	if v.rows != nil {
		r.stats.left.Add(int64(t.Rows - v.rows.Count()))
	}
	if v.members != nil {
		r.stats.outside.Add(int64(t.Customers() - v.members.Count()))
	}
	r.stats.bytes.Add(tileBytes(t))
	r.stats.tiles.Add(1)
	r.stats.events.Add(int64(t.Rows))
	r.stats.customers.Add(int64(t.Customers()))
	r.stats.read.Add(int64(read.Sub(begun)))
	r.stats.filter.Add(int64(ready.Sub(read)))
	r.stats.work.Add(int64(time.Since(ready)))
	return nil
}

// read reads a tile. Before that it reserves what a tile of so many rows takes,
// about, and afterwards the rest: a tile cannot be told how large it may be, but
// one that is far too large, of one customer with millions of events, is not
// read at all. What was reserved for one tile serves for the next.
func (v *view) read(i int) (*tile.Tile, error) {
	if err := v.hold(v.run.snap.TileRows(i) * rowBytes(&v.run.need)); err != nil {
		return nil, err
	}
	t, err := v.run.snap.Tile(v.ctx, i, v.run.need)
	if err != nil {
		return nil, err
	}
	return t, v.hold(tileBytes(t))
}

// hold has bytes reserved for the tile at hand.
func (v *view) hold(bytes int64) error {
	if bytes <= v.held {
		return nil
	}
	if err := v.run.memory.reserve(bytes - v.held); err != nil {
		return err
	}
	v.held = bytes
	return nil
}

// rowBytes is about what a row of a tile takes, encoded as tiles are: the event
// and the time of each, and the columns asked for. It is rather too small, as
// what is missing is reserved once the tile is there.
func rowBytes(n *tile.Need) int64 {
	bytes := 2 + 2*int64(len(n.Properties))
	if n.IDs {
		bytes += 8
	}
	return bytes
}

// prepare decides which customers and rows exist. Cohorts look at all events,
// so they come before where; where does not need the customers that among
// leaves out, but telling them apart would cost more than it saves.
func (v *view) prepare() error {
	if v.run.plan.HasEnd {
		v.rows = v.bitmap(v.Rows)
		v.untilEnd(v.rows)
	}
	if v.run.among != nil {
		members := v.bitmap(v.Customers())
		if err := v.run.among.members(v, members); err != nil {
			return err
		}
		v.members = members
	}
	if v.run.where != nil {
		rows := v.bitmap(v.Rows)
		if err := v.run.where.filter(v, rows); err != nil {
			return err
		}
		if v.rows != nil {
			rows.And(v.rows)
		}
		v.rows = rows
	}
	return nil
}

// untilEnd sets the rows that are not later than the end of data.
func (v *view) untilEnd(dst tile.Bitmap) {
	dst.Fill(v.Rows)
	for c := range v.Customers() {
		lo, hi := v.Range(c)
		for i := v.within(lo, hi); i < hi; i++ {
			dst.Clear(i)
		}
	}
}

// within returns the end of a customer's rows that are not later than the end of data.
func (v *view) within(lo, hi int) int {
	if lo == hi || v.Time.At(hi-1) <= v.run.end {
		return hi
	}
	return lo + sort.Search(hi-lo, func(k int) bool { return v.Time.At(lo+k) > v.run.end })
}

// extent returns the rows of customer c up to the end of data, whether where
// lets them exist or not: what sessions are cut from and customer.b looks at.
func (v *view) extent(c int) (lo, hi int) {
	lo, hi = v.Range(c)
	if v.run.plan.HasEnd {
		hi = v.within(lo, hi)
	}
	return lo, hi
}

// exists reports whether row i exists for the query.
func (v *view) exists(i int) bool { return v.rows == nil || v.rows.Get(i) }

// next returns the first row in [from, end) that exists, or end.
func (v *view) next(from, end int) int {
	if v.rows == nil {
		return min(from, end)
	}
	return v.rows.Next(from, end)
}

// member reports whether customer c is in the cohort of among.
func (v *view) member(c int) bool { return v.members == nil || v.members.Get(c) }

// bitmap returns n zero bits of scratch, valid until the next tile.
func (v *view) bitmap(n int) tile.Bitmap {
	words := (n + 63) / 64
	for i := len(v.free) - 1; i >= 0; i-- {
		if b := v.free[i]; cap(b) >= words {
			v.free = append(v.free[:i], v.free[i+1:]...)
			b = b[:words]
			clear(b)
			v.used = append(v.used, b)
			return b
		}
	}
	b := make(tile.Bitmap, words, words+words/4)
	v.scratch += 8 * int64(cap(b))
	v.used = append(v.used, b)
	return b
}

// copyOf returns a copy of a bitmap as scratch.
func (v *view) copyOf(b tile.Bitmap) tile.Bitmap {
	c := v.bitmap(64 * len(b))
	copy(c, b)
	return c
}

// tick is called by loops over long journeys with the rows they read since the
// last call; it returns the context's error if the query was cancelled, and is
// where a query gives way to others.
func (v *view) tick(rows int) error {
	if v.ticks += rows; v.ticks < rowsBetweenChecks {
		return nil
	}
	v.ticks = 0
	return v.look()
}

// look is tick when it is time to look; apart from it, so that the compiler
// can put tick into the loops that call it.
func (v *view) look() error {
	if seeded.On("cancel_unseen_in_tiles") {
		return nil
	}
	v.run.stats.checks.Add(1)
	return v.turn.yield(v.ctx)
}

// unit is one journey: the rows [lo, hi) of a customer or of a session of one.
// Rows in between that do not exist (view.exists) are to be passed over.
type unit struct {
	customer int
	lo, hi   int
	ordinal  int  // which session of the customer, from 0
	ended    bool // no later event can belong to it any more: only sessions end
}

// units calls f for every unit that is in the cohort and has a row that exists.
// Sessions are cut over all events of the customer up to the end of data: a
// session ends where the gap to the next event is larger than the unit's gap.
func (v *view) units(f func(u unit) error) error {
	for c := range v.Customers() {
		if !v.member(c) {
			continue
		}
		lo, hi := v.extent(c)
		var err error
		if v.run.plan.Unit.Session && !(seeded.On("transition_over_gap") && v.run.plan.Verb == "transitions") {
			err = v.sessions(c, lo, hi, f)
		} else if v.next(lo, hi) < hi {
			err = f(unit{customer: c, lo: lo, hi: hi})
		}
		if err != nil {
			return err
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) sessions(c, lo, hi int, f func(u unit) error) error {
	gap := v.run.plan.Unit.Gap
	for ordinal := 0; lo < hi; ordinal++ {
		end, last := lo+1, v.Time.At(lo)
		ended := false
		for ; end < hi; end++ {
			t := v.Time.At(end)
			if seeded.On("sessions_after_where") && !v.exists(end) {
				continue
			}
			if t.Sub(last) > gap || seeded.On("session_gap_inclusive") && t.Sub(last) == gap {
				ended = true
				break
			}
			last = t
		}
		if end == hi {
			ended = last.Add(gap) <= v.run.end
		}
		if v.next(lo, end) < end {
			if err := f(unit{customer: c, lo: lo, hi: end, ordinal: ordinal, ended: ended}); err != nil {
				return err
			}
		}
		lo = end
	}
	return nil
}

// place is where an expression is evaluated: a row and, in statements on
// patterns, the attempt that is reported.
type place struct {
	row      int   // EventScope: the event at hand; in by, the anchor
	customer int   // CustomerScope
	steps    []int // StepScope: steps[k-1] is the row of step k, -1 or missing if not reached
	last     int   // LastScope: the last row of the reported attempt
	given    event.Value
}

// scalar is a compiled expression (run.compile, in expr.go).
type scalar interface {
	// value evaluates at one place. It fails with *query.Error for what only
	// data can show.
	value(v *view, p *place) (event.Value, error)

	// filter sets dst to the rows for which the expression, over the event and
	// its customer, is true: neither false nor null. It looks at all rows, also
	// at those that v.rows leaves out: the caller cuts.
	filter(v *view, dst tile.Bitmap) error
}
