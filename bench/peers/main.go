// Command peers asks ClickHouse, DuckDB and wend the same questions over the
// same events, side by side in one run: it compares the answers before it
// believes a time, and prints medians, ratios and peak memory.
//
// Every system runs in a child process of its own, one after the other for
// each question. ClickHouse is the shared library of its embedded form, called
// without cgo; DuckDB is its Node package. A peer that is not to be had is
// named in the table and left out. The folder is a module of its own, so that
// the product knows nothing of its peers.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// settings are what the flags say.
type settings struct {
	csv     string // events of the workload: ts (ms), user_id, event, channel, device, campaign, value
	store   string // the same events as a store of wend
	modules string // folder whose node_modules have the peers
	work    string // where the peers keep their tables
	limit   string // the workload's plain loop and its file, separated by a space
	out     string // file for the table, besides standard output
	data    string // name of the set of statements
	title   string
	runs    int
	systems string
	only    string
	commit  string
}

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "child" || os.Args[1] == "prepare") {
		var err error
		if os.Args[1] == "prepare" {
			err = prepare(os.Args[2:])
		} else {
			err = child(os.Args[2], os.Args[3:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "peers:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	flag.StringVar(&s.csv, "csv", "", "the events as CSV: ts in ms, user_id, event, channel, device, campaign, value")
	flag.StringVar(&s.store, "store", "", "the same events as a store of wend")
	flag.StringVar(&s.modules, "modules", "", "folder in which npm installed the peers")
	flag.StringVar(&s.work, "work", "", "folder for the peers' tables; they are made once")
	flag.StringVar(&s.limit, "limit", "", "command that prints the plain loops' times, one a line")
	flag.StringVar(&s.out, "out", "", "file that the table is appended to, besides standard output")
	flag.StringVar(&s.data, "data", "workload", "which statements: "+strings.Join(dataNames(), ", "))
	flag.StringVar(&s.title, "title", "", "heading of the table")
	flag.IntVar(&s.runs, "runs", 5, "timed runs of each statement, after one that warms")
	flag.StringVar(&s.systems, "systems", "wend,clickhouse,duckdb", "who takes part")
	flag.StringVar(&s.commit, "commit", "", "what the table calls wend's version")
	flag.StringVar(&s.only, "only", "", "run only statements whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	list, ok := data[s.data]
	if !ok {
		return fmt.Errorf("no statements are called %q; there are: %s", s.data, strings.Join(dataNames(), ", "))
	}
	if s.store == "" || s.csv == "" || s.work == "" {
		return fmt.Errorf("-store, -csv and -work are needed; make bench-peers gives them")
	}
	if err := os.MkdirAll(s.work, 0o755); err != nil {
		return err
	}
	t := &table{title: s.title, runs: s.runs}
	var systems []*system
	for _, name := range strings.Split(s.systems, ",") {
		sys, err := start(ctx, name, s)
		if err != nil {
			t.absent = append(t.absent, fmt.Sprintf("%s took no part: %v", name, err))
			fmt.Fprintf(os.Stderr, "%s takes no part: %v\n", name, err)
			continue
		}
		defer sys.close()
		if name == "wend" && s.commit != "" {
			sys.version = s.commit
		}
		t.settings = append(t.settings, sys.name+" "+sys.version+": "+sys.settings)
		systems = append(systems, sys)
	}
	if !slices.ContainsFunc(systems, func(s *system) bool { return s.name == "wend" }) {
		return fmt.Errorf("wend itself does not run")
	}
	for _, st := range list {
		if !strings.Contains(st.name, s.only) {
			continue
		}
		fmt.Fprintln(os.Stderr, st.name)
		t.add(st, systems, s.runs)
	}
	for _, sys := range systems {
		t.memory = append(t.memory, fmt.Sprintf("%s %d MB", sys.name, sys.peak()>>20))
	}
	if s.limit != "" {
		loops, err := plainLoops(ctx, s.limit)
		if err != nil {
			return err
		}
		t.loops = loops
	}
	var w io.Writer = os.Stdout
	if s.out != "" {
		f, err := os.OpenFile(filepath.Clean(s.out), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		w = io.MultiWriter(w, f)
	}
	return t.write(w)
}
