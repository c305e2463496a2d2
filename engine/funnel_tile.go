package engine

// funnelWorker counts what bits decide of a tile at once, where no attempt needs
// to be asked for its group, or a single column tells.
type funnelWorker struct{ *patternWorker[*funnelGroup] }

// takeTiles has the tracker hand over tiles in place of attempts, if possible.
func (w funnelWorker) takeTiles() {
	switch {
	case w.whole:
		w.tracker.wants = wantCounts
		w.tracker.batch = w.addAll
	case w.grouper.direct():
		var of directGroups
		w.tracker.wants = wantEntries
		w.tracker.batch = func(v *view, d *decided) error { return w.addGroups(v, d, &of) }
	}
}

// addAll counts a tile in the one group.
func (w funnelWorker) addAll(_ *view, d *decided) error {
	n := d.single + int64(len(d.attempts))
	if n == 0 {
		return nil
	}
	w.grouper.all()
	w.grouper.groups[0].anchors += n - 1 // one is counted already
	if err := w.reach(0); err != nil {
		return err
	}
	g := w.groups[0]
	g.stopped[0] += d.single
	g.open[0] += d.singleOpen
	bytes := int64(0)
	for i := range d.attempts {
		a := &d.attempts[i]
		g.add(d.times[a.at:a.at+uint32(a.level)], a.open)
		bytes += funnelBytes(int(a.level))
	}
	return w.list(bytes)
}

// addGroups counts a tile by the groups of the entries.
func (w funnelWorker) addGroups(v *view, d *decided, of *directGroups) error {
	w.tracker.masks.anchorRows(d, of.begin(len(d.entries)+len(d.attempts)))
	ids, err := w.grouper.groupRows(v, of)
	if err != nil {
		return err
	}
	for i, id := range ids[:len(d.entries)] {
		if err := w.reach(int(id)); err != nil {
			return err
		}
		g := w.groups[id]
		g.stopped[0]++
		g.open[0] += int64(truth(d.entryOpen[i]))
	}
	bytes := int64(0)
	for i, id := range ids[len(d.entries):] {
		a := &d.attempts[i]
		if err := w.reach(int(id)); err != nil {
			return err
		}
		w.groups[id].add(d.times[a.at:a.at+uint32(a.level)], a.open)
		bytes += funnelBytes(int(a.level))
	}
	return w.list(bytes)
}
