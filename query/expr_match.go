package query

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"wend/event"
)

// match binds like and ~, whose patterns are compiled here, once.
func (b *binder) match(e *Expr, s scope) *ScalarExpr {
	args, ok := b.args(e.Args, s)
	if !ok {
		return nil
	}
	op := strings.TrimPrefix(e.Op, "not")
	if !is(args[0], event.StringType) {
		b.fail(e.Args[0].Span, CodeTypeMismatch, "", "`%s` looks into texts, but %s is %s", op, args[0].brief(), typeName(args[0].Type))
		return nil
	}
	if args[1].Op != "const" || args[1].Type != event.StringType {
		b.fail(e.Args[1].Span, CodeTypeMismatch, "write it in quotes", "`%s` needs a constant text to look for", op)
		return nil
	}
	re, err := compile(op, args[1].Value.Text())
	if err != nil {
		b.fail(e.Args[1].Span, CodeBadRegexp, "", "%v", err)
		return nil
	}
	return negated(e.Op == "notlike", &ScalarExpr{Op: op, Type: event.BooleanType, Args: args[:1], Regexp: re}, e)
}

// compile makes the regular expression of like or ~. RE2 runs in time linear in
// the text, but also in its own size, which counted repeats multiply: so it is
// told beforehand.
func compile(op, pattern string) (*regexp.Regexp, error) {
	if len(pattern) > regexpBytesMax {
		return nil, fmt.Errorf("the pattern has %d bytes, the limit is %d", len(pattern), regexpBytesMax)
	}
	if op == "like" {
		translated, err := likePattern(pattern)
		if err != nil {
			return nil, err
		}
		pattern = translated
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("this is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if n := regexpStates(tree); n > regexpStatesMax {
		return nil, fmt.Errorf("the pattern has %d states, {m,n} written out n times; the limit is %d: repeat fewer times", n, regexpStatesMax)
	}
	return regexp.Compile(pattern)
}

// regexpStates is about how many instructions an expression becomes.
func regexpStates(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += regexpStates(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(1, re.Min, re.Max)
	}
	return n
}

// likePattern translates like to RE2: % is any text, _ any one character, and
// the character after \ itself. The whole value must fit.
func likePattern(like string) (string, error) {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	for rest := like; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		c := rest[:size]
		rest = rest[size:]
		switch c {
		case "%":
			re.WriteString(`.*`)
		case "_":
			re.WriteString(`.`)
		case `\`:
			if rest == "" {
				return "", fmt.Errorf(`nothing follows the last \ of '%s'; write \\ for a backslash`, like)
			}
			_, size := utf8.DecodeRuneInString(rest)
			re.WriteString(regexp.QuoteMeta(rest[:size]))
			rest = rest[size:]
		default:
			re.WriteString(regexp.QuoteMeta(c))
		}
	}
	re.WriteString(`\z`)
	return re.String(), nil
}
