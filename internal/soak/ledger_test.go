package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

// ledger is what the clients sent and what of it was acknowledged. The oracle
// of an answer is what was acknowledged before its query began and what was
// sent before its end: whole batches, and everything between the two.
//
// Every batch transfers values from customer to customer, so the sum over each
// is zero, and numbers its events, so that none may be there twice. A visitor
// comes under another name before, which is linked to the customer's later.
type ledger struct {
	numbers atomic.Int64 // given to events

	sent, stored   atomic.Int64 // events of batches begun, and acknowledged
	linking, links atomic.Int64 // links begun, and acknowledged, of customers all of whose events were acknowledged before

	erasing, erased atomic.Int64 // events of customers whose erasure begun, and was acknowledged

	mu   sync.Mutex
	acks []ack
}

// ack is what the log has under a number: the batch's events and the sum of
// their numbers, by which backups are compared.
type ack struct {
	lsn            uint64
	events, number int64
}

// upTo sums what the log has up to a number.
func (l *ledger) upTo(lsn uint64) (events, numbers int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.acks {
		if a.lsn <= lsn {
			events, numbers = events+a.events, numbers+a.number
		}
	}
	return events, numbers
}

// batch is one request of events.
type batch struct {
	token, body string
	events      int64
	numbers     int64  // their sum
	from, to    string // a visitor's name and the customer's, to be linked when the batch is stored
}

func (l *ledger) batch(rng *rand.Rand, client string, number int) batch {
	b := batch{token: fmt.Sprintf("%s-%d", client, number), from: fmt.Sprintf("v-%s-%d", client, number), to: fmt.Sprintf("c-%s-%d", client, number)}
	var body strings.Builder
	event := func(customer, name string, second int, value int) {
		n := l.numbers.Add(1)
		b.events++
		b.numbers += n
		fmt.Fprintf(&body, `{"customer": %q, "time": "2025-03-%02dT10:%02d:%02dZ", "event": %q, "channel": "web", "id": "e%d", "n": %d, "value": %d, "client": %q}`+"\n",
			customer, 1+number%28, second/60, second%60, name, n, n, value, client)
	}
	event(b.from, "visit", 0, 0)
	event(b.to, "pay", 1, 0)
	sum := 0
	for i := range 1 + rng.IntN(40) {
		value := rng.IntN(2001) - 1000
		sum += value
		event(fmt.Sprintf("t-%d", rng.IntN(500)), "transfer", 2+i, value)
	}
	event(fmt.Sprintf("t-%d", rng.IntN(500)), "transfer", 59, -sum)
	b.body = body.String()
	return b
}

// doomed is a batch of a customer, seen before as a visitor, who will be erased.
func (l *ledger) doomed(number int) batch {
	b := batch{token: fmt.Sprint("doomed-", number), from: fmt.Sprint("dv-", number), to: fmt.Sprint("dc-", number)}
	var body strings.Builder
	for i, customer := range []string{b.from, b.from, b.to, b.to} {
		n := l.numbers.Add(1)
		b.events++
		fmt.Fprintf(&body, `{"customer": %q, "time": "2025-03-%02dT10:00:0%dZ", "event": "doomed", "id": "e%d", "n": %d, "value": %d, "client": "doomed"}`+"\n",
			customer, 1+number%28, i, n, n, 5-10*(i%2)) // the values' sum is zero
	}
	b.body = body.String()
	return b
}
