package storage

import (
	"slices"
	"testing"

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
