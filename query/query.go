// Package query turns the text of a statement into a Plan: Parse knows syntax
// only, Bind resolves names and types against what a store holds.
//
// It knows nothing of storage or of how a plan is run.
package query
