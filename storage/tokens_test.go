package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wend/event"
)

// Tokens come in flushes of every size, are opened as one list, and lose their
// texts to erasures: what is found is what a plain map has.
func TestTokenRuns(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	var runs tokenRuns
	want := map[string]tokenRecord{}
	lsn := uint64(0)
	for round := range 300 {
		var list []tokenRecord
		for range r.IntN(1 << r.IntN(10)) {
			lsn++
			k := tokenRecord{Token: fmt.Sprintf("%x-%d", r.Uint32(), lsn), At: event.Time(r.Int64N(1e18)), Ack: answer{Ack: Ack{
				Accepted: r.Int64N(50_000), Duplicates: r.Int64N(2), Conflicts: r.Int64N(3), Suppressed: r.Int64N(2), LSN: lsn, Durability: Durability(r.IntN(3))}}}
			if r.IntN(10) == 0 {
				k.Ack = answerOf(Ack{LSN: lsn, Rejected: []Rejection{{3, "\"é"}, {4, "\"é"}, {9, "too late"}}})
			}
			list, want[k.key()] = append(list, k), k
		}
		runs = runs.with(list, FormatVersion)
		switch {
		case round%50 == 20: // as after an opening
			runs = tokenRuns(nil).with(slices.SortedFunc(runs.all(), tokenRecord.compare), FormatVersion)
		case round%50 == 40:
			hide := func(k tokenRecord) tokenRecord { return k.withoutText([]byte("key"), lsn/2) }
			runs = runs.changed(hide, FormatVersion)
			hidden := map[string]tokenRecord{}
			for _, k := range want {
				hidden[hide(k).key()] = hide(k)
			}
			want = hidden
		}
	}
	for key, k := range want {
		if got, ok := runs.get(key); !ok || !cmp.Equal(got, k, cmp.AllowUnexported(rowRange{})) {
			t.Fatalf("seed %d: %q is %+v, %v; put in was %+v", seed, key, got, ok, k)
		}
		if got, ok := runs.get(key + "-"); ok {
			t.Fatalf("seed %d: found %+v, which nobody put in", seed, got)
		}
	}
	size := int64(0)
	for k := range runs.all() {
		size += k.size(FormatVersion)
		delete(want, k.key())
	}
	if len(want) > 0 || size != runs.size() {
		t.Errorf("seed %d: %d tokens are missing; %d bytes are counted of %d", seed, len(want), runs.size(), size)
	}
	if len(runs) > 12 {
		t.Errorf("seed %d: %d tokens make %d runs", seed, runs.len(), len(runs))
	}
}

// A million tokens take little memory, and one more does not copy them.
func TestManyTokensAreShared(t *testing.T) {
	var runs tokenRuns
	flush := func(n int) {
		var list []tokenRecord
		for range n {
			lsn := uint64(runs.len() + len(list))
			list = append(list, tokenRecord{Token: fmt.Sprintf("shop-7-client-%010d", lsn), At: event.Time(lsn), Ack: answer{Ack: Ack{Accepted: 1000, LSN: lsn}}})
		}
		runs = runs.with(list, FormatVersion)
	}
	for range 100 {
		flush(10_000)
	}
	bytes := 0
	for _, run := range runs {
		bytes += cap(run.data) + 4*cap(run.starts)
	}
	if each := bytes / runs.len(); each > 64 {
		t.Errorf("a token takes %d bytes", each)
	}
	before := runs
	flush(1)
	shared := 0
	for _, run := range runs {
		if slices.Contains(before, run) {
			shared += len(run.starts)
		}
	}
	if shared < before.len()*9/10 {
		t.Errorf("one more token copies %d", before.len()-shared)
	}
}

// Where tokens take too much, or are old and many, those of the oldest batches
// leave, and only those.
func TestTokensAreBounded(t *testing.T) {
	const flushes, each = 100, 7
	fill := func(few int, bytes int64) tokenRuns {
		var runs tokenRuns
		for i := range flushes {
			var list []tokenRecord
			for j := range each {
				lsn := i*each + j
				list = append(list, tokenRecord{Token: fmt.Sprintf("t%04d", lsn), At: event.Time(0).Add(event.Duration(i) * event.Day), Ack: answer{Ack: Ack{LSN: uint64(lsn)}}})
			}
			runs = runs.with(list, FormatVersion).within(few, bytes)
		}
		return runs
	}
	one := tokenRecord{Token: "t0000"}.size(FormatVersion)
	for _, c := range []struct {
		what        string
		few         int
		bytes       int64
		least, most int // tokens that are kept
	}{
		{"many and young enough", flushes * each, 1 << 30, flushes * each, flushes * each},
		{"a week, and no more than that", 1, 1 << 30, 8 * each, 32 * each},
		{"old, but few", 30 * each, 1 << 30, 30 * each, 64 * each},
		{"of many bytes", flushes * each, 200 * one, 70, 200},
	} {
		runs := fill(c.few, c.bytes)
		var kept []uint64
		for k := range runs.all() {
			kept = append(kept, k.Ack.LSN)
		}
		slices.Sort(kept)
		if n := len(kept); n < c.least || n > c.most || kept[0] != uint64(flushes*each-n) || kept[n-1] != flushes*each-1 {
			t.Errorf("%s: %d are kept, from batch %d to %d of %d", c.what, n, kept[0], kept[n-1], flushes*each)
		}
	}
}

// A token that the manifest could not hold as it is would not be known again, and
// what looks like the hash of one would outlive an erasure.
func TestTokensThatAreRefused(t *testing.T) {
	s, _ := openFaulty(t)
	for _, token := range []string{"caf\xe9", strings.Repeat("x", TokenMax+1), keyedToken + "ann"} {
		if ack, err := s.Append(t.Context(), batchOf([]event.Event{view("ann", 0)}), AppendOptions{Token: token}); err == nil || s.lsn != 0 {
			t.Errorf("token %.10q: %+v, LSN %d", token, ack, s.lsn)
		}
	}
}
