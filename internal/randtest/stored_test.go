package randtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"wend/engine"
	"wend/event"
	"wend/storage"
	"wend/storage/vfs"
)

// storedSnapshot is a store's snapshot as the engine takes it.
type storedSnapshot struct {
	*storage.Snapshot
	store *storage.Store
}

func (s storedSnapshot) Missing() []engine.Missing {
	var missing []engine.Missing
	for _, m := range s.Snapshot.Missing() {
		missing = append(missing, engine.Missing(m))
	}
	return missing
}

func (s storedSnapshot) close() error {
	s.Snapshot.Release()
	return s.store.Close()
}

// stored puts a world into a store in memory, in a way that layout decides:
// appended in batches or loaded, flushed, compacted and reopened in between,
// with an import that is undone again. None of it may change an answer.
func stored(w *World, layout uint64) (storedSnapshot, error) {
	r := rand.New(rand.NewPCG(layout, 5))
	opt := storage.Options{
		FS:             vfs.NewMem(),
		Clock:          func() time.Time { return w.EndOfData.Std() },
		Rand:           rand.New(rand.NewPCG(layout, 6)),
		MemtableEvents: pick(r, []int{0, 7, 50}),
		SegmentRows:    pick(r, []int{0, 16, 200}),
		ChunkRows:      pick(r, []int{0, 10, 64}),
		BlockCustomers: pick(r, []int{0, 1, 2, 4}),
		Partition:      pick(r, []string{"", "month"}),
	}
	l := layouter{r: r, opt: opt, ctx: context.Background(), seen: map[string]bool{}}
	if err := l.build(w); err != nil {
		return storedSnapshot{}, err
	}
	snap, err := l.store.Snapshot()
	return storedSnapshot{snap, l.store}, err
}

type layouter struct {
	r     *rand.Rand
	opt   storage.Options
	ctx   context.Context
	store *storage.Store
	seen  map[string]bool
}

func (l *layouter) build(w *World) (err error) {
	if l.store, err = storage.Open("store", l.opt); err != nil {
		return err
	}
	for _, d := range w.Definitions {
		if _, err := l.store.Define(l.ctx, d); err != nil {
			return err
		}
	}
	for begin := 0; begin < len(w.Events); {
		end := min(len(w.Events), begin+1+l.r.IntN(max(60, len(w.Events)/10)))
		if err := l.add(w.Events[begin:end]); err != nil {
			return err
		}
		begin = end
		if err := l.shake(w); err != nil {
			return err
		}
	}
	for _, from := range slices.Sorted(maps.Keys(w.Links)) {
		if err := l.store.Link(l.ctx, from, w.Links[from]); err != nil {
			return err
		}
	}
	if l.r.IntN(3) == 0 {
		return l.store.Compact(l.ctx)
	}
	return nil
}

func batch(events []event.Event) *event.Batch {
	b := event.NewBuilder()
	for _, e := range events {
		b.Add(e)
	}
	return b.Batch()
}

// add appends events, or loads them. A load takes rows without an id that are
// equal to stored ones for the same row again, so those are appended.
func (l *layouter) add(events []event.Event) error {
	again := false
	for _, e := range events {
		key := fmt.Sprint(e)
		again = again || l.seen[key] && e.ID == ""
		l.seen[key] = true
	}
	if again || l.r.IntN(3) > 0 {
		ack, err := l.store.Append(l.ctx, batch(events), storage.AppendOptions{})
		if err == nil && ack.Accepted != int64(len(events)) {
			err = fmt.Errorf("%d of %d events accepted: %v", ack.Accepted, len(events), ack.Rejected)
		}
		return err
	}
	_, err := l.load(events)
	return err
}

func (l *layouter) load(events []event.Event) (string, error) {
	load, err := l.store.NewLoad(l.ctx, storage.LoadOptions{Source: "random"})
	if err != nil {
		return "", err
	}
	for half := range slices.Chunk(events, 1+len(events)/2) {
		if err := load.Add(batch(half)); err != nil {
			return "", err
		}
	}
	done, err := load.Commit(l.ctx)
	return done.ImportID, err
}

// shake does something that leaves the data as it is.
func (l *layouter) shake(w *World) error {
	switch l.r.IntN(8) {
	case 0:
		return l.store.Flush(l.ctx)
	case 1:
		_, err := l.store.CompactStep(l.ctx)
		return err
	case 2:
		return l.store.Compact(l.ctx)
	case 3:
		if err := l.store.Close(); err != nil {
			return err
		}
		var err error
		l.store, err = storage.Open("store", l.opt)
		return err
	case 4:
		strays := some(l.r, w.Events, 20)
		for i := range strays {
			strays[i].Time--
			strays[i].ID = ""
		}
		id, err := l.load(strays)
		if err != nil || id == "" { // all were there already
			return err
		}
		if l.r.IntN(2) == 0 {
			if err := l.store.Compact(l.ctx); err != nil {
				return err
			}
		}
		_, err = l.store.Undo(l.ctx, id)
		return err
	}
	return nil
}
