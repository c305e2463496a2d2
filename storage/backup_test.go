package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
)

// backupOf backs a store up and wants it to verify.
func backupOf(t *testing.T, s *Store, dir string) Backup {
	t.Helper()
	b, err := s.Backup(t.Context(), dir, BackupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyBackup(t.Context(), s.fs, dir)
	if err != nil || len(report.Damaged) > 0 {
		t.Fatalf("verify: %+v, %v", report.Damaged, err)
	}
	return b
}

// What one process reads beside the writer of another, or the writer itself,
// is backed up with what only the log holds, tokens included.
func TestBackupHoldsTheLog(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		mem := vfs.NewMem()
		s := open(t, mem, "store")
		loadEvents(t, s, view("ann", 1), view("bob", 2))
		ack := appendEvents(t, s, AppendOptions{Token: "one"}, view("ann", 3))
		appendEvents(t, s, AppendOptions{Durability: Memory}, view("cid", 4))
		want := contents(t, s)
		from := s
		if readOnly {
			var err error
			if from, err = Open("store", Options{FS: mem, ReadOnly: true}); err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			want = contents(t, from)
		}
		b := backupOf(t, from, "backup")
		if b.Linked != 1 || b.Events != int64(strings.Count(want, "\n")) {
			t.Errorf("%+v", b)
		}
		if _, err := Restore(t.Context(), "backup", "again", Options{FS: mem}, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		again := open(t, mem, "again")
		if got := contents(t, again); got != want {
			t.Errorf("restored\n%s\nwant\n%s", got, want)
		}
		if got := appendEvents(t, again, AppendOptions{Token: "one"}, view("whoever", 9)); fmt.Sprint(got) != fmt.Sprint(ack) {
			t.Errorf("the batch sent again to the restored store: %+v, the first answer was %+v", got, ack)
		}
	}
}

// Of a log that is damaged a backup holds what can be read, and tells what cannot.
// A reader has it from the log alone, and so has the writer of a store of format 1.
func TestBackupOfDamagedLog(t *testing.T) {
	for _, format := range []int{1, 2} {
		for _, readOnly := range []bool{false, true} {
			opt := small(vfs.NewMem())
			opt.Format = format
			s, err := Open("store", opt)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				appendEvents(t, s, AppendOptions{}, view("ann", i))
			}
			mem := opt.FS.(*vfs.Mem).Clone() // a crash
			kill(s)
			alterFile(t, mem, "store", walSuffix, func(b []byte) []byte {
				b[bytes.Index(b, []byte(recordMagic))+recordHeader] ^= 1
				return b
			})
			damaged := path.Base(walFileName(t, mem))
			opt.FS, opt.ReadOnly = mem, readOnly
			if s, err = Open("store", opt); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want := s.Summary().Missing
			if format == 1 {
				if _, err := s.Backup(t.Context(), "backup", BackupOptions{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), damaged) {
					t.Errorf("backup of format 1, read only %v: %v", readOnly, err)
				}
				continue
			}
			backupOf(t, s, "backup")
			if _, err := Restore(t.Context(), "backup", "again", Options{FS: mem}, RestoreOptions{}); err != nil {
				t.Fatal(err)
			}
			again := open(t, mem, "again")
			got := again.Summary().Missing
			if len(got) != 1 || got[0].Segment != damaged || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("read only %v: missing from what was restored is %+v, from the store %+v", readOnly, got, want)
			}
			if n := strings.Count(contents(t, again), "\n"); n != 4 {
				t.Errorf("read only %v: %d events were restored", readOnly, n)
			}
		}
	}
}

// A later backup into a directory takes what is there already, and mends what
// is damaged there; a failed one leaves the earlier whole.
func TestBackupAgain(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1))
	backupOf(t, s, "backup")
	loadEvents(t, s, view("bob", 1))
	if b := backupOf(t, s, "backup"); b.Kept != 1 || b.Linked != 1 {
		t.Errorf("after another load: %+v", b)
	}
	alterFile(t, mem, "backup", ".seg", func(b []byte) []byte { b[50] ^= 1; return b })
	if b := backupOf(t, s, "backup"); b.Kept != 1 || b.Copied != 1 {
		t.Errorf("with a damaged file there: %+v", b)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := filesOf(t, mem, "backup")
	alterFile(t, mem, "store", ".seg", func(b []byte) []byte { b[50] ^= 1; return b })
	if _, err := s.Backup(t.Context(), "backup", BackupOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged store is backed up: %v", err)
	}
	report, err := VerifyBackup(t.Context(), mem, "backup")
	if err != nil || len(report.Damaged) > 0 || !strings.Contains(before[backupName], fmt.Sprint(report.LSN)) {
		t.Errorf("the earlier backup: %+v, %v", report, err)
	}
}

