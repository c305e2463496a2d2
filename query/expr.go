package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"wend/event"
)

// durationType is the binder's type of elapsed times: a duration literal, or
// one time less another. They can be compared, added and subtracted, and
// nothing else: events have no property of this type. In the Plan they are
// integers, microseconds.
const durationType event.Type = 100

// typeName is a type as messages say it: "a float".
func typeName(t event.Type) string {
	switch t {
	case durationType:
		return "a duration"
	case event.None:
		return "null"
	case event.IntegerType:
		return "an integer"
	}
	return "a " + t.String()
}

// scope says what names mean where an expression stands.
type scope struct {
	steps      *stepNames // by of a statement on a pattern: steps and `last` have names
	aggregates bool       // measure: values of a group of events
	latest     bool       // customers of: a property is the customer's latest
	compared   bool       // right of a comparison: a name may be a text without its quotes
}

// value binds an expression that is shown or compared by the engine. It
// returns nil if there is a mistake in it.
func (b *binder) value(e *Expr, s scope) *ScalarExpr {
	x := b.expr(e, s)
	if x != nil && x.Type == durationType {
		b.fail(e.Span, CodeTypeMismatch, "compare it: last.time - time > 2d", "a duration can only be compared")
		return nil
	}
	return x
}

// condition binds an expression that must be true, false or unknown.
func (b *binder) condition(e *Expr, s scope) *ScalarExpr {
	x := b.expr(e, s)
	if x != nil && !is(x, event.BooleanType) {
		b.fail(e.Span, CodeTypeMismatch, "compare it with something", "a condition is needed, but %s is %s", x.brief(), typeName(x.Type))
		return nil
	}
	return x
}

// is reports whether x can stand where a type is needed; null always can.
func is(x *ScalarExpr, t event.Type) bool { return x.Type == t || x.Type == event.None }

// brief is an expression as messages name it: one mistake, of many that a
// statement may have, does not repeat a whole statement.
func (x *ScalarExpr) brief() string { return briefly(x.Text()) }

func briefly(text string) string {
	if len(text) <= briefBytes {
		return text
	}
	return strings.ToValidUTF8(text[:briefBytes], "") + "…"
}

const briefBytes = 200

// numeric reports whether x can be added up.
func numeric(x *ScalarExpr) bool { return x.Type.Numeric() || x.Type == event.None }

// expr binds any expression; nil if there is a mistake in it, which is noted.
func (b *binder) expr(e *Expr, s scope) *ScalarExpr {
	x := b.operation(e, s)
	if x != nil {
		x.Syntax, x.Span = e, e.Span
	}
	return x
}

func (b *binder) operation(e *Expr, s scope) *ScalarExpr {
	switch e.Op {
	case "literal":
		return constant(e.Value)
	case "date":
		if d, ok := b.dateText(e.Span, e.Text); ok {
			return constant(event.Instant(event.At(d.at)))
		}
		return nil
	case "duration":
		d := b.gap(e.Duration)
		return &ScalarExpr{Op: "const", Type: durationType, Value: event.Integer(int64(d))}
	case "param":
		b.fail(e.Span, CodeMissingParameter, "", "a definition cannot use parameters such as $%s", e.Text)
		return nil
	case "name", "of":
		return b.name(e, s)
	case "call":
		return b.call(e, s)
	case "filtered":
		return b.filtered(e, s)
	case "and", "or", "not":
		return b.logic(e, s)
	case "neg", "+", "-", "*", "/":
		return b.arithmetic(e, s)
	case "isnull", "notnull":
		return b.isNull(e, s)
	case "like", "notlike", "~":
		return b.match(e, s)
	}
	return b.comparison(e, s)
}

func constant(v event.Value) *ScalarExpr {
	return &ScalarExpr{Op: "const", Type: v.Type(), Value: v}
}

// args binds operands; ok is false if one has a mistake.
func (b *binder) args(list []*Expr, s scope) (bound []*ScalarExpr, ok bool) {
	ok = true
	for _, e := range list {
		x := b.expr(e, s)
		ok = ok && x != nil
		bound = append(bound, x)
	}
	return bound, ok
}

func (b *binder) logic(e *Expr, s scope) *ScalarExpr {
	x := &ScalarExpr{Op: e.Op, Type: event.BooleanType}
	ok := true
	for _, a := range e.Args {
		arg := b.condition(a, s)
		ok = ok && arg != nil
		x.Args = append(x.Args, arg)
	}
	if !ok {
		return nil
	}
	return x
}

