package ingest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"wend/event"
)

// clock reads instants. It knows the usual ways of writing them, one layout of
// the user's, and the zone of times that name none.
//
// A local time that a change of clocks skips or repeats is read with the
// offset that held before the change: a skipped 02:30 is the instant one hour
// after 01:30, a repeated 02:30 is the first of the two.
type clock struct {
	zone     *time.Location
	layout   string // of --time-format; "" without
	hasZone  bool   // the layout names an offset or a zone
	zoneName bool   // … by an abbreviation, which only zone can resolve

	// The offset that holds for local times in [from, to), in seconds.
	from, to, offset int64
}

// timeFault says why a text is not an instant.
type timeFault uint8

const (
	timeOK timeFault = iota
	notATime
	outOfRange
)

// newClock checks the layout: a layout in which nothing stands for the year
// would read every time as year 0, so it is refused here.
func newClock(zone *time.Location, layout string) (*clock, error) {
	c := &clock{zone: zone, layout: layout}
	if zone == nil {
		c.zone = time.UTC
	}
	if layout == "" {
		return c, nil
	}
	ref := time.Date(2021, time.November, 23, 17, 48, 39, 0, time.UTC)
	t, err := time.Parse(layout, ref.Format(layout))
	if err != nil || t.Year() != 2021 || t.Month() != time.November || t.Day() != 23 {
		return nil, fmt.Errorf("time format %q does not say where year, month and day stand; write how 2 January 2006, 15:04:05 would look, such as \"02.01.2006 15:04\"", layout)
	}
	c.zoneName = strings.Contains(layout, "MST")
	c.hasZone = c.zoneName || strings.Contains(layout, "Z07") || strings.Contains(layout, "-07")
	return c, nil
}

// mapped reads a value of the time column.
func (c *clock) mapped(s string) (event.Time, timeFault) {
	if c.layout != "" {
		return c.byLayout(strings.TrimSpace(s))
	}
	return c.usual(s)
}

// property reads a value of another column that may hold times. Numbers do not
// count: a column of numbers is a column of numbers.
func (c *clock) property(s string) (event.Time, bool) {
	if t, fault := c.calendar(s); fault == timeOK {
		return t, true
	}
	if c.layout != "" {
		t, fault := c.byLayout(s)
		return t, fault == timeOK
	}
	return 0, false
}

// usual reads an instant in any of the usual forms, numbers included.
func (c *clock) usual(s string) (event.Time, timeFault) {
	if n := len(s); n == 0 || s[0]-'0' > 9 || s[n-1]-'0' > 9 {
		s = strings.TrimSpace(s)
	}
	if t, fault := epoch(s); fault != notATime {
		return t, fault
	}
	return c.calendar(s)
}

func (c *clock) byLayout(s string) (event.Time, timeFault) {
	t, err := time.ParseInLocation(c.layout, s, c.zone)
	if err != nil {
		return 0, notATime
	}
	if !c.hasZone {
		t, err = time.Parse(c.layout, s)
		if err != nil {
			return 0, notATime
		}
		return inRange(c.local(t.Unix()), t.Nanosecond()/1000)
	}
	if c.zoneName {
		if name, offset := t.Zone(); offset == 0 && name != "UTC" && name != "GMT" && t.Location() != c.zone {
			return 0, notATime // an abbreviation that the zone does not know
		}
	}
	return inRange(t.Unix(), t.Nanosecond()/1000)
}

// inRange makes an instant of seconds and microseconds if events may carry it.
func inRange(seconds int64, micros int) (event.Time, timeFault) {
	if seconds < int64(event.MinTime)/1e6 || seconds > int64(event.MaxTime)/1e6 {
		return 0, outOfRange
	}
	return event.Time(seconds*1e6 + int64(micros)), timeOK
}

// Numbers below these bounds count seconds, milliseconds and microseconds
// since 1970; larger ones count nanoseconds. The bounds lie between the years
// 5138 in one unit and 1973 in the next.
const (
	secondsBelow      = 100_000_000_000
	millisecondsBelow = secondsBelow * 1000
	microsecondsBelow = millisecondsBelow * 1000
)

