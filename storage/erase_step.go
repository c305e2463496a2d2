package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// EraseStep does one piece of the work that erasures left to do, and reports
// whether there was any. All that wait share it: a segment is written anew once,
// however many of its customers go.
func (s *Store) EraseStep(ctx context.Context) (worked bool, err error) {
	err = s.removing(func() error {
		worked, err = s.eraseStep(ctx)
		return err
	})
	return worked, err
}

func (s *Store) eraseStep(ctx context.Context) (worked bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return false, fmt.Errorf("erase: %w", err)
	}
	left := s.state().erasing()
	if len(left) == 0 {
		s.recordAside()
		return false, nil
	}
	// What is left out and not recorded is not seen below: the names would go, and
	// the next opening would show the customer in what can be read of the segment.
	if err := s.publishAside(); err != nil && !seeded.On("unrecorded_damage_not_erased") {
		return false, fmt.Errorf("erase: record what is damaged: %w", err)
	}
	if err := s.keepLedger(s.state()); err != nil {
		s.opt.Log.Warn("ledger of erasures", "error", err)
	} else {
		s.ledgerFailed = ""
	}
	worked = true
	gone := s.unusedNames()
	f := s.toRewrite(gone)
	switch {
	case slices.ContainsFunc(left, func(r eraseRecord) bool {
		return r.WAL > s.state().wal || s.mem.holds(r.LSN) || s.logged <= r.LSN
	}):
		err = s.dropLog(ctx)
	case f != nil:
		err = s.rewrite(ctx, f)
	case s.toEraseAside():
		err = s.eraseAside(left)
	case slices.ContainsFunc(left, func(r eraseRecord) bool { return !r.Cleaned }):
		err = s.clean(gone)
	default:
		worked, err = s.sweep()
	}
	if err != nil && s.leaveOut(err) {
		return true, nil // the next step has it removed
	}
	if err != nil {
		return false, fmt.Errorf("erase: %w", err)
	}
	return worked, nil
}

// erase does what erasures left to do, in the background.
func (s *Store) erase(ctx context.Context) error {
	for {
		s.mu.Lock()
		some := s.state() != nil && len(s.state().erasing()) > 0
		s.mu.Unlock()
		if !some || ctx.Err() != nil {
			return nil
		}
		worked, err := s.EraseStep(ctx)
		if worked && err == nil {
			_, err = s.flushFull(ctx) // appends may wait for it, and what is left take long
		}
		if err != nil || !worked {
			return err
		}
	}
}

// dropLog makes the log files of now unneeded. The caller holds writing and mu.
func (s *Store) dropLog(ctx context.Context) error {
	if len(s.mem.batches) > 0 {
		return s.flush(ctx)
	}
	// Without batches a log holds nothing but what failed; its bytes count, too.
	s.closeLog()
	if err := s.publish(&edit{WAL: s.next}); err != nil {
		return err
	}
	s.logged = math.MaxUint64
	s.removeOldLogs()
	return nil
}

// nameSet is names of the catalog, by code.
type nameSet struct{ events, channels, properties []bool }

// unusedNames are the names that no row carries. The caller holds writing and mu.
func (s *Store) unusedNames() nameSet {
	n := nameSet{make([]bool, len(s.catalog.events)), make([]bool, len(s.catalog.channels)), make([]bool, len(s.catalog.properties))}
	if seeded.On("erased_names_kept") || len(s.segments) < len(s.state().segments) {
		return n // what is in a segment that cannot be read, nobody knows
	}
	for _, list := range [][]bool{n.events, n.channels, n.properties} {
		for i := range list {
			list[i] = true
		}
	}
	n.channels[0] = false // no channel
	mark := func(list []bool, counts []int64, hidden []int64) {
		for code, count := range counts {
			if count > 0 && (hidden == nil || count > hidden[code]) {
				list[code] = false
			}
		}
	}
	for _, f := range s.segments {
		var events, channels []int64
		if f.mask != nil {
			events, channels = f.mask.events, f.mask.channels
		}
		mark(n.events, f.seg.EventCounts, events)
		mark(n.channels, f.seg.ChannelCounts, channels)
		mark(n.properties, f.seg.ValueCounts, nil)
	}
	for _, b := range s.mem.batches {
		for i := range b.batch.Name {
			n.events[b.batch.Name[i]] = false
			n.channels[b.batch.Channel[i]] = false
		}
		for _, p := range b.props {
			n.properties[p] = false
		}
	}
	return n
}

