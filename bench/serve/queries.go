package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"wend/engine"
	querylang "wend/query"
	"wend/render"
)

const funnel = "funnel view_product -> add_to_cart -> purchase within 7d"

// expect answers a statement in this process.
func expect(ctx context.Context, db *engine.DB, text string, general bool) (json.RawMessage, error) {
	res, err := db.Query(ctx, text, engine.NoCache(), engine.WithLimits(engine.RunOptions{General: general}))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := render.Write(&b, res, "json", render.Options{}); err != nil {
		return nil, err
	}
	a, err := decode(200, b.Bytes())
	if err != nil {
		return nil, err
	}
	return a.Rows, nil
}

// served serves the workload's store to measure, and opens it in this process
// beside, for the answers that are to come.
func (r *runner) served(ctx context.Context, measure func(s *served, db *engine.DB) error) error {
	s, err := r.serve(ctx, r.store)
	if err != nil {
		return err
	}
	defer s.stop()
	db, err := engine.Open(r.store, engine.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return measure(s, db)
}

// queries measures the same query again, and others each time.
func (r *runner) queries(ctx context.Context) error {
	const repeated, distinct = "the same query again", "distinct queries"
	if !r.wanted(repeated) && !r.wanted(distinct) {
		return nil
	}
	return r.served(ctx, func(s *served, db *engine.DB) error {
		if r.wanted(repeated) {
			if err := r.repeated(ctx, repeated, s, db); err != nil {
				return err
			}
		}
		if r.wanted(distinct) {
			return r.distinctQueries(ctx, distinct, s, db)
		}
		return nil
	})
}

func (r *runner) repeated(ctx context.Context, name string, s *served, db *engine.DB) error {
	text := funnel + " by channel"
	want, err := expect(ctx, db, text, true)
	if err != nil {
		return err
	}
	request := query(nil, text)
	var kept []byte
	for range 3 { // computed, found, found as it was written
		status, body, err := s.send(ctx, request)
		if err != nil {
			return err
		}
		kept = bytes.Clone(body)
		if a, err := decode(status, body); err != nil || !bytes.Equal(a.Rows, want) {
			return fmt.Errorf("%s: the answer is not what it should be: %v", text, err)
		}
	}
	for _, l := range []struct {
		connections int
		rate        float64
	}{{32, r.again}, {32, 0}} {
		m, err := (&load{to: s, connections: l.connections, rate: l.rate, time: r.time,
			request: func(_ int, buf []byte) []byte { return append(buf, request...) },
			check: func(_, status int, body []byte) error {
				if status != 200 || !bytes.Equal(body, kept) {
					return fmt.Errorf("status %d, another answer: %.200s", status, body)
				}
				return nil
			}}).run(ctx)
		if err != nil {
			return err
		}
		r.tell(name, l.connections, l.rate, m)
	}
	return nil
}

// distinctQueries asks what nobody has asked before. Answers are compared
// afterwards, a tenth of them with those of the general algorithms.
func (r *runner) distinctQueries(ctx context.Context, name string, s *served, db *engine.DB) error {
	const connections = 16
	text := func(i int) string {
		return fmt.Sprintf("funnel view_product -> add_to_cart -> purchase within %dh where campaign != 'cmp%d'", 24+i/50, i%50)
	}
	var mu sync.Mutex
	rows := map[int]json.RawMessage{}
	m, err := (&load{to: s, connections: connections, rate: r.distinct, time: r.time,
		request: func(i int, buf []byte) []byte { return query(buf, text(i)) },
		check: func(i, status int, body []byte) error {
			a, err := decode(status, body)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			rows[i] = a.Rows
			return nil
		}}).run(ctx)
	if err != nil {
		return err
	}
	for i, got := range rows {
		want, err := expect(ctx, db, text(i), i%10 == 0)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			m.mistakes = append(m.mistakes, fmt.Errorf("%s: %s, want %s", text(i), got, want))
		}
	}
	r.tell(name, connections, r.distinct, m)
	return nil
}

// oneCustomer measures questions for one customer, another each time.
func (r *runner) oneCustomer(ctx context.Context) error {
	const journey, next = "`journey of` a customer", "`next for` a customer"
	if !r.wanted(journey) && !r.wanted(next) {
		return nil
	}
	return r.served(ctx, func(s *served, db *engine.DB) error {
		return r.customersOf(ctx, s, db, journey, next)
	})
}

func (r *runner) customersOf(ctx context.Context, s *served, db *engine.DB, journey, next string) error {
	const connections, compared = 16, 1000
	res, err := db.Query(ctx, "customers among did purchase limit 10000")
	if err != nil {
		return err
	}
	var customers []string
	for _, row := range res.Rows {
		customers = append(customers, row[0].(string))
	}
	if len(customers) == 0 {
		return fmt.Errorf("no customer of %s did purchase", r.store)
	}
	for _, c := range customers[len(customers)/2:] { // all tiles once: how opening goes is another row's
		if _, err := s.ask(ctx, "journey of '"+c+"'"); err != nil {
			return err
		}
	}
	measure := func(name string, text func(customer string) string, want map[string]json.RawMessage) error {
		m, err := (&load{to: s, connections: connections, rate: r.customers, time: r.time,
			request: func(i int, buf []byte) []byte { return query(buf, text(customers[i%len(customers)])) },
			check: func(i, status int, body []byte) error {
				if status == 422 && bytes.Contains(body, []byte(`"no_support"`)) {
					return nil
				}
				a, err := decode(status, body)
				if err != nil {
					return err
				}
				if w := want[customers[i%len(customers)]]; w != nil && !bytes.Equal(a.Rows, w) {
					return fmt.Errorf("%s: %s, want %s", text(customers[i%len(customers)]), a.Rows, w)
				}
				return nil
			}}).run(ctx)
		if err != nil {
			return err
		}
		r.tell(name, connections, r.customers, m)
		return nil
	}
	if r.wanted(journey) {
		text := func(c string) string { return "journey of '" + c + "'" }
		want := map[string]json.RawMessage{}
		for _, c := range customers[:min(compared, len(customers))] {
			if want[c], err = expect(ctx, db, text(c), true); err != nil {
				return err
			}
		}
		if err := measure(journey, text, want); err != nil {
			return err
		}
	}
	if r.wanted(next) {
		text := func(c string) string { return "next for '" + c + "' top 3" }
		if err := learned(ctx, s, customers, text); err != nil {
			return err
		}
		want := map[string]json.RawMessage{}
		for _, c := range customers[:min(5, len(customers))] { // each is a scan
			rows, err := expect(ctx, db, text(c), true)
			var mistake *querylang.Error
			if err != nil && !errors.As(err, &mistake) {
				return err
			}
			want[c] = rows
		}
		return measure(next, text, want)
	}
	return nil
}

// learned waits until `next for` is answered from what the server keeps for it.
func learned(ctx context.Context, s *served, customers []string, text func(string) string) error {
	for i := range 300 {
		if a, err := s.ask(ctx, text(customers[len(customers)-1-i%len(customers)])); err == nil && a.Meta.EventsRead == 0 && !a.Meta.Cached {
			return nil
		} else if err != nil && !strings.Contains(err.Error(), "status 4") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
	return fmt.Errorf("nothing is kept for `next for` after ten minutes")
}
