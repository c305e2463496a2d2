package storage

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"wend/event"
	"wend/storage/vfs/simfs"
)

// simAges is what a run with a retention knows of the time. Its clock is seldom
// far from what has really passed: when it is, and for long, is the matter of
// TestRetentionSchedules. Here retention meets everything else that a store does.
type simAges struct {
	r    *rand.Rand
	up   time.Duration // that has passed, for all processes of the run
	off  time.Duration // how far the clock is from it
	from time.Time     // when the run began

	moved int // how often the cutoff was
}

const simKeep = 10 * 24 * time.Hour

func newSimAges(seed uint64, from time.Time) *simAges {
	return &simAges{r: rand.New(rand.NewPCG(seed, 6)), from: from}
}

// due is whether the next step is one of these.
func (a *simAges) due() bool { return a.r.IntN(5) == 0 }

func (a *simAges) clock() time.Time { return a.from.Add(a.up + a.off) }

// jump sets the clock wrong, or less so.
func (a *simAges) jump() { a.off = time.Duration(a.r.Int64N(int64(7*24*time.Hour))) - 2*24*time.Hour }

// time is that of an event, seldom one that is too old already. There are few
// different ones.
func (a *simAges) time() event.Time {
	const apart = 6 * time.Hour
	return step(event.At(a.clock().Add(-apart * time.Duration(a.r.IntN(int(simKeep/apart)+4)))))
}

// age lets time pass, and has retention do what there is to do.
func (d *sim) age() {
	if d.ages.r.IntN(3) > 0 {
		d.ages.up += time.Duration(d.ages.r.Int64N(int64(simKeep)))
		d.clock = d.ages.clock()
		d.note("time passes until %s", d.clock.Format(time.DateTime))
	}
	for worked := true; worked && len(d.m.limbo)+len(d.m.maybe) == 0; {
		var err error
		if worked, err = d.retain(d.store, d.m); !d.accept(err) {
			return
		}
	}
}

// retain does one step of retention, and tells the model of it.
func (d *sim) retain(s *Store, m *simModel) (worked bool, err error) {
	latest := step(event.At(d.clock.Add(-simKeep)))
	earliest := m.meta.cutoff
	if r := s.state().retain; len(s.state().segments)+len(s.mem.batches) == 0 || r != nil && r.Fresh { // nothing can come back: it follows the clock
		earliest = min(earliest, latest)
	}
	may := m.meta.clone()
	may.cutoff, may.until = earliest, max(latest, m.meta.cutoff)
	m.maybe = append(m.maybe, may)
	if worked, err = s.RetainStep(context.Background()); err != nil || d.crashed != nil {
		return worked, err
	}
	m.maybe = m.maybe[:len(m.maybe)-1]
	if cutoff := s.state().cutoff(); cutoff != m.meta.cutoff {
		if cutoff < earliest || cutoff > latest {
			return worked, fmt.Errorf("the cutoff went from %s to %s, and by the clock it is %s", m.meta.cutoff, cutoff, latest)
		}
		d.note("cutoff %s", cutoff)
		if d.ages.moved++; m.meta.cutoff == math.MinInt64 {
			d.note("retention begins")
		}
		*m = *m.young(cutoff)
	}
	return worked, nil
}

// young returns the model without what is older than a cutoff.
func (m *simModel) young(cutoff event.Time) *simModel {
	gone := map[int64]bool{}
	for _, b := range slices.Concat(m.present, m.limbo) {
		for i := range b.events {
			if b.events[i].Time < cutoff {
				gone[eventNumber(&b.events[i])] = true
			}
		}
	}
	c := m.without(gone)
	c.meta.cutoff = cutoff
	return c
}

// unremoved has an erasure do its work while the first segment that it replaces
// cannot be removed: then the sweep at its end has to.
func (d *sim) unremoved() {
	if d.fault != nil {
		return
	}
	d.note("erase, and a file is not removed at first")
	faulted, failed := d.m.faulted, false
	d.fault = func(op *simfs.Op) simfs.Fault {
		if failed || op.Kind != simfs.Remove || !strings.HasSuffix(op.Name, ".seg") {
			return simfs.None
		}
		failed = true
		return simfs.EIO
	}
	for range 12 {
		worked, err := d.store.EraseStep(context.Background())
		if !d.accept(err) || !worked {
			break
		}
	}
	d.fault = nil
	d.m.faulted = faulted // nothing was answered otherwise because of it
}

// tooOld splits off the events that a store refuses because they lie before its cutoff.
func (d *sim) tooOld(sent []event.Event) (rest []event.Event) {
	return slices.DeleteFunc(slices.Clone(sent), func(e event.Event) bool { return e.Time < d.m.meta.cutoff })
}
