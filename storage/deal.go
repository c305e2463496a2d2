package storage

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sync"
	"unicode/utf8"

	"wend/event"
)

// A bulk load deals its rows to buckets by the leading bits of their customers'
// hashes, as a hash join partitions its input: what is in a bucket can then be
// sorted in the processor's cache, and buckets follow one another in the order
// of segments, so that nothing is merged and every row is written once.
const (
	bucketBits  = 9
	bucketCount = 1 << bucketBits
)

func bucketOf(hash uint64) int { return int(hash >> (64 - bucketBits)) }

// dealt is one batch of a load with its rows as records, bucket by bucket.
//
// A record is the length of what follows; the customer; the time, as its
// distance from the record before it in the bucket, from the batch's first
// time for the first; the event, doubled, plus one if a tie rank follows; the
// rank; the channel; the id, if the batch has ids; a bit for each column,
// whether there is a value; the values. Numbers are varints, texts follow their
// length, and codes are the batch's own.
type dealt struct {
	batch   *event.Batch
	made    chan struct{} // closed when the records are there
	err     error
	clean   bool // all rows can be stored, but for names and for types of properties; else there are no records
	records []byte
	ends    [bucketCount]int // of the buckets' records

	rows        int
	unit        int64 // microseconds that divide all times
	least, most event.Time
	rising      bool   // no row is earlier than the one before
	ranks       uint32 // one more than the highest tie rank
	months      *histogram
	events      []bool // which names rows have
	channels    []bool
	columns     []bool
}

// dealer is the memory in which batches are dealt, one after the other.
type dealer struct {
	loose    []byte             // records in the order of the rows
	ends     []int              // of the rows in loose
	buckets  []uint16           // of the rows
	last     [bucketCount]int64 // time of the bucket's latest row
	position [bucketCount]int   // in the batch's records
	sound    bool               // all rows so far can be stored
}

var dealers = sync.Pool{New: func() any { return new(dealer) }}

// of returns the records of a bucket.
func (d *dealt) of(bucket int) []byte {
	if bucket == 0 {
		return d.records[:d.ends[0]]
	}
	return d.records[d.ends[bucket-1]:d.ends[bucket]]
}

// seenOf: one of so many customers is counted.
const seenOf = 8

// deal makes the records. Customers are counted in seen, one of seenOf.
func (d *dealt) deal(seen *counter) {
	b := d.batch
	d.rows = b.Len()
	if d.clean = true; d.rows == 0 {
		return
	}
	d.lookAtTimes()
	d.events, d.channels = make([]bool, len(b.Names)), make([]bool, len(b.Channels))
	d.columns = make([]bool, len(b.Columns))
	for i := range b.Columns {
		d.columns[i] = b.Columns[i].Present == nil || slices.Contains(b.Columns[i].Present, true)
	}
	table := dealers.Get().(*dealer)
	defer dealers.Put(table)
	table.encode(d, seen)
	if d.clean {
		table.gather(d)
	}
}

func (d *dealt) lookAtTimes() {
	times := d.batch.Time
	d.unit, d.least, d.most, d.rising = 1_000_000, times[0], times[0], true
	last := times[0]
	for _, t := range times {
		if d.unit == 1_000_000 && t%1_000_000 != 0 {
			d.unit = 1000
		}
		if d.unit == 1000 && t%1000 != 0 {
			d.unit = 1
		}
		d.least, d.most = min(d.least, t), max(d.most, t)
		d.rising = d.rising && t >= last
		last = t
	}
	if d.least < event.MinTime || d.most > event.MaxTime {
		d.clean = false
		return
	}
	d.months = newHistogram()
	d.months.add(times)
}

