package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wend/event"
)

// TestCanonicalTextBindsAgain binds random statements: whatever Bind accepts,
// its canonical text parses, binds to an equal plan, and stays as it is.
func TestCanonicalTextBindsAgain(t *testing.T) {
	cat := randomCatalog(t)
	accepted := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 40 {
			if verb, ok := bindsAgain(t, cat, generator{t}.statement()); ok {
				accepted[verb]++
			}
		}
	})
	if testing.Short() {
		return // too few to meet every statement
	}
	for _, verb := range []string{"funnel", "times", "dropoff", "why", "drivers", "paths", "flow", "transitions", "switches", "match", "next",
		"retention", "attribute", "affinity", "map", "moments", "measure", "journey", "customers", "show"} {
		if accepted[verb] == 0 {
			t.Errorf("no random statement of %s was accepted: %v", verb, accepted)
		}
	}
}

// bindsAgain binds a statement, and its canonical text; ok is false if the
// statement has a mistake.
func bindsAgain(t *rapid.T, cat *Catalog, text string) (verb string, ok bool) {
	statements, err := Parse(text)
	if err != nil {
		t.Fatalf("the generator made a statement that does not parse: %s\n%v", text, err)
	}
	p, err := Bind(statements[0], cat)
	if err != nil {
		return "", false
	}
	again, err := Parse(p.Text)
	if err != nil {
		t.Fatalf("%s\nbecame\n%s\nwhich does not parse: %v", text, p.Text, err)
	}
	q, err := Bind(again[0], cat)
	if err != nil {
		t.Fatalf("%s\nbecame\n%s\nwhich does not bind: %v", text, p.Text, err)
	}
	if diff := cmp.Diff(p, q, planEqual...); diff != "" {
		t.Fatalf("%s\nbecame\n%s\nwhich binds to another plan:\n%s", text, p.Text, diff)
	}
	return p.Verb, true
}

// planEqual compares plans; where a name was written does not matter.
var planEqual = []cmp.Option{
	cmp.Comparer(func(a, b Span) bool { return true }),
	cmp.Comparer(func(a, b event.Value) bool { return a == b }),
	cmp.Comparer(func(a, b *Expr) bool { return (a == nil) == (b == nil) && (a == nil || a.String() == b.String()) }),
	cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool {
		return (a == nil) == (b == nil) && (a == nil || a.String() == b.String())
	}),
}

func randomCatalog(t testing.TB) *Catalog {
	cat := &Catalog{
		Schema: &event.Schema{
			Events:   []event.Name{{Text: "a"}, {Text: "b"}, {Text: "add to cart"}},
			Channels: []event.Name{{}, {Text: "web"}, {Text: "store"}, {Text: "top"}},
			Properties: []event.Property{{Name: "n", Type: event.IntegerType}, {Name: "v", Type: event.FloatType},
				{Name: "s", Type: event.StringType}, {Name: "vip", Type: event.BooleanType}, {Name: "due", Type: event.TimeType},
				{Name: "x.y", Type: event.StringType}, {Name: "null", Type: event.StringType}},
		},
		EndOfData: 1_740_000_000_000_000,
		Params:    map[string]event.Value{"p": event.Float(-0.5), "who": event.String("o'hara"), "t": event.Instant(5), "i": event.Integer(-1 << 63)},
	}
	for _, text := range []string{
		"define touchpoint touch as a@web | b[v > 1]", "define stage st as touch | \"add to cart\"", "define channels offline as store",
		"define funnel fun as a -> touch within 3d where v > 1 per session", "define segment seg as stopped at 1 in fun and did b at most 2 times",
	} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := CheckDefine(s[0], cat)
		if err != nil {
			t.Fatal(err)
		}
		cat.Definitions = append(cat.Definitions, d)
	}
	return cat
}

// generator makes statements that parse, most of which bind.
type generator struct{ *rapid.T }

func (g generator) pick(choices ...string) string {
	return rapid.SampledFrom(choices).Draw(g.T, "pick")
}
func (g generator) chance() bool { return rapid.IntRange(0, 3).Draw(g.T, "chance") == 0 }

func (g generator) maybe(text func() string) string {
	if g.chance() {
		return text()
	}
	return ""
}

