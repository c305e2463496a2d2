package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"wend/event"
	"wend/internal/seeded"
)

// Retention
//
// Events older than the retention go. How far is the cutoff, a time in the
// manifest: events before it are in no snapshot, whatever files hold them. It
// moves in steps of an hour, by an edit that also takes out the segments that
// lie wholly before it; their files are removed when that edit is durable.
// Segments that lie partly before it are filtered, see aged.go, until they are
// compacted, or a step writes them anew: when half of their rows are old, and,
// as segments may cover years, when the oldest have been so for a month.
//
// The clock alone does not move the cutoff, for it may be wrong. What is trusted
// is the time at which events were received when retention began, and since
// then what has passed by a clock that nobody can set. Where the clock is
// further than that, the store may have been closed meanwhile, or the clock
// jumped: then a step takes out at most a tenth of the events an hour, the
// oldest, and none for a day if the jump was seen. Once that has taken out all
// that is too old by the clock, and something is left, the clock is trusted.
const (
	retainStep  = event.Hour
	retainDoubt = event.Day
	retainShare = 10             // of the events, one in so many an hour
	retainFiles = 30 * event.Day // what is gone may be in a file for so long
)

// retainRecord is what the manifest knows of retention.
type retainRecord struct {
	For    event.Duration `json:"for"`              // how long events are kept, in microseconds
	Cutoff event.Time     `json:"cutoff"`           // events before it are gone
	At     event.Time     `json:"at"`               // trusted: it was at least so late
	Braked event.Time     `json:"braked,omitempty"` // when the clock was last followed further than it was trusted
	Fresh  bool           `json:"fresh,omitempty"`  // the clock was believed as the store was empty, and neither was anything taken out since nor did a day pass by it

	Aged []agedRecord `json:"aged,omitempty"` // rows before the cutoff that files still hold; others hold none, or nobody has counted

	// The last move that took something out.
	Dropped   int64      `json:"dropped,omitempty"`    // events
	DroppedAt event.Time `json:"dropped_at,omitempty"` // by the clock
	Total     int64      `json:"total,omitempty"`      // of all moves
}

// cutoff is the time before which events are gone.
func (s *state) cutoff() event.Time {
	if s.retain == nil {
		return math.MinInt64
	}
	return s.retain.Cutoff
}

// tooOld is the reason of a rejection.
func tooOld(cutoff event.Time) string {
	return fmt.Sprintf("the event is older than the store's retention, which goes back to %s", cutoff)
}

// retaining is what this process knows of the time that passes.
type retaining struct {
	begun bool
	base  event.Time     // trusted: it was so late ...
	since time.Duration  // ... at this uptime
	ahead event.Duration // of that is the clock

	tried bool          // the brake was ...
	last  time.Duration // ... asked at this uptime
	stuck int64         // how often since it last took something out: an instant with more than a share of the events goes when shares enough have passed

	leapt   bool           // the clock was seen to jump forward ...
	leap    time.Duration  // ... at this uptime,
	to      event.Duration // so far ahead,
	settled event.Duration // and how far it was before

	waits []string // set-aside segments that a longer retention waits for; the log told it
}

// watch notes how far the clock is ahead, and whether it jumped.
func (r *retaining) watch(ahead event.Duration, up time.Duration) {
	r.ahead = ahead
	switch {
	case ahead <= max(r.settled, 0)+retainStep: // also when it is set right again
		r.leapt, r.settled = false, ahead
	case !r.leapt || ahead > r.to+retainStep:
		r.leapt, r.leap, r.to = true, up, ahead
	}
}

// trust sets the time that is trusted now.
func (r *retaining) trust(at event.Time, up time.Duration) {
	*r = retaining{begun: true, base: at, since: up}
}

// doubtful reports whether the clock jumped not long ago.
func (r *retaining) doubtful(up time.Duration) bool {
	return r.leapt && up-r.leap < time.Duration(retainDoubt)*time.Microsecond
}

// RetainStep does one piece of the work that retention asks for, and reports
// whether there was any.
func (s *Store) RetainStep(ctx context.Context) (worked bool, err error) {
	if s.opt.Retention <= 0 {
		return false, nil
	}
	err = s.removing(func() error {
		worked, err = s.retainStep(ctx)
		return err
	})
	if err != nil {
		return worked, fmt.Errorf("retention: %w", err)
	}
	return worked, nil
}

// retain does what retention asks for, in the background.
func (s *Store) retain(ctx context.Context) error {
	for ctx.Err() == nil {
		worked, err := s.RetainStep(ctx)
		if worked && err == nil {
			_, err = s.flushFull(ctx) // as in erase
		}
		if err != nil || !worked {
			return err
		}
	}
	return nil
}

