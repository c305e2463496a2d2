package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"wend/event"
)

// bucketSource is the rows of a load as a part of a merge.
type bucketSource struct {
	buckets    *buckets
	ties       *loadTies
	ids        bool
	lsn        uint64
	events     []uint32 // codes of the output, by those of the load's catalog
	channels   []uint32
	properties []int
	imported   uint32 // import code of all rows
	hasher     *rowHasher
	finest     int // prefix bits at which a bucket is read at once

	mu   sync.Mutex
	kept []*keptPart // what is read at once and covers several prefixes of the merge
}

type keptPart struct {
	at   int
	part lazy[*mergePart]
}

// chooseFinest decides how finely buckets are cut when they are read.
func (s *bucketSource) chooseFinest(prefixBits int) {
	most := int64(0)
	for b := range bucketCount {
		most = max(most, s.buckets.bucketBytes(b))
	}
	for s.finest = bucketBits; most > s.buckets.atOnce && s.finest < prefixBits; most /= 2 {
		s.finest++
	}
}

// prefix returns the rows of prefix p, nil if there are none.
func (s *bucketSource) prefix(p, prefixBits int, properties []event.Property) (*mergePart, error) {
	if prefixBits <= s.finest {
		return s.sorted(p, prefixBits, properties)
	}
	whole, err := s.keep(p >> (prefixBits - s.finest)).part.get(func() (*mergePart, error) {
		return s.sorted(p>>(prefixBits-s.finest), s.finest, properties)
	})
	if err != nil || whole == nil {
		return nil, err
	}
	part := *whole
	if part.lo, part.hi = cut(whole.hashes, p, prefixBits); part.lo == part.hi {
		return nil, nil
	}
	return &part, nil
}

// keep returns the place of what is read at once. Prefixes are asked for in
// rising order, by a few goroutines: few are kept.
func (s *bucketSource) keep(at int) *keptPart {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.kept, func(k *keptPart) bool { return k.at == at }); i >= 0 {
		return s.kept[i]
	}
	if len(s.kept) > s.buckets.store.workers() {
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	k := &keptPart{at: at}
	s.kept = append(s.kept, k)
	return k
}

// bucketRow is a row whose record was met: its customer and time are known,
// the rest of the record is still to be read.
type bucketRow struct {
	rest     int // where the rest is
	time     event.Time
	customer uint32
	batch    uint32
}

// bucketReader is the memory in which buckets are read, one after the other.
type bucketReader struct {
	data      []byte
	parts     []bucketPart
	rows      []bucketRow
	customers interner
	counts    []uint32         // rows of each customer, then where the next goes
	by        []bucketCustomer // in order
	starts    []uint32         // of the rows of by in order
	order     []uint32         // rows by customer and time
	texts     []interner       // of the properties; the last of ids
	columns   []fillingColumn  // of the block that is being filled, empty otherwise
	cuts      []bucketCut
}

type bucketCustomer struct {
	hash     uint64
	customer uint32
}

// bucketCut is the rows of a bucket that go to one block.
type bucketCut struct {
	partition int64
	names     texts
	starts    []uint32
	order     []uint32
}

var bucketReaders = sync.Pool{New: func() any { return new(bucketReader) }}

// bucketReaderRows is up to how many rows the memory of a reader is kept for:
// a customer of millions must not hold it while the rows are written.
const bucketReaderRows = 1 << 18

func (r *bucketReader) release() {
	if cap(r.rows) <= bucketReaderRows {
		bucketReaders.Put(r)
	}
}

