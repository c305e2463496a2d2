package engine

import "math/bits"

// flatPairs counts pairs without a loop for each unit: over all rows of a tile
// at once, after which the pairs that lie across two customers are taken off.
type flatPairs struct {
	rows   closedRows
	width  int      // bits of a code
	counts []uint32 // by source<<width | target, over one tile
	total  []int64
	noted  *notedPairs // gaps are noted in passes; nil: they are not wanted yet
}

// flatBits is the width of codes up to which the table of pairs stays small
// enough for a cache.
const flatBits = 7

// flatWidth returns the bits of a label's code if pairs can be counted flat: if
// labels are events or channels, and all pairs are in one group.
func (o *transitionsOperator) flatWidth() (width int, ok bool) {
	names := o.labeling.names()
	width = bits.Len(uint(len(names)))
	return width, names != nil && width <= flatBits && o.grouping.whole() && !o.r.plan.Unit.Session && !o.r.opt.General
}

func (f *flatPairs) visit(w *transitionsWorker, v *view) error {
	if w.noter != nil {
		if f.noted == nil {
			f.noted = newNotedPairs(len(w.labeling.names()))
		}
		return f.noted.visit(w, v)
	}
	if err := f.rows.load(v, w.labels.planes(v), v.anchors(true), false); err != nil {
		return err
	}
	codes := f.rows.codes
	if len(codes) == 0 {
		return nil
	}
	if f.counts == nil {
		f.counts, f.total = make([]uint32, 1<<(2*flatBits)), make([]int64, 1<<(2*f.width))
	}
	const most = 1<<(2*flatBits) - 1
	counts := (*[most + 1]uint32)(f.counts)
	width, mask := f.width&31, uint(1)<<(2*f.width)-1
	key := uint(codes[0])
	for _, code := range codes[1:] {
		key = (key<<width | uint(code)) & mask
		counts[key&most]++
	}
	f.rows.borders(func(row uint32) {
		counts[(uint(codes[row-1])<<width|uint(codes[row]))&most]--
	})
	for k := range f.total {
		f.total[k] += int64(counts[k])
		counts[k] = 0
	}
	return nil
}

// finish hands the counts on to the worker's pairs.
func (f *flatPairs) finish(w *transitionsWorker) error {
	if f.noted != nil {
		f.noted.finish(w)
		return nil
	}
	c := w.labels.coders[0]
	for key, n := range f.total {
		from, to := uint32(key>>f.width), uint32(key&(1<<f.width-1))
		if n == 0 || from == to && w.r.plan.Collapse {
			continue
		}
		source, err := c.schemaCode(from)
		if err != nil {
			return err
		}
		target, err := c.schemaCode(to)
		if err != nil {
			return err
		}
		pair, err := w.pair(0, source, target)
		if err != nil {
			return err
		}
		w.counts[pair] += n
	}
	return nil
}
