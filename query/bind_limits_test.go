package query

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"wend/event"
)

// limitCases are mistakes that take too much text for a transcript. Each
// statement is right with one less.
var limitCases = []struct {
	code        string
	definitions func(n int) []string
	statement   func(n int) string
	most        int
}{
	{code: CodeTooManyAlternatives, most: alternativesMax,
		definitions: func(n int) []string {
			return []string{"define touchpoint many as a" + strings.Repeat(" | a", n/2-1)}
		},
		statement: func(n int) string {
			return "funnel (many | many" + strings.Repeat(" | a", n%2) + ")"
		}},
	{code: CodeTooDeep, most: definitionsDepth,
		definitions: func(n int) []string {
			list := []string{"define touchpoint d1 as a"}
			for i := 2; i <= n; i++ {
				list = append(list, fmt.Sprintf("define touchpoint d%d as d%d", i, i-1))
			}
			return list
		},
		statement: func(n int) string { return fmt.Sprintf("funnel d%d", n) }},
	{code: CodeTooManyValues, most: inListMax,
		statement: func(n int) string {
			return "measure events where event in ('a'" + strings.Repeat(", 'a'", n-1) + ")"
		}},
	{code: CodeBadRegexp, most: regexpBytesMax,
		statement: func(n int) string { return "measure events where event ~ '" + strings.Repeat("a", n) + "'" }},
	{code: CodeBadRegexp, most: regexpStatesMax / 5,
		statement: func(n int) string { return fmt.Sprintf("measure events where event ~ '(?:a|bc){%d}'", n) }},
	{code: CodeTooManySteps, most: stepsMax,
		statement: func(n int) string { return "funnel a" + strings.Repeat(" -> a", n-1) }},
	{code: CodeTooManySteps, most: anyOrderMax,
		statement: func(n int) string { return "funnel any order (a" + strings.Repeat(", a", n-1) + ")" }},
	{code: CodeBadRepeat, most: repeatMax,
		statement: func(n int) string { return fmt.Sprintf("match a{%d}", n) }},
	{code: CodeBadNumber, most: lengthMax,
		statement: func(n int) string { return fmt.Sprintf("paths length %d", n) }},
	{code: CodeBadNumber, most: periodsMax,
		statement: func(n int) string { return fmt.Sprintf("retention a -> a every day for %d", n) }},
	{code: CodeBadDefinition, most: 0,
		definitions: func(n int) []string { return []string{"define touchpoint broken as" + strings.Repeat(" |", n) + " a"} },
		statement:   func(n int) string { return "funnel broken" }},
}

func TestBindLimits(t *testing.T) {
	for _, c := range limitCases {
		for n := c.most; n <= c.most+1; n++ {
			cat := &Catalog{Schema: &event.Schema{Events: []event.Name{{Text: "a"}}, Channels: []event.Name{{}}}}
			if c.definitions != nil {
				for _, text := range c.definitions(n) {
					name := strings.Fields(text)[2]
					cat.Definitions = append(cat.Definitions, event.Definition{Kind: "touchpoint", Name: name, Text: text})
				}
			}
			statements, err := Parse(c.statement(n))
			if err != nil {
				t.Fatal(err)
			}
			_, err = Bind(statements[0], cat)
			var mistake *Error
			switch {
			case n == c.most && err != nil:
				t.Errorf("%s: %d is refused: %v", c.code, n, err)
			case n > c.most && (!errors.As(err, &mistake) || mistake.Code != c.code):
				t.Errorf("%s: %d gives %v", c.code, n, err)
			}
		}
	}
}

// Definitions that double at each level stand for 2^n touchpoints or segments;
// the limit has to stop them while they expand.
func TestDoublingDefinitions(t *testing.T) {
	cat := &Catalog{Schema: &event.Schema{Events: []event.Name{{Text: "a"}}, Channels: []event.Name{{}}}}
	add := func(kind, name, body string) {
		cat.Definitions = append(cat.Definitions, event.Definition{Kind: kind, Name: name, Text: "define " + kind + " " + name + " as " + body})
	}
	add("touchpoint", "t0", "a | a")
	add("segment", "s0", "did a")
	for i := 1; i < definitionsDepth; i++ {
		add("touchpoint", fmt.Sprintf("t%d", i), fmt.Sprintf("t%d | t%d", i-1, i-1))
		add("segment", fmt.Sprintf("s%d", i), fmt.Sprintf("in s%d or not in s%d", i-1, i-1))
	}
	var mistake *Error
	if err := bindText(cat, "funnel t31"); !errors.As(err, &mistake) || mistake.Code != CodeTooManyAlternatives {
		t.Errorf("touchpoints: %v", err)
	}
	if err := bindText(cat, "customers among in s31"); !errors.As(err, &mistake) || mistake.Code != CodeTooManyAlternatives {
		t.Errorf("segments: %v", err)
	}
}

