package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"wend/ingest"
)

// progress is one line on a terminal that says how far reading is; elsewhere it
// says nothing.
type progress struct {
	out   io.Writer
	on    bool
	last  time.Time
	drawn bool
}

func newProgress(f *os.File) *progress {
	return &progress{out: f, on: term.IsTerminal(int(f.Fd()))}
}

func (p *progress) show(at ingest.Progress, elapsed time.Duration) {
	if !p.on || time.Since(p.last) < 100*time.Millisecond || elapsed < 300*time.Millisecond {
		return
	}
	p.last, p.drawn = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K%d rows, %.0f rows/s", at.Rows, float64(at.Rows)/elapsed.Seconds())
	if at.Total > 0 && at.Bytes > 0 {
		share := float64(at.Bytes) / float64(at.Total)
		left := time.Duration(float64(elapsed) * (1 - share) / share)
		fmt.Fprintf(p.out, ", %.0f %% of the file, %s left", 100*share, left.Round(time.Second))
	}
}

func (p *progress) working(what string) {
	if p.on {
		p.drawn = true
		fmt.Fprintf(p.out, "\r\x1b[K%s", what)
	}
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}
