package storage

import (
	"maps"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// mask is the rows of a segment that belong to erased identities. They are on
// the disk until the segment is rewritten, and nothing shows them. A mask does
// not change: another erasure makes another one.
type mask struct {
	customers map[int][]uint32 // by block, rising: whose rows are left out
	rows      int64
	imports   []int64 // rows by import code
	events    []int64 // and by event
	channels  []int64
}

// of lists the customers of a block that are left out.
func (m *mask) of(block int) []uint32 {
	if m == nil {
		return nil
	}
	return m.customers[block]
}

// has reports whether a customer of a block is left out.
func (m *mask) has(block int, customer int) bool {
	_, found := slices.BinarySearch(m.of(block), uint32(customer))
	return found
}

// drop marks the rows of a block that are left out.
func (m *mask) drop(dropped tile.Bitmap, block int, starts []uint32) {
	for _, c := range m.of(block) {
		for row := starts[c]; row < starts[c+1]; row++ {
			dropped.Set(int(row))
		}
	}
}

// masked returns the source's mask once it leaves out these identities, too.
// Nothing changes if none of them is here.
func (c *cache) masked(src *source, old *mask, who []linked) (*mask, error) {
	m := old
	for _, l := range who {
		index := blockOf(l.hash, src.seg.PrefixBits)
		b := src.block(index)
		if b == nil {
			continue
		}
		names, err := c.names(b, true)
		if err != nil {
			return nil, err
		}
		customer, here := findHashed(names, l.hash, l.name)
		if !here || m.has(index, customer) {
			continue
		}
		if m == old {
			m = &mask{
				customers: map[int][]uint32{}, imports: make([]int64, len(src.seg.Imports)),
				events: make([]int64, len(src.seg.Events)), channels: make([]int64, len(src.seg.Channels)),
			}
			if old != nil {
				m.rows = old.rows
				m.customers = maps.Clone(old.customers)
				copy(m.imports, old.imports)
				copy(m.events, old.events)
				copy(m.channels, old.channels)
			}
		}
		if err := c.count(m, b, customer); err != nil {
			return nil, err
		}
		at, _ := slices.BinarySearch(m.customers[index], uint32(customer))
		m.customers[index] = slices.Insert(slices.Clone(m.customers[index]), at, uint32(customer))
	}
	return m, nil
}

// count adds a customer's rows to the mask's counts.
func (c *cache) count(m *mask, b *tileBlock, customer int) error {
	b, err := c.read(b, true)
	if err != nil {
		return err
	}
	imports, err := b.Import()
	if err != nil {
		return err
	}
	channel, err := c.channel(b, true)
	if err != nil {
		return err
	}
	for row := b.Starts[customer]; row < b.Starts[customer+1]; row++ {
		m.rows++
		m.imports[codeAt(imports, int(row))]++
		m.events[b.Event.At(int(row))]++
		code := uint32(0)
		if channel != nil {
			code = channel.At(int(row))
		}
		m.channels[code]++
	}
	return nil
}

// view returns the source of a file as snapshots and merges see it: without
// undone imports, erased identities and what is too old. The caller holds mu, or writing.
func (f *segmentFile) view(undone []bool) *source { return f.viewAt(undone, f.aged) }

// viewAt is view for another cutoff.
func (f *segmentFile) viewAt(undone []bool, old *aged) *source {
	s := f.source.without(undone)
	if s.mask = f.mask; s.mask != nil {
		for code, n := range s.mask.imports {
			if s.drop == nil || !s.drop[code] {
				s.undone += n
			}
		}
	}
	if s.aged = old; s.aged != nil {
		for code, n := range s.aged.imports {
			if s.drop == nil || !s.drop[code] {
				s.undone += n
			}
		}
	}
	return s
}

// plain reports whether all rows of the source are shown.
func (s *source) plain() bool { return s.drop == nil && s.mask == nil && s.aged == nil }

// identities lists names by hash, as masks look for them.
func identities(names []string) []linked {
	var list []linked
	for _, n := range names {
		list = append(list, linked{customerHash(n), n})
	}
	return list
}

// maskFiles brings the masks of all open segments up to the pending erasures,
// after an opening. Of a damaged one nobody can tell whose events it holds: it is
// left out, and the erasures remove its file.
func (s *Store) maskFiles() error {
	for _, f := range s.segments {
		if err := s.maskFile(f); err != nil && (seeded.On("erasure_needs_all_pages") || !s.leaveOutUnread(f, err)) {
			return err
		}
	}
	return nil
}

func (s *Store) maskFile(f *segmentFile) error {
	if f.maskedTo > 0 && s.state().erasureID(f.maskedTo) != f.maskedBy {
		f.mask, f.maskedTo = nil, 0
	}
	for i := range s.state().erasures {
		e := &s.state().erasures[i]
		if e.Number <= f.record.Erased || e.Number <= f.maskedTo || len(e.Names) == 0 {
			continue
		}
		m, err := s.cache.masked(&f.source, f.mask, identities(e.Names))
		if err != nil {
			return err
		}
		f.mask, f.maskedTo, f.maskedBy = m, e.Number, e.ID
	}
	return nil
}

// erase takes identities out of the memtable. The log still has them; replay
// leaves them out.
func (m *memtable) erase(c *catalog, gone map[string]bool) {
	if seeded.On("memtable_not_erased") {
		return
	}
	m.takeOut(c, func(b *event.Batch, i int) bool { return gone[b.Customer[i]] })
}

// takeOut takes rows out of the memtable.
func (m *memtable) takeOut(c *catalog, gone func(b *event.Batch, i int) bool) {
	m.forgetRuns()
	m.forget()
	for _, b := range m.batches {
		var keep []int
		for i := range b.batch.Len() {
			if !gone(b.batch, i) {
				keep = append(keep, i)
			}
		}
		if len(keep) < b.batch.Len() {
			b.batch, b.props = c.encode(selectRows(b.batch, keep))
		}
		m.count(b)
	}
}

// noted is the names and the values of rows that are erased, as far as
// something that people wrote about the data has them, too.
type noted struct {
	written       []string // definitions
	names, values map[string]bool
	known         map[string]bool
}

func (n *noted) name(text string) {
	if text != "" && !n.known["n"+text] {
		n.known["n"+text] = true
		if slices.ContainsFunc(n.written, func(w string) bool { return mentionsName(w, text) }) {
			n.names[text] = true
		}
	}
}

func (n *noted) value(text string) {
	if text != "" && !n.known["v"+text] {
		n.known["v"+text] = true
		if slices.ContainsFunc(n.written, func(w string) bool { return mentionsValue(w, text) }) {
			n.values[text] = true
		}
	}
}

// note looks at the rows of erased identities.
func (m *memtable) note(gone map[string]bool, n *noted) {
	for _, b := range m.batches {
		for i, name := range b.batch.Customer {
			if !gone[name] {
				continue
			}
			e := b.batch.At(i)
			n.name(e.Name)
			n.name(e.Channel)
			for _, p := range e.Props {
				n.name(p.Name)
				if p.Value.Type() == event.StringType {
					n.value(p.Value.Text())
				}
			}
		}
	}
}

// note looks at the rows of a source that a mask leaves out.
func (c *cache) note(src *source, m *mask, n *noted) error {
	if m == nil || len(n.written) == 0 {
		return nil
	}
	for code, count := range m.events {
		if count > 0 {
			n.name(src.seg.Events[code])
		}
	}
	for code, count := range m.channels {
		if count > 0 {
			n.name(src.seg.Channels[code])
		}
	}
	for index, customers := range m.customers {
		b, err := c.read(src.block(index), true)
		if err != nil {
			return err
		}
		for i, p := range src.seg.Properties {
			if src.seg.ValueCounts[i] == 0 {
				continue
			}
			col, err := c.column(b, i, true)
			if err != nil {
				return err
			}
			if col == nil {
				continue
			}
			for _, who := range customers {
				for row := int(b.Starts[who]); row < int(b.Starts[who+1]); row++ {
					if !col.Present.Get(row) {
						continue
					}
					n.name(p.Name)
					if col.Type == event.StringType {
						n.value(col.Dict[col.Code(row)])
					}
				}
			}
		}
	}
	return nil
}

// mentionsName reports whether a text of the language has a name: as a word of
// its own, or in quotes.
func mentionsName(text, name string) bool {
	for _, form := range []string{name, strings.ReplaceAll(name, "'", "''"), strings.ReplaceAll(name, `"`, `""`)} {
		for from := 0; ; {
			at := strings.Index(text[from:], form)
			if at < 0 || form == "" {
				break
			}
			at += from
			if !wordAt(text, at-1) && !wordAt(text, at+len(form)) {
				return true
			}
			from = at + 1
		}
	}
	return false
}

// mentionsValue reports whether a text of the language has a value: it stands
// in quotes.
func mentionsValue(text, value string) bool {
	for _, q := range []string{"'", `"`} {
		if strings.Contains(text, q+strings.ReplaceAll(value, q, q+q)+q) {
			return true
		}
	}
	return false
}

func wordAt(text string, i int) bool {
	if i < 0 || i >= len(text) {
		return false
	}
	c := text[i]
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
