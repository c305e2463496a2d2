package access

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// Wherever the power fails, the file has the tokens of before or those of after,
// and those of after once the command has ended: above all, a token whose
// revocation was answered stays revoked.
func TestCrashesLeaveTheFileOldOrNew(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	states := 0
	f := func(what string, with func(fsys vfs.FS, id string) error, before, after string) {
		t.Helper()
		for range 20 {
			disk := simfs.New(simfs.Strict)
			if err := errors.Join(disk.MkdirAll("shop"), disk.SyncDir(".")); err != nil {
				t.Fatal(err)
			}
			_, id := create(t, disk, time.Time{}, Query)
			crash := func(ended bool) {
				for mode := range simfs.Modes {
					entries, err := List(disk.Crash(random, mode), "shop")
					found := ""
					for _, e := range entries {
						found += e.State(morning) + " "
					}
					if err != nil || found != after && (ended || found != before) {
						t.Fatalf("%s, a crash that keeps %v: the file says %q, %v", what, mode, found, err)
					}
					states++
				}
			}
			disk.Hook = func(*simfs.Op, bool) { crash(false) }
			if err := with(disk, id); err != nil {
				t.Fatal(err)
			}
			crash(true)
		}
	}
	f("create", func(fsys vfs.FS, _ string) error {
		_, _, err := Create(fsys, "shop", "", []Scope{Ingest}, morning, time.Time{})
		return err
	}, "valid ", "valid valid ")
	f("revoke", func(fsys vfs.FS, id string) error { return Revoke(fsys, "shop", id, morning) }, "valid ", "revoked ")
	if states < 1000 {
		t.Errorf("only %d states were looked at", states)
	}
}
