package randtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// Statement is a statement in the pieces that shrinking takes away.
type Statement struct {
	Verb    string
	Lead    string   // what stands between the verb and the pattern
	Head    string   // what follows the verb where there is no pattern
	Pattern *Pattern // funnel, times, dropoff
	Clauses []Clause // in canonical order
}

// Clause is one clause: its kind as the syntax tree names it, and its text.
type Clause struct{ Kind, Text string }

// Pattern is the text of a pattern, or the name of a funnel as its only step.
type Pattern struct {
	AnyOrder bool
	Steps    []string
	Links    []string // Links[i] stands before Steps[i+1]
}

// String is the pattern in the language, as a statement or a definition takes it.
func (p *Pattern) String() string {
	if p.AnyOrder {
		return "any order (" + strings.Join(p.Steps, ", ") + ")"
	}
	text := p.Steps[0]
	for i, l := range p.Links {
		text += " " + l + " " + p.Steps[i+1]
	}
	return text
}

// String is the statement in the language.
func (s *Statement) String() string {
	words := []string{s.Verb}
	if s.Lead != "" {
		words = append(words, s.Lead)
	}
	if s.Pattern != nil {
		words = append(words, s.Pattern.String())
	}
	if s.Head != "" {
		words = append(words, s.Head)
	}
	for _, c := range s.Clauses {
		words = append(words, c.Text)
	}
	return strings.Join(words, " ")
}

// Has reports whether the statement has a clause of this kind.
func (s *Statement) Has(kind string) bool {
	return slices.ContainsFunc(s.Clauses, func(c Clause) bool { return c.Kind == kind })
}

// The clauses each statement takes (section 3), in the order in which they can
// be written one after another without taking each other's words.
const (
	common   = " where during among by every timezone order limit end lenient"
	matching = "within per holding count entry ties exclusion"

	unperiodic = " where during among by timezone order limit end lenient" // without every
)

var table = map[string][]string{
	"funnel":      strings.Fields(matching + common),
	"times":       strings.Fields(matching + common),
	"dropoff":     strings.Fields(matching + " of top" + common),
	"paths":       strings.Fields("within per of length top cover collapse through" + common),
	"transitions": strings.Fields("per of top collapse" + common),
	"measure":     strings.Fields("per" + common),
	"journey":     strings.Fields("where during limit end"),
	"customers":   strings.Fields("of among order limit"),
	"why":         strings.Fields("within per holding entry ties exclusion where during among timezone end lenient"),
	"attribute":   strings.Fields("within per using value" + common),
	"retention":   strings.Fields("for" + common),
	"flow":        strings.Fields("within per of depth top collapse" + common),
	"switches":    strings.Fields("within per goal" + common),
	"match":       strings.Fields("per" + common),
	"map":         strings.Fields("within goal score" + unperiodic),
	"moments":     strings.Fields("within of top goal score" + unperiodic),
	"affinity":    strings.Fields("per top where during among timezone order limit end lenient"),
	"drivers":     strings.Fields(matching + " top" + unperiodic),
	"next after":  strings.Fields(matching + " of top test" + unperiodic),
	"next for":    strings.Fields("per of top test where during among timezone order limit end lenient"),
}

// exclude are pairs of one statement that would clash.
var exclude = [][2]string{{"top", "cover"}, {"test", "order"}, {"test", "by"}}

// Verbs are the statements that are generated.
var Verbs = []string{"funnel", "funnel", "funnel", "times", "dropoff", "dropoff", "paths", "paths", "transitions", "measure", "measure", "journey", "customers",
	"why", "attribute", "attribute", "retention", "flow", "switches", "match", "map", "moments", "affinity", "drivers", "next after", "next for"}

// Pair is two clauses of one statement.
type Pair struct{ A, B string }

// Pairs lists all pairs of clauses that some statement allows.
func Pairs() []Pair {
	var pairs []Pair
	for _, verb := range Verbs {
		for i, a := range table[verb] {
			for _, b := range table[verb][i+1:] {
				if !slices.Contains(exclude, [2]string{a, b}) && !slices.Contains(pairs, pairOf(a, b)) {
					pairs = append(pairs, pairOf(a, b))
				}
			}
		}
	}
	return pairs
}

func pairOf(a, b string) Pair { return Pair{min(a, b), max(a, b)} }

// PairsOf lists the pairs of clauses that s has.
func (s *Statement) PairsOf() []Pair {
	var pairs []Pair
	for i, a := range s.Clauses {
		for _, b := range s.Clauses[i+1:] {
			pairs = append(pairs, pairOf(a.Kind, b.Kind))
		}
	}
	return pairs
}

