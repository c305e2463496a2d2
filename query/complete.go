package query

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"wend/event"
)

// Completion is one way to go on at the cursor. Text replaces everything from
// where the completed word begins to the cursor, quotes included.
type Completion struct {
	Text   string
	Kind   string // keyword event channel property value definition
	Detail string // what is worth knowing about it, "" if nothing
}

// completionsMax is how many completions are worth sending to a person.
const completionsMax = 100

// Complete lists what may stand at the cursor, a byte offset in text, by what
// the grammar expects there. Names are ordered by how often they occur. from is
// the byte offset where the word begins that the completions replace. values
// lists known values of a property that begin with prefix; it may be nil. What
// stands behind the cursor is not looked at.
func Complete(text string, cursor int, c *Catalog, values func(property, prefix string, limit int) []string) (completions []Completion, from int) {
	cursor = min(max(cursor, 0), len(text))
	for cursor > 0 && cursor < len(text) && !utf8.RuneStart(text[cursor]) {
		cursor--
	}
	prefix, ok := wordAt(text[:cursor])
	if !ok {
		return nil, cursor
	}
	from = cursor - len(prefix)
	if c == nil || c.Schema == nil {
		c = &Catalog{Schema: &event.Schema{}}
	}
	done := &completer{catalog: c, values: values, prefix: prefix, before: text[:from]}
	done.parse()
	for _, w := range done.wants {
		done.add(w)
	}
	return done.sorted(), from
}

// wordAt returns the end of the text that is a word not finished yet. ok is
// false where nothing can be completed: in a comment, behind a quoted text.
func wordAt(text string) (word string, ok bool) {
	tokens := lexed(text)
	if len(tokens) == 0 {
		return "", true
	}
	last := tokens[len(tokens)-1]
	switch last.Type {
	case kindComment, kindString, kindQuoted:
		return "", false
	case kindWord, kindCprop, kindNumber, kindAttached, kindUnclosed, kindParam:
		return last.Value, true
	case kindBad:
		if last.Value == "$" {
			return "$", true
		}
	case kindSymbol:
		// Behind `cart.` a property of the step is wanted: both are one word.
		if n := len(tokens) - 2; last.Value == "." && n >= 0 && slices.Contains([]lexer.TokenType{kindWord, kindCprop, kindNumber}, tokens[n].Type) {
			return tokens[n].Value + ".", true
		}
	}
	return "", true
}

// lexed returns all tokens but the end, spaces and comments too.
func lexed(text string) []lexer.Token {
	lex, err := language.LexString("", text)
	if err != nil {
		panic(refusal(text, err))
	}
	tokens, err := lexer.ConsumeAll(lex)
	if err != nil {
		panic(refusal(text, err)) // there is a rule for everything
	}
	return tokens[:len(tokens)-1]
}

// completer collects what completes one word.
type completer struct {
	catalog *Catalog
	values  func(property, prefix string, limit int) []string
	prefix  string // with its opening quote
	before  string // the text before it

	statement *Statement // the one that the cursor is in, as far as it goes
	whole     bool       // nothing in it is mistaken, only the end is missing: it can be printed
	pattern   bool       // a pattern may begin at the cursor
	wants     []want
	found     []ranked
}

// ranked is a completion and its place: kinds of completions in the order the
// grammar lists them, names of one kind by count.
type ranked struct {
	Completion
	rank  int
	count int64
}

// parse finds what the grammar expects behind the text.
func (d *completer) parse() {
	lex, err := language.LexString("", d.before)
	if err != nil {
		panic(refusal(d.before, err))
	}
	symbols := language.Symbols()
	peeking, err := lexer.Upgrade(lex, symbols["Space"], symbols["Comment"])
	if err != nil {
		panic(refusal(d.before, err))
	}
	p := newParser(peeking)
	for !peeking.Peek().EOF() {
		peeking.Next() // the semicolon
		p = newParser(peeking)
	}
	d.statement = p.statement()
	end := len(p.tokens) - 1
	if p.at == end { // else a mistake before the cursor stopped the parser
		d.wants = p.wants
		d.pattern = p.patternAt == end
	}
	d.whole = !slices.ContainsFunc(p.mistakes, func(e *Error) bool { return e.Offset < p.tokens[end].Pos.Offset })
}

