package engine

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
)

// value evaluates the expression at one place.
func (n *expr) value(v *view, p *place) (event.Value, error) {
	switch n.op {
	case opConst:
		return n.constant, nil
	case opGiven:
		return p.given, nil
	case opAggregate:
		return v.aggregates[n.column], nil
	case opField:
		return n.fieldValue(v, p), nil
	case opStage:
		return n.stageValue(v, n.row(p))
	case opGroup:
		return n.groupValue(v, n.row(p))
	case opSegment:
		members, err := v.membersOf(n.cohort)
		if err != nil {
			return event.Null, err
		}
		return event.Boolean(members.Get(p.customer)), nil
	case opAnd, opOr:
		return n.logic(v, p)
	case opIn:
		return n.in(v, p)
	case opBetween:
		return n.between(v, p)
	case opCoalesce:
		for _, a := range n.args {
			x, err := a.value(v, p)
			if err != nil || !x.IsNull() {
				return n.widen(x), err
			}
		}
		return event.Null, nil
	}
	x, err := n.args[0].value(v, p)
	if err != nil {
		return event.Null, err
	}
	if n.op == opIsNull {
		return event.Boolean(x.IsNull()), nil
	}
	if x.IsNull() {
		return event.Null, nil
	}
	switch n.op {
	case opAdd, opSub, opMul, opDiv, opEq, opNe, opLt, opLe, opGt, opGe:
		y, err := n.args[1].value(v, p)
		if err != nil || y.IsNull() {
			return event.Null, err
		}
		return n.binary(x, y)
	}
	return n.unary(v, p, x)
}

// row is the row that the expression's scope names, -1 if there is none.
func (n *expr) row(p *place) int {
	switch n.scope {
	case query.StepScope:
		if n.step < 0 || n.step >= len(p.steps) {
			return -1
		}
		return p.steps[n.step]
	case query.LastScope:
		return p.last
	}
	return p.row
}

func (n *expr) fieldValue(v *view, p *place) event.Value {
	if n.field == fieldAbsent {
		return event.Null
	}
	if n.field == fieldCustomer {
		return event.String(v.Names.At(p.customer))
	}
	row := n.row(p)
	if n.scope == query.CustomerScope {
		row = n.latest(v, p.customer)
	}
	if row < 0 {
		return event.Null
	}
	switch n.field {
	case fieldEvent:
		return event.String(v.run.schema.Events[v.Event.At(row)].Text)
	case fieldChannel:
		if code := v.channelAt(row); code != 0 {
			return event.String(v.run.schema.Channels[code].Text)
		}
		return event.Null
	case fieldTime:
		return event.Instant(v.Time.At(row))
	case fieldID:
		return v.IDs.At(row)
	}
	return v.column(n.column).At(row)
}

// latest is the customer's last row that has a value of the field, -1 if none has.
func (n *expr) latest(v *view, customer int) int {
	lo, hi := v.extent(customer)
	var column = v.IDs
	switch n.field {
	case fieldChannel:
		for i := hi - 1; i >= lo; i-- {
			if v.channelAt(i) != 0 {
				return i
			}
		}
		return -1
	case fieldProperty:
		column = v.column(n.column)
	case fieldID:
	default:
		return hi - 1 // every event has a name and a time
	}
	if column == nil {
		return -1
	}
	if seeded.On("customer_first") {
		if first := column.Present.Next(lo, hi); first < hi {
			return first
		}
	}
	return column.Present.Last(lo, hi)
}

// channelAt is the code of row's channel, 0 if it has none.
func (v *view) channelAt(row int) uint32 {
	if v.Channel == nil {
		return 0
	}
	return v.Channel.At(row)
}

// stageValue is the name of the stage the event is in.
func (n *expr) stageValue(v *view, row int) (event.Value, error) {
	if row < 0 {
		return event.Null, nil
	}
	found := event.Null
	for _, s := range n.stages {
		fits, err := s.match.fits(v, row)
		if err != nil {
			return event.Null, err
		}
		switch {
		case !fits:
		case found.IsNull():
			found = event.String(s.name)
		default:
			return event.Null, n.fail("two_stages", "define the stages so that no event is in two of them",
				"the event %q is in two stages, %q and %q", v.run.schema.Events[v.Event.At(row)].Text, found.Text(), s.name)
		}
	}
	return found, nil
}

