package engine

import (
	"context"
	"errors"
	"testing"
)

// holder is a query that holds memory of a pool.
type holder struct {
	*budget
	ctx context.Context
}

func hold(t *testing.T, p *pool, bytes int64) holder {
	t.Helper()
	ctx, end := context.WithCancelCause(context.Background())
	t.Cleanup(func() { end(nil) })
	h := holder{newBudget(ctx, 1000, p, end), ctx}
	if err := h.reserve(bytes); err != nil {
		t.Fatal(err)
	}
	return h
}

// ended reports whether the pool ended the query, for want of memory.
func (h holder) wasEnded() bool {
	var limit *LimitError
	return errors.As(context.Cause(h.ctx), &limit) && limit.Limit == "memory"
}

func TestTheLargestQueryMakesRoom(t *testing.T) {
	p := newPool(100)
	small, large, asks := hold(t, p, 20), hold(t, p, 50), hold(t, p, 25)
	got := make(chan error)
	go func() { got <- asks.reserve(20) }()
	<-large.ctx.Done() // until then, and as long as it holds its memory, asks waits
	if !large.wasEnded() || small.wasEnded() || asks.wasEnded() {
		t.Errorf("ended: large %v, small %v, the one that asks %v", large.wasEnded(), small.wasEnded(), asks.wasEnded())
	}
	if err := large.reserve(1000); err == nil {
		t.Error("a query that was ended got more")
	}
	select {
	case err := <-got:
		t.Errorf("there was no room yet: %v", err)
	default:
	}
	large.close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if n := p.used.Load(); n != 65 {
		t.Errorf("%d bytes are held", n)
	}
	small.close()
	asks.close()
	if p.used.Load() != 0 || len(p.holders) != 0 {
		t.Errorf("%d bytes are held by %d queries at the end", p.used.Load(), len(p.holders))
	}
}

func TestTheLargestQueryFailsWhenItAsksItself(t *testing.T) {
	p := newPool(100)
	small, large := hold(t, p, 30), hold(t, p, 60)
	var limit *LimitError
	if err := large.reserve(20); !errors.As(err, &limit) || limit.Value != 100 || limit.Reached != 110 {
		t.Errorf("got %v", err)
	}
	if small.wasEnded() {
		t.Error("a small query made room for a large one")
	}
	if err := large.reserve(10); err != nil {
		t.Errorf("the pool is not used up: %v", err)
	}
}

func TestWaitingForMemoryEndsWithTheQuery(t *testing.T) {
	p := newPool(100)
	hold(t, p, 90)
	ctx, end := context.WithCancelCause(context.Background())
	asks := newBudget(ctx, 1000, p, end)
	got := make(chan error)
	go func() { got <- asks.reserve(20) }()
	end(context.Canceled)
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if p.used.Load() != 90 || asks.used.Load() != 0 {
		t.Errorf("%d bytes are held, %d of them by the one that got nothing", p.used.Load(), asks.used.Load())
	}
}
