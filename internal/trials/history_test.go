package trials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"wend/event"
	"wend/storage"
	"wend/tile"
)

// fate is what is known of a batch.
type fate uint8

const (
	maybe   fate = iota // sent, no answer or an error
	acked               // answered with 200 in this life of the process
	present             // found after an end: it has to stay
	absent              // not found after an end: it must not come back by itself
)

// batch is a request of events. Their numbers, in property n, are unique.
type batch struct {
	token   string
	first   int64 // number of its first event
	size    int
	level   string
	body    []byte
	fate    fate
	lsn     uint64
	at      time.Time // acknowledged
	answer  string    // the first one
	sending bool
}

// history is everything that was ever sent to a store.
type history struct {
	mu      sync.Mutex
	batches []*batch
	next    int64
	loose   bool // no new batch is sync: no other batch's fsync saves the rest

	acks, resent, repeated int // answers; of those, to batches sent before; of those, to batches acknowledged before
	refused                map[string]int
	wrong                  error // the first answer that is wrong
}

func newHistory() *history { return &history{refused: map[string]int{}} }

// make makes a new batch, or picks one that was sent before.
func (h *history) pick(r *rand.Rand) *batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.batches) > 0 && r.IntN(3) == 0 {
		// Newer ones more often: what was in flight when the process ended.
		b := h.batches[len(h.batches)-1-r.IntN(min(len(h.batches), 40))]
		if !b.sending {
			b.sending = true
			if b.fate == absent {
				b.fate = maybe
			}
			return b
		}
	}
	b := &batch{first: h.next, size: []int{1, 1, 2, 5, 30, 300}[r.IntN(6)], level: []string{"sync", "sync", "interval", "interval", "memory"}[r.IntN(5)], sending: true}
	if h.loose && b.level == "sync" {
		b.level = "interval"
	}
	b.token = fmt.Sprintf("client-%d", b.first)
	h.next += int64(b.size)
	var body bytes.Buffer
	for i := range b.size {
		n := b.first + int64(i)
		id := ""
		if b.first%2 == 0 {
			id = fmt.Sprintf(`,"id":"n%d"`, n)
		}
		fmt.Fprintf(&body, `{"customer":"c%d","time":"2025-0%d-%02dT10:00:00Z","event":"tick","channel":"web","n":%d%s}`+"\n", r.IntN(50), 1+r.IntN(3), 1+r.IntN(28), n, id)
	}
	b.body = body.Bytes()
	h.batches = append(h.batches, b)
	return b
}

