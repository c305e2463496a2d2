// Command show makes what people read from the lines that tests report: on
// standard output a line a promise, and on request the kept results and the
// page about them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"wend/internal/trust"
)

func main() {
	reports := flag.String("reports", "", "`file` that tests appended their lines to")
	keep := flag.String("keep", "", "`file` of kept results: the lines are merged into it")
	tier := flag.String("tier", "C", "how long the tests ran: C, N or R")
	page := flag.String("page", "", "`file` to write the page of the kept results to")
	flag.Parse()
	if err := run(*reports, *keep, *tier, *page); err != nil {
		fmt.Fprintln(os.Stderr, "show:", err)
		os.Exit(1)
	}
}

func run(reports, keep, tier, page string) error {
	var results []trust.Result
	var failed error
	if reports != "" {
		text, err := os.ReadFile(reports)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
		if err != nil {
			return fmt.Errorf("name the commit: %w", err)
		}
		results, err = trust.ParseReports(string(text), time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), tier)
		if err != nil {
			return err
		}
		summary, good := trust.Summary(results)
		fmt.Print(summary)
		if !good {
			failed = errors.New("a promise did not hold")
		}
	}
	if keep == "" {
		return failed
	}
	text, err := os.ReadFile(keep)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	kept, err := trust.ParseResults(string(text))
	if err != nil {
		return err
	}
	kept = trust.Merge(kept, results)
	if reports != "" {
		var b strings.Builder
		for _, r := range kept {
			fmt.Fprintln(&b, r)
		}
		if err := os.MkdirAll(filepath.Dir(keep), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(keep, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if page != "" {
		if err := os.WriteFile(page, []byte(trust.Page(kept)), 0o644); err != nil {
			return err
		}
	}
	return failed
}
