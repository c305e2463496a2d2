package render

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/engine"
)

// branch is a label in the tree of paths: those below it are the paths that
// begin alike.
type branch struct {
	label    string
	journeys int64 // of all paths through here
	ends     int64 // of the path that ends here
	below    []*branch
}

// drawPaths draws paths as a tree: what they have in common at the beginning is
// written once.
func drawPaths(out *bufio.Writer, r *engine.Result, opt Options) {
	path, journeys, share := columnIndex(r, "path"), columnIndex(r, "journeys"), columnIndex(r, "share")
	for n, g := range groupsBefore(r, path, opt) {
		writeTitle(out, n, g.title, opt)
		root := &branch{}
		whole := 0.0 // journeys that shares are shares of
		for _, row := range g.rows {
			labels, _ := row[path].([]string)
			count := integerOf(row[journeys])
			root.add(labels, count)
			if s, ok := cellAt(row, share).(float64); ok && s > 0 && whole == 0 {
				whole = float64(count) / s
			}
		}
		root.sort()
		var lines []treeLine
		for _, b := range root.below {
			b.lines(&lines, "", "", opt)
		}
		writeTree(out, lines, whole, opt)
	}
}

// add puts one path into the tree.
func (b *branch) add(labels []string, journeys int64) {
	b.journeys += journeys
	if len(labels) == 0 {
		b.ends += journeys
		return
	}
	for _, next := range b.below {
		if next.label == labels[0] {
			next.add(labels[1:], journeys)
			return
		}
	}
	next := &branch{label: labels[0]}
	b.below = append(b.below, next)
	next.add(labels[1:], journeys)
}

// sort puts what most journeys took first; what as many took stays in the
// answer's order.
func (b *branch) sort() {
	slices.SortStableFunc(b.below, func(p, q *branch) int { return cmp.Compare(q.journeys, p.journeys) })
	for _, next := range b.below {
		next.sort()
	}
}

type treeLine struct {
	first    string   // what leads to the labels
	labels   []string // joined by arrows
	rest     string   // what leads to them where they take more lines
	journeys int64
}

// broken joins the labels on as few lines of at most so many columns as they take.
func (l *treeLine) broken(columns int, arrow string) []string {
	lines := []string{l.first + l.labels[0]}
	for _, label := range l.labels[1:] {
		last := &lines[len(lines)-1]
		if longer := *last + arrow + label; width(longer) <= columns {
			*last = longer
			continue
		}
		lines = append(lines, l.rest+"  "+strings.TrimLeft(arrow, " ")+label)
	}
	return lines
}

// lines writes a branch and what is below it. Labels that always follow one
// another share a line.
func (b *branch) lines(lines *[]treeLine, first, rest string, opt Options) {
	g := opt.glyphs()
	labels := []string{visible(b.label)}
	for b.ends == 0 && len(b.below) == 1 {
		b = b.below[0]
		labels = append(labels, visible(b.label))
	}
	*lines = append(*lines, treeLine{first, labels, rest, b.journeys})
	below := len(b.below)
	if b.ends > 0 && below > 0 {
		*lines = append(*lines, treeLine{rest + g.branch, []string{"(ends here)"}, "", b.ends})
	}
	for i, next := range b.below {
		if i == below-1 {
			next.lines(lines, rest+g.last, rest+g.none, opt)
		} else {
			next.lines(lines, rest+g.branch, rest+g.through, opt)
		}
	}
}

// brokenLeast is the least room for which labels are broken further than they
// must be, so that bars stand beside them.
const brokenLeast = 32

func writeTree(out *bufio.Writer, lines []treeLine, whole float64, opt Options) {
	digits := 0
	for _, l := range lines {
		digits = max(digits, width(group(fmt.Sprint(l.journeys), opt)))
	}
	arrow := opt.glyphs().arrow
	widest := func(room int) int {
		names := 0
		for _, l := range lines {
			for _, text := range l.broken(room, arrow) {
				names = max(names, width(text))
			}
		}
		return names
	}
	room := max(elasticMin, opt.Width-digits-shareWidth-4)
	if beside := room - barMax - 2; widest(math.MaxInt) > room && beside >= brokenLeast {
		room = beside
	}
	names := min(room, widest(room))
	size := min(barMax, opt.Width-names-digits-shareWidth-6)
	for _, l := range lines {
		over := l.broken(room, arrow)
		text := pad(fit(over[0], names, opt), names, false) + "  " + pad(group(fmt.Sprint(l.journeys), opt), digits, true)
		if whole > 0 {
			share := float64(l.journeys) / whole
			text += "  " + pad(shareText(share), shareWidth, true)
			if size >= barLeast {
				text += "  " + bar(share, size, opt)
			}
		}
		out.WriteString(strings.TrimRight(text, " ") + "\n")
		for _, more := range over[1:] {
			out.WriteString(fit(more, names, opt) + "\n")
		}
	}
}