// toRewrite returns a segment that holds something to erase: rows, or a name
// that nobody uses. The caller holds mu.
func (s *Store) toRewrite(gone nameSet) *segmentFile {
	lists := func(f *segmentFile) bool {
		for code, name := range f.seg.Events {
			if name != "" && gone.events[code] {
				return true
			}
		}
		for code, name := range f.seg.Channels {
			if name != "" && gone.channels[code] {
				return true
			}
		}
		for i, p := range f.seg.Properties {
			if p.Name != "" && gone.properties[i] {
				return true
			}
		}
		return false
	}
	for _, r := range s.state().segments {
		if f := s.segments[r.ID]; f != nil && (f.mask != nil || lists(f)) {
			return f
		}
	}
	return nil
}

// rewrite writes a segment anew, without what is erased or too old. The caller
// holds writing and mu; mu is given back while it writes.
func (s *Store) rewrite(ctx context.Context, f *segmentFile) error {
	f.retain()
	defer f.release()
	src := f.view(s.undone())
	meta, width, left := s.runMeta(f.record.FirstLSN, f.record.LastLSN), s.state().width, s.state().erasing()
	e := &edit{Remove: []uint64{f.record.ID}}
	for _, r := range left {
		if r.Cleaned {
			continue
		}
		touched := false
		for _, l := range identities(r.Names) {
			m, err := s.cache.masked(&f.source, nil, []linked{l})
			if err != nil {
				return err
			}
			touched = touched || m != nil
		}
		if touched {
			r.Files++
			r.Bytes += f.record.Size
			e.Erase = append(e.Erase, r)
		}
	}
	s.mu.Unlock()
	var records []segmentRecord
	var written []*segmentFile
	err := s.writes("rewrite", func() (err error) { // mu is to be taken again whatever happens
		sum := &mergeSum{}
		if records, err = s.writeBits(ctx, []*source{src}, f.seg.PrefixBits, width, meta, s.lockedNumber, sum); err == nil {
			written, err = s.verify(records, sum)
		}
		return err
	})
	s.mu.Lock()
	if err != nil {
		return fmt.Errorf("write %s anew: %w", f.record.file(), err)
	}
	e.Add = records
	if seeded.On("unlinked_before_edit") {
		_ = s.fs.Remove(f.path)
	}
	if err := s.publishSegments(e, written); err != nil {
		return fmt.Errorf("write %s anew: %w", f.record.file(), err)
	}
	s.retire(f)
	return nil
}

// retire gives up a segment that an edit has replaced. Its file goes with the
// last snapshot that may read it. The caller holds mu.
func (s *Store) retire(f *segmentFile) {
	s.forgetUnread()
	s.retired[f.record.ID] = f
	f.obsolete.Store(true)
	delete(s.aside, f.record.ID) // another reader's trouble: all that was written anew is as it was
	if s.segments[f.record.ID] == f {
		delete(s.segments, f.record.ID)
		f.release() // the store's own hold
	}
}

// forgetUnread lets go of replaced segments that nothing reads any more: each has
// its index and dictionaries in memory. The caller holds mu.
func (s *Store) forgetUnread() {
	maps.DeleteFunc(s.retired, func(_ uint64, f *segmentFile) bool { return f.refs.Load() <= 0 })
}

// clean writes the manifest anew: without the names of those whose events are
// gone, and without what else only they had. The caller holds writing and mu.
func (s *Store) clean(gone nameSet) error {
	next := *s.state()
	next.next = s.next
	next.epoch = s.nextEpoch()
	blank := func(names []string, gone []bool) []string {
		names = slices.Clone(names)
		for i := range names {
			if gone[i] {
				names[i] = ""
			}
		}
		return names
	}
	next.events, next.channels = blank(s.catalog.events, gone.events), blank(s.catalog.channels, gone.channels)
	next.properties = slices.Clone(s.catalog.properties)
	for i := range next.properties {
		if gone.properties[i] {
			next.properties[i].Name = ""
		}
	}
	next.erasures = slices.Clone(s.state().erasures)
	last := uint64(0)
	var left []eraseRecord
	for i := range next.erasures {
		if r := &next.erasures[i]; r.Finished == 0 && !r.Cleaned {
			left = append(left, *r)
			last = max(last, r.LSN)
			r.Names, r.Words, r.Values, r.Cleaned = nil, nil, nil, true
		}
	}
	if err := s.forget(&next, left); err != nil {
		return err
	}
	next.tokens = s.state().tokens.changed(func(t tokenRecord) tokenRecord { return t.withoutText(next.eraseKey, last) }, next.format)
	if err := s.manifest.rewrite(&next); err != nil {
		s.triedEpoch = max(s.triedEpoch, next.epoch)
		return err
	}
	s.published.Store(&next)
	s.catalog = newCatalog(slices.Clip(next.events), slices.Clip(next.channels), slices.Clone(next.properties))
	for _, b := range s.mem.batches {
		b.batch.Names, b.batch.Channels = s.catalog.events, s.catalog.channels
	}
	s.mem.forgetRuns() // they list names
	s.cache.clear()
	return nil
}

