package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
	"wend/tile"
)

// damages are the ways in which a segment's file is not what it was.
var damages = []struct {
	name   string
	change func(r *rand.Rand, data []byte, other []byte) []byte
}{
	{"a flipped bit", func(r *rand.Rand, b, _ []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b }},
	{"a page of zeros", func(r *rand.Rand, b, _ []byte) []byte {
		at := r.IntN(len(b))
		clear(b[at:min(at+64, len(b))])
		b[at] ^= 1 // it may have been zeros
		return b
	}},
	{"cut", func(r *rand.Rand, b, _ []byte) []byte { return b[:r.IntN(len(b))] }},
	{"longer", func(r *rand.Rand, b, _ []byte) []byte { return append(b, byte(r.IntN(256))) }},
	{"empty", func(*rand.Rand, []byte, []byte) []byte { return []byte{} }},
	{"gone", func(*rand.Rand, []byte, []byte) []byte { return nil }},
	{"another segment", func(_ *rand.Rand, _, other []byte) []byte { return slices.Clone(other) }},
	{"a block of another segment", func(r *rand.Rand, b, other []byte) []byte {
		n := min(len(b), len(other))
		from := r.IntN(n)
		if copy(b[from:n], other[from:n]); slices.Equal(b[from:n], other[from:n]) {
			b[from] ^= 0x55 // whatever the other holds there, it is not this
		}
		return b
	}},
}

// TestSimQuarantine is promise P6: whichever one or two segments are damaged,
// and however, the rest answers and exactly they are missing; that stays so when
// the store is opened again and compacted; nothing of the files is lost, and
// sound copies that are put back complete the store again. WEND_DAMAGE is the
// number of cases.
func TestSimQuarantine(t *testing.T) {
	d, fs, holds := storeOfSegments(t, 5, 3)
	files := sortedKeys(holds)
	cases := int(trust.Number("WEND_DAMAGE", 100))
	if testing.Short() {
		cases = 40
	}
	seed := trust.Number("WEND_SEED", 1)
	var sets [][]string
	for i, a := range files {
		sets = append(sets, []string{a})
		for _, b := range files[:i] {
			sets = append(sets, []string{a, b})
		}
	}
	r := rand.New(rand.NewPCG(seed, 4))
	r.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	var next atomic.Int64
	var failed atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= cases {
					return
				}
				set := sets[i%len(sets)]
				if err := d.quarantineCase(fs, holds, set, files, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
					failed.Add(1)
					t.Errorf("case %d, %v: %v", i, set, err)
				}
			}
		})
	}
	group.Wait()
	trust.Report(t, "P6", "cases", cases, "segments", len(files), "sets", len(sets), "violations", failed.Load(), "seed", seed)
}

