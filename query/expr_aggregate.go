package query

import (
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// aggregateFn is an aggregate of measure: its operator in the Plan, and for
// percentiles which.
type aggregateFn struct {
	op       string
	fraction float64
	args     int
}

// aggregateOf knows events customers sessions sum avg min max distinct median
// and p0 … p100, also p99.9.
func aggregateOf(name string) (aggregateFn, bool) {
	switch name {
	case "events", "customers", "sessions":
		return aggregateFn{op: name}, true
	case "sum", "avg", "min", "max", "distinct":
		return aggregateFn{op: name, args: 1}, true
	case "median":
		return aggregateFn{op: "percentile", fraction: 0.5, args: 1}, true
	}
	digits, ok := strings.CutPrefix(name, "p")
	if !ok || digits == "" || digits[0] < '0' || digits[0] > '9' {
		return aggregateFn{}, false
	}
	fraction, err := strconv.ParseFloat(digits+"e-2", 64) // 99.9/100 is not quite 0.999
	if err != nil || fraction > 1 {
		return aggregateFn{}, false
	}
	return aggregateFn{op: "percentile", fraction: fraction, args: 1}, true
}

func aggregateNames() []string {
	return strings.Fields("events customers sessions sum avg min max median p90 p95 distinct")
}

// aggregateName binds a plain name in the outputs of measure.
func (b *binder) aggregateName(n Name) *ScalarExpr {
	name := strings.ToLower(n.Text)
	if fn, ok := aggregateOf(name); ok && !n.Quoted {
		if fn.args == 0 {
			return &ScalarExpr{Op: fn.op, Type: event.IntegerType}
		}
		b.fail(n.Span, CodeWrongArguments, "", "`%s` needs to know of what: %s(value)", name, name)
		return nil
	}
	if x := b.field(n.Text, EventScope); x != nil {
		hint := "count its values with distinct(" + n.Text + ")"
		if x.Type.Numeric() {
			hint = "sum it up with sum(" + n.Text + "), or take avg, min, max, median"
		}
		b.fail(n.Span, CodeNotAnAggregate, hint, "%s belongs to one event", n.Text)
		return nil
	}
	hint := didYouMean(name, named(aggregateNames()...))
	switch {
	case name == "count":
		hint = "`events` counts events, `customers` customers, distinct(x) values"
	case hint == "":
		hint = "there are events, customers, sessions, sum(x), avg(x), min(x), max(x), median(x), p95(x) and distinct(x)"
	}
	b.fail(n.Span, CodeUnknownMeasure, hint, "unknown measure %q", n.Text)
	return nil
}

// filtered binds M[condition]: the aggregate over the events that fulfil it.
func (b *binder) filtered(e *Expr, s scope) *ScalarExpr {
	inner := e.Args[0]
	_, ok := aggregateOf(strings.ToLower(inner.Name.Text))
	if !s.aggregates || !ok || (inner.Op != "call" && (inner.Op != "name" || inner.Name.Quoted)) {
		b.fail(e.Span, CodeNotAnAggregate, "", "a filter in [ ] follows an aggregate of `measure`, as in customers[event = 'cancel']")
		return nil
	}
	filter := b.condition(e.Filter, scope{})
	var x *ScalarExpr
	if inner.Op == "name" {
		x = b.aggregateName(inner.Name)
	} else {
		x = b.aggregate(inner)
	}
	if x == nil || filter == nil {
		return nil
	}
	x.Filter = filter
	return x
}

// aggregate binds a call such as sum(value).
func (b *binder) aggregate(e *Expr) *ScalarExpr {
	name := strings.ToLower(e.Name.Text)
	fn, _ := aggregateOf(name)
	if fn.args != len(e.Args) {
		what := "one expression"
		if fn.args == 0 {
			what = "no parentheses"
		}
		b.fail(e.Span, CodeWrongArguments, "", "`%s` takes %s", name, what)
		return nil
	}
	if fn.args == 0 {
		return &ScalarExpr{Op: fn.op, Type: event.IntegerType}
	}
	arg := b.value(e.Args[0], scope{})
	if arg == nil {
		return nil
	}
	x := &ScalarExpr{Op: fn.op, Type: event.FloatType, Args: []*ScalarExpr{arg}}
	needsNumbers := true
	switch fn.op {
	case "distinct":
		x.Type, needsNumbers = event.IntegerType, false
	case "min", "max":
		x.Type, needsNumbers = arg.Type, arg.Type == event.BooleanType
	case "sum":
		x.Type = arg.Type
	case "percentile":
		x.Value = event.Float(fn.fraction)
	}
	if needsNumbers && !numeric(arg) {
		b.fail(e.Args[0].Span, CodeTypeMismatch, "", "`%s` takes a number, but %s is %s", name, arg.brief(), typeName(arg.Type))
		return nil
	}
	return x
}

// countsSessions reports whether an output needs sessions.
func countsSessions(x *ScalarExpr) bool {
	return x.Op == "sessions" || slices.ContainsFunc(x.Args, countsSessions)
}
