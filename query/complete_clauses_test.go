package query

import (
	"slices"
	"strings"
	"testing"

	"wend/event"
)

// Behind a whole statement exactly the clauses are offered that the language's
// table gives it: a clause that is offered is accepted.
func TestCompletionKnowsTheClausesOfEachStatement(t *testing.T) {
	schema := &event.Schema{Events: []event.Name{{Text: "a"}, {Text: "b"}}, Channels: []event.Name{{}, {Text: "web"}},
		Properties: []event.Property{{Name: "p", Type: event.IntegerType}}}
	c := &Catalog{Schema: schema, Definitions: []event.Definition{{Kind: "stage", Name: "s", Text: "define stage s as a"}}}
	const common = " where during among timezone end lenient"
	const ordered = common + " order limit"
	all := strings.Fields(ordered + " by every within per holding count entry ties exclusion of top length depth cover collapse through goal using value score for test")
	for text, want := range map[string]string{
		"why 'x' in a -> b":      common + " within per holding entry ties exclusion",
		"drivers of a -> b":      ordered + " by within per holding count entry ties exclusion top",
		"next after a -> b":      ordered + " by within per holding count entry ties exclusion of top test",
		"next for 'x'":           ordered + " per of top test",
		"flow from a":            ordered + " by every within per of depth top collapse",
		"switches from web":      ordered + " by every within per goal",
		"match a => b":           ordered + " by every per",
		"attribute a to channel": ordered + " by every within per using value",
		"retention a -> b":       ordered + " by every for",
		"affinity of p in a":     ordered + " per top",
		"map s":                  ordered + " by within goal score",
		"moments":                ordered + " by within of top goal score",
	} {
		items, _ := Complete(text+" ", len(text)+1, c, nil)
		var offered []string
		for _, item := range items {
			if word, _, _ := strings.Cut(item.Text, " "); item.Kind == "keyword" && slices.Contains(all, word) && !slices.Contains(offered, word) {
				offered = append(offered, word)
			}
		}
		wanted := strings.Fields(want)
		for _, clause := range wanted {
			if !slices.Contains(offered, clause) {
				t.Errorf("%s: `%s` is not offered", text, clause)
			}
		}
		for _, clause := range offered {
			if !slices.Contains(wanted, clause) {
				t.Errorf("%s: `%s` is offered, and not one of its clauses", text, clause)
			}
		}
	}
}
