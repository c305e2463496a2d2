package query

import (
	"slices"
	"strings"
)

// clauseTable says which clauses a statement takes. A statement is named as
// people write it: `next after` and `next for` differ.
//
// Clauses are named by Clause.Kind; clauseWord has how they are written.
var clauseTable = map[string][]string{
	"funnel":      kinds(commonClauses, patternClauses),
	"times":       kinds(commonClauses, patternClauses),
	"dropoff":     kinds(commonClauses, patternClauses, "of top"),
	"drivers of":  kinds(allBut(commonClauses, "every"), patternClauses, "top"),
	"why":         kinds(allBut(commonClauses, "by every order limit"), allBut(patternClauses, "count")),
	"next after":  kinds(allBut(commonClauses, "every"), patternClauses, "of top test"),
	"next for":    kinds(allBut(commonClauses, "by every"), "per of top test"),
	"paths":       kinds(commonClauses, "within per of length top cover collapse through"),
	"flow":        kinds(commonClauses, "within per of depth top collapse"),
	"transitions": kinds(commonClauses, "per of top collapse"),
	"switches":    kinds(commonClauses, "within per goal"),
	"match":       kinds(commonClauses, "per"),
	"attribute":   kinds(commonClauses, "within per using value"),
	"retention":   kinds(commonClauses, "for"),
	"affinity of": kinds(allBut(commonClauses, "by every"), "per top"),
	"map":         kinds(allBut(commonClauses, "every"), "within goal score"),
	"moments":     kinds(allBut(commonClauses, "every"), "within of top goal score"),
	"measure":     kinds(commonClauses, "per"),
	"journey of":  kinds("where during limit end"),
	"customers":   kinds("among of order limit"),
	"show":        kinds("order limit"),
	"describe":    nil,
}

const (
	commonClauses  = "where during among by every timezone order limit end lenient"
	patternClauses = "within per holding count entry ties exclusion"
)

// clauseOrder is the order of clauses in the canonical form. `top` and
// `during` stand where the `by` before them, and the `did` of a cohort, cannot
// take them for their own.
var clauseOrder = strings.Fields("within per holding count entry ties exclusion " +
	"of length depth top cover collapse through goal for using value score test " +
	"where during among by every timezone order limit end lenient")

// optionKinds are the clauses that a defined funnel, or one in a cohort, may
// carry, in canonical order.
var optionKinds = strings.Fields("within per holding entry ties exclusion where during")

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

func kinds(lists ...string) []string { return strings.Fields(strings.Join(lists, " ")) }

func allBut(list, dropped string) string {
	kept := slices.DeleteFunc(strings.Fields(list), func(kind string) bool {
		return slices.Contains(strings.Fields(dropped), kind)
	})
	return strings.Join(kept, " ")
}
