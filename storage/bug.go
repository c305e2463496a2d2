package storage

import (
	"errors"
	"fmt"
	"runtime/debug"

	"wend/storage/vfs"
)

// A bug that panics while the store writes must not end the process, which may
// serve others, and nothing that it left half done may reach the disk. So the
// store writes nothing from then on. What was published and acknowledged stays
// readable, and the next opening begins from the disk.

// errBroken is ErrReadOnly with the reason.
var errBroken = fmt.Errorf("%w: a bug was met while it was written; what is stored is safe, open it again to go on writing", ErrReadOnly)

// bug is a panic turned into an error. Its text leaves out what was panicked
// with, which can hold data.
type bug struct {
	kind  string
	stack []byte
}

// Error names what kind of value was panicked with.
func (b *bug) Error() string { return "a bug: panic of " + b.kind }

// shielded runs f and returns a panic of it as an error. Every goroutine that
// the store starts works inside of it.
func shielded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &bug{fmt.Sprintf("%T", p), debug.Stack()}
		}
	}()
	return f()
}

// writes runs f, a piece of writing. After a panic in it the store is broken.
// f gives back the locks that it takes also when it panics. Where the system has
// too few files for it, segments are closed: they are opened again when they are
// read, and the next try has more.
func (s *Store) writes(what string, f func() error) error {
	err := shielded(f)
	var b *bug
	if !errors.As(err, &b) {
		if vfs.TooManyOpen(err) {
			s.open.Shrink()
		}
		return err
	}
	s.broken.Store(true)
	s.opt.Log.Error("a bug was met; the store writes no more", "while", what, "panic", b.kind, "stack", string(b.stack))
	return fmt.Errorf("%s: %w", what, errBroken)
}
