package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/tile"
)

// simBatch is a batch, or a bulk load, that the simulation sent.
type simBatch struct {
	seq      int
	events   []event.Event // those to be stored: not rejected, no duplicates
	sent     []event.Event
	token    string
	level    Durability
	lsn      uint64
	importID string // of a load, once it is known
	load     bool
	ack      Ack
	durable  bool // promised to survive
	count    int  // events that were stored, of which an erasure may have taken some
	floating bool // sent more than once: which place among equal times it has is not known
}

// simMeta is what else a store holds. Values are not changed in place.
type simMeta struct {
	links   map[string]string
	defines map[string]string
	undone  map[string]bool

	erasures int            // that the store knows of
	gone     map[int64]bool // numbers of the events that the last of them took

	cutoff event.Time // of retention
	until  event.Time // of what may be: how far the cutoff may have gone
}

func (m simMeta) clone() simMeta {
	return simMeta{maps.Clone(m.links), maps.Clone(m.defines), maps.Clone(m.undone), m.erasures, m.gone, m.cutoff, m.cutoff}
}

func (m simMeta) equal(o simMeta) bool {
	return maps.Equal(m.links, o.links) && maps.Equal(m.defines, o.defines) && maps.Equal(m.undone, o.undone) && m.erasures == o.erasures && m.cutoff == o.cutoff
}

// suits reports whether a store that holds o is one of those that may be.
func (m simMeta) suits(o simMeta) bool {
	if m.cutoff <= o.cutoff && o.cutoff <= m.until {
		m.cutoff = o.cutoff
	}
	return m.equal(o)
}

func (m simMeta) canonical(name string) string {
	for m.links[name] != "" {
		name = m.links[name]
	}
	return name
}

// simModel is what a store must hold, may hold and must not hold. Every event
// has a number in its property "n", which no other event of a run has.
type simModel struct {
	present []*simBatch // acknowledged, in order of arrival
	limbo   []*simBatch // in flight, or failed with an error: there or not
	never   []*simBatch // of which it is known that they must not be there
	meta    simMeta
	maybe   []simMeta // in flight or failed: each may be what is found
	faulted bool      // something failed since the store was opened
}

func newSimModel() *simModel {
	return &simModel{meta: simMeta{links: map[string]string{}, defines: map[string]string{}, undone: map[string]bool{}, cutoff: math.MinInt64, until: math.MinInt64}}
}

// clone copies the lists; batches are shared but for what verify fixes.
func (m *simModel) clone() *simModel {
	c := *m
	c.present, c.limbo, c.maybe = slices.Clone(m.present), slices.Clone(m.limbo), slices.Clone(m.maybe)
	return &c
}

// without returns the model without some events: an erasure took them.
func (m *simModel) without(gone map[int64]bool) *simModel {
	c := m.clone()
	for _, list := range [][]*simBatch{c.present, c.limbo} {
		for i, b := range list {
			if slices.ContainsFunc(b.events, func(e event.Event) bool { return gone[eventNumber(&e)] }) {
				less := *b
				less.events = slices.DeleteFunc(slices.Clone(b.events), func(e event.Event) bool { return gone[eventNumber(&e)] })
				list[i] = &less
			}
		}
	}
	return c
}

func eventNumber(e *event.Event) int64 { return e.Prop("n").Int() }

// find returns the stored event of a customer's id.
func (m *simModel) find(customer, id string) *event.Event {
	for _, b := range m.present {
		if m.meta.undone[b.importID] && b.load {
			continue
		}
		for i := range b.events {
			if e := &b.events[i]; e.ID == id && e.Customer == customer {
				return e
			}
		}
	}
	return nil
}

