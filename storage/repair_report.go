package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strings"

	"wend/storage/vfs"
)

// tell fills in what the repaired store is, and what cannot be known of it.
func (r *repairer) tell() error {
	st, snap := r.s.summary()
	if snap == nil {
		return fmt.Errorf("%w: what was put together cannot be read", ErrCorrupt)
	}
	snap.Release()
	found := map[string]bool{}
	for _, f := range r.choice.kept {
		found[f.file()] = !f.named
	}
	d := &r.done
	for _, s := range st.Segments {
		if !slices.ContainsFunc(st.Missing, func(m Missing) bool { return m.Segment == s.File }) {
			d.Segments = append(d.Segments, RepairedSegment{s, found[s.File]})
		}
	}
	for _, q := range r.s.state().quarantine {
		if !slices.ContainsFunc(r.v.st.quarantine, func(o quarantineRecord) bool { return o.File == q.File }) {
			d.Aside = append(d.Aside, q.missing())
		}
	}
	d.Missing = st.Missing
	d.Format, d.Events, d.From, d.To = st.Format, st.Events, st.From, st.To
	d.Links, d.Definitions, d.Imports = st.Links, st.Definitions, st.Imports
	r.unknown()
	return nil
}

// explained counts the edits that are missing of which the disk shows what they
// did, and rather too few: files that they added, logs that they began, the
// erasures that the ledger has. all reports whether those are all; an edit does
// one thing.
func (r *repairer) explained() (count int, all bool) {
	type lsns struct{ first, last uint64 } // of a file's batches
	type merge struct {
		partition int64
		of        lsns
	}
	merges, fresh := map[merge]bool{}, map[lsns]bool{}
	for _, f := range r.choice.kept {
		of := lsns{f.FirstLSN, f.LastLSN}
		switch {
		case f.named || r.choice.doubtful[f] != "":
		case r.choice.merged[f]:
			merges[merge{f.Partition, of}] = true
		default:
			fresh[of] = true // one edit for all partitions
		}
	}
	count = len(merges) + len(fresh)
	for _, n := range walNumbers(r.names, r.v.st.wal) {
		if !slices.Contains(r.v.st.logs, n) && r.logged[n] {
			count++
		}
	}
	if r.ledger != nil && slices.ContainsFunc(r.ledger.Entries, func(e LedgerEntry) bool {
		return !slices.ContainsFunc(r.v.st.erasures, func(x eraseRecord) bool { return x.ID == e.ID })
	}) {
		count++
	}
	missing, known := r.v.missing()
	return count, known && count >= missing
}

// unknown lists what only the manifest knew and an edit that is missing may
// have told.
func (r *repairer) unknown() {
	if len(r.v.gaps) == 0 {
		return // all edits could be put together
	}
	d := &r.done
	say := func(format string, args ...any) { d.Unknown = append(d.Unknown, fmt.Sprintf(format, args...)) }
	r.unknownBatches(say)
	if r.unlinked > 0 {
		say("links that were made after an erasure that is done again: %d of those who were erased then are taken back", r.unlinked)
	}
	if _, all := r.explained(); all {
		return // no edit is missing that the files do not tell of
	}
	say("links that were made or taken back: there are %d", d.Links)
	say("definitions: there are %d", d.Definitions)
	var shown []string
	for _, i := range d.Imports {
		if !i.Undone {
			shown = append(shown, i.ID)
		}
	}
	if len(shown) > 0 {
		say("whether an import was taken back: if one of %s was, undo it again", strings.Join(shown, ", "))
	}
	if d.NoLedger {
		say("who was erased: there is no ledger at %s; whoever was erased by an edit that cannot be read may be back", d.Ledger)
	}
	if r.s.state().eraseKey == nil && len(r.s.state().erasures) > 0 {
		say("the key of earlier erasures: customers whose later events were to be refused are not recognised")
	}
	say("how far retention had gone: what was too old may show until it is applied again")
	say("files that were set aside or given up")
}

// unknownBatches tells of what went with the edits that flushes made.
func (r *repairer) unknownBatches(say func(string, ...any)) {
	var tokens []string
	known := func(lsn uint64) bool { return lsn <= r.v.st.lsn }
	seen := map[uint64]bool{}
	for _, f := range r.choice.kept {
		if !f.named && !r.choice.merged[f] && !seen[f.LastLSN] {
			seen[f.LastLSN] = true
			tokens = append(tokens, fmt.Sprintf("%d to %d", f.FirstLSN, f.LastLSN))
		}
	}
	if _, all := r.explained(); !all {
		say("answers to batch tokens: a batch that is sent again with its token may be stored twice")
	} else if len(tokens) > 0 {
		say("answers to the tokens of batches %s: one that is sent again may be stored twice", strings.Join(tokens, ", "))
	}
	// Batches that no file holds, up to the newest.
	next := uint64(1)
	var gaps []string
	files := slices.Clone(r.choice.kept)
	for f := range r.choice.doubtful {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *repairFile) int { return compareSegments(a.segmentRecord, b.segmentRecord) })
	for _, f := range files {
		if f.FirstLSN > next && !(known(next) && known(f.FirstLSN-1)) {
			gaps = append(gaps, fmt.Sprintf("%d to %d", next, f.FirstLSN-1))
		}
		next = max(next, f.LastLSN+1)
	}
	if len(gaps) > 0 {
		say("what came with batches %s: no file holds anything of them; they were without events, or taken out, or are lost", strings.Join(gaps, ", "))
	}
}

// readLogs finds out which logs hold batches: those were begun by an edit.
func (r *repairer) readLogs() error {
	r.logged = map[uint64]bool{}
	for _, n := range walNumbers(r.names, 0) {
		data, err := vfs.ReadFile(r.s.fs, path.Join(r.s.dir, walName(n)))
		if err != nil {
			return err
		}
		f, err := parseWAL(data, r.store, n, nil)
		r.logged[n] = err == nil && len(f.records) > 0
	}
	return nil
}

// segmentStore reads which store a segment is of from its header.
func segmentStore(head []byte) (store [16]byte, ok bool) {
	if len(head) < headerSize || string(head[:8]) != segmentMagic || crc32.Checksum(head[:44], castagnoli) != binary.LittleEndian.Uint32(head[44:]) {
		return store, false
	}
	return [16]byte(head[16:32]), true
}

// logStore reads which store a log is of from its header.
func logStore(head []byte, number uint64) (store [16]byte, ok bool) {
	if len(head) < 24 {
		return store, false
	}
	store = [16]byte(head[8:24])
	_, err := (&walFile{number: number}).header(head, store)
	return store, err == nil
}
