package randtest

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"wend/internal/reference"
)

// holdFurtherInvariants holds an evaluator to what must be true of the answers
// of the statements beside funnel and paths.
func holdFurtherInvariants(t *testing.T, evaluate func(*World, string) (*reference.Answer, error)) {
	each := inWorlds(t, 17, 150, evaluate)

	each("every model shares out all conversions", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		alt := g.alt()
		a := ask("attribute " + alt + " to channel within " + g.duration() + " using first, last, linear, position, decay, markov, markov(2), shapley")
		want := 0.0
		for _, row := range a.Rows {
			want += row[1].(float64)
		}
		for k := range a.Columns[1:] {
			sum := 0.0
			for _, row := range a.Rows {
				sum += row[k+1].(float64)
			}
			if math.Abs(sum-want) > 1e-6 || math.Abs(want-math.Round(want)) > 1e-6 {
				return fmt.Sprintf("%s adds up to %v, first to %v", a.Columns[k+1], sum, want)
			}
		}
		return ""
	})
	each("what entered a label leaves it", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		const depth = 4
		a := ask("flow from " + g.alt() + " within " + g.duration() + fmt.Sprint(" depth ", depth, " top ", 1+g.r.IntN(4)))
		type node struct {
			level int64
			label string
		}
		balance := map[node]int64{}
		for _, row := range a.Rows {
			level, source, target, n := row[0].(int64), row[1].(string), row[2].(string), row[3].(int64)
			balance[node{level, source}] -= n
			if target != "(exit)" && target != "(open)" && level < depth {
				balance[node{level + 1, target}] += n
			}
		}
		for at, n := range balance {
			if at.level > 1 && n != 0 {
				return fmt.Sprintf("%d more entered %s at level %d than left it", n, at.label, at.level)
			}
		}
		return ""
	})
	each("the verdict is the funnel's", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		p := g.pattern()
		rest := p.String() + " within " + g.duration() + pick(g.r, []string{"", " per session", " exclusion void", " exclusion drop", " entry first", " ties arrival"})
		asked := map[string]bool{}
		for _, e := range w.Events {
			if _, linked := w.Links[e.Customer]; linked || asked[e.Customer] {
				continue
			}
			asked[e.Customer] = true
			told := ask("why " + textLiteral(e.Customer) + " in " + rest)
			funnel := ask("funnel " + rest + " count customers where customer = " + textLiteral(e.Customer))
			if complaint := disagrees(told, funnel); complaint != "" {
				return e.Customer + ": " + complaint
			}
		}
		return ""
	})
	each("switches are transitions of channels", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		between := map[string]int64{}
		for _, row := range ask("transitions of channel collapse where channel is not null").Rows {
			between[row[0].(string)+" "+row[1].(string)] += row[2].(int64)
		}
		for _, row := range ask("switches within " + g.duration()).Rows {
			key := row[0].(string) + " " + row[1].(string)
			if between[key] != row[2].(int64) {
				return fmt.Sprintf("%s: %v, but %d transitions", key, row[2], between[key])
			}
			delete(between, key)
		}
		if len(between) > 0 {
			return fmt.Sprint("no switches are ", between)
		}
		return ""
	})
	each("matches of two are transitions that do not overlap", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		a, b := nameText(w.names[0]), nameText(w.names[len(w.names)-1])
		if a == b {
			return ""
		}
		pairs := int64(0)
		for _, row := range ask("transitions").Rows {
			if nameText(row[0].(string)) == a && nameText(row[1].(string)) == b {
				pairs = row[2].(int64)
			}
		}
		for _, regex := range []string{a + " => " + b, "(" + a + " => " + b + "){1,3}", a + "+ => " + b} {
			if got := ask("match " + regex).Rows[0][1].(int64); got != pairs {
				return fmt.Sprintf("%s: %d matches, but %d transitions", regex, got, pairs)
			}
		}
		return ""
	})
	each("a cohort returns as a part of itself", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		alt := g.alt()
		total := int64(0)
		for _, row := range ask("retention " + alt + " -> " + g.alt() + " every month for 3").Rows {
			size, period, n := row[1].(int64), row[2].(int64), row[3].(int64)
			if n > size || period == 0 && n != size {
				return fmt.Sprintf("%d of %d in period %d", n, size, period)
			}
			if period == 0 {
				total += size
			}
		}
		if did := ask("funnel " + alt).Rows[0][2].(int64); did != total {
			return fmt.Sprintf("%d began, the cohorts hold %d", did, total)
		}
		return ""
	})
	each("both directions of a pair are one", func(w *World, g *gen, ask func(string) *reference.Answer) string {
		together := map[string]int64{}
		for _, row := range ask("affinity of channel in " + g.alt() + pick(g.r, []string{"", " per session"}) + " top 1000").Rows {
			left, right, n := row[0].(string), row[1].(string), row[2].(int64)
			together[left+" "+right] = n
			if other, ok := together[right+" "+left]; ok && other != n {
				return strings.Join([]string{left, right}, " and ")
			}
		}
		return ""
	})
}

// disagrees says how the verdict of why differs from the funnel of the same
// customer alone.
func disagrees(told, funnel *reference.Answer) string {
	level, status := int64(0), "converted"
	for k, row := range funnel.Rows {
		switch {
		case row[2].(int64) == 0:
			continue
		case row[5].(int64) > 0:
			status = "dropped"
		case row[6].(int64) > 0:
			status = "open"
		}
		level = int64(k + 1)
	}
	verdict := told.Rows[len(told.Rows)-1]
	effect := verdict[4].(string)
	if level == 0 {
		if effect != "no entry" && effect != "exclusion" {
			return "not counted, but " + effect
		}
		return ""
	}
	if verdict[3] != level || (effect == "converted") != (status == "converted") || (effect == "open") != (status == "open") {
		return fmt.Sprintf("%s at %d, but the verdict is %s at %v", status, level, effect, verdict[3])
	}
	return ""
}

func TestFurtherInvariantsOfReference(t *testing.T) { holdFurtherInvariants(t, byReference) }

func TestFurtherInvariantsOfEngine(t *testing.T) { holdFurtherInvariants(t, byEngine) }
