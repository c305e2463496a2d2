package query

import "wend/event"

// Span is a piece of a query's text, for messages that point at it.
type Span struct {
	Offset int // bytes from the beginning of the text
	Line   int // from 1
	Column int // from 1, in runes
	Length int // in runes
}

// Name is a word as it was written. Quoted "…" (and '…') names are always
// names, never keywords or definitions' prefixes such as step.property.
type Name struct {
	Span
	Text   string
	Quoted bool
}

// Statement is one statement of a script: exactly one of Query, Define and
// Drop is set.
type Statement struct {
	Span
	Explain bool
	Analyze bool
	Query   *Query
	Define  *Definition
	Drop    *Name

	source string // the whole text that Parse was given, for messages of the binder
}

// Query is a statement that has an answer. Verb says which of the other
// fields are used.
type Query struct {
	Span
	Verb     string   // funnel times dropoff why drivers paths flow transitions switches match next retention attribute affinity map moments measure journey customers show describe
	Pattern  *Pattern // funnel times dropoff why drivers, next after
	From, To *Alt     // paths, flow; retention START -> RETURN; attribute: To is unused, From is ALT; affinity: From is ALT
	FromEach bool     // paths from each
	ToEach   bool     // paths to each
	Times    bool     // transitions with times
	FromCh   *Channels
	ToCh     *Channels // switches
	Regex    *Regex    // match
	For      bool      // next for (otherwise next after)
	Customer *Text     // journey of, next for, why
	Exprs    []*Expr   // attribute … to E, …
	Field    *Expr     // affinity of PROP
	Names    []Name    // map stages; describe
	Outputs  []Output  // measure
	Show     string    // events channels properties definitions status
	Clauses  []Clause
}

// Text is a string literal or, where Param is set, a parameter standing for one.
type Text struct {
	Span
	Text  string
	Param string
}

// Pattern is steps joined by arrows, or any order (…), or the name of a defined funnel
// (then it has one step with one plain touch, which only the binder can tell).
type Pattern struct {
	Span
	AnyOrder bool
	Steps    []Step
	Links    []Link // Links[i] joins Steps[i] and Steps[i+1]
}

// Step is one condition that an event can fulfil.
type Step struct {
	Span
	Alt Alt
	As  *Name
}

// Link joins two steps, or with Not: before -> !alt -> after.
type Link struct {
	Span
	Next  bool // => : the very next event
	Bound *Duration
	Nots  []Not // in order; each with its own arrow after it
}

// Not is an excluded alternative and the arrow after it.
type Not struct {
	Span
	Alt   Alt
	Next  bool // the arrow after it is => (an error the binder reports)
	Bound *Duration
}

// Duration is an elapsed time as written.
type Duration struct {
	Span
	Value event.Duration
	Month bool // `last 3 months` and longer calendar units, only in ranges; Value is 0
	Count int64
	Unit  string // of calendar units: month, quarter or year
}

// Alt is one touch or a group of alternatives, the group with its own suffix.
type Alt struct {
	Span
	Touches  []Touch
	Grouped  bool // written in parentheses
	Channels *Channels
	Filter   *Expr
}

// Touch is an event or defined name, or * for any event, with its suffix.
type Touch struct {
	Span
	Any      bool
	Name     Name
	Channels *Channels
	Filter   *Expr
}

// Channels is the list after @: channel names or names of defined channel groups.
type Channels struct {
	Span
	Names []Name
}

// Regex is alternatives of sequences of items, for match.
type Regex struct {
	Span
	Branches []RegexBranch
}

// RegexBranch is items joined by =>.
type RegexBranch struct {
	Items  []RegexItem
	Bounds []*Duration // Bounds[i] is of the arrow before Items[i+1], nil without
}

// RegexItem is a touch or a group, repeated Min to Max times (Max -1: no limit).
type RegexItem struct {
	Span
	Touch    *Touch
	Group    *Regex
	Min, Max int
	Repeat   string // as written: "", "?", "*", "+", "{2}", "{2,}", "{2,5}"
}

// Output is one expression of measure.
type Output struct {
	Expr *Expr
	As   *Name
}

// Clause is one clause of a statement. Kind says which of the other fields are used.
type Clause struct {
	Span
	Kind      string // where during within per holding entry ties exclusion by every timezone count among of length depth top cover collapse through goal order limit for using value score test end lenient
	Expr      *Expr  // where, value, score (a field)
	Range     *Range // during
	Durations []Duration
	Word      string    // per: customer|session|field; entry: best|first; ties: steps|arrival; exclusion: cut|void|drop; every: hour…; count: …; order: asc|desc
	Gap       *Duration // per session gap
	Field     *Name     // per FIELD, holding FIELD, order by NAME
	Groups    []Group   // by
	Text      string    // timezone
	Cohort    *Cohort   // among
	Exprs     []*Expr   // of
	Number    int64     // length depth top limit for
	Percent   float64   // cover, test last: 0 to 100
	Alt       *Alt      // through goal
	Models    []Model   // using
	Time      *Date     // end
}

// Group is one expression of by.
type Group struct {
	Span
	Expr *Expr
	Top  int64 // 0: all values
}

// Model is one attribution model with its argument.
type Model struct {
	Span
	Name     string
	Duration *Duration
	Number   int64
}

// Date is a DATE literal. Without a zone it is local to the statement's timezone.
type Date struct {
	Span
	Text string
}

// Range is the argument of during.
type Range struct {
	Span
	Last  *Duration // last 30 days
	Since *Date     // since D, or D to D
	Until *Date     // until D, or D to D
}

// Cohort is a condition on customers. Kind says which fields are used.
type Cohort struct {
	Span
	Kind    string    // or and not did reached stopped in property
	Args    []*Cohort // or and: two or more; not: one
	Alt     *Alt      // did
	Compare string    // did: "", "at least", "at most", "exactly"
	Times   int64     // did
	During  *Range    // did
	Step    *Name     // reached, stopped at: a name, or
	Number  int64     // a step number (Step nil)
	Funnel  *Name     // … in NAME
	Pattern *Pattern  // … in (pattern options)
	Options []Clause
	Name    Name  // in NAME; property: the property's name without customer.
	Test    *Expr // property: the test with customer.prop as its left side
}

// Definition is the body of a define statement.
type Definition struct {
	Span
	Kind     string // touchpoint stage channels segment funnel
	Name     Name
	Touches  []Touch // touchpoint, stage
	Channels []Name  // channels
	Cohort   *Cohort // segment
	Pattern  *Pattern
	Options  []Clause // funnel
}

// Expr is an expression as written. Op says which fields are used.
//
//	literal   Value              number, 'text', true, false, null (Null)
//	date      Text               DATE
//	duration  Duration
//	param     Text               $name
//	name      Name               event, channel, a property, a.b (dots inside one word stay in Name.Text)
//	of        Name or Number, Prop   "a".b, 'a'.b, 2.b: property Prop of step Name (or step Number)
//	call      Name, Args         lower(x), hour(time), sum(x)
//	filtered  Args[0], Filter    M[expr] in measure
//	or and not neg + - * / = != < <= > >= ~ like isnull notnull in notin between notbetween notlike
//	          Args (and, or: two or more; in: Args[0] the value, the rest the list; between: value, low, high)
type Expr struct {
	Span
	Op       string
	Value    event.Value
	Text     string
	Name     Name
	Prop     *Name
	Number   int64
	Duration *Duration
	Args     []*Expr
	Filter   *Expr
}
