package engine

import "wend/event"

// pairRows tells of all rows of a tile which pair ends there.
type pairRows struct {
	rows   closedRows
	labels int      // codes there may be
	keys   []uint16 // by row: source*labels + target; behind them, that of no pair
}

// load returns the keys and the times of a tile's rows.
func (p *pairRows) load(v *view, l *labeler) (keys []uint16, times []event.Time, err error) {
	if err := p.rows.load(v, l.planes(v), v.anchors(true), true); err != nil {
		return nil, nil, err
	}
	codes := p.rows.codes
	p.keys = grown(p.keys, len(codes))[:len(codes)]
	if len(codes) < 2 {
		return nil, nil, nil
	}
	keys = p.keys
	var sources [256]uint16
	for code := range p.labels {
		sources[code] = uint16(code * p.labels)
	}
	source := sources[codes[0]]
	for i, code := range codes {
		keys[i] = source + uint16(code)
		source = sources[code]
	}
	p.rows.borders(func(row uint32) { keys[row] = uint16(p.labels * p.labels) })
	return keys, p.rows.times, nil
}

// notedPairs counts flat pairs and notes their gaps, in passes.
type notedPairs struct {
	pairRows
	notes []*note // by key
	pairs []int32 // by key: index among the worker's
}

func newNotedPairs(labels int) *notedPairs {
	n := labels*labels + 1
	p := &notedPairs{pairRows: pairRows{labels: labels}, notes: make([]*note, n), pairs: make([]int32, n)}
	p.notes[n-1] = &note{begun: true} // of nothing that is asked for
	return p
}

func (p *notedPairs) visit(w *transitionsWorker, v *view) error {
	keys, times, err := p.load(v, w.labels)
	if err != nil || len(keys) == 0 {
		return err
	}
	before := times[0]
	for i := 1; i < len(keys); i++ {
		x := p.notes[keys[i]]
		if x == nil {
			if x, err = p.note(w, int(keys[i])); err != nil {
				return err
			}
		}
		x.duration(event.Duration(times[i] - before))
		before = times[i]
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// note makes the note of a pair.
func (p *notedPairs) note(w *transitionsWorker, key int) (*note, error) {
	from, to := uint32(key/p.labels), uint32(key%p.labels)
	if from == to && w.r.plan.Collapse {
		p.notes[key] = p.notes[len(p.notes)-1]
		p.pairs[key] = -1
		return p.notes[key], nil
	}
	c := w.labels.coders[0]
	source, err := c.schemaCode(from)
	if err != nil {
		return nil, err
	}
	target, err := c.schemaCode(to)
	if err != nil {
		return nil, err
	}
	if p.pairs[key], err = w.pair(0, source, target); err != nil {
		return nil, err
	}
	p.notes[key] = w.noted[p.pairs[key]].notes[0]
	return p.notes[key], nil
}

// finish hands the counts on to the worker's pairs.
func (p *notedPairs) finish(w *transitionsWorker) {
	for key, x := range p.notes[:len(p.notes)-1] {
		if x != nil && p.pairs[key] >= 0 {
			w.counts[p.pairs[key]] = x.n
		}
	}
}
