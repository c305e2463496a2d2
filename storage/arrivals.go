package storage

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"wend/event"
	"wend/tile"
)

// arrivals is events in the order in which they came, in the codes of a
// catalog: the memtable's batches since the last snapshot. It becomes a segment
// by being sorted.
type arrivals struct {
	batches []arrived
	rows    int
	before  int // rows of the memtable that came before: numbers of rows go on from there
}

// arrived is one batch: its Name and Channel are catalog codes, not indexes
// into its own lists.
type arrived struct {
	lsn   uint64
	batch *event.Batch
	props []int // catalog index of each column
	first int   // number of its first row in the memtable
}

func (a *arrivals) add(b *memBatch) {
	a.batches = append(a.batches, arrived{b.lsn, b.batch, b.props, a.before + a.rows})
	a.rows += b.batch.Len()
}

// rowRef is the place of a row, and the hash of its customer to sort by.
type rowRef struct {
	hash       uint64
	batch, row uint32
}

func (a *arrivals) customer(r rowRef) string { return a.batches[r.batch].batch.Customer[r.row] }
func (a *arrivals) time(r rowRef) event.Time { return a.batches[r.batch].batch.Time[r.row] }
func (a *arrivals) id(r rowRef) string {
	if ids := a.batches[r.batch].batch.ID; ids != nil {
		return ids[r.row]
	}
	return ""
}

// sortedRows is rows by (customer hash, customer, time, arrival).
type sortedRows struct {
	refs   []rowRef
	starts []uint32 // customer c owns refs[starts[c]:starts[c+1]]
}

func (s *sortedRows) customers() int { return len(s.starts) - 1 }

