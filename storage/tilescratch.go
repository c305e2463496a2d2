package storage

import (
	"sync"

	"wend/event"
	"wend/tile"
)

// tileScratch is what merging a tile needs only until the tile is made: the
// decoded columns of its parts and of the outcome. One is used for tile after
// tile; the garbage collector takes those that nobody used for a while.
type tileScratch struct {
	times   arena[event.Time] // of parts, and gathered
	codes   arena[uint32]
	members memberLists
	runs    []run
	list    []piece
	encoder tile.TimesEncoder
}

var tileScratches = sync.Pool{New: func() any { return new(tileScratch) }}

// giveBack lets the next merge use s; nothing that the caller keeps may lie in it.
func (s *tileScratch) giveBack() {
	s.times.reset()
	s.codes.reset()
	tileScratches.Put(s)
}

// arena hands out lists, whatever is in them, which are all given back at once.
type arena[T any] struct {
	room []T // all there is
	used int // of it; more than there is: the rest was allocated
}

func (a *arena[T]) take(n int) []T {
	a.used += n
	if a.used > len(a.room) {
		return make([]T, n)
	}
	return a.room[a.used-n : a.used : a.used]
}

// reset takes everything back. Where there was too little room there is enough the next time.
func (a *arena[T]) reset() {
	if a.used > len(a.room) {
		a.room = make([]T, a.used+a.used/8)
	}
	a.used = 0
}
