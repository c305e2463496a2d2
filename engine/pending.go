package engine

import (
	"errors"

	"wend/query"
	"wend/tile"
)

// What expr.go, match.go and cohort.go provide; this file goes when they are there.

var errPending = errors.New("engine: expressions are written next")

// compile resolves an expression's names against the snapshot and asks for its columns.
func (r *run) compile(e *query.ScalarExpr) (scalar, error) { return nil, errPending }

// matcher tells which events fulfil a condition.
type matcher struct{}

func (r *run) matcher(m *query.Matcher) (*matcher, error) { return nil, errPending }

// rows sets dst to the rows that exist and fulfil the condition.
func (m *matcher) rows(v *view, dst tile.Bitmap) error { return errPending }

// cohort is a condition on customers.
type cohort struct{}

func (r *run) cohort(c *query.CohortPlan) (*cohort, error) { return nil, errPending }

// members sets dst to the customers of the tile that are in the cohort; it
// looks at all events up to the end of data, whatever v.rows says.
func (c *cohort) members(v *view, dst tile.Bitmap) error { return errPending }