// groupValue is the name of the group that the event's channel is in.
func (n *expr) groupValue(v *view, row int) (event.Value, error) {
	if row < 0 {
		return event.Null, nil
	}
	code := v.channelAt(row)
	g := &n.groups[code]
	if g.second != "" {
		return event.Null, n.fail("two_channel_groups", "define the groups so that no channel is in two of them",
			"the channel %q is in two groups, %q and %q", v.run.schema.Channels[code].Text, g.name.Text(), g.second)
	}
	return g.name, nil
}

// logic evaluates and, or: what decides the result ends it.
func (n *expr) logic(v *view, p *place) (event.Value, error) {
	decides := n.op == opOr
	unknown := false
	for _, a := range n.args {
		x, err := a.value(v, p)
		if err != nil {
			return event.Null, err
		}
		if x.IsNull() {
			unknown = true
		} else if x.Bool() == decides {
			return event.Boolean(decides), nil
		}
	}
	if unknown {
		return event.Null, nil
	}
	return event.Boolean(!decides), nil
}

// in is true if an element is equal, else unknown if one might be.
func (n *expr) in(v *view, p *place) (event.Value, error) {
	x, err := n.args[0].value(v, p)
	if err != nil || x.IsNull() {
		return event.Null, err
	}
	if n.list != nil {
		return n.list.has(x), nil
	}
	unknown := false
	for _, a := range n.args[1:] {
		y, err := a.value(v, p)
		if err != nil {
			return event.Null, err
		}
		if y.IsNull() {
			unknown = true
		} else if event.Compare(x, y) == 0 {
			return event.Boolean(true), nil
		}
	}
	if unknown {
		return event.Null, nil
	}
	return event.Boolean(false), nil
}

// valueList is the constants of an `in`.
type valueList struct {
	values map[event.Value]bool
	null   bool // one of them is null
}

// listedFrom is from how many constants on looking one up is faster than
// comparing with each.
const listedFrom = 8

// listOf returns nil if there are few, or others than constants.
func listOf(args []*expr) *valueList {
	if len(args) < listedFrom || slices.ContainsFunc(args, func(a *expr) bool { return a.op != opConst }) {
		return nil
	}
	l := &valueList{values: make(map[event.Value]bool, len(args))}
	for _, a := range args {
		if a.constant.IsNull() {
			l.null = true
		} else {
			l.values[asListed(a.constant)] = true
		}
	}
	return l
}

// has is in for a value that is not null.
func (l *valueList) has(x event.Value) event.Value {
	found := l.values[asListed(x)]
	if !found && l.null {
		return event.Null
	}
	return event.Boolean(found)
}

// asListed makes equal values the same: 1.0 is 1, and -0 is 0. Floats beyond
// the integers equal none of them.
func asListed(x event.Value) event.Value {
	if x.Type() != event.FloatType {
		return x
	}
	if f := x.Float(); f >= -(1<<63) && f < 1<<63 && f == math.Trunc(f) {
		return event.Integer(int64(f))
	}
	return x
}

// between is low <= x and x <= high: false if one is false, though the other is unknown.
func (n *expr) between(v *view, p *place) (event.Value, error) {
	x, err := n.args[0].value(v, p)
	if err != nil || x.IsNull() {
		return event.Null, err
	}
	low, err := n.args[1].value(v, p)
	if err != nil {
		return event.Null, err
	}
	high, err := n.args[2].value(v, p)
	if err != nil {
		return event.Null, err
	}
	if seeded.On("between_exclusive") && !high.IsNull() && event.Compare(x, high) == 0 {
		return event.Boolean(false), nil
	}
	if !low.IsNull() && event.Compare(x, low) < 0 || !high.IsNull() && event.Compare(x, high) > 0 {
		return event.Boolean(false), nil
	}
	if low.IsNull() || high.IsNull() {
		return event.Null, nil
	}
	return event.Boolean(true), nil
}

