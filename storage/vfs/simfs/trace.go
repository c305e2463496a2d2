package simfs

import (
	"encoding/binary"
	"hash/fnv"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Kind is what an operation does.
type Kind uint8

// The operations, those that change something first.
const (
	Create Kind = iota
	Write
	Truncate
	Sync
	SyncDir
	Rename
	Link
	Remove
	MkdirAll
	Lock
	Open
	OpenAppend
	ReadAt
	ReadDir
	Size
	Close
)

var kindNames = [...]string{"create", "write", "truncate", "sync", "syncdir", "rename", "link", "remove", "mkdir", "lock",
	"open", "openappend", "read", "readdir", "size", "close"}

// String is the second word of Op.Site.
func (k Kind) String() string { return kindNames[k] }

// Mutates reports whether operations of the kind change what a crash can leave.
func (k Kind) Mutates() bool { return k <= Lock }

// Op is one operation.
type Op struct {
	Index int // counts all operations of the file system, from 1
	Kind  Kind
	Name  string
	Bytes int
	Site  string // "file.go:12 write": the call in the package under test; "" if it has none
}

// Fault is how an operation fails.
type Fault uint8

// The ways to fail, and what is left of the operation.
const (
	None      Fault = iota
	EIO             // nothing happens
	ENOSPC          // nothing happens
	EMFILE          // nothing happens
	Short           // half is written or read, then no space, or an error
	SyncDrops       // a failing sync drops what was pending; the next one finds nothing to do and says so
	SyncLost        // a sync that says it worked, and did not: to be detected, not survived
)

var faultNames = [...]string{"none", "EIO", "ENOSPC", "EMFILE", "short", "sync drops", "sync lost"}

// String is the error's name, or the failure in words where it has none.
func (f Fault) String() string { return faultNames[f] }

func (f Fault) failure() error {
	switch f {
	case EIO, SyncDrops:
		return syscall.EIO
	case ENOSPC, Short:
		return syscall.ENOSPC
	case EMFILE:
		return syscall.EMFILE
	}
	return nil
}

// Applies reports whether a fault can happen to operations of a kind.
func (f Fault) Applies(k Kind) bool {
	switch f {
	case EIO:
		return k != Size
	case ENOSPC:
		return k == Create || k == Write || k == Rename || k == Link || k == MkdirAll || k == Sync || k == SyncDir || k == Close
	case EMFILE:
		return k == Create || k == Open || k == OpenAppend || k == Lock || k == ReadDir || k == SyncDir
	case Short:
		return k == Write || k == ReadAt
	case SyncDrops, SyncLost:
		return k == Sync
	}
	return false
}

// trace is what happened so far.
type trace struct {
	ops  int
	hash uint64
}

// Ops counts all operations.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trace.ops
}

// TraceHash sums up all mutating operations with their names, sizes and
// outcomes. Two runs of one seed have equal hashes, or something that the seed
// does not decide has got in. Reads are left out: merges read in parallel.
func (f *FS) TraceHash() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trace.hash
}

func (t *trace) add(op *Op, err error) {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], t.hash)
	h.Write(b[:])
	h.Write([]byte{byte(op.Kind)})
	h.Write([]byte(op.Name))
	binary.LittleEndian.PutUint64(b[:], uint64(op.Bytes))
	h.Write(b[:])
	if err != nil {
		h.Write([]byte(err.Error()))
	}
	t.hash = h.Sum64()
}

// do runs one operation: the hook before, the fault or the operation, the hook after.
func (f *FS) do(kind Kind, name string, bytes int, run func(Fault) error) error {
	op := &Op{Kind: kind, Name: name, Bytes: bytes}
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return pathError(kind.String(), name, ErrStopped)
	}
	f.trace.ops++
	op.Index = f.trace.ops
	hook, decide := f.Hook, f.Fault
	f.mu.Unlock()
	if hook != nil && kind.Mutates() || decide != nil {
		op.Site = callSite(f.Package, kind)
	}
	if hook != nil && kind.Mutates() {
		hook(op, false)
	}
	fault := None
	if decide != nil {
		if fault = decide(op); !fault.Applies(kind) {
			fault = None
		}
	}
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return pathError(kind.String(), name, ErrStopped)
	}
	var err error
	switch {
	case fault == None || kind == Write || kind == ReadAt || kind == Sync || kind == SyncDir && fault == SyncLost:
		err = run(fault)
	default:
		err = fault.failure()
	}
	if kind.Mutates() {
		f.trace.add(op, err)
	}
	f.mu.Unlock()
	if hook != nil && kind.Mutates() {
		hook(op, true)
	}
	return pathError(kind.String(), name, err)
}

// sites remembers which program counters lie in the package under test.
var sites sync.Map // of uintptr to string

// callSite is the innermost call in functions that begin with prefix.
func callSite(prefix string, kind Kind) string {
	var pcs [48]uintptr
	n := runtime.Callers(3, pcs[:])
	for _, pc := range pcs[:n] {
		known, ok := sites.Load(pc)
		if !ok {
			known = siteOf(prefix, pc)
			sites.Store(pc, known)
		}
		if known != "" {
			return known.(string) + " " + kind.String()
		}
	}
	return ""
}

func siteOf(prefix string, pc uintptr) string {
	frames := runtime.CallersFrames([]uintptr{pc})
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, prefix) && !strings.HasSuffix(frame.File, "_test.go") {
			return frame.File[strings.LastIndexByte(frame.File, '/')+1:] + ":" + strconv.Itoa(frame.Line)
		}
		if !more {
			return ""
		}
	}
}
