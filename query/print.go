package query

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// The String methods write nodes in canonical text: keywords in lower case,
// one space between words, quotes and parentheses only where they are needed.
// Parsing the text gives the same nodes again, but for their spans.

// String writes the statement as it was given, without defaults.
func (s *Statement) String() string {
	switch {
	case s.Define != nil:
		return "define " + s.Define.String()
	case s.Drop != nil:
		return "drop " + s.Drop.String()
	case s.Explain && s.Analyze:
		return "explain analyze " + s.Query.String()
	case s.Explain:
		return "explain " + s.Query.String()
	}
	return s.Query.String()
}

// String writes the query with its clauses in the order they were given.
func (q *Query) String() string {
	var w writer
	w.word(q.Verb)
	switch q.Verb {
	case "funnel", "times", "dropoff":
		w.word(q.Pattern.String())
	case "why":
		w.word(q.Customer.String(), "in", q.Pattern.String())
	case "drivers":
		w.word("of", q.Pattern.String())
	case "next":
		if q.For {
			w.word("for", q.Customer.String())
		} else {
			w.word("after", q.Pattern.String())
		}
	case "paths", "flow":
		w.end("from", q.FromEach, q.From)
		w.end("to", q.ToEach, q.To)
	case "transitions":
		if q.Times {
			w.word("with times")
		}
	case "switches":
		if q.FromCh != nil {
			w.word("from", q.FromCh.String())
		}
		if q.ToCh != nil {
			w.word("to", q.ToCh.String())
		}
	case "match":
		w.word(q.Regex.String())
	case "retention":
		w.word(q.From.String(), "->", q.To.String())
	case "attribute":
		w.word(q.From.String(), "to", listed(q.Exprs))
	case "affinity":
		w.word("of", q.Field.String(), "in", q.From.String())
	case "map":
		w.word(nameList(q.Names))
	case "measure":
		w.word(listed(pointers(q.Outputs)))
	case "journey":
		w.word("of", q.Customer.String())
	case "show":
		w.word(q.Show)
	case "describe":
		w.word(q.Names[0].String())
	}
	w.clauses(q.Clauses)
	return w.String()
}

// writer joins words by spaces.
type writer struct{ strings.Builder }

func (w *writer) word(words ...string) {
	for _, s := range words {
		if w.Len() > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(s)
	}
}

func (w *writer) end(word string, each bool, a *Alt) {
	if a == nil {
		return
	}
	w.word(word)
	if each {
		w.word("each")
	}
	w.word(a.String())
}

// clauses writes the clauses, but never a `top` right behind a `by`, nor a
// `during` right behind a cohort that ends with `did`: parsed again, they
// would belong to what stands before them.
func (w *writer) clauses(list []Clause) {
	list = slices.Clone(list)
	for i := 1; i < len(list); i++ {
		if list[i-1].takes(list[i].Kind) {
			list[i-1], list[i] = list[i], list[i-1]
			i = max(i-2, 0)
		}
	}
	for i := range list {
		w.word(list[i].String())
	}
}

// takes reports whether a clause of that kind, written behind c, would belong to c.
func (c *Clause) takes(kind string) bool {
	switch {
	case c.Kind == "by" && kind == "top":
		return c.Groups[len(c.Groups)-1].Top == 0
	case c.Kind == "among" && kind == "during":
		return c.Cohort.takesDuring()
	}
	return false
}

func (c *Cohort) takesDuring() bool {
	switch c.Kind {
	case "did":
		return c.During == nil
	case "not":
		return c.Args[0].Kind != "or" && c.Args[0].Kind != "and" && c.Args[0].takesDuring()
	case "and":
		last := c.Args[len(c.Args)-1]
		return last.Kind != "or" && last.takesDuring()
	case "or":
		return c.Args[len(c.Args)-1].takesDuring()
	}
	return false
}

// reserved words need quotes to be names, wherever they stand.
var reserved = []string{"any", "each", "not", "null", "true", "false"}

// String writes the name, in quotes if it would not be one without.
func (n Name) String() string { return n.text() }

func (n Name) text(alsoReserved ...string) string {
	folded := strings.ToLower(n.Text)
	if isWord(n.Text) && !slices.Contains(reserved, folded) && !slices.Contains(alsoReserved, folded) {
		return n.Text
	}
	return quote(n.Text, `"`)
}

// field writes the name of a property where the language wants one: a property
// of the customer needs no quotes there.
func (n Name) field(alsoReserved ...string) string {
	if !n.Quoted && isCustomerProperty(n.Text) {
		return n.Text
	}
	return n.text(alsoReserved...)
}

func isCustomerProperty(text string) bool {
	rest, ok := strings.CutPrefix(text, "customer.")
	return ok && isWord("customer_."+rest)
}

