package simfs

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
)

// Mode is how a crash chooses among what is pending.
type Mode uint8

// The modes.
const (
	AllLost Mode = iota
	AllKept
	Random    // each operation for itself, with a probability drawn for the crash
	Prefix    // all up to a moment, the write at that moment torn
	Adversary // what programs do not expect, one thing at a time
	Modes     // how many there are
)

var modeNames = [...]string{"all lost", "all kept", "random", "prefix", "adversary"}

// String is the mode in words, for the report of a failed crash.
func (m Mode) String() string { return modeNames[m] }

// sector is what a disk writes whole or not at all.
const sector = 512

// fate decides about pending operations.
type fate struct {
	name func(op nameOp) bool
	data func(n *node) []byte
}

// Crash returns the file system that is found after the power came back.
// Everything in it is durable, nothing is locked, and what still runs on f
// does not reach it.
func (f *FS) Crash(r *rand.Rand, mode Mode) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.after(f.decide(r, mode))
}

func (f *FS) decide(r *rand.Rand, mode Mode) fate {
	keepNames := func(keep bool) func(nameOp) bool { return func(nameOp) bool { return keep } }
	switch mode {
	case AllLost:
		return fate{keepNames(false), lostData}
	case AllKept:
		return fate{keepNames(true), keptData}
	case Prefix:
		cut := r.Uint64N(f.seq + 1)
		return fate{
			func(op nameOp) bool { return op.seq <= cut },
			func(n *node) []byte { return prefixData(r, n, cut) },
		}
	case Adversary:
		return f.adversary(r)
	}
	p := r.Float64()
	cut := r.Uint64N(f.seq + 1)
	return fate{
		func(op nameOp) bool {
			if f.order == Ext4 {
				return op.seq <= cut
			}
			return r.Float64() < p
		},
		func(n *node) []byte {
			if f.order == Ext4 {
				return prefixData(r, n, r.Uint64N(f.seq+1))
			}
			return randomData(r, n, p)
		},
	}
}

// adversary picks one surprise.
func (f *FS) adversary(r *rand.Rand) fate {
	keep := func(op nameOp) bool { return true }
	last := func(n *node) []byte { // the last write kept, those before lost
		if len(n.writes) == 0 {
			return n.durable
		}
		return n.writes[len(n.writes)-1].apply(n.durable)
	}
	zeros := func(n *node) []byte { return zeroData(n) }
	torn := func(n *node) []byte { return tornData(r, n) }
	if f.order == Ext4 { // names in order, sizes behind data
		return []fate{
			{keep, lostData},
			{keep, func(n *node) []byte { return prefixData(r, n, r.Uint64N(f.seq+1)) }},
			{func(nameOp) bool { return false }, keptData},
		}[r.IntN(3)]
	}
	all := []fate{
		{keep, lostData}, // names without data
		{keep, zeros},    // sizes without data
		{keep, torn},
		{keep, last},
		{func(op nameOp) bool { return op.kind == nameRename }, lostData},                                                         // renamed, its source empty
		{func(op nameOp) bool { return op.kind != nameRemove }, keptData},                                                         // unlinked files are back
		{func(op nameOp) bool { return op.kind == nameRemove }, keptData},                                                         // unlinked, the replacement lost
		{func(nameOp) bool { return false }, keptData},                                                                            // data without names
		{func(op nameOp) bool { return op.kind == nameRemove || r.IntN(2) == 0 }, func(n *node) []byte { return tornData(r, n) }}, // all at once
	}
	return all[r.IntN(len(all))]
}

// Subsets counts the states of Subset: 2 to the power of what is pending,
// 0 if that is more than 12 operations.
func (f *FS) Subsets() int {
	if n := f.Pending(); n <= 12 {
		return 1 << n
	}
	return 0
}

// Subset is a crash that keeps the pending operations whose bits are set.
func (f *FS) Subset(mask int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := map[uint64]bool{}
	bit := 0
	f.eachNode(func(n *node) {
		for _, op := range n.names {
			kept[op.seq] = mask>>bit&1 != 0
			bit++
		}
		for _, w := range n.writes {
			kept[w.seq] = mask>>bit&1 != 0
			bit++
		}
	})
	return f.after(fate{
		func(op nameOp) bool { return kept[op.seq] },
		func(n *node) []byte {
			data := n.durable
			for _, w := range n.writes {
				if kept[w.seq] {
					data = w.apply(slices.Clip(data))
				}
			}
			return data
		},
	})
}

