package randtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/internal/reference"
	"wend/internal/trust"
	"wend/query"
)

// casesDefault is how many random cases the ordinary tests compare.
const casesDefault = 30000

// perWorld statements share one world: making it costs more than a statement.
const perWorld = 20

// outcome is how a case went.
type outcome struct {
	kind   string // "" equal, "refused" by parser or binder, "failed", "differs"
	detail string
	rows   int
	want   *reference.Answer
	broken bool // both refused to answer

	took map[string]bool // short cuts of the engine, by any of the case's tiles; "": none
}

// compare answers a case by reference and by engine.
func compare(c Case, snap engine.Snapshot, workers int) outcome {
	var mu sync.Mutex
	took := map[string]bool{}
	o := compareTaking(c, snap, engine.RunOptions{Workers: workers, Took: func(shortCut string) {
		mu.Lock()
		defer mu.Unlock()
		took[shortCut] = true
	}})
	o.took = took
	return o
}

func compareTaking(c Case, snap engine.Snapshot, opt engine.RunOptions) outcome {
	text := c.Statement.String()
	st, err := query.Parse(text)
	if err != nil {
		return outcome{kind: "refused", detail: err.Error()}
	}
	end, ok := snap.EndOfData()
	plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.Schema(), Definitions: snap.Definitions(), EndOfData: end, Empty: !ok})
	if err != nil {
		return outcome{kind: "refused", detail: err.Error()}
	}
	got, err := engine.Run(context.Background(), plan, snap, opt)
	if other := generally(plan, snap, got, err); other != "" {
		return outcome{kind: "differs", detail: "without short cuts: " + other}
	}
	want, wantErr := reference.Evaluate(c.World.Events, c.World.Links, st[0], c.World.Definitions, end)
	switch {
	case err != nil && wantErr != nil:
		return outcome{broken: true}
	case err != nil:
		return outcome{kind: "failed", detail: "engine: " + err.Error()}
	case wantErr != nil:
		return outcome{kind: "failed", detail: wantErr.Error()}
	}
	columns := answer(got).Columns
	d := Difference(want, columns, got.Rows)
	if d != "" {
		return outcome{kind: "differs", detail: d + "\nthe engine's answer:\n" + Table(columns, got.Rows), want: want}
	}
	return outcome{rows: len(got.Rows)}
}

// generally answers a plan without the short cuts that the first answer may
// have taken, and says how the answers differ.
func generally(plan *query.Plan, snap engine.Snapshot, first *engine.Result, firstErr error) string {
	limits := engine.RunOptions{Workers: 1, General: true}
	if len(plan.Text)%2 == 0 {
		limits.Passes = passBytes
	}
	res, err := engine.Run(context.Background(), plan, snap, limits)
	if err != nil || firstErr != nil {
		if (err == nil) != (firstErr == nil) {
			return fmt.Sprintf("%v, with them: %v", err, firstErr)
		}
		return ""
	}
	if d := Difference(answer(first), answer(res).Columns, res.Rows); d != "" {
		return d
	}
	if first.Meta.Open != res.Meta.Open || !reflect.DeepEqual(first.Meta.Cut, res.Meta.Cut) || !reflect.DeepEqual(first.Chart, res.Chart) {
		return fmt.Sprintf("open %d, with them %d; or what is cut, or the chart", res.Meta.Open, first.Meta.Open)
	}
	return ""
}

// inMemory makes a snapshot of a world, dealt out to some tiles.
func inMemory(w *World, tiles int) (engine.Snapshot, error) {
	return enginetest.New(w.Events, enginetest.Options{Links: w.Links, Definitions: w.Definitions, Tiles: tiles, EndOfData: w.EndOfData, HasEnd: true})
}

// coverage counts what the cases had.
type coverage struct {
	mu                      sync.Mutex
	cases, withRows, broken int
	failures                int
	tied, repeated, linked  int // worlds
	worlds                  int
	pairs                   map[Pair]int
	verbs                   map[string]int
	byKind                  map[string]int
	took                    map[string]int // cases by short cut
}

func (cov *coverage) world(w *World) {
	cov.mu.Lock()
	defer cov.mu.Unlock()
	cov.worlds++
	times, names := map[string]bool{}, map[string]int{}
	tied, repeated := false, false
	for _, e := range w.Events {
		at := e.Customer + e.Time.String()
		tied = tied || times[at]
		times[at] = true
		names[e.Customer+"\x00"+e.Name]++
		repeated = repeated || names[e.Customer+"\x00"+e.Name] > 2
	}
	cov.tied += btoi(tied)
	cov.repeated += btoi(repeated)
	cov.linked += btoi(len(w.Links) > 0)
}

