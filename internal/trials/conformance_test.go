package trials

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// TestConformance holds the simulation of file systems to real ones: random
// scripts run on both, the power of the real one is cut, and what it left must
// be a state that the simulation allows. Several scripts, each in a directory
// of its own, share a cut.
func TestConformance(t *testing.T) {
	seed := trust.Number("WEND_SEED", 1)
	scripts := int(trust.Number("WEND_CONFORMANCE", 300))
	if testing.Short() {
		scripts = min(scripts, 60)
	}
	const together = 60
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind)
			r := rand.New(rand.NewPCG(seed, 13))
			tried, changed := 0, 0
			for tried < scripts {
				sim := simfs.New(simfs.Strict)
				base := fmt.Sprint("cut", tried)
				var dirs []string
				var logs [][]string
				for range together {
					dirs = append(dirs, fmt.Sprintf("%s/script%d", base, tried))
					tried++
				}
				real := under{root: d.dir}
				for _, dir := range dirs {
					if err := both(real, sim, func(f vfs.FS) error { return f.MkdirAll(dir) }); err != nil {
						t.Fatal(err)
					}
				}
				for _, dir := range []string{base, "."} {
					if err := both(real, sim, func(f vfs.FS) error { return f.SyncDir(dir) }); err != nil {
						t.Fatal(err)
					}
				}
				for _, dir := range dirs {
					log, err := script(r, real, sim, dir)
					if err != nil {
						t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(log, "\n"))
					}
					logs = append(logs, log)
				}
				if err := d.cut(uint32(journalKept + r.IntN(2))); err != nil {
					t.Fatal(err)
				}
				if err := d.restart(); err != nil {
					t.Fatal(err)
				}
				for i, dir := range dirs {
					left, err := leftIn(filepath.Join(d.dir, dir))
					if err == nil {
						err = sim.Allows(dir, left)
					}
					if err != nil {
						t.Fatalf("seed %d: %v\nafter\n%s", seed, err, strings.Join(logs[i], "\n"))
					}
					if !maps.EqualFunc(left, seen(sim, dir), slices.Equal) {
						changed++
					}
				}
				if err := os.RemoveAll(filepath.Join(d.dir, base)); err != nil {
					t.Fatal(err)
				}
			}
			if changed < tried/20 {
				t.Errorf("only %d of %d scripts lost anything: the cuts cut nothing", changed, tried)
			}
			trust.Report(t, "P1", kind+" and the simulation agree, scripts", tried, "that lost something", changed, "outside", 0, "seed", seed)
		})
	}
}

// both does the same to both file systems; they must agree whether it works.
func both(real, sim vfs.FS, do func(vfs.FS) error) error {
	err, simulated := do(real), do(sim)
	if (err == nil) != (simulated == nil) {
		return fmt.Errorf("the real file system says %v, the simulated one %v", err, simulated)
	}
	return nil
}

// script does a few random things in a directory.
func script(r *rand.Rand, real, sim vfs.FS, dir string) (log []string, err error) {
	open := map[string]handles{} // by the name that the file has now
	var all []vfs.File
	defer func() {
		for _, f := range all {
			f.Close()
		}
	}()
	names := []string{"a", "b", "c", "d", "sub/e", "sub/f"}
	path := func(name string) string { return dir + "/" + name }
	do := func(what string, change func(vfs.FS) error) {
		log = append(log, what)
		if err == nil {
			if err = both(real, sim, change); err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	for range 6 + r.IntN(9) {
		name := names[r.IntN(len(names))]
		top := names[r.IntN(4)]
		p, isOpen := open[name]
		switch r.IntN(12) {
		case 0, 1, 2:
			var files []vfs.File
			do("create "+name, func(f vfs.FS) error {
				h, err := f.Create(path(name))
				if err == nil {
					files = append(files, h)
				}
				return err
			})
			all = append(all, files...)
			if len(files) == 2 {
				open[name] = handles{files[0], files[1]}
			}
		case 3, 4, 5:
			if isOpen {
				data := make([]byte, 1+r.IntN(9000))
				for i := range data {
					data[i] = byte(1 + r.IntN(255))
				}
				do(fmt.Sprintf("write %d to %s", len(data), name), func(f vfs.FS) error { _, err := p.of(f).Write(data); return err })
			}
		case 6, 7:
			if isOpen {
				do("sync "+name, func(f vfs.FS) error { return p.of(f).Sync() })
			}
		case 8:
			do("rename "+top+" to "+names[0], func(f vfs.FS) error { return f.Rename(path(top), path(names[0])) })
			if top != names[0] {
				delete(open, top) // its handle goes on under another name; nothing more is done with it
				delete(open, names[0])
			}
		case 9:
			do("remove "+name, func(f vfs.FS) error { return f.Remove(path(name)) })
			delete(open, name)
		case 10:
			sub := []string{"", "/sub"}[r.IntN(2)]
			do("syncdir "+sub, func(f vfs.FS) error { return f.SyncDir(dir + sub) })
		case 11:
			if r.IntN(2) == 0 {
				do("mkdir sub", func(f vfs.FS) error { return f.MkdirAll(path("sub")) })
			} else {
				do("link "+top+" to "+name, func(f vfs.FS) error { return f.Link(path(top), path(name)) })
			}
		}
	}
	return log, err
}

// handles are one open file on both file systems.
type handles struct{ real, sim vfs.File }

func (h handles) of(f vfs.FS) vfs.File {
	if _, ok := f.(*simfs.FS); ok {
		return h.sim
	}
	return h.real
}

// under is the real file system below a directory.
type under struct {
	vfs.OS // what scripts do not use
	root   string
}

func (u under) at(name string) string                    { return filepath.Join(u.root, name) }
func (u under) Create(name string) (vfs.File, error)     { return vfs.OS{}.Create(u.at(name)) }
func (u under) Open(name string) (vfs.File, error)       { return vfs.OS{}.Open(u.at(name)) }
func (u under) OpenAppend(name string) (vfs.File, error) { return vfs.OS{}.OpenAppend(u.at(name)) }
func (u under) Rename(old, new string) error             { return vfs.OS{}.Rename(u.at(old), u.at(new)) }
func (u under) Link(old, new string) error               { return vfs.OS{}.Link(u.at(old), u.at(new)) }
func (u under) Remove(name string) error                 { return vfs.OS{}.Remove(u.at(name)) }
func (u under) MkdirAll(name string) error               { return vfs.OS{}.MkdirAll(u.at(name)) }
func (u under) ReadDir(name string) ([]string, error)    { return vfs.OS{}.ReadDir(u.at(name)) }
func (u under) SyncDir(name string) error                { return vfs.OS{}.SyncDir(u.at(name)) }

// seen is what programs saw below a directory before the cut.
func seen(sim *simfs.FS, dir string) map[string][]byte {
	all := map[string][]byte{}
	for name, data := range sim.Files() {
		if rel, ok := strings.CutPrefix(name, dir+"/"); ok {
			all[rel] = data
		}
	}
	if names, err := sim.ReadDir(dir + "/sub"); err == nil && names != nil {
		all["sub/"] = nil
	}
	return all
}

// leftIn reads everything below a directory of the real file system.
func leftIn(dir string) (map[string][]byte, error) {
	left := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil && e.IsDir() {
			left[rel+"/"] = nil
			return nil
		}
		if err == nil {
			left[rel], err = os.ReadFile(name)
		}
		return err
	})
	return left, err
}
