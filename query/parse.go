package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

const (
	// nestingMax bounds the parser's recursion: a stack that overflows cannot
	// be recovered from.
	nestingMax = 64
	// chainMax bounds the operators of one sum or product, which nest to the
	// left without parentheses.
	chainMax = 1000
	// textBytesMax bounds a script, and so the time to read it, about a second
	// for each 300 KB of nothing but parentheses.
	textBytesMax = 1 << 20
	// StatementBytesMax bounds one statement, and nodesMax the names, values and
	// operators in it: what is bound, printed and evaluated one by one.
	StatementBytesMax = 64 << 10
	nodesMax          = 5000
	// mistakesMax bounds the list of mistakes: nobody reads more, and each is
	// shown with its line.
	mistakesMax = 100
)

// Parse reads a script: statements separated by semicolons, empty ones left
// out. The error is Errors, with the mistakes of all statements; the statements
// without a mistake are returned beside it.
func Parse(text string) ([]*Statement, error) {
	if len(text) > textBytesMax {
		return nil, Errors{{Code: CodeTextTooLong, Span: Span{Line: 1, Column: 1, Length: 1}, Text: text,
			Message: fmt.Sprintf("the text has %d bytes; the limit is %d", len(text), textBytesMax),
			Hint:    "send the statements one by one, or import a long list of values as a property"}}
	}
	parsed, err := grammar.ParseString("", text)
	if err != nil {
		// The productions below report mistakes in their own words and always
		// match, and the lexer has a rule for everything.
		panic(refusal(text, err))
	}
	var statements []*Statement
	var mistakes Errors
	for _, s := range parsed.Statements {
		if len(s.mistakes) == 0 {
			s.statement.source = text
			statements = append(statements, s.statement)
		}
		mistakes = append(mistakes, s.mistakes...)
	}
	if len(mistakes) == 0 {
		return statements, nil
	}
	for _, m := range mistakes {
		m.Text = text
	}
	slices.SortStableFunc(mistakes, func(a, b *Error) int { return a.Offset - b.Offset })
	if more := len(mistakes) - mistakesMax; more > 0 {
		mistakes = mistakes[:mistakesMax]
		mistakes = append(mistakes, &Error{Code: CodeTooManyMistakes, Span: mistakes[mistakesMax-1].Span, Text: text,
			Message: fmt.Sprintf("%d more mistakes are not shown", more), Hint: "correct the first ones"})
	}
	return statements, mistakes
}

// refusal is what to panic with where a text cannot be read at all. It says
// where, and nothing of the text, which may hold what no log should.
func refusal(text string, err error) string {
	at := lexer.Position{}
	var e participle.Error
	if errors.As(err, &e) {
		at = e.Position()
	}
	return fmt.Sprintf("query: a text of %d bytes cannot be read at byte %d", len(text), at.Offset)
}

// script is the root of the grammar. Between its semicolons stand statements,
// which parse themselves: so the parser can say what it expected where, take
// up again after a mistake, and tell Complete what may stand at the cursor.
type script struct {
	Statements []*production `parser:"@@? ( ';' @@? )*"`
}

var grammar = participle.MustBuild[script](
	participle.Lexer(language),
	participle.Elide("Space", "Comment"),
)

// production is one statement, or what could be made of it, and its mistakes.
type production struct {
	statement *Statement
	mistakes  Errors
}

// Parse takes the tokens up to the next semicolon and parses them.
func (n *production) Parse(lex *lexer.PeekingLexer) error {
	p := newParser(lex)
	if len(p.tokens) == 1 {
		return participle.NextMatch
	}
	if p.withinLimits() {
		n.statement = p.statement()
	}
	n.mistakes = p.mistakes
	return nil
}

// withinLimits reports whether the statement is small enough to be parsed.
func (p *parser) withinLimits() bool {
	first, last := p.tokens[0], p.tokens[len(p.tokens)-1]
	if n := last.end() - first.Pos.Offset; n > StatementBytesMax {
		p.fail(CodeTextTooLong, place(&first), "import a long list of values as a property",
			"the statement has %d bytes; the limit is %d", n, StatementBytesMax)
		return false
	}
	nodes := 0
	for i := range p.tokens[:len(p.tokens)-1] { // the last is the end
		if t := &p.tokens[i]; !t.symbol(",") && !t.symbol("(") && !t.symbol(")") {
			nodes++
		}
	}
	if nodes > nodesMax {
		p.fail(CodeTooManyNodes, place(&first), "ask in parts, or define a part as a touchpoint or a segment and use its name",
			"the statement has %d names, values and operators; the limit is %d", nodes, nodesMax)
		return false
	}
	return true
}

