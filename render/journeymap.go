package render

import (
	"bufio"
	"math"
	"strings"

	"wend/engine"
)

// journeyMap is an answer of `map` as a matrix: stages beside each other,
// channels below each other, and the scores of the stages as a curve above.
type journeyMap struct {
	stages   []string
	channels []engine.Cell
	rows     map[[2]int][]engine.Cell // by stage and channel
	scores   []float64                // by stage; not a number without a score

	customers, next, breaks int // columns
}

// newJourneyMap finds a journey map in an answer, nil if it is none.
func newJourneyMap(r *engine.Result) *journeyMap {
	m := &journeyMap{rows: map[[2]int][]engine.Cell{}}
	stage, channel := columnIndex(r, "stage"), columnIndex(r, "channel")
	average, n := columnIndex(r, "score_avg"), columnIndex(r, "score_n")
	m.customers, m.next, m.breaks = columnIndex(r, "customers"), columnIndex(r, "to_next_stage"), columnIndex(r, "breaks")
	if min(stage, channel, average, n, m.customers, m.next, m.breaks) < 0 {
		return nil
	}
	var sums, counts []float64
	for _, row := range r.Rows {
		s, c := -1, -1
		for i, name := range m.stages {
			if name == row[stage] {
				s = i
			}
		}
		if s < 0 {
			s = len(m.stages)
			m.stages = append(m.stages, row[stage].(string))
			sums, counts = append(sums, 0), append(counts, 0)
		}
		for i, name := range m.channels {
			if name == row[channel] {
				c = i
			}
		}
		if c < 0 {
			c = len(m.channels)
			m.channels = append(m.channels, row[channel])
		}
		m.rows[[2]int{s, c}] = row
		if score, ok := row[average].(float64); ok {
			sums[s] += score * float64(integerOf(row[n]))
			counts[s] += float64(integerOf(row[n]))
		}
	}
	for s := range sums {
		m.scores = append(m.scores, sums[s]/counts[s])
	}
	return m
}

const (
	curveHeight   = 5  // lines of the emotional curve
	stageLeast    = 16 // columns that a stage needs
	channelsWidth = 14
)

// drawMap draws the curve, the stages, and for each channel how many customers
// were there and how many of them went on; below, for how many the journey
// ended. What does not fit is a table.
func drawMap(out *bufio.Writer, r *engine.Result, opt Options) {
	m := newJourneyMap(r)
	left := 0
	texts := &people{opt: opt}
	for _, c := range m.channels {
		left = max(left, width(texts.cell(c)))
	}
	left = max(len("ends here"), min(left, channelsWidth))
	size := min(30, (opt.Width-left-2)/max(1, len(m.stages)))
	if size < stageLeast {
		writeTable(out, r, opt)
		return
	}
	line := func(title string, cell func(stage int) string) {
		text := pad(fit(title, left, opt), left, false) + "  "
		for s := range m.stages {
			text += pad(fit(cell(s), size-1, opt), size, false)
		}
		out.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	m.drawCurve(line, opt)
	line("", func(s int) string { return visible(m.stages[s]) })
	counts, shares := &people{typ: engine.Integer, opt: opt}, &people{typ: engine.Share, opt: opt}
	arrow := opt.glyphs().arrow
	for c, channel := range m.channels {
		name := "customers"
		if len(m.channels) > 1 || channel != nil {
			name = texts.cell(channel)
		}
		line(name, func(s int) string {
			row := m.rows[[2]int{s, c}]
			if row == nil || integerOf(row[m.customers]) == 0 {
				return ""
			}
			text := counts.cell(row[m.customers])
			if row[m.next] != nil {
				text += arrow + shares.cell(row[m.next])
			}
			return text
		})
	}
	if len(m.channels) > 1 {
		return // whose journey ended where is a share of each row's customers
	}
	line("ends here", func(s int) string {
		if row := m.rows[[2]int{s, 0}]; row != nil && row[m.breaks] != nil {
			return shares.cell(row[m.breaks])
		}
		return ""
	})
}

// drawCurve puts a point for the score of each stage at its height, the
// greatest at the top.
func (m *journeyMap) drawCurve(line func(string, func(int) string), opt Options) {
	least, most := math.Inf(1), math.Inf(-1)
	for _, x := range m.scores {
		if !math.IsNaN(x) {
			least, most = min(least, x), max(most, x)
		}
	}
	if math.IsInf(least, 1) {
		return
	}
	point := "● "
	if !opt.Unicode {
		point = "* "
	}
	for k := range curveHeight {
		title := ""
		if k == 0 {
			title = "score"
		}
		line(title, func(s int) string {
			x := m.scores[s]
			if math.IsNaN(x) {
				return ""
			}
			height := 0
			if most > least {
				height = int(math.Round((most - x) / (most - least) * (curveHeight - 1)))
			}
			if height != k {
				return ""
			}
			return point + numberText(x, opt)
		})
	}
}
