// Package vfs is the one door through which storage reaches files.
//
// The interface is small on purpose: files are only ever appended to or cut,
// never overwritten in place, and a name becomes durable only with SyncDir.
// A simulation that loses whatever was not synced fits behind it.
package vfs

import (
	"errors"
	"io"
	"syscall"
)

// FS is a file system. Names are slash-separated paths.
type FS interface {
	Create(name string) (File, error)     // fails if the file exists; never truncates
	Open(name string) (File, error)       // read only; ErrCorrupt of what is no file
	OpenAppend(name string) (File, error) // recovery only: to cut a torn tail
	Rename(old, new string) error         // within a directory; atomic; durable after SyncDir
	Link(old, new string) error
	Remove(name string) error // nil if already gone
	MkdirAll(name string) error
	ReadDir(name string) ([]string, error) // sorted names of the entries
	SyncDir(name string) error             // the only thing that makes names durable
	Lock(name string) (io.Closer, error)   // *LockedError if another holds it
	Usage(name string) (free, total uint64, err error)
}

// File is an open file. Writes append; they may be short, with an error.
type File interface {
	io.Writer
	ReadAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error // once it fails the File is dead: what it held may be lost
	Size() (int64, error)
	Close() error
}

// LockedError tells who holds a lock.
type LockedError struct {
	Name  string
	Owner string // "pid 123 on host since 2025-01-01T00:00:00Z"; empty if unknown
}

// Error names the owner if the lock file tells it.
func (e *LockedError) Error() string {
	if e.Owner == "" {
		return e.Name + " is locked"
	}
	return e.Name + " is locked by " + e.Owner
}

// Reserver is a File that can take room on the disk without writing to it.
type Reserver interface {
	Reserve(size int64) error
}

// Resolver is an FS in which a file may have several names.
type Resolver interface {
	// Resolve returns the name of a file from the root on and without links. The
	// part of it that is not there yet stays as it is called.
	Resolve(name string) string
}

// NoRoom reports whether an error is that of a full disk, or of a limit on what
// a user or a process may write.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// NetworkError says that a lock would stand on a network file system.
type NetworkError struct{ Name, Kind string }

// Error says how to go on, at whose risk.
func (e *NetworkError) Error() string {
	return e.Name + " is on a network file system (" + e.Kind + "), where neither locks nor syncs are what a store needs; put the store on a local disk, or set WEND_NETWORK_FS=1 (Options.AllowNetwork) to do without these promises"
}

// ErrCorrupt says that a file is not what was written. To a file system that is a
// link, a pipe or a folder in its place; the rest is for storage to find.
var ErrCorrupt = errors.New("damaged data")

// ErrReadOnly is the error of a write to a File that Open returned.
var ErrReadOnly = errors.New("file is open for reading only")

// ReadFile returns the whole content of a file.
func ReadFile(fs FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF { // the file may shrink or end exactly here
		err = nil
	}
	return data[:n], err
}
