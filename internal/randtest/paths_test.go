package randtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wend/engine"
	"wend/event"
	"wend/internal/forced"
	"wend/internal/reference"
	"wend/query"
	"wend/storage"
	"wend/storage/vfs"
)

// path is one way through the code to an answer.
type path struct {
	cached  bool // pages and finished answers are kept
	eight   bool // workers; otherwise one
	merged  bool // one segment, whose blocks are tiles as they are; otherwise several and the memtable, merged for each tile
	general bool // the general algorithms; otherwise short cuts, such as looking at the survivors of bit masks only
	passes  bool // quantiles are looked for in several passes, as where their values do not fit; otherwise in lists of all values
}

func (p path) String() string {
	word := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	return strings.Join([]string{
		word(forced.Roaring, "roaring and integers", "bit planes"), word(p.cached, "cache", "no cache"), word(p.eight, "8 workers", "1 worker"),
		word(p.merged, "one segment", "tiles merged"), word(p.general, "general automaton", "short cuts"),
		word(p.passes, "passes", "lists"),
	}, ", ")
}

// allPaths are the ways there are in this build: how pages are written is
// chosen by a build tag, see package forced.
func allPaths() []path {
	var list []path
	for i := range 32 {
		list = append(list, path{i&1 > 0, i&2 > 0, i&4 > 0, i&8 > 0, i&16 > 0})
	}
	return list
}

// passBytes are what values may take in passes: so few that the bins of a few
// groups do not tell single values apart, and that some groups have to wait.
const passBytes = 2_000

// pathCount is what came on a path.
type pathCount struct{ asked, withRows, fromCache, masked, inPasses int }

// TestPaths asks random statements on every path through the code, and wants
// the reference's answer on each. Usually each world is asked on four paths,
// others each time; with WEND_PATHS=all on all of them. WEND_CASES is the
// number of statements.
func TestPaths(t *testing.T) {
	seed := fromEnvironment(t, "WEND_SEED", 1)
	cases := uint64(1500)
	if testing.Short() {
		cases /= 5
	}
	cases = fromEnvironment(t, "WEND_CASES", cases)
	counts := map[path]*pathCount{}
	for _, p := range allPaths() {
		counts[p] = &pathCount{}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	worlds := make(chan uint64)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range worlds {
				some := allPaths()
				if os.Getenv("WEND_PATHS") != "all" {
					r := rand.New(rand.NewPCG(seed, i))
					r.Shuffle(len(some), func(a, b int) { some[a], some[b] = some[b], some[a] })
					some = some[:4]
				}
				if !t.Failed() {
					askOnPaths(t, seed, i, some, func(p path, c pathCount) {
						mu.Lock()
						defer mu.Unlock()
						n := counts[p]
						*n = pathCount{n.asked + c.asked, n.withRows + c.withRows, n.fromCache + c.fromCache, n.masked + c.masked, n.inPasses + c.inPasses}
					})
				}
			}
		})
	}
	for i := range (cases + perWorld - 1) / perWorld {
		worlds <- i
	}
	close(worlds)
	wg.Wait()
	for _, p := range allPaths() {
		n := counts[p]
		t.Logf("%-100s %6d statements, %3d %% with rows, %d again from the cache, %d with bit masks, %d in passes", p, n.asked, 100*n.withRows/max(1, n.asked), n.fromCache, n.masked, n.inPasses)
		if t.Failed() || cases < 1500 {
			continue
		}
		if n.asked == 0 || n.withRows == 0 || p.cached != (n.fromCache > 0) || p.general == (n.masked > 0) || p.passes != (n.inPasses > 0) {
			t.Errorf("%s: this is not the path it should be", p)
		}
	}
}

