package query

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// Whatever is given, Parse does not panic, points into the text, and prints
// what it understands so that it understands the same again. So does Complete.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/statements.txt", "testdata/mistakes.txt"} {
		for _, input := range caseInputs(f, file) {
			f.Add(input)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		statements, err := Parse(text)
		var mistakes Errors
		if err != nil && !errors.As(err, &mistakes) {
			t.Fatalf("%T is not Errors", err)
		}
		for _, m := range mistakes {
			checkMistake(t, m, text)
		}
		for _, s := range statements {
			checkStable(t, s)
		}
		for cursor := 0; cursor <= len(text); cursor += 1 + len(text)/8 {
			if _, from := Complete(text, cursor, shop, shopValues); from > cursor {
				t.Fatalf("%q at %d: the completed word begins at %d", text, cursor, from)
			}
		}
	})
}

func checkMistake(t *testing.T, m *Error, text string) {
	if m.Code == "" || m.Message == "" || m.Length < 1 || m.Offset < 0 || m.Offset > len(text) {
		t.Fatalf("%q: %+v", text, m)
	}
	before := text[:m.Offset]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	if m.Line != line || m.Column != column {
		t.Fatalf("%q: offset %d is at %d:%d, not at %d:%d", text, m.Offset, line, column, m.Line, m.Column)
	}
	// Behind the text stands one place for what is missing.
	if rest := utf8.RuneCountInString(text[m.Offset:]); m.Length > max(rest, 1) {
		t.Fatalf("%q: %d runes from %d are more than there are", text, m.Length, m.Offset)
	}
	if shown := strings.Split(m.Pretty(), "\n"); len(shown) != 3 || !strings.Contains(shown[1], "~") {
		t.Fatalf("%q: shown as\n%s", text, m.Pretty())
	}
}

func checkStable(t *testing.T, s *Statement) {
	printed := s.String()
	again, err := Parse(printed)
	if err != nil {
		t.Fatalf("%s\n%s", printed, err)
	}
	if len(again) != 1 || again[0].String() != printed {
		t.Fatalf("printed\n%s\nthen\n%v", printed, again)
	}
}

// A stack that overflows ends the process, so depth is refused wherever it
// can come from; what is long and not deep is fine.
func TestNestingAndLength(t *testing.T) {
	around := func(open, inside, end string, n int) string {
		return strings.Repeat(open, n) + inside + strings.Repeat(end, n)
	}
	tests := []struct {
		name, text, code string
		column           int
	}{
		{"64 parentheses", "measure " + around("(", "x", ")", 64), "", 0},
		{"65 parentheses", "measure " + around("(", "x", ")", 65), CodeNestingTooDeep, 73},
		{"60000 parentheses", "measure " + strings.Repeat("(", 60_000), CodeNestingTooDeep, 73},
		{"65 nots", "paths where " + strings.Repeat("not ", 65) + "x", CodeNestingTooDeep, 13 + 64*4},
		{"65 signs", "measure " + strings.Repeat("- ", 65) + "x", CodeNestingTooDeep, 9 + 64*2},
		{"65 calls", "measure " + around("abs(", "x", ")", 65), CodeNestingTooDeep, 9 + 64*4 + 3},
		{"65 nots of a cohort", "customers among " + strings.Repeat("not ", 65) + "in x", CodeNestingTooDeep, 17 + 64*4},
		{"65 groups of a match", "match " + around("(", "x", ")", 65), CodeNestingTooDeep, 7 + 64},
		{"65 filters", "measure " + around("a[", "x", "]", 65), CodeNestingTooDeep, 9 + 64*2 + 1},
		{"65 parentheses of a cohort", "customers among " + around("(", "in x", ")", 65), CodeNestingTooDeep, 17 + 64},
		{"1000 terms of or", "paths where x" + strings.Repeat(" or x", 1000), "", 0},
		{"5000 names, values and operators", "paths where x in (1" + strings.Repeat(",1", 4995) + ")", "", 0},
		{"one more", "paths; paths where x in (1" + strings.Repeat(",1", 4996) + ")", CodeTooManyNodes, 8},
		{"a statement of 64 KiB", "paths where x = '" + strings.Repeat("x", 64<<10-18) + "'", "", 0},
		{"a byte more of a statement", "paths; paths where x = '" + strings.Repeat("x", 64<<10-17) + "'", CodeTextTooLong, 8},
		{"1000 operators", "measure 1" + strings.Repeat("+1", 1000), "", 0},
		{"1001 operators", "measure 1" + strings.Repeat("+1", 1001), CodeExpressionTooLong, 10 + 2000},
		{"10000 statements", strings.Repeat("paths;", 10_000), "", 0},
		{"a megabyte", "-- " + strings.Repeat("x", 1<<20-3), "", 0},
		{"a byte more", "-- " + strings.Repeat("x", 1<<20-2), CodeTextTooLong, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse(test.text)
			var mistake *Error
			errors.As(err, &mistake)
			switch {
			case test.code == "" && err != nil:
				t.Fatal(err)
			case test.code != "" && (mistake == nil || mistake.Code != test.code || mistake.Column != test.column):
				t.Fatalf("got %v, want %s in column %d", mistake, test.code, test.column)
			}
		})
	}
}

