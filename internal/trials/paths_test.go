package trials

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
)

// quoted are the paths in a line of strace.
var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// opened is the file that a call really opened, behind all links.
var opened = regexp.MustCompile(`\) = \d+<(/[^>]*)>`)

// TestPaths is promises S10 and S15: whatever requests say, the server's
// system calls name no file outside of the store but those that the system's
// own libraries read, it connects to nobody, and what it makes is its owner's
// alone. Symbolic links planted in the store lead it nowhere.
func TestPaths(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip(err)
	}
	base := t.TempDir()
	dir, trace, secret := filepath.Join(base, "store"), filepath.Join(base, "trace"), filepath.Join(base, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHistory()
	r := rand.New(rand.NewPCG(1, 18))
	p := process.Start(t, serve(dir))
	c := client()
	for range 5 {
		h.one(c, p.URL, r)
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.Log)
	}
	for _, link := range []string{"evil", "000091.seg", "MANIFEST-000099.tmp", "x.run"} {
		if err := os.Symlink(secret, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}

	p = process.Start(t, serve(dir, strace, "-f", "-qq", "-y", "-o", trace, "-e", "trace=%file,connect", "-e", "signal=none"))
	defer p.Kill()
	for range 10 {
		h.one(c, p.URL, r)
	}
	const way = "../../../../" // what a careless server would follow
	for _, req := range []struct{ method, path, body string }{
		{"POST", "/v1/query", "measure events"}, {"POST", "/v1/query", "define " + way + "x: funnel tick -> tick"},
		{"POST", "/v1/query", "define shop: funnel tick -> tick"}, {"POST", "/v1/query", "funnel tick -> tick"},
		{"POST", "/v1/links", `{"from":"` + way + `etc/passwd","to":"c1"}`}, {"DELETE", "/v1/links/" + way + "etc/passwd", ""},
		{"POST", "/v1/events", `{"customer":"` + way + `root","time":"2025-01-01","event":"` + way + `etc/shadow","n":-1,"` + way + `x":1}`},
		{"GET", "/" + way + "etc/passwd", ""}, {"GET", "/v1/status", ""}, {"GET", "/v1/schema", ""}, {"GET", "/metrics", ""}, {"GET", "/v1/openapi.json", ""},
		{"POST", "/v1/erase", `{"customer":"` + way + `root"}`}, {"GET", "/v1/erase/" + way + "etc", ""}, {"POST", "/v1/backup", `{"to":"` + secret + `"}`},
		{"DELETE", "/v1/queries/" + way + "x", ""}, {"POST", "/v1/sync", `{"lsn":1}`},
	} {
		q, err := http.NewRequest(req.method, p.URL+req.path, strings.NewReader(req.body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("X-Batch-Token", way+"token")
		resp, err := c.Do(q)
		if err != nil {
			t.Fatalf("%s %s: %v", req.method, req.path, err)
		}
		resp.Body.Close()
	}
	if err := stopProgram(p, dir); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.Log)
	}

	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{dir, process.Program, "/proc", "/sys/", "/dev/null", "/etc/localtime", "/usr/share/zoneinfo", "/usr/lib/locale", "/etc/ld.so", "/lib", "/usr/lib", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/hosts", "/etc/mime.types", "/usr/share/mime", "/usr/share/misc", "/etc/apache", "/usr/local/share/mime"}
	paths, connects := 0, 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "connect(") {
			connects++
			t.Errorf("it connects: %s", line)
			continue
		}
		if strings.Contains(line, "execve(") || strings.Contains(line, "resumed>") {
			continue
		}
		m := quoted.FindStringSubmatch(line)
		if m == nil || m[1] == "" {
			continue
		}
		paths++
		inside := false
		for _, a := range allowed {
			inside = inside || strings.HasPrefix(m[1], a)
		}
		// Above the store only directories are looked at and synced, to make its name durable.
		inside = inside || strings.HasPrefix(dir, m[1]) && (strings.Contains(line, "O_RDONLY") || strings.Contains(line, "stat"))
		if !inside {
			t.Errorf("a foreign path: %s", line)
		}
		if o := opened.FindStringSubmatch(line); o != nil && strings.HasPrefix(m[1], dir) && !strings.HasPrefix(o[1], dir) {
			t.Errorf("a planted link was followed: %s", line)
		}
	}
	if got, err := os.ReadFile(secret); err != nil || !bytes.Equal(got, []byte("secret")) {
		t.Errorf("what a planted link leads to is %q, %v", got, err)
	}
	modes := 0
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		modes++
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[info.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if paths < 20 {
		t.Errorf("only %d paths were seen", paths)
	}
	trust.Report(t, "S10", "paths of system calls", paths, "foreign", 0, "planted links followed", 0)
	trust.Report(t, "S15", "files and folders", modes, "open to others", 0, "connections made", connects)
}

// TestOneWriter is promise P9: of several processes that open a store at once
// exactly one gets it, the others say who has it and change nothing, and a
// killed owner leaves nothing to clean up.
func TestOneWriter(t *testing.T) {
	races := int(trust.Number("WEND_RACES", 12))
	slowest := time.Duration(0)
	for range races {
		dir := filepath.Join(t.TempDir(), "store")
		process.Start(t, serve(dir)).Kill()
		began := time.Now()
		var all []*process.Server
		for range 8 {
			p, err := process.Launch(serve(dir))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		winners, losers := 0, 0
		var winner *process.Server
		for _, p := range all {
			select {
			case <-p.Ready:
				winners++
				winner = p
				slowest = max(slowest, time.Since(began))
			case err := <-p.Ended:
				losers++
				if log := p.Log.String(); err == nil || !strings.Contains(log, "another process is writing") || !strings.Contains(log, "pid ") {
					t.Errorf("a loser says %v\n%s", err, log)
				}
			case <-time.After(time.Minute):
				t.Fatal("neither won nor lost")
			}
		}
		if winners != 1 || losers != 7 {
			t.Fatalf("%d processes got the store, %d did not", winners, losers)
		}
		before := hashes(t, dir)
		p, err := process.Launch(serve(dir))
		if err != nil {
			t.Fatal(err)
		}
		<-p.Ended
		if after := hashes(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a refused writer changed the store: %v, now %v", before, after)
		}
		winner.Kill()
	}
	trust.Report(t, "P9", "races of 8 processes", races, "winners each", 1, "changes by losers", 0, "slowest opening after kill -9", slowest.Round(time.Millisecond))
}

// hashes sums up the files of a store.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sums[e.Name()] = fmt.Sprintf("%d:%s", len(data), data[:min(len(data), 64)])
	}
	return sums
}
