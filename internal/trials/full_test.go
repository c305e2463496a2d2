package trials

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
)

// one sends one batch and returns the status of the answer: 0 if there is none.
func (h *history) one(c *http.Client, url string, r *rand.Rand) (status string) {
	b := h.pick(r)
	h.mu.Lock()
	before := h.acks
	h.refused = map[string]int{}
	h.mu.Unlock()
	err := h.send(context.Background(), c, url, b)
	h.mu.Lock()
	defer h.mu.Unlock()
	b.sending = false
	if err != nil {
		return err.Error()
	}
	if h.acks > before {
		return "ok"
	}
	for s := range h.refused {
		return s
	}
	return ""
}

// answers reports whether queries are answered.
func answers(c *http.Client, url string) error {
	resp, err := c.Post(url+"/v1/query", "text/plain", strings.NewReader("measure events"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("a query is answered %d: %s", resp.StatusCode, text)
	}
	return err
}

// smallDisk mounts a file system of 48 MiB in memory.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes a file, or to its end, until the disk has no page left.
func fill(t *testing.T, disk string) (filler string) {
	t.Helper()
	filler = filepath.Join(disk, "filler")
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return filler
}

// TestFullDiskIsEmptied: on a disk without a free page a customer is erased to
// the last byte, and retention takes out what is too old. The room of the
// ballast is all that there is for it.
func TestFullDiskIsEmptied(t *testing.T) {
	disk := smallDisk(t)
	dir := filepath.Join(disk, "store")
	defer func() { serveFlags = nil }()
	serveFlags = []string{"--ballast", "64"}
	p := process.Start(t, serve(dir))
	h, c, r := newHistory(), client(), rand.New(rand.NewPCG(trust.Number("WEND_SEED", 1), 19))
	for range 300 {
		if s := h.one(c, p.URL, r); s != "ok" {
			t.Fatalf("with room on the disk a batch is answered %q\n%s", s, p.Log)
		}
	}
	whose := regexp.MustCompile(`"customer":"c7",.*"n":([0-9]+)`)
	erased := map[int64]bool{}
	for _, b := range h.batches {
		for _, m := range whose.FindAllSubmatch(b.body, -1) {
			n, _ := strconv.ParseInt(string(m[1]), 10, 64)
			erased[n] = true
		}
	}
	count := func() (of, all int) {
		t.Helper()
		found, err := readNumbers(dir)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.Log)
		}
		for n := range found {
			if erased[n] {
				of++
			}
		}
		return of, len(found)
	}
	run := func(words ...string) {
		t.Helper()
		if out, err := exec.Command(process.Program, words...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s\n%s", words, err, out, p.Log)
		}
	}
	if err := p.Stop(); err != nil { // writes all that memory holds
		t.Fatalf("%v\n%s", err, p.Log)
	}
	of, all := count()
	p = process.Start(t, serve(dir))
	fill(t, disk)
	run("erase", p.URL, "c7") // waits until the last byte is gone
	if left, rest := count(); of == 0 || left != 0 || rest != all-of {
		t.Fatalf("of %d events %d were the customer's; after the erasure on a full disk %d are, of %d", all, of, left, rest)
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("%v\n%s", err, p.Log)
	}
	serveFlags = append(serveFlags, "--retention", "30d") // the events are older
	p = process.Start(t, serve(dir))
	defer p.Kill()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, left := count(); left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("retention does not come to its end on a full disk\n%s", p.Log)
		}
	}
	if err := answers(c, p.URL); err != nil || p.Crashed() {
		t.Fatalf("%v\n%s", err, p.Log)
	}
	trust.Report(t, "P8", "full tmpfs, events", all, "erased to the last byte", of, "taken out by retention", all-of)
}