// parser goes through the tokens of one statement, with one token of
// look-ahead. The first mistake that it cannot see past stops it: from then on
// every token is the end, so that the productions need not look for it.
type parser struct {
	tokens   []token // the last is the end of the statement
	at       int
	mistakes Errors
	stopped  bool
	depth    int // of parentheses, `not` and `-`

	wants     []want // what was asked for at the current token, in vain
	taken     int    // index of a word that was taken for a name though it may begin a clause; -1: none
	takenStep int    // the same, for a step
	patternAt int    // index of the token that the last pattern begins with
	valueAt   int    // index of the token that is compared with …
	valueOf   string // … this property
	open      []token
}

// newParser takes the tokens of one statement from the lexer. Between two
// tokens, the elided ones count for the places in runes.
func newParser(lex *lexer.PeekingLexer) *parser {
	p := &parser{taken: -1, takenStep: -1, valueAt: -1, patternAt: -1}
	runes := 0
	for {
		next := lex.Peek()
		if next.EOF() || next.Value == ";" {
			break
		}
		raw := lex.RawCursor()
		lex.Next()
		for _, t := range lex.Range(raw, lex.RawCursor()) {
			elided := token{Token: t, runes: runes}
			if t.Pos.Offset == next.Pos.Offset {
				p.tokens = append(p.tokens, elided)
			}
			runes += elided.length()
		}
	}
	end := token{Token: lexer.EOFToken(lexer.Position{Line: 1, Column: 1})}
	if n := len(p.tokens); n > 0 {
		end.Pos = p.tokens[n-1].Pos
		end.Pos.Advance(p.tokens[n-1].Value)
		end.runes = runes
	}
	p.tokens = append(p.tokens, end)
	return p
}

// peek returns the current token.
func (p *parser) peek() *token {
	if p.stopped {
		return &p.tokens[len(p.tokens)-1]
	}
	return &p.tokens[p.at]
}

// after returns the token i places after the current one.
func (p *parser) after(i int) *token {
	return &p.tokens[min(p.at+i, len(p.tokens)-1)]
}

// next consumes the current token.
func (p *parser) next() token {
	t := *p.peek()
	if !p.stopped && p.at < len(p.tokens)-1 {
		p.at++
		p.wants = p.wants[:0]
	}
	return t
}

// previous is the token consumed last.
func (p *parser) previous() *token { return &p.tokens[max(p.at-1, 0)] }

// span reaches from a token to the one consumed last.
func (p *parser) span(from token) Span {
	last := p.previous()
	if last.runes < from.runes {
		last = &from
	}
	return Span{Offset: from.Pos.Offset, Line: from.Pos.Line, Column: from.Pos.Column,
		Length: last.runes + last.length() - from.runes}
}

// here is the place of the current token, or just behind the text.
func (p *parser) here() Span { return place(p.peek()) }

func place(t *token) Span {
	return Span{Offset: t.Pos.Offset, Line: t.Pos.Line, Column: t.Pos.Column, Length: max(t.length(), 1)}
}

// accept consumes a symbol if it is there.
func (p *parser) accept(symbol string) bool {
	if p.peek().symbol(symbol) {
		p.next()
		return true
	}
	p.want(wantSymbol, symbol)
	return false
}

// keyword consumes one of these words if it is there, and returns it.
func (p *parser) keyword(words ...string) string {
	if slices.Contains(words, p.peek().word()) {
		t := p.next()
		return t.word()
	}
	for _, w := range words {
		p.want(wantKeyword, w)
	}
	return ""
}

// expect consumes a symbol that must be there.
func (p *parser) expect(symbol string) {
	if !p.accept(symbol) {
		p.unexpected()
	}
}

// expectWord consumes one of the words, one of which must be there.
func (p *parser) expectWord(words ...string) string {
	w := p.keyword(words...)
	if w == "" {
		p.unexpected()
	}
	return w
}

