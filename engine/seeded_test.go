//go:build seeded

package engine_test

import (
	"testing"

	"wend/internal/seeded"
)

// bugs are deliberate, in what protects queries from each other, each with the
// test that notices it.
//
// hook | what is wrong | test, and its settings
const bugs = `
memory_not_limited | memory is counted, and never refused | TestFurtherLimits
pool_not_given_back | a query keeps its part of the pool when it ends | TestQueriesShareTheMemoryOfTheDB
cancel_unseen_in_tiles | nobody looks inside a tile whether the query was cancelled | TestStatementsLookForCancellationInsideLongJourneys
answer_cut_silently | rows beyond the limit are left out | TestLimitsAreNamed
pass_forgets_below | a pass takes the values below a bin for none | TestQuantilesWithinLittleMemory
model_survives_removal | counts for next for that were begun before an erasure are kept after it | TestNextForWhenDataIsTakenOut
`

func TestSeededEngine(t *testing.T) { seeded.Catch(t, bugs) }
