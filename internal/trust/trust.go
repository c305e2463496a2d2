// Package trust prints what the tests of a promise tried and found, one line a
// promise, so that a reader of a test log sees numbers and not adjectives:
//
//	P1 sim states=20000 sites=100% violations=0 seed=1
//
// The promises and their numbers are those of the operations page. Lines go to
// the test's log; with WEND_TRUST set to a file's name they are appended to
// that file as well, from which `make trust` shows them all.
package trust

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Logger is the part of testing.TB that a report needs.
type Logger interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Report prints a promise's line: pairs are names and values.
func Report(t Logger, promise string, pairs ...any) {
	t.Helper()
	var b strings.Builder
	b.WriteString(promise)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, " %v=%v", pairs[i], pairs[i+1])
	}
	t.Logf("%s", b.String())
	name := os.Getenv("WEND_TRUST")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, b.String())
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		t.Errorf("report %s: %v", promise, err)
	}
}

// Number reads a setting of the environment that makes tests longer or
// repeats one of them; without it, or if it is no number, usual counts.
func Number(name string, usual uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return usual
}
