package render

import (
	"bufio"
	"fmt"
	"strings"

	"wend/engine"
	"wend/event"
)

const (
	chartWidth = 80 // where no terminal says otherwise
	barLeast   = 8  // columns that a bar keeps, however long the names are
)

// drawing writes an answer as a drawing.
type drawing func(out *bufio.Writer, r *engine.Result, opt Options)

// special finds the drawing made for an answer's statement, nil if there is
// none: of a funnel, a journey map, a flow, a retention, of paths, of a
// distribution of times.
func special(r *engine.Result) drawing {
	if len(r.Rows) == 0 {
		return nil
	}
	if h, ok := r.Chart.(*engine.Histogram); ok && h != nil && len(h.Steps) > 0 {
		return drawHistogram
	}
	if newFunnel(r) != nil {
		return drawFunnel
	}
	if newJourneyMap(r) != nil {
		return drawMap
	}
	if _, _, _, _, ok := flowColumns(r); ok {
		return drawFlow
	}
	if _, _, _, _, ok := retentionColumns(r); ok {
		return drawRetention
	}
	if path := columnIndex(r, "path"); path >= 0 && r.Columns[path].Type == engine.List && columnIndex(r, "journeys") >= 0 {
		return drawPaths
	}
	return nil
}

// Drawable reports whether an answer has a drawing that shows more than its
// table. A histogram, a journey map and a grid do not: they leave columns out.
func Drawable(r *engine.Result) bool {
	_, _, _, _, grid := retentionColumns(r)
	return r.Chart == nil && special(r) != nil && newJourneyMap(r) == nil && !grid
}

func writeChart(out *bufio.Writer, r *engine.Result, opt Options) {
	if opt.Width == 0 {
		opt.Width = chartWidth
	}
	switch draw := special(r); {
	case draw != nil:
		draw(out, r, opt)
	case len(r.Rows) > 0 && barColumn(r) >= 0:
		drawBars(out, r, opt)
	default:
		writeTable(out, r, opt)
	}
}

