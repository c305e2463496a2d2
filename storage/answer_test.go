package storage

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// rejectedBatch is a batch of which nothing can be stored: a row comes too
// early, or, where lacks says so, has no customer.
func rejectedBatch(rows int, lacks func(row int) bool) *event.Batch {
	var events []event.Event
	for i := range rows {
		e := event.Event{Customer: "ann", Name: "view", Time: event.MaxTime}
		if lacks(i) {
			e.Customer = ""
		}
		events = append(events, e)
	}
	return batchOf(events)
}

// Senders whose clock is wrong have whole batches rejected, again and again:
// what is kept of them is small, and tells each of its rows all the same.
func TestAnswersOfRejectedBatchesAreSmall(t *testing.T) {
	mem := vfs.NewMem()
	opt := small(mem)
	opt.MemtableEvents = 1 << 20 // all answers wait in the log
	reopen := func() *Store {
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := reopen()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	batches := []*event.Batch{
		rejectedBatch(batchEvents, func(int) bool { return false }),
		rejectedBatch(batchEvents, func(i int) bool { return i >= batchEvents/2 }),
		rejectedBatch(batchEvents, func(i int) bool { return i%2 > 0 }), // as many runs as there are rows
	}
	sent := func(i int) *event.Batch { return batches[max(0, i-97)] }
	before := heap()
	first := make([]uint64, 100) // LSNs
	var reasons [3][]Rejection
	answer := func(when string, i int) {
		ack, err := s.Append(t.Context(), sent(i), AppendOptions{Token: fmt.Sprint("t", i)})
		if err != nil {
			t.Fatal(err)
		}
		k := max(0, i-97)
		if first[i] == 0 {
			first[i] = ack.LSN
			if reasons[k] == nil && i >= 96 {
				reasons[k] = ack.Rejected
			}
		}
		if ack.LSN != first[i] || len(ack.Rejected) != batchEvents || reasons[k] != nil && !slices.Equal(ack.Rejected, reasons[k]) {
			t.Errorf("%s, batch %d: LSN %d, first %d, and %d rejections, or others than at first", when, i, ack.LSN, first[i], len(ack.Rejected))
		}
	}
	for i := range 100 {
		answer("first", i)
	}
	kept := int64(0)
	for _, list := range reasons {
		kept += int64(cap(list)) * 24
	}
	stored := func(s *Store) (n int64) {
		for _, name := range []string{walName(s.wal.number), manifestName(s.manifest.number), manifestName(s.manifest.number) + copySuffix} {
			data, err := vfs.ReadFile(mem, "store/"+name)
			if err != nil {
				t.Fatal(err)
			}
			n += int64(len(data))
		}
		return n
	}
	// The files are in memory here, and so in the heap.
	if took := heap() - before - kept; took > 5<<20 || stored(s) > took {
		t.Errorf("5 million rejected events take %d bytes of memory, %d of them log and manifest", took, stored(s))
	}
	runtime.KeepAlive(reasons)
	again := func(when string) {
		t.Helper()
		for _, i := range []int{0, 42, 96, 97, 98, 99} {
			answer(when, i)
		}
	}
	again("sent again")
	mem = mem.Clone()
	kill(s)
	opt.FS = mem
	s = reopen()
	again("from the log")
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	again("compacted")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen()
	defer s.Close()
	again("from the manifest")
	if n := s.state().tokens.size(); n > 2<<20 {
		t.Errorf("the state counts %d bytes", n)
	}
	if data, err := vfs.ReadFile(mem, "store/"+manifestName(s.manifest.number)); err != nil || len(data) > 1<<20 {
		t.Errorf("the manifest has %d bytes, %v", len(data), err)
	}
}

// What an answer takes fills the memtable, although it has no event: a flush is
// one edit of the manifest.
func TestAnswersFillTheMemtable(t *testing.T) {
	for format := 1; format <= FormatVersion; format++ {
		opt := small(vfs.NewMem())
		opt.Format = format
		s, err := Open("store", opt)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		limit := s.opt.memtableBytes()
		b := rejectedBatch(2000, func(i int) bool { return i >= 1500 })
		for i := range 200 {
			if _, err := s.Append(t.Context(), b, AppendOptions{Token: fmt.Sprint("t", i)}); err != nil {
				t.Fatal(err)
			}
			sum := int64(0)
			for _, r := range s.mem.tokens {
				text, err := json.Marshal(r.inFormat(format))
				if err != nil {
					t.Fatal(err)
				}
				sum += int64(len(text))
			}
			if n := s.mem.size(); n < sum || n >= limit {
				t.Fatalf("format %d: after %d batches the memtable counts %d bytes, its answers have %d, and it is to be flushed with %d", format, i+1, n, sum, limit)
			}
		}
		if n := s.state().tokens.len(); n < 100 {
			t.Errorf("format %d: %d answers were flushed", format, n)
		}
		s.mem.remove(func(*memBatch) bool { return true })
		if s.mem.size() != 0 {
			t.Errorf("format %d: without batches the memtable counts %d bytes", format, s.mem.size())
		}
	}
}

// The manifest is one edit at times, whose length has a limit.
func TestAnswersFitTheManifest(t *testing.T) {
	for _, c := range []struct {
		bytes int
		fits  bool
	}{{editMost, true}, {editMost + 1, false}, {1<<32 + 1, false}} {
		if err := editFits(c.bytes); (err == nil) != c.fits {
			t.Errorf("an edit of %d bytes: %v", c.bytes, err)
		}
	}
	// What is counted is no less than what the manifest has.
	ack := Ack{Accepted: 50_000, Duplicates: 50_000, Conflicts: 50_000, Suppressed: 50_000, LSN: 1<<64 - 1, Rejected: []Rejection{{47_000, "&"}}}
	for i := range 1000 { // far more as a list than by their reason
		ack.Rejected = append(ack.Rejected, Rejection{49_000 + i, "b"})
	}
	hard := tokenRecord{Token: strings.Repeat("<\x01\xff\u2028", 64), At: event.MaxTime, Keyed: true, Ack: answerOf(ack)}
	for format := 1; format <= FormatVersion; format++ {
		text, err := json.Marshal(hard.inFormat(format))
		if err != nil {
			t.Fatal(err)
		}
		runs := tokenRuns(nil).with([]tokenRecord{hard.inFormat(format)}, format)
		if n := min(hard.size(format), runs.size()); int64(len(text)) > n {
			t.Errorf("format %d: %d bytes, counted are %d", format, len(text), n)
		}
	}
}

// An answer is read as it was written, by this release or by one that knew only lists.
func TestAnswerAsText(t *testing.T) {
	f := func(text string, want ...Rejection) {
		t.Helper()
		var a answer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := a.packed().whole(); got.LSN != 7 || !slices.Equal(got.Rejected, want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
		list, err := json.Marshal(a.packed().inFormat(1))
		if again := (answer{}); err != nil || json.Unmarshal(list, &again) != nil || again.Reasons != nil || !slices.Equal(again.Ack.Rejected, want) {
			t.Errorf("%s: in format 1 %s, %v", text, list, err)
		}
	}
	f(`{"Rejected":null,"LSN":7}`)
	f(`{"Rejected":[{"Index":1,"Reason":"a"},{"Index":2,"Reason":"b"},{"Index":3,"Reason":"a"}],"LSN":7}`, Rejection{1, "a"}, Rejection{2, "b"}, Rejection{3, "a"})
	f(`{"Rejected":null,"LSN":7,"reasons":[{"reason":"a","rows":"1,3-4"},{"reason":"b","rows":"0,2"}]}`,
		Rejection{0, "b"}, Rejection{1, "a"}, Rejection{2, "b"}, Rejection{3, "a"}, Rejection{4, "a"})
	f(`{"Rejected":[{"Index":70000,"Reason":"a"}],"LSN":7}`, Rejection{70000, "a"})
	for _, rows := range []string{"", "x", "1-", "-1", "2-1", "3,3", "5,4", "0-50000", "4294967296", "1,,2"} {
		var a answer
		if err := json.Unmarshal([]byte(fmt.Sprintf(`{"reasons":[{"reason":"a","rows":%q}]}`, rows)), &a); err == nil {
			t.Errorf("rows %q are read as %v", rows, a.Reasons)
		}
	}
}
