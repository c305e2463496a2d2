package soak

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// slopeMax is by how many percent in ten minutes the heap may grow while the
// store hardly does.
const slopeMax = 5.0

// heapWindow is how long the least of the heap is looked for: queries come and
// go, and what they hold for a moment is no leak.
const heapWindow = 15 * time.Second

// growth is how the heap went, from the least of each window.
type growth struct {
	slope float64 // percent in ten minutes
	sure  bool    // there were windows enough
	least float64 // bytes, the median over windows
}

func (g growth) String() string {
	if !g.sure {
		return "-"
	}
	return fmt.Sprintf("%.1f", g.slope)
}

func (g growth) mib() int { return int(g.least) >> 20 }

// watchHeap looks from a time on, until ctx ends, at what of the heap was alive
// at the last collection. The function it returns waits for the end.
func (s *served) watchHeap(ctx context.Context, from time.Time) func() growth {
	var windows []float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := client()
		defer c.CloseIdleConnections()
		for ctx.Err() == nil {
			m, err := s.metrics(c)
			if after := time.Since(from); err == nil && after >= 0 {
				alive := m["go_memstats_next_gc_bytes"] / 2 // the collector starts at twice what it left
				if i := int(after / heapWindow); i < len(windows) {
					windows[i] = min(windows[i], alive)
				} else {
					windows = append(windows, alive)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() growth {
		<-done
		return slopeOf(windows)
	}
}

// slopeOf is the median of the slopes between any two windows, which a few odd
// ones do not change.
func slopeOf(windows []float64) growth {
	var slopes []float64
	for i := range windows {
		for j := range i {
			slopes = append(slopes, (windows[i]-windows[j])/float64(i-j))
		}
	}
	if len(windows) == 0 {
		return growth{}
	}
	slices.Sort(windows)
	g := growth{least: windows[len(windows)/2], sure: len(windows) >= 8}
	if len(slopes) > 0 {
		slices.Sort(slopes)
		g.slope = 100 * slopes[len(slopes)/2] * float64(10*time.Minute/heapWindow) / g.least
	}
	return g
}
