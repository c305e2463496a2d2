package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// mapOperator answers `map`: the journey map. For each stage, or each stage on
// each channel, who was there, who went on to the next, for whom the journey
// ended, and how content they were.
type mapOperator struct {
	r        *run
	stages   []stageMatcher
	goal     *matcher // nil: none
	score    score
	maturity maturity
	channels bool
	top      int64
	slots    []int32 // by channel code: its place among the map's channels; nil without channels
	width    int     // how many places there are
}

func newMap(r *run) (operator, error) {
	o := &mapOperator{r: r, score: r.score(), maturity: r.maturity(), width: 1}
	var err error
	if o.stages, err = r.stages(r.plan.Stages); err != nil {
		return nil, err
	}
	if r.plan.Goal != nil {
		if o.goal, err = r.matcher(r.plan.Goal); err != nil {
			return nil, err
		}
	}
	if len(r.plan.By) > 0 { // only channel can stand there
		r.needChannel()
		o.channels, o.top = true, r.plan.By[0].Top
		o.width = max(1, len(r.schema.Channels))
		for code := range o.width {
			o.slots = append(o.slots, int32(code))
		}
	}
	r.reach(0, 0)
	return o, nil
}

func (o *mapOperator) explain(r *run) PlanNode {
	var names []string
	for _, s := range o.stages {
		names = append(names, s.name)
	}
	return PlanNode{Operator: "map", Detail: fmt.Sprintf("stages %s; a bitmap each, and the first event of each customer in it; window %s", strings.Join(names, ", "), o.maturity.window)}
}

// mapCell is what is known of one stage, or of one on one channel.
type mapCell struct {
	customers, events int64
	next              []event.Duration // from the first event here to the first of the next stage
	score             scoreSum
	over, broken      int64 // customers whose journey is over, and ended here
	last              int64 // number of the customer met last
}

const mapCellBytes = 160

// mapWorker fills one worker's cells.
type mapWorker struct {
	*mapOperator
	cells     []mapCell // by stage, then slot
	rows      []tile.Bitmap
	any, goal tile.Bitmap
	scores    *tile.Column
	customers int64 // with an event in any stage
	open      int64
	memory    ration
}

func (o *mapOperator) worker() (*mapWorker, error) {
	w := &mapWorker{mapOperator: o, rows: make([]tile.Bitmap, len(o.stages)), memory: ration{budget: o.r.memory}}
	n := len(o.stages) * o.width
	if err := w.memory.take(int64(n) * mapCellBytes); err != nil {
		return nil, err
	}
	w.cells = make([]mapCell, n)
	return w, nil
}

