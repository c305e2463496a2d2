package storage

import (
	"strings"
	"testing"

	"wend/event"
	"wend/storage/vfs"
)

// sumOf is the sum of the rows of a store that was loaded with events.
func sumOf(t *testing.T, events ...event.Event) rowSum {
	t.Helper()
	s := open(t, vfs.NewMem(), "store")
	loadEvents(t, s, events...)
	var sum rowSum
	for _, r := range s.state().segments {
		if err := s.verifySegment(r, &sum); err != nil {
			t.Fatal(err)
		}
	}
	return sum
}

// The sum is of rows: their order, their segments and the codes of their names
// do not matter, and every field does, wherever it changes places.
func TestRowSum(t *testing.T) {
	row := func(customer string, second int, name, id, channel, color string, value float64) event.Event {
		return event.Event{Customer: customer, Time: at("2025-03-01T10:00:00Z").Add(event.Duration(second) * event.Second), Name: name, ID: id,
			Channel: channel, Props: []event.Prop{{Name: "color", Value: event.String(color)}, {Name: "value", Value: event.Float(value)}}}
	}
	a, b := row("ann", 1, "view", "i1", "web", "red", 1.5), row("bob", 2, "buy", "i2", "shop", "blue", 2.5)
	base := sumOf(t, a, b)
	if base != sumOf(t, a, b) || base != sumOf(t, b, a) {
		t.Error("the sum depends on the order")
	}
	far := func(e event.Event) event.Event {
		e.Time = e.Time.Add(-400 * event.Day)
		return e
	}
	if sumOf(t, a, far(b)) != sumOf(t, far(b), a) {
		t.Error("the sum depends on the order of partitions")
	}
	swapped := func(swap func(a, b *event.Event)) rowSum {
		x, y := a, b
		x.Props, y.Props = append([]event.Prop{}, a.Props...), append([]event.Prop{}, b.Props...)
		swap(&x, &y)
		return sumOf(t, x, y)
	}
	for name, swap := range map[string]func(a, b *event.Event){
		"customers": func(a, b *event.Event) { a.Customer, b.Customer = b.Customer, a.Customer },
		"times":     func(a, b *event.Event) { a.Time, b.Time = b.Time, a.Time },
		"names":     func(a, b *event.Event) { a.Name, b.Name = b.Name, a.Name },
		"ids":       func(a, b *event.Event) { a.ID, b.ID = b.ID, a.ID },
		"channels":  func(a, b *event.Event) { a.Channel, b.Channel = b.Channel, a.Channel },
		"texts":     func(a, b *event.Event) { a.Props[0], b.Props[0] = b.Props[0], a.Props[0] },
		"numbers":   func(a, b *event.Event) { a.Props[1], b.Props[1] = b.Props[1], a.Props[1] },
		"no value":  func(a, b *event.Event) { b.Props = append(b.Props[:0], a.Props[1]); a.Props = a.Props[:1] },
	} {
		if swapped(swap) == base {
			t.Errorf("rows that exchange their %s have the same sum", name)
		}
	}
}

// A merge that widens numbers, drops an import and merges segments with other
// lists of names has the sum of what it read.
func TestMergesAreVerified(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "store")
	loadEvents(t, s, view("ann", 1, event.Prop{Name: "n", Value: event.Integer(1 << 40)}), view("bob", 1))
	undone := loadEvents(t, s, view("cleo", 2, event.Prop{Name: "n", Value: event.Integer(7)}))
	loadEvents(t, s, event.Event{Customer: "ann", Time: at("2025-03-01T11:00:00Z"), Name: "buy", Channel: "web",
		Props: []event.Prop{{Name: "m", Value: event.String("x")}, {Name: "n", Value: event.Float(0.5)}}})
	if _, err := s.Undo(t.Context(), undone.ImportID); err != nil {
		t.Fatal(err)
	}
	before := contents(t, s)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, s); after != before || strings.Contains(after, "cleo") || len(s.state().segments) != 1 {
		t.Errorf("%d segments hold:\n%swant:\n%s", len(s.state().segments), after, before)
	}
}
