package docs_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"wend/docs"
)

var update = flag.Bool("update", false, "write what the commands print into the pages")

// TestPages runs every command and every statement of the documentation, on
// the demo's data, and compares what is printed with what the page says.
//
// A block marked sh holds commands behind "$ " and what they print on standard
// output, if the page shows it; a command that ends in & runs until the page is
// done. A block marked wend holds statements for the demo's store, and a block
// marked text after it their answer, or, below a heading that speaks of
// mistakes, what is wrong with them. A line "..." in what is
// expected stands for any lines, and … inside a line for any text.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "wend"), "wend/cmd/wend")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build wend: %v\n%s", err, out)
	}
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "NO_COLOR=1")
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	first := &page{t: t, path: "the demo", dir: dir, env: env}
	first.shell("wend demo")
	if t.Failed() {
		t.FailNow()
	}
	blocks := 0
	for _, path := range append([]string{"../README.md"}, pages...) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			p := &page{t: t, path: path, dir: filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".md")), env: env}
			// Pages change their store, so each has one of its own.
			if err := os.CopyFS(filepath.Join(p.dir, "demo-shop"), os.DirFS(filepath.Join(dir, "demo-shop"))); err != nil {
				t.Fatal(err)
			}
			blocks += p.run()
		})
	}
	t.Logf("%d blocks run", blocks)
}

// page is one page being run.
type page struct {
	t          *testing.T
	path, dir  string
	env        []string
	background []*exec.Cmd
	mistakes   bool // the section is about them
}

// run runs a page's blocks in order and returns how many there were.
func (p *page) run() (blocks int) {
	defer p.stop()
	text, err := os.ReadFile(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	var out []string
	statement := ""
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		if strings.HasPrefix(lines[i], "#") {
			p.mistakes = strings.Contains(lines[i], "mistakes")
		}
		kind, fence := strings.CutPrefix(strings.TrimSpace(lines[i]), "```")
		if !fence {
			continue
		}
		var body []string
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			body = append(body, lines[i])
		}
		switch {
		case kind == "sh":
			body = p.commands(body, i)
			blocks++
		case kind == "wend":
			statement = strings.Join(body, "")
			if i+2 >= len(lines) || !strings.Contains(strings.Join(lines[i+1:min(i+4, len(lines))], ""), "```text") {
				p.statement(statement) // no answer shown: it must only run
				statement = ""
			}
			blocks++
		case kind == "text" && statement != "":
			body = p.compare(i, statement, body, p.statement(statement))
			statement = ""
		}
		out = append(out, body...)
		out = append(out, lines[i])
	}
	if *update {
		if err := os.WriteFile(p.path, []byte(strings.Join(out, "")), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	return blocks
}

// commands runs the commands of a block and returns the block as it should be.
func (p *page) commands(body []string, at int) []string {
	var out []string
	for i := 0; i < len(body); {
		command, ok := strings.CutPrefix(body[i], "$ ")
		if !ok {
			p.t.Errorf("%s, near line %d: %q is neither a command nor what one printed", p.path, at, body[i])
			return body
		}
		out = append(out, body[i])
		i++
		for strings.HasSuffix(strings.TrimRight(command, "\n"), "\\") || strings.Count(command, "'")%2 == 1 {
			if i == len(body) {
				break
			}
			command += body[i]
			out = append(out, body[i])
			i++
		}
		var want []string
		for i < len(body) && !strings.HasPrefix(body[i], "$ ") {
			want = append(want, body[i])
			i++
		}
		command = strings.TrimSpace(command)
		if strings.HasPrefix(command, "make ") || strings.HasPrefix(command, "git ") {
			out = append(out, want...) // continuous integration runs these
			continue
		}
		got := p.shell(command)
		if len(want) > 0 { // else the page shows nothing of it
			want = p.compare(at, command, want, got)
		}
		out = append(out, want...)
	}
	return out
}

// shell runs one command and returns its standard output.
func (p *page) shell(command string) string {
	p.t.Helper()
	background := strings.HasSuffix(command, "&")
	cmd := exec.Command("bash", "-c", strings.TrimSuffix(command, "&"))
	cmd.Dir, cmd.Env = p.dir, p.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if background {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			p.t.Fatalf("%s: %s: %v", p.path, command, err)
		}
		p.background = append(p.background, cmd)
		time.Sleep(time.Second) // until it listens
		return ""
	}
	if err := cmd.Run(); err != nil {
		p.t.Errorf("%s: $ %s: %v\n%s", p.path, command, err, stderr.String())
	}
	return stdout.String()
}

func (p *page) stop() {
	for _, cmd := range p.background {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
	}
}

