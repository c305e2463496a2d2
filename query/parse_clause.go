package query

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"wend/event"
)

// clauses parses the clauses of a query: all there are. Which of them the
// statement takes is the binder's to say.
func (p *parser) clauses() []Clause { return p.clausesAmong(clauseOrder, wantClause) }

// options parses the clauses that a defined funnel may carry.
func (p *parser) options() []Clause { return p.clausesAmong(optionKinds, wantOption) }

func (p *parser) clausesAmong(allowed []string, kind wantKind) []Clause {
	var clauses []Clause
	depth, open := p.depth, len(p.open)
	for !p.stopped {
		word := p.peek().word()
		if !slices.Contains(allowed, word) {
			for _, k := range allowed {
				p.want(kind, k)
			}
			if t := p.peek(); p.taken >= 0 && p.taken == p.at-1 && !t.EOF() && !t.symbol(")") {
				p.unexpected()
				p.resume(allowed, depth, open)
				continue
			}
			if kind == wantOption && p.clauseAhead() {
				p.report(CodeClauseNotAllowed, p.here(), "it takes "+enumerate(optionKinds, "and"),
					"a funnel in a definition or a cohort takes no `%s`", clauseWord(word))
			} else if word = p.misspeltClause(allowed); word == "" {
				break
			}
		}
		clauses = append(clauses, p.clause(word))
		p.resume(allowed, depth, open)
	}
	return clauses
}

// misspeltClause reports a word that is nearly a clause's, and returns that.
func (p *parser) misspeltClause(allowed []string) string {
	t := p.peek()
	near := Nearest(t.word(), allowed, 1)
	if len(t.word()) < 4 || len(near) == 0 {
		return ""
	}
	p.report(CodeUnexpectedToken, p.here(), p.hint(t), "unexpected %s%s", describe(t), p.orExpected())
	return near[0]
}

// resume goes on at the next clause after a mistake in one, so that a
// statement's mistakes are told at once.
func (p *parser) resume(allowed []string, depth, open int) {
	if !p.stopped || !slices.Contains([]string{CodeUnexpectedToken, CodeMissingStep}, p.mistakes[len(p.mistakes)-1].Code) {
		return
	}
	for level := len(p.open) - open; p.at < len(p.tokens)-1; p.at++ {
		switch t := &p.tokens[p.at]; {
		case t.Type == kindSymbol && closers[t.Value] != "":
			level++
		case t.symbol(")"), t.symbol("]"), t.symbol("}"):
			level--
		case level == 0 && slices.Contains(allowed, t.word()):
			p.stopped, p.depth, p.open, p.wants = false, depth, p.open[:open], nil
			return
		}
	}
}

// clauseAhead reports whether the current token begins a clause.
func (p *parser) clauseAhead() bool { return slices.Contains(clauseOrder, p.peek().word()) }

func (p *parser) clause(kind string) Clause {
	first := p.next()
	c := Clause{Kind: kind}
	switch kind {
	case "where", "value":
		c.Expr = p.expr()
	case "during":
		c.Range = p.dateRange()
	case "within":
		c.Durations = p.durations()
	case "per":
		p.per(&c)
	case "holding":
		c.Field = p.field()
	case "entry":
		c.Word = p.expectWord("best", "first")
	case "ties":
		c.Word = p.expectWord("steps", "arrival")
	case "exclusion":
		c.Word = p.expectWord("cut", "void", "drop")
	case "by":
		c.Groups = p.groups()
	case "every":
		c.Word = p.period()
	case "timezone":
		c.Text = p.timezone()
	case "count":
		c.Word = p.expectWord("customers", "sessions", "attempts", "entries")
	case "among":
		c.Cohort = p.cohort()
	case "of":
		c.Exprs = p.exprs(wantExpression)
	case "length", "depth", "top", "limit":
		c.Number = p.number("a whole number", 1, math.MaxInt64)
	case "for":
		c.Number = p.number("a whole number", 0, math.MaxInt64)
	case "cover":
		c.Percent = p.percent()
	case "test":
		p.expectWord("last")
		c.Percent = p.percent()
	case "collapse", "lenient":
	case "through", "goal":
		c.Alt = p.alt()
	case "order":
		p.expectWord("by")
		name := p.name(wantColumn)
		c.Field = &name
		c.Word = p.keyword("asc", "desc")
	case "using":
		c.Models = p.models()
	case "score":
		c.Expr = p.fieldExpr()
	case "end":
		c.Time = p.date()
	}
	c.Span = p.span(first)
	return c
}

