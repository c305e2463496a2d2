// Package ingest reads files of events: CSV of every dialect and JSON lines,
// plain, compressed or in archives, in one form: batches.
//
// It decides which columns are an event's fields and what types the others
// have, understands the usual ways of writing times, and rejects, with line,
// column and reason, what does not fit. Storing, ids of events that have none,
// and duplicates are left to others.
//
// A text is cut into pieces of whole records (piece.go), which workers turn
// into columns side by side (worker.go, rows.go); Reader hands the batches on
// in the order of the file. A file is read twice, first to see what types its
// columns have; a stream is held back until enough of it is known.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/text/encoding"

	"wend/event"
)

// Options say how files are to be understood. The zero value is good for most.
type Options struct {
	Map          map[string]string     // field (customer, time, event, channel, id) to column
	Set          map[string]string     // constant fields and properties
	Types        map[string]event.Type // property to type, instead of what its values suggest
	Known        map[string]event.Type // property to type in the store, which files are held to
	Delimiter    rune                  // of CSV; 0: found out
	DecimalComma bool                  // 12,5 and 1.234,56 are numbers, 12.5 is none
	Encoding     string                // "": UTF-8, or UTF-16 with a byte-order mark
	Timezone     *time.Location        // of times that name none; nil: UTC
	TimeFormat   string                // a layout of package time; "": the usual forms
	OnError      string                // skip (default) or stop
	Format       string                // csv, tsv or ndjson; "": by name and content
	RejectsKept  int                   // how many rejects are kept word for word; 0: 100
	Workers      int                   // goroutines that parse; 0: one a core
	Progress     func(Progress)        // called now and then from Next; may be nil

	heldBytes, pieceBytes int // heldBytesMax and pieceBytes, smaller in tests
}

// Progress is how far reading has come. A file that is read twice counts twice.
type Progress struct {
	Rows  int64 // of events handed out and rows rejected
	Bytes int64 // read, compressed
	Total int64 // of Bytes; 0 if it cannot be known
}

// Reject is a row that is not imported, and why.
type Reject struct {
	File   string
	Line   int64  // on which the row begins, from 1
	Column string // of the file; "" if the row as a whole is at fault
	Reason string
}

// String is "FILE:LINE: COLUMN: reason", as compilers write places.
func (r Reject) String() string {
	s := fmt.Sprintf("%s:%d: ", r.File, r.Line)
	if r.Column != "" {
		s += r.Column + ": "
	}
	return s + r.Reason
}

// RejectError is the first reject where Options.OnError is stop.
type RejectError struct{ Reject Reject }

// Error is the row's place and reason.
func (e *RejectError) Error() string { return e.Reject.String() }

// Stats count what has been read so far.
type Stats struct {
	Rows     int64 // records, rejected ones included
	Events   int64
	Rejected int64
	Bytes    int64 // read, compressed
}

const (
	// streamRows is how many rows of a stream are seen before types are settled.
	streamRows = 100_000

	// heldBytesMax is how much text is kept in memory between the two looks at
	// it. A larger file is read again; of a stream no more is seen beforehand.
	heldBytesMax = 64 << 20

	rejectsKept = 100
)

// Reader hands out the events of files, batch by batch.
type Reader struct {
	opt      Options
	read     atomic.Int64 // compressed bytes
	total    int64
	endless  bool // there is a stream: total does not count it
	encoding encoding.Encoding
	reading  reading
	files    []*os.File // archives, open until Close
	parts    []*part
	held     map[string]event.Type

	at       int  // part being read
	run      *run // its workers; nil between parts
	worker   *worker
	ready    []*event.Batch
	source   string
	rows     int64 // of the part at hand
	stats    Stats
	rejects  []Reject
	notes    []string
	mappings []Mapping
	err      error // io.EOF or what ended reading
}

// Open looks at every file's beginning and settles how its columns become
// events, so that a mistaken mapping (*MappingError) shows before anything is
// read; what is no table is a *SourceError. "-" is stdin. When ctx ends, so do
// Open and the reading of stdin and of pipes. The Reader must be closed.
func Open(ctx context.Context, paths []string, stdin io.Reader, opt Options) (*Reader, error) {
	r := &Reader{opt: opt, held: maps.Clone(opt.Known)}
	if r.held == nil {
		r.held = map[string]event.Type{}
	}
	if r.opt.RejectsKept == 0 {
		r.opt.RejectsKept = rejectsKept
	}
	if r.opt.Workers == 0 {
		r.opt.Workers = runtime.GOMAXPROCS(0)
	}
	if r.opt.heldBytes == 0 {
		r.opt.heldBytes, r.opt.pieceBytes = heldBytesMax, pieceBytes
	}
	if err := r.open(ctx, paths, stdin); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) open(ctx context.Context, paths []string, stdin io.Reader) error {
	switch r.opt.OnError {
	case "", "skip", "stop":
	default:
		return &MappingError{Message: fmt.Sprintf("on-error is skip or stop, not %q", r.opt.OnError)}
	}
	if err := checkMap(r.opt); err != nil {
		return err
	}
	if err := checkTold(r.opt); err != nil {
		return err
	}
	c, err := newClock(r.opt.Timezone, r.opt.TimeFormat)
	if err != nil {
		return &MappingError{Message: err.Error()}
	}
	r.reading = reading{clock: c, comma: r.opt.DecimalComma}
	if r.encoding, err = findEncoding(r.opt.Encoding); err != nil {
		return err
	}
	if err := r.findParts(ctx, paths, stdin); err != nil {
		return err
	}
	for _, p := range r.parts {
		err := ctx.Err()
		if err == nil {
			err = r.prepare(p)
		}
		if errors.Is(err, errZipStream) {
			return &SourceError{p.name, errZipStream.Error()}
		}
		if err != nil {
			return err
		}
		r.mappings = append(r.mappings, p.mapping)
		if p.bytes > heldBytesMax/8 { // perhaps compressed: it may be read twice
			r.total += 2 * p.bytes
		} else {
			r.total += p.bytes
		}
		r.endless = r.endless || p.stream
	}
	r.read.Store(0)
	return nil
}

