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
	ids      map[eventID]memRow
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
	m.rows += b.batch.Len()
	m.received = max(m.received, b.received)
	for i, id := range b.batch.ID {
		if id != "" {
			m.ids[eventID{b.batch.Customer[i], id}] = memRow{b, i}
		}
	}
}

// holds reports whether it has a batch that arrived up to an LSN.
func (m *memtable) holds(lsn uint64) bool { return len(m.batches) > 0 && m.batches[0].lsn <= lsn }

// remove takes back batches that did not become durable.
func (m *memtable) remove(gone func(*memBatch) bool) {
	m.batches = slices.DeleteFunc(m.batches, func(b *memBatch) bool {
		if !gone(b) {
			return false
		}
		m.rows -= b.batch.Len()
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