// String writes the text in single quotes, or the parameter.
func (t *Text) String() string {
	if t.Param != "" {
		return "$" + t.Param
	}
	return quote(t.Text, "'")
}

// String writes the steps joined by their arrows.
func (p *Pattern) String() string {
	if p.AnyOrder {
		return "any order (" + listed(pointers(p.Steps)) + ")"
	}
	var w writer
	for i := range p.Steps {
		if i > 0 {
			w.word(p.Links[i-1].String())
		}
		w.word(p.Steps[i].String())
	}
	return w.String()
}

// String writes the step with its `as` name.
func (s *Step) String() string {
	if s.As == nil {
		return s.Alt.String()
	}
	return s.Alt.String() + " as " + s.As.String()
}

// String writes the arrows and exclusions between two steps.
func (l *Link) String() string {
	text := arrowText(l.Next, l.Bound)
	for i := range l.Nots {
		text += " " + l.Nots[i].String()
	}
	return text
}

// String writes the exclusion and the arrow after it.
func (n *Not) String() string {
	return "!" + n.Alt.String() + " " + arrowText(n.Next, n.Bound)
}

func arrowText(next bool, bound *Duration) string {
	text := "->"
	if next {
		text = "=>"
	}
	if bound != nil {
		text += "[" + bound.String() + "]"
	}
	return text
}

// String writes the duration in the largest unit that divides it, or in its
// unit of the calendar.
func (d *Duration) String() string {
	if !d.Month {
		return d.Value.String()
	}
	count := strconv.FormatInt(d.Count, 10)
	return count + " " + plural(d.Unit, count)
}

// String writes the alternatives.
func (a *Alt) String() string {
	text := bars(pointers(a.Touches))
	if a.Grouped || len(a.Touches) > 1 {
		text = "(" + text + ")"
	}
	return text + suffixText(a.Channels, a.Filter)
}

// String writes the touch with its suffix.
func (t *Touch) String() string {
	name := "*"
	if !t.Any {
		name = t.Name.String()
	}
	return name + suffixText(t.Channels, t.Filter)
}

func suffixText(channels *Channels, filter *Expr) string {
	text := ""
	if channels != nil {
		text = "@" + channels.String()
	}
	if filter != nil {
		text += "[" + filter.String() + "]"
	}
	return text
}

// String writes one channel plainly and several in parentheses.
func (c *Channels) String() string {
	if len(c.Names) == 1 {
		return c.Names[0].String()
	}
	return "(" + bars(pointers(c.Names)) + ")"
}

// String writes the alternatives of the regular expression.
func (r *Regex) String() string { return bars(pointers(r.Branches)) }

// String writes the items joined by arrows.
func (b *RegexBranch) String() string {
	var w writer
	for i := range b.Items {
		if i > 0 {
			w.word(arrowText(true, b.Bounds[i-1]))
		}
		w.word(b.Items[i].String())
	}
	return w.String()
}

// String writes the item with how often it repeats.
func (i *RegexItem) String() string {
	if i.Group != nil {
		return "(" + i.Group.String() + ")" + i.Repeat
	}
	return i.Touch.String() + i.Repeat
}

// String writes the expression with the name of its column.
func (o *Output) String() string {
	if o.As == nil {
		return o.Expr.String()
	}
	return o.Expr.String() + " as " + o.As.String()
}

// String writes the clause.
func (c *Clause) String() string {
	var w writer
	w.word(clauseWord(c.Kind))
	switch c.Kind {
	case "where", "value":
		w.word(c.Expr.String())
	case "score":
		w.word(c.Expr.Name.field())
	case "during":
		w.word(c.Range.String())
	case "within":
		w.word(listed(pointers(c.Durations)))
	case "per":
		w.per(c)
	case "holding":
		w.word(c.Field.field())
	case "by":
		w.word(listed(pointers(c.Groups)))
	case "timezone":
		w.word(quote(c.Text, "'"))
	case "among":
		w.word(c.Cohort.String())
	case "of":
		w.word(listed(c.Exprs))
	case "length", "depth", "top", "limit", "for":
		w.word(strconv.FormatInt(c.Number, 10))
	case "cover":
		w.word(percentText(c.Percent))
	case "test":
		w.word("last", percentText(c.Percent))
	case "through", "goal":
		w.word(c.Alt.String())
	case "order":
		w.word(c.Field.String())
		if c.Word != "" {
			w.word(c.Word)
		}
	case "using":
		w.word(listed(pointers(c.Models)))
	case "end":
		w.word(c.Time.String())
	default: // entry ties exclusion every count, and those of one word
		if c.Word != "" {
			w.word(c.Word)
		}
	}
	return w.String()
}

func (w *writer) per(c *Clause) {
	if c.Word == "field" {
		w.word(c.Field.field("customer", "session"))
		return
	}
	w.word(c.Word)
	if c.Gap != nil {
		w.word("gap", c.Gap.String())
	}
}

