package engine

import (
	"fmt"

	"wend/event"
)

// Result is the answer to a statement: typed columns, rows, and what a reader
// must know to trust them.
type Result struct {
	Columns []Column
	Rows    [][]Cell
	Meta    Meta
	Chart   any // what -o chart draws beyond the rows: *Histogram for times; nil otherwise

	era        *era   // that it was computed in; nil: it shows no customers
	repeatable bool   // see Repeatable
	weight     string // the column that counts what the rows stand for: what a cut by limit has a share of; may be ""
}

// Repeatable reports whether the snapshot that Meta names determines the rows. It
// does not where some are missing, or of another state, and tells neither how files
// lie nor how long operators take.
func (res *Result) Repeatable() bool { return res.repeatable }

// Column names one column of a Result and says how its cells are to be read.
type Column struct {
	Name string
	Type ColumnType
}

// ColumnType says what a cell holds and how it is shown to people.
type ColumnType string

// The column types, with the Go type of their cells. Any cell may be nil: null.
const (
	Integer  ColumnType = "integer"     // int64
	Number   ColumnType = "number"      // float64
	String   ColumnType = "string"      // string
	Boolean  ColumnType = "boolean"     // bool
	Time     ColumnType = "time"        // event.Time
	Duration ColumnType = "duration_ms" // float64, milliseconds
	Share    ColumnType = "share"       // float64, 0 to 1
	List     ColumnType = "list"        // []string
	Object   ColumnType = "object"      // []event.Prop, sorted by name
)

// Cell is one value of a Result.
type Cell = any

// Meta is what an answer says about itself.
type Meta struct {
	Query         string // canonical, with all defaults
	Unit          string // customers, sessions, attempts, entries or events
	EventsRead    int64
	CustomersRead int64
	BytesRead     int64
	ElapsedMS     float64
	Snapshot      string
	EndOfData     event.Time
	Open          int64   // open attempts; 0 for statements that have none
	Tied          float64 // share of the events read that have another event of the unit at their time
	Denominator   string  // what shares are shares of, in words
	Cut           *Cut    // what top, limit or cover left out; nil: nothing
	During        string  // the instants that during stands for, "" without
	Warnings      []string
	Partial       bool // damaged data was left out
	Missing       []Missing
	Cached        bool
	Plan          []PlanNode // explain, explain analyze: operators, outermost first
}

// Cut tells what an answer leaves out.
type Cut struct {
	Kept, Of int64
	Share    float64 // of what was counted, that the kept rows cover
}

// Missing names damaged data that an answer had to leave out.
type Missing struct {
	Segment  string
	From, To event.Time
	Rows     int64
	Reason   string
	FirstLSN uint64
	LastLSN  uint64
}

// String says it in a line.
func (m Missing) String() string {
	switch {
	case m.Rows != 0:
	case m.FirstLSN == 0: // of a log, nobody knows
		return fmt.Sprintf("%s: %s", m.Segment, m.Reason)
	case m.LastLSN == 0:
		return fmt.Sprintf("%s: batches from LSN %d on: %s", m.Segment, m.FirstLSN, m.Reason)
	default:
		return fmt.Sprintf("%s: batches of LSN %d to %d: %s", m.Segment, m.FirstLSN, m.LastLSN, m.Reason)
	}
	return fmt.Sprintf("%s: %d events from %s to %s: %s", m.Segment, m.Rows, m.From, m.To, m.Reason)
}

// PlanNode is one line of explain.
type PlanNode struct {
	Depth     int
	Operator  string
	Detail    string
	Events    int64   // analyze: events it read
	Skipped   int64   // analyze: events an index let it skip
	ElapsedMS float64 // analyze
}

// Histogram is the distribution that `times` draws: for each step after the
// first, buckets of elapsed time.
type Histogram struct {
	Steps []StepHistogram
}

// StepHistogram counts units by time from the entry to one step.
type StepHistogram struct {
	Step       int
	Touchpoint string
	Bounds     []event.Duration // bucket i is [Bounds[i], Bounds[i+1])
	Counts     []int64          // one fewer than Bounds
}