// sorted reads the rows whose customers' hashes begin with prefix p.
func (s *bucketSource) sorted(p, prefixBits int, properties []event.Property) (*mergePart, error) {
	r := bucketReaders.Get().(*bucketReader)
	defer r.release()
	if err := r.read(s.buckets, p, prefixBits); err != nil || len(r.rows) == 0 {
		return nil, err
	}
	r.sort()
	part := &mergePart{}
	var names texts
	part.hashes = make([]uint64, len(r.by))
	for i, c := range r.by {
		part.hashes[i] = c.hash
		names.append(r.customers.text(r.data, c.customer))
	}
	var err error
	if part.rows, err = r.block(s, &bucketCut{names: names, starts: r.starts[:len(r.by)], order: r.order}, properties); err != nil {
		return nil, err
	}
	if s.ids {
		part.arrived = slices.Clone(r.order)
	}
	if s.hasher != nil {
		part.fields = s.hasher.hashes(part.rows)
	}
	part.rows.Import = slices.Repeat([]uint32{s.imported}, len(r.rows))
	part.lsn, part.names, part.starts, part.times, part.ranks = s.lsn, part.rows.Names, part.rows.Starts, part.rows.Time, part.rows.TieRank
	part.hi = len(part.hashes)
	return part, nil
}

// blocks reads the rows of prefix p as blocks of the output, for a load that
// leaves nothing out: there is nothing to merge. fine is the prefix bits of the
// blocks, at least prefixBits.
func (s *bucketSource) blocks(p, prefixBits, fine int, m *merger) (out []partitionRows, err error) {
	r := bucketReaders.Get().(*bucketReader)
	defer r.release()
	if err := r.read(s.buckets, p, prefixBits); err != nil || len(r.rows) == 0 {
		return nil, err
	}
	r.sort()
	m.customers.Add(int64(len(r.by)))
	months := partitioner{width: m.width}
	for lo := 0; lo < len(r.by); {
		block := blockOf(r.by[lo].hash, fine)
		hi := lo + 1
		for hi < len(r.by) && blockOf(r.by[hi].hash, fine) == block {
			hi++
		}
		cuts := r.cut(lo, hi, &months)
		for i := range cuts {
			rows, err := r.block(s, &cuts[i], m.properties)
			if err != nil {
				return nil, err
			}
			m.input.addRows(s.hasher, rows)
			rows.Import = slices.Repeat([]uint32{s.imported}, len(rows.Time))
			out = append(out, partitionRows{block, cuts[i].partition, misled(rows)})
		}
		lo = hi
	}
	return out, nil
}

// cut parts the rows of customers lo to hi by time.
func (r *bucketReader) cut(lo, hi int, months *partitioner) []bucketCut {
	cuts := r.cuts[:0]
	for c := lo; c < hi; c++ {
		own := r.order[r.starts[c]:r.starts[c+1]]
		for len(own) > 0 {
			partition := months.of(r.rows[own[0]].time)
			n := 1
			for n < len(own) && r.rows[own[n]].time < months.to {
				n++
			}
			i := slices.IndexFunc(cuts, func(k bucketCut) bool { return k.partition == partition })
			if i < 0 {
				i = len(cuts)
				cuts = slices.Grow(cuts, 1)[:i+1]
				k := &cuts[i]
				*k = bucketCut{partition: partition, starts: k.starts[:0], order: k.order[:0], names: texts{bytes: k.names.bytes[:0]}}
			}
			k := &cuts[i]
			k.names.append(r.customers.text(r.data, r.by[c].customer))
			k.starts = append(k.starts, uint32(len(k.order)))
			k.order = append(k.order, own[:n]...)
			own = own[n:]
		}
	}
	slices.SortFunc(cuts, func(a, b bucketCut) int { return cmp.Compare(a.partition, b.partition) })
	r.cuts = cuts
	return cuts
}

// read reads the buckets that have prefix p, or the piece of one.
func (r *bucketReader) read(k *buckets, p, prefixBits int) error {
	r.data, r.parts, r.rows = r.data[:0], r.parts[:0], r.rows[:0]
	lo, hi := p, p+1
	if fewer := bucketBits - prefixBits; fewer >= 0 {
		lo, hi = lo<<fewer, hi<<fewer
	} else {
		lo = p >> -fewer
		hi = lo + 1
	}
	for b := lo; b < hi; b++ {
		var err error
		if r.data, r.parts, err = k.read(r.data, r.parts, b); err != nil {
			return err
		}
	}
	r.customers.reset()
	for _, part := range r.parts {
		if err := r.scan(k.batches[part.batch], part, p, prefixBits); err != nil {
			return err
		}
	}
	return nil
}

