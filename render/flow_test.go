package render

import (
	"fmt"
	"strings"
	"testing"

	"wend/engine"
)

// drawnAt writes an answer as a chart at the widths of usual terminals, and
// without Unicode.
func drawnAt(t *testing.T, r *engine.Result, widths ...int) string {
	t.Helper()
	var b strings.Builder
	for _, w := range widths {
		for _, unicode := range []bool{true, false} {
			text := written(t, r, "chart", Options{Width: w, Unicode: unicode})
			fmt.Fprintf(&b, "== %d columns, Unicode %v\n%s\n", w, unicode, text)
			for _, line := range strings.Split(text, "\n") {
				if width(line) > w {
					t.Errorf("a line of %d columns in %d: %s", width(line), w, line)
				}
				if !unicode && strings.IndexFunc(line, func(r rune) bool { return r > 126 }) >= 0 {
					t.Errorf("%q is not ASCII", line)
				}
			}
		}
	}
	return b.String()
}

func flowOf(query string, rows ...[]engine.Cell) *engine.Result {
	return &engine.Result{Columns: []engine.Column{{Name: "level", Type: engine.Integer}, {Name: "source", Type: engine.String},
		{Name: "target", Type: engine.String}, {Name: "journeys", Type: engine.Integer}, {Name: "share", Type: engine.Share}},
		Rows: rows, Meta: engine.Meta{Query: query}}
}

func flowEdgeOf(level int64, source, target string, journeys int64) []engine.Cell {
	return []engine.Cell{level, source, target, journeys, float64(journeys) / 1000}
}

// A flow is a tree from its anchors on. What comes together goes on once, below
// the largest edge; a flow to something grows backwards.
func TestFlow(t *testing.T) {
	forward := flowOf("flow depth 3",
		flowEdgeOf(1, "ad_click", "landing", 700), flowEdgeOf(1, "newsletter", "landing", 200), flowEdgeOf(1, "newsletter", "(exit)", 100),
		flowEdgeOf(2, "landing", "view_product", 800), flowEdgeOf(2, "landing", "(open)", 100),
		flowEdgeOf(3, "view_product", "add_to_cart", 300), flowEdgeOf(3, "view_product", "(exit)", 500))
	backward := flowOf("flow to purchase depth 2",
		flowEdgeOf(1, "checkout", "purchase", 600), flowEdgeOf(1, "(start)", "purchase", 400), flowEdgeOf(2, "cart", "checkout", 600))
	cut := flowOf("flow depth 3 order by level desc limit 2",
		flowEdgeOf(3, "view_product", "add_to_cart", 300), flowEdgeOf(3, "view_product", "(exit)", 500))
	golden(t, "flow.chart.txt", drawnAt(t, forward, 80, 120)+drawnAt(t, backward, 80)+drawnAt(t, cut, 80))
	if !Drawable(forward) {
		t.Error("a flow is not drawn unasked")
	}
}
