package reference

import (
	"cmp"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"wend/event"
	"wend/query"
)

// scope is what names in an expression can refer to.
type scope struct {
	at      *fact     // the event at hand, or the anchor
	who     *customer // set where there is no event: conditions on customers
	steps   []step    // of the statement's pattern
	reached []*fact   // the event of each step of the reported attempt, nil if not reached
	last    *fact     // the last event of the reported attempt
	rows    []*fact   // measure: what aggregates are taken over
	grouped bool      // measure: aggregates are allowed
	unit    *settings // measure: how sessions are cut
}

func (sc *scope) customer() *customer {
	if sc.at != nil {
		return sc.at.customer
	}
	return sc.who
}

func isTrue(v event.Value) bool { return v.Type() == event.BooleanType && v.Bool() }

func isFalse(v event.Value) bool { return v.Type() == event.BooleanType && !v.Bool() }

// value evaluates an expression; unknown is null.
func (ev *evaluator) value(e *query.Expr, sc *scope) event.Value {
	arg := func(i int) event.Value { return ev.value(e.Args[i], sc) }
	switch e.Op {
	case "literal":
		return e.Value
	case "date":
		return event.Instant(ev.first(&query.Date{Text: e.Text}))
	case "duration":
		return event.Integer(int64(e.Duration.Value)) // elapsed times are microseconds
	case "name":
		return ev.named(e.Name, sc)
	case "of":
		return ev.stepField(sc, int(e.Number), e.Name.Text, *e.Prop)
	case "call":
		return ev.call(e, sc)
	case "filtered":
		inner := *sc
		inner.rows = nil
		for _, f := range sc.rows {
			if isTrue(ev.value(e.Filter, &scope{at: f})) {
				inner.rows = append(inner.rows, f)
			}
		}
		return ev.value(e.Args[0], &inner)
	case "and":
		return and(ev.values(e.Args, sc))
	case "or":
		return not(and(each(ev.values(e.Args, sc), not)))
	case "not":
		return not(arg(0))
	case "neg":
		return arithmetic("-", event.Integer(0), arg(0))
	case "+", "-", "*", "/":
		return arithmetic(e.Op, arg(0), arg(1))
	case "=", "!=", "<", "<=", ">", ">=":
		return compare(e.Op, arg(0), arg(1))
	case "isnull":
		return event.Boolean(arg(0).IsNull())
	case "notnull":
		return event.Boolean(!arg(0).IsNull())
	case "in", "notin":
		var equal []event.Value
		for i := range e.Args[1:] {
			equal = append(equal, not(compare("=", arg(0), arg(i+1))))
		}
		if e.Op == "in" {
			return not(and(equal))
		}
		return and(equal)
	case "between", "notbetween":
		inside := and([]event.Value{compare(">=", arg(0), arg(1)), compare("<=", arg(0), arg(2))})
		if e.Op == "notbetween" {
			return not(inside)
		}
		return inside
	case "like", "notlike", "~":
		text, pattern := arg(0), arg(1)
		if text.IsNull() || pattern.IsNull() {
			return event.Null
		}
		expression := pattern.Text()
		if e.Op != "~" {
			expression = likePattern(expression)
		}
		found := regexp.MustCompile(expression).MatchString(text.Text())
		return event.Boolean(found != (e.Op == "notlike"))
	}
	fail("expression %s", e.Op)
	return event.Null
}

func (ev *evaluator) values(list []*query.Expr, sc *scope) []event.Value {
	var values []event.Value
	for _, e := range list {
		values = append(values, ev.value(e, sc))
	}
	return values
}

func each(values []event.Value, f func(event.Value) event.Value) []event.Value {
	mapped := make([]event.Value, len(values))
	for i, v := range values {
		mapped[i] = f(v)
	}
	return mapped
}

// and is false if one is false, else unknown if one is unknown.
func and(values []event.Value) event.Value {
	if slices.ContainsFunc(values, isFalse) {
		return event.Boolean(false)
	}
	if slices.ContainsFunc(values, event.Value.IsNull) {
		return event.Null
	}
	return event.Boolean(true)
}

