package query

import (
	"fmt"
	"slices"
	"strings"
)

// unexpected stops at a token that no production has a use for. It looks for
// the mistakes that people really make first; what is left gets a list of what
// was expected, and the nearest keyword.
func (p *parser) unexpected() {
	if p.stopped {
		return
	}
	t := p.peek()
	switch {
	case p.missingBefore():
	case p.unbalanced(t):
	case p.badToken(t):
	case t.EOF():
		p.fail(CodeUnexpectedEnd, p.here(), p.endHint(), "the statement ends too early; expected %s", p.expected())
	default:
		p.fail(CodeUnexpectedToken, p.here(), p.hint(t), "unexpected %s%s", describe(t), p.orExpected())
	}
}

func (p *parser) orExpected() string {
	if e := p.expected(); e != "" {
		return "; expected " + e
	}
	return "; expected the end of the statement"
}

func describe(t *token) string {
	switch t.Type {
	case kindString, kindQuoted:
		return t.Value
	case kindSymbol:
		return "`" + t.Value + "`"
	}
	return `"` + t.Value + `"`
}

// missingBefore finds `a -> within 7d`: the word was taken for the step, as any
// word may be a name, and only what follows shows that it begins a clause. The
// same goes for what is missing in `where x = by channel`.
func (p *parser) missingBefore() bool {
	if p.taken < 0 || p.taken != p.at-1 {
		return false
	}
	word := p.tokens[p.taken]
	code, what, kind := CodeUnexpectedToken, "an expression", "a property"
	if p.taken == p.takenStep {
		code, what, kind = CodeMissingStep, "a step", "an event"
	}
	p.at, p.taken = p.at-1, -1 // now it can be parsed as the clause
	p.fail(code, place(&word), fmt.Sprintf(`%s with this name is written "%s"`, kind, word.Value),
		"%s is missing before `%s`", what, word.word())
	return true
}

var closers = map[string]string{"(": ")", "[": "]", "{": "}"}

// unbalanced finds parentheses that are not closed or were never opened.
func (p *parser) unbalanced(t *token) bool {
	if len(p.open) > 0 {
		open := p.open[len(p.open)-1]
		closer := closers[open.Value]
		if slices.Contains(p.wants, want{wantSymbol, closer}) && !p.closedLater(open.Value, closer) {
			p.fail(CodeUnbalancedParenthesis, place(&open), "add `"+closer+"`", "`%s` is never closed", open.Value)
			return true
		}
	}
	if t.Type != kindSymbol || !strings.Contains(")]}", t.Value) || len(p.wants) > 0 && p.needsMore() {
		return false
	}
	for _, open := range p.open {
		if closers[open.Value] == t.Value {
			return false
		}
	}
	p.fail(CodeUnbalancedParenthesis, p.here(), "take it away", "`%s` without an opening one", t.Value)
	return true
}

// closedLater reports whether the rest of the statement closes a parenthesis
// that is open now.
func (p *parser) closedLater(opener, closer string) bool {
	open := 1
	for i := p.at; i < len(p.tokens); i++ {
		switch {
		case p.tokens[i].symbol(opener):
			open++
		case p.tokens[i].symbol(closer):
			if open--; open == 0 {
				return true
			}
		}
	}
	return false
}

// needsMore reports whether what stands so far is incomplete, so that a
// missing piece is the better thing to tell.
func (p *parser) needsMore() bool {
	for _, w := range p.wants {
		switch w.kind {
		case wantClause, wantOption, wantOperator:
			return false
		}
	}
	return len(p.open) > 0
}

// asciiFor is what people meant by characters that word processors put in.
var asciiFor = map[string]string{
	"→": "->", "⇒": "=>", "≥": ">=", "≤": "<=", "≠": "!=", "–": "-", "—": "--", "−": "-", "×": "*", "÷": "/",
	"“": `"`, "”": `"`, "„": `"`, "‘": "'", "’": "'", "‚": "'", "«": `"`, "»": `"`, "`": `"`, "&": "and", "#": "--",
}

