package render

import (
	"bufio"
	"fmt"
	"strings"

	"wend/engine"
)

const (
	elasticMin = 8  // columns below which a cut text says nothing any more
	barMin     = 10 // columns below which a bar says nothing
	barMax     = 24
)

// table is an answer laid out in columns.
type table struct {
	opt     Options
	columns []*people
	header  [][]string // the lines of each column's name
	cells   [][]string // by row
	null    [][]bool
	widths  []int
	gap     int
	bar     int // the share column that has bars; -1: none
	barSize int
	shares  []float64 // of the bar column, by row
	more    int       // rows not shown
}

func writeTable(out *bufio.Writer, r *engine.Result, opt Options) {
	if len(r.Columns) == 0 {
		return
	}
	t := layTable(r, opt)
	if !t.narrow() {
		writeVertical(out, r, opt)
		return
	}
	t.addBars(r)
	t.write(out)
}

func layTable(r *engine.Result, opt Options) *table {
	t := &table{opt: opt, gap: 2, bar: -1}
	shown := r.Rows
	if opt.Rows > 0 && len(shown) > opt.Rows {
		t.more = len(shown) - opt.Rows
		shown = shown[:opt.Rows]
	}
	for i, c := range r.Columns {
		t.columns = append(t.columns, forPeople(r, i, opt))
		t.header = append(t.header, []string{visible(c.Name)})
		t.widths = append(t.widths, width(t.header[i][0]))
	}
	for _, row := range shown {
		cells, null := make([]string, len(row)), make([]bool, len(row))
		for i, c := range row {
			cells[i], null[i] = t.columns[i].cell(c), c == nil
			t.widths[i] = max(t.widths[i], width(cells[i]))
		}
		t.cells, t.null = append(t.cells, cells), append(t.null, null)
	}
	return t
}

func (t *table) total() int {
	sum := t.gap * (len(t.widths) - 1)
	for _, w := range t.widths {
		sum += w
	}
	return sum
}

