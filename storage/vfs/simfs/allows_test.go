package simfs

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever a crash of the simulation leaves, Allows allows; what none of them
// can leave, it does not.
func TestAllows(t *testing.T) {
	f := New(Strict)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, n int, sync bool) {
		h, err := f.Create(name)
		must(err)
		_, err = h.Write([]byte(strings.Repeat(name[2:3], n)))
		must(err)
		if sync {
			must(h.Sync())
		}
		must(h.Close())
	}
	must(f.MkdirAll("d"))
	must(f.SyncDir(""))
	write("d/kept", 700, true)
	must(f.SyncDir("d"))
	write("d/a", 1500, false)
	write("d/b", 20, true)
	must(f.Rename("d/b", "d/c"))
	must(f.Remove("d/kept"))
	below := func(g *FS) map[string][]byte {
		left := map[string][]byte{}
		for name, data := range g.Files() {
			left[strings.TrimPrefix(name, "d/")] = data
		}
		return left
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		for mode := range Modes {
			if err := f.Allows("d", below(f.Crash(r, mode))); err != nil {
				t.Fatalf("%v: %v", mode, err)
			}
		}
	}
	never := map[string]func(map[string][]byte){
		"a synced file is shorter":         func(m map[string][]byte) { m["kept"] = m["kept"][:600] },
		"a file that was never there":      func(m map[string][]byte) { m["x"] = nil },
		"a sector of bytes from elsewhere": func(m map[string][]byte) { m["a"] = []byte(strings.Repeat("b", 512)) },
		"a torn sector":                    func(m map[string][]byte) { m["a"] = append(make([]byte, 100), strings.Repeat("a", 412)...) },
		"more than was written":            func(m map[string][]byte) { m["a"] = []byte(strings.Repeat("a", 1501)) },
		"a durable name is lost":           func(m map[string][]byte) { delete(m, "kept"); delete(m, "c"); m["kept2"] = nil },
	}
	for what, change := range never {
		left := below(f.Crash(r, AllLost))
		change(left)
		if f.Allows("d", left) == nil {
			t.Errorf("%s is allowed", what)
		}
	}
}