func (d *sim) quarantineCase(fs *simfs.FS, holds map[string]map[int64]bool, set, files []string, r *rand.Rand) error {
	fs = fs.Kill()
	sound := fs.Files()
	var how []string
	for _, file := range set {
		damage := damages[r.IntN(len(damages))]
		other := files[r.IntN(len(files))]
		for other == file {
			other = files[r.IntN(len(files))]
		}
		how = append(how, damage.name)
		if err := fs.Edit(file, func(b []byte) []byte { return damage.change(r, b, sound[other]) }); err != nil {
			return err
		}
	}
	damaged := fs.Files()
	check := func(when string, s *Store) error {
		snap, got, err := d.readAside(s)
		if err == nil {
			// Damage to pages that nothing read is in no answer.
			var met []string
			for _, m := range snap.Missing() {
				met = append(met, "data/store/"+m.Segment)
			}
			err = d.exactly(snap.Missing(), got, holds, met...)
			snap.Release()
		}
		for err == nil { // as an export does
			if snap, err = s.Snapshot(); err != nil {
				break
			}
			damage := snap.Verify(context.Background())
			if s.SetAside(damage) {
				snap.Release()
				continue
			}
			if err = damage; err == nil {
				if got, err = simRead(snap, d.known); err == nil {
					err = d.exactly(snap.Missing(), got, holds, set...)
				}
			}
			snap.Release()
			break
		}
		if err == nil && len(s.Status().Missing) != len(set) {
			err = fmt.Errorf("status has %+v", s.Status().Missing)
		}
		if err != nil {
			return fmt.Errorf("%v, %s: %w", how, when, err)
		}
		return nil
	}
	opt := d.options(fs)
	opt.ReadOnly = true
	reader, err := Open("data/store", opt)
	if err != nil {
		return fmt.Errorf("%v: open for reading: %w", how, err)
	}
	defer kill(reader)
	if err := check("read only", reader); err != nil {
		return err
	}
	opt.ReadOnly = false
	s, err := Open("data/store", opt)
	if err != nil {
		return fmt.Errorf("%v: %w", how, err)
	}
	defer func() { kill(s) }()
	work := []string{}
	if r.IntN(2) == 0 { // compaction may be the one that meets the damage
		work = append(work, "after compaction")
		if err := s.Compact(context.Background()); err != nil {
			return fmt.Errorf("%v: compact: %w", how, err)
		}
		// Where only an index was damaged, the rows are whole, and elsewhere now.
		set = slices.DeleteFunc(slices.Clone(set), func(file string) bool {
			named := func(r segmentRecord) bool { return r.file() == path.Base(file) }
			return !slices.ContainsFunc(s.state().segments, named) && !s.state().quarantined(path.Base(file))
		})
	}
	if r.IntN(4) == 0 {
		// A check that sets aside what it finds, as wend check --set-aside does.
		report, err := s.Check(context.Background())
		if err != nil {
			return err
		}
		for _, x := range report.Damaged {
			s.SetAside(&DamageError{x.File, errors.New(x.Reason)})
		}
	}
	if err := check(strings.Join(append(work, "first"), ", "), s); err != nil {
		return err
	}
	kill(s)
	if s, err = Open("data/store", opt); err != nil {
		return fmt.Errorf("%v: open again: %w", how, err)
	}
	if err := check("opened again", s); err != nil {
		return err
	}
	if err := reader.Refresh(); err != nil {
		return fmt.Errorf("%v: refresh: %w", how, err)
	}
	if err := check("the reader again", reader); err != nil {
		return err
	}
	for _, file := range set {
		kept := fs.Files()[path.Join("data/store", quarantineDir, path.Base(file))]
		if want, was := damaged[file]; was && !slices.Equal(kept, want) {
			return fmt.Errorf("%v: the quarantine does not hold %s as it was found", how, file)
		}
	}
	kill(s)
	for _, file := range set {
		if err := fs.Put(file, sound[file]); err != nil {
			return err
		}
	}
	if s, err = Open("data/store", opt); err != nil {
		return fmt.Errorf("%v: open with sound copies: %w", how, err)
	}
	if err := d.whole(s); err != nil {
		return fmt.Errorf("%v: with sound copies: %w", how, err)
	}
	if err := s.Compact(context.Background()); err != nil {
		return err
	}
	if err := d.whole(s); err != nil {
		return fmt.Errorf("%v: with sound copies, compacted: %w", how, err)
	}
	return nil
}

// whole wants all events of the model, and nothing missing.
func (d *sim) whole(s *Store) error {
	snap, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	if len(snap.Missing()) > 0 {
		return fmt.Errorf("missing are %+v", snap.Missing())
	}
	got, err := simRead(snap, d.known)
	if err != nil {
		return err
	}
	if err := d.m.compare(got); err != nil {
		return err
	}
	return checkClean(s, false)
}

// runs is a store of one segment a batch, each of one event of ann's.
func runs(t *testing.T, n int) (*vfs.Mem, []string) {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	var files []string
	for i := range n {
		e := view("ann", 40*24*60*i)
		e.ID = fmt.Sprint("e", i)
		appendEvents(t, s, AppendOptions{}, e)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		files = append(files, path.Join("store", s.state().segments[i].file()))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, files
}

// flip damages a page of a segment that is read when its rows are.
func flip(t *testing.T, mem *vfs.Mem, file string) {
	t.Helper()
	data, err := vfs.ReadFile(mem, file)
	if err != nil {
		t.Fatal(err)
	}
	data[headerSize+5] ^= 1
	replaceFile(t, mem, file, data)
}

// What is damaged stays known over restarts until it is given up; then answers
// are whole again, and the file is still there.
func TestForget(t *testing.T) {
	mem, files := runs(t, 3)
	flip(t, mem, files[1])
	flip(t, mem, files[2])
	s := open(t, mem, "store")
	if st := s.Status(); len(st.Missing) != 0 && st.Customers != 1 {
		t.Fatalf("before anybody reads: %+v", st.Missing)
	}
	if got := contents(t, s); strings.Count(got, "\n") != 1 {
		t.Fatalf("contents: %s", got)
	}
	if _, err := s.Forget(t.Context(), "000099.seg"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), path.Base(files[1])) {
		t.Errorf("forget what is not there: %v", err)
	}
	for i, file := range files[1:] {
		if len(s.Summary().Missing) != 2-i {
			t.Fatalf("missing: %+v", s.Summary().Missing)
		}
		if _, err := s.Forget(t.Context(), path.Base(file)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, mem, "store")
		if _, err := vfs.ReadFile(mem, path.Join("store", quarantineDir, path.Base(file))); err != nil {
			t.Error(err)
		}
	}
	if st := s.Status(); len(st.Missing) != 0 || st.Events != 1 {
		t.Errorf("status: %+v", st)
	}
}

