package event

import (
	"math"
	"testing"
)

func TestParseValue(t *testing.T) {
	f := func(text string, want Value) {
		t.Helper()
		if got := ParseValue(text); got != want {
			t.Errorf("ParseValue(%q) = %v %v, want %v %v", text, got.Type(), got, want.Type(), want)
		}
	}
	f("", Null)
	f("true", Boolean(true))
	f("-12", Integer(-12))
	f("9223372036854775808", String("9223372036854775808"))
	f("007", String("007"))
	f("+4", String("+4"))
	f("0.5", Float(0.5))
	f("-17.25", Float(-17.25))
	f("00.5", String("00.5"))
	f("1e5", String("1e5"))
	f("inf", String("inf"))
	f("Köln", String("Köln"))
}

func TestCompareNumbersIsExact(t *testing.T) {
	f := func(a, b Value, want int) {
		t.Helper()
		if got := Compare(a, b); got != want {
			t.Errorf("Compare(%v, %v) = %d, want %d", a, b, got, want)
		}
		if got := Compare(b, a); got != -want {
			t.Errorf("Compare(%v, %v) = %d, want %d", b, a, got, -want)
		}
	}
	f(Integer(math.MaxInt64), Float(math.MaxInt64), -1) // the float is 2^63
	f(Integer(math.MinInt64), Float(math.MinInt64), 0)
	f(Integer(1<<53+1), Float(1<<53), 1) // no float says 2^53 + 1
	f(Integer(3), Float(3.5), -1)
	f(Integer(-3), Float(-3.5), 1)
	f(Integer(0), Float(math.Inf(1)), -1)
	f(Integer(0), Float(math.Inf(-1)), 1)
}

func TestDuration(t *testing.T) {
	f := func(text string, want Duration, printed string) {
		t.Helper()
		got, err := ParseDuration(text)
		if err != nil || got != want || got.String() != printed {
			t.Errorf("ParseDuration(%q) = %d (%v) %v, want %d (%s)", text, got, got, err, want, printed)
		}
	}
	f("45s", 45*Second, "45s")
	f("90s", 90*Second, "90s")
	f("120m", 2*Hour, "2h")
	f("2w", 14*Day, "14d")
	f("250ms", 250*Millisecond, "250ms")
	f("0d", 0, "0s")
	if got := (1500 * Microsecond).String(); got != "1.5ms" {
		t.Errorf("1500µs prints as %s", got)
	}
	for _, bad := range []string{"", "d", "7", "7mo", "7 d", "1.5h", "99999999999999w"} {
		if d, err := ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", bad, d)
		}
	}
}

func TestBuilder(t *testing.T) {
	b := NewBuilder()
	events := []Event{
		{Customer: "ann", Time: 5, Name: "view", Props: []Prop{{"price", Integer(3)}}},
		{Customer: "bob", Time: 4, Name: "buy", Channel: "web", ID: "x1"},
		{Customer: "ann", Time: 5, Name: "view", Channel: "web", Props: []Prop{{"note", String("ü")}, {"price", Float(2.5)}}},
	}
	for _, e := range events {
		b.Add(e)
	}
	batch := b.Batch()
	if batch.Len() != 3 || b.Len() != 0 {
		t.Fatalf("%d events in the batch, %d left in the builder", batch.Len(), b.Len())
	}
	events[0].Props[0].Value = Float(3) // widened by the float that came later
	for i, want := range events {
		got := batch.At(i)
		if got.Customer != want.Customer || got.Time != want.Time || got.Name != want.Name || got.Channel != want.Channel || got.ID != want.ID || len(got.Props) != len(want.Props) {
			t.Fatalf("event %d is %v, want %v", i, got, want)
		}
		for k := range want.Props {
			if got.Props[k] != want.Props[k] {
				t.Errorf("event %d has %v, want %v", i, got.Props[k], want.Props[k])
			}
		}
	}
}
