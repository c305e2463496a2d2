package engine

import "fmt"

// newOperator is the table of statements: each is an operator in a file of its own.
func newOperator(r *run) (operator, error) {
	switch r.plan.Verb {
	}
	return nil, fmt.Errorf("engine: no operator for %q", r.plan.Verb)
}

// answer runs the operator, or describes it, and completes the answer with
// what all answers carry.
func (r *run) answer(op operator) (*Result, error) {
	res, err := op.run(r)
	if err != nil {
		return nil, err
	}
	return res, nil
}