func askOnPaths(t *testing.T, seed, index uint64, paths []path, count func(path, pathCount)) {
	w := NewWorld(seed+2000, index)
	end := w.EndOfData
	newest := event.MinTime
	for _, e := range w.Events {
		newest = max(newest, e.Time)
	}
	end = min(end, newest)
	type question struct {
		statement *Statement
		want      *reference.Answer
	}
	var questions []question
	for k := range uint64(perWorld) {
		s := statementOf(w, seed+2000, index, k)
		parsed, err := query.Parse(s.String())
		if err != nil {
			t.Errorf("seed %d, world %d: %s: %v", seed, index, s, err)
			return
		}
		want, err := reference.Evaluate(w.Events, w.Links, parsed[0], w.Definitions, end)
		if err != nil {
			want = nil // the engine has to refuse, too
		}
		questions = append(questions, question{s, want})
	}
	disks := map[bool]vfs.FS{}
	for _, p := range paths {
		if disks[p.merged] == nil {
			fs, err := onDisk(w, index, p.merged)
			if err != nil {
				t.Errorf("seed %d, world %d: %v", seed, index, err)
				return
			}
			disks[p.merged] = fs
		}
		db, err := engine.Open("store", p.options(w, disks[p.merged]))
		if err != nil {
			t.Errorf("seed %d, world %d: %v", seed, index, err)
			return
		}
		var c pathCount
		for _, q := range questions {
			p.ask(t, db, q.statement, q.want, &c)
			if t.Failed() {
				t.Logf("seed %d, world %d, %s:\n%s", seed, index, p, transcriptOf(Case{w, q.statement}, q.want))
				break
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		count(p, c)
	}
}

func (p path) options(w *World, fs vfs.FS) engine.Options {
	opt := engine.Options{CacheBytes: 16 << 20, Storage: storage.Options{FS: fs, Clock: func() time.Time { return w.EndOfData.Std() }, BlockCustomers: 2}}
	if !p.cached {
		opt.CacheBytes = 64 // no page fits
	}
	return opt
}

// onDisk makes a store of a world: appended in some batches, most of them
// flushed; in one segment a time partition if they are to be merged.
func onDisk(w *World, index uint64, merged bool) (vfs.FS, error) {
	r := rand.New(rand.NewPCG(index, 8))
	ctx := context.Background()
	opt := path{}.options(w, vfs.NewMem()).Storage
	opt.Partition = pick(r, []string{"", "month"})
	s, err := storage.Open("store", opt)
	if err != nil {
		return nil, err
	}
	for _, d := range w.Definitions {
		if _, err := s.Define(ctx, d); err != nil {
			return nil, err
		}
	}
	for part := range slices.Chunk(w.Events, 1+len(w.Events)/4) {
		if ack, err := s.Append(ctx, batch(part), storage.AppendOptions{}); err != nil || ack.Accepted != int64(len(part)) {
			return nil, fmt.Errorf("%d of %d events accepted: %v", ack.Accepted, len(part), err)
		}
		if r.IntN(4) > 0 {
			if err := s.Flush(ctx); err != nil {
				return nil, err
			}
		}
	}
	for _, from := range slices.Sorted(maps.Keys(w.Links)) {
		if err := s.Link(ctx, from, w.Links[from]); err != nil {
			return nil, err
		}
	}
	if merged {
		if err := s.Compact(ctx); err != nil {
			return nil, err
		}
	}
	return opt.FS, s.Close()
}

// ask wants the answer from a store, and with a cache the same answer once more.
func (p path) ask(t *testing.T, db *engine.DB, s *Statement, want *reference.Answer, c *pathCount) {
	var mu sync.Mutex
	masked, inPasses := false, false
	limits := engine.RunOptions{Workers: 1, General: p.general, Took: func(shortCut string) {
		mu.Lock()
		defer mu.Unlock()
		masked = masked || strings.HasPrefix(shortCut, "bit masks")
		inPasses = inPasses || shortCut == "passes"
	}}
	if p.passes {
		limits.Passes = passBytes
	}
	if p.eight {
		limits.Workers = 8
	}
	opts, times := []engine.QueryOption{engine.WithLimits(limits)}, 2
	if !p.cached {
		opts, times = append(opts, engine.NoCache()), 1
	}
	for again := range times {
		res, err := db.Query(context.Background(), s.String(), opts...)
		if err != nil || want == nil {
			if (err == nil) != (want != nil) {
				t.Errorf("%s: %v; the reference answers: %t", s, err, want != nil)
			}
			return
		}
		if d := Difference(want, answer(res).Columns, res.Rows); d != "" {
			t.Errorf("%s: asked %d times: %s", s, again+1, d)
			return
		}
		if again == 0 {
			c.asked++
			c.withRows += btoi(len(res.Rows) > 0)
			c.masked += btoi(masked)
			c.inPasses += btoi(inPasses)
		} else {
			c.fromCache += btoi(res.Meta.Cached)
		}
	}
}
