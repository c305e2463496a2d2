package repl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wend/engine"
	"wend/query"
)

func TestFlatten(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := flatten(text); got != want {
			t.Errorf("flatten(%q) = %q, want %q", text, got, want)
		}
	}
	f("funnel a\n  -> b\n within 7d;\n", "funnel a -> b within 7d;")
	f("funnel a -- first\n-> b", "funnel a -> b")
	f("funnel 'a  --  b'\n", "funnel 'a  --  b'")
}

// asked is a database that remembers what it was asked.
type asked struct {
	statements []string
	fail       error
	rows       int // of an answer; 0: one
}

func (a *asked) Query(_ context.Context, text string, _ ...engine.QueryOption) (*engine.Result, error) {
	a.statements = append(a.statements, text)
	if a.fail != nil {
		return nil, a.fail
	}
	row := []engine.Cell{int64(len(a.statements))}
	return &engine.Result{Columns: []engine.Column{{Name: "n", Type: engine.Integer}}, Rows: slices.Repeat([][]engine.Cell{row}, max(a.rows, 1))}, nil
}

func (a *asked) Complete(context.Context, string, int) ([]query.Completion, int) { return nil, 0 }

// script runs a script as `wend repl < file` does and returns what it printed.
func script(t *testing.T, db Database, text string) (out, errs string, err error) {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	var stderr bytes.Buffer
	err = Run(t.Context(), db, Options{In: stdin, Out: stdout, Err: &stderr})
	printed, _ := os.ReadFile(stdout.Name())
	return string(printed), stderr.String(), err
}

func TestScriptRunsStatementsAndCommands(t *testing.T) {
	db := &asked{}
	dir := t.TempDir()
	other := filepath.Join(dir, "other.wend")
	if err := os.WriteFile(other, []byte("show channels;"), 0o600); err != nil {
		t.Fatal(err)
	}
	csv := filepath.Join(dir, "answer.csv")
	out, _, err := script(t, db, ".mode csv\nfunnel a\n-> b; show events;\n.read "+other+"\n.once "+csv+"\n.explain on\ntimes a -> b\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(db.statements, " | "); got != "funnel a\n-> b | show events | show channels | explain times a -> b" {
		t.Errorf("ran %s", got)
	}
	if strings.ReplaceAll(out, "\r\n", "\n") != "n\n1\nn\n2\nn\n3\n" {
		t.Errorf("printed %q", out)
	}
	if b, _ := os.ReadFile(csv); !strings.HasPrefix(string(b), "n") {
		t.Errorf(".once wrote %q", b)
	}
}

func TestScriptStopsAtTheFirstMistake(t *testing.T) {
	db := &asked{fail: errors.New("no such thing")}
	_, _, err := script(t, db, "show events;\nshow channels;\n")
	if err == nil || len(db.statements) != 1 {
		t.Errorf("ran %q, error %v", db.statements, err)
	}
	if _, _, err := script(t, &asked{}, ".nonsense\n"); err == nil || !strings.Contains(err.Error(), ".help") {
		t.Errorf("an unknown command gives %v", err)
	}
}

// Ctrl-C while an answer is printed ends the printing, behind a whole line.
func TestCtrlCWhilePrinting(t *testing.T) {
	db := &asked{rows: 1_000_000}
	in, err := os.CreateTemp(t.TempDir(), "in")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteAt([]byte(".mode csv\nshow events; show channels"), 0); err != nil {
		t.Fatal(err)
	}
	screen, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	interrupts := make(chan os.Signal, 1) // without one the process would end
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	ended := make(chan error, 1)
	go func() {
		err := Run(t.Context(), db, Options{In: in, Out: out, Err: io.Discard})
		out.Close()
		ended <- err
	}()
	if _, err := screen.Read(make([]byte, 1)); err != nil { // it prints
		t.Fatal(err)
	}
	syscall.Kill(os.Getpid(), syscall.SIGINT)
	<-interrupts
	time.Sleep(100 * time.Millisecond) // the pipe is full meanwhile
	printed, err := io.ReadAll(screen)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "cancelled" || len(db.statements) != 1 || len(printed) > 1<<20 || !bytes.HasSuffix(printed, []byte("\n")) {
		t.Errorf("%d statements ran, %d bytes were printed that end with %q: %v", len(db.statements), len(printed), printed[len(printed)-5:], err)
	}
}
