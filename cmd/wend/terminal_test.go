package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// terminal is the REPL in a real terminal, 100 columns by 40 lines, driven
// through tmux.
type terminal struct {
	t      *testing.T
	socket string
}

// startTerminal runs a shell command in a new terminal. The test is skipped
// where there is no tmux, unless WEND_REQUIRE_TMUX is set.
func startTerminal(t *testing.T, env []string, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("WEND_REQUIRE_TMUX") != "" {
			t.Fatal("tmux is required")
		}
		t.Skip("there is no tmux to drive a terminal with")
	}
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	args := []string{"new-session", "-d", "-x", "100", "-y", "40"}
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
		term.tmux("send-keys", "-l", text)
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

func (term *terminal) clear() {
	term.tmux("clear-history")
	term.send("", "C-l")
	time.Sleep(100 * time.Millisecond)
}

func TestREPLInATerminal(t *testing.T) {
	dir := t.TempDir()
	bin := buildWend(t)
	demo := exec.Command(bin, "demo", "--customers", "400")
	demo.Dir = dir
	if out, err := demo.CombinedOutput(); err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	history := filepath.Join(dir, "history")
	env := []string{"WEND_HISTORY=" + history, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TERM=xterm"}
	term := startTerminal(t, env, "cd "+dir+" && "+bin+" repl demo-shop/shop.wend; echo left with $?; sleep 60")
	term.screen("wend> ", ".help")

	// A statement over two lines, ended by a semicolon; bars and a footer.
	term.send("funnel view_product", "Enter")
	term.screen("  ..> ")
	term.send("-> add_to_cart within 7d;", "Enter")
	term.screen("view_product", "add_to_cart", "█", "events")

	// An empty line ends a statement too.
	term.clear()
	term.send(".mode table", "Enter")
	term.send("show channels", "Enter", "Enter")
	term.screen("call_center")

	// Completion of a name, then the mistake shown in its place.
	term.clear()
	term.send("funnel view_pr", "Tab")
	term.screen("funnel view_product")
	term.send(" -> purchse;", "Enter")
	term.screen("~~~~~~~", "did you mean", "purchase")

	// Ctrl-C clears a half-typed statement and does not leave.
	term.clear()
	term.send("funnel view_product ->", "C-c")
	term.send("show definitions;", "Enter")
	term.screen("definitions")

	// The arrow key brings the last statement back.
	term.clear()
	term.send("", "Up")
	term.screen("wend> show definitions;")
	term.send("", "C-u")
	term.send(".nonsense", "Enter")
	term.screen("there is no command .nonsense")
	term.send("", "C-d")
	term.screen("left with 0")

	kept, err := os.ReadFile(history)
	if err != nil || !strings.Contains(string(kept), "funnel view_product -> add_to_cart within 7d;\n") {
		t.Errorf("the history keeps %q, %v", kept, err)
	}
	if info, err := os.Stat(history); err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the history: %v", info.Mode())
	}
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
