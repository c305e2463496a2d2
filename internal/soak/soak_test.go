package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wend/internal/trust"
)

// soakTime is how long the soak lasts.
func soakTime(t *testing.T) time.Duration {
	d, err := time.ParseDuration(os.Getenv("WEND_SOAK"))
	if os.Getenv("WEND_SOAK") == "" {
		return 4 * time.Second
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Many clients at once: what was acknowledged is in every answer, once, batches
// are whole, links hold, and the server holds no more at the end than before.
func TestSoak(t *testing.T) {
	const writers, readers, attackers, keepers = 8, 12, 2, 2
	const pace = 100 * time.Millisecond // of each writer's batches; queries come as fast as they are answered
	seed := trust.Number("WEND_SEED", 1)
	s := serve(t, filepath.Join(t.TempDir(), "store"))
	l := &ledger{}
	begin := client()
	defer begin.CloseIdleConnections()
	// The first batch makes the names known that queries use.
	if err := l.store(begin, s, l.batch(rand.New(rand.NewPCG(seed, 99)), "first", 0)); err != nil {
		t.Fatal(err)
	}
	before, err := s.metrics(begin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), soakTime(t))
	defer stop()
	// In its second half the store hardly grows, so what grows then is a leak.
	quiet := &quiet{}
	calm := time.Now().Add(soakTime(t) / 2)
	var clients sync.WaitGroup
	var batches, again, wrong atomic.Int64
	var mu sync.Mutex
	var took []time.Duration // by the readers' queries
	ended := &endings{}
	failed := func(err error) {
		if err != nil {
			wrong.Add(1)
			t.Error(err)
		}
	}
	for i := range writers {
		clients.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			var old []batch
			newest := time.Now()
			n := 0
			failed(quiet.each(ctx, func() (time.Duration, error) {
				next := time.Now().Add(pace)
				if len(old) > 0 && time.Now().After(calm) && time.Since(newest) < 10*time.Second {
					b := old[rng.IntN(len(old))]
					again.Add(1)
					_, err := s.post(c, "/v1/events", b.body, b.token) // it is there already
					return time.Until(next), err
				}
				b := l.batch(rng, fmt.Sprint("w", i), n)
				if err := l.store(c, s, b); err != nil {
					return 0, err
				}
				n++
				newest, old = time.Now(), append(old[max(0, len(old)-100):], b)
				batches.Add(1)
				return time.Until(next), nil
			}))
		})
	}
	for i := range readers {
		clients.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
			failed(quiet.each(ctx, func() (time.Duration, error) {
				begun := time.Now()
				err := questions[rng.IntN(len(questions))].put(s, c, l)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(begun))
				return 0, err
			}))
		})
	}
	for i := range attackers {
		clients.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			rng := rand.New(rand.NewPCG(seed, uint64(200+i)))
			failed(quiet.each(ctx, func() (time.Duration, error) {
				h := hostile[rng.IntN(len(hostile))]
				r, err := send(c, "POST", s.URL+"/v1/query", h.query(), "Content-Type", "text/plain")
				if err != nil || r.status >= 500 && r.status != 503 {
					return 0, fmt.Errorf("%s: %w %d %s", h.name, err, r.status, r.body)
				}
				ended.count(r)
				return 0, nil
			}))
		})
	}
	k := &keeper{quiet: quiet, calm: calm, served: s, ledger: l, http: client(), seed: seed}
	defer k.http.CloseIdleConnections()
	for _, work := range []func(context.Context) error{k.erase, k.backUp} {
		clients.Go(func() {
			failed(work(ctx))
		})
	}
	watched := s.watchHeap(ctx, calm.Add(soakTime(t)/10), soakTime(t)/20, quiet) // the store has come to rest by then
	clients.Wait()
	heap := watched()
	s.alive()
	c := client()
	defer c.CloseIdleConnections()
	for _, q := range questions { // nothing is under way any more: every answer is exact
		if err := q.put(s, c, l); err != nil {
			wrong.Add(1)
			t.Error(err)
		}
	}
	if err := k.allErased(); err != nil {
		t.Error(err)
	}
	s.settled(before, c)
	trust.Report(t, "2.4", "soak", soakTime(t), "clients", writers+readers+attackers+keepers, "batches", batches.Load(), "sent again", again.Load(), "events", l.stored.Load(), "queries", len(took), "p50", percentile(took, 50).Round(time.Millisecond), "p99", percentile(took, 99).Round(time.Millisecond), "slowest", percentile(took, 100).Round(time.Millisecond),
		"hostile", ended, "erased", k.erasures, "backups", k.backups, "restored", k.restored, "wrong", wrong.Load(), "heap_mib", heap.mib(), "heap_slope_percent_10min", heap, "seed", seed)
	if soakTime(t) >= 10*time.Minute && heap.slope > slopeMax {
		t.Errorf("the heap grows by %s %% in ten minutes", heap)
	}
}

