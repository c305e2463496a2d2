package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// inDamage reports whether a call site is one of setting aside.
func inDamage(site string) bool { return strings.HasPrefix(site, "damage.go:") }

// TestSimSetAsideCrashes loses the power before and after every file operation
// of setting aside, healing, taking back, forgetting and erasing what is
// damaged. Whatever is left, the next opening answers from the rest and names
// exactly what is missing.
func TestSimSetAsideCrashes(t *testing.T) {
	d, fs, holds := damagedStore(t)
	file := sortedKeys(holds)[0]
	sound := fs.Files()[file]
	inside := map[string]int{}
	states := 0
	ctx := context.Background()
	rest := func(s *Store, forgotten bool) error {
		snap, got, err := d.readAside(s)
		if err != nil {
			return err
		}
		defer snap.Release()
		var named []string
		for _, m := range snap.Missing() {
			named = append(named, path.Join("data/store", m.Segment))
		}
		if err = d.exactly(snap.Missing(), got, holds, named...); err != nil && forgotten && len(named) == 0 {
			gone := Missing{Segment: path.Base(file), Rows: int64(len(holds[file])), From: -1 << 60, To: 1 << 60}
			return d.exactly([]Missing{gone}, got, holds, file)
		}
		return err
	}
	flipped := func(fs *simfs.FS) error {
		return fs.Edit(file, func(b []byte) []byte { b[headerSize+5] ^= 1; return b })
	}
	put := func(data []byte) func(fs *simfs.FS) error {
		return func(fs *simfs.FS) error { return fs.Put(file, data) }
	}
	nothing := func(*simfs.FS) error { return nil }
	// Whatever was seen of the damage before, and how often it was tried to put
	// something in its place: nothing is left of it when all of it is too old.
	old := func(s *Store) error {
		at := d.clock.AddDate(20, 0, 0)
		s.opt.Retention, s.opt.Clock = time.Hour, func() time.Time { return at }
		s.retaining.trust(event.At(at), 0)
		return errors.Join(s.retain(ctx), s.fs.SyncDir(s.dir))
	}
	aged := func(s *Store) error {
		if s.state().cutoff() == math.MinInt64 {
			return rest(s, false)
		}
		snap, got, err := d.readAside(s)
		if err != nil {
			return err
		}
		defer snap.Release()
		if missing := snap.Missing(); len(got) > 0 || len(missing) > 1 || len(missing) == 1 && missing[0].Segment != path.Base(file) {
			return fmt.Errorf("all is too old, and %v are shown, %v are missing", got, missing)
		} else if len(missing) == 1 {
			return nil
		}
		for name := range s.fs.(*simfs.FS).Files() {
			if strings.Contains(name, path.Base(file)) {
				return fmt.Errorf("nothing is missing, and %s is there", name)
			}
		}
		return nil
	}
	open := func(s *Store) error { return rest(s, false) }
	type step struct {
		change func(*simfs.FS) error // before the store is opened
		use    func(*Store) error
	}
	for name, steps := range map[string][]step{
		"set aside and back": {{flipped, open}, {nothing, open}, {put(sound), open}},
		"a bad copy":         {{flipped, open}, {put([]byte("nothing")), open}},
		"healed": {{func(fs *simfs.FS) error {
			for name := range fs.Files() {
				if strings.HasSuffix(name, copySuffix) {
					return fs.Edit(name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
				}
			}
			return fmt.Errorf("there is no copy")
		}, open}},
		"healed from both": {{func(fs *simfs.FS) error { // in each, an edit that the other has
			for _, name := range sortedKeys(fs.Files()) {
				at := func(b []byte) int { return len(b) / 2 }
				if strings.HasSuffix(name, copySuffix) {
					at = func(b []byte) int { return len(b) - 1 }
				}
				if strings.HasPrefix(path.Base(name), manifestPrefix) {
					if err := fs.Edit(name, func(b []byte) []byte { b[at(b)] ^= 1; return b }); err != nil {
						return err
					}
				}
			}
			return nil
		}, open}},
		"too old": {{flipped, open}, {put([]byte("nothing")), open}, {put(sound[:9]), func(s *Store) error {
			err := errors.Join(old(s), aged(s))
			if missing := s.missingData(); err == nil && len(missing) > 0 {
				err = fmt.Errorf("missing are still %v", missing)
			}
			return err
		}}},
		"forgotten": {{flipped, open}, {nothing, func(s *Store) error { _, err := s.Forget(ctx, path.Base(file)); return err }}},
		"erased": {{flipped, open}, {nothing, func(s *Store) error {
			_, err := s.Erase(ctx, "nobody", EraseOptions{})
			for worked := true; worked && err == nil; {
				worked, err = s.EraseStep(ctx)
			}
			return err
		}}},
	} {
		forgotten := name == "forgotten"
		seed := uint64(1)
		fs := fs.Kill()
		for i, step := range steps {
			if err := step.change(fs); err != nil {
				t.Fatal(err)
			}
			fs = fs.Kill() // what was done to the files is durable
			var failed error
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			fs.Hook = func(op *simfs.Op, after bool) {
				if op.Site == "" || failed != nil {
					return
				}
				inside[side(op, after)]++
				for range 4 {
					states++
					left := fs.Crash(r, simfs.Mode(r.IntN(int(simfs.Modes))))
					s, err := Open("data/store", d.options(left))
					if err == nil && name == "too old" {
						err = aged(s)
						kill(s)
					} else if err == nil {
						err = rest(s, forgotten)
						kill(s)
					}
					if err != nil {
						failed = fmt.Errorf("%s %s: %w", side(op, after), op.Name, err)
						return
					}
				}
			}
			s, err := Open("data/store", d.options(fs))
			if err == nil {
				err = step.use(s)
				kill(s)
			}
			fs.Hook = nil
			if err != nil || failed != nil {
				t.Fatalf("%s, step %d: %v, %v", name, i, err, failed)
			}
		}
	}
	var untried []string
	sites := slices.DeleteFunc(mutatingSites(t), func(s string) bool { return !inDamage(s) })
	for _, site := range sites {
		if inside["before "+site] == 0 || inside["after "+site] == 0 {
			untried = append(untried, site)
		}
	}
	if len(untried) > 0 {
		t.Errorf("no crash was tried at %v", untried)
	}
	trust.Report(t, "P6", "crash states", states, "sites", fmt.Sprintf("%d/%d", len(sites)-len(untried), len(sites)), "violations", 0)
}

// Both files of the manifest have every published edit when the power is lost.
func TestManifestCopyIsDurable(t *testing.T) {
	fs := simfs.New(simfs.Strict)
	opt := small(nil)
	opt.FS = fs
	s, err := Open("data/store", opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.Link(t.Context(), fmt.Sprint("a", i), "b"); err != nil {
			t.Fatal(err)
		}
	}
	left := fs.Crash(rand.New(rand.NewPCG(1, 1)), simfs.AllLost)
	kill(s)
	opt.FS = left
	if s, err = Open("data/store", opt); err != nil {
		t.Fatal(err)
	}
	defer kill(s)
	if len(s.healed) > 0 || len(s.Links()) != 3 {
		t.Errorf("healed %+v, links %v", s.healed, s.Links())
	}
}

// Where files cannot have two names, a damaged manifest whose copy is whole keeps
// nobody from opening the store.
func TestManifestDamagedWithoutLinks(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1))
	name := "store/" + manifestName(s.manifest.number)
	kill(s)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-5] ^= 1
	replaceFile(t, mem, name, data)
	if s = open(t, withoutLinks{mem}, "store"); len(s.healed) != 1 {
		t.Errorf("healed is %v", s.healed)
	}
}