// write sends batches until the context ends or the server is gone.
func (h *history) write(ctx context.Context, c *http.Client, url string, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 77))
	for ctx.Err() == nil {
		b := h.pick(r)
		err := h.send(ctx, c, url, b)
		h.mu.Lock()
		b.sending = false
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

type answer struct {
	Accepted   int64
	Duplicates int64
	Rejected   []any
	Durability string
	LSN        uint64
	Error      struct{ Code string }
}

// send sends a batch and keeps what is answered. Its error is of the
// connection; a refusal is none.
func (h *history) send(ctx context.Context, c *http.Client, url string, b *batch) error {
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/events", bytes.NewReader(b.body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Batch-Token", b.token)
	req.Header.Set("X-Durability", b.level)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("answer %q: %w", text, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if resp.StatusCode != http.StatusOK {
		h.refused[fmt.Sprintf("%d %s", resp.StatusCode, a.Error.Code)]++
		return nil
	}
	h.acks++
	if a.Accepted != int64(b.size) || a.Durability != b.level {
		h.wrong = errors.Join(h.wrong, fmt.Errorf("batch %s of %d events, %s: the answer is %s", b.token, b.size, b.level, text))
	}
	if b.answer != "" {
		h.resent++
		if b.fate == acked || b.fate == present {
			h.repeated++
			if string(text) != b.answer {
				h.wrong = errors.Join(h.wrong, fmt.Errorf("batch %s was answered %s, and now %s", b.token, b.answer, text))
			}
		}
	}
	b.answer = string(text)
	if b.fate == maybe || b.fate == absent {
		b.fate, b.lsn, b.at = acked, a.LSN, time.Now()
	}
	return nil
}

// ended is how a life of the store ended.
type ended uint8

const (
	stopped ended = iota // SIGTERM: nothing may be lost
	killed               // the process: what is in its memory may be lost
	cut                  // the power: what was not synced may be lost
)

// losses is what an end took, within what it may take.
type losses struct {
	memory, interval int
	late             int           // answered behind the moment of the cut
	oldest           time.Duration // before the end, the oldest interval batch that is lost
}

// check reads the store in dir, which nobody writes to, and holds it against
// what was sent. What it finds is fixed from now on.
func (h *history) check(dir string, how ended, at time.Time) (lost losses, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wrong != nil {
		return lost, h.wrong
	}
	found, err := readNumbers(dir)
	if err != nil {
		return lost, err
	}
	var lostTo, keptFrom uint64 = 1 << 62, 0 // LSNs of interval batches
	fates := make([]fate, len(h.batches))
	for i, b := range h.batches {
		n := 0
		for number := b.first; number < b.first+int64(b.size); number++ {
			if found[number] > 1 {
				return lost, fmt.Errorf("event %d is there %d times", number, found[number])
			}
			n += found[number]
			delete(found, number)
		}
		if n != 0 && n != b.size {
			return lost, fmt.Errorf("batch %s is torn: %d of %d events", b.token, n, b.size)
		}
		there := n > 0
		fates[i] = absent
		if there {
			fates[i] = present
		}
		// Cutting the power of a file system does not stop the processor: a
		// kernel that is in the middle of an fsync may then say that it is done.
		// With the power really gone, that answer would have reached nobody.
		if how == cut && b.fate == acked && b.at.After(at) {
			if !there && b.level == "sync" {
				lost.late++
			}
			continue
		}
		switch {
		case b.fate == present && !there:
			return lost, fmt.Errorf("batch %s (%s) was there after an earlier end, and is gone", b.token, b.level)
		case b.fate == absent && there:
			return lost, fmt.Errorf("batch %s (%s) was not there after an earlier end, and is back", b.token, b.level)
		case b.fate == acked && !there && (b.level == "sync" || b.level == "interval" && how != cut || how == stopped):
			return lost, fmt.Errorf("batch %s (%s, LSN %d) was acknowledged %v before the end and is lost", b.token, b.level, b.lsn, at.Sub(b.at))
		case b.fate == acked && !there && b.level == "interval":
			lost.interval++
			lostTo = min(lostTo, b.lsn)
			lost.oldest = max(lost.oldest, at.Sub(b.at))
		case b.fate == acked && !there:
			lost.memory++
		case b.fate == acked && b.level == "interval":
			keptFrom = max(keptFrom, b.lsn)
		}
	}
	if len(found) > 0 {
		return lost, fmt.Errorf("events that were never sent: %v", slices.Collect(maps.Keys(found)))
	}
	if lostTo < keptFrom {
		return lost, fmt.Errorf("interval batch of LSN %d is lost, the one of LSN %d is not", lostTo, keptFrom)
	}
	for i, b := range h.batches {
		b.fate = fates[i]
	}
	return lost, nil
}

// readNumbers counts the events of a store by their number.
func readNumbers(dir string) (map[int64]int, error) {
	s, err := storage.Open(dir, storage.Options{ReadOnly: true, CacheBytes: 1 << 20})
	if errors.Is(err, storage.ErrNotFound) {
		return map[int64]int{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	if m := snap.Missing(); len(m) > 0 {
		return nil, fmt.Errorf("undamaged data is reported missing: %+v", m)
	}
	found := map[int64]int{}
	number := slices.IndexFunc(snap.Schema().Properties, func(p event.Property) bool { return p.Name == "n" })
	if number < 0 {
		return found, nil
	}
	for i := range snap.Tiles() {
		t, err := snap.Tile(context.Background(), i, tile.Need{Properties: []int{number}})
		if err != nil {
			return nil, fmt.Errorf("tile %d: %w", i, err)
		}
		for row := range t.Rows {
			found[t.Columns[number].At(row).Int()]++
		}
	}
	return found, nil
}