// binary evaluates arithmetic and comparisons of values that are not null.
func (n *expr) binary(x, y event.Value) (event.Value, error) {
	switch n.op {
	case opEq:
		return event.Boolean(event.Compare(x, y) == 0), nil
	case opNe:
		return event.Boolean(event.Compare(x, y) != 0), nil
	case opLt:
		return event.Boolean(event.Compare(x, y) < 0), nil
	case opLe:
		return event.Boolean(event.Compare(x, y) <= 0), nil
	case opGt:
		return event.Boolean(event.Compare(x, y) > 0), nil
	case opGe:
		return event.Boolean(event.Compare(x, y) >= 0), nil
	case opDiv:
		if y.Float() == 0 {
			return event.Null, nil
		}
		return event.Float(x.Float() / y.Float()), nil
	}
	if x.Type() == event.FloatType || y.Type() == event.FloatType {
		switch n.op {
		case opAdd:
			return event.Float(x.Float() + y.Float()), nil
		case opSub:
			return event.Float(x.Float() - y.Float()), nil
		}
		return event.Float(x.Float() * y.Float()), nil
	}
	z, ok := wholeNumbers(n.op, x.Int(), y.Int())
	if !ok {
		return event.Null, n.overflow()
	}
	// An instant and an elapsed time give an instant, two instants the time between.
	if (x.Type() == event.TimeType) != (y.Type() == event.TimeType) {
		return event.Instant(event.Time(z)), nil
	}
	return n.widen(event.Integer(z)), nil
}

// wholeNumbers adds, subtracts or multiplies; ok is false if the result does not fit.
func wholeNumbers(op opcode, x, y int64) (z int64, ok bool) {
	switch op {
	case opAdd:
		z = x + y
		return z, (z > x) == (y > 0)
	case opSub:
		z = x - y
		return z, (z < x) == (y > 0)
	}
	if x == 0 || y == 0 {
		return 0, true
	}
	z = x * y
	return z, z/y == x && !(x == -1 && y == math.MinInt64) && !(y == -1 && x == math.MinInt64)
}

// widen makes an integer a float where the expression's type is one.
func (n *expr) widen(x event.Value) event.Value {
	if n.typ == event.FloatType && x.Type() == event.IntegerType {
		return event.Float(x.Float())
	}
	return x
}

// unary evaluates what has one argument, which is not null.
func (n *expr) unary(v *view, p *place, x event.Value) (event.Value, error) {
	switch n.op {
	case opNot:
		return event.Boolean(!x.Bool()), nil
	case opNeg:
		if x.Type() == event.FloatType {
			return event.Float(-x.Float()), nil
		}
		if x.Int() == math.MinInt64 {
			return event.Null, n.overflow()
		}
		return event.Integer(-x.Int()), nil
	case opAbs:
		if x.Type() == event.FloatType {
			return event.Float(math.Abs(x.Float())), nil
		}
		if x.Int() == math.MinInt64 {
			return event.Null, n.overflow()
		}
		return event.Integer(max(x.Int(), -x.Int())), nil
	case opRound:
		return n.round(v, p, x)
	case opRegexp:
		// An expression of many states takes long over a long text.
		if err := v.tick(rowsBetweenChecks/64 + 64*len(x.Text())); err != nil {
			return event.Null, err
		}
		return event.Boolean(n.regexp.MatchString(x.Text())), nil
	case opLower:
		return event.String(strings.ToLower(x.Text())), nil
	case opUpper:
		return event.String(strings.ToUpper(x.Text())), nil
	case opLength:
		return event.Integer(int64(utf8.RuneCountInString(x.Text()))), nil
	}
	return n.zone.datePart(n.op, x.Time()), nil
}

// round rounds half away from zero, to whole numbers or to as many decimals
// as a second argument says.
func (n *expr) round(v *view, p *place, x event.Value) (event.Value, error) {
	decimals := event.Integer(0)
	if len(n.args) > 1 {
		var err error
		if decimals, err = n.args[1].value(v, p); err != nil || decimals.IsNull() {
			return event.Null, err
		}
	}
	if x.Type() == event.IntegerType {
		return n.widen(x), nil
	}
	scale := math.Pow(10, decimals.Float())
	if scaled := x.Float() * scale; !math.IsInf(scaled, 0) && scale != 0 {
		return event.Float(math.Round(scaled) / scale), nil
	}
	return x, nil
}
