package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"wend/event"
)

func instant(t *testing.T, text string) event.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return event.At(at)
}

func TestPeriods(t *testing.T) {
	for _, c := range []struct{ every, zone, at, start, next string }{
		{"hour", "UTC", "2025-03-01T10:59:59Z", "2025-03-01T10:00:00Z", "2025-03-01T11:00:00Z"},
		{"day", "UTC", "1969-12-31T23:00:00Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"week", "UTC", "2025-03-02T12:00:00Z", "2025-02-24T00:00:00Z", "2025-03-03T00:00:00Z"}, // a Sunday
		{"week", "UTC", "2025-03-03T00:00:00Z", "2025-03-03T00:00:00Z", "2025-03-10T00:00:00Z"}, // a Monday
		{"month", "UTC", "2025-01-31T12:00:00Z", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"},
		{"quarter", "UTC", "2025-12-31T12:00:00Z", "2025-10-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		{"year", "UTC", "2024-02-29T12:00:00Z", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		// In Berlin clocks go forward at 01:00 UTC: a day of 23 hours, and one of 25.
		{"day", "Europe/Berlin", "2025-03-30T12:00:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z"},
		{"day", "Europe/Berlin", "2025-10-26T12:00:00Z", "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z"},
		{"hour", "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z"}, // 02:30 for the first time
		{"hour", "Europe/Berlin", "2025-10-26T01:30:00Z", "2025-10-26T01:00:00Z", "2025-10-26T02:00:00Z"}, // and again
		{"hour", "Asia/Kolkata", "2025-03-01T10:29:59Z", "2025-03-01T09:30:00Z", "2025-03-01T10:30:00Z"},
		// On Lord Howe Island clocks go back by half an hour at 2:00.
		{"hour", "Australia/Lord_Howe", "2025-04-05T14:59:00Z", "2025-04-05T14:00:00Z", "2025-04-05T15:00:00Z"},
		{"hour", "Australia/Lord_Howe", "2025-04-05T15:10:00Z", "2025-04-05T15:00:00Z", "2025-04-05T15:30:00Z"},
		// In Beirut clocks jump over midnight: the day begins at 01:00.
		{"day", "Asia/Beirut", "2024-03-31T10:00:00Z", "2024-03-30T22:00:00Z", "2024-03-31T21:00:00Z"},
		// In Havana the hour from 0:00 comes twice: the day begins with the first.
		{"day", "America/Havana", "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		calendar := newCalendar(c.every, zone)
		start := calendar.start(instant(t, c.at))
		if want := instant(t, c.start); start != want {
			t.Errorf("%s in %s of %s begins %s, want %s", c.every, c.zone, c.at, start, want)
		}
		if next, want := calendar.next(start), instant(t, c.next); next != want {
			t.Errorf("%s in %s after %s begins %s, want %s", c.every, c.zone, start, next, want)
		}
	}
}

// Periods follow one another without gap or overlap, wherever one begins, and
// the quick way finds the same as the calendar.
func TestPeriodsTile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, every := range []string{"hour", "day", "week", "month", "quarter", "year"} {
			c := newCalendar(every, zone)
			quick := &periods{calendar: c, max: 1 << 20}
			from := int64(event.At(time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC)))
			for range 300 {
				at := event.Time(from + r.Int64N(3*365*int64(event.Day)))
				start := c.start(at)
				next := c.next(start)
				if start > at || next <= at || c.start(next) != next || c.start(next-1) != start || c.start(start) != start {
					t.Fatalf("%s in %s: %s is in the period from %s to %s, which begins %s", every, name, at, start, next, c.start(next))
				}
				if got, err := quick.of(at); err != nil || got != start {
					t.Fatalf("%s in %s: %s is in the period from %s, want %s (%v)", every, name, at, got, start, err)
				}
			}
		}
	}
}
