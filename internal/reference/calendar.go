package reference

import (
	"strings"
	"time"

	"wend/event"
	"wend/query"
)

// instant reads a DATE. Without a zone it is local to the statement's
// timezone; day tells that it named a whole day.
func (ev *evaluator) instant(d *query.Date) (t time.Time, day bool) {
	for _, layout := range []string{"2006-01-02T15:04:05.999999Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, d.Text, ev.zone); err == nil {
			return t, !strings.Contains(d.Text, "T")
		}
	}
	fail("%q is not a date", d.Text)
	return
}

func (ev *evaluator) first(d *query.Date) event.Time {
	t, _ := ev.instant(d)
	return event.At(t)
}

// after returns the first instant that `until d` leaves out.
func (ev *evaluator) after(d *query.Date) event.Time {
	t, day := ev.instant(d)
	if day {
		t = t.AddDate(0, 0, 1)
	}
	return event.At(t)
}

func (ev *evaluator) lastInstant(d *query.Date) event.Time {
	if _, day := ev.instant(d); day {
		return ev.after(d) - 1
	}
	return ev.first(d)
}

func (ev *evaluator) interval(r *query.Range) interval {
	in := always
	if r.Last != nil {
		in.to = ev.end + 1
		in.from = ev.end.Add(-r.Last.Value)
		if r.Last.Month {
			in.from = monthsBack(ev.end, calendarMonths(r.Last), ev.zone)
		}
	}
	if r.Since != nil {
		in.from = ev.first(r.Since)
	}
	if r.Until != nil {
		in.to = ev.after(r.Until)
	}
	return in
}

func calendarMonths(d *query.Duration) int {
	switch strings.TrimSuffix(strings.ToLower(d.Unit), "s") {
	case "year":
		return int(d.Count) * 12
	case "quarter":
		return int(d.Count) * 3
	}
	return int(d.Count)
}

// monthsBack is the same day and time n months earlier, or the last day of a
// shorter month.
func monthsBack(t event.Time, n int, zone *time.Location) event.Time {
	at := t.Std().In(zone)
	y, m, d := at.Date()
	lastDay := time.Date(y, m-time.Month(n)+1, 0, 0, 0, 0, 0, zone).Day()
	h, mi, s := at.Clock()
	return event.At(time.Date(y, m-time.Month(n), min(d, lastDay), h, mi, s, at.Nanosecond(), zone))
}

// period returns the calendar period in which t lies.
func (ev *evaluator) period(t event.Time, every string) interval {
	at := t.Std().In(ev.zone)
	y, m, d := at.Date()
	var start time.Time
	months, days := 0, 0
	switch every {
	case "hour":
		into := time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
		begin := at.Add(-into)
		return interval{event.At(begin), event.At(begin.Add(time.Hour))}
	case "day":
		start, days = time.Date(y, m, d, 0, 0, 0, 0, ev.zone), 1
	case "week":
		start, days = time.Date(y, m, d-(int(at.Weekday())+6)%7, 0, 0, 0, 0, ev.zone), 7
	case "month":
		start, months = time.Date(y, m, 1, 0, 0, 0, 0, ev.zone), 1
	case "quarter":
		start, months = time.Date(y, m-(m-1)%3, 1, 0, 0, 0, 0, ev.zone), 3
	case "year":
		start, months = time.Date(y, 1, 1, 0, 0, 0, 0, ev.zone), 12
	default:
		fail("every %s", every)
	}
	return interval{event.At(start), event.At(start.AddDate(0, months, days))}
}

// spans cuts `during` into the periods in which there are events, or leaves it
// whole without `every`.
func (ev *evaluator) spans(events []*fact, s *settings) []span {
	if s.every == "" {
		return []span{{in: s.during}}
	}
	var spans []span
	for _, f := range events {
		p := ev.period(f.Time, s.every)
		if len(spans) == 0 || spans[len(spans)-1].period != p.from {
			spans = append(spans, span{in: p.and(s.during), period: p.from})
		}
	}
	return spans
}

// span is the range in which anchors must lie, within a period of `every`.
type span struct {
	in     interval
	period event.Time
}