// TestFull is promise P8 on a real file system: it fills up again and again
// while events come in, and room is given back at a random time. Events are
// then refused with a clear error, queries go on, and events are taken again
// without anybody's help. With the ballast the server stops in time, without
// it the kernel's own error stops it.
func TestFull(t *testing.T) {
	seed := trust.Number("WEND_SEED", 1)
	fills := int(trust.Number("WEND_FILLS", 12))
	for _, flags := range []string{"--ballast 64", "--ballast 0"} {
		t.Run(flags, func(t *testing.T) {
			disk := smallDisk(t)
			serveFlags = strings.Fields(flags)
			defer func() { serveFlags = nil }()
			r := rand.New(rand.NewPCG(seed, 14))
			dir := filepath.Join(disk, "store")
			p := process.Start(t, serve(dir))
			defer p.Kill()
			c := client()
			h := newHistory()
			refused := map[string]int{}
			for range fills {
				for range 1 + r.IntN(5) {
					if s := h.one(c, p.URL, r); s != "ok" {
						t.Fatalf("with room on the disk a batch is answered %q\n%s", s, p.Log)
					}
				}
				filler := fill(t, disk)
				full := 0
				for tries := 20 + r.IntN(20); tries > 0 || full == 0; tries-- {
					if tries < -1000 {
						t.Fatal("a full disk refused nothing")
					}
					if tries <= 0 { // a merge of segments may have given room back meanwhile
						fill(t, disk)
					}
					s := h.one(c, p.URL, r)
					if s != "ok" {
						full++
						refused[s]++
						if !strings.HasPrefix(s, "507 ") && !strings.HasPrefix(s, "503 ") {
							t.Fatalf("on a full disk a batch is answered %q\n%s", s, p.Log)
						}
					}
				}
				if err := answers(c, p.URL); err != nil {
					t.Fatalf("on a full disk: %v", err)
				}
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
			}
			if s := h.one(c, p.URL, r); s != "ok" {
				t.Fatalf("with room again a batch is answered %q", s)
			}
			p.Kill()
			if p.Crashed() {
				t.Fatalf("the server broke:\n%s", p.Log)
			}
			if _, err := h.check(dir, killed, time.Now()); err != nil {
				t.Fatal(err)
			}
			trust.Report(t, "P8", "tmpfs full with "+strings.Fields(flags)[0][2:]+"="+strings.Fields(flags)[1]+" fills", fills, "acks", h.acks, "refused", fmt.Sprint(refused), "acked lost", 0, "exits", 0, "seed", seed)
		})
	}
}

// limited runs the program under limits of the shell.
func limited(limits string) []string { return []string{"sh", "-c", limits + `; exec "$0" "$@"`} }

// TestDescriptors: 24 clients against a server that may have 64 files open.
func TestDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := process.Start(t, serve(dir, limited("ulimit -n 64")...))
	defer p.Kill()
	h := newHistory()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for n := range uint64(24) {
		clients.Go(func() {
			for ctx.Err() == nil {
				c := client()
				c.Timeout = 2 * time.Second
				h.write(ctx, c, p.URL, n)
				if n%3 == 0 {
					_ = answers(c, p.URL)
				}
				c.CloseIdleConnections()
			}
		})
	}
	clients.Wait()
	if p.Gone() || p.Crashed() {
		t.Fatalf("the server broke:\n%s", p.Log)
	}
	if err := answers(client(), p.URL); err != nil {
		t.Fatalf("after the clients left: %v", err)
	}
	acks := h.acks
	p.Kill()
	if _, err := h.check(dir, killed, time.Now()); err != nil {
		t.Fatal(err)
	}
	if acks == 0 {
		t.Error("nothing was acknowledged")
	}
	trust.Report(t, "P8", "64 descriptors, clients", 24, "acks", acks, "refused", fmt.Sprint(h.refused), "acked lost", 0, "exits", 0)
}

// TestFileSize: a limit on the size of files makes a write short and fails the
// next one. The batch at which that happens is refused or goes to another
// file, what was acknowledged is there.
func TestFileSize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := process.Start(t, serve(dir, limited("ulimit -f 100")...))
	defer p.Kill()
	h := newHistory()
	c := client()
	r := rand.New(rand.NewPCG(1, 15))
	refused := map[string]int{}
	for range 150 {
		if s := h.one(c, p.URL, r); s != "ok" {
			refused[s]++
			if !strings.HasPrefix(s, "507 ") && !strings.HasPrefix(s, "503 ") {
				t.Fatalf("a batch is answered %q\n%s", s, p.Log)
			}
		}
	}
	if err := answers(c, p.URL); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if p.Crashed() {
		t.Fatalf("the server broke:\n%s", p.Log)
	}
	if _, err := h.check(dir, killed, time.Now()); err != nil {
		t.Fatal(err)
	}
	if len(refused) == 0 {
		t.Error("no write reached the limit")
	}
	trust.Report(t, "P8", "files of 50 KiB at most, acks", h.acks, "refused", fmt.Sprint(refused), "acked lost", 0, "exits", 0)
}
