package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/internal/reference"
	"wend/internal/transcript"
	"wend/query"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// referenceVerbs are the statements that the reference evaluator knows.
var referenceVerbs = []string{"funnel", "times", "dropoff", "paths", "transitions", "measure", "journey", "customers"}

// TestTranscripts runs every transcript by the engine, over one tile and over
// several, and by the reference evaluator.
func TestTranscripts(t *testing.T) {
	names, err := filepath.Glob("../testdata/*/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no transcripts (%v)", err)
	}
	for _, name := range names {
		short := strings.TrimPrefix(name, "../testdata/")
		f, err := transcript.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Cases {
			t.Run(fmt.Sprintf("%s:%d", short, c.Line), func(t *testing.T) { runCase(t, c) })
		}
		if *update && !t.Failed() {
			if err := f.Write(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func runCase(t *testing.T, c *transcript.Case) {
	got := answerOf(c, 1)
	if *update && (got.err == nil || c.Columns == nil) {
		got.store(c)
		return
	}
	got.compare(t, c, "engine")
	if several := answerOf(c, 3); several.table(c.Columns) != got.table(c.Columns) {
		t.Errorf("over three tiles:\n%s", several.table(c.Columns))
	}
	if byReference, ok := referenceOf(c); ok && c.Columns != nil {
		byReference.compare(t, c, "reference")
	}
}

// answered is an answer or an error.
type answered struct {
	columns []string
	elapsed []bool // the column holds elapsed times
	rows    [][]any
	err     error
}

func (a *answered) compare(t *testing.T, c *transcript.Case, by string) {
	t.Helper()
	switch {
	case a.err != nil && c.Columns != nil:
		t.Errorf("%s\n%s", c.Query, a.errorText())
	case a.err == nil && c.Columns == nil:
		t.Errorf("%s\nby %s: no error, want: %s", c.Query, by, c.Error)
	case a.err != nil:
		if a.errorText() != c.Error {
			t.Errorf("%s\nby %s:\n%s\nwant\n%s", c.Query, by, a.errorText(), c.Error)
		}
	default:
		if got, want := a.table(c.Columns), transcript.Table(c.Columns, c.Rows); got != want {
			t.Errorf("%s\n%s\nby %s\n%swant\n%s", c.Note, c.Query, by, got, want)
		}
	}
}

func (a *answered) errorText() string {
	var mistake *query.Error
	if errors.As(a.err, &mistake) {
		return mistake.Error()
	}
	return a.err.Error()
}

// table is the answer with only some of its columns.
func (a *answered) table(columns []string) string {
	if a.err != nil {
		return a.errorText()
	}
	return transcript.Table(columns, a.cells(columns))
}

func (a *answered) cells(columns []string) [][]string {
	var rows [][]string
	for _, row := range a.rows {
		var cells []string
		for _, name := range columns {
			i := slices.Index(a.columns, name)
			if i < 0 {
				cells = append(cells, "no such column")
				continue
			}
			cells = append(cells, transcript.Cell(row[i], a.elapsed[i]))
		}
		rows = append(rows, cells)
	}
	return rows
}

func (a *answered) store(c *transcript.Case) {
	if a.err != nil {
		c.Columns, c.Rows, c.Error = nil, nil, a.errorText()
		return
	}
	if c.Error = ""; c.Columns == nil {
		c.Columns = a.columns
	}
	c.Rows = a.cells(c.Columns)
}

// bound parses and binds a case's query.
func bound(c *transcript.Case, snap engine.Snapshot) (*query.Statement, *query.Plan, error) {
	st, err := query.Parse(c.Query)
	if err != nil {
		return nil, nil, err
	}
	end, ok := snap.EndOfData()
	plan, err := query.Bind(st[0], &query.Catalog{Schema: snap.Schema(), Definitions: c.Definitions, EndOfData: end, Empty: !ok})
	return st[0], plan, err
}

func answerOf(c *transcript.Case, tiles int) *answered {
	known := &event.Schema{Channels: []event.Name{{}}}
	for _, name := range c.Known {
		known.Events = append(known.Events, event.Name{Text: name})
	}
	snap := enginetest.Must(c.Events, enginetest.Options{Links: c.Links, Definitions: c.Definitions, Tiles: tiles, EndOfData: c.End, HasEnd: c.HasEnd, Schema: known})
	_, plan, err := bound(c, snap)
	if err != nil {
		return &answered{err: err}
	}
	res, err := engine.Run(context.Background(), plan, snap, engine.RunOptions{Workers: 2})
	if err != nil {
		return &answered{err: err}
	}
	a := &answered{rows: res.Rows}
	for _, column := range res.Columns {
		a.columns = append(a.columns, column.Name)
		a.elapsed = append(a.elapsed, column.Type == engine.Duration)
	}
	return a
}

// referenceOf answers a case by the reference evaluator; ok is false where it
// does not know the statement.
func referenceOf(c *transcript.Case) (a *answered, ok bool) {
	st, err := query.Parse(c.Query)
	if err != nil || st[0].Query == nil || st[0].Explain || !slices.Contains(referenceVerbs, st[0].Query.Verb) {
		return nil, false
	}
	end := c.End
	if !c.HasEnd {
		for _, e := range c.Events {
			end = max(end, e.Time)
		}
	}
	out, err := reference.Evaluate(c.Events, c.Links, st[0], c.Definitions, end)
	if err != nil {
		return &answered{err: err}, true
	}
	a = &answered{columns: out.Columns, rows: out.Rows}
	for _, name := range out.Columns {
		a.elapsed = append(a.elapsed, isElapsed(name))
	}
	return a, true
}

// isElapsed tells elapsed times by their column's name: the reference does not type its columns.
func isElapsed(column string) bool {
	return column == "window" || column == "mean" || strings.HasPrefix(column, "median_") || len(column) == 3 && column[0] == 'p'
}
