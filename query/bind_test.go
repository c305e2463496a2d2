package query

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wend/event"
)

var rewriteBind = flag.Bool("rewrite-bind", false, "write what Bind answers into testdata/bind")

// TestBind runs the transcripts of testdata/bind. A transcript is blocks with
// an empty line between them. A block is a command, its input, and what comes
// out of it after ----. Lines that begin with # are for the reader.
//
//	schema   what the store holds; nothing comes out
//	params   values of parameters; nothing comes out
//	bind     statements → their canonical text, or their mistakes
//	plan     a statement → its plan
//	define   a definition → its canonical text, or its mistakes; it is kept
//	drop     a drop statement, likewise
//
// `lenient` after a command makes unknown names warnings.
func TestBind(t *testing.T) {
	files, err := filepath.Glob("testdata/bind/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	codes := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runTranscript(t, file, codes) })
	}
	for _, c := range limitCases {
		codes[c.code] = true
	}
	if t.Failed() {
		return
	}
	for _, code := range bindCodes(t) {
		if !codes[code] {
			t.Errorf("no test shows a mistake of code %s", code)
		}
	}
}

func runTranscript(t *testing.T, file string, codes map[string]bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	shop := &testCatalog{codes: codes}
	shop.Schema = &event.Schema{Channels: []event.Name{{}}}
	shop.HasValue = shop.hasValue
	blocks := strings.Split(strings.TrimSpace(string(data)), "\n\n")
	for i, block := range blocks {
		lines := strings.SplitAfter(block+"\n", "\n")
		head := 0
		for head < len(lines) && strings.HasPrefix(lines[head], "#") {
			head++
		}
		if head >= len(lines)-1 {
			continue // only comments
		}
		command := strings.TrimSpace(lines[head])
		input, want, answers := strings.Cut(strings.Join(lines[head+1:], ""), "----\n")
		got := shop.run(command, strings.TrimSuffix(input, "\n"))
		if got != "" || answers {
			blocks[i] = strings.Join(lines[:head+1], "") + input + "----\n" + strings.TrimSuffix(got, "\n")
		}
		if got != want && !*rewriteBind {
			t.Errorf("%s\n%s\ngot\n%s\nwant\n%s", command, input, got, want)
		}
	}
	if *rewriteBind {
		if err := os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// testCatalog is the store that a transcript describes.
type testCatalog struct {
	Catalog
	values map[string][]string // known values of text properties
	codes  map[string]bool     // seen so far
}

func (c *testCatalog) hasValue(property, value string) (known, sure bool) {
	values, sure := c.values[property]
	return slices.Contains(values, value), sure
}

func (c *testCatalog) run(command, input string) string {
	verb, mode, _ := strings.Cut(command, " ")
	c.Lenient = mode == "lenient"
	switch verb {
	case "schema":
		return c.schema(input)
	case "params":
		return c.params(input)
	}
	statements, err := Parse(input)
	if err != nil {
		return c.mistakes(err)
	}
	var out strings.Builder
	for _, s := range statements {
		out.WriteString(c.statement(verb, s))
	}
	return out.String()
}

func (c *testCatalog) statement(verb string, s *Statement) string {
	switch verb {
	case "bind", "plan":
		p, err := Bind(s, &c.Catalog)
		if err != nil {
			return c.mistakes(err)
		}
		if verb == "plan" {
			return planText(p)
		}
		return p.Text + "\n" + warningText(p.Warnings)
	case "define":
		d, warnings, err := CheckDefine(s, &c.Catalog)
		if err != nil {
			return c.mistakes(err)
		}
		c.Definitions = c.with(d).Definitions
		return d.Text + "\n" + warningText(warnings)
	case "drop":
		name, err := CheckDrop(s, &c.Catalog)
		if err != nil {
			return c.mistakes(err)
		}
		c.Definitions = slices.DeleteFunc(c.Definitions, func(d event.Definition) bool { return d.Name == name })
		return "dropped " + name + "\n"
	}
	return "unknown command " + verb + "\n"
}

// mistakes shows all mistakes, each with its code.
func (c *testCatalog) mistakes(err error) string {
	var list Errors
	if !errors.As(err, &list) {
		return fmt.Sprintf("not Errors: %v\n", err)
	}
	var out strings.Builder
	for _, e := range list {
		c.codes[e.Code] = true
		fmt.Fprintf(&out, "error %s\n%s\n", e.Code, e.Pretty())
	}
	return out.String()
}

func warningText(warnings []string) string {
	var out strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&out, "warning: %s\n", w)
	}
	return out.String()
}

// schema reads `events a b`, `channels a b`, `property a float`,
// `values a x y`, `until DATE`, and `arrived a`: an event that came after the
// definition of its name.
func (c *testCatalog) schema(input string) string {
	for _, line := range strings.Split(input, "\n") {
		words := strings.Fields(line)
		switch words[0] {
		case "events", "arrived":
			for _, w := range words[1:] {
				c.Schema.Events = append(c.Schema.Events, event.Name{Text: w})
			}
		case "channels":
			for _, w := range words[1:] {
				c.Schema.Channels = append(c.Schema.Channels, event.Name{Text: w})
			}
		case "property":
			typ, ok := event.ParseType(words[2])
			if !ok {
				return "unknown type " + words[2] + "\n"
			}
			c.Schema.Properties = append(c.Schema.Properties, event.Property{Name: words[1], Type: typ})
		case "values":
			if c.values == nil {
				c.values = map[string][]string{}
			}
			c.values[words[1]] = words[2:]
		case "until":
			d, ok := newBinder(&c.Catalog).dateText(Span{}, words[1])
			if !ok {
				return "bad date " + words[1] + "\n"
			}
			c.EndOfData = event.At(d.at)
		default:
			return "unknown line " + line + "\n"
		}
	}
	return ""
}

// params reads `name = literal`.
func (c *testCatalog) params(input string) string {
	c.Params = map[string]event.Value{}
	for _, line := range strings.Split(input, "\n") {
		name, literal, _ := strings.Cut(line, " = ")
		statements, err := Parse("journey of 'x' where id = " + literal)
		if err != nil {
			return c.mistakes(err)
		}
		b := newBinder(&c.Catalog)
		x := b.expr(statements[0].Query.Clauses[0].Expr.Args[1], scope{})
		c.Params[strings.TrimPrefix(name, "$")] = x.Value
	}
	return ""
}

// bindCodes lists the codes of bind_codes.go.
func bindCodes(t *testing.T) []string {
	source, err := os.ReadFile("bind_codes.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, m := range regexp.MustCompile(`Code\w+\s*= "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		codes = append(codes, m[1])
	}
	return codes
}
