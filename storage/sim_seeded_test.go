//go:build seeded

package storage

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"wend/internal/seeded"
	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// bugs are deliberate, by the name of their hook.
var bugs = map[string]string{
	"log_not_synced":           "an fsync of the log is dropped",
	"edit_not_synced":          "an fsync of the manifest is dropped",
	"segment_not_synced":       "an fsync of a segment is dropped",
	"synced_after_rename":      "the manifest is synced after it was renamed only",
	"log_directory_not_synced": "a new log's name is not synced",
	"segment_name_not_synced":  "new segments' names are not synced",
	"manifest_name_not_synced": "a new manifest's name is not synced",
	"directory_not_kept":       "a new store's own name is not synced",
	"read_not_kept":            "what a dead process left unsynced is taken for durable",
	"log_checksum_skipped":     "the checksum of log records is not looked at",
	"short_record_accepted":    "a log record that ends early counts",
	"acknowledged_before_sync": "batches are acknowledged before they are synced",
	"failed_sync_tried_again":  "a failed fsync is tried again, and believed",
	"removed_before_edit":      "compaction removes its inputs before its edit",
	"filter_decides":           "a filter's maybe makes an event a duplicate",
	"unpinned_early":           "files go while a snapshot still reads them",
	"last_row_dropped":         "a merge drops a customer's last row",
	"arrival_order_lost":       "a merge loses the order of arrival among equal times",
	"link_to_wrong_customer":   "a chain of links is followed one step only",
	"number_given_twice":       "a failed load gives its LSN out again",
}

// TestSeededStorage turns on each deliberate bug, and wants one of the suites
// to notice with no more runs than it ordinarily makes.
func TestSeededStorage(t *testing.T) {
	caught := 0
	for _, bug := range sortedKeys(bugs) {
		if only := os.Getenv("WEND_BUG"); only != "" && only != bug {
			continue
		}
		t.Run(bug, func(t *testing.T) {
			by, runs := catch(t, bug)
			if by == "" {
				t.Fatalf("%s: not caught; its hook ran: %v", bugs[bug], seeded.Reached())
			}
			caught++
			trust.Report(t, "bug", "name", bug, "caught by", by, "after", runs)
		})
	}
	trust.Report(t, "bugs", "caught", fmt.Sprintf("%d of %d", caught, len(bugs)))
}

// catch names the suite that notices a bug, and how many of its runs it took.
func catch(t *testing.T, bug string) (by string, runs int) {
	defer seeded.Switch("")
	d, fs, holds := damagedStore(t) // made by sound code
	seeded.Switch(bug)
	if bug == "log_checksum_skipped" || bug == "short_record_accepted" {
		for name, data := range damageableFiles(fs) {
			if !strings.HasSuffix(name, walSuffix) {
				continue
			}
			for at := range data {
				runs++
				damaged := fs.Kill()
				if err := damaged.Edit(name, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }); err != nil {
					t.Fatal(err)
				}
				if v, err := d.judge(damaged, name, holds); v == wrong || v == harmless || err != nil {
					return "TestSimFlips", runs
				}
			}
		}
	}
	for at := 1; ; at++ {
		runs++
		failed, err := afterFailedLoad(at)
		if err != nil {
			return "TestSimAfterFailedLoad", runs
		}
		if !failed {
			break
		}
	}
	tally := newSimTally()
	for seed := uint64(1); tally.states < 20000; seed++ {
		d := newSim(seed, tally)
		d.explore, d.stateMax = true, 400
		if err := d.run(60); err != nil {
			seeded.Switch("")
			sound := newSim(seed, newSimTally())
			sound.explore, sound.stateMax = true, 400
			if err := sound.run(60); err != nil {
				t.Fatalf("seed %d fails without a bug: %v", seed, err)
			}
			return "TestSimCrashes", tally.states
		}
	}
	runs = 0
	for _, forever := range []bool{false, true} {
		for at := 1; ; at += 3 {
			runs++
			fired, err := faultRun(simfs.SyncDrops, at, forever)
			if err != nil {
				return "TestSimFaults", runs
			}
			if !fired {
				break
			}
		}
	}
	return "", runs
}