// NewStatement makes statement number index of a world. wanted, if it is not
// empty, is a pair of clauses that it has.
func NewStatement(w *World, seed, index uint64, wanted Pair) *Statement {
	g := &gen{r: rand.New(rand.NewPCG(seed, index*2+1)), w: w}
	var verbs []string
	for _, v := range Verbs {
		if w.possible(v) && (wanted.A == "" || slices.Contains(table[v], wanted.A) && slices.Contains(table[v], wanted.B)) {
			verbs = append(verbs, v)
		}
	}
	s := &Statement{Verb: pick(g.r, verbs)}
	kinds := map[string]bool{wanted.A: true, wanted.B: true}
	for range g.r.IntN(4) {
		kinds[pick(g.r, table[s.Verb])] = true
	}
	for _, e := range exclude {
		if kinds[e[0]] && kinds[e[1]] {
			drop := e[0]
			if drop == wanted.A || drop == wanted.B {
				drop = e[1]
			}
			delete(kinds, drop)
		}
	}
	if wanted.A != "count" && wanted.B != "count" && kinds["count"] && g.r.IntN(2) == 0 {
		delete(kinds, "count")
	}
	g.lenient, g.exclude = kinds["lenient"], kinds["exclusion"]
	g.head(s, kinds["within"])
	g.needs(s.Verb, kinds)
	for _, kind := range table[s.Verb] {
		if kinds[kind] {
			s.Clauses = append(s.Clauses, Clause{kind, g.clause(s, kind)})
		}
	}
	return s
}

// gen writes random pieces of the language.
type gen struct {
	r       *rand.Rand
	w       *World
	lenient bool
	exclude bool     // the statement says what exclusions do: it should have some
	steps   []string // how steps of the statement's pattern may be named
	columns []string // columns of the answer that order by may name
}

func (g *gen) head(s *Statement, windowed bool) {
	switch s.Verb {
	case "funnel", "times", "dropoff":
		p := g.pattern()
		s.Pattern = &p
		if len(g.w.funnels) > 0 && g.r.IntN(12) == 0 {
			s.Pattern, g.steps = &Pattern{Steps: []string{g.w.funnels[0]}}, []string{"1"}
		}
		g.columns = map[string][]string{
			"funnel":  {"step", "touchpoint", "from_previous", "from_first", "dropped", "open", "median_from_previous", "median_from_first"},
			"times":   {"step", "touchpoint", "mean", "p10", "p95"},
			"dropoff": {"step", "next", "share", "median_time_to_next"},
		}[s.Verb]
	case "paths":
		g.columns = []string{"path", "journeys", "share", "median_duration"}
		n := g.r.IntN(8)
		if windowed && n < 2 {
			n += 2
		}
		s.Head = map[int]string{2: "from A", 3: "to Y", 4: "from A to Y", 5: "from each A", 6: "to each Y", 7: pick(g.r, []string{"from each A to Y", "from A to each Y"})}[n]
		s.Head = strings.NewReplacer("A", g.alt(), "Y", g.alt()).Replace(s.Head)
	case "transitions":
		g.columns = []string{"source", "target", "count", "share_of_source"}
		if g.r.IntN(2) == 0 {
			s.Head = "with times"
		}
	case "measure":
		var outputs []string
		counts := g.r.IntN(3) == 0 // nothing else: the most usual question
		for i := range 1 + g.r.IntN(3) {
			name := fmt.Sprintf("m%d", i+1)
			output := g.measure(2)
			if counts {
				output = pick(g.r, []string{"events", "customers", "distinct(customer)", "customers[" + g.condition(1, true) + "]"})
			}
			outputs = append(outputs, output+" as "+name)
			g.columns = append(g.columns, name)
		}
		if !counts && g.r.IntN(4) == 0 {
			outputs = append(outputs, pick(g.r, []string{"events", "customers", "sessions"}))
		}
		s.Head = strings.Join(outputs, ", ")
	case "journey":
		s.Head = "of " + textLiteral(pick(g.r, g.w.Events).Customer)
	case "customers":
		g.columns = []string{"customer", "first", "last", "events"}
	default:
		g.furtherHead(s)
	}
}