func (b *binder) isNull(e *Expr, s scope) *ScalarExpr {
	args, ok := b.args(e.Args, s)
	if !ok {
		return nil
	}
	asIntegers(args[0])
	return negated(e.Op == "notnull", &ScalarExpr{Op: "isnull", Type: event.BooleanType, Args: args}, e)
}

// negated wraps the plain form of an operator in `not`.
func negated(not bool, x *ScalarExpr, e *Expr) *ScalarExpr {
	if !not {
		return x
	}
	x.Syntax, x.Span = e, e.Span
	return &ScalarExpr{Op: "not", Type: event.BooleanType, Args: []*ScalarExpr{x}}
}

func (b *binder) arithmetic(e *Expr, s scope) *ScalarExpr {
	args, ok := b.args(e.Args, s)
	if !ok {
		return nil
	}
	if e.Op == "neg" {
		return b.negative(e, args[0])
	}
	if x := times(e.Op, args[0], args[1]); x != nil {
		return x
	}
	for i, a := range args {
		if !numeric(a) {
			b.fail(e.Args[i].Span, CodeTypeMismatch, arithmeticHint(a), "`%s` needs numbers, but %s is %s", e.Op, a.brief(), typeName(a.Type))
			ok = false
		}
	}
	if !ok {
		return nil
	}
	x := &ScalarExpr{Op: e.Op, Type: event.IntegerType, Args: args}
	if e.Op == "/" || args[0].Type == event.FloatType || args[1].Type == event.FloatType {
		x.Type = event.FloatType
	}
	return x
}

func arithmeticHint(x *ScalarExpr) string {
	if x.Type == event.TimeType {
		return "of times there are one less another, as in last.time - time > 2d, and time + 6h"
	}
	return ""
}

// times binds the arithmetic of times that there is: one less another, one
// moved by a duration, and sums of durations. Nil: it is something else.
func times(op string, x, y *ScalarExpr) *ScalarExpr {
	plus, minus := op == "+", op == "-"
	switch {
	case minus && x.Type == event.TimeType && y.Type == event.TimeType,
		(plus || minus) && x.Type == durationType && y.Type == durationType:
		return &ScalarExpr{Op: op, Type: durationType, Args: []*ScalarExpr{x, y}}
	case (plus || minus) && x.Type == event.TimeType && y.Type == durationType,
		plus && x.Type == durationType && y.Type == event.TimeType:
		asIntegers(x)
		asIntegers(y)
		return &ScalarExpr{Op: op, Type: event.TimeType, Args: []*ScalarExpr{x, y}}
	}
	return nil
}

func (b *binder) negative(e *Expr, x *ScalarExpr) *ScalarExpr {
	if !numeric(x) {
		b.fail(e.Args[0].Span, CodeTypeMismatch, "", "`-` needs a number, but %s is %s", x.brief(), typeName(x.Type))
		return nil
	}
	if x.Op == "const" && x.Type == event.IntegerType && x.Value.Int() != math.MinInt64 {
		return constant(event.Integer(-x.Value.Int()))
	}
	if x.Op == "const" && x.Type == event.FloatType {
		return constant(event.Float(-x.Value.Float()))
	}
	return &ScalarExpr{Op: "neg", Type: x.Type, Args: []*ScalarExpr{x}}
}

// comparison binds = != < <= > >= in and between.
func (b *binder) comparison(e *Expr, s scope) *ScalarExpr {
	if op := strings.TrimPrefix(e.Op, "not"); op == "in" && len(e.Args)-1 > inListMax {
		b.fail(e.Span, CodeTooManyValues, "put them into a property, or ask in parts", "`in` takes %d values, these are %d", inListMax, len(e.Args)-1)
		return nil
	}
	args, ok := b.args(e.Args[:1], s)
	s.compared = true
	others, same := b.args(e.Args[1:], s)
	if !ok || !same {
		return nil
	}
	args = append(args, others...)
	left := args[0]
	for i, right := range args[1:] {
		args[1+i] = dayAsText(left, e.Args[1+i], right)
		ok = b.comparable(e.Op, left, args[1+i], e.Args[1+i].Span) && ok
	}
	if len(args) == 2 {
		args[0] = dayAsText(args[1], e.Args[0], left)
	}
	if !ok {
		return nil
	}
	b.knownValues(e.Op, args)
	for _, a := range args {
		asIntegers(a)
	}
	op, not := e.Op, false
	switch op {
	case "notin":
		op, not = "in", true
	case "notbetween":
		op, not = "between", true
	}
	return negated(not, &ScalarExpr{Op: op, Type: event.BooleanType, Args: args}, e)
}

