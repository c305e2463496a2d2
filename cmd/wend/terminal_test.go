package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// terminal is a real terminal, driven through tmux.
type terminal struct {
	t      *testing.T
	socket string
}

// startTerminal runs a shell command in a new terminal. The test is skipped
// where there is no tmux, unless WEND_REQUIRE_TMUX is set.
func startTerminal(t *testing.T, columns int, env []string, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("WEND_REQUIRE_TMUX") != "" {
			t.Fatal("tmux is required")
		}
		t.Skip("there is no tmux to drive a terminal with")
	}
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y", "40"}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	term.tmux(append(args, command)...)
	t.Cleanup(func() { exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// send types text, and keys by name such as Enter, Tab or C-c.
func (term *terminal) send(text string, keys ...string) {
	term.t.Helper()
	if text != "" {
		if cut, ok := strings.CutSuffix(text, ";"); ok {
			text = cut + `\;` // to tmux a semicolon at the end is its own
		}
		term.tmux("send-keys", "-l", "--", text)
	}
	if len(keys) > 0 {
		term.tmux(append([]string{"send-keys"}, keys...)...)
	}
}

// screen waits until the screen shows all of the texts and returns it.
func (term *terminal) screen(texts ...string) string {
	term.t.Helper()
	shown := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		shown = term.tmux("capture-pane", "-p", "-S", "-200")
		all := true
		for _, text := range texts {
			all = all && strings.Contains(shown, text)
		}
		if all {
			return shown
		}
	}
	term.t.Fatalf("the screen never showed %q; it shows\n%s", texts, shown)
	return ""
}

// ask sends a line to an empty screen and waits for the texts and the prompt.
func (term *terminal) ask(line string, texts ...string) {
	term.t.Helper()
	term.clear()
	term.send(line, "Enter")
	term.screen(texts...)
	term.prompt()
}

// clear empties the screen; the line that is being typed stays.
func (term *terminal) clear() {
	term.t.Helper()
	term.send("", "C-l")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		term.tmux("clear-history")
		if strings.Count(strings.TrimSpace(term.tmux("capture-pane", "-p")), "\n") == 0 {
			return
		}
	}
	term.t.Fatal("the screen was not cleared")
}

// prompt waits until the loop waits for a statement.
func (term *terminal) prompt() {
	term.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		lines := strings.Split(strings.TrimSpace(term.tmux("capture-pane", "-p")), "\n")
		if lines[len(lines)-1] == "wend>" {
			return
		}
	}
	term.t.Fatalf("there is no prompt; the screen shows\n%s", term.tmux("capture-pane", "-p"))
}

// startREPL makes a small shop's store and opens the loop on it.
func startREPL(t *testing.T, columns int, flags string, env ...string) (term *terminal, dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("short runs leave terminals out")
	}
	dir = t.TempDir()
	bin := buildWend(t)
	demo := exec.Command(bin, "demo", "--customers", "400")
	demo.Dir = dir
	if out, err := demo.CombinedOutput(); err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	env = append(env, "WEND_HISTORY="+filepath.Join(dir, "history"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TERM=xterm")
	term = startTerminal(t, columns, env, "cd "+dir+" && "+bin+" repl demo-shop/shop.wend "+flags+"; echo left with $?; sleep 60")
	term.screen("wend>", ".help")
	term.prompt()
	return term, dir
}

func TestREPLInATerminal(t *testing.T) {
	term, dir := startREPL(t, 100, "")

	// A statement over two lines, ended by a semicolon; bars and a footer.
	term.send("funnel view_product", "Enter")
	term.screen("  ..>")
	term.send("-> add_to_cart within 7d;", "Enter")
	term.screen("1 view_product  ███", "↓", "2 add_to_cart", "events of", "data until")
	term.prompt()

	// An empty line ends a statement too. Not everything can be drawn.
	term.clear()
	term.send("show channels", "Enter", "Enter")
	term.screen("call_center", "────", "8 rows in")

	// Completion of a name; the mistake is shown in its place.
	term.clear()
	term.send("funnel view_pr", "Tab")
	term.screen("wend> funnel view_product")
	term.send(" -> purchse;", "Enter")
	term.screen("~~~~~~~", "did you mean", "purchase")

	// Channels, and values of a property.
	term.clear()
	term.send("funnel view_product@call", "Tab")
	term.screen("wend> funnel view_product@call_center")
	term.send("", "C-u")
	term.send("measure events[category = 'jac", "Tab")
	term.screen("wend> measure events[category = 'jackets'")

	// Ctrl-C clears what is half typed and does not leave.
	term.send("", "C-c")
	term.prompt()
	term.clear()
	term.send("funnel view_product ->", "Enter")
	term.screen("  ..>")
	term.send("", "C-c")
	term.prompt()
	term.send("show definitions;", "Enter")
	term.screen("kind  name  definition")

	// The arrow key brings the last statement back.
	term.prompt()
	term.clear()
	term.send("", "Up")
	term.screen("wend> show definitions;")
	term.send("", "C-u")

	// Several lines that are pasted at once are as if they were typed.
	term.clear()
	term.tmux("set-buffer", "funnel landing\n  -> purchase\n  within 7d;\nshow properties;\n")
	term.tmux("paste-buffer")
	term.screen("1 landing", "2 purchase", "campaign  string")
	term.prompt()

	// A definition needs the store open for writing, and the message says how.
	term.clear()
	term.send("define stage looking as view_product;", "Enter")
	term.screen("wend repl --write")
	term.send("", "C-d")
	term.screen("left with 0")

	kept, err := os.ReadFile(filepath.Join(dir, "history"))
	if err != nil || !strings.Contains(string(kept), "funnel view_product -> add_to_cart within 7d;\n") {
		t.Errorf("the history keeps %q, %v", kept, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "history")); err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the history: %v", info.Mode())
	}
}

