package engine

import (
	"slices"

	"wend/query"
	"wend/tile"
)

// matcher tells which events fulfil a condition: any of its alternatives. It
// does not change and is shared by all workers.
type matcher struct {
	plain []uint32 // events that fulfil it by their name alone
	all   bool     // every event fulfils it
	rest  []touchpoint
	text  string
}

// touchpoint is an alternative with a channel or a filter, or both.
type touchpoint struct {
	event      uint32
	anyEvent   bool
	channels   []uint32
	anyChannel bool
	filter     *expr // nil: none
}

// matcher resolves a condition's names. An event or channel that the store
// does not know (the statement is lenient) is one that no event has.
func (r *run) matcher(m *query.Matcher) (*matcher, error) {
	out := &matcher{text: m.Text}
	for i := range m.Any {
		t, known, err := r.touchpoint(&m.Any[i])
		switch {
		case err != nil:
			return nil, err
		case !known:
		case t.filter != nil || !t.anyChannel:
			out.rest = append(out.rest, t)
		case t.anyEvent:
			out.all = true
		case !slices.Contains(out.plain, t.event):
			out.plain = append(out.plain, t.event)
		}
	}
	return out, nil
}

func (r *run) touchpoint(plan *query.Touchpoint) (t touchpoint, known bool, err error) {
	t.anyEvent, t.anyChannel = plan.AnyEvent, plan.Channels == nil
	if !t.anyEvent {
		code, ok := r.schema.Event(plan.Event)
		if !ok {
			return t, false, nil
		}
		t.event = uint32(code)
	}
	if !t.anyChannel {
		r.needChannel()
		for _, name := range plan.Channels {
			if code, ok := r.schema.Channel(name); ok && code != 0 {
				t.channels = append(t.channels, uint32(code))
			}
		}
		if len(t.channels) == 0 {
			return t, false, nil
		}
	}
	if plan.Filter != nil {
		if t.filter, err = r.expr(plan.Filter); err != nil {
			return t, false, err
		}
	}
	return t, true, nil
}

// rows sets dst to the rows that exist and fulfil the condition.
func (m *matcher) rows(v *view, dst tile.Bitmap) error { return m.rowsAmong(v, v.rows, dst) }

// rowsAmong sets dst to the candidates (nil: all rows) that fulfil the condition.
func (m *matcher) rowsAmong(v *view, among, dst tile.Bitmap) error {
	if m.all {
		dst.Fill(v.Rows)
	} else {
		v.Event.Match(m.plain, v.Rows, dst)
	}
	if among != nil {
		dst.And(among)
	}
	if m.all || len(m.rest) == 0 {
		return nil
	}
	mark := len(v.used)
	defer v.giveBack(mark)
	one, other := v.bitmap(v.Rows), v.bitmap(v.Rows)
	for i := range m.rest {
		t := &m.rest[i]
		if t.anyEvent {
			one.Fill(v.Rows)
		} else {
			v.Event.Match([]uint32{t.event}, v.Rows, one)
		}
		if among != nil {
			one.And(among)
		}
		one.AndNot(dst)
		if !t.anyChannel {
			v.matchCodes(true, t.channels, other)
			one.And(other)
		}
		if t.filter != nil {
			if err := t.filter.filterAmong(v, one, other); err != nil {
				return err
			}
			one.And(other)
		}
		dst.Or(one)
	}
	return nil
}

// fits reports whether the event at row fulfils the condition.
func (m *matcher) fits(v *view, row int) (bool, error) {
	code := v.Event.At(row)
	if m.all || slices.Contains(m.plain, code) {
		return true, nil
	}
	for i := range m.rest {
		t := &m.rest[i]
		if !t.anyEvent && t.event != code || !t.anyChannel && !slices.Contains(t.channels, v.channelAt(row)) {
			continue
		}
		if t.filter == nil {
			return true, nil
		}
		x, err := t.filter.value(v, &place{row: row, customer: v.customerOf(row), last: row})
		if err != nil {
			return false, err
		}
		if !x.IsNull() && x.Bool() {
			return true, nil
		}
	}
	return false, nil
}

// customerOf finds the customer whose row it is.
func (v *view) customerOf(row int) int {
	c, _ := slices.BinarySearchFunc(v.Starts, uint32(row), func(start, row uint32) int {
		if start <= row {
			return -1
		}
		return 1
	})
	return c - 1
}