// Kill returns the file system after the process ended but not the machine:
// everything is there, and what was pending still is.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := New(f.order)
	g.Package, g.budget, g.used, g.seq, g.nodes = f.Package, f.budget, f.used, f.seq, f.nodes
	copies := map[*node]*node{}
	f.eachNode(func(n *node) {
		copies[n] = &node{id: n.id, durable: slices.Clip(n.durable), writes: slices.Clip(n.writes), view: slices.Clip(n.view), lost: n.lost, isDir: n.isDir}
	})
	moved := func(m map[string]*node) map[string]*node {
		out := map[string]*node{}
		for name, n := range m {
			out[name] = copies[n]
		}
		return out
	}
	for n, c := range copies {
		if n.isDir {
			c.entries, c.keptEntries = moved(n.entries), moved(n.keptEntries)
		}
		for _, op := range n.names {
			op.node = copies[op.node]
			c.names = append(c.names, op)
		}
	}
	g.root = copies[f.root]
	return g
}

// after builds what a fate leaves. The caller holds mu.
func (f *FS) after(decide fate) *FS {
	g := New(f.order)
	g.Package, g.budget = f.Package, f.budget
	copies := map[*node]*node{}
	var build func(n *node) *node
	build = func(n *node) *node {
		if copies[n] != nil {
			return copies[n]
		}
		c := g.newNode(n.isDir)
		copies[n] = c
		if !n.isDir {
			c.durable = slices.Clip(decide.data(n))
			c.view = c.durable
			g.used += int64(len(c.view))
			return c
		}
		entries := maps.Clone(n.keptEntries)
		for _, op := range n.names {
			if decide.name(op) {
				op.apply(entries)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			e := build(entries[name])
			c.entries[name], c.keptEntries[name] = e, e
		}
		return c
	}
	g.root = build(f.root)
	return g
}

func lostData(n *node) []byte { return n.durable }

func keptData(n *node) []byte {
	data := slices.Clip(n.durable)
	for _, w := range n.writes {
		data = w.apply(data)
	}
	return data
}

// zeroData has the size of what was written and nothing of it.
func zeroData(n *node) []byte {
	size := int64(len(n.durable))
	for _, w := range n.writes {
		if w.data == nil {
			size = w.size
		} else {
			size = max(size, w.off+int64(len(w.data)))
		}
	}
	return resize(slices.Clip(n.durable), size)
}

// tornData keeps some sectors of what was written, others are zero.
func tornData(r *rand.Rand, n *node) []byte {
	data := slices.Clip(n.durable)
	for _, w := range n.writes {
		data = w.torn(r, data)
	}
	return data
}

func (w write) torn(r *rand.Rand, data []byte) []byte {
	if w.data == nil {
		return w.apply(data)
	}
	end := w.off + int64(len(w.data))
	data = resize(slices.Clone(data), max(end, int64(len(data))))
	for at := w.off; at < end; {
		next := min((at/sector+1)*sector, end)
		if r.IntN(2) == 0 {
			copy(data[at:next], w.data[at-w.off:next-w.off])
		}
		at = next
	}
	return data
}

// prefixData keeps the writes up to a moment, and a part of the next one.
func prefixData(r *rand.Rand, n *node, cut uint64) []byte {
	data := slices.Clip(n.durable)
	for _, w := range n.writes {
		if w.seq > cut {
			if w.data != nil && r.IntN(2) == 0 {
				w.data = w.data[:r.IntN(len(w.data)+1)]
				if len(w.data) > 0 {
					data = w.apply(slices.Clip(data))
				}
			}
			break
		}
		data = w.apply(slices.Clip(data))
	}
	return data
}

func randomData(r *rand.Rand, n *node, p float64) []byte {
	data := slices.Clip(n.durable)
	for _, w := range n.writes {
		switch {
		case r.Float64() < p:
			data = w.apply(slices.Clip(data))
		case r.IntN(4) == 0:
			data = w.torn(r, data)
		case w.data != nil && r.IntN(4) == 0:
			data = resize(slices.Clip(data), max(int64(len(data)), w.off+int64(len(w.data))))
		}
	}
	return data
}

var stateSeed = maphash.MakeSeed()

// StateHash sums up names and contents as they are seen. It is good for this
// process only.
func (f *FS) StateHash() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(stateSeed)
	var walk func(n *node)
	walk = func(n *node) {
		for _, name := range slices.Sorted(maps.Keys(n.entries)) {
			e := n.entries[name]
			h.WriteString(name)
			var size [9]byte
			binary.LittleEndian.PutUint64(size[:], uint64(len(e.view)))
			if e.isDir {
				size[8] = 1
			}
			h.Write(size[:])
			h.Write(e.view)
			walk(e)
		}
	}
	walk(f.root)
	return h.Sum64()
}

// Files lists all files with their contents as they are seen, by path.
func (f *FS) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	files := map[string][]byte{}
	var walk func(prefix string, n *node)
	walk = func(prefix string, n *node) {
		for name, e := range n.entries {
			if e.isDir {
				walk(prefix+name+"/", e)
			} else {
				files[prefix+name] = slices.Clip(e.view)
			}
		}
	}
	walk("", f.root)
	return files
}
