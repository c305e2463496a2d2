package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// served is a running wend serve.
type served struct {
	cmd     *exec.Cmd
	address string
	log     *announced
}

// announced keeps what the server prints and finds where it listens.
type announced struct {
	mu    sync.Mutex
	text  bytes.Buffer
	found chan string
}

var listens = regexp.MustCompile(`on http://([^; \n]+)`)

// Write keeps what the server prints, and sends the address when it is there.
func (a *announced) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text.Write(p)
	if m := listens.FindSubmatch(a.text.Bytes()); m != nil && a.found != nil {
		a.found <- string(m[1])
		a.found = nil
	}
	return len(p), nil
}

// serve starts a server on a store, on a free port of the loopback interface.
func (r *runner) serve(ctx context.Context, store string) (*served, error) {
	found := make(chan string, 1)
	s := &served{log: &announced{found: found}}
	s.cmd = exec.Command(r.program, "serve", store, "--listen", "127.0.0.1:0")
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	select {
	case s.address = <-found:
	case <-ctx.Done():
		s.stop()
		return nil, ctx.Err()
	case <-time.After(time.Minute):
		s.stop()
		return nil, fmt.Errorf("the server does not listen: %s", s.log.text.String())
	}
	return s, nil
}

// stop ends the server.
func (s *served) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
}

// processor is the time that the server has had of all processors.
func (s *served) processor() time.Duration {
	const tick = 10 * time.Millisecond // of the system's counters
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * tick
}

// answer is what is looked at of an answer.
type answer struct {
	Rows json.RawMessage `json:"rows"`
	Meta struct {
		Cached     bool  `json:"cached"`
		EventsRead int64 `json:"events_read"`
	} `json:"meta"`
}

func decode(status int, body []byte) (*answer, error) {
	if status != 200 {
		return nil, fmt.Errorf("status %d: %.200s", status, body)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, err
	}
	a.Rows = bytes.Clone(a.Rows)
	return &a, nil
}

// send sends one request beside what is measured.
func (s *served) send(ctx context.Context, request []byte) (status int, body []byte, err error) {
	c, err := dial(ctx, s.address)
	if err != nil {
		return 0, nil, err
	}
	defer c.close()
	return c.ask(request)
}

// ask asks one query.
func (s *served) ask(ctx context.Context, text string) (*answer, error) {
	status, body, err := s.send(ctx, query(nil, text))
	if err != nil {
		return nil, err
	}
	a, err := decode(status, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return a, nil
}