// statement runs statements on the demo's store.
func (p *page) statement(text string) string {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(p.dir), "bin", "wend"), "query", "demo-shop/shop.wend")
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.Stdin = strings.NewReader(text)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if p.mistakes && stdout.Len() == 0 && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 2 {
			return stderr.String()
		}
		p.t.Errorf("%s: %s: %v\n%s", p.path, text, err, stderr.String())
	}
	return stdout.String()
}

// compare checks what was printed and returns what the page should say.
func (p *page) compare(at int, what string, want []string, got string) []string {
	p.t.Helper()
	if matches(strings.Join(want, ""), got) {
		return want
	}
	// What a page leaves open is for a person to choose again.
	if *update && !strings.Contains(strings.Join(want, ""), "…") && !slices.Contains(want, "...\n") {
		lines := strings.SplitAfter(strings.TrimRight(got, "\n")+"\n", "\n")
		for i, line := range lines {
			lines[i] = strings.TrimRight(line, " \n") + "\n"
		}
		return lines[:len(lines)-1]
	}
	p.t.Errorf("%s, near line %d: %s\nprints\n%s\nand the page says\n%s", p.path, at, what, got, strings.Join(want, ""))
	return want
}

// matches compares line by line, a line "..." in want standing for any lines,
// and … inside a line for any text.
func matches(want, got string) bool {
	w := strings.Split(strings.TrimRight(want, "\n"), "\n")
	g := strings.Split(strings.TrimRight(got, "\n"), "\n")
	for len(w) > 0 {
		if w[0] == "..." {
			for k := 0; k <= len(g); k++ {
				if matches(strings.Join(w[1:], "\n"), strings.Join(g[k:], "\n")) {
					return true
				}
			}
			return false
		}
		if len(g) == 0 || !matchesLine(strings.TrimRight(w[0], " "), strings.TrimRight(g[0], " ")) {
			return false
		}
		w, g = w[1:], g[1:]
	}
	return len(g) == 0 || len(g) == 1 && g[0] == ""
}

func matchesLine(want, got string) bool {
	head, rest, any := strings.Cut(want, "…")
	if !any {
		return want == got
	}
	got, ok := strings.CutPrefix(got, head)
	for k := 0; ok && k <= len(got); k++ {
		if matchesLine(rest, got[k:]) {
			return true
		}
	}
	return false
}

func TestMatches(t *testing.T) {
	f := func(want, got string, ok bool) {
		t.Helper()
		if matches(want, got) != ok {
			t.Errorf("matches(%q, %q) is not %v", want, got, ok)
		}
	}
	f("a\nb\n", "a\nb", true)
	f("a\nc\n", "a\nb", false)
	f("a\n...\nd", "a\nb\nc\nd\n", true)
	f("a\n...\ne", "a\nb\nc\nd\n", false)
	f("...", "anything\nat all", true)
	f("a", "a\nb", false)
	f("a … b …", "a 12 b ms", true)
	f("a … b", "a 12 b ms", false)
	f("a … b", "x a 12 b", false)
}

// TestLinks follows every link from one page to another.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	anchors := map[string]bool{} // page#heading
	for _, file := range append(pages, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page := path.Join("docs", filepath.ToSlash(file))
		texts[page] = string(text)
		anchors[page+"#"] = true
		for line := range strings.Lines(string(text)) {
			if title := strings.TrimLeft(line, "#"); title != line {
				anchors[page+"#"+anchor(strings.TrimSpace(title))] = true
			}
		}
	}
	link := regexp.MustCompile(`\]\(([^)#]*)#?([^)]*)\)`)
	for page, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := page
			if m[1] != "" {
				target = path.Join(path.Dir(page), m[1])
			}
			if strings.HasSuffix(target, ".md") && !anchors[target+"#"+m[2]] {
				t.Errorf("%s links to %s#%s, which is not there", page, m[1], m[2])
			}
		}
	}
}

// anchor is how the heading of a Markdown page is linked to.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// TestTopics: whoever asks for help on a statement or a clause gets it.
func TestTopics(t *testing.T) {
	for _, word := range strings.Fields(`funnel times dropoff paths transitions measure journey customers show describe define drop explain
		where during among by every timezone limit end lenient within per holding count entry ties exclusion of length top cover
		collapse through did reached patterns functions limits errors match map score moments affinity drivers test`) {
		if _, ok := docs.Topic(word); !ok {
			t.Errorf("there is no help on %s", word)
		}
	}
	for _, two := range []string{"order by", "any order", "per session", "Explain Analyze", "stopped at", "with times", "next after", "next for"} {
		if text, ok := docs.Topic(two); !ok || len(text) < 100 {
			t.Errorf("help on %s is %q", two, text)
		}
	}
	if text, ok := docs.Topic("nonsense"); ok {
		t.Errorf("help on nonsense is %q", text)
	}
}