// Mistakes of a long line show only its part, and control characters do not
// reach the terminal.
func TestPretty(t *testing.T) {
	show := func(text string) string {
		_, err := Parse(text)
		var mistake *Error
		if !errors.As(err, &mistake) {
			t.Fatalf("%q is no mistake", text)
		}
		return mistake.Pretty()
	}
	long := strings.Repeat("x", 500)
	got := show("funnel " + long + " == " + long)
	lines := strings.Split(got, "\n")
	if !strings.HasPrefix(lines[0], "…xxx") || !strings.HasSuffix(lines[0], "xxx…") || strings.Index(lines[0], "==") < 90 {
		t.Errorf("the line is shown as\n%s", got)
	}
	if want := strings.Repeat(" ", 100) + "~~"; lines[1] != want {
		t.Errorf("the underline is shown as\n%s", got)
	}
	if got := show("funnel a[x = '\x1b[2J' and y == 3]"); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	whole := fmt.Sprint(Errors{{Code: "a", Message: "first", Span: Span{Line: 1, Column: 2}}, {Code: "b", Message: "second", Span: Span{Line: 3, Column: 4}, Hint: "do"}})
	if want := "1:2: first\n3:4: second; do"; whole != want {
		t.Errorf("got %q", whole)
	}
}

func TestManyMistakes(t *testing.T) {
	_, err := Parse("paths where x == 1" + strings.Repeat(" and x == 1", 149))
	var mistakes Errors
	if !errors.As(err, &mistakes) || len(mistakes) != 101 || mistakes[100].Message != "50 more mistakes are not shown" {
		t.Fatal(len(mistakes), mistakes[len(mistakes)-1])
	}
}

// Statements without a mistake are returned beside the mistakes of others.
func TestPartOfAScript(t *testing.T) {
	statements, err := Parse("show events; shw events; show status")
	var mistakes Errors
	if !errors.As(err, &mistakes) || len(mistakes) != 1 || len(statements) != 2 {
		t.Fatalf("%v, %v", statements, err)
	}
	if s := statements[1]; s.Offset != 25 || s.Column != 26 || s.Length != 11 {
		t.Errorf("the third statement is at %+v", s.Span)
	}
}

// What the parser panics with goes to logs: it tells where, and nothing of the text.
func TestRefusalRepeatsNothingOfTheText(t *testing.T) {
	err := participle.Errorf(lexer.Position{Offset: 9}, "unexpected token %q", "canary7")
	if got := refusal("funnel   canary7", err); strings.Contains(got, "canary7") || !strings.Contains(got, "at byte 9") {
		t.Errorf("%q", got)
	}
}
