package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// past is a store with a past: whatever an edit can say was said. Its events
// are named by their ids.
type past struct {
	t     testing.TB
	fs    *simfs.FS
	s     *Store
	n     int
	shown map[string]bool   // events that the store shows
	gone  map[string]string // those that it does not: the import, "erased", or "old"
	links []Link
	files map[string][]byte // segments that were removed

	who         map[string]string // whose an event is
	tokens      []string
	definitions int
}

func (p *past) options() Options {
	opt := small(nil)
	opt.FS = p.fs
	return opt
}

func (p *past) must(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Fatal(err)
	}
}

// events makes n events of each customer, in the months after a year's beginning.
func (p *past) events(year, n int, customers ...string) (list []event.Event) {
	for i := range n {
		for _, c := range customers {
			p.n++
			p.who[fmt.Sprint("e", p.n)] = c
			list = append(list, event.Event{
				Customer: c, ID: fmt.Sprint("e", p.n), Name: []string{"view", "buy"}[p.n%2], Channel: []string{"", "ads"}[p.n/2%2],
				Time:  event.At(time.Date(year, time.Month(1+i%3), 2, 3, p.n%60, 0, 0, time.UTC)),
				Props: []event.Prop{{Name: "value", Value: event.Integer(int64(p.n))}, {Name: "of", Value: event.String(c)}},
			})
		}
	}
	return list
}

func (p *past) append(list []event.Event, opt AppendOptions) {
	_, err := p.s.Append(context.Background(), batchOf(list), opt)
	p.must(err)
	for _, e := range list {
		p.shown[e.ID] = true
	}
	if opt.Token != "" {
		p.tokens = append(p.tokens, opt.Token)
	}
}

func (p *past) load(list []event.Event) string {
	l, err := p.s.NewLoad(context.Background(), LoadOptions{Source: "test.csv"})
	p.must(err)
	p.must(l.Add(batchOf(list)))
	res, err := l.Commit(context.Background())
	p.must(err)
	for _, e := range list {
		p.shown[e.ID] = true
	}
	return res.ImportID
}

func (p *past) hide(list []event.Event, why string) {
	for _, e := range list {
		delete(p.shown, e.ID)
		p.gone[e.ID] = why
	}
}

// begin makes the store, and notes the segments that are removed.
func begin(t testing.TB) *past {
	p := &past{t: t, fs: simfs.New(simfs.Strict), shown: map[string]bool{}, gone: map[string]string{}, files: map[string][]byte{}, who: map[string]string{}}
	p.fs.Hook = func(op *simfs.Op, after bool) {
		if data, there := p.fs.Files()[op.Name]; there && !after && op.Kind == simfs.Remove && strings.HasSuffix(op.Name, ".seg") {
			p.files[op.Name] = data
		}
	}
	var err error
	p.s, err = Open("data/store", p.options())
	p.must(err)
	return p
}

// end stops it as a power failure does that loses nothing.
func (p *past) end() {
	p.links = p.s.Links()
	kill(p.s)
	p.fs.Hook = nil
	p.fs = p.fs.Kill()
}