func (p *parser) per(c *Clause) {
	switch c.Word = p.keyword("customer", "session"); c.Word {
	case "session":
		if p.keyword("gap") != "" {
			d := p.duration(wantDuration)
			c.Gap = &d
		}
	case "":
		c.Word = "field"
		c.Field = p.field()
	}
}

// field parses the name of a property.
func (p *parser) field() *Name {
	t := *p.peek()
	n := &Name{}
	switch t.Type {
	case kindWord:
		n.Text = p.next().Value
		n.Text += p.hyphenated(t)
	case kindCprop:
		n.Text = p.next().Value
	case kindAttached:
		n.Text = p.next().Value
		p.report(CodeDigitInName, place(&t), `write "`+n.Text+`"`, "a name that begins with a digit needs quotes")
	case kindQuoted:
		n.Text, n.Quoted = unquote(p.next().Value), true
		if n.Text == "" {
			p.report(CodeEmptyName, place(&t), "", "a name cannot be empty")
		}
	default:
		p.want(wantField, "")
		p.unexpected()
	}
	n.Span = p.span(t)
	return n
}

func (p *parser) fieldExpr() *Expr {
	n := p.field()
	return &Expr{Span: n.Span, Op: "name", Name: *n}
}

func (p *parser) groups() []Group {
	var groups []Group
	for more := true; more; more = p.accept(",") {
		first := *p.peek()
		g := Group{Expr: p.expr()}
		if p.keyword("top") != "" {
			g.Top = p.number("a whole number", 1, math.MaxInt64)
		}
		g.Span = p.span(first)
		groups = append(groups, g)
	}
	return groups
}

// periods are the words after `every`.
var periods = []string{"hour", "day", "week", "month", "quarter", "year"}

func (p *parser) period() string {
	if w := p.keyword(periods...); w != "" {
		return w
	}
	t := *p.peek()
	if singular := strings.TrimSuffix(t.word(), "s"); slices.Contains(periods, singular) {
		p.next()
		p.report(CodeUnknownPeriod, place(&t), "write `"+singular+"`", "a period is one hour, day, week …")
		return singular
	}
	if t.Type == kindNumber || t.Type == kindAttached {
		p.fail(CodeUnknownPeriod, place(&t), "write "+enumerate(periods, "or"), "a period is one hour, day, week …")
	}
	p.unexpected()
	return ""
}

func (p *parser) timezone() string {
	t := *p.peek()
	if t.Type != kindString {
		p.want(wantThing, "a time zone such as 'Europe/Berlin'")
		p.unexpected()
		return ""
	}
	return unquote(p.next().Value)
}

func (p *parser) models() []Model {
	var models []Model
	for more := true; more; more = p.accept(",") {
		first := *p.peek()
		m := Model{Name: first.word()}
		if m.Name == "" {
			p.want(wantModel, "")
			p.unexpected()
		}
		p.next()
		if p.opening("(") {
			if p.peek().Type == kindNumber && p.after(1).word() == "" {
				m.Number = p.number("a number or a duration", 0, math.MaxInt64)
			} else {
				d := p.duration(wantDuration)
				m.Duration = &d
			}
			p.closing(")")
		}
		m.Span = p.span(first)
		models = append(models, m)
	}
	return models
}

