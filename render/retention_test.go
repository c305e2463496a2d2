package render

import (
	"testing"

	"wend/engine"
	"wend/event"
)

// A retention is a grid of cohorts and periods, shaded by share. What is not
// over is empty; what does not fit loses its figures before its shades.
func TestRetention(t *testing.T) {
	first, _ := parseTime("2025-01-06T00:00:00Z")
	r := &engine.Result{Columns: []engine.Column{{Name: "channel", Type: engine.String}, {Name: "cohort", Type: engine.Time}, {Name: "size", Type: engine.Integer},
		{Name: "period", Type: engine.Integer}, {Name: "customers", Type: engine.Integer}, {Name: "share", Type: engine.Share}}}
	add := func(channel any, week, size int64, returned ...int64) {
		for n := range int64(9) {
			var share any
			count := int64(0)
			if n < int64(len(returned)) {
				count = returned[n]
				share = float64(count) / float64(size)
			}
			r.Rows = append(r.Rows, []engine.Cell{channel, first + event.Time(week)*event.Time(7*event.Day), size, n, count, share})
		}
	}
	add("web", 0, 1200, 1200, 480, 240, 130, 90, 60, 1, 0, 30)
	add("web", 1, 900, 900, 300, 100, 0, 80)
	add(nil, 1, 7, 7)
	golden(t, "retention.chart.txt", drawnAt(t, r, 120, 80))
	if Drawable(r) {
		t.Error("a grid is drawn unasked, without the counts that it leaves out")
	}
}