func TestBackupRefuses(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1))
	opt := small(mem)
	opt.Rand = rand.New(rand.NewPCG(9, 9))
	other, err := Open("other", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	backupOf(t, other, "others")
	f := func(dir, want string) {
		t.Helper()
		var before map[string]string
		if _, err := mem.ReadDir(dir); err == nil {
			before = filesOf(t, mem, dir)
		}
		_, err := s.Backup(t.Context(), dir, BackupOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("backup to %s: %v, want %q", dir, err, want)
		}
		if after := filesOf(t, mem, dir); before != nil && !maps.Equal(before, after) {
			t.Errorf("%s has changed", dir)
		}
	}
	f("store", "the store itself")
	f("other", "holds other things")
	f("others", "a backup of another store")
	backupOf(t, s, "damaged")
	alterFile(t, mem, "damaged", backupName, func(b []byte) []byte { b[40] ^= 1; return b })
	f("damaged", "checksum mismatch; name another directory")

	// Two stores that were one until a restore have files of the same names.
	backupOf(t, s, "backup")
	backupOf(t, s, "first")
	if _, err := Restore(t.Context(), "backup", "twin", Options{FS: mem}, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	twin := open(t, mem, "twin")
	loadEvents(t, s, view("bob", 1))
	loadEvents(t, twin, view("cid", 1))
	backupOf(t, s, "backup")
	if _, err := twin.Backup(t.Context(), "backup", BackupOptions{}); err == nil || !strings.Contains(err.Error(), "went another way") {
		t.Errorf("the twin's backup over the store's: %v", err)
	}
	// Nor does one of an older state take the place of a newer, nor when it has as
	// much as that: only of one that had nothing else yet.
	backupOf(t, twin, "twins")
	appendEvents(t, s, AppendOptions{}, view("dan", 1))
	backupOf(t, s, "later")
	before := filesOf(t, mem, "later")
	for range 3 {
		if _, err := twin.Backup(t.Context(), "later", BackupOptions{}); err == nil || !strings.Contains(err.Error(), "went another way") {
			t.Errorf("of LSN %d over one of LSN %d: %v", twin.lsn, s.lsn, err)
		}
		appendEvents(t, twin, AppendOptions{}, view("eve", 1))
	}
	if !maps.Equal(before, filesOf(t, mem, "later")) {
		t.Error("the newer backup has changed")
	}
	backupOf(t, twin, "first")
	backupOf(t, twin, "twins")
	if err := mem.MkdirAll("copied"); err != nil {
		t.Fatal(err)
	}
	for name, data := range filesOf(t, mem, "store") {
		if err := writeFile(mem, "copied/"+name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	appendEvents(t, s, AppendOptions{}, view("dan", 2))
	backupOf(t, s, "later")
	if _, err := open(t, mem, "copied").Backup(t.Context(), "later", BackupOptions{}); err == nil || !strings.Contains(err.Error(), "a backup of a later state") {
		t.Errorf("an older copy's: %v", err)
	}
}

// A store and what was restored of its backup are never of one version when they
// go on, whatever they have in common.
func TestVersionAfterARestore(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("zoe", 1))
	backupOf(t, s, "backup")
	appendEvents(t, s, AppendOptions{}, view("ann", 2))
	if _, err := Restore(t.Context(), "backup", "again", small(mem), RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	again := open(t, mem, "again")
	appendEvents(t, again, AppendOptions{}, view("cid", 3))
	a, err := s.Version()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.Version(); a == b || err != nil {
		t.Errorf("both are %s, %v, with\n%sand\n%s", a, err, contents(t, s), contents(t, again))
	}
}

// Files that somebody put beside those of a store, or of a backup, stay, whatever
// their names begin with; what an interrupted writer left goes.
func TestFilesOfOthersStay(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1))
	backupOf(t, s, "backup")
	others := []string{"20250301.csv", "20250301.csv.tmp", "MANIFEST-of-this-disk.txt", "draft.tmp", "notes.run"}
	ours := []string{"000099.seg.tmp", "000098.run", "MANIFEST-000097.tmp"}
	for _, name := range slices.Concat(others, ours) {
		for _, dir := range []string{"store/", "backup/"} {
			if err := writeFile(mem, dir+name, []byte("k")); err != nil {
				t.Fatal(err)
			}
		}
	}
	backupOf(t, s, "backup")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, mem, "store")
	for _, dir := range []string{"store", "backup"} {
		left := filesOf(t, mem, dir)
		for _, name := range others {
			if left[name] == "" {
				t.Errorf("%s is gone from the %s", name, dir)
			}
		}
		for _, name := range ours {
			if left[name] != "" && (dir == "store" || name != "000098.run") { // no backup writes one
				t.Errorf("%s stays in the %s", name, dir)
			}
		}
	}
}