// narrow makes the table fit the width, gentlest means first: names over
// several lines, a smaller gap, shorter texts. It returns false if none helps.
func (t *table) narrow() bool {
	if t.opt.Width == 0 || t.total() <= t.opt.Width {
		return true
	}
	for i := range t.header {
		t.wrapHeader(i)
	}
	if t.total() <= t.opt.Width {
		return true
	}
	t.gap = 1
	for i, p := range t.columns {
		if p.elastic() {
			t.widths[i] = min(t.widths[i], t.opt.Width)
		}
	}
	for t.total() > t.opt.Width {
		widest := -1
		for i, p := range t.columns {
			if p.elastic() && t.widths[i] > t.least(i) && (widest < 0 || t.widths[i] > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		t.widths[widest]--
	}
	return true
}

// least is the width below which a column is not cut.
func (t *table) least(i int) int {
	least := elasticMin
	for _, line := range t.header[i] {
		least = max(least, width(line))
	}
	return least
}

// wrapHeader breaks a column's name where its cells are narrower: after
// underscores, dots and spaces.
func (t *table) wrapHeader(i int) {
	cells := 1
	for _, row := range t.cells {
		cells = max(cells, width(row[i]))
	}
	if cells >= t.widths[i] {
		return
	}
	var words []string
	name := t.header[i][0]
	for name != "" {
		n := strings.IndexAny(name, "_. ") + 1
		if n == 0 {
			n = len(name)
		}
		words, name = append(words, name[:n]), name[n:]
	}
	widest := cells
	for _, word := range words {
		widest = max(widest, width(word))
	}
	var lines []string
	for _, word := range words {
		if n := len(lines); n > 0 && width(lines[n-1])+width(word) <= widest {
			lines[n-1] += word
		} else {
			lines = append(lines, word)
		}
	}
	t.header[i], t.widths[i] = lines, widest
}

// addBars gives a share a bar if there is room at the right of it.
func (t *table) addBars(r *engine.Result) {
	for i, c := range r.Columns {
		if c.Type == engine.Share && (t.bar < 0 || c.Name == "from_first") {
			t.bar = i
		}
	}
	t.barSize = min(t.opt.Width-t.total()-1, barMax)
	if t.bar < 0 || t.opt.Width == 0 || t.barSize < barMin || len(t.cells) == 0 {
		t.bar = -1
		return
	}
	for _, row := range r.Rows[:len(t.cells)] {
		share, _ := row[t.bar].(float64)
		t.shares = append(t.shares, share)
	}
}

func (t *table) write(out *bufio.Writer) {
	lines := 0
	for _, h := range t.header {
		lines = max(lines, len(h))
	}
	for n := range lines {
		t.line(out, func(i int) (string, bool) {
			// Short names stand at the bottom, next to their cells.
			if k := n - (lines - len(t.header[i])); k >= 0 {
				return t.header[i][k], false
			}
			return "", false
		}, -1, func(s string) string { return bold(s, t.opt) })
	}
	rules := make([]string, len(t.widths))
	for i, w := range t.widths {
		if i == t.bar {
			w += 1 + t.barSize
		}
		rules[i] = strings.Repeat(t.opt.glyphs().rule, w)
	}
	out.WriteString(dim(strings.Join(rules, strings.Repeat(" ", t.gap)), t.opt) + "\n")
	for n, row := range t.cells {
		t.line(out, func(i int) (string, bool) { return row[i], t.null[n][i] }, n, nil)
	}
	if t.more > 0 {
		fmt.Fprintf(out, "%s\n", dim(moreText(t.more, t.opt), t.opt))
	}
}

func moreText(n int, opt Options) string {
	dots := "…"
	if !opt.Unicode {
		dots = "..."
	}
	return dots + " " + group(fmt.Sprint(n), opt) + " more " + plural(int64(n), "row")
}

func plural(n int64, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// line writes one line; row is -1 for the header.
func (t *table) line(out *bufio.Writer, cell func(i int) (text string, null bool), row int, style func(string) string) {
	var b strings.Builder
	for i, p := range t.columns {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", t.gap))
		}
		text, null := cell(i)
		text = pad(fit(text, t.widths[i], t.opt), t.widths[i], p.right())
		switch {
		case null:
			text = dim(text, t.opt)
		case style != nil:
			text = style(text)
		}
		b.WriteString(text)
		if i == t.bar {
			drawn := ""
			if row >= 0 {
				drawn = bar(t.shares[row], t.barSize, t.opt)
			}
			b.WriteString(" " + pad(drawn, t.barSize, false))
		}
	}
	out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

// writeVertical writes every cell on a line of its own.
func writeVertical(out *bufio.Writer, r *engine.Result, opt Options) {
	names := 0
	for _, c := range r.Columns {
		names = max(names, width(visible(c.Name)))
	}
	columns := make([]*people, len(r.Columns))
	for i := range columns {
		columns[i] = forPeople(r, i, opt)
	}
	for n, row := range r.Rows {
		if opt.Rows > 0 && n == opt.Rows {
			fmt.Fprintf(out, "%s\n", dim(moreText(len(r.Rows)-n, opt), opt))
			return
		}
		rule := strings.Repeat(opt.glyphs().rule, 2)
		fmt.Fprintf(out, "%s\n", dim(fmt.Sprintf("%s row %d %s", rule, n+1, rule), opt))
		for i, c := range row {
			name := pad(visible(r.Columns[i].Name), names, false)
			text := columns[i].cell(c)
			for k, part := range wrap(text, opt.Width-names-2, opt) {
				if k > 0 {
					name = strings.Repeat(" ", names)
				}
				if c == nil {
					part = dim(part, opt)
				}
				out.WriteString(strings.TrimRight(bold(name, opt)+"  "+part, " ") + "\n")
			}
		}
	}
}

// wrap breaks a text into lines of a width; without a width there is one line.
func wrap(s string, columns int, opt Options) []string {
	if opt.Width == 0 || width(s) <= columns {
		return []string{s}
	}
	columns = max(columns, elasticMin)
	var lines []string
	for s != "" {
		line := screen.Truncate(s, columns, "")
		if line == "" {
			break
		}
		lines, s = append(lines, line), s[len(line):]
	}
	return lines
}
