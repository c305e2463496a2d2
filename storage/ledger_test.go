package storage

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wend/event"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// A store that goes on with the ledger it wrote sees what became of the file
// meanwhile: its own entries are all there after the next erasure, and so are
// those that only the file has.
func TestLedgerGoesOn(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		meanwhile string
		change    func(fsys vfs.FS, name string, before []byte) error
		others    int // entries of somebody else
	}{
		{meanwhile: "nothing", change: func(vfs.FS, string, []byte) error { return nil }},
		{meanwhile: "it is removed", change: func(fsys vfs.FS, name string, _ []byte) error { return fsys.Remove(name) }},
		{meanwhile: "it is put back as it was", change: func(fsys vfs.FS, name string, before []byte) error { return writeFile(fsys, name, before) }},
		{meanwhile: "it is damaged", change: func(fsys vfs.FS, name string, before []byte) error {
			return writeFile(fsys, name, before[:len(before)-9])
		}},
		{meanwhile: "a copy of the store erases, too", others: 1, change: func(fsys vfs.FS, name string, before []byte) error {
			l, err := parseLedger(before)
			if err != nil {
				return err
			}
			l.Entries = append(l.Entries, LedgerEntry{Number: 2, ID: "another", After: Allow.String()})
			if before, err = l.encode(); err != nil {
				return err
			}
			return writeFile(fsys, name, before)
		}},
	} {
		t.Run(c.meanwhile, func(t *testing.T) {
			mem := simfs.New(simfs.Strict)
			s, err := Open("data/store", Options{FS: mem})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var ids []string
			erase := func(customer string) {
				receipt, err := s.Erase(ctx, customer, EraseOptions{})
				if err != nil || len(receipt.Warnings) > 0 {
					t.Fatalf("%+v, %v", receipt, err)
				}
				ids = append(ids, receipt.ID)
			}
			name := LedgerPath("data/store")
			erase("ann")
			before, err := vfs.ReadFile(mem, name)
			if err != nil {
				t.Fatal(err)
			}
			erase("bob")
			if err := c.change(mem, name, before); err != nil {
				t.Fatal(err)
			}
			erase("cyn")
			erase("dan")
			l, err := ReadLedger(mem, name)
			if err != nil {
				t.Fatal(err)
			}
			entries := l.ids()
			if lost := slices.DeleteFunc(ids, func(id string) bool { return entries[id] }); len(lost) > 0 || len(l.Entries) != 4+c.others {
				t.Errorf("%v are not in the ledger: %+v", lost, l.Entries)
			}
		})
	}
}

