package engine

import (
	"cmp"
	"fmt"
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
	modelTailBytes  = 120
	modelCountBytes = 40 // while it is made
	modelRowBytes   = 24
	modelTextBytes  = 80
)

// find returns the longest of the labels' suffixes that the model has, and how
// long it is; labels are texts, the last one last.
func (m *nextModel) find(labels []string) (at int32, length int) {
	at = root
	for i := len(labels) - 1; i >= 0; i-- {
		code, ok := m.codes[labels[i]]
		if !ok {
			break
		}
		next, ok := m.index[tail{at, code}]
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
	for i, code := range own {
		labels[i] = o.labels.text(code)
	}
	at, length := m.find(labels)
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

// modelBuilder makes a model: for each length first the suffixes of that length
// that occur often enough (which can be only those of which the one without the
// first label does), then what followed them and after what time. The times are
// gathered for as many suffixes at once as fit recordsMax, so the memory needed
// does not grow with the events but for a number each.
type modelBuilder struct {
	*tails
	operator *nextForOperator
	ids      [][]int32 // by tile and row: the tail that ends before the row, root if none counts
	length   int       // of the tails that are looked for
	resolved bool      // ids are of this length already, not of one label less
	support  []int64   // by tail
	after    []nextRows

	from, to int32 // the tails that are gathered
	begins   []int64
	cursor   []atomic.Int64
	records  []nextRecord
}

// nextRecord is that a label came a time after a suffix.
type nextRecord struct {
	gap   event.Duration
	label uint32
}

const (
	recordsMax      = 1 << 22
	nextRecordBytes = 16
)

// build makes the model of the statement.
func (o *nextForOperator) build(r *run) (*nextModel, error) {
	b := &modelBuilder{tails: &tails{index: map[tail]int32{}}, operator: o, ids: make([][]int32, r.snap.Tiles())}
	for b.length = 1; b.length <= suffixMax; b.length++ {
		known := int32(len(b.support))
		b.resolved = false
		if err := b.frequent(r); err != nil {
			return nil, err
		}
		if int32(len(b.support)) == known {
			break // nothing longer can occur more often
		}
		for b.from = known; b.from < int32(len(b.support)); b.from = b.to {
			if err := b.gather(r); err != nil {
				return nil, err
			}
			b.resolved = true
		}
	}
	m := &nextModel{codes: map[string]uint32{}, index: b.index, after: b.after}
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
		w := &modelWorker{modelBuilder: b, labels: b.operator.labels.worker(), gathering: gathering, memory: ration{budget: r.memory}}
		if !gathering {
			w.counts = map[tail]int64{}
		}
		return w, nil
	}
}

// frequent finds the tails of a length that occur often enough.
func (b *modelBuilder) frequent(r *run) error {
	ws, err := scan(r, b.worker(r, false))
	if err != nil {
		return err
	}
	r.stats.again()
	counts := ws[0].counts
	for _, w := range ws {
		defer r.memory.release(w.counted)
	}
	for _, w := range ws[1:] {
		for key, n := range w.counts {
			counts[key] += n
		}
	}
	for key, n := range counts {
		if n < supportMin {
			continue
		}
		if err := r.memory.reserve(modelTailBytes); err != nil {
			return err
		}
		b.index[key] = int32(len(b.support))
		b.support = append(b.support, n)
	}
	b.after = append(b.after, make([]nextRows, len(b.support)-len(b.after))...)
	return nil
}

// gather reads what followed the tails from b.from on, as many as fit.
func (b *modelBuilder) gather(r *run) error {
	b.begins = append(b.begins[:0], 0)
	all := int64(0)
	for b.to = b.from; b.to < int32(len(b.support)) && (b.to == b.from || all+b.support[b.to] <= recordsMax); b.to++ {
		all += b.support[b.to]
		b.begins = append(b.begins, all)
	}
	n := int(b.to - b.from)
	bytes := (2*nextRecordBytes+8)*all + 16*int64(n) // a tail's records are copied once, its gaps once more
	if err := r.memory.reserve(bytes); err != nil {
		return err
	}
	defer r.memory.release(bytes)
	b.records, b.cursor = make([]nextRecord, all), make([]atomic.Int64, n)
	if _, err := scan(r, b.worker(r, true)); err != nil {
		return err
	}
	r.stats.again()
	r.parallel(n, func(i int) {
		b.after[int(b.from)+i] = b.operator.rowsOf(r, b.records[b.begins[i]:b.begins[i+1]])
	})
	rows := 0
	for i := range n {
		rows += len(b.after[int(b.from)+i].rows)
	}
	b.records = nil
	return r.memory.reserve(modelRowBytes * int64(rows))
}

// rowsOf are the rows of the answer for what followed one tail.
func (o *nextForOperator) rowsOf(r *run, records []nextRecord) nextRows {
	records = o.byLabel(records)
	gaps := make([]event.Duration, len(records))
	for i := range records {
		gaps[i] = records[i].gap
	}
	codes := map[string]int32{}
	var labels []nextLabel
	for from := 0; from < len(records); {
		to := from + 1
		for to < len(records) && records[to].label == records[from].label {
			to++
		}
		label := nextLabel{label: o.labels.text(records[from].label)}
		label.add(int64(to-from), gaps[from:to])
		labels = append(labels, label)
		codes[label.label] = int32(records[from].label)
		from = to
	}
	slices.SortFunc(labels, compareNext)
	cut := nextCut{}
	known := nextRows{support: int64(len(records))}
	for k, n := range cut.top(labels, int(r.plan.Top)) {
		row := nextRow{label: codes[n.label], count: n.count, median: elapsedQuantile(0.5, n.gaps).(float64)}
		if top := int(r.plan.Top); top > 0 && k == top {
			row.label = -1 // a label may read "(other)"
		}
		known.rows = append(known.rows, row)
	}
	known.cut = cut.cut()
	return known
}

// byLabel puts records of one label side by side. Many records of few labels are
// dealt out by where each label begins: sorting them would take as long as all
// the rest.
func (o *nextForOperator) byLabel(records []nextRecord) []nextRecord {
	all := len(o.labels.labels.values)
	if len(records) < all {
		slices.SortFunc(records, func(a, b nextRecord) int { return cmp.Compare(a.label, b.label) })
		return records
	}
	next := make([]int32, all+1)
	for i := range records {
		next[records[i].label+1]++
	}
	for label := range all {
		next[label+1] += next[label]
	}
	dealt := make([]nextRecord, len(records))
	for _, x := range records {
		dealt[next[x.label]] = x
		next[x.label]++
	}
	return dealt
}

// modelWorker is one worker's side of a scan for a model.
type modelWorker struct {
	*modelBuilder
	labels    *labeler
	gathering bool
	counts    map[tail]int64
	counted   int64             // bytes reserved for counts
	recent    [suffixMax]uint32 // the labels before the event at hand, the newest first
	memory    ration
}

func (w *modelWorker) visit(v *view) error {
	if w.ids[v.index] == nil {
		if err := w.memory.take(4 * int64(v.Rows)); err != nil {
			return err
		}
		w.ids[v.index] = make([]int32, v.Rows)
		for row := range w.ids[v.index] {
			w.ids[v.index][row] = root
		}
	}
	if err := w.labels.load(v); err != nil {
		return err
	}
	ids := w.ids[v.index]
	return v.units(func(u unit) error {
		u = v.selectedOf(u)
		if w.resolved {
			return w.record(v, u, ids)
		}
		known, before := 0, -1
		for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			at := root
			if known >= w.length && (w.length == 1 || ids[row] != root) {
				key := tail{ids[row], w.recent[w.length-1]}
				if !w.gathering {
					err = w.count(key)
				} else if found, ok := w.index[key]; ok {
					at = found
					w.keep(v, at, code, before, row)
				}
				if err != nil {
					return err
				}
			}
			if w.gathering {
				ids[row] = at
			}
			copy(w.recent[1:], w.recent[:])
			w.recent[0] = code
			known = min(known+1, suffixMax)
			before = row
		}
		return nil
	})
}