// Mappings returns how each file is understood, in order. The types of a
// file's properties are known once it has been read.
func (r *Reader) Mappings() []Mapping { return r.mappings }

// Source names the file of the latest batch: no batch has rows of two.
func (r *Reader) Source() string { return r.source }

// Rejects returns the first rejects, word for word; Stats counts all.
func (r *Reader) Rejects() []Reject { return r.rejects }

// Stats returns what has been read so far.
func (r *Reader) Stats() Stats {
	s := r.stats
	s.Bytes = r.read.Load()
	return s
}

// Notes returns what else there is to know: renamed columns, files without rows.
func (r *Reader) Notes() []string { return r.notes }

// Next returns the next batch, at most 65,536 rows of one file, in the file's
// order; io.EOF after the last. With OnError stop the first reject ends
// reading with *RejectError.
func (r *Reader) Next(ctx context.Context) (*event.Batch, error) {
	for r.err == nil {
		if len(r.ready) > 0 {
			b := r.ready[0]
			r.ready = r.ready[1:]
			r.stats.Events += int64(b.Len())
			return b, nil
		}
		r.err = r.advance(ctx)
	}
	if r.err != io.EOF {
		return nil, r.err
	}
	return nil, io.EOF
}

// advance reads the next piece, or goes on to the next file.
func (r *Reader) advance(ctx context.Context) error {
	if r.run == nil {
		if r.at == len(r.parts) {
			return io.EOF
		}
		p := r.parts[r.at]
		if p.empty {
			r.at++
			return nil
		}
		if err := r.begin(ctx, p); err != nil {
			return fmt.Errorf("read %s: %w", p.name, err)
		}
	}
	j, err := r.run.next(ctx)
	if err == io.EOF {
		return r.endPart()
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.parts[r.at].name, err)
	}
	if err := r.take(j); err != nil {
		return err
	}
	if r.opt.OnError == "stop" && len(r.rejects) > 0 {
		return &RejectError{r.rejects[0]}
	}
	r.progress()
	return nil
}

func (r *Reader) progress() {
	if r.opt.Progress == nil {
		return
	}
	p := Progress{Rows: r.stats.Rows, Bytes: r.read.Load()}
	if !r.endless {
		p.Total = max(r.total, p.Bytes)
	}
	r.opt.Progress(p)
}

// Preview reads everything and keeps the first n events: a dry run. Rejects
// and Stats are complete afterwards.
func (r *Reader) Preview(ctx context.Context, n int) ([]event.Event, error) {
	var events []event.Event
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		for i := 0; i < b.Len() && len(events) < n; i++ {
			events = append(events, b.At(i))
		}
	}
}

// Close ends reading.
func (r *Reader) Close() error {
	var errs []error
	if r.run != nil {
		errs = append(errs, r.run.close())
		r.run = nil
	}
	for _, p := range r.parts {
		if p.replayed != nil {
			errs = append(errs, p.replayed.Close())
			p.replayed = nil
		}
	}
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	r.files = nil
	if r.err == nil {
		r.err = errors.New("the reader is closed")
	}
	return errors.Join(errs...)
}

// begin settles a part's types and sets workers to it.
func (r *Reader) begin(ctx context.Context, p *part) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	types := typing{asked: r.opt.Types, held: maps.Clone(r.held)}
	r.worker = newWorker(r.reading, types, p, r.opt.RejectsKept)
	source := p.pieces(text, r.opt.pieceBytes)
	s := newSurvey(p.layout)
	var kept []piece
	whole := true // kept is all of the text, or all before what source has left
	switch {
	case p.stream:
		kept, err = r.surveyStream(source, s)
	case r.mustSurvey(p, types):
		kept, whole, err = r.surveyFile(ctx, p, types, source, s)
	}
	if err != nil {
		text.Close()
		return err
	}
	if !whole {
		if err := text.Close(); err != nil {
			return err
		}
		if text, err = p.text(); err != nil {
			return err
		}
		source = p.pieces(text, r.opt.pieceBytes)
	}
	decided := make([]column, len(s.columns))
	for i, c := range s.columns {
		decided[i] = types.decide(c.name, c.source, s.seen[i])
	}
	l := p.layout.with(decided...)
	if err := checkWidth(p, l); err != nil {
		text.Close()
		return err
	}
	r.source, r.rows = p.name, 0
	parse := startRun(text, p.stream, l, replay(kept, source))
	r.run = parse
	parse.work(r.opt.Workers, func() func(*job) {
		w := newWorker(r.reading, types, p, r.opt.RejectsKept)
		return func(j *job) {
			j.base = parse.layout.Load()
			j.result = w.parse(j.piece, j.base)
		}
	})
	return nil
}

