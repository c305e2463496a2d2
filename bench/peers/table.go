package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// table collects what was measured.
type table struct {
	title    string
	runs     int
	settings []string
	absent   []string
	rows     []row
	memory   []string
	loops    []string
	notes    []string
}

type row struct {
	name     string
	wend     float64
	variants []float64
	peers    map[string]cell
}

// cell is one peer's time for one statement.
type cell struct {
	ms    float64
	equal string // "equal", "differs as said", "no: …"; empty: not asked
}

// add asks every system, compares, then times.
func (t *table) add(st statement, systems []*system, runs int) {
	r := row{name: st.name, peers: map[string]cell{}}
	var ours []string
	for _, sys := range systems {
		if sys.name == "wend" {
			a, err := sys.ask(st.wend)
			if err != nil {
				t.notes = append(t.notes, fmt.Sprintf("%s: wend failed: %v", st.name, err))
				return
			}
			ours = canonical(a.Rows, st.columns)
			r.wend = median(sys, st.wend, runs, t, st.name)
			for _, v := range st.variants {
				r.variants = append(r.variants, median(sys, v, runs, t, st.name))
			}
		}
	}
	for _, sys := range systems {
		texts := st.peers[sys.name]
		best := cell{ms: math.Inf(1)}
		for _, text := range texts {
			a, err := sys.ask(text)
			if err != nil {
				t.notes = append(t.notes, fmt.Sprintf("%s: %s failed: %.300v", st.name, sys.name, err))
				continue
			}
			equal := compare(ours, canonical(a.Rows, nil))
			if st.differs != "" {
				equal = "other meaning"
			}
			ms := median(sys, text, runs, t, st.name)
			if better(cell{ms, equal}, best) {
				best = cell{ms, equal}
			}
		}
		if !math.IsInf(best.ms, 1) {
			r.peers[sys.name] = best
		}
	}
	if st.differs != "" {
		t.notes = append(t.notes, st.name+": "+st.differs+".")
	}
	t.rows = append(t.rows, r)
}

// better prefers right answers, then fast ones.
func better(a, b cell) bool {
	if wrong, wrongB := strings.HasPrefix(a.equal, "no"), strings.HasPrefix(b.equal, "no"); wrong != wrongB && !math.IsInf(b.ms, 1) {
		return !wrong
	}
	return a.ms < b.ms
}

// median asks once to warm and then runs times.
func median(sys *system, text string, runs int, t *table, name string) float64 {
	var ms []float64
	for i := range runs + 1 {
		a, err := sys.ask(text)
		if err != nil {
			t.notes = append(t.notes, fmt.Sprintf("%s: %s failed: %.300v", name, sys.name, err))
			return math.NaN()
		}
		if i > 0 {
			ms = append(ms, a.MS)
		}
	}
	slices.Sort(ms)
	return ms[len(ms)/2]
}

// canonical writes rows so that equal answers are equal: chosen columns,
// numbers to nine digits, in order.
func canonical(rows [][]any, columns []int) []string {
	var list []string
	for _, row := range rows {
		if columns == nil {
			columns = make([]int, len(row))
			for i := range columns {
				columns[i] = i
			}
		}
		var cells []string
		for _, c := range columns {
			cells = append(cells, text(row[c]))
		}
		list = append(list, strings.Join(cells, " | "))
	}
	slices.Sort(list)
	return list
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(v, 'g', 9, 64)
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return text(f)
		}
		return v
	case []any:
		var list []string
		for _, x := range v {
			list = append(list, text(x))
		}
		return strings.Join(list, " > ")
	default:
		return fmt.Sprint(v)
	}
}

func compare(ours, theirs []string) string {
	if slices.Equal(ours, theirs) {
		return "equal"
	}
	different := 0
	for _, o := range ours {
		if _, ok := slices.BinarySearch(theirs, o); !ok {
			different++
		}
	}
	example := ""
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			example = fmt.Sprintf(": %s, here %s", theirs[i], ours[i])
			break
		}
	}
	return fmt.Sprintf("no, %d of %d rows%s", different, len(ours), example)
}

var peerNames = []string{"clickhouse", "duckdb"}

func (t *table) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", t.title)
	fmt.Fprintf(&b, "Milliseconds, median of %d runs after one that warms, %d threads, each system in a process of its own, all in one run.\n", t.runs, runtime.GOMAXPROCS(0))
	b.WriteString("\"times faster\" is against the faster peer. \"other where, other during\" is wend's time for the same statement with those.\n")
	b.WriteString("Events of one customer at one time: wend keeps them in order of arrival, the peers in no stated order; answers that say \"no\" by a few counts differ for that.\n\n")
	b.WriteString("| statement | wend | ClickHouse | DuckDB | times faster | answers | other where, other during |\n|---|---|---|---|---|---|---|\n")
	for _, r := range t.rows {
		best := math.Inf(1)
		cells, answers := "", []string{}
		for _, p := range peerNames {
			c, ok := r.peers[p]
			if !ok {
				cells += " – |"
				continue
			}
			cells += fmt.Sprintf(" %s |", milliseconds(c.ms))
			best = min(best, c.ms)
			answers = append(answers, p+" "+strings.ReplaceAll(c.equal, "|", `\|`))
		}
		ratio := "–"
		if !math.IsInf(best, 1) {
			ratio = strconv.FormatFloat(best/r.wend, 'f', 1, 64)
		}
		var variants []string
		for _, v := range r.variants {
			variants = append(variants, milliseconds(v))
		}
		fmt.Fprintf(&b, "| %s | %s |%s %s | %s | %s |\n", r.name, milliseconds(r.wend), cells, ratio, strings.Join(answers, "; "), strings.Join(variants, ", "))
	}
	b.WriteString("\n")
	if len(t.loops) > 0 {
		b.WriteString("The workload's plain loops over arrays in memory, one thread, in the same run (name, ms, a check value):\n\n")
		for _, l := range t.loops {
			b.WriteString("    " + strings.ReplaceAll(l, "\t", "  ") + "\n")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Peak memory of the processes: %s.\n\n", strings.Join(t.memory, ", "))
	for _, s := range slices.Concat(t.settings, t.absent, t.notes) {
		b.WriteString("- " + s + "\n")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func milliseconds(ms float64) string {
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}
