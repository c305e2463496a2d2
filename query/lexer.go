package query

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// language is the lexer. Order matters: the first rule that fits wins, so a
// comment comes before a minus, a property of the customer before a word and a
// date before a number; what is frequent comes early. The quotes stay in the
// tokens, because a literal of the grammar matches by value only. The last rule
// takes whatever is left, so that lexing never fails and the parser can report
// it in its own words.
var language = lexer.MustStateful(lexer.Rules{"Root": {
	{Name: "Space", Pattern: `[\s\v\p{Z}\x{85}\x{FEFF}]+`},
	{Name: "Comment", Pattern: `--[^\n]*`},
	{Name: "Cprop", Pattern: `customer(?:\.[\p{L}\p{M}\p{Nd}_]+)+`},
	{Name: "Word", Pattern: wordPattern},
	{Name: "Symbol", Pattern: `->|=>|!=|<=|>=|=<|==|<>|&&|\|\||[()\[\]{},;@!*?+\-/=<>~|.]`},
	{Name: "String", Pattern: `'(?:[^']|'')*'`},
	{Name: "Quoted", Pattern: `"(?:[^"]|"")*"`},
	{Name: "Unclosed", Pattern: `['"][^\n]*`},
	{Name: "Param", Pattern: `\$[\p{L}_][\p{L}\p{M}\p{Nd}_]*`},
	{Name: "Date", Pattern: `[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?`},
	{Name: "Percent", Pattern: `[0-9]+(?:\.[0-9]+)?%`},
	{Name: "Exponent", Pattern: `[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+`},
	{Name: "Attached", Pattern: `[0-9]+(?:\.[0-9]+)?[\p{L}_][\p{L}\p{M}\p{Nd}_]*`},
	{Name: "Number", Pattern: `[0-9]+(?:\.[0-9]+)?`},
	{Name: "Bad", Pattern: `(?s:.)`},
}})

const wordPattern = `[\p{L}_][\p{L}\p{M}\p{Nd}_]*(?:\.[\p{L}\p{M}\p{Nd}_]+)*`

// The kinds of tokens. An Attached token is a number with letters at its end:
// a duration such as 7d, or a mistake such as 1mo.
var (
	kindString   = language.Symbols()["String"]
	kindQuoted   = language.Symbols()["Quoted"]
	kindUnclosed = language.Symbols()["Unclosed"]
	kindParam    = language.Symbols()["Param"]
	kindDate     = language.Symbols()["Date"]
	kindPercent  = language.Symbols()["Percent"]
	kindExponent = language.Symbols()["Exponent"]
	kindAttached = language.Symbols()["Attached"]
	kindNumber   = language.Symbols()["Number"]
	kindCprop    = language.Symbols()["Cprop"]
	kindWord     = language.Symbols()["Word"]
	kindSymbol   = language.Symbols()["Symbol"]
	kindBad      = language.Symbols()["Bad"]
	kindComment  = language.Symbols()["Comment"]
)

// token is a lexer's token of one statement and its place in runes.
type token struct {
	lexer.Token
	runes int // before it, since the text's first token
}

func (t *token) symbol(s string) bool { return t.Type == kindSymbol && t.Value == s }

// word returns the token as a keyword would be written, "" if it cannot be one.
func (t *token) word() string {
	if t.Type != kindWord {
		return ""
	}
	return strings.ToLower(t.Value)
}

func (t *token) end() int { return t.Pos.Offset + len(t.Value) }

func (t *token) length() int { return utf8.RuneCountInString(t.Value) }

// unquote takes the quotes off a String or Quoted token.
func unquote(s string) string {
	quote := s[:1]
	return strings.ReplaceAll(s[1:len(s)-1], quote+quote, quote)
}

// quote writes text between quotes, those inside doubled.
func quote(text, mark string) string {
	return mark + strings.ReplaceAll(text, mark, mark+mark) + mark
}

// isWord reports whether text is one WORD, which needs no quotes to be a name.
func isWord(text string) bool {
	if strings.HasPrefix(text, "customer.") || text == "" {
		return false
	}
	for i, part := range strings.Split(text, ".") {
		if part == "" || !utf8.ValidString(part) {
			return false
		}
		for j, r := range part {
			letter := r == '_' || unicode.IsLetter(r)
			if !letter && (i == 0 && j == 0 || !unicode.IsMark(r) && !unicode.Is(unicode.Nd, r)) {
				return false
			}
		}
	}
	return true
}
