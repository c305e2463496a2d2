package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"wend/event"
)

// nextModel is what `next for` keeps of a snapshot: every suffix of labels that
// occurs often enough, and what came next after it, as the answer shows it. A
// question then needs the customer's own last labels only.
//
// It is made for one statement without its customer: the same labels, units,
// conditions and top.
type nextModel struct {
	codes map[string]uint32 // by text of a label
	texts []string          // by code
	index map[tail]int32
	after []nextRows // by tail
	bytes int64
}

// nextRows are the rows of the answer for one tail.
type nextRows struct {
	rows    []nextRow
	support int64
	cut     *Cut
}

// nextRow is what came next how often; a negative label is (other).
type nextRow struct {
	label  int32
	count  int64
	median float64
}

// About what parts of a model take.
const (
	modelTailBytes = 120
	modelRowBytes  = 24
	modelTextBytes = 80
)

// tail is a suffix of labels that occurs often enough: the one without its
// first label, and that label.
type tail struct {
	shorter int32
	label   uint32
}

// longest returns the longest suffix that the model has of the labels, the
// newest first, and how long it is.
func (m *nextModel) longest(recent []uint32) (at int32, length int) {
	at = root
	for _, label := range recent {
		next, ok := m.index[tail{at, label}]
		if !ok {
			break
		}
		at = next
		length++
	}
	return at, length
}

// fromModel answers from what is kept; ok is false where it does not know: only
// a scan can tell the largest support of what occurs too seldom.
func (o *nextForOperator) fromModel(m *nextModel, own []uint32) (res *Result, ok bool) {
	labels := make([]string, len(own))
	var recent []uint32 // in the codes of the model
	for i, code := range own {
		labels[i] = o.labels.text(code)
	}
	for _, label := range slices.Backward(labels) {
		code, ok := m.codes[label]
		if !ok {
			break
		}
		recent = append(recent, code)
	}
	at, length := m.longest(recent)
	if at == root {
		return nil, false
	}
	suffix := labels[len(labels)-length:]
	known := &m.after[at]
	res = o.empty()
	for _, row := range known.rows {
		label := otherLabel
		if row.label >= 0 {
			label = m.texts[row.label]
		}
		res.Rows = append(res.Rows, []Cell{label, ratio(row.count, known.support), row.count, row.median, suffix})
	}
	res.Meta.Cut = known.cut
	return res, true
}

// modelBuilder makes a model. A first scan counts how often each label has a
// successor. Then, for as many labels at once as fit recordsMax, a scan writes
// down every successor of theirs, with the labels before; these records are
// dealt out by the second last label, then by the third last, and so on, as long
// as enough of them lie together. So all events are read a few times, whatever
// the number of suffixes, and the memory needed grows with the most frequent
// label only.
type modelBuilder struct {
	operator *nextForOperator
	model    *nextModel
	until    event.Time // what comes later is not counted
	top      int        // labels that are kept of those after a suffix; 0: all
	counts   []int64    // by label: events of it that have a successor
	ranks    []uint16   // by label: of those that can be in a suffix, from 1
	frequent []uint32   // the labels by rank, from 1

	from, to int     // the ranks that are gathered
	begins   []int64 // of their records
	cursor   []atomic.Int64
	records  []nextRecord
}

// nextRecord is that a label came a time after others. It has the size of its
// parts: there are very many.
type nextRecord struct {
	label  uint32
	gap    [2]uint32             // the upper half and the lower
	before [suffixMax - 1]uint16 // ranks of the labels before the last, the newest first; 0: none, or a seldom one
}

func (n *nextRecord) took() event.Duration {
	return event.Duration(uint64(n.gap[0])<<32 | uint64(n.gap[1]))
}

const (
	recordsMax      = 1 << 22
	nextRecordBytes = 20
)

// build makes the model of the statement, of what came until a time, with the
// top labels after each suffix.
func (o *nextForOperator) build(r *run, until event.Time, top int) (*nextModel, error) {
	m := &nextModel{codes: map[string]uint32{}, index: map[tail]int32{}}
	b := &modelBuilder{operator: o, model: m, until: until, top: top}
	if err := b.count(r); err != nil {
		return nil, err
	}
	for b.from = 1; b.from < len(b.frequent); b.from = b.to {
		if err := b.gather(r); err != nil {
			return nil, err
		}
	}
	for code, x := range o.labels.labels.values {
		m.codes[x.Text()] = uint32(code)
		m.texts = append(m.texts, x.Text())
		m.bytes += modelTextBytes + int64(len(x.Text()))
	}
	for _, n := range m.after {
		m.bytes += modelTailBytes + modelRowBytes*int64(len(n.rows))
	}
	return m, nil
}

