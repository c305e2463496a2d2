package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"syscall"

	"github.com/cespare/xxhash/v2"

	"wend/storage"
)

// The log may say what kind of statement failed and of what kind the failure
// was, but nothing of what a client sent or the store holds: neither the text
// of statements nor that of errors.

// shaped is an error of running a statement.
type shaped struct {
	error
	text string
}

// Unwrap leads to what kind of failure it was, which may be told.
func (s *shaped) Unwrap() error { return s.error }

// literals are what differs between statements of one shape.
var literals = regexp.MustCompile(`'(?:[^']|'')*'|"(?:[^"]|"")*"|[0-9][0-9.:TZ-]*`)

// shapeOf names the shape of the statement that an error is of: statements
// that differ in nothing but texts and numbers have one.
func shapeOf(err error) string {
	var s *shaped
	if !errors.As(err, &s) {
		return ""
	}
	words := strings.Fields(literals.ReplaceAllString(s.text, "?"))
	return fmt.Sprintf("%016x", xxhash.Sum64String(strings.ToLower(strings.Join(words, " "))))
}

// causeOf says of what kind an error is: by the errors that are known to hold
// no data, and by the files that the store itself named.
func causeOf(err error) string {
	var causes []string
	for _, known := range []error{storage.ErrCorrupt, storage.ErrReadOnly, storage.ErrClosed, storage.ErrFull} {
		if errors.Is(err, known) {
			causes = append(causes, known.Error())
		}
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		causes = append(causes, file.Op+" "+path.Base(file.Path))
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		causes = append(causes, number.Error())
	}
	if len(causes) == 0 {
		for ; err != nil; err = errors.Unwrap(err) {
			causes = append(causes, fmt.Sprintf("%T", err))
		}
	}
	return strings.Join(causes, ": ")
}
