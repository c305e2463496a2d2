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
	times   arena[event.Time] // of parts
	codes   codeScratch
	members memberLists
	runs    []run
	tied    []uint32
	list    []piece
	splicer tile.TimesSplicer
}

var tileScratches = sync.Pool{New: func() any { return new(tileScratch) }}

// giveBack lets the next merge use s; nothing that the caller keeps may lie in it.
func (s *tileScratch) giveBack() {
	s.times.reset()
	s.codes.narrow.reset()
	s.codes.wide.reset()
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

// codeScratch is the memory in which columns of codes are gathered.
type codeScratch struct {
	narrow arena[byte]
	wide   arena[uint32]
}

// gather gathers a column of codes; parts that are nil are all 0.
func (s *codeScratch) gather(rows *pieces, parts []*tile.Codes) *tile.Codes {
	for _, c := range parts {
		if c != nil && c.Bits > 8 {
			return tile.NewCodes(gathered(&s.wide, rows, parts, (*tile.Codes).Decode))
		}
	}
	return tile.NewCodes8(gathered(&s.narrow, rows, parts, (*tile.Codes).Decode8))
}

// piecePadding is behind what pieces are copied from and to, so that the few
// rows of most pieces are copied as so many, whatever comes behind them.
const piecePadding = 8

func gathered[T byte | uint32](a *arena[T], rows *pieces, parts []*tile.Codes, decode func(*tile.Codes, int, []T)) []T {
	// Of each part the stretch that has the rows, by whole words of planes.
	stretches := make([]struct{ lo, hi uint32 }, len(parts))
	for _, q := range rows.list {
		if s := &stretches[q.part]; s.hi == 0 {
			s.lo, s.hi = q.row&^63, q.row+q.n
		} else {
			s.lo, s.hi = min(s.lo, q.row&^63), max(s.hi, q.row+q.n)
		}
	}
	decoded := make([][]T, len(parts))
	for i, c := range parts {
		n := int(stretches[i].hi - stretches[i].lo)
		decoded[i] = a.take(n + piecePadding)
		if c == nil {
			clear(decoded[i])
		} else {
			decode(c, int(stretches[i].lo), decoded[i][:n])
		}
	}
	dst := a.take(rows.rows + piecePadding)
	at := 0
	for _, q := range rows.list {
		src, own := decoded[q.part][q.row-stretches[q.part].lo:], dst[at:]
		if q.n <= piecePadding {
			*(*[piecePadding]T)(own) = [piecePadding]T(src)
		} else {
			copy(own, src[:q.n])
		}
		at += int(q.n)
	}
	return dst[:rows.rows]
}
