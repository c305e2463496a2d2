package repl

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"wend/docs"
	"wend/engine"
	"wend/query"
	"wend/render"
)

// command is one dot command.
type command struct {
	name    string
	aliases []string // psql's and others' names for it, without the dot or backslash
	args    string
	help    string
	run     func(s *session, ctx context.Context, arg string) error
}

// commands are listed by .help in this order. It is filled in init because
// .help itself reads it.
var commands []command

func init() {
	commands = []command{
		{"help", []string{"?", "h"}, "[topic]", "this list, or what the language reference says of a statement or clause", (*session).help},
		{"schema", []string{"d", "tables"}, "[name]", "events, channels and properties, or one of them", (*session).schema},
		{"mode", []string{"format"}, "[mode]", "how answers are shown: " + strings.Join(modes, ", "), (*session).setMode},
		{"limit", []string{"maxrows"}, "[n]", "rows shown of a table, 0 for all", (*session).setLimit},
		{"timer", []string{"timing"}, "[on|off]", "the line under an answer", (*session).setTimer},
		{"explain", nil, "[on|analyze|off]", "explain the statements that follow; without an argument, the last one", (*session).setExplain},
		{"last", []string{"g"}, "", "the last answer again, in the mode set now", (*session).showLast},
		{"watch", nil, "[seconds]", "the last statement again and again, until Ctrl-C", (*session).watch},
		{"once", []string{"o"}, "FILE or |COMMAND", "the next answer goes there; .json, .ndjson, .md and .csv choose the format", (*session).setOnce},
		{"read", []string{"i"}, "FILE", "run the statements of a file", (*session).read},
		{"edit", []string{"e"}, "", "write a statement in $EDITOR, beginning with the last one", (*session).edit},
		{"quit", []string{"q", "exit"}, "", "leave", func(*session, context.Context, string) error { return errQuit }},
	}
}

