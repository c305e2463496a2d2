package engine

import (
	"sync/atomic"
	"time"

	"wend/event"
)

// zone is a timezone for date functions. It remembers the stretch between two
// changes of the clock in which it was asked last: journeys stay in one stretch
// for months, and looking an offset up costs more than the rest of a function.
type zone struct {
	location *time.Location
	last     atomic.Pointer[zoneStretch]
}

type zoneStretch struct {
	from, to event.Time // from inclusive, to exclusive
	offset   event.Time
}

func newZone(location *time.Location) *zone {
	if location == nil {
		location = time.UTC
	}
	return &zone{location: location}
}

// local returns t as if the zone's clock showed UTC.
func (z *zone) local(t event.Time) event.Time {
	s := z.last.Load()
	if s == nil || t < s.from || t >= s.to {
		s = z.stretch(t)
		z.last.Store(s)
	}
	return t + s.offset
}

func (z *zone) stretch(t event.Time) *zoneStretch {
	at := t.Std().In(z.location)
	_, seconds := at.Zone()
	s := &zoneStretch{from: event.MinTime - 1<<50, to: event.MaxTime + 1<<50, offset: event.Time(seconds) * event.Time(event.Second)}
	begin, end := at.ZoneBounds()
	if !begin.IsZero() {
		s.from = event.At(begin)
	}
	if !end.IsZero() {
		s.to = event.At(end)
	}
	if t < s.from || t >= s.to { // an instant beyond what an event may carry
		s.from, s.to = t, t+1
	}
	return s
}

// datePart evaluates hour, weekday, day, month, year and date.
func (z *zone) datePart(op opcode, t event.Time) event.Value {
	local := z.local(t)
	if op == opHour {
		return event.Integer(int64((local - floor(local, event.Time(event.Day))) / event.Time(event.Hour)))
	}
	at := local.Std()
	switch op {
	case opWeekday:
		return event.Integer(int64((at.Weekday()+6)%7) + 1)
	case opDay:
		return event.Integer(int64(at.Day()))
	case opMonth:
		return event.Integer(int64(at.Month()))
	case opYear:
		return event.Integer(int64(at.Year()))
	}
	return event.String(at.Format(time.DateOnly))
}