// epoch reads a number of seconds, milliseconds, microseconds or nanoseconds
// since 1970, told apart by its size, with or without decimals.
func epoch(s string) (event.Time, timeFault) {
	i := 0
	if len(s) > 0 && s[0] == '-' {
		i = 1
	}
	first := i
	n := int64(0)
	if v, ok := eightDigits(s[i:]); ok {
		n = v
		i += 8
	}
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		if i-first >= integerDigitsMax && n > (math.MaxInt64-9)/10 {
			return 0, outOfRange
		}
		n = n*10 + int64(s[i]-'0')
	}
	if i == first {
		return 0, notATime
	}
	fraction := int64(0) // in millionths
	if i < len(s) && s[i] == '.' {
		scale := int64(100_000)
		for i++; i < len(s) && s[i]-'0' <= 9; i++ {
			fraction += int64(s[i]-'0') * scale
			scale /= 10
		}
	}
	if i < len(s) {
		if s[i]|0x20 != 'e' {
			return 0, notATime
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.Abs(f) > math.MaxInt64/2 {
			return 0, notATime
		}
		whole, part := math.Modf(math.Abs(f))
		// No float is exactly what was written: the nearest microsecond is, where
		// the next one down may not be.
		n = int64(whole)
		fraction = int64(math.Round(part * 1e6))
		if n >= secondsBelow {
			fraction = int64(math.Round(part*1e3)) * 1e3
		}
		if fraction == 1e6 {
			n, fraction = n+1, 0
		}
	}
	var micros int64
	switch {
	case n < secondsBelow:
		micros = n*1_000_000 + fraction
	case n < millisecondsBelow:
		micros = n*1000 + fraction/1000
	case n < microsecondsBelow:
		micros = n
	default:
		micros = n / 1000
	}
	if s[0] == '-' {
		micros = -micros
	}
	if t := event.Time(micros); t >= event.MinTime && t <= event.MaxTime {
		return t, timeOK
	}
	return 0, outOfRange
}

// eightDigits reads the first eight bytes of a text if all are digits: a step
// for pairs, one for fours and one for all, where a loop has eight.
func eightDigits(s string) (int64, bool) {
	if len(s) < 8 {
		return 0, false
	}
	word := eightBytes(s)
	word -= 0x3030303030303030
	if (word|(word+0x7676767676767676))&0x8080808080808080 != 0 { // some byte is not 0 to 9
		return 0, false
	}
	word = word*10 + word>>8
	word = (word&0x000000ff000000ff*0x000f424000000064 + word>>16&0x000000ff000000ff*0x0000271000000001) >> 32
	return int64(word), true
}

// calendar reads a date, alone or with a time of day, with or without a zone.
func (c *clock) calendar(s string) (event.Time, timeFault) {
	year, month, day, i := date(s)
	if i == 0 || month < 1 || month > 12 || day < 1 || day > monthDays(year, month) {
		return 0, notATime
	}
	seconds := daysSince1970(year, month, day) * 86400
	micros := 0
	if i < len(s) && (s[i] == 'T' || s[i] == 't' || s[i] == ' ') {
		ofDay, us, n := timeOfDay(s[i+1:])
		if n == 0 {
			if s[i] != ' ' { // a space may stand before a zone
				return 0, notATime
			}
		} else {
			seconds += ofDay
			micros = us
			i += 1 + n
		}
	}
	if year == 0 {
		return 0, outOfRange
	}
	if i == len(s) {
		return inRange(c.local(seconds), micros)
	}
	offset, ok := zoneOffset(s[i:])
	if !ok {
		return 0, notATime
	}
	return inRange(seconds-offset, micros)
}

// date reads 2006-01-02, 2006/01/02, 2006.01.02 and 02.01.2006 and returns how
// many bytes it took, 0 for anything else.
func date(s string) (year, month, day, n int) {
	a, i := digits(s, 0, 4)
	if i == 0 || i == len(s) {
		return 0, 0, 0, 0
	}
	sep := s[i]
	first := i
	b, j := digits(s, i+1, 2)
	if j == 0 || j == len(s) || s[j] != sep {
		return 0, 0, 0, 0
	}
	switch {
	case first == 4 && (sep == '-' || sep == '/' || sep == '.'):
		d, k := digits(s, j+1, 2)
		return a, b, d, k
	case first <= 2 && sep == '.':
		y, k := digits(s, j+1, 4)
		if k != j+5 {
			return 0, 0, 0, 0
		}
		return y, b, a, k
	}
	return 0, 0, 0, 0
}

