package randtest

import (
	"fmt"

	"wend/internal/reference"
)

// whyColumns are the columns of why, which is compared in a way of its own.
var whyColumns = []string{"time", "event", "channel", "step", "effect"}

// whyDifference compares the steps that the reported attempt reached, and the
// verdict. What else mattered, and when the verdict was certain, the reference
// does not tell.
func whyDifference(want *reference.Answer, rows [][]any) string {
	if len(want.Rows) == 0 && len(rows) == 1 && rows[0][4] == "no entry" {
		return "" // who has no events that exist can be told so or not be known
	}
	reached, got := stepsOf(want.Rows), stepsOf(rows)
	if n := len(reached); n > 0 && len(got) > 0 && reached[n-1][3] == nil {
		reached, got = reached[n-1:], got[len(got)-1:] // what is not counted has no level
	}
	if len(got) != len(reached) {
		return fmt.Sprintf("%d steps, want %d:\n%s", len(got), len(reached), Table(want.Columns, reached))
	}
	for i, w := range reached {
		if i < len(got)-1 {
			for k := range w {
				if !sameCell(w[k], got[i][k]) {
					return fmt.Sprintf("step %d, %s: %v, want %v", i+1, want.Columns[k], got[i][k], w[k])
				}
			}
			continue
		}
		verdict, _ := got[i][4].(string)
		if !reference.IsVerdict(w[4].(string), verdict) || w[3] != nil && !sameCell(w[3], got[i][3]) {
			return fmt.Sprintf("verdict %s at step %v, want %s at step %v", verdict, got[i][3], w[4], w[3])
		}
	}
	return ""
}

// stepsOf leaves the steps that were reached and the verdict.
func stepsOf(rows [][]any) [][]any {
	var steps [][]any
	for i, row := range rows {
		if i == len(rows)-1 || row[4] == "entry" || row[4] == "reached" {
			steps = append(steps, row)
		}
	}
	return steps
}