// number parses a whole number from least to most; what describes it.
func (p *parser) number(what string, least, most int64) int64 {
	t := *p.peek()
	if t.Type != kindNumber {
		p.want(wantThing, what)
		p.unexpected()
		return least
	}
	p.next()
	if strings.Contains(t.Value, ".") {
		p.report(CodeBadNumber, place(&t), "", "%s is not a whole number", t.Value)
		return least
	}
	n, err := strconv.ParseInt(t.Value, 10, 64)
	switch {
	case err != nil || n > most:
		p.report(CodeNumberTooLarge, place(&t), "", "%s is too large; the largest number here is %d", t.Value, most)
		return least
	case n < least:
		p.report(CodeBadNumber, place(&t), "", "the number must be at least %d", least)
		return least
	}
	return n
}

const percentThing = "a percentage such as 80%"

func (p *parser) percent() float64 {
	t := *p.peek()
	if t.Type != kindPercent {
		p.want(wantThing, percentThing)
		p.unexpected()
		return 0
	}
	p.next()
	share, err := strconv.ParseFloat(strings.TrimSuffix(t.Value, "%"), 64)
	if err != nil || share > 100 || share == 0 {
		p.report(CodeBadNumber, place(&t), "", "the percentage must be more than 0 and at most 100")
	}
	return share
}

// dateLayouts are the forms of DATE.
var dateLayouts = []string{
	"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00",
}

func (p *parser) date() *Date {
	t := *p.peek()
	if t.Type != kindDate {
		p.want(wantThing, "a date such as 2025-01-31")
		if t.Type == kindString {
			p.fail(CodeBadDate, place(&t), "write 2025-01-31", "a date is written without quotes")
		}
		if t.Type == kindNumber && p.after(1).symbol("-") {
			p.fail(CodeBadDate, place(&t), "write 2025-01-31", "a date has four digits for the year, two for the month, two for the day")
		}
		p.unexpected()
		return &Date{}
	}
	p.next()
	return p.checkedDate(t)
}

// checkedDate refuses the 31st of February.
func (p *parser) checkedDate(t token) *Date {
	valid := slices.ContainsFunc(dateLayouts, func(layout string) bool {
		parsed, err := time.Parse(layout, t.Value)
		return err == nil && parsed.Year() > 0
	})
	if !valid {
		p.report(CodeBadDate, place(&t), "", "the calendar has no %s", t.Value)
	}
	return &Date{Span: place(&t), Text: t.Value}
}

func (p *parser) dateRange() *Range {
	first := *p.peek()
	r := &Range{}
	switch p.keyword("last", "since", "until") {
	case "last":
		if t := *p.peek(); t.Type == kindWord && unitNamed(t.word()) != nil {
			p.next()
			p.report(CodeBadNumber, place(&t), "write `last 1 "+t.word()+"`", "`last` needs a number")
			r.Last = &Duration{}
			break
		}
		d := p.duration(wantRange)
		r.Last = &d
	case "since":
		r.Since = p.date()
	case "until":
		r.Until = p.date()
	default:
		r.Since = p.date()
		p.expectWord("to")
		r.Until = p.date()
	}
	r.Span = p.span(first)
	return r
}

// unit is a word for a length of time; size is 0 for those that only the
// calendar knows.
type unit struct {
	words string
	size  event.Duration
}

var units = []unit{
	{"ms millisecond milliseconds", event.Millisecond},
	{"s second seconds", event.Second},
	{"m minute minutes", event.Minute},
	{"h hour hours", event.Hour},
	{"d day days", event.Day},
	{"w week weeks", event.Week},
	{"month months", 0},
	{"quarter quarters", 0},
	{"year years", 0},
}

func unitNamed(word string) *unit {
	for i := range units {
		if slices.Contains(strings.Fields(units[i].words), word) {
			return &units[i]
		}
	}
	return nil
}

// unitsFor tells Complete whether units of the calendar may stand there.
func unitsFor(kind wantKind) string {
	if kind == wantRange {
		return "calendar"
	}
	return "elapsed"
}

// unitHints are what people write for a unit.
var unitHints = map[string]string{
	"mo": "month", "mon": "month", "mth": "month", "mths": "month", "mos": "month", "y": "year", "yr": "year",
	"yrs": "year", "a": "year", "q": "quarter", "qtr": "quarter",
	"min": "m", "mins": "m", "hr": "h", "hrs": "h", "sec": "s", "secs": "s", "wk": "w", "wks": "w", "msec": "ms",
	"us": "ms", "ns": "ms",
}

