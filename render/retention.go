package render

import (
	"bufio"
	"fmt"
	"strings"

	"wend/engine"
)

// retentionColumns are the places of a retention's columns; ok is false if the
// answer is none.
func retentionColumns(r *engine.Result) (cohort, size, period, share int, ok bool) {
	cohort, size, period, share = columnIndex(r, "cohort"), columnIndex(r, "size"), columnIndex(r, "period"), columnIndex(r, "share")
	return cohort, size, period, share, min(cohort, size, period, share) >= 0 && columnIndex(r, "customers") >= 0
}

// grid is a retention of one group: a line for each cohort, a column for each
// period after its own. Cells are shaded by their share of the largest there is.
type grid struct {
	most   float64
	shares int // columns that the shares take; 0: only shades fit
	opt    Options
}

// shadeWidth is how many columns a shade takes.
const shadeWidth = 2

// drawRetention draws a grid for each group, with shares as far as the width
// allows. A cell of a period that is not over is empty.
func drawRetention(out *bufio.Writer, r *engine.Result, opt Options) {
	cohort, size, period, share, _ := retentionColumns(r)
	names, sizes := forPeople(r, cohort, opt), forPeople(r, size, opt)
	g := grid{opt: opt}
	left, middle, periods := len("cohort"), len("size"), int64(0)
	for _, row := range r.Rows {
		left, middle = max(left, width(names.cell(row[cohort]))), max(middle, width(sizes.cell(row[size])))
		periods = max(periods, integerOf(row[period]))
		if x, ok := row[share].(float64); ok && integerOf(row[period]) > 0 {
			g.most = max(g.most, x)
			g.shares = max(g.shares, 1+width(shareText(x)))
		}
	}
	g.shares = max(g.shares, 1+len(fmt.Sprint(periods)))
	each := (opt.Width - left - 2 - middle) / max(1, int(periods))
	if each < 2+shadeWidth+g.shares {
		g.shares = 0
	}
	if each < 2+shadeWidth || periods == 0 {
		writeTable(out, r, opt)
		return
	}
	for n, part := range groupsBefore(r, cohort, opt) {
		writeTitle(out, n, part.title, opt)
		head := pad("cohort", left, false) + "  " + pad("size", middle, true)
		for p := range periods {
			head += "  " + pad(fmt.Sprint(p+1), shadeWidth+g.shares, true)
		}
		out.WriteString(bold(head, opt) + "\n")
		// The statement may have put the rows in another order, or cut them.
		var lines []string
		cells := map[string][]engine.Cell{} // by line
		for _, row := range part.rows {
			line := pad(names.cell(row[cohort]), left, false) + "  " + pad(sizes.cell(row[size]), middle, true)
			if cells[line] == nil {
				lines = append(lines, line)
				cells[line] = make([]engine.Cell, periods+1)
			}
			cells[line][integerOf(row[period])] = row[share]
		}
		for _, line := range lines {
			text := line
			for _, c := range cells[line][1:] {
				text += "  " + g.cell(c)
			}
			out.WriteString(strings.TrimRight(text, " ") + "\n")
		}
	}
	g.legend(out)
}

// shades are those of the quarters of the largest share, the darkest last.
func (g *grid) shades() []string {
	if g.opt.Unicode {
		return []string{"░", "▒", "▓", "█"}
	}
	return []string{".", ":", "+", "#"}
}

// cell is a share as shade and text: nothing if the period is not over, no
// shade if nobody came back.
func (g *grid) cell(c engine.Cell) string {
	x, ok := c.(float64)
	if !ok {
		return strings.Repeat(" ", shadeWidth+g.shares)
	}
	shade := strings.Repeat(" ", shadeWidth)
	if x > 0 {
		shades := g.shades()
		shade = strings.Repeat(shades[min(len(shades)-1, int(x/g.most*float64(len(shades))))], shadeWidth)
	}
	if g.shares == 0 {
		return shade
	}
	return shade + pad(shareText(x), g.shares, true)
}

// legend says what the shades are.
func (g *grid) legend(out *bufio.Writer) {
	if g.most == 0 {
		return
	}
	var parts []string
	shades := g.shades()
	for i, s := range shades {
		parts = append(parts, strings.Repeat(s, shadeWidth)+" from "+shareText(g.most*float64(i)/float64(len(shades))))
	}
	parts[0] = strings.Repeat(shades[0], shadeWidth) + " some"
	text := strings.Join(parts, "   ") + "   empty: not over"
	out.WriteString(dim(fit(text, g.opt.Width, g.opt), g.opt) + "\n")
}
