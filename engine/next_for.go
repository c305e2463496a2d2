package engine

import (
	"fmt"
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
)

// nextForOperator answers `next for`: what customers whose last labels were
// those of one customer did next. The longest of its suffixes counts that
// occurs often enough.
type nextForOperator struct {
	r      *run
	labels *labeling
}

const (
	suffixMax  = 5  // labels of the customer that are looked at
	supportMin = 30 // occurrences with a successor that a suffix needs
)

func newNextFor(r *run) (operator, error) {
	l, err := r.labeling()
	if err != nil {
		return nil, err
	}
	r.reach(0, 0)
	return &nextForOperator{r: r, labels: l}, nil
}

func (o *nextForOperator) explain(r *run) PlanNode {
	detail := fmt.Sprintf("the longest of the last %d labels of %q that occurs %d times, in one scan", suffixMax, r.plan.Customer, supportMin)
	if r.plan.TestLast > 0 {
		detail = fmt.Sprintf("suffixes of 1 to %d labels that occur %d times; tested on the last %g %% of the events", suffixMax, supportMin, r.plan.TestLast*100)
	}
	return PlanNode{Operator: "next for", Detail: detail}
}

func (o *nextForOperator) run(r *run) (*Result, error) {
	if r.plan.TestLast > 0 {
		return o.test(r)
	}
	if r.opt.learned != nil {
		m, err := o.build(r, maxInstant, int(r.plan.Top))
		if err != nil {
			return nil, err
		}
		r.opt.learned(m)
		return o.empty(), nil
	}
	own, err := o.suffix(r)
	if err != nil {
		return nil, err
	}
	if m := r.opt.model; m != nil {
		if res, ok := o.fromModel(m, own); ok {
			if r.opt.aged > 0 {
				r.warn(modelAge(r.opt.aged))
			}
			return res, nil
		}
	}
	ws, err := scan(r, func() (*suffixWorker, error) {
		return &suffixWorker{labels: o.labels.worker(), own: own, memory: ration{budget: r.memory}}, nil
	})
	if err != nil {
		return nil, err
	}
	n, support := len(own), int64(0)
	largest := int64(0)
	for ; n > 0; n-- {
		support = 0
		for _, w := range ws {
			support += w.support[n-1]
		}
		if largest = max(largest, support); support >= supportMin {
			break
		}
	}
	if n == 0 {
		return nil, o.noSupport(own, largest)
	}
	return o.result(r, ws, own[len(own)-n:])
}

// noSupport is the error where too few have done the same.
func (o *nextForOperator) noSupport(own []uint32, largest int64) error {
	message := fmt.Sprintf("%d occurrences with a successor are needed to tell what comes next; of what customer %q did last there are at most %d", supportMin, o.r.plan.Customer, largest)
	if len(own) == 0 {
		message = fmt.Sprintf("%d occurrences with a successor are needed to tell what comes next; customer %q has no events here, so there are 0", supportMin, o.r.plan.Customer)
	}
	return &query.Error{Code: "no_support", Message: message, Span: query.Span{Line: 1, Column: 1, Length: len("next")}, Text: o.r.plan.Text,
		Hint: "label by something that has fewer values, or leave less out"}
}

// suffix returns the last labels of the customer's last unit.
func (o *nextForOperator) suffix(r *run) ([]uint32, error) {
	index, c, _, ok, err := r.snap.Locate(r.ctx, r.plan.Customer)
	if err != nil {
		return nil, fmt.Errorf("find customer %q: %w", r.plan.Customer, err)
	}
	if !ok {
		return nil, nil
	}
	// The whole tile: one that leaves out times may leave out customers too, and
	// then c is not the place of this one.
	v := &view{run: r, ctx: r.ctx, turn: r.turn, index: index}
	if v.Tile, err = v.read(index); err != nil {
		return nil, err
	}
	if err := v.prepare(); err != nil {
		return nil, err
	}
	var own []uint32
	labels := o.labels.worker()
	err = v.units(func(u unit) error {
		if u.customer != c {
			return nil
		}
		u = v.selectedOf(u)
		var codes []uint32
		for row := v.last(u.lo, u.hi); row >= u.lo && len(codes) < suffixMax; row = v.last(u.lo, row) {
			code, err := labels.code(v, c, row)
			if err != nil {
				return err
			}
			codes = append(codes, code)
		}
		if seeded.On("first_session_asked") && own != nil {
			return nil
		}
		if len(codes) > 0 {
			slices.Reverse(codes)
			own = codes
		}
		return nil
	})
	return own, err
}

// suffixWorker counts what follows the customer's suffixes in all units.
type suffixWorker struct {
	labels  *labeler
	own     []uint32
	support [suffixMax]int64                   // by length-1
	next    [suffixMax]map[uint32]*dropoffNext // by length-1
	least   int                                // shorter suffixes need not be followed any more
	recent  [suffixMax]uint32                  // the labels before the event at hand, the newest first
	memory  ration
}

func (w *suffixWorker) visit(v *view) error {
	if len(w.own) == 0 {
		return nil
	}
	if err := w.labels.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		known, before := 0, 0
		for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			length := 0
			for length < min(known, len(w.own)) && w.recent[length] == w.own[len(w.own)-1-length] {
				length++
			}
			if length > w.least {
				if err := w.follow(length, code, v.Time.At(row).Sub(v.Time.At(before))); err != nil {
					return err
				}
			}
			copy(w.recent[1:], w.recent[:])
			w.recent[0] = code
			known = min(known+1, suffixMax)
			before = row
		}
		return nil
	})
}