func (p *parser) durations() []Duration {
	if t := *p.peek(); t.word() == "session" {
		p.next()
		p.report(CodeWithinSession, p.span(*p.after(-2)), "write `per session`", "`within` takes a length of time")
		return nil
	}
	var durations []Duration
	for more := true; more; more = p.accept(",") {
		durations = append(durations, p.duration(wantDuration))
	}
	return durations
}

// duration parses 7d or `7 days`. A unit of the calendar is let through: only
// the binder knows where it may stand.
func (p *parser) duration(kind wantKind) Duration {
	first := *p.peek()
	var d Duration
	switch first.Type {
	case kindAttached:
		p.next()
		digits := strings.TrimLeft(first.Value, "0123456789")
		d = p.length(first, first.Value[:len(first.Value)-len(digits)], digits, true, kind)
	case kindNumber:
		p.next()
		word := p.peek()
		if word.Type != kindWord {
			p.want(wantUnit, unitsFor(kind))
			if word.EOF() || word.Type == kindSymbol {
				p.fail(CodeUnknownUnit, p.span(first), "write "+first.Value+"d for days; the units are ms s m h d w",
					"a duration needs a unit")
			}
			p.unexpected()
			return d
		}
		p.next()
		d = p.length(first, first.Value, word.word(), false, kind)
	default:
		p.want(kind, "")
		p.unexpected()
	}
	d.Span = p.span(first)
	return d
}

// length makes a Duration of a number and its unit.
func (p *parser) length(first token, digits, word string, attached bool, kind wantKind) Duration {
	at := p.span(first)
	count, err := strconv.ParseInt(digits, 10, 64)
	u := unitNamed(word)
	switch {
	case u == nil && strings.HasPrefix(word, ".") || strings.Contains(digits, "."):
		p.report(CodeBadNumber, at, "write a smaller unit: 36h for a day and a half", "a duration is a whole number of units")
		return Duration{}
	case u == nil, attached && strings.Fields(u.words)[0] != word || attached && u.size == 0:
		p.unknownUnit(at, digits, word, kind)
		return Duration{}
	case err != nil || u.size > 0 && count > math.MaxInt64/4/int64(u.size) || u.size == 0 && count > 1<<20:
		p.report(CodeDurationTooLong, at, "", "%s is longer than any journey", p.text(first))
		return Duration{}
	case u.size == 0:
		return Duration{Month: true, Count: count, Unit: strings.Fields(u.words)[0]}
	}
	return Duration{Value: event.Duration(count) * u.size}
}

// text is a duration as it was written, in one piece.
func (p *parser) text(first token) string {
	if last := p.previous(); last.runes > first.runes {
		return first.Value + " " + last.Value
	}
	return first.Value
}

func (p *parser) unknownUnit(at Span, digits, word string, kind wantKind) {
	meant := unitHints[strings.ToLower(word)]
	if u := unitNamed(strings.ToLower(word)); u != nil {
		meant = strings.Fields(u.words)[0]
	}
	if meant == "" {
		var words []string
		for _, u := range units {
			words = append(words, strings.Fields(u.words)...)
		}
		if near := Nearest(word, words, 1); len(near) > 0 && len(word) > 2 {
			meant = strings.Fields(unitNamed(near[0]).words)[0]
		}
	}
	hint := "the units are ms s m h d w"
	switch u := unitNamed(meant); {
	case meant == "":
	case u.size > 0:
		hint = "did you mean " + digits + meant + "?"
	case kind == wantRange:
		hint = "write `" + digits + " " + plural(meant, digits) + "`"
	default:
		days := map[string]string{"month": "30d", "quarter": "90d", "year": "365d"}[meant]
		hint = "a " + meant + " has no fixed length; write days, such as " + days
	}
	p.report(CodeUnknownUnit, at, hint, "%q is not a unit of time", word)
}

func plural(word, digits string) string {
	if digits == "1" {
		return word
	}
	return word + "s"
}