// fresh splits what is sent into what is stored and counts of the rest.
func (m *simModel) fresh(sent []event.Event, load bool) (events []event.Event, duplicates, conflicts int64) {
	stored := map[int64]bool{} // numbers: an event without id is sent again whole
	for _, b := range m.present {
		if b.load && m.meta.undone[b.importID] {
			continue
		}
		for i := range b.events {
			if b.events[i].ID == "" {
				stored[eventNumber(&b.events[i])] = true
			}
		}
	}
	here := map[eventID]*event.Event{}
	for i := range sent {
		e := &sent[i]
		first := (*event.Event)(nil)
		if strings.HasPrefix(e.ID, rowIDPrefix) {
			if n := eventNumber(e); stored[n] {
				duplicates++
			} else {
				stored[n] = true
				bare := *e
				bare.ID = ""
				events = append(events, bare)
			}
			continue
		}
		if e.ID != "" {
			if first = here[eventID{e.Customer, e.ID}]; first == nil {
				first = m.find(e.Customer, e.ID)
			}
		} else if load && stored[eventNumber(e)] {
			delete(stored, eventNumber(e)) // each stored row stands for one
			duplicates++
			continue
		}
		switch {
		case first == nil:
			here[eventID{e.Customer, e.ID}] = e
			events = append(events, *e)
		case eventNumber(first) == eventNumber(e):
			duplicates++
		default:
			conflicts++
		}
	}
	return events, duplicates, conflicts
}

// simRead reads all of a snapshot: the numbers of each customer's events in order.
func simRead(snap *Snapshot, known map[int64]*event.Event) (map[string][]int64, error) {
	schema := snap.Schema()
	need := tile.Need{Names: true, Channel: true, IDs: true}
	number := -1
	for i, p := range schema.Properties {
		need.Properties = append(need.Properties, i)
		if p.Name == "n" {
			number = i
		}
	}
	got := map[string][]int64{}
	rows := int64(0)
	for i := range snap.Tiles() {
		t, err := snap.Tile(context.Background(), i, need)
		if err != nil {
			return nil, fmt.Errorf("tile %d: %w", i, err)
		}
		rows += int64(t.Rows)
		for c := range t.Customers() {
			name := t.Names.At(c)
			lo, hi := t.Range(c)
			if got[name] != nil || lo == hi {
				return nil, fmt.Errorf("customer %q is in two tiles, or has no rows", name)
			}
			for row := lo; row < hi; row++ {
				if number < 0 || t.Columns[number].At(row).IsNull() {
					return nil, fmt.Errorf("customer %q has an event without a number", name)
				}
				n := t.Columns[number].At(row).Int()
				e := known[n]
				if e == nil {
					return nil, fmt.Errorf("event %d was never sent", n)
				}
				if err := sameRow(schema, t, row, e); err != nil {
					return nil, fmt.Errorf("event %d of %q: %w", n, name, err)
				}
				got[name] = append(got[name], n)
			}
		}
	}
	if rows != snap.Events() {
		return nil, fmt.Errorf("the tiles have %d rows, the snapshot says %d", rows, snap.Events())
	}
	return got, nil
}

func sameRow(schema *event.Schema, t *tile.Tile, row int, e *event.Event) error {
	if t.Time.At(row) != e.Time || schema.Events[t.Event.At(row)].Text != e.Name || schema.Channels[t.Channel.At(row)].Text != e.Channel {
		return fmt.Errorf("time, name or channel is %v %s %q, sent were %v %s %q",
			t.Time.At(row), schema.Events[t.Event.At(row)].Text, schema.Channels[t.Channel.At(row)].Text, e.Time, e.Name, e.Channel)
	}
	id := ""
	if v := t.IDs.At(row); !v.IsNull() {
		id = v.Text()
	}
	if id != e.ID {
		return fmt.Errorf("id %q, sent was %q", id, e.ID)
	}
	have := 0
	for i, p := range schema.Properties {
		v := t.Columns[i].At(row)
		if v.IsNull() {
			continue
		}
		have++
		want := e.Prop(p.Name)
		if want.Type().Numeric() && v.Type().Numeric() {
			if want.Float() != v.Float() {
				return fmt.Errorf("property %s is %v, sent was %v", p.Name, v, want)
			}
		} else if want != v {
			return fmt.Errorf("property %s is %v, sent was %v", p.Name, v, want)
		}
	}
	if have != len(e.Props) {
		return fmt.Errorf("%d properties, sent were %d", have, len(e.Props))
	}
	return nil
}

// expected is what simRead must return for the model's present batches.
func (m *simModel) expected() (map[string][]*event.Event, map[string]bool) {
	want := map[string][]*event.Event{}
	floating := map[string]bool{}
	for _, b := range m.present {
		if b.load && m.meta.undone[b.importID] {
			continue
		}
		for i := range b.events {
			e := &b.events[i]
			c := m.meta.canonical(e.Customer)
			want[c] = append(want[c], e)
			floating[c] = floating[c] || b.floating
		}
	}
	for _, list := range want {
		slices.SortStableFunc(list, func(a, b *event.Event) int { return cmp.Compare(a.Time, b.Time) })
	}
	return want, floating
}

