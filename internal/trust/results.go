package trust

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Result is a report line that is kept: with what ran, when and how it ended.
type Result struct {
	Date    string // 2026-11-22
	Commit  string
	Tier    string // C: of every change; N: of a long run
	Verdict string // ok, FAILED
	Test    string // storage.TestSimCrashes
	Line    string // P1 sim states=…
}

// Promise is the name of the promise that the result is about.
func (r Result) Promise() string { name, _, _ := strings.Cut(r.Line, " "); return name }

// Figures is what the line says besides the promise's name.
func (r Result) Figures() string { _, rest, _ := strings.Cut(r.Line, " "); return rest }

// shows is what a result shows, and another one may show as well: the same
// test, with the same words but other numbers.
func (r Result) shows() string {
	digits := func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}
	return r.Promise() + "\t" + r.Test + "\t" + strings.Map(digits, r.Figures())
}

// String is the result's line of the results file: six fields with tabs between.
func (r Result) String() string {
	return strings.Join([]string{r.Date, r.Commit, r.Tier, r.Verdict, r.Test, r.Line}, "\t")
}

// ParseReports reads what Report appended to a file; date, commit and tier are
// those of the run.
func ParseReports(text, date, commit, tier string) ([]Result, error) {
	var list []Result
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("read report %q: want verdict, test and line", line)
		}
		list = append(list, Result{date, commit, tier, f[0], f[1], f[2]})
	}
	return list, nil
}

// ParseResults reads a file of kept results.
func ParseResults(text string) ([]Result, error) {
	var list []Result
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 6)
		if len(f) != 6 {
			return nil, fmt.Errorf("read result %q: want date, commit, tier, verdict, test and line", line)
		}
		list = append(list, Result{f[0], f[1], f[2], f[3], f[4], f[5]})
	}
	return list, nil
}

// Merge puts new results in the place of those that showed the same in the
// same tier, and the rest behind. A long run is not replaced by a short one.
func Merge(kept, more []Result) []Result {
	out := slices.Clone(kept)
	for _, r := range more {
		same := func(o Result) bool { return o.Tier == r.Tier && o.shows() == r.shows() }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i] = r
		} else {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Result) int {
		if n := rank(a.Promise()) - rank(b.Promise()); n != 0 {
			return n
		}
		if n := strings.Compare(a.Test, b.Test); n != 0 {
			return n
		}
		return strings.Compare(a.shows(), b.shows())
	})
	return out
}

// rank orders promises as they are listed, unknown ones last.
func rank(name string) int {
	n := 0
	for _, s := range Sections {
		for _, p := range s.Promises {
			if p.Name == name {
				return n
			}
			n++
		}
	}
	return n
}

// of is what is shown of a promise: of results that show the same, that of the
// longest tier.
func of(promise string, results []Result) []Result {
	var list []Result
	for _, r := range results {
		if r.Promise() != promise {
			continue
		}
		same := func(o Result) bool { return o.shows() == r.shows() }
		i := slices.IndexFunc(list, same)
		switch {
		case i < 0:
			list = append(list, r)
		case r.Tier >= list[i].Tier: // C, N, R: as it happens in order
			list[i] = r
		}
	}
	return list
}

// Summary is what `make trust` prints: one line a promise.
func Summary(results []Result) (text string, good bool) {
	var b strings.Builder
	good = true
	for _, s := range Sections {
		for _, p := range s.Promises {
			list := of(p.Name, results)
			verdict := "ok"
			var figures []string
			for _, r := range list {
				if r.Verdict != "ok" {
					verdict, good = "FAILED", false
				}
				figures = append(figures, r.Figures())
			}
			if len(list) == 0 {
				verdict, figures = "not shown", []string{p.Title}
			}
			fmt.Fprintf(&b, "%-4s %-9s %s\n", p.Name, verdict, strings.Join(figures, "; "))
		}
	}
	return b.String(), good
}

// Page is docs/trust.md.
func Page(results []Result) string {
	var b strings.Builder
	b.WriteString(`# How far to trust it

What wend promises, how each promise is shown, and the figures that were reached. The rows are made by a command from the
results that test runs left, so that no number is typed by hand: ` + "`make trust`" + ` runs all suites in the size of every change
(tier C), ` + "`make trust-nightly`" + ` those that are longer (tier N), and ` + "`make trust-page`" + ` writes this page from
` + "`testdata/trust/results.tsv`" + `. The last column is the day and the commit of the run. What is promised on which systems, and what
is not, is on the [operations](operations.md) page.
`)
	for _, s := range Sections {
		fmt.Fprintf(&b, "\n## %s\n", s.Title)
		for _, p := range s.Promises {
			how := "`" + strings.ReplaceAll(p.How, "; ", "`, `") + "`"
			fmt.Fprintf(&b, "\n### %s\n\n%s: %s. Shown by %s.\n", p.Title, p.Name, p.Text, how)
			var figures, bugs, fuzz [][]string
			for _, r := range of(p.Name, results) {
				run := []string{r.Tier, r.Date + ", " + r.Commit}
				text := r.Figures()
				if r.Verdict != "ok" {
					text = "**failed**: " + text
				}
				if f := bugFigures.FindStringSubmatch(text); f != nil {
					bugs = append(bugs, slices.Concat(f[1:], run))
				} else if f := fuzzFigures.FindStringSubmatch(text); f != nil {
					fuzz = append(fuzz, slices.Concat(f[1:], run))
				} else {
					figures = append(figures, slices.Concat([]string{text}, run))
				}
			}
			table(&b, figures, "figures")
			table(&b, bugs, "bug", "noticed by", "after")
			table(&b, fuzz, "fuzzed", "executions", "crashers")
			if len(figures)+len(bugs)+len(fuzz) == 0 {
				b.WriteString("\nNot shown yet.\n")
			}
		}
	}
	return b.String()
}

var (
	bugFigures  = regexp.MustCompile(`^bug (.*)=caught by=(.*) after=(.*)$`)
	fuzzFigures = regexp.MustCompile(`^fuzz Fuzz(.*) executions=(.*) crashers=(.*)$`)
)

// table writes rows of figures, which end with tier and run, if there are any.
func table(b *strings.Builder, rows [][]string, heads ...string) {
	if len(rows) == 0 {
		return
	}
	heads = append(heads, "tier", "run")
	fmt.Fprintf(b, "\n| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, row := range rows {
		for _, cell := range row {
			fmt.Fprintf(b, "| %s ", strings.ReplaceAll(cell, "|", "\\|"))
		}
		b.WriteString("|\n")
	}
}