// add adds what fulfils a want.
func (d *completer) add(w want) {
	c := d.catalog
	switch w.kind {
	case wantVerb, wantKeyword:
		d.keyword(w.text)
	case wantClause:
		if d.statement.Query != nil && slices.Contains(clauseTable[statementName(d.statement.Query)], w.text) && !d.given(w.text) {
			d.keyword(clauseWord(w.text))
		}
	case wantOption:
		d.keyword(clauseWord(w.text))
	case wantOperator:
		if isWord(w.text) {
			d.keyword(w.text)
		}
	case wantSymbol:
		if slices.Contains([]string{"->", "=>", "*"}, w.text) && d.prefix == "" {
			d.keyword(w.text)
		}
	case wantEvent:
		d.names("event", c.Schema.Events)
		d.definitions("touchpoint", "stage")
		if d.pattern {
			d.definitions("funnel")
		}
	case wantChannel:
		d.names("channel", c.Schema.Channels)
		d.definitions("channels")
	case wantField:
		d.field("channel", "")
		d.properties("")
	case wantExpression:
		d.expression()
	case wantMeasure:
		d.keywords("events", "customers", "sessions")
		for _, name := range aggregateNames() {
			if !slices.Contains([]string{"events", "customers", "sessions"}, name) {
				d.function(name)
			}
		}
	case wantValue:
		d.comparedWith(w.text)
	case wantDuration:
		d.durations([]string{"30m", "24h", "7d", "14d", "30d"}, []string{"m", "h", "d", "w", "s", "ms"})
	case wantRange:
		d.durations([]string{"7 days", "30 days", "3 months", "1 year"}, []string{"d", "h", "w", "m"})
	case wantUnit:
		d.keywords("days", "hours", "minutes", "seconds", "weeks")
		if w.text == "calendar" {
			d.keywords("months", "quarters", "years")
		}
	case wantDefinition:
		d.definitions("touchpoint", "stage", "channels", "segment", "funnel")
	case wantSegment:
		d.definitions("segment")
	case wantFunnel:
		d.definitions("funnel")
	case wantStage:
		d.definitions("stage")
	case wantKnown:
		d.names("event", c.Schema.Events)
		d.names("channel", c.Schema.Channels)
		d.properties("")
		d.definitions("touchpoint", "stage", "channels", "segment", "funnel")
	case wantOfCustomer:
		if strings.Contains(d.prefix, ".") {
			d.properties("customer.")
		} else {
			d.plain("customer.", "property", "the customer's latest value")
		}
	case wantColumn:
		d.columns()
	case wantModel:
		d.keywords("first", "last", "linear", "position", "decay(7d)", "markov", "markov(2)", "shapley")
	}
}

// given reports whether the query already has a clause.
func (d *completer) given(kind string) bool {
	return slices.ContainsFunc(d.statement.Query.Clauses, func(c Clause) bool { return c.Kind == kind })
}

// offer adds a completion if it begins with what is typed. bare is the text
// without quotes.
func (d *completer) offer(bare, text, kind, detail string, count int64) {
	typed := d.prefix
	if d.quote() != "" {
		typed = typed[1:]
	}
	if len(d.found) >= 50*completionsMax || len(bare) < len(typed) || !strings.EqualFold(bare[:len(typed)], typed) {
		return
	}
	if slices.ContainsFunc(d.found, func(r ranked) bool { return r.Text == text }) {
		return
	}
	rank := len(d.found)
	if n := len(d.found); n > 0 && d.found[n-1].Kind == kind && kind != "keyword" {
		rank = d.found[n-1].rank
	}
	d.found = append(d.found, ranked{Completion{text, kind, detail}, rank, count})
}

// quote is the quote that the typed word begins with, if any.
func (d *completer) quote() string {
	if strings.HasPrefix(d.prefix, "'") || strings.HasPrefix(d.prefix, `"`) {
		return d.prefix[:1]
	}
	return ""
}