// list joins one to three parts.
func (g generator) list(separator string, part func() string) string {
	parts := make([]string, rapid.IntRange(1, 3).Draw(g.T, "parts"))
	for i := range parts {
		parts[i] = part()
	}
	return strings.Join(parts, separator)
}

func (g generator) statement() string {
	subject := g.pick("funnel", "times", "dropoff", "why", "drivers of", "next after", "next for", "paths", "flow", "transitions", "switches",
		"match", "retention", "attribute", "affinity of", "map", "moments", "measure", "journey of", "customers", "show")
	text := subject + " " + g.subject(subject)
	// All clauses that the statement takes are tried, in any order.
	kinds := rapid.Permutation(clausesOf(subject)).Draw(g.T, "clauses")
	for _, kind := range kinds {
		if g.chance() {
			text += " " + g.clause(kind, subject)
		}
	}
	if subject == "drivers of" && !slices.Contains(strings.Fields(text), "by") {
		text += " by channel, events"
	}
	if subject == "retention" && !strings.Contains(text, " every ") {
		text += " every week"
	}
	return g.maybe(func() string { return "explain " }) + text
}

func (g generator) subject(subject string) string {
	switch subject {
	case "funnel", "times", "dropoff", "drivers of", "next after":
		return g.pattern()
	case "why":
		return "$who in " + g.pattern()
	case "next for", "journey of":
		return g.pick("$who", "'x'", "'it''s'")
	case "paths":
		return g.pick("", "from "+g.alt(), "to "+g.alt(), "from each "+g.alt()+" to "+g.alt())
	case "flow":
		return g.pick("", "from "+g.alt(), "to "+g.alt())
	case "transitions":
		return g.pick("", "with times")
	case "switches":
		return g.pick("", "from web", "to (offline | web)")
	case "match":
		return g.pick("a+ => (b | *@web)? => a{2,3}", "a =>[1d] b*", "(a => b){2,} | b{3}")
	case "retention":
		return g.alt() + " -> " + g.alt()
	case "attribute":
		return g.alt() + " to " + g.list(", ", func() string { return g.expr(0) })
	case "affinity of":
		return g.pick("s", "channel") + " in " + g.alt()
	case "map":
		return "st"
	case "measure":
		return g.list(", ", g.output)
	case "show":
		return g.pick("events", "channels", "properties", "definitions", "status")
	}
	return ""
}

func (g generator) pattern() string {
	if g.chance() {
		return g.pick("fun", "any order (a, b as x)", "any order (a)")
	}
	step := 0
	return g.list(g.pick(" -> ", " => ", " ->[2h] ", " -> !b -> ", " -> !a ->[3d] !(a | b@web) -> "), func() string {
		step++
		return g.alt() + g.maybe(func() string { return fmt.Sprintf(" as step%d", step) })
	})
}

func (g generator) alt() string {
	if g.chance() {
		return "(" + g.touch() + " | " + g.touch() + ")" + g.suffix()
	}
	return g.touch()
}

func (g generator) touch() string {
	return g.pick("a", "b", "*", "touch", "st", `"add to cart"`) + g.suffix()
}

func (g generator) suffix() string {
	return g.maybe(func() string { return g.pick("@web", "@(web | offline)", `@"top"`) }) +
		g.maybe(func() string { return "[" + g.condition(1) + "]" })
}

func (g generator) condition(depth int) string {
	if depth > 2 {
		return "vip"
	}
	switch g.pick("compare", "and", "not", "in", "between", "like", "null", "segment", "time") {
	case "compare":
		return g.pick("n = 1", "v > $p", "n <= v + 2", "s != $who", "s = 'x'", "channel = 'web'", "stage = 'st'", "channel_group = 'offline'",
			"customer.s = 'x'", `"null" = 'n'`, "x.y = 'z'", "n / 2 > -1.5", "lower(s) = upper(s)", "n > $i")
	case "and":
		return "(" + g.condition(depth+1) + g.pick(" and ", " or ") + g.condition(depth+1) + ")"
	case "not":
		return "not " + g.condition(depth+1)
	case "in":
		return g.pick("s in ('a', $who)", "n not in (1, 2.5)")
	case "between":
		return g.pick("v between 1 and 2", "time not between 2025-01-01 and $t")
	case "like":
		return g.pick("s like 'a%'", "s not like '\\%_'", "s ~ '^a+$'")
	case "null":
		return g.pick("s is null", "(due - time) is not null")
	case "segment":
		return "segment(seg)"
	}
	return g.pick("due - time > 2d", "time > 2025-01-31T10:00", "hour(time) = 3", "date(due) = 2025-01-01", "time + 6h < $t")
}

