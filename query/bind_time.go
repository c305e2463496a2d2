package query

import (
	"math"
	"strings"
	"time"

	"wend/event"
	"wend/internal/seeded"
)

// zoneAndEnd binds the two clauses that dates and ranges depend on.
func (b *binder) zoneAndEnd(p *Plan) {
	b.clause("timezone", func(c *Clause) {
		// "Local" would be the zone of the machine that happens to answer.
		zone, err := time.LoadLocation(c.Text)
		if err != nil || c.Text == "Local" || c.Text == "" {
			b.fail(c.Span, CodeUnknownTimezone, "names look like 'Europe/Berlin' or 'UTC'", "unknown time zone %q", c.Text)
			return
		}
		b.zone, b.zoneName = zone, c.Text
	})
	b.clause("end", func(c *Clause) {
		if d, ok := b.date(c.Time); ok {
			b.end, b.hasEnd = d.last(), true
		}
	})
	p.Timezone, p.End, p.HasEnd = b.zone, b.end, b.hasEnd
}

// ranges binds during, once the end of the data is known.
func (b *binder) ranges(p *Plan) {
	b.clause("during", func(c *Clause) { p.During = b.interval(c.Range) })
}

// date is a DATE literal: the instant it names, or the day.
type date struct {
	at  time.Time // the instant, or the day's first
	day bool      // without a time of day
}

// after is the first instant that does not belong to the date: a day counts
// whole, an instant not at all.
func (d date) after() event.Time {
	if d.day && !seeded.On("until_day_excluded") {
		return event.At(time.Date(d.at.Year(), d.at.Month(), d.at.Day()+1, 0, 0, 0, 0, d.at.Location()))
	}
	return event.At(d.at)
}

// last is the latest instant that belongs to the date.
func (d date) last() event.Time {
	if d.day {
		return d.after() - 1
	}
	return event.At(d.at)
}

// dateForms are the ways to write a DATE, with and without a zone.
var dateForms = []string{
	"2006-01-02T15:04:05.999999Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02Z07:00",
	"2006-01-02T15:04:05.999999", "2006-01-02T15:04", "2006-01-02",
}

// date reads a DATE in the statement's time zone, or in its own.
func (b *binder) date(n *Date) (date, bool) { return b.dateText(n.Span, n.Text) }

func (b *binder) dateText(span Span, text string) (date, bool) {
	upper := strings.ToUpper(text) // t and z may be written small
	for _, form := range dateForms {
		at, err := time.ParseInLocation(form, upper, b.zone)
		if err == nil {
			return date{at: at, day: !strings.Contains(upper, "T")}, true
		}
	}
	b.fail(span, CodeBadDate, "write 2025-01-31 or 2025-01-31T10:00", "there is no date %s", text)
	return date{}, false
}

// interval turns a range into instants.
func (b *binder) interval(r *Range) Interval {
	in := Interval{From: math.MinInt64, To: math.MaxInt64, Set: true}
	if r.Last != nil {
		return b.last(r.Last)
	}
	ok := true
	if r.Since != nil {
		d, known := b.date(r.Since)
		ok, in.From = ok && known, event.At(d.at)
	}
	if r.Until != nil {
		d, known := b.date(r.Until)
		ok = ok && known
		if known {
			in.To = d.after()
		}
	}
	if ok && in.From >= in.To {
		b.fail(r.Span, CodeBadRange, "", "the range ends before it begins")
	}
	return in
}

// last is the range that ends with the data, its newest event included. Days
// and shorter units are elapsed time; months and longer ones go back in the
// calendar, from the 31st to a month's last day.
func (b *binder) last(d *Duration) Interval {
	in := Interval{To: b.end + 1, Set: true}
	if !d.Month {
		if d.Value <= 0 {
			b.fail(d.Span, CodeBadRange, "", "the range is empty")
		}
		in.From = b.end.Add(-d.Value)
		return in
	}
	months := d.Count
	switch singular(strings.ToLower(d.Unit)) {
	case "quarter":
		months *= 3
	case "year":
		months *= 12
	case "month":
	default:
		b.fail(d.Span, CodeBadRange, "units are seconds minutes hours days weeks months quarters years", "unknown unit %q", d.Unit)
		return in
	}
	if months <= 0 || months > 12*10000 {
		b.fail(d.Span, CodeBadRange, "", "the range must be from one month to 10000 years")
		return in
	}
	in.From = event.At(monthsBefore(b.end.Std().In(b.zone), int(months)))
	return in
}

// monthsBefore goes back in the calendar and stays in the month it arrives at.
func monthsBefore(t time.Time, months int) time.Time {
	y, m, day := t.Date()
	first := time.Date(y, m-time.Month(months), 1, 0, 0, 0, 0, t.Location())
	lastDay := time.Date(first.Year(), first.Month()+1, 0, 0, 0, 0, 0, t.Location()).Day()
	return time.Date(first.Year(), first.Month(), min(day, lastDay),
		t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
}
