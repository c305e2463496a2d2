package query

import (
	"slices"
	"strings"
)

// clauseTable says which clauses a statement takes. A statement is named as
// people write it: `next after` and `next for` differ.
//
// Clauses are named by Clause.Kind; clauseWords has how they are written.
var clauseTable = map[string][]string{
	"funnel":      clauses(common, pattern),
	"times":       clauses(common, pattern),
	"dropoff":     clauses(common, pattern, "of top"),
	"drivers of":  clauses(without(common, "every"), pattern, "top"),
	"why":         clauses(without(common, "by every order limit"), without(pattern, "count")),
	"next after":  clauses(without(common, "every"), pattern, "of top test"),
	"next for":    clauses(without(common, "by every"), "per of top test"),
	"paths":       clauses(common, "within per of length top cover collapse through"),
	"flow":        clauses(common, "within per of depth top collapse"),
	"transitions": clauses(common, "per of top collapse"),
	"switches":    clauses(common, "within per goal"),
	"match":       clauses(common, "per"),
	"attribute":   clauses(common, "within per using value"),
	"retention":   clauses(common, "for"),
	"affinity of": clauses(without(common, "by every"), "per top"),
	"map":         clauses(without(common, "every"), "within goal score"),
	"moments":     clauses(without(common, "every"), "within of top goal score"),
	"measure":     clauses(common, "per"),
	"journey of":  clauses("where during limit end"),
	"customers":   clauses("among of order limit"),
	"show":        clauses("order limit"),
	"describe":    nil,
}

const (
	common  = "where during among by every timezone order limit end lenient"
	pattern = "within per holding count entry ties exclusion" // what statements on a pattern take
)

// clauseOrder is the order of clauses in the canonical form. `top` and
// `during` stand where the `by` before them, and the `did` of a cohort, cannot
// take them for their own.
var clauseOrder = strings.Fields("within per holding count entry ties exclusion " +
	"of length depth top cover collapse through goal for using value score test " +
	"where during among by every timezone order limit end lenient")

// optionKinds are the clauses that a defined funnel, or one in a cohort, may carry.
var optionKinds = strings.Fields("where during within per holding entry ties exclusion")

// windowLists are the statements whose `within` may name several windows.
var windowLists = []string{"funnel", "times", "attribute"}

// clauseWord is how a clause is written; all but `order by` begin with their kind.
func clauseWord(kind string) string {
	if kind == "order" {
		return "order by"
	}
	return kind
}

// statementName is the statement's name as errors say it and clauseTable has it.
func statementName(q *Query) string {
	switch q.Verb {
	case "drivers", "affinity", "journey":
		return q.Verb + " of"
	case "next":
		if q.For {
			return "next for"
		}
		return "next after"
	}
	return q.Verb
}

// clausesOf lists the clauses that a statement takes, by kind, in canonical order.
func clausesOf(statement string) []string {
	allowed := clauseTable[statement]
	var list []string
	for _, kind := range clauseOrder {
		if slices.Contains(allowed, kind) {
			list = append(list, kind)
		}
	}
	return list
}

func clauses(lists ...string) []string { return strings.Fields(strings.Join(lists, " ")) }

func without(list, drop string) string {
	kept := slices.DeleteFunc(strings.Fields(list), func(kind string) bool {
		return slices.Contains(strings.Fields(drop), kind)
	})
	return strings.Join(kept, " ")
}