// An id whose event is missing cannot be known: the event counts as new. That
// is how what was lost is brought back from its source.
func TestIDsOfMissingData(t *testing.T) {
	mem, files := runs(t, 3)
	flip(t, mem, files[1])
	s := open(t, mem, "store")
	var again []event.Event
	for i := range 3 {
		e := view("ann", 40*24*60*i)
		e.ID = fmt.Sprint("e", i)
		again = append(again, e)
	}
	ack := appendEvents(t, s, AppendOptions{}, again...)
	if ack.Duplicates != 2 || ack.Accepted != 1 {
		t.Errorf("the same events again: %+v", ack)
	}
	if st := s.Status(); st.Events != 3 || len(st.Missing) != 1 {
		t.Errorf("status: %+v", st)
	}
}

// A load sets aside what it finds damaged, and what was lost can be loaded again.
func TestLoadOverDamage(t *testing.T) {
	mem, files := runs(t, 3)
	flip(t, mem, files[1])
	s := open(t, mem, "store")
	l, err := s.NewLoad(t.Context(), LoadOptions{Source: "again.csv"})
	if err != nil {
		t.Fatal(err)
	}
	var again []event.Event
	for i := range 3 {
		e := view("ann", 40*24*60*i)
		e.ID = fmt.Sprint("e", i)
		again = append(again, e)
	}
	if err := l.Add(batchOf(again)); err != nil {
		t.Fatal(err)
	}
	res, err := l.Commit(t.Context())
	if err != nil || res.Events != 1 || res.Duplicates != 2 {
		t.Errorf("load: %+v, %v", res, err)
	}
}

// unreadable is a file system whose segments cannot be opened, or of which one has
// a sector that cannot be read.
type unreadable struct {
	*vfs.Mem
	err  error  // nil: they can
	file string // "": all of them
	at   int64  // of the sector
}

func (f *unreadable) Open(name string) (vfs.File, error) {
	if f.err == nil || !strings.HasSuffix(name, ".seg") || f.file != "" && name != f.file {
		return f.Mem.Open(name)
	}
	if f.file == "" {
		return nil, f.err
	}
	file, err := f.Mem.Open(name)
	return &badSector{file, f}, err
}

type badSector struct {
	vfs.File
	fs *unreadable
}

func (f *badSector) ReadAt(p []byte, at int64) (int, error) {
	if at <= f.fs.at && f.fs.at < at+int64(len(p)) {
		return 0, f.fs.err
	}
	return f.File.ReadAt(p, at)
}

// What cannot be read at the moment is not damaged: the store does not open
// without it, unless the operator says so.
func TestErrorsAreNotDamage(t *testing.T) {
	mem, _ := runs(t, 2)
	fs := &unreadable{Mem: mem, err: errors.New("too many open files")}
	opt := small(nil)
	opt.FS = fs
	for _, opt.ReadOnly = range []bool{false, true} {
		if _, err := Open("store", opt); !errors.Is(err, fs.err) {
			t.Fatalf("opened with %v", err)
		}
	}
	fs.err = nil
	opt.ReadOnly = false
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); len(st.Missing) != 0 || st.Events != 2 {
		t.Errorf("when it can be read again: %+v", st)
	}
	kill(s)
	fs.err, opt.AcceptDamage = errors.New("input/output error"), true
	if s, err = Open("store", opt); err != nil {
		t.Fatal(err)
	}
	defer kill(s)
	if st := s.Summary(); len(st.Missing) != 2 || st.Missing[0].Rows != 1 {
		t.Errorf("accepted: %+v", st.Missing)
	}
}

