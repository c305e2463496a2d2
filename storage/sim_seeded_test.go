//go:build seeded

package storage

import (
	"testing"

	"wend/internal/seeded"
)

// bugs are deliberate, each with the quickest test that notices it. Random
// ones have the first seed that does; when the simulation has changed, others
// are tried.
//
// hook | what is wrong | test, and its settings
const bugs = `
log_not_synced | an fsync of the log is dropped | TestSimStory
edit_not_synced | an fsync of the manifest is dropped | TestSimStory
segment_not_synced | an fsync of a segment is dropped | TestSimStory
synced_after_rename | the manifest is synced after it was renamed only | TestSimSeed WEND_SEED=1
log_directory_not_synced | a new log's name is not synced | TestSimStory
segment_name_not_synced | new segments' names are not synced | TestSimStory
manifest_name_not_synced | a new manifest's name is not synced | TestSimSetAsideCrashes
directory_not_kept | a new store's own name is not synced | TestSimStory
read_not_kept | what a dead process left unsynced is taken for durable | TestSimStory
logged_twice | batches of logs before are repeated when a log fails, and counted twice | TestLogFailsAfterFlushFailed
token_answered_at_once | a batch sent again is acknowledged while it is in no log | TestSentAgainFromNoLog
duplicates_before_sync | a batch counts on one that is still being synced | TestDuplicateOfWhatIsLost
relies_on_failed_edits | an answer relies on the failure of an edit that the next opening finds | TestAnswersAfterAnEditOfUnknownEnd
logs_by_name | the newest log is the last by name | TestNumbersOfSevenDigits
log_checksum_skipped | the checksum of log records is not looked at | TestDamagedLog
short_record_accepted | a log record that ends early counts | TestTornLog
acknowledged_before_sync | batches are acknowledged before they are synced | TestSimStory
failed_sync_tried_again | a failed fsync is tried again, and believed | TestSyncFailsThenLies
removed_before_edit | compaction removes its inputs before its edit | TestSimStory
filter_decides | a filter's maybe makes an event a duplicate | TestSimSeed WEND_SEED=1
unpinned_early | files go while a snapshot still reads them | TestPinnedFiles
pin_leaked | a snapshot that is released holds its files | TestConcurrent WEND_CONCURRENT=300ms
last_row_dropped | a merge drops a customer's last row | TestSimStory
arrival_order_lost | a merge loses the order of arrival among equal times | TestSimSeed WEND_SEED=5
link_to_wrong_customer | a chain of links is followed one step only | TestSimSeed WEND_SEED=6
failed_write_cuts_more | a failed write takes acknowledged batches before it out of the log | TestFailedWriteKeepsTheOnesBefore
merge_without_room | a compaction begins that does not fit on the disk | TestCompactionWithoutRoom
full_disk_ignored | events are taken until the disk is full | TestDiskFull
backup_not_synced | a backup's files and names are not synced | TestSimBackups WEND_BACKUPS=3
backup_list_first | a backup's list is there before its files | TestSimBackups WEND_BACKUPS=3
erased_restored | a restore does not erase again who was erased since | TestRestoreErasesAgain
lock_not_taken | a second writer opens the store | TestOneOfManyWriters
tokens_dropped | a flush forgets the answers that batch tokens were given | TestSimStory
visible_before_sync | a batch is shown before it is synced | TestLogFailure
given_up_log_believed | a log that was given up counts behind its end | TestLogFailure
log_removed_before_edit | a flush removes the log before its edit | TestSimStory
page_checksum_skipped | the checksum of pages is not looked at | TestSimFlips -test.short
copy_not_synced | the copy of the manifest is not synced | TestManifestCopyIsDurable
scrub_believes | the weekly reading does not compare | TestScrub
quarantine_forgets_one | a damaged segment is left out and not reported | TestSimQuarantine WEND_DAMAGE=10
erased_by_time | events that lie in the future stay when their customer is erased | TestEraseCanaries WEND_ERASE_STORES=10
unlinked_before_edit | a segment goes before the edit that replaces it | TestEraseCrashes -test.short
ledger_not_written | the ledger lacks an erasure | TestLedgerIsAppliedToOlderCopies
copy_opened_as_it_is | an older copy that is put in the store's place brings back who was erased since | TestOlderCopyIsErasedAgain -test.short
copy_that_went_on_erased | an opening erases what an older copy took since | TestOlderCopyThatWentOn
erased_names_kept | an erased customer stays in the dictionaries | TestEraseCanaries WEND_ERASE_STORES=10
erasure_forgotten_in_replay | the log brings an erased customer back | TestEraseCanaries WEND_ERASE_STORES=10
linked_identity_not_erased | only the name that was given is erased | TestEraseCanaries WEND_ERASE_STORES=10
memtable_not_erased | erased events stay in the memtable | TestEraseCanaries WEND_ERASE_STORES=10
segments_not_masked | erased events are shown until their segment is rewritten | TestEraseCanaries WEND_ERASE_STORES=10
unrecorded_damage_not_erased | an erasure ends over a damaged segment that is not recorded | TestEraseDamagedNotRecorded
erasure_needs_all_pages | a store with a damaged page is not opened while an erasure is pending | TestEraseDamaged
suppression_forgotten | who is suppressed is forgotten when the rewriting is done | TestEraseCanaries WEND_ERASE_STORES=10
tokens_kept | answers to batch tokens keep what was erased | TestEraseCanaries WEND_ERASE_STORES=10
newer_format_opened | a store of a newer format is opened | TestNewerFormatIsRefused
retention_without_brake | the clock alone says what is too old | TestRetentionBrake
retention_unlinks_first | retention removes segments before its edit | TestRetentionCrashes -test.short
old_rows_kept_in_files | old rows stay in a file until they are half of it | TestRetentionOfWideSegments
put_back_too_old | a segment that is put back shows what retention dropped meanwhile | TestRetentionHidesWhatIsPutBack
cutoff_back_over_set_aside | a longer retention shows what a segment that is put back had lost | TestRetentionHidesWhatIsPutBack
cutoff_forgotten | an opening does not hide what is too old | TestSimSeed WEND_SEED=51
version_by_lsn | two states have one version | TestVersionTellsOfABatchThatComesAfterALaterOne
repair_doubles | a repair takes files that overlap | TestRepair -test.short
repair_without_ledger | a repair does not erase again whom only the ledger knows | TestRepair -test.short
repair_trusts_lost_erasures | a repair shows what an erasure may concern of which nothing but its number is left | TestRepairOfLostErasures
number_given_twice | a failed load gives its LSN out again | TestSimAfterFailedLoad
`

func TestSeededStorage(t *testing.T) { seeded.Catch(t, bugs) }
