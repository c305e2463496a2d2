package render

import (
	"bufio"
	"strings"

	"wend/engine"
)

// flowTree is a flow of one group as a tree that begins at the anchors. The
// journeys that come to a label of a level from several others go on together:
// what comes after it is drawn once, below the largest of the edges that lead
// there, and the others say where.
type flowTree struct {
	below   map[flowStop][]flowEdge // the edges that lead on from a label, as the answer has them
	into    map[flowStop]int64      // journeys that come to a label
	largest map[flowStop]string     // the label from which most of them come
	opt     Options
}

// flowStop is a label on a level: level 0 are the anchors.
type flowStop struct {
	level int64
	label string
}

// flowEdge leads from a label of one level to one of the next, away from the
// anchors.
type flowEdge struct {
	to       flowStop
	journeys int64
}

// flowColumns are the places of a flow's columns; ok is false if the answer is
// none.
func flowColumns(r *engine.Result) (level, source, target, journeys int, ok bool) {
	level, source, target, journeys = columnIndex(r, "level"), columnIndex(r, "source"), columnIndex(r, "target"), columnIndex(r, "journeys")
	return level, source, target, journeys, min(level, source, target, journeys) >= 0
}

// drawFlow draws a tree for each group. An answer that was cut, so that edges
// hang in the air, is a table.
func drawFlow(out *bufio.Writer, r *engine.Result, opt Options) {
	level, source, target, journeys, _ := flowColumns(r)
	if strings.HasPrefix(r.Meta.Query, "flow to ") {
		source, target = target, source // levels count backwards from the anchors
	}
	type titled struct {
		title string
		lines []treeLine
		whole int64
	}
	var trees []titled
	drawn := 0
	for _, g := range groupsBefore(r, level, opt) {
		t := &flowTree{below: map[flowStop][]flowEdge{}, into: map[flowStop]int64{}, largest: map[flowStop]string{}, opt: opt}
		var anchors []flowStop
		most := map[flowStop]int64{}
		whole := int64(0)
		for _, row := range g.rows {
			from := flowStop{integerOf(row[level]) - 1, row[source].(string)}
			e := flowEdge{flowStop{from.level + 1, row[target].(string)}, integerOf(row[journeys])}
			if from.level == 0 {
				if t.below[from] == nil {
					anchors = append(anchors, from)
				}
				t.into[from] += e.journeys
				whole += e.journeys
			}
			if e.journeys > most[e.to] {
				most[e.to], t.largest[e.to] = e.journeys, from.label
			}
			t.into[e.to] += e.journeys
			t.below[from] = append(t.below[from], e)
		}
		var lines []treeLine
		for _, a := range anchors {
			lines = append(lines, treeLine{labels: []string{visible(a.label)}, journeys: t.into[a]})
			t.lines(&lines, a, "")
		}
		trees = append(trees, titled{g.title, lines, whole})
		drawn += len(lines) - len(anchors)
	}
	if drawn < len(r.Rows) {
		writeTable(out, r, opt)
		return
	}
	for n, t := range trees {
		writeTitle(out, n, t.title, opt)
		writeTree(out, t.lines, float64(t.whole), opt)
	}
}

// lines writes what is below a label.
func (t *flowTree) lines(lines *[]treeLine, at flowStop, rest string) {
	g := t.opt.glyphs()
	for i, e := range t.below[at] {
		first, further := g.branch, g.through
		if i == len(t.below[at])-1 {
			first, further = g.last, g.none
		}
		text := rest + first + visible(e.to.label)
		goesOn := len(t.below[e.to]) > 0
		switch {
		case !goesOn || t.into[e.to] == e.journeys:
		case t.largest[e.to] == at.label:
			text += " (" + (&people{opt: t.opt}).cell(t.into[e.to]) + " with others)"
		default:
			text += " (goes on below " + visible(t.largest[e.to]) + ")"
			goesOn = false
		}
		*lines = append(*lines, treeLine{labels: []string{text}, journeys: e.journeys})
		if goesOn {
			t.lines(lines, e.to, rest+further)
		}
	}
}