// worker is one for the next scan.
func (b *modelBuilder) worker(r *run, gathering bool) func() (*modelWorker, error) {
	return func() (*modelWorker, error) {
		return &modelWorker{modelBuilder: b, labels: b.operator.labels.worker(), gathering: gathering, memory: ration{budget: r.memory}}, nil
	}
}

// count finds the labels that suffixes can be made of.
func (b *modelBuilder) count(r *run) error {
	ws, err := scan(r, b.worker(r, false))
	if err != nil {
		return err
	}
	r.stats.again()
	all := len(b.operator.labels.labels.values)
	b.counts, b.ranks, b.frequent = make([]int64, all), make([]uint16, all), make([]uint32, 1)
	for _, w := range ws {
		for label := range min(all, len(w.seen)) {
			b.counts[label] += w.seen[label]
		}
	}
	for label, n := range b.counts {
		if n < supportMin {
			continue
		}
		if len(b.frequent) > math.MaxUint16 {
			return &LimitError{Limit: "labels", Value: math.MaxUint16, Reached: int64(len(b.frequent)), Hint: "label by something that has fewer values"}
		}
		b.ranks[label] = uint16(len(b.frequent))
		b.frequent = append(b.frequent, uint32(label))
	}
	return nil
}

// gather reads what followed the labels from b.from on, as many as fit.
func (b *modelBuilder) gather(r *run) error {
	b.begins = append(b.begins[:0], 0)
	all, most := int64(0), int64(0)
	for b.to = b.from; b.to < len(b.frequent); b.to++ {
		n := b.counts[b.frequent[b.to]]
		if b.to > b.from && all+n > recordsMax {
			break
		}
		all, most = all+n, max(most, n)
		b.begins = append(b.begins, all)
	}
	bytes := nextRecordBytes*all + 8*most // the times of one suffix are copied once more
	if err := r.memory.reserve(bytes); err != nil {
		return err
	}
	defer r.memory.release(bytes)
	b.records, b.cursor = make([]nextRecord, all), make([]atomic.Int64, b.to-b.from)
	if _, err := scan(r, b.worker(r, true)); err != nil {
		return err
	}
	r.stats.again()
	d := newDealer(b, r, most)
	for i := range b.to - b.from {
		if err := d.tail(root, b.frequent[b.from+i], 0, b.records[b.begins[i]:b.begins[i+1]]); err != nil {
			return err
		}
	}
	b.records = nil
	return nil
}

// modelWorker is one worker's side of a scan for a model.
type modelWorker struct {
	*modelBuilder
	labels    *labeler
	gathering bool
	seen      []int64           // by label: events of it that have a successor
	recent    [suffixMax]uint16 // ranks of the labels before the event at hand, the newest first
	memory    ration
}

func (w *modelWorker) visit(v *view) error {
	if err := w.labels.load(v); err != nil {
		return err
	}
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		if w.gathering {
			return w.gatherUnit(v, u)
		}
		last := -1
		for row := v.next(u.lo, u.hi); row < u.hi && v.Time.At(row) <= w.until; row = v.next(row+1, u.hi) {
			if last >= 0 {
				w.seen[last]++
			}
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			if last = int(code); last >= len(w.seen) {
				more := max(last+1-len(w.seen), len(w.seen))
				if err := w.memory.take(8 * int64(more)); err != nil {
					return err
				}
				w.seen = append(w.seen, make([]int64, more)...)
			}
		}
		return nil
	})
}

// gatherUnit writes down what followed the labels at hand.
func (w *modelWorker) gatherUnit(v *view, u unit) error {
	before := 0
	w.recent = [suffixMax]uint16{}
	for row := v.next(u.lo, u.hi); row < u.hi && v.Time.At(row) <= w.until; row = v.next(row+1, u.hi) {
		code, err := w.labels.code(v, u.customer, row)
		if err != nil {
			return err
		}
		if last := int(w.recent[0]); last >= w.from && last < w.to {
			i := last - w.from
			gap := uint64(v.Time.At(row).Sub(v.Time.At(before)))
			w.records[w.begins[i]+w.cursor[i].Add(1)-1] = nextRecord{code, [2]uint32{uint32(gap >> 32), uint32(gap)}, [suffixMax - 1]uint16(w.recent[1:])}
		}
		copy(w.recent[1:], w.recent[:suffixMax-1])
		w.recent[0] = w.ranks[code]
		before = row
	}
	return nil
}

