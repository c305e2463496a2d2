package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var errNotUTF8 = errors.New("it is not UTF-8")

// strictJSON decodes one JSON value. It refuses what would be read otherwise
// than it was meant: fields it does not know, or not in these letters, fields that
// are there twice, and texts that are not UTF-8. Its errors name fields, and nothing of this program.
func strictJSON(body []byte, into any) error {
	if !utf8.Valid(body) || loneSurrogate(body) {
		return errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return inJSON(err)
	}
	if err := atEnd(dec); err != nil {
		return err
	}
	return wrongField(body)
}

// errTooMany says that a list has more values than a request may have.
var errTooMany = errors.New("too many values")

// strictList decodes an array of at most most values, each as strictJSON does.
// It stops at the first that does not fit: decoding the array at once would
// go on, and make a value of every byte or two that follow.
func strictList[T any](body []byte, most int) ([]T, error) {
	if !utf8.Valid(body) || loneSurrogate(body) {
		return nil, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil {
		return nil, inJSON(err)
	}
	var list []T
	for dec.More() {
		if len(list) == most {
			return nil, errTooMany
		}
		var v T
		if err := dec.Decode(&v); err != nil {
			return nil, inJSON(err)
		}
		list = append(list, v)
	}
	if _, err := dec.Token(); errors.Is(err, io.EOF) {
		return nil, inJSON(io.ErrUnexpectedEOF)
	} else if err != nil {
		return nil, inJSON(err)
	}
	if err := atEnd(dec); err != nil {
		return nil, err
	}
	return list, wrongField(body)
}

// atEnd returns an error if anything follows. More would not do: it is false also
// before a bracket that closes nothing.
func atEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

// inJSON says what does not fit in words of JSON.
func inJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		field := "it"
		if wrong.Field != "" {
			field = strconv.Quote(wrong.Field)
		}
		is, _, _ := strings.Cut(wrong.Value, " ")
		return fmt.Errorf("%s is %s, and %s is needed", field, jsonKinds[is], jsonKindOf(wrong.Type))
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON at byte %d: %s", syntax.Offset, syntax)
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

var jsonKinds = map[string]string{"string": "a text", "number": "a number", "bool": "true or false", "array": "a list", "object": "an object"}

func jsonKindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return jsonKinds["string"]
	case reflect.Bool:
		return jsonKinds["bool"]
	case reflect.Slice:
		return jsonKinds["array"]
	case reflect.Int64:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number from 0 on"
	}
	return jsonKinds["object"]
}

// wrongField returns an error if an object of valid JSON has a field twice, of
// which decoding takes the last and other programs the first. The same goes for
// one that differs from a known one in its letters, which decoding takes for that:
// fields of requests have small ones, and names inside of them have any.
func wrongField(body []byte) error {
	type level struct {
		fields map[string]bool // nil: of a list
		value  bool            // what comes next is the value of a field
	}
	var open []level
	objects := 0 // of those open
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return nil // io.EOF: it was decoded before
		}
		var in *level
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		switch token {
		case json.Delim('}'), json.Delim(']'):
			if in.fields != nil {
				objects--
			}
			open = open[:len(open)-1]
			continue
		}
		if in != nil && in.fields != nil {
			if name, ok := token.(string); ok && !in.value {
				if objects == 1 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
					return fmt.Errorf("unknown field %q", name)
				}
				if in.fields[name] {
					return fmt.Errorf("field %q is there more than once", name)
				}
				in.fields[name], in.value = true, true
				continue
			}
			in.value = false
		}
		switch token {
		case json.Delim('{'):
			objects++
			open = append(open, level{fields: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
	}
}

// loneSurrogate reports whether JSON has an escape of half a surrogate pair.
// Decoding makes U+FFFD of each, and so one name of two.
func loneSurrogate(body []byte) bool {
	unit := func(i int) (rune, bool) {
		if i+6 > len(body) || body[i] != '\\' || body[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(body[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		first, ok := unit(i)
		if !ok || !utf16.IsSurrogate(first) {
			i++ // what is escaped
			continue
		}
		second, ok := unit(i + 6)
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += 11
	}
	return false
}
