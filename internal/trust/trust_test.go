package trust

import (
	"strings"
	"testing"
)

// Reports become a line a promise, kept results and a page: a longer run
// stands in for a shorter one, a newer one for an older, a failure is told.
func TestResults(t *testing.T) {
	kept, err := ParseReports("ok\tstorage.TestSim\tP1 sim states=10 seed=1\nok\ttrials.TestKill\tP1 kill -9 kills=5\n", "2030-01-01", "aaa", "N")
	if err != nil {
		t.Fatal(err)
	}
	more, err := ParseReports("ok\tstorage.TestSim\tP1 sim states=3 seed=7\nFAILED\tstorage.TestFlips\tP5 flips=9 wrong=1\n", "2030-01-02", "bbb", "C")
	if err != nil {
		t.Fatal(err)
	}
	all := Merge(kept, more)
	again, err := ParseResults(lines(all))
	if err != nil || lines(again) != lines(all) || len(all) != 4 {
		t.Fatalf("%d results, %v:\n%s\nread again:\n%s", len(all), err, lines(all), lines(again))
	}
	all = Merge(all, []Result{{"2030-01-03", "ccc", "N", "ok", "storage.TestSim", "P1 sim states=12 seed=2"}})
	text, good := Summary(all)
	if good {
		t.Error("a failed promise is called good")
	}
	for _, want := range []string{"P1   ok        sim states=12 seed=2; kill -9 kills=5\n", "P5   FAILED    flips=9 wrong=1\n", "P2   not shown Atomic batches\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the summary lacks %q:\n%s", want, text)
		}
	}
	page := Page(all)
	for _, want := range []string{"| sim states=12 seed=2 | N | 2030-01-03, ccc |", "| **failed**: flips=9 wrong=1 | C | 2030-01-02, bbb |", "Not shown yet"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func lines(results []Result) string {
	var b strings.Builder
	for _, r := range results {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}