// Binding takes memory for what a statement holds, not for its square: not where
// parameters stand for long texts, nor where sums nest as deep as they are long,
// nor where one of its parts is in all of its mistakes.
func TestBindingTakesNoMoreThanTheStatementHolds(t *testing.T) {
	const most = 64 << 20
	sums := func(number, operands int, operand string) string {
		sum := operand + strings.Repeat("+"+operand, operands-1)
		return "measure events where " + sum + " > 0" + strings.Repeat(" and "+sum+" > 0", number-1)
	}
	mistakes := "measure events where $p in (1" + strings.Repeat(",1", inListMax-1) + ")"
	for _, c := range []struct {
		name, text string
		param      int // bytes
		code       string
	}{
		{"many short sums of a parameter", sums(37, 40, "length($p)"), 45_000, CodeTextTooLong},
		{"a few long sums of a parameter", sums(15, 100, "length($p)"), 45_000, CodeTextTooLong},
		{"a parameter as often as there is room for it", sums(1, 16, "length($p)"), StatementBytesMax / 16, ""},
		{"a parameter once more", sums(1, 17, "length($p)"), StatementBytesMax / 16, CodeTextTooLong},
		{"a customer", "journey of $p", StatementBytesMax + 1, CodeTextTooLong},
		{"one long sum of long values", sums(1, 800, "length('"+strings.Repeat("a", 60)+"')"), 0, ""},
		{"mistakes that name a parameter", mistakes, 4 << 10, CodeTypeMismatch},
	} {
		statements, err := Parse(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		cat := &Catalog{Schema: &event.Schema{Events: []event.Name{{Text: "a"}}, Channels: []event.Name{{}}},
			Params: map[string]event.Value{"p": event.String(strings.Repeat("b", c.param))}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Bind(statements[0], cat)
		runtime.ReadMemStats(&after)
		var mistake *Error
		if c.code == "" && err != nil || c.code != "" && (!errors.As(err, &mistake) || mistake.Code != c.code) {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if err != nil && len(err.Error()) > 1<<20 {
			t.Errorf("%s: the mistakes take %d bytes", c.name, len(err.Error()))
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%s: binding took %d MiB", c.name, took>>20)
		}
	}
}

// Who uses a definition is told by reading all of them; of a name that there is
// not, nobody asks.
func TestDroppingAnUnknownNameReadsNoDefinitions(t *testing.T) {
	cat := &Catalog{Schema: &event.Schema{Events: []event.Name{{Text: "a"}}, Channels: []event.Name{{}}}}
	for i := range 200 {
		name := fmt.Sprintf("stage%d", i)
		cat.Definitions = append(cat.Definitions, event.Definition{Kind: "stage", Name: name, Text: "define stage " + name + " as a"})
	}
	allocs := func(drop string) float64 {
		statements, err := Parse(drop)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(1, func() { _, _ = CheckDrop(statements[0], cat) })
	}
	if known, unknown := allocs("drop stage7"), allocs("drop zz"); unknown > known/10 {
		t.Errorf("an unknown name takes %v allocations, a known one %v", unknown, known)
	}
}

func bindText(c *Catalog, text string) error {
	statements, err := Parse(text)
	if err != nil {
		return err
	}
	_, err = Bind(statements[0], c)
	return err
}

func TestLikePattern(t *testing.T) {
	for _, c := range []struct {
		like, value string
		fits        bool
	}{
		{"a%", "abc", true}, {"a%", "a", true}, {"a%", "ba", false}, {"%b%", "abc", true},
		{"a_c", "abc", true}, {"a_c", "aäc", true}, {"a_c", "ac", false}, {"a_c", "a\nc", true},
		{"a%c", "a\nb\nc", true}, {"", "", true}, {"", "a", false}, {"%", "", true},
		{`100\%`, "100%", true}, {`100\%`, "1000", false}, {`a\_b`, "a_b", true}, {`a\_b`, "axb", false},
		{`\\`, `\`, true}, {`\a`, "a", true}, {"a.c", "abc", false}, {"(a|b)", "a", false}, {"(a|b)", "(a|b)", true},
		{"abc", "ABC", false}, {"a", "a\n", false}, {`\ü%`, "über", true},
	} {
		re, err := compile("like", c.like)
		if err != nil {
			t.Errorf("like %q: %v", c.like, err)
		} else if got := re.MatchString(c.value); got != c.fits {
			t.Errorf("%q like %q is %v, want %v", c.value, c.like, got, c.fits)
		}
	}
}
