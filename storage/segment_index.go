package storage

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"wend/event"
	"wend/tile"
)

// readIndex returns a value index, nil if the segment has none.
func (s *segment) readIndex(column string) (*valueIndex, error) {
	name := "index:" + column
	index, ok := s.indexes[name]
	if !ok {
		return nil, nil
	}
	return index.get(func() (*valueIndex, error) {
		var x *valueIndex
		if err := s.section(name, func(c *cursor) { x = c.valueIndex(s.PrefixBits) }); err != nil {
			return nil, s.damaged(fmt.Errorf("segment %s: %w", s.name, err))
		}
		return x, nil
	})
}

func (c *cursor) valueIndex(prefixBits int) *valueIndex {
	x := &valueIndex{}
	x.open = c.bitmap("blocks with other values", 1<<prefixBits, nil)
	x.occurs = c.roaring("occurrences", 1<<32)
	return x
}

// HasEvent reports whether block p may hold a row of the event, by the
// segment's index alone; false is certain.
func (s *segment) HasEvent(p int, code uint32) (bool, error) { return s.hasCode("event", p, code) }

// HasChannel is HasEvent for a channel other than 0.
func (s *segment) HasChannel(p int, code uint32) (bool, error) {
	if code == 0 {
		return s.entry(p) != nil, nil
	}
	if _, ok := s.indexes["index:channel"]; !ok && s.ChannelCounts[0] == s.Rows {
		return false, nil
	}
	return s.hasCode("channel", p, code)
}

func (s *segment) hasCode(column string, p int, code uint32) (bool, error) {
	x, err := s.readIndex(column)
	if err != nil || x == nil {
		return s.entry(p) != nil, err
	}
	return x.open.Get(p) || x.occurs.Contains(code<<s.PrefixBits+uint32(p)), nil
}

// HasValue reports whether block p may hold a row whose property prop equals
// the value, by the segment's indexes alone; false is certain.
func (s *segment) HasValue(p int, prop int, value event.Value) (bool, error) {
	if s.entry(p) == nil || s.ValueCounts[prop] == 0 {
		return false, nil
	}
	t := s.Properties[prop].Type
	switch {
	case s.held != nil: // it has no indexes
	case t == event.StringType && value.Type() == t:
		return s.hasText(p, prop, value.Text())
	case t.Numeric() && value.Type().Numeric(), t == event.TimeType && value.Type() == t:
		least, greatest, ok, err := s.Bounds(p, prop)
		if err != nil || !ok {
			return false, err
		}
		return event.Compare(least, value) <= 0 && event.Compare(value, greatest) <= 0, nil
	}
	return true, nil
}

func (s *segment) hasText(p, prop int, text string) (bool, error) {
	x, err := s.readIndex("property:" + s.Properties[prop].Name)
	if err != nil || x == nil || x.open.Get(p) {
		return true, err
	}
	codes, err := s.codes[prop].get(func() (map[string]uint32, error) {
		values, err := s.dictionary(prop)
		codes := make(map[string]uint32, len(values))
		for code, v := range values {
			codes[v] = uint32(code)
		}
		return codes, err
	})
	if err != nil {
		return true, err
	}
	code, ok := codes[text]
	return ok && x.occurs.Contains(code<<s.PrefixBits+uint32(p)), nil
}

// Bounds returns the least and greatest value of a numeric or time property in
// block p; ok is false if it has none.
func (s *segment) Bounds(p, prop int) (least, greatest event.Value, ok bool, err error) {
	t, name := s.Properties[prop].Type, "range:"+s.Properties[prop].Name
	if s.ValueCounts[prop] == 0 || !t.Numeric() && t != event.TimeType {
		return event.Null, event.Null, false, nil
	}
	r, err := s.ranges[prop].get(func() (*valueRanges, error) {
		var r *valueRanges
		if err := s.section(name, func(c *cursor) { r = c.valueRanges(s.PrefixBits) }); err != nil {
			return nil, s.damaged(fmt.Errorf("segment %s: %w", s.name, err))
		}
		return r, nil
	})
	if err != nil || !r.has.Get(p) {
		return event.Null, event.Null, false, err
	}
	i := rank(r.has, p)
	return stored(t, r.least[i]), stored(t, r.greatest[i]), true, nil
}

func (c *cursor) valueRanges(prefixBits int) *valueRanges {
	r := &valueRanges{has: c.bitmap("blocks", 1<<prefixBits, nil)}
	n := r.has.Count()
	r.least, r.greatest = c.ints("least", n, nil), c.ints("greatest", n, nil)
	return r
}

// rank returns the number of bits set before bit i.
func rank(b tile.Bitmap, i int) int {
	before := b[:i>>6].Count()
	return before + (tile.Bitmap{b[i>>6] & (1<<(i&63) - 1)}).Count()
}

func stored(t event.Type, v int64) event.Value {
	switch t {
	case event.FloatType:
		return event.Float(math.Float64frombits(uint64(v)))
	case event.TimeType:
		return event.Instant(event.Time(v))
	}
	return event.Integer(v)
}

// Values returns the values of a string property that begin with prefix, at
// most limit, sorted. complete is false if there may be more: the segment does
// not keep them all in a dictionary, the limit cut them, or they cannot be read.
func (s *segment) Values(prop int, prefix string, limit int) (values []string, complete bool) {
	if s.ValueCounts[prop] == 0 || s.Properties[prop].Type != event.StringType {
		return nil, true
	}
	var all []string
	if s.held != nil {
		held := s.heldValues(prop)
		all, complete = held.list, held.all
	} else {
		all, complete = s.dictionaryValues(prop)
	}
	for _, v := range all {
		if strings.HasPrefix(v, prefix) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	if len(values) > limit {
		return values[:limit], false
	}
	return values, complete
}

// dictionaryValues returns the values of the dictionary of a string property,
// nil if they cannot be read, and whether no row has another.
func (s *segment) dictionaryValues(prop int) (values []string, complete bool) {
	values, err := s.dictionary(prop)
	if err != nil {
		return nil, false
	}
	x, err := s.readIndex("property:" + s.Properties[prop].Name)
	return values, err == nil && x != nil && x.open.Count() == 0
}