// encode writes the records in the order of the rows, without their lengths.
func (w *dealer) encode(d *dealt, seen *counter) {
	b := d.batch
	w.buckets = slices.Grow(w.buckets[:0], d.rows)[:d.rows]
	w.ends = slices.Grow(w.ends[:0], d.rows)[:d.rows]
	clear(w.position[:])
	w.sound = d.clean
	for i := range w.last {
		w.last[i] = int64(b.Time[0])
	}
	d.ranks = 1
	first, apart := 0, false // row that began the rows of this time, and whether they have several customers
	out := w.loose[:0]
	for i, name := range b.Customer {
		begin := len(out)
		hash := customerHash(name)
		bucket := bucketOf(hash)
		if hash%seenOf == 0 {
			seen.add(hash)
		}
		w.sound = w.sound && name != ""
		out = w.appendText(out, name)
		t := int64(b.Time[i])
		distance := t - w.last[bucket]
		w.last[bucket] = t
		switch d.unit {
		case 1000:
			distance /= 1000
		case 1_000_000:
			distance /= 1_000_000
		}
		out = binary.AppendVarint(out, distance)

		rank := uint32(i) // where times fall any order of arrival will do
		if d.rising {
			if b.Time[i] != b.Time[first] {
				first, apart = i, false
			}
			apart = apart || name != b.Customer[first]
			rank = 0
			if apart {
				rank = uint32(i - first)
			}
		}
		d.events[b.Name[i]] = true
		if rank == 0 {
			out = binary.AppendUvarint(out, uint64(b.Name[i])<<1)
		} else {
			out = binary.AppendUvarint(out, uint64(b.Name[i])<<1|1)
			out = binary.AppendUvarint(out, uint64(rank))
			d.ranks = max(d.ranks, rank+1)
		}
		d.channels[b.Channel[i]] = true
		out = binary.AppendUvarint(out, uint64(b.Channel[i]))
		if b.ID != nil {
			out = w.appendText(out, b.ID[i])
		}
		out = w.appendValues(out, b.Columns, i)

		w.buckets[i], w.ends[i] = uint16(bucket), len(out)
		w.position[bucket] += uvarintSize(uint64(len(out)-begin)) + len(out) - begin
	}
	w.loose, d.clean = out, w.sound
}

// appendValues appends row i of columns.
func (w *dealer) appendValues(dst []byte, columns []event.Column, i int) []byte {
	at := len(dst)
	for range (len(columns) + 7) / 8 {
		dst = append(dst, 0)
	}
	for k := range columns {
		c := &columns[k]
		if c.Present != nil && !c.Present[i] {
			continue
		}
		dst[at+k>>3] |= 1 << (k & 7)
		switch c.Type {
		case event.StringType:
			dst = w.appendText(dst, c.Texts[i])
		case event.FloatType:
			w.sound = w.sound && c.Floats[i]-c.Floats[i] == 0 // no infinity, and a number
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[i]))
		default:
			dst = binary.AppendVarint(dst, c.Ints[i])
		}
	}
	return dst
}

// appendText appends a text and looks whether it is UTF-8. Most are ASCII,
// which takes one look at each eight bytes.
func (w *dealer) appendText(dst []byte, text string) []byte {
	dst = appendText(dst, text)
	last := len(dst)
	var all uint64
	switch n := len(text); {
	case n >= 8:
		for at := last - n; at <= last-8; at += 8 {
			all |= binary.LittleEndian.Uint64(dst[at:])
		}
		all |= binary.LittleEndian.Uint64(dst[last-8:])
	case last >= 8:
		all = binary.LittleEndian.Uint64(dst[last-8:]) >> (64 - 8*n) // nothing, if n is 0
	default:
		all = math.MaxUint64
	}
	if all&(0x80*0x0101010101010101) != 0 {
		w.sound = w.sound && utf8.ValidString(text)
	}
	return dst
}

// gather copies the records to their buckets.
func (w *dealer) gather(d *dealt) {
	total := 0
	for i, size := range w.position {
		w.position[i] = total
		total += size
		d.ends[i] = total
	}
	d.records = slices.Grow(d.records[:0], total)[:total]
	begin := 0
	for i, end := range w.ends {
		at := w.position[w.buckets[i]]
		at += binary.PutUvarint(d.records[at:], uint64(end-begin))
		at += copy(d.records[at:], w.loose[begin:end])
		w.position[w.buckets[i]] = at
		begin = end
	}
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// codesOf puts the names that rows of a batch have into the load's catalog, and
// returns what they are there.
func (d *dealt) codesOf(c *catalog) *loadBatch {
	b := d.batch
	l := &loadBatch{
		events: make([]uint32, len(b.Names)), channels: make([]uint32, len(b.Channels)), columns: make([]loadColumn, len(b.Columns)),
		unit: d.unit, first: b.Time[0], last: b.Time[d.rows-1], ids: b.ID != nil,
	}
	for i, n := range b.Names {
		if d.events[i] {
			l.events[i] = c.event(n)
		}
	}
	for i, n := range b.Channels {
		if d.channels[i] {
			l.channels[i] = c.channel(n)
		}
	}
	for i := range b.Columns {
		if d.columns[i] {
			l.columns[i] = loadColumn{c.property(b.Columns[i].Name, b.Columns[i].Type), b.Columns[i].Type}
		}
	}
	return l
}

// loadBatch is what it takes to read the records of a batch.
type loadBatch struct {
	events, channels []uint32 // codes in the load's catalog, by those of the batch
	columns          []loadColumn
	unit             int64
	first, last      event.Time
	ids              bool
	ranked           batchRanks
}

type loadColumn struct {
	property int
	typ      event.Type
}