// record keeps what followed the tails at hand, of which ids tells where they end.
func (w *modelWorker) record(v *view, u unit, ids []int32) error {
	before := -1
	for row := v.next(u.lo, u.hi); row < u.hi; row = v.next(row+1, u.hi) {
		if at := ids[row]; at >= w.from && at < w.to {
			code, err := w.labels.code(v, u.customer, row)
			if err != nil {
				return err
			}
			w.keep(v, at, code, before, row)
		}
		before = row
	}
	return nil
}

func (w *modelWorker) count(key tail) error {
	before := len(w.counts)
	if w.counts[key]++; len(w.counts) == before {
		return nil
	}
	if err := w.operator.r.memory.reserve(modelCountBytes); err != nil {
		return err
	}
	w.counted += modelCountBytes
	return nil
}

// keep records that a label followed a tail, if it is one of those at hand.
func (w *modelWorker) keep(v *view, at int32, label uint32, before, row int) {
	if at < w.from || at >= w.to {
		return
	}
	i := at - w.from
	w.records[w.begins[i]+w.cursor[i].Add(1)-1] = nextRecord{v.Time.At(row).Sub(v.Time.At(before)), label}
}

// modelAge tells how old counts are, in an answer's warning.
func modelAge(age time.Duration) string {
	return fmt.Sprintf("what others did next is counted as of %s ago; the customer's own events are those of now", age.Round(time.Second/10))
}