func (w *mapWorker) visit(v *view) error {
	w.any = v.bitmap(v.Rows)
	for s := range w.stages {
		w.rows[s] = v.bitmap(v.Rows)
		if err := w.stages[s].match.rows(v, w.rows[s]); err != nil {
			return err
		}
		w.any.Or(w.rows[s])
	}
	if w.mapOperator.goal != nil {
		w.goal = v.bitmap(v.Rows)
		if err := w.mapOperator.goal.rows(v, w.goal); err != nil {
			return err
		}
	}
	w.scores = w.score.of(v)
	for c := range v.Customers() {
		if !v.member(c) {
			continue
		}
		lo, hi := v.selected(c)
		if err := w.customer(v, lo, hi); err != nil {
			return err
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

// customer adds the journey of rows [lo, hi).
func (w *mapWorker) customer(v *view, lo, hi int) error {
	last := w.any.Last(lo, hi)
	if lo == hi || last < lo {
		return nil
	}
	w.customers++
	over := w.maturity.over(v.Time.At(last), v.Time.At(v.last(lo, hi)))
	if !over {
		w.open++
	}
	broken := over && !w.reachesGoal(v, last, hi)
	for s, rows := range w.rows {
		cells := w.cells[s*w.width : (s+1)*w.width]
		for row := rows.Next(lo, hi); row < hi; row = rows.Next(row+1, hi) {
			if err := v.tick(1); err != nil {
				return err
			}
			c := &cells[w.slot(v, row)]
			c.events++
			if w.scores != nil && w.scores.Present.Get(row) {
				c.score.add(w.scores, row, false)
				c.score.n++
			}
			if row == last && broken {
				c.broken++
			}
			if c.last == w.customers {
				continue
			}
			c.last = w.customers
			c.customers++
			if over || seeded.On("open_breaks") {
				c.over++
			}
			if s == len(w.rows)-1 {
				continue
			}
			if next := w.rows[s+1].Next(row+1, hi); next < hi {
				if d := v.Time.At(next).Sub(v.Time.At(row)); d <= w.maturity.window {
					c.next = append(c.next, d)
					if err := w.memory.take(8); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// reachesGoal reports whether the event at row fulfils the goal, or one in the
// window after it does.
func (w *mapWorker) reachesGoal(v *view, row, hi int) bool {
	if w.mapOperator.goal == nil {
		return false
	}
	g := w.goal.Next(row, hi)
	return g < hi && v.Time.At(g).Sub(v.Time.At(row)) <= w.maturity.window
}

func (w *mapWorker) slot(v *view, row int) int32 {
	if w.slots == nil {
		return 0
	}
	return w.slots[v.channelAt(row)]
}

func (o *mapOperator) run(r *run) (*Result, error) {
	cells, all, open, err := o.fill(r)
	if err != nil {
		return nil, err
	}
	shown := []mapChannel{{}}
	var cut *Cut
	if o.channels {
		shown = o.rank(cells)
		if kept := int(o.top); kept > 0 && kept < len(shown) {
			cut = o.keep(shown, kept)
			// A customer on two of the other channels counts there once.
			r.stats.again()
			if cells, all, open, err = o.fill(r); err != nil {
				return nil, err
			}
			shown = append(shown[:kept:kept], mapChannel{slot: int32(o.width - 1), name: otherLabel})
			for i := range kept {
				shown[i].slot = int32(i)
			}
		}
	}
	res := &Result{Columns: []Column{{"stage", String}, {"channel", String}, {"customers", Integer}, {"events", Integer}, {"reached", Share},
		{"to_next_stage", Share}, {"median_time_to_next", Duration}, {"score_avg", Number}, {"score_n", Integer}, {"breaks", Share}}, weight: "events"}
	for s := range o.stages {
		for _, channel := range shown {
			c := &cells[s*o.width+int(channel.slot)]
			row := []Cell{o.stages[s].name, channel.name, c.customers, c.events, ratio(c.customers, all), nil, nil, c.score.mean(), c.score.n, nil}
			if s < len(o.stages)-1 {
				row[5], row[6], row[9] = ratio(int64(len(c.next)), c.customers), medianOf(c.next), ratio(c.broken, c.over)
			}
			if err := r.add(res, row); err != nil {
				return nil, err
			}
		}
	}
	res.Meta.Unit = "customers"
	res.Meta.Denominator = "reached: customers with an event in a named stage; to_next_stage: customers of the row; breaks: those of them whose last event in a named stage is older than the window"
	res.Meta.Open = open
	res.Meta.Cut = cut
	return res, nil
}

// fill scans once and adds up what the workers found.
func (o *mapOperator) fill(r *run) (cells []mapCell, customers, open int64, err error) {
	ws, err := scan(r, o.worker)
	if err != nil {
		return nil, 0, 0, err
	}
	cells = make([]mapCell, len(o.stages)*o.width)
	for _, w := range ws {
		customers += w.customers
		open += w.open
		for i := range cells {
			to, from := &cells[i], &w.cells[i]
			to.customers += from.customers
			to.events += from.events
			to.over += from.over
			to.broken += from.broken
			to.next = append(to.next, from.next...)
			to.score.merge(&from.score)
		}
	}
	return cells, customers, open, nil
}

// mapChannel is a column of the map.
type mapChannel struct {
	slot   int32
	name   Cell // null: events without a channel
	events int64
}

// rank lists the channels that have events in any stage: those with the most
// first, equal ones by name, none last.
func (o *mapOperator) rank(cells []mapCell) []mapChannel {
	var list []mapChannel
	for code := range o.width {
		c := mapChannel{slot: int32(code)}
		if code > 0 {
			c.name = o.r.schema.Channels[code].Text
		}
		for s := range o.stages {
			c.events += cells[s*o.width+code].events
		}
		if c.events > 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b mapChannel) int {
		if n := cmp.Compare(b.events, a.events); n != 0 {
			return n
		}
		if a.name == nil || b.name == nil {
			return truth(a.name == nil) - truth(b.name == nil)
		}
		return compareCells(a.name, b.name)
	})
	return list
}

// keep gives the first channels places of their own and all others one.
func (o *mapOperator) keep(list []mapChannel, kept int) *Cut {
	cut := &Cut{Kept: int64(kept), Of: int64(len(list))}
	for code := range o.slots {
		o.slots[code] = int32(kept)
	}
	var events, all int64
	for i, c := range list {
		all += c.events
		if i < kept {
			events += c.events
			o.slots[c.slot] = int32(i)
		}
	}
	o.width = kept + 1
	cut.Share = share(events, all)
	return cut
}
