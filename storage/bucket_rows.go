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
	"wend/tile"
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
	counts    []uint32 // rows of each customer, then where the next goes
	order     []uint32 // rows by customer and time
	texts     []interner
}

var bucketReaders = sync.Pool{New: func() any { return new(bucketReader) }}

// sorted reads the rows whose customers' hashes begin with prefix p.
func (s *bucketSource) sorted(p, prefixBits int, properties []event.Property) (*mergePart, error) {
	r := bucketReaders.Get().(*bucketReader)
	defer bucketReaders.Put(r)
	if err := r.read(s.buckets, p, prefixBits); err != nil || len(r.rows) == 0 {
		return nil, err
	}
	part := &mergePart{rows: &rowBlock{}}
	r.sort(part)
	if err := r.columns(s, part.rows, properties); err != nil {
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
		hash := xxhash.Sum64(data[at:name])
		if prefixBits <= bucketBits || blockOf(hash, prefixBits) == p {
			customer := r.customers.code(data, at, name, hash)
			r.rows = append(r.rows, bucketRow{name + m, last, customer, uint32(part.batch)})
		}
		at = end
	}
	return nil
}

// sort orders the rows by hash, name, time and arrival.
func (r *bucketReader) sort(part *mergePart) {
	n := len(r.customers.hashes)
	by := make([]uint32, n) // customers in order
	for i := range by {
		by[i] = uint32(i)
	}
	slices.SortFunc(by, func(a, b uint32) int {
		if c := cmp.Compare(r.customers.hashes[a], r.customers.hashes[b]); c != 0 {
			return c
		}
		return slices.Compare(r.customers.text(r.data, a), r.customers.text(r.data, b))
	})
	r.counts = slices.Grow(r.counts[:0], n)[:n]
	clear(r.counts)
	for i := range r.rows {
		r.counts[r.rows[i].customer]++
	}
	b := part.rows
	b.Starts = make([]uint32, 0, n+1)
	part.hashes = make([]uint64, n)
	var names texts
	at := uint32(0)
	for i, c := range by {
		b.Starts = append(b.Starts, at)
		at, r.counts[c] = at+r.counts[c], at
		part.hashes[i] = r.customers.hashes[c]
		names.bytes = append(names.bytes, r.customers.text(r.data, c)...)
		names.ends = append(names.ends, uint32(len(names.bytes)))
	}
	b.Starts = append(b.Starts, at)
	b.Names = names.done()

	r.order = slices.Grow(r.order[:0], len(r.rows))[:len(r.rows)]
	for i := range r.rows {
		c := r.rows[i].customer
		r.order[r.counts[c]] = uint32(i)
		r.counts[c]++
	}
	for c := range n {
		own := r.order[b.Starts[c]:b.Starts[c+1]]
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

// columns reads the rest of the records, in the order of the rows.
func (r *bucketReader) columns(s *bucketSource, b *rowBlock, properties []event.Property) error {
	rows := len(r.rows)
	b.Event, b.Time = make([]uint32, rows), make([]event.Time, rows)
	channels, ranks := make([]uint32, rows), make([]uint32, rows)
	var allChannels, allRanks uint32
	b.Columns = make([]*tile.Column, len(properties))
	for len(r.texts) <= len(properties) {
		r.texts = append(r.texts, interner{})
	}
	ids := len(properties) // the interner of ids
	next := recordCursor{data: r.data}
	for k, i := range r.order {
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
				r.setText(&b.IDs, ids, k, rows, lo, hi)
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
					r.setText(&b.Columns[p], p, k, rows, lo, hi)
					continue
				}
				col := b.Columns[p]
				if col == nil {
					col = tile.NewColumn(properties[p].Type, rows)
					b.Columns[p] = col
				}
				col.Present.Set(k)
				switch {
				case column.typ == event.FloatType:
					col.Floats[k] = math.Float64frombits(binary.LittleEndian.Uint64(r.data[next.at:]))
					next.at += 8
				case col.Type == event.FloatType:
					col.Floats[k] = float64(next.varint())
				default:
					col.Ints[k] = next.varint()
				}
			}
		}
	}
	if next.short {
		return errRecord
	}
	if allChannels != 0 {
		b.Channel = channels
	}
	if allRanks != 0 {
		b.TieRank = ranks
	}
	for p, c := range b.Columns {
		if c != nil && c.Type == event.StringType {
			c.Dict = r.texts[p].list(r.data)
		}
	}
	if b.IDs != nil {
		b.IDs.Dict = r.texts[ids].list(r.data)
	}
	return nil
}

// setText gives row k a text in a column of texts, which is made if need be.
func (r *bucketReader) setText(column **tile.Column, interner, k, rows, lo, hi int) {
	values := &r.texts[interner]
	if *column == nil {
		*column = tile.NewColumn(event.StringType, rows)
		values.reset()
	}
	(*column).Present.Set(k)
	(*column).Codes[k] = values.code(r.data, lo, hi, xxhash.Sum64(r.data[lo:hi]))
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

// interner numbers different texts of one block of memory, in order of appearance.
type interner struct {
	slots  []uint32 // number + 1 by hash; 0: empty
	hashes []uint64 // by number
	spans  [][2]int // by number: where the text is
}

func (t *interner) reset() {
	if len(t.hashes) > 0 {
		clear(t.slots)
	}
	t.hashes, t.spans = t.hashes[:0], t.spans[:0]
}

// code returns the number of the text data[lo:hi].
func (t *interner) code(data []byte, lo, hi int, hash uint64) uint32 {
	if 2*len(t.hashes) >= len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		code := t.slots[i] - 1
		if t.hashes[code] == hash && string(t.text(data, code)) == string(data[lo:hi]) {
			return code
		}
	}
	t.hashes = append(t.hashes, hash)
	t.spans = append(t.spans, [2]int{lo, hi})
	t.slots[i] = uint32(len(t.hashes))
	return t.slots[i] - 1
}

func (t *interner) text(data []byte, code uint32) []byte {
	span := t.spans[code]
	return data[span[0]:span[1]]
}

func (t *interner) grow() {
	t.slots = make([]uint32, max(64, 2*len(t.slots)))
	mask := uint64(len(t.slots) - 1)
	for code, hash := range t.hashes {
		i := hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(code + 1)
	}
}

// list returns the texts by number.
func (t *interner) list(data []byte) []string {
	list := make([]string, len(t.spans))
	for code := range list {
		list[code] = string(t.text(data, uint32(code)))
	}
	return list
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
				defer bucketReaders.Put(r)
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
