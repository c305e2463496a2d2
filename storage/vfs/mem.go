package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
)

// Mem is a file system in memory, for tests. It keeps everything that was
// written, synced or not, as a machine does that never loses power.
type Mem struct {
	mu    sync.Mutex
	files map[string]*memData
	dirs  map[string]bool
	locks map[string]bool
}

var _ FS = (*Mem)(nil)

// memData is the content that names, links and open files share.
type memData struct {
	mu    sync.RWMutex
	bytes []byte
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{files: map[string]*memData{}, dirs: map[string]bool{"/": true, ".": true}, locks: map[string]bool{}}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] != nil || m.dirs[name] {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if !m.dirs[path.Dir(name)] {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrNotExist}
	}
	d := &memData{}
	m.files[name] = d
	return &memFile{name: name, data: d, write: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// OpenAppend implements FS.
func (m *Mem) OpenAppend(name string) (File, error) { return m.open(name, true) }

func (m *Mem) open(name string, write bool) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.files[name]
	if d == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{name: name, data: d, write: write}, nil
}

// Rename implements FS.
func (m *Mem) Rename(old, new string) error {
	old, new = path.Clean(old), path.Clean(new)
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.files[old]
	if d == nil {
		return &fs.PathError{Op: "rename", Path: old, Err: fs.ErrNotExist}
	}
	delete(m.files, old)
	m.files[new] = d
	return nil
}

// Link implements FS.
func (m *Mem) Link(old, new string) error {
	old, new = path.Clean(old), path.Clean(new)
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.files[old]
	switch {
	case d == nil:
		return &fs.PathError{Op: "link", Path: old, Err: fs.ErrNotExist}
	case m.files[new] != nil:
		return &fs.PathError{Op: "link", Path: new, Err: fs.ErrExist}
	}
	m.files[new] = d
	return nil
}

// Remove implements FS. Open files keep their content.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, path.Clean(name))
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name = path.Clean(name); !m.dirs[name]; name = path.Dir(name) {
		if m.files[name] != nil {
			return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
		}
		m.dirs[name] = true
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]string, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[name] {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	names := []string{}
	for f := range m.files {
		if path.Dir(f) == name {
			names = append(names, path.Base(f))
		}
	}
	for d := range m.dirs {
		if d != name && path.Dir(d) == name {
			names = append(names, path.Base(d))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[path.Clean(name)] {
		return &fs.PathError{Op: "syncdir", Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, &LockedError{Name: name, Owner: "this process"}
	}
	m.locks[name] = true
	if m.files[name] == nil {
		m.files[name] = &memData{}
	}
	return memLock{m, name}, nil
}

type memLock struct {
	fs   *Mem
	name string
}

// Close gives the lock back.
func (l memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// Usage implements FS: half of a terabyte is always free.
func (m *Mem) Usage(string) (free, total uint64, err error) { return 1 << 39, 1 << 40, nil }

type memFile struct {
	name  string
	data  *memData
	write bool
}

// Write implements File.
func (f *memFile) Write(p []byte) (int, error) {
	if !f.write {
		return 0, fmt.Errorf("write %s: %w", f.name, ErrReadOnly)
	}
	f.data.mu.Lock()
	defer f.data.mu.Unlock()
	f.data.bytes = append(f.data.bytes, p...)
	return len(p), nil
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.data.mu.RLock()
	defer f.data.mu.RUnlock()
	if off >= int64(len(f.data.bytes)) {
		return 0, io.EOF
	}
	n := copy(p, f.data.bytes[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	if !f.write {
		return fmt.Errorf("truncate %s: %w", f.name, ErrReadOnly)
	}
	f.data.mu.Lock()
	defer f.data.mu.Unlock()
	switch {
	case size < int64(len(f.data.bytes)):
		// A copy: later appends must not reach what a reader may still hold.
		f.data.bytes = slices.Clone(f.data.bytes[:size])
	default:
		f.data.bytes = append(f.data.bytes, make([]byte, size-int64(len(f.data.bytes)))...)
	}
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error { return nil }

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.data.mu.RLock()
	defer f.data.mu.RUnlock()
	return int64(len(f.data.bytes)), nil
}

// Close implements File.
func (f *memFile) Close() error { return nil }

// Clone returns what another machine would find: all files, nobody's locks.
// Files that are open here do not change it.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	for d := range m.dirs {
		c.dirs[d] = true
	}
	copied := map[*memData]*memData{} // links stay links
	for name, d := range m.files {
		if copied[d] == nil {
			d.mu.RLock()
			copied[d] = &memData{bytes: slices.Clone(d.bytes)}
			d.mu.RUnlock()
		}
		c.files[name] = copied[d]
	}
	return c
}
