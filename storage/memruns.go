package storage

import "slices"

// memRun is batches of a memtable that follow one another, as a segment in
// memory. Runs are merged so that their number, and that of the merges that an
// event takes part in, grow with the logarithm of the batches.
type memRun struct {
	*source
	batches int
}

// pinnedBatches is what a snapshot shows of a memtable, as it was when the
// snapshot was asked for. Sorting it takes no lock of the store: batches and
// runs do not change, and what becomes of the memtable meanwhile is no matter.
type pinnedBatches struct {
	table   *memtable
	changes int
	runs    []*memRun
	fresh   arrivals // behind the runs, up to the first batch that is not visible
	late    arrivals // the visible ones behind that
	meta    segmentMeta
}

// pin notes the visible batches, or all. The caller holds mu.
func (m *memtable) pin(s *Store, all bool) *pinnedBatches {
	p := &pinnedBatches{table: m, changes: m.changes, runs: slices.Clip(m.runs), meta: segmentMeta{
		Store: s.state().store, Imports: []string{""},
		Events: slices.Clip(s.catalog.events), Channels: slices.Clip(s.catalog.channels), Properties: slices.Clip(s.catalog.properties),
	}}
	covered := 0
	for _, r := range m.runs {
		covered += r.batches
		p.fresh.before += int(r.seg.Rows)
	}
	into := &p.fresh
	for _, b := range m.batches[covered:] {
		switch {
		case b.visible || all:
			into.add(b)
		case into == &p.fresh:
			into = &p.late
		}
	}
	return p
}

// runsFew is how many runs of similar size are left apart. A tile of a few more
// runs costs little more, and every merge writes all that it reads.
const runsFew = 3

// sort makes a run of what is fresh, and merges the last runs if they have become many.
func (p *pinnedBatches) sort(perBlock int, merge bool) error {
	if p.fresh.rows == 0 {
		return nil
	}
	p.runs = append(p.runs, p.fresh.run(p.meta, perBlock))
	if !merge {
		return nil
	}
	k, rows := len(p.runs)-1, p.runs[len(p.runs)-1].seg.Rows
	for k > 0 && p.runs[k-1].seg.Rows <= rows {
		k--
		rows += p.runs[k].seg.Rows
	}
	if len(p.runs)-k <= runsFew {
		return nil
	}
	r, err := joinRuns(p.runs[k:], p.meta, perBlock)
	if err != nil {
		return err
	}
	p.runs = append(slices.Clip(p.runs[:k]), r)
	return nil
}

// keep hands the runs to the memtable, for the next snapshot. The caller holds
// mu, and sorting since the batches were pinned.
func (p *pinnedBatches) keep() {
	if p.table.changes == p.changes {
		p.table.runs = p.runs
	}
}

// sources lists what was sorted, in order of arrival.
func (p *pinnedBatches) sources(perBlock int) []*source {
	var list []*source
	for _, r := range p.runs {
		list = append(list, r.source)
	}
	if p.late.rows > 0 {
		list = append(list, p.late.run(p.meta, perBlock).source)
	}
	return list
}

// run sorts batches.
func (a *arrivals) run(meta segmentMeta, perBlock int) *memRun {
	meta.FirstLSN, meta.LastLSN = a.batches[0].lsn, a.batches[len(a.batches)-1].lsn
	return &memRun{newSource(a.segment(meta, perBlock)), len(a.batches)}
}

// joinRuns merges runs that follow one another.
func joinRuns(runs []*memRun, meta segmentMeta, perBlock int) (*memRun, error) {
	meta.FirstLSN, meta.LastLSN = runs[0].seg.FirstLSN, runs[len(runs)-1].seg.LastLSN
	m := &merger{width: widthAll, properties: meta.Properties}
	batches := 0
	for _, r := range runs {
		batches += r.batches
		m.sources = append(m.sources, &mergeSource{seg: r.seg, lsn: r.lsn, block: -1})
		m.bits = max(m.bits, r.seg.PrefixBits, prefixBits(r.seg.Customers, perBlock))
	}
	meta.PrefixBits = m.bits
	seg := newMemorySegment(meta)
	for p := range 1 << m.bits {
		out, err := m.prefix(p)
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			seg.hold(p, o.rows)
		}
	}
	return &memRun{newSource(seg), batches}, nil
}
