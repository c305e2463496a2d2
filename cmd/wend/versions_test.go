package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wend/internal/trust"
	"wend/storage"
)

// release is the program of one release.
type release struct {
	t    *testing.T
	name string
	path string
	said string
}

// run runs a command; it returns what was printed and whether it succeeded.
func (r *release) run(args ...string) (string, bool) {
	r.t.Helper()
	cmd := exec.Command(r.path, args...)
	cmd.Env = append(os.Environ(), "TESTSCRIPT_COMMAND=wend")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r.said = errs.String()
	return out.String(), err == nil
}

func (r *release) must(args ...string) string {
	r.t.Helper()
	out, ok := r.run(args...)
	if !ok {
		r.t.Fatalf("%s wend %s: %s", r.name, strings.Join(args, " "), r.said)
	}
	return out
}

// TestBesideOldRelease is promise P13 across versions: two releases take turns
// with one store, in any order, until it is upgraded; then the old one refuses
// it and leaves its files alone. WEND_OLD is the old release's program, and
// WEND_CROSS how many stores are tried.
func TestBesideOldRelease(t *testing.T) {
	path := os.Getenv("WEND_OLD")
	if path == "" {
		t.Skip("WEND_OLD names no program of an older release")
	}
	self, err := exec.LookPath("wend")
	if err != nil {
		t.Fatal(err)
	}
	old, now := &release{t: t, name: "the old", path: path}, &release{t: t, name: "this", path: self}
	stores, seed := trust.Number("WEND_CROSS", 3), trust.Number("WEND_SEED", 1)
	turns := 0
	for n := range stores {
		r := rand.New(rand.NewPCG(seed, n))
		dir := t.TempDir()
		store := filepath.Join(dir, "store")
		old.must("import", store, goldens(t)[1].input("shop.csv"), goldens(t)[1].input("app.ndjson")) // the format is that of who makes the store
		old.must("query", store, "-f", goldens(t)[1].input("definitions.wend"))
		var imports int
		for range 4 + r.IntN(5) {
			who := []*release{old, now}[r.IntN(2)]
			switch what := r.IntN(5); what {
			case 0, 1:
				imports++
				file := filepath.Join(dir, fmt.Sprintf("more%d.csv", imports))
				var b strings.Builder
				b.WriteString("customer,time,event,amount,id\n")
				for range 1 + r.IntN(30) {
					fmt.Fprintf(&b, "c%02d,%d,%s,%d,x-%d\n", r.IntN(40), 1704067200+r.IntN(30_000_000), []string{"purchase", "view_product", "gift"}[r.IntN(3)], r.IntN(100), r.IntN(60))
				}
				if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				who.must("import", store, file)
			case 2:
				who.must("link", store, fmt.Sprintf("anon-%d", r.IntN(12)), fmt.Sprintf("c%02d", n))
			case 3:
				who.must("compact", store)
			case 4:
				for line := range strings.Lines(who.must("status", store)) {
					if f := strings.Fields(line); len(f) > 1 && f[0] == "import" && strings.Contains(line, "more") && !strings.Contains(line, "undone") {
						who.must("undo", store, f[1])
						break
					}
				}
			}
			turns++
			alike(t, old, now, store)
		}
		now.must("upgrade", store)
		upgraded := folder(t, store)
		for _, args := range [][]string{{"query", store, "show events"}, {"import", store, goldens(t)[1].input("wrong.csv")}, {"compact", store}, {"status", store}, {"link", store, "a", "b"}} {
			if _, ok := old.run(args...); ok {
				t.Errorf("the old release runs %s on an upgraded store", args[0])
			}
		}
		if !maps.Equal(upgraded, folder(t, store)) {
			t.Error("the old release changed an upgraded store")
		}
		if formatOf(t, store) != storage.FormatVersion {
			t.Error("the store was not upgraded")
		}
		now.must("check", store)
	}
	trust.Report(t, "P13", "stores beside the old release", stores, "turns", turns, "seed", seed)
}

// alike wants both releases to read the same.
func alike(t *testing.T, old, now *release, store string) {
	t.Helper()
	for _, args := range [][]string{{"export", store, "-o", "ndjson"}, {"links", store}, {"query", store, "-f", goldens(t)[1].input("questions.wend"), "-o", "csv"}} {
		if diff := cmp.Diff(old.must(args...), now.must(args...)); diff != "" {
			t.Fatalf("%s: the releases differ (-old +this):\n%s", args[0], diff)
		}
	}
}
