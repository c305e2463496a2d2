package repl

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/mattn/go-runewidth"

	"wend/docs"
)

// help lists the commands, or shows what the language reference says of a topic.
func (s *session) help(_ context.Context, topic string) error {
	width := s.renderOptions().Width
	if topic != "" {
		text, ok := docs.Topic(topic)
		if !ok {
			return fmt.Errorf("there is no help on %q; %s.help lists the topics", topic, didYouMean(".help ", topic, docs.Topics()))
		}
		fmt.Fprintln(s.out, page(text, width))
		return nil
	}
	widest := 0
	for _, c := range commands {
		widest = max(widest, len(c.usage()))
	}
	for _, c := range commands {
		fmt.Fprintln(s.out, wrap(fmt.Sprintf("  %-*s  %s", widest, c.usage(), c.help), width, widest+4))
	}
	fmt.Fprintf(s.out, "\n%s\n", wrap("A statement ends with ; or an empty line. Tab completes, Ctrl-R searches the history, Ctrl-C ends a running statement. A backslash may stand for the dot.", width, 0))
	if topics := docs.Topics(); len(topics) > 0 {
		fmt.Fprintf(s.out, "\n%s\n", wrap("Help on: "+strings.Join(topics, ", "), width, 0))
	}
	return nil
}

func (c *command) usage() string { return strings.TrimSpace("." + c.name + " " + c.args) }

// wrap breaks a line at spaces so that it fits a width, and indents all but the
// first. Spaces that begin it stay; a width of 0 breaks nothing.
func wrap(line string, width, indent int) string {
	if width <= 0 {
		return line
	}
	var out []string
	for runewidth.StringWidth(line) > width {
		at, columns := 0, 0
		for i, r := range line {
			if r == ' ' && i > indent {
				at = i
			}
			if columns += runewidth.RuneWidth(r); columns > width && at > 0 {
				break
			}
		}
		if at == 0 {
			break // one long word
		}
		out = append(out, strings.TrimRight(line[:at], " "))
		line = strings.Repeat(" ", indent) + strings.TrimLeft(line[at:], " ")
	}
	return strings.Join(append(out, line), "\n")
}

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`)

// page makes text for a terminal of a section in Markdown: paragraphs are
// broken to the width, examples are indented and cut to it.
func page(text string, width int) string {
	var out, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out = append(out, wrap(strings.Join(paragraph, " "), width, 0))
			paragraph = nil
		}
	}
	fenced := false
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "```"):
			flush()
			fenced = !fenced
		case fenced:
			line = "  " + line
			if width > 0 {
				line = runewidth.Truncate(line, width, "…")
			}
			out = append(out, line)
		case strings.HasPrefix(line, "|"):
			flush()
			if row := tableRow(line); row != "" {
				out = append(out, wrap(row, width, 4))
			}
		case strings.HasPrefix(line, "#"):
			flush()
			out = append(out, strings.ToUpper(strings.Trim(line, "# `")))
		case strings.TrimSpace(line) == "":
			flush()
			if len(out) > 0 && out[len(out)-1] != "" {
				out = append(out, "")
			}
		case strings.HasPrefix(line, "- "):
			flush()
			paragraph = append(paragraph, prose(line))
		default:
			paragraph = append(paragraph, prose(line))
		}
	}
	flush()
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

func prose(line string) string { return link.ReplaceAllString(line, "$1") }

// tableRow shows a row of a table as its first cell, a colon, and the others;
// the ruler under a header is nothing.
func tableRow(line string) string {
	if strings.Trim(line, "|-: ") == "" {
		return ""
	}
	const escaped = "\x00"
	line = strings.ReplaceAll(line, `\|`, escaped)
	var cells []string
	for c := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
		cells = append(cells, prose(strings.TrimSpace(strings.ReplaceAll(c, escaped, "|"))))
	}
	return "  " + cells[0] + ": " + strings.Join(cells[1:], "; ")
}
