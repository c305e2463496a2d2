package randtest

import (
	"strings"
	"testing"

	"wend/internal/reference"
	"wend/query"
)

// byReference answers a statement by the reference evaluator.
func byReference(w *World, text string) (*reference.Answer, error) {
	st, err := query.Parse(text)
	if err != nil {
		return nil, err
	}
	return reference.Evaluate(w.Events, w.Links, st[0], w.Definitions, w.EndOfData)
}

// TestGeneratedStatementsAreAnswered holds the generator to statements that
// parse and that the reference can answer, mostly with rows.
func TestGeneratedStatementsAreAnswered(t *testing.T) {
	answered, withRows := 0, 0
	for i := range uint64(200) {
		w := NewWorld(7, i)
		for k := range uint64(10) {
			s := NewStatement(w, 7, i*10+k, Pair{})
			a, err := byReference(w, s.String())
			if err != nil && strings.Contains(err.Error(), "largest support") {
				continue // the customer's labels are too rare
			}
			if err != nil {
				t.Errorf("%s: %v", s, err)
				continue
			}
			answered++
			if len(a.Rows) > 0 {
				withRows++
			}
		}
	}
	if withRows*10 < answered*3 {
		t.Errorf("only %d of %d answers have rows", withRows, answered)
	}
}

func TestInvariantsOfReference(t *testing.T) { holdInvariants(t, byReference) }