// compare holds what was read against the present batches.
func (m *simModel) compare(got map[string][]int64) error {
	want, floating := m.expected()
	for _, c := range sortedKeys(want) {
		numbers := make([]int64, len(want[c]))
		for i, e := range want[c] {
			numbers[i] = eventNumber(e)
		}
		have := got[c]
		if floating[c] {
			have = slices.Clone(have)
			slices.Sort(have)
			slices.Sort(numbers)
		}
		if !slices.Equal(have, numbers) {
			return fmt.Errorf("customer %q has events %v, want %v", c, have, numbers)
		}
	}
	for _, c := range sortedKeys(got) {
		if want[c] == nil {
			return fmt.Errorf("customer %q should not be there, has events %v", c, got[c])
		}
	}
	return nil
}

// metaOf reads what a store holds besides events.
func metaOf(s *Store, snap *Snapshot) simMeta {
	m := simMeta{links: map[string]string{}, defines: map[string]string{}, undone: map[string]bool{}, erasures: len(s.Receipts()), cutoff: s.state().cutoff()}
	m.until = m.cutoff
	for _, l := range s.Links() {
		m.links[l.From] = l.To
	}
	for _, d := range snap.Definitions() {
		m.defines[d.Name] = d.Text
	}
	for _, i := range s.Imports() {
		if i.Undone {
			m.undone[i.ID] = true
		}
	}
	return m
}

// crashKind is what happened to the machine before the store was opened.
type crashKind uint8

const (
	powerLost crashKind = iota
	processKilled
	nothingLost // closed, or a state that was seen before
)

// adopt holds an opened store against the model and returns the model of what
// is there: what may or may not have been there is decided by it for ever.
func (m *simModel) adopt(s *Store, known map[int64]*event.Event, kind crashKind) (*simModel, error) {
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	if missing := snap.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("undamaged data is reported missing: %+v", missing)
	}
	got, err := simRead(snap, known)
	if err != nil {
		return nil, err
	}
	meta := metaOf(s, snap)
	may := func(m simMeta) bool { return m.suits(meta) }
	if !meta.equal(m.meta) && !slices.ContainsFunc(m.maybe, may) {
		return nil, fmt.Errorf("links, definitions and undone imports are %v, want %v, or one of %v", meta, m.meta, m.maybe)
	}
	if i := slices.IndexFunc(m.maybe, may); i >= 0 && meta.erasures > m.meta.erasures {
		meta.gone = m.maybe[i].gone
		m = m.without(meta.gone)
	}
	m = m.young(meta.cutoff)
	there := map[int64]bool{}
	for _, list := range got {
		for _, n := range list {
			there[n] = true
		}
	}
	imports := map[string]bool{}
	for _, i := range s.Imports() {
		imports[i.ID] = true
	}

	next := newSimModel()
	next.meta = meta
	lost := (*simBatch)(nil)
	for _, b := range m.present {
		n := 0
		for i := range b.events {
			if there[eventNumber(&b.events[i])] {
				n++
			}
		}
		switch {
		case b.load && meta.undone[b.importID]: // that its events are gone, compare tells: they may have been sent again
			if imports[b.importID] {
				next.present = append(next.present, b)
			}
		case len(b.events) == 0 && !b.durable && kind != nothingLost:
			// Whether its answer is still known, nobody can tell by its events.
		case n != 0 && n != len(b.events):
			return nil, fmt.Errorf("batch %d is torn: %d of %d events", b.seq, n, len(b.events))
		case n == len(b.events):
			if lost != nil && b.level == Interval && lost.level == Interval && n > 0 {
				return nil, fmt.Errorf("what is lost is no suffix: batch %d is there, batch %d before it is not", b.seq, lost.seq)
			}
			next.present = append(next.present, b)
		case b.durable || b.load || kind == nothingLost:
			return nil, fmt.Errorf("batch %d (%v, LSN %d, load %v) was acknowledged and is gone", b.seq, b.level, b.lsn, b.load)
		case kind == processKilled && b.level == Interval && !m.faulted:
			return nil, fmt.Errorf("interval batch %d is gone although only the process ended", b.seq)
		case b.level == Interval && lost == nil:
			lost = b
		}
	}
	for _, b := range m.limbo {
		// What was sent in several batches is there by one of them: the others are
		// there, or not, by what they alone had.
		shown := slices.DeleteFunc(slices.Clone(next.present), func(o *simBatch) bool { return o.load && meta.undone[o.importID] })
		own := slices.DeleteFunc(slices.Clone(b.events), func(e event.Event) bool { return has(shown, e, nil) })
		n, alone := 0, 0
		for i := range own {
			if there[eventNumber(&own[i])] {
				n++
				if !has(m.limbo, own[i], b) {
					alone++
				}
			}
		}
		switch {
		case n == len(own) && n > 0:
			stored := *b
			stored.events = own
			next.present = append(next.present, &stored)
		case alone > 0:
			return nil, fmt.Errorf("unacknowledged batch %d is torn: %d of %d events", b.seq, n, len(own))
		default:
			next.never = append(next.never, b)
		}
	}
	slices.SortStableFunc(next.present, func(a, b *simBatch) int { return cmp.Compare(a.seq, b.seq) })
	if err := next.importIDs(s); err != nil {
		return nil, err
	}
	if err := next.compare(got); err != nil {
		return nil, err
	}
	// From now on it is promised: what was seen does not go away again.
	for i, b := range next.present {
		if !b.durable {
			fixed := *b
			fixed.durable = true
			next.present[i] = &fixed
		}
	}
	return next, nil
}

