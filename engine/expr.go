package engine

import (
	"fmt"
	"regexp"
	"slices"

	"wend/event"
	"wend/query"
)

// expr is a compiled expression: its names are codes and positions of the
// snapshot. It does not change and is shared by all workers.
//
// Logic has three values, as in SQL: true, false and unknown, which is null.
type expr struct {
	op       opcode
	typ      event.Type
	args     []*expr
	constant event.Value // opConst
	scope    query.Scope
	step     int // StepScope: the step's index, from 0
	field    fieldKind
	column   int // fieldProperty: index into Schema.Properties; opAggregate: into view.aggregates
	regexp   *regexp.Regexp
	stages   []stageMatcher
	groups   []channelGroup // by channel code
	cohort   *cohort        // opSegment
	zone     *zone
	list     *valueList // opIn: of many constants; nil: each is compared
	source   *query.ScalarExpr

	reads reads
	codes *codeTruth // of a condition that reads nothing but the event's name, or nothing but its channel
	text  *expr      // of a condition that reads nothing but one text property: the same over place.given
}

type opcode uint8

const (
	opConst     opcode = iota
	opGiven            // the value that place.given holds
	opAggregate        // the value of view.aggregates at column
	opField
	opStage
	opGroup
	opSegment
	opAnd
	opOr
	opNot
	opNeg
	opAdd
	opSub
	opMul
	opDiv
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opIn
	opBetween
	opRegexp
	opIsNull
	opLower
	opUpper
	opCoalesce
	opAbs
	opRound
	opLength
	opHour
	opWeekday
	opDay
	opMonth
	opYear
	opDate
)

var opcodes = map[string]opcode{
	"const": opConst, "field": opField, "stage": opStage, "group": opGroup, "segment": opSegment,
	"and": opAnd, "or": opOr, "not": opNot, "neg": opNeg, "+": opAdd, "-": opSub, "*": opMul, "/": opDiv,
	"=": opEq, "!=": opNe, "<": opLt, "<=": opLe, ">": opGt, ">=": opGe,
	"in": opIn, "between": opBetween, "like": opRegexp, "~": opRegexp, "isnull": opIsNull,
	"lower": opLower, "upper": opUpper, "coalesce": opCoalesce, "abs": opAbs, "round": opRound, "length": opLength,
	"hour": opHour, "weekday": opWeekday, "day": opDay, "month": opMonth, "year": opYear, "date": opDate,
}

type fieldKind uint8

const (
	fieldEvent fieldKind = iota
	fieldChannel
	fieldCustomer
	fieldTime
	fieldID
	fieldProperty
	fieldAbsent // a property that no event has: always null
)

// stageMatcher is a stage and the events that are in it.
type stageMatcher struct {
	name  string
	match *matcher
}

// channelGroup is the group a channel is in.
type channelGroup struct {
	name   event.Value // null: in none
	second string      // the name of a second group it is in, an error once an event has the channel
}

// reads says what the value of an expression depends on.
type reads struct {
	event, channel, customer bool
	rest                     bool  // anything else
	texts                    []int // text properties, each once
	fails                    bool  // evaluation may fail
}

func (a *reads) add(b reads) {
	a.event = a.event || b.event
	a.channel = a.channel || b.channel
	a.customer = a.customer || b.customer
	a.rest = a.rest || b.rest
	a.fails = a.fails || b.fails
	for _, t := range b.texts {
		if !slices.Contains(a.texts, t) {
			a.texts = append(a.texts, t)
		}
	}
}

