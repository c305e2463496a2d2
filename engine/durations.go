package engine

import "wend/event"

// durations are elapsed times of which quantiles are wanted: a list in pieces
// that are never moved or, where they do not fit, notes of several passes.
type durations struct {
	pieces [][]event.Duration
	notes  []*note // one while values are added; none: they are listed
}

const (
	durationsFirst = 16
	durationsPiece = 1 << 13

	durationBytes = 8
)

// durationsOf makes the durations of a worker's group; further numbers tell
// those of one group apart.
func (w *noter) durationsOf(group *groupKey, further ...uint32) (d durations, err error) {
	if w == nil {
		return d, nil
	}
	x, err := w.note(group, true, further...)
	d.notes = []*note{x}
	return d, err
}

func (d *durations) add(x event.Duration) {
	if d.notes != nil {
		d.notes[0].duration(x)
		return
	}
	last := len(d.pieces) - 1
	if last < 0 || len(d.pieces[last]) == cap(d.pieces[last]) {
		size := durationsFirst
		if last >= 0 {
			size = min(durationsPiece, 4*cap(d.pieces[last]))
		}
		d.pieces = append(d.pieces, make([]event.Duration, 0, size))
		last++
	}
	d.pieces[last] = append(d.pieces[last], x)
}

// join adds what others added, of one group of the answer.
func (d *durations) join(o *durations) {
	d.pieces = append(d.pieces, o.pieces...)
	d.notes = append(d.notes, o.notes...)
}

// median is the median in milliseconds, null over nothing.
func (d *durations) median(r *run) (Cell, error) {
	if r.passes == nil {
		return medianOf(d.pieces...), nil
	}
	values, err := d.quantiles(r, []float64{0.5})
	if values == nil || err != nil {
		return nil, err
	}
	return values[0] / float64(event.Millisecond), nil
}

// quantiles are those of rising shares, nil over nothing.
func (d *durations) quantiles(r *run, shares []float64) ([]float64, error) {
	if r.passes == nil {
		return quantiles(shares, d.pieces...), nil
	}
	return r.passes.quantiles(shares, func(key uint64) float64 { return float64(key) }, d.notes)
}
