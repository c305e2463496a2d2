package storage

import (
	"maps"
	"math"
	"slices"

	"wend/event"
)

// memtable is the batches that no segment file holds yet, in order of their LSNs.
type memtable struct {
	batches  []*memBatch
	rows     int
	bytes    int64  // that the batches take, see memBatch.size
	has      []bool // by code: properties that some batch has, or had
	columns  int    // how many these are
	ids      map[eventID]memRow
	bare     bareRows
	tokens   map[string]tokenRecord // of these batches, for the manifest
	received event.Time             // of the newest batch
	runs     []*memRun              // over the first batches, what was sorted for snapshots
	changes  int                    // how often rows were taken out: runs of before do not count
}

// eventID is what makes an event one and the same.
type eventID struct{ customer, id string }

type memRow struct {
	batch *memBatch
	row   int
}

// memBatch is one batch; its codes are the catalog's.
type memBatch struct {
	lsn      uint64
	batch    *event.Batch
	props    []int
	received event.Time
	visible  bool // acknowledged, or about to be
	token    string
	answered int64 // size of the token with its answer

	durability Durability
	log        uint64 // the file that has it; 0: none
}

// unlogged reports whether the batch's log failed: the next one repeats it.
func (b *memBatch) unlogged() bool { return b.log == 0 && b.durability != Memory }

func newMemtable() *memtable {
	return &memtable{ids: map[eventID]memRow{}, tokens: map[string]tokenRecord{}, received: math.MinInt64}
}

func (m *memtable) add(b *memBatch) {
	m.batches = append(m.batches, b)
	m.received = max(m.received, b.received)
	m.count(b)
}

// count adds what is in a batch to what is known of all.
func (m *memtable) count(b *memBatch) {
	m.rows += b.batch.Len()
	m.bytes += b.size()
	for _, p := range b.props {
		for len(m.has) <= p {
			m.has = append(m.has, false)
		}
		if !m.has[p] {
			m.has[p] = true
			m.columns++
		}
	}
	for i, id := range b.batch.ID {
		if id != "" {
			m.ids[eventID{b.batch.Customer[i], id}] = memRow{b, i}
		}
	}
}

// forget makes the counts those of no batch.
func (m *memtable) forget() {
	m.rows, m.bytes, m.has, m.columns, m.ids = 0, 0, nil, 0, map[eventID]memRow{}
	m.bare = bareRows{}
}

// size is about how many bytes the batches take, with what they are sorted
// into, at most: a place for each property in each row, as each batch has for
// its own. Of events that have few of many properties it is far more than their
// log, and than their thin columns.
func (m *memtable) size() int64 {
	return m.bytes + m.bare.bytes() + 8*int64(m.rows)*int64(m.columns)
}

// fills reports whether the memtable has so many times the events, or the
// bytes, with which it is to be flushed.
func (m *memtable) fills(opt *Options, times int) bool {
	return m.rows >= times*opt.MemtableEvents || m.size() >= int64(times)*opt.memtableBytes()
}

// size is about how many bytes the batch takes, with the answer to its token.
func (b *memBatch) size() int64 { return bytesOf(b.batch) + b.answered }

// bytesOf is about how many bytes events take.
func bytesOf(b *event.Batch) int64 {
	const batch, row, id, column = 512, 32, 96, 128 // without texts; the id is also a key
	n, rows := int64(batch), int64(b.Len())
	texts := func(list []string) {
		for _, s := range list {
			n += int64(len(s))
		}
	}
	n += rows * row
	texts(b.Customer)
	n += int64(len(b.ID)) * id
	texts(b.ID)
	for i := range b.Columns {
		c := &b.Columns[i]
		n += column + int64(len(c.Name)+len(c.Present)+8*len(c.Ints)+8*len(c.Floats)+16*len(c.Texts))
		texts(c.Texts)
	}
	return n
}

// holds reports whether it has a batch that arrived up to an LSN.
func (m *memtable) holds(lsn uint64) bool { return len(m.batches) > 0 && m.batches[0].lsn <= lsn }

// remove takes back batches that did not become durable.
func (m *memtable) remove(gone func(*memBatch) bool) {
	m.bare = bareRows{}
	m.batches = slices.DeleteFunc(m.batches, func(b *memBatch) bool {
		if !gone(b) {
			return false
		}
		m.rows -= b.batch.Len()
		m.bytes -= b.size()
		for i, id := range b.batch.ID {
			if id != "" {
				delete(m.ids, eventID{b.batch.Customer[i], id})
			}
		}
		delete(m.tokens, b.token)
		return true
	})
}

// with returns a memtable of m's batches and the later ones of o.
func (m *memtable) with(o *memtable) *memtable {
	for _, b := range o.batches {
		m.add(b)
	}
	maps.Copy(m.tokens, o.tokens)
	return m
}

// forgetRuns has everything sorted anew.
func (m *memtable) forgetRuns() {
	m.runs = nil
	m.changes++
}