// errRecord says that what was read is not what deal wrote.
var errRecord = errors.New("a record of the load ends early; this is a bug of wend")

// scan finds rows and customers in the records of a batch.
func (r *bucketReader) scan(b *loadBatch, part bucketPart, p, prefixBits int) error {
	last := b.first
	data := r.data[:part.to]
	for at := part.from; at < part.to; {
		size, n := binary.Uvarint(data[at:])
		at += n
		end := at + int(size)
		length, n := binary.Uvarint(data[at:])
		at += n
		name := at + int(length)
		distance, m := binary.Varint(data[name:])
		if n <= 0 || m <= 0 || end > part.to {
			return errRecord
		}
		last += event.Time(distance * b.unit)
		if prefixBits <= bucketBits || blockOf(xxhash.Sum64(data[at:name]), prefixBits) == p {
			customer := r.customers.code(data, at, name)
			r.rows = append(r.rows, bucketRow{name + m, last, customer, uint32(part.batch)})
		}
		at = end
	}
	return nil
}

// sort orders the rows by hash, name, time and arrival.
func (r *bucketReader) sort() {
	n := r.customers.len()
	r.by = slices.Grow(r.by[:0], n)[:n]
	for i := range r.by {
		r.by[i] = bucketCustomer{xxhash.Sum64(r.customers.text(r.data, uint32(i))), uint32(i)}
	}
	slices.SortFunc(r.by, func(a, b bucketCustomer) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return slices.Compare(r.customers.text(r.data, a.customer), r.customers.text(r.data, b.customer))
	})
	r.counts = slices.Grow(r.counts[:0], n)[:n]
	clear(r.counts)
	for i := range r.rows {
		r.counts[r.rows[i].customer]++
	}
	r.starts = slices.Grow(r.starts[:0], n+1)[:n+1]
	at := uint32(0)
	for i, c := range r.by {
		r.starts[i] = at
		at, r.counts[c.customer] = at+r.counts[c.customer], at
	}
	r.starts[n] = at
	r.order = slices.Grow(r.order[:0], len(r.rows))[:len(r.rows)]
	for i := range r.rows {
		c := r.rows[i].customer
		r.order[r.counts[c]] = uint32(i)
		r.counts[c]++
	}
	for c := range n {
		own := r.order[r.starts[c]:r.starts[c+1]]
		rising := true
		for i := 1; i < len(own); i++ {
			rising = rising && r.rows[own[i]].time >= r.rows[own[i-1]].time
		}
		if !rising {
			slices.SortFunc(own, func(x, y uint32) int {
				return cmp.Or(cmp.Compare(r.rows[x].time, r.rows[y].time), cmp.Compare(x, y))
			})
		}
	}
}