func not(v event.Value) event.Value {
	if v.IsNull() {
		return v
	}
	return event.Boolean(!v.Bool())
}

func compare(op string, a, b event.Value) event.Value {
	if a.IsNull() || b.IsNull() {
		return event.Null
	}
	c := event.Compare(a, b)
	switch op {
	case "=":
		return event.Boolean(c == 0)
	case "!=":
		return event.Boolean(c != 0)
	case "<":
		return event.Boolean(c < 0)
	case "<=":
		return event.Boolean(c <= 0)
	case ">":
		return event.Boolean(c > 0)
	}
	return event.Boolean(c >= 0)
}

func arithmetic(op string, a, b event.Value) event.Value {
	if a.IsNull() || b.IsNull() {
		return event.Null
	}
	switch aTime, bTime := a.Type() == event.TimeType, b.Type() == event.TimeType; {
	case aTime && bTime:
		return event.Integer(int64(a.Time().Sub(b.Time())))
	case aTime && op == "-":
		return event.Instant(a.Time().Add(-event.Duration(b.Int())))
	case aTime:
		return event.Instant(a.Time().Add(event.Duration(b.Int())))
	case bTime:
		return event.Instant(b.Time().Add(event.Duration(a.Int())))
	}
	if op == "/" {
		if b.Float() == 0 {
			return event.Null
		}
		return event.Float(a.Float() / b.Float())
	}
	if a.Type() != event.IntegerType || b.Type() != event.IntegerType {
		switch x, y := a.Float(), b.Float(); op {
		case "+":
			return event.Float(x + y)
		case "-":
			return event.Float(x - y)
		default:
			return event.Float(x * y)
		}
	}
	x, y := a.Int(), b.Int()
	switch op {
	case "+":
		if (x+y > x) == (y > 0) {
			return event.Integer(x + y)
		}
	case "-":
		if (x-y < x) == (y > 0) {
			return event.Integer(x - y)
		}
	case "*":
		if x == 0 || y == 0 || (x*y/y == x && !(x == math.MinInt64 && y == -1) && !(y == math.MinInt64 && x == -1)) {
			return event.Integer(x * y)
		}
	}
	fail("integer overflow in %d %s %d", x, op, y)
	return event.Null
}

