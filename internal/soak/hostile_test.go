package soak

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
)

//go:embed testdata/hostile.txt
var hostileText string

// hostileQuery is one of testdata/hostile.txt.
type hostileQuery struct{ expect, name, text string }

var hostile = parseHostile(hostileText)

func parseHostile(text string) (list []hostileQuery) {
	gap := regexp.MustCompile(`\s{2,}`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := gap.Split(line, 3)
		if len(parts) != 3 {
			parts = append(strings.SplitN(line, " ", 2)[:1], gap.Split(strings.SplitN(line, " ", 2)[1], 2)...)
		}
		list = append(list, hostileQuery{parts[0], parts[1], parts[2]})
	}
	return list
}

// query is the text, with its repeats written out.
func (h hostileQuery) query() string {
	t := template.Must(template.New(h.name).Funcs(template.FuncMap{
		"times": func(n int, text, separator string) string {
			return strings.TrimSuffix(strings.Repeat(text+separator, n), separator)
		},
	}).Parse(h.text))
	var b strings.Builder
	if err := t.Execute(&b, nil); err != nil {
		panic(err) // the table is part of the test
	}
	return b.String()
}

// worst fills a store with what queries have most work with: one customer with
// most of the events, half of them at one time, values that never come twice,
// many event names, and other customers beside.
func worst(t *testing.T, s *served, c *http.Client, events int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	names := max(50, events/50) // 100,000 for 5 million
	for at := 0; at < events; {
		var body strings.Builder
		for range min(20_000, events-at) {
			customer, second := "worst", at
			if at%4 == 0 {
				customer = fmt.Sprint("c", rng.IntN(1+events/20))
			} else if at%2 == 0 {
				second = 0
			}
			name := "view"
			switch {
			case at == events-1:
				name = "last"
			case at%10 == 9:
				name = fmt.Sprint("name", rng.IntN(names))
			}
			fmt.Fprintf(&body, `{"customer": %q, "time": %q, "event": %q, "n": %d, "id": "id-%d-%d", "a": "a%d", "b": "b%d", "c": "c%d", "d": "d%d"}`+"\n",
				customer, time.Unix(1_740_000_000+int64(second), 0).UTC().Format(time.RFC3339), name, rng.IntN(1000), at, rng.Int(), rng.IntN(events), rng.IntN(5000), rng.IntN(5000), rng.IntN(5000))
			at++
		}
		if r, err := send(c, "POST", s.URL+"/v1/events", body.String()); err != nil || r.status != 200 || strings.Contains(string(r.body), `"reason"`) {
			t.Fatalf("%v %d %.300s", err, r.status, r.body)
		}
	}
}

// honest asks what anybody asks, n times, and returns how long the answers took.
// The first ones, for which pages are read and connections made, do not count.
func honest(t *testing.T, s *served, n int) (took []time.Duration) {
	c := client()
	defer c.CloseIdleConnections()
	const first = 10
	for i := range first + n {
		begun := time.Now()
		// Never the same text: answers that are kept are no work.
		r, err := send(c, "POST", s.URL+"/v1/query", fmt.Sprintf("measure events where n > %d", i%900), "Content-Type", "text/plain", "Cache-Control", "no-cache")
		if err != nil || r.status != 200 && r.status != 503 {
			t.Errorf("an honest query: %v %d %s", err, r.status, r.body)
			return took
		}
		if i >= first {
			took = append(took, time.Since(begun))
		}
	}
	return took
}

// honestBeside is honest while so many clients send hostile queries, each one
// after the other, from different places of the table.
func (s *served) honestBeside(t *testing.T, clients, n int, timeout string) []time.Duration {
	over := make(chan struct{})
	var attackers sync.WaitGroup
	for k := range clients {
		attackers.Go(func() {
			c := client()
			defer c.CloseIdleConnections()
			for i := k * len(hostile) / clients; ; i++ {
				select {
				case <-over:
					return
				default:
					s.attack(t, c, hostile[i%len(hostile)], timeout, &endings{})
				}
			}
		})
	}
	defer attackers.Wait()
	defer close(over)
	return honest(t, s, n)
}

// percentile is the time that so many percent did not exceed.
func percentile(took []time.Duration, percent int) time.Duration {
	slices.Sort(took)
	if len(took) == 0 {
		return 0
	}
	return took[(len(took)-1)*percent/100]
}