// dayAsText lets a day be compared with date(time), which is a text.
func dayAsText(other *ScalarExpr, e *Expr, x *ScalarExpr) *ScalarExpr {
	if other.Op != "date" || e.Op != "date" || len(e.Text) != len("2006-01-02") {
		return x
	}
	day := constant(event.String(e.Text))
	day.Syntax, day.Span = x.Syntax, x.Span
	return day
}

// asIntegers turns durations, now that they are compared with durations, into
// what the engine knows.
func asIntegers(x *ScalarExpr) {
	if x.Type == durationType {
		x.Type = event.IntegerType
	}
	for _, a := range x.Args {
		asIntegers(a)
	}
}

// comparable reports whether two values can be compared, and notes if not.
func (b *binder) comparable(op string, x, y *ScalarExpr, at Span) bool {
	if isNullConstant(x) || isNullConstant(y) {
		if op == "=" || op == "!=" {
			b.warn("nothing is `%s null`, so this selects nothing; write `is null` or `is not null`", op)
		}
		return true
	}
	same := is(x, y.Type) || is(y, x.Type) || (numeric(x) && numeric(y))
	if !same {
		b.fail(at, CodeTypeMismatch, mismatchHint(x, y), "%s is %s and %s is %s: they cannot be compared", x.brief(), typeName(x.Type), y.brief(), typeName(y.Type))
		return false
	}
	if x.Type == event.BooleanType && (strings.ContainsAny(op, "<>") || strings.HasSuffix(op, "between")) {
		b.fail(at, CodeTypeMismatch, "", "true and false have no order")
		return false
	}
	return true
}

func isNullConstant(x *ScalarExpr) bool { return x.Op == "const" && x.Value.IsNull() }

// mismatchHint guesses what a comparison of different types was meant to be.
func mismatchHint(x, y *ScalarExpr) string {
	if x.Op == "const" {
		x, y = y, x
	}
	if y.Op != "const" {
		return ""
	}
	switch {
	case x.Type == event.StringType && y.Type != durationType:
		return "write it as a text: '" + y.Text() + "'"
	case x.Type == event.TimeType && y.Type == event.StringType:
		return "write a time without quotes: 2025-01-31 or 2025-01-31T10:00"
	case x.Type.Numeric() && y.Type == event.StringType:
		if _, err := strconv.ParseFloat(y.Value.Text(), 64); err == nil {
			return "write it as a number: " + briefly(y.Value.Text())
		}
	case x.Type == event.BooleanType && y.Type == event.StringType:
		return "write true or false without quotes"
	}
	return ""
}

// knownValues warns where a field is compared with a value that no event has.
func (b *binder) knownValues(op string, args []*ScalarExpr) {
	switch op {
	case "=", "!=", "in", "notin":
	default:
		return
	}
	left, rest := args[0], args[1:]
	if left.Op == "const" && len(rest) == 1 {
		left, rest = rest[0], []*ScalarExpr{left}
	}
	for _, v := range rest {
		if v.Op == "const" && v.Type == event.StringType {
			b.knownValue(left, v.Value.Text())
		}
	}
}

func (b *binder) knownValue(x *ScalarExpr, value string) {
	var known []event.Name
	switch {
	case x.Op == "stage":
		known = named(b.cat.names("stage")...)
	case x.Op == "group":
		known = named(b.cat.names("channels")...)
	case x.Op == "field" && x.Property:
		if b.cat.HasValue != nil {
			if has, sure := b.cat.HasValue(x.Field, value); sure && !has {
				b.warn("no event has %s = '%s'", x.Field, value)
			}
		}
		return
	case x.Op == "field" && x.Field == "event":
		known = b.cat.eventNames()
	case x.Op == "field" && x.Field == "channel":
		known = b.cat.channelNames()
	default:
		return
	}
	for _, k := range known {
		if k.Text == value {
			return
		}
	}
	text := fmt.Sprintf("nothing has %s = '%s'", x.brief(), value)
	if hint := didYouMean(value, known); hint != "" {
		text += "; " + hint
	}
	b.warn("%s", text)
}
