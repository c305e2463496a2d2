package storage

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"wend/storage/vfs"
)

// manifestFile is what could be read of a manifest or of its copy.
type manifestFile struct {
	name  string
	st    *state
	count uint64
	size  int64 // of its edits
	all   int64 // of the file, -1 if it is missing
	err   error
	data  []byte
}

func readManifestFile(fsys vfs.FS, dir, name string, number uint64) manifestFile {
	f := manifestFile{name: name, all: -1}
	data, err := vfs.ReadFile(fsys, path.Join(dir, name))
	if err == nil {
		f.all, f.data = int64(len(data)), data
		f.st, f.count, f.size, err = parseManifest(data, number)
	}
	if err != nil {
		f.err = fmt.Errorf("read %s: %w", path.Join(dir, name), err)
	}
	return f
}

// compared says what is damaged of the file, which may be so many edits behind
// the better one of the two after a crash. The names of both are durable before
// a second edit is written.
func (f manifestFile) compared(best manifestFile, behind uint64) []Damage {
	switch {
	case isNotExist(f.err) && best.count == 1:
		return nil
	case isNotExist(f.err):
		return []Damage{{f.name, "the file is missing"}}
	case f.err != nil:
		return []Damage{{f.name, f.err.Error()}}
	case f.count+behind < best.count:
		return []Damage{{f.name, fmt.Sprintf("it ends after %d edits of %d", f.count, best.count)}}
	}
	return nil
}

// wholeOf returns what two files add up to of which one at least is damaged or
// missing, nil if edits are missing that one of them tells of.
func wholeOf(first, second manifestFile, number uint64) *manifestFile {
	if whole := first.joined(second, number); whole != nil {
		return whole
	}
	for _, f := range [][2]manifestFile{{first, second}, {second, first}} {
		if whole, other := f[0], f[1]; whole.err == nil && !other.goesOn(whole, number) {
			return &whole
		}
	}
	return nil
}

// goesOn reports whether a damaged file tells of an edit behind those of a whole one.
func (f manifestFile) goesOn(whole manifestFile, number uint64) bool {
	places, _ := scanEdits(f.data, whole.st.store, number)
	for place := range places {
		if place >= whole.count {
			return true
		}
	}
	if f.all < whole.size {
		return false
	}
	rest := f.data[whole.size:]
	return len(rest) > editHeader && (json.Valid(rest[editHeader:]) ||
		string(rest[:4]) == editMagic && uint64(binary.LittleEndian.Uint32(rest[4:])) <= uint64(len(rest)-editHeader))
}

// joined reads two files as one of which one at least is damaged: they hold the
// same bytes, so an edit that is damaged in one of them is taken from the other.
// It is nil if some edit is in neither, or if that cannot be told.
func (f manifestFile) joined(other manifestFile, number uint64) *manifestFile {
	if isNotExist(f.err) || isNotExist(other.err) {
		return nil
	}
	whole := f.data
	if len(whole) < manifestHeader || crc32.Checksum(whole[:32], castagnoli) != binary.LittleEndian.Uint32(whole[32:]) {
		whole = other.data
	}
	if len(whole) < manifestHeader {
		return nil
	}
	data := slices.Clone(whole[:manifestHeader]) // parseManifest verifies it
	for place := uint64(0); ; place++ {
		found := false
		for _, from := range [][]byte{f.data, other.data} {
			if found || len(from) <= len(data) {
				continue
			}
			var payload []byte
			if payload, found = nextEdit(from[len(data):], [16]byte(data[8:24]), number, place); found {
				data = append(data, from[len(data):len(data)+editHeader+len(payload)]...)
			}
		}
		if !found {
			break
		}
	}
	// What follows in either must be what a crash leaves, and no damage.
	for _, from := range [][]byte{f.data, other.data} {
		if len(from) <= len(data) {
			continue
		}
		if _, _, _, err := parseManifest(append(slices.Clone(data), from[len(data):]...), number); err != nil {
			return nil
		}
	}
	st, count, size, err := parseManifest(data, number)
	if err != nil {
		return nil
	}
	return &manifestFile{name: f.name, st: st, count: count, size: size}
}
