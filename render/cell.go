package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"wend/engine"
	"wend/event"
)

// people writes the cells of one column for people.
type people struct {
	typ      engine.ColumnType
	opt      Options
	dates    bool // all of the column's times are midnights
	fraction int  // decimals of the seconds that its times need
}

// forPeople looks at a column's cells: times of one column are written alike.
func forPeople(r *engine.Result, column int, opt Options) *people {
	p := &people{typ: r.Columns[column].Type, opt: opt, dates: true}
	if p.typ != engine.Time {
		return p
	}
	for _, row := range r.Rows {
		t, ok := row[column].(event.Time)
		if !ok {
			continue
		}
		if t%event.Time(event.Day) != 0 {
			p.dates = false
		}
		switch {
		case t%1000 != 0:
			p.fraction = 6
		case t%1_000_000 != 0:
			p.fraction = max(p.fraction, 3)
		}
	}
	return p
}

// right reports whether the column's cells stand at its right edge.
func (p *people) right() bool {
	switch p.typ {
	case engine.Integer, engine.Number, engine.Share, engine.Duration:
		return true
	}
	return false
}

// elastic reports whether the column's cells may be cut to save room.
func (p *people) elastic() bool {
	switch p.typ {
	case engine.String, engine.List, engine.Object:
		return true
	}
	return false
}

const nullText = "null"

func (p *people) cell(c engine.Cell) string {
	switch v := c.(type) {
	case nil:
		return nullText
	case int64:
		return group(strconv.FormatInt(v, 10), p.opt)
	case float64:
		switch p.typ {
		case engine.Share:
			return shareText(v)
		case engine.Duration:
			return durationText(v)
		}
		return numberText(v, p.opt)
	case bool:
		return strconv.FormatBool(v)
	case string:
		return visible(v)
	case event.Time:
		return p.time(v)
	case []string:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = visible(v[i])
		}
		return strings.Join(parts, p.opt.glyphs().arrow)
	case []event.Prop:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = visible(v[i].Name) + "=" + p.value(v[i].Value)
		}
		return strings.Join(parts, ", ")
	}
	return visible(fmt.Sprint(c))
}

// value writes a property's value, numbers as they are: what they count is
// not known here.
func (p *people) value(v event.Value) string { return visible(v.String()) }

func (p *people) time(t event.Time) string {
	layout := "2006-01-02 15:04:05"
	switch {
	case p.dates:
		layout = "2006-01-02"
	case p.fraction == 6:
		layout += ".000000"
	case p.fraction == 3:
		layout += ".000"
	}
	return t.Std().Format(layout)
}

// visible makes control characters visible: a text from the data must not
// steer the terminal.
func visible(s string) string {
	if strings.IndexFunc(s, steers) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if steers(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// steers reports characters that move the cursor or turn the direction of
// writing.
func steers(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// group sets thousands apart.
func group(digits string, opt Options) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	whole, fraction, point := strings.Cut(digits, ".")
	first := (len(whole)-1)%3 + 1
	if len(whole) <= 3 {
		return sign + digits
	}
	var b strings.Builder
	b.WriteString(sign)
	b.WriteString(whole[:first])
	for i := first; i < len(whole); i += 3 {
		b.WriteString(opt.glyphs().thousands)
		b.WriteString(whole[i : i+3])
	}
	if point {
		b.WriteString("." + fraction)
	}
	return b.String()
}

// numberText writes a number with the decimals that its size makes worth
// reading.
func numberText(f float64, opt Options) string {
	size := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nullText
	case size != 0 && (size < 0.0001 || size >= 1e15):
		return strconv.FormatFloat(f, 'g', 4, 64)
	}
	decimals := 2
	for limit := 100.0; size < limit && decimals < 6 && limit > 0.001; limit /= 10 {
		decimals++
	}
	s := strconv.FormatFloat(f, 'f', decimals, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		s = "0"
	}
	return group(s, opt)
}

// shareText writes a share in per cent. A share that is not all or nothing
// never looks as if it were.
func shareText(f float64) string {
	s := strconv.FormatFloat(100*f, 'f', 1, 64)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nullText
	case f > 0 && s == "0.0":
		return "<0.1 %"
	case f < 1 && s == "100.0":
		return ">99.9 %"
	}
	return s + " %"
}

var durationUnits = []struct {
	name string
	ms   float64
}{{"d", 86_400_000}, {"h", 3_600_000}, {"m", 60_000}, {"s", 1000}}

// durationText writes milliseconds in the two largest units that they fill.
func durationText(ms float64) string {
	if math.IsNaN(ms) || math.IsInf(ms, 0) {
		return nullText
	}
	sign := ""
	if ms < 0 {
		sign, ms = "-", -ms
	}
	switch {
	case ms == 0:
		return "0s"
	case ms < 999.5:
		return sign + strings.TrimSuffix(strconv.FormatFloat(ms, 'f', decimalsBelow(ms, 10), 64), ".0") + "ms"
	case math.Round(ms/100)/10 < 60:
		return sign + strings.TrimSuffix(strconv.FormatFloat(ms/1000, 'f', 1, 64), ".0") + "s"
	}
	for i, unit := range durationUnits[:3] {
		small := durationUnits[i+1]
		// Rounded first, so that 59m 59.6s becomes an hour and not 59m 60s.
		n := math.Round(ms / small.ms)
		per := unit.ms / small.ms
		if n < per {
			continue
		}
		big, rest := math.Floor(n/per), math.Mod(n, per)
		s := sign + strconv.FormatFloat(big, 'f', 0, 64) + unit.name
		if rest > 0 && !(i == 0 && big >= 100) {
			s += " " + strconv.FormatFloat(rest, 'f', 0, 64) + small.name
		}
		return s
	}
	return sign + strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
}

func decimalsBelow(f, limit float64) int {
	if f < limit {
		return 1
	}
	return 0
}
