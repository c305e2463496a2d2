package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runExample builds the program of a folder of examples and runs it twice on one store.
func runExample(t *testing.T, folder string) (first, second string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, folder)
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "examples", folder)
	build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	var said [2]string
	for i := range said {
		out, err := exec.Command(program, filepath.Join(dir, "store.wend")).CombinedOutput()
		if err != nil {
			t.Fatalf("run %s: %v\n%s", folder, err, out)
		}
		said[i] = string(out)
	}
	return said[0], said[1]
}

// The example of embedding is a module of its own, built as a user's program is.
func TestEmbed(t *testing.T) {
	first, second := runExample(t, "embed")
	for _, line := range []string{
		"6 new events, 0 known\n",
		"ad_click: 2\nview: 2\npurchase: 1\n",
		"in the store: 55.00 by 2 customers\n",
		`unknown event "puchase"; did you mean "purchase"?`,
	} {
		if !strings.Contains(first, line) {
			t.Errorf("it does not say %q but\n%s", line, first)
		}
	}
	head, rest, _ := strings.Cut(first, "\n")
	again, same, _ := strings.Cut(second, "\n")
	if head == again || again != "0 new events, 6 known" || rest != same {
		t.Errorf("the second time it says\n%s", second)
	}
}
