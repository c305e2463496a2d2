package engine

import (
	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// regex is the automaton of `match`: nodes that take an event, and nodes
// between them that lead on without one. It is built after Thompson ("Regular
// expression search algorithm", 1968), from the end to the beginning, so that
// every node knows what follows it. It is shared by all workers.
type regex struct {
	nodes    []regexNode
	entry    int32
	final    []bool // by node: the match may end here
	matchers []*matcher
	byText   map[string]int
	begins   []int // matchers that a match can begin with
}

// regexNode is one node. What is not used is 0; -1 leads nowhere.
type regexNode struct {
	kind        regexKind
	matcher     int // takes
	next, other int32
	bound       event.Duration // arrow
}

type regexKind uint8

const (
	regexEnd   regexKind = iota
	regexTakes           // an event that fulfils the matcher
	regexSplit           // to next or to other
	regexArrow           // to next, if the events on both sides are no farther apart than the bound
)

// statesMax is how many nodes an automaton may have. Each event costs at most
// as many steps, so that even `(a* => a*){1000}` over a long journey ends.
const statesMax = 10_000

func (r *run) regex(plan *query.RegexPlan) (*regex, error) {
	x := &regex{byText: map[string]int{}}
	end, err := x.add(regexNode{kind: regexEnd, next: -1, other: -1})
	if err != nil {
		return nil, err
	}
	if x.entry, err = x.alternatives(r, plan, end); err != nil {
		return nil, err
	}
	x.finish()
	return x, nil
}

func (x *regex) add(n regexNode) (int32, error) {
	if len(x.nodes) >= statesMax {
		return 0, &LimitError{Limit: "states", Value: statesMax, Reached: int64(len(x.nodes)) + 1,
			Hint: "repeat fewer times: {m,n} is written out n times"}
	}
	x.nodes = append(x.nodes, n)
	return int32(len(x.nodes) - 1), nil
}

// alternatives builds the branches of a group in front of next and returns
// where they begin.
func (x *regex) alternatives(r *run, plan *query.RegexPlan, next int32) (int32, error) {
	first := int32(-1)
	for i := len(plan.Branches) - 1; i >= 0; i-- {
		begin, err := x.sequence(r, plan.Branches[i].Items, next)
		if err != nil {
			return 0, err
		}
		if first >= 0 {
			if begin, err = x.add(regexNode{kind: regexSplit, next: begin, other: first}); err != nil {
				return 0, err
			}
		}
		first = begin
	}
	return first, nil
}

func (x *regex) sequence(r *run, items []query.RegexItemPlan, next int32) (int32, error) {
	for i := len(items) - 1; i >= 0; i-- {
		var err error
		if next, err = x.repeated(r, &items[i], next); err != nil {
			return 0, err
		}
		if i > 0 && items[i].Bound >= 0 {
			if next, err = x.add(regexNode{kind: regexArrow, next: next, other: -1, bound: items[i].Bound}); err != nil {
				return 0, err
			}
		}
	}
	return next, nil
}

// repeated writes an item out as often as it must occur, and then as often as
// it may: each further time can be passed over, or the last goes round.
func (x *regex) repeated(r *run, item *query.RegexItemPlan, next int32) (int32, error) {
	begin := next
	must := item.Min
	if item.Max < 0 {
		round, err := x.add(regexNode{kind: regexSplit, other: next})
		if err != nil {
			return 0, err
		}
		body, err := x.once(r, item, round)
		if err != nil {
			return 0, err
		}
		x.nodes[round].next = body
		if begin = round; must > 0 {
			begin = body
			must--
		}
	}
	for range item.Max - item.Min {
		body, err := x.once(r, item, begin)
		if err != nil {
			return 0, err
		}
		if begin, err = x.add(regexNode{kind: regexSplit, next: body, other: next}); err != nil {
			return 0, err
		}
	}
	for range must {
		var err error
		if begin, err = x.once(r, item, begin); err != nil {
			return 0, err
		}
	}
	return begin, nil
}

func (x *regex) once(r *run, item *query.RegexItemPlan, next int32) (int32, error) {
	if item.Group != nil {
		return x.alternatives(r, item.Group, next)
	}
	m, ok := x.byText[item.Match.Text]
	if !ok {
		compiled, err := r.matcher(item.Match)
		if err != nil {
			return 0, err
		}
		m = len(x.matchers)
		x.matchers = append(x.matchers, compiled)
		x.byText[item.Match.Text] = m
	}
	return x.add(regexNode{kind: regexTakes, matcher: m, next: next, other: -1})
}

// finish finds out where a match may end, which no bound forbids, for nothing
// comes after it, and which events it can begin with.
func (x *regex) finish() {
	x.final = make([]bool, len(x.nodes))
	for again := true; again; {
		again = false
		for i, n := range x.nodes {
			final := n.kind == regexEnd || n.kind == regexArrow && x.final[n.next] ||
				n.kind == regexSplit && (x.final[n.next] || x.final[n.other])
			if final && !x.final[i] {
				x.final[i], again = true, true
			}
		}
	}
	m := newRegexMachine(x)
	m.nextEvent()
	m.nextRound()
	m.lead(x.entry, 0, -1)
	seen := map[int]bool{}
	for _, t := range m.ready {
		if k := x.nodes[t.node].matcher; !seen[k] {
			seen[k] = true
			x.begins = append(x.begins, k)
		}
	}
}

// regexThread is a node that a match under way has come to.
type regexThread struct {
	node  int32
	start int32 // the row of the match's first event
}

// regexMachine follows all matches that are under way at once, one thread a
// node: of those that come to a node it keeps the one that began first, for
// whatever one of them can do the others can. Threads stand in the order in
// which they began, and steps keep it; so every event costs at most one step
// for each node, and nothing backtracks (Pike's machine, with the beginning of
// the match in place of its groups).
type regexMachine struct {
	*regex
	after []regexThread // past the last event
	ready []regexThread // waiting to take the next one
	seen  []uint32      // by node: the round in which it was last visited
	taken []uint32      // by node: the event at which it was last made ready
	steps int64         // done so far: nodes visited
	round uint32
	event uint32
	stack []int32
}

func newRegexMachine(x *regex) *regexMachine {
	return &regexMachine{regex: x, seen: make([]uint32, len(x.nodes)), taken: make([]uint32, len(x.nodes))}
}

// reset forgets all matches under way.
func (m *regexMachine) reset() { m.after = m.after[:0] }

// nextRound makes all nodes unseen.
func (m *regexMachine) nextRound() {
	if m.round++; m.round == 0 {
		clear(m.seen)
		m.round = 1
	}
}

// nextEvent makes no node ready.
func (m *regexMachine) nextEvent() {
	m.ready = m.ready[:0]
	if m.event++; m.event == 0 {
		clear(m.taken)
		m.event = 1
	}
}

// lead adds to ready all nodes that take an event and can be come to from a
// node without one; gap is the time between the events before and after,
// negative at a match's beginning.
func (m *regexMachine) lead(from, start int32, gap event.Duration) {
	m.stack = append(m.stack[:0], from)
	for len(m.stack) > 0 {
		m.steps++
		at := m.stack[len(m.stack)-1]
		m.stack = m.stack[:len(m.stack)-1]
		if m.seen[at] == m.round {
			continue
		}
		m.seen[at] = m.round
		switch n := &m.nodes[at]; n.kind {
		case regexTakes:
			if m.taken[at] != m.event {
				m.taken[at] = m.event
				m.ready = append(m.ready, regexThread{at, start})
			}
		case regexSplit:
			m.stack = append(m.stack, n.other, n.next)
		case regexArrow:
			inTime := gap <= n.bound
			if seeded.On("match_over_gap") {
				inTime = true
			}
			if inTime {
				m.stack = append(m.stack, n.next)
			}
		}
	}
}

// take lets the event at row go through the automaton. If a match ends with
// it, start is the row at which the earliest of them began.
func (m *regexMachine) take(row int, gap event.Duration, fulfils []tile.Bitmap) (start int, ok bool) {
	m.nextEvent()
	m.nextRound()
	for _, t := range m.after {
		m.lead(t.node, t.start, gap)
	}
	m.nextRound() // a match that begins here passes arrows at which others stop
	m.lead(m.entry, int32(row), -1)
	m.after = m.after[:0]
	m.nextRound()
	m.steps += int64(len(m.ready))
	for _, t := range m.ready {
		n := &m.nodes[t.node]
		if !fulfils[n.matcher].Get(row) || m.seen[n.next] == m.round {
			continue
		}
		if m.final[n.next] {
			m.reset()
			return int(t.start), true
		}
		m.seen[n.next] = m.round
		m.after = append(m.after, regexThread{n.next, t.start})
	}
	return 0, false
}
