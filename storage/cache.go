package storage

import (
	"slices"
	"sync"

	"github.com/dgraph-io/ristretto/v2"
)

// cache keeps what is dear to make again (verified pages, merged tiles) within
// a budget of bytes. It may forget anything at any time. Keys say what a value
// was made of, so nothing in it is ever stale.
type cache struct {
	entries *ristretto.Cache[string, any] // nil: nothing is kept
	bytes   int64

	mu     sync.Mutex
	places map[string]*placeKept // what was made of events of the memtable, by place
}

// placeKept is what is kept of one place, in one state.
type placeKept struct {
	state string
	keys  []string
}

// supersede is told that a place has come to a state, of which a key is to be
// kept. Events that come make older states useless to all but those who read
// older snapshots, so they are forgotten rather than left until there is no room.
// A place of "" has no other states.
func (c *cache) supersede(place, state, key string) {
	if c.entries == nil || place == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.places[place]
	if n == nil {
		n = &placeKept{state: state}
		c.places[place] = n
	}
	if n.state != state {
		for _, old := range n.keys {
			c.entries.Del(old)
		}
		n.state, n.keys = state, n.keys[:0]
	}
	if !slices.Contains(n.keys, key) {
		n.keys = append(n.keys, key)
	}
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
	return &cache{entries: entries, bytes: bytes, places: map[string]*placeKept{}}, err
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
		c.mu.Lock()
		defer c.mu.Unlock()
		clear(c.places)
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