// retainable is the error of a store that cannot have a retention.
func (s *Store) retainable() error {
	switch {
	case s.opt.Retention == 0:
		return nil
	case s.opt.Retention < time.Hour:
		return fmt.Errorf("a retention of %s is too short: an hour is the least", s.opt.Retention)
	case s.state().format < 2:
		return fmt.Errorf("%w: it has format %d, and retention needs 2; run `wend upgrade %s` first", ErrOldFormat, s.state().format, s.dir)
	}
	return nil
}

func (s *Store) retainStep(ctx context.Context) (worked bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return false, err
	}
	s.recordAside()
	known := s.retaining
	next, err := s.nextRetain(ctx)
	if err != nil {
		if s.leaveOut(err) {
			return true, nil // the next step does without it
		}
		return false, err
	}
	if next != nil {
		if err = s.moveCutoff(next); err != nil {
			s.retaining = known // the next try is to come to the same
		}
		return true, err
	}
	if worked, err := s.dropAside(); worked || err != nil {
		return worked, err
	}
	f := s.worthRewriting()
	if f == nil {
		return false, nil
	}
	if err := s.rewrite(ctx, f); err != nil && !s.leaveOut(err) {
		return false, err
	}
	return true, nil
}

// step rounds a time down to a step of the cutoff.
func step(t event.Time) event.Time {
	t = max(t, event.MinTime)
	past := t % event.Time(retainStep)
	if past < 0 {
		past += event.Time(retainStep)
	}
	return t - past
}

// kept is the retention.
func (s *Store) kept() event.Duration { return event.Duration(s.opt.Retention.Microseconds()) }

// nextRetain says where the cutoff goes now; nil: nowhere. The caller holds
// writing and mu.
func (s *Store) nextRetain(ctx context.Context) (*retainRecord, error) {
	now, up, r := s.now(), s.opt.Uptime(), &s.retaining
	old := retainRecord{Cutoff: math.MinInt64}
	if s.state().retain != nil {
		old = *s.state().retain
	}
	next := old
	next.For = s.kept()
	if len(s.state().segments)+len(s.state().quarantine)+len(s.mem.batches) == 0 {
		if s.loads > 0 {
			return nil, nil // what they have is not to be too old by a clock that is wrong for a moment
		}
		// There is nothing to lose, and nothing that could come back.
		r.trust(now, up)
		next.At, next.Cutoff, next.Fresh = now, step(now.Add(-s.kept())), true
		return worthAnEdit(&old, &next), nil
	}
	if !r.begun {
		base := old.At
		if s.state().retain == nil {
			base = max(s.state().received, s.mem.received)
		}
		r.trust(base, up)
		r.settled = now.Sub(base) // nobody knows whether the store was closed or the clock jumped
	}
	ceiling := r.base.Add(event.Duration((up - r.since).Microseconds()))
	r.watch(now.Sub(ceiling), up)
	at := min(now, ceiling)
	if seeded.On("retention_without_brake") {
		at = now
	}
	next.At = max(old.At, at)
	if next.For > old.For && s.state().retain != nil {
		return s.lengthened(ctx, &old, &next, step(at.Add(-s.kept())))
	}
	if _, held := s.holdBefore(old.Cutoff); old.Fresh && now < old.At.Add(-retainStep) && !held {
		// The clock was wrong when there was nothing to lose. Nothing comes back, and
		// else all that comes would be too old for as long as it was ahead.
		r.trust(now, up)
		next.At, next.Cutoff, next.Braked = now, step(now.Add(-s.kept())), 0
		return worthAnEdit(&old, &next), nil
	}
	if up-r.since >= time.Duration(retainDoubt)*time.Microsecond && max(r.ahead, -r.ahead) <= retainStep {
		next.Fresh = false // a day passed by it
	}
	next.Cutoff = max(old.Cutoff, step(at.Add(-s.kept())))
	by := step(now.Add(-s.kept()))
	switch {
	case by <= next.Cutoff:
		if r.ahead > retainStep && !r.doubtful(up) { // to follow the clock takes nothing out
			r.trust(now, up)
			next.At = max(old.At, now)
		}
	case s.mayFollow(&old, ceiling, up):
		cutoff, all, err := s.brake(ctx, next.Cutoff, by, 1+r.stuck)
		if err != nil {
			return nil, err
		}
		r.tried, r.last, r.stuck = true, up, r.stuck+1
		if all {
			r.trust(now, up)
			next.At = max(old.At, now)
		}
		if cutoff > next.Cutoff {
			next.Cutoff, next.Braked, r.stuck = cutoff, ceiling, 0
		}
	}
	return worthAnEdit(&old, &next), nil
}

