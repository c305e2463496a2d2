package query

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Codes of the mistakes that Parse finds. They are stable: programs may test
// for them.
const (
	CodeUnexpectedToken       = "unexpected_token"
	CodeUnexpectedEnd         = "unexpected_end"
	CodeUnknownStatement      = "unknown_statement"
	CodeMissingStep           = "missing_step"
	CodeWrongOperator         = "wrong_operator"
	CodeChainedComparison     = "chained_comparison"
	CodeUnknownUnit           = "unknown_unit"
	CodeUnknownPeriod         = "unknown_period"
	CodeHyphenInName          = "hyphen_in_name"
	CodeDigitInName           = "digit_in_name"
	CodeEmptyName             = "empty_name"
	CodeWithinSession         = "within_session"
	CodeUnclosedQuote         = "unclosed_quote"
	CodeUnbalancedParenthesis = "unbalanced_parenthesis"
	CodeExclusionAtEnd        = "exclusion_at_end"
	CodeAnyOrderAlone         = "any_order_alone"
	CodeBadCharacter          = "bad_character"
	CodeBadDate               = "bad_date"
	CodeBadNumber             = "bad_number"
	CodeNumberTooLarge        = "number_too_large"
	CodeDurationTooLong       = "duration_too_long"
	CodeNestingTooDeep        = "nesting_too_deep"
	CodeExpressionTooLong     = "expression_too_long"
	CodeTextTooLong           = "text_too_long"
	CodeTooManyNodes          = "too_many_nodes"
	CodeTooManyMistakes       = "too_many_mistakes"
)

// Error is a mistake in a query's text, with the place where it is.
type Error struct {
	Code    string // stable, snake case
	Message string // what is wrong, without a full stop
	Span
	Hint string // what to do about it, "" if there is nothing to say
	Text string // the whole source text
}

// Error tells the mistake in one line, with its place.
func (e *Error) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.sentence())
}

func (e *Error) sentence() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// lineWidthMax is how much of a line Pretty shows before and after the
// beginning of the mistake: a generated query may be one line of a megabyte.
const lineWidthMax = 100

// Pretty shows the line, the mistake underlined, and what is wrong. Columns
// of the terminal are counted, not runes: wide characters take two.
func (e *Error) Pretty() string {
	line, start := e.sourceLine()
	runes := []rune(line)
	start = min(start, len(runes))
	end := min(start+max(e.Length, 1), len(runes))

	before, marked, after := printable(runes[:start], 0), "", ""
	cut := cutLeft(before, lineWidthMax)
	marked = printable(runes[start:end], width(cut))
	after = printable(runes[end:], width(cut)+width(marked))
	if width(marked) > lineWidthMax {
		marked, after = cutRight(marked, lineWidthMax), ""
	}
	after = cutRight(after, lineWidthMax)

	var b strings.Builder
	b.WriteString(strings.TrimRight(cut+marked+after, " "))
	b.WriteByte('\n')
	b.WriteString(strings.Repeat(" ", width(cut)))
	b.WriteString(strings.Repeat("~", max(width(marked), 1)))
	b.WriteByte('\n')
	if strings.Contains(strings.TrimSpace(e.Text), "\n") {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	b.WriteString(e.sentence())
	return b.String()
}

// sourceLine returns the line that the mistake begins in, and where in it, in runes.
func (e *Error) sourceLine() (line string, column int) {
	offset := min(max(e.Offset, 0), len(e.Text))
	from := strings.LastIndexByte(e.Text[:offset], '\n') + 1
	line = e.Text[from:]
	if to := strings.IndexByte(line, '\n'); to >= 0 {
		line = line[:to]
	}
	return strings.TrimSuffix(line, "\r"), max(e.Column-1, 0)
}

// display does not depend on the locale, so that messages and tests do not either.
var display = &runewidth.Condition{EastAsianWidth: false, StrictEmojiNeutral: true}

func width(s string) int { return display.StringWidth(s) }

const tabWidth = 8

// printable expands tabs, so that the underline fits in any terminal, and
// replaces control characters, so that a query cannot steer the terminal.
func printable(runes []rune, column int) string {
	var b strings.Builder
	for _, r := range runes {
		switch {
		case r == '\t':
			b.WriteString(strings.Repeat(" ", tabWidth-(column+width(b.String()))%tabWidth))
		case r < ' ' || r >= 0x7f && r < 0xa0:
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func cutLeft(s string, widthMax int) string {
	if width(s) <= widthMax {
		return s
	}
	return display.TruncateLeft(s, width(s)-widthMax+1, "…")
}

func cutRight(s string, widthMax int) string {
	if width(s) <= widthMax {
		return s
	}
	return display.Truncate(s, widthMax, "…")
}

// Errors is all the mistakes of a text, in the order of the text.
type Errors []*Error

// Error tells all mistakes, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Pretty shows all mistakes, one below the other.
func (e Errors) Pretty() string {
	blocks := make([]string, len(e))
	for i := range e {
		blocks[i] = e[i].Pretty()
	}
	return strings.Join(blocks, "\n")
}

// Unwrap lets errors.As find the first *Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// Pretty shows the mistakes that an error is about, each at its place in the
// text; ok is false of an error that is about none.
func Pretty(err error) (text string, ok bool) {
	var all Errors
	if errors.As(err, &all) {
		return all.Pretty(), true
	}
	var one *Error
	if errors.As(err, &one) {
		return one.Pretty(), true
	}
	return "", false
}
