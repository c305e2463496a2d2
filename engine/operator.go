package engine

import (
	"fmt"
)

// newOperator is the table of statements: each is an operator in a file of its own.
func newOperator(r *run) (operator, error) {
	switch r.plan.Verb {
	case "affinity":
		return newAffinity(r)
	case "drivers":
		return newDrivers(r)
	case "funnel":
		return newFunnel(r)
	case "times":
		return newTimes(r)
	case "dropoff":
		return newDropoff(r)
	case "customers":
		return newCustomers(r)
	case "journey":
		return newJourney(r)
	case "map":
		return newMap(r)
	case "match":
		return newMatch(r)
	case "measure":
		return newMeasure(r)
	case "moments":
		return newMoments(r)
	case "next":
		return newNext(r)
	case "paths":
		return newPaths(r)
	case "show":
		return newShow(r)
	case "describe":
		return newDescribe(r)
	case "transitions":
		return newTransitions(r)
	case "why":
		return newWhy(r)
	case "attribute":
		return newAttribute(r)
	case "retention":
		return newRetention(r)
	case "flow":
		return newFlow(r)
	case "switches":
		return newSwitches(r)
	}
	panic(fmt.Sprintf("engine: the statement %q has no operator", r.plan.Verb)) // Bind knows the same statements
}
