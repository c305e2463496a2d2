package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	const writers, readers, attackers = 8, 12, 2
	seed := trust.Number("WEND_SEED", 1)
	s := serve(t, filepath.Join(t.TempDir(), "store"))
	l := &ledger{}
	begin := client()
	defer begin.CloseIdleConnections()
	// The first batch makes the names known that queries use.
	l.store(t, s, l.batch(rand.New(rand.NewPCG(seed, 99)), "first", 0))
	before, err := s.metrics(begin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), soakTime(t))
	defer stop()
	var clients sync.WaitGroup
	var batches, queries, wrong, refused atomic.Int64
	for i := range writers {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.store(t, s, l.batch(rng, fmt.Sprint("w", i), n)); err != nil {
					t.Error(err)
					return
				}
				batches.Add(1)
			}
		})
	}
	for i := range readers {
		clients.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
			for ctx.Err() == nil {
				q := questions[rng.IntN(len(questions))]
				if err := q.put(s, c, l); err != nil {
					wrong.Add(1)
					t.Error(err)
					return
				}
				queries.Add(1)
			}
		})
	}
	for i := range attackers {
		clients.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			rng := rand.New(rand.NewPCG(seed, uint64(200+i)))
			for ctx.Err() == nil {
				h := hostile[rng.IntN(len(hostile))]
				r, err := send(c, "POST", s.url+"/v1/query", h.query(), "Content-Type", "text/plain")
				if err != nil || r.status >= 500 && r.status != 503 {
					t.Errorf("%s: %v %d %s", h.name, err, r.status, r.body)
					return
				}
				if r.status != 200 {
					refused.Add(1)
				}
			}
		})
	}
	heap := s.watchHeap(ctx)
	clients.Wait()
	slope := heap()
	s.alive()
	c := client()
	defer c.CloseIdleConnections()
	for _, q := range questions { // nothing is under way any more: every answer is exact
		if err := q.put(s, c, l); err != nil {
			wrong.Add(1)
			t.Error(err)
		}
	}
	s.settled(before, c)
	trust.Report(t, "2.4", "soak", soakTime(t), "clients", writers+readers+attackers, "batches", batches.Load(), "events", l.stored.Load(), "queries", queries.Load(),
		"refused", refused.Load(), "wrong", wrong.Load(), "heap_slope_percent_10min", slope, "seed", seed)
	if soakTime(t) >= 25*time.Minute && slope != "-" && !strings.HasPrefix(slope, "-") {
		var percent float64
		fmt.Sscan(slope, &percent)
		if percent > 20 {
			t.Errorf("the heap grows by %s %% in ten minutes", slope)
		}
	}
}

// store sends a batch until it is acknowledged, then links its visitor.
func (l *ledger) store(t *testing.T, s *served, b batch) error {
	c := client()
	defer c.CloseIdleConnections()
	l.sent.Add(b.events)
	post := func(path, body string) error {
		for range 100 {
			r, err := send(c, "POST", s.url+path, body, "X-Batch-Token", b.token)
			if err == nil && r.status == 200 {
				return nil
			}
			if err == nil && r.status < 500 && r.status != 429 {
				return fmt.Errorf("%s: %d %s", path, r.status, r.body)
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("%s was not acknowledged in a hundred tries", path)
	}
	if err := post("/v1/events", b.body); err != nil {
		return err
	}
	l.stored.Add(b.events)
	l.linking.Add(1)
	if err := post("/v1/links", fmt.Sprintf(`{"from": %q, "to": %q}`, b.from, b.to)); err != nil {
		return err
	}
	l.links.Add(1)
	return nil
}

// question is a query whose answer the ledger bounds.
type question struct {
	query string
	// known counts what was acknowledged, begun what was begun.
	known, begun func(l *ledger) int64
	count        func(rows [][]any) (n int64, err error)
}

var questions = []question{
	{"measure sum(value) as sum, events, distinct(n) as different", stored, sent, func(rows [][]any) (int64, error) {
		sum, _ := rows[0][0].(float64)
		events, different := rows[0][1].(float64), rows[0][2].(float64)
		if sum != 0 || events != different {
			return 0, fmt.Errorf("%v events, %v different ones, with sum %v", events, different, sum)
		}
		return int64(events), nil
	}},
	{"measure events, sum(value) as sum by client", stored, sent, func(rows [][]any) (n int64, err error) {
		for _, row := range rows {
			if row[2].(float64) != 0 {
				err = fmt.Errorf("the batches of client %v have sum %v", row[0], row[2])
			}
			n += int64(row[1].(float64))
		}
		return n, err
	}},
	{"funnel visit -> pay within 1h", linked, linking, func(rows [][]any) (int64, error) { return int64(rows[1][2].(float64)), nil }},
	{"measure customers[event = 'pay' or event = 'visit'] as c, events[event = 'visit'] as visits", linked, linking, func(rows [][]any) (int64, error) {
		// A visitor who is linked is the customer, one who is not is one more.
		return 2*int64(rows[0][1].(float64)) - int64(rows[0][0].(float64)), nil
	}},
}

func stored(l *ledger) int64  { return l.stored.Load() }
func sent(l *ledger) int64    { return l.sent.Load() }
func linked(l *ledger) int64  { return l.links.Load() }
func linking(l *ledger) int64 { return l.linking.Load() }

// put asks the question and holds the answer against the ledger.
func (q *question) put(s *served, c *http.Client, l *ledger) error {
	least := q.known(l)
	rows, err := s.ask(c, q.query)
	if err != nil {
		return err
	}
	most := q.begun(l)
	n, err := q.count(rows)
	if err != nil {
		return fmt.Errorf("%s: %w", q.query, err)
	}
	if n < least || n > most {
		return fmt.Errorf("%s: %d, where %d were acknowledged before and %d begun", q.query, n, least, most)
	}
	return nil
}

// watchHeap looks at the heap from time to time until ctx ends; the function it
// returns says by how many percent in ten minutes it grew in the second half.
func (s *served) watchHeap(ctx context.Context) func() string {
	type point struct{ at, bytes float64 }
	var points []point
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := client()
		defer c.CloseIdleConnections()
		begun := time.Now()
		for ctx.Err() == nil {
			if m, err := s.metrics(c); err == nil {
				points = append(points, point{time.Since(begun).Minutes(), m["go_memstats_heap_inuse_bytes"]})
			}
			select {
			case <-ctx.Done():
			case <-time.After(max(200*time.Millisecond, time.Until(begun.Add(time.Hour))/3600)):
			}
		}
	}()
	return func() string {
		<-done
		points = points[len(points)/2:]
		if len(points) < 10 {
			return "-"
		}
		// The straight line through the points, by least squares.
		var n, x, y, xx, xy float64
		for _, p := range points {
			n, x, y, xx, xy = n+1, x+p.at, y+p.bytes, xx+p.at*p.at, xy+p.at*p.bytes
		}
		perMinute := (n*xy - x*y) / (n*xx - x*x)
		return fmt.Sprintf("%.1f", 1000*perMinute/(y/n))
	}
}
