package event

import (
	"cmp"
	"math"
	"strconv"
	"strings"
)

// Type is the type of a property.
type Type uint8

// The property types. None is the type of Null and of a property nobody has set.
const (
	None Type = iota
	StringType
	IntegerType
	FloatType
	BooleanType
	TimeType
)

var typeNames = [...]string{"null", "string", "integer", "float", "boolean", "time"}

// String is the name that the language, options and the schema use, in lower
// case; None is "null".
func (t Type) String() string { return typeNames[t] }

// ParseType reads a type's name as --type and the schema write it.
func ParseType(name string) (Type, bool) {
	for i, n := range typeNames {
		if i > 0 && n == name {
			return Type(i), true
		}
	}
	return None, false
}

// Numeric reports whether values of the type can be added up.
func (t Type) Numeric() bool { return t == IntegerType || t == FloatType }

// Value is one property value. The zero Value is null. Values of one type
// compare with ==, except floats (0 and -0 differ in their bits).
type Value struct {
	kind Type
	bits uint64 // integer, float bits, 0 or 1, microseconds
	text string
}

// Null is the value of a property that an event does not have.
var Null Value

// String makes a text value.
func String(s string) Value { return Value{kind: StringType, text: s} }

// Integer makes an integer value.
func Integer(i int64) Value { return Value{kind: IntegerType, bits: uint64(i)} }

// Float makes a floating-point value. Not-a-number is not a value: it becomes Null.
func Float(f float64) Value {
	if math.IsNaN(f) {
		return Null
	}
	return Value{kind: FloatType, bits: math.Float64bits(f)}
}

// Boolean makes a boolean value.
func Boolean(b bool) Value {
	if b {
		return Value{kind: BooleanType, bits: 1}
	}
	return Value{kind: BooleanType}
}

// Instant makes a time value.
func Instant(t Time) Value { return Value{kind: TimeType, bits: uint64(t)} }

// Type returns the value's type, None for null.
func (v Value) Type() Type { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == None }

// Text returns a string value's text.
func (v Value) Text() string { return v.text }

// Int returns an integer value's number, a boolean's 0 or 1, or a time's microseconds.
func (v Value) Int() int64 { return int64(v.bits) }

// Float returns a numeric value as a float.
func (v Value) Float() float64 {
	if v.kind == IntegerType {
		return float64(int64(v.bits))
	}
	return math.Float64frombits(v.bits)
}

// Bool returns a boolean value.
func (v Value) Bool() bool { return v.bits != 0 }

// Time returns a time value.
func (v Value) Time() Time { return Time(v.bits) }

// String writes v the way results and dumps show it; null is the empty text.
func (v Value) String() string {
	switch v.kind {
	case StringType:
		return v.text
	case IntegerType:
		return strconv.FormatInt(int64(v.bits), 10)
	case FloatType:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case BooleanType:
		return strconv.FormatBool(v.bits != 0)
	case TimeType:
		return Time(v.bits).String()
	}
	return ""
}

// Compare orders two non-null values of comparable types: numbers by value,
// texts by bytes, false before true, times by instant. Values whose types do
// not compare are ordered by type.
func Compare(a, b Value) int {
	if a.kind.Numeric() && b.kind.Numeric() {
		if a.kind == IntegerType && b.kind == IntegerType {
			return cmp.Compare(int64(a.bits), int64(b.bits))
		}
		return compareNumbers(a, b)
	}
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if a.kind == StringType {
		return cmp.Compare(a.text, b.text)
	}
	return cmp.Compare(int64(a.bits), int64(b.bits))
}

// compareNumbers compares an integer with a float (or two floats) exactly,
// also where the integer has no exact float.
func compareNumbers(a, b Value) int {
	if a.kind == FloatType && b.kind == FloatType {
		return cmp.Compare(a.Float(), b.Float())
	}
	if a.kind == FloatType {
		return -compareNumbers(b, a)
	}
	i, f := int64(a.bits), b.Float()
	switch {
	case f >= 1<<63:
		return -1
	case f < -(1 << 63):
		return 1
	}
	whole := math.Floor(f)
	if c := cmp.Compare(i, int64(whole)); c != 0 {
		return c
	}
	if f > whole {
		return -1
	}
	return 0
}

// ParseValue reads a value as a person writes it: true, false, a number as
// numbers are printed, null for the empty text; anything else is a text.
func ParseValue(text string) Value {
	switch text {
	case "":
		return Null
	case "true":
		return Boolean(true)
	case "false":
		return Boolean(false)
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		return Integer(i)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && isDecimal(text) {
		return Float(f)
	}
	return String(text)
}

// isDecimal reports whether text is digits with one decimal point, perhaps
// after a minus: 007.5, 1e5, inf and the like are names more often than numbers.
func isDecimal(text string) bool {
	whole, fraction, ok := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return ok && digits(whole) && digits(fraction) && (whole == "0" || whole[0] != '0')
}
