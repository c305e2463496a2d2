// Package simfs is a file system in memory that can lose power and fail.
//
// It keeps apart what programs see and what is durable: every file has durable
// bytes and pending writes, every directory durable entries and pending name
// operations. Sync and SyncDir move the one to the other. Crash makes, from any
// legal subset of what is pending, the file system that another machine would
// find. Faults happen at any operation that a test names.
//
// It knows nothing of what the files hold. Whether what a crash leaves behind
// is good enough is for the tests of package storage to say.
package simfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"wend/storage/vfs"
)

// Order says which pending operations may survive a crash without others.
type Order uint8

const (
	// Strict is what POSIX promises at least: any subset.
	Strict Order = iota
	// Ext4 keeps name operations in order, and syncing any file makes all of
	// them durable; a file's size grows after its data is written.
	Ext4
)

// ErrStopped is the error of every operation after Stop.
var ErrStopped = errors.New("the machine has no power")

// FS is a simulated file system.
type FS struct {
	order Order

	// Hook is called before and after every mutating operation, by the
	// goroutine that does it and with no lock held; it may call Crash.
	Hook func(op *Op, after bool)
	// Fault decides how an operation fails. It is called for all operations.
	Fault func(op *Op) Fault
	// Package is the prefix of functions that count as call sites, "wend/storage.".
	Package string

	mu      sync.Mutex
	root    *node
	nodes   int    // given out
	seq     uint64 // of pending operations, names and writes in one order
	locks   map[string]bool
	stopped bool
	used    int64
	budget  int64 // bytes that fit; 0: no limit
	trace   trace
}

var _ vfs.FS = (*FS)(nil)

// node is a file or a directory, whatever names lead to it.
type node struct {
	id int

	durable []byte
	writes  []write
	view    []byte
	lost    bool // a sync failed: what was pending is gone although it can be read

	isDir       bool
	entries     map[string]*node // as seen
	keptEntries map[string]*node // durable
	names       []nameOp
}

// write is a pending change of a file's bytes; size < 0: data at an offset.
type write struct {
	seq  uint64
	off  int64
	data []byte
	size int64 // a truncation to it
}

type nameKind uint8

const (
	nameSet nameKind = iota // create, link, mkdir
	nameRemove
	nameRename
)

// nameOp is a pending change of a directory's entries.
type nameOp struct {
	seq       uint64
	kind      nameKind
	name, old string
	node      *node
}

// New returns an empty file system.
func New(order Order) *FS {
	f := &FS{order: order, locks: map[string]bool{}, Package: "wend/storage."}
	f.root = f.newNode(true)
	return f
}

func (f *FS) newNode(dir bool) *node {
	f.nodes++
	n := &node{id: f.nodes, isDir: dir}
	if dir {
		n.entries, n.keptEntries = map[string]*node{}, map[string]*node{}
	}
	return n
}

// Stop takes the power away: whatever still runs gets errors, and changes nothing.
func (f *FS) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// SetBudget bounds the bytes of all files; 0 lifts the bound.
func (f *FS) SetBudget(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.budget = bytes
}

// Used is the bytes of all files.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// walk finds the directory that holds a name. The caller holds mu.
func (f *FS) walk(name string) (dir *node, base string, err error) {
	dir = f.root
	name = strings.TrimPrefix(path.Clean(name), "/")
	for {
		first, rest, more := strings.Cut(name, "/")
		if !more {
			return dir, first, nil
		}
		next := dir.entries[first]
		if next == nil || !next.isDir {
			return nil, "", fs.ErrNotExist
		}
		dir, name = next, rest
	}
}