// A restore that begins in the directory of another one before that has ended
// takes it over: the first one does not open it to anybody.
func TestRestoreTakenOver(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	backupOf(t, s, "backup")
	opt := Options{FS: mem}.withDefaults()
	if err := mem.MkdirAll("again"); err != nil {
		t.Fatal(err)
	}
	first, second := &restorer{opt: opt, fs: mem, from: "backup", dir: "again"}, &restorer{opt: opt, fs: mem, from: "backup", dir: "again"}
	if err := errors.Join(first.begin(), second.begin()); err != nil {
		t.Fatal(err)
	}
	if err := first.end(); err == nil || !strings.Contains(err.Error(), "another restore") {
		t.Errorf("the first one ends: %v", err)
	}
	if left := filesOf(t, mem, "again"); left[restoringName] == "" {
		t.Error("anybody can open it")
	}
	if err := second.end(); err != nil {
		t.Errorf("the second one: %v", err)
	}
}

// Any flipped bit in any file of a backup, its list included, is found, and
// nothing is restored then.
func TestBackupFlips(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1), view("bob", 2))
	appendEvents(t, s, AppendOptions{Token: "one"}, view("ann", 3))
	backupOf(t, s, "backup")
	flips := 0
	for name, data := range filesOf(t, mem, "backup") {
		for at := range data {
			flips++
			left := vfs.NewMem()
			if err := left.MkdirAll("backup"); err != nil {
				t.Fatal(err)
			}
			for other, content := range filesOf(t, mem, "backup") {
				f, err := left.Create("backup/" + other)
				if err != nil {
					t.Fatal(err)
				}
				bytes := []byte(content)
				if other == name {
					bytes[at] ^= 1 << (at % 8)
				}
				if _, err := f.Write(bytes); err != nil {
					t.Fatal(err)
				}
			}
			report, err := VerifyBackup(t.Context(), left, "backup")
			if !errors.Is(err, ErrCorrupt) && len(report.Damaged) == 0 {
				t.Fatalf("byte %d of %s flipped: %+v, %v", at, name, report, err)
			}
			if _, err := Restore(t.Context(), "backup", "again", Options{FS: left}, RestoreOptions{}); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d of %s flipped, and restored: %v", at, name, err)
			}
			if _, err := left.ReadDir("again"); err == nil {
				t.Fatal("a refused restore left something")
			}
		}
	}
	trust.Report(t, "P14", "backup flips", flips, "undetected", 0)
}

// A restore that ended before its first file had its name is done again.
func TestRestoreAfterItsFirstMoment(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 0))
	backupOf(t, s, "backup")
	if err := mem.MkdirAll("again"); err != nil {
		t.Fatal(err)
	}
	if _, err := mem.Create("again/" + restoringName + tempSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), "backup", "again", Options{FS: mem}, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, open(t, mem, "again")), contents(t, s); got != want {
		t.Errorf("restored\n%s\nwant\n%s", got, want)
	}
}

