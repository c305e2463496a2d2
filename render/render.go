// Package render writes answers: as tables and drawings for people, as JSON,
// CSV and NDJSON for programs, as Markdown for reports.
//
// It computes nothing. What programs read has full precision; what people read
// is rounded, grouped and cut to the width there is.
package render

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"wend/engine"
)

// Options say what the reader's screen can show. The zero value is a file.
type Options struct {
	Width   int  // columns of the terminal; 0: none, nothing is cut
	Rows    int  // rows shown of a table or chart; 0: all
	Color   bool // bold and dim
	Unicode bool // block characters, arrows, thin spaces; else plain ASCII

	// SpreadsheetSafe makes CSV put an apostrophe before texts that a
	// spreadsheet would run as a formula. Programs that read the file then see
	// the apostrophe, so it is not the default.
	SpreadsheetSafe bool
}

// Formats are the names that Write knows.
var Formats = []string{"table", "chart", "vertical", "json", "csv", "ndjson", "markdown"}

// Write writes an answer in one of Formats. A chart of what cannot be drawn is
// a table.
func Write(w io.Writer, r *engine.Result, format string, opt Options) error {
	out := bufio.NewWriter(w)
	var err error
	switch format {
	case "table":
		writeTable(out, r, opt)
	case "vertical":
		writeVertical(out, r, opt)
	case "chart":
		writeChart(out, r, opt)
	case "markdown":
		writeMarkdown(out, r)
	case "json":
		err = writeJSON(out, r)
	case "ndjson":
		err = writeNDJSON(out, r)
	case "csv":
		err = writeCSV(out, r, opt)
	default:
		err = fmt.Errorf("format %q is not known; formats are %s", format, strings.Join(Formats, ", "))
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// screen measures texts as terminals show them. Characters of ambiguous width
// count as one column, as they do outside East Asian locales.
var screen = &runewidth.Condition{StrictEmojiNeutral: true}

func width(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return screen.StringWidth(s)
		}
	}
	return len(s) // most texts, and many times faster
}

// fit cuts a text to a width, marking the cut.
func fit(s string, columns int, opt Options) string {
	if width(s) <= columns {
		return s
	}
	tail := "…"
	if !opt.Unicode {
		tail = "~"
	}
	return screen.Truncate(s, columns, tail)
}

// pad fills a text up to a width with spaces, before it if right is set.
func pad(s string, to int, right bool) string {
	n := to - width(s)
	if n <= 0 {
		return s
	}
	if right {
		return strings.Repeat(" ", n) + s
	}
	return s + strings.Repeat(" ", n)
}

func dim(s string, opt Options) string {
	if !opt.Color || s == "" {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

func bold(s string, opt Options) string {
	if !opt.Color || s == "" {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// glyphs are the drawing characters of a screen.
type glyphs struct {
	rule, arrow, down, dash     string
	branch, last, through, none string
	thousands                   string
}

func (o Options) glyphs() glyphs {
	if o.Unicode {
		return glyphs{"─", " → ", "↓", "–", "├─ ", "└─ ", "│  ", "   ", "\u2009"}
	}
	return glyphs{"-", " > ", "|", "-", "|- ", "`- ", "|  ", "   ", ","}
}

// bar draws a share of a whole as a bar of at most that many columns. What is not
// nothing is at least a sliver.
func bar(share float64, columns int, opt Options) string {
	share = min(share, 1)
	if !(share > 0) {
		return ""
	}
	if !opt.Unicode {
		return strings.Repeat("#", max(int(share*float64(columns)+0.5), 1))
	}
	eighths := max(int(share*float64(columns)*8+0.5), 1)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return s
}
