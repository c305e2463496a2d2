package query

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"wend/event"
)

// same compares syntax trees but for places, and for quotes that say nothing.
var same = cmp.Options{
	cmpopts.IgnoreTypes(Span{}),
	cmpopts.IgnoreUnexported(Statement{}),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b Name) bool { return a.Text == b.Text && a.exprText() == b.exprText() }),
	cmp.Comparer(func(a, b event.Value) bool { return a == b }),
}

func TestPrintParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := maker{t}.statement()
		text := want.String()
		parsed, err := Parse(text)
		if err != nil {
			t.Fatalf("%s\n%s", text, err.(Errors).Pretty())
		}
		if len(parsed) != 1 {
			t.Fatalf("%s: %d statements", text, len(parsed))
		}
		if diff := cmp.Diff(want, parsed[0], same); diff != "" {
			t.Fatalf("%s\n%s", text, diff)
		}
		if again := parsed[0].String(); again != text {
			t.Fatalf("printed\n%s\nthen\n%s", text, again)
		}
		checkSpans(t, text, parsed[0])
	})
}

// A clause that would fall to the one before it is written before that one:
// such trees come from programs, not from Parse.
func TestPrintKeepsClausesApart(t *testing.T) {
	by := func(top int64) Clause {
		return Clause{Kind: "by", Groups: []Group{{Expr: &Expr{Op: "name", Name: Name{Text: "x"}}, Top: top}}}
	}
	did := func(name string) *Cohort {
		return &Cohort{Kind: "did", Alt: &Alt{Touches: []Touch{{Name: Name{Text: name}}}}}
	}
	among := func(c *Cohort) Clause { return Clause{Kind: "among", Cohort: c} }
	top := Clause{Kind: "top", Number: 3}
	during := Clause{Kind: "during", Range: &Range{Since: &Date{Text: "2025-01-01"}}}
	ranged := did("a")
	ranged.During = &Range{Last: &Duration{Value: event.Day}}
	tests := []struct {
		clauses []Clause
		want    string
	}{
		{[]Clause{by(0), top}, "paths top 3 by x"},
		{[]Clause{by(2), top}, "paths by x top 2 top 3"},
		{[]Clause{by(0), {Kind: "collapse"}, top}, "paths by x collapse top 3"},
		{[]Clause{among(did("a")), during}, "paths during since 2025-01-01 among did a"},
		{[]Clause{by(0), among(did("a")), during, top}, "paths by x during since 2025-01-01 among did a top 3"},
		{[]Clause{among(ranged), during}, "paths among did a during last 1d during since 2025-01-01"},
		{[]Clause{among(&Cohort{Kind: "in", Name: Name{Text: "s"}}), during}, "paths among in s during since 2025-01-01"},
		{[]Clause{among(&Cohort{Kind: "not", Args: []*Cohort{did("a")}}), during}, "paths during since 2025-01-01 among not did a"},
		{[]Clause{among(&Cohort{Kind: "and", Args: []*Cohort{ranged, did("a")}}), during}, "paths during since 2025-01-01 among did a during last 1d and did a"},
		{[]Clause{among(&Cohort{Kind: "or", Args: []*Cohort{did("a"), ranged}}), during}, "paths among did a or did a during last 1d during since 2025-01-01"},
		{[]Clause{among(&Cohort{Kind: "not", Args: []*Cohort{{Kind: "or", Args: []*Cohort{did("a"), did("b")}}}}), during},
			"paths among not (did a or did b) during since 2025-01-01"},
	}
	for _, test := range tests {
		q := &Query{Verb: "paths", Clauses: test.clauses}
		if got := q.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		if parsed, err := Parse(test.want); err != nil || parsed[0].String() != test.want {
			t.Errorf("%s: %v, %v", test.want, parsed, err)
		}
	}
}