func (cov *coverage) add(s *Statement, o outcome) {
	cov.mu.Lock()
	defer cov.mu.Unlock()
	cov.cases++
	cov.verbs[s.Verb]++
	cov.withRows += btoi(o.rows > 0)
	cov.broken += btoi(o.broken)
	cov.byKind[o.kind]++
	for shortCut := range o.took {
		cov.took[shortCut]++
	}
	for _, p := range s.PairsOf() {
		cov.pairs[p]++
	}
}

// rarest is the pair of clauses that came least often.
func (cov *coverage) rarest() (Pair, int) {
	p := slices.MinFunc(pairs, func(a, b Pair) int { return cov.pairs[a] - cov.pairs[b] })
	return p, cov.pairs[p]
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestEngineAgainstReference compares random statements over random journeys.
// WEND_SEED and WEND_CASES choose others than the usual ones.
func TestEngineAgainstReference(t *testing.T) {
	seed := fromEnvironment(t, "WEND_SEED", 1)
	usual := uint64(casesDefault)
	if testing.Short() {
		usual /= 10
	}
	cases := int(fromEnvironment(t, "WEND_CASES", usual))
	failuresMax := int(fromEnvironment(t, "WEND_FAILURES", 3))
	cov := &coverage{pairs: map[Pair]int{}, verbs: map[string]int{}, byKind: map[string]int{}, took: map[string]int{}}
	worlds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range worlds {
				compareWorld(t, cov, seed, i, failuresMax)
			}
		})
	}
	for i := range uint64((cases + perWorld - 1) / perWorld) {
		cov.mu.Lock()
		stop := cov.failures >= failuresMax
		cov.mu.Unlock()
		if stop {
			break
		}
		worlds <- i
	}
	close(worlds)
	wg.Wait()

	pair, least := cov.rarest()
	t.Logf("seed %d: %d cases, %d with rows (%d %%), %d refused by both; %d worlds: %d with equal times, %d with repeated events, %d linked; rarest pair of clauses %v: %d times; %v",
		seed, cov.cases, cov.withRows, 100*cov.withRows/max(1, cov.cases), cov.broken, cov.worlds, cov.tied, cov.repeated, cov.linked, pair, least, cov.verbs)
	t.Logf("all of them once more without short cuts; cases with tiles that took one: %v", shortCuts(cov.took))
	trust.Report(t, "P16", "random cases", cov.cases, "non-empty", fmt.Sprintf("%d%%", 100*cov.withRows/max(1, cov.cases)), "worlds", cov.worlds,
		"rarest pair of clauses", least, "failed", t.Failed(), "seed", seed)
	if t.Failed() || cov.cases < casesDefault {
		return
	}
	for _, shortCut := range []string{"bit masks", "bit masks, equal times put in order", "dense counters", "dense credits", "flat pairs", "packed paths", "sampled medians"} {
		if cov.took[shortCut] < 50 {
			t.Errorf("the short cut %q was taken by %d cases only", shortCut, cov.took[shortCut])
		}
	}
	if cov.withRows*10 < cov.cases*3 || least < 50 || cov.tied*5 < cov.worlds || cov.repeated*5 < cov.worlds || cov.linked*10 < cov.worlds {
		t.Errorf("the cases cover too little")
	}
}

// shortCuts are the counts of the cases that took one.
func shortCuts(took map[string]int) map[string]int {
	named := maps.Clone(took)
	delete(named, "")
	return named
}

func compareWorld(t *testing.T, cov *coverage, seed, index uint64, failuresMax int) {
	w := NewWorld(seed, index)
	snap, close, err := snapshotOf(w, index)
	if err != nil {
		t.Errorf("seed %d, world %d: %v", seed, index, err)
		return
	}
	defer close()
	cov.world(w)
	for k := range uint64(perWorld) {
		s := statementOf(w, seed, index, k)
		if only := os.Getenv("WEND_VERB"); only != "" && !strings.Contains(only, s.Verb) {
			continue
		}
		o := compare(Case{w, s}, snap, 1+int(k%2))
		cov.add(s, o)
		if o.kind == "" {
			continue
		}
		cov.mu.Lock()
		cov.failures++
		report := cov.failures <= failuresMax
		cov.mu.Unlock()
		if report {
			small, last := shrinkCase(Case{w, s}, o, index)
			t.Errorf("seed %d, world %d, statement %d: engine %s: %s\n%s", seed, index, k, last.kind, last.detail, transcriptOf(small, last.want))
		}
	}
}

