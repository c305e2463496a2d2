//go:build seeded

package randtest

import (
	"fmt"
	"testing"

	"wend/internal/seeded"
	"wend/internal/trust"
)

// bugs are the deliberate bugs, by the name of their hook.
var bugs = map[string]string{
	"window_exclusive":         "an event exactly at the end of the window is outside",
	"gap_exclusive":            "an event exactly at the end of a gap bound is outside",
	"window_from_previous":     "the window is counted from the step before, not from the entry",
	"exclusion_early":          "an excluded event that is itself the step asked for ends the attempt",
	"exclusion_ignored_once":   "exclusions are not looked at before the last step",
	"next_is_later":            "=> lets other events between",
	"oldest_entry":             "a later chain does not replace an earlier one: the first entry for the latest",
	"last_conversion":          "the conversion that ends last is reported, not the first",
	"ties_by_arrival":          "equal times keep the order of arrival",
	"ties_highest_step":        "equal times are ordered by the highest step fulfilled",
	"open_when_over":           "a window that ends with the data is still open",
	"open_ignored":             "nothing is ever open",
	"held_null_matches":        "events without the held property are one value",
	"excluded_null_spares":     "an excluded event without the held property ends nothing",
	"hits_counted":             "void counts attempts that were hit",
	"entries_window_exclusive": "an event exactly at the end of the window is outside, where entries are counted",
	"session_gap_inclusive":    "a gap of exactly the limit ends a session",
	"sessions_after_where":     "sessions are cut after where",
	"entry_first_any_range":    "entry first looks at events before the range as well",
	"attempts_reuse":           "the event that converted an attempt may begin another",
	"attempts_cut_is_free":     "the event that cut an attempt may begin another",
	"range_end_included":       "an anchor at the end of the range counts",
	"anyorder_reuse":           "one event stands for two steps of any order",
	"null_equals":              "a comparison with null holds",
	"not_unknown_true":         "not unknown is true",
	"between_exclusive":        "between leaves its upper bound out",
	"suffix_dropped":           "the filter behind a group of alternatives is not applied",
	"channels_first":           "of a group of channels only the first counts",
	"bound_dropped":            "a bound beside an exclusion is lost",
	"statement_options_lose":   "a defined funnel's options win over the statement's own",
	"until_day_excluded":       "the last day of a range of dates is left out",
	"week_from_sunday":         "weeks begin on Sunday",
	"months_utc":               "periods are those of UTC whatever the timezone",
	"top_by_value":             "top keeps the first values, not the most frequent",
	"median_lower":             "percentiles take the lower rank",
	"dropoff_skips":            "dropoff shows the event after the next",
	"paths_window_exclusive":   "an event exactly at the end of a path's window is left out",
	"collapse_after_length":    "collapse comes after length",
	"transition_over_gap":      "a transition leads from one session to the next",
	"distinct_null":            "distinct counts null as a value",
	"cohort_never_did":         "at most N leaves out customers who never did",
	"cohort_reached_exact":     "reached means exactly that step",
	"dense_start_late":         "the first counted event of a customer counts for the one before",
	"packed_full_is_longer":    "a path of as many labels as length allows is a longer one",
	"dense_conversions_lost":   "a journey that converts ends like one that does not",
	"excluded_unseen":          "masks decide journeys with excluded events as if they had none",
	"pairs_over_customers":     "a pair leads from one customer's last event to the next customer's first",
	"customer_first":           "customer.b is the first value, not the latest",

	"decided_take_part":         "drivers by events compares units that were decided at T",
	"after_effects_count":       "drivers by events counts what came after T",
	"deepest_chain_decides":     "drivers by events asks the deepest chain only whether a unit was decided",
	"touches_taken_twice":       "a conversion gets the touches of the one before as well",
	"only_conversions_lead":     "markov leaves out journeys without conversion",
	"shapley_counts_repeats":    "shapley counts a repeated label each time",
	"decay_turned_round":        "decay gives the oldest touch the most",
	"pairs_forgotten":           "markov(2) is markov",
	"first_start_of_range":      "retention takes the first START of the range, not ever",
	"unfinished_periods_shared": "retention shows the share of periods that are not over",
	"flow_window_exclusive":     "an event exactly at the end of a flow's window is left out",
	"open_leaves":               "flow takes journeys that can go on for ended",
	"no_channel_parts":          "an event without channel parts the two events of a switch",
	"goal_forgotten":            "switches takes any event for the goal",
	"match_over_gap":            "match does not look at the bound of =>",
	"open_breaks":               "map counts journeys that are not over among those that could have ended",
	"every_occurrence":          "moments counts every occurrence of a touchpoint",
	"score_of_any_time":         "moments takes a later score after the window",
	"baskets_are_bags":          "affinity counts a value each time it occurs in a basket",
	"empty_baskets_count":       "affinity counts baskets without a value",
	"next_window_from_entry":    "the window of next after begins with the entry",
	"tested_on_training":        "next for learns from what it is tested on",
	"first_session_asked":       "next for takes the labels of the first session",
	"why_knows_no_gap":          "why does not know of gap bounds",
	"why_any_value_excludes":    "why takes an excluded event of another value for what ended the attempt",
}

// TestSeededBugsAreCaught turns on each deliberate bug and wants a difference.
// More cases than these are no excuse: the ordinary tests run casesDefault.
func TestSeededBugsAreCaught(t *testing.T) {
	caught := 0
	for bug, what := range bugs {
		t.Run(bug, func(t *testing.T) {
			seeded.Switch(bug)
			defer seeded.Switch("")
			for i := range uint64(casesDefault / perWorld) {
				if !differs(i) {
					continue
				}
				seeded.Switch("")
				without := differs(i)
				seeded.Switch(bug)
				if !without {
					caught++
					trust.Report(t, "2.4", "bug "+what, "caught", "by", "TestEngineAgainstReference", "after", fmt.Sprint((i+1)*perWorld, " cases"))
					return
				}
			}
			t.Errorf("%s: not caught; its hook ran: %v", what, seeded.Reached())
		})
	}
	trust.Report(t, "2.4", "seeded bugs caught", caught, "of", len(bugs))
}

// differs compares one world's statements, those of the ordinary test.
func differs(index uint64) bool {
	w := NewWorld(1, index)
	snap, close, err := snapshotOf(w, index)
	if err != nil {
		return true
	}
	defer close()
	for k := range uint64(perWorld) {
		if o := compare(Case{w, statementOf(w, 1, index, k)}, snap, 1); o.kind != "" {
			return true
		}
	}
	return false
}