// forget takes out of a state what people wrote that names the erased, or
// something that only they had.
func (s *Store) forget(next *state, left []eraseRecord) error {
	var names, values, words []string
	for _, r := range left {
		names = append(names, r.Names...)
		for _, w := range r.Words {
			if !next.hasName(w) {
				words = append(words, w)
			}
		}
		for _, v := range r.Values {
			stays, err := s.hasValue(v)
			if err != nil {
				return err
			}
			if !stays {
				values = append(values, v)
			}
		}
	}
	next.defines = slices.DeleteFunc(slices.Clone(next.defines), func(d event.Definition) bool {
		return slices.ContainsFunc(words, func(w string) bool { return mentionsName(d.Text, w) }) ||
			slices.ContainsFunc(append(names, values...), func(v string) bool { return mentionsValue(d.Text, v) })
	})
	next.imports = slices.Clone(next.imports)
	for i := range next.imports {
		if slices.ContainsFunc(names, func(n string) bool { return mentionsName(next.imports[i].Source, n) }) {
			next.imports[i].Source = "(erased)"
		}
	}
	return nil
}

// hasName reports whether a name is in the dictionaries.
func (s *state) hasName(name string) bool {
	return slices.Contains(s.events, name) || slices.Contains(s.channels, name) ||
		slices.ContainsFunc(s.properties, func(p event.Property) bool { return p.Name == name })
}

// hasValue reports whether a row that stays has the value in a property of
// strings. The caller holds writing and mu.
func (s *Store) hasValue(value string) (bool, error) {
	for _, b := range s.mem.batches {
		for i := range b.batch.Columns {
			if c := &b.batch.Columns[i]; c.Type == event.StringType && slices.Contains(c.Texts, value) {
				return true, nil
			}
		}
	}
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue
		}
		for i, p := range f.seg.Properties {
			if p.Type != event.StringType || f.seg.ValueCounts[i] == 0 {
				continue
			}
			for b := range 1 << f.seg.PrefixBits {
				may, err := f.seg.HasValue(b, i, event.String(value))
				if err != nil {
					return false, err
				}
				if !may {
					continue
				}
				col, err := s.cache.column(f.block(b), i, false)
				if err != nil {
					return false, err
				}
				if col != nil && slices.Contains(col.Dict, value) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// withoutText returns the token as a keyed hash, if its batch arrived up to an
// erasure's LSN: the batch is still known when it is sent again, but what the
// sender called it, and what was said of its events, may name somebody.
func (t tokenRecord) withoutText(key []byte, erased uint64) tokenRecord {
	if t.Ack.LSN > erased || t.Keyed || seeded.On("tokens_kept") {
		return t
	}
	t.Token, t.Keyed = keyed(key, "token", t.Token), true
	ack := t.Ack.whole()
	for i := range ack.Rejected {
		ack.Rejected[i].Reason = "the reason was removed by an erasure"
	}
	t.Ack = answerOf(ack)
	return t
}

// sweep removes the files that erasures have replaced, and ends the erasures
// when the last of them is gone for good. The caller holds writing and mu.
func (s *Store) sweep() (worked bool, err error) {
	s.forgetUnread()
	if len(s.undecided) > 0 { // until a new file of the manifest says otherwise, they may be the store's
		if err := s.publish(&edit{}); err != nil {
			return false, err
		}
	}
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return false, err
	}
	waiting := false
	for _, name := range names {
		if !s.leftover(name) {
			continue
		}
		n, _ := fileNumber(name)
		if strings.HasSuffix(name, ".seg") && s.retired[n] != nil {
			waiting = true // a snapshot reads it
			continue
		}
		if err := s.fs.Remove(path.Join(s.dir, name)); err != nil {
			return false, err
		}
	}
	if waiting {
		return false, nil
	}
	if err := s.sweepAside(); err != nil {
		return false, err
	}
	// An unlink that is not durable is undone by the next power failure.
	if err := s.fs.SyncDir(s.dir); err != nil {
		return false, err
	}
	s.cache.clear()
	e := &edit{}
	now := s.now()
	for _, r := range s.state().erasing() {
		if r.Cleaned {
			r.Finished = max(now, r.Requested, 1)
			e.Erase = append(e.Erase, r)
		}
	}
	return true, s.publish(e)
}