// checkSpans cuts every name and every expression out of the text by its span,
// and reads the piece again.
func checkSpans(t *rapid.T, text string, s *Statement) {
	piece := func(at Span) string {
		before := text[:at.Offset]
		if at.Line != 1+strings.Count(before, "\n") || at.Column != 1+len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) {
			t.Fatalf("%s\noffset %d is not at %d:%d", text, at.Offset, at.Line, at.Column)
		}
		return string([]rune(text[at.Offset:])[:at.Length])
	}
	names, exprs := 0, 0
	walk(reflect.ValueOf(s), func(node any) {
		switch n := node.(type) {
		case Name:
			if n.Text == "" {
				return
			}
			names++
			got := piece(n.Span)
			if got[0] == '"' {
				got = unquote(got)
			}
			if strings.TrimPrefix(got, "customer.") != strings.TrimPrefix(n.Text, "customer.") {
				t.Fatalf("%s\nthe span of %q is at %q", text, n.Text, got)
			}
		case Expr:
			exprs++
			parsed, err := Parse("measure " + piece(n.Span))
			if err != nil {
				t.Fatalf("%s\n%s", text, err)
			}
			if diff := cmp.Diff(&n, parsed[0].Query.Outputs[0].Expr, same); diff != "" {
				t.Fatalf("%s\n%q: %s", text, piece(n.Span), diff)
			}
		}
	})
	if got := piece(s.Span); got != text {
		t.Fatalf("%s\nthe statement's span is %q", text, got)
	}
}

func walk(v reflect.Value, visit func(node any)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), visit)
		}
	case reflect.Struct:
		if v.Type().PkgPath() != reflect.TypeFor[Statement]().PkgPath() {
			return
		}
		visit(v.Interface())
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				walk(v.Field(i), visit)
			}
		}
	}
}

// maker makes syntax trees that Parse could have made.
type maker struct{ t *rapid.T }

func (m maker) one(of ...string) string { return rapid.SampledFrom(of).Draw(m.t, "word") }

func (m maker) maybe() bool { return rapid.Bool().Draw(m.t, "maybe") }

// seldom keeps trees from growing without end.
func (m maker) seldom() bool { return rapid.IntRange(0, 4).Draw(m.t, "seldom") == 0 }

func (m maker) number(least int) int64 {
	return int64(rapid.IntRange(least, 50).Draw(m.t, "number"))
}

func several[T any](m maker, most int, make func() T) []T {
	var list []T
	for range rapid.IntRange(1, most).Draw(m.t, "several") {
		list = append(list, make())
	}
	return list
}

var someNames = []string{
	"a", "view_product", "shop.cart", "größe", "購入", "call service", "it's", `say "hi"`, "any", "EACH", "not", "Null", "true",
	"within", "by", "as", "in", "or", "top", "customer", "session", "event", "stage", "a..b", "2nd", "customer.x", "-", ";", "--", "\n",
	"did", "order", "$x", "7d", "2025-01-31", "e\u0301", " ", "*",
}

func (m maker) name() Name {
	n := Name{Text: m.one(someNames...)}
	if m.seldom() {
		n.Text = rapid.StringN(1, 8, -1).Draw(m.t, "name")
	}
	n.Quoted = n.String()[0] == '"'
	return n
}

// field is a name where a property is wanted: customer.x needs no quotes.
func (m maker) field() Name {
	if m.seldom() {
		return Name{Text: "customer.tier"}
	}
	return m.name()
}

func (m maker) optionalName() *Name {
	if m.maybe() {
		return nil
	}
	n := m.name()
	return &n
}

func (m maker) statement() *Statement {
	switch m.one("query", "query", "query", "explain", "define", "drop") {
	case "define":
		return &Statement{Define: m.definition()}
	case "drop":
		n := m.name()
		return &Statement{Drop: &n}
	case "explain":
		return &Statement{Explain: true, Analyze: m.maybe(), Query: m.query()}
	}
	return &Statement{Query: m.query()}
}

func (m maker) query() *Query {
	q := &Query{Verb: m.one(verbs...)}
	switch q.Verb {
	case "funnel", "times", "dropoff", "drivers":
		q.Pattern = m.pattern()
	case "why":
		q.Customer, q.Pattern = m.customer(), m.pattern()
	case "next":
		if q.For = m.maybe(); q.For {
			q.Customer = m.customer()
		} else {
			q.Pattern = m.pattern()
		}
	case "paths":
		if m.maybe() {
			q.From, q.FromEach = m.alt(), m.maybe()
		}
		if m.maybe() {
			q.To, q.ToEach = m.alt(), m.maybe()
		}
	case "flow":
		switch m.one("from", "to", "") {
		case "from":
			q.From = m.alt()
		case "to":
			q.To = m.alt()
		}
	case "transitions":
		q.Times = m.maybe()
	case "switches":
		if m.maybe() {
			q.FromCh = m.channels()
		}
		if m.maybe() {
			q.ToCh = m.channels()
		}
	case "match":
		q.Regex = m.regex(2)
	case "retention":
		q.From, q.To = m.alt(), m.alt()
	case "attribute":
		q.From, q.Exprs = m.alt(), m.exprs()
	case "affinity":
		q.Field, q.From = &Expr{Op: "name", Name: m.field()}, m.alt()
	case "map":
		q.Names = several(m, 3, m.name)
	case "measure":
		q.Outputs = several(m, 3, func() Output { return Output{Expr: m.expr(3), As: m.optionalName()} })
	case "journey":
		q.Customer = m.customer()
	case "show":
		q.Show = m.one("events", "channels", "properties", "definitions", "status")
	case "describe":
		q.Names = []Name{m.name()}
		return q
	}
	q.Clauses = m.clauses(clauseOrder)
	return q
}