// An older copy that took events before its ledger was found is not erased
// unasked: what its customers did since was acknowledged.
func TestOlderCopyThatWentOn(t *testing.T) {
	mem, name := simfs.New(simfs.Strict), LedgerPath("data/store")
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	opt := Options{FS: mem, Clock: func() time.Time { return now }}
	opened := func(opt Options) *Store {
		t.Helper()
		s, err := Open("data/store", opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := opened(opt)
	appendEvents(t, s, AppendOptions{Durability: Sync}, view("zoe", 1), view("bob", 1))
	before := mem.Files()
	now = now.Add(time.Hour)
	if _, err := s.Erase(t.Context(), "zoe", EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	ledger := mem.Files()[name]
	kill(s)
	copied := func(files map[string][]byte) {
		mem = simfs.New(simfs.Strict)
		err := errors.Join(mem.MkdirAll("data/store"), mem.SyncDir("data"), mem.SyncDir("."))
		for name, data := range files {
			err = errors.Join(err, mem.Put(name, data))
		}
		if err != nil {
			t.Fatal(err)
		}
		opt.FS = mem
	}
	copied(before)
	now = now.Add(time.Hour)
	s = opened(opt)
	appendEvents(t, s, AppendOptions{Durability: Sync}, view("zoe", 2))
	kill(s)
	wentOn := mem.Files()
	delete(wentOn, name)

	for _, flushed := range []bool{false, true} {
		if flushed { // what came since is in a segment
			copied(wentOn)
			s = opened(opt)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wentOn = mem.Files()
		}
		wentOn[name] = ledger
		copied(wentOn)
		_, err := Open("data/store", opt)
		if err == nil || !strings.Contains(err.Error(), "move "+name+" away") || !strings.Contains(err.Error(), "wend check data/store --erase-again") {
			t.Fatalf("opened for writing: %v", err)
		}
		reading, asked := opt, opt
		reading.ReadOnly, asked.EraseAgain = true, true
		for _, c := range []struct {
			opt  Options
			zoe  bool
			move bool
		}{{opt: reading}, {opt: asked}, {opt: opt, zoe: true, move: true}} {
			copied(wentOn)
			c.opt.FS = mem
			if c.move {
				if err := mem.Rename(name, name+".away"); err != nil {
					t.Fatal(err)
				}
			}
			s := opened(c.opt)
			if got := contents(t, s); strings.Contains(got, "zoe") != c.zoe || !strings.Contains(got, "bob") {
				t.Errorf("flushed %v, asked %v, read only %v: the store has\n%s", flushed, c.opt.EraseAgain, c.opt.ReadOnly, got)
			}
			kill(s)
		}
		delete(wentOn, name)
	}
}

// lockedFS has a file that may not be read.
type lockedFS struct {
	*vfs.Mem
	name string
}

func (f lockedFS) Open(name string) (vfs.File, error) {
	if name == f.name {
		return nil, syscall.EACCES
	}
	return f.Mem.Open(name)
}

// Of a damaged ledger counts what is sound, and the file is kept. One that cannot
// be read keeps writers out.
func TestOlderCopyOfAClockBefore1970(t *testing.T) {
	mem := vfs.NewMem()
	now := time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
	opt := small(mem)
	opt.Clock = func() time.Time { now = now.Add(time.Second); return now }
	opened := func() *Store {
		t.Helper()
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := opened()
	appendEvents(t, s, AppendOptions{}, event.Event{Customer: "ann", Time: event.At(now.AddDate(-1, 0, 0)), Name: "view"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	older := filesOf(t, mem, "store")
	s = opened()
	if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name := range filesOf(t, mem, "store") {
		if err := mem.Remove("store/" + name); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range older {
		if err := writeFile(mem, "store/"+name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	s = opened()
	defer s.Close()
	if got := contents(t, s); got != "" {
		t.Errorf("the copy has\n%s", got)
	}
}

func TestDamagedLedger(t *testing.T) {
	mem, name := vfs.NewMem(), LedgerPath("store")
	s := open(t, mem, "store")
	loadEvents(t, s, view("zoe", 1), view("bob", 1), view("cid", 1))
	before := mem.Clone()
	for _, who := range []string{"zoe", "bob"} {
		if _, err := s.Erase(t.Context(), who, EraseOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ledger, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(ledger), "\n")
	entry := len(ledger) - len(lines[len(lines)-2]) - 9
	for what, damaged := range map[string][]byte{
		"a byte of the last entry": slices.Concat(ledger[:entry], []byte("#"), ledger[entry+1:]),
		"the end is missing":       ledger[:entry],
	} {
		copied := before.Clone()
		if err := writeFile(copied, name, damaged); err != nil {
			t.Fatal(err)
		}
		reading := small(copied)
		reading.ReadOnly = true
		for _, opt := range []Options{reading, small(copied)} {
			s, err := Open("store", opt)
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(t, s); strings.Contains(got, "zoe") || !strings.Contains(got, "bob") {
				t.Errorf("%s, read only %v: the store has\n%s", what, opt.ReadOnly, got)
			}
			kill(s)
		}
		if kept, err := vfs.ReadFile(copied, name+".damaged"); err != nil || !slices.Equal(kept, damaged) {
			t.Errorf("%s: the damaged file is not kept: %q, %v", what, kept, err)
		}
		if l, err := ReadLedger(copied, name); err != nil || len(l.Entries) != 1 {
			t.Errorf("%s: the ledger is %+v, %v", what, l, err)
		}
	}
	opt := small(lockedFS{before, name})
	if _, err := Open("store", opt); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a ledger that cannot be read: %v", err)
	}
	opt.ReadOnly = true
	if s, err := Open("store", opt); err != nil {
		t.Errorf("only reading: %v", err)
	} else {
		kill(s)
	}
}
