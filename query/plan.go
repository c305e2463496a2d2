package query

import (
	"regexp"
	"time"

	"wend/event"
)

// Plan is a statement after binding: names resolved, types checked, defaults
// filled in, definitions expanded, relative times turned into instants. It is
// all that the engine knows of the language. A Plan is declarative and does
// not change; it holds no codes or positions of any store.
type Plan struct {
	Verb    string // as Query.Verb
	Explain bool
	Analyze bool

	// Text is the statement in canonical form, with all defaults and with the
	// values of parameters; read again it binds to an equal plan. Definitions
	// keep their names and ranges such as `last 30 days` their words, so what
	// Text stands for depends on the snapshot: two plans over one snapshot with
	// the same Text have the same answer. Text and the snapshot's version, which
	// changes with its definitions, make a cache key.
	Text     string
	Warnings []string

	Where    *ScalarExpr // nil: all events
	During   Interval    // anchors (or events, see the clause table); zero: unbounded
	End      event.Time  // end of data: events later than this do not exist for the query
	HasEnd   bool        // the statement gave `end`: later events must be left out (else none are)
	Among    *CohortPlan // nil: all customers
	Timezone *time.Location
	Every    string   // "" or hour day week month quarter year
	By       []ByPlan // breakdown by the anchor's (or a step's) value
	Order    *Order   // nil: the statement's own order
	Limit    int64    // 0: none

	Pattern     *PatternPlan // funnel times dropoff why drivers, next after
	Windows     []event.Duration
	HasWindow   bool // Windows is set: always where the statement takes `within`, of paths only with from or to
	Unit        Unit
	Count       string // customers sessions attempts entries; "" without a pattern
	Holding     string // property name, "channel", or "": none
	EntryFirst  bool
	TiesArrival bool
	Exclusion   string // cut void drop

	Of                       []*ScalarExpr // label, several joined by " @ "; default: the event's name. attribute: to E, …; affinity: PROP; customers: the latest values (CustomerScope), nil without
	Top                      int64         // 0: all
	Length                   int64
	Depth                    int64
	Cover                    float64 // share 0…1; 0: not given
	Collapse                 bool
	Through                  *Matcher
	Goal                     *Matcher
	From, To                 *Matcher // paths, flow; retention START, RETURN; attribute/affinity: From is ALT
	FromEach                 bool
	ToEach                   bool
	WithTimes                bool     // transitions with times
	FromChannels, ToChannels []string // switches: nil is any
	Outputs                  []OutputPlan
	Customer                 string // journey, why, next for
	Show                     string // show …
	Describe                 string // describe NAME
	Regex                    *RegexPlan
	Periods                  int64 // retention: for N
	Models                   []ModelPlan
	Value                    *ScalarExpr // attribute value
	Score                    string      // property name
	TestLast                 float64     // next: share 0…1
	Stages                   []StagePlan // map
	Per                      string      // affinity: the property whose values are baskets; "": the Unit
	For                      bool        // next for
}

// Interval is [From, To); a bound that is not given is the type's least or greatest value.
type Interval struct {
	From, To event.Time
	Set      bool
}

// Unit is what is followed: a customer, or a session of one. Of measure,
// Session says that an output counts sessions.
type Unit struct {
	Session bool
	Gap     event.Duration // a session ends where the gap to the next event is larger
}

// ByPlan is one expression of by.
type ByPlan struct {
	Name string // the column's name: canonical text of the expression
	Expr *ScalarExpr
	Top  int64 // 0: all
}

// Order is the order by clause, with a column of the answer.
type Order struct {
	Column string
	Desc   bool
}

// PatternPlan is a bound pattern: 1 to 32 steps.
type PatternPlan struct {
	AnyOrder bool
	Steps    []StepPlan
	Text     string // canonical
}

// StepPlan is one step and how it is reached from the one before.
type StepPlan struct {
	Name    string // the `as` name, else the step in canonical form: column touchpoint
	Match   *Matcher
	Next    bool           // => : the very next event
	Bound   event.Duration // longest gap to the step before, inclusive; negative: none
	Exclude *Matcher       // no such event strictly between; nil: none
}

// Matcher tells whether an event fulfils a condition: any of the alternatives.
type Matcher struct {
	Any  []Touchpoint
	Text string // canonical
}

// Touchpoint is one alternative of a Matcher. All parts must hold.
type Touchpoint struct {
	AnyEvent bool
	Event    string
	Channels []string // any of these; nil: any channel or none
	Filter   *ScalarExpr
}