func (m maker) customer() *Text {
	if m.maybe() {
		return &Text{Param: "who"}
	}
	return &Text{Text: rapid.String().Draw(m.t, "customer")}
}

func (m maker) pattern() *Pattern {
	p := &Pattern{AnyOrder: m.seldom(), Steps: several(m, 3, func() Step { return Step{Alt: *m.alt(), As: m.optionalName()} })}
	for i := 1; i < len(p.Steps) && !p.AnyOrder; i++ {
		l := Link{Next: m.maybe(), Bound: m.optionalDuration()}
		for m.seldom() {
			l.Nots = append(l.Nots, Not{Alt: *m.alt(), Next: m.maybe(), Bound: m.optionalDuration()})
		}
		p.Links = append(p.Links, l)
	}
	return p
}

func (m maker) duration() Duration {
	return Duration{Value: event.Duration(rapid.Int64Range(0, int64(100*event.Week/event.Millisecond)).Draw(m.t, "ms")) * event.Millisecond}
}

func (m maker) optionalDuration() *Duration {
	if m.maybe() {
		return nil
	}
	d := m.duration()
	return &d
}

func (m maker) alt() *Alt {
	a := &Alt{Touches: several(m, 3, m.touch)}
	if a.Grouped = len(a.Touches) > 1; a.Grouped {
		a.Channels, a.Filter = m.suffix()
	}
	return a
}

func (m maker) touch() Touch {
	t := Touch{Any: m.seldom()}
	if !t.Any {
		t.Name = m.name()
	}
	t.Channels, t.Filter = m.suffix()
	return t
}

func (m maker) suffix() (c *Channels, filter *Expr) {
	if m.seldom() {
		c = m.channels()
	}
	if m.seldom() {
		filter = m.expr(3)
	}
	return c, filter
}

func (m maker) channels() *Channels { return &Channels{Names: several(m, 3, m.name)} }

func (m maker) regex(depth int) *Regex {
	return &Regex{Branches: several(m, 2, func() RegexBranch {
		b := RegexBranch{Items: several(m, 3, func() RegexItem { return m.item(depth) })}
		for range b.Items[1:] {
			b.Bounds = append(b.Bounds, m.optionalDuration())
		}
		return b
	})}
}

func (m maker) item(depth int) RegexItem {
	i := RegexItem{}
	if depth > 0 && m.seldom() {
		i.Group = m.regex(depth - 1)
	} else {
		t := m.touch()
		i.Touch = &t
	}
	least := int(m.number(0))
	switch i.Repeat = m.one("", "?", "*", "+", "{m}", "{m,}", "{m,n}"); i.Repeat {
	case "":
		i.Min, i.Max = 1, 1
	case "?":
		i.Min, i.Max = 0, 1
	case "*":
		i.Min, i.Max = 0, -1
	case "+":
		i.Min, i.Max = 1, -1
	case "{m}":
		i.Min, i.Max, i.Repeat = least, least, fmt.Sprintf("{%d}", least)
	case "{m,}":
		i.Min, i.Max, i.Repeat = least, -1, fmt.Sprintf("{%d,}", least)
	case "{m,n}":
		i.Min, i.Max, i.Repeat = least, least+2, fmt.Sprintf("{%d,%d}", least, least+2)
	}
	return i
}

// clauses makes clauses in any order, but none that would fall to the one before.
func (m maker) clauses(kinds []string) []Clause {
	var list []Clause
	for range rapid.IntRange(0, 3).Draw(m.t, "clauses") {
		c := m.clause(m.one(kinds...))
		if n := len(list); n > 0 && list[n-1].takes(c.Kind) {
			continue
		}
		list = append(list, c)
	}
	return list
}

