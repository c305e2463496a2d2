package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// damagedStore is a small store with files of every kind, as a crash right
// after its last acknowledgement leaves it, and what it holds.
func damagedStore(t *testing.T) (*sim, *simfs.FS, map[string]map[int64]bool) {
	t.Helper()
	return storeOfSegments(t, 5, 1)
}

// storeOfSegments is damagedStore, flushed and loaded so many times.
func storeOfSegments(t *testing.T, seed uint64, rounds int) (*sim, *simfs.FS, map[string]map[int64]bool) {
	t.Helper()
	d := newSim(seed, newSimTally())
	d.order, d.fs, d.width = simfs.Strict, simfs.New(simfs.Strict), widthMonth
	t.Cleanup(d.abandon)
	if err := d.open(powerLost); err != nil {
		t.Fatal(err)
	}
	sync := func(n int) {
		b := d.batch(n)
		events, _, _ := d.m.fresh(d.timely(b), false)
		d.seq++
		d.send(&simBatch{seq: d.seq, events: events, sent: b, level: Sync, token: fmt.Sprint("t", d.seq)}, 0, 0)
	}
	for range rounds {
		sync(8)
		d.work("flush", true, d.store.Flush)
		d.load()
	}
	d.change("define", func(m *simMeta) { m.defines["d"] = "text" }, func() error { return d.store.publish(&edit{}) })
	d.m.meta.defines = map[string]string{}
	sync(3)
	sync(1)
	sync(2)
	if err := d.failed(); err != nil {
		t.Fatal(err)
	}
	fs := d.fs.Crash(d.r, simfs.AllLost)

	// What each segment holds: what is left when all others are away.
	holds := map[string]map[int64]bool{}
	var all []string
	for name := range fs.Files() {
		if strings.HasSuffix(name, ".seg") {
			all = append(all, name)
		}
	}
	logged := d.numbers(t, without(t, fs, all...))
	for _, name := range all {
		rest := slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == name })
		holds[name] = d.numbers(t, without(t, fs, rest...))
		maps.DeleteFunc(holds[name], func(n int64, _ bool) bool { return logged[n] })
	}
	sum := len(logged)
	for _, list := range holds {
		sum += len(list)
	}
	if want := len(d.numbers(t, without(t, fs))); sum != want || len(all) < 3 {
		t.Fatalf("%d segments hold %d events with the log's, the store %d", len(all), sum, want)
	}
	return d, fs, holds
}

