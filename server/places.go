package server

import (
	"sync"
	"time"
)

// rateBusy is how many bytes a second keep an answer its place when others want
// one. It is more than keeps a connection: there are fewer places.
const rateBusy = 1 << 20

// places bounds how many answers are under way at once. Where all places are
// held, a newcomer takes that of the answer whose client has kept it waiting
// longest, if at less than rateBusy. Answers that are computed still, and those
// that are taken fast, stay: then there is no place.
type places struct {
	max   int
	grace time.Duration // so much longer than at rateBusy a client may take

	mu   sync.Mutex
	held map[*place]bool
}

// place is that of one answer.
type place struct {
	conn *conn
	end  func() // ends the answer, whose place is another's
}

func newPlaces(max int, grace time.Duration) *places {
	return &places{max: max, grace: grace, held: map[*place]bool{}}
}

// take returns a place, nil if there is none. It calls end if the place becomes
// another's before leave.
func (p *places) take(x *conn, end func()) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.held) >= p.max {
		out := p.slowest()
		if out == nil {
			return nil
		}
		delete(p.held, out)
		out.end()
	}
	at := &place{x, end}
	p.held[at] = true
	return at
}

// leave gives a place back, unless another has it already.
func (p *places) leave(at *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, at)
}

// slowest picks the place that a newcomer may take, nil if none. The caller holds mu.
func (p *places) slowest() *place {
	var out *place
	worst := p.grace
	for at := range p.held {
		if late := at.conn.late(answering, rateBusy); late > worst {
			out, worst = at, late
		}
	}
	return out
}