func (m maker) clause(kind string) Clause {
	c := Clause{Kind: kind}
	switch kind {
	case "where", "value":
		c.Expr = m.expr(3)
	case "score":
		c.Expr = &Expr{Op: "name", Name: m.field()}
	case "during":
		c.Range = m.dateRange()
	case "within":
		c.Durations = several(m, 3, m.duration)
	case "per":
		switch c.Word = m.one("customer", "session", "field"); c.Word {
		case "session":
			c.Gap = m.optionalDuration()
		case "field":
			n := m.field()
			n.Quoted = n.field("customer", "session")[0] == '"'
			c.Field = &n
		}
	case "holding":
		n := m.field()
		c.Field = &n
	case "order":
		n := m.name()
		c.Field, c.Word = &n, m.one("", "asc", "desc")
	case "entry":
		c.Word = m.one("best", "first")
	case "ties":
		c.Word = m.one("steps", "arrival")
	case "exclusion":
		c.Word = m.one("cut", "void", "drop")
	case "by":
		c.Groups = several(m, 3, func() Group { return Group{Expr: m.expr(2), Top: int64(m.number(0))} })
	case "every":
		c.Word = m.one(periods...)
	case "timezone":
		c.Text = m.one("UTC", "it's")
	case "count":
		c.Word = m.one("customers", "sessions", "attempts", "entries")
	case "among":
		c.Cohort = m.cohort(3)
	case "of":
		c.Exprs = m.exprs()
	case "length", "depth", "top", "limit", "for":
		c.Number = m.number(1)
	case "cover", "test":
		c.Percent = float64(m.number(1)) / 4
	case "through", "goal":
		c.Alt = m.alt()
	case "using":
		c.Models = several(m, 3, m.model)
	case "end":
		c.Time = m.date()
	}
	return c
}

func (m maker) model() Model {
	d := m.duration()
	return rapid.SampledFrom([]Model{{Name: "first"}, {Name: "decay", Duration: &d}, {Name: "markov", Number: 2}}).Draw(m.t, "model")
}

func (m maker) date() *Date {
	return &Date{Text: m.one("2025-01-31", "2024-02-29T10:00", "2025-01-31T10:00:59", "2025-01-31T10:00:59.123456Z", "0001-01-01T00:00-01:00")}
}

func (m maker) dateRange() *Range {
	switch m.one("last", "months", "since", "until", "both") {
	case "last":
		d := m.duration()
		return &Range{Last: &d}
	case "months":
		return &Range{Last: &Duration{Month: true, Count: m.number(0), Unit: m.one("month", "quarter", "year")}}
	case "since":
		return &Range{Since: m.date()}
	case "until":
		return &Range{Until: m.date()}
	}
	return &Range{Since: m.date(), Until: m.date()}
}

func (m maker) cohort(depth int) *Cohort {
	kinds := []string{"did", "did", "reached", "stopped", "in", "property"}
	if depth > 0 {
		kinds = append(kinds, "and", "or", "not", "and", "or")
	}
	c := &Cohort{Kind: m.one(kinds...)}
	switch c.Kind {
	case "and", "or":
		for len(c.Args) < 2 || m.maybe() {
			// A part of the same kind would be parts of the whole.
			if arg := m.cohort(depth - 1); arg.Kind != c.Kind {
				c.Args = append(c.Args, arg)
			}
		}
	case "not":
		c.Args = []*Cohort{m.cohort(depth - 1)}
	case "did":
		c.Alt = m.alt()
		if c.Compare = m.one("", "at least", "at most", "exactly"); c.Compare != "" {
			c.Times = m.number(0)
		}
		if m.maybe() {
			c.During = m.dateRange()
		}
	case "reached", "stopped":
		if c.Step = m.optionalName(); c.Step == nil {
			c.Number = m.number(1)
		}
		if c.Funnel = m.optionalName(); c.Funnel == nil {
			c.Pattern, c.Options = m.pattern(), m.clauses(optionKinds)
		}
	case "in":
		c.Name = m.name()
	case "property":
		left := &Expr{Op: "name", Name: Name{Text: "customer.tier"}}
		c.Name = Name{Text: "tier"}
		if m.maybe() {
			c.Name = Name{Text: "home town", Quoted: true}
			left = &Expr{Op: "of", Name: Name{Text: "customer"}, Prop: &c.Name}
		}
		c.Test = m.test(left, 2)
	}
	return c
}

