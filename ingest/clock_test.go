package ingest

import (
	"math/rand/v2"
	"testing"
	"time"

	"wend/event"
)

func TestUsualTimes(t *testing.T) {
	c, err := newClock(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	f := func(text, want string) {
		t.Helper()
		got, fault := c.mapped(text)
		if fault != timeOK || got.String() != want {
			t.Errorf("%q is %s (%d), want %s", text, got, fault, want)
		}
	}
	f("2014-10-22T11:15:41Z", "2014-10-22T11:15:41Z")
	f("2014-10-22t11:15:41.5z", "2014-10-22T11:15:41.5Z")
	f("2014-10-22 11:15:41", "2014-10-22T11:15:41Z")
	f("2014-10-22 11:15", "2014-10-22T11:15:00Z")
	f("2014-10-22T11:15:41", "2014-10-22T11:15:41Z")
	f("2014/10/22 11:15:41.000", "2014-10-22T11:15:41Z")
	f("2014-10-22 11:15:41.123456", "2014-10-22T11:15:41.123456Z")
	f("2014-10-22 11:15:41.123456789", "2014-10-22T11:15:41.123456Z") // finer is cut off
	f("2014-10-22 11:15:41,5", "2014-10-22T11:15:41.5Z")
	f("22.10.2014 11:15", "2014-10-22T11:15:00Z")
	f("2.1.2014", "2014-01-02T00:00:00Z")
	f("2014-10-22", "2014-10-22T00:00:00Z")
	f("2014/1/2", "2014-01-02T00:00:00Z")
	f(" 2014-10-22 ", "2014-10-22T00:00:00Z")
	f("2011-10-01T00:38:44.546+02:00", "2011-09-30T22:38:44.546Z")
	f("2011-10-01 00:38:44-0330", "2011-10-01T04:08:44Z")
	f("2011-10-01 00:38:44 +01", "2011-09-30T23:38:44Z")
	f("2011-10-01 00:38:44 UTC", "2011-10-01T00:38:44Z")
	f("2011-10-01 Z", "2011-10-01T00:00:00Z")
	f("2012-02-29", "2012-02-29T00:00:00Z")
	f("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z") // a leap second
	f("0001-01-01", "0001-01-01T00:00:00Z")
	f("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z")
	// Numbers since 1970 tell their unit by their size.
	f("0", "1970-01-01T00:00:00Z")
	f("1511848894", "2017-11-28T06:01:34Z")
	f("1511848894123", "2017-11-28T06:01:34.123Z")
	f("1511848894123456", "2017-11-28T06:01:34.123456Z")
	f("1511848894123456789", "2017-11-28T06:01:34.123456Z")
	f("1511848894.25", "2017-11-28T06:01:34.25Z")
	f("1511848894123.5", "2017-11-28T06:01:34.1235Z")
	f("1.511848894e9", "2017-11-28T06:01:34Z")
	f("1.7000000001e+09", "2023-11-14T22:13:20.1Z")
	f("1.700000000123457e9", "2023-11-14T22:13:20.123457Z")
	f("1.7000000001234e12", "2023-11-14T22:13:20.1234Z")
	f("-1.7000000009999999e9", "1916-02-18T01:46:39Z")
	f("-1.5", "1969-12-31T23:59:58.5Z")
	f("99999999999", "5138-11-16T09:46:39Z")
	f("100000000000", "1973-03-03T09:46:40Z")
	f("-62135596800000000", "0001-01-01T00:00:00Z")

	bad := func(text string, want timeFault) {
		t.Helper()
		if got, fault := c.mapped(text); fault != want {
			t.Errorf("%q is %s (%d), want fault %d", text, got, fault, want)
		}
	}
	for _, text := range []string{"", "noon", "2014-13-01", "2014-02-30", "2013-02-29", "2014-10-22T24:00:00", "2014-10-22 11:60", "2014-10-22 11:15:61",
		"2014-10-22T", "2014-10-22T11", "2014-10-22 11:15:41+1", "2014-10-22 11:15:41+01:0", "2014-10-22 11:15:41 CET", "2014-10/22", "14-10-22",
		"1/2/2014", "1.2.14", "2014-10-22 11:15:41x", "2014-10-22 11:15:41.", "1e", "--5", "5 6", "2014-W10-1"} {
		bad(text, notATime)
	}
	bad("0000-01-01", outOfRange)
	bad("0001-01-01T00:00:00+01:00", outOfRange)
	bad("9999-12-31T23:59:59-01:00", outOfRange)
	bad("99999999999999999999", outOfRange)
	bad("-99999999999999999", outOfRange)
}

func TestTimesAgreeWithPackageTime(t *testing.T) {
	c, _ := newClock(nil, "")
	rng := rand.New(rand.NewPCG(4, 4))
	span := uint64(event.MaxTime - event.MinTime)
	for range 50_000 {
		at := event.MinTime + event.Time(rng.Uint64N(span))
		std := at.Std().In(time.FixedZone("", (rng.IntN(47)-23)*1800))
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.000000-0700", "02.01.2006 15:04:05.999999Z07:00"} {
			if std.Year() < 1 || std.Year() > 9999 {
				continue
			}
			if got, fault := c.mapped(std.Format(layout)); got != at || fault != timeOK {
				t.Fatalf("%s is read as %s (%d)", std.Format(layout), got, fault)
			}
		}
	}
}

