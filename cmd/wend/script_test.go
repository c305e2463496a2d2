package main

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/text/encoding/charmap"

	"wend/internal/selfsigned"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wend": main})
}

// TestStories runs the stories of testdata/script. Besides wend and the
// commands of testscript they use:
//
//	exits N wend …        runs a command that must end with a status
//	encode FORM IN OUT    writes a file in another form: gzip, zstd, zip, crlf, bom, windows-1252
//	revoke DB NAME        revokes the token of a name
//	sleep TIME            waits, for what another process may take a moment to notice
//	certificate CERT KEY  makes a certificate for the machine itself
//	serve DB [FLAG…]      runs wend serve until the story ends; $URL is its address
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "encode": encode, "serve": serve, "revoke": revoke, "sleep": sleep, "certificate": certificate,
		},
		RequireUniqueNames:  true,
		RequireExplicitExec: false,
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func encode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: encode FORM IN OUT")
	}
	text := ts.ReadFile(args[1])
	out, err := os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	defer func() { ts.Check(out.Close()) }()
	var w io.WriteCloser
	switch args[0] {
	case "gzip":
		w = gzip.NewWriter(out)
	case "zstd":
		w, err = zstd.NewWriter(out)
		ts.Check(err)
	case "zip":
		z := zip.NewWriter(out)
		member, err := z.Create(filepath.Base(args[1]))
		ts.Check(err)
		_, err = io.WriteString(member, text)
		ts.Check(err)
		ts.Check(z.Close())
		return
	case "crlf":
		_, err = io.WriteString(out, strings.ReplaceAll(text, "\n", "\r\n"))
	case "bom":
		_, err = io.WriteString(out, "\ufeff"+text)
	case "windows-1252":
		text, err = charmap.Windows1252.NewEncoder().String(text)
		ts.Check(err)
		_, err = io.WriteString(out, text)
	default:
		ts.Fatalf("there is no form %q", args[0])
	}
	ts.Check(err)
	if w != nil {
		_, err = io.WriteString(w, text)
		ts.Check(err)
		ts.Check(w.Close())
	}
}

func revoke(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: revoke DB NAME")
	}
	ts.Check(ts.Exec("wend", "token", args[0], "list"))
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if words := strings.Fields(line); words[len(words)-1] == args[1] {
			ts.Check(ts.Exec("wend", "token", args[0], "revoke", words[0]))
			return
		}
	}
	ts.Fatalf("no token is called %s", args[1])
}

func sleep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sleep TIME")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate CERT KEY")
	}
	ts.Check(selfsigned.Write(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}

var served = regexp.MustCompile(`https?://[0-9.:]+`)

func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve DB [FLAG…]")
	}
	wend, err := exec.LookPath("wend")
	ts.Check(err)
	cmd := exec.Command(wend, append([]string{"serve", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "TESTSCRIPT_COMMAND=wend")
	said, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(os.Interrupt)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			ts.Check(err)
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-done
			ts.Fatalf("wend serve did not stop")
		}
	})
	lines, url := bufio.NewReader(said), ""
	for url == "" { // what is damaged is told before
		line, err := lines.ReadString('\n')
		if err != nil {
			ts.Fatalf("wend serve said %q, %v", line, err)
		}
		url = served.FindString(line)
	}
	go io.Copy(io.Discard, lines)
	ts.Setenv("URL", url)
}