func without(t *testing.T, fs *simfs.FS, names ...string) *simfs.FS {
	t.Helper()
	fs = fs.Kill()
	for _, name := range names {
		if err := fs.Edit(name, func([]byte) []byte { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// numbers lists the events of a store, whatever is missing.
func (d *sim) numbers(t *testing.T, fs *simfs.FS) map[int64]bool {
	t.Helper()
	s, err := Open("data/store", d.options(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer kill(s)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	got, err := simRead(snap, d.known)
	if err != nil {
		t.Fatal(err)
	}
	return numbersOf(got)
}

func numbersOf(got map[string][]int64) map[int64]bool {
	set := map[int64]bool{}
	for _, list := range got {
		for _, n := range list {
			set[n] = true
		}
	}
	return set
}

// verdict is what a damaged store says.
type verdict uint8

const (
	wrong    verdict = iota
	refused          // opening says that it is damaged
	reported         // the rest answers, and what is missing is named
	failing          // a query fails although what is damaged could be set aside
	healed           // all answers are right, and the opening says what it made whole
	checked          // all answers are right, and the check finds it
	harmless         // nothing is different
)

var verdictNames = [...]string{"wrong", "refused", "reported", "failing", "healed", "checked", "harmless"}

// judge opens a damaged store, and compares what it says with what is there.
func (d *sim) judge(fs *simfs.FS, file string, holds map[string]map[int64]bool) (v verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = wrong, fmt.Errorf("panic: %v", r)
		}
	}()
	s, err := Open("data/store", d.options(fs))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !isNotExist(err) {
			return wrong, fmt.Errorf("open: %w", err)
		}
		return refused, nil
	}
	defer kill(s)
	snap, got, err := d.readAside(s)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return wrong, err
		}
		return failing, nil
	}
	defer snap.Release()
	missing := snap.Missing()
	if len(missing) > 0 {
		if _, isSegment := holds[file]; isSegment {
			return reported, d.exactly(missing, got, holds, file)
		}
		return reported, d.subset(got)
	}
	if err := d.m.compare(got); err != nil {
		return wrong, err
	}
	if meta := metaOf(s, snap); !meta.equal(d.m.meta) {
		return wrong, fmt.Errorf("links and definitions are %v", meta)
	}
	if err := checkClean(s, false); err != nil {
		return checked, nil
	}
	if len(s.Summary().Healed) > 0 {
		return healed, nil
	}
	return harmless, nil
}

// readAside reads a store as the engine does: what turns out to be damaged is
// set aside, and the rest is read anew.
func (d *sim) readAside(s *Store) (*Snapshot, map[string][]int64, error) {
	for {
		snap, err := s.Snapshot()
		if err != nil {
			return nil, nil, err
		}
		got, err := simRead(snap, d.known)
		if err == nil {
			return snap, got, nil
		}
		snap.Release()
		if !s.SetAside(err) {
			return nil, nil, err
		}
	}
}

// exactly is promise P6: exactly the damaged segments are missing, everything
// else is there.
func (d *sim) exactly(missing []Missing, got map[string][]int64, holds map[string]map[int64]bool, damaged ...string) error {
	rest := d.m.clone()
	if len(missing) != len(damaged) {
		return fmt.Errorf("missing are %+v, want %v", missing, damaged)
	}
	for _, file := range damaged {
		gone := holds[file]
		i := slices.IndexFunc(missing, func(m Missing) bool { return "data/store/"+m.Segment == file })
		if i < 0 || missing[i].Rows != int64(len(gone)) {
			return fmt.Errorf("missing are %+v, want %s with %d rows", missing, file, len(gone))
		}
		for n := range gone {
			if e := d.known[n]; e.Time < missing[i].From || e.Time > missing[i].To {
				return fmt.Errorf("event %d of %v is outside of %+v", n, e.Time, missing[i])
			}
		}
		for i, b := range rest.present {
			left := *b
			left.events = nil
			for _, e := range b.events {
				if !gone[eventNumber(&e)] {
					left.events = append(left.events, e)
				}
			}
			rest.present[i] = &left
		}
	}
	return rest.compare(got)
}

// subset wants nothing but whole batches of the model.
func (d *sim) subset(got map[string][]int64) error {
	there := numbersOf(got)
	for _, b := range d.m.present {
		n := 0
		for i := range b.events {
			if there[eventNumber(&b.events[i])] {
				n++
			}
		}
		if n != 0 && n != len(b.events) && !b.load && b.lsn > 1 {
			return fmt.Errorf("batch %d is torn: %d of %d events", b.seq, n, len(b.events))
		}
	}
	return nil
}

type damage struct {
	file, what string
	change     func([]byte) []byte
}

// judgeAll judges damages, and counts the verdicts by kind of file.
func judgeAll(t *testing.T, d *sim, fs *simfs.FS, holds map[string]map[int64]bool, all []damage, allow func(damage) bool) map[string]int {
	t.Helper()
	counts := map[string]int{}
	var mu sync.Mutex
	var next atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				dmg := all[i]
				damaged := fs.Kill()
				if err := damaged.Edit(dmg.file, dmg.change); err != nil {
					t.Error(err)
					return
				}
				v, err := d.judge(damaged, dmg.file, holds)
				mu.Lock()
				if err != nil {
					v = wrong
				}
				if (v == wrong || v == harmless) && allow != nil && allow(dmg) {
					counts["allowed"]++
				} else {
					counts[verdictNames[v]]++
					if (v == wrong || v == harmless) && counts[verdictNames[v]] < 12 {
						t.Errorf("%s, %s: %s: %v", dmg.file, dmg.what, verdictNames[v], err)
					}
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return counts
}

func damageableFiles(fs *simfs.FS) map[string][]byte {
	files := fs.Files()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return path.Base(name) == lockName || path.Base(name) == ballastName })
	return files
}

