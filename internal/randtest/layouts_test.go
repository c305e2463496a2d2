package randtest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"wend/engine"
	"wend/internal/reference"
	"wend/internal/trust"
)

// layoutsOfWorld are the stores that one world is put into.
const layoutsOfWorld = 4

// TestLayoutsAgree puts the same events into several stores, each in its own
// segments, flushed and compacted at other moments, and asks each of them with
// one to eight workers: all answers must be the one that a single tile in
// memory gives. WEND_LAYOUTS is the number of (store, statement) pairs.
func TestLayoutsAgree(t *testing.T) {
	seed := fromEnvironment(t, "WEND_SEED", 1)
	usual := uint64(20_000)
	if testing.Short() {
		usual /= 20
	}
	pairs := fromEnvironment(t, "WEND_LAYOUTS", usual)
	const perStore = 15
	worlds := make(chan uint64)
	var wg sync.WaitGroup
	var compared, withRows atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range worlds {
				if !t.Failed() {
					n, rows := layoutsAgree(t, seed, i, perStore)
					compared.Add(n)
					withRows.Add(rows)
				}
			}
		})
	}
	for i := range (pairs + layoutsOfWorld*perStore - 1) / (layoutsOfWorld * perStore) {
		worlds <- i
	}
	close(worlds)
	wg.Wait()
	trust.Report(t, "P15", "layouts compared", compared.Load(), "non-empty", fmt.Sprintf("%d%%", 100*withRows.Load()/max(1, compared.Load())), "different", btoi(t.Failed()), "seed", seed)
}

func layoutsAgree(t *testing.T, seed, index uint64, perStore int) (compared, withRows int64) {
	w := NewWorld(seed+1000, index)
	plain, err := inMemory(w, 1)
	if err != nil {
		t.Error(err)
		return
	}
	type question struct {
		text string
		want *reference.Answer
		err  error
	}
	var questions []question
	for k := range uint64(perStore) {
		q := question{text: statementOf(w, seed+1000, index, k).String()}
		q.want, q.err = answerOf(plain, q.text, engine.RunOptions{Workers: 1, General: true})
		questions = append(questions, q)
	}
	r := rand.New(rand.NewPCG(seed, index))
	for layout := range uint64(layoutsOfWorld) {
		snap, err := stored(w, index*layoutsOfWorld+layout)
		if err != nil {
			t.Errorf("seed %d, world %d, layout %d: %v", seed, index, layout, err)
			return
		}
		for _, q := range questions {
			workers := 1 + r.IntN(8)
			got, err := answerOf(snap, q.text, engine.RunOptions{Workers: workers})
			compared++
			if (err == nil) != (q.err == nil) {
				t.Errorf("seed %d, world %d, layout %d: %s: %v, in memory: %v", seed, index, layout, q.text, err, q.err)
				continue
			}
			if err != nil {
				continue
			}
			withRows += int64(btoi(len(got.Rows) > 0))
			if d := Difference(q.want, got.Columns, got.Rows); d != "" || !reflect.DeepEqual(q.want.Columns, got.Columns) {
				t.Errorf("seed %d, world %d, layout %d, %d workers: %s: %s", seed, index, layout, workers, q.text, d)
			}
		}
		if err := snap.close(); err != nil {
			t.Error(err)
		}
	}
	return compared, withRows
}