// newPast lives through it; erased says how far the erasure at its end has
// come: 0, nobody was erased; 1, it was asked for; 2, it is done.
func newPast(t testing.TB, erased int) *past {
	ctx := context.Background()
	p := begin(t)
	p.append(p.events(2024, 3, "ann", "bob"), AppendOptions{Token: "one"})
	p.must(p.s.Flush(ctx))
	var err error
	old := p.events(2018, 2, "ann", "bob", "cid")
	p.load(old)
	first := p.events(2024, 4, "bob", "dan")
	id := p.load(first)
	_, err = p.s.Undo(ctx, id)
	p.must(err)
	p.hide(first, id)
	p.must(p.s.Link(ctx, "ann", "anna"))
	_, err = p.s.Define(ctx, event.Definition{Kind: "stage", Name: "a", Text: "define stage a as view"})
	p.must(err)
	p.definitions = 1
	p.append(p.events(2025, 3, "ann", "eve"), AppendOptions{Token: "two"})
	zoe := p.events(2025, 4, "zoe")
	p.append(zoe, AppendOptions{})
	p.must(p.s.Flush(ctx))
	p.must(p.s.Compact(ctx))
	second := p.events(2026, 2, "eve", "fay")
	id = p.load(second)
	_, err = p.s.Undo(ctx, id)
	p.must(err)
	p.hide(second, id)
	p.s.opt.Retention = 10 * 365 * 24 * time.Hour
	p.s.retaining.trust(p.s.now(), 0)
	p.must(p.s.retain(ctx))
	p.hide(old, "old")
	p.append(p.events(2027, 2, "ann", "gus"), AppendOptions{Token: "three"})
	p.must(p.s.Flush(ctx))
	if erased > 0 {
		_, err = p.s.Erase(ctx, "zoe", EraseOptions{})
		p.must(err)
		p.hide(zoe, "erased")
	}
	for worked := erased > 1; worked; {
		worked, err = p.s.EraseStep(ctx)
		p.must(err)
	}
	p.must(p.s.Link(ctx, "gus", "gustav"))
	p.append(p.events(2028, 2, "zoe2", "gus"), AppendOptions{Token: "four"})
	p.must(p.s.Flush(ctx))
	p.append(p.events(2028, 1, "hal"), AppendOptions{Token: "five"})
	p.end()
	return p
}

// manifest is the name of the newest manifest.
func (p *past) manifest() string {
	names, err := p.fs.ReadDir("data/store")
	p.must(err)
	return path.Join("data/store", manifestName(newestManifest(names)))
}

// edits lists where the edits of a manifest begin, and its end.
func edits(data []byte) (at []int) {
	for i := range data {
		if strings.HasPrefix(string(data[i:]), editMagic) {
			at = append(at, i)
		}
	}
	return append(at, len(data))
}

// read lists the events that a store shows. Twice is too often.
func (p *past) read(s *Store) (map[string]bool, error) {
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	got := map[string]bool{}
	id := regexp.MustCompile(` id="(e\d+)"`)
	for _, lines := range everything(p.t.(*testing.T), snap) {
		for _, l := range lines {
			m := id.FindStringSubmatch(l)
			if got[m[1]] {
				return nil, fmt.Errorf("%s is shown twice", m[1])
			}
			got[m[1]] = true
		}
	}
	return got, nil
}

