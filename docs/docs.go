// Package docs holds the project's documentation for users, so that the shell
// and the REPL can show it.
package docs

import (
	"embed"
	"sort"
	"strings"
)

// Files are the pages, as Markdown.
//
//go:embed *.md
var Files embed.FS

// Topic returns the section of the language reference about a statement or a
// clause: the one whose heading begins with the topic's words.
func Topic(topic string) (text string, ok bool) {
	topic = strings.ToLower(strings.TrimSpace(topic))
	for _, s := range sections() {
		for _, name := range s.names {
			if name == topic {
				return s.text, true
			}
		}
	}
	return "", false
}

// Topics lists what Topic knows, sorted.
func Topics() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.names...)
	}
	sort.Strings(names)
	return names
}

type section struct {
	names []string
	text  string
}

// sections cuts the language reference at its headings. A heading such as
// "## funnel" or "### within, during" names one topic or several; the page's
// title names none.
func sections() []section {
	page, err := Files.ReadFile("language.md")
	if err != nil {
		return nil
	}
	var all []section
	fenced := false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if title := strings.TrimLeft(line, "#"); title != line && !fenced {
			s := section{}
			for name := range strings.SplitSeq(title, ",") {
				if strings.HasPrefix(line, "# ") {
					break
				}
				s.names = append(s.names, strings.ToLower(strings.Trim(strings.TrimSpace(name), "`")))
			}
			all = append(all, s)
		}
		if len(all) > 0 {
			all[len(all)-1].text += line
		}
	}
	return all
}
