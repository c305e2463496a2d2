package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A child reads one request a line and answers each with one line.
type request struct {
	Text string `json:"text"`
}

type answer struct {
	Rows  [][]any `json:"rows"`
	MS    float64 `json:"ms"` // of the statement alone, as its own process measures it
	Error string  `json:"error"`
}

// system is one participant, running as a child process.
type system struct {
	name, version, settings string

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

//go:embed duckdb.mjs
var duckdbScript []byte

// start runs a child and has it load the events, unless it has them.
func start(ctx context.Context, name string, s settings) (*system, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	sys := &system{name: name}
	switch name {
	case "wend":
		sys.cmd = exec.CommandContext(ctx, self, "child", name, s.store)
	case "clickhouse":
		sys.cmd = exec.CommandContext(ctx, self, "child", name, filepath.Join(s.modules, "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"), filepath.Join(s.work, "clickhouse"))
	case "duckdb":
		// The script stands beside the modules that it imports.
		script := filepath.Join(s.modules, "peer-duckdb.mjs")
		if err := os.WriteFile(script, duckdbScript, 0o644); err != nil {
			return nil, err
		}
		sys.cmd = exec.CommandContext(ctx, "node", script, filepath.Join(s.work, "duckdb.db"))
	default:
		return nil, fmt.Errorf("no system is called %q", name)
	}
	sys.cmd.Stderr = os.Stderr
	if sys.in, err = sys.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := sys.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	sys.out = bufio.NewReaderSize(out, 1<<20)
	if err := sys.cmd.Start(); err != nil {
		return nil, err
	}
	if err := sys.load(s.csv); err != nil {
		sys.close()
		return nil, err
	}
	return sys, nil
}

// load makes the peer's tables, which takes minutes the first time.
func (sys *system) load(csv string) error {
	setup := setups[sys.name]
	a, err := sys.ask(setup.version)
	if err != nil {
		return err
	}
	sys.version, sys.settings = fmt.Sprint(a.Rows[0][0]), setup.settings
	if a, err = sys.ask(setup.ready); err == nil && len(a.Rows) > 0 && fmt.Sprint(a.Rows[0][0]) != "0" {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s loads %s\n", sys.name, csv)
	begin := time.Now()
	for _, text := range setup.load {
		if _, err := sys.ask(strings.ReplaceAll(text, "{csv}", csv)); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	fmt.Fprintf(os.Stderr, "%s loaded it in %.1f s\n", sys.name, time.Since(begin).Seconds())
	return nil
}

// ask has the child run one statement.
func (sys *system) ask(text string) (answer, error) {
	line, err := json.Marshal(request{text})
	if err != nil {
		return answer{}, err
	}
	if _, err := sys.in.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("%s ended: %w", sys.name, err)
	}
	line, err = sys.out.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("%s ended: %w", sys.name, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, fmt.Errorf("%s answered %.200q: %w", sys.name, line, err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

// peak is the most memory the child has had, in bytes.
func (sys *system) peak() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", sys.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func (sys *system) close() {
	_ = sys.in.Close() // the child ends at the end of its input
	_ = sys.cmd.Wait() // and how is of no interest
}

// child serves requests from standard input until it ends.
func child(name string, args []string) error {
	var open func([]string) (func(string) ([][]any, error), error)
	switch name {
	case "wend":
		open = openWend
	case "clickhouse":
		open = openClickHouse
	default:
		return fmt.Errorf("no system is called %q", name)
	}
	query, err := open(args)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		begin := time.Now()
		rows, err := query(r.Text)
		a := answer{Rows: rows, MS: float64(time.Since(begin).Microseconds()) / 1000}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// plainLoops runs the workload's loops over arrays and returns what they print.
func plainLoops(ctx context.Context, command string) ([]string, error) {
	args := strings.Fields(command)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("run the plain loops: %w", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}
