package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"wend/event"
	"wend/query"
	"wend/tile"
)

// oneTile is a snapshot of a single tile.
type oneTile struct {
	schema *event.Schema
	tile   *tile.Tile
}

func (s *oneTile) Schema() *event.Schema           { return s.schema }
func (s *oneTile) Definitions() []event.Definition { return nil }
func (s *oneTile) Version() string                 { return "1" }
func (s *oneTile) EndOfData() (event.Time, bool)   { return event.MaxTime, true }
func (s *oneTile) Events() int64                   { return int64(s.tile.Rows) }
func (s *oneTile) Customers() (int64, error)       { return int64(s.tile.Customers()), nil }
func (s *oneTile) Tiles() int                      { return 1 }
func (s *oneTile) Missing() []Missing              { return nil }
func (s *oneTile) Tile(context.Context, int, tile.Need) (*tile.Tile, error) {
	return s.tile, nil
}
func (s *oneTile) TileRows(int) int64 { return 0 }
func (s *oneTile) Locate(context.Context, string) (int, int, string, bool, error) {
	return 0, 0, "", false, nil
}

// mixedTile has events with every type of property, each of them null here and there.
func mixedTile(t *testing.T) *oneTile {
	s := &event.Schema{
		Events:   []event.Name{{Text: "view"}, {Text: "buy"}, {Text: "größe"}},
		Channels: []event.Name{{}, {Text: "web"}, {Text: "app"}},
		Properties: []event.Property{{Name: "n", Type: event.IntegerType}, {Name: "f", Type: event.FloatType},
			{Name: "s", Type: event.StringType}, {Name: "b", Type: event.BooleanType}, {Name: "t", Type: event.TimeType}},
	}
	r := rand.New(rand.NewPCG(3, 3))
	var journeys []tile.Journey
	for c := range 40 {
		j := tile.Journey{Customer: fmt.Sprintf("c%d", c)}
		for k := range r.IntN(12) {
			e := event.Event{Customer: j.Customer, Time: event.Time(k * 3600e6), Name: s.Events[r.IntN(3)].Text, Channel: s.Channels[r.IntN(3)].Text}
			for _, p := range []event.Prop{
				{Name: "n", Value: event.Integer(int64(r.IntN(7) - 3))}, {Name: "f", Value: event.Float(float64(r.IntN(7)-3) / 2)},
				{Name: "s", Value: event.String([]string{"", "a", "Ab", "web"}[r.IntN(4)])}, {Name: "b", Value: event.Boolean(r.IntN(2) == 0)},
				{Name: "t", Value: event.Instant(event.Time(r.IntN(5) * 3600e6))},
			} {
				if r.IntN(3) > 0 {
					e.Props = append(e.Props, p)
				}
			}
			j.Events = append(j.Events, e)
		}
		journeys = append(journeys, j)
	}
	built, err := tile.Build(s, journeys)
	if err != nil {
		t.Fatal(err)
	}
	return &oneTile{s, built}
}

