package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// Whatever file operation of an erasure the power fails at: what is opened
// afterwards shows all of the customer, or nothing and never again; and from
// the answer on it is nothing.
func TestEraseCrashes(t *testing.T) {
	t.Parallel() // beside TestRetentionCrashes: stores of one process are independent
	states, seeds := 0, uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		states += eraseCrashes(t, 100+seed)
	}
	trust.Report(t, "P10", "crashes of an erasure, states", states, "reappeared", 0)
}

func eraseCrashes(t testing.TB, seed uint64) (states int) {
	e := newEraseStore(t, seed)
	defer func() { kill(e.s) }()
	e.tell()
	e.must(e.s.Flush(context.Background())) // all is durable
	for range 3 {
		e.live(true)
	}
	e.must(e.s.Sync(context.Background(), e.s.lsn))
	left := others(t, e.s)
	acked := false
	e.fs.Hook = func(op *simfs.Op, after bool) {
		if op.Site == "" || !op.Kind.Mutates() || states >= 250 {
			return
		}
		states++
		there := &eraseStore{t: t, seed: seed, r: e.r, now: e.now, fs: e.fs.Crash(e.r, simfs.Mode(e.r.IntN(int(simfs.Modes))))}
		there.open()
		defer func() { kill(there.s) }()
		where := fmt.Sprintf("after a crash at %s of %s (acknowledged %v)", op.Site, op.Name, acked)
		if acked || len(there.s.Receipts()) > 0 {
			there.quiet(left, where)
			there.finish()
			there.quiet(left, where+", at the end")
			if sung := singing(there.fs, canaries); len(sung) > 0 {
				t.Fatalf("seed %d: %s, canaries are left:\n%s", seed, where, strings.Join(sung, "\n"))
			}
		} else if got := others(t, there.s); got != left {
			t.Fatalf("seed %d: %s, the others have\n%swant\n%s", seed, where, got, left)
		}
	}
	_, err := e.s.Erase(context.Background(), canaryName, EraseOptions{})
	e.must(err)
	acked = true
	e.finish()
	e.fs.Hook = nil
	return states
}

// A copy from before the erasure forgets by the ledger what the store forgot.
func TestLedgerIsAppliedToOlderCopies(t *testing.T) {
	for seed := range uint64(8) {
		ledgerApplied(t, 200+seed)
	}
}

func ledgerApplied(t testing.TB, seed uint64) {
	ctx := context.Background()
	e := newEraseStore(t, seed)
	defer func() { kill(e.s) }()
	if _, err := ReadLedger(e.fs, LedgerPath("data/store")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a ledger before any erasure: %v", err)
	}
	e.tell()
	e.must(e.s.Flush(ctx))
	left := others(t, e.s)
	old := simfs.New(simfs.Strict)
	e.must(old.MkdirAll("data/store"))
	for name, data := range e.fs.Files() {
		f, err := old.Create(name)
		e.must(err)
		_, err = f.Write(data)
		e.must(errors.Join(err, f.Close()))
	}
	_, err := e.s.Erase(ctx, "nobody-canary", EraseOptions{})
	e.must(err)
	first, err := e.s.Erase(ctx, canaryAnon, EraseOptions{After: Suppress})
	e.must(err)
	e.finish()
	ledger, err := ReadLedger(e.fs, LedgerPath("data/store"))
	e.must(err)
	if len(ledger.Entries) != 2 || ledger.Entries[1].ID != first.ID || len(ledger.Entries[1].Identities) != 3 {
		t.Fatalf("seed %d: the ledger is %+v", seed, ledger)
	}
	restored := &eraseStore{t: t, seed: seed, r: e.r, now: e.now, fs: old}
	restored.open()
	defer func() { kill(restored.s) }()
	done, err := restored.s.ApplyLedger(ctx, ledger)
	e.must(err)
	if done.New != 2 || done.Found != 1 {
		t.Errorf("seed %d: %+v", seed, done)
	}
	restored.quiet(left, "in the restored copy")
	if sung := singing(old, canaries); len(sung) > 0 {
		t.Fatalf("seed %d: canaries are in the restored copy:\n%s", seed, strings.Join(sung, "\n"))
	}
	ack, err := restored.s.Append(ctx, batchOf([]event.Event{{Customer: canaryName, Time: 1, Name: "view"}}), AppendOptions{})
	if err != nil || ack.Suppressed != 1 {
		t.Errorf("seed %d: a suppressed customer of the restored copy: %+v, %v", seed, ack, err)
	}
	if done, err = restored.s.ApplyLedger(ctx, ledger); err != nil || done.New != 0 {
		t.Errorf("seed %d: the ledger again: %+v, %v", seed, done, err)
	}
	ledger.Store[0]++
	if _, err := restored.s.ApplyLedger(ctx, ledger); err == nil {
		t.Errorf("the ledger of another store was applied")
	}
}

// A copy of the folder from before an erasure, put in the store's place, shows
// nothing of the erased: neither to who reads beside the ledger nor to a writer,
// whatever file operation of its opening the power fails at.
func TestOlderCopyIsErasedAgain(t *testing.T) {
	seeds, states := uint64(4), 0
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		states += olderCopy(t, 300+seed)
	}
	trust.Report(t, "P10", "crashes of the opening of an older copy, states", states, "reappeared", 0)
}

