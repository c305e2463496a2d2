package storage

import (
	"fmt"
	"slices"

	"wend/event"
)

// salvage is what the edits that can be read add up to.
type salvage struct {
	st    *state
	edits int       // that were read
	gaps  []editGap // since the last edit that holds the whole state
	since []folded  // the edits since then; gaps[i].after are places in it
	whole uint64    // Next of that edit, 0 if it cannot be read

	added    map[uint64]int  // segments of st: after how many edits they were added
	removed  map[uint64]bool // segments that an edit removed: no file of theirs is the store's
	released map[string]bool // files that an edit took back or gave up

	// Behind a gap nobody knows which codes names have, nor what place imports.
	properties []propertyRecord
	imports    []importRecord
	undone     map[string]bool
}

// folded is what is kept of an edit when it is applied.
type folded struct {
	next    uint64 // numbers below were taken
	passing bool   // it may have come between a file's number and the edit that added it
}

func newSalvage(store [16]byte) *salvage {
	return &salvage{st: &state{store: store, format: FormatVersion, next: 1, wal: 1}, added: map[uint64]int{}, removed: map[uint64]bool{}, released: map[string]bool{}, undone: map[string]bool{}}
}

// take folds what is left of one manifest, a later one than those before.
func (v *salvage) take(m *remains) error {
	gaps := m.missing
	for _, f := range m.edits {
		for len(gaps) > 0 && gaps[0].first < f.place {
			v.gap(gaps[0])
			gaps = gaps[1:]
		}
		if f.place == 0 { // all that was before is in it
			edits := v.edits
			*v = *newSalvage(v.st.store)
			v.edits = edits
			v.st.format, v.whole = 1, f.edit.Next
		}
		if err := v.fold(*f.edit); err != nil {
			return fmt.Errorf("%w: edit %d of %s: %v", ErrCorrupt, f.place, manifestName(f.number), err)
		}
	}
	for _, g := range gaps {
		v.gap(g)
	}
	return nil
}

func (v *salvage) gap(g editGap) {
	g.after = len(v.since)
	v.gaps = append(v.gaps, g)
}

// fold applies an edit as far as what it changes is known.
func (v *salvage) fold(e edit) error {
	v.edits++
	// Whoever writes segments holds off all other edits, but for those that begin
	// a log or flush beside a merge; and any may have been written as the whole state.
	first := len(v.since) == 0 && v.whole > 0
	flush := e.LSN > 0 && len(e.Remove) == 0
	v.since = append(v.since, folded{e.Next, first || len(e.Logs) > 0 || flush})
	if len(v.gaps) > 0 {
		e.Events, e.Channels = nil, nil // the segments tell
		v.properties, e.Properties = append(v.properties, e.Properties...), nil
		v.imports, e.Imports = append(v.imports, e.Imports...), nil
	}
	known := func(id uint64) bool {
		return slices.ContainsFunc(v.st.segments, func(r segmentRecord) bool { return r.ID == id })
	}
	for _, id := range e.Remove {
		v.removed[id] = true
	}
	e.Remove = slices.DeleteFunc(slices.Clone(e.Remove), func(id uint64) bool { return !known(id) })
	e.Add = slices.DeleteFunc(slices.Clone(e.Add), func(r segmentRecord) bool { return known(r.ID) })
	for _, r := range e.Add {
		v.added[r.ID] = len(v.since)
	}
	for _, file := range e.Release {
		v.released[file] = true
	}
	e.Release = slices.DeleteFunc(slices.Clone(e.Release), func(file string) bool { return !v.st.quarantined(file) })
	for _, id := range e.Undo {
		v.undone[id] = true
	}
	e.Undo = slices.DeleteFunc(slices.Clone(e.Undo), func(id string) bool {
		return !slices.ContainsFunc(append(slices.Clip(v.st.imports), e.Imports...), func(r importRecord) bool { return r.ID == id })
	})
	st, err := v.st.apply(&e)
	if err == nil {
		v.st = st
	}
	return err
}

// sure reports whether no edit that is missing can have removed a segment.
func (v *salvage) sure(id uint64) bool {
	return !slices.ContainsFunc(v.gaps, func(g editGap) bool { return g.after >= v.added[id] })
}

// mayBeOf reports whether an edit that is missing can have added a file of
// this number. It came after the last that says that the number was not taken
// yet, and before any other that a writer of segments holds off.
func (v *salvage) mayBeOf(id uint64) bool {
	from := 0
	for i, e := range v.since {
		if e.next != 0 && e.next <= id {
			from = i + 1
		}
	}
	for at := from; ; at++ {
		if slices.ContainsFunc(v.gaps, func(g editGap) bool { return g.after == at }) {
			return true
		}
		if at == len(v.since) || !v.since[at].passing {
			return false
		}
	}
}

// stale reports whether a file's number was taken before the edit that holds
// the whole state, which does not name it: hardly ever is it the store's.
func (v *salvage) stale(id uint64) bool { return id < v.whole }

// missing is how many edits cannot be read; known is false if nobody can say.
func (v *salvage) missing() (count int, known bool) {
	for _, g := range v.gaps {
		if g.count == 0 || g.first == 0 {
			return 0, false
		}
		count += int(g.count)
	}
	return count, true
}

// lostErasures lists the numbers of erasures of which something tells, and no
// record. finished reports whether one that came later is finished: then the
// segments that the edits name are rid of them, too.
func (v *salvage) lostErasures() (lost []uint64, finished bool) {
	newest := v.st.lastErasure()
	for _, r := range v.st.segments {
		newest = max(newest, r.Erased)
	}
	for _, q := range v.st.quarantine {
		if q.Segment != nil {
			newest = max(newest, q.Segment.Erased)
		}
		if q.Erasure < neverBack {
			newest = max(newest, q.Erasure)
		}
	}
	for n := uint64(1); n <= newest; n++ {
		if !slices.ContainsFunc(v.st.erasures, func(r eraseRecord) bool { return r.Number == n }) {
			lost = append(lost, n)
		}
	}
	if len(lost) > 0 {
		finished = slices.ContainsFunc(v.st.erasures, func(r eraseRecord) bool { return r.Number > lost[len(lost)-1] && r.Finished != 0 })
	}
	return lost, finished
}

// widened is the type of a property that a later edit may have widened.
func (v *salvage) widened(name string, t event.Type) event.Type {
	for _, p := range v.properties {
		if p.Name == name && p.Type == event.FloatType.String() && t == event.IntegerType {
			return event.FloatType
		}
	}
	return t
}
