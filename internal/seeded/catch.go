//go:build seeded

package seeded

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"wend/internal/trust"
)

// A process that is started with WEND_BUG has that bug from its beginning.
func init() { Switch(os.Getenv("WEND_BUG")) }

// bug is a deliberate bug and what notices it.
type bug struct {
	name string   // of the hook
	what string   // is wrong
	test string   // the test that fails, quickly: a directed one, or one of random cases with
	set  []string // the settings that find it, WEND_SEED=12, and flags, -test.short
}

// attempt is a run of a bug's test.
type attempt struct {
	out string
	err error
	how string // the settings that were tried last
}

// Catch runs each bug's test in a process that has the bug, and wants it to
// fail; and once in a process that has none, and wants it to pass. The table
// has a line a bug: hook | what is wrong | test, and its settings.
func Catch(t *testing.T, table string) {
	t.Helper()
	var bugs []bug
	for line := range strings.Lines(strings.TrimSpace(table)) {
		f := strings.Split(line, "|")
		if len(f) != 3 || len(strings.Fields(f[2])) == 0 {
			t.Fatalf("%q: want hook | what is wrong | test, and its settings", line)
		}
		how := strings.Fields(f[2])
		bugs = append(bugs, bug{strings.TrimSpace(f[0]), strings.TrimSpace(f[1]), how[0], how[1:]})
	}
	// Processes of their own have nothing in common, so as many run as there are processors.
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	start := func(run func() attempt) func() attempt {
		done := make(chan attempt, 1)
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			done <- run()
		}()
		return sync.OnceValue(func() attempt { return <-done })
	}
	sound := map[string]func() attempt{}
	tries := make([]func() attempt, len(bugs))
	for i, b := range bugs {
		if how := b.how(); sound[how] == nil {
			sound[how] = start(func() attempt { return b.run("") })
		}
		tries[i] = start(b.search)
	}
	caught := 0
	for i, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			if a := sound[b.how()](); a.err != nil || !strings.Contains(a.out, "--- PASS: "+b.test) {
				t.Fatalf("%s does not pass without a bug: %v\n%s", b.how(), a.err, a.out)
			}
			a := tries[i]()
			if a.err == nil || !strings.Contains(a.out, "--- FAIL: "+b.test) && !strings.Contains(a.out, "panic: ") {
				t.Fatalf("%s: not noticed by %s %s: %v\n%s", b.what, b.test, a.how, a.err, a.out)
			}
			caught++
			trust.Report(t, "2.4", "bug "+b.what, "caught", "by", b.test, "after", tried(a.out))
		})
	}
	trust.Report(t, "2.4", "seeded bugs caught", caught, "of", len(bugs))
}

func (b bug) how() string { return strings.Join(append([]string{b.test}, b.set...), " ") }

// search runs a bug's test; one of a random case with other seeds, too: a
// simulation that does new things does others with the same seed.
func (b bug) search() attempt {
	a := b.run(b.name)
	if len(b.set) != 1 || !strings.HasPrefix(b.set[0], "WEND_SEED=") {
		return a
	}
	for seed := 1; a.err == nil && seed <= 40; seed++ {
		b.set = []string{fmt.Sprint("WEND_SEED=", seed)}
		a = b.run(b.name)
	}
	return a
}

// run runs a bug's test with this test's own program.
func (b bug) run(on string) attempt {
	cmd := exec.Command(os.Args[0], "-test.run", "^"+b.test+"$", "-test.v", "-test.failfast", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), "WEND_TRUST=", "WEND_BUG="+on)
	for _, s := range b.set {
		if strings.HasPrefix(s, "-") {
			cmd.Args = append(cmd.Args, s)
		} else {
			cmd.Env = append(cmd.Env, s)
		}
	}
	out, err := cmd.CombinedOutput()
	return attempt{string(out), err, strings.Join(b.set, ",")}
}

var cases = regexp.MustCompile(`(states|runs|flips|cases|kills)=(\d+)`)

// tried is how many cases a test had tried when it failed.
func tried(out string) string {
	if m := cases.FindStringSubmatch(out); m != nil {
		return m[2] + " " + m[1]
	}
	return "1 run"
}