// A customer is erased while a backup is made: it holds what was there when it
// began, whole, as its list says.
func TestBackupWhileACustomerIsErased(t *testing.T) {
	s, fs := openFaulty(t)
	appendEvents(t, s, AppendOptions{}, view("ann", 0), view("bob", 1))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, AppendOptions{}, view("ann", 2), view("bob", 3))
	want := contents(t, s)
	var once sync.Once
	fs.fail = func(_ int, call, name string) bool {
		if call == "write" && strings.HasPrefix(name, "backup/") && strings.HasSuffix(name, walSuffix) {
			once.Do(func() {
				if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		return false
	}
	b, err := s.Backup(t.Context(), "backup", BackupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), "backup", "again", Options{FS: fs.Mem}, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	again := open(t, fs.Mem, "again")
	if got := contents(t, again); got != want || b.Events != 4 {
		t.Errorf("a backup of %d events restores\n%s\nwant\n%s", b.Events, got, want)
	}
}

// TestBackupUnderLoad backs up while batches come in, are loaded, compacted and
// taken back: each backup holds the batches up to its LSN, whole, and no other.
func TestBackupUnderLoad(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open("store", Options{FS: mem, MemtableEvents: 200, BlockCustomers: 8, Background: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const writers, batches = 4, 60
	backups := int(trust.Number("WEND_LOADED", 8))
	var mu sync.Mutex
	sums := map[uint64]int64{} // by LSN, how many events
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := range batches {
				var list []event.Event
				for k := range 1 + n%7 {
					list = append(list, view(fmt.Sprintf("c%d", (w*7+n+k)%23), n, event.Prop{Name: "batch", Value: event.Integer(int64(w*1000 + n))}))
				}
				ack, err := s.Append(t.Context(), batchOf(list), AppendOptions{Durability: []Durability{Sync, Interval}[n%2]})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sums[ack.LSN] = int64(len(list))
				mu.Unlock()
			}
		})
	}
	group.Go(func() {
		for n := range 20 {
			if err := s.Link(t.Context(), fmt.Sprintf("a%d", n), "c1"); err != nil {
				t.Error(err)
			}
			if n%5 == 4 {
				if err := s.Compact(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var lists []BackupList
	for n := range backups {
		for enough := false; !enough; runtime.Gosched() { // spread over the work
			mu.Lock()
			enough = len(sums) >= n*writers*batches/(backups+1) || t.Failed()
			mu.Unlock()
		}
		dir := fmt.Sprintf("backup%d", n%3) // some begin anew, some go on
		lists = append(lists, backupOf(t, s, dir).BackupList)
		to := fmt.Sprintf("again%d", n)
		if _, err := Restore(t.Context(), dir, to, Options{FS: mem}, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	for n, l := range lists {
		again := open(t, mem, fmt.Sprintf("again%d", n))
		want := int64(0)
		for lsn, events := range sums {
			if lsn <= l.LSN {
				want += events
			}
		}
		st := again.Summary()
		if st.Events != want || l.Events != want || len(st.Missing) > 0 {
			t.Errorf("backup %d up to LSN %d holds %d events and says %d; acknowledged were %d", n, l.LSN, st.Events, l.Events, want)
		}
	}
	slices.SortFunc(lists, func(a, b BackupList) int { return int(a.LSN) - int(b.LSN) })
	trust.Report(t, "P14", "backups under load", len(lists), "of writers", writers, "first at LSN", lists[0].LSN, "last", lists[len(lists)-1].LSN, "wrong", 0)
}

// Who was erased after a backup is not back when it is restored, neither in
// answers nor in bytes, whether the ledger lies where the store is put or is
// named; nor when a plain copy of the folder is put there and opened.
func TestRestoreErasesAgain(t *testing.T) {
	for _, format := range []int{1, FormatVersion} {
		mem := vfs.NewMem()
		opt := small(mem)
		opt.Format = format
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		loadEvents(t, s, view("ann", 1), view("canary-7f3a", 2))
		appendEvents(t, s, AppendOptions{Token: "one"}, view("canary-7f3a", 3), view("bob", 3))
		backupOf(t, s, "backup")
		older := filesOf(t, mem, "store")
		if _, _, err := s.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Erase(t.Context(), "canary-7f3a", EraseOptions{}); err != nil {
			t.Fatal(err)
		}
		want := contents(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for dir, ledger := range map[string]string{"again": LedgerPath("store"), "store2": "", "copy": ""} {
			if ledger == "" { // as if the new store stood in the place of the old
				data, err := vfs.ReadFile(mem, LedgerPath("store"))
				if err == nil {
					err = writeFile(mem, LedgerPath(dir), data)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if dir == "copy" {
				if err := mem.MkdirAll(dir); err != nil {
					t.Fatal(err)
				}
				for name, data := range older {
					if err := writeFile(mem, dir+"/"+name, []byte(data)); err != nil {
						t.Fatal(err)
					}
				}
			} else if done, err := Restore(t.Context(), "backup", dir, small(mem), RestoreOptions{Ledger: ledger}); err != nil || !done.Applied || done.Erased.New != 1 {
				t.Fatalf("%+v, %v", done, err)
			}
			again := open(t, mem, dir)
			for worked := true; worked; {
				if worked, err = again.EraseStep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := contents(t, again); got != want || strings.Contains(got, "canary") {
				t.Errorf("format %d, restored\n%s\nwant\n%s", format, got, want)
			}
			for name, data := range filesOf(t, mem, dir) {
				if strings.Contains(data, "canary-7f3a") {
					t.Errorf("%s of the restored store still has the erased customer", name)
				}
			}
		}
		if _, err := Restore(t.Context(), "backup", "third", small(mem), RestoreOptions{Ledger: "nowhere"}); !isNotExist(err) {
			t.Errorf("a ledger that is not there: %v", err)
		}
		if done, err := Restore(t.Context(), "backup", "third", small(mem), RestoreOptions{}); err != nil || done.Applied {
			t.Errorf("without a ledger: %+v, %v", done, err)
		}
		own := small(mem)
		own.Ledger = LedgerPath("store")
		if done, err := Restore(t.Context(), "backup", "fourth", own, RestoreOptions{}); err != nil || done.Erased.New != 1 {
			t.Errorf("with the ledger that the program keeps: %+v, %v", done, err)
		}
	}
}

// What was lifted stays lifted: after an opening, and in an older copy.
func TestLiftedSuppression(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	appendEvents(t, s, AppendOptions{}, view("ann", 1), view("cookie", 2), view("bob", 3))
	if err := s.Link(t.Context(), "cookie", "ann"); err != nil {
		t.Fatal(err)
	}
	backupOf(t, s, "backup")
	erase := func(who string, opt EraseOptions, after string, warnings int) {
		t.Helper()
		r, err := s.Erase(t.Context(), who, opt)
		if err != nil || r.After != after || len(r.Warnings) != warnings {
			t.Errorf("erase %s %+v: %+v, %v", who, opt, r, err)
		}
	}
	refused := func(s *Store, want ...string) {
		t.Helper()
		for _, who := range []string{"ann", "cookie", "bob"} {
			ack, err := s.Append(t.Context(), batchOf([]event.Event{view(who, 9)}), AppendOptions{})
			if got := ack.Suppressed == 1; err != nil || got != slices.Contains(want, who) {
				t.Errorf("%s is refused: %v (%v), want those of %v", who, got, err, want)
			}
		}
	}
	erase("ann", EraseOptions{After: Suppress}, "suppress", 0)
	erase("ann", EraseOptions{}, "suppress", 1)
	erase("ann", EraseOptions{Lift: true}, "allow", 0)
	refused(s, "cookie") // which no link leads to any more
	erase("bob", EraseOptions{Lift: true}, "allow", 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(open(t, mem, "store"), "cookie")
	if _, err := Restore(t.Context(), "backup", "again", small(mem), RestoreOptions{Ledger: LedgerPath("store")}); err != nil {
		t.Fatal(err)
	}
	refused(open(t, mem, "again"), "cookie")
}

// In the store's own folder a backup would keep what an erasure takes out of the store.
func TestBackupInsideStore(t *testing.T) {
	s := open(t, fewBatches(t), "store")
	if _, err := s.Backup(t.Context(), "store/backups/1", BackupOptions{}); err == nil || !strings.Contains(err.Error(), "a folder in it") {
		t.Errorf("a backup into the store's folder: %v", err)
	}
	backupOf(t, s, "backup")
	if _, err := Restore(t.Context(), "backup", "backup/in", small(s.fs), RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "a folder in it") {
		t.Errorf("a restore into the backup's folder: %v", err)
	}
}
