package query

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzBind binds whatever parses: mistakes are errors, never a panic, and the
// canonical text of what binds binds again to itself.
func FuzzBind(f *testing.F) {
	files, err := filepath.Glob("testdata/bind/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, block := range strings.Split(string(data), "\n\n") {
			input, _, _ := strings.Cut(block, "\n----")
			if _, statements, ok := strings.Cut(input, "\n"); ok {
				f.Add(statements)
			}
		}
	}
	cat := randomCatalog(f)
	lenient := *cat
	lenient.Lenient = true
	f.Fuzz(func(t *testing.T, text string) {
		statements, _ := Parse(text)
		for _, s := range statements {
			switch {
			case s.Define != nil:
				_, _, _ = CheckDefine(s, cat)
				_, _, _ = CheckDefine(s, &lenient)
			case s.Drop != nil:
				_, _ = CheckDrop(s, cat)
			default:
				fuzzQuery(t, s, cat)
				fuzzQuery(t, s, &lenient)
			}
		}
	})
}

func fuzzQuery(t *testing.T, s *Statement, c *Catalog) {
	p, err := Bind(s, c)
	if err != nil {
		return
	}
	again, err := Parse(p.Text)
	if err != nil {
		t.Fatalf("%s\nbecame\n%s\nwhich does not parse: %v", s, p.Text, err)
	}
	q, err := Bind(again[0], c)
	if err != nil {
		t.Fatalf("%s\nbecame\n%s\nwhich does not bind: %v", s, p.Text, err)
	}
	if q.Text != p.Text {
		t.Fatalf("%s\nbecame\n%s\nand then\n%s", s, p.Text, q.Text)
	}
}