// has reports whether one of the batches, other than one, has an event.
func has(batches []*simBatch, e event.Event, other *simBatch) bool {
	number := eventNumber(&e)
	return slices.ContainsFunc(batches, func(b *simBatch) bool {
		return b != other && slices.ContainsFunc(b.events, func(e event.Event) bool { return eventNumber(&e) == number })
	})
}

// importIDs gives loads that turned out to be there their ids: those that no
// other load has, in order.
func (m *simModel) importIDs(s *Store) error {
	taken := map[string]bool{}
	for _, b := range m.present {
		if b.load && b.importID != "" {
			taken[b.importID] = true
		}
	}
	var free []Import
	for _, i := range s.Imports() {
		if !taken[i.ID] {
			free = append(free, i)
		}
	}
	for k, b := range m.present {
		if !b.load || b.importID != "" || b.count == 0 {
			continue
		}
		if len(free) == 0 {
			return errors.New("events of a load are there, but no import")
		}
		named := *b
		named.importID = free[0].ID
		if free[0].Events != int64(b.count) {
			return fmt.Errorf("import %s has %d events, sent were %d", free[0].ID, free[0].Events, b.count)
		}
		free = free[1:]
		m.present[k] = &named
	}
	for _, i := range free {
		if !m.meta.undone[i.ID] {
			return fmt.Errorf("import %s is listed, its events are not there", i.ID)
		}
	}
	return nil
}

// checkClean is promise (3): the files are what they say they are. Just
// opened, a store has no others.
func checkClean(s *Store, opened bool) error {
	report, err := s.Check(context.Background())
	if err != nil {
		return err
	}
	if len(report.Damaged) > 0 {
		return fmt.Errorf("check finds damage: %+v", report.Damaged)
	}
	// Every segment is named by the manifest, runs do not overlap.
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, numbered := fileNumber(name)
		segment := numbered && strings.HasSuffix(name, ".seg")
		if !opened {
			break
		}
		if strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".run") ||
			segment && !slices.ContainsFunc(s.state().segments, func(r segmentRecord) bool { return r.ID == n }) {
			return fmt.Errorf("%s is left over", name)
		}
	}
	for i, r := range s.state().segments {
		if r.LastLSN < r.FirstLSN || r.LastLSN > s.state().lsn {
			return fmt.Errorf("segment %s covers LSNs %d to %d of %d", r.file(), r.FirstLSN, r.LastLSN, s.state().lsn)
		}
		for _, o := range s.state().segments[:i] {
			if o.Partition == r.Partition && o.FirstLSN != r.FirstLSN && o.LastLSN >= r.FirstLSN {
				return fmt.Errorf("LSNs of segments %s and %s overlap", o.file(), r.file())
			}
		}
	}
	return nil
}
