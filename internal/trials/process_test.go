package trials

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var program string // the built wend

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wend-trials-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "wend")
		build := exec.Command("go", "build", "-o", program, "wend/cmd/wend")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build wend: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// process is a running `wend serve`.
type process struct {
	cmd   *exec.Cmd
	url   string
	log   *output
	ended chan error // closed behind the one value
}

// output keeps what a process prints.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan string // the address, once
}

var serves = regexp.MustCompile(`on (https?://[^; ]+)`)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.ready != nil {
		if m := serves.FindSubmatch(o.text.Bytes()); m != nil {
			o.ready <- string(m[1])
			o.ready = nil
		}
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var serveFlags []string // of the servers of the test that runs

// launch starts `wend serve`, behind other words if given ("strace", …), and
// does not wait until it is ready.
func launch(dir string, before ...string) (*process, chan string, error) {
	words := append(slices.Clone(before), program, "serve", dir, "--listen", "127.0.0.1:0")
	words = append(words, serveFlags...)
	ready := make(chan string, 1)
	p := &process{cmd: exec.Command(words[0], words[1:]...), log: &output{ready: ready}, ended: make(chan error, 1)}
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	go func() {
		p.ended <- p.cmd.Wait()
		close(p.ended)
	}()
	return p, ready, nil
}

// start launches the program and waits until it serves.
func start(t *testing.T, dir string, before ...string) *process {
	t.Helper()
	p, ready, err := launch(dir, before...)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case p.url = <-ready:
	case err := <-p.ended:
		t.Fatalf("wend serve ended: %v\n%s", err, p.log)
	case <-time.After(time.Minute):
		p.kill()
		t.Fatalf("wend serve does not serve:\n%s", p.log)
	}
	return p
}

// kill ends the process, and what it started, as kill -9 does.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// stop ends the process as a service manager does, and returns how it ended.
func (p *process) stop() error {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	return <-p.ended
}

// gone reports whether the process has ended by itself.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// crashed reports whether a log is that of a program that broke.
func crashed(log string) bool {
	return strings.Contains(log, "panic:") || strings.Contains(log, "fatal error:") || strings.Contains(log, "goroutine 1 [")
}

// client has connections of its own, so that those to a dead process go with it.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}, Timeout: 30 * time.Second}
}
