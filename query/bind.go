package query

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"wend/event"
)

// Limits of what a statement may hold. Each is an error that names it.
const (
	stepsMax         = 32    // a set of steps is one uint32
	anyOrderMax      = 16    // any order tries sets of steps: 2^16 of them
	alternativesMax  = 1000  // touchpoints one step stands for, definitions expanded
	segmentsMax      = 1000  // segments that segments are made of
	inListMax        = 1000  // values of in (…)
	regexpBytesMax   = 1024  // of ~ and like
	regexpStatesMax  = 2000  // of ~ and like, repeats written out
	repeatMax        = 1000  // of {m,n} in match
	periodsMax       = 10000 // periods of retention
	lengthMax        = 256   // labels of a path
	definitionsDepth = 32    // definitions that use definitions
)

// Bind resolves a statement against what a store holds. The Plan it returns
// needs nothing else of the language. If the statement has mistakes, all of
// them are in the error, which is Errors.
//
// Bind takes every statement of the grammar that has an answer; s.Query must be set.
func Bind(s *Statement, c *Catalog) (*Plan, error) {
	b := newBinder(c)
	b.source = s.source
	q := b.substitute(s.Query)
	p := b.query(q)
	if err := b.err(); err != nil {
		return nil, err
	}
	p.Explain, p.Analyze = s.Explain, s.Analyze
	p.Text = b.canonical(q, p, s)
	p.Warnings = b.warnings
	return p, nil
}

// binder is the state of one Bind.
type binder struct {
	cat      *Catalog
	source   string // the text that mistakes are in
	lenient  bool
	zone     *time.Location
	zoneName string
	end      event.Time // end of data for the statement
	hasEnd   bool

	errs     Errors
	warnings []string

	paramBytes int // of the texts that parameters stand for, each time they are used

	set      map[string]bound        // the statement's clauses, with a defined funnel's options
	parsed   map[string]*Definition  // definitions by name, parsed when first used
	segments map[string]boundSegment // bound when first used, so that a segment used twice is one plan
	members  int                     // segments that what is being bound is made of
	touches  map[string][]Touchpoint // likewise
	used     map[string]bool         // definitions that the body of a definition being checked names itself
	origin                           // of what is being bound
}

// origin is the place that a piece of syntax comes from.
type origin struct {
	using []string // definitions being expanded, outermost first; none: the statement
	use   *Span    // where the outermost of them is used; nil in the statement
}

// bound is a clause with its origin: a defined funnel brings clauses along.
type bound struct {
	*Clause
	from origin
}

func newBinder(c *Catalog) *binder {
	if c.Schema == nil {
		empty := *c
		empty.Schema = &event.Schema{}
		c = &empty
	}
	return &binder{
		cat:      c,
		lenient:  c.Lenient,
		zone:     time.UTC,
		zoneName: "UTC",
		end:      c.EndOfData,
		parsed:   map[string]*Definition{},
		segments: map[string]boundSegment{},
		touches:  map[string][]Touchpoint{},
	}
}

// fail notes a mistake. Inside a definition it points at the definition's use,
// because the definition's text is not what the user is looking at.
func (b *binder) fail(span Span, code, hint, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if b.use != nil {
		span = *b.use
		message = fmt.Sprintf("in the definition of %q: %s", b.using[len(b.using)-1], message)
	}
	for _, e := range b.errs {
		if e.Offset == span.Offset && e.Code == code && e.Message == message {
			return
		}
	}
	b.errs = append(b.errs, &Error{Code: code, Message: message, Span: span, Hint: hint, Text: b.source})
}

// unknown notes a name that nothing has, an error or, leniently, a warning.
func (b *binder) unknown(span Span, code, what, name string, known []event.Name) {
	b.unknownOr(span, code, what, name, known, "")
}

// unknownOr is unknown with a hint for where no known name is near.
func (b *binder) unknownOr(span Span, code, what, name string, known []event.Name, otherwise string) {
	hint := didYouMean(name, known)
	if hint == "" {
		hint = otherwise
	}
	if !b.lenient {
		b.fail(span, code, hint, "unknown %s %q", what, name)
		return
	}
	text := fmt.Sprintf("unknown %s %q", what, name)
	if hint != "" {
		text += "; " + hint
	}
	b.warn("%s", text)
}

// warn notes what the answer must say about itself, once.
func (b *binder) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.warnings, text) {
		b.warnings = append(b.warnings, text)
	}
}

// err returns the mistakes in the order of the text.
func (b *binder) err() error {
	if len(b.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(b.errs, func(x, y *Error) int { return cmp.Compare(x.Offset, y.Offset) })
	return b.errs
}

// query binds one query. The clauses that others depend on come first: the
// time zone and the end of the data, then what a defined funnel brings along.
func (b *binder) query(q *Query) *Plan {
	p := &Plan{Verb: q.Verb, For: q.For, FromEach: q.FromEach, ToEach: q.ToEach, WithTimes: q.Times, Show: q.Show}
	b.set = b.collect(q)
	b.zoneAndEnd(p)
	var steps *stepNames
	if q.Pattern != nil {
		p.Pattern, steps = b.wholePattern(q.Pattern)
	}
	b.options(q, p)
	b.subject(q, p)
	b.answer(q, p, steps)
	b.ranges(p)
	return p
}

// collect sorts a statement's clauses by kind and refuses those it does not
// take and those it has twice.
func (b *binder) collect(q *Query) map[string]bound {
	name := statementName(q)
	return b.gather(q.Clauses, clausesOf(name), "`"+name+"`")
}

func (b *binder) gather(list []Clause, allowed []string, owner string) map[string]bound {
	set := map[string]bound{}
	for i := range list {
		c := &list[i]
		if c.Kind == "lenient" {
			b.lenient = true
		}
		if !slices.Contains(allowed, c.Kind) {
			b.fail(c.Span, CodeClauseNotAllowed, takes(allowed), "%s takes no `%s`", owner, clauseWord(c.Kind))
			continue
		}
		if _, twice := set[c.Kind]; twice {
			b.fail(c.Span, CodeDuplicateClause, "", "`%s` is given twice", clauseWord(c.Kind))
			continue
		}
		set[c.Kind] = bound{Clause: c, from: b.origin}
	}
	return set
}

func takes(allowed []string) string {
	if len(allowed) == 0 {
		return "it takes no clauses"
	}
	text := "it takes "
	for i, kind := range allowed {
		if i > 0 {
			text += ", "
		}
		text += clauseWord(kind)
	}
	return text
}

// clause runs bind on a clause if it is there, where it came from.
func (b *binder) clause(kind string, bind func(*Clause)) {
	if c, ok := b.set[kind]; ok {
		b.in(c.from, func() { bind(c.Clause) })
	}
}

// in runs bind on something that comes from elsewhere.
func (b *binder) in(from origin, bind func()) {
	here := b.origin
	b.origin = from
	bind()
	b.origin = here
}

// has reports whether a clause is given.
func (b *binder) has(kind string) bool { _, ok := b.set[kind]; return ok }

// didYouMean is the hint that suggests the nearest known name, if one is near.
func didYouMean(name string, known []event.Name) string {
	if near := Nearest(name, known, 1); len(near) > 0 {
		return fmt.Sprintf("did you mean %q?", near[0])
	}
	return ""
}