// follow counts an event after the last length labels of the customer. Once a
// suffix has the support it needs, shorter ones will not be asked for.
func (w *suffixWorker) follow(length int, label uint32, gap event.Duration) error {
	for n := w.least; n < length; n++ {
		w.support[n]++
		if w.next[n] == nil {
			w.next[n] = map[uint32]*dropoffNext{}
		}
		next := w.next[n][label]
		if next == nil {
			next = &dropoffNext{}
			w.next[n][label] = next
			if err := w.memory.take(dropoffBytes); err != nil {
				return err
			}
		}
		next.count++
		next.gaps.add(gap)
		if err := w.memory.take(8); err != nil {
			return err
		}
	}
	for n := length - 1; n > w.least; n-- {
		if w.support[n] >= supportMin {
			w.least = n
		}
	}
	return nil
}

func (o *nextForOperator) result(r *run, ws []*suffixWorker, suffix []uint32) (*Result, error) {
	index := map[uint32]int{}
	var labels []nextLabel
	var support int64
	for _, w := range ws {
		for code, n := range w.next[len(suffix)-1] {
			at, ok := index[code]
			if !ok {
				at = len(labels)
				index[code] = at
				labels = append(labels, nextLabel{label: o.labels.text(code)})
			}
			labels[at].add(n.count, &n.gaps)
			support += n.count
		}
	}
	slices.SortFunc(labels, compareNext)
	var texts []string
	for _, code := range suffix {
		texts = append(texts, o.labels.text(code))
	}
	res := o.empty()
	cut := nextCut{}
	for _, n := range cut.top(labels, int(r.plan.Top)) {
		median, err := n.gaps.median(r)
		if err != nil {
			return nil, err
		}
		if err := r.add(res, []Cell{n.label, ratio(n.count, support), n.count, median, texts}); err != nil {
			return nil, err
		}
	}
	res.Meta.Cut = cut.cut()
	return res, nil
}

// empty is the answer without rows.
func (o *nextForOperator) empty() *Result {
	res := &Result{Columns: []Column{{"next", String}, {"probability", Share}, {"support", Integer}, {"median_time", Duration}, {"suffix", List}}, weight: "support"}
	res.Meta.Unit = "events"
	res.Meta.Denominator = "events that follow the suffix, in all units"
	return res
}

// root is the empty suffix.
const root = int32(-1)

// guessesMost is how many labels a prediction may name in a test.
const guessesMost = 3

// testWorker holds what came late against what a model predicts.
type testWorker struct {
	model   *nextModel
	labels  *labeler
	split   event.Time
	guesses []uint32 // always guessing the most frequent
	own     quality
	always  quality
	recent  [suffixMax]uint32 // the labels before the event at hand, the newest first
}

func (w *testWorker) visit(v *view) error {
	if err := w.labels.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		known := 0
		for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			if known > 0 && v.Time.At(row) > w.split {
				w.try(w.recent[:known], code)
			}
			copy(w.recent[1:], w.recent[:])
			w.recent[0] = code
			known = min(known+1, suffixMax)
		}
		return nil
	})
}

// try tests the prediction for a label that came after others.
func (w *testWorker) try(recent []uint32, label uint32) {
	w.own.tested++
	if at, _ := w.model.longest(recent); at != root {
		rank := slices.IndexFunc(w.model.after[at].rows, func(n nextRow) bool { return n.label == int32(label) })
		if rank >= 0 {
			w.own.hit(rank, 1)
		}
	}
	w.always.tested++
	if rank := slices.Index(w.guesses, label); rank >= 0 {
		w.always.hit(rank, 1)
	}
}

// test learns from what was known until a time and tests on what came after.
func (o *nextForOperator) test(r *run) (*Result, error) {
	split, followers, err := r.trainingEnd(o.labels)
	if err != nil {
		return nil, err
	}
	var guesses []uint32
	for _, n := range followers[:min(guessesMost, len(followers))] {
		code, err := o.labels.labels.code(event.String(n.label))
		if err != nil {
			return nil, err
		}
		guesses = append(guesses, code)
	}
	learned := split
	if seeded.On("tested_on_training") {
		learned = maxInstant
	}
	m, err := o.build(r, learned, guessesMost)
	if err != nil {
		return nil, err
	}
	ws, err := scan(r, func() (*testWorker, error) {
		return &testWorker{model: m, labels: o.labels.worker(), split: split, guesses: guesses}, nil
	})
	if err != nil {
		return nil, err
	}
	var own, always quality
	for _, w := range ws {
		own.merge(w.own)
		always.merge(w.always)
	}
	own.trained, always.trained = totalCount(followers), totalCount(followers)
	res := &Result{Columns: slices.Clone(qualityColumns)}
	res.Rows = append(res.Rows, own.row(nil, "next for"), always.row(nil, alwaysFrequent))
	res.Meta.Unit = "events"
	res.Meta.Denominator = "trained until " + split.String() + ", tested on the events after it that follow another; hit_1 and hit_3: share of the tested"
	return res, nil
}
