package render

import (
	"testing"

	"wend/engine"
)

func journeyMapOf(rows ...[]engine.Cell) *engine.Result {
	return &engine.Result{Columns: []engine.Column{{Name: "stage", Type: engine.String}, {Name: "channel", Type: engine.String},
		{Name: "customers", Type: engine.Integer}, {Name: "events", Type: engine.Integer}, {Name: "reached", Type: engine.Share},
		{Name: "to_next_stage", Type: engine.Share}, {Name: "median_time_to_next", Type: engine.Duration},
		{Name: "score_avg", Type: engine.Number}, {Name: "score_n", Type: engine.Integer}, {Name: "breaks", Type: engine.Share}}, Rows: rows}
}

// A journey map is a matrix of stages and channels with the scores above it;
// the score of a stage is over all its channels, and a stage may have none.
func TestJourneyMap(t *testing.T) {
	plain := journeyMapOf(
		[]engine.Cell{"discovery", nil, int64(1200), int64(3000), 1.0, 0.5, 3 * day, 4.5, int64(10), 0.4},
		[]engine.Cell{"purchase", nil, int64(600), int64(700), 0.5, 0.25, day, nil, int64(0), 0.7},
		[]engine.Cell{"care", nil, int64(150), int64(300), 0.125, nil, nil, 3.0, int64(20), nil})
	byChannel := journeyMapOf(
		[]engine.Cell{"discovery", "web", int64(900), int64(2000), 0.75, 0.5, 3 * day, 4.0, int64(30), 0.4},
		[]engine.Cell{"discovery", nil, int64(300), int64(1000), 0.25, 0.4, 3 * day, 2.0, int64(10), 0.3},
		[]engine.Cell{"purchase", "web", int64(0), int64(0), 0.0, nil, nil, nil, int64(0), nil},
		[]engine.Cell{"purchase", nil, int64(600), int64(700), 0.5, nil, nil, 3.0, int64(2), nil})
	golden(t, "map.chart.txt", written(t, plain, "chart", Options{Width: 90, Unicode: true})+"\n"+
		written(t, byChannel, "chart", Options{Width: 80})+"\n"+written(t, plain, "chart", Options{Width: 40, Unicode: true}))
	if Drawable(plain) {
		t.Error("a journey map is drawn unasked, without the columns that it leaves out")
	}
}
