package randtest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/reference"
	"wend/internal/transcript"
	"wend/query"
)

// transcriptOf writes a case and its right answer the way testdata keeps them.
func transcriptOf(c Case, want *reference.Answer) string {
	var text strings.Builder
	w := c.World
	text.WriteString("-- events\n")
	for _, e := range w.Events {
		text.WriteString(e.Customer + "  " + quoted(e.Name) + "  " + e.Time.String())
		if e.Channel != "" {
			text.WriteString("  @" + quoted(e.Channel))
		}
		if e.ID != "" {
			text.WriteString("  #" + e.ID)
		}
		for _, p := range e.Props {
			text.WriteString("  " + p.Name + "=" + valueText(p.Value))
		}
		text.WriteString("\n")
	}
	text.WriteString("-- end " + w.EndOfData.String() + "\n")
	if len(w.Links) > 0 {
		text.WriteString("-- links\n")
		for _, from := range slices.Sorted(maps.Keys(w.Links)) {
			text.WriteString(from + "  " + w.Links[from] + "\n")
		}
	}
	if len(w.Definitions) > 0 {
		text.WriteString("-- definitions\n")
		for _, d := range w.Definitions {
			text.WriteString(d.Text + "\n")
		}
	}
	text.WriteString("-- query\n" + c.Statement.String() + "\n")
	if want == nil {
		return text.String()
	}
	var rows [][]string
	for _, row := range want.Rows {
		var cells []string
		for k, x := range row {
			cells = append(cells, transcript.Cell(x, elapsed.MatchString(want.Columns[k]) && c.Statement.Verb != "measure"))
		}
		rows = append(rows, cells)
	}
	return text.String() + "-- answer\n" + transcript.Table(want.Columns, rows)
}

// elapsed are the columns that hold elapsed times.
var elapsed = regexp.MustCompile(`^(median_.*|mean|p\d+|window)$`)

func quoted(name string) string {
	if strings.Contains(name, " ") {
		return `"` + name + `"`
	}
	return name
}

func valueText(v event.Value) string {
	switch v.Type() {
	case event.StringType:
		return `"` + v.Text() + `"`
	case event.FloatType:
		text := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	}
	return v.String()
}

// TestTranscriptsOfCasesRead holds what a failing case prints to what testdata reads.
func TestTranscriptsOfCasesRead(t *testing.T) {
	for i := range uint64(40) {
		w := NewWorld(41, i)
		c := Case{w, NewStatement(w, 41, i, Pair{})}
		if c.Statement.Verb == "next for" {
			continue // it may have nothing to tell
		}
		want, err := byReference(w, c.Statement.String())
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "case.txt")
		if err := os.WriteFile(name, []byte(transcriptOf(c, want)), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := transcript.Read(name)
		if err != nil {
			t.Fatalf("%v in\n%s", err, transcriptOf(c, want))
		}
		read := f.Cases[0]
		st, err := query.Parse(read.Query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reference.Evaluate(read.Events, read.Links, st[0], read.Definitions, read.End)
		if err != nil {
			t.Fatal(err)
		}
		if d := Difference(want, got.Columns, got.Rows); d != "" || len(read.Rows) != len(want.Rows) {
			t.Errorf("read again: %s\n%s", d, transcriptOf(c, want))
		}
	}
}