// mustSurvey reports whether any column's type depends on its values.
func (r *Reader) mustSurvey(p *part, types typing) bool {
	if !p.csv {
		return true
	}
	for _, c := range p.layout.columns {
		if types.open(c) {
			return true
		}
	}
	return false
}

// surveyFile looks at all values of a file. It returns the pieces, if the file
// is small enough to be kept.
func (r *Reader) surveyFile(ctx context.Context, p *part, types typing, source func() (piece, error), s *survey) (kept []piece, whole bool, err error) {
	look := startRun(nil, false, p.layout, source)
	defer look.close()
	var surveys []*survey
	look.work(r.opt.Workers, func() func(*job) {
		w := newWorker(r.reading, types, p, 0)
		mine := newSurvey(p.layout)
		surveys = append(surveys, mine) // before the workers start
		return func(j *job) { w.survey(j.piece, mine, -1) }
	})
	whole = true
	size := 0
	for {
		j, err := look.next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if size += len(j.piece.data); size > r.opt.heldBytes {
			whole, kept = false, nil
		}
		if whole {
			kept = append(kept, j.piece)
		}
		r.progress()
	}
	for _, each := range surveys {
		s.merge(each)
	}
	return kept, whole, nil
}

// surveyStream looks at the first rows of a stream and keeps its pieces.
func (r *Reader) surveyStream(source func() (piece, error), s *survey) (kept []piece, err error) {
	for size := 0; s.rows < streamRows && size < r.opt.heldBytes; {
		next, err := source()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		r.worker.survey(next, s, streamRows-s.rows)
		kept = append(kept, next)
		size += len(next.data)
	}
	return kept, nil
}

// take adopts a piece's result. What it saw for the first time must agree with
// what earlier pieces made of the same property; if not, it is parsed again.
func (r *Reader) take(j *job) error {
	l := r.run.layout.Load()
	res := j.result
	if res.layout != j.base {
		var agrees bool
		if l, agrees = l.adopt(res.layout, j.base); !agrees {
			res = r.worker.parse(j.piece, l)
			l, _ = l.adopt(res.layout, l)
		}
	}
	for _, b := range res.batches {
		for i := range b.Columns {
			c := &b.Columns[i]
			at := l.byName[c.Name]
			switch held := l.columns[at]; {
			case held.typ == event.IntegerType && c.Type == event.FloatType:
				held.typ = event.FloatType
				l = l.with(held)
			case held.typ == event.FloatType && c.Type == event.IntegerType:
				widen(c, len(c.Ints))
			}
		}
	}
	if err := checkWidth(r.parts[r.at], l); err != nil {
		return err
	}
	r.run.layout.Store(l)
	r.ready = res.batches
	r.rows += res.rows
	r.stats.Rows += res.rows
	r.stats.Rejected += res.rejected
	for _, reject := range res.rejects {
		if len(r.rejects) < r.opt.RejectsKept {
			reject.File = r.source
			r.rejects = append(r.rejects, reject)
		}
	}
	return nil
}

// checkWidth refuses a file with more properties than anybody means.
func checkWidth(p *part, l *layout) error {
	if len(l.columns) > propertiesMax {
		return &MappingError{File: p.name, Message: fmt.Sprintf("the file has more than %d different properties; are ids or times used as keys?", propertiesMax)}
	}
	return nil
}

// adopt adds to a layout what a piece made of its base, and reports whether the
// two agree.
func (l *layout) adopt(seen, base *layout) (*layout, bool) {
	var more []column
	for _, c := range seen.columns {
		if i, ok := base.byName[c.name]; ok && base.columns[i].typ == c.typ {
			continue
		}
		if i, ok := l.byName[c.name]; ok && l.columns[i].typ != event.None {
			if l.columns[i].typ != c.typ {
				return l.with(more...), false
			}
			continue
		}
		more = append(more, c)
	}
	return l.with(more...), true
}

func (r *Reader) endPart() error {
	p := r.parts[r.at]
	l := r.run.layout.Load()
	err := r.run.close()
	r.run = nil
	if err != nil {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	if r.rows == 0 {
		r.notes = append(r.notes, p.name+" has a header and no rows")
	}
	m := &r.mappings[r.at]
	m.Properties = m.Properties[:0]
	for _, c := range l.columns {
		m.Properties = append(m.Properties, Property{Column: c.source, Name: c.name, Type: c.typ})
		if c.typ != event.None {
			r.held[c.name] = c.typ // later files must fit
		}
	}
	r.at++
	return nil
}