// Where much is missing, nothing is written: the store answers from the rest,
// and is whole when the files are back.
func TestMassDamage(t *testing.T) {
	mem, files := runs(t, 14)
	whole := mem.Clone()
	for _, file := range files[1:12] {
		if err := mem.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	before := filesOf(t, mem, "store")
	s := open(t, mem, "store")
	st := s.Status()
	if !st.ReadOnly || len(st.Missing) != 11 || st.Events != 3 || !strings.Contains(st.Notice, "11 of 14 segments") {
		t.Errorf("status: %v, %q, %d missing", st.ReadOnly, st.Notice, len(st.Missing))
	}
	if _, err := s.Append(t.Context(), batchOf([]event.Event{view("bob", 1)}), AppendOptions{}); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "--set-aside") {
		t.Errorf("append: %v", err)
	}
	if err := s.Compact(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("compact: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := filesOf(t, mem, "store"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the store has changed")
	}
	s = open(t, whole, "store")
	if st := s.Status(); st.ReadOnly || len(st.Missing) != 0 || st.Events != 14 {
		t.Errorf("when the files are back: %+v", st.Missing)
	}
	opt := small(mem)
	opt.AcceptDamage = true
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	kill(s)
	s = open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("bob", 1))
	if st := s.Status(); st.ReadOnly || len(st.Missing) != 11 || st.Events != 4 {
		t.Errorf("accepted: %v, %d missing", st.ReadOnly, len(st.Missing))
	}
}

