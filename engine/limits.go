package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"wend/internal/seeded"
)

// The defaults of RunOptions, and limits that have no option.
const (
	memoryDefault = 256 << 20
	rowsDefault   = 100_000
	groupsDefault = 1_000_000
	answerDefault = 64 << 20
	timeDefault   = 10 * time.Minute

	// rowsBetweenChecks is how many rows of one journey an operator may read
	// before it looks whether the query was cancelled, or has to give way to another.
	rowsBetweenChecks = 1 << 10

	// rowsBetweenLooks is the same for rows of the answer, some of which take
	// long: those with medians.
	rowsBetweenLooks = 16
)

// ErrLimit is what every *LimitError is: errors.Is(err, ErrLimit).
var ErrLimit = errors.New("limit reached")

// LimitError says which limit a statement reached and what to do about it.
// Nothing is ever cut silently.
type LimitError struct {
	Limit   string // memory, rows, answer, groups, labels, paths, by, of, steps, states, time
	Value   int64  // what is allowed: bytes of memory and answer, milliseconds of time
	Reached int64  // what was needed, at least
	Hint    string // how to narrow the statement; whoever asked can seldom raise the limit
}

// Error is one line with the hint last, fit to be shown to whoever asked.
func (e *LimitError) Error() string { return e.Message() + "; " + e.Hint }

// Message is Error without the hint. It leaves out what says only where the
// statement was ended.
func (e *LimitError) Message() string {
	show := func(n int64) string { return strconv.FormatInt(n, 10) }
	switch e.Limit {
	case "memory":
		return fmt.Sprintf("the limit %q of %s is reached", e.Limit, byteSize(e.Value))
	case "time":
		return fmt.Sprintf("the limit %q of %s is reached", e.Limit, time.Duration(e.Value)*time.Millisecond)
	case "answer":
		show = byteSize
	}
	return fmt.Sprintf("the limit %q of %s is reached (at least %s needed)", e.Limit, show(e.Value), show(e.Reached))
}

func byteSize(n int64) string {
	size, unit := float64(n), "bytes"
	for _, larger := range []string{"KiB", "MiB", "GiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, larger
	}
	return strconv.FormatFloat(math.Round(10*size)/10, 'f', -1, 64) + " " + unit
}

// Is makes errors.Is(err, ErrLimit) true.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// PanicError is a bug in the engine that a statement ran into. The statement
// ends with it; the process and all other statements go on.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // where
}

func newPanicError(value any) *PanicError { return &PanicError{value, debug.Stack()} }

// shielded calls f, and returns a panic of it as an error. Every goroutine that
// works for a statement does so inside of it.
func shielded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newPanicError(p)
		}
	}()
	return f()
}

// Error leaves the stack out, which is for the log. What was panicked with may
// hold data: the log names its type.
func (e *PanicError) Error() string {
	return fmt.Sprintf("the statement ran into a bug of wend: %v; other statements are not affected", e.Value)
}

// budget is memory that a query may use: it is reserved before it is
// allocated. A budget may draw on the pool that all queries of a DB share;
// closing it gives everything back.
type budget struct {
	limit int64
	used  atomic.Int64
	peak  atomic.Int64 // the most that was reserved at one time

	// lasting is what of used a further pass over the data goes on holding.
	lasting atomic.Int64

	pool  *pool                   // nil: no such bound
	ctx   context.Context         // of the query; it ends waiting for others
	end   context.CancelCauseFunc // ends the query
	ended bool                    // by the pool, which guards it
}

// newBudget makes the budget of a query. The pool, if there is one, may call
// end to make room.
func newBudget(ctx context.Context, limit int64, p *pool, end context.CancelCauseFunc) *budget {
	b := &budget{limit: limit, pool: p, ctx: ctx, end: end}
	if p != nil {
		p.join(b)
	}
	return b
}

// reserve takes n bytes, or fails with a LimitError and takes nothing.
func (b *budget) reserve(n int64) error {
	used := b.used.Add(n)
	if used > b.limit && !seeded.On("memory_not_limited") {
		b.used.Add(-n)
		return &LimitError{Limit: "memory", Value: b.limit, Reached: used,
			Hint: "narrow the statement with where, during, among or top"}
	}
	if b.pool != nil {
		if err := b.pool.reserve(b.ctx, b, n); err != nil {
			b.used.Add(-n)
			return err
		}
	}
	for peak := b.peak.Load(); used > peak && !b.peak.CompareAndSwap(peak, used); {
		peak = b.peak.Load()
	}
	return nil
}

// release gives n bytes back.
func (b *budget) release(n int64) {
	b.used.Add(-n)
	if b.pool != nil {
		b.pool.release(n)
	}
}

// close gives everything back.
func (b *budget) close() {
	if b.pool != nil {
		b.pool.leave(b)
	} else {
		b.used.Store(0)
	}
}

// ration draws on a budget for one worker in larger pieces, so that workers do
// not meet at the budget's counter for every entry of a table.
type ration struct {
	budget *budget
	left   int64
}

const rationBytes = 1 << 13

// take accounts for n bytes.
func (r *ration) take(n int64) error {
	if n <= r.left {
		r.left -= n
		return nil
	}
	piece := max(n, rationBytes)
	if err := r.budget.reserve(piece); err != nil {
		// The rest of a piece may still fit where a whole one does not.
		if err := r.budget.reserve(n); err != nil {
			return err
		}
		return nil
	}
	r.left += piece - n
	return nil
}
