// Package repl is the interactive loop: statements over several lines, history,
// completion, commands that begin with a dot or a backslash, answers as tables
// and charts that fit the terminal.
//
// It leaves parsing and running to a Database, which may be an open store or a
// server elsewhere, and drawing to render.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/peterh/liner"

	"wend/engine"
	"wend/query"
)

// Database answers statements. *engine.DB is one, a client of a server another.
type Database interface {
	Query(ctx context.Context, text string, opts ...engine.QueryOption) (*engine.Result, error)
	Complete(ctx context.Context, text string, cursor int) (items []query.Completion, from int)
}

// Options say where the loop reads and writes. Zero fields mean the process's
// own standard streams.
type Options struct {
	In      *os.File
	Out     *os.File  // answers
	Err     io.Writer // everything else
	History string    // file that keeps the statements; empty: none
	Name    string    // what is open, for the greeting
	Version string
}

const (
	promptFirst = "wend> "
	promptMore  = "  ..> "
)

// Of several Ctrl-C, each must come so soon after the one before for the last
// to leave. The line editor does not tell whether a line was empty: the first
// may only have cleared one, and the second, of a hasty hand, too.
const (
	leaveWithin = 700 * time.Millisecond
	leaveAfter  = 3
)

// errQuit ends the loop from a command.
var errQuit = errors.New("quit")

// Run reads statements until the end of the input or .quit. When the input is
// not a terminal it runs it as a script and returns the first mistake.
func Run(ctx context.Context, db Database, opt Options) error {
	if opt.In == nil {
		opt.In = os.Stdin
	}
	if opt.Out == nil {
		opt.Out = os.Stdout
	}
	if opt.Err == nil {
		opt.Err = os.Stderr
	}
	s := newSession(db, opt)
	if !s.interactive() {
		script, err := io.ReadAll(opt.In)
		if err != nil {
			return fmt.Errorf("read the script: %w", err)
		}
		return s.script(ctx, string(script))
	}
	s.lines = newTerminal(db, opt)
	defer func() { s.lines.Close() }()
	s.say(fmt.Sprintf("wend %s, %s", opt.Version, opt.Name))
	s.say(".help shows the commands, .help funnel a statement. A statement ends with ; or an empty line; Ctrl-D leaves.")
	return s.loop(ctx)
}

// loop reads lines until a statement is whole, and runs it.
func (s *session) loop(ctx context.Context) error {
	var pending strings.Builder
	var aborted time.Time // when Ctrl-C was pressed last
	aborts := 0           // how often without a pause
	for {
		prompt := promptFirst
		if pending.Len() > 0 {
			prompt = promptMore
		}
		line, err := s.lines.Prompt(prompt)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			if time.Since(aborted) >= leaveWithin {
				aborts = 0
			}
			aborted = time.Now()
			switch aborts++; aborts {
			case leaveAfter:
				return nil
			case leaveAfter - 1:
				fmt.Fprintln(s.err, "Ctrl-D leaves, and Ctrl-C once more")
			}
			pending.Reset()
			continue
		case err == io.EOF:
			if text := pending.String(); strings.TrimSpace(text) != "" {
				s.statements(ctx, text)
			}
			fmt.Fprintln(s.err)
			return nil
		case err != nil:
			return fmt.Errorf("read a line from the terminal: %w", err)
		}
		aborts = 0
		if pending.Len() == 0 && isCommand(line) || within(line) {
			s.lines.Remember(line)
			if err := s.command(ctx, line); err == errQuit {
				return nil
			} else if err != nil {
				s.say(err.Error())
			}
			continue
		}
		pending.WriteString(line)
		pending.WriteByte('\n')
		text := pending.String()
		if _, whole := query.Split(text); !whole && strings.TrimSpace(line) != "" {
			continue
		}
		pending.Reset()
		if strings.TrimSpace(text) == "" {
			continue
		}
		s.lines.Remember(flatten(text))
		s.statements(ctx, text)
	}
}

// script runs statements and commands, one after another, and stops at the
// first that fails.
func (s *session) script(ctx context.Context, text string) error {
	var pending strings.Builder
	flush := func() error {
		defer pending.Reset()
		return s.run(ctx, pending.String())
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(pending.String()) == "" && isCommand(line) {
			if err := s.command(ctx, strings.TrimSpace(line)); err == errQuit {
				return nil
			} else if err != nil {
				return err
			}
			continue
		}
		pending.WriteString(line)
		if _, whole := query.Split(pending.String()); whole {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// statements runs a text as a person typed it: mistakes are shown, not returned.
func (s *session) statements(ctx context.Context, text string) {
	if err := s.run(ctx, text); err != nil {
		s.showError(err)
	}
}

// flatten makes one line of a statement, as the history keeps them: comments
// go, line ends outside quotes become spaces.
func flatten(text string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '-' && strings.HasPrefix(text[i:], "--"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
			c = ' '
		}
		if c == '\n' || c == '\r' || c == '\t' {
			c = ' '
		}
		if c == ' ' && quote == 0 && strings.HasSuffix(b.String(), " ") {
			continue
		}
		b.WriteByte(c)
	}
	return strings.TrimSpace(b.String())
}