func percentText(share float64) string { return strconv.FormatFloat(share, 'f', -1, 64) + "%" }

// String writes the expression and its top.
func (g *Group) String() string {
	if g.Top == 0 {
		return g.Expr.String()
	}
	return g.Expr.String() + " top " + strconv.FormatInt(g.Top, 10)
}

// String writes the model with its argument.
func (m *Model) String() string {
	switch {
	case m.Duration != nil:
		return m.Name + "(" + m.Duration.String() + ")"
	case m.Number != 0:
		return m.Name + "(" + strconv.FormatInt(m.Number, 10) + ")"
	}
	return m.Name
}

// String writes the date as it was given.
func (d *Date) String() string { return d.Text }

// String writes the range.
func (r *Range) String() string {
	switch {
	case r.Last != nil:
		return "last " + r.Last.String()
	case r.Until == nil:
		return "since " + r.Since.String()
	case r.Since == nil:
		return "until " + r.Until.String()
	}
	return r.Since.String() + " to " + r.Until.String()
}

// String writes the condition, with parentheses where `or` stands inside `and`.
func (c *Cohort) String() string { return c.text(looser) }

// How tightly the parts of a condition bind.
const (
	looser = iota
	orLevel
	andLevel
	notLevel
	testLevel
	sumLevel
	productLevel
	signLevel
	primaryLevel
)

// text writes c so that it can stand where nothing looser than level may.
func (c *Cohort) text(level int) string {
	var w writer
	own := primaryLevel
	switch c.Kind {
	case "or", "and":
		own = orLevel
		if c.Kind == "and" {
			own = andLevel
		}
		for i, arg := range c.Args {
			if i > 0 {
				w.word(c.Kind)
			}
			w.word(arg.text(own + 1))
		}
	case "not":
		own = notLevel
		w.word("not", c.Args[0].text(notLevel))
	case "did":
		w.word("did", c.Alt.String())
		if c.Compare != "" {
			w.word(c.Compare, strconv.FormatInt(c.Times, 10), "times")
		}
		if c.During != nil {
			w.word("during", c.During.String())
		}
	case "reached", "stopped":
		w.level(c)
	case "in":
		w.word("in", c.Name.String())
	case "property":
		w.word(c.Test.String())
	}
	if own < level {
		return "(" + w.String() + ")"
	}
	return w.String()
}

func (w *writer) level(c *Cohort) {
	w.word(c.Kind)
	if c.Kind == "stopped" {
		w.word("at")
	}
	if c.Step != nil {
		w.word(c.Step.String())
	} else {
		w.word(strconv.FormatInt(c.Number, 10))
	}
	w.word("in")
	if c.Funnel != nil {
		w.word(c.Funnel.String())
		return
	}
	var inner writer
	inner.word(c.Pattern.String())
	inner.clauses(c.Options)
	w.word("(" + inner.String() + ")")
}

// String writes the definition without the word define.
func (d *Definition) String() string {
	var w writer
	w.word(d.Kind, d.Name.String(), "as")
	switch d.Kind {
	case "touchpoint", "stage":
		w.word(bars(pointers(d.Touches)))
	case "channels":
		w.word(nameList(d.Channels))
	case "segment":
		w.word(d.Cohort.String())
	case "funnel":
		w.word(d.Pattern.String())
		w.clauses(d.Options)
	}
	return w.String()
}

// String writes the expression.
func (e *Expr) String() string { return string(e.append(nil, looser)) }

// append writes e behind w so that it can stand where nothing looser than level
// may. It copies no part of the text twice: sums and products nest to the left
// as deep as they are long.
func (e *Expr) append(w []byte, level int) []byte {
	if e.level() >= level {
		return e.appendBare(w)
	}
	return append(e.appendBare(append(w, '(')), ')')
}

// level is how tightly the text of e binds.
func (e *Expr) level() int {
	switch e.Op {
	case "or":
		return orLevel
	case "and":
		return andLevel
	case "not":
		return notLevel
	case "=", "!=", "<", "<=", ">", ">=", "~", "isnull", "notnull", "in", "notin", "between", "notbetween", "like", "notlike":
		return testLevel
	case "+", "-":
		return sumLevel
	case "*", "/":
		return productLevel
	case "neg":
		return signLevel
	case "literal":
		return literalLevel(e.Value)
	}
	return primaryLevel
}

