package engine

import (
	"sort"
	"time"

	"wend/event"
	"wend/internal/seeded"
)

// calendar cuts time into the periods of `every`, in the statement's timezone:
// hours, days, weeks from Monday, months, quarters, years. A day of the
// calendar has 23 or 25 hours where clocks change; an hour that the clock
// shows twice is two periods.
type calendar struct {
	every string
	zone  *time.Location
}

func newCalendar(every string, zone *time.Location) *calendar {
	if zone == nil || seeded.On("months_utc") {
		zone = time.UTC
	}
	return &calendar{every: every, zone: zone}
}

// start returns the beginning of the period that holds t.
func (c *calendar) start(t event.Time) event.Time {
	local := t.Std().In(c.zone)
	year, month, day := local.Date()
	switch c.every {
	case "hour":
		_, offset := local.Zone()
		shift := event.Time(offset) * event.Time(event.Second)
		begin := floor(t+shift, event.Time(event.Hour)) - shift
		// Where the offset changed within this hour of the clock, the period
		// begins with the new offset.
		if _, before := begin.Std().In(c.zone).Zone(); before != offset {
			zoneStart, _ := local.ZoneBounds()
			return max(begin, event.At(zoneStart))
		}
		return begin
	case "week":
		day -= (int(local.Weekday()) + 6) % 7
		if seeded.On("week_from_sunday") {
			day--
		}
	case "month":
		day = 1
	case "quarter":
		day, month = 1, month-(month-1)%3
	case "year":
		day, month = 1, 1
	}
	return c.midnight(year, month, day)
}

// midnight returns the first instant of a date. Where clocks jump over
// midnight, the day begins later than 00:00.
func (c *calendar) midnight(year int, month time.Month, day int) event.Time {
	m := time.Date(year, month, day, 0, 0, 0, 0, c.zone)
	if m.Hour() != 0 { // 00:00 does not exist: time.Date gave an instant before or after the jump
		start, end := m.ZoneBounds()
		if m.Hour() > 12 { // still the day before
			return event.At(end)
		}
		return event.At(start)
	}
	// 00:00 that the clock shows twice: time.Date may give either; take the first.
	if earlier := m.Add(-time.Hour); earlier.Hour() == 0 && earlier.Day() == m.Day() {
		m = earlier
	}
	return event.At(m)
}

// next returns the beginning of the period after the one that begins at start.
func (c *calendar) next(start event.Time) event.Time {
	local := start.Std().In(c.zone)
	year, month, day := local.Date()
	switch c.every {
	case "hour":
		next := start + event.Time(event.Hour)
		return min(next, c.afterChange(start, next))
	case "day":
		day++
	case "week":
		day += 7
	case "month":
		month, day = month+1, 1
	case "quarter":
		month, day = month+3, 1
	case "year":
		year, month, day = year+1, 1, 1
	}
	next := c.midnight(year, month, day)
	for next <= start { // the calendar leaves out days where a country moves across the date line
		day++
		next = c.midnight(year, month, day)
	}
	return next
}

// afterChange returns the beginning of the first period later than start that
// a change of the clock within (start, next) brings, or next.
func (c *calendar) afterChange(start, next event.Time) event.Time {
	if s := c.start(next); s > start && s <= next {
		return s
	}
	if s := c.start(next - 1); s > start {
		return s
	}
	return next
}

func floor(t, size event.Time) event.Time {
	q := t / size
	if t%size < 0 {
		q--
	}
	return q * size
}

// periods finds the period of an instant quickly: it keeps the beginnings of
// the periods it has met, and those between. One worker's own.
type periods struct {
	calendar *calendar
	starts   []event.Time // of consecutive periods; the last is the end of the one before
	last     int          // the period found last
	max      int          // as every period from first to last is shown, more are an error
}

func (p *periods) of(t event.Time) (event.Time, error) {
	n := len(p.starts)
	if n == 0 || t < p.starts[0] || t >= p.starts[n-1] {
		if err := p.extend(t); err != nil {
			return 0, err
		}
		n = len(p.starts)
	}
	if i := p.last; i+1 < n && p.starts[i] <= t && t < p.starts[i+1] {
		return p.starts[i], nil
	}
	p.last = sort.Search(n, func(i int) bool { return p.starts[i] > t }) - 1
	return p.starts[p.last], nil
}

// extend adds the periods up to the one that holds t.
func (p *periods) extend(t event.Time) error {
	start := p.calendar.start(t)
	if len(p.starts) == 0 {
		p.starts = append(p.starts, start, p.calendar.next(start))
		return nil
	}
	if start < p.starts[0] {
		first := p.starts[0]
		more := []event.Time{}
		for s := start; s < first; s = p.calendar.next(s) {
			if more = append(more, s); len(more)+len(p.starts) > p.max {
				return p.tooMany(len(more) + len(p.starts))
			}
		}
		p.starts = append(more, p.starts...)
		return nil
	}
	for end := p.starts[len(p.starts)-1]; end <= t; end = p.starts[len(p.starts)-1] {
		if p.starts = append(p.starts, p.calendar.next(end)); len(p.starts) > p.max {
			return p.tooMany(len(p.starts))
		}
	}
	return nil
}

func (p *periods) tooMany(n int) error {
	return &LimitError{Limit: "rows", Value: int64(p.max), Reached: int64(n),
		Hint: "every period from the first to the last is a row: choose longer periods, or shorten the range with during"}
}
