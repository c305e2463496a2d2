package vfs

import (
	"container/list"
	"errors"
	"io"
	"sync"
	"syscall"
)

// Pool keeps files open for reading, the ones read last, so that there may be
// more of them than a process may have open. A file that had to be closed is
// opened again by its name when it is next read: it must not change meanwhile.
type Pool struct {
	fs FS

	mu   sync.Mutex
	most int
	open *list.List // of *PoolFile, the one read last in front
}

// poolLeast is how many files a pool keeps open however few the system allows.
const poolLeast = 8

// NewPool returns a pool that keeps up to most files of fs open, and more only
// while they are being read.
func NewPool(fs FS, most int) *Pool { return &Pool{fs: fs, most: most, open: list.New()} }

// PoolFile is a file of a Pool. Several goroutines may read it at once.
type PoolFile struct {
	pool *Pool
	name string

	// Guarded by pool.mu:
	file  File // nil: closed for now
	place *list.Element
	users int
	ended bool // closed for good
}

var _ io.ReaderAt = (*PoolFile)(nil)

// Open opens a file for reading.
func (p *Pool) Open(name string) (*PoolFile, error) {
	f := &PoolFile{pool: p, name: name}
	if _, err := f.take(); err != nil {
		return nil, err
	}
	f.give()
	return f, nil
}

// Shrink closes half of the files, and keeps no more open from now on: the
// system has too few for all who want some. It reports whether it closed any.
func (p *Pool) Shrink() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shrink()
}

func (p *Pool) shrink() bool {
	before := p.open.Len()
	p.most = max(min(p.most, before/2), poolLeast)
	p.trim()
	return p.open.Len() < before
}

// trim closes files until there are no more than most, those read longest ago
// first and none that is being read.
func (p *Pool) trim() {
	for e := p.open.Back(); e != nil && p.open.Len() > p.most; {
		f := e.Value.(*PoolFile)
		e = e.Prev()
		if f.users == 0 {
			f.close()
		}
	}
}

// take returns the open file, which stays open until give.
func (f *PoolFile) take() (File, error) {
	p := f.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for f.file == nil {
		file, err := p.fs.Open(f.name)
		if TooManyOpen(err) && p.shrink() {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.file, f.place = file, p.open.PushFront(f)
		f.users++
		p.trim()
		return file, nil
	}
	p.open.MoveToFront(f.place)
	f.users++
	return f.file, nil
}

func (f *PoolFile) give() {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if f.users--; f.users == 0 && f.ended {
		f.close()
	}
	f.pool.trim()
}

// close closes the file if it is open. The caller holds pool.mu.
func (f *PoolFile) close() {
	if f.file == nil {
		return
	}
	_ = f.file.Close() // only read from
	f.pool.open.Remove(f.place)
	f.file, f.place = nil, nil
}

// ReadAt implements io.ReaderAt.
func (f *PoolFile) ReadAt(p []byte, off int64) (int, error) {
	file, err := f.take()
	if err != nil {
		return 0, err
	}
	defer f.give()
	return file.ReadAt(p, off)
}

// Size returns the length of the file.
func (f *PoolFile) Size() (int64, error) {
	file, err := f.take()
	if err != nil {
		return 0, err
	}
	defer f.give()
	return file.Size()
}

// Close closes the file, once nobody reads it any more.
func (f *PoolFile) Close() {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.ended = true
	if f.users == 0 {
		f.close()
	}
}

// TooManyOpen reports whether an error is that of a process, or a system, that
// has as many files open as it may.
func TooManyOpen(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