// fits holds a repaired store against the past. What differs must have been
// told: lost names words of what the repair says cannot be known.
func (p *past) fits(s *Store, done Repaired) error {
	got, err := p.read(s)
	if err != nil {
		return err
	}
	told := strings.Join(done.Unknown, "\n")
	for id := range p.shown {
		if !got[id] && len(s.missingData()) == 0 && !strings.Contains(told, "no file holds") {
			return fmt.Errorf("%s is not shown, and nobody says so", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		why, gone := p.gone[id]
		switch {
		case !gone && !p.shown[id]:
			return fmt.Errorf("%s was never there", id)
		case why == "erased":
			return fmt.Errorf("%s is shown, and its customer was erased", id)
		case why == "old" && !strings.Contains(told, "how far retention had gone"),
			gone && why != "old" && !(strings.Contains(told, "whether an import was taken back") && strings.Contains(told, why)):
			return fmt.Errorf("%s is shown (%s), and nobody says that it may be", id, why)
		}
	}
	if links := s.Links(); !slices.Equal(links, p.links) && !strings.Contains(told, "links that were made") {
		return fmt.Errorf("links are %v, and nobody says that they may be others than %v", links, p.links)
	}
	if n := s.Summary().Definitions; n != p.definitions && !strings.Contains(told, "definitions:") {
		return fmt.Errorf("there are %d definitions, and nobody says that some may be missing", n)
	}
	for _, token := range p.tokens {
		if _, known := s.token(token); !known && !strings.Contains(told, "sent again") {
			return fmt.Errorf("the answer to batch %q is gone, and nobody says so", token)
		}
	}
	report, err := s.Check(context.Background())
	if err != nil {
		return err
	}
	for _, d := range report.Damaged {
		if !slices.ContainsFunc(s.missingData(), func(m Missing) bool { return m.Segment == d.File }) {
			return fmt.Errorf("check finds %+v", d)
		}
	}
	return nil
}

// lives goes on with a repaired store: what is new has numbers that nothing had.
func (p *past) lives(s *Store) error {
	ctx := context.Background()
	names, err := p.fs.ReadDir("data/store")
	if err != nil {
		return err
	}
	before, err := p.read(s)
	if err != nil {
		return err
	}
	for range 2 {
		more := p.events(2029, 2, "new", "ann")
		if _, err := s.Append(ctx, batchOf(more), AppendOptions{}); err != nil {
			return err
		}
		for _, e := range more {
			before[e.ID] = true
		}
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	after, err := p.fs.ReadDir("data/store")
	if err != nil {
		return err
	}
	for _, r := range s.state().segments[max(0, len(s.state().segments)-2):] {
		if r.ID < maxNumber(names) && !slices.Contains(names, r.file()) {
			return fmt.Errorf("%s is new, among %v; now there are %v", r.file(), names, after)
		}
	}
	if err := s.Compact(ctx); err != nil {
		return err
	}
	got, err := p.read(s)
	if err == nil && !maps.Equal(got, before) {
		err = fmt.Errorf("after some more batches and a compaction it shows %d events, want %d", len(got), len(before))
	}
	return err
}

func maxNumber(names []string) (most uint64) {
	for _, name := range names {
		if n, ok := fileNumber(name); ok {
			most = max(most, n)
		}
	}
	return most
}

// repaired repairs a damaged store and holds it against the past.
func (p *past) repaired() (Repaired, error) {
	ctx := context.Background()
	if s, err := Open("data/store", p.options()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "wend repair") {
		if err == nil {
			kill(s)
		}
		return Repaired{}, fmt.Errorf("opened before it is repaired: %v", err)
	}
	before := p.fs.StateHash()
	plan, err := Repair(ctx, "data/store", p.options(), RepairOptions{})
	if err != nil {
		return plan, err
	}
	if p.fs.StateHash() != before {
		return plan, errors.New("looking changed something")
	}
	done, err := Repair(ctx, "data/store", p.options(), RepairOptions{Write: true})
	if err != nil {
		return done, err
	}
	s, err := Open("data/store", p.options())
	if err != nil {
		return done, fmt.Errorf("open when it is repaired: %w", err)
	}
	defer func() { kill(s) }()
	if n := s.Summary().Events; n != plan.Events || plan.Events != done.Events {
		return done, fmt.Errorf("%d events, it was to have %d", n, plan.Events)
	}
	if err := p.fits(s, done); err != nil {
		return done, err
	}
	if err := p.lives(s); err != nil {
		return done, err
	}
	kill(s)
	if s, err = Open("data/store", p.options()); err != nil {
		return done, err
	}
	again, err := Repair(ctx, "data/store", p.options(), RepairOptions{})
	if err != nil || !again.Sound {
		return done, fmt.Errorf("repaired again: %+v, %v", again, err)
	}
	return done, nil
}

// copyOf is the past with files of its own.
func (p *past) copyOf(t *testing.T) *past {
	c := *p
	c.t, c.fs = t, p.fs.Kill()
	return &c
}

// TestRepair is promise P6 for the manifest: whichever edit is damaged in both
// its files, the repaired store shows what it showed before, or less and says
// what, and nothing twice, nor anybody who was erased.
func TestRepair(t *testing.T) {
	cases, missing, whole := 0, 0, 0
	for erased, story := range []string{"nobody erased", "an erasure begun", "an erasure done"} {
		p := newPast(t, erased)
		name := p.manifest()
		data, err := vfs.ReadFile(p.fs, name)
		p.must(err)
		at := edits(data)
		flip := func(p *past, file string, k int) {
			p.must(p.fs.Edit(file, func(b []byte) []byte { b[at[k]+editHeader+3] ^= 1; return b }))
		}
		remove := func(p *past, files ...string) {
			for _, file := range files {
				p.must(p.fs.Remove(file))
			}
			p.must(p.fs.SyncDir("data/store"))
		}
		damages := []struct {
			name string
			do   func(p *past, k int)
		}{
			{"edit %d of both files", func(p *past, k int) { flip(p, name, k); flip(p, name+copySuffix, k) }},
			{"edit %d and no copy", func(p *past, k int) { flip(p, name, k); remove(p, name+copySuffix) }},
			{"edit %d and an empty copy", func(p *past, k int) { flip(p, name, k); p.must(p.fs.Put(name+copySuffix, []byte{})) }},
			{"edits %d and the next of both files", func(p *past, k int) {
				for i := range at[k:min(k+2, len(at)-1)] {
					flip(p, name, k+i)
					flip(p, name+copySuffix, k+i)
				}
			}},
			{"edits from %d on of both files", func(p *past, k int) {
				for i := range at[k : len(at)-1] {
					flip(p, name, k+i)
					flip(p, name+copySuffix, k+i)
				}
			}},
			{"edit %d of one file, the header of the other", func(p *past, k int) {
				flip(p, name, k)
				p.must(p.fs.Edit(name+copySuffix, func(b []byte) []byte { clear(b[:at[k]+20]); return b }))
			}},
			{"no manifest (%d)", func(p *past, k int) { remove(p, name, name+copySuffix) }},
		}
		for _, back := range []bool{false, true} {
			if back && erased == 2 {
				continue // when an erasure is done, what it removed is gone for good
			}
			for _, d := range damages {
				for k := range len(at) - 1 {
					if strings.HasPrefix(d.name, "no") && k > 0 || testing.Short() && k%4 != 0 {
						continue
					}
					title := story + ", " + fmt.Sprintf(d.name, k)
					if back {
						title += ", removed segments are back"
					}
					t.Run(title, func(t *testing.T) {
						p := p.copyOf(t)
						if back {
							for file, data := range p.files {
								p.must(p.fs.Put(file, data))
							}
						}
						d.do(p, k)
						done, err := p.repaired()
						if err != nil {
							t.Fatalf("%v\n%s\n%+v", err, data[at[k]+editHeader:at[k+1]], done)
						}
						cases++
						missing += len(done.Missing)
						if len(done.Missing)+len(done.Unknown) == 0 {
							whole++
						}
					})
				}
			}
		}
	}
	trust.Report(t, "P6", "manifests repaired", cases, "nothing missing or in doubt", whole, "files named as missing", missing, "violations", 0)
}

// damaged flips a byte of an edit in both files.
func (p *past) damaged(k int) {
	name := p.manifest()
	data, err := vfs.ReadFile(p.fs, name)
	p.must(err)
	at := edits(data)[k] + editHeader + 3
	for _, file := range []string{name, name + copySuffix} {
		p.must(p.fs.Edit(file, func(b []byte) []byte { b[at] ^= 1; return b }))
	}
}

// editWith is the first edit of the manifest that has a text, -1 if none has it.
func (p *past) editWith(text string) int {
	data, err := vfs.ReadFile(p.fs, p.manifest())
	p.must(err)
	at := edits(data)
	return slices.IndexFunc(at[:len(at)-1], func(from int) bool {
		length := int(data[from+4]) | int(data[from+5])<<8
		return strings.Contains(string(data[from+editHeader:from+editHeader+length]), text)
	})
}

// An erasure whose edit is lost and that no ledger knows: where its number is
// all that is left, what it may concern is set aside; where an earlier one shows
// that there was a ledger, the repair asks for it. With the ledger it is done again.
func TestRepairOfLostErasures(t *testing.T) {
	ctx := t.Context()
	newStore := func(t *testing.T) (p *past, ledger []byte) {
		p = newPast(t, 0)
		var err error
		p.s, err = Open("data/store", p.options())
		p.must(err)
		for _, c := range []string{"nobody", "zoe"} {
			p.must(p.s.Link(ctx, "x", "y")) // so that the edit before can be read
			_, err := p.s.Erase(ctx, c, EraseOptions{})
			p.must(err)
		}
		for id := range p.shown { // zoe's are those that are shown no more
			p.gone[id] = "erased"
		}
		left, err := p.read(p.s)
		p.must(err)
		for id := range left {
			delete(p.gone, id)
		}
		p.shown = left
		p.links = p.s.Links()
		kill(p.s)
		p.fs = p.fs.Kill()
		name := LedgerPath("data/store")
		ledger = p.fs.Files()[name]
		p.must(errors.Join(p.fs.Remove(name), p.fs.SyncDir("data")))
		return p, ledger
	}
	t.Run("an earlier one is known", func(t *testing.T) {
		p, ledger := newStore(t)
		p.damaged(p.editWith(`"erase":[{"number":2`))
		if _, err := Repair(ctx, "data/store", p.options(), RepairOptions{Write: true}); !errors.Is(err, ErrNoLedger) {
			t.Fatalf("repaired without the ledger: %v", err)
		}
		p.must(p.fs.Put(LedgerPath("data/store"), []byte("not a ledger")))
		if _, err := Repair(ctx, "data/store", p.options(), RepairOptions{Write: true}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("repaired with a damaged ledger: %v", err)
		}
		p.must(p.fs.Put(LedgerPath("data/store"), ledger))
		done, err := p.repaired()
		if err != nil || done.Erased != 1 {
			t.Fatalf("%v\n%+v", err, done)
		}
	})
	t.Run("only its number is known", func(t *testing.T) {
		p, ledger := newStore(t)
		var err error
		opt := p.options()
		opt.Ledger = "data/elsewhere"
		p.must(p.fs.Put(opt.Ledger, ledger))
		p.s, err = Open("data/store", opt)
		p.must(err)
		more := p.events(2029, 2, "late") // its segment says that both erasures came before it
		p.append(more, AppendOptions{})
		p.must(p.s.Flush(ctx))
		kill(p.s)
		p.fs = p.fs.Kill()
		// The opening wrote the manifest anew: all but what came then is in its first edit.
		p.damaged(0)
		p.must(errors.Join(p.fs.Remove(opt.Ledger), p.fs.SyncDir("data")))
		done, err := Repair(ctx, "data/store", p.options(), RepairOptions{Write: true, WithoutLedger: true})
		p.must(err)
		s, err := Open("data/store", p.options())
		p.must(err)
		defer func() { kill(s) }()
		got, err := p.read(s)
		p.must(err)
		for id := range got {
			if p.gone[id] != "" {
				t.Errorf("%s is shown (%s)", id, p.gone[id])
			}
		}
		for _, e := range more {
			if !got[e.ID] {
				t.Errorf("%s came after the erasures and is not shown", e.ID)
			}
		}
		if len(done.Aside) == 0 || !strings.Contains(done.Aside[0].Reason, "erasure 2 may have taken rows out of it") {
			t.Errorf("set aside are %+v", done.Aside)
		}
	})
}

// flushesBeside does something when the first segment of a merge has its name.
type flushesBeside struct {
	*simfs.FS
	do func()
}

func (f *flushesBeside) Rename(from, to string) error {
	err := f.FS.Rename(from, to)
	if do := f.do; do != nil && strings.HasSuffix(to, ".seg") {
		f.do = nil
		do()
	}
	return err
}

// A repair takes what a merge wrote, of which the edit is lost, also where a flush
// beside it was published before.
func TestRepairOfAMergeWithAFlushBeside(t *testing.T) {
	p := begin(t)
	kill(p.s)
	fs := &flushesBeside{FS: p.fs}
	opt := p.options()
	opt.FS = fs
	var err error
	p.s, err = Open("data/store", opt)
	p.must(err)
	for range 3 {
		p.append(p.events(2024, 2, "ann", "bob"), AppendOptions{})
		p.must(p.s.Flush(t.Context()))
	}
	fs.do = func() {
		p.append(p.events(2025, 1, "ann", "bob"), AppendOptions{})
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		p.must(p.s.flush(t.Context()))
	}
	_, _, err = p.s.mergeSome(t.Context(), func(runs []runFiles) []runFiles {
		if len(runs) < 2 {
			return nil
		}
		return runs
	})
	p.must(err)
	p.end()
	data, err := vfs.ReadFile(p.fs, p.manifest())
	p.must(err)
	p.damaged(len(edits(data)) - 2)
	done, err := Repair(t.Context(), "data/store", p.options(), RepairOptions{Write: true})
	p.must(err)
	if fs.do != nil || int(done.Events) != len(p.shown) {
		t.Errorf("%d of %d events are left; missing %+v, replaced %v", done.Events, len(p.shown), done.Missing, done.Replaced)
	}
}

// Damage to the same edit of both files is none where one of them has the bytes
// that the other lacks.
func TestRepairJoinsAnEdit(t *testing.T) {
	p := newPast(t, 1)
	k := p.editWith(`"undo"`)
	name := p.manifest()
	data, err := vfs.ReadFile(p.fs, name)
	p.must(err)
	at := edits(data)[k]
	for i, file := range []string{name, name + copySuffix} {
		from := at + editHeader + 5*i
		p.must(p.fs.Edit(file, func(b []byte) []byte { clear(b[from : from+4]); return b }))
	}
	done, err := p.repaired()
	if err != nil || done.Restored != 1 || len(done.Lost)+len(done.Unknown)+len(done.Missing) > 0 {
		t.Fatalf("%v\n%+v", err, done)
	}
}

// Where the two files of a manifest are damaged in different ways, or both are cut,
// nobody takes what is left for all there was: the store is not opened, nothing
// of it is touched, and a repair finds the events. An end that is cut off from both
// is what a crash leaves, where segments do not tell of it.
func TestManifestDamagedInBothFiles(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	const loads = 5
	for i := range loads {
		loadEvents(t, s, view(fmt.Sprint("c", i), i))
	}
	for i := range 3 {
		if err := s.Link(t.Context(), fmt.Sprint("c", i), "c4"); err != nil {
			t.Fatal(err)
		}
	}
	all, name := contents(t, s), "store/"+manifestName(s.manifest.number)
	kill(s)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	at := edits(data) // where each begins, and where the last ends
	type change struct {
		what string
		do   func(b []byte) []byte
	}
	flip := func(k, place int) change {
		return change{fmt.Sprint("edit ", k, " flipped at ", place), func(b []byte) []byte { b[at[k]+place] ^= 1; return b }}
	}
	cut := func(k int) change {
		return change{fmt.Sprint("cut in edit ", k), func(b []byte) []byte { return b[:at[k]+editHeader+3] }}
	}
	last, refused := len(at)-2, 0
	for k := 1; k <= last; k++ {
		for j := 1; j <= last; j++ {
			for _, pair := range [][2]change{{flip(k, 0), cut(j)}, {flip(k, 6), cut(j)}, {flip(k, editHeader+3), cut(j)}, {cut(k), flip(j, editHeader+3)}, {cut(k), cut(j)}} {
				damaged := mem.Clone()
				for i, file := range []string{name, name + copySuffix} {
					replaceFile(t, damaged, file, pair[i].do(slices.Clone(data)))
				}
				before := filesOf(t, damaged, "store")
				opt := small(damaged)
				opt.ReadOnly = true
				r, reading := Open("store", opt)
				if reading == nil {
					kill(r)
				}
				opt.ReadOnly = false
				w, err := Open("store", opt)
				if err == nil {
					got := contents(t, w)
					cutAlike := strings.HasPrefix(pair[0].what, "cut") && strings.HasPrefix(pair[1].what, "cut")
					if got != all && !(cutAlike && strings.Count(got, "\n") >= loads-1) || reading != nil {
						t.Errorf("%s, the copy %s: opened with %v\n%s", pair[0].what, pair[1].what, reading, got)
					}
					kill(w)
					continue
				}
				if refused++; !errors.Is(err, ErrCorrupt) || !errors.Is(reading, ErrCorrupt) || !maps.Equal(before, filesOf(t, damaged, "store")) {
					t.Errorf("%s, the copy %s: %v, and for reading %v", pair[0].what, pair[1].what, err, reading)
				}
				if _, err := Repair(t.Context(), "store", opt, RepairOptions{Write: true, WithoutLedger: true}); err != nil {
					t.Fatal(err)
				}
				w, err = Open("store", opt)
				if err != nil {
					t.Fatal(err)
				}
				if got := contents(t, w); strings.Count(got, "\n") != loads {
					t.Errorf("%s, the copy %s: repaired it has\n%s", pair[0].what, pair[1].what, got)
				}
				kill(w)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// A repair refuses what is not its to repair, and touches nothing of it.
func TestRepairRefuses(t *testing.T) {
	newer := func(b []byte) []byte { // a header of a version to come, with its checksum
		b[7] = '9'
		binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
		return b
	}
	for _, x := range []struct {
		name   string
		change func(p *past)
		want   error
	}{
		{"no store", func(p *past) {
			for file := range p.fs.Files() {
				p.must(p.fs.Remove(file))
			}
		}, ErrNotFound},
		{"a newer manifest", func(p *past) {
			p.must(p.fs.Edit(p.manifest(), newer))
			p.must(p.fs.Edit(p.manifest()+copySuffix, newer))
		}, ErrNewer},
		{"a newer copy of a damaged manifest", func(p *past) {
			p.damaged(0)
			p.must(p.fs.Edit(p.manifest()+copySuffix, newer))
		}, ErrNewer},
		{"a restore that is not done", func(p *past) { p.must(p.fs.Put("data/store/"+restoringName, nil)) }, ErrUnfinished},
		{"a newer segment", func(p *past) {
			p.damaged(0)
			head := appendHeader(nil, p.s.state().store, 999, 1)
			head[8]++
			p.must(p.fs.Put("data/store/000999.seg", binary.LittleEndian.AppendUint32(head[:44], crc32.Checksum(head[:44], castagnoli))))
		}, ErrNewer},
		{"files of two stores", func(p *past) {
			for file := range p.fs.Files() {
				if file != "data/store/LOCK" {
					p.must(p.fs.Remove(file))
				}
			}
			for i := range byte(2) {
				p.must(p.fs.Put(fmt.Sprintf("data/store/00000%d.seg", i), appendHeader(nil, [16]byte{i}, uint64(i), 1)))
			}
		}, ErrCorrupt},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newPast(t, 0)
			x.change(p)
			p.fs = p.fs.Kill()
			before := p.fs.StateHash()
			for _, write := range []bool{false, true} {
				if done, err := Repair(t.Context(), "data/store", p.options(), RepairOptions{Write: write}); !errors.Is(err, x.want) {
					t.Errorf("write %v: %v, %+v", write, err, done)
				}
			}
			if p.fs.StateHash() != before {
				t.Errorf("something was changed: %v", sortedKeys(p.fs.Files()))
			}
		})
	}
}