// digits reads up to max digits from s[i:] and returns the place after them,
// 0 if there is none.
func digits(s string, i, max int) (value, next int) {
	from := i
	for ; i < len(s) && i < from+max && s[i]-'0' <= 9; i++ {
		value = value*10 + int(s[i]-'0')
	}
	if i == from {
		return 0, 0
	}
	return value, i
}

// timeOfDay reads 15:04, 15:04:05 and 15:04:05.999999999. What is finer than a
// microsecond is cut off. A leap second is the first second of the next minute.
func timeOfDay(s string) (seconds int64, micros, n int) {
	h, i := digits(s, 0, 2)
	if i == 0 || i == len(s) || s[i] != ':' || h > 23 {
		return 0, 0, 0
	}
	m, j := digits(s, i+1, 2)
	if j != i+3 || m > 59 {
		return 0, 0, 0
	}
	seconds = int64(h*3600 + m*60)
	if j == len(s) || s[j] != ':' {
		return seconds, 0, j
	}
	sec, k := digits(s, j+1, 2)
	if k != j+3 || sec > 60 {
		return 0, 0, 0
	}
	seconds += int64(sec)
	if k < len(s) && (s[k] == '.' || s[k] == ',') {
		scale := 100_000
		from := k + 1
		for k++; k < len(s) && s[k]-'0' <= 9; k++ {
			micros += int(s[k]-'0') * scale
			scale /= 10
		}
		if k == from {
			return 0, 0, 0
		}
	}
	return seconds, micros, k
}

// zoneOffset reads Z, UTC, GMT, +01, +0100 and +01:00, in seconds east of UTC.
func zoneOffset(s string) (int64, bool) {
	s = strings.TrimPrefix(s, " ")
	switch s {
	case "Z", "z", "UTC", "GMT":
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	h, i := digits(s, 1, 2)
	if i != 3 || h > 23 {
		return 0, false
	}
	m := 0
	if i < len(s) {
		if s[i] == ':' {
			i++
		}
		var j int
		if m, j = digits(s, i, 2); j != len(s) || j != i+2 || m > 59 {
			return 0, false
		}
	}
	offset := int64(h*3600 + m*60)
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

func monthDays(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts days in the Gregorian calendar. The year is taken to
// begin in March, so that the leap day is its last.
func daysSince1970(year, month, day int) int64 {
	y := int64(year)
	if month <= 2 {
		y--
	}
	era := (y + 400*10) / 400 // never negative for the years that texts can name
	era -= 10
	ofEra := y - era*400
	ofYear := int64((153*((month+9)%12)+2)/5 + day - 1)
	return era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468
}

// local converts seconds of a local calendar to seconds since 1970.
func (c *clock) local(seconds int64) int64 {
	if c.zone == time.UTC {
		return seconds
	}
	if seconds >= c.from && seconds < c.to {
		return seconds - c.offset
	}
	const day = 86400
	before, after := c.offsetAt(seconds-day), c.offsetAt(seconds+day)
	if before == after {
		c.remember(seconds, before)
		return seconds - before
	}
	if c.offsetAt(seconds-before) == before {
		return seconds - before
	}
	if c.offsetAt(seconds-after) == after {
		return seconds - after
	}
	return seconds - before // skipped by the change
}

func (c *clock) offsetAt(unix int64) int64 {
	_, offset := time.Unix(unix, 0).In(c.zone).Zone()
	return int64(offset)
}

// remember keeps the offset for the local times that are at least a day away
// from the zone's changes before and after.
func (c *clock) remember(local, offset int64) {
	const day = 86400
	start, end := time.Unix(local-offset, 0).In(c.zone).ZoneBounds()
	c.offset, c.from, c.to = offset, local, local+1
	if !start.IsZero() {
		c.from = min(local, start.Unix()+offset+day)
	} else {
		c.from = math.MinInt64
	}
	if !end.IsZero() {
		c.to = max(local+1, end.Unix()+offset-day)
	} else {
		c.to = math.MaxInt64
	}
}
