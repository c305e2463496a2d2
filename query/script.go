package query

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Within moves the mistakes of a statement to their places in the script that
// it is a part of, from the byte at on, so that a message about the twentieth
// statement of a file names the right line. Other errors stay as they are.
func Within(script string, at int, err error) error {
	var mistakes Errors
	var one *Error
	if !errors.As(err, &mistakes) {
		if !errors.As(err, &one) {
			return err
		}
		mistakes = Errors{one}
	}
	before := script[:at]
	lines := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	moved := make(Errors, len(mistakes))
	for i, m := range mistakes {
		c := *m
		if c.Line == 1 {
			c.Column += column
		}
		c.Line += lines
		c.Offset += at
		c.Text = script
		moved[i] = &c
	}
	return moved
}