func (e *Expr) appendBare(w []byte) []byte {
	switch e.Op {
	case "or":
		return e.appendArgs(w, " or ", andLevel)
	case "and":
		return e.appendArgs(w, " and ", notLevel)
	case "not":
		return e.Args[0].append(append(w, "not "...), notLevel)
	case "=", "!=", "<", "<=", ">", ">=", "~":
		return e.appendArgs(w, " "+e.Op+" ", sumLevel)
	case "isnull":
		return append(e.Args[0].append(w, sumLevel), " is null"...)
	case "notnull":
		return append(e.Args[0].append(w, sumLevel), " is not null"...)
	case "in", "notin":
		w = append(e.Args[0].append(w, sumLevel), membershipWord(e.Op)+"("...)
		return append(append(w, listed(e.Args[1:])...), ')')
	case "between", "notbetween":
		w = append(e.Args[0].append(w, sumLevel), membershipWord(e.Op)...)
		w = append(e.Args[1].append(w, sumLevel), " and "...)
		return e.Args[2].append(w, sumLevel)
	case "like", "notlike":
		return e.appendArgs(w, membershipWord(e.Op), sumLevel)
	case "+", "-":
		w = append(e.Args[0].append(w, sumLevel), " "+e.Op+" "...)
		return e.Args[1].append(w, productLevel)
	case "*", "/":
		w = append(e.Args[0].append(w, productLevel), " "+e.Op+" "...)
		return e.Args[1].append(w, signLevel)
	case "neg":
		// Two signs in a row would begin a comment, and the least integer is a
		// literal with its sign.
		return e.Args[0].append(append(w, '-'), primaryLevel)
	case "literal":
		return append(w, literal(e.Value)...)
	case "filtered":
		w = append(e.Args[0].append(w, primaryLevel), '[')
		return append(e.Filter.append(w, looser), ']')
	}
	return append(w, e.primaryText()...)
}

func (e *Expr) appendArgs(w []byte, between string, level int) []byte {
	for i, arg := range e.Args {
		if i > 0 {
			w = append(w, between...)
		}
		w = arg.append(w, level)
	}
	return w
}

func membershipWord(op string) string {
	if rest, ok := strings.CutPrefix(op, "not"); ok {
		return " not " + rest + " "
	}
	return " " + op + " "
}

func (e *Expr) primaryText() string {
	switch e.Op {
	case "date":
		return e.Text
	case "duration":
		return e.Duration.String()
	case "param":
		return "$" + e.Text
	case "name":
		return e.Name.exprText()
	case "of":
		return e.ofText()
	case "call":
		return e.Name.exprText() + "(" + listed(e.Args) + ")"
	}
	panic("query: no text for expression " + e.Op)
}

// special are names that mean something else without quotes.
var special = []string{
	"event", "channel", "customer", "time", "id", "stage", "channel_group", "last", "events", "customers", "sessions",
}

// exprText writes the name in an expression. Quotes are kept where they say
// that it is a property and nothing else.
func (n Name) exprText() string {
	if n.Quoted && (strings.Contains(n.Text, ".") || slices.Contains(special, n.Text)) {
		return quote(n.Text, `"`)
	}
	return n.field()
}

// ofText writes the property of a step. A word, a dot and a word are one WORD,
// so one of the two has quotes.
func (e *Expr) ofText() string {
	switch {
	case e.Name.Text == "":
		return strconv.FormatInt(e.Number, 10) + "." + e.Prop.propText()
	case e.Name.Quoted:
		return quote(e.Name.Text, `"`) + "." + e.Prop.propText()
	}
	return e.Name.text() + "." + quote(e.Prop.Text, `"`)
}

func (n *Name) propText() string {
	if isWord(n.Text) {
		return n.Text
	}
	return quote(n.Text, `"`)
}

func literal(v event.Value) string {
	switch v.Type() {
	case event.StringType:
		return quote(v.Text(), "'")
	case event.FloatType:
		return floatText(v.Float())
	case event.None:
		return "null"
	}
	return v.String()
}

// literalLevel is how tightly a value binds: a negative number has a sign.
func literalLevel(v event.Value) int {
	if v.Type() == event.FloatType && v.Float() < 0 || v.Type() == event.IntegerType && v.Int() < 0 {
		return signLevel
	}
	return primaryLevel
}

// floatText writes a float so that it is read as one.
func floatText(f float64) string {
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	text := strconv.FormatFloat(f, format, -1, 64)
	if strings.ContainsAny(text, ".e") {
		return text
	}
	return text + ".0"
}

// stringer is a node, given by its pointer.
type stringer[T any] interface {
	*T
	String() string
}

func joinTexts[T any, P stringer[T]](nodes []P, between string) string {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		texts[i] = n.String()
	}
	return strings.Join(texts, between)
}

func listed[T any, P stringer[T]](nodes []P) string { return joinTexts[T](nodes, ", ") }

func bars[T any, P stringer[T]](nodes []P) string { return joinTexts[T](nodes, " | ") }

func nameList(names []Name) string { return listed(pointers(names)) }

func pointers[T any](nodes []T) []*T {
	list := make([]*T, len(nodes))
	for i := range nodes {
		list[i] = &nodes[i]
	}
	return list
}
