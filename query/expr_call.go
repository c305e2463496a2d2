package query

import (
	"strings"

	"wend/event"
)

// function is what a function of one event takes and gives.
type function struct {
	args   event.Type // None: any
	result event.Type // None: that of the arguments
}

// numbersType stands for integer or float in the table of functions.
const numbersType event.Type = 101

var functions = map[string]function{
	"hour":     {event.TimeType, event.IntegerType},
	"weekday":  {event.TimeType, event.IntegerType},
	"day":      {event.TimeType, event.IntegerType},
	"month":    {event.TimeType, event.IntegerType},
	"year":     {event.TimeType, event.IntegerType},
	"date":     {event.TimeType, event.StringType},
	"lower":    {event.StringType, event.StringType},
	"upper":    {event.StringType, event.StringType},
	"length":   {event.StringType, event.IntegerType},
	"abs":      {numbersType, event.None},
	"round":    {numbersType, event.None},
	"coalesce": {event.None, event.None},
}

// functionNames are the functions in the order that messages and completion list them.
var functionNames = strings.Fields("hour weekday day month year date lower upper length abs round coalesce segment")

// call binds a function of one event, or an aggregate of measure.
func (b *binder) call(e *Expr, s scope) *ScalarExpr {
	name := strings.ToLower(e.Name.Text)
	if _, ok := aggregateOf(name); ok {
		if !s.aggregates {
			b.fail(e.Span, CodeAggregateNotAllowed, "", "`%s` is of many events: it belongs in the outputs of `measure`", name)
			return nil
		}
		return b.aggregate(e)
	}
	if name == "segment" {
		return b.segmentCall(e, s)
	}
	f, ok := functions[name]
	if !ok {
		known := functionNames
		if s.aggregates {
			known = append(aggregateNames(), known...)
		}
		hint := didYouMean(name, named(known...))
		if hint == "" {
			hint = "there are " + strings.Join(known, ", ")
		}
		b.fail(e.Name.Span, CodeUnknownFunction, hint, "unknown function %q", e.Name.Text)
		return nil
	}
	args, ok := b.args(e.Args, s)
	if !ok {
		return nil
	}
	if name == "coalesce" {
		return b.coalesce(e, args)
	}
	if len(args) != 1 {
		b.fail(e.Span, CodeWrongArguments, "", "`%s` takes one argument, not %d", name, len(args))
		return nil
	}
	if !fits(args[0], f.args) {
		b.fail(e.Args[0].Span, CodeTypeMismatch, "", "`%s` takes %s, but %s is %s", name, argumentName(f.args), args[0].brief(), typeName(args[0].Type))
		return nil
	}
	x := &ScalarExpr{Op: name, Type: f.result, Args: args}
	if f.result == event.None {
		x.Type = args[0].Type
	}
	return x
}

func fits(x *ScalarExpr, t event.Type) bool {
	if t == numbersType {
		return numeric(x)
	}
	return is(x, t)
}

func argumentName(t event.Type) string {
	switch t {
	case numbersType:
		return "a number"
	case event.StringType:
		return "a text"
	}
	return "a " + t.String()
}

// coalesce takes the first argument that is not null; all are of one type,
// where integers and floats make a float.
func (b *binder) coalesce(e *Expr, args []*ScalarExpr) *ScalarExpr {
	if len(args) == 0 {
		b.fail(e.Span, CodeWrongArguments, "", "`coalesce` takes at least one argument")
		return nil
	}
	x := &ScalarExpr{Op: "coalesce", Args: args}
	for i, a := range args {
		same := x.Type == event.None || is(a, x.Type) || x.Type.Numeric() && a.Type.Numeric()
		if !same || a.Type == durationType {
			b.fail(e.Args[i].Span, CodeTypeMismatch, "", "the arguments of `coalesce` are of one type, but %s is %s", a.brief(), typeName(a.Type))
			return nil
		}
		if x.Type == event.None || a.Type == event.FloatType {
			x.Type = a.Type
		}
	}
	return x
}

// segmentCall binds segment(name): whether the event's customer is in it.
func (b *binder) segmentCall(e *Expr, s scope) *ScalarExpr {
	if s.aggregates {
		b.fail(e.Span, CodeNotAnAggregate, "filter with it: customers[segment(name)]", "`segment` is of one customer")
		return nil
	}
	if len(e.Args) != 1 {
		b.fail(e.Span, CodeWrongArguments, "", "`segment` takes the name of one segment")
		return nil
	}
	a := e.Args[0]
	n := a.Name
	switch {
	case a.Op == "literal" && a.Value.Type() == event.StringType:
		n = Name{Span: a.Span, Text: a.Value.Text(), Quoted: true}
	case a.Op != "name":
		b.fail(a.Span, CodeWrongArguments, "", "`segment` takes the name of a segment")
		return nil
	}
	if !b.ofKind(n, "segment") {
		return b.nothing()
	}
	return &ScalarExpr{Op: "segment", Type: event.BooleanType, Name: n.Text, Cohort: b.segment(n)}
}