// store sends a batch until it is acknowledged, then links its visitor.
func (l *ledger) store(c *http.Client, s *served, b batch) error {
	lsn, err := l.add(c, s, b)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.acks = append(l.acks, ack{lsn, b.events, b.numbers})
	l.mu.Unlock()
	l.stored.Add(b.events)
	return l.link(c, s, b)
}

// add sends a batch until it is acknowledged, and returns its number in the log.
func (l *ledger) add(c *http.Client, s *served, b batch) (lsn uint64, err error) {
	l.sent.Add(b.events)
	return s.post(c, "/v1/events", b.body, b.token)
}

// link says that the batch's visitor is its customer.
func (l *ledger) link(c *http.Client, s *served, b batch) error {
	l.linking.Add(1)
	if _, err := s.post(c, "/v1/links", fmt.Sprintf(`{"from": %q, "to": %q}`, b.from, b.to), ""); err != nil {
		return err
	}
	l.links.Add(1)
	return nil
}

// post sends until there is an acknowledgement, and returns its number in the log.
func (s *served) post(c *http.Client, path, body, token string) (lsn uint64, err error) {
	for range 100 {
		r, err := send(c, "POST", s.URL+path, body, "X-Batch-Token", token)
		if err == nil && r.status/100 == 2 {
			var answer struct{ LSN uint64 }
			return answer.LSN, json.Unmarshal(r.body, &answer)
		}
		if err == nil && r.status < 500 && r.status != 429 && r.status != 409 {
			return 0, fmt.Errorf("%s: %d %s", path, r.status, r.body)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s was not acknowledged in a hundred tries", path)
}

// question is a query whose answer the ledger bounds.
type question struct {
	query string
	// known counts what was acknowledged, begun what was begun.
	known, begun func(l *ledger) int64
	// Of these, erasing counts what may be gone by now, erased what has to be.
	erasing, erased func(l *ledger) int64
	count           func(rows [][]any) (n int64, err error)
}

var questions = []question{
	{"measure sum(value) as sum, events, distinct(n) as different", stored, sent, erasing, erased, func(rows [][]any) (int64, error) {
		sum, _ := rows[0][0].(float64)
		events, different := rows[0][1].(float64), rows[0][2].(float64)
		if sum != 0 || events != different {
			return 0, fmt.Errorf("%v events, %v different ones, with sum %v", events, different, sum)
		}
		return int64(events), nil
	}},
	{"measure events, sum(value) as sum by client", stored, sent, erasing, erased, func(rows [][]any) (n int64, err error) {
		for _, row := range rows {
			if row[2].(float64) != 0 {
				err = fmt.Errorf("the batches of client %v have sum %v", row[0], row[2])
			}
			n += int64(row[1].(float64))
		}
		return n, err
	}},
	{"funnel visit -> pay within 1h", linked, linking, none, none, func(rows [][]any) (int64, error) { return int64(rows[1][2].(float64)), nil }},
	{"measure customers[event = 'pay' or event = 'visit'] as c, events[event = 'visit'] as visits", linked, linking, none, none, func(rows [][]any) (int64, error) {
		// A visitor who is linked is the customer, one who is not is one more.
		return 2*int64(rows[0][1].(float64)) - int64(rows[0][0].(float64)), nil
	}},
}

func stored(l *ledger) int64  { return l.stored.Load() }
func sent(l *ledger) int64    { return l.sent.Load() }
func linked(l *ledger) int64  { return l.links.Load() }
func linking(l *ledger) int64 { return l.linking.Load() }

func none(*ledger) int64      { return 0 }
func erasing(l *ledger) int64 { return l.erasing.Load() }
func erased(l *ledger) int64  { return l.erased.Load() }

// put asks the question and holds the answer against the ledger.
func (q *question) put(s *served, c *http.Client, l *ledger) error {
	least, gone := q.known(l), q.erased(l)
	rows, err := s.ask(c, q.query)
	if err != nil {
		return err
	}
	least, most := least-q.erasing(l), q.begun(l)-gone
	n, err := q.count(rows)
	if err != nil {
		return fmt.Errorf("%s: %w", q.query, err)
	}
	if n < least || n > most {
		return fmt.Errorf("%s: %d, where it has to be from %d to %d by what was acknowledged before and begun", q.query, n, least, most)
	}
	return nil
}
