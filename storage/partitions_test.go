package storage

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
)

// fewFiles is a file system of which a process may have few files open.
type fewFiles struct {
	*vfs.Mem
	most int

	mu     sync.Mutex
	open   int
	made   map[string]bool // segments that are being written
	writes int             // the most of them at once
	refuse int             // segments that cannot be begun although there is room
}

func (f *fewFiles) count(name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open >= f.most || f.refuse > 0 && strings.HasSuffix(name, ".seg.tmp") {
		f.refuse--
		return nil, fmt.Errorf("open %s: %w", name, syscall.EMFILE)
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	f.open++
	return &fewFile{file, f, name}, nil
}

func (f *fewFiles) Create(name string) (vfs.File, error) {
	file, err := f.count(name, f.Mem.Create)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && strings.HasSuffix(name, ".seg.tmp") {
		f.made[name] = true
		f.writes = max(f.writes, len(f.made))
	}
	return file, err
}

func (f *fewFiles) Open(name string) (vfs.File, error) { return f.count(name, f.Mem.Open) }

func (f *fewFiles) OpenAppend(name string) (vfs.File, error) { return f.count(name, f.Mem.OpenAppend) }

type fewFile struct {
	vfs.File
	of   *fewFiles
	name string
}

func (f *fewFile) Close() error {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.open--
	delete(f.of.made, f.name)
	return f.File.Close()
}

// everyMonth is events of a few customers in each of so many months.
func everyMonth(months, round int) []event.Event {
	var list []event.Event
	for i := range months {
		for c := range monthCustomers {
			e := view(fmt.Sprint("c", c), 0, event.Prop{Name: "n", Value: event.Integer(int64(round))})
			e.Time = event.At(time.Date(2029, time.December-time.Month(i), 1, 0, 0, round, 0, time.UTC))
			list = append(list, e)
		}
	}
	return list
}

const monthCustomers = 5

// Events of far more partitions than there may be files open are taken, written,
// merged and read, a few files at a time.
func TestFewOpenFiles(t *testing.T) {
	const often = 30 // months that have events of enough batches to be merged
	for _, how := range []struct {
		name   string
		set    func(*Options)
		write  func(s *Store, events []event.Event)
		months int // that have events
		files  int // of a month and a batch, at most
	}{
		{"batches", func(o *Options) { o.MemtableEvents = 1 << 20 }, func(s *Store, events []event.Event) {
			appendEvents(t, s, AppendOptions{}, events...)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, 3000, 1},
		{"loads", func(*Options) {}, func(s *Store, events []event.Event) { loadEvents(t, s, events...) }, 300, 1},
		{"loads of which little is held", func(o *Options) { o.ChunkRows = 100 }, func(s *Store, events []event.Event) {
			loadEvents(t, s, events...)
		}, 300, monthCustomers},
	} {
		t.Run(how.name, func(t *testing.T) {
			months := how.months
			if testing.Short() {
				months /= 5
			}
			fs := &fewFiles{Mem: vfs.NewMem(), most: 100, made: map[string]bool{}}
			opt := small(fs)
			opt.SegmentRows, opt.ChunkRows, opt.MemtableEvents = 0, 0, 0
			opt.BlockCustomers = 1 // several blocks of each month
			how.set(&opt)
			s, err := Open("store", opt)
			if err != nil {
				t.Fatal(err)
			}
			how.write(s, everyMonth(months, 0))
			if n := len(s.state().segments); n < months || n > how.files*months || how.files > 1 && n == months {
				t.Fatalf("there are %d segments of %d partitions", n, months)
			}
			for round := range tierRuns {
				how.write(s, everyMonth(often, round+1))
			}
			if limit := s.opt.outputsOpen(); fs.writes > limit+1 {
				t.Errorf("%d files were written at once", fs.writes)
			}
			before := contents(t, s)
			if n, want := strings.Count(before, "\n"), monthCustomers*(months+tierRuns*often); n < want {
				t.Errorf("there are %d events of %d", n, want)
			}
			for worked := true; worked; {
				if worked, err = s.CompactStep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, runs := range s.runsByPartition() {
				if len(runs) >= tierRuns {
					t.Fatalf("merged, partition %d has %d runs", runs[0].partition, len(runs))
				}
			}
			if contents(t, s) != before {
				t.Error("merged, the events are others")
			}
			reader, err := Open("store", Options{FS: fs, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			if contents(t, reader) != before {
				t.Error("a reader finds other events")
			}
			for _, s := range []*Store{reader, s} {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if fs.open != 0 {
				t.Errorf("%d files stay open", fs.open)
			}
		})
	}
}

// Where a flush fails because too many files are open, merges go on: they are
// what leaves fewer.
func TestMergesWhereFlushesFindTooManyFilesOpen(t *testing.T) {
	fs := &fewFiles{Mem: vfs.NewMem(), most: 100, made: map[string]bool{}}
	s := open(t, fs, "store")
	for round := range tierRuns {
		appendEvents(t, s, AppendOptions{}, everyMonth(1, round)...)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.opt.MemtableEvents = 1 << 20
	appendEvents(t, s, AppendOptions{}, everyMonth(50, tierRuns)...)
	s.opt.MemtableEvents = 1
	before := contents(t, s)
	fs.refuse = 1
	if worked, err := s.CompactStep(t.Context()); !worked || err != nil || len(s.state().segments) != 1 {
		t.Errorf("a step that could not flush worked %v and left %d segments: %v", worked, len(s.state().segments), err)
	}
	fs.refuse = 1
	if worked, err := s.CompactStep(t.Context()); worked || !vfs.TooManyOpen(err) {
		t.Errorf("with nothing to merge it worked %v: %v", worked, err)
	}
	if worked, err := s.CompactStep(t.Context()); !worked || err != nil || len(s.state().segments) < 51 {
		t.Errorf("with files to be had it worked %v and left %d segments: %v", worked, len(s.state().segments), err)
	}
	if contents(t, s) != before {
		t.Error("the events are others")
	}
}

// Where the store's own open segments leave too few files for what is to be
// written, they are closed: the next try succeeds.
func TestWritesWhereSegmentsTakeAllFiles(t *testing.T) {
	for name, write := range map[string]func(s *Store) error{
		"erase": func(s *Store) error { _, err := s.EraseStep(t.Context()); return err },
		"load": func(s *Store) error {
			l, err := s.NewLoad(t.Context(), LoadOptions{})
			if err != nil {
				return err
			}
			if err := l.Add(batchOf([]event.Event{view("carl", 0)})); err != nil {
				return err
			}
			_, err = l.Commit(t.Context())
			return err
		},
	} {
		fs := &fewFiles{Mem: vfs.NewMem(), most: 1000, made: map[string]bool{}}
		s := open(t, fs, "store")
		for i := range 20 {
			appendEvents(t, s, AppendOptions{}, view("ann", 40*24*60*i), view("bob", 40*24*60*i))
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.EraseStep(t.Context()); err != nil { // which gives up the log
			t.Fatal(err)
		}
		fs.most = fs.open
		if err := write(s); !vfs.TooManyOpen(err) {
			t.Errorf("%s: the first try: %v", name, err)
		}
		if err := write(s); err != nil {
			t.Errorf("%s: the second try: %v", name, err)
		}
	}
}

// A reader whose segments take all the files that it may have open closes some to
// see the newest state.
func TestRefreshWhereSegmentsTakeAllFiles(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, mem, "store")
	put := func(i int) {
		appendEvents(t, w, AppendOptions{}, view("ann", 40*24*60*i))
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(i)
	}
	fs := &fewFiles{Mem: mem, most: 1000, made: map[string]bool{}}
	s, err := Open("store", Options{FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	contents(t, s)
	fs.most = fs.open
	put(20)
	if err := s.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s); strings.Count(got, "\n") != 21 || len(s.missingData()) > 0 {
		t.Errorf("there are %d events, missing %v", strings.Count(got, "\n"), s.missingData())
	}
}