// pattern writes a pattern of up to five steps and notes how they can be named.
func (g *gen) pattern() Pattern {
	p := Pattern{}
	g.steps = nil
	var plain []string // steps that are no more than a name
	n := 1 + g.r.IntN(4)
	if g.r.IntN(10) == 0 {
		n = 5
	}
	if g.r.IntN(8) == 0 {
		p.AnyOrder = true
		n = 2 + g.r.IntN(2) + g.r.IntN(3)
	}
	for i := range n {
		step := g.alt()
		if g.r.IntN(5) == 0 {
			step += fmt.Sprintf(" as s%d", i+1)
			g.steps = append(g.steps, fmt.Sprintf("s%d", i+1))
		} else {
			g.steps = append(g.steps, strconv.Itoa(i+1))
			plain = append(plain, step)
		}
		p.Steps = append(p.Steps, step)
		if i > 0 && !p.AnyOrder {
			p.Links = append(p.Links, g.link())
		}
	}
	for _, step := range plain {
		times := 0
		for _, other := range p.Steps {
			times += btoi(strings.HasPrefix(other, step))
		}
		if times == 1 && !strings.ContainsAny(step, "@[(*|") {
			g.steps = append(g.steps, step)
		}
	}
	return p
}

func (g *gen) link() string {
	bound := ""
	if g.r.IntN(4) == 0 {
		bound = "[" + pick(g.r, []string{g.duration(), g.duration(), g.duration(), "0s"}) + "]"
	}
	kind := g.r.IntN(8)
	if g.exclude && g.r.IntN(2) == 0 {
		kind = 2
	}
	switch kind {
	case 0, 1:
		return "=>" + bound
	case 2, 3:
		if g.r.IntN(2) == 0 {
			return "->" + bound + " !" + g.alt() + " ->"
		}
		return "-> !" + g.alt() + " ->" + bound
	case 4:
		if g.r.IntN(3) == 0 {
			return "-> !" + g.touch() + " -> !" + g.touch() + " ->" + bound
		}
	}
	return "->" + bound
}

func (g *gen) alt() string {
	if g.r.IntN(6) > 0 {
		return g.touch()
	}
	text := "(" + g.touch() + " | " + g.touch() + ")"
	if g.r.IntN(3) == 0 {
		text += g.at()
	}
	if g.r.IntN(4) == 0 {
		text += "[" + g.condition(1, false) + "]"
	}
	return text
}

func (g *gen) touch() string {
	if g.r.IntN(15) == 0 {
		return "*" + pick(g.r, []string{"", g.at()})
	}
	name := nameText(pick(g.r, g.w.names))
	if len(g.w.alts) > 0 && g.r.IntN(6) == 0 {
		name = nameText(pick(g.r, g.w.alts))
	}
	if g.lenient && g.r.IntN(6) == 0 {
		name = "nobody_did_this"
	}
	if g.r.IntN(7) == 0 {
		name += g.at()
	}
	if g.r.IntN(7) == 0 {
		name += "[" + g.condition(1, false) + "]"
	}
	return name
}

func (g *gen) at() string {
	names := slices.Concat(g.w.channels, g.w.groups)
	if len(names) == 0 {
		return ""
	}
	if g.r.IntN(3) == 0 {
		return "@(" + nameText(pick(g.r, names)) + " | " + nameText(pick(g.r, names)) + ")"
	}
	return "@" + nameText(pick(g.r, names))
}

func (g *gen) options() string {
	text := ""
	for _, kind := range []string{"within", "per", "holding", "entry", "ties", "where", "during"} {
		if g.r.IntN(8) == 0 {
			text += " " + g.clause(&Statement{Verb: "define"}, kind)
		}
	}
	return text
}