// worthAnEdit returns next, or nil if it is not worth an edit.
func worthAnEdit(old, next *retainRecord) *retainRecord {
	if next.For == old.For && next.Cutoff == old.Cutoff && next.Fresh == old.Fresh && step(next.At) == step(old.At) {
		return nil
	}
	return next
}

// mayFollow reports whether the clock may be followed now further than it is trusted.
func (s *Store) mayFollow(old *retainRecord, ceiling event.Time, up time.Duration) bool {
	r, hour := &s.retaining, time.Duration(retainStep)*time.Microsecond
	return (old.Braked == 0 || ceiling >= old.Braked.Add(retainStep)) &&
		(!r.tried || up-r.last >= hour) &&
		!r.doubtful(up)
}

// lengthened is nextRetain for a retention that is longer than before. The
// cutoff goes back when nothing that it hid is left, and no segment that is set
// aside may bring it: so nothing comes back.
func (s *Store) lengthened(ctx context.Context, old, next *retainRecord, cutoff event.Time) (*retainRecord, error) {
	var aside []string
	held := false
	if cutoff < old.Cutoff {
		if aside, held = s.holdBefore(old.Cutoff); !held {
			if err := s.flush(ctx); err != nil {
				return nil, err
			}
			aside, held = s.holdBefore(old.Cutoff) // the flush gave mu back meanwhile
		}
	}
	if len(aside) > 0 && len(s.retaining.waits) == 0 {
		s.opt.Log.Warn("a longer retention waits for damaged segments that may be put back; wend check --forget gives them up", "segments", aside, "kept", old.For, "wanted", next.For)
	}
	s.retaining.waits = aside
	if held {
		next.For = old.For
		return worthAnEdit(old, next), nil // worthRewriting says which come first
	}
	next.Cutoff = cutoff
	return worthAnEdit(old, next), nil
}

// holdBefore reports whether a segment holds events of before the cutoff, be it
// one that is set aside and may be put back: these are named.
func (s *Store) holdBefore(cutoff event.Time) (aside []string, held bool) {
	for _, q := range s.state().quarantine {
		if q.Segment != nil && q.Segment.MinTime < cutoff && s.mayComeBack(q.File) && !seeded.On("cutoff_back_over_set_aside") {
			aside = append(aside, q.File)
		}
	}
	return aside, len(aside) > 0 || slices.ContainsFunc(s.state().segments, func(r segmentRecord) bool {
		f := s.segments[r.ID]
		return f == nil && r.MinTime < cutoff || f != nil && f.aged != nil
	})
}

// brake says how far the cutoff may go from one time towards another with so many
// shares of the events, and whether it may go all the way. The caller holds
// writing and mu; mu is given back while it reads.
func (s *Store) brake(ctx context.Context, from, to event.Time, shares int64) (cutoff event.Time, all bool, err error) {
	if err := s.flush(ctx); err != nil {
		return from, false, err
	}
	undone := s.undone()
	var files []*segmentFile
	defer func() {
		for _, f := range files {
			f.release()
		}
	}()
	total := int64(0)
	by := map[int64][]*source{}
	var partitions []int64
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue
		}
		src := f.view(undone)
		total += src.seg.Rows - src.undone
		if r.MinTime < to {
			f.retain()
			files = append(files, f)
			if by[r.Partition] == nil {
				partitions = append(partitions, r.Partition)
			}
			by[r.Partition] = append(by[r.Partition], src)
		}
	}
	if total == 0 {
		return from, false, nil
	}
	s.mu.Unlock()
	defer s.mu.Lock() // whatever happens
	share := shares * max(total/retainShare, 1)
	left := share
	newest := from
	slices.Sort(partitions)
	for _, p := range partitions {
		// First by hours, then the rows of the hour at which it is enough.
		hours := map[event.Time]int64{}
		rows := int64(0)
		see := func(of func(event.Time)) error {
			for _, src := range by[p] {
				if err := src.times(of); err != nil {
					return err
				}
			}
			return nil
		}
		err := see(func(t event.Time) {
			if t < to {
				hours[step(t)]++
				rows++
				newest = max(newest, t+1)
			}
		})
		if err != nil {
			return from, false, err
		}
		if rows <= left {
			left, total = left-rows, total-rows
			continue
		}
		for _, hour := range sortedTimes(hours) {
			if hours[hour] <= left {
				left -= hours[hour]
				continue
			}
			var times []event.Time
			err := see(func(t event.Time) {
				if step(t) == hour {
					times = append(times, t)
				}
			})
			if err != nil {
				return from, false, err
			}
			slices.Sort(times)
			if left == share && times[0] == times[left] {
				return from, false, nil // nothing would go
			}
			return max(from, times[left]), false, nil
		}
	}
	if total == 0 {
		return newest, false, nil // nothing that is younger says that the clock may be right
	}
	return to, true, nil
}

