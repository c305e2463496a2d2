package storage

import (
	"fmt"
	"math"
	"math/bits"
	"sync"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// rowSum is the sum of the hashes of rows, as 128 bits: equal for the same rows
// in any order, in any number of blocks and files. A merge adds up what it reads
// less what it drops; what was written is read again and must have the same sum.
// A row lost, invented, changed, or given to another customer shows, whatever
// the counts say. The order of rows of one time is no part of it.
type rowSum struct{ low, high uint64 }

func (s *rowSum) add(o rowSum) {
	var carry uint64
	s.low, carry = bits.Add64(s.low, o.low, 0)
	s.high, _ = bits.Add64(s.high, o.high, carry)
}

// String is the sum in hexadecimal digits.
func (s rowSum) String() string { return fmt.Sprintf("%016x%016x", s.high, s.low) }

// ofRow is the sum of one row, from the hash of its fields. It is not linear in
// it, or fields could change places between rows.
func ofRow(h uint64) rowSum {
	m := (h ^ h>>32) * 0xd6e8feb86659fd93
	high, low := bits.Mul64(m^m>>29, h^0xa0761d6478bd642f)
	return rowSum{low ^ m, high}
}

// rowHasher hashes the rows of one segment by what they say, customer, time,
// event, channel, import, id and properties, by names and not by codes, so that
// segments with other lists of names have the same hashes.
type rowHasher struct {
	events, channels, imports []uint64
	properties                []fieldHash // by property of the segment
	imported                  uint64      // hash of the import of all rows; 0: as they have it
}

// fieldHash hashes the values of a property.
type fieldHash struct {
	seed    uint64
	widened bool // integers here are floats in the output
}

// Seeds of the fields that are no property.
const (
	timeSeed  = 0x8ebc6af09c88c6e3
	idSeed    = 0x589965cc75374cc3
	eventSeed = 1 + iota
	channelSeed
	importSeed
)

// fold hashes the value of a field.
func fold(v, seed uint64) uint64 {
	high, low := bits.Mul64(v^seed, 0xe7037ed1a0b428db)
	return high ^ low
}

// newRowHasher hashes rows of a segment. properties are those of the output.
func newRowHasher(meta *segmentMeta, properties []event.Property) *rowHasher {
	hashes := func(names []string, seed uint64) []uint64 {
		list := make([]uint64, len(names))
		for i, n := range names {
			list[i] = fold(customerHash(n), seed)
		}
		return list
	}
	types := map[string]event.Type{}
	for _, p := range properties {
		types[p.Name] = p.Type
	}
	h := &rowHasher{events: hashes(meta.Events, eventSeed), channels: hashes(meta.Channels, channelSeed), imports: hashes(meta.Imports, importSeed)}
	for _, p := range meta.Properties {
		h.properties = append(h.properties, fieldHash{customerHash(p.Name), p.Type == event.IntegerType && types[p.Name] == event.FloatType})
	}
	return h
}

// hashes returns the hash of each row of a block.
func (h *rowHasher) hashes(b *rowBlock) []uint64 {
	rows := make([]uint64, len(b.Time))
	for c := range b.Names.Len() {
		name := customerHash(b.Names.At(c))
		for i := b.Starts[c]; i < b.Starts[c+1]; i++ {
			rows[i] = name
		}
	}
	for i, t := range b.Time {
		rows[i] += fold(uint64(t), timeSeed) + h.events[b.Event[i]]
	}
	codes := func(codes []uint32, hashes []uint64) {
		if codes == nil {
			for i := range rows {
				rows[i] += hashes[0]
			}
			return
		}
		for i, c := range codes {
			rows[i] += hashes[c]
		}
	}
	codes(b.Channel, h.channels)
	if h.imported != 0 {
		codes(nil, []uint64{h.imported})
	} else {
		codes(b.Import, h.imports)
	}
	if b.IDs != nil {
		fieldHash{seed: idSeed}.add(rows, nil, b.IDs)
	}
	b.eachColumn(func(property int, of []uint32, c *tile.Column) { h.properties[property].add(rows, of, c) })
	return rows
}

// add adds the hashes of a column's values to those of the rows that it is of.
func (f fieldHash) add(rows []uint64, of []uint32, c *tile.Column) {
	var texts []uint64
	if c.Type == event.StringType {
		texts = make([]uint64, len(c.Dict))
		for i, v := range c.Dict {
			texts[i] = fold(customerHash(v), f.seed)
		}
	}
	for w, word := range c.Present {
		for ; word != 0; word &= word - 1 {
			i := w<<6 + bits.TrailingZeros64(word)
			row := i
			if of != nil {
				row = int(of[i])
			}
			switch {
			case texts != nil:
				rows[row] += texts[c.Codes[i]]
			case c.Type == event.FloatType:
				rows[row] += fold(floatHash(c.Floats[i]), f.seed)
			case f.widened:
				rows[row] += fold(floatHash(float64(c.Ints[i])), f.seed)
			default:
				rows[row] += fold(uint64(c.Ints[i]), f.seed)
			}
		}
	}
}

// floatHash is equal for numbers that are equal.
func floatHash(v float64) uint64 {
	if v != v {
		return 1
	}
	return math.Float64bits(v + 0) // -0 equals 0
}

// sum adds up the rows of a block.
func (h *rowHasher) sum(b *rowBlock) (s rowSum) {
	for _, row := range h.hashes(b) {
		s.add(ofRow(row))
	}
	return s
}

// mergeSum is what a merge has read and not dropped.
type mergeSum struct {
	mu  sync.Mutex
	sum rowSum
}

// add adds the rows of a part that are to be written.
func (s *mergeSum) add(parts []*mergePart) {
	var own rowSum
	for _, p := range parts {
		if p.onlyStored {
			continue
		}
		for row := p.starts[p.lo]; row < p.starts[p.hi]; row++ {
			if p.dropped == nil || !p.dropped.Get(int(row)) {
				own.add(ofRow(p.fields[row]))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.add(own)
}

// addRows adds rows that are to be written.
func (s *mergeSum) addRows(h *rowHasher, rows *rowBlock) {
	own := h.sum(rows)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.add(own)
}

// misled is what deliberate bugs make of a merge's rows.
func misled(b *rowBlock) *rowBlock {
	if seeded.On("value_changed_in_merge") {
		changed := false
		b.eachColumn(func(_ int, _ []uint32, c *tile.Column) {
			if !changed && hasValues(c) && c.Type == event.IntegerType {
				c.Ints[c.Present.Next(0, len(c.Present)*64)]++
				changed = true
			}
		})
		if changed {
			return b
		}
	}
	if seeded.On("rows_change_customers") {
		for c := 1; c < b.Names.Len(); c++ {
			if i, k := b.Starts[c-1], b.Starts[c]; b.Event[i] != b.Event[k] {
				b.Event[i], b.Event[k] = b.Event[k], b.Event[i]
				return b
			}
		}
	}
	return b
}
