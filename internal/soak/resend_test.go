package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wend "wend/client"
	"wend/event"
	"wend/internal/trust"
	"wend/storage"
)

// attempts counts how often each batch goes out, and under which run of the
// server first and last.
type attempts struct {
	next http.RoundTripper
	run  *atomic.Int64
	mu   sync.Mutex
	of   map[string]*attempt
}

type attempt struct {
	times       int
	first, last int64 // run of the server
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	x := a.of[r.Header.Get("X-Batch-Token")]
	if x == nil {
		x = &attempt{first: a.run.Load()}
		a.of[r.Header.Get("X-Batch-Token")] = x
	}
	x.times++
	x.last = a.run.Load()
	a.mu.Unlock()
	return a.next.RoundTrip(r)
}

// sentBatch is a batch that was sent and what the server said of it.
type sentBatch struct {
	token  string
	events []event.Event
	ack    storage.Ack
}

// A client that sends again what it got no answer for has every event in the
// store once, wherever connections break and however often the server is
// stopped, killed and started between. No event has an id: the token does it.
func TestResend(t *testing.T) {
	const clients, perRestart = 16, 50
	seed := trust.Number("WEND_SEED", 1)
	each := int(trust.Number("WEND_RESEND", 320)) / clients
	s := serve(t, filepath.Join(t.TempDir(), "store"))
	p := newProxy(t, seed)
	p.to(s.URL)

	var acked, numbers, run atomic.Int64
	var mu sync.Mutex
	var sent []sentBatch
	resent, across := 0, 0
	over := make(chan struct{})
	var working sync.WaitGroup
	for i := range clients {
		working.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%4 != 0} // some use a connection for many batches
			defer transport.CloseIdleConnections()
			counted := &attempts{next: transport, run: &run, of: map[string]*attempt{}}
			c, err := wend.New(p.url(), wend.Options{HTTP: &http.Client{Transport: counted}, Timeout: 3 * time.Second})
			if err != nil {
				t.Error(err)
				return
			}
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := range each {
				b := sentBatch{token: fmt.Sprintf("c%d-%d", i, n)}
				for range 1 + rng.IntN(5) {
					b.events = append(b.events, event.Event{Customer: fmt.Sprint("c", rng.IntN(50)), Time: event.At(time.Unix(1_740_000_000+int64(rng.IntN(1e6)), 0)),
						Name: "view", Props: []event.Prop{{Name: "n", Value: event.Integer(numbers.Add(1))}}})
				}
				// Of connections here about half fail, so that a client's twelve tries fail together once in
				// some thousand batches, and oftener while the server is started again: what a client gives up
				// is its caller's to send again.
				for range 50 {
					if b.ack, err = c.Append(t.Context(), b.events, b.token); err == nil {
						break
					}
				}
				if err != nil || b.ack.Accepted != int64(len(b.events)) || b.ack.Duplicates+b.ack.Conflicts != 0 {
					t.Errorf("%s of %d events: %+v, %v", b.token, len(b.events), b.ack, err)
					return
				}
				acked.Add(1)
				mu.Lock()
				sent = append(sent, b)
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range counted.of {
				if a.times > 1 {
					resent++
				}
				if a.last != a.first {
					across++
				}
			}
		})
	}
	go func() {
		working.Wait()
		close(over)
	}()
	restarts := 0
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(5 * time.Millisecond):
			if acked.Load() < int64(perRestart*(restarts+1)) {
				continue
			}
			if restarts%2 == 0 {
				s.Kill()
			} else if err := s.Stop(); err != nil {
				t.Errorf("a stop: %v\n%s", err, s.Log)
			}
			run.Add(1)
			s.start()
			p.to(s.URL)
			restarts++
		}
	}

	// Sent once more, behind the proxy's back: the same answers, and nothing changes.
	direct, err := wend.New(s.URL, wend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range sent {
		if i%10 != 0 {
			continue
		}
		if ack, err := direct.Append(t.Context(), b.events, b.token); err != nil || ack.LSN != b.ack.LSN || ack.Accepted != b.ack.Accepted {
			t.Errorf("%s sent once more: %+v, %v, want %+v", b.token, ack, err, b.ack)
		}
	}
	lost, doubled, foreign := inStore(t, direct, sent)
	if lost+doubled+foreign > 0 {
		t.Errorf("%d events lost, %d there more than once, %d that were never sent", lost, doubled, foreign)
	}
	if share := 100 * resent / max(1, len(sent)); share < 30 {
		t.Errorf("%d %% of the batches were sent again, want 30", share)
	}
	trust.Report(t, "P3", "client behind a failing network, batches", len(sent), "events", numbers.Load(), "sent again", fmt.Sprintf("%d%%", 100*resent/max(1, len(sent))),
		"across a restart", across, "restarts", restarts, "connections cut", p.cuts.Load(), "at bytes of requests", &p.requests, "of answers", &p.answers,
		"errors before and behind the server", p.errors5xx.Load(), "answers kept back", p.stalls.Load(), "lost", lost, "duplicates", doubled, "seed", seed)
}

// inStore compares every event of the store with those that were sent.
func inStore(t *testing.T, c *wend.Client, sent []sentBatch) (lost, doubled, foreign int) {
	t.Helper()
	var out bytes.Buffer
	if partial, err := c.Export(t.Context(), "ndjson", &out); err != nil || partial {
		t.Fatalf("export: %v, partial %v", err, partial)
	}
	there := map[string]int{}
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		var e struct {
			Customer, Event string
			Time            time.Time
			N               int64
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		there[fmt.Sprint(e.Customer, " ", event.At(e.Time), " ", e.Event, " ", e.N)]++
	}
	for _, b := range sent {
		for _, e := range b.events {
			key := fmt.Sprint(e.Customer, " ", e.Time, " ", e.Name, " ", e.Prop("n").Int())
			switch n := there[key]; {
			case n == 0:
				lost++
			case n > 1:
				doubled++
			}
			delete(there, key)
		}
	}
	return lost, doubled, len(there)
}