// ScalarExpr is a bound, typed expression over one event (or, in measure, over
// a group of events). Comparisons with null are unknown (null of BooleanType).
//
//	Op        meaning, with Args
//	"const"   Value
//	"field"   a field of the event that Scope names (below): Field is "event", "channel",
//	          "customer", "time", "id" or a property's name with Property set
//	"stage"   the name of the first of Stages whose Matcher fits the event that Scope names (null in
//	          none; an error in two); never of the customer
//	"group"   the name of the channel group that this event's channel is in (Groups)
//	"segment" whether the event's customer is in Cohort (never null)
//	"events"  only of a by of drivers: the touchpoints between entry and T
//	"position" any order: the text "k of N" of step Scope's k-th event (reserved)
//	"and" "or" "not" "neg" "+" "-" "*" "/" "=" "!=" "<" "<=" ">" ">=" ("and" and "or" have two
//	          or more Args; an elapsed time is an integer, microseconds: "-" of two times is one
//	          and stands in comparisons only, "+" and "-" of a time and one are a time)
//	"in" (Args[0] among Args[1:]), "between" (Args[0] from Args[1] to Args[2], inclusive),
//	"like" "~" (Regexp, on Args[0]; like is translated to one), "isnull"
//	"lower" "upper" "coalesce" "abs" "round" "length"
//	"hour" "weekday" "day" "month" "year" "date" of a time in the plan's Timezone
//	          (hour 0…23, weekday 1 Monday … 7, day 1…31, month 1…12, date "2025-01-31" as text)
//	measure only: "events" "customers" "sessions" "sum" "avg" "min" "max" "distinct"
//	          "percentile" (Value: 0…1; median is 0.5), each over Args[0] (none for the first
//	          three) and over the rows that fulfil Filter (nil: all)
//
// The negated forms (is not null, not in, not between, not like) are "not" over the plain ones.
type ScalarExpr struct {
	Op       string
	Type     event.Type // of the result; None: always null
	Args     []*ScalarExpr
	Value    event.Value
	Scope    Scope
	Step     int // Scope StepScope: 1…
	Field    string
	Property bool
	Regexp   *regexp.Regexp
	Filter   *ScalarExpr
	Stages   []StagePlan
	Groups   []ChannelGroup
	Cohort   *CohortPlan
	Name     string // segment: its name
	Syntax   *Expr  // what it was bound from, with the values of parameters
	Span     Span   // where it was written, for errors at run time (integer overflow)
}

// Text is the expression in canonical text. It is written when it is asked for:
// kept, the texts of all beginnings of a long sum would take the square of its length.
func (x *ScalarExpr) Text() string {
	if x.Syntax == nil {
		return ""
	}
	return x.Syntax.String()
}

// Scope says whose field an expression reads.
type Scope uint8

const (
	EventScope    Scope = iota // the event at hand; in by, of the pattern statements: the anchor
	StepScope                  // the event of step Step of the reported attempt; null if not reached
	LastScope                  // the last event of the reported attempt
	CustomerScope              // the customer's latest non-null value of the property, of all time
)

// StagePlan is a named condition: a defined stage.
type StagePlan struct {
	Name  string
	Match *Matcher
}

// ChannelGroup is a defined group of channels.
type ChannelGroup struct {
	Name     string
	Channels []string
}

// OutputPlan is one column of measure.
type OutputPlan struct {
	Name string
	Expr *ScalarExpr
}

// ModelPlan is one attribution model.
type ModelPlan struct {
	Name     string         // first last linear position decay markov shapley
	HalfLife event.Duration // decay
	Order    int64          // markov: 1 or 2
	Column   string         // decay_7d, markov_2 …: what conversions_ and value_ are followed by
}

// RegexPlan is a bound regular expression over events.
type RegexPlan struct {
	Branches []RegexSequence
	Text     string
}

// RegexSequence is items, each the very next event(s) after the one before.
type RegexSequence struct {
	Items []RegexItemPlan
}

// RegexItemPlan is a matcher or a group, Min to Max times (Max -1: no limit).
type RegexItemPlan struct {
	Match    *Matcher
	Group    *RegexPlan
	Min, Max int
	Bound    event.Duration // longest gap from the item before; negative: none
}

// CohortPlan is a bound condition on a customer over all events of the
// snapshot. Kind says which fields are used:
//
//	and or not   Args
//	segment      Args[0]: in it or not, also where a test of its own is unknown
//	did          Match occurs at least Min and at most Max times (Max -1: no limit) in During
//	reached      the customer's level in Sub (a funnel plan) is at least Step
//	stopped      the customer counts in `dropped` of step Step of Sub
//	property     Test over CustomerScope fields is true
//
// Logic has three values here too: a Test on null is unknown, `not` leaves it
// unknown, and a customer of whom the whole is unknown is not in the cohort.
//
// `in NAME` is a "segment" over the segment's own plan, the same pointer at each
// use: a set, in which one is or is not, as segment(NAME) says. Where an unknown
// segment or funnel is only a warning, its plan is an "or" without Args: nobody.
type CohortPlan struct {
	Kind     string
	Args     []*CohortPlan
	Match    *Matcher
	Min, Max int64
	During   Interval
	Step     int
	Sub      *Plan
	Test     *ScalarExpr
	Text     string
}
