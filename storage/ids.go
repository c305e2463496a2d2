package storage

import (
	"math/bits"
	"slices"
	"strings"

	"wend/event"
	"wend/internal/seeded"
)

// idFilter says of most ids that a segment does not have them: a Bloom filter
// of eight bits an id, in memory, made when the first batch with ids arrives.
// What it does not rule out is looked up.
type idFilter struct {
	once  once[bool]
	words []uint64
	shift int
}

func idHash(customer uint64, id string) uint64 { return mix(customer, customerHash(id)) }

// mayHave reports whether the segment may have the id.
func (f *segmentFile) mayHave(hash uint64) (bool, error) {
	if _, err := f.filter.once.get(func() (bool, error) { return true, f.makeFilter() }); err != nil {
		return false, err
	}
	if f.filter.words == nil {
		return false, nil
	}
	for range 4 {
		bit := hash >> f.filter.shift
		if f.filter.words[bit>>6]>>(bit&63)&1 == 0 {
			return false, nil
		}
		hash = hash<<17 | hash>>47
	}
	return true, nil
}

func (f *segmentFile) makeFilter() error {
	var words []uint64
	shift := 0
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
		if ids == nil {
			continue
		}
		if words == nil {
			size := max(bits.Len64(uint64(8*f.seg.Rows)), 6)
			shift = 64 - size
			words = make([]uint64, 1<<size/64)
		}
		names, err := block.Names()
		if err != nil {
			return err
		}
		for c, customer := range hashesOf(names) {
			for row := block.Starts[c]; row < block.Starts[c+1]; row++ {
				if !ids.Present.Get(int(row)) {
					continue
				}
				hash := idHash(customer, ids.Dict[ids.Codes[row]])
				for range 4 {
					bit := hash >> shift
					words[bit>>6] |= 1 << (bit & 63)
					hash = hash<<17 | hash>>47
				}
			}
		}
	}
	f.filter.words, f.filter.shift = words, shift
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
		may, err := f.mayHave(idHash(hash, key.id))
		if may && seeded.On("filter_decides") {
			return event.Event{}, true, nil
		}
		var e event.Event
		found := false
		if may && err == nil {
			e, found, err = s.lookUp(f, hash, key, undone)
		}
		if err != nil && s.leaveOut(err) {
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
	seg := b.src.seg
	e := event.Event{Customer: key.customer, ID: key.id, Time: b.Time.At(row), Name: seg.Events[b.Event.At(row)]}
	channel, err := s.cache.channel(b, true)
	if err != nil {
		return e, err
	}
	if channel != nil {
		e.Channel = seg.Channels[channel.At(row)]
	}
	for i, p := range seg.Properties {
		c, err := s.cache.column(b, i, true)
		if err != nil {
			return e, err
		}
		if v := c.At(row); !v.IsNull() {
			e.Props = append(e.Props, event.Prop{Name: p.Name, Value: v})
		}
	}
	slices.SortFunc(e.Props, func(p, q event.Prop) int { return strings.Compare(p.Name, q.Name) })
	return e, nil
}
