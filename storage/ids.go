package storage

import (
	"math/bits"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// rowFilter says of most hashes that no row of a segment has them: a Bloom
// filter of eight bits a row, in memory, made when the first batch arrives that
// asks for it. What it does not rule out is looked up.
type rowFilter struct {
	once  once[bool]
	words []uint64 // nil: no row has any
	shift int
}

func idHash(customer uint64, id string) uint64 { return mix(customer, customerHash(id)) }

func momentHash(customer uint64, at event.Time) uint64 { return mix(customer, uint64(at)) }

// mayHaveID reports whether the segment may have an id, by its idHash.
func (f *segmentFile) mayHaveID(hash uint64) (bool, error) {
	return f.ids.mayHave(hash, func() error { return f.fill(&f.ids, false) })
}

// mayHaveBare reports whether a customer may have a row without id at a time, by their momentHash.
func (f *segmentFile) mayHaveBare(hash uint64) (bool, error) {
	return f.bare.mayHave(hash, func() error { return f.fill(&f.bare, true) })
}

// mayHave has fill make the filter if that was not done yet.
func (r *rowFilter) mayHave(hash uint64, fill func() error) (bool, error) {
	if _, err := r.once.get(func() (bool, error) { return true, fill() }); err != nil {
		return false, err
	}
	if r.words == nil {
		return false, nil
	}
	for range 4 {
		bit := hash >> r.shift
		if r.words[bit>>6]>>(bit&63)&1 == 0 {
			return false, nil
		}
		hash = hash<<17 | hash>>47
	}
	return true, nil
}

// fill makes a filter of the rows that have an id, or of those that have none.
func (f *segmentFile) fill(r *rowFilter, bare bool) error {
	var words []uint64
	var times []event.Time
	size := max(bits.Len64(uint64(8*f.seg.Rows)), 6)
	shift := 64 - size
	for b := range 1 << f.seg.PrefixBits {
		if f.seg.Stats(b).Rows == 0 {
			continue
		}
		block, err := f.seg.Block(b)
		if err != nil {
			return err
		}
		ids, err := block.IDs()
		if err != nil {
			return err
		}
		if ids == nil && !bare {
			continue
		}
		names, err := block.Names()
		if err != nil {
			return err
		}
		if bare {
			times = slices.Grow(times[:0], block.Rows)[:block.Rows]
			block.Time.Decode(0, times)
		}
		if words == nil {
			words = make([]uint64, 1<<size/64)
		}
		for c, customer := range hashesOf(names) {
			for row := block.Starts[c]; row < block.Starts[c+1]; row++ {
				var hash uint64
				switch has := ids != nil && ids.Present.Get(int(row)); {
				case has == bare:
					continue
				case bare:
					hash = momentHash(customer, times[row])
				default:
					hash = idHash(customer, ids.Dict[ids.Codes[row]])
				}
				for range 4 {
					bit := hash >> shift
					words[bit>>6] |= 1 << (bit & 63)
					hash = hash<<17 | hash>>47
				}
			}
		}
	}
	r.words, r.shift = words, shift
	return nil
}

// storedEvent finds an event in the segments by customer and id. Events of
// undone imports are not there. The caller holds mu.
func (s *Store) storedEvent(key eventID) (event.Event, bool, error) {
	hash := customerHash(key.customer)
	undone := s.undone()
	for _, r := range s.state().segments {
		f := s.segments[r.ID]
		if f == nil {
			continue // damaged: what is stored there cannot be known
		}
		may, err := f.mayHaveID(idHash(hash, key.id))
		if may && seeded.On("filter_decides") {
			return event.Event{}, true, nil
		}
		var e event.Event
		found := false
		if may && err == nil {
			e, found, err = s.lookUp(f, hash, key, undone)
		}
		if err != nil && s.leaveOutUnread(f, err) {
			s.nudge() // the background records it
			continue
		}
		if err != nil || found {
			return e, found, err
		}
	}
	return event.Event{}, false, nil
}

func (s *Store) lookUp(f *segmentFile, hash uint64, key eventID, undone []bool) (event.Event, bool, error) {
	none := event.Event{}
	b := f.block(blockOf(hash, f.seg.PrefixBits))
	if b == nil {
		return none, false, nil
	}
	names, err := s.cache.names(b, true)
	if err != nil {
		return none, false, err
	}
	customer, ok := findHashed(names, hash, key.customer)
	if !ok || f.mask.has(b.index, customer) {
		return none, false, nil
	}
	ids, err := s.cache.column(b, -1, true)
	if err != nil || ids == nil {
		return none, false, err
	}
	if b, err = s.cache.read(b, true); err != nil {
		return none, false, err
	}
	for row := int(b.Starts[customer]); row < int(b.Starts[customer+1]); row++ {
		if !ids.Present.Get(row) || ids.Dict[ids.Codes[row]] != key.id {
			continue
		}
		if f.aged.hides(b.Time.At(row)) {
			continue // it is gone, and its id may come again
		}
		imports, err := b.Import()
		if err != nil {
			return none, false, err
		}
		if imports != nil && int(imports[row]) < len(undone) && undone[imports[row]] {
			continue
		}
		e, err := s.eventAt(b, row, key)
		return e, err == nil, err
	}
	return none, false, nil
}

// eventAt reads one row.
func (s *Store) eventAt(b *tileBlock, row int, key eventID) (event.Event, error) {
	rows, err := s.rowsOf(b)
	if err != nil {
		return event.Event{}, err
	}
	return rows.at(row, key), nil
}

// blockRows is a block's columns, to read rows of it as events.
type blockRows struct {
	b       *tileBlock
	channel *tile.Codes
	columns []*tile.Column // by property
}

func (s *Store) rowsOf(b *tileBlock) (*blockRows, error) {
	channel, err := s.cache.channel(b, true)
	if err != nil {
		return nil, err
	}
	r := &blockRows{b: b, channel: channel}
	for i := range b.src.seg.Properties {
		c, err := s.cache.column(b, i, true)
		if err != nil {
			return nil, err
		}
		r.columns = append(r.columns, c)
	}
	return r, nil
}

// names are the event and the channel of a row.
func (r *blockRows) names(row int) (name, channel string) {
	seg := r.b.src.seg
	name = seg.Events[r.b.Event.At(row)]
	if r.channel != nil {
		channel = seg.Channels[r.channel.At(row)]
	}
	return name, channel
}

// hash is the eventHash of a row of a moment.
func (r *blockRows) hash(row int, moment uint64) uint64 {
	name, channel := r.names(row)
	h := rowHash(moment, name, channel)
	for i, p := range r.b.src.seg.Properties {
		h += propHash(p.Name, r.columns[i].At(row))
	}
	return h
}

func (r *blockRows) at(row int, key eventID) event.Event {
	e := event.Event{Customer: key.customer, ID: key.id, Time: r.b.Time.At(row)}
	e.Name, e.Channel = r.names(row)
	for i, p := range r.b.src.seg.Properties {
		if v := r.columns[i].At(row); !v.IsNull() {
			e.Props = append(e.Props, event.Prop{Name: p.Name, Value: v})
		}
	}
	slices.SortFunc(e.Props, func(p, q event.Prop) int { return strings.Compare(p.Name, q.Name) })
	return e
}
