//go:build seeded

package storage

import (
	"fmt"
	"runtime"
	"testing"

	"wend/internal/seeded"
	"wend/internal/trust"
)

// eraseBugs are deliberate bugs of erasures.
var eraseBugs = map[string]string{
	"erased_by_time":              "events that lie after the erasure by their own time stay",
	"linked_identity_not_erased":  "identities linked to the customer stay",
	"segments_not_masked":         "segments show the customer until they are written anew",
	"memtable_not_erased":         "events in memory stay",
	"erasure_forgotten_in_replay": "replaying the log brings the customer back",
	"erased_names_kept":           "names that only the customer had stay in the dictionaries",
	"unlinked_before_edit":        "a segment goes before the edit that replaces it",
	"suppression_forgotten":       "who is to be refused is forgotten when the rewriting is done",
	"ledger_not_written":          "the ledger lacks the erasure",
	"tokens_kept":                 "batch tokens and reasons of rejections stay in clear",
}

// noticing is a test that is over when something is wrong.
type noticing struct {
	testing.TB
	failed bool
}

func (n *noticing) Helper()               {}
func (n *noticing) Errorf(string, ...any) { n.failed = true }
func (n *noticing) Fatal(...any)          { n.failed = true; runtime.Goexit() }
func (n *noticing) Fatalf(string, ...any) { n.failed = true; runtime.Goexit() }

func notices(t *testing.T, run func(testing.TB)) bool {
	n := &noticing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if recover() != nil {
				n.failed = true
			}
		}()
		run(n)
	}()
	<-done
	return n.failed
}

func TestSeededErasures(t *testing.T) {
	caught := 0
	for _, bug := range sortedKeys(eraseBugs) {
		t.Run(bug, func(t *testing.T) {
			seeded.Switch(bug)
			defer seeded.Switch("")
			for seed := uint64(1); seed <= 40; seed++ {
				by := ""
				switch {
				case notices(t, func(t testing.TB) { eraseCanaries(t, seed) }):
					by = "TestEraseCanaries"
				case seed <= 2 && notices(t, func(t testing.TB) { ledgerApplied(t, 200+seed) }):
					by = "TestLedgerIsAppliedToOlderCopies"
				case seed <= 2 && notices(t, func(t testing.TB) { eraseCrashes(t, 100+seed) }):
					by = "TestEraseCrashes"
				}
				if by != "" {
					caught++
					trust.Report(t, "bug", "name", bug, "caught by", by, "after", seed)
					return
				}
			}
			t.Fatalf("%s: not caught; its hook ran: %v", eraseBugs[bug], seeded.Reached())
		})
	}
	trust.Report(t, "bugs", "caught", fmt.Sprintf("%d of %d", caught, len(eraseBugs)))
}
