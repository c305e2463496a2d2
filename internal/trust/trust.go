// Package trust prints what the tests of a promise tried and found, one line a
// promise, so that a reader of a test log sees numbers and not adjectives:
//
//	P1 sim states=20000 sites=38/38 violations=0 seed=1
//
// A line begins with the promise's name, as promises.go lists them, and goes on
// with names and values; the first name may be of several words and says how it
// was shown. Lines go to the test's log. With WEND_TRUST set to a file's name
// they are appended to that file as well, each with the test and its outcome,
// and command show makes from it what `make trust` prints, the kept results and
// the page docs/trust.md.
package trust

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Logger is the part of testing.TB that a report needs.
type Logger interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Report prints a promise's line: pairs are names and values. Whether the line
// is kept as one of success is decided when the test has ended.
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
	test := callerPackage() + "." + t.Name()
	t.Cleanup(func() {
		verdict := "ok"
		if t.Failed() {
			verdict = "FAILED"
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintf(f, "%s\t%s\t%s\n", verdict, test, b.String())
			if e := f.Close(); err == nil {
				err = e
			}
		}
		if err != nil {
			t.Errorf("report %s: %v", promise, err)
		}
	})
}

// callerPackage is the package of the test that reports, "storage".
func callerPackage() string {
	var pcs [8]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.File, "_test.go") || !more {
			dir, last := "", strings.TrimPrefix(frame.Function, "wend/")
			if i := strings.LastIndexByte(last, '/'); i >= 0 {
				dir, last = last[:i+1], last[i+1:]
			}
			last, _, _ = strings.Cut(last, ".")
			return dir + strings.TrimSuffix(last, "_test")
		}
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
