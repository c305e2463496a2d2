package storage

import (
	"encoding/base64"
	"math"
	"sort"
	"strconv"
	"strings"

	"wend/event"
)

const (
	rowIDPrefix = "wend-row:"
	rowIDHash   = 22 // characters
)

// RowID is the id under which a row of a source that has none of its own is
// appended: a hash of its content, and how many equal rows stand before it in
// the source. Append knows such a row by its content, as a bulk load does, and
// stores it without an id. So sending the source again adds nothing, and
// neither does loading it.
func RowID(hash [16]byte, before int) string {
	return rowIDPrefix + base64.RawURLEncoding.EncodeToString(hash[:]) + "." + strconv.Itoa(before)
}

// rowBefore reads a RowID; ok is false of any other id.
func rowBefore(id string) (before int, ok bool) {
	rest, ok := strings.CutPrefix(id, rowIDPrefix)
	if !ok || len(rest) < rowIDHash+2 || rest[rowIDHash] != '.' {
		return 0, false
	}
	if _, err := base64.RawURLEncoding.DecodeString(rest[:rowIDHash]); err != nil {
		return 0, false
	}
	number := rest[rowIDHash+1:]
	before, err := strconv.Atoi(number)
	return before, err == nil && before >= 0 && strconv.Itoa(before) == number
}

// dropRowIDs takes out the ids that are not to be stored.
func dropRowIDs(b *event.Batch) {
	some := false
	for i, id := range b.ID {
		if _, ok := rowBefore(id); ok {
			b.ID[i] = ""
		}
		some = some || b.ID[i] != ""
	}
	if !some {
		b.ID = nil
	}
}

// moment is where equal rows are looked for.
type moment struct {
	customer string
	at       event.Time
}

// rowCounts counts the stored rows without id that equal rows of a batch, those
// of equal content together. It holds what the batch has, however many others
// there are at the same moments.
type rowCounts struct{ byHash map[uint64][]*rowCount }

type rowCount struct {
	first   event.Event
	wanted  int // the batch's rows, and equal ones before them in its source
	count   int
	batches []*memBatch // that have some of them
}

// want has rows counted that equal an event, before which so many stand in its source.
func (s *rowCounts) want(e event.Event, before int) {
	r := s.of(e)
	if r == nil {
		hash := eventHash(e)
		r = &rowCount{first: e}
		s.byHash[hash] = append(s.byHash[hash], r)
	}
	r.wanted = max(r.wanted, before+1)
}

// wants reports whether rows may be counted of which rowHash is this.
func (s *rowCounts) wants(hash uint64) bool { return s.byHash[hash] != nil }

// of returns the count for the content of a row of the batch, nil if there is none.
func (s *rowCounts) of(e event.Event) *rowCount {
	for _, r := range s.byHash[eventHash(e)] {
		if r.equals(e) {
			return r
		}
	}
	return nil
}

// forStored returns the count that a stored row goes to, nil if none wants it.
// A float may equal several integers that do not equal each other, as it is what
// they are stored as: it goes to one that was counted less often than is wanted.
// uncounted is what is to be added to the counts.
func (s *rowCounts) forStored(e event.Event, uncounted map[*rowCount]int) (found *rowCount) {
	for _, r := range s.byHash[eventHash(e)] {
		if !r.equals(e) {
			continue
		}
		if found = r; r.count+uncounted[r] < r.wanted {
			break
		}
	}
	return found
}

func (r *rowCount) equals(e event.Event) bool {
	return r.first.Customer == e.Customer && sameContent(r.first, e)
}

// eventHash is equal for events of one customer that sameContent calls equal.
func eventHash(e event.Event) uint64 {
	h := rowHash(momentHash(customerHash(e.Customer), e.Time), e.Name, e.Channel)
	for _, p := range e.Props {
		h += propHash(p.Name, p.Value)
	}
	return h
}

// rowHash begins the hash of an event: what propHash says of its properties is
// added, in any order.
func rowHash(moment uint64, name, channel string) uint64 {
	return mix(mix(moment, customerHash(name)), customerHash(channel))
}

// propHash is 0 for null.
func propHash(name string, v event.Value) uint64 {
	h := customerHash(name)
	switch {
	case v.IsNull():
		return 0
	case v.Type() == event.StringType:
		return mix(h, customerHash(v.Text()))
	case v.Type().Numeric():
		return mix(h, math.Float64bits(v.Float()+0)) // -0 equals 0
	}
	return mix(h, uint64(v.Int()))
}

