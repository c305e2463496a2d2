package storage

import "github.com/dgraph-io/ristretto/v2"

// cache keeps what is dear to make again (verified pages, merged tiles) within
// a budget of bytes. It may forget anything at any time. Keys say what a value
// was made of, so nothing in it is ever stale.
type cache struct {
	entries *ristretto.Cache[string, any] // nil: nothing is kept
	bytes   int64
}

func newCache(bytes int64) (*cache, error) {
	if bytes < 0 {
		return &cache{}, nil
	}
	const entryBytes = 32 << 10 // a typical entry; the counters want ten times as many places
	entries, err := ristretto.NewCache(&ristretto.Config[string, any]{
		NumCounters:        max(10*bytes/entryBytes, 1000),
		MaxCost:            bytes,
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	return &cache{entries, bytes}, err
}

func (c *cache) close() {
	if c.entries != nil {
		c.entries.Close()
	}
}

// clear forgets everything: what was erased must not be in memory either. Who
// reads an older snapshot may bring something back; nobody else finds it.
func (c *cache) clear() {
	if c.entries != nil {
		c.entries.Clear()
	}
}

// get returns the value of a key, if it is there.
func (c *cache) get(key string) (any, bool) {
	if c.entries == nil {
		return nil, false
	}
	return c.entries.Get(key)
}

// cached returns the value of a key, made anew if it is not there.
func cached[T any](c *cache, key string, cost func(T) int64, make func() (T, error)) (T, error) {
	if v, ok := c.get(key); ok {
		return v.(T), nil
	}
	v, err := make()
	if err != nil || c.entries == nil {
		return v, err
	}
	c.entries.Set(key, v, cost(v)+int64(len(key)))
	return v, nil
}
