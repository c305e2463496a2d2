package query

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// expr parses an expression: or binds weakest, then and, not, comparisons,
// sums, products, signs.
func (p *parser) expr() *Expr { return p.exprWanting(wantExpression) }

func (p *parser) exprWanting(kind wantKind) *Expr {
	return p.exprChain("or", func() *Expr {
		return p.exprChain("and", func() *Expr { return p.negated(kind) })
	})
}

func (p *parser) exprs(kind wantKind) []*Expr {
	var list []*Expr
	for more := true; more; more = p.accept(",") {
		list = append(list, p.exprWanting(kind))
	}
	return list
}

// exprChain parses parts joined by `and` or `or` into one expression with all
// of them: a long list of conditions does not nest.
func (p *parser) exprChain(word string, part func() *Expr) *Expr {
	first := *p.peek()
	chain := &Expr{Op: word}
	for more := true; more; more = p.joined(word) {
		if e := part(); e.Op == word {
			chain.Args = append(chain.Args, e.Args...)
		} else {
			chain.Args = append(chain.Args, e)
		}
	}
	if len(chain.Args) == 1 {
		return chain.Args[0]
	}
	chain.Span = p.span(first)
	return chain
}

// joined consumes `and` or `or`, also as other languages write them.
func (p *parser) joined(word string) bool {
	t := p.peek()
	switch {
	case t.word() == word:
		p.next()
		return true
	case t.Type == kindSymbol && meant[t.Value] == word:
		p.report(CodeWrongOperator, p.here(), "did you mean `"+word+"`?", "there is no operator `%s`", t.Value)
		p.next()
		return true
	}
	p.want(wantOperator, word)
	return false
}

func (p *parser) negated(kind wantKind) *Expr {
	first := *p.peek()
	if p.keyword("not") != "" {
		p.enter(place(&first))
		e := &Expr{Op: "not", Args: []*Expr{p.negated(kind)}}
		p.leave()
		e.Span = p.span(first)
		return e
	}
	return p.test(first, p.sum(kind))
}

var comparisons = []string{"=", "!=", "<", "<=", ">", ">=", "~"}

// test parses what an expression is compared with; without a comparison it
// returns the expression itself. first is its first token: a parenthesis is
// not part of the expression inside, but it is of the comparison.
func (p *parser) test(first token, left *Expr) *Expr {
	e := p.comparison(left)
	if e == left {
		return left
	}
	e.Span = p.span(first)
	if t := p.peek(); t.Type == kindSymbol && slices.Contains(comparisons, t.Value) {
		p.fail(CodeChainedComparison, p.here(), "join two comparisons with `and`", "a comparison cannot be compared again")
	}
	return e
}

func (p *parser) comparison(left *Expr) *Expr {
	if op := p.comparisonOperator(); op != "" {
		return &Expr{Op: op, Args: []*Expr{left, p.compared(left)}}
	}
	switch p.operatorWord("is", "not", "in", "between", "like") {
	case "is":
		op := "isnull"
		if p.keyword("not") != "" {
			op = "notnull"
		}
		p.expectWord("null")
		return &Expr{Op: op, Args: []*Expr{left}}
	case "not":
		return p.membership(left, p.expectWord("in", "between", "like"), "not")
	case "in":
		return p.membership(left, "in", "")
	case "between":
		return p.membership(left, "between", "")
	case "like":
		return p.membership(left, "like", "")
	}
	return left
}

func (p *parser) comparisonOperator() string {
	t := *p.peek()
	if t.Type == kindSymbol {
		if slices.Contains(comparisons, t.Value) {
			return p.next().Value
		}
		if op := meant[t.Value]; slices.Contains(comparisons, op) {
			p.report(CodeWrongOperator, p.here(), "did you mean `"+op+"`?", "there is no operator `%s`", t.Value)
			p.next()
			return op
		}
	}
	for _, op := range comparisons {
		p.want(wantOperator, op)
	}
	return ""
}

