package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"wend/engine"
	"wend/query"
	"wend/render"
)

// session is what the commands change: how answers are shown, and the last one.
type session struct {
	db    Database
	in    *os.File
	out   *os.File
	err   io.Writer
	lines lineReader

	mode    string // auto, or a format of render
	timer   bool
	explain string // "", "explain" or "explain analyze": put before statements
	rowsMax int    // rows shown of a table; 0: all
	once    string // where the next answer goes instead of the screen; |command pipes it

	last     *engine.Result
	lastText string
}

// progressAfter is how long a query runs before it says how far it is, and
// progressEvery how often it says so.
const (
	progressAfter = 300 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

func newSession(db Database, opt Options) *session {
	return &session{db: db, in: opt.In, out: opt.Out, err: opt.Err, mode: "auto", timer: true, rowsMax: 40}
}

// interactive reports whether a person is at both ends.
func (s *session) interactive() bool {
	return term.IsTerminal(int(s.in.Fd())) && term.IsTerminal(int(s.out.Fd()))
}

// run runs each statement of a text and shows its answer. Ctrl-C ends it and not
// the program.
func (s *session) run(ctx context.Context, text string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	statements, _ := query.Split(text)
	at := 0
	for i, part := range statements {
		at += strings.Index(text[at:], part)
		statement := strings.TrimSpace(part)
		if i > 0 && s.once == "" && s.mode != "csv" && s.mode != "json" && s.mode != "ndjson" {
			fmt.Fprintln(s.out)
		}
		if s.explain != "" && !startsWithWord(statement, "explain", "define", "drop") {
			statement = s.explain + " " + statement
		}
		result, err := s.query(ctx, statement)
		if err != nil && statement != strings.TrimSpace(part) {
			return err // its place is in the text with explain before it
		}
		if err != nil {
			return query.Within(text, at+strings.Index(part, statement), err)
		}
		at += len(part)
		s.last, s.lastText = result, statement
		if err := s.show(ctx, result); err != nil {
			return err
		}
	}
	return nil
}

func startsWithWord(text string, words ...string) bool {
	first, _, _ := strings.Cut(text, " ")
	for _, w := range words {
		if strings.EqualFold(first, w) {
			return true
		}
	}
	return false
}

// errCancelled is what is said after Ctrl-C.
var errCancelled = errors.New("cancelled")

// query runs one statement; what takes long shows how far it is.
func (s *session) query(ctx context.Context, statement string) (*engine.Result, error) {
	if !s.interactive() {
		return s.db.Query(ctx, statement)
	}
	var done, total atomic.Int64
	finished := make(chan struct{})
	shown := make(chan bool)
	began := time.Now()
	go func() {
		any := false
		timer := time.NewTimer(progressAfter)
		defer timer.Stop()
		for {
			select {
			case <-finished:
				shown <- any
				return
			case <-timer.C:
				any = true
				fmt.Fprintf(s.err, "\r\x1b[K%s", progressLine(done.Load(), total.Load(), time.Since(began)))
				timer.Reset(progressEvery)
			}
		}
	}()
	result, err := s.db.Query(ctx, statement, engine.WithProgress(func(d, t int) {
		done.Store(int64(d))
		total.Store(int64(t))
	}))
	close(finished)
	if <-shown {
		fmt.Fprint(s.err, "\r\x1b[K")
	}
	if errors.Is(err, context.Canceled) {
		return nil, errCancelled
	}
	return result, err
}

func progressLine(done, total int64, elapsed time.Duration) string {
	if total == 0 {
		return fmt.Sprintf("working, %.1f s, Ctrl-C cancels", elapsed.Seconds())
	}
	return fmt.Sprintf("%3d %% of the customers, %.1f s, Ctrl-C cancels", 100*done/total, elapsed.Seconds())
}

// show writes an answer where the next one is to go, until ctx ends.
func (s *session) show(ctx context.Context, r *engine.Result) error {
	if s.once != "" {
		target := s.once
		s.once = ""
		return s.writeTo(ctx, target, r)
	}
	opt := s.renderOptions()
	err := render.Write(interruptible{ctx, s.out}, r, s.format(r), opt)
	if errors.Is(err, errCancelled) {
		return errCancelled
	}
	if err != nil {
		return fmt.Errorf("show the answer: %w", err)
	}
	if s.timer {
		fmt.Fprintln(s.err, render.Footer(r, opt))
	}
	return nil
}

// interruptible writes until ctx ends, and then up to the end of the line.
type interruptible struct {
	ctx context.Context
	out io.Writer
}

// Write fails with errCancelled once ctx has ended.
func (w interruptible) Write(p []byte) (int, error) {
	if w.ctx.Err() == nil {
		return w.out.Write(p)
	}
	n, err := w.out.Write(p[:bytes.IndexByte(p, '\n')+1])
	if err == nil {
		err = errCancelled
	}
	return n, err
}

func (s *session) renderOptions() render.Options {
	opt := render.Options{Rows: s.rowsMax}
	if term.IsTerminal(int(s.out.Fd())) {
		opt.Width, _, _ = term.GetSize(int(s.out.Fd()))
		opt.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		opt.Unicode = unicodeTerminal()
	}
	return opt
}

// unicodeTerminal reports whether the locale says that the terminal shows UTF-8.
func unicodeTerminal() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// chartWidthMin is the narrowest terminal in which auto mode draws.
const chartWidthMin = 40

// format resolves auto: funnels and paths are drawn where the terminal allows,
// all else is a table; a pipe gets a table too.
func (s *session) format(r *engine.Result) string {
	if s.mode != "auto" {
		return s.mode
	}
	opt := s.renderOptions()
	if opt.Width >= chartWidthMin && render.Drawable(r) {
		return "chart"
	}
	return "table"
}

// showError shows a mistake with its place in the text, anything else as one line.
func (s *session) showError(err error) {
	if text, ok := query.Pretty(err); ok {
		fmt.Fprintln(s.err, text)
		return
	}
	s.say(err.Error())
}

// say prints what is no answer, broken to the terminal's width.
func (s *session) say(text string) {
	fmt.Fprintln(s.err, wrap(text, s.renderOptions().Width, 0))
}