// TestCrowd compares statements over more customers than one block holds.
func TestCrowd(t *testing.T) {
	customers := 5000
	if testing.Short() {
		customers = 2500 // still more than one block
	}
	w := NewCrowd(fromEnvironment(t, "WEND_SEED", 1), customers)
	for _, layout := range []uint64{6, 3} { // in memory, in a store
		snap, close, err := snapshotOf(w, layout)
		if err != nil {
			t.Fatal(err)
		}
		for k := range uint64(15) {
			c := Case{w, NewStatement(w, 21, k, Pair{})}
			if o := compare(c, snap, 0); o.kind != "" {
				t.Errorf("layout %d, %s: %s: %.2000s", layout, c.Statement, o.kind, o.detail)
			}
		}
		close()
	}
}

// TestEmptyStore compares statements where there is nothing to answer them.
func TestEmptyStore(t *testing.T) {
	w := &World{}
	for _, text := range []string{"measure events, customers / events as x, sum(nothing) as s lenient", "measure events every day", "measure sessions by channel",
		"funnel a -> b lenient", "funnel a -> b by channel lenient", "funnel a -> b every month within 1d, 2d lenient", "times a -> b lenient", "dropoff a -> b lenient",
		"paths", "paths from a lenient", "transitions with times", "customers",
		"why 'x' in a -> b lenient", "attribute a to channel, event using first, markov, markov(2), shapley lenient", "retention a -> b every day for 2 lenient",
		"flow", "flow to a every day lenient", "switches", "match a+ => b lenient", "match a every day lenient", "moments", "affinity of channel in a lenient",
		"drivers of a -> b by channel, events lenient", "next after a lenient", "next for 'x'"} {
		snap, close, err := snapshotOf(w, 1)
		if err != nil {
			t.Fatal(err)
		}
		c := Case{w, &Statement{Verb: text}}
		if o := compare(c, snap, 1); o.kind != "" {
			t.Errorf("%s: %s: %s", text, o.kind, o.detail)
		}
		close()
	}
}

// snapshotOf makes every second world's snapshot in memory, dealt out to some
// tiles, and the others' by a store.
func snapshotOf(w *World, layout uint64) (snap engine.Snapshot, close func(), err error) {
	if layout%2 == 0 {
		snap, err = inMemory(w, 1+int(layout/2%4))
		return snap, func() {}, err
	}
	s, err := stored(w, layout)
	return s, func() { s.close() }, err
}

// statementOf makes statement k of a world. Two of three have a pair of clauses
// chosen in turn, so that all pairs come often enough.
func statementOf(w *World, seed, index, k uint64) *Statement {
	number := index*perWorld + k
	if number%3 == 0 {
		return NewStatement(w, seed, number, Pair{})
	}
	return NewStatement(w, seed, number, pairs[(number-number/3)%uint64(len(pairs))])
}

var pairs = Pairs()

// shrinkCase shrinks a failing case to a small one that fails in the same way.
func shrinkCase(c Case, o outcome, layout uint64) (Case, outcome) {
	last := o
	small := Shrink(c, func(c Case) bool {
		snap, close, err := snapshotOf(c.World, layout)
		if err != nil {
			return false
		}
		defer close()
		now := compare(c, snap, 1)
		if now.kind != o.kind || o.kind != "differs" && message(now.detail) != message(o.detail) {
			return false
		}
		last = now
		return true
	})
	return small, last
}

// message is an error without its position.
func message(detail string) string { return strings.TrimLeft(detail, "0123456789: ") }

// TestInvariantsOfEngine holds the engine to what must be true of any answers.
func TestInvariantsOfEngine(t *testing.T) { holdInvariants(t, byEngine) }

// byEngine answers a statement by the engine over a snapshot in memory.
func byEngine(w *World, text string) (*reference.Answer, error) {
	snap, err := inMemory(w, 2)
	if err != nil {
		return nil, err
	}
	return answerOf(snap, text, engine.RunOptions{})
}

func answerOf(snap engine.Snapshot, text string, opt engine.RunOptions) (*reference.Answer, error) {
	st, err := query.Parse(text)
	if err != nil {
		return nil, err
	}
	end, ok := snap.EndOfData()
	plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.Schema(), Definitions: snap.Definitions(), EndOfData: end, Empty: !ok})
	if err != nil {
		return nil, err
	}
	res, err := engine.Run(context.Background(), plan, snap, opt)
	if err != nil {
		return nil, err
	}
	return answer(res), nil
}

// answer is a result in the form in which answers are compared.
func answer(res *engine.Result) *reference.Answer {
	a := &reference.Answer{Rows: res.Rows}
	for _, c := range res.Columns {
		a.Columns = append(a.Columns, c.Name)
	}
	return a
}
