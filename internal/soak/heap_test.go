package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// slopeMax is by how many percent in ten minutes the heap may grow while the
// store hardly does.
const slopeMax = 5.0

// quiet stops the clients for a moment: what their requests hold is no leak.
type quiet struct{ mu sync.RWMutex }

// each does something again and again until ctx ends, or it fails, and rests
// for as long as it says. While it is quiet it waits between two times.
func (q *quiet) each(ctx context.Context, do func() (rest time.Duration, err error)) error {
	once := func() (time.Duration, error) {
		q.mu.RLock()
		defer q.mu.RUnlock()
		return do()
	}
	for ctx.Err() == nil {
		rest, err := once()
		if err != nil {
			return err
		}
		if rest > 0 {
			wait(ctx, rest)
		}
	}
	return nil
}

// growth is how the quiet heap went.
type growth struct {
	slope float64 // percent in ten minutes
	sure  bool    // there were points enough
	usual float64 // bytes, the median over points
}

func (g growth) String() string {
	if !g.sure {
		return "-"
	}
	return fmt.Sprintf("%.1f", g.slope)
}

func (g growth) mib() int { return int(g.usual) >> 20 }

// watchHeap looks from a time on, until ctx ends, at what of the heap is alive
// when nobody asks for anything. The function it returns waits for the end.
func (s *served) watchHeap(ctx context.Context, from time.Time, every time.Duration, q *quiet) func() growth {
	var points []heapPoint
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := client()
		defer c.CloseIdleConnections()
		for wait(ctx, time.Until(from)); ctx.Err() == nil; wait(ctx, every) {
			if alive, ok := s.quietHeap(ctx, c, q); ok {
				points = append(points, heapPoint{time.Now(), alive})
			}
		}
	}()
	return func() growth {
		<-done
		return slopeOf(points)
	}
}

// quietHeap is the heap that is alive after collections while no query runs and
// the caches are empty. What they hold is bounded by their sizes, and goes up and
// down by more than any leak of minutes: in a store of this size they never fill.
func (s *served) quietHeap(ctx context.Context, c *http.Client, q *quiet) (bytes float64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.emptyCaches(ctx, c) != nil {
		return 0, false
	}
	for idle := 0.0; ctx.Err() == nil; {
		m, err := s.metrics(c)
		if err != nil || m["wend_queries_running"] > 0 {
			wait(ctx, 50*time.Millisecond)
			continue
		}
		if idle == 0 {
			idle = m["go_gc_duration_seconds_count"]
		}
		if m["go_gc_duration_seconds_count"] >= idle+3 { // what finalizers and pools kept went with the second
			return m["go_memstats_next_gc_bytes"] / 2, true // the collector starts at twice what it left
		}
		_, _ = send(c, "POST", s.URL+"/v1/check", garbage) // until there is a collection
	}
	return 0, false
}

// garbage is a body that leaves much behind and nothing in a cache.
var garbage = fmt.Sprintf(`{"query": "show events %s"}`, strings.Repeat(" ", 60<<10))

// emptyCaches erases somebody whom nobody knows, and waits until that is done:
// with every erasure the store and the engine drop what they kept.
func (s *served) emptyCaches(ctx context.Context, c *http.Client) error {
	r, err := send(c, "POST", s.URL+"/v1/erase", `{"customer": "nobody"}`, "Content-Type", "application/json")
	for ctx.Err() == nil && err == nil {
		var receipt struct{ ID, State string }
		if err = json.Unmarshal(r.body, &receipt); err != nil || receipt.State == "done" {
			return err
		}
		wait(ctx, 50*time.Millisecond)
		r, err = send(c, "GET", s.URL+"/v1/erase/"+receipt.ID, "")
	}
	return errors.Join(err, ctx.Err())
}

// heapPoint is what was alive at a time.
type heapPoint struct {
	at    time.Time
	bytes float64
}

// slopeOf is the median of the slopes between any two points, which a few odd
// ones do not change.
func slopeOf(points []heapPoint) growth {
	var slopes, bytes []float64
	for i, p := range points {
		bytes = append(bytes, p.bytes)
		for _, o := range points[:i] {
			slopes = append(slopes, (p.bytes-o.bytes)/p.at.Sub(o.at).Minutes())
		}
	}
	if len(slopes) == 0 {
		return growth{}
	}
	slices.Sort(bytes)
	slices.Sort(slopes)
	g := growth{usual: bytes[len(bytes)/2], sure: len(points) >= 3}
	g.slope = 1000 * slopes[len(slopes)/2] / g.usual
	return g
}