func (g *gen) clause(s *Statement, kind string) string {
	switch kind {
	case "within":
		text := "within " + g.duration()
		for s.Verb == "funnel" || s.Verb == "times" || s.Verb == "attribute" {
			if g.r.IntN(2) == 0 {
				break
			}
			text += ", " + pick(g.r, []string{g.duration(), g.longDuration()})
		}
		return text
	case "per":
		if s.Verb == "affinity" && g.r.IntN(2) == 0 {
			return "per " + g.wordField()
		}
		if g.r.IntN(6) == 0 {
			return "per customer"
		}
		return "per session" + pick(g.r, []string{"", " gap " + g.duration()})
	case "holding":
		return "holding " + g.field()
	case "count":
		return "count " + g.count(s)
	case "entry":
		return "entry " + pick(g.r, []string{"first", "first", "best"})
	case "ties":
		return "ties " + pick(g.r, []string{"arrival", "arrival", "steps"})
	case "exclusion":
		return "exclusion " + pick(g.r, []string{"cut", "void", "drop"})
	case "of":
		if s.Verb == "customers" {
			return "of " + g.properties()
		}
		return "of " + pick(g.r, []string{"channel", "event", "event, channel", g.scalar(1), g.field(), g.condition(0, true), "time", "stage", "channel_group"})
	case "length":
		return fmt.Sprint("length ", 1+g.r.IntN(6))
	case "top":
		return fmt.Sprint("top ", 1+g.r.IntN(4))
	case "cover":
		return fmt.Sprint("cover ", pick(g.r, []int{1, 30, 50, 80, 100}), "%")
	case "collapse":
		return "collapse"
	case "through":
		return "through " + g.alt()
	case "where":
		return "where " + g.condition(2, true)
	case "during":
		return "during " + g.during()
	case "among":
		return "among " + g.cohort(2)
	case "by":
		switch {
		case s.Verb == "map":
			return "by channel" + pick(g.r, []string{"", " top 1"})
		case s.Verb == "drivers" && g.r.IntN(2) == 0:
			return "by events" + pick(g.r, []string{"", ", channel"})
		case s.Verb == "drivers":
			g.steps = nil // of the later ones there is no factor
		}
		return "by " + g.by()
	case "every":
		return "every " + g.every()
	case "timezone":
		return "timezone " + pick(g.r, []string{"'Europe/Berlin'", "'America/New_York'", "'Asia/Kolkata'", "'UTC'"})
	case "order":
		column := pick(g.r, g.columns)
		if slices.Contains([]string{"funnel", "times", "dropoff"}, s.Verb) && g.r.IntN(3) == 0 {
			column = g.countColumn(s)
		}
		return "order by " + column + pick(g.r, []string{"", " asc", " desc", " desc"})
	case "limit":
		return fmt.Sprint("limit ", 1+g.r.IntN(12))
	case "end":
		return "end " + g.date()
	case "lenient":
		return "lenient"
	}
	return g.furtherClause(kind)
}

func (g *gen) count(s *Statement) string {
	words := []string{"customers", "attempts", "entries"}
	for _, c := range s.Clauses {
		if strings.HasPrefix(c.Text, "per session") {
			words = append(words, "sessions", "customers", "customers")
		}
	}
	return pick(g.r, words)
}

func (g *gen) countColumn(s *Statement) string {
	column := "customers"
	for _, c := range s.Clauses {
		if strings.HasPrefix(c.Text, "per session") {
			column = "sessions"
		}
	}
	for _, c := range s.Clauses {
		if c.Kind == "count" {
			column = strings.TrimPrefix(c.Text, "count ")
		}
	}
	if slices.Equal(s.Pattern.Steps, g.w.funnels) {
		return "step" // what the defined funnel counts is its own affair
	}
	return column
}

func (g *gen) by() string {
	var groups []string
	for range 1 + g.r.IntN(2) {
		group := ""
		switch g.r.IntN(11) {
		case 0, 1:
			group = pick(g.r, []string{"channel", "channel", "date(time)", "customer", "month(time)"})
		case 2, 3, 4:
			group = g.field()
		case 5:
			group = g.scalar(2)
		case 6:
			group = g.condition(1, true)
		case 7:
			group = g.customerField()
		default:
			group = "event"
			if len(g.steps) > 0 {
				group = pick(g.r, append([]string{"last"}, g.steps...)) + "." + pick(g.r, append(g.computed(), "channel", "event", g.dotless()))
			}
		}
		if g.r.IntN(3) == 0 {
			group += fmt.Sprint(" top ", 1+g.r.IntN(3))
		}
		if !slices.ContainsFunc(groups, func(other string) bool { return base(other) == base(group) }) {
			groups = append(groups, group)
		}
	}
	return strings.Join(groups, ", ")
}

func base(group string) string { text, _, _ := strings.Cut(group, " top "); return text }

// every picks a period that does not make thousands of rows.
func (g *gen) every() string {
	first, last := g.w.Events[0].Time, g.w.Events[0].Time
	for _, e := range g.w.Events {
		first, last = min(first, e.Time), max(last, e.Time)
	}
	words := []string{"week", "month", "quarter", "year"}
	if last.Sub(first) < 60*event.Day {
		words = append(words, "day", "day")
	}
	if last.Sub(first) < 5*event.Day {
		words = append(words, "hour", "hour", "hour")
	}
	return pick(g.r, words)
}