// block reads the rest of the records of a cut.
func (r *bucketReader) block(s *bucketSource, cut *bucketCut, properties []event.Property) (*rowBlock, error) {
	rows := len(cut.order)
	b := &rowBlock{
		Names: cut.names.done(), Starts: append(slices.Clone(cut.starts), uint32(rows)),
		Event: make([]uint32, rows), Time: make([]event.Time, rows),
	}
	channels, ranks := make([]uint32, rows), make([]uint32, rows)
	var allChannels, allRanks uint32
	for len(r.texts) <= len(properties) {
		r.texts = append(r.texts, interner{})
	}
	ids := len(properties) // the interner of ids
	r.columns = slices.Grow(r.columns[:0], ids+1)[:ids+1]
	columns := r.columns
	defer clear(columns)
	next := recordCursor{data: r.data}
	for k, i := range cut.order {
		row := &r.rows[i]
		batch := s.buckets.batches[row.batch]
		next.at = row.rest
		b.Time[k] = row.time
		code := next.uvarint()
		b.Event[k] = s.events[batch.events[code>>1]]
		rank := uint32(0)
		if code&1 != 0 {
			rank = uint32(next.uvarint())
		}
		ranks[k] = s.ties.rank(batch, row.time, rank)
		allRanks |= ranks[k]
		channels[k] = s.channels[batch.channels[next.uvarint()]]
		allChannels |= channels[k]
		if batch.ids {
			if lo, hi := next.text(); lo < hi {
				r.setText(&columns[ids], ids, k, rows, lo, hi)
			}
		}
		marks := next.at
		next.at += (len(batch.columns) + 7) / 8
		for at := marks; at < marks+(len(batch.columns)+7)/8; at++ {
			for set, c := r.data[at], (at-marks)*8; set != 0; set, c = set>>1, c+1 {
				if set&1 == 0 {
					continue
				}
				column := &batch.columns[c]
				p := s.properties[column.property]
				if column.typ == event.StringType {
					lo, hi := next.text()
					r.setText(&columns[p], p, k, rows, lo, hi)
					continue
				}
				at := columns[p].next(properties[p].Type, k, rows)
				col := columns[p].col
				switch {
				case column.typ == event.FloatType:
					col.Floats[at] = math.Float64frombits(binary.LittleEndian.Uint64(r.data[next.at:]))
					next.at += 8
				case col.Type == event.FloatType:
					col.Floats[at] = float64(next.varint())
				default:
					col.Ints[at] = next.varint()
				}
			}
		}
	}
	if next.short {
		return nil, errRecord
	}
	if allChannels != 0 {
		b.Channel = channels
	}
	if allRanks != 0 {
		b.TieRank = ranks
	}
	for p := range columns {
		if c := columns[p].col; c != nil && c.Type == event.StringType {
			c.Dict = r.texts[p].list(r.data)
		}
	}
	for p := range properties {
		columns[p].end(b, p)
	}
	if f := &columns[ids]; f.over {
		b.IDs = f.col
	} else if f.col != nil {
		f.col.Present = allPresent(len(f.rows))
		b.IDs = (&thinColumn{rows: f.rows, values: f.col}).spread(rows)
	}
	return b, nil
}

// setText gives row k a text in a column of texts, which is made if need be. Rows
// are in the order of journeys, so that many have the text of the one before.
func (r *bucketReader) setText(column *fillingColumn, interner, k, rows, lo, hi int) {
	values := &r.texts[interner]
	if column.col == nil {
		values.reset()
	}
	at := column.next(event.StringType, k, rows)
	column.col.Codes[at] = values.next(r.data, lo, hi)
}

// recordCursor reads the fields of records.
type recordCursor struct {
	data  []byte
	at    int
	short bool // something was not there
}

func (c *recordCursor) uvarint() uint64 {
	if v := c.data[c.at]; v < 0x80 {
		c.at++
		return uint64(v)
	}
	v, n := binary.Uvarint(c.data[c.at:])
	c.short = c.short || n <= 0
	c.at += max(n, 1)
	return v
}

func (c *recordCursor) varint() int64 {
	v := c.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (c *recordCursor) text() (lo, hi int) {
	length := int(c.uvarint())
	lo = c.at
	c.at += length
	return lo, c.at
}

// findTies looks at all times, if they did not come in order.
func (s *bucketSource) findTies(ctx context.Context, rows int64) error {
	if !s.ties.unordered {
		return nil
	}
	s.ties.begin(rows)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.buckets.store.workers())
	for bucket := range bucketCount {
		g.Go(func() error {
			return shielded(func() error {
				r := bucketReaders.Get().(*bucketReader)
				defer r.release()
				if err := r.read(s.buckets, bucket, bucketBits); err != nil {
					return err
				}
				for i := range r.rows {
					s.ties.look(r.rows[i].time)
				}
				return ctx.Err()
			})
		})
	}
	return g.Wait()
}