func (d *completer) keyword(text string) { d.plain(text, "keyword", "") }

// plain offers what is never written in quotes.
func (d *completer) plain(text, kind, detail string) {
	if d.quote() == "" {
		d.offer(text, text, kind, detail, 0)
	}
}

func (d *completer) keywords(texts ...string) {
	for _, t := range texts {
		d.keyword(t)
	}
}

func (d *completer) function(name string) {
	d.plain(name+"(", "keyword", "function")
}

// name offers a name that stands where only names may: in the quotes that were
// begun, else in quotes if it needs them.
func (d *completer) name(text, kind, detail string, count int64) {
	if mark := d.quote(); mark != "" {
		d.offer(text, quote(text, mark), kind, detail, count)
		return
	}
	d.offer(text, Name{Text: text}.String(), kind, detail, count)
}

func (d *completer) names(kind string, names []event.Name) {
	for _, n := range names {
		if n.Text != "" {
			d.name(n.Text, kind, grouped(n.Count)+" events", n.Count)
		}
	}
}

func (d *completer) definitions(kinds ...string) {
	for _, def := range d.catalog.Definitions {
		if slices.Contains(kinds, def.Kind) {
			d.name(def.Name, "definition", def.Kind, 0)
		}
	}
}

// field offers a field or property in an expression, where single quotes make
// a text.
func (d *completer) field(name, detail string) {
	switch d.quote() {
	case `"`:
		d.offer(name, quote(name, `"`), "property", detail, 0)
	case "":
		d.offer(name, name, "property", detail, 0)
	}
}

// properties offers all properties, behind a step's name and a dot if head is
// given.
func (d *completer) properties(head string) {
	for _, p := range d.catalog.Schema.Known().Properties {
		name := Name{Text: p.Name}
		switch {
		case d.quote() != "":
			if head == "" {
				d.field(p.Name, p.Type.String())
			}
		case head != "":
			d.offer(head+p.Name, head+name.propText(), "property", p.Type.String(), 0)
		default:
			d.offer(p.Name, name.exprText(), "property", p.Type.String(), 0)
		}
	}
}

// expression offers what an expression may begin with.
func (d *completer) expression() {
	if head, ok := d.stepTyped(); ok {
		if head != "customer." {
			for _, f := range []string{"channel", "event", "time"} {
				d.offer(head+f, head+f, "property", "", 0)
			}
			d.computed(head)
		}
		d.properties(head)
		return
	}
	if strings.HasPrefix(d.prefix, "$") {
		names := make([]string, 0, len(d.catalog.Params))
		for name := range d.catalog.Params {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			d.offer("$"+name, "$"+name, "value", "parameter", 0)
		}
		return
	}
	for _, f := range []string{"channel", "event", "time", "customer"} {
		d.field(f, "")
	}
	d.properties("")
	d.computed("")
	for _, s := range d.steps() {
		d.plain(s+".", "property", "step")
	}
	for _, name := range functionNames {
		d.function(name)
	}
	d.keywords("true", "false", "null")
}

// computed offers the fields that definitions make, behind a step's name and a
// dot if head is given.
func (d *completer) computed(head string) {
	if d.quote() != "" { // in quotes it would be a property
		return
	}
	if len(d.catalog.names("stage")) > 0 {
		d.offer(head+"stage", head+"stage", "property", "the event's stage", 0)
	}
	if len(d.catalog.names("channels")) > 0 {
		d.offer(head+"channel_group", head+"channel_group", "property", "the group of the event's channel", 0)
	}
}

// stepTyped splits cart.ch behind its last dot if a step, the last event or the
// customer stands before it.
func (d *completer) stepTyped() (head string, ok bool) {
	i := strings.LastIndexByte(d.prefix, '.')
	if i < 0 || d.quote() != "" {
		return "", false
	}
	head = d.prefix[:i]
	if _, err := strconv.Atoi(head); err == nil {
		return head + ".", true
	}
	return head + ".", head == "customer" || head == "last" || slices.Contains(d.steps(), head)
}

