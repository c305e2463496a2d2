package query

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"wend/event"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// runCases runs every case of a file: `== title`, the input, `----`, and
// what answer must give for it.
func runCases(t *testing.T, file string, answer func(input string) string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut("\n"+string(content), "\n== ")
	rewritten := strings.TrimPrefix(head, "\n")
	cases := strings.Split(rest, "\n== ")
	for _, c := range cases {
		title, body, _ := strings.Cut(c, "\n")
		input, want, ok := strings.Cut(body, "\n----\n")
		if !ok {
			input = strings.TrimSuffix(body, "\n----")
		}
		t.Run(title, func(t *testing.T) {
			got := answer(input)
			rewritten += "\n== " + title + "\n" + input + "\n----\n" + got + "\n"
			if got != strings.TrimRight(want, "\n") && !*update {
				t.Errorf("%s\n---- got\n%s\n---- want\n%s", input, got, want)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// caseInputs returns the inputs of a transcript, as seeds for fuzzing.
func caseInputs(t testing.TB, file string) []string {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []string
	for _, c := range strings.Split("\n"+string(content), "\n== ")[1:] {
		_, body, _ := strings.Cut(c, "\n")
		input, _, _ := strings.Cut(body, "\n----")
		inputs = append(inputs, input)
	}
	return inputs
}

func TestStatements(t *testing.T) {
	runCases(t, "testdata/statements.txt", func(input string) string {
		statements, err := Parse(input)
		var mistakes Errors
		if errors.As(err, &mistakes) {
			return mistakes.Pretty()
		}
		var lines []string
		for _, s := range statements {
			lines = append(lines, s.String())
		}
		return strings.Join(lines, "\n")
	})
}

func TestMistakes(t *testing.T) {
	runCases(t, "testdata/mistakes.txt", func(input string) string {
		_, err := Parse(input)
		var mistakes Errors
		if !errors.As(err, &mistakes) {
			return "no mistake found"
		}
		var blocks []string
		for _, m := range mistakes {
			blocks = append(blocks, fmt.Sprintf("%s at %d:%d, length %d\n%s", m.Code, m.Line, m.Column, m.Length, m.Pretty()))
		}
		return strings.Join(blocks, "\n\n")
	})
}

// shop is what the completions are about.
var shop = &Catalog{
	Schema: &event.Schema{
		Events: []event.Name{
			{Text: "add_to_cart", Count: 61000}, {Text: "view_product", Count: 182344}, {Text: "purchase", Count: 9800},
			{Text: "call service", Count: 410}, {Text: "any", Count: 3},
		},
		Channels: []event.Name{{Text: ""}, {Text: "web", Count: 200000}, {Text: "store", Count: 30000}, {Text: "call center", Count: 410}},
		Properties: []event.Property{
			{Name: "value", Type: event.FloatType}, {Name: "method", Type: event.StringType}, {Name: "returned", Type: event.BooleanType},
			{Name: "order.number", Type: event.IntegerType}, {Name: "stage", Type: event.StringType},
		},
	},
	Definitions: []event.Definition{
		{Kind: "touchpoint", Name: "checkout"}, {Kind: "stage", Name: "consideration"}, {Kind: "channels", Name: "offline"},
		{Kind: "segment", Name: "abandoners"}, {Kind: "funnel", Name: "buying"},
	},
	Params: map[string]event.Value{"limit": event.Integer(3), "since": event.Null},
}

func shopValues(property, prefix string, limit int) []string {
	var found []string
	if property == "method" {
		for _, v := range []string{"card", "cash", "it's free", "invoice"} {
			if strings.HasPrefix(v, prefix) && len(found) < limit {
				found = append(found, v)
			}
		}
	}
	return found
}

// In the file, ‸ is the cursor.
func TestComplete(t *testing.T) {
	runCases(t, "testdata/complete.txt", func(input string) string {
		before, after, _ := strings.Cut(input, "‸")
		completions, from := Complete(before+after, len(before), shop, shopValues)
		lines := []string{"replaces " + fmt.Sprintf("%q", before[from:])}
		for _, c := range completions {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%-24s %-11s %s", c.Text, c.Kind, c.Detail), " "))
		}
		return strings.Join(lines, "\n")
	})
}