// opening consumes an opening parenthesis if it is there; closing, which must
// follow, can then tell which one is still open.
func (p *parser) opening(symbol string) bool {
	t := *p.peek()
	if !p.accept(symbol) {
		return false
	}
	p.open = append(p.open, t)
	p.enter(place(&t))
	return true
}

func (p *parser) closing(symbol string) {
	if p.stopped {
		return
	}
	if !p.accept(symbol) {
		p.unexpected()
		return
	}
	p.open = p.open[:len(p.open)-1]
	p.leave()
}

// enter goes one level deeper, and stops the parser where that is too deep.
func (p *parser) enter(at Span) {
	if p.depth++; p.depth > nestingMax {
		p.fail(CodeNestingTooDeep, at, "define a part as a touchpoint or a segment and use its name",
			"more than %d levels of parentheses, `not` and `-`", nestingMax)
	}
}

func (p *parser) leave() { p.depth-- }

// report notes a mistake that the parser can see past.
func (p *parser) report(code string, at Span, hint, format string, args ...any) {
	if p.stopped {
		return
	}
	p.mistakes = append(p.mistakes, &Error{Code: code, Message: fmt.Sprintf(format, args...), Span: at, Hint: hint})
}

// fail notes a mistake and stops.
func (p *parser) fail(code string, at Span, hint, format string, args ...any) {
	p.report(code, at, hint, format, args...)
	p.stopped = true
}

// wantKind says what a want is about: how it is called in messages and what
// completes it.
type wantKind uint8

const (
	wantSymbol   wantKind = iota
	wantOperator          // a symbol or word that goes on with an expression
	wantKeyword
	wantClause     // text: the clause's kind
	wantOption     // the same, of a defined funnel
	wantThing      // text: what is expected, in words; nothing known completes it
	wantEvent      // an event, a touchpoint, a stage, or a funnel
	wantChannel    // or a group of channels
	wantField      // a property
	wantExpression // a property, function or literal
	wantMeasure    // an expression of measure
	wantValue      // text: the property it is compared with
	wantDuration
	wantRange // a duration in `last`: months and longer too
	wantDefinition
	wantSegment
	wantFunnel
	wantStage
	wantModel
	wantVerb
	wantUnit
	wantKnown  // any name there is
	wantColumn // of the answer
	wantOfCustomer
)

// want is something that could have stood at the current token.
type want struct {
	kind wantKind
	text string
}

func (p *parser) want(kind wantKind, text string) {
	if !p.stopped {
		p.wants = append(p.wants, want{kind, text})
	}
}

var wantNames = map[wantKind]string{
	wantOperator: "an operator", wantClause: "a clause", wantOption: "a clause", wantEvent: "an event", wantChannel: "a channel",
	wantField: "a property", wantExpression: "an expression", wantMeasure: "a measure", wantValue: "a value",
	wantDuration: "a duration such as 7d", wantRange: "a span such as `30 days`", wantDefinition: "the name of a definition",
	wantSegment: "the name of a segment", wantFunnel: "the name of a funnel", wantStage: "a stage",
	wantModel: "a model", wantVerb: "a statement", wantUnit: "a unit such as `days`", wantKnown: "a name",
	wantColumn: "a column of the answer", wantOfCustomer: "a property of the customer such as customer.tier",
}

// String is what a message says was expected.
func (w want) String() string {
	switch w.kind {
	case wantSymbol, wantKeyword:
		return "`" + w.text + "`"
	case wantThing:
		return w.text
	}
	return wantNames[w.kind]
}

// expected says in words what could have stood at the current token.
func (p *parser) expected() string {
	var list []string
	larger := p.wanted(wantExpression) || p.wanted(wantEvent) || p.wanted(wantMeasure)
	for _, w := range p.wants {
		// A value is an expression too, and these begin what is also expected.
		if w.kind == wantValue || larger && slices.Contains([]string{"(", "not", "any"}, w.text) {
			continue
		}
		if s := w.String(); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return enumerate(list, "or")
}

// enumerate joins words as a sentence does: a, b or c.
func enumerate(list []string, last string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " " + last + " " + list[len(list)-1]
}
