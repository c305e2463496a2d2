package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a new one with a benchmark that reports the revision that it is of:
// 1 in the commit first, 2 in the working tree, which has a second package, too.
func repository(t *testing.T) (dir string, git func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	git = func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	benchmark := func(pkg, revision string) string {
		return "package " + pkg + "\nimport \"testing\"\nfunc BenchmarkWork(b *testing.B) {\n\tfor b.Loop() {}\n\tb.ReportMetric(" + revision + ", \"revision\")\n}\n"
	}
	put("go.mod", "module example.com/compared\n\ngo 1.26\n")
	put("old/work_test.go", benchmark("old", "1"))
	put("bench/RESULTS.md", "none yet\n")
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	git("tag", "-a", "-m", "first", "first")
	put("old/work_test.go", benchmark("old", "2"))
	put("fresh/work_test.go", benchmark("fresh", "2"))
	return dir, git
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	dir, git := repository(t)
	stub := filepath.Join(t.TempDir(), "benchstat")
	if err := os.WriteFile(stub, []byte("#!/bin/sh\nfor side; do echo \"side ${side%%=*}\"; grep ^Benchmark \"${side#*=}\"; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	compare := func(base string, env ...string) (out, said string, err error) {
		t.Helper()
		var stdout, stderr strings.Builder
		cmd := exec.Command(script(t, "compare.sh"), base)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		cmd.Env = append(os.Environ(), "BENCH=Work", "COUNT=2", "BENCHTIME=1x", "PACKAGES=./old ./fresh", "BENCHSTAT="+stub)
		cmd.Env = append(cmd.Env, env...)
		err = cmd.Run()
		if left := git("worktree", "list"); strings.Contains(left, "\n") {
			t.Errorf("compare.sh %s leaves a working tree behind:\n%s", base, left)
		}
		return stdout.String(), stderr.String(), err
	}
	out, said, err := compare("first")
	if err != nil {
		t.Fatalf("compare.sh: %v\n%s", err, said)
	}
	// Two rounds a side of the benchmark that both have; of each line the reported revision.
	var sides []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		switch {
		case words[0] == "side":
			sides = append(sides, strings.TrimSpace(strings.TrimPrefix(line, "side "))+":")
		default:
			sides[len(sides)-1] += " " + words[len(words)-2]
		}
	}
	want := git("rev-parse", "--short", "first^{commit}") + ": 1.000 1.000, working tree: 2.000 2.000"
	if got := strings.Join(sides, ", "); got != want {
		t.Errorf("benchstat was given %q, want %q", got, want)
	}
	if !strings.Contains(said, "./fresh has no benchmarks in the base revision") {
		t.Errorf("the package that only one revision has is left out without a word:\n%s", said)
	}

	refuses := func(base, want string, env ...string) {
		t.Helper()
		out, said, err := compare(base, env...)
		if err == nil || out != "" || !strings.Contains(said, want) {
			t.Errorf("compare.sh %s: %v, want %q in\n%s%s", base, err, want, said, out)
		}
		if strings.Contains(said, "round 1") {
			t.Errorf("compare.sh %s measured before it refused:\n%s", base, said)
		}
	}
	refuses("", "which revision?")
	refuses("frist", "there is no revision frist")
	refuses("first", "no benchmark matches Wrok in both revisions", "BENCH=Wrok")
	refuses("first", "benchstat cannot be had", "BENCHSTAT=", "GOPROXY=off", "GOMODCACHE="+t.TempDir())
}

// The file that a run writes its table to does not make the run's revision dirty.
func TestRevision(t *testing.T) {
	dir, git := repository(t)
	f := func(want string) {
		t.Helper()
		cmd := exec.Command(script(t, "revision.sh"))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("revision.sh: %s, %v, want %s", out, err, want)
		}
	}
	f("first-dirty")
	git("checkout", "-q", "--", "old")
	f("first")
	if err := os.WriteFile(filepath.Join(dir, "bench/RESULTS.md"), []byte("a table\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f("first")
}