// steps lists the names of the statement's steps that need no quotes.
func (d *completer) steps() []string {
	if d.statement.Query == nil || d.statement.Query.Pattern == nil {
		return nil
	}
	var names []string
	for _, s := range d.statement.Query.Pattern.Steps {
		name := Name{}
		switch {
		case s.As != nil:
			name = *s.As
		case len(s.Alt.Touches) == 1 && !s.Alt.Touches[0].Any:
			name = s.Alt.Touches[0].Name
		}
		if isWord(name.Text) && !slices.Contains(names, name.Text) {
			names = append(names, name.Text)
		}
	}
	return names
}

// comparedWith offers the values that a property has been seen with.
func (d *completer) comparedWith(property string) {
	if d.quote() == `"` {
		return
	}
	if head, rest, ok := strings.Cut(property, "."); ok {
		if _, known := d.catalog.Schema.Property(property); !known && (head == "customer" || head == "last" || slices.Contains(d.steps(), head)) {
			property = rest
		}
	}
	switch property {
	case "event":
		d.texts(d.catalog.Schema.Events)
	case "channel":
		d.texts(d.catalog.Schema.Channels)
	case "stage":
		d.texts(named(d.catalog.names("stage")...))
	case "channel_group":
		d.texts(named(d.catalog.names("channels")...))
	default:
		i, ok := d.catalog.Schema.Property(property)
		if !ok {
			return
		}
		switch d.catalog.Schema.Properties[i].Type {
		case event.BooleanType:
			d.keywords("true", "false")
		case event.StringType:
			if d.values != nil {
				d.texts(named(d.values(property, strings.TrimPrefix(d.prefix, "'"), completionsMax)...))
			}
		}
	}
}

func (d *completer) texts(names []event.Name) {
	for _, n := range names {
		if n.Text == "" {
			continue
		}
		detail := ""
		if n.Count > 0 {
			detail = grouped(n.Count) + " events"
		}
		d.offer(n.Text, quote(n.Text, "'"), "value", detail, n.Count)
	}
}

// durations offers some lengths of time, or units for the digits that are typed.
func (d *completer) durations(examples, units []string) {
	if d.prefix == "" {
		d.keywords(examples...)
		return
	}
	if _, err := strconv.ParseUint(d.prefix, 10, 63); err == nil {
		for _, u := range units {
			d.keyword(d.prefix + u)
		}
	}
}

// columns offers the columns of the answer, as far as the statement tells them.
func (d *completer) columns() {
	q := d.statement.Query
	offer := func(column string) { d.name(column, "property", "column", 0) }
	count := "customers"
	for i := range q.Clauses {
		switch c := &q.Clauses[i]; {
		case c.Kind == "count":
			count = c.Word
		case c.Kind == "within" && len(c.Durations) > 1:
			offer("window")
		case c.Kind == "every" && q.Verb != "retention":
			offer("period")
		case c.Kind == "by" && d.whole:
			for _, g := range c.Groups {
				offer(g.Expr.String())
			}
		case c.Kind == "of" && q.Verb == "customers" && d.whole:
			for _, e := range c.Exprs {
				offer(e.String())
			}
		}
	}
	for _, column := range strings.Fields(strings.ReplaceAll(answerColumns[statementName(q)], "COUNT", count)) {
		offer(column)
	}
	if q.Times {
		offer("median_gap")
	}
	for i := range q.Outputs {
		switch o := &q.Outputs[i]; {
		case o.As != nil:
			offer(o.As.Text)
		case d.whole:
			offer(o.Expr.String())
		}
	}
}

// sorted returns what was found: first what is known of the data, then the
// language's own words, each in the grammar's order.
func (d *completer) sorted() []Completion {
	slices.SortStableFunc(d.found, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)),
			cmp.Compare(a.rank, b.rank), cmp.Compare(b.count, a.count))
	})
	var list []Completion
	for _, r := range d.found[:min(len(d.found), completionsMax)] {
		list = append(list, r.Completion)
	}
	return list
}

func kindOrder(kind string) int {
	return slices.Index([]string{"value", "event", "channel", "definition", "property", "keyword"}, kind)
}

// grouped writes a count with commas between thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