type withoutLinks struct{ vfs.FS }

// Link fails as on exFAT.
func (withoutLinks) Link(string, string) error { return syscall.EPERM }

// A segment that no edit names and that cannot be read keeps nobody from the rest.
func TestUnreadableLeftover(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1))
	name := s.state().segments[0].file()
	kill(s)
	data, err := vfs.ReadFile(mem, "store/"+name)
	if err == nil {
		err = writeFile(mem, "store/000099.seg", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	files := &unreadable{Mem: mem, file: "store/000099.seg", err: syscall.EIO}
	readerOf(t, files)
	open(t, files, "store")
}

// What a flush wrote of which the edit failed is removed when the next edit has
// succeeded. Where a power cut brings it back beside what the next flush wrote, the
// store is opened all the same.
func TestFailedFlushComesBack(t *testing.T) {
	for seed := range uint64(100) {
		fs := simfs.New(simfs.Strict)
		opt := small(nil)
		opt.FS = fs
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		appendEvents(t, s, AppendOptions{}, view("ann", 1))
		fs.Fault = func(op *simfs.Op) simfs.Fault {
			if op.Kind == simfs.Sync && strings.Contains(op.Name, manifestPrefix) {
				return simfs.EIO
			}
			return simfs.None
		}
		if err := s.Flush(t.Context()); err == nil {
			t.Fatal("the flush did not fail")
		}
		fs.Fault = nil
		appendEvents(t, s, AppendOptions{}, view("bob", 2))
		var left *simfs.FS
		fs.Hook = func(op *simfs.Op, after bool) {
			if left == nil && after && op.Kind == simfs.Rename && strings.HasSuffix(op.Name, ".seg") {
				left = fs.Crash(rand.New(rand.NewPCG(seed, 1)), simfs.Random)
			}
		}
		if err := s.Flush(t.Context()); err != nil || left == nil {
			t.Fatal(err)
		}
		kill(s)
		opt.FS = left
		if s, err = Open("store", opt); err != nil {
			t.Fatal(err)
		}
		if n := s.Summary().Events; n != 2 {
			t.Errorf("%d events are left", n)
		}
		kill(s)
	}
}

// Of a new manifest a crash may leave one of the two files. The next writer writes
// both anew, before it removes the manifest of before.
func TestManifestOfOneFile(t *testing.T) {
	for _, left := range []string{"", copySuffix} {
		mem := vfs.NewMem()
		s := open(t, mem, "store")
		loadEvents(t, s, view("ann", 1))
		number := s.manifest.number + 1
		data, err := encodeManifest(s.state(), number)
		if err != nil {
			t.Fatal(err)
		}
		kill(s)
		if err := writeFile(mem, "store/"+manifestName(number)+left, data); err != nil {
			t.Fatal(err)
		}
		s = open(t, mem, "store")
		if len(s.healed) > 0 {
			t.Errorf("it is called damage: %v", s.healed)
		}
		kill(s)
		name := manifestName(s.manifest.number)
		files := filesOf(t, mem, "store")
		if files[name] == "" || files[name] != files[name+copySuffix] {
			t.Errorf("%s has %d bytes, its copy %d", name, len(files[name]), len(files[name+copySuffix]))
		}
	}
}
