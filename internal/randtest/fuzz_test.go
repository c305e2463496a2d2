package randtest

import (
	"strings"
	"testing"
	"time"

	"wend/engine"
	"wend/query"
)

// fuzzWorlds is how many small worlds FuzzAnswers asks.
const fuzzWorlds = 8

// FuzzAnswers asks statements of any text of small worlds, half of them in
// stores: what is a statement, the engine answers as the reference does, with
// short cuts and without.
func FuzzAnswers(f *testing.F) {
	var worlds [fuzzWorlds]*World
	var snaps [fuzzWorlds]engine.Snapshot
	for i := range worlds {
		worlds[i] = NewWorld(7, uint64(i))
		snap, close, err := snapshotOf(worlds[i], uint64(i))
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(close)
		snaps[i] = snap
		for k := range uint64(perWorld) {
			f.Add(uint8(i), statementOf(worlds[i], 7, uint64(i), k).String())
		}
	}
	f.Fuzz(func(t *testing.T, world uint8, text string) {
		const textMax = 300 // what is longer is mostly more of the same
		if len(text) > textMax {
			return
		}
		if list, err := query.Parse(text); err != nil || len(list) != 1 || list[0].Query == nil || heavy(text) {
			return
		}
		i := world % fuzzWorlds
		o := compareTaking(Case{worlds[i], &Statement{Verb: text}}, snaps[i], engine.RunOptions{Workers: 1, Time: 10 * time.Second})
		if o.kind == "differs" || o.kind == "failed" && !strings.Contains(o.detail, "limit") {
			t.Errorf("world %d, %s: %s: %s\n%s", i, text, o.kind, o.detail, transcriptOf(Case{worlds[i], &Statement{Verb: text}}, o.want))
		}
	})
}

// heavy reports whether a statement has a number that a mutation made long: the
// reference tries every repeat and every period, one after the other.
func heavy(text string) bool {
	digits := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			digits = 0
			continue
		}
		if digits++; digits > 4 {
			return true
		}
	}
	return false
}
