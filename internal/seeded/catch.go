//go:build seeded

package seeded

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"wend/internal/trust"
)

// A process that is started with WEND_BUG has that bug from its beginning.
func init() { Switch(os.Getenv("WEND_BUG")) }

// bug is a deliberate bug and what notices it.
type bug struct {
	name string   // of the hook
	what string   // is wrong
	test string   // the test that fails, quickly: a directed one, or
	env  []string // one of random cases with the settings that find it, WEND_SEED=12
}

// Catch runs each bug's test in a process that has the bug, and wants it to
// fail; and once in a process that has none, and wants it to pass. The table
// has a line a bug: hook | what is wrong | test, and its settings.
func Catch(t *testing.T, table string) {
	t.Helper()
	caught, all := 0, 0
	sound := map[string]bool{}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		f := strings.Split(line, "|")
		if len(f) != 3 || len(strings.Fields(f[2])) == 0 {
			t.Fatalf("%q: want hook | what is wrong | test, and its settings", line)
		}
		how := strings.Fields(f[2])
		b := bug{strings.TrimSpace(f[0]), strings.TrimSpace(f[1]), how[0], how[1:]}
		all++
		t.Run(b.name, func(t *testing.T) {
			if how := strings.Join(how, " "); !sound[how] {
				if out, err := b.run(""); err != nil || !strings.Contains(out, "--- PASS: "+b.test) {
					t.Fatalf("%s does not pass without a bug: %v\n%s", how, err, out)
				}
				sound[how] = true
			}
			out, err := b.run(b.name)
			// A simulation that does new things does others with the same seed.
			for seed := 1; err == nil && seed <= 40 && len(b.env) == 1 && strings.HasPrefix(b.env[0], "WEND_SEED="); seed++ {
				b.env = []string{fmt.Sprint("WEND_SEED=", seed)}
				out, err = b.run(b.name)
			}
			if err == nil || !strings.Contains(out, "--- FAIL: "+b.test) && !strings.Contains(out, "panic: ") {
				t.Fatalf("%s: not noticed by %s %s: %v\n%s", b.what, b.test, b.env, err, out)
			}
			caught++
			trust.Report(t, "2.4", "bug "+b.name, "caught", "by", b.test, "after", tried(out), "with", strings.Join(b.env, ","))
		})
	}
	trust.Report(t, "2.4", "seeded bugs caught", caught, "of", all)
}

// run runs a bug's test with this test's own program.
func (b bug) run(on string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run", "^"+b.test+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(append(os.Environ(), "WEND_TRUST=", "WEND_BUG="+on), b.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var cases = regexp.MustCompile(`(states|runs|flips|cases|kills)=(\d+)`)

// tried is how many cases a test had tried when it failed.
func tried(out string) string {
	if m := cases.FindStringSubmatch(out); m != nil {
		return m[2] + " " + m[1]
	}
	return "1 run"
}