func olderCopy(t *testing.T, seed uint64) (states int) {
	ctx := context.Background()
	e := newEraseStore(t, seed)
	defer func() { kill(e.s) }()
	e.tell()
	e.must(e.s.Sync(ctx, e.s.lsn))
	left := others(t, e.s)
	before := e.fs.Files()
	_, err := e.s.Erase(ctx, canaryName, EraseOptions{})
	e.must(err)
	e.finish()
	name := LedgerPath("data/store")
	copied := func(files map[string][]byte) *eraseStore {
		c := &eraseStore{t: t, seed: seed, r: e.r, now: e.now, fs: simfs.New(simfs.Strict)}
		e.must(c.fs.MkdirAll("data/store/" + quarantineDir))
		e.must(errors.Join(c.fs.SyncDir("data/store"), c.fs.SyncDir("data"), c.fs.SyncDir(".")))
		for name, data := range files {
			e.must(c.fs.Put(name, data))
		}
		e.must(c.fs.Put(name, e.fs.Files()[name]))
		return c
	}
	reader := copied(before)
	reader.s, err = Open("data/store", Options{FS: reader.fs, ReadOnly: true})
	e.must(err)
	reader.quiet(left, "for who reads an older copy")
	e.must(reader.s.Refresh())
	reader.quiet(left, "for who reads it again")
	e.must(reader.s.Close())

	c := copied(before)
	c.fs.Hook = func(op *simfs.Op, after bool) {
		if op.Site == "" || !op.Kind.Mutates() {
			return
		}
		states++
		there := &eraseStore{t: t, seed: seed, r: e.r, now: e.now, fs: c.fs.Crash(e.r, simfs.Mode(e.r.IntN(int(simfs.Modes))))}
		there.open()
		defer func() { kill(there.s) }()
		there.quiet(left, fmt.Sprintf("in an older copy whose opening crashed at %s of %s", op.Site, op.Name))
	}
	c.open()
	c.fs.Hook = nil
	c.quiet(left, "in an older copy")
	c.finish()
	if sung := singing(c.fs, canaries); len(sung) > 0 {
		t.Fatalf("seed %d: canaries are in the older copy:\n%s", seed, strings.Join(sung, "\n"))
	}
	// Who comes back is no longer erased, also where that copy is copied.
	_, err = c.s.Append(ctx, batchOf([]event.Event{{Customer: canaryName, Time: 1, Name: "view"}}), AppendOptions{})
	e.must(err)
	kill(c.s)
	again := copied(c.fs.Files())
	again.open()
	defer func() { kill(again.s) }()
	if !strings.Contains(contents(t, again.s), canaryName) || len(again.s.Receipts()) != 1 {
		t.Errorf("seed %d: who came back after the erasure is erased again: %+v", seed, again.s.Receipts())
	}
	return states
}

// Many erasures that wait share the work: a segment is written anew once.
func TestErasuresShareTheRewriting(t *testing.T) {
	e := newEraseStore(t, 1)
	defer func() { kill(e.s) }()
	ctx := context.Background()
	customers := 1000 // half of those there are
	if testing.Short() {
		customers = 200
	}
	var events []event.Event
	for i := range 5 * customers {
		events = append(events, event.Event{Customer: fmt.Sprint("customer-", i%(2*customers)), Name: "view", Time: event.At(e.now)})
	}
	_, err := e.s.Append(ctx, batchOf(events), AppendOptions{})
	e.must(err)
	e.must(e.s.Compact(ctx))
	files := len(e.s.Summary().Segments)
	for i := range customers {
		_, err := e.s.Erase(ctx, fmt.Sprint("customer-", i), EraseOptions{})
		e.must(err)
	}
	first := e.s.next
	steps := 0
	for worked := true; worked; steps++ {
		worked, err = e.s.EraseStep(ctx)
		e.must(err)
	}
	if written := int(e.s.next - first); written > files+2 { // segments anew, and the log
		t.Errorf("%d files were written for %d erasures in %d files", written, customers, files)
	}
	if steps > files+6 {
		t.Errorf("%d steps for %d erasures in %d files", steps, customers, files)
	}
	if n := e.s.Summary().Events; n != int64(2*customers) {
		t.Errorf("%d events are left", n)
	}
	if left := singing(e.fs, []string{"customer-7\"", "customer-999"}); len(left) > 0 {
		t.Errorf("%v", left)
	}
	if slices.ContainsFunc(e.s.Receipts(), func(r Receipt) bool { return r.State != "done" || r.Files == 0 }) {
		t.Errorf("%+v", e.s.Receipts()[0])
	}
}

// A store of the first format has no room for erasures, and says what to do.
func TestEraseNeedsTheFormat(t *testing.T) {
	s, err := Open("data/store", Options{FS: simfs.New(simfs.Strict), Format: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); !errors.Is(err, ErrOldFormat) || !strings.Contains(err.Error(), "wend upgrade") {
		t.Errorf("%v", err)
	}
}