func (f *FS) find(name string) (*node, error) {
	dir, base, err := f.walk(name)
	if err != nil {
		return nil, err
	}
	if base == "." || base == "" {
		return dir, nil
	}
	if n := dir.entries[base]; n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

// change records a name operation and shows it. The caller holds mu.
func (f *FS) change(dir *node, op nameOp) {
	f.seq++
	op.seq = f.seq
	dir.names = append(dir.names, op)
	op.apply(dir.entries)
}

func (op nameOp) apply(entries map[string]*node) {
	switch op.kind {
	case nameSet:
		entries[op.name] = op.node
	case nameRemove:
		delete(entries, op.name)
	case nameRename:
		if entries[op.old] == op.node {
			delete(entries, op.old)
		}
		entries[op.name] = op.node
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	var n *node
	err := f.do(Create, name, 0, func(Fault) error {
		dir, base, err := f.walk(name)
		if err != nil {
			return err
		}
		if dir.entries[base] != nil {
			return fs.ErrExist
		}
		n = f.newNode(false)
		f.change(dir, nameOp{kind: nameSet, name: base, node: n})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, node: n, write: true}, nil
}

// Open implements vfs.FS.
func (f *FS) Open(name string) (vfs.File, error) { return f.open(Open, name, false) }

// OpenAppend implements vfs.FS.
func (f *FS) OpenAppend(name string) (vfs.File, error) { return f.open(OpenAppend, name, true) }

func (f *FS) open(kind Kind, name string, write bool) (vfs.File, error) {
	var n *node
	err := f.do(kind, name, 0, func(Fault) (err error) {
		n, err = f.find(name)
		if err == nil && n.isDir {
			err = errors.New("is a directory")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, node: n, write: write}, nil
}

// Rename implements vfs.FS.
func (f *FS) Rename(old, new string) error {
	return f.do(Rename, new, 0, func(Fault) error {
		dir, from, err := f.walk(old)
		if err != nil {
			return err
		}
		to, base, err := f.walk(new)
		switch {
		case err != nil:
			return err
		case to != dir:
			return errors.New("simfs renames within a directory only")
		case dir.entries[from] == nil:
			return fs.ErrNotExist
		case dir.entries[base] == dir.entries[from]:
			return nil // two names of one file: both stay, says POSIX
		}
		f.change(dir, nameOp{kind: nameRename, name: base, old: from, node: dir.entries[from]})
		return nil
	})
}

// Link implements vfs.FS.
func (f *FS) Link(old, new string) error {
	return f.do(Link, new, 0, func(Fault) error {
		n, err := f.find(old)
		if err != nil {
			return err
		}
		dir, base, err := f.walk(new)
		if err != nil {
			return err
		}
		if dir.entries[base] != nil {
			return fs.ErrExist
		}
		f.change(dir, nameOp{kind: nameSet, name: base, node: n})
		return nil
	})
}

// Remove implements vfs.FS. Open files keep their content.
func (f *FS) Remove(name string) error {
	return f.do(Remove, name, 0, func(Fault) error {
		dir, base, err := f.walk(name)
		if err != nil || dir.entries[base] == nil {
			return nil
		}
		f.used -= int64(len(dir.entries[base].view))
		f.change(dir, nameOp{kind: nameRemove, name: base, node: dir.entries[base]})
		return nil
	})
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string) error {
	return f.do(MkdirAll, name, 0, func(Fault) error {
		dir := f.root
		for part := range strings.SplitSeq(strings.TrimPrefix(path.Clean(name), "/"), "/") {
			if part == "." || part == "" {
				continue
			}
			next := dir.entries[part]
			if next == nil {
				next = f.newNode(true)
				f.change(dir, nameOp{kind: nameSet, name: part, node: next})
			}
			if !next.isDir {
				return fs.ErrExist
			}
			dir = next
		}
		return nil
	})
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) (names []string, err error) {
	err = f.do(ReadDir, name, 0, func(Fault) error {
		n, err := f.find(name)
		if err == nil && !n.isDir {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return err
		}
		names = []string{}
		for entry := range n.entries {
			names = append(names, entry)
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	return f.do(SyncDir, name, 0, func(fault Fault) error {
		n, err := f.find(name)
		if err == nil && !n.isDir {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return err
		}
		if fault == SyncLost {
			return nil // it says that it did
		}
		if f.order == Ext4 {
			f.commitNames(f.root)
			return nil
		}
		n.syncNames()
		return nil
	})
}

func (n *node) syncNames() {
	for _, op := range n.names {
		op.apply(n.keptEntries)
	}
	n.names = nil
}

// commitNames makes all name operations durable, as a journal does.
func (f *FS) commitNames(n *node) {
	for _, e := range n.entries {
		if e.isDir {
			f.commitNames(e)
		}
	}
	n.syncNames()
}

// Lock implements vfs.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	err := f.do(Lock, name, 0, func(Fault) error {
		if f.locks[name] {
			return &vfs.LockedError{Name: name, Owner: "this process"}
		}
		dir, base, err := f.walk(name)
		if err != nil {
			return err
		}
		if dir.entries[base] == nil {
			f.change(dir, nameOp{kind: nameSet, name: base, node: f.newNode(false)})
		}
		f.locks[name] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lock{f, name}, nil
}

type lock struct {
	fs   *FS
	name string
}

// Close gives the lock back.
func (l lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// Usage implements vfs.FS.
func (f *FS) Usage(string) (free, total uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.budget == 0 {
		return 1 << 39, 1 << 40, nil
	}
	return uint64(max(f.budget-f.used, 0)), uint64(f.budget), nil
}

// Pending counts the operations that a crash may lose.
func (f *FS) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	f.eachNode(func(o *node) { n += len(o.names) + len(o.writes) })
	return n
}

// Lied reports whether a sync dropped what was pending of a file that can
// still be read. What is read then is
// not what is on the disk, and no program can tell before the power goes.
func (f *FS) Lied() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.root.lied()
}

func (n *node) lied() bool {
	for _, e := range n.entries {
		if e.lied() {
			return true
		}
	}
	return n.lost
}

// eachNode visits all nodes that any name, durable or not, leads to. The caller holds mu.
func (f *FS) eachNode(visit func(*node)) {
	seen := map[*node]bool{}
	var walk func(*node)
	walk = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		visit(n)
		list := []*node{}
		for _, e := range n.entries {
			list = append(list, e)
		}
		for _, e := range n.keptEntries {
			list = append(list, e)
		}
		for _, op := range n.names {
			list = append(list, op.node)
		}
		slices.SortFunc(list, func(a, b *node) int { return a.id - b.id })
		for _, e := range list {
			walk(e)
		}
	}
	walk(f.root)
}

// Edit replaces the durable content of a file, as damage does. A nil result removes the file.
func (f *FS) Edit(name string, change func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.walk(name)
	if err != nil || dir.entries[base] == nil {
		return fmt.Errorf("edit %s: %w", name, fs.ErrNotExist)
	}
	data := change(slices.Clone(dir.entries[base].view))
	if data == nil {
		delete(dir.entries, base)
		delete(dir.keptEntries, base)
		return nil
	}
	n := f.newNode(false)
	n.durable, n.view = data, slices.Clip(data)
	dir.entries[base], dir.keptEntries[base] = n, n
	return nil
}

// Put makes a durable file.
func (f *FS) Put(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.walk(name)
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	n := f.newNode(false)
	n.durable, n.view = data, slices.Clip(data)
	dir.entries[base], dir.keptEntries[base] = n, n
	return nil
}
