package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wend/event"
	"wend/query"
	"wend/storage"
)

// QuerySettings are what the options of one query come to.
type QuerySettings struct {
	Params   map[string]event.Value // values of $name
	Lenient  bool                   // unknown names are warnings
	Progress func(done, total int)
	NoCache  bool // compute afresh
	ReadOnly bool // refuse define and drop
	Limits   RunOptions
}

// QueryOption changes how one query runs.
type QueryOption func(*QuerySettings)

// NewQuerySettings applies options, for those who pass queries on elsewhere.
func NewQuerySettings(opts ...QueryOption) QuerySettings {
	var s QuerySettings
	for _, opt := range opts {
		opt(&s)
	}
	return s
}

// WithParams gives the values of the parameters $name.
func WithParams(params map[string]event.Value) QueryOption {
	return func(s *QuerySettings) { s.Params = params }
}

// WithLenient makes unknown names warnings.
func WithLenient() QueryOption { return func(s *QuerySettings) { s.Lenient = true } }

// WithProgress has a function called now and then, from several goroutines but
// never at once, with how many tiles of how many are done.
func WithProgress(f func(done, total int)) QueryOption {
	return func(s *QuerySettings) { s.Progress = f }
}

// NoCache has the answer computed afresh.
func NoCache() QueryOption { return func(s *QuerySettings) { s.NoCache = true } }

// WithLimits bounds the query. Progress is set by WithProgress.
func WithLimits(limits RunOptions) QueryOption {
	return func(s *QuerySettings) { s.Limits = limits }
}

// ReadOnlyQuery refuses define and drop.
func ReadOnlyQuery() QueryOption { return func(s *QuerySettings) { s.ReadOnly = true } }

// Query runs one statement and returns its answer. The Result may be shared
// with other callers and must not be changed.
//
// It fails with query.Errors for mistakes in the text, *LimitError for a limit,
// storage.ErrReadOnly for a definition that may not be made, and with ctx's
// error when cancelled. Segments that it finds damaged are set aside, and the
// rest answers: then Meta says that the answer is partial, and what is missing.
func (db *DB) Query(ctx context.Context, text string, opts ...QueryOption) (*Result, error) {
	if err := db.begin(); err != nil {
		return nil, err
	}
	defer db.running.Done()
	claim := db.turns.claim()
	turn := claim.turn() // for what comes before the statement runs
	defer turn.end()
	s, err := db.parse(ctx, turn, text)
	if err != nil {
		return nil, err
	}
	settings := NewQuerySettings(opts...)
	if s.Query == nil {
		if settings.ReadOnly || db.opt.ReadOnly {
			return nil, fmt.Errorf("%s: %w", firstWords(s.String()), storage.ErrReadOnly)
		}
		turn.end()
		return db.redefine(ctx, s, settings)
	}
	for again := false; ; {
		era := db.eras.current() // before the snapshot: an erasure between them ends too much rather than too little
		snap, err := db.snapshot()
		if err != nil {
			return nil, err
		}
		plan, err := query.Bind(s, snap.catalog(settings))
		if err != nil {
			snap.Release()
			return nil, err
		}
		turn.end()
		res, err := db.answer(ctx, plan, snap, era, claim, settings) // which releases the snapshot
		if err != nil && db.store.SetAside(err) {
			continue // the rest answers: a damaged segment is not in the next snapshot
		}
		if again || !errors.Is(err, ErrErased) {
			return res, err
		}
		again = true
	}
}

// longText is from how many bytes on a text takes long to read.
const longText = 4 << 10

// parse reads a statement in a turn, which goes on.
func (db *DB) parse(ctx context.Context, turn *turn, text string) (s *query.Statement, err error) {
	err = db.reading(ctx, turn, text, func() error {
		s, err = oneStatement(text)
		return err
	})
	return s, err
}