// sorted sorts the rows. Hashes are evenly spread, so rows are first counted
// into buckets of a few, and only those are compared.
func (a *arrivals) sorted() *sortedRows {
	all := make([]rowRef, 0, a.rows)
	for i := range a.batches {
		for k, c := range a.batches[i].batch.Customer {
			all = append(all, rowRef{customerHash(c), uint32(i), uint32(k)})
		}
	}
	k := max(bits.Len(uint(a.rows))-3, 1)
	ends := make([]uint32, 1<<k+1)
	for _, r := range all {
		ends[r.hash>>(64-k)+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	refs := make([]rowRef, a.rows)
	next := slices.Clone(ends)
	for _, r := range all {
		refs[next[r.hash>>(64-k)]] = r
		next[r.hash>>(64-k)]++
	}
	s := &sortedRows{refs: refs}
	for i := range 1 << k {
		bucket := refs[ends[i]:ends[i+1]]
		// By hash and arrival first: that needs no look at the events.
		slices.SortFunc(bucket, func(p, q rowRef) int {
			return cmp.Or(cmp.Compare(p.hash, q.hash), cmp.Compare(p.batch, q.batch), cmp.Compare(p.row, q.row))
		})
		for lo := 0; lo < len(bucket); {
			hi := lo + 1
			for hi < len(bucket) && bucket[hi].hash == bucket[lo].hash {
				hi++
			}
			a.sortCustomers(s, bucket[lo:hi], ends[i]+uint32(lo))
			lo = hi
		}
	}
	s.starts = append(s.starts, uint32(a.rows))
	return s
}

// sortCustomers orders rows of one hash, which stand from first on and are in
// order of arrival, by customer and time.
func (a *arrivals) sortCustomers(s *sortedRows, rows []rowRef, first uint32) {
	alone, rising := true, true
	name := a.customer(rows[0])
	for i := 1; i < len(rows); i++ {
		alone = alone && a.customer(rows[i]) == name
		rising = rising && a.time(rows[i]) >= a.time(rows[i-1])
	}
	if !alone || !rising {
		slices.SortStableFunc(rows, func(p, q rowRef) int {
			return cmp.Or(strings.Compare(a.customer(p), a.customer(q)), cmp.Compare(a.time(p), a.time(q)))
		})
	}
	for i := range rows {
		if i == 0 || !alone && a.customer(rows[i]) != a.customer(rows[i-1]) {
			s.starts = append(s.starts, first+uint32(i))
		}
	}
}

// tieRanks numbers the rows of equal times in order of arrival, by their number
// in the memtable, of which a is all. It is nil if no two customers share a time.
func (a *arrivals) tieRanks() []uint32 {
	order := make([]rowRef, 0, a.rows)
	rising := true
	last := event.MinTime
	for i := range a.batches {
		for k, t := range a.batches[i].batch.Time {
			order = append(order, rowRef{uint64(t) ^ 1<<63, uint32(i), uint32(k)})
			rising = rising && t >= last
			last = t
		}
	}
	if !rising {
		slices.SortStableFunc(order, func(p, q rowRef) int { return cmp.Compare(p.hash, q.hash) })
	}
	var ranks []uint32
	for lo := 0; lo < len(order); {
		hi := lo + 1
		apart := false
		for hi < len(order) && order[hi].hash == order[lo].hash {
			apart = apart || a.customer(order[hi]) != a.customer(order[lo])
			hi++
		}
		if apart {
			if ranks == nil {
				ranks = make([]uint32, a.rows)
			}
			for i, r := range order[lo:hi] {
				ranks[a.batches[r.batch].first+int(r.row)] = uint32(i)
			}
		}
		lo = hi
	}
	return ranks
}

// prefixBits chooses how many leading bits of the hash cut customers into
// blocks of about perBlock.
func prefixBits(customers int64, perBlock int) int {
	if customers <= int64(perBlock) {
		return 0
	}
	return min(bits.Len64(uint64((customers-1)/int64(perBlock))), 24)
}

// segment sorts the rows into a segment in memory.
func (a *arrivals) segment(meta segmentMeta, perBlock int) *segment {
	rows := a.sorted()
	meta.PrefixBits = prefixBits(int64(rows.customers()), perBlock)
	seg := newMemorySegment(meta)
	hash := func(c int) uint64 { return rows.refs[rows.starts[c]].hash }
	for lo := 0; lo < rows.customers(); {
		p := blockOf(hash(lo), meta.PrefixBits)
		hi := lo + 1
		for hi < rows.customers() && blockOf(hash(hi), meta.PrefixBits) == p {
			hi++
		}
		seg.hold(p, a.block(rows, lo, hi, meta.Properties))
		lo = hi
	}
	return seg
}

// block turns the rows of customers [lo, hi) into columns.
func (a *arrivals) block(sorted *sortedRows, lo, hi int, properties []event.Property) *rowBlock {
	first := sorted.starts[lo]
	refs := sorted.refs[first:sorted.starts[hi]]
	rows := len(refs)
	b := &rowBlock{Event: make([]uint32, rows), Time: make([]event.Time, rows), TieRank: make([]uint32, rows)}
	names := texts{ends: make([]uint32, 0, hi-lo)}
	size := 0
	for c := lo; c < hi; c++ {
		size += len(a.customer(sorted.refs[sorted.starts[c]]))
	}
	names.bytes = make([]byte, 0, size)
	b.Starts = make([]uint32, 0, hi-lo+1)
	for c := lo; c < hi; c++ {
		b.Starts = append(b.Starts, sorted.starts[c]-first)
		names.add(a.customer(sorted.refs[sorted.starts[c]]))
	}
	b.Starts = append(b.Starts, uint32(rows))
	b.Names = names.done()

	touched := make([]bool, len(a.batches))
	channels := make([]uint32, rows)
	any, ids := false, false
	for i, r := range refs {
		src := &a.batches[r.batch]
		touched[r.batch] = true
		b.Event[i] = src.batch.Name[r.row]
		b.Time[i] = src.batch.Time[r.row]
		b.TieRank[i] = uint32(src.first) + r.row
		channels[i] = src.batch.Channel[r.row]
		any = any || channels[i] != 0
		ids = ids || src.batch.ID != nil && src.batch.ID[r.row] != ""
	}
	if any {
		b.Channel = channels
	}
	if ids {
		col := newColumnBuilder(event.StringType, rows)
		for i, r := range refs {
			if id := a.id(r); id != "" {
				col.text(i, id)
			}
		}
		b.IDs = col.column()
	}

	// which column of which batch holds a property, for the batches here
	where := make([][]int, len(properties))
	for bi := range a.batches {
		if !touched[bi] {
			continue
		}
		for k, p := range a.batches[bi].props {
			if where[p] == nil {
				where[p] = make([]int, len(a.batches))
			}
			where[p][bi] = k + 1
		}
	}
	for p, columns := range where {
		if columns != nil {
			b.put(p, a.column(refs, columns, properties[p].Type))
		}
	}
	return b
}

func (a *arrivals) column(refs []rowRef, columns []int, t event.Type) *tile.Column {
	col := newColumnBuilder(t, len(refs))
	for i, r := range refs {
		k := columns[r.batch]
		if k == 0 {
			continue
		}
		c := &a.batches[r.batch].batch.Columns[k-1]
		if c.Present != nil && !c.Present[r.row] {
			continue
		}
		switch {
		case t == event.StringType:
			col.text(i, c.Texts[r.row])
		case t != event.FloatType:
			col.int(i, c.Ints[r.row])
		case c.Type == event.IntegerType:
			col.float(i, float64(c.Ints[r.row]))
		default:
			col.float(i, c.Floats[r.row])
		}
	}
	return col.column()
}

// texts collects strings into one block of memory.
type texts struct {
	bytes []byte
	ends  []uint32
}

func (t *texts) add(s string) {
	t.bytes = append(t.bytes, s...)
	t.ends = append(t.ends, uint32(len(t.bytes)))
}

func (t *texts) append(b []byte) {
	t.bytes = append(t.bytes, b...)
	t.ends = append(t.ends, uint32(len(t.bytes)))
}

func (t *texts) done() *tile.Strings { return &tile.Strings{Text: string(t.bytes), Ends: t.ends} }

// columnBuilder fills a column row by row.
type columnBuilder struct {
	col   tile.Column
	any   bool
	codes textCodes
}

func newColumnBuilder(t event.Type, rows int) *columnBuilder {
	b := &columnBuilder{col: tile.Column{Type: t, Present: tile.NewBitmap(rows)}}
	switch t {
	case event.StringType:
		b.col.Codes = make([]uint32, rows)
	case event.FloatType:
		b.col.Floats = make([]float64, rows)
	default:
		b.col.Ints = make([]int64, rows)
	}
	return b
}

func (b *columnBuilder) set(i int) {
	b.col.Present.Set(i)
	b.any = true
}

func (b *columnBuilder) int(i int, v int64) {
	b.col.Ints[i] = v
	b.set(i)
}

func (b *columnBuilder) float(i int, v float64) {
	b.col.Floats[i] = v
	b.set(i)
}

func (b *columnBuilder) text(i int, s string) {
	b.col.Codes[i] = b.code(s)
	b.set(i)
}

func (b *columnBuilder) code(s string) uint32 {
	code := b.codes.of(s, b.col.Dict)
	if int(code) == len(b.col.Dict) {
		b.col.Dict = append(b.col.Dict, s)
	}
	return code
}

// textCodes finds texts in a list of different ones that grows.
type textCodes struct {
	slots []uint32 // place in the list + 1, by hash; 0: empty
}

var textCodesSeed = maphash.MakeSeed()

// of returns the place of a text in the list: its end, if the caller is to add it.
func (t *textCodes) of(text string, list []string) uint32 {
	if 2*len(list) >= len(t.slots) {
		t.grow(list)
	}
	at := t.slot(text, list)
	if *at == 0 {
		*at = uint32(len(list)) + 1
	}
	return *at - 1
}

func (t *textCodes) slot(text string, list []string) *uint32 {
	mask := uint64(len(t.slots) - 1)
	for i := maphash.String(textCodesSeed, text) & mask; ; i = (i + 1) & mask {
		if at := &t.slots[i]; *at == 0 || list[*at-1] == text {
			return at
		}
	}
}

func (t *textCodes) grow(list []string) {
	t.slots = make([]uint32, max(64, 2*len(t.slots)))
	for i, text := range list {
		*t.slot(text, list) = uint32(i) + 1
	}
}

// column returns what was filled, nil if no row has a value.
func (b *columnBuilder) column() *tile.Column {
	if !b.any {
		return nil
	}
	return &b.col
}