// Every hostile query ends with an answer or an error that says which limit it
// reached, alone and many at once; the server survives them within its memory,
// and holds nothing afterwards.
func TestHostile(t *testing.T) {
	const limit, hostileClients = 512 << 20, 8
	events := int(trust.Number("WEND_HOSTILE", 30_000))
	together := int(trust.Number("WEND_HOSTILE_TOGETHER", 40))
	store := filepath.Join(t.TempDir(), "store")
	if file := os.Getenv("WEND_HOSTILE_CSV"); file != "" {
		if out, err := exec.Command(process.Program, "import", store, file).CombinedOutput(); err != nil {
			t.Fatalf("import %s: %v\n%s", file, err, out)
		}
	}
	s := serve(t, store, "GOMEMLIMIT="+strconv.Itoa(limit))
	c := client()
	defer c.CloseIdleConnections()
	worst(t, s, c, events)
	questions := int(trust.Number("WEND_HONEST", 200))
	alone := honest(t, s, questions)
	before, err := s.metrics(c)
	if err != nil {
		t.Fatal(err)
	}

	// One after the other: each as its line says.
	timeout := strconv.Itoa(int(trust.Number("WEND_HOSTILE_MS", 1500)))
	ended, endedBeside := &endings{}, &endings{}
	for _, h := range hostile {
		code := s.attack(t, c, h, timeout, ended)
		if h.expect == "ok" && code != "" || h.expect != "any" && h.expect != "ok" && code != h.expect {
			t.Errorf("%s: %q, want %s", h.name, code, h.expect)
		}
	}

	// Many at once, with clients that go away, that end their query, that read nothing.
	var running sync.WaitGroup
	for i := range together {
		running.Go(func() {
			h := hostile[i%len(hostile)]
			switch i % 5 {
			default:
				own := client()
				defer own.CloseIdleConnections()
				s.attack(t, own, h, timeout, endedBeside)
			case 3:
				s.leave(h)
			case 4:
				s.readNothing(h)
			}
		})
	}
	running.Wait()
	beside := s.honestBeside(t, hostileClients, questions, timeout)
	late := s.cancelled(t, c, 20)
	s.alive()
	s.settled(before, c)
	peak := s.memory()
	if peak > limit*5/4 {
		t.Errorf("the server had %d MiB, of %d MiB it may have", peak>>20, limit>>20)
	}
	trust.Report(t, "2.3", "hostile", len(hostile), "events", events, "alone", ended, "at_once", together, "of which", endedBeside, "exits", 0,
		"peak_mib", peak>>20, "limit_mib", limit>>20, "cancel_p99", percentile(late, 99).Round(time.Millisecond),
		"honest_clients_beside", hostileClients, "honest_p99_alone", percentile(alone, 99).Round(time.Millisecond), "honest_p99_beside", percentile(beside, 99).Round(time.Millisecond))
}

// attack sends a hostile query, and returns the code of the error that it ends with.
func (s *served) attack(t *testing.T, c *http.Client, h hostileQuery, timeout string, ended *endings) string {
	body, _ := json.Marshal(map[string]any{"query": h.query(), "timeout_ms": json.Number(timeout)})
	r, err := send(c, "POST", s.URL+"/v1/query", string(body), "Content-Type", "application/json")
	if err != nil {
		t.Errorf("%s: %v", h.name, err)
		return ""
	}
	if ended.count(r); r.status == 200 {
		return ""
	}
	var refusal struct {
		Error struct{ Code, Message, Hint string }
	}
	if err := json.Unmarshal(r.body, &refusal); err != nil || r.status != 503 && (r.status < 400 || r.status > 413) || refusal.Error.Code == "" {
		t.Errorf("%s: %d %.300s", h.name, r.status, r.body)
	}
	if strings.HasSuffix(refusal.Error.Code, "_limit") && (refusal.Error.Hint == "" || !regexp.MustCompile(`\d`).MatchString(refusal.Error.Message)) {
		t.Errorf("%s: an error that does not say how much or what to do: %s", h.name, r.body)
	}
	return refusal.Error.Code
}

// endings counts how hostile queries ended.
type endings struct {
	mu                                     sync.Mutex
	answered, time, limits, refused, turns int
}

// count tells an answer, the limit of time, another limit, a mistake that was
// refused before anything ran, and a server that had others to answer first.
func (e *endings) count(r reply) {
	e.mu.Lock()
	defer e.mu.Unlock()
	code := codeOf(r)
	switch {
	case r.status == 200:
		e.answered++
	case code == "time_limit":
		e.time++
	case strings.HasSuffix(code, "_limit"):
		e.limits++
	case r.status == 503:
		e.turns++
	default:
		e.refused++
	}
}

func (e *endings) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("%d answered, %d at time_limit, %d at others, %d refused, %d busy", e.answered, e.time, e.limits, e.refused, e.turns)
}

// codeOf is the code of an answer that is an error.
func codeOf(r reply) string {
	var refusal struct{ Error struct{ Code string } }
	if r.status == 200 || json.Unmarshal(r.body, &refusal) != nil {
		return ""
	}
	return refusal.Error.Code
}

// leave sends a query and goes away.
func (s *served) leave(h hostileQuery) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/v1/query", strings.NewReader(h.query()))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "text/plain")
	own := client()
	defer own.CloseIdleConnections()
	if res, err := own.Do(req); err == nil {
		res.Body.Close()
	}
}

// readNothing asks for a long answer and leaves it where it is for a while.
func (s *served) readNothing(h hostileQuery) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		return
	}
	defer conn.Close()
	const query = "journey of 'worst' limit 100000"
	fmt.Fprintf(conn, "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(query), query)
	io.ReadFull(conn, make([]byte, 12))
	time.Sleep(500 * time.Millisecond)
}

// cancelled ends queries by their id while they run, and returns how long it
// took until they were over.
func (s *served) cancelled(t *testing.T, c *http.Client, n int) (took []time.Duration) {
	for i := range n {
		id := fmt.Sprint("cancel-", i)
		over := make(chan time.Time)
		go func() {
			own := client()
			defer own.CloseIdleConnections()
			text := hostile[i%len(hostile)].query()
			_, _ = send(own, "POST", s.URL+"/v1/query", text, "Content-Type", "text/plain", "X-Query-Id", id, "Cache-Control", "no-cache")
			over <- time.Now()
		}()
		for {
			begun := time.Now()
			r, err := send(c, "DELETE", s.URL+"/v1/queries/"+id, "")
			if err != nil {
				t.Error(err)
				return took
			}
			if r.status == 204 {
				took = append(took, (<-over).Sub(begun))
				break
			}
			select {
			case <-over: // it ended before it could be ended
			case <-time.After(2 * time.Millisecond):
				continue
			}
			break
		}
	}
	return took
}