func (g generator) expr(depth int) string {
	return g.pick("n", "v * 2 - n", "s", "channel", "event", "time", "coalesce(s, 'none')", "customer.s", `"x.y"`, "stage", g.condition(depth+1))
}

func (g generator) output() string {
	m := g.pick("events", "customers", "sessions", "sum(v)", "median(n)", "p95(v)", "distinct(s)", "max(due)", "avg(v * n)")
	if g.chance() {
		m += "[" + g.condition(1) + "]"
	}
	if g.chance() {
		m = "(" + m + " + 1) / events"
	}
	return m + g.maybe(func() string { return " as " + g.pick("x", "y", `"the rest"`) })
}

func (g generator) cohort(depth int) string {
	if depth > 2 {
		return "in seg"
	}
	switch g.pick("did", "and", "not", "reached", "in", "property") {
	case "did":
		return "did " + g.alt() + g.pick("", " at least 2 times", " at most 3 times", " exactly 0 times") + g.maybe(func() string { return " during " + g.duringRange() })
	case "and":
		return "(" + g.cohort(depth+1) + g.pick(" and ", " or ") + g.cohort(depth+1) + ")"
	case "not":
		return "not " + g.cohort(depth+1)
	case "reached":
		return g.pick("reached 1 in fun", "stopped at touch in fun", "reached 2 in (a -> b within 1d)", "reached 1 in (fun exclusion void)",
			"stopped at x in (a as x -> b where v > $p per session gap 1h during last 2 days)", "reached 2 in (any order (a, b))")
	case "property":
		return g.pick("customer.s = 'x'", "customer.n between 1 and 2", "customer.\"x.y\" is null")
	}
	return "in seg"
}

func (g generator) duringRange() string {
	return g.pick("last 30 days", "last 2 months", "last 1 year", "since 2025-01-01", "until 2025-01-31T10:00", "2025-01-01 to 2025-01-31")
}

func (g generator) clause(kind, subject string) string {
	switch kind {
	case "where":
		return "where " + g.condition(0)
	case "during":
		return "during " + g.duringRange()
	case "within":
		return g.pick("within 7d", "within 36h", "within 2 weeks", "within 1d, 2d")
	case "per":
		return g.pick("per customer", "per session", "per session gap 90s", "per s")
	case "holding":
		return g.pick("holding s", "holding channel")
	case "count":
		return "count " + g.pick("customers", "sessions", "attempts", "entries")
	case "entry":
		return "entry " + g.pick("best", "first")
	case "ties":
		return "ties " + g.pick("steps", "arrival")
	case "exclusion":
		return "exclusion " + g.pick("cut", "void", "drop")
	case "of":
		if subject == "customers" {
			return "of s, upper(customer.s)"
		}
		return "of " + g.list(", ", func() string { return g.expr(0) })
	case "length", "depth", "top", "limit", "for":
		return kind + g.pick(" 1", " 7")
	case "cover":
		return "cover 80%"
	case "through", "goal":
		return kind + " " + g.alt()
	case "using":
		return "using " + g.pick("first, last", "decay(12h), decay", "markov, markov(2)", "shapley")
	case "value":
		return "value " + g.pick("v", "n * 2")
	case "score":
		return "score v"
	case "test":
		return "test last 20%"
	case "among":
		return "among " + g.cohort(0)
	case "by":
		return "by " + g.list(", ", func() string {
			return g.pick("channel", "1.s", "last.v", "s", g.expr(0)) + g.maybe(func() string { return " top 3" })
		})
	case "every":
		return "every " + g.pick("hour", "day", "week", "month", "quarter", "year")
	case "timezone":
		return g.pick("timezone 'Europe/Berlin'", "timezone 'UTC'")
	case "order":
		return "order by " + g.pick("customers", "step", "journeys", "count", "x", "events") + g.pick("", " asc", " desc")
	case "end":
		return g.pick("end 2025-01-31", "end 2025-02-01T00:00Z")
	}
	return kind // collapse lenient
}
