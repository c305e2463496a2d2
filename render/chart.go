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

// drawing is what writeChart makes of an answer.
type drawing func(out *bufio.Writer, r *engine.Result, opt Options)

// draw finds the drawing that fits an answer's columns, nil if none does.
func draw(r *engine.Result) drawing {
	if len(r.Rows) == 0 {
		return nil
	}
	if h, ok := r.Chart.(*engine.Histogram); ok && h != nil {
		return drawHistogram
	}
	switch {
	case columnIndex(r, "from_previous") >= 0 && columnIndex(r, "touchpoint") >= 0 && columnIndex(r, "dropped") >= 0:
		return drawFunnel
	case columnIndex(r, "path") >= 0 && columnIndex(r, "journeys") >= 0 && r.Columns[columnIndex(r, "path")].Type == engine.List:
		return drawPaths
	case barColumn(r) >= 0:
		return drawBars
	}
	return nil
}

// Drawable reports whether an answer has a drawing that shows more than its
// table: a funnel, paths, a distribution of times.
func Drawable(r *engine.Result) bool {
	return len(r.Rows) > 0 && draw(r) != nil && !(barColumn(r) >= 0 && r.Chart == nil && columnIndex(r, "path") < 0 && columnIndex(r, "from_previous") < 0)
}

func writeChart(out *bufio.Writer, r *engine.Result, opt Options) {
	if opt.Width == 0 {
		opt.Width = chartWidth
	}
	if d := draw(r); d != nil {
		d(out, r, opt)
		return
	}
	writeTable(out, r, opt)
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

// drawFunnel draws a bar a step, and between two steps how many went on.
func drawFunnel(out *bufio.Writer, r *engine.Result, opt Options) {
	step := columnIndex(r, "step")
	touchpoint := columnIndex(r, "touchpoint")
	count := touchpoint + 1
	previous, first := columnIndex(r, "from_previous"), columnIndex(r, "from_first")
	dropped, open, median := columnIndex(r, "dropped"), columnIndex(r, "open"), columnIndex(r, "median_from_previous")
	if step != touchpoint-1 || count >= len(r.Columns) || r.Columns[count].Type != engine.Integer || first < 0 {
		writeTable(out, r, opt)
		return
	}
	counts := &people{typ: engine.Integer, opt: opt}
	groups := groupsBefore(r, step, opt)
	most := int64(0)
	names, numbers := 0, 0
	for _, row := range r.Rows {
		most = max(most, integerOf(row[count]))
		names = max(names, width(stepName(row, step, touchpoint)))
		numbers = max(numbers, width(counts.cell(row[count])))
	}
	const shares = len(">99.9 %")
	names = min(names, max(elasticMin, opt.Width-numbers-shares-barLeast-6))
	size := max(barLeast, opt.Width-names-numbers-shares-6)
	for n, g := range groups {
		writeTitle(out, n, g.title, opt)
		for k, row := range g.rows {
			if k > 0 {
				out.WriteString(dim(strings.TrimRight(fit(betweenSteps(g.rows[k-1], row, names, previous, dropped, open, median, opt), opt.Width, opt), " "), opt) + "\n")
			}
			drawn := pad(bar(ratio(integerOf(row[count]), most), size, opt), size, false)
			line := pad(fit(stepName(row, step, touchpoint), names, opt), names, false) + "  " + drawn +
				"  " + pad(counts.cell(row[count]), numbers, true) + "  " + pad((&people{typ: engine.Share, opt: opt}).cell(row[first]), shares, true)
			out.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

func stepName(row []engine.Cell, step, touchpoint int) string {
	return fmt.Sprintf("%v %s", row[step], (&people{}).cell(row[touchpoint]))
}

// betweenSteps says how many of one step went on to the next, and what became
// of the others.
func betweenSteps(from, to []engine.Cell, names, previous, dropped, open, median int, opt Options) string {
	parts := []string{}
	if share, ok := to[previous].(float64); ok {
		parts = append(parts, shareText(share)+" go on")
	} else {
		parts = append(parts, "nobody to go on")
	}
	if ms, ok := cellAt(to, median).(float64); ok {
		parts = append(parts, "median "+durationText(ms))
	}
	if n := integerOf(cellAt(from, dropped)); n > 0 {
		parts = append(parts, group(fmt.Sprint(n), opt)+" dropped")
	}
	if n := integerOf(cellAt(from, open)); n > 0 {
		parts = append(parts, group(fmt.Sprint(n), opt)+" open")
	}
	return strings.Repeat(" ", names+2) + opt.glyphs().down + " " + strings.Join(parts, ", ")
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
	for labels < len(r.Columns) && !(&people{typ: r.Columns[labels].Type}).right() {
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
		if at == 2 { // source and target
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
