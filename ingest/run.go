package ingest

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// run is one pass over a text: one goroutine cuts pieces, workers work on
// them, and next returns them in the order of the text.
type run struct {
	text   io.Closer
	stream bool
	source func() (piece, error)
	layout atomic.Pointer[layout] // as far as pieces have been handed on
	queue  chan *job              // in order; its room bounds what is in memory
	stop   chan struct{}
	wait   sync.WaitGroup
	closed bool
}

// job is one piece on its way.
type job struct {
	piece  piece
	base   *layout // with which it was parsed
	result *result
	err    error // io.EOF: no more pieces
	done   chan struct{}
}

func startRun(text io.Closer, stream bool, l *layout, source func() (piece, error)) *run {
	r := &run{text: text, stream: stream, source: source, stop: make(chan struct{})}
	r.layout.Store(l)
	return r
}

// work starts the workers. newWork is called once for each, before any runs.
func (r *run) work(workers int, newWork func() func(*job)) {
	jobs := make(chan *job)
	r.queue = make(chan *job, workers+1)
	for range workers {
		do := newWork()
		r.wait.Go(func() {
			for j := range jobs {
				do(j)
				close(j.done)
			}
		})
	}
	feed := func() {
		defer close(jobs)
		for {
			j := &job{done: make(chan struct{})}
			j.piece, j.err = r.source()
			select {
			case r.queue <- j:
			case <-r.stop:
				return
			}
			if j.err != nil {
				return
			}
			select {
			case jobs <- j:
			case <-r.stop:
				return
			}
		}
	}
	if r.stream {
		go func() { // may wait for input for ever: close does not wait for it
			feed()
			r.text.Close() // nothing more is read, so nothing can be lost
		}()
		return
	}
	r.wait.Go(feed)
}

// next waits for the next piece.
func (r *run) next(ctx context.Context) (*job, error) {
	var j *job
	select {
	case j = <-r.queue:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if j.err != nil {
		return nil, j.err
	}
	select {
	case <-j.done:
		return j, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *run) close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.stop)
	if r.stream {
		return nil // the feeding goroutine owns the text
	}
	r.wait.Wait()
	if r.text == nil {
		return nil
	}
	return r.text.Close()
}

// replay returns a source of pieces that were kept, then those of another.
func replay(kept []piece, source func() (piece, error)) func() (piece, error) {
	return func() (piece, error) {
		if len(kept) == 0 {
			return source()
		}
		p := kept[0]
		kept = kept[1:]
		return p, nil
	}
}