// compiled binds and compiles `where text`.
func compiled(t *testing.T, s *oneTile, text string) (*run, *expr) {
	t.Helper()
	st, err := query.Parse("measure events where " + text)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := query.Bind(st[0], &query.Catalog{Schema: s.schema, EndOfData: event.MaxTime})
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(context.Background(), plan, s, RunOptions{})
	e, err := r.expr(plan.Where)
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

// Filtering a tile at once, in whichever short way, selects the events for
// which the condition is true one by one.
func TestFilterIsValueOfEveryEvent(t *testing.T) {
	s := mixedTile(t)
	for _, text := range []string{
		"event = 'buy'", "event != 'buy'", "event in ('buy', 'größe')", "event > 'buy' and event < 'view'", "event is null",
		"channel = 'web'", "channel != 'web'", "not channel = 'web'", "channel is null", "channel like 'w%'", "channel in ('app', null)",
		"length(channel) = 3", "upper(event) ~ 'B|GR'",
		"s = 'a'", "s != 'a'", "s = ''", "s > 'A'", "s is not null", "lower(s) = 'ab'", "s in ('a', 'web')", "s not in ('a', null)", "s like '_b'", "s = channel",
		"n > 0", "n >= 0", "n < 0", "n <= 0", "n = 2", "n != 2", "n = 0.5", "n > -0.5", "f > 0", "f = 0.5", "f >= n", "n between -1 and 1", "n between f and 2",
		"t > 1970-01-01T02:00:00Z", "time > 1970-01-01T02:00:00Z", "time <= t", "b", "not b", "b = true", "b is null",
		"customer = 'c7'", "customer like 'c1%'", "customer.s = 'a'", "customer.n > 0 and n < 0", "customer.f is null",
		"n / f > 1", "n + 1 > 0 or s = 'a'", "abs(n) = 2 and not (f > 0)", "round(f) = 1", "coalesce(n, f, 3) > 1", "-n = 1",
		"hour(time) in (1, 3)", "hour(time) in (1, 3, 5, 7, 9, 11, 13, 15, null)", "f in (-1, -0.5, 0, 0.5, 1, 2, 3, 4)", "s not in ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')", "weekday(t) = 4", "date(t) = '1970-01-01'",
		"event = 'buy' and channel = 'web'", "event = 'buy' or channel = 'web'", "not (event = 'buy' and (n > 0 or s = 'a'))", "not (b or n > 0 or channel = 'web')",
		"null", "n > null", "n > null or event = 'buy'", "true", "not null",
	} {
		_, e := compiled(t, s, text)
		v := &view{Tile: s.tile, run: newRun(context.Background(), &query.Plan{}, s, RunOptions{}), ctx: context.Background()}
		got := tile.NewBitmap(v.Rows)
		if err := e.filter(v, got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		wrong := 0
		for row := range v.Rows {
			x, err := e.value(v, &place{row: row, last: row, customer: v.customerOf(row)})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if want := !x.IsNull() && x.Bool(); got.Get(row) != want && wrong < 3 {
				wrong++
				t.Errorf("%s: row %d is %v in the filter, %v by value", text, row, got.Get(row), want)
			}
		}
	}
}

// What a conjunction has left out is not evaluated, so it cannot fail.
func TestWhatIsLeftOutCannotFail(t *testing.T) {
	s := mixedTile(t)
	for text, fails := range map[string]bool{
		"n + 9223372036854775807 > 0":                                       true,
		"n <= 0 and n + 9223372036854775807 > 0":                            false,
		"n > 0 and n + 9223372036854775807 > 0":                             true,
		"(n > 0 or n is null) or n + 9223372036854775807 > 0":               false,
		"event = 'nobody' and n * 9223372036854775807 > 0":                  false,
		"n between -1 and 1 and n * 9223372036854775807 is not null":        false,
		"not (n between -1 and 1) and n * 9223372036854775807 is not null":  true,
		"-(n - 9223372036854775807) > 0 and abs(n - 9223372036854775807)>0": true,
	} {
		_, e := compiled(t, s, text)
		v := &view{Tile: s.tile, run: newRun(context.Background(), &query.Plan{}, s, RunOptions{}), ctx: context.Background()}
		err := e.filter(v, tile.NewBitmap(v.Rows))
		var mistake *query.Error
		if fails != errors.As(err, &mistake) || !fails && err != nil {
			t.Errorf("%s: %v, fails: %v", text, err, fails)
		}
		if fails && mistake != nil && (mistake.Code != "integer_overflow" || mistake.Column < 1 || mistake.Length < 1) {
			t.Errorf("%s: %+v has no code or place", text, mistake)
		}
	}
}

// Looking a value up among many constants is comparing it with each.
func TestListedValuesAreThoseThatAreEqual(t *testing.T) {
	values := []event.Value{event.String(""), event.String("a"), event.String("1"), event.Boolean(false), event.Boolean(true), event.Instant(0), event.Instant(1), event.Null}
	for _, i := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 1 << 53, 1<<53 + 1, 1 << 62, math.MaxInt64 - 1, math.MaxInt64} {
		values = append(values, event.Integer(i), event.Float(float64(i)))
	}
	for _, f := range []float64{math.Copysign(0, -1), 0.5, -0.5, 1 << 63, -1 << 63, math.Nextafter(1<<63, 0), math.Nextafter(-1<<63, -math.MaxFloat64), 1e300, math.Inf(1), math.Inf(-1)} {
		values = append(values, event.Float(f))
	}
	constant := func(x event.Value) *expr { return &expr{op: opConst, constant: x} }
	r := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		n := &expr{op: opIn, args: []*expr{nil}}
		for range listedFrom + r.IntN(4) {
			n.args = append(n.args, constant(values[r.IntN(len(values))]))
		}
		list := listOf(n.args[1:])
		for _, x := range values {
			n.args[0], n.list = constant(x), nil
			want, _ := n.in(nil, nil)
			n.list = list
			if got, _ := n.in(nil, nil); got != want {
				t.Fatalf("%v (%v) in %v is %v, want %v", x, x.Type(), list, got, want)
			}
		}
	}
}

func TestWholeNumbersOverflow(t *testing.T) {
	values := []int64{math.MinInt64, math.MinInt64 + 1, -1 << 32, -2, -1, 0, 1, 2, 3, 1 << 31, 1 << 32, math.MaxInt64 - 1, math.MaxInt64}
	for _, x := range values {
		for _, y := range values {
			a, b := big.NewInt(x), big.NewInt(y)
			for op, exact := range map[opcode]*big.Int{opAdd: new(big.Int).Add(a, b), opSub: new(big.Int).Sub(a, b), opMul: new(big.Int).Mul(a, b)} {
				z, ok := wholeNumbers(op, x, y)
				if ok != exact.IsInt64() || ok && z != exact.Int64() {
					t.Errorf("op %d of %d and %d: %d, %v, want %v", op, x, y, z, ok, exact)
				}
			}
		}
	}
}

// The remembered stretch between two changes of the clock gives the same as
// asking the timezone every time, also right at a change and far away.
func TestZoneRemembersOnlyWhatHolds(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"} {
		location, err := time.LoadLocation(name)
		if err != nil {
			t.Skip(err)
		}
		z := newZone(location)
		r := rand.New(rand.NewPCG(1, 1))
		for range 5000 {
			at := event.Time(r.Int64N(int64(event.MaxTime-event.MinTime))) + event.MinTime
			if r.IntN(2) == 0 {
				at = event.At(time.Date(2000+r.IntN(30), time.Month(1+r.IntN(12)), 1+r.IntN(31), r.IntN(24), 0, 0, 0, time.UTC)) - event.Time(r.IntN(2))
			}
			std := at.Std().In(location)
			got := fmt.Sprint(z.datePart(opHour, at), z.datePart(opDate, at), z.datePart(opWeekday, at), z.datePart(opDay, at), z.datePart(opMonth, at), z.datePart(opYear, at))
			want := fmt.Sprint(std.Hour(), " ", std.Format(time.DateOnly), " ", (int(std.Weekday())+6)%7+1, " ", std.Day(), " ", int(std.Month()), " ", std.Year())
			if got != want {
				t.Fatalf("%s at %v: %s, want %s", name, at, got, want)
			}
		}
	}
}
