package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Time is an instant in microseconds since 1970-01-01T00:00:00Z.
type Time int64

// Duration is an elapsed time in microseconds.
type Duration int64

// Units of elapsed time.
const (
	Microsecond Duration = 1
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
	Day                  = 24 * Hour
	Week                 = 7 * Day
)

// MinTime and MaxTime bound the instants that an event may carry: the years
// 0001 to 9999, what RFC 3339 can write.
const (
	MinTime Time = -62135596800 * 1000000
	MaxTime Time = 253402300800*1000000 - 1
)

// At converts a time.Time, cutting nanoseconds off.
func At(t time.Time) Time { return Time(t.UnixMicro()) }

// Std converts to a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// String writes t in RFC 3339, in UTC, with as many of the six decimals as it needs.
func (t Time) String() string { return t.Std().Format("2006-01-02T15:04:05.999999Z07:00") }

// Sub returns the time elapsed from u to t.
func (t Time) Sub(u Time) Duration { return Duration(t - u) }

// Add returns the instant d after t; past the ends of int64 it stays there.
func (t Time) Add(d Duration) Time {
	s := t + Time(d)
	switch {
	case d > 0 && s < t:
		return Time(1<<63 - 1)
	case d < 0 && s > t:
		return Time(-1 << 63)
	}
	return s
}

// Milliseconds returns d in milliseconds with its fraction.
func (d Duration) Milliseconds() float64 { return float64(d) / 1000 }

var durationUnits = []struct {
	name string
	size Duration
}{{"w", Week}, {"d", Day}, {"h", Hour}, {"m", Minute}, {"s", Second}, {"ms", Millisecond}}

// String writes d as the language does, in the largest unit that divides it:
// 7d, 36h, 90s. Days that make whole weeks stay days; parts of a millisecond
// are written as a fraction of one.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	for _, u := range durationUnits[1:] {
		if d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return strconv.FormatFloat(d.Milliseconds(), 'f', -1, 64) + "ms"
}

// ParseDuration reads digits and one of ms s m h d w: 45s, 30m, 7d.
func ParseDuration(s string) (Duration, error) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end > 0 {
		for _, u := range durationUnits {
			if s[end:] != u.name {
				continue
			}
			n, err := strconv.ParseInt(s[:end], 10, 64)
			if err != nil || n > int64(1<<62/u.size) {
				return 0, fmt.Errorf("duration %q is too long", s)
			}
			return Duration(n) * u.size, nil
		}
	}
	return 0, fmt.Errorf("%q is not a duration; write digits and one of ms s m h d w, such as 30m or 7d", s)
}

// MarshalText writes t as String does: JSON holds times as RFC 3339 texts.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads RFC 3339.
func (t *Time) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return err
	}
	*t = At(at)
	return nil
}