// dealer makes the rows of suffixes from records that lie together.
type dealer struct {
	*modelBuilder
	run   *run
	place [suffixMax - 1][]int32 // by rank of the next older label: where its next record goes
	end   [suffixMax - 1][]int32 // where they end
	found []int64                // by label: records of it
	seen  []uint32               // labels that are in found
	gaps  []event.Duration
}

func newDealer(b *modelBuilder, r *run, most int64) *dealer {
	d := &dealer{modelBuilder: b, run: r, found: make([]int64, len(b.operator.labels.labels.values)), gaps: make([]event.Duration, most)}
	for i := range d.place {
		d.place[i], d.end[i] = make([]int32, len(b.frequent)), make([]int32, len(b.frequent))
	}
	return d
}

// tail takes the suffix of which the records tell, and all that are longer.
// Length is how many labels before the last one it has.
func (d *dealer) tail(shorter int32, label uint32, length int, records []nextRecord) error {
	if len(records) < supportMin {
		return nil
	}
	at := int32(len(d.model.after))
	d.model.index[tail{shorter, label}] = at
	known := d.rows(records)
	if err := d.run.memory.reserve(modelTailBytes + modelRowBytes*int64(len(known.rows))); err != nil {
		return err
	}
	d.model.after = append(d.model.after, known)
	if length == suffixMax-1 {
		return nil
	}
	if at%1024 == 0 {
		if err := d.run.look(); err != nil {
			return err
		}
	}
	return d.deal(records, length, func(rank uint16, part []nextRecord) error {
		if rank == 0 {
			return nil
		}
		return d.tail(at, d.frequent[rank], length+1, part)
	})
}

// deal puts records side by side whose next older label is the same, and calls
// f for each such part.
func (d *dealer) deal(records []nextRecord, length int, f func(rank uint16, part []nextRecord) error) error {
	if len(records) < 2*len(d.frequent) { // looking at every label would take longer
		slices.SortFunc(records, func(a, b nextRecord) int { return cmp.Compare(a.before[length], b.before[length]) })
	} else {
		place, end := d.place[length], d.end[length]
		clear(end)
		for i := range records {
			end[records[i].before[length]]++
		}
		sum := int32(0)
		for rank, n := range end {
			place[rank] = sum
			sum += n
			end[rank] = sum
		}
		// Each record changes places with the one that lies where it belongs.
		for rank := range place {
			for place[rank] < end[rank] {
				at := place[rank]
				of := records[at].before[length]
				if int(of) != rank {
					records[at], records[place[of]] = records[place[of]], records[at]
				}
				place[of]++
			}
		}
	}
	for from := 0; from < len(records); {
		rank := records[from].before[length]
		to := from + 1
		for to < len(records) && records[to].before[length] == rank {
			to++
		}
		if err := f(rank, records[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// rows are the rows of the answer for a suffix.
func (d *dealer) rows(records []nextRecord) nextRows {
	for i := range records {
		label := records[i].label
		if d.found[label] == 0 {
			d.seen = append(d.seen, label)
		}
		d.found[label]++
	}
	sum := int64(0)
	for _, label := range d.seen {
		n := d.found[label]
		d.found[label] = sum
		sum += n
	}
	for i := range records {
		at := &d.found[records[i].label]
		d.gaps[*at] = records[i].took()
		*at++
	}
	labels := make([]nextLabel, len(d.seen))
	from := int64(0)
	for i, label := range d.seen {
		to := d.found[label]
		labels[i] = nextLabel{label: d.operator.labels.text(label), code: label}
		labels[i].add(to-from, &durations{pieces: [][]event.Duration{d.gaps[from:to]}})
		from = to
		d.found[label] = 0
	}
	d.seen = d.seen[:0]
	slices.SortFunc(labels, compareNext)
	cut := nextCut{}
	known := nextRows{support: int64(len(records))}
	list := cut.top(labels, d.top)
	known.rows = make([]nextRow, len(list))
	for k, n := range list {
		known.rows[k] = nextRow{label: int32(n.code), count: n.count, median: medianOf(n.gaps.pieces...).(float64)}
		if d.top > 0 && k == d.top {
			known.rows[k].label = -1 // a label may read "(other)"
		}
	}
	known.cut = cut.cut()
	return known
}

// modelAge tells how old counts are, in an answer's warning.
func modelAge(age time.Duration) string {
	return fmt.Sprintf("what others did next is counted as of %s ago; the customer's own events are those of now", age.Round(time.Second/10))
}
