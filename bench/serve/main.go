// Serve measures wend serve over loopback: it starts the program as a process of
// its own and sends what dashboards and senders of events send, each request at
// a time that was fixed beforehand, and checks the answers.
//
// A request counts from when it was due to be sent, so that a server that stands
// still for a moment is charged for all who would have come meanwhile. How late
// requests left is printed beside: where that is much of the whole, it is this
// program that had no processor, not the server. The processor time that the
// server took for one says what a machine of its own would make of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	var r runner
	flag.StringVar(&r.program, "wend", "bin/wend", "the program")
	flag.StringVar(&r.store, "store", "", "a store of the workload; it is served, but not changed")
	flag.StringVar(&r.work, "work", "", "a folder for the store that takes events in, removed afterwards; one of the system's unless said")
	flag.DurationVar(&r.time, "time", 10*time.Second, "how long each row is measured")
	flag.Float64Var(&r.again, "again", 20_000, "the same query again, a second")
	flag.Float64Var(&r.distinct, "distinct", 10, "distinct queries a second")
	flag.Float64Var(&r.customers, "customers", 200, "questions for one customer, a second")
	flag.Float64Var(&r.batches, "batches", 150, "batches of 1,000 events a second")
	flag.Float64Var(&r.beside, "beside", 5, "queries a second beside the batches; 0: none")
	only := flag.String("only", "", "regular expression: the rows to measure")
	flag.Parse()
	var err error
	if r.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "-only:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := r.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// runner measures row by row.
type runner struct {
	program, store, work                string
	time                                time.Duration
	again, distinct, customers, batches float64
	beside                              float64
	only                                *regexp.Regexp

	wrong int
}

func (r *runner) run(ctx context.Context) error {
	if r.store == "" {
		return fmt.Errorf("-store names no store; make bench-serve makes one")
	}
	fmt.Println("| what | connections | asked for a second | reached | p50 ms | p99 ms | p99.9 ms | left late, p99 ms | server's processor ms each | answers, refused, wrong |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{"queries", r.queries}, {"customers", r.oneCustomer}, {"ingest", r.ingest}} {
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if r.wrong > 0 {
		return fmt.Errorf("%d answers were wrong", r.wrong)
	}
	return nil
}

// wanted reports whether a row is to be measured.
func (r *runner) wanted(name string) bool { return r.only.MatchString(name) }

// tell prints a row.
func (r *runner) tell(name string, connections int, rate float64, m *measured) {
	asked := "as many as go"
	if rate > 0 {
		asked = fmt.Sprintf("%.0f", rate)
	}
	each := "–" // it is not known whose it was
	if m.processor > 0 {
		each = fmt.Sprintf("%.3f", float64(m.processor.Microseconds())/1000/float64(max(1, len(m.took))))
	}
	fmt.Printf("| %s | %d | %s | %.0f | %s | %s | %s | %s | %s | %d, %d, %d |\n", name, connections, asked, m.rate(),
		ms(m.latency(0.5)), ms(m.latency(0.99)), ms(m.latency(0.999)), ms(m.lateness(0.99)), each, len(m.took), m.refused, len(m.mistakes))
	if m.unsent > 0 {
		fmt.Printf("| … of which never sent, for want of time | | | %d | | | | | | |\n", m.unsent)
	}
	for i, err := range m.mistakes {
		if i == 3 {
			break
		}
		fmt.Fprintln(os.Stderr, name+":", err)
	}
	r.wrong += len(m.mistakes)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }

// scratch makes a folder for a store; the function returned removes it.
func (r *runner) scratch() (store string, remove func(), err error) {
	dir, err := os.MkdirTemp(r.work, "wend-serve-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, "store"), func() { os.RemoveAll(dir) }, nil
}