// findSame counts the stored rows without id that equal those rows of a batch
// that have a RowID. The caller holds mu.
func (s *Store) findSame(b *event.Batch, keep []int) (*rowCounts, error) {
	same := &rowCounts{map[uint64][]*rowCount{}}
	var moments []moment // each once, in order
	known := map[moment]bool{}
	for _, i := range keep {
		before, ok := rowBefore(b.ID[i])
		if !ok {
			continue
		}
		same.want(b.At(i), before)
		if at := (moment{b.Customer[i], b.Time[i]}); !known[at] {
			known[at] = true
			moments = append(moments, at)
		}
	}
	for _, m := range s.memory() {
		for _, at := range moments {
			m.countBare(at, same)
		}
	}
	undone := s.undone()
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue // damaged: what is stored there cannot be known
		}
		counts, err := s.countBare(f, moments, undone, same)
		if err != nil && s.leaveOutUnread(f, err) {
			s.nudge() // the background records it
			continue
		}
		if err != nil {
			return nil, err
		}
		for row, count := range counts {
			row.count += count
		}
	}
	return same, nil
}

// countBare counts the rows without id that a segment has at some moments, those
// that are wanted.
func (s *Store) countBare(f *segmentFile, moments []moment, undone []bool, same *rowCounts) (map[*rowCount]int, error) {
	counts := map[*rowCount]int{}
	for _, m := range moments {
		if m.at < f.record.MinTime || m.at > f.record.MaxTime || f.aged.hides(m.at) {
			continue
		}
		hash := customerHash(m.customer)
		moment := momentHash(hash, m.at)
		if may, err := f.mayHaveBare(moment); err != nil {
			return nil, err
		} else if !may {
			continue
		}
		b := f.block(blockOf(hash, f.seg.PrefixBits))
		if b == nil {
			continue
		}
		names, err := s.cache.names(b, true)
		if err != nil {
			return nil, err
		}
		customer, ok := findHashed(names, hash, m.customer)
		if !ok || f.mask.has(b.index, customer) {
			continue
		}
		ids, err := s.cache.column(b, -1, true)
		if err != nil {
			return nil, err
		}
		if b, err = s.cache.read(b, true); err != nil {
			return nil, err
		}
		imports, err := b.Import()
		if err != nil {
			return nil, err
		}
		row, end := int(b.Starts[customer]), int(b.Starts[customer+1])
		row += sort.Search(end-row, func(i int) bool { return b.Time.At(row+i) >= m.at })
		if row == end || b.Time.At(row) != m.at {
			continue
		}
		rows, err := s.rowsOf(b)
		if err != nil {
			return nil, err
		}
		for ; row < end && b.Time.At(row) == m.at; row++ {
			if ids != nil && ids.Present.Get(row) {
				continue
			}
			if imports != nil && int(imports[row]) < len(undone) && undone[imports[row]] {
				continue
			}
			if !same.wants(rows.hash(row, moment)) {
				continue
			}
			if r := same.forStored(rows.at(row, eventID{m.customer, ""}), counts); r != nil {
				counts[r]++
			}
		}
	}
	return counts, nil
}

// bareRows finds the rows of a memtable that have no id by customer and time.
// It is made when the first batch arrives that asks for it.
type bareRows struct {
	batches int // of the memtable, that are in it
	rows    []bareRow
	last    map[uint64]int // by momentHash: one more than the index of the last row
}

type bareRow struct {
	memRow
	before int // as in last; 0: none
}

// bytes is about how many bytes it takes.
func (r *bareRows) bytes() int64 { return 64 * int64(len(r.rows)) }

// countBare counts the rows without id of a moment, those that are wanted.
func (m *memtable) countBare(at moment, same *rowCounts) {
	r := &m.bare
	if r.last == nil {
		r.last = map[uint64]int{}
	}
	for ; r.batches < len(m.batches); r.batches++ {
		b := m.batches[r.batches]
		for i := range b.batch.Len() {
			if b.batch.ID == nil || b.batch.ID[i] == "" {
				hash := momentHash(customerHash(b.batch.Customer[i]), b.batch.Time[i])
				r.rows = append(r.rows, bareRow{memRow{b, i}, r.last[hash]})
				r.last[hash] = len(r.rows)
			}
		}
	}
	moment := momentHash(customerHash(at.customer), at.at)
	for i := r.last[moment]; i > 0; i = r.rows[i-1].before {
		from, row := r.rows[i-1].batch, r.rows[i-1].row
		b := from.batch
		hash := rowHash(moment, b.Names[b.Name[row]], b.Channels[b.Channel[row]])
		for c := range b.Columns {
			hash += propHash(b.Columns[c].Name, b.Columns[c].At(row))
		}
		if !same.wants(hash) {
			continue
		}
		if e := b.At(row); e.Customer == at.customer && e.Time == at.at {
			if r := same.forStored(e, nil); r != nil {
				r.count++
				if k := len(r.batches); k == 0 || r.batches[k-1] != from { // the rows of a batch are one behind the other
					r.batches = append(r.batches, from)
				}
			}
		}
	}
}