// An erasure cannot tell whose events a damaged file holds: the file goes, its
// events stay missing, and no copy of it comes back.
func TestEraseDamaged(t *testing.T) {
	for _, when := range []string{"before", "meanwhile", "when it was asked for", "by the disk"} {
		mem, files := runs(t, 3)
		sound, err := vfs.ReadFile(mem, files[1])
		if err != nil {
			t.Fatal(err)
		}
		fs := &unreadable{Mem: mem, file: files[1], at: headerSize + 5}
		opt := small(fs)
		reopen := func(s *Store) *Store {
			if s != nil {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if s, err = Open("store", opt); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			return s
		}
		var s *Store
		var receipt Receipt
		erase := func() {
			s = reopen(s)
			if when == "before" {
				s.Status()
			}
			if receipt, err = s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		switch when {
		case "before", "meanwhile":
			flip(t, mem, files[1])
			erase()
		default: // the rewriting is left to the next process
			erase()
			kill(s)
			s = nil
			if when == "by the disk" {
				fs.err = errors.New("input/output error")
				if _, err := Open("store", opt); !errors.Is(err, fs.err) {
					t.Fatalf("opened with %v", err)
				}
				opt.AcceptDamage = true
			} else {
				flip(t, mem, files[1])
			}
			opt.ReadOnly = true
			s = reopen(s)
			if st := s.Status(); st.Events != 0 || len(st.Missing) != 1 {
				t.Errorf("%s: a reader shows %d events, missing %+v", when, st.Events, st.Missing)
			}
			opt.ReadOnly = false
			s = reopen(s)
		}
		for worked := true; worked; {
			if worked, err = s.EraseStep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		receipt, err = s.Receipt(receipt.ID)
		if err != nil || receipt.State != "done" || len(receipt.Removed) != 1 || receipt.Lost != 1 {
			t.Errorf("%s: receipt %+v, %v", when, receipt, err)
		}
		if left, err := mem.ReadDir(path.Join("store", quarantineDir)); err == nil && len(left) > 0 {
			t.Errorf("%s: the quarantine holds %v", when, left)
		}
		fs.err = nil
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, mem, files[1], sound)
		s = open(t, mem, "store")
		if st := s.Status(); st.Events != 0 || len(st.Missing) != 1 {
			t.Errorf("%s: with a copy of the file: %d events, missing %+v", when, st.Events, st.Missing)
		}
		if _, err := vfs.ReadFile(mem, files[1]); err == nil {
			t.Errorf("%s: the copy is still there", when)
		}
	}
}

// An erasure does not go on while the record of a damaged segment cannot be
// written: the next opening may show what can be read of it.
func TestEraseDamagedNotRecorded(t *testing.T) {
	s, fs := openFaulty(t)
	for i := range 12 {
		appendEvents(t, s, AppendOptions{}, view(fmt.Sprint("c", i), i))
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	record := s.state().segments[0]
	who := ""
	for i := range 12 { // somebody who is not in the damaged block
		if name := fmt.Sprint("c", i); blockOf(customerHash(name), s.segments[record.ID].seg.PrefixBits) != 0 {
			who = name
		}
	}
	kill(s)
	flip(t, fs.Mem, path.Join("store", record.file()))
	s = open(t, fs, "store")
	receipt, err := s.Erase(t.Context(), who, EraseOptions{})
	for len(s.aside) == 0 {
		if err == nil {
			_, err = s.EraseStep(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	failed := false
	fs.fail = func(_ int, call, name string) bool {
		met := !failed && call == "write" && strings.Contains(name, manifestPrefix)
		failed = failed || met
		return met
	}
	if _, err := s.EraseStep(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("a step that cannot record the damage: %v", err)
	}
	shown := func(s *Store) string {
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		found := ""
		for i := range snap.Tiles() {
			tl, err := snap.Tile(t.Context(), i, tile.Need{Names: true})
			if err != nil {
				continue // the damaged one
			}
			for c := range tl.Customers() {
				found += tl.Names.At(c) + " "
			}
		}
		return found
	}
	after := open(t, fs.Mem.Clone(), "store")
	if found := shown(after); strings.Contains(found, who+" ") {
		t.Errorf("after a crash %s is shown: %s", who, found)
	}
	for worked := true; worked; {
		if worked, err = s.EraseStep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	receipt, err = s.Receipt(receipt.ID)
	if err != nil || receipt.State != "done" || !slices.Equal(receipt.Removed, []string{record.file()}) || receipt.Lost != 12 {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
}

// A log of which nothing can be read may hold what is erased, and goes, too.
func TestEraseUnreadableLog(t *testing.T) {
	mem := fewBatches(t)
	name := walFileName(t, mem)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[:bytes.Index(data, []byte(recordMagic))])
	replaceFile(t, mem, name, bytes.ReplaceAll(data, []byte(recordMagic), make([]byte, len(recordMagic))))
	s := open(t, mem, "store")
	if missing := s.Summary().Missing; len(missing) != 1 || missing[0].Segment != path.Base(name) {
		t.Fatalf("missing: %+v", missing)
	}
	receipt, err := s.Erase(t.Context(), "ann", EraseOptions{})
	for worked := true; worked && err == nil; {
		worked, err = s.EraseStep(t.Context())
	}
	if err == nil {
		receipt, err = s.Receipt(receipt.ID)
	}
	if err != nil || receipt.State != "done" || !slices.Equal(receipt.Removed, []string{path.Base(name)}) {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
	for left := range filesOf(t, mem, "store") {
		if strings.HasSuffix(left, walSuffix) {
			t.Errorf("%s is still there", left)
		}
	}
}

// A file that is missing when the pool opens it again is damage like any other:
// the rest is read, and written to.
func TestMissingWhenOpenedAgain(t *testing.T) {
	for name, use := range map[string]func(s *Store) error{
		"query": func(s *Store) error {
			snap, err := s.Snapshot()
			if err != nil {
				return err
			}
			defer snap.Release()
			if _, err := snap.Customers(); !s.SetAside(err) {
				return fmt.Errorf("not set aside: %w", err)
			}
			return nil
		},
		"verify": func(s *Store) error {
			snap, err := s.Snapshot()
			if err != nil {
				return err
			}
			defer snap.Release()
			if err := snap.Verify(t.Context()); !s.SetAside(err) {
				return fmt.Errorf("not set aside: %w", err)
			}
			return nil
		},
		"append with an id": func(s *Store) error {
			e := view("ann", 5)
			e.ID = "new"
			_, err := s.Append(t.Context(), batchOf([]event.Event{e}), AppendOptions{})
			return err
		},
		"append as a row": func(s *Store) error {
			_, err := s.Append(t.Context(), batchOf(rows(view("ann", 0))), AppendOptions{})
			return err
		},
		"compact": func(s *Store) error {
			appendEvents(t, s, AppendOptions{}, view("ann", 1))
			return s.Compact(t.Context())
		},
		"erase": func(s *Store) error { _, err := s.Erase(t.Context(), "ann", EraseOptions{}); return err },
	} {
		mem, files := runs(t, 3)
		opt := small(mem)
		opt.segmentsOpen = 1
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := mem.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		if err := use(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m := s.Summary().Missing; len(m) != 1 || "store/"+m[0].Segment != files[0] || !strings.Contains(m[0].Reason, "missing") {
			t.Errorf("%s: missing are %+v", name, m)
		}
		kill(s)
	}
}

// unmounted is a file system that may be taken away.
type unmounted struct {
	*vfs.Mem
	how string
}

func (f *unmounted) Open(name string) (vfs.File, error) {
	if f.how != "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.Mem.Open(name)
}

func (f *unmounted) ReadDir(name string) ([]string, error) {
	switch f.how {
	case "no folder":
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	case "an empty folder":
		return nil, nil
	}
	return f.Mem.ReadDir(name)
}

// Where the whole store is out of reach, nothing of it is set aside.
func TestNothingIsSetAsideWithoutTheFolder(t *testing.T) {
	for _, how := range []string{"no folder", "an empty folder"} {
		mem, _ := runs(t, 3)
		disk := &unmounted{Mem: mem}
		opt := small(disk)
		opt.segmentsOpen, opt.CacheBytes = 1, -1
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		before := contents(t, s)
		disk.how = how
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := snap.Verify(t.Context()); !isNotExist(err) || errors.Is(err, ErrCorrupt) || s.SetAside(err) {
			t.Errorf("%s: a query is told %v", how, err)
		}
		snap.Release()
		e := view("ann", 5)
		e.ID = "new"
		if _, err := s.Append(t.Context(), batchOf([]event.Event{e}), AppendOptions{}); !isNotExist(err) {
			t.Errorf("%s: append: %v", how, err)
		}
		disk.how = ""
		if m := s.Summary().Missing; len(m) > 0 || contents(t, s) != before {
			t.Errorf("%s: missing are %+v", how, m)
		}
		kill(s)
	}
}

// A query that reads a file which another one has set aside meanwhile is told of
// damage, also where the pool had closed the file: it is tried again.
func TestHeldWhileSetAside(t *testing.T) {
	for _, segmentsOpen := range []int{1, 256} {
		mem, files := runs(t, 3)
		flip(t, mem, files[0])
		opt := small(mem)
		opt.segmentsOpen, opt.CacheBytes = segmentsOpen, -1
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		held, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = snap.Customers(); !s.SetAside(err) {
			t.Fatal(err)
		}
		snap.Release()
		contents(t, s) // the pool closes what was moved
		if _, err := held.Customers(); !s.SetAside(err) {
			t.Errorf("of %d segments open: not tried again: %v", segmentsOpen, err)
		}
		if m := s.Summary().Missing; len(m) != 1 {
			t.Errorf("of %d segments open: missing are %+v", segmentsOpen, m)
		}
		held.Release()
		kill(s)
	}
}

// A link or a pipe in the place of a file is damage of that file: a check names it,
// and the rest answers.
func TestWhatIsNoFile(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	s := open(t, vfs.OS{}, made)
	appendEvents(t, s, AppendOptions{}, view("ann", 1))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("bob", 1))
	all := s.Status().Events
	kill(s)
	const leftover = "000099.seg" // of work that did not finish
	if err := os.WriteFile(filepath.Join(made, leftover), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, put := range map[string]func(name, moved string) error{
		"a symbolic link, which is not followed": func(name, moved string) error { return os.Symlink(moved, name) },
		"a device, a pipe or a socket":           func(name, _ string) error { return unix.Mkfifo(name, 0o600) },
	} {
		entries, err := os.ReadDir(made)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == lockName || e.Name() == ballastName {
				continue
			}
			dir := filepath.Join(t.TempDir(), "store")
			name, moved := filepath.Join(dir, e.Name()), dir+".moved"
			if err := errors.Join(os.CopyFS(dir, os.DirFS(made)), os.Rename(name, moved), put(name, moved)); err != nil {
				t.Fatal(err)
			}
			lost := !strings.HasPrefix(e.Name(), manifestPrefix) && e.Name() != leftover
			for _, readOnly := range []bool{true, false} {
				opt := small(vfs.OS{})
				opt.ReadOnly = readOnly
				s, err := Open(dir, opt)
				if err != nil {
					t.Errorf("%s is %s, read only: %v: %v", e.Name(), kind, readOnly, err)
					continue
				}
				report, err := s.Check(t.Context())
				found := fmt.Sprint(report.Damaged)
				want := lost || readOnly && e.Name() != leftover // a writer has mended a manifest by now
				if err != nil || want != (len(report.Damaged) == 1) || want != strings.HasPrefix(found, "[{"+e.Name()) || want != strings.HasSuffix(found, e.Name()+" is "+kind+"}]") {
					t.Errorf("%s is %s, read only: %v: a check finds %s, %v", e.Name(), kind, readOnly, found, err)
				}
				if n := s.Status().Events; lost != (n < all) || lost != (len(s.missingData()) == 1) {
					t.Errorf("%s is %s, read only: %v: %d events of %d, missing %v", e.Name(), kind, readOnly, n, all, s.missingData())
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
