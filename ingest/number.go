package ingest

import (
	"math"
	"strconv"
	"strings"
)

// integerDigitsMax is the longest number that is taken for an integer without
// being told so. Every such number has an exact int64; longer ones are mostly
// identifiers, which must keep each digit.
const integerDigitsMax = 18

// integer reads a number that is written the way integers are printed: no
// leading zero, no plus sign, at most 18 digits.
func integer(s string) (int64, bool) {
	digits := s
	if len(s) > 0 && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > integerDigitsMax || digits[0] == '0' && len(s) > 1 {
		return 0, false
	}
	n := int64(0)
	for i := 0; i < len(digits); i++ {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	if len(digits) < len(s) {
		n = -n
	}
	return n, true
}

// pow10 holds the powers of ten that a float64 can hold exactly. A mantissa
// below 2^53 multiplied or divided by one of them rounds once, so the result
// is the nearest float, as strconv would give.
var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// decimal reads a number as people and programs write measured values:
// 12, -0.5, .5, 3., 1e-7. A number with needless leading zeros and a whole
// number of more than 18 digits are identifiers, not measurements, and are
// refused; so is whatever overflows.
func decimal(s string) (float64, bool) {
	i := 0
	negative := false
	if len(s) > 0 && s[0] == '-' {
		negative, i = true, 1
	}
	whole := i
	mantissa := uint64(0)
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		mantissa = mantissa*10 + uint64(s[i]-'0')
	}
	digits := i - whole
	if digits > 1 && s[whole] == '0' {
		return 0, false
	}
	point, fraction := false, 0
	if i < len(s) && s[i] == '.' {
		point = true
		for i++; i < len(s) && s[i]-'0' <= 9; i++ {
			mantissa = mantissa*10 + uint64(s[i]-'0')
			fraction++
		}
	}
	if digits+fraction == 0 {
		return 0, false
	}
	exponent := false
	if i < len(s) && s[i]|0x20 == 'e' {
		exponent = true
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		from := i
		for i < len(s) && s[i]-'0' <= 9 {
			i++
		}
		if i == from {
			return 0, false
		}
	}
	if i < len(s) || !point && !exponent && digits > integerDigitsMax {
		return 0, false
	}
	if !exponent && digits+fraction <= 15 && fraction < len(pow10) {
		f := float64(mantissa) / pow10[fraction]
		if negative {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// decimalComma reads a number whose decimals follow a comma and whose
// thousands may be set apart by dots: 12,5 and 1.234,56.
func decimalComma(s string) (float64, bool) {
	if strings.IndexByte(s, ',') < 0 && strings.IndexByte(s, '.') < 0 {
		return decimal(s)
	}
	whole, fraction, _ := strings.Cut(s, ",")
	if strings.IndexByte(fraction, '.') >= 0 {
		return 0, false
	}
	groups := strings.Split(whole, ".")
	for i, g := range groups {
		if i > 0 && len(g) != 3 || i == 0 && len(groups) > 1 && len(strings.TrimPrefix(g, "-")) > 3 {
			return 0, false
		}
	}
	return decimal(strings.Join(groups, "") + "." + fraction)
}

// number reads a float as the file writes them.
func (w *reading) number(s string) (float64, bool) {
	if w.comma {
		return decimalComma(s)
	}
	return decimal(s)
}

// anyInteger reads whatever can be an integer where the user has said that it
// is one: leading zeros and a plus sign are then only a manner of writing.
func anyInteger(s string) (int64, bool) {
	if n, ok := integer(s); ok {
		return n, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}

// anyNumber is anyInteger for floats. Not-a-number and infinities are no values.
func (w *reading) anyNumber(s string) (float64, bool) {
	if f, ok := w.number(s); ok {
		return f, true
	}
	s = strings.TrimSpace(s)
	if w.comma {
		s = strings.Replace(strings.ReplaceAll(s, ".", ""), ",", ".", 1)
	}
	if strings.ContainsAny(s, "xX_pPnN") { // hexadecimal, grouped, NaN, Inf
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsInf(f, 0)
}

// boolean reads true and false as JSON, Python and spreadsheets write them.
func boolean(s string) (value, ok bool) {
	switch s {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	return false, false
}
