package tile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wend/event"
)

var shop = &event.Schema{
	Events:   []event.Name{{Text: "view"}, {Text: "buy"}},
	Channels: []event.Name{{Text: ""}, {Text: "web"}},
	Properties: []event.Property{
		{Name: "device", Type: event.StringType}, {Name: "due", Type: event.TimeType}, {Name: "items", Type: event.IntegerType},
		{Name: "member", Type: event.BooleanType}, {Name: "never", Type: event.StringType}, {Name: "value", Type: event.FloatType},
	},
}

// eventsOf reads a tile back, row by row.
func eventsOf(t *Tile) []Journey {
	var journeys []Journey
	for c := range t.Customers() {
		j := Journey{Customer: t.Names.At(c)}
		lo, hi := t.Range(c)
		for i := lo; i < hi; i++ {
			e := event.Event{Customer: j.Customer, Time: t.Time.At(i), Name: shop.Events[t.Event.At(i)].Text,
				Channel: shop.Channels[t.Channel.At(i)].Text, ID: t.IDs.At(i).Text()}
			for k, c := range t.Columns {
				if v := c.At(i); !v.IsNull() {
					e.Props = append(e.Props, event.Prop{Name: shop.Properties[k].Name, Value: v})
				}
			}
			j.Events = append(j.Events, e)
		}
		journeys = append(journeys, j)
	}
	return journeys
}

func TestBuild(t *testing.T) {
	journeys := []Journey{
		{Customer: "ann", Events: []event.Event{
			{Customer: "ann", Time: 1, Name: "view", Channel: "web", ID: "e1", Props: []event.Prop{
				{Name: "device", Value: event.String("mobile")}, {Name: "due", Value: event.Instant(-5)}, {Name: "member", Value: event.Boolean(true)}}},
			{Customer: "ann", Time: 1, Name: "buy", Props: []event.Prop{{Name: "value", Value: event.Float(2)}}},
		}},
		{Customer: "nobody"},
		{Customer: "züs", Events: []event.Event{
			{Customer: "züs", Time: event.MinTime, Name: "view", Props: []event.Prop{{Name: "device", Value: event.String("")}}},
			{Customer: "züs", Time: event.MaxTime, Name: "view", Props: []event.Prop{{Name: "device", Value: event.String("mobile")}, {Name: "items", Value: event.Integer(-1)}}},
		}},
	}
	tile, err := Build(shop, journeys)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(journeys, eventsOf(tile), cmp.AllowUnexported(event.Value{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the tile differs from its events (-events +tile):\n%s", diff)
	}
	if tile.Rows != 4 || !tile.Ties.Get(0) || tile.Ties.Get(2) {
		t.Errorf("%d rows, ties %b", tile.Rows, tile.Ties)
	}
	if tile.Columns[4] != nil {
		t.Error("a property that no row has got a column")
	}
	empty, err := Build(shop, nil)
	if err != nil || empty.Rows != 0 || empty.Customers() != 0 {
		t.Errorf("a tile of nobody: %+v, %v", empty, err)
	}
}

func TestPackedColumn(t *testing.T) {
	tile, err := Build(shop, []Journey{{"ann", []event.Event{
		{Name: "view", Props: []event.Prop{{Name: "device", Value: event.String("mobile")}}},
		{Name: "view"},
		{Name: "view", Props: []event.Prop{{Name: "device", Value: event.String("")}}},
		{Name: "buy", Props: []event.Prop{{Name: "value", Value: event.Float(1)}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	device, value := tile.Columns[0], tile.Columns[5]
	packed := device.Packed()
	if packed.Planes == nil || packed.Codes != nil || packed.Packed() != packed {
		t.Errorf("the packed column has planes %v and codes %v", packed.Planes, packed.Codes)
	}
	for i := range tile.Rows {
		if packed.At(i) != device.At(i) {
			t.Errorf("row %d: %v, packed %v", i, device.At(i), packed.At(i))
		}
	}
	if value.Packed() != value || (*Column)(nil).Packed() != nil {
		t.Error("a column that is not of texts was packed")
	}
}

func TestBuildWidensIntegers(t *testing.T) {
	tile, err := Build(shop, []Journey{{"ann", []event.Event{{Name: "buy", Props: []event.Prop{{Name: "value", Value: event.Integer(3)}}}}}})
	if err != nil || tile.Columns[5].At(0) != event.Float(3) {
		t.Errorf("integer 3 became %v, %v", tile.Columns[5].At(0), err)
	}
}

func TestBuildRefuses(t *testing.T) {
	f := func(want string, e event.Event) {
		t.Helper()
		if _, err := Build(shop, []Journey{{"ann", []event.Event{e}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	f(`event "puchase" is not in the schema`, event.Event{Name: "puchase"})
	f(`channel "tv" is not in the schema`, event.Event{Name: "buy", Channel: "tv"})
	f(`property "size" is not in the schema`, event.Event{Name: "buy", Props: []event.Prop{{Name: "size", Value: event.Integer(1)}}})
	f(`property "device" is integer, in the schema string`, event.Event{Name: "buy", Props: []event.Prop{{Name: "device", Value: event.Integer(1)}}})
}
