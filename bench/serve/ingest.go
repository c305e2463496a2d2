package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const batchEvents = 1000

// digits of what differs from event to event; the rest of a batch is the same.
const (
	customerDigits = 7
	timeDigits     = 13
)

// template is a batch with the places of what is filled in.
type template struct {
	body             []byte
	customers, times []int
}

func newTemplate(r *rand.Rand) *template {
	events := []string{"ad_impression", "ad_click", "landing", "search", "view_category", "view_product", "review_read", "price_compare", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase"}
	channels := []string{"web", "app", "email", "social", "store", "call_center"}
	t := &template{}
	for range batchEvents {
		t.body = append(t.body, `{"customer":"u`...)
		t.customers, t.body = append(t.customers, len(t.body)), append(t.body, "0000000"...)
		t.body = append(t.body, `","time":`...)
		t.times, t.body = append(t.times, len(t.body)), append(t.body, "0000000000000"...)
		t.body = fmt.Appendf(t.body, `,"event":"%s","channel":"%s","device":"d%d","campaign":"cmp%d","value":%d.%02d}`+"\n",
			events[r.IntN(len(events))], channels[r.IntN(len(channels))], r.IntN(4), r.IntN(50), r.IntN(200), r.IntN(100))
	}
	return t
}

// fill writes batch i: events a millisecond apart, of random customers.
func (t *template) fill(buf []byte, i int, begin int64) []byte {
	at := len(buf)
	buf = append(buf, t.body...)
	body := buf[at:]
	r := rand.New(rand.NewPCG(7, uint64(i)))
	for k := range batchEvents {
		number(body[t.customers[k]:][:customerDigits], int64(r.IntN(1_000_000)))
		number(body[t.times[k]:][:timeDigits], begin+int64(i*batchEvents+k)/10)
	}
	return buf
}

func number(digits []byte, n int64) {
	for i := len(digits) - 1; i >= 0; i, n = i-1, n/10 {
		digits[i] = byte('0' + n%10)
	}
}

// ingest measures batches that are durable before they are answered, by a new
// store, with queries beside them whose counts must lie between what had been
// acknowledged when they were asked and what had been sent when they were answered.
func (r *runner) ingest(ctx context.Context) error {
	const name = "batches of 1,000 events, durable"
	if !r.wanted(name) {
		return nil
	}
	for _, rate := range []float64{r.batches, 0} {
		if err := r.ingestAt(ctx, name, rate); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) ingestAt(ctx context.Context, name string, rate float64) error {
	const connections = 16
	store, remove, err := r.scratch()
	if err != nil {
		return err
	}
	defer remove()
	s, err := r.serve(ctx, store)
	if err != nil {
		return err
	}
	defer s.stop()
	var templates []*template
	random := rand.New(rand.NewPCG(1, 1))
	for range 32 {
		templates = append(templates, newTemplate(random))
	}
	begin := time.Now().Add(-24 * time.Hour).UnixMilli()
	batch := func(i int) []byte { return templates[i%len(templates)].fill(nil, i, begin) }
	// The first makes names known, for queries that may come before all others.
	const first = 1 << 20
	if status, body, err := s.send(ctx, post(nil, "/v1/events", "application/x-ndjson", batch(first))); err != nil || status != 200 {
		return fmt.Errorf("the first batch: %d %s %v", status, body, err)
	}
	var sent, acknowledged atomic.Int64
	sent.Store(batchEvents)
	acknowledged.Store(batchEvents)
	events := &load{to: s, connections: connections, rate: rate, time: r.time,
		request: func(i int, buf []byte) []byte {
			return post(buf, "/v1/events", "application/x-ndjson", batch(i))
		},
		sent: func(int) { sent.Add(batchEvents) },
		check: func(_, status int, body []byte) error {
			var ack struct {
				Accepted   int64
				Durability string
			}
			if err := json.Unmarshal(body, &ack); err != nil || status != 200 || ack.Accepted != batchEvents || ack.Durability != "sync" {
				return fmt.Errorf("status %d: %.200s", status, body)
			}
			acknowledged.Add(batchEvents)
			return nil
		}}
	var mu sync.Mutex
	before := map[int]int64{}
	queries := &load{to: s, connections: 2, rate: r.beside, time: r.time,
		request: func(i int, buf []byte) []byte {
			if i%2 == 1 {
				return query(buf, funnel)
			}
			return query(buf, "measure events")
		},
		sent: func(i int) {
			mu.Lock()
			defer mu.Unlock()
			before[i] = acknowledged.Load()
		},
		check: func(i, status int, body []byte) error {
			a, err := decode(status, body)
			if err != nil || i%2 == 1 {
				return err
			}
			var rows [][]int64
			if err := json.Unmarshal(a.Rows, &rows); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if n := rows[0][0]; n < before[i] || n > sent.Load() {
				return fmt.Errorf("%d events; %d were acknowledged before, %d sent", n, before[i], sent.Load())
			}
			return nil
		}}
	var beside *measured
	var failed error
	var asking sync.WaitGroup
	if r.beside > 0 {
		asking.Go(func() { beside, failed = queries.run(ctx) })
	}
	m, err := events.run(ctx)
	asking.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	r.tell(name, connections, rate, m)
	if beside != nil {
		beside.processor = 0 // that of the batches is in it
		r.tell("… queries beside them", 2, r.beside, beside)
	}
	a, err := s.ask(ctx, "measure events")
	if err != nil {
		return err
	}
	if want := fmt.Appendf(nil, "[[%d]]", acknowledged.Load()); !bytes.Equal(a.Rows, want) {
		return fmt.Errorf("the store has %s events at the end, %s were acknowledged", a.Rows, want)
	}
	return nil
}
