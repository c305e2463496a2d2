package repl

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peterh/liner"
)

// lineReader is where the loop gets its lines.
type lineReader interface {
	Prompt(prompt string) (string, error)
	Remember(line string) // in the history
	Close() error         // gives the terminal back as it was
}

// terminal reads lines from a person, with editing, history and completion.
type terminal struct {
	state   *liner.State
	db      Database
	history string
	err     interface{ Write([]byte) (int, error) }
}

func newTerminal(db Database, opt Options) *terminal {
	t := &terminal{db: db, history: opt.History, err: opt.Err}
	t.open()
	return t
}

func (t *terminal) open() {
	t.state = liner.NewLiner()
	t.state.SetCtrlCAborts(true)
	t.state.SetMultiLineMode(true) // statements are longer than terminals are wide
	t.state.SetBeep(false)
	t.state.SetTabCompletionStyle(liner.TabPrints)
	t.state.SetWordCompleter(t.complete)
	if t.history == "" {
		return
	}
	if f, err := os.Open(t.history); err == nil {
		t.state.ReadHistory(f)
		f.Close()
	}
}

// complete is liner's view of Complete: pos counts runes.
func (t *terminal) complete(line string, pos int) (head string, words []string, tail string) {
	runes := []rune(line)
	before := string(runes[:pos])
	if head, words, ok := completeCommand(before); ok {
		return head, words, string(runes[pos:])
	}
	items, from := t.db.Complete(context.Background(), before, len(before))
	for _, item := range items {
		words = append(words, item.Text)
	}
	return before[:from], words, string(runes[pos:])
}

// Prompt reads a line. Its errors are liner's: of a line that was given up, and of the input's end.
func (t *terminal) Prompt(prompt string) (string, error) { return t.state.Prompt(prompt) }

// Remember adds a line to the history and writes it to its file at once, so
// that nothing is lost when the terminal goes away.
func (t *terminal) Remember(line string) {
	if line == "" || line[0] == ' ' {
		return
	}
	t.state.AppendHistory(line)
	if t.history == "" {
		return
	}
	if err := t.writeHistory(); err != nil {
		fmt.Fprintf(t.err, "the history is not kept: %v\n", err)
		t.history = ""
	}
}

func (t *terminal) writeHistory() error {
	if err := os.MkdirAll(filepath.Dir(t.history), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(t.history, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := t.state.WriteHistory(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Close gives the terminal back as it was.
func (t *terminal) Close() error { return t.state.Close() }

// suspend gives the terminal back while another program uses it.
func (t *terminal) suspend(use func() error) error {
	t.state.Close()
	defer t.open()
	return use()
}