// TestSimFlips is promise P5: every flipped bit, in every byte of every kind
// of file, is detected. WEND_FLIPS=8 flips each of the eight.
func TestSimFlips(t *testing.T) {
	d, fs, holds := damagedStore(t)
	flips := trust.Number("WEND_FLIPS", 1)
	seed := trust.Number("WEND_SEED", 1)
	r := rand.New(rand.NewPCG(seed, 9))
	var all []damage
	files := damageableFiles(fs)
	bytes := 0
	for _, name := range sortedKeys(files) {
		bytes += len(files[name])
		for at := range files[name] {
			for k := range flips {
				bit := k
				if flips < 8 {
					bit = uint64(r.IntN(8))
				}
				all = append(all, damage{name, fmt.Sprintf("byte %d of %d, bit %d", at, len(files[name]), bit), func(b []byte) []byte {
					b[at] ^= 1 << bit
					return b
				}})
			}
		}
	}
	if testing.Short() {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:min(len(all), 500)]
	}
	counts := judgeAll(t, d, fs, holds, all, nil)
	trust.Report(t, "P5", "flips", len(all), "files", len(files), "bytes", bytes, "wrong", counts["wrong"], "harmless", counts["harmless"],
		"refused", counts["refused"], "reported", counts["reported"], "failing", counts["failing"], "healed", counts["healed"], "checked", counts["checked"], "seed", seed)
}

// Files that are cut, longer, empty, gone, old, or another's, are noticed. A log
// cut behind what a mark vouches for is what a crash leaves, and is not told from
// it; a manifest is, by its copy.
func TestSimReplacedFiles(t *testing.T) {
	d, fs, holds := damagedStore(t)
	files := damageableFiles(fs)
	r := rand.New(rand.NewPCG(3, 4))
	var all []damage
	add := func(file, what string, change func([]byte) []byte) { all = append(all, damage{file, what, change}) }
	names := sortedKeys(files)
	for _, name := range names {
		for size := range files[name] {
			add(name, fmt.Sprintf("cut to %d of %d bytes", size, len(files[name])), func(b []byte) []byte { return b[:size] })
		}
		add(name, "gone", func([]byte) []byte { return nil })
		for _, n := range []int{1, 7, 512, 4096} {
			noise := make([]byte, n)
			for i := range noise {
				noise[i] = byte(1 + r.IntN(255))
			}
			add(name, fmt.Sprintf("%d zeros behind it", n), func(b []byte) []byte { return append(b, make([]byte, n)...) })
			add(name, fmt.Sprintf("%d random bytes behind it", n), func(b []byte) []byte { return append(b, noise...) })
		}
		for _, other := range names {
			if other != name && !slices.Equal(files[other], files[name]) {
				add(name, "with the content of "+other, func([]byte) []byte { return slices.Clone(files[other]) })
			}
		}
	}
	tail := func(dmg damage) bool {
		return !strings.HasSuffix(dmg.file, ".seg") && (strings.HasPrefix(dmg.what, "cut") || dmg.what == "gone")
	}
	var segments []damage
	for _, dmg := range all {
		if strings.HasSuffix(dmg.file, ".seg") || !strings.Contains(dmg.what, "behind it") {
			segments = append(segments, dmg)
		}
	}
	counts := judgeAll(t, d, fs, holds, segments, tail)
	trust.Report(t, "P5", "replaced", len(segments), "wrong", counts["wrong"], "like a crash", counts["allowed"], "refused", counts["refused"],
		"reported", counts["reported"], "failing", counts["failing"], "healed", counts["healed"], "checked", counts["checked"])
}
