package engine

import (
	"context"
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"wend/event"
)

// resultCache keeps finished answers. A key names the state of the store that
// was asked, so nothing in it is ever stale; what is old is pushed out.
type resultCache struct {
	cache *ristretto.Cache[string, cachedResult]
	max   int64 // bytes of one answer that is worth the room
}

type cachedResult struct {
	key    string // in full: the cache compares hashes only
	result *Result
}

func newResultCache(bytes int64) (*resultCache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, cachedResult]{
		NumCounters:        10_000, // ten times the answers that fit
		MaxCost:            bytes,
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	return &resultCache{cache: c, max: bytes / 8}, err
}

func (c *resultCache) close() { c.cache.Close() }

// clear forgets all answers.
func (c *resultCache) clear() { c.cache.Clear() }

func (c *resultCache) get(key string) (*Result, bool) {
	x, ok := c.cache.Get(key)
	if !ok || x.key != key {
		return nil, false
	}
	return x.result, true
}

// hit is get for an answer to a query that began then.
func (c *resultCache) hit(key string, begun time.Time) (*Result, bool) {
	res, ok := c.get(key)
	if !ok {
		return nil, false
	}
	hit := *res
	hit.Meta.Cached = true
	hit.Meta.ElapsedMS = float64(time.Since(begun)) / float64(time.Millisecond)
	return &hit, true
}

func (c *resultCache) put(key string, res *Result) {
	cost := int64(len(key)) + res.Bytes()
	if cost > c.max {
		return
	}
	c.cache.Set(key, cachedResult{key, res}, cost)
	c.cache.Wait() // so that who asks again finds it
}

// Bytes is about how much memory an answer takes.
func (res *Result) Bytes() int64 {
	n := int64(1024)
	for _, row := range res.Rows {
		n += 24 + 16*int64(len(row))
		for _, x := range row {
			switch x := x.(type) {
			case string:
				n += 16 + int64(len(x))
			case []string:
				for _, text := range x {
					n += 16 + int64(len(text))
				}
			case []event.Prop:
				for _, p := range x {
					n += 64 + int64(len(p.Name)+len(p.Value.Text()))
				}
			default:
				n += 8
			}
		}
	}
	return n
}

// flights are the queries that run now, by key: who asks what is being
// computed already waits for it. A query ends when the last one who waits for
// it goes away.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
}

type flight struct {
	cancel  context.CancelFunc
	waiting int
	done    chan struct{}
	result  *Result
	err     error

	mu        sync.Mutex
	listeners []*listener
}

// listener is who wants to know how far a query is.
type listener struct {
	mu   sync.Mutex
	tell func(done, total int) // nil once the one has left
}

// do returns what run returns, of this call or of one with the same key that
// runs already; then it calls spare instead. Calls without a key run alone.
func (f *flights) do(ctx context.Context, key string, progress func(done, total int), spare func(), run func(ctx context.Context, progress func(done, total int)) (*Result, error)) (*Result, error) {
	l := &listener{tell: progress}
	f.mu.Lock()
	fl := f.running[key]
	if fl != nil && key != "" {
		fl.waiting++
		f.mu.Unlock()
		fl.listen(l)
		spare()
	} else {
		// The query outlives the one who asked first, if others came to wait.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, waiting: 1, done: make(chan struct{})}
		fl.listen(l) // before it runs, so that no progress is missed
		if key != "" {
			if f.running == nil {
				f.running = map[string]*flight{}
			}
			f.running[key] = fl
		}
		f.mu.Unlock()
		go func() {
			defer cancel()
			defer close(fl.done)
			defer f.forget(key, fl)
			fl.err = shielded(func() (err error) {
				fl.result, err = run(shared, fl.report)
				return err
			})
		}()
	}
	select {
	case <-fl.done:
		return fl.result, fl.err
	case <-ctx.Done():
	}
	f.leave(key, fl)
	l.mu.Lock() // whoever leaves must not be told anything afterwards
	l.tell = nil
	l.mu.Unlock()
	return nil, ctx.Err()
}

// leave is called by one who waits no longer.
func (f *flights) leave(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		if f.running[key] == fl {
			delete(f.running, key) // who comes now must not wait for what is ending
		}
	}
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] == fl {
		delete(f.running, key)
	}
}

func (fl *flight) listen(l *listener) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.listeners = append(fl.listeners, l)
}

// report tells all who wait how far the query is: one at a time.
func (fl *flight) report(done, total int) {
	fl.mu.Lock()
	listeners := fl.listeners
	fl.mu.Unlock()
	for _, l := range listeners {
		l.mu.Lock()
		if l.tell != nil {
			l.tell(done, total)
		}
		l.mu.Unlock()
	}
}
