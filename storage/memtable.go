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
	runs     []*memRun              // segments in memory over a prefix of the batches
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
	unlogged   bool // its log failed: the next one repeats it
}

// memRun is batches as a segment in memory. Runs are merged so that their
// number grows with the logarithm of the batches.
type memRun struct {
	*source
	batches []*memBatch
	rows    int
}

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

// sources returns segments over all visible batches. Those over the batches
// before the first invisible one are kept for the next call.
func (m *memtable) sources(s *Store) ([]*source, error) {
	covered := 0
	for _, r := range m.runs {
		covered += len(r.batches)
	}
	end := covered
	for end < len(m.batches) && m.batches[end].visible {
		end++
	}
	if end > covered {
		fresh := slices.Clone(m.batches[covered:end])
		rows := 0
		for _, b := range fresh {
			rows += b.batch.Len()
		}
		// A run at most twice as large as what follows is merged into it.
		for k := len(m.runs) - 1; k >= 0 && m.runs[k].rows <= 2*rows; k-- {
			fresh = append(slices.Clone(m.runs[k].batches), fresh...)
			rows += m.runs[k].rows
			m.runs = m.runs[:k]
		}
		r, err := s.newMemRun(fresh)
		if err != nil {
			return nil, err
		}
		m.runs = append(slices.Clip(m.runs), r)
	}
	var list []*source
	for _, r := range m.runs {
		list = append(list, r.source)
	}
	var late []*memBatch
	for _, b := range m.batches[end:] {
		if b.visible {
			late = append(late, b)
		}
	}
	if len(late) > 0 {
		r, err := s.newMemRun(late)
		if err != nil {
			return nil, err
		}
		list = append(list, r.source)
	}
	return list, nil
}

// newMemRun sorts batches into a segment in memory. The caller holds mu.
func (s *Store) newMemRun(batches []*memBatch) (*memRun, error) {
	var rows arrivals
	for _, b := range batches {
		rows.add(b.batch, b.props)
	}
	data, err := rows.inMemory(segmentMeta{
		Store: s.state.store, FirstLSN: batches[0].lsn, LastLSN: batches[len(batches)-1].lsn,
		Events: s.catalog.events, Channels: s.catalog.channels, Imports: []string{""}, Properties: s.catalog.properties,
	}, s.opt.BlockCustomers)
	if err != nil {
		return nil, err
	}
	seg, err := openInMemory(data, s.state.store)
	if err != nil {
		return nil, err
	}
	return &memRun{newSource(seg), batches, rows.rows}, nil
}
