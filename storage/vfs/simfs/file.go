package simfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"

	"wend/storage/vfs"
)

// file is an open file.
type file struct {
	fs    *FS
	name  string
	node  *node
	write bool
	shut  bool
}

// Write is durable by the next Sync only; until then a crash keeps any part of it.
func (h *file) Write(p []byte) (n int, err error) {
	if !h.write {
		return 0, fmt.Errorf("write %s: %w", h.name, vfs.ErrReadOnly)
	}
	err = h.fs.do(Write, h.name, len(p), func(fault Fault) error {
		n = len(p)
		failure := fault.failure()
		if failure != nil {
			n = 0
			if fault == Short {
				n = len(p) / 2
			}
		} else if b := h.fs.budget; b > 0 && h.fs.used+int64(n) > b {
			n, failure = int(max(b-h.fs.used, 0)), ENOSPC.failure()
		}
		if n > 0 {
			h.fs.seq++
			h.fs.used += int64(n)
			h.node.writes = append(h.node.writes, write{h.fs.seq, int64(len(h.node.view)), slices.Clone(p[:n]), -1})
			h.node.view = append(h.node.view, p[:n]...)
		}
		return failure
	})
	return n, err
}

// ReadAt reads what was written, durable or not.
func (h *file) ReadAt(p []byte, off int64) (n int, err error) {
	end := false
	err = h.fs.do(ReadAt, h.name, len(p), func(fault Fault) error {
		if h.shut {
			return fs.ErrClosed
		}
		if off < int64(len(h.node.view)) {
			n = copy(p, h.node.view[off:])
		}
		end = n < len(p)
		switch {
		case fault == Short:
			n /= 2
		case fault != None:
			n = 0
		}
		return fault.failure()
	})
	if err == nil && end {
		return n, io.EOF
	}
	return n, err
}

// Truncate is durable by the next Sync only, as Write is.
func (h *file) Truncate(size int64) error {
	if !h.write {
		return fmt.Errorf("truncate %s: %w", h.name, vfs.ErrReadOnly)
	}
	return h.fs.do(Truncate, h.name, 0, func(Fault) error {
		h.fs.seq++
		h.fs.used += size - int64(len(h.node.view))
		h.node.writes = append(h.node.writes, write{seq: h.fs.seq, size: size})
		h.node.view = resize(h.node.view, size)
		h.node.lost = h.node.lost && size > int64(len(h.node.durable))
		return nil
	})
}

// resize returns bytes that later appends do not share with b.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(slices.Clip(b), make([]byte, size-int64(len(b)))...)
}

// Sync makes the content durable, unless the fault drops it.
func (h *file) Sync() error {
	return h.fs.do(Sync, h.name, 0, func(fault Fault) error {
		switch failure := fault.failure(); {
		case fault == SyncDrops:
			h.node.writes, h.node.lost = nil, true
			return failure
		case failure != nil:
			return failure
		case fault == SyncLost:
			h.node.writes, h.node.lost = nil, true
			return nil
		}
		for _, w := range h.node.writes {
			h.node.durable = w.apply(h.node.durable)
		}
		h.node.writes = nil
		if h.fs.order == Ext4 {
			h.fs.commitNames(h.fs.root)
		}
		return nil
	})
}

// apply puts a write into b, with zeros where nothing was written before.
func (w write) apply(b []byte) []byte {
	if w.data == nil {
		return resize(b, w.size)
	}
	if w.off > int64(len(b)) {
		b = resize(b, w.off)
	}
	if w.off == int64(len(b)) {
		return append(b, w.data...) // others hold b only up to its length
	}
	b = resize(slices.Clone(b), max(int64(len(b)), w.off+int64(len(w.data))))
	copy(b[w.off:], w.data)
	return b
}

// Size counts what was written, durable or not.
func (h *file) Size() (size int64, err error) {
	err = h.fs.do(Size, h.name, 0, func(Fault) error {
		size = int64(len(h.node.view))
		return nil
	})
	return size, err
}

// Close makes nothing durable.
func (h *file) Close() error {
	return h.fs.do(Close, h.name, 0, func(Fault) error {
		h.shut = true
		return nil
	})
}
