package render

import (
	"fmt"
	"strings"

	"wend/engine"
)

// Footer says below an answer for people what it rests on: rows, what was
// read, how long it took, what was left out. Warnings have lines of their own.
func Footer(r *engine.Result, opt Options) string {
	m := &r.Meta
	count := func(n int64, noun string) string { return group(fmt.Sprint(n), opt) + " " + plural(n, noun) }
	parts := []string{count(int64(len(r.Rows)), "row") + " in " + elapsedText(m.ElapsedMS)}
	if m.EventsRead > 0 || m.CustomersRead > 0 {
		parts = append(parts, count(m.EventsRead, "event")+" of "+count(m.CustomersRead, "customer")+" read")
	}
	if m.BytesRead > 0 {
		parts = append(parts, sizeText(m.BytesRead))
	}
	if m.Open > 0 {
		parts = append(parts, group(fmt.Sprint(m.Open), opt)+" open")
	}
	if m.Cut != nil {
		parts = append(parts, fmt.Sprintf("%s of %s shown, covering %s", group(fmt.Sprint(m.Cut.Kept), opt), group(fmt.Sprint(m.Cut.Of), opt), shareText(m.Cut.Share)))
	}
	if m.Tied > 0 {
		parts = append(parts, shareText(m.Tied)+" of events share their time")
	}
	if hasEnd(m) {
		parts = append(parts, "data until "+m.EndOfData.Std().Format("2006-01-02 15:04"))
	}
	if m.Cached {
		parts = append(parts, "cached")
	}
	var lines []string
	for _, line := range joined(parts, opt) {
		lines = append(lines, dim(line, opt))
	}
	if m.Partial {
		lines = append(lines, bold("partial:", opt)+" damaged data was left out")
		for _, x := range m.Missing {
			if x.Rows == 0 { // of a log, nobody knows
				lines = append(lines, "  "+visible(x.String()))
				continue
			}
			lines = append(lines, fmt.Sprintf("  %s: %s from %s to %s: %s", visible(x.Segment), count(x.Rows, "row"), x.From, x.To, visible(x.Reason)))
		}
	}
	for _, w := range m.Warnings {
		lines = append(lines, bold("warning:", opt)+" "+visible(w))
	}
	return strings.Join(lines, "\n")
}

// joined puts parts on as few lines as the width allows.
func joined(parts []string, opt Options) []string {
	dot := " · "
	if !opt.Unicode {
		dot = ", "
	}
	var lines []string
	for _, part := range parts {
		n := len(lines) - 1
		if n < 0 || opt.Width > 0 && width(lines[n]+dot+part) > opt.Width {
			lines = append(lines, part)
			continue
		}
		lines[n] += dot + part
	}
	return lines
}

func elapsedText(ms float64) string {
	if ms < 1000 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

func sizeText(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 || unit == "GiB" {
			if unit == "B" {
				return fmt.Sprintf("%d B", n)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1024
	}
	return ""
}