func (m maker) definition() *Definition {
	d := &Definition{Kind: m.one("touchpoint", "stage", "channels", "segment", "funnel"), Name: m.name()}
	switch d.Kind {
	case "touchpoint", "stage":
		d.Touches = several(m, 3, m.touch)
	case "channels":
		d.Channels = several(m, 3, m.name)
	case "segment":
		d.Cohort = m.cohort(3)
	case "funnel":
		d.Pattern, d.Options = m.pattern(), m.clauses(optionKinds)
	}
	return d
}

func (m maker) exprs() []*Expr {
	return several(m, 3, func() *Expr { return m.expr(2) })
}

func (m maker) expr(depth int) *Expr {
	if depth <= 0 {
		return m.primary(0)
	}
	switch op := m.one("and", "or", "not", "neg", "sum", "sum", "test", "test", "test", "primary", "primary"); op {
	case "and", "or":
		e := &Expr{Op: op}
		for len(e.Args) < 2 || m.maybe() {
			if arg := m.expr(depth - 1); arg.Op != op {
				e.Args = append(e.Args, arg)
			}
		}
		return e
	case "not", "neg":
		return &Expr{Op: op, Args: []*Expr{m.expr(depth - 1)}}
	case "sum":
		return &Expr{Op: m.one("+", "-", "*", "/"), Args: []*Expr{m.expr(depth - 1), m.expr(depth - 1)}}
	case "test":
		return m.test(m.expr(depth-1), depth)
	}
	return m.primary(depth)
}

func (m maker) test(left *Expr, depth int) *Expr {
	e := &Expr{Op: m.one("=", "!=", "<", "<=", ">", ">=", "~", "isnull", "notnull", "in", "notin", "between", "notbetween", "like", "notlike"), Args: []*Expr{left}}
	switch e.Op {
	case "isnull", "notnull":
	case "in", "notin":
		e.Args = append(e.Args, several(m, 3, func() *Expr { return m.expr(depth - 1) })...)
	case "between", "notbetween":
		e.Args = append(e.Args, m.expr(depth-1), m.expr(depth-1))
	case "like", "notlike":
		e.Args = append(e.Args, m.text())
	default:
		e.Args = append(e.Args, m.expr(depth-1))
	}
	return e
}

func (m maker) text() *Expr {
	return &Expr{Op: "literal", Value: event.String(rapid.String().Draw(m.t, "text"))}
}

func (m maker) primary(depth int) *Expr {
	switch m.one("integer", "float", "text", "constant", "date", "duration", "param", "name", "name", "of", "call", "filtered") {
	case "integer":
		n := rapid.Int64Min(0).Draw(m.t, "integer")
		if m.seldom() {
			n = math.MinInt64
		}
		return &Expr{Op: "literal", Value: event.Integer(n)}
	case "float":
		return &Expr{Op: "literal", Value: event.Float(rapid.Float64Range(0, math.MaxFloat64).Draw(m.t, "float"))}
	case "text":
		return m.text()
	case "constant":
		v := rapid.SampledFrom([]event.Value{event.Null, event.Boolean(true), event.Boolean(false)}).Draw(m.t, "constant")
		return &Expr{Op: "literal", Value: v}
	case "date":
		return &Expr{Op: "date", Text: m.date().Text}
	case "duration":
		d := m.duration()
		return &Expr{Op: "duration", Duration: &d}
	case "param":
		return &Expr{Op: "param", Text: "größe_2"}
	case "of":
		return m.of()
	case "call":
		e := &Expr{Op: "call", Name: m.field()}
		for range rapid.IntRange(0, 2).Draw(m.t, "args") {
			e.Args = append(e.Args, m.expr(depth-1))
		}
		return e
	case "filtered":
		inner := &Expr{Op: "name", Name: m.field()}
		if m.maybe() {
			inner = &Expr{Op: "call", Name: m.field(), Args: []*Expr{m.primary(0)}}
		}
		return &Expr{Op: "filtered", Args: []*Expr{inner}, Filter: m.expr(depth - 1)}
	}
	if m.seldom() {
		return &Expr{Op: "name", Name: Name{Text: m.one("a.b", "event"), Quoted: true}}
	}
	return &Expr{Op: "name", Name: m.field()}
}

func (m maker) of() *Expr {
	prop := m.name()
	if m.maybe() {
		return &Expr{Op: "of", Number: m.number(1), Prop: &prop}
	}
	step := m.name()
	step.Quoted = true
	return &Expr{Op: "of", Name: step, Prop: &prop}
}