// reading has a text read in a turn, which goes on. Long texts are read one at a
// time: there is no giving way inside of them.
func (db *DB) reading(ctx context.Context, turn *turn, text string, read func() error) error {
	if len(text) > longText {
		select {
		case db.longTexts <- struct{}{}:
			defer func() { <-db.longTexts }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := turn.begin(ctx); err != nil {
		return err
	}
	return read()
}

// shortEnough checks a text of one statement before it is read, with all that stands around it.
func shortEnough(text string) error {
	if n := len(text); n > query.StatementBytesMax {
		return query.Errors{{Code: query.CodeTextTooLong, Message: fmt.Sprintf("the text has %d bytes; the limit is %d", n, query.StatementBytesMax),
			Hint: "import a long list of values as a property", Span: query.Span{Line: 1, Column: 1, Length: 1}, Text: text}}
	}
	return nil
}

// oneStatement parses a text that must hold exactly one statement.
func oneStatement(text string) (*query.Statement, error) {
	if err := shortEnough(text); err != nil {
		return nil, err
	}
	statements, err := query.Parse(text)
	if err != nil {
		return nil, err
	}
	switch len(statements) {
	case 1:
		return statements[0], nil
	case 0:
		return nil, query.Errors{{Code: "no_statement", Message: "there is no statement", Hint: "try `show events`",
			Span: query.Span{Line: 1, Column: 1, Length: 1}, Text: text}}
	}
	return nil, query.Errors{{Code: "several_statements", Message: "one statement at a time", Hint: "run them one after another",
		Span: statements[1].Span, Text: text}}
}

func firstWords(text string) string {
	if len(text) > 40 {
		text = strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}

// redefine stores or drops a definition.
func (db *DB) redefine(ctx context.Context, s *query.Statement, settings QuerySettings) (*Result, error) {
	db.defining.Lock()
	defer db.defining.Unlock()
	begun := time.Now()
	snap, err := db.snapshot()
	if err != nil {
		return nil, err
	}
	catalog := snap.catalog(settings)
	snap.Release()
	res := &Result{Columns: []Column{{"kind", String}, {"name", String}, {"definition", String}, {"change", String}}}
	res.Meta = Meta{Query: s.String(), Unit: "definitions", EndOfData: catalog.EndOfData}
	if s.Drop != nil {
		name, err := query.CheckDrop(s, catalog)
		if err != nil {
			return nil, err
		}
		if err := db.store.Drop(ctx, name); err != nil {
			return nil, fmt.Errorf("drop %s: %w", name, err)
		}
		for _, d := range catalog.Definitions {
			if d.Name == name {
				res.Rows = append(res.Rows, []Cell{d.Kind, d.Name, d.Text, "dropped"})
			}
		}
	} else {
		d, warnings, err := query.CheckDefine(s, catalog)
		if err != nil {
			return nil, err
		}
		replaced, err := db.store.Define(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("define %s: %w", d.Name, err)
		}
		change := "defined"
		if replaced {
			change = "replaced"
		}
		res.Meta.Warnings = warnings
		res.Rows = append(res.Rows, []Cell{d.Kind, d.Name, d.Text, change})
	}
	res.Meta.ElapsedMS = float64(time.Since(begun)) / float64(time.Millisecond)
	return res, nil
}

// answer runs a plan, or finds that it ran before, or is running just now. It
// releases the snapshot.
func (db *DB) answer(ctx context.Context, plan *query.Plan, snap pinned, era *era, claim *claim, settings QuerySettings) (*Result, error) {
	begun := time.Now()
	if err := ctx.Err(); err != nil {
		snap.Release()
		return nil, err
	}
	key := answerKey(plan, snap.Version(), settings)
	repeatable := !plan.Analyze && plan.Show != "status" // these tell more than the snapshot
	reusable := repeatable && !settings.NoCache
	if reusable {
		if res, ok := db.results.hit(key, begun); ok {
			snap.Release()
			return res, nil
		}
	} else {
		key = "" // nobody else's flight will do
	}
	var kept RunOptions
	if reusable && plan.Verb == "next" && plan.For && plan.TestLast == 0 && !plan.Explain {
		statement, build := modelKey(plan, snap, settings), false
		if kept.model, kept.aged, build = db.models.use(statement, snap, snap.Removals()); build {
			db.learn(plan, statement, settings)
		}
	}
	db.running.Add(1) // beside the caller's: the query may outlive it
	release := func() {
		snap.Release()
		db.running.Done()
	}
	flight := key
	if key != "" { // the answer does not depend on the time allowed, but whether there is one does
		flight += settings.Limits.Time.String()
	}
	return db.flights.do(ctx, flight, settings.Progress, release, func(ctx context.Context, progress func(done, total int)) (*Result, error) {
		defer release()
		if reusable { // an equal query may have come to its end since
			if res, ok := db.results.hit(key, begun); ok {
				return res, nil
			}
		}
		ctx, stop := mergeCancel(ctx, db.ctx)
		defer stop()
		ctx, stop = mergeCancel(ctx, era.ctx)
		defer stop()
		opt := settings.Limits
		opt.Progress, opt.shared, opt.claim = progress, db.memory, claim
		if opt.Workers == 0 {
			opt.Workers = db.opt.Workers
		}
		opt.status, opt.model, opt.aged = db.statusRows, kept.model, kept.aged
		res, err := Run(ctx, plan, snap, opt)
		if err != nil && db.ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil, storage.ErrClosed
		}
		if era.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) { // also what came to its end just now
			return nil, ErrErased
		}
		if err == nil {
			res.era = era
			res.repeatable = repeatable && !res.Meta.Partial && kept.aged == 0
			if res.repeatable && reusable && !db.eras.over(era) {
				db.results.put(key, res)
			}
		}
		return res, err
	})
}

// mergeCancel returns ctx, ended also when other ends.
func mergeCancel(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

// answerKey names an answer: what was asked, of which state, under which
// limits. Two plans with one text and one span of instants are the same.
func answerKey(plan *query.Plan, version string, s QuerySettings) string {
	var b strings.Builder
	b.WriteString(version)
	for _, n := range []int64{int64(plan.During.From), int64(plan.During.To), int64(plan.End), s.Limits.MemoryBytes, int64(s.Limits.Rows), int64(s.Limits.Groups), s.Limits.AnswerBytes} {
		b.WriteByte(0)
		b.WriteString(strconv.FormatInt(n, 36))
	}
	b.WriteByte(0)
	b.WriteString(strconv.FormatBool(s.Lenient))
	b.WriteString(strconv.FormatBool(plan.Explain))
	b.WriteByte(0)
	b.WriteString(plan.Text)
	return b.String()
}

// statusRows are what `show status` says beyond the snapshot.
func (db *DB) statusRows() [][2]string {
	s := db.store.Status()
	rows := [][2]string{
		{"time span", fmt.Sprintf("%s to %s", s.From, s.To)},
		{"segments", strconv.Itoa(len(s.Segments))},
		{"bytes of segments", strconv.FormatInt(s.Bytes, 10)},
	}
	for _, c := range s.Columns {
		rows = append(rows, [2]string{"bytes of " + c.Column, strconv.FormatInt(c.Bytes, 10)})
	}
	return append(rows,
		[2]string{"partition", s.Partition},
		[2]string{"events in the log only", strconv.Itoa(s.MemtableEvents)},
		[2]string{"bytes of the log", strconv.FormatInt(s.LogBytes, 10)},
		[2]string{"imports", strconv.Itoa(len(s.Imports))},
		[2]string{"links", strconv.Itoa(s.Links)},
	)
}