func (p *parser) operatorWord(words ...string) string {
	if w := p.peek().word(); slices.Contains(words, w) {
		p.next()
		return w
	}
	for _, w := range words {
		p.want(wantOperator, w)
	}
	return ""
}

// membership parses what follows in, between and like, and their negations.
func (p *parser) membership(left *Expr, word, not string) *Expr {
	e := &Expr{Op: not + word, Args: []*Expr{left}}
	switch word {
	case "in":
		if !p.opening("(") {
			p.unexpected()
		}
		for more := true; more; more = p.accept(",") {
			p.comparing(left)
			e.Args = append(e.Args, p.expr())
		}
		p.closing(")")
	case "between":
		e.Args = append(e.Args, p.compared(left))
		p.expectWord("and")
		e.Args = append(e.Args, p.compared(left))
	case "like":
		p.comparing(left)
		t := *p.peek()
		if t.Type != kindString {
			p.want(wantThing, "a text such as 'a%'")
			p.unexpected()
			break
		}
		e.Args = append(e.Args, p.primary(wantExpression))
	}
	return e
}

// compared parses a value that left is compared with.
func (p *parser) compared(left *Expr) *Expr {
	p.comparing(left)
	return p.sum(wantExpression)
}

// comparing tells Complete that a value of a property comes next.
func (p *parser) comparing(left *Expr) {
	switch left.Op {
	case "name":
		p.valueAt, p.valueOf = p.at, left.Name.Text
	case "of":
		p.valueAt, p.valueOf = p.at, left.Prop.Text
	}
}

func (p *parser) sum(kind wantKind) *Expr {
	return p.arithmetic([]string{"+", "-"}, func() *Expr {
		return p.arithmetic([]string{"*", "/"}, func() *Expr { return p.unary(kind) })
	})
}

// arithmetic parses operands joined from the left.
func (p *parser) arithmetic(operators []string, operand func() *Expr) *Expr {
	first := *p.peek()
	left := operand()
	for n := 1; !p.stopped; n++ {
		t := *p.peek()
		if t.Type != kindSymbol || !slices.Contains(operators, t.Value) {
			for _, op := range operators {
				p.want(wantOperator, op)
			}
			break
		}
		if n > chainMax {
			p.fail(CodeExpressionTooLong, place(&t), "compute a part of it when importing", "more than %d operators in a row", chainMax)
			break
		}
		p.next()
		left = &Expr{Op: t.Value, Args: []*Expr{left, operand()}}
		left.Span = p.span(first)
	}
	return left
}

func (p *parser) unary(kind wantKind) *Expr {
	first := *p.peek()
	if !first.symbol("-") {
		return p.primary(kind)
	}
	p.next()
	// The least integer has no positive counterpart.
	if t := *p.peek(); t.Type == kindNumber && t.Value == "9223372036854775808" {
		p.next()
		return &Expr{Span: p.span(first), Op: "literal", Value: event.Integer(math.MinInt64)}
	}
	p.enter(place(&first))
	e := &Expr{Op: "neg", Args: []*Expr{p.unary(kind)}}
	p.leave()
	e.Span = p.span(first)
	return e
}

func (p *parser) primary(kind wantKind) *Expr {
	t := *p.peek()
	e := &Expr{}
	switch t.Type {
	case kindNumber, kindExponent:
		p.numberOrStep(e)
	case kindString:
		p.next()
		if p.accept(".") {
			e.Op, e.Name = "of", Name{Span: place(&t), Text: unquote(t.Value), Quoted: true}
			p.propInto(e)
		} else {
			e.Op, e.Value = "literal", event.String(unquote(t.Value))
		}
	case kindDate:
		p.next()
		e.Op, e.Text = "date", p.checkedDate(t).Text
	case kindAttached:
		d := p.duration(wantDuration)
		e.Op, e.Duration = "duration", &d
	case kindParam:
		p.next()
		e.Op, e.Text = "param", t.Value[1:]
	case kindWord, kindCprop, kindQuoted:
		if p.wordPrimary(e) {
			break
		}
		fallthrough
	default:
		if p.opening("(") {
			e = p.exprWanting(kind)
			p.closing(")")
			return e
		}
		if p.valueAt == p.at {
			p.want(wantValue, p.valueOf)
		}
		p.want(kind, "")
		p.unexpected()
	}
	e.Span = p.span(t)
	return e
}

