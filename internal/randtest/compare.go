package randtest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/reference"
)

// Difference describes how an answer differs from the reference's: columns,
// rows in order, cells. Counts and texts are compared exactly, numbers with a
// fraction to nine digits. "" is no difference.
func Difference(want *reference.Answer, columns []string, rows [][]any) string {
	if !slices.Equal(want.Columns, columns) {
		return fmt.Sprintf("columns %q, want %q", columns, want.Columns)
	}
	if slices.Equal(columns, whyColumns) {
		return whyDifference(want, rows)
	}
	if len(want.Rows) != len(rows) {
		return fmt.Sprintf("%d rows, want %d", len(rows), len(want.Rows))
	}
	for i, row := range rows {
		for k, c := range row {
			if !sameCell(want.Rows[i][k], c) && !nearlyShared(columns[k], want.Rows[i][k], c) {
				return fmt.Sprintf("row %d, %s: %v, want %v", i+1, columns[k], c, want.Rows[i][k])
			}
		}
	}
	return ""
}

// nearlyShared compares what attribution shares out: a chain is solved to six
// digits, and shares that cancel out leave a trace.
func nearlyShared(column string, want, got any) bool {
	if !strings.HasPrefix(column, "conversions_") && !strings.HasPrefix(column, "value_") {
		return false
	}
	x, ok := asNumber(want)
	y, also := asNumber(got)
	tolerance := 1e-9
	if strings.Contains(column, "_markov") {
		tolerance = 1e-6
	}
	return ok && also && math.Abs(x-y) <= tolerance*max(1, math.Abs(x))
}

func sameCell(want, got any) bool {
	if want == nil || got == nil {
		return want == nil && got == nil
	}
	if x, ok := asNumber(want); ok {
		if y, ok := asNumber(got); ok {
			return x == y || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y))
		}
	}
	if list, ok := want.([]string); ok {
		other, ok := got.([]string)
		return ok && slices.Equal(list, other)
	}
	if list, ok := want.([]event.Prop); ok {
		other, ok := got.([]event.Prop)
		return ok && slices.Equal(list, other)
	}
	return want == got || cellText(want) == cellText(got)
}

func asNumber(c any) (float64, bool) {
	switch c := c.(type) {
	case int64:
		return float64(c), true
	case float64:
		return c, true
	}
	return 0, false
}

// cellText is a value as text: a column that holds (other) beside numbers may
// hold them as texts.
func cellText(c any) string {
	switch c := c.(type) {
	case string:
		return c
	case int64:
		return event.Integer(c).String()
	case float64:
		return event.Float(c).String()
	case bool:
		return event.Boolean(c).String()
	case event.Time:
		return c.String()
	}
	return fmt.Sprint(c)
}

// Table writes an answer for people to compare.
func Table(columns []string, rows [][]any) string {
	lines := []string{strings.Join(columns, " | ")}
	for _, row := range rows {
		var cells []string
		for _, c := range row {
			cells = append(cells, fmt.Sprint(cellText(c)))
		}
		lines = append(lines, strings.Join(cells, " | "))
	}
	return strings.Join(lines, "\n")
}
