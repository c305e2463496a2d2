// Package process builds the program and runs its server, for tests that hold
// the real thing against a real machine. What they do to it is theirs.
package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program is the built program, for the tests that Main runs.
var Program string

// Main builds the program, runs a package's tests, and returns the code to
// exit with.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wend-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Program = filepath.Join(dir, "wend")
	build := exec.Command("go", "build", "-o", Program, "wend/cmd/wend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build wend: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Server is a running `wend serve`. It ends with the test at the latest.
type Server struct {
	Cmd   *exec.Cmd
	URL   string      // where it serves, when it is known
	Ready chan string // where it serves, once
	Log   *Log
	Ended chan error // how it ended, once; then it is closed
}

// Launch starts a command that serves, in a group of processes of its own, and
// does not wait until it does.
func Launch(cmd *exec.Cmd) (*Server, error) {
	ready := make(chan string, 1)
	s := &Server{Cmd: cmd, Ready: ready, Log: &Log{ready: ready}, Ended: make(chan error, 1)}
	cmd.Stderr = s.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.Ended <- cmd.Wait()
		close(s.Ended)
	}()
	return s, nil
}

// Start launches a command that serves and waits for its address, a minute at
// the most.
func Start(t *testing.T, cmd *exec.Cmd) *Server {
	t.Helper()
	s, err := Launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case s.URL = <-s.Ready:
	case err := <-s.Ended:
		t.Fatalf("wend serve ended: %v\n%s", err, s.Log)
	case <-time.After(time.Minute):
		s.Kill()
		t.Fatalf("wend serve does not serve:\n%s", s.Log)
	}
	return s
}

// Kill ends the server, and what it started, as kill -9 does, and waits.
func (s *Server) Kill() {
	_ = syscall.Kill(-s.Cmd.Process.Pid, syscall.SIGKILL)
	<-s.Ended
}

// Stop ends the server as a service manager does, and returns how it ended.
func (s *Server) Stop() error {
	_ = syscall.Kill(-s.Cmd.Process.Pid, syscall.SIGTERM)
	return <-s.Ended
}

// Gone reports whether the server has ended by itself.
func (s *Server) Gone() bool {
	select {
	case <-s.Ended:
		return true
	default:
		return false
	}
}

// Crashed reports whether the log is that of a program that broke.
func (s *Server) Crashed() bool {
	log := s.Log.String()
	return strings.Contains(log, "panic:") || strings.Contains(log, "fatal error:") || strings.Contains(log, "goroutine 1 [")
}

// Log keeps what a server prints, and finds where it serves.
type Log struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan string // nil when the address was found
}

var serves = regexp.MustCompile(`on (https?://[^; \n]+)`)

// Write takes what the process prints.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.ready != nil {
		if m := serves.FindSubmatch(l.text.Bytes()); m != nil {
			l.ready <- string(m[1])
			l.ready = nil
		}
	}
	return len(p), nil
}

// String is all that was printed so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
