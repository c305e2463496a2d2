package query

import (
	"errors"
	"strings"
	"testing"
)

func TestWithinMovesMistakesIntoTheScript(t *testing.T) {
	script := "show events;\n\nshow channels; Ünfug a -> b;\n  funnel\n   -> b"
	f := func(statement string, line, column int) {
		t.Helper()
		at := strings.Index(script, statement)
		_, err := Parse(statement)
		var mistakes Errors
		if !errors.As(Within(script, at, err), &mistakes) {
			t.Fatalf("no mistakes in %q", statement)
		}
		m := mistakes[0]
		if m.Line != line || m.Column != column || m.Text != script {
			t.Errorf("%q is at line %d, column %d, want %d, %d", statement, m.Line, m.Column, line, column)
		}
		if rest := script[m.Offset:]; !strings.HasPrefix(rest, "Ü") && !strings.HasPrefix(rest, "->") {
			t.Errorf("the byte offset of %q points at %q", statement, rest)
		}
	}
	f("Ünfug a -> b", 3, 16)
	f("funnel\n   -> b", 5, 4)
	other := errors.New("disk full")
	if Within(script, 3, other) != other {
		t.Error("an error without a place was changed")
	}
}
