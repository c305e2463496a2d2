package trust

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A command of the page runs what it names: go test is content with a name that
// no test has. Each word of -run is a test's of one of the command's packages,
// and each package has a test that one of the words names.
func TestCommandsNameTests(t *testing.T) {
	command := regexp.MustCompile(`go test ([^;]*?)-run ('[^']*'|[^\s;]+)`)
	seen := 0
	for _, section := range Sections {
		for _, p := range section.Promises {
			for _, m := range command.FindAllStringSubmatch(p.How, -1) {
				words := strings.Split(strings.Trim(m[2], "'"), "|")
				named := map[string]bool{}
				for _, word := range strings.Fields(m[1]) {
					if !strings.HasPrefix(word, "./") {
						continue
					}
					tests := testsOf(t, filepath.Join("../..", word))
					hit := false
					for _, w := range words {
						if slices.ContainsFunc(tests, regexp.MustCompile(w).MatchString) {
							named[w], hit = true, true
						}
					}
					if !hit {
						t.Errorf("%s: %s: no test of %s is run", p.Name, m[0], word)
					}
				}
				for _, w := range words {
					if !named[w] {
						t.Errorf("%s: %s: no test is called %s", p.Name, m[0], w)
					}
				}
				seen++
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands were looked at", seen)
	}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsOf lists the tests of a folder.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	return names
}