// likePattern writes a like pattern, which holds for the whole value, as RE2.
func likePattern(like string) string {
	var re strings.Builder
	escaped := false
	for _, r := range like {
		switch {
		case escaped:
			re.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '%':
			re.WriteString(".*")
		case r == '_':
			re.WriteString(".")
		default:
			re.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return `(?s)\A(?:` + re.String() + `)\z`
}

// named resolves a word: an aggregate of measure, a step's or a customer's
// property, a computed field, a field or a property.
func (ev *evaluator) named(n query.Name, sc *scope) event.Value {
	if sc.grouped {
		return ev.aggregate(n.Text, nil, sc)
	}
	if !n.Quoted {
		for cut := len(n.Text) - 1; cut > 0; cut-- {
			if n.Text[cut] != '.' {
				continue
			}
			prefix, field := n.Text[:cut], n.Text[cut+1:]
			switch {
			case prefix == "customer":
				return sc.customer().latest(field)
			case prefix == "last" && sc.steps != nil:
				return ev.ofFact(sc.last, field)
			case stepNumber(sc.steps, prefix) > 0:
				return ev.stepField(sc, 0, prefix, query.Name{Text: field})
			}
		}
		if sc.at != nil {
			return ev.ofFact(sc.at, n.Text)
		}
	}
	if sc.at == nil {
		return sc.who.latest(n.Text)
	}
	return sc.at.field(n.Text)
}

// ofFact is a computed field, a field or a property of an event.
func (ev *evaluator) ofFact(f *fact, name string) event.Value {
	switch name {
	case "stage":
		return ev.stage(f)
	case "channel_group":
		return ev.channelGroup(f)
	}
	return f.field(name)
}

// stepNumber finds a step by its `as` name, else by its event's name if only
// one step has it; 0 is none.
func stepNumber(steps []step, name string) int {
	if i := slices.IndexFunc(steps, func(s step) bool { return s.as == name }); i >= 0 {
		return i + 1
	}
	found := 0
	for i, s := range steps {
		if s.event == name {
			if found > 0 {
				return 0
			}
			found = i + 1
		}
	}
	return found
}

func (ev *evaluator) stepField(sc *scope, number int, name string, field query.Name) event.Value {
	f := sc.last
	if number > 0 || name != "last" {
		if name == "customer" {
			return sc.customer().latest(field.Text)
		}
		if number == 0 {
			number = stepNumber(sc.steps, name)
		}
		if number == 0 || number > len(sc.reached) {
			fail("no step %q", name)
		}
		f = sc.reached[number-1]
	}
	switch {
	case f == nil:
		return event.Null
	case field.Quoted:
		return f.field(field.Text)
	}
	return ev.ofFact(f, field.Text)
}

// stage is the name of the defined stage that the event is in.
func (ev *evaluator) stage(f *fact) event.Value {
	found := event.Null
	for _, d := range ev.definitions {
		if d.Kind == "stage" && ev.touchesAny(d.Touches, f) {
			if !found.IsNull() {
				fail("an event is in two stages: %s and %s", found.Text(), d.Name.Text)
			}
			found = event.String(d.Name.Text)
		}
	}
	return found
}

func (ev *evaluator) channelGroup(f *fact) event.Value {
	found := event.Null
	for _, d := range ev.definitions {
		if d.Kind == "channels" && f.Channel != "" && slices.ContainsFunc(d.Channels, func(n query.Name) bool { return n.Text == f.Channel }) {
			if !found.IsNull() {
				fail("channel %s is in two groups: %s and %s", f.Channel, found.Text(), d.Name.Text)
			}
			found = event.String(d.Name.Text)
		}
	}
	return found
}

func (ev *evaluator) call(e *query.Expr, sc *scope) event.Value {
	name := strings.ToLower(e.Name.Text)
	if name == "segment" {
		segment := e.Args[0].Name.Text
		if e.Args[0].Op == "literal" {
			segment = e.Args[0].Value.Text()
		}
		return event.Boolean(ev.inSegment(segment, sc.customer()))
	}
	if sc.grouped && isAggregate(name) {
		return ev.aggregate(name, e.Args[0], sc)
	}
	if name == "coalesce" {
		for _, a := range e.Args {
			if v := ev.value(a, sc); !v.IsNull() {
				return v
			}
		}
		return event.Null
	}
	v := ev.value(e.Args[0], sc)
	if v.IsNull() {
		return v
	}
	switch name {
	case "lower":
		return event.String(strings.ToLower(v.Text()))
	case "upper":
		return event.String(strings.ToUpper(v.Text()))
	case "length":
		return event.Integer(int64(utf8.RuneCountInString(v.Text())))
	case "abs":
		if v.Type() == event.FloatType {
			return event.Float(math.Abs(v.Float()))
		}
		return event.Integer(max(v.Int(), -v.Int()))
	case "round":
		if v.Type() == event.FloatType {
			return event.Float(math.Round(v.Float()))
		}
		return v
	}
	at := v.Time().Std().In(ev.zone)
	switch name {
	case "hour":
		return event.Integer(int64(at.Hour()))
	case "weekday":
		return event.Integer(int64(at.Weekday()+6)%7 + 1)
	case "day":
		return event.Integer(int64(at.Day()))
	case "month":
		return event.Integer(int64(at.Month()))
	case "year":
		return event.Integer(int64(at.Year()))
	case "date":
		return event.String(at.Format(time.DateOnly))
	}
	fail("function %s", name)
	return event.Null
}

func isAggregate(name string) bool {
	_, percentile := percentileOf(name)
	return percentile || slices.Contains([]string{"events", "customers", "sessions", "sum", "avg", "min", "max", "distinct"}, name)
}

// percentileOf reads median and pN.
func percentileOf(name string) (p float64, ok bool) {
	if name == "median" {
		return 0.5, true
	}
	digits, found := strings.CutPrefix(name, "p")
	if !found || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	for _, d := range digits {
		p = p*10 + float64(d-'0')
	}
	return p / 100, true
}

// aggregate is one of measure's aggregates over the rows at hand.
func (ev *evaluator) aggregate(name string, of *query.Expr, sc *scope) event.Value {
	switch strings.ToLower(name) {
	case "events":
		return event.Integer(int64(len(sc.rows)))
	case "customers":
		seen := map[*customer]bool{}
		for _, f := range sc.rows {
			seen[f.customer] = true
		}
		return event.Integer(int64(len(seen)))
	case "sessions":
		return event.Integer(ev.countSessions(sc))
	}
	if of == nil {
		fail("%s is no measure", name)
	}
	var values []event.Value
	for _, f := range sc.rows {
		if v := ev.value(of, &scope{at: f}); !v.IsNull() {
			values = append(values, v)
		}
	}
	if name == "distinct" {
		slices.SortFunc(values, event.Compare)
		return event.Integer(int64(len(slices.CompactFunc(values, func(a, b event.Value) bool { return event.Compare(a, b) == 0 }))))
	}
	if len(values) == 0 {
		return event.Null
	}
	switch name {
	case "min":
		return slices.MinFunc(values, event.Compare)
	case "max":
		return slices.MaxFunc(values, event.Compare)
	case "sum":
		return sum(values)
	case "avg":
		return event.Float(exactSum(values) / float64(len(values)))
	}
	var numbers []float64
	for _, v := range values {
		numbers = append(numbers, v.Float())
	}
	p, ok := percentileOf(name)
	if !ok {
		fail("function %s", name)
	}
	return event.Float(*percentile(numbers, p))
}

// sum adds values up; integers exactly, whatever their order.
func sum(values []event.Value) event.Value {
	if values[0].Type() == event.FloatType {
		return event.Float(exactSum(values))
	}
	total := new(big.Int)
	for _, v := range values {
		total.Add(total, big.NewInt(v.Int()))
	}
	if !total.IsInt64() {
		fail("integer overflow in a sum: %s", total)
	}
	return event.Integer(total.Int64())
}

// exactSum adds numbers up without rounding before the end.
func exactSum(values []event.Value) float64 {
	total := new(big.Rat)
	for _, v := range values {
		if v.Type() == event.IntegerType {
			total.Add(total, new(big.Rat).SetInt64(v.Int()))
		} else if exact := new(big.Rat).SetFloat64(v.Float()); exact != nil {
			total.Add(total, exact)
		} else {
			return v.Float() // infinite
		}
	}
	rounded, _ := total.Float64()
	return rounded
}

// countSessions counts the sessions that the rows lie in.
func (ev *evaluator) countSessions(sc *scope) int64 {
	cut := *sc.unit
	cut.session = true
	rows := map[*fact]bool{}
	for _, f := range sc.rows {
		rows[f] = true
	}
	var n int64
	for _, c := range ev.customers {
		for _, part := range ev.sessions(c, &cut) {
			if slices.ContainsFunc(part, func(f *fact) bool { return rows[f] }) {
				n++
			}
		}
	}
	return n
}

// percentile interpolates linearly between the closest ranks; nil over nothing.
func percentile(numbers []float64, p float64) *float64 {
	if len(numbers) == 0 {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(numbers), cmp.Compare[float64])
	rank := p * float64(len(sorted)-1)
	below := math.Floor(rank)
	low, high := sorted[int(below)], sorted[int(math.Ceil(rank))]
	v := low + (high-low)*(rank-below)
	return &v
}
