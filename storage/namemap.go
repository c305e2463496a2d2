package storage

import (
	"iter"
	"maps"
)

// nameMap is a map from identities that nobody changes once it is made: an
// edit makes another, which shares with it all shards that the edit leaves
// alone. One link more among a million costs the copy of a thousand. A nil
// nameMap is empty.
type nameMap[V any] struct {
	shards [nameShards]*nameShard[V]
	n      int
}

const nameShards = 1 << 10

type nameShard[V any] struct {
	of map[string]V
}

func shardOf(name string) int { return int(customerHash(name) % nameShards) }

func (m *nameMap[V]) len() int {
	if m == nil {
		return 0
	}
	return m.n
}

func (m *nameMap[V]) get(name string) (v V, ok bool) {
	if m == nil {
		return v, false
	}
	if shard := m.shards[shardOf(name)]; shard != nil {
		v, ok = shard.of[name]
	}
	return v, ok
}

// all are the entries, in no order.
func (m *nameMap[V]) all() iter.Seq2[string, V] { return m.since(nil) }

// since are the entries in shards that an earlier map does not share: all that
// are new or have another value, and some that are as they were.
func (m *nameMap[V]) since(earlier *nameMap[V]) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m == nil {
			return
		}
		for i, shard := range m.shards {
			if shard == nil || earlier != nil && earlier.shards[i] == shard {
				continue
			}
			for name, v := range shard.of {
				if !yield(name, v) {
					return
				}
			}
		}
	}
}

// edit begins a map that is to differ from this one.
func (m *nameMap[V]) edit() *nameEdit[V] {
	e := &nameEdit[V]{}
	if m != nil {
		e.nameMap = *m
	}
	return e
}

// nameEdit is a map on its way: it can be changed, and copies what it shares
// with the one before when it does.
type nameEdit[V any] struct {
	nameMap[V]
	own [nameShards]bool
}

func (e *nameEdit[V]) shard(name string) map[string]V {
	i := shardOf(name)
	if !e.own[i] {
		e.own[i] = true
		shard := &nameShard[V]{map[string]V{}}
		if e.shards[i] != nil {
			shard.of = maps.Clone(e.shards[i].of)
		}
		e.shards[i] = shard
	}
	return e.shards[i].of
}

func (e *nameEdit[V]) set(name string, v V) {
	shard := e.shard(name)
	before := len(shard)
	shard[name] = v
	e.n += len(shard) - before
}

func (e *nameEdit[V]) delete(name string) {
	if _, ok := e.get(name); !ok {
		return
	}
	delete(e.shard(name), name)
	e.n--
}

// done is the map that the edit came to; the edit is over.
func (e *nameEdit[V]) done() *nameMap[V] { return &e.nameMap }
