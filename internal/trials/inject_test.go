package trials

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
)

// injected are the system calls that the server's file operations make.
var injected = []string{"fsync", "fdatasync", "write", "pwrite64", "openat", "renameat,renameat2,rename", "unlinkat,unlink", "ftruncate", "flock", "mkdirat", "fallocate"}

// TestInject is promise P8 with the real program and the real calls: the n-th
// call of a kind on the store's files fails, and nothing acknowledged is lost,
// the program does not break, and somebody is told.
func TestInject(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip(err)
	}
	seed := trust.Number("WEND_SEED", 1)
	deep := int(trust.Number("WEND_INJECT", 3)) // which calls of a thread fail, one a run: strace counts by thread
	if testing.Short() {
		t.Skip("starts the program behind strace many times")
	}
	r := rand.New(rand.NewPCG(seed, 16))
	runs, hits, refusedStarts, acks := 0, 0, 0, 0
	var reached []string
	for _, call := range injected {
		last := 0
		for _, failure := range []string{"EIO", "ENOSPC", "EMFILE"} {
			at, missed := 0, 0
			for at < deep && missed < 4 {
				at++
				base := t.TempDir()
				dir := filepath.Join(base, "store")
				trace := filepath.Join(base, "trace")
				runs++
				hit, started, got, err := inject(strace, dir, trace, call, failure, at, r.Uint64())
				if err != nil {
					t.Fatalf("%s of %s number %d: %v", failure, call, at, err)
				}
				if !hit {
					missed++ // no thread makes so many; after a few of them none will
					continue
				}
				missed = 0
				hits++
				acks += got
				if !started {
					refusedStarts++
				}
			}
			last = max(last, at-missed)
		}
		if last > 0 {
			reached = append(reached, fmt.Sprintf("%s:%d", strings.Split(call, ",")[0], last))
		}
	}
	if hits < 20 {
		t.Errorf("only %d of %d runs had a call that failed", hits, runs)
	}
	trust.Report(t, "P8", "strace runs", runs, "calls failed", hits, "starts refused", refusedStarts, "acks", acks,
		"acked lost", 0, "exits", 0, "untold", 0, "reached", strings.Join(reached, ","), "seed", seed)
}

// inject runs a server for a moment while one of its calls fails.
func inject(strace, dir, trace, call, failure string, when int, seed uint64) (hit, started bool, acks int, err error) {
	before := []string{strace, "-f", "-qq", "-o", trace, "-e", "trace=" + call, "-e", "signal=none",
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, failure, when), "-P", dir}
	for _, name := range names(dir) {
		before = append(before, "-P", filepath.Join(dir, name))
	}
	p, err := process.Launch(serve(dir, before...))
	if err != nil {
		return false, false, 0, err
	}
	h := newHistory()
	told := false
	select {
	case p.URL = <-p.Ready:
		started = true
		c := client()
		r := rand.New(rand.NewPCG(seed, 17))
		for range 12 {
			if s := h.one(c, p.URL, r); s != "ok" {
				told = true
				if !strings.HasPrefix(s, "50") {
					err = fmt.Errorf("a batch is answered %q", s)
				}
			}
		}
		for n, call := range []string{"/v1/links", "/v1/query", "/v1/sync"} {
			body := []string{fmt.Sprintf(`{"from":"c%d","to":"c49"}`, seed%40), `{"query":"define shop: funnel tick -> tick"}`, `{"lsn":1}`}[n]
			resp, e := c.Post(p.URL+call, "application/json", strings.NewReader(body))
			if e != nil {
				err = e
				continue
			}
			resp.Body.Close()
			told = told || resp.StatusCode >= http.StatusInternalServerError
		}
		if e := answers(c, p.URL); err == nil {
			err = e
		}
		c.CloseIdleConnections()
		acks = h.acks
		_ = stopProgram(p, dir) // a failing close is told by its status
	case <-p.Ended:
		told = true
	case <-time.After(time.Minute):
		err = fmt.Errorf("neither served nor ended")
	}
	p.Kill()
	text, _ := os.ReadFile(trace)
	hit = bytes.Contains(text, []byte("INJECTED"))
	log := p.Log.String()
	told = told || strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") || strings.Contains(log, "wend: ") || strings.Contains(log, "error")
	harmless := strings.Contains(call, "unlink") || call == "ftruncate" || call == "pwrite64" || call == "flock" && started // cleaning up, and who holds the lock, for people
	switch {
	case err != nil:
	case p.Crashed():
		err = fmt.Errorf("the server broke")
	case hit && !told && !harmless:
		err = fmt.Errorf("nobody was told")
	default:
		_, err = h.check(dir, killed, time.Now())
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s\n%s", err, log, text)
	}
	return hit, started, acks, err
}

// names are what files of a young store may be called: strace follows calls by
// exact path.
func names(dir string) []string {
	list := []string{"LOCK", "BALLAST", "ERASED", "."}
	for n := range 12 {
		list = append(list, fmt.Sprintf("%06d.wal", n), fmt.Sprintf("%06d.seg", n), fmt.Sprintf("MANIFEST-%06d", n), fmt.Sprintf("MANIFEST-%06d.tmp", n), fmt.Sprintf("%06d.seg.tmp", n))
	}
	return list
}

// stopProgram ends the program behind strace as a service manager would, and
// waits for it: strace itself passes no signal on.
func stopProgram(p *process.Server, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, "pkill", "-TERM", "-g", fmt.Sprint(p.Cmd.Process.Pid), "-f", "^"+process.Program+" serve "+dir).Run(); err != nil {
		return err
	}
	select {
	case err := <-p.Ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