func columnIndex(r *engine.Result, name string) int {
	for i, c := range r.Columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

// sameGroup is a run of rows that agree in the columns before one.
type sameGroup struct {
	title string
	rows  [][]engine.Cell
}

// groupsBefore cuts an answer where the values of its first columns change:
// windows, periods and the values of by.
func groupsBefore(r *engine.Result, columns int, opt Options) []sameGroup {
	cells := make([]*people, columns)
	for i := range cells {
		cells[i] = forPeople(r, i, opt)
	}
	var groups []sameGroup
	for n, row := range r.Rows {
		var parts []string
		for i := range cells {
			parts = append(parts, visible(r.Columns[i].Name)+" "+cells[i].cell(row[i]))
		}
		title := strings.Join(parts, ", ")
		if n == 0 || title != groups[len(groups)-1].title {
			groups = append(groups, sameGroup{title: title})
		}
		last := &groups[len(groups)-1]
		last.rows = append(last.rows, row)
	}
	return groups
}

func writeTitle(out *bufio.Writer, n int, title string, opt Options) {
	if n > 0 {
		out.WriteByte('\n')
	}
	if title != "" {
		out.WriteString(bold(fit(title, opt.Width, opt), opt) + "\n")
	}
}

// funnelColumns are the places of a funnel's columns.
type funnelColumns struct {
	step, touchpoint, count, previous, first int
	dropped, open, median                    int // -1 if the answer has none
}

// newFunnel finds a funnel's columns, nil if the answer is none.
func newFunnel(r *engine.Result) *funnelColumns {
	f := &funnelColumns{step: columnIndex(r, "step"), touchpoint: columnIndex(r, "touchpoint"), previous: columnIndex(r, "from_previous"),
		first: columnIndex(r, "from_first"), dropped: columnIndex(r, "dropped"), open: columnIndex(r, "open"), median: columnIndex(r, "median_from_previous")}
	f.count = f.touchpoint + 1
	if f.step < 0 || f.touchpoint != f.step+1 || f.previous < 0 || f.first < 0 || r.Columns[f.count].Type != engine.Integer {
		return nil
	}
	return f
}

func (f *funnelColumns) name(row []engine.Cell) string {
	return fmt.Sprintf("%v %s", row[f.step], (&people{}).cell(row[f.touchpoint]))
}

// drawFunnel draws a bar a step, and between two steps how many went on.
func drawFunnel(out *bufio.Writer, r *engine.Result, opt Options) {
	f := newFunnel(r)
	counts, shares := &people{typ: engine.Integer, opt: opt}, &people{typ: engine.Share, opt: opt}
	names, numbers := 0, 0
	for _, row := range r.Rows {
		names = max(names, width(f.name(row)))
		numbers = max(numbers, width(counts.cell(row[f.count])))
	}
	names = min(names, max(elasticMin, opt.Width-numbers-shareWidth-barLeast-6))
	size := max(barLeast, opt.Width-names-numbers-shareWidth-6)
	for n, g := range groupsBefore(r, f.step, opt) {
		writeTitle(out, n, g.title, opt)
		// Each group has a scale of its own: bars compare its steps.
		most := integerOf(g.rows[0][f.count])
		for k, row := range g.rows {
			if k > 0 {
				between := f.between(g.rows[k-1], row, opt)
				indent := names + 2
				if indent+width(between) > opt.Width {
					indent = 4
				}
				out.WriteString(dim(fit(strings.Repeat(" ", indent)+between, opt.Width, opt), opt) + "\n")
			}
			drawn := bar(ratio(integerOf(row[f.count]), most), size, opt)
			out.WriteString(pad(fit(f.name(row), names, opt), names, false) + "  " + pad(drawn, size, false) +
				"  " + pad(counts.cell(row[f.count]), numbers, true) + "  " + pad(shares.cell(row[f.first]), shareWidth, true) + "\n")
		}
	}
}

// shareWidth is the room that a share takes at most.
const shareWidth = len(">99.9 %")

// between says how many of one step went on to the next, and what became of
// the others.
func (f *funnelColumns) between(from, to []engine.Cell, opt Options) string {
	var parts []string
	if share, ok := to[f.previous].(float64); ok {
		parts = append(parts, shareText(share)+" go on")
	} else {
		parts = append(parts, "nobody to go on")
	}
	if n := integerOf(cellAt(from, f.dropped)); n > 0 {
		parts = append(parts, group(fmt.Sprint(n), opt)+" dropped")
	}
	if n := integerOf(cellAt(from, f.open)); n > 0 {
		parts = append(parts, group(fmt.Sprint(n), opt)+" open")
	}
	if ms, ok := cellAt(to, f.median).(float64); ok {
		parts = append(parts, "median "+durationText(ms))
	}
	return opt.glyphs().down + " " + strings.Join(parts, ", ")
}

func cellAt(row []engine.Cell, i int) engine.Cell {
	if i < 0 || i >= len(row) {
		return nil
	}
	return row[i]
}

func integerOf(c engine.Cell) int64 {
	n, _ := c.(int64)
	return n
}

func ratio(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// barColumn returns the column that drawBars draws: the only number beside
// labels, or, of an answer whose rows are parts of a whole, the one that has a
// share behind it; -1 if there is none.
func barColumn(r *engine.Result) int {
	labels := 0
	for labels < len(r.Columns) && isLabel(r.Columns[labels]) {
		labels++
	}
	if labels == 0 || labels == len(r.Columns) {
		return -1
	}
	switch len(r.Columns) - labels {
	case 1:
		return labels
	case 2, 3:
		if r.Columns[labels].Type == engine.Integer && r.Columns[labels+1].Type == engine.Share {
			return labels
		}
	}
	return -1
}

// isLabel reports whether a column names what its row is about.
func isLabel(c engine.Column) bool {
	return c.Name == "step" || c.Name == "level" || c.Name == "window" || !(&people{typ: c.Type}).right()
}

// drawBars draws a bar for each row of labels and a number.
func drawBars(out *bufio.Writer, r *engine.Result, opt Options) {
	at := barColumn(r)
	numbers := forPeople(r, at, opt)
	labels := make([]*people, at)
	for i := range labels {
		labels[i] = forPeople(r, i, opt)
	}
	rows := r.Rows
	if opt.Rows > 0 && len(rows) > opt.Rows {
		rows = rows[:opt.Rows]
	}
	texts, values := make([]string, len(rows)), make([]float64, len(rows))
	names, digits, most := 0, 0, 0.0
	for n, row := range rows {
		var parts []string
		for i := range labels {
			parts = append(parts, labels[i].cell(row[i]))
		}
		texts[n] = strings.Join(parts, "  ")
		if at == 2 && r.Columns[0].Name == "source" {
			texts[n] = strings.Join(parts, opt.glyphs().arrow)
		}
		switch v := row[at].(type) {
		case int64:
			values[n] = float64(v)
		case float64:
			values[n] = v
		}
		names, digits, most = max(names, width(texts[n])), max(digits, width(numbers.cell(row[at]))), max(most, values[n])
	}
	names = min(names, max(elasticMin, opt.Width-digits-barLeast-4))
	size := max(barLeast, opt.Width-names-digits-4)
	for n, row := range rows {
		drawn := ""
		if most > 0 {
			drawn = bar(values[n]/most, size, opt)
		}
		out.WriteString(pad(fit(texts[n], names, opt), names, false) + "  " + pad(drawn, size, false) + "  " + pad(numbers.cell(row[at]), digits, true) + "\n")
	}
	if len(rows) < len(r.Rows) {
		fmt.Fprintf(out, "%s\n", dim(moreText(len(r.Rows)-len(rows), opt), opt))
	}
}

// drawHistogram draws, for each step after the first, how many units took how
// long.
func drawHistogram(out *bufio.Writer, r *engine.Result, opt Options) {
	for n, s := range r.Chart.(*engine.Histogram).Steps {
		writeTitle(out, n, fmt.Sprintf("%d %s", s.Step, visible(s.Touchpoint)), opt)
		labels := make([]string, len(s.Counts))
		names, digits, most := 0, 0, int64(0)
		for i, c := range s.Counts {
			labels[i] = bucketText(s.Bounds[i], s.Bounds[i+1], opt)
			names, digits, most = max(names, width(labels[i])), max(digits, width(group(fmt.Sprint(c), opt))), max(most, c)
		}
		size := max(barLeast, opt.Width-names-digits-6)
		for i, c := range s.Counts {
			line := "  " + pad(labels[i], names, false) + "  " + pad(bar(ratio(c, most), size, opt), size, false) + "  " + pad(group(fmt.Sprint(c), opt), digits, true)
			out.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

func bucketText(from, to event.Duration, opt Options) string {
	return durationText(from.Milliseconds()) + " " + opt.glyphs().dash + " " + durationText(to.Milliseconds())
}