func sortedTimes(m map[event.Time]int64) []event.Time {
	var list []event.Time
	for t := range m {
		list = append(list, t)
	}
	slices.Sort(list)
	return list
}

// moveCutoff publishes where the cutoff is, and takes out what lies before it.
// The caller holds writing and mu; mu is given back while it reads.
func (s *Store) moveCutoff(next *retainRecord) error {
	cutoff := next.Cutoff
	var files []*segmentFile
	for _, r := range s.state().segments {
		if f := s.segments[r.ID]; f != nil && r.MinTime < cutoff && r.MaxTime >= cutoff {
			f.retain()
			files = append(files, f)
		}
	}
	ages := map[uint64]*aged{}
	s.mu.Unlock()
	err := s.writes("retention", func() error { // mu is to be taken again whatever happens
		for _, f := range files {
			a, err := s.cache.aged(&f.source, cutoff, f.mask)
			if err != nil {
				return err
			}
			ages[f.record.ID] = a
		}
		return nil
	})
	s.mu.Lock()
	for _, f := range files {
		f.release()
	}
	if err != nil && s.leaveOut(err) {
		return nil // the next step does without it
	}
	if err != nil {
		return err
	}
	e := &edit{Retain: next}
	dropped := int64(0)
	undone := s.undone()
	var gone []*segmentFile
	next.Aged = nil
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		before := int64(0)
		if f != nil {
			before = r.Rows - f.view(undone).undone
		}
		switch {
		case f == nil: // it is left out; once that is recorded, dropAside gives it up
		case r.MaxTime < cutoff:
			gone = append(gone, f)
			e.Remove = append(e.Remove, r.ID)
			dropped += before
		case ages[r.ID] != nil:
			dropped += before - (r.Rows - f.viewAt(undone, ages[r.ID]).undone)
			if f.mask == nil {
				next.Aged = append(next.Aged, ages[r.ID].record(r.ID))
			}
		}
	}
	for _, b := range s.mem.batches {
		for _, t := range b.batch.Time {
			if t < cutoff {
				dropped++
			}
		}
	}
	if dropped > 0 {
		e.Epoch = s.nextEpoch()
		next.Dropped, next.DroppedAt, next.Total, next.Fresh = dropped, s.now(), next.Total+dropped, false
	}
	if seeded.On("retention_unlinks_first") {
		for _, f := range gone {
			_ = s.fs.Remove(f.path)
		}
	}
	if err := s.publish(e); err != nil {
		return err
	}
	for _, f := range files {
		if s.segments[f.record.ID] == f {
			f.aged, f.agedTo, f.agedBy = ages[f.record.ID], cutoff, f.mask
		}
	}
	for _, f := range gone {
		s.retire(f)
	}
	s.mem.takeOut(s.catalog, func(b *event.Batch, i int) bool { return b.Time[i] < cutoff })
	if dropped > 0 {
		s.opt.Log.Info("retention took out old events", "events", dropped, "before", cutoff, "segments", len(gone))
	}
	return nil
}

// worthRewriting returns a segment half of whose rows are too old, or that has
// held some for a month, or one that has any if the retention is to become
// longer. The caller holds mu.
func (s *Store) worthRewriting() *segmentFile {
	longer := s.state().retain != nil && s.kept() > s.state().retain.For
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil || f.aged == nil {
			continue
		}
		stale := r.MinTime < f.aged.before.Add(-retainFiles) && !seeded.On("old_rows_kept_in_files")
		if longer || stale || 2*f.aged.rows >= r.Rows {
			return f
		}
	}
	return nil
}

// Retention is what a store tells of its retention.
type Retention struct {
	For       string     `json:"for"`                  // as the last writer was told
	Cutoff    event.Time `json:"cutoff"`               // events before it are gone
	Dropped   int64      `json:"dropped"`              // events that were last taken out
	DroppedAt event.Time `json:"dropped_at,omitzero"`  // when that was; 0: never
	Total     int64      `json:"dropped_total"`        // all that were ever taken out
	Behind    string     `json:"behind_for,omitempty"` // how far the clock is ahead of what is trusted
	WaitsFor  []string   `json:"waits_for,omitempty"`  // damaged segments, which may be put back: a longer retention does not begin before
}

// retention describes the retention, nil if there is none. The caller holds mu.
func (s *Store) retention() *Retention {
	r := s.state().retain
	if r == nil {
		return nil
	}
	out := &Retention{For: r.For.String(), Cutoff: r.Cutoff, Dropped: r.Dropped, DroppedAt: r.DroppedAt, Total: r.Total, WaitsFor: slices.Clone(s.retaining.waits)}
	if s.retaining.begun && s.retaining.ahead > 2*retainStep {
		out.Behind = s.retaining.ahead.String()
	}
	return out
}