// TestChangesOfClocks: a skipped or repeated local time has the offset that
// held before the change.
func TestChangesOfClocks(t *testing.T) {
	zone := func(name string) *time.Location {
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Skip(err)
		}
		return z
	}
	f := func(name, text, want string) {
		t.Helper()
		c, _ := newClock(zone(name), "")
		for range 2 { // the second time from memory
			if got, fault := c.mapped(text); fault != timeOK || got.String() != want {
				t.Errorf("%s in %s is %s (%d), want %s", text, name, got, fault, want)
			}
		}
	}
	f("Europe/Berlin", "2025-01-15 12:00", "2025-01-15T11:00:00Z")
	f("Europe/Berlin", "2025-03-30 01:59:59", "2025-03-30T00:59:59Z")
	f("Europe/Berlin", "2025-03-30 02:30", "2025-03-30T01:30:00Z") // skipped: one hour after 01:30
	f("Europe/Berlin", "2025-03-30 03:00", "2025-03-30T01:00:00Z")
	f("Europe/Berlin", "2025-10-26 02:30", "2025-10-26T00:30:00Z") // repeated: the first of the two
	f("Europe/Berlin", "2025-10-26 03:00", "2025-10-26T02:00:00Z")
	f("America/New_York", "2025-03-09 02:30", "2025-03-09T07:30:00Z")
	f("America/New_York", "2025-11-02 01:30", "2025-11-02T05:30:00Z")
	f("Pacific/Apia", "2011-12-30 12:00", "2011-12-30T22:00:00Z") // a day that was skipped whole
	f("Europe/Berlin", "2025-07-01T12:00:00Z", "2025-07-01T12:00:00Z")

	// Away from changes every local time is what package time makes of it.
	berlin := zone("Europe/Berlin")
	c, _ := newClock(berlin, "")
	rng := rand.New(rand.NewPCG(5, 5))
	for range 20_000 {
		local := time.Date(1970+rng.IntN(70), time.Month(1+rng.IntN(12)), 1+rng.IntN(28), 4+rng.IntN(20), rng.IntN(60), rng.IntN(60), 0, berlin)
		if got, _ := c.mapped(local.Format("2006-01-02 15:04:05")); got != event.At(local) {
			t.Fatalf("%s is read as %s", local, got)
		}
	}
}

func TestTimeFormat(t *testing.T) {
	f := func(layout, text, want string) {
		t.Helper()
		c, err := newClock(time.FixedZone("", 3600), layout)
		if err != nil {
			t.Errorf("%s: %v", layout, err)
			return
		}
		got, fault := c.mapped(text)
		if s := got.String(); fault != timeOK && want != "" || fault == timeOK && s != want {
			t.Errorf("%q by %q is %s (%d), want %q", text, layout, s, fault, want)
		}
	}
	f("02.01.2006 15:04", "22.10.2014 11:15", "2014-10-22T10:15:00Z")
	f("20060102", "20141022", "2014-10-21T23:00:00Z")
	f("01/02/06 3:04:05 PM", "10/22/14 1:15:41 PM", "2014-10-22T12:15:41Z")
	f("2006-01-02 15:04:05 -0700", "2014-10-22 11:15:41 -0500", "2014-10-22T16:15:41Z")
	f("2006-01-02 15:04:05 MST", "2014-10-22 11:15:41 UTC", "2014-10-22T11:15:41Z")
	f("2006-01-02 15:04:05 MST", "2014-10-22 11:15:41 PST", "") // the zone does not know it
	f("02.01.2006", "2014-10-22", "")                           // no other form will do
	for _, bad := range []string{"DD.MM.YYYY", "15:04", "%d.%m.%Y", "2006-01"} {
		if _, err := newClock(nil, bad); err == nil {
			t.Errorf("the format %q is taken", bad)
		}
	}
}

func TestNumbersAgreeWithStrconv(t *testing.T) {
	f := func(text string, want float64) {
		t.Helper()
		if got, ok := decimal(text); !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", text, got, ok, want)
		}
	}
	f("0.1", 0.1)
	f("123456789012345", 123456789012345)
	f("123456789012345678", 123456789012345678)
	f("0.000000000000000000000001", 1e-24)
	f("9007199254740993.0", 9007199254740993)
	f("1.7976931348623157e308", 1.7976931348623157e308)
	f("12345678901234567890.5", 12345678901234567890.5)
	rng := rand.New(rand.NewPCG(6, 6))
	for range 50_000 {
		want := rng.NormFloat64() * []float64{1e-9, 1, 1e3, 1e12}[rng.IntN(4)]
		f(event.Float(want).String(), want)
	}
	comma := func(text string, want float64, good bool) {
		t.Helper()
		if got, ok := decimalComma(text); ok != good || got != want {
			t.Errorf("%s is %v (%v), want %v (%v)", text, got, ok, want, good)
		}
	}
	comma("12,5", 12.5, true)
	comma("-1.234.567,25", -1234567.25, true)
	comma("1.234", 1234, true)
	comma("12.34", 0, false)
	comma("1234.567,8", 0, false)
	comma("1,2,3", 0, false)
	comma("1,2.3", 0, false)
}
