package storage

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs"
)

// A hole in any record loses the batch that the record has and no other: some
// have a batch, and some say only how far the log was durable. What is lost is
// reported wherever a later record says that it was durable, as one does behind
// every batch but the last.
func TestHoleInEveryRecord(t *testing.T) {
	const batches = 100
	mem := vfs.NewMem()
	wide := small(mem)
	wide.MemtableEvents = 2 * batches // nothing is flushed
	s, err := Open("store", wide)
	if err != nil {
		t.Fatal(err)
	}
	for i := range batches {
		appendEvents(t, s, AppendOptions{}, view(fmt.Sprintf("c%03d", i), i))
	}
	mem = mem.Clone()
	kill(s)
	name := walFileName(t, mem)
	data, err := vfs.ReadFile(mem, name)
	if err != nil {
		t.Fatal(err)
	}
	records := bytes.Split(data, []byte(recordMagic)) // the first is the header
	holes, lost, others, unreported := 0, 0, 0, 0
	step := 1
	if testing.Short() {
		step = 9
	}
	for i := 1; i < len(records); i += step {
		bad := slices.Clone(records)
		bad[i] = make([]byte, len(records[i]))
		damaged := mem.Clone()
		replaceFile(t, damaged, name, bytes.Join(bad, []byte(recordMagic)))
		wide.FS = damaged
		s, err := Open("store", wide)
		if err != nil {
			t.Fatal(err)
		}
		got := contents(t, s)
		missing := batches
		for batch := range batches {
			if strings.Contains(got, fmt.Sprintf("c%03d", batch)) {
				missing--
			}
		}
		last := !strings.Contains(got, fmt.Sprintf("c%03d", batches-1))
		if missing > 1 {
			others += missing - 1
			t.Errorf("a hole in record %d lost %d batches", i, missing)
		}
		if missing > 0 && !last && len(s.missingData()) == 0 {
			unreported++
			t.Errorf("a hole in record %d lost a batch and is not reported", i)
		}
		holes, lost = holes+1, lost+missing
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if step == 1 && lost < batches {
		t.Errorf("%d holes lost %d of %d batches", holes, lost, batches)
	}
	trust.Report(t, "P7", "records with a hole", holes, "batches lost with their own record", lost, "others lost", others, "unreported", unreported)
}
