package simfs

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pendingMax bounds the name operations of one directory of which Allows tries
// all subsets.
const pendingMax = 14

// Allows reports whether a crash may leave exactly this below a directory:
// files with their contents by relative path, directories with a slash at the
// end and no content. It is how real file systems are held against this one.
func (f *FS) Allows(dir string, left map[string][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(dir)
	if err != nil {
		return err
	}
	if !n.explains("", left) {
		return fmt.Errorf("no crash of the simulation leaves this below %s:\n%s", dir, describe(left))
	}
	return nil
}

// explains reports whether some subset of a directory's pending operations
// leads to what is left of it.
func (n *node) explains(prefix string, left map[string][]byte) bool {
	if len(n.names) > pendingMax {
		panic(fmt.Sprintf("%d pending operations in one directory are too many to try all subsets", len(n.names)))
	}
	names := map[string]bool{} // of this directory; true: a directory
	for p := range left {
		rest, below := strings.CutPrefix(p, prefix)
		if first, _, isDir := strings.Cut(rest, "/"); below && first != "" {
			names[first] = isDir
		}
	}
	for mask := range 1 << len(n.names) {
		entries := maps.Clone(n.keptEntries)
		for i, op := range n.names {
			if mask>>i&1 != 0 {
				op.apply(entries)
			}
		}
		fits := len(entries) == len(names)
		for name, e := range entries {
			isDir, there := names[name]
			fits = fits && there && isDir == e.isDir
		}
		for name, e := range entries {
			switch {
			case !fits:
			case e.isDir:
				fits = e.explains(prefix+name+"/", left)
			default:
				fits = e.mayHold(left[prefix+name])
			}
		}
		if fits {
			return true
		}
	}
	return false
}

// mayHold reports whether a crash may leave a file with this content: of each
// sector what was durable, zeros where nothing was, or what a pending write
// has there, up to any of the sizes that the file had on the way.
func (n *node) mayHold(got []byte) bool {
	size := int64(len(got))
	fits := size == int64(len(n.durable))
	edges := []int64{0, size, int64(len(n.durable))}
	for _, w := range n.writes {
		if w.data == nil {
			fits = fits || size == w.size
			continue
		}
		end := w.off + int64(len(w.data))
		fits = fits || size > w.off && size <= end
		edges = append(edges, w.off, end)
	}
	if !fits {
		return false
	}
	for at := int64(0); at < size; at += sector {
		edges = append(edges, at)
	}
	slices.Sort(edges)
	for i := 1; i < len(edges) && edges[i] <= size; i++ {
		from, to := edges[i-1], edges[i]
		if !n.wrote(got[from:to], from) {
			return false
		}
	}
	return true
}

// wrote reports whether a piece of a sector is what one source has there.
func (n *node) wrote(piece []byte, from int64) bool {
	to := from + int64(len(piece))
	if to <= int64(len(n.durable)) && bytes.Equal(piece, n.durable[from:to]) {
		return true
	}
	cut := from >= int64(len(n.durable)) // nothing durable is there
	for _, w := range n.writes {
		cut = cut || w.data == nil && from >= w.size
		if w.data != nil && from >= w.off && to <= w.off+int64(len(w.data)) && bytes.Equal(piece, w.data[from-w.off:to-w.off]) {
			return true
		}
	}
	return cut && bytes.Count(piece, []byte{0}) == len(piece)
}

func describe(left map[string][]byte) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(left)) {
		fmt.Fprintf(&b, "  %s %d bytes\n", name, len(left[name]))
	}
	return b.String()
}