// isCommand reports whether a line is for the loop itself: it begins with a dot
// or a backslash, or is a word that people type to get out or get help.
func isCommand(line string) bool {
	line = strings.TrimSpace(line)
	switch strings.ToLower(strings.TrimSuffix(line, ";")) {
	case "help", "exit", "quit", "q", ":q":
		return true
	}
	return strings.HasPrefix(line, ".") || strings.HasPrefix(line, `\`)
}

// within reports whether a line is a command also behind the beginning of a
// statement, which stays as it is. Only a dot and a whole name make it one.
func within(line string) bool {
	c, _, _ := named(line)
	return c != nil && strings.HasPrefix(strings.TrimSpace(line), "."+c.name)
}

// named splits a line into a command's name and what stands behind it; c is nil
// if there is no such command.
func named(line string) (c *command, name, arg string) {
	line = strings.TrimLeft(strings.TrimSuffix(strings.TrimSpace(line), ";"), `.\:`)
	name, arg, _ = strings.Cut(line, " ")
	name, arg = strings.ToLower(name), strings.TrimSpace(arg)
	for i := range commands {
		if commands[i].name == name || slices.Contains(commands[i].aliases, name) {
			c = &commands[i]
		}
	}
	return c, name, arg
}

func (s *session) command(ctx context.Context, line string) error {
	c, name, arg := named(line)
	if c != nil {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		return c.run(s, ctx, arg)
	}
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return fmt.Errorf("there is no command .%s; %s.help lists them", name, didYouMean(".", name, names))
}

// completeCommand completes a dot command, or what stands behind it where that
// is one of a few words. ok is false for a statement.
func completeCommand(before string) (head string, words []string, ok bool) {
	rest, dot := strings.CutPrefix(before, ".")
	if !dot {
		return "", nil, false
	}
	var candidates []string
	name, arg, behind := strings.Cut(rest, " ")
	switch {
	case !behind:
		name, arg = "", name
		for _, c := range commands {
			candidates = append(candidates, c.name)
		}
	case name == "help":
		candidates = docs.Topics()
	case name == "mode":
		candidates = modes
	}
	for _, c := range candidates {
		if strings.HasPrefix(c, arg) {
			words = append(words, c)
		}
	}
	return strings.TrimSuffix(before, arg), words, true
}

// didYouMean asks for the nearest of some names, if one is near.
func didYouMean(before, name string, names []string) string {
	if near := query.Nearest(name, names, 1); len(near) > 0 {
		return "did you mean " + before + near[0] + "? "
	}
	return ""
}

func (s *session) schema(ctx context.Context, name string) error {
	if name != "" {
		return s.run(ctx, "describe "+name)
	}
	return s.run(ctx, "show events; show channels; show properties")
}

var modes = []string{"auto", "table", "chart", "csv", "json", "ndjson", "markdown"}

func (s *session) setMode(_ context.Context, mode string) error {
	if mode == "" {
		fmt.Fprintln(s.out, s.mode)
		return nil
	}
	if !slices.Contains(modes, mode) {
		return fmt.Errorf("there is no mode %q; choose one of %s", mode, strings.Join(modes, ", "))
	}
	s.mode = mode
	return nil
}

func (s *session) setLimit(_ context.Context, arg string) error {
	if arg == "" {
		fmt.Fprintln(s.out, s.rowsMax)
		return nil
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 {
		return fmt.Errorf(".limit takes a number of rows, 0 for all, not %q", arg)
	}
	s.rowsMax = n
	return nil
}

func (s *session) setTimer(_ context.Context, arg string) error {
	on, err := onOff(arg, s.timer)
	if err != nil {
		return fmt.Errorf(".timer: %w", err)
	}
	s.timer = on
	return nil
}

func onOff(arg string, now bool) (bool, error) {
	switch strings.ToLower(arg) {
	case "":
		return !now, nil
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return now, fmt.Errorf("say on or off, not %q", arg)
}

func (s *session) setExplain(ctx context.Context, arg string) error {
	switch strings.ToLower(arg) {
	case "on":
		s.explain = "explain"
	case "analyze":
		s.explain = "explain analyze"
	case "off":
		s.explain = ""
	case "":
		if s.lastText == "" {
			return fmt.Errorf(".explain: no statement has run yet; write explain before one, or .explain on")
		}
		text := s.lastText
		if !startsWithWord(text, "explain") {
			text = "explain " + text
		}
		last := s.lastText
		defer func() { s.lastText = last }()
		return s.runShown(ctx, text)
	default:
		return fmt.Errorf(".explain: say on, analyze or off, not %q", arg)
	}
	return nil
}

// runShown runs statements and shows their mistakes as the loop does.
func (s *session) runShown(ctx context.Context, text string) error {
	if err := s.run(ctx, text); err != nil {
		if !s.interactive() {
			return err
		}
		s.showError(err)
	}
	return nil
}

func (s *session) showLast(ctx context.Context, _ string) error {
	if s.last == nil {
		return fmt.Errorf(".last: there is no answer yet")
	}
	return s.show(ctx, s.last)
}

// watch repeats the last statement until Ctrl-C.
func (s *session) watch(ctx context.Context, arg string) error {
	every := 2.0
	if arg != "" {
		n, err := strconv.ParseFloat(strings.TrimSuffix(arg, "s"), 64)
		if err != nil || n <= 0 {
			return fmt.Errorf(".watch takes seconds, not %q", arg)
		}
		every = n
	}
	if s.lastText == "" {
		return fmt.Errorf(".watch: no statement has run yet")
	}
	for {
		fmt.Fprintf(s.err, "%s, every %g s, Ctrl-C ends\n", time.Now().Format(time.TimeOnly), every)
		if err := s.run(ctx, s.lastText); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(every * float64(time.Second))):
		}
	}
}

func (s *session) setOnce(_ context.Context, target string) error {
	if target == "" {
		return fmt.Errorf(".once takes a file, or |command")
	}
	s.once = target
	return nil
}

// writeTo writes an answer to a file or into a command.
func (s *session) writeTo(ctx context.Context, target string, r *engine.Result) error {
	format := s.mode
	for ending, f := range map[string]string{".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".md": "markdown", ".txt": "table"} {
		if strings.HasSuffix(target, ending) {
			format = f
		}
	}
	if format == "auto" {
		format = "csv"
	}
	if pipe, ok := strings.CutPrefix(target, "|"); ok {
		cmd := exec.Command("sh", "-c", pipe)
		cmd.Stdout, cmd.Stderr = s.out, s.err
		in, err := cmd.StdinPipe()
		if err != nil {
			return fmt.Errorf(".once: %w", err)
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf(".once: run %s: %w", pipe, err)
		}
		// The command may stop reading early; that is its right.
		render.Write(in, r, format, render.Options{})
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf(".once: %s: %w", pipe, err)
		}
		return nil
	}
	f, err := os.Create(target)
	if err != nil {
		return fmt.Errorf(".once: %w", err)
	}
	if err := render.Write(interruptible{ctx, f}, r, format, render.Options{}); err != nil {
		f.Close()
		return fmt.Errorf(".once: write %s: %w", target, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf(".once: write %s: %w", target, err)
	}
	fmt.Fprintf(s.err, "%d rows written to %s\n", len(r.Rows), target)
	return nil
}

func (s *session) read(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf(".read: %w", err)
	}
	if err := s.script(ctx, string(text)); err != nil {
		if !s.interactive() {
			return err
		}
		s.showError(err)
	}
	return nil
}

// edit opens the last statement in the user's editor and runs what comes back.
func (s *session) edit(ctx context.Context, _ string) error {
	t, ok := s.lines.(*terminal)
	if !ok {
		return fmt.Errorf(".edit needs a terminal")
	}
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	f, err := os.CreateTemp("", "wend-*.wend")
	if err != nil {
		return fmt.Errorf(".edit: %w", err)
	}
	defer os.Remove(f.Name())
	f.WriteString(s.lastText + "\n")
	f.Close()
	err = t.suspend(func() error {
		cmd := exec.Command("sh", "-c", editor+` "$1"`, "sh", f.Name())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, os.Stderr
		return cmd.Run()
	})
	if err != nil {
		return fmt.Errorf(".edit: %s: %w; set EDITOR to the editor of your choice", editor, err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return fmt.Errorf(".edit: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil
	}
	s.lines.Remember(flatten(string(text)))
	fmt.Fprintln(s.out, strings.TrimSpace(string(text)))
	return s.runShown(ctx, string(text))
}