func TestREPLCommandsInATerminal(t *testing.T) {
	editor := filepath.Join(t.TempDir(), "editor")
	script := "#!/bin/sh\nsed 's/channels/properties/' \"$1\" > \"$1.new\" && mv \"$1.new\" \"$1\"\n"
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	term, _ := startREPL(t, 100, "--write", "EDITOR="+editor, "VISUAL=")

	term.send("show channels;", "Enter")
	term.screen("call_center")
	term.prompt()

	// The editor begins with the last statement, and what it leaves is run.
	term.ask(".edit", "show properties", "category  string")
	term.clear()
	term.send("", "Up")
	term.screen("wend> show properties")
	term.send("", "C-u")

	// The last statement again and again, until Ctrl-C.
	term.clear()
	term.send(".watch 0.1", "Enter")
	term.screen("every 0.1 s, Ctrl-C ends", "cached")
	term.send("", "C-c")
	term.prompt()

	term.ask(`define stage looking as view_product;`, "defined")
	term.ask("show definitions;", "define stage looking as view_product")
	term.ask(".help funnel", "FUNNEL", "how many reach each step")
	term.ask(".nonsense", "there is no command .nonsense; .help lists them")
	term.ask(".shcema", "there is no command .shcema; did you mean .schema? .help lists them")
	term.ask(".help funel", `there is no help on "funel"; did you mean .help funnel? .help lists the topics`)
	term.send(".tim", "Tab")
	term.screen("wend> .timer")
	term.send(" on", "Enter")
	term.send(".mode ndj", "Tab")
	term.screen("wend> .mode ndjson")
	term.send("", "C-u")
	term.ask(".mode", "auto")

	// Ctrl-C clears what is half typed, and stays however fast it comes twice.
	term.clear()
	term.send("funnel view_product -> ", "C-c", "C-c")
	term.screen("Ctrl-D leaves, and Ctrl-C once more")
	term.prompt()
	term.send("show definitions;", "Enter")
	term.screen("stage  looking")
	term.prompt()
	// A command between the lines of a statement leaves it as it is.
	term.clear()
	term.send("show definitions", "Enter")
	term.screen("  ..>")
	term.send(".mode csv", "Enter")
	term.send(";", "Enter")
	term.screen("stage,looking")
	term.prompt()
	// Three times leaves.
	term.send("", "C-c", "C-c", "C-c")
	term.screen("left with 0")
}

func TestREPLInANarrowTerminal(t *testing.T) {
	term, _ := startREPL(t, 50, "")
	f := func(statement string, texts ...string) {
		t.Helper()
		if statement != "" {
			term.clear()
			term.send(statement, "Enter")
		}
		term.screen(texts...)
		term.prompt()
		// What was wider than the terminal is joined again.
		for line := range strings.Lines(term.tmux("capture-pane", "-p", "-J", "-S", "-200")) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > 50 {
				t.Errorf("%s: a line of %d columns: %s", statement, n, line)
			}
		}
	}
	f("", "Ctrl-D leaves")
	f("funnel view_product -> purchase within 7d;", "1 view_product", "█", "data until")
	f("paths to purchase within 7d;", "add_to_cart", "data until")
	f("show events;", "view_product", "data until")
	f("customers among did purchase limit 2;", "customer", "data until")
	f(".help", "Help on:")
	f(".help funnel", "A funnel has at most 32 steps.")
	f(".mode pie", `there is no mode "pie"`, "markdown")
	f("define stage looking as view_product;", "open for reading only", "wend repl --write")
}

// A query that takes long says how far it is, and Ctrl-C ends it and not the loop.
func TestREPLCancelsALongQuery(t *testing.T) {
	if testing.Short() {
		t.Skip("short runs leave terminals out")
	}
	dir := t.TempDir()
	bin := buildWend(t)
	f, err := os.Create(filepath.Join(dir, "events.csv"))
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(f)
	fmt.Fprintln(out, "customer,time,event,note")
	for i := range 400_000 {
		fmt.Fprintf(out, "c%d,%d,e%d,n%d\n", i%50_000, 1_700_000_000+i, i%7, i)
	}
	if err := errors.Join(out.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	load := exec.Command(bin, "import", "big.wend", "events.csv")
	load.Dir = dir
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	term := startTerminal(t, 100, []string{"WEND_HISTORY=" + filepath.Join(dir, "history"), "TERM=xterm", "GOMAXPROCS=1"},
		"cd "+dir+" && "+bin+" repl big.wend; echo left with $?; sleep 60")
	term.prompt()
	// A regular expression that has to look at every one of 400,000 texts.
	slow := "measure events by note ~ '" + strings.Repeat("[n1-9]*", 40) + "x$'"
	term.send(slow+";", "Enter")
	term.screen("% of the customers", "Ctrl-C cancels")
	term.send("", "C-c")
	shown := term.screen("cancelled")
	if strings.Contains(shown, "% of the customers") {
		t.Errorf("the progress stays on the screen:\n%s", shown)
	}
	term.prompt()
	term.send("show properties;", "Enter")
	term.screen("note      string")
}

// buildWend builds the command once for a test.
func buildWend(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "wend")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build wend: %v\n%s", err, out)
	}
	return bin
}