func (g *gen) duration() string {
	d := event.Duration(1+g.r.IntN(8)) * g.w.unit
	if g.r.IntN(4) == 0 {
		d = event.Duration(1+g.r.IntN(60)) * g.w.unit
	}
	return d.String()
}

func (g *gen) longDuration() string {
	if g.r.IntN(8) == 0 {
		return "400000d" // longer than all time there is
	}
	return (event.Duration(61+g.r.IntN(40)) * g.w.unit).String()
}

func (g *gen) instant() event.Time {
	t := pick(g.r, g.w.Events).Time
	switch g.r.IntN(4) {
	case 0:
		t = t.Add(event.Duration(g.r.IntN(7)-3) * g.w.unit)
	case 1:
		t += event.Time(g.r.IntN(3) - 1)
	}
	return t
}

func (g *gen) date() string { return g.dateOf(g.instant()) }

func (g *gen) dateOf(t event.Time) string { return g.written(t, g.r.IntN(7)) }

// written writes a date in one of the forms there are.
func (g *gen) written(t event.Time, form int) string {
	at := t.Std()
	switch form {
	case 0:
		return at.Format("2006-01-02")
	case 1:
		return at.Format("2006-01-02T15:04")
	case 2:
		return at.Format("2006-01-02T15:04:05") + "+01:00"
	case 3:
		return at.Format("2006-01-02T15:04:05.000000") + "-05:30"
	case 4:
		return at.Format("2006-01-02T15:04:05")
	case 5:
		return at.Format("2006-01-02T15:04:05.000000")
	}
	return at.Format("2006-01-02T15:04:05.000000Z")
}

func (g *gen) during() string {
	switch g.r.IntN(6) {
	case 0:
		return "since " + g.date()
	case 1:
		return "until " + g.date()
	case 2:
		return "last " + pick(g.r, []string{"1 month", "2 months", "1 quarter", "1 year", "30 days", "3 weeks", "7d", (event.Duration(1+g.r.IntN(40)) * g.w.unit).String()})
	}
	a, b, form := g.instant(), g.instant(), g.r.IntN(7)
	end := max(a, b).Add(event.Duration(g.r.IntN(30)) * g.w.unit)
	if end.Sub(min(a, b)) < event.Minute {
		end = end.Add(event.Minute) // a range that ends before it begins is an error
	}
	return g.written(min(a, b), form) + " to " + g.written(end, form)
}

// cohort writes a condition on customers.
func (g *gen) cohort(depth int) string {
	if depth > 0 && g.r.IntN(3) == 0 {
		a, b := g.cohort(depth-1), g.cohort(depth-1)
		switch g.r.IntN(4) {
		case 0:
			return a + " and " + b
		case 1:
			return a + " or " + b
		case 2:
			return "(" + a + " or " + b + ") and not (" + g.cohort(0) + ")"
		default:
			return "not " + g.cohort(0)
		}
	}
	switch g.r.IntN(9) {
	case 0:
		return "did " + g.alt() + pick(g.r, []string{" at least 2 times", " at most 2 times", " exactly 1 times", " exactly 0 times"})
	case 1:
		return "did " + g.alt() + pick(g.r, []string{"", " at least 2 times"}) + " during " + g.during()
	case 2:
		p, steps := g.cohortPattern()
		return "reached " + pick(g.r, steps) + " in (" + p + g.options() + ")"
	case 3:
		p, steps := g.cohortPattern()
		return "stopped at " + pick(g.r, steps) + " in (" + p + g.options() + ")"
	case 4:
		if len(g.w.segments) > 0 {
			return pick(g.r, []string{"in ", "not in "}) + pick(g.r, g.w.segments)
		}
	case 5:
		if len(g.w.funnels) > 0 && len(g.w.segments) > 0 {
			return pick(g.r, []string{"reached 1", "stopped at 1"}) + " in " + pick(g.r, g.w.funnels)
		}
	case 6:
		if f := g.customerField(); f == "customer.tier" {
			return f + pick(g.r, []string{" = 'gold'", " != 'gold'", " is null", " in ('gold', 'web')", " like 'g%'", " is not null"})
		}
	}
	return "did " + g.alt()
}

func (g *gen) cohortPattern() (string, []string) {
	outer := g.steps
	defer func() { g.steps = outer }()
	p := g.pattern()
	if p.AnyOrder { // its levels are numbers of steps
		g.steps = []string{"1", "2"}
	}
	return p.String(), g.steps
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