// numberOrStep parses a number, or the property of a step given by its number.
func (p *parser) numberOrStep(e *Expr) {
	t := p.next()
	whole := t.Type == kindNumber && !strings.Contains(t.Value, ".")
	if whole && p.accept(".") {
		e.Op = "of"
		n, err := strconv.ParseInt(t.Value, 10, 64)
		if err != nil {
			p.report(CodeNumberTooLarge, place(&t), "", "there is no step %s", t.Value)
		}
		e.Number = n
		p.propInto(e)
		return
	}
	e.Op = "literal"
	if whole {
		n, err := strconv.ParseInt(t.Value, 10, 64)
		if err != nil {
			p.report(CodeNumberTooLarge, place(&t), "write it with a decimal point, as a float", "%s is more than an integer holds", t.Value)
		}
		e.Value = event.Integer(n)
		return
	}
	f, err := strconv.ParseFloat(t.Value, 64)
	if err != nil {
		p.report(CodeNumberTooLarge, place(&t), "", "%s is more than a float holds", t.Value)
		f = 0
	}
	e.Value = event.Float(f)
}

// clauseOnly are words that hardly name a property, so that a clause is what
// they begin if they do not fit.
var clauseOnly = strings.Fields("by where within during every per among using holding order lenient timezone")

// wordPrimary parses what begins with a word or a quoted name: a constant, a
// name, a call, the property of a step, each with a filter in measures.
func (p *parser) wordPrimary(e *Expr) bool {
	t := *p.peek()
	switch t.word() {
	case "true", "false":
		p.next()
		e.Op, e.Value = "literal", event.Boolean(t.word() == "true")
		return true
	case "null":
		p.next()
		e.Op = "literal"
		return true
	case "not":
		return false
	}
	if slices.Contains(clauseOnly, t.word()) {
		p.taken = p.at
	}
	p.next()
	e.Name = Name{Span: place(&t), Text: t.Value}
	if t.Type == kindQuoted {
		e.Name.Text, e.Name.Quoted = unquote(t.Value), true
		if e.Name.Text == "" {
			p.report(CodeEmptyName, place(&t), "a text is written in single quotes: ''", "a name cannot be empty")
		}
	}
	switch {
	case p.opening("("):
		e.Op = "call"
		if t.word() == "segment" {
			p.want(wantSegment, "")
		}
		if !p.peek().symbol(")") {
			e.Args = p.exprs(wantExpression)
		}
		p.closing(")")
	case p.accept("."):
		e.Op = "of"
		p.propInto(e)
	default:
		e.Op = "name"
	}
	if p.opening("[") {
		inner := *e
		inner.Span = Span{Offset: t.Pos.Offset, Line: t.Pos.Line, Column: t.Pos.Column,
			Length: p.tokens[max(p.at-2, 0)].runes + p.tokens[max(p.at-2, 0)].length() - t.runes}
		*e = Expr{Op: "filtered", Args: []*Expr{&inner}, Filter: p.expr()}
		p.closing("]")
	}
	return true
}

func (p *parser) propInto(e *Expr) {
	prop := p.prop()
	e.Prop = &prop
}

// prop parses the name of a property after a dot.
func (p *parser) prop() Name {
	t := *p.peek()
	n := Name{}
	switch t.Type {
	case kindWord:
		n.Text = p.next().Value
	case kindQuoted:
		n.Text, n.Quoted = unquote(p.next().Value), true
		if n.Text == "" {
			p.report(CodeEmptyName, place(&t), "", "a name cannot be empty")
		}
	default:
		p.want(wantField, "")
		p.unexpected()
	}
	n.Span = p.span(t)
	return n
}
