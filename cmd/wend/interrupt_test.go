package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// interrupted runs wend with a standard input that never ends, sends Ctrl-C once
// everything of it was read, and returns how it ended.
func interrupted(t *testing.T, input string, args ...string) (status int, stderr string) {
	t.Helper()
	wend, err := exec.LookPath("wend")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(wend, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, input); err != nil {
		t.Fatal(err)
	}
	// A pipe holds 64 KiB: a write beyond that returns when the rest was read.
	if _, err := in.Write(bytes.Repeat([]byte("\n"), 1<<17)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		t.Fatal("it did not end")
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	return status, errs.String()
}

func TestCtrlCDuringAnImport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop.wend")
	var rows strings.Builder
	rows.WriteString("customer,time,event\n")
	for i := range 150_000 { // more than a stream's types are decided by
		fmt.Fprintf(&rows, "c%d,%d,view\n", i%1000, 1_700_000_000+i)
	}
	f := func(input string) {
		t.Helper()
		status, said := interrupted(t, input, "import", dir, "-")
		if status != exitFailed || !strings.Contains(said, "import: interrupted; nothing was imported") {
			t.Errorf("it ended with %d and said %s", status, said)
		}
		db, err := openStore(dir, reading)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if n := db.Store().Summary().Events; n != 0 {
			t.Errorf("it left %d events", n)
		}
	}
	f(rows.String()[:1000]) // it waits for more to see what the columns are
	f(rows.String())
	if left, _ := filepath.Glob(filepath.Join(dir, "*.run")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	wend := exec.Command("wend", "import", dir, "-")
	wend.Stdin = strings.NewReader(rows.String())
	if out, err := wend.Output(); err != nil || !strings.HasPrefix(string(out), "imported 150000 events, 1000 customers") {
		t.Errorf("the same again: %s, %v", out, err)
	}
}
