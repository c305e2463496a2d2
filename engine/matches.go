package engine

import (
	"fmt"

	"wend/event"
	"wend/tile"
)

// matchOperator answers `match`: how often events follow each other as a
// regular expression says, and how long that takes. A match is anchored in its
// first event; `during` selects among the matches of whole journeys.
type matchOperator struct {
	r        *run
	regex    *regex
	grouping *grouping
}

func newMatch(r *run) (operator, error) {
	o := &matchOperator{r: r}
	var err error
	if o.regex, err = r.regex(r.plan.Regex); err != nil {
		return nil, err
	}
	o.grouping, err = r.grouping()
	return o, err
}

func (o *matchOperator) inPasses() bool { return true }

func (o *matchOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "match", Detail: fmt.Sprintf("%s; %d states, each with the match that began first", r.plan.Regex.Text, len(o.regex.nodes))}
}

// matchGroup is what one group adds up.
type matchGroup struct {
	customers, matches int64
	last               int64 // number of the customer counted last
	elapsed            durations
}

const matchGroupBytes = 96

// matchWorker finds one worker's matches.
type matchWorker struct {
	*matchOperator
	machine  *regexMachine
	groups   *grouper
	found    []matchGroup // by group; not filled while only counting
	counting bool
	fulfils  []tile.Bitmap // by matcher
	begins   tile.Bitmap
	customer int64 // number of the current customer, over all tiles of this worker
	place    place
	noter    *noter
	memory   ration
}

func (o *matchOperator) worker(counting bool) *matchWorker {
	w := &matchWorker{matchOperator: o, machine: newRegexMachine(o.regex), groups: o.grouping.worker(), counting: counting,
		fulfils: make([]tile.Bitmap, len(o.regex.matchers)), memory: ration{budget: o.r.memory}}
	w.noter = o.r.noter(&w.memory)
	return w
}

func (w *matchWorker) visit(v *view) error {
	for k, m := range w.regex.matchers {
		w.fulfils[k] = v.bitmap(v.Rows)
		if err := m.rows(v, w.fulfils[k]); err != nil {
			return err
		}
	}
	w.begins = v.bitmap(v.Rows)
	for _, k := range w.regex.begins {
		w.begins.Or(w.fulfils[k])
	}
	before := -1
	defer func() {
		w.r.stats.steps.Add(w.machine.steps)
		w.machine.steps = 0
	}()
	return v.units(func(u unit) error {
		if u.customer != before {
			before = u.customer
			w.customer++
		}
		return w.unit(v, u)
	})
}

// unit finds the matches of one journey, one after another. While none is under
// way, events that cannot begin one are passed over.
func (w *matchWorker) unit(v *view, u unit) error {
	m := w.machine
	m.reset()
	var before event.Time
	for row := w.begins.Next(u.lo, u.hi); row < u.hi; {
		t := v.Time.At(row)
		if start, ok := m.take(row, t.Sub(before), w.fulfils); ok {
			if err := w.add(v, u, start, row); err != nil {
				return err
			}
		}
		if err := v.tick(1 + len(m.ready)/8); err != nil {
			return err
		}
		if before = t; len(m.after) == 0 {
			row = w.begins.Next(row+1, u.hi)
		} else {
			row = v.next(row+1, u.hi)
		}
	}
	return nil
}

// add counts the match of rows first to last.
func (w *matchWorker) add(v *view, u unit, first, last int) error {
	t := v.Time.At(first)
	if !w.r.inRange(t) {
		return nil
	}
	id := 0
	if w.grouping.whole() {
		w.groups.all()
	} else {
		w.place.row, w.place.customer, w.place.last = first, u.customer, last
		var err error
		if id, err = w.groups.group(v, &w.place, 0, t); err != nil || w.counting {
			return err
		}
	}
	for id >= len(w.found) {
		if err := w.memory.take(matchGroupBytes); err != nil {
			return err
		}
		elapsed, err := w.noter.durationsOf(&w.groups.groups[len(w.found)])
		if err != nil {
			return err
		}
		w.found = append(w.found, matchGroup{elapsed: elapsed})
	}
	g := &w.found[id]
	if g.matches++; g.last != w.customer {
		g.last = w.customer
		g.customers++
	}
	g.elapsed.add(v.Time.At(last).Sub(t))
	if w.noter != nil {
		return nil
	}
	return w.memory.take(durationBytes)
}

func (o *matchOperator) run(r *run) (*Result, error) {
	groupsOf := func(w *matchWorker) *grouper { return w.groups }
	if o.grouping.hasTop() {
		// A customer with matches under two of the rest counts once in (other).
		ws, err := scan(r, func() (*matchWorker, error) { return o.worker(true), nil })
		if err != nil {
			return nil, err
		}
		m, err := o.grouping.merge(groupersOf(ws, groupsOf))
		if err != nil {
			return nil, err
		}
		o.grouping.keep(m)
		r.stats.again()
	}
	ws, err := scan(r, func() (*matchWorker, error) { return o.worker(false), nil })
	if err != nil {
		return nil, err
	}
	m, err := o.grouping.merge(groupersOf(ws, groupsOf))
	if err != nil {
		return nil, err
	}
	total := make([]matchGroup, m.len())
	for i, w := range ws {
		for id := range w.found {
			at := m.of(i, id)
			total[at].customers += w.found[id].customers
			total[at].matches += w.found[id].matches
			total[at].elapsed.join(&w.found[id].elapsed)
		}
	}
	res := &Result{Columns: append(o.grouping.columns(), Column{"customers", Integer}, Column{"matches", Integer}, Column{"median_duration", Duration}), weight: "matches"}
	for i := range total {
		median, err := total[i].elapsed.median(r)
		if err != nil {
			return nil, err
		}
		if err := r.add(res, append(m.cells(i), total[i].customers, total[i].matches, median)); err != nil {
			return nil, err
		}
	}
	res.Meta.Unit = "customers"
	res.Meta.Denominator = "median_duration: over the matches"
	res.Meta.Cut = m.cut
	return res, nil
}
