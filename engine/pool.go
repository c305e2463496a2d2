package engine

import (
	"context"
	"sync"
	"sync/atomic"

	"wend/internal/seeded"
)

// pool is the memory that all queries of a DB use together. A query reserves
// from it before it allocates. When it is used up, the largest of the queries
// that hold some of it ends with a limit error, so that one greedy query does
// not end the small ones beside it; who asked waits until that one has given
// back what it held.
type pool struct {
	limit int64
	used  atomic.Int64

	mu      sync.Mutex
	holders map[*budget]struct{}
	freed   chan struct{} // closed when something is given back that somebody waits for; nil: nobody does
}

func newPool(limit int64) *pool { return &pool{limit: limit, holders: map[*budget]struct{}{}} }

// join makes a budget one that may be ended to make room for others.
func (p *pool) join(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holders[b] = struct{}{}
}

// leave takes everything back that a budget holds.
func (p *pool) leave(b *budget) {
	p.mu.Lock()
	delete(p.holders, b)
	p.mu.Unlock()
	if seeded.On("pool_not_given_back") {
		return
	}
	p.release(b.used.Swap(0))
}

// reserve takes n bytes for b, which counts them already. It fails if b is the
// largest holder itself, or is ended meanwhile.
func (p *pool) reserve(ctx context.Context, b *budget, n int64) error {
	for {
		if used := p.used.Add(n); used <= p.limit {
			return nil
		}
		p.release(n)
		freed, err := p.makeRoom(b, n)
		if err != nil {
			return err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// makeRoom ends the largest holder. It returns what is closed when something
// was given back.
func (p *pool) makeRoom(b *budget, n int64) (freed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used.Load()+n <= p.limit { // given back in between
		now := make(chan struct{})
		close(now)
		return now, nil
	}
	largest := b
	for h := range p.holders {
		// One that is ending already is the one to wait for, however large others are.
		if h != b && h.ended {
			largest = h
			break
		}
		if h.used.Load() > largest.used.Load() {
			largest = h
		}
	}
	limit := &LimitError{Limit: "memory", Value: p.limit, Reached: p.used.Load() + n,
		Hint: "all queries running now share this memory, and this one holds most of it: narrow the statement with where, during, among or top, or try again later; GOMEMLIMIT of the process decides how much there is"}
	if largest == b || b.ended {
		return nil, limit
	}
	if !largest.ended {
		largest.ended = true
		largest.end(limit)
	}
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return p.freed, nil
}

// release gives n bytes back.
func (p *pool) release(n int64) {
	p.used.Add(-n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}