// compile resolves an expression's names against the snapshot and asks for its columns.
func (r *run) compile(e *query.ScalarExpr) (scalar, error) {
	n, err := r.expr(e)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (r *run) expr(e *query.ScalarExpr) (*expr, error) {
	if i, ok := r.aggregates[e]; ok {
		return &expr{op: opAggregate, typ: e.Type, column: i, source: e, reads: reads{rest: true}}, nil
	}
	op, ok := opcodes[e.Op]
	if !ok {
		return nil, fmt.Errorf("engine: %q is no operation on one event", e.Op)
	}
	n := &expr{op: op, typ: e.Type, constant: e.Value, scope: e.Scope, step: e.Step - 1, regexp: e.Regexp, source: e}
	for _, a := range e.Args {
		arg, err := r.expr(a)
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		n.reads.add(arg.reads)
	}
	var err error
	switch op {
	case opField:
		err = r.fieldOf(n)
	case opStage:
		n.reads.rest, n.reads.fails = true, true
		n.stages, err = r.stages(e.Stages)
	case opGroup:
		r.needChannel()
		n.groups = r.channelGroups(e.Groups)
		n.reads.channel = true
		n.reads.fails = slices.ContainsFunc(n.groups, func(g channelGroup) bool { return g.second != "" })
	case opSegment:
		n.reads.customer = true
		n.cohort, err = r.cohort(e.Cohort)
	case opAdd, opSub, opMul, opNeg, opAbs:
		n.reads.fails = true
	case opIn:
		n.list = listOf(n.args[1:])
	case opHour, opWeekday, opDay, opMonth, opYear, opDate:
		n.zone = newZone(r.plan.Timezone)
	}
	if err != nil {
		return nil, err
	}
	if n.scope == query.StepScope || n.scope == query.LastScope {
		n.reads = reads{rest: true, fails: n.reads.fails}
	}
	if n.ofConstants() {
		return n, r.fold(n)
	}
	return n, r.specialise(n)
}

// ofConstants reports whether an expression is the same everywhere, and
// evaluating it cannot fail.
func (n *expr) ofConstants() bool {
	return len(n.args) > 0 && !n.reads.fails && !slices.ContainsFunc(n.args, func(a *expr) bool { return a.op != opConst })
}

// fold puts its value in the place of an expression of constants. A long text
// that is searched for a pattern takes a second: once is enough.
func (r *run) fold(n *expr) error {
	x, err := n.value(&view{run: r, ctx: r.ctx, turn: r.turn}, &place{row: -1, customer: -1, last: -1})
	if err != nil {
		return err
	}
	n.op, n.constant, n.args, n.regexp = opConst, x, nil, nil
	return nil
}

// fieldOf resolves a field and asks for its column.
func (r *run) fieldOf(n *expr) error {
	e := n.source
	if !e.Property {
		switch e.Field {
		case "event":
			n.field, n.reads.event = fieldEvent, true
		case "channel":
			n.field, n.reads.channel = fieldChannel, true
			r.needChannel()
		case "customer":
			n.field, n.reads.customer = fieldCustomer, true
			r.needNames()
		case "time":
			n.field, n.reads.rest = fieldTime, true
		case "id":
			n.field, n.reads.rest = fieldID, true
			r.needIDs()
		default:
			return fmt.Errorf("engine: an event has no field %q", e.Field)
		}
	} else if i, ok := r.schema.Property(e.Field); ok {
		n.field, n.column = fieldProperty, i
		r.needProperty(i)
		if r.schema.Properties[i].Type == event.StringType {
			n.reads.texts = []int{i}
		} else {
			n.reads.rest = true
		}
	} else {
		n.field = fieldAbsent
	}
	if n.scope == query.CustomerScope {
		n.reads = reads{customer: true}
	}
	return nil
}

func (r *run) stages(plans []query.StagePlan) ([]stageMatcher, error) {
	var list []stageMatcher
	for _, s := range plans {
		m, err := r.matcher(s.Match)
		if err != nil {
			return nil, err
		}
		list = append(list, stageMatcher{s.Name, m})
	}
	return list, nil
}

func (r *run) channelGroups(plans []query.ChannelGroup) []channelGroup {
	list := make([]channelGroup, max(1, len(r.schema.Channels)))
	for _, g := range plans {
		for _, name := range g.Channels {
			code, ok := r.schema.Channel(name)
			switch {
			case !ok || code == 0:
			case list[code].name.IsNull():
				list[code].name = event.String(g.Name)
			case list[code].name.Text() != g.Name:
				list[code].second = g.Name
			}
		}
	}
	return list
}

// specialise prepares the short ways of filtering: a condition on the event's
// name, or on its channel, is decided once for every name there is; one on a
// text property once for every text of a tile.
func (r *run) specialise(n *expr) error {
	d := &n.reads
	if n.typ != event.BooleanType || d.rest || d.customer || d.fails {
		return nil
	}
	switch {
	case d.event && !d.channel && d.texts == nil:
		return n.decide(r, fieldEvent, len(r.schema.Events))
	case d.channel && !d.event && d.texts == nil:
		return n.decide(r, fieldChannel, max(1, len(r.schema.Channels)))
	case len(d.texts) == 1 && !d.event && !d.channel && n.op != opAnd && n.op != opOr && n.op != opNot:
		n.text = n.over(fieldProperty)
	}
	return nil
}

// over returns the expression with its only field replaced by what place.given holds.
func (n *expr) over(field fieldKind) *expr {
	c := *n
	c.text, c.codes = nil, nil
	if n.op == opField && n.field == field {
		c.op = opGiven
	}
	if n.op == opGroup {
		return &c
	}
	c.args = nil
	for _, a := range n.args {
		c.args = append(c.args, a.over(field))
	}
	return &c
}

// codeTruth is a condition on the event's name or its channel, by code.
type codeTruth struct {
	channel      bool
	yes, unknown []uint32
}

func (n *expr) decide(r *run, field fieldKind, count int) error {
	if n.combine(count) {
		return nil
	}
	given := n.over(field)
	t := &codeTruth{channel: field == fieldChannel}
	v := &view{run: r, ctx: r.ctx, turn: r.turn} // of no tile, for the ticks
	for code := range count {
		if err := v.tick(1); err != nil {
			return err
		}
		p := place{}
		switch {
		case field == fieldEvent:
			p.given = event.String(r.schema.Events[code].Text)
		case code > 0:
			p.given = event.String(r.schema.Channels[code].Text)
		}
		x, err := given.decideGiven(v, &p, code)
		if err != nil {
			return err
		}
		if x.IsNull() {
			t.unknown = append(t.unknown, uint32(code))
		} else if x.Bool() {
			t.yes = append(t.yes, uint32(code))
		}
	}
	n.codes = t
	return nil
}

// combine decides by what was decided for the parts of `and`, `or` and `not`,
// which nobody needs any more then: a long chain of them is decided once, not
// once for each of its beginnings.
func (n *expr) combine(count int) bool {
	if n.op != opAnd && n.op != opOr && n.op != opNot {
		return false
	}
	for _, a := range n.args {
		if a.codes == nil || a.codes.channel != n.args[0].codes.channel {
			return false
		}
	}
	verdicts := make([]verdict, count)
	for k, a := range n.args {
		next := make([]verdict, count)
		for _, code := range a.codes.unknown {
			next[code] = isUnknown
		}
		for _, code := range a.codes.yes {
			next[code] = isTrue
		}
		for code, x := range next {
			if x == undecided {
				x = isFalse
			}
			switch {
			case n.op == opNot && x != isUnknown:
				x = isTrue + isFalse - x
			case k > 0 && n.op == opAnd:
				x = both(verdicts[code], x, isFalse)
			case k > 0 && n.op == opOr:
				x = both(verdicts[code], x, isTrue)
			}
			verdicts[code] = x
		}
		a.codes = nil
	}
	n.codes = &codeTruth{channel: n.reads.channel}
	for code, x := range verdicts {
		switch x {
		case isTrue:
			n.codes.yes = append(n.codes.yes, uint32(code))
		case isUnknown:
			n.codes.unknown = append(n.codes.unknown, uint32(code))
		}
	}
	return true
}

// both is x and y, or x or y: one of them decides alone.
func both(x, y, alone verdict) verdict {
	switch {
	case x == alone || y == alone:
		return alone
	case x == isUnknown:
		return x
	}
	return y
}

// decideGiven evaluates for one code. Channel groups go by the code itself.
func (n *expr) decideGiven(v *view, p *place, code int) (event.Value, error) {
	return n.withGroup(code).value(v, p)
}

func (n *expr) withGroup(code int) *expr {
	if !n.usesGroup() {
		return n
	}
	c := *n
	if n.op == opGroup {
		c.op, c.constant = opConst, n.groups[code].name
		return &c
	}
	c.args = nil
	for _, a := range n.args {
		c.args = append(c.args, a.withGroup(code))
	}
	return &c
}

func (n *expr) usesGroup() bool {
	return n.op == opGroup || slices.ContainsFunc(n.args, (*expr).usesGroup)
}

// fail is an error of the expression that only data can show.
func (n *expr) fail(code, hint, format string, args ...any) error {
	return &query.Error{Code: code, Message: fmt.Sprintf(format, args...), Span: n.source.Span, Hint: hint}
}

func (n *expr) overflow() error {
	return n.fail("integer_overflow", "multiply by 1.0 to calculate with floats",
		"the integer result of %s is too large", n.source.Text())
}