// badToken finds tokens that the language does not have.
func (p *parser) badToken(t *token) bool {
	switch t.Type {
	case kindUnclosed:
		hint := "close it with " + t.Value[:1] + "; a quote inside is written twice"
		p.fail(CodeUnclosedQuote, p.here(), hint, "a quote is not closed")
	case kindBad:
		hint := ""
		if ascii := asciiFor[t.Value]; ascii != "" {
			hint = "did you mean `" + ascii + "`?"
		}
		p.fail(CodeBadCharacter, p.here(), hint, "the language has no character %q", t.Value)
	case kindAttached:
		wants := slices.Clone(p.wants)
		p.duration(wantDuration) // reports a wrong unit
		if len(p.mistakes) == 0 || p.mistakes[len(p.mistakes)-1].Offset != t.Pos.Offset {
			p.at, p.wants = p.at-1, wants
			return false
		}
		p.stopped = true
	default:
		return false
	}
	return true
}

// meant are operators of other languages, and ours in the wrong place.
var meant = map[string]string{
	"==": "=", "<>": "!=", "=<": "<=", "=>": ">=", "&&": "and", "||": "or",
}

// hint tells what might have been meant by a token that does not fit.
func (p *parser) hint(t *token) string {
	if t.Type == kindWord || t.Type == kindQuoted {
		for _, w := range p.wants {
			if w.kind == wantThing && strings.Contains(w.text, "'") {
				return "a text is written in single quotes"
			}
		}
	}
	if p.wantedSymbol("order") && p.previous().word() == "any" {
		return `an event with this name is written "any"`
	}
	if t.Type == kindWord {
		if near := Nearest(t.word(), p.words(), 1); len(near) > 0 {
			return "did you mean `" + near[0] + "`?"
		}
		if hint := p.apart(t); hint != "" {
			return hint
		}
	}
	switch {
	case t.symbol("->") && p.wanted(wantOperator):
		return "arrows stand between steps, outside brackets"
	case meant[t.Value] != "" && (p.wantedSymbol(meant[t.Value])):
		return "did you mean `" + meant[t.Value] + "`?"
	case t.Type == kindNumber && p.wantedSymbol(percentThing):
		return "did you mean " + t.Value + "%?"
	case t.symbol("!") && p.wanted(wantExpression):
		return "did you mean `not`?"
	case t.symbol(".") && p.wanted(wantExpression):
		return "a number begins with a digit: 0.5"
	case t.symbol(",") && p.wantedSymbol("->"):
		return "steps are joined by `->`"
	case t.symbol("-") && p.wantedSymbol("->"):
		return "did you mean `->`?"
	case t.symbol("!") && p.wantedSymbol("->"):
		return "an exclusion stands between two arrows: a -> !x -> b"
	case (t.symbol("->") || t.symbol("=>")) && p.wantedSymbol(","):
		return "there are no arrows in `any order`"
	case t.Type == kindNumber && p.wanted(wantDuration):
		return "a duration has a unit: " + t.Value + "d"
	}
	return ""
}

// apart is for a word behind something that is complete: part of a name with
// spaces, or the next statement.
func (p *parser) apart(t *token) string {
	before := p.previous()
	behindName := (before.Type == kindWord || before.Type == kindQuoted) && (p.wantedSymbol("->") || p.wanted(wantOperator))
	switch {
	case !p.wanted(wantClause) && !p.wanted(wantOption):
		return ""
	case (slices.Contains(verbs, t.word()) || slices.Contains(otherVerbs, t.word())) && (!behindName || before.Pos.Line < t.Pos.Line):
		return "statements are separated by `;`"
	case t.word() == "group" && p.after(1).word() == "by":
		return "a breakdown is written `by` alone"
	case p.wantedSymbol("during") && (t.word() == "last" || t.word() == "since" || t.word() == "until"):
		return "a range of time is written `during " + t.word() + " …`"
	case p.wantedSymbol("during") && t.word() == "from" && p.after(1).Type == kindDate:
		return "a range of time is written `during " + p.after(1).Value + " to …`"
	case behindName:
		return "a name with spaces is written in quotes"
	}
	return ""
}

func (p *parser) endHint() string {
	if p.wanted(wantVerb) {
		return "it begins with a word such as `funnel`"
	}
	return ""
}

func (p *parser) wanted(kind wantKind) bool {
	return slices.ContainsFunc(p.wants, func(w want) bool { return w.kind == kind })
}

func (p *parser) wantedSymbol(text string) bool {
	return slices.ContainsFunc(p.wants, func(w want) bool { return w.text == text })
}

// words lists the keywords that could have stood here.
func (p *parser) words() []string {
	var words []string
	for _, w := range p.wants {
		switch w.kind {
		case wantKeyword, wantClause, wantOption, wantVerb, wantUnit, wantOperator, wantModel:
			if isWord(w.text) {
				words = append(words, w.text)
			}
		}
	}
	return words
}
